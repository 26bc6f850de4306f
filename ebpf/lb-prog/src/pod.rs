//! The host's end of a pod's interface: for sockets that the socket programs do not translate.

use crate::family::{Family, same};
use crate::flow::seconds;
use crate::forward::{forward, reply, send, take_over};
use crate::maps::{config, filter_holds};
use crate::parse::{Content, Locate, Packet};
use crate::ping;
use crate::skb::{NEXT, PROCEED, Skb, Verdict, drop};
use crate::uplink::refuse;
use lb_abi::{Config, FILTER_BACKENDS, FILTER_FRONTENDS, FlowKind, Reason};

/// What a pod sends: to a frontend, or an answer to itself.
#[inline(never)]
pub(crate) fn ingress<F: Locate>(skb: Skb) -> Verdict {
    let Some(mut packet) = Packet::<F>::of(skb) else {
        return NEXT;
    };
    let Some(config) = config() else {
        return NEXT;
    };
    let destination = packet.tuple.destination;
    let to_itself = same(&destination, &F::hairpin_address(config));
    if !to_itself && !filter_holds(FILTER_FRONTENDS, destination.as_ref()) {
        if filter_holds(FILTER_BACKENDS, destination.as_ref())
            && let Content::Transport = packet.read(skb)
        {
            return take_over(&packet);
        }
        return NEXT;
    }
    match packet.read(skb) {
        Content::Transport => translate(skb, &packet, to_itself, config),
        Content::Echo => ping::answer::<F>(skb, config),
        Content::Fragment => refuse::<F>(destination, Reason::Fragment),
        Content::Malformed => refuse::<F>(destination, Reason::Malformed),
        Content::Other => NEXT,
    }
}

#[inline(always)]
fn translate<F: Family>(skb: Skb, packet: &Packet<F>, to_itself: bool, config: &Config) -> Verdict {
    let now = seconds();
    let (found, kind) = if to_itself {
        (reply(skb, packet, config, now), FlowKind::Reply)
    } else {
        let found = forward::<F, true>(skb, packet, config, now);
        (found, FlowKind::Forward)
    };
    match found {
        Ok(flow) => send(skb, packet, flow, kind),
        // The address by which a pod answers itself is nobody else's.
        Err(PROCEED) => drop(Reason::NoService),
        Err(NEXT) => take_over(packet),
        Err(verdict) => verdict,
    }
}

/// What a pod receives: a backend's reply becomes the frontend's. The backend may be anywhere, so that no filter helps: this costs one
/// lookup per packet.
#[inline(never)]
pub(crate) fn egress<F: Locate>(skb: Skb) -> Verdict {
    let Some(mut packet) = Packet::<F>::of(skb) else {
        return NEXT;
    };
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
