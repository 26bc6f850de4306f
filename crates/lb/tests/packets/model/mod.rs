//! The load balancer in plain Rust, as its contract has it: what becomes of a packet, and what is remembered. It shares the layouts of
//! `lb-abi` with the programs in the kernel and nothing else.

mod forward;
pub(crate) mod parse;
mod reply;
mod rewrite;
pub(crate) mod tables;

use std::collections::BTreeMap;
use std::net::IpAddr;

use lb_abi::{
    FILTER_BACKENDS, FILTER_FRONTENDS, FlowKind, Reason, Scope, UDP, config_flags, flow_flags,
};

use crate::packet::{End, FIN, NODE, RST, SYN};
use parse::{Headers, Sight};
use tables::Tables;

/// Where a packet is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    UplinkIn,
    /// What came by another interface.
    UplinkOut,
    /// The same hook, for what the host itself sends.
    HostOut,
    PodIn,
    PodOut,
}

impl Hook {
    pub(crate) const ALL: [Self; 5] = [
        Self::UplinkIn,
        Self::UplinkOut,
        Self::HostOut,
        Self::PodIn,
        Self::PodOut,
    ];
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// To the next program, and then the host's stack.
    Next,
    Drop,
    /// Out of an interface at once.
    Redirect,
}

/// Verdict, packet, and the reasons that were counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    pub(crate) frame: Vec<u8>,
    pub(crate) counted: Vec<Reason>,
}

/// Source, destination and protocol in the client's direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tuple {
    pub(crate) source: End,
    pub(crate) destination: End,
    pub(crate) protocol: u8,
}

impl Tuple {
    pub(crate) fn of(headers: &Headers) -> Self {
        Self {
            source: headers.source,
            destination: headers.destination,
            protocol: headers.protocol,
        }
    }

    pub(crate) fn turned(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            ..self
        }
    }

    pub(crate) fn forward(self) -> FlowKey {
        (self, FlowKind::Forward as u8)
    }

    pub(crate) fn reply(self) -> FlowKey {
        (self, FlowKind::Reply as u8)
    }
}

/// A tuple, and a [`FlowKind`].
pub(crate) type FlowKey = (Tuple, u8);

/// One direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) source: End,
    pub(crate) destination: End,
    pub(crate) flags: u16,
    pub(crate) backend: u32,
    pub(crate) generation: u32,
    pub(crate) group: u32,
    pub(crate) ifindex: u32,
    pub(crate) next_hop: Option<IpAddr>,
    pub(crate) epoch: u32,
    pub(crate) last_seen: u32,
    pub(crate) packets: u32,
    pub(crate) bytes: u64,
    pub(crate) tcp_flags: u8,
}

impl Flow {
    pub(crate) fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    fn leave_by(&mut self, route: &Route) {
        self.ifindex = route.ifindex;
        let hop = route.gateway.unwrap_or(self.destination.0);
        // One of the other family is looked up when the packet is sent.
        self.next_hop = (hop.is_ipv4() == self.destination.0.is_ipv4()).then_some(hop);
    }

    /// The tuple that its packets have afterwards.
    fn becomes(&self, protocol: u8) -> Tuple {
        Tuple {
            source: self.source,
            destination: self.destination,
            protocol,
        }
    }
}

/// A route of the fixture.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route {
    pub(crate) network: IpAddr,
    pub(crate) bits: u8,
    pub(crate) ifindex: u32,
    pub(crate) gateway: Option<IpAddr>,
    /// The address that the host would use as source.
    pub(crate) source: IpAddr,
}

/// What is not the program's to decide: taken from what the kernel remembers of the packet.
pub(crate) trait Given {
    /// The Forward entry that the kernel has now.
    fn forward(&self, tuple: Tuple) -> Option<Flow>;
}

/// The model's state.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) tables: Tables,
    pub(crate) routes: Vec<Route>,
    pub(crate) flows: BTreeMap<FlowKey, Flow>,
    /// Connected sockets of the host, in its own direction.
    pub(crate) sockets: Vec<Tuple>,
}

/// One packet at one hook.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a> {
    pub(crate) hook: Hook,
    pub(crate) frame: &'a [u8],
    /// Seconds of the coarse monotonic clock.
    pub(crate) now: u32,
}

/// How a packet goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// To the host's stack.
    Stack,
    /// To its next hop, one hop older.
    Hop,
    /// Back to where it came from.
    Back,
}

/// A packet under way through the model.
struct Passage<'a> {
    model: &'a mut Model,
    input: Input<'a>,
    given: &'a dyn Given,
    frame: Vec<u8>,
    counted: Vec<Reason>,
}

impl Model {
    pub(crate) fn run(&mut self, input: Input<'_>, given: &dyn Given) -> Outcome {
        let mut passage = Passage {
            model: self,
            input,
            given,
            frame: input.frame.to_vec(),
            counted: Vec::new(),
        };
        let verdict = match input.hook {
            Hook::UplinkIn if is_for_another(input.frame) => Verdict::Next,
            Hook::UplinkIn | Hook::PodIn => passage.incoming(),
            Hook::UplinkOut | Hook::HostOut | Hook::PodOut => passage.outgoing(),
        };
        Outcome {
            verdict,
            frame: passage.frame,
            counted: passage.counted,
        }
    }

    /// Where the routing table sends a packet: interface, neighbour, and the source it suggests.
    pub(crate) fn route(&self, destination: IpAddr) -> Option<&Route> {
        self.routes
            .iter()
            .filter(|route| covers(route, destination))
            .max_by_key(|route| route.bits)
    }

    /// All of several ways that are as good.
    fn ways(&self, destination: IpAddr) -> impl Iterator<Item = &Route> {
        let best = self.route(destination).map(|route| route.bits);
        self.routes
            .iter()
            .filter(move |route| Some(route.bits) == best && covers(route, destination))
    }

    /// A network of the fixture gets another gateway beside the one it has, on another interface. All its ways.
    pub(crate) fn add_way(&mut self, inside: IpAddr, gateway: IpAddr) -> Vec<Route> {
        let present = *self.route(inside).expect("a route beside which to go");
        let way = *self.route(gateway).expect("a route to the gateway");
        self.routes.push(Route {
            gateway: Some(gateway),
            ifindex: way.ifindex,
            source: way.source,
            ..present
        });
        self.ways(inside).copied().collect()
    }

    /// A network of the fixture gets another gateway, and with it the interface and source of that.
    pub(crate) fn reroute(&mut self, inside: IpAddr, gateway: IpAddr) -> Route {
        let way = *self.route(gateway).expect("a route to the gateway");
        let best = self
            .routes
            .iter_mut()
            .filter(|route| covers(route, inside))
            .max_by_key(|route| route.bits);
        let best = best.expect("a route to change");
        best.gateway = Some(gateway);
        best.ifindex = way.ifindex;
        if way.source.is_ipv4() == inside.is_ipv4() {
            best.source = way.source;
        }
        *best
    }

    fn is_expired(&self, flow: &Flow, protocol: u8, now: u32) -> bool {
        let config = &self.tables.config;
        let timeout = if protocol == UDP {
            config.udp_timeout
        } else if flow.has(flow_flags::CLOSED) {
            config.closing_timeout
        } else if flow.has(flow_flags::ANSWERED) {
            config.tcp_timeout
        } else {
            config.syn_timeout
        };
        age(flow, now) > i64::from(timeout)
    }

    /// An entry that is not expired.
    fn live(&self, key: FlowKey, now: u32) -> Option<Flow> {
        let flow = *self.flows.get(&key)?;
        (!self.is_expired(&flow, key.0.protocol, now)).then_some(flow)
    }
}

impl Passage<'_> {
    fn count(&mut self, reason: Reason) {
        self.counted.push(reason);
    }

    fn drop(&mut self, reason: Reason) -> Verdict {
        self.count(reason);
        self.frame = self.input.frame.to_vec();
        Verdict::Drop
    }

    /// The way of a packet to a backend; of several the one that the kernel took, which must be the same for as long as the flow lasts.
    fn way(&self, headers: &Headers, backend: IpAddr) -> Option<Route> {
        let taken = self.given.forward(Tuple::of(headers));
        let is_taken = |way: &&Route| taken.is_some_and(|flow| flow.ifindex == way.ifindex);
        let mut ways = self.model.ways(backend);
        let any = self.model.route(backend);
        ways.find(is_taken).or(any).copied()
    }

    fn is_inside(&self) -> bool {
        self.input.hook == Hook::PodIn
    }

    /// From the network, or from a pod.
    fn incoming(&mut self) -> Verdict {
        match parse::parse(self.input.frame) {
            Sight::Foreign => Verdict::Next,
            Sight::Malformed { destination } => {
                self.drop_if_virtual(destination, Reason::Malformed)
            }
            Sight::Fragment { destination } => self.drop_if_virtual(destination, Reason::Fragment),
            Sight::Echo(headers) => self.echo(&headers),
            Sight::EchoWithOptions { destination } => {
                self.drop_if_virtual(destination, Reason::NoService)
            }
            Sight::Flow(headers) => self.incoming_flow(&headers),
        }
    }

    fn drop_if_virtual(&mut self, destination: IpAddr, reason: Reason) -> Verdict {
        if self.model.tables.is_virtual(destination) {
            self.drop(reason)
        } else {
            Verdict::Next
        }
    }

    fn echo(&mut self, headers: &Headers) -> Verdict {
        let tables = &self.model.tables;
        if !tables.is_virtual(headers.destination.0) {
            return Verdict::Next;
        }
        if tables.config.flags & config_flags::PING == 0 {
            return self.drop(Reason::NoService);
        }
        rewrite::answer_echo(&mut self.frame, headers);
        self.count(Reason::Ping);
        Verdict::Redirect
    }

    fn incoming_flow(&mut self, headers: &Headers) -> Verdict {
        let address = headers.destination.0;
        if self.model.tables.passes_filter(FILTER_FRONTENDS, address) || self.is_hairpin(address) {
            let verdict = self
                .reply_to_node(headers)
                .or_else(|| self.established(headers))
                .or_else(|| self.frontend(headers));
            if let Some(verdict) = verdict {
                return verdict;
            }
        }
        self.take_over(headers);
        Verdict::Next
    }

    /// The row of a frontend, and what follows from it; `None` where there is none.
    fn frontend(&mut self, headers: &Headers) -> Option<Verdict> {
        let (address, port) = headers.destination;
        let tables = &self.model.tables;
        let exact = tables.frontend(address, port, headers.protocol, Scope::External);
        let Some(external) = exact else {
            return tables
                .is_virtual(address)
                .then(|| self.drop(Reason::NoService));
        };
        Some(self.new_flow(headers, external))
    }

    /// A connection straight to a backend, from outside to one of this node, ends the flow that would rewrite its answers.
    fn take_over(&mut self, headers: &Headers) {
        let is_first = headers.protocol == UDP || headers.is_syn();
        let address = headers.destination.0;
        let may_be_backend =
            self.is_inside() || self.model.tables.passes_filter(FILTER_BACKENDS, address);
        if !is_first || !may_be_backend {
            return;
        }
        let key = Tuple::of(headers).reply();
        let Some(flow) = self.model.flows.get(&key).copied() else {
            return;
        };
        if flow.has(flow_flags::SNAT) {
            return;
        }
        self.forget(key);
        self.count(Reason::DirectTakeover);
    }

    /// Whether an entry needs no care for this packet: it had it in this second, and no connection begins or ends.
    fn is_quiet(&self, headers: &Headers, flow: &Flow) -> bool {
        flow.last_seen == self.input.now
            && flow.epoch == self.model.tables.config.epoch
            && headers.tcp_flags & (FIN | SYN | RST) == 0
    }

    /// Cares for an entry: for its twin, which is made anew where it is missing, and for what the packet's flags say. False where another
    /// flow has the twin's place.
    fn tend(&mut self, headers: &Headers, key: FlowKey, flow: &mut Flow) -> bool {
        let now = self.input.now;
        flow.tcp_flags |= headers.tcp_flags;
        let answered = if key.1 == FlowKind::Reply as u8 {
            flow_flags::ANSWERED
        } else {
            0
        };
        flow.flags |= answered;
        flow.last_seen = now;
        flow.epoch = self.model.tables.config.epoch;
        let twin = twin_key(key, flow);
        match self.model.flows.get_mut(&twin) {
            Some(other) if twin_key(twin, other) != key => return false,
            Some(other) => {
                if other.last_seen != now {
                    other.last_seen = now;
                    // Each direction looks at its own way once a second.
                    other.epoch = self.model.tables.config.epoch.wrapping_sub(1);
                }
                let ends = headers.ends(other.tcp_flags);
                other.flags |= answered | ends;
                flow.flags |= ends;
            }
            None => {
                let becomes = if key.1 == FlowKind::Forward as u8 {
                    key.0.turned()
                } else {
                    key.0
                };
                let other = Flow {
                    source: becomes.source,
                    destination: becomes.destination,
                    ifindex: 0,
                    next_hop: None,
                    packets: 0,
                    bytes: 0,
                    tcp_flags: 0,
                    epoch: self.model.tables.config.epoch.wrapping_sub(1),
                    ..*flow
                };
                self.model.flows.insert(twin, other);
                self.count(Reason::Healed);
            }
        }
        true
    }

    /// Takes away an entry, and its twin where that is no other flow's.
    fn forget(&mut self, key: FlowKey) {
        let Some(flow) = self.model.flows.remove(&key) else {
            return;
        };
        let twin = twin_key(key, &flow);
        let other = self.model.flows.get(&twin);
        if other.is_some_and(|other| twin_key(twin, other) == key) {
            self.model.flows.remove(&twin);
        }
    }

    /// The packet becomes what its entry says.
    fn send(&mut self, headers: &Headers, key: FlowKey, mut flow: Flow) -> Verdict {
        flow.packets += 1;
        flow.bytes += headers.length as u64;
        self.model.flows.insert(key, flow);
        let way = if flow.has(flow_flags::SNAT) {
            Way::Hop
        } else if flow.has(flow_flags::HAIRPIN) {
            Way::Back
        } else {
            Way::Stack
        };
        let is_ipv4 = headers.source.0.is_ipv4();
        if way == Way::Hop && headers.hop_limit <= 1 {
            return self.drop(Reason::HopLimit);
        }
        rewrite::translate(&mut self.frame, headers, flow.source, flow.destination);
        match way {
            Way::Stack => Verdict::Next,
            Way::Hop => {
                rewrite::hop(&mut self.frame, is_ipv4);
                Verdict::Redirect
            }
            Way::Back => {
                rewrite::turn_ethernet(&mut self.frame);
                Verdict::Redirect
            }
        }
    }

    fn is_hairpin(&self, address: IpAddr) -> bool {
        self.is_inside() && address == self.hairpin_address(address)
    }

    fn hairpin_address(&self, family: IpAddr) -> IpAddr {
        let config = &self.model.tables.config;
        match family {
            IpAddr::V4(_) => config.hairpin_address4.into(),
            IpAddr::V6(_) => config.hairpin_address6.into(),
        }
    }
}

/// Seconds since a flow was seen. It may have been seen before the machine started, where a test has made it older, or by a processor whose
/// clock is ahead.
fn age(flow: &Flow, now: u32) -> i64 {
    now.wrapping_sub(flow.last_seen).cast_signed().into()
}

/// Whether a frame is for one host, and that is not this one.
fn is_for_another(frame: &[u8]) -> bool {
    let is_for_many = frame[0] & 1 == 1;
    !is_for_many && frame[..6] != NODE
}

/// The key of an entry's other one.
fn twin_key((tuple, kind): FlowKey, flow: &Flow) -> FlowKey {
    let becomes = flow.becomes(tuple.protocol);
    if kind == FlowKind::Forward as u8 {
        becomes.reply()
    } else {
        becomes.turned().forward()
    }
}

fn covers(route: &Route, destination: IpAddr) -> bool {
    let bits = |address| match address {
        IpAddr::V4(address) => Some((u128::from(u32::from(address)) << 96, true)),
        IpAddr::V6(address) => Some((u128::from(address), false)),
    };
    let (Some((network, is_4)), Some((address, also_4))) = (bits(route.network), bits(destination))
    else {
        return false;
    };
    is_4 == also_4 && (network ^ address).leading_zeros() >= u32::from(route.bits)
}
