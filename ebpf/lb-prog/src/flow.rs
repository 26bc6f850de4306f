//! The entries of flows: how long they last, and how the two of a flow keep each other.

use crate::family::{Family, Flow, Tuple, same};
use crate::maps::{count, scratch};
use crate::parse::{FIN, RST};
use crate::rewrite::twin_difference;
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::bpf_jiffies64;
use lb_abi::{Config, FlowKind, Reason, UDP, flow_flags};

/// `INITIAL_JIFFIES`: the count begins this many seconds before 2³² ticks, which is the kernel's own test of counters that wrap.
const BEFORE_WRAP: u64 = 300;

/// Ticks since the machine started. The kernel's cheapest clock: the verifier makes a load of the call.
#[inline(always)]
fn ticks(config: &Config) -> u64 {
    // SAFETY: reads a counter.
    let jiffies = unsafe { bpf_jiffies64() };
    jiffies.wrapping_sub((1 << 32) - BEFORE_WRAP * config.ticks_per_second as u64)
}

/// Seconds since the machine started: the time in which flows are reckoned.
#[inline(never)]
pub(crate) fn seconds(config: &Config) -> u32 {
    ticks(config)
        .checked_div(config.ticks_per_second as u64)
        .unwrap_or(0) as u32
}

/// Whether it is that second now: what most packets ask, and a multiplication where [`seconds`] is a division.
#[inline(always)]
pub(crate) fn is_now(second: u32, config: &Config) -> bool {
    let ticks_per_second = config.ticks_per_second as u64;
    ticks(config).wrapping_sub(second as u64 * ticks_per_second) < ticks_per_second
}

impl<F: Family> Flow<F> {
    /// What a packet of this entry becomes.
    #[inline(always)]
    pub(crate) fn becomes(&self, protocol: u8) -> Tuple<F> {
        Tuple {
            source: self.source,
            destination: self.destination,
            ports: self.ports,
            protocol,
            kind: FlowKind::Forward as u8,
            reserved: 0,
        }
    }

    /// Makes packets of this entry become something else.
    #[inline(always)]
    pub(crate) fn become_tuple(&mut self, tuple: &Tuple<F>) {
        self.source = tuple.source;
        self.destination = tuple.destination;
        self.ports = tuple.ports;
    }

    /// Whether a flag is set.
    #[inline(always)]
    pub(crate) fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// Whether it counts as absent, because nothing came for so long.
    #[inline(always)]
    pub(crate) fn is_expired(&self, protocol: u8, now: u32, config: &Config) -> bool {
        let timeout = if protocol == UDP {
            config.udp_timeout
        } else if self.has(flow_flags::CLOSED) {
            config.closing_timeout
        } else if self.has(flow_flags::ANSWERED) {
            config.tcp_timeout
        } else {
            config.syn_timeout
        };
        // Another processor may be a second ahead: an entry that was seen after now is not old.
        now.wrapping_sub(self.last_seen) as i32 > timeout as i32
    }

    /// Makes it one of which the other direction was seen: its own first packet of the second finds its own next hop.
    #[inline(always)]
    pub(crate) fn be_seen(&mut self, now: u32, config: &Config) {
        if self.last_seen != now {
            self.last_seen = now;
            self.epoch = config.epoch.wrapping_sub(1);
        }
    }

    /// Counts a packet. Packets of one flow come on one processor as a rule; where not, a count may be lost, which is cheaper than
    /// an atomic addition for all.
    #[inline(always)]
    pub(crate) fn count(&mut self, length: u32) {
        self.bytes = self.bytes.wrapping_add(length as u64);
        self.packets = self.packets.saturating_add(1);
    }
}

/// Where the other entry of a flow is, by the key and the content of one.
#[inline(always)]
fn twin_key<F: Family>(key: &Tuple<F>, flow: &Flow<F>) -> Tuple<F> {
    let becomes = flow.becomes(key.protocol);
    if key.kind == FlowKind::Forward as u8 {
        becomes.of_kind(FlowKind::Reply)
    } else {
        becomes.turned()
    }
}

/// What packets of the other entry become, by the key of one.
#[inline(always)]
fn twin_becomes<F: Family>(key: &Tuple<F>) -> Tuple<F> {
    if key.kind == FlowKind::Forward as u8 {
        key.turned()
    } else {
        *key
    }
}

/// Whether an entry that has the twin's key is the twin, and no other flow's.
#[inline(always)]
pub(crate) fn is_twin<F: Family>(key: &Tuple<F>, found: &Flow<F>) -> bool {
    let wanted = twin_becomes(key);
    same(&found.source, &wanted.source)
        && same(&found.destination, &wanted.destination)
        && found.ports == wanted.ports
}

/// The once-a-second care for an entry that both directions have in common: touches the twin, so that neither is forgotten without the
/// other, and makes it anew where it was. False where its key is another flow's.
#[inline(always)]
pub(crate) fn keep<F: Family>(
    key: &Tuple<F>,
    flow: &mut Flow<F>,
    tcp_flags: u8,
    now: u32,
    config: &Config,
) -> bool {
    // Replies alone tell both entries that there is an answer: a SYN that is only repeated is none.
    let answered = if key.kind == FlowKind::Reply as u8 {
        flow_flags::ANSWERED
    } else {
        0
    };
    flow.flags |= answered;
    flow.tcp_flags |= tcp_flags;
    flow.last_seen = now;
    flow.epoch = config.epoch;
    let twin_key = twin_key(key, flow);
    let Some(twin) = F::flow(&twin_key) else {
        return heal(key, flow, &twin_key, config);
    };
    if !is_twin(key, twin) {
        return false;
    }
    twin.be_seen(now, config);
    let ends = ends_by(tcp_flags, twin.tcp_flags);
    flow.flags |= ends;
    twin.flags |= answered | ends;
    true
}

/// What a packet's TCP flags say of the end of its flow, to both entries; `others` were seen of the other direction. After a FIN or RST the
/// tuple may be used for a new connection; after RST, or a FIN of each side, nothing more is expected.
#[inline(always)]
pub(crate) fn ends_by(tcp_flags: u8, others: u8) -> u16 {
    if tcp_flags & RST != 0 || tcp_flags & others & FIN != 0 {
        flow_flags::CLOSING | flow_flags::CLOSED
    } else if tcp_flags & FIN != 0 {
        flow_flags::CLOSING
    } else {
        0
    }
}

/// Makes the twin of an entry anew. A function of its own for the sake of the stack.
#[inline(never)]
fn heal<F: Family>(key: &Tuple<F>, flow: &Flow<F>, twin_key: &Tuple<F>, config: &Config) -> bool {
    let Some(twin) = scratch::<F>() else {
        return false;
    };
    *twin = *flow;
    twin.become_tuple(&twin_becomes(key));
    twin.difference = twin_difference(flow.difference);
    twin.bytes = 0;
    twin.packets = 0;
    twin.tcp_flags = 0;
    twin.ifindex = 0;
    twin.next_hop = F::UNSPECIFIED;
    // Its first packet finds its own next hop.
    twin.epoch = config.epoch.wrapping_sub(1);
    let healed = F::insert_flow(twin_key, twin, BPF_NOEXIST as u64);
    if healed {
        count(Reason::Healed);
    }
    healed
}

/// Deletes an entry and its twin. A function of its own for the sake of the stack.
#[inline(never)]
pub(crate) fn forget<F: Family>(key: &Tuple<F>, flow: &Flow<F>) {
    let twin_key = twin_key(key, flow);
    if F::flow(&twin_key).is_some_and(|twin| is_twin(key, twin)) {
        F::remove_flow(&twin_key);
    }
    F::remove_flow(key);
}
