//! Uplinks: packets of clients come in, replies of this node's backends go out.

use crate::family::Family;
use crate::flow::seconds;
use crate::forward::{forward, reply, send, take_over};
use crate::maps::{config, filter_holds};
use crate::parse::{Content, Locate, Packet};
use crate::ping;
use crate::select;
use crate::skb::{NEXT, PROCEED, Skb, Verdict, drop};
use lb_abi::{Config, FILTER_BACKENDS, FILTER_FRONTENDS, FlowKind, Reason};

/// What comes in: for a frontend, from a backend elsewhere, or not ours.
#[inline(never)]
pub(crate) fn ingress<F: Locate>(skb: Skb) -> Verdict {
    let Some(mut packet) = Packet::<F>::of(skb) else {
        return NEXT;
    };
    let destination = packet.tuple.destination;
    if !filter_holds(FILTER_FRONTENDS, destination.as_ref()) {
        if filter_holds(FILTER_BACKENDS, destination.as_ref())
            && let Content::Transport = packet.read(skb)
        {
            return take_over(&packet);
        }
        return NEXT;
    }
    let Some(config) = config() else {
        return NEXT;
    };
    match packet.read(skb) {
        Content::Transport => translate(skb, &packet, config),
        Content::Echo => ping::answer::<F>(skb, config),
        Content::Fragment => refuse::<F>(destination, Reason::Fragment),
        Content::Malformed => refuse::<F>(destination, Reason::Malformed),
        Content::Other => NEXT,
    }
}

/// A port that replaces clients' is that of a reply, most likely, and of no frontend.
#[inline(always)]
fn translate<F: Family>(skb: Skb, packet: &Packet<F>, config: &Config) -> Verdict {
    let now = seconds();
    let port = u16::from_be(packet.tuple.ports.destination());
    let mut kind = FlowKind::Reply;
    let mut found = Err(PROCEED);
    if port >= config.snat_port_min && port <= config.snat_port_max {
        found = reply(skb, packet, config, now);
    }
    if let Err(PROCEED) = found {
        kind = FlowKind::Forward;
        found = forward::<F, false>(skb, packet, config, now);
    }
    match found {
        Ok(flow) => send(skb, packet, flow, kind),
        // A process of the host may be a backend: then its address is a frontend's and a backend's.
        Err(NEXT) => take_over(packet),
        Err(verdict) => verdict,
    }
}

/// A packet without ports: of a virtual address it is nobody's.
#[inline(always)]
pub(crate) fn refuse<F: Family>(destination: F::Address, reason: Reason) -> Verdict {
    if select::is_virtual::<F>(destination) {
        drop(reason)
    } else {
        NEXT
    }
}

/// What goes out: replies of this node's backends become the frontend's.
#[inline(never)]
pub(crate) fn egress<F: Locate>(skb: Skb) -> Verdict {
    let Some(mut packet) = Packet::<F>::of(skb) else {
        return NEXT;
    };
    if !filter_holds(FILTER_BACKENDS, packet.tuple.source.as_ref()) {
        return NEXT;
    }
    let Some(config) = config() else {
        return NEXT;
    };
    let Content::Transport = packet.read(skb) else {
        return NEXT;
    };
    match reply(skb, &packet, config, seconds()) {
        Ok(flow) => send(skb, &packet, flow, FlowKind::Reply),
        Err(PROCEED) => NEXT,
        Err(verdict) => verdict,
    }
}
