//! What processes of the host send themselves, past the frontends.

use crate::family::Family;
use crate::flow::{forget, seconds};
use crate::maps::{config, count};
use crate::parse::{Locate, Packet};
use crate::skb::{NEXT, Skb, Verdict};
use lb_abi::{Config, FlowKind, Reason, UDP, flow_flags};

/// A packet on its way out whose source is no backend's.
#[inline(always)]
pub(crate) fn leave<F: Locate>(skb: Skb) -> Verdict {
    if skb.is_from_host() {
        give_way::<F>(skb)
    } else {
        NEXT
    }
}

/// Gives the tuple of a flow to a connection of the host's own.
///
/// The kernel chooses ports for its processes without knowing those that replace clients', and may choose the one by which a client still
/// leads to the very backend: the answers would be made the frontend's, for a client that never asked. So a flow that is over, or of whose
/// datagrams none came for as long, is forgotten when the host begins to speak with its tuple. (A flow is never given a port of the host's:
/// `snat` asks for its sockets.)
///
/// A flow that lives stays. Its connection is the backend's own with that tuple, which would answer the host's SYN with an acknowledgement
/// of the client's (RFC 5961 section 4) even if there were no entry here, and nobody would be helped by ending it.
///
/// What a client's packet has become passes here too, where it leaves by an uplink. It has come by another interface.
#[inline(never)]
fn give_way<F: Locate>(skb: Skb) -> Verdict {
    if let Some(config) = config()
        && let Ok(packet) = Packet::<F>::read(skb)
        && (packet.is_syn() || packet.tuple.protocol == UDP)
        && u16::from_be(packet.tuple.ports.source()) >= config.snat_port_min
    {
        end_idle_flow_of(packet, config);
    }
    NEXT
}

#[inline(always)]
fn end_idle_flow_of<F: Family>(packet: &Packet<F>, config: &Config) {
    let key = packet.tuple.of_kind(FlowKind::Reply);
    let Some(flow) = F::flow(&key) else {
        return;
    };
    let now = seconds(config);
    let is_idle = now.wrapping_sub(flow.last_seen) as i32 > config.closing_timeout as i32;
    let is_over = if key.protocol == UDP {
        is_idle
    } else {
        flow.has(flow_flags::CLOSED)
    };
    if flow.has(flow_flags::SNAT) && (is_over || flow.is_expired(key.protocol, now, config)) {
        forget(&key, flow);
        count(Reason::DirectTakeover);
    }
}
