//! Fifty peers on one agent: all up within 15 s, and none flaps in two minutes.
//!
//! No routing daemon has more than one session with the same neighbour, so the peers are the scenario's own,
//! each with an address of its own on the control machine; they say OPEN and KEEPALIVE and listen.

use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::{Duration, Instant};

use lab::topology::NodeSpec;
use scenarios::manifests::{Peer, advertisement, cluster_config, peer_config, together};
use scenarios::peering;
use scenarios::raw_speaker::{Conversation, Identity, Reaction, Speaker, message};
use scenarios::topologies::NODES_ASN;
use scenarios::{Failure, Lab, claim, eventually};

const PEERS: u8 = 50;
const PEER_ASN: u16 = 64999;
/// The host number of the first one's address in 192.168.10.0/24; what lies above is free up to the router.
const FIRST: u8 = 110;
const IN_TIME: Duration = Duration::from_secs(15);
const CALM: Duration = Duration::from_secs(120);
/// A third of the hold time of 9 s.
const KEEPALIVE: Duration = Duration::from_secs(3);

pub(crate) fn fifty_are_up_and_stay_up(lab: &mut Lab) -> Result<(), Failure> {
    let machine = lab.cluster.machine("ctl")?;
    let addresses: Vec<Ipv4Addr> = (FIRST..FIRST + PEERS)
        .map(|host| Ipv4Addr::new(192, 168, 10, host))
        .collect();
    let batch = |verb: &str| -> String {
        let line = |address| format!("addr {verb} {address}/24 dev eth0\n");
        addresses.iter().map(line).collect()
    };
    machine.namespace().ip(&batch("add"))?;
    let result = up_and_calm(lab, &addresses);
    machine.namespace().ip(&batch("del"))?;
    result
}

fn up_and_calm(lab: &Lab, addresses: &[Ipv4Addr]) -> Result<(), Failure> {
    let namespace = lab.cluster.machine("ctl")?.namespace().clone();
    let speakers = addresses
        .iter()
        .map(|address| Speaker::bind(&namespace, IpAddr::V4(*address)))
        .collect::<Result<Vec<_>, _>>()?;
    let node = &lab.cluster.topology().nodes[0];
    lab.cluster.kubectl([
        "label",
        "node",
        &node.name,
        "many-peers=true",
        "--overwrite",
    ])?;
    let applied = Instant::now();
    lab.cluster.apply(&together(&[
        advertisement("pods", ""),
        peer_config("many", 9),
        cluster_config("many", "many-peers", NODES_ASN, &peers(addresses)),
    ]))?;
    thread::scope(|scope| {
        let sessions: Vec<_> = speakers
            .iter()
            .zip(addresses)
            .map(|(speaker, address)| {
                scope.spawn(move || {
                    let left = IN_TIME.saturating_sub(applied.elapsed());
                    let identity = Identity {
                        asn: PEER_ASN,
                        id: *address,
                        hold_time: 9,
                    };
                    stay(speaker.establish(identity, left)?, *address, applied)
                })
            })
            .collect();
        let before = established(lab, node)?;
        let alive: Result<Vec<Conversation>, Failure> = sessions
            .into_iter()
            .map(|session| {
                session
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect();
        let alive = alive?;
        let after = established(lab, node)?;
        drop(alive);
        claim(before == after, || {
            format!("no session is another one after {CALM:?}: {before:?}, {after:?}")
        })
    })
}

fn peers(addresses: &[Ipv4Addr]) -> Vec<Peer> {
    let peer = |address: &Ipv4Addr| Peer {
        name: format!("peer-{}", address.octets()[3]),
        address: IpAddr::V4(*address),
        asn: PEER_ASN.into(),
        config: "many".to_owned(),
    };
    addresses.iter().map(peer).collect()
}

/// Keeps a session for [`CALM`] after all must be up, and claims that the agent does too. It is given back so that
/// it does not end here.
fn stay(
    mut session: Conversation,
    address: Ipv4Addr,
    applied: Instant,
) -> Result<Conversation, Failure> {
    while applied.elapsed() < IN_TIME + CALM {
        session.say(&message::with_header(message::KEEPALIVE, &[]))?;
        let reaction = session.reaction(KEEPALIVE);
        claim(reaction == Reaction::Lives, || {
            let after = applied.elapsed();
            format!("the session with {address} lives {after:?} after apply, not: {reaction:?}")
        })?;
    }
    Ok(session)
}

/// When each session was established, as the node reports it, once it reports all.
fn established(lab: &Lab, node: &NodeSpec) -> Result<Vec<(String, String)>, Failure> {
    eventually(IN_TIME, || {
        let configs = peering::node_configs(lab)?;
        let status = configs
            .get(&node.name)
            .and_then(|config| config.status.as_ref());
        let times: Vec<(String, String)> = status
            .into_iter()
            .flat_map(|status| &status.bgp_instances)
            .flat_map(|instance| &instance.peers)
            .filter_map(|peer| Some((peer.name.clone(), peer.established_time.clone()?)))
            .collect();
        claim(times.len() == usize::from(PEERS), || {
            format!(
                "{} reports {PEERS} sessions, not {}",
                node.name,
                times.len()
            )
        })?;
        Ok(times)
    })
}
