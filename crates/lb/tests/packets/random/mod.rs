//! A hundred thousand packets that nobody thought of: plausible ones, mangled ones and noise, while flows age and are evicted and backends
//! come and go. Verdict, octets, counters and flow entries of the kernel must be the model's throughout.
//!
//! `LB_PACKETS_SEED` and `LB_PACKETS_COUNT` replace seed and number. A failure is made smaller and printed in hexadecimal.

mod generate;
mod shrink;

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use lb::{BackendState, Family, Wish};
use lb_abi::Config;

use crate::fixture::Place;
use crate::fixture::cast::Cast;
use crate::fixture::services::{self, BOTH, in_state, local, remote};
use crate::model::{FlowKey, Hook};
use crate::packet::hex;
use crate::scene::Stage;
use generate::{Generator, Random};

const SEED: u64 = 0x746f_6d62_6f6c_6f01;
/// Packets that are compared at least.
const PACKETS: usize = 100_000;
/// Events, of which one or two in a hundred are no packets (`Generator::event`).
const COUNT: usize = 102_000;
/// Events after which everything begins anew, so that no table ever fills.
const EPISODE: usize = 4_000;
/// Events after which all entries are compared, and not only those of the packet.
const THOROUGH: usize = 200;

/// Something that happens.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Packet {
        hook: Hook,
        frame: Vec<u8>,
    },
    /// All flows get older.
    Seconds(u32),
    /// An entry is evicted.
    Evict(FlowKey),
    /// Flags of the configuration change, and with them the epoch.
    Settings(u32),
    /// Backends of some services change.
    Backends(u8),
    /// The network of an address gets another gateway.
    Route {
        inside: IpAddr,
        gateway: IpAddr,
    },
}

impl std::fmt::Display for Event {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Packet { hook, frame } => write!(formatter, "{hook:?}\n    {}", hex(frame)),
            other => write!(formatter, "{other:?}"),
        }
    }
}

/// The test.
pub(crate) fn play() {
    let Some(place) = Place::make("random") else {
        return;
    };
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seed = number("LB_PACKETS_SEED").unwrap_or(SEED);
    let count = number("LB_PACKETS_COUNT").map_or(COUNT, |count| usize::try_from(count).unwrap());
    let begin = Instant::now();
    let verdicts = place.run(|| {
        let mut stage = Stage::new(&place);
        let mut random = Random::new(seed);
        let mut verdicts = [0_usize; 3];
        let mut sent = 0;
        while sent < count {
            let mut episode = Vec::with_capacity(EPISODE);
            stage.reset();
            let mut generator = Generator::new(&mut random);
            for number in 0..EPISODE.min(count - sent) {
                let event = generator.event(&stage.model.flows);
                episode.push(event.clone());
                let thorough = number % THOROUGH == THOROUGH - 1;
                let outcome =
                    catch_unwind(AssertUnwindSafe(|| happen(&mut stage, &event, thorough)));
                match outcome {
                    Ok(Some(verdict)) => verdicts[verdict] += 1,
                    Ok(None) => (),
                    Err(panic) => {
                        let text = shrink::text_of(panic.as_ref());
                        shrink::report(
                            &mut stage,
                            &episode,
                            &format!("seed {seed}, event {}: {text}", sent + number),
                        )
                    }
                }
            }
            sent += EPISODE;
        }
        verdicts
    });
    let [next, drop, redirect] = verdicts;
    eprintln!(
        "random: seed {seed}: {next} passed, {drop} dropped, {redirect} redirected in {:?}",
        begin.elapsed()
    );
    assert!(
        count < COUNT || verdicts.iter().sum::<usize>() >= PACKETS,
        "packets that were compared: {verdicts:?}"
    );
    assert!(
        count < COUNT || verdicts.iter().all(|number| *number > count / 50),
        "the packets must lead everywhere: {verdicts:?}"
    );
}

/// Lets it happen in the kernel and in the model. They must agree; returns the number of the verdict.
fn happen(stage: &mut Stage<'_>, event: &Event, thorough: bool) -> Option<usize> {
    let mut verdict = None;
    match event {
        Event::Packet { hook, frame } => {
            let ifindex = match hook {
                Hook::UplinkIn | Hook::UplinkOut | Hook::HostOut => stage.interfaces.uplink,
                Hook::PodIn | Hook::PodOut => stage.interfaces.pod,
            };
            let outcome = stage.send(*hook, ifindex, frame);
            stage.compare_flows_of(frame);
            verdict = Some(outcome.verdict as usize);
        }
        Event::Seconds(seconds) => {
            for flow in stage.model.flows.values_mut() {
                flow.last_seen = flow.last_seen.wrapping_sub(*seconds);
            }
            stage.kernel.set_flows(&stage.model.flows);
        }
        Event::Evict(key) => {
            if stage.model.flows.remove(key).is_some() {
                stage.kernel.remove_flow(*key);
            }
        }
        Event::Settings(flags) => {
            let config = stage.model.tables.config;
            let flags = *flags;
            stage.configure(&Config { flags, ..config });
        }
        Event::Backends(variant) => stage.wish(&variant_of(*variant)),
        Event::Route { inside, gateway } => stage.reroute(*inside, *gateway),
    }
    if thorough {
        stage.compare_flows();
    }
    verdict
}

/// The wish with other backends in some services.
fn variant_of(variant: u8) -> Wish {
    let mut wish = services::wish();
    for family in BOTH {
        let cast = Cast::of(family);
        let pods = [
            local(cast.local_pod, 8080),
            local(cast.lone_pod, 8080),
            remote(cast.lone_remote_pod, 8080),
            remote(cast.other_remote_pod, 8080),
        ];
        let states = [
            BackendState::Active,
            BackendState::Terminating,
            BackendState::Draining,
        ];
        for (number, name) in ["local", "lone", "mixed", "ring"].into_iter().enumerate() {
            let bits = variant.rotate_left(2 * u32::try_from(number).unwrap());
            let list: Vec<lb::Backend> = (0..4)
                .filter(|pod| bits >> pod & 1 == 1)
                .map(|pod| {
                    let state = states[usize::from(bits >> 4) * (pod + 1) % 3];
                    in_state(state, pods[pod])
                })
                .collect();
            give(&mut wish, name, family, &list);
        }
    }
    wish
}

fn give(wish: &mut Wish, name: &str, family: Family, list: &[lb::Backend]) {
    let name = format!("{name}/{family:?}");
    let service = wish.services.get_mut(name.as_str()).unwrap();
    let service = std::sync::Arc::make_mut(service);
    for frontend in &mut service.frontends {
        let port = match frontend.protocol {
            lb::Protocol::Tcp => 8080,
            lb::Protocol::Udp => 5353,
        };
        let list: services::Backends = list
            .iter()
            .map(|backend| lb::Backend { port, ..*backend })
            .collect();
        frontend.external = list.clone();
        frontend.internal = list;
    }
}
