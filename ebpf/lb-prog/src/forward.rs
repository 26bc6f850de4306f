//! From the client to a backend, and back: what all hooks have in common.
//!
//! A packet whose flow was seen in this second needs one lookup. All others go through [`tend`] or [`open`] first, functions of their own
//! so that their stack is not the fast path's, and are looked up again.

use crate::family::{Family, Flow, Ports, Tuple, is_unspecified, same};
use crate::flow::{ends_by, forget, is_now, is_twin, keep, seconds};
use crate::maps::{count, filter_holds, scratch};
use crate::next_hop::{self, NextHop};
use crate::parse::Packet;
use crate::rewrite::{Way, difference_of, rewrite, twin_difference};
use crate::select::{self, Chosen, Place};
use crate::skb::{NEXT, PROCEED, Skb, Verdict, drop};
use crate::snat;
use aya_ebpf::bindings::BPF_ANY;
use aya_ebpf::helpers::generated::bpf_loop;
use lb_abi::{
    AddressHash, Backend, Config, FILTER_BACKENDS, FlowKind, Frontend, Reason, UDP, backend_flags,
    config_flags, flow_flags, frontend_flags,
};

/// Backends that are tried in the place of one that a client's port leads to already.
const OTHERS: u32 = 3;
/// No backend's id.
const NOBODY: u32 = u32::MAX;

/// No verdict: there is no entry, or one that counts as absent.
const ABSENT: Verdict = 257;

/// The entry for a packet to a frontend, or what becomes of it without one. `hash` is the destination's; `INSIDE` says that a pod of this
/// node sends it.
#[inline(always)]
pub(crate) fn forward<F: Family, const INSIDE: bool>(
    skb: Skb,
    packet: &Packet<F>,
    hash: AddressHash,
    config: &Config,
) -> Result<&'static mut Flow<F>, Verdict> {
    // What is for the node itself, mostly.
    if !select::may_be_frontend(&packet.tuple, hash) {
        return Err(NEXT);
    }
    let mut verdict = ABSENT;
    if let Some(flow) = F::flow(&packet.tuple) {
        if is_quiet(flow, packet, config) {
            return Ok(flow);
        }
        verdict = tend::<F>(skb, packet, config);
    }
    if verdict == ABSENT {
        verdict = open::<F, INSIDE>(skb, packet, config);
    }
    if verdict != PROCEED {
        return Err(verdict);
    }
    // Looked up again rather than handed on: it may be another, and the verifier need not follow it through the functions.
    F::flow(&packet.tuple).ok_or(NEXT)
}

/// The entry for a packet that may be a backend's reply, or what becomes of it without one; [`PROCEED`] where it is none.
#[inline(always)]
pub(crate) fn reply<F: Family>(
    skb: Skb,
    packet: &Packet<F>,
    config: &Config,
) -> Result<&'static mut Flow<F>, Verdict> {
    let key = packet.tuple.turned().of_kind(FlowKind::Reply);
    let flow = F::flow(&key).ok_or(PROCEED)?;
    if is_quiet(flow, packet, config) {
        return Ok(flow);
    }
    match tend_reply::<F>(skb, packet, &key, config) {
        PROCEED => F::flow(&key).ok_or(PROCEED),
        ABSENT => Err(PROCEED),
        verdict => Err(verdict),
    }
}

/// Whether an entry needs no care for this packet.
#[inline(always)]
fn is_quiet<F: Family>(flow: &Flow<F>, packet: &Packet<F>, config: &Config) -> bool {
    !packet.is_turning_point() && flow.epoch == config.epoch && is_now(flow.last_seen, config)
}

/// Makes the packet what its entry says, and sends it on its way. No function of its own: calls are dear where the kernel guards returns.
#[inline(always)]
pub(crate) fn send<F: Family>(
    skb: Skb,
    packet: &Packet<F>,
    flow: &mut Flow<F>,
    kind: FlowKind,
) -> Verdict {
    flow.count(skb.len());
    let way = if flow.has(flow_flags::SNAT) {
        Way::Hop
    } else if flow.has(flow_flags::HAIRPIN) {
        Way::Back
    } else {
        Way::Stack
    };
    let verdict = rewrite(skb, packet, flow, way);
    if verdict != PROCEED {
        return verdict;
    }
    count(match kind {
        FlowKind::Reply => Reason::Reply,
        FlowKind::Forward if flow.has(flow_flags::LOCAL) => Reason::Local,
        FlowKind::Forward => Reason::Remote,
    });
    match way {
        Way::Stack => {
            skb.set_translated();
            NEXT
        }
        Way::Hop => next_hop::send(flow),
        Way::Back => skb.send_back(),
    }
}

/// Cares for the entry of a packet to a frontend: [`PROCEED`] where it is good, [`ABSENT`] where a new one is to be made.
#[inline(never)]
fn tend<F: Family>(skb: Skb, packet: &Packet<F>, config: &Config) -> Verdict {
    let now = seconds(config);
    let key = &packet.tuple;
    let Some(flow) = F::flow(key) else {
        return ABSENT;
    };
    let is_expired = flow.is_expired(key.protocol, now, config);
    if is_expired || wants_another(flow, packet) {
        // The other entry of one that has just ended stays: its tuple is still known at the backend.
        if is_expired || !flow.has(flow_flags::CLOSED) {
            forget(key, flow);
        }
        return ABSENT;
    }
    if flow.has(flow_flags::SNAT) {
        let mut hop = NextHop::STACK;
        let way = way_of_client(key, flow);
        if !hop.find(skb, &way) {
            return drop(Reason::NoRoute);
        }
        if !is_settled(key, flow)
            && let Some(source) = hop.snat_source(skb, &way, config)
            && !is_unspecified(source)
            && !same(source, &flow.source)
        {
            forget(key, flow);
            return ABSENT;
        }
        flow.ifindex = hop.ifindex;
        flow.next_hop = hop.address;
    }
    if !keep(key, flow, packet.tcp_flags as u8, now, config) {
        F::remove_flow(key);
        return ABSENT;
    }
    PROCEED
}

/// What the host was asked for a way with when the flow was new: from the client to the backend. Asked with anything else, it may name
/// another of several ways, and with it another source.
#[inline(always)]
fn way_of_client<F: Family>(key: &Tuple<F>, flow: &Flow<F>) -> Tuple<F> {
    let becomes = flow.becomes(key.protocol);
    Tuple {
        source: key.source,
        ports: Ports::new(key.ports.source(), becomes.ports.destination()),
        ..becomes
    }
}

/// Whether a flow cannot get another source any more. Until then it does where the node would use another now: from the old one it may
/// never be answered.
#[inline(always)]
fn is_settled<F: Family>(key: &Tuple<F>, flow: &Flow<F>) -> bool {
    key.protocol != UDP && flow.has(flow_flags::ANSWERED)
}

/// Whether the packet begins a connection on an entry of an earlier one, or the backend no longer takes it. An established TCP flow
/// stays with a backend that is gone: only the backend can end it in a way that the client understands.
#[inline(always)]
fn wants_another<F: Family>(flow: &Flow<F>, packet: &Packet<F>) -> bool {
    let state = select::present(flow.backend)
        .filter(|backend| backend.generation == flow.backend_generation)
        .map(|backend| backend.flags);
    if packet.tuple.protocol == UDP {
        return state.is_none();
    }
    packet.is_syn()
        && (flow.has(flow_flags::CLOSING)
            || state.is_none_or(|flags| flags & backend_flags::TERMINATING != 0))
}

/// Cares for the entry of a reply: [`PROCEED`] where it is good, [`ABSENT`] where the packet is no reply.
#[inline(never)]
fn tend_reply<F: Family>(skb: Skb, packet: &Packet<F>, key: &Tuple<F>, config: &Config) -> Verdict {
    let now = seconds(config);
    let Some(flow) = F::flow(key) else {
        return ABSENT;
    };
    if flow.is_expired(key.protocol, now, config) {
        return ABSENT;
    }
    if packet.is_syn() {
        // Who is asked does not open: the backend begins a connection of its own from the same port, and so has none of the flow's any more.
        // One from elsewhere may be forged, and must not end a flow.
        if flow.has(flow_flags::LOCAL) {
            forget(key, flow);
            count(Reason::DirectTakeover);
        }
        return ABSENT;
    }
    if flow.has(flow_flags::SNAT) {
        let mut hop = NextHop::STACK;
        if !hop.find(skb, &flow.becomes(key.protocol)) {
            return drop(Reason::NoRoute);
        }
        flow.ifindex = hop.ifindex;
        flow.next_hop = hop.address;
    }
    if !keep(key, flow, packet.tcp_flags as u8, now, config) {
        F::remove_flow(key);
        return ABSENT;
    }
    PROCEED
}

/// Makes the entries of a new flow: [`PROCEED`] where they are made, else what becomes of the packet.
#[inline(never)]
fn open<F: Family, const INSIDE: bool>(skb: Skb, packet: &Packet<F>, config: &Config) -> Verdict {
    let client = &packet.tuple;
    let port = client.ports.destination();
    let found = select::frontend::<F>(client.destination, port, client.protocol, INSIDE);
    let Some(frontend) = found else {
        return unserved::<F>(client.destination);
    };
    let routable = frontend.flags & frontend_flags::ROUTABLE != 0
        || config.flags & config_flags::EXTERNAL_CLUSTER_IP != 0;
    if !INSIDE && !routable {
        return drop(Reason::NotRoutable);
    }
    let id = choose::<F, INSIDE>(client, frontend, config);
    let Some(backend) = select::present(id) else {
        return drop(Reason::NoBackend);
    };
    let chosen = Chosen { id, backend };
    let mut key = client.of_kind(FlowKind::Reply);
    aim::<F, INSIDE>(&mut key, client, backend, config);
    let mut hop = NextHop::STACK;
    let mut made = Reason::NewFlow;
    let Some(entry) = scratch::<F>() else {
        return drop(Reason::TableFull);
    };
    *entry = entry_of_reply(client, &frontend, &chosen, config);
    // It may be the end of a flow that was forgotten.
    entry.flags |= ends_by(packet.tcp_flags as u8, 0);
    if INSIDE || backend.flags & backend_flags::LOCAL != 0 {
        if INSIDE {
            entry.flags |= flow_flags::INTERNAL;
            if same(&key.destination, &client.source) {
                entry.flags |= flow_flags::HAIRPIN;
            }
        }
        entry.difference = difference_of(&key, client);
        // It was taken, and so were those of the other backends: the later connection gets it.
        if let Some(earlier) = F::flow(&key) {
            forget(&key, earlier);
        }
        if !F::insert_flow(&key, entry, BPF_ANY as u64) {
            return drop(Reason::TableFull);
        }
    } else {
        entry.flags |= flow_flags::SNAT;
        if !hop.find(skb, &key) {
            return drop(Reason::NoRoute);
        }
        match hop.snat_source(skb, &key, config) {
            // SAFETY: a reference.
            Some(source) if !is_unspecified(source) => key.source = unsafe { F::read(source) },
            _ => return drop(Reason::NoSnatAddress),
        }
        entry.difference = difference_of(&key, client);
        match snat::claim(skb, packet, &mut key, entry, config) {
            Some(reason) => made = reason,
            None => return drop(Reason::NoSnatPort),
        }
    }
    // The entry of the forward direction, in the same memory.
    entry.become_tuple(&key);
    entry.difference = twin_difference(entry.difference);
    entry.tcp_flags = packet.tcp_flags as u8;
    entry.epoch = config.epoch;
    entry.ifindex = hop.ifindex;
    entry.next_hop = hop.address;
    if !F::insert_flow(client, entry, BPF_ANY as u64) {
        F::remove_flow(&key);
        return drop(Reason::TableFull);
    }
    count(made);
    PROCEED
}

/// Id of the backend for a new flow; [`NOBODY`] where there is none.
///
/// Where the client's port leads to it already by another frontend, it is the next in the list to which it does not, on every node the
/// same: a backend could not tell the two connections from each other, nor one that is over for as long as it remembers it (RFC 9293
/// section 3.6.1). Where the port leads to all of those tried, the later connection gets the tuple.
#[inline(never)]
fn choose<F: Family, const INSIDE: bool>(
    client: &Tuple<F>,
    frontend: Frontend,
    config: &Config,
) -> u32 {
    let Some(place) = select::for_flow(&frontend, client, config.hash_seed) else {
        return NOBODY;
    };
    let Some(named) = place.backend() else {
        return NOBODY;
    };
    let mut turn = Turn {
        client,
        config,
        place,
        key: client.of_kind(FlowKind::Reply),
        id: named.id,
    };
    if turn.is_taken::<INSIDE>(named.backend) {
        let turn = core::ptr::from_mut(&mut turn);
        // SAFETY: the kernel calls the function with the pointer, while this one waits.
        unsafe {
            bpf_loop(OTHERS, attempt::<F, INSIDE> as *mut _, turn.cast(), 0);
        }
    }
    turn.id
}

/// A search for another backend. In the kernel's loop and not one of ours, as that of `snat`.
struct Turn<'a, F: Family> {
    client: &'a Tuple<F>,
    config: &'a Config,
    place: Place,
    key: Tuple<F>,
    id: u32,
}

impl<F: Family> Turn<'_, F> {
    /// Whether the client's port leads to a backend already.
    #[inline(always)]
    fn is_taken<const INSIDE: bool>(&mut self, backend: &Backend) -> bool {
        if !INSIDE && backend.flags & backend_flags::LOCAL == 0 {
            return false;
        }
        aim::<F, INSIDE>(&mut self.key, self.client, backend, self.config);
        F::flow(&self.key).is_some_and(|flow| {
            let is_over = flow.is_expired(self.key.protocol, seconds(self.config), self.config);
            !is_over && !is_twin(self.client, flow)
        })
    }
}

/// Tries one backend; 1 ends the search.
unsafe extern "C" fn attempt<F: Family, const INSIDE: bool>(_: u64, turn: *mut Turn<'_, F>) -> i64 {
    // SAFETY: `choose` hands it over and does not touch it meanwhile.
    let turn = unsafe { &mut *turn };
    turn.place.advance();
    if let Some(other) = turn.place.backend()
        && !turn.is_taken::<INSIDE>(other.backend)
    {
        turn.id = other.id;
        return 1;
    }
    0
}

/// Makes a key that under which a backend's replies find their entry, as long as nobody replaces the client's address and port.
#[inline(always)]
fn aim<F: Family, const INSIDE: bool>(
    key: &mut Tuple<F>,
    client: &Tuple<F>,
    backend: &Backend,
    config: &Config,
) {
    key.destination = F::backend_address(backend);
    key.ports = Ports::new(client.ports.source(), u16::from_ne_bytes(backend.port));
    key.source = client.source;
    if INSIDE && same(&key.destination, &key.source) {
        // Answered to its own address, a pod would not send the answer out.
        key.source = F::hairpin_address(config);
    }
}

/// The entry of the replies of a new flow, but for the flags that depend on the way to the backend.
#[inline(always)]
fn entry_of_reply<F: Family>(
    client: &Tuple<F>,
    frontend: &Frontend,
    chosen: &Chosen,
    config: &Config,
) -> Flow<F> {
    let local = chosen.backend.flags & backend_flags::LOCAL != 0;
    Flow {
        bytes: 0,
        packets: 0,
        last_seen: seconds(config),
        // Its first packet finds its next hop, and tells the other entry that there is an answer.
        epoch: config.epoch.wrapping_sub(1),
        backend: chosen.id,
        backend_generation: chosen.backend.generation,
        ifindex: 0,
        source: client.destination,
        destination: client.source,
        next_hop: F::UNSPECIFIED,
        ports: client.ports.turned(),
        flags: if local { flow_flags::LOCAL } else { 0 },
        tcp_flags: 0,
        reserved: 0,
        group: frontend.group,
        // Known with the address that replaces the client's.
        difference: 0,
        rest: F::REST,
    }
}

/// What becomes of a packet to a port that is no frontend.
#[inline(always)]
fn unserved<F: Family>(destination: F::Address) -> Verdict {
    if select::is_virtual::<F>(destination) {
        drop(Reason::NoService)
    } else {
        NEXT
    }
}

/// A packet that is for no frontend, but perhaps for a backend itself. `hash` is the destination's.
#[inline(always)]
pub(crate) fn take_over<F: Family>(skb: Skb, packet: &Packet<F>, hash: AddressHash) -> Verdict {
    if filter_holds(FILTER_BACKENDS, hash.bit()) {
        end_flow_of(skb, packet)
    } else {
        NEXT
    }
}

/// A packet for a backend itself. Where it begins something and its tuple is that of a flow's, the flow is over: else the backend's answer
/// would be made the frontend's. What has only become such a packet is of that flow itself.
#[inline(never)]
pub(crate) fn end_flow_of<F: Family>(skb: Skb, packet: &Packet<F>) -> Verdict {
    let is_first = packet.is_syn() || packet.tuple.protocol == UDP;
    if !is_first || skb.is_translated() {
        return NEXT;
    }
    let key = packet.tuple.of_kind(FlowKind::Reply);
    if let Some(flow) = F::flow(&key)
        && !flow.has(flow_flags::SNAT)
    {
        forget(&key, flow);
        count(Reason::DirectTakeover);
    }
    NEXT
}
