//! The host's end of a pod's interface: for sockets that the socket programs do not translate.

use crate::family::{Family, same};
use crate::forward::{end_flow_of, forward, reply, send};
use crate::maps::{config, filter_holds};
use crate::parse::{Locate, Packet, addresses};
use crate::skb::{NEXT, PROCEED, Skb, Verdict, drop};
use crate::uplink::{meet_backend, without_ports};
use lb_abi::{AddressHash, Config, FILTER_FRONTENDS, FlowKind, Reason};

/// What a pod sends: to a frontend, an answer to itself, or what may be for a backend itself, which may be anywhere.
#[inline(never)]
pub(crate) fn ingress<F: Locate>(skb: Skb) -> Verdict {
    let Some(addresses) = addresses::<F>(skb) else {
        return NEXT;
    };
    let Some(config) = config() else {
        return NEXT;
    };
    // SAFETY: the packet has not changed since.
    let [_, destination] = unsafe { &*addresses };
    let hash = AddressHash::of(destination.as_ref());
    let to_itself = same(destination, &F::hairpin_address(config));
    if !to_itself && !filter_holds(FILTER_FRONTENDS, hash.bit()) {
        return meet_backend::<F>(skb);
    }
    match Packet::<F>::read(skb) {
        Ok(packet) => translate(skb, packet, hash, to_itself, config),
        Err(content) => without_ports::<F>(skb, &content, config),
    }
}

#[inline(always)]
fn translate<F: Family>(
    skb: Skb,
    packet: &Packet<F>,
    hash: AddressHash,
    to_itself: bool,
    config: &Config,
) -> Verdict {
    let (found, kind) = if to_itself {
        (reply(skb, packet, config), FlowKind::Reply)
    } else {
        let found = forward::<F, true>(skb, packet, hash, config);
        (found, FlowKind::Forward)
    };
    match found {
        Ok(flow) => send(skb, packet, flow, kind),
        // The address by which a pod answers itself is nobody else's.
        Err(PROCEED) => drop(Reason::NoService),
        Err(NEXT) => end_flow_of(skb, packet),
        Err(verdict) => verdict,
    }
}

/// What a pod receives: a backend's reply becomes the frontend's. The backend may be anywhere, so that no filter helps: this costs one
/// lookup per packet.
#[inline(never)]
pub(crate) fn egress<F: Locate>(skb: Skb) -> Verdict {
    if addresses::<F>(skb).is_none() {
        return NEXT;
    }
    let Some(config) = config() else {
        return NEXT;
    };
    let Ok(packet) = Packet::<F>::read(skb) else {
        return NEXT;
    };
    match reply(skb, packet, config) {
        Ok(flow) => send(skb, packet, flow, FlowKind::Reply),
        Err(PROCEED) => NEXT,
        Err(verdict) => verdict,
    }
}
