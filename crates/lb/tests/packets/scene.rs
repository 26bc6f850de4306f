//! Rows: a claim, and what is sent and expected. Every packet goes through the kernel and through the model, and whatever the row itself
//! expects, the two must agree on verdict, bytes, flow entries and counters.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use lb::{Family, Machine, Service, Wish};
use lb_abi::{Config, Reason};

use crate::fixture::cast::Cast;
use crate::fixture::clock::{latest_second, steady_second};
use crate::fixture::kernel::{CAPACITY, Kernel};
use crate::fixture::services::{self, BOTH};
use crate::fixture::{Interfaces, Place, agent, routes};
use crate::model::parse::{Sight, parse};
use crate::model::tables::Tables;
use crate::model::{Flow, FlowKey, Hook, Input, Model, Outcome, Route, Tuple, Verdict};
use crate::packet::{Packet, Transport, hex};

/// A claim, and its proof.
pub(crate) type Row = (&'static str, fn(&mut Scene<'_, '_>));

/// Outcomes that flows count themselves.
const BY_FLOW: [Reason; 3] = [Reason::Local, Reason::Remote, Reason::Reply];

/// Kernel, model and agent of one node.
pub(crate) struct Stage<'a> {
    pub(crate) kernel: Kernel,
    pub(crate) model: Model,
    pub(crate) interfaces: Interfaces,
    place: &'a Place,
    machine: Machine,
    /// Addresses whose routes are not those of the fixture.
    rerouted: Vec<IpAddr>,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(place: &'a Place) -> Self {
        let interfaces = place.interfaces();
        let mut stage = Self {
            kernel: Kernel::load(CAPACITY),
            model: Model {
                tables: Tables::new(agent::configuration()),
                routes: routes(interfaces),
                flows: BTreeMap::new(),
                sockets: Vec::new(),
            },
            interfaces,
            place,
            machine: agent::machine(CAPACITY),
            rerouted: Vec::new(),
        };
        stage.reset();
        stage
    }

    /// Everything as it was at the beginning.
    pub(crate) fn reset(&mut self) {
        self.kernel.forget_flows();
        self.model.flows.clear();
        self.model.sockets.clear();
        self.restore_routes();
        self.wish(&services::wish());
        self.configure(&agent::configuration());
    }

    /// All routes are those of the fixture.
    pub(crate) fn restore_routes(&mut self) {
        self.model.routes = routes(self.interfaces);
        for address in std::mem::take(&mut self.rerouted) {
            let route = self.model.route(address);
            let route = route.expect("a route of the fixture");
            self.place.set_route(route, self.interfaces);
        }
    }

    /// The agent hears of another node.
    pub(crate) fn add_other_node(&mut self, address: IpAddr) {
        let mut wish = services::wish();
        wish.other_nodes.insert(address);
        self.wish(&wish);
    }

    /// The network of an address gets another gateway, on whichever interface that is, until everything is as it was.
    pub(crate) fn reroute(&mut self, inside: IpAddr, gateway: IpAddr) {
        self.rerouted.push(inside);
        let route = self.model.reroute(inside, gateway);
        self.place.set_route(&route, self.interfaces);
    }

    /// The network of an address gets another gateway beside the one it has, until everything is as it was.
    pub(crate) fn add_way(&mut self, inside: IpAddr, gateway: IpAddr) {
        self.rerouted.push(inside);
        let ways = self.model.add_way(inside, gateway);
        self.place.set_ways(&ways, self.interfaces);
    }

    /// The network of an address loses its route, until everything is as it was.
    pub(crate) fn unroute(&mut self, inside: IpAddr) {
        self.rerouted.push(inside);
        let Route { network, bits, .. } = *self.model.route(inside).expect("a route to lose");
        let family = if inside.is_ipv4() { "" } else { "-6 " };
        self.place
            .ip(&format!("{family}route del {network}/{bits}"));
        self.model.routes.retain(|route| route.network != network);
    }

    /// Another configuration, and with it another epoch.
    pub(crate) fn configure(&mut self, config: &Config) {
        let epoch = self.model.tables.config.epoch.wrapping_add(1);
        let config = Config { epoch, ..*config };
        self.model.tables.config = config;
        self.kernel.configure(&config);
    }

    pub(crate) fn wish(&mut self, wish: &Wish) {
        let steps = agent::steps(&mut self.machine, wish);
        self.kernel.perform(&steps);
        for step in &steps {
            self.model.tables.apply(step);
        }
        self.kernel.configure(&self.model.tables.config);
    }

    /// One packet through both; they must agree. The counters' difference is the kernel's.
    pub(crate) fn send(&mut self, hook: Hook, ifindex: u32, frame: &[u8]) -> Outcome {
        self.send_by(hook, ifindex, frame, 1)
    }

    /// The same through as many programs of the kernel that follow each other. The first must do all that there is to do.
    fn send_by(&mut self, hook: Hook, ifindex: u32, frame: &[u8], programs: u32) -> Outcome {
        let begin = steady_second();
        let before = self.kernel.counters();
        let (verdict, bytes) = self.kernel.run(hook, ifindex, frame, programs);
        let end = latest_second();
        let after = self.kernel.counters();
        // Held up between the two, nobody but an entry that was written can say in which second the program ran.
        let is_late = end != begin && self.entries_of(frame).any(|flow| flow.last_seen == end);
        let now = if is_late { end } else { begin };
        let input = |now| Input { hook, frame, now };
        let earlier = (end != now).then(|| self.model.clone());
        let mut expected = self.model.run(input(now), &self.kernel);
        if let Some(earlier) = earlier
            && (expected.verdict, &expected.frame) != (verdict, &bytes)
        {
            // Where nothing was written, it can be told by what became of the packet at most.
            self.model = earlier;
            expected = self.model.run(input(end), &self.kernel);
        }
        assert_eq!(
            (verdict, hex(&bytes)),
            (expected.verdict, hex(&expected.frame)),
            "verdict and bytes of the kernel, and of the model\n  {}\n  counted by the model: {:?}, by the kernel: {:?}",
            hex(frame),
            expected.counted,
            counted(&before, &after),
        );
        let counted = counted(&before, &after);
        assert_eq!(
            counted,
            sorted(expected.counted),
            "counters of the kernel, and of the model"
        );
        Outcome {
            verdict,
            frame: bytes,
            counted,
        }
    }

    /// What the kernel remembers of a frame's tuple.
    fn entries_of(&self, frame: &[u8]) -> impl Iterator<Item = Flow> {
        keys_of(frame)
            .into_iter()
            .filter_map(|key| self.kernel.flow(key))
    }

    /// Kernel and model remember the same of a frame's tuple.
    pub(crate) fn compare_flows_of(&self, frame: &[u8]) {
        for key in keys_of(frame) {
            let (kernel, model) = (self.kernel.flow(key), self.model.flows.get(&key).copied());
            assert_eq!(
                kernel, model,
                "entry {key:?} of the kernel, and of the model"
            );
        }
    }

    /// Kernel and model remember the same.
    pub(crate) fn compare_flows(&self) {
        let kernel = self.kernel.flows();
        if kernel == self.model.flows {
            return;
        }
        let mut text = String::new();
        for key in kernel.keys().chain(self.model.flows.keys()) {
            let (ours, theirs) = (self.model.flows.get(key), kernel.get(key));
            if ours != theirs {
                text += &format!("\n{key:?}\n  kernel {theirs:?}\n  model  {ours:?}");
            }
        }
        panic!("flows differ:{text}");
    }
}

/// The keys that a frame's entries may have.
fn keys_of(frame: &[u8]) -> Vec<FlowKey> {
    let Sight::Flow(headers) = parse(frame) else {
        return Vec::new();
    };
    let tuple = Tuple::of(&headers);
    vec![tuple.forward(), tuple.reply(), tuple.turned().reply()]
}

/// Reasons whose counters rose, but those that flows count.
fn counted(before: &[u64], after: &[u64]) -> Vec<Reason> {
    let rises = before.iter().zip(after).zip(Reason::ALL);
    rises
        .flat_map(|((before, after), reason)| {
            let times = usize::try_from(after - before).unwrap();
            std::iter::repeat_n(reason, times)
        })
        .filter(|reason| !BY_FLOW.contains(reason))
        .collect()
}

fn sorted(mut reasons: Vec<Reason>) -> Vec<Reason> {
    reasons.sort();
    reasons
}

/// A row under way, in one family.
pub(crate) struct Scene<'a, 'place> {
    pub(crate) stage: &'a mut Stage<'place>,
    pub(crate) cast: Cast,
}

/// A packet that was sent.
pub(crate) struct Sent {
    sent: Vec<u8>,
    outcome: Outcome,
}

impl Scene<'_, '_> {
    fn send(&mut self, hook: Hook, ifindex: u32, frame: Vec<u8>) -> Sent {
        let outcome = self.stage.send(hook, ifindex, &frame);
        self.stage.compare_flows();
        Sent {
            sent: frame,
            outcome,
        }
    }

    /// Comes in by the uplink, where two programs see it.
    pub(crate) fn arrives_twice(&mut self, packet: &Packet) -> Sent {
        self.send_twice(Hook::UplinkIn, self.stage.interfaces.uplink, packet)
    }

    /// A pod sends it, and two programs see it.
    pub(crate) fn pod_sends_twice(&mut self, packet: &Packet) -> Sent {
        self.send_twice(Hook::PodIn, self.stage.interfaces.pod, packet)
    }

    fn send_twice(&mut self, hook: Hook, ifindex: u32, packet: &Packet) -> Sent {
        let sent = packet.bytes();
        let outcome = self.stage.send_by(hook, ifindex, &sent, 2);
        self.stage.compare_flows();
        Sent { sent, outcome }
    }

    /// Comes in by the uplink.
    pub(crate) fn arrives(&mut self, packet: &Packet) -> Sent {
        self.arrives_raw(packet.bytes())
    }

    pub(crate) fn arrives_raw(&mut self, frame: Vec<u8>) -> Sent {
        self.send(Hook::UplinkIn, self.stage.interfaces.uplink, frame)
    }

    /// Comes in by the other uplink.
    pub(crate) fn arrives_elsewhere(&mut self, packet: &Packet) -> Sent {
        self.arrives_at(self.stage.interfaces.other_uplink, packet)
    }

    /// Comes in by an uplink.
    pub(crate) fn arrives_at(&mut self, ifindex: u32, packet: &Packet) -> Sent {
        self.send(Hook::UplinkIn, ifindex, packet.bytes())
    }

    /// Goes out by the uplink.
    pub(crate) fn leaves(&mut self, packet: &Packet) -> Sent {
        self.leaves_raw(packet.bytes())
    }

    pub(crate) fn leaves_raw(&mut self, frame: Vec<u8>) -> Sent {
        self.send(Hook::UplinkOut, self.stage.interfaces.uplink, frame)
    }

    /// The host sends it, by the uplink.
    pub(crate) fn host_sends(&mut self, packet: &Packet) -> Sent {
        self.send(Hook::HostOut, self.stage.interfaces.uplink, packet.bytes())
    }

    /// A pod sends it.
    pub(crate) fn pod_sends(&mut self, packet: &Packet) -> Sent {
        self.pod_sends_raw(packet.bytes())
    }

    pub(crate) fn pod_sends_raw(&mut self, frame: Vec<u8>) -> Sent {
        self.send(Hook::PodIn, self.stage.interfaces.pod, frame)
    }

    /// A pod is about to receive it.
    pub(crate) fn pod_gets(&mut self, packet: &Packet) -> Sent {
        self.send(Hook::PodOut, self.stage.interfaces.pod, packet.bytes())
    }

    pub(crate) fn flow(&self, key: FlowKey) -> Option<Flow> {
        self.stage.kernel.flow(key)
    }

    /// The Forward entry of a packet's tuple.
    pub(crate) fn forward(&self, packet: &Packet) -> Flow {
        self.flow(tuple(packet).forward())
            .expect("a Forward entry of the packet")
    }

    /// The key of the Reply entry of a packet's flow.
    pub(crate) fn twin(&self, packet: &Packet) -> FlowKey {
        let flow = self.forward(packet);
        let after = Tuple {
            source: flow.source,
            destination: flow.destination,
            ..tuple(packet)
        };
        after.reply()
    }

    pub(crate) fn flow_count(&self) -> usize {
        self.stage.kernel.flows().len()
    }

    /// Changes an entry behind the program's back.
    pub(crate) fn edit(&mut self, key: FlowKey, change: impl FnOnce(&mut Flow)) {
        let mut flow = self.flow(key).expect("an entry to change");
        change(&mut flow);
        self.stage.kernel.set_flows([(&key, &flow)]);
        self.stage.model.flows.insert(key, flow);
    }

    /// Time goes by for all flows.
    pub(crate) fn seconds_pass(&mut self, seconds: u32) {
        for key in self.stage.kernel.flows().into_keys() {
            self.edit(key, |flow| {
                flow.last_seen = flow.last_seen.wrapping_sub(seconds);
            });
        }
    }

    /// An entry is evicted.
    pub(crate) fn evict(&mut self, key: FlowKey) {
        self.stage.kernel.remove_flow(key);
        self.stage.model.flows.remove(&key);
    }

    pub(crate) fn configure(&mut self, change: impl FnOnce(&mut Config)) {
        let mut config = self.stage.model.tables.config;
        change(&mut config);
        self.stage.configure(&config);
    }

    pub(crate) fn raise_epoch(&mut self) {
        self.configure(|_| ());
    }

    /// Changes a service of this family.
    pub(crate) fn service(&mut self, name: &str, change: impl FnOnce(&mut Service)) {
        let mut wish = services::wish();
        let name: Arc<str> = format!("{name}/{:?}", self.cast.family).into();
        let mut service = (*wish.services[&name]).clone();
        change(&mut service);
        wish.services.insert(name, Arc::new(service));
        self.stage.wish(&wish);
    }

    /// Gives a service other endpoints at all its frontends, at the ports that they name.
    pub(crate) fn endpoints(&mut self, name: &str, backends: &[lb::Backend]) {
        self.service(name, |service| {
            for frontend in &mut service.frontends {
                let list: services::Backends = match frontend.protocol {
                    lb::Protocol::Tcp => backends.into(),
                    lb::Protocol::Udp => {
                        let port = 5353;
                        backends
                            .iter()
                            .map(|backend| lb::Backend { port, ..*backend })
                            .collect()
                    }
                };
                frontend.external = list.clone();
                frontend.internal = list;
            }
        });
    }
}

/// The tuple of a packet.
pub(crate) fn tuple(packet: &Packet) -> Tuple {
    Tuple {
        source: packet.source,
        destination: packet.destination,
        protocol: match packet.transport {
            Transport::Tcp(_) => lb_abi::TCP,
            Transport::Udp { .. } => lb_abi::UDP,
            Transport::Icmp { .. } | Transport::Other(_) => panic!("no ports"),
        },
    }
}

impl Sent {
    fn is(&self, verdict: Verdict, frame: &[u8]) -> &Self {
        assert_eq!(
            (self.outcome.verdict, hex(&self.outcome.frame)),
            (verdict, hex(frame)),
            "verdict and bytes that came, and that the row expects"
        );
        self
    }

    /// It goes on as it came, and nothing was counted.
    pub(crate) fn is_untouched(&self) -> &Self {
        assert_eq!(self.outcome.counted, []);
        self.is(Verdict::Next, &self.sent)
    }

    /// It goes to the host's stack as this.
    pub(crate) fn passes_as(&self, packet: &Packet) -> &Self {
        self.is(Verdict::Next, &packet.bytes())
    }

    /// It goes to the host's stack as these octets.
    pub(crate) fn passes_as_bytes(&self, frame: &[u8]) -> &Self {
        self.is(Verdict::Next, frame)
    }

    /// It leaves at once as this.
    pub(crate) fn is_redirected_as(&self, packet: &Packet) -> &Self {
        self.is(Verdict::Redirect, &packet.bytes())
    }

    pub(crate) fn is_dropped(&self, reason: Reason) -> &Self {
        self.is_dropped_for(&[reason])
    }

    /// Dropped after all that was counted.
    pub(crate) fn is_dropped_for(&self, reasons: &[Reason]) -> &Self {
        assert_eq!(self.outcome.counted, reasons);
        self.is(Verdict::Drop, &self.sent)
    }

    pub(crate) fn counts(&self, reasons: &[Reason]) -> &Self {
        assert_eq!(self.outcome.counted, reasons);
        self
    }

    pub(crate) fn verdict(&self) -> Verdict {
        self.outcome.verdict
    }
}

/// Runs rows in the families they are for, and fails with all that fail.
pub(crate) fn play(name: &str, tables: &[(&[Row], &[Family])]) {
    let Some(place) = Place::make(name) else {
        return;
    };
    let (played, failures) = place.run(|| {
        let mut stage = Stage::new(&place);
        let (mut played, mut failures) = (0, Vec::new());
        for (rows, families) in tables {
            for (claim, proof) in *rows {
                for family in *families {
                    played += 1;
                    if let Err(text) = play_row(&mut stage, *family, *proof) {
                        failures.push(format!("{family:?}: {claim}\n{text}"));
                    }
                }
            }
        }
        (played, failures)
    });
    eprintln!("{name}: {played} rows");
    assert!(
        failures.is_empty(),
        "{} of {played} rows fail:\n\n{}",
        failures.len(),
        failures.join("\n\n")
    );
}

fn play_row(
    stage: &mut Stage<'_>,
    family: Family,
    proof: fn(&mut Scene<'_, '_>),
) -> Result<(), String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        stage.reset();
        let cast = Cast::of(family);
        proof(&mut Scene { stage, cast });
    }));
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
            .unwrap_or_default()
    })
}

/// Both families.
pub(crate) const BOTH_FAMILIES: &[Family] = &BOTH;
