//! Uplinks: packets of clients come in, replies of this node's backends go out.

use crate::family::Family;
use crate::forward::{end_flow_of, forward, reply, send, take_over};
use crate::host;
use crate::maps::{config, filter_holds};
use crate::parse::{Content, Locate, Packet, addresses};
use crate::ping;
use crate::select;
use crate::skb::{NEXT, PROCEED, Skb, Verdict, drop};
use lb_abi::{AddressHash, Config, FILTER_BACKENDS, FILTER_FRONTENDS, FlowKind, Reason};

/// What comes in: for a frontend, from a backend elsewhere, or not ours.
#[inline(always)]
pub(crate) fn ingress<F: Locate>(skb: Skb) -> Verdict {
    if skb.is_for_another() {
        return NEXT;
    }
    let Some(addresses) = addresses::<F>(skb) else {
        return NEXT;
    };
    // SAFETY: the packet has not changed since.
    let [_, destination] = unsafe { &*addresses };
    let hash = AddressHash::of(destination.as_ref());
    if !filter_holds(FILTER_FRONTENDS, hash.bit()) {
        return if filter_holds(FILTER_BACKENDS, hash.bit()) {
            meet_backend::<F>(skb)
        } else {
            NEXT
        };
    }
    let Some(config) = config() else {
        return NEXT;
    };
    match Packet::<F>::read(skb) {
        Ok(packet) => translate(skb, packet, hash, config),
        Err(content) => without_ports::<F>(skb, &content, config),
    }
}

/// What comes for the address of a backend, perhaps, and of no frontend. A function of its own for the sake of the stack.
#[inline(never)]
pub(crate) fn meet_backend<F: Locate>(skb: Skb) -> Verdict {
    match Packet::<F>::read(skb) {
        Ok(packet) => end_flow_of(skb, packet),
        Err(_) => NEXT,
    }
}

/// A port that replaces clients' is that of a reply, most likely, and of no frontend.
#[inline(always)]
fn translate<F: Family>(
    skb: Skb,
    packet: &Packet<F>,
    hash: AddressHash,
    config: &Config,
) -> Verdict {
    let port = u16::from_be(packet.tuple.ports.destination());
    let mut kind = FlowKind::Reply;
    let mut found = Err(PROCEED);
    if port >= config.snat_port_min && port <= config.snat_port_max {
        found = reply(skb, packet, config);
    }
    if let Err(PROCEED) = found {
        kind = FlowKind::Forward;
        found = forward::<F, false>(skb, packet, hash, config);
    }
    match found {
        Ok(flow) => send(skb, packet, flow, kind),
        // A process of the host may be a backend: then its address is a frontend's and a backend's.
        Err(NEXT) => take_over(skb, packet, hash),
        Err(verdict) => verdict,
    }
}

/// A packet without ports that may be for a virtual address. If it is, it is answered or ends here: nobody else on this node has it.
#[inline(always)]
pub(crate) fn without_ports<F: Family>(skb: Skb, content: &Content, config: &Config) -> Verdict {
    match content {
        Content::Echo => ping::answer::<F>(skb, config),
        Content::EchoWithOptions => refuse::<F>(skb, Reason::NoService),
        Content::Fragment => refuse::<F>(skb, Reason::Fragment),
        Content::Malformed => refuse::<F>(skb, Reason::Malformed),
        Content::Other => NEXT,
    }
}

/// Drops what is for a virtual address.
#[inline(never)]
fn refuse<F: Family>(skb: Skb, reason: Reason) -> Verdict {
    let Some(addresses) = addresses::<F>(skb) else {
        return NEXT;
    };
    // SAFETY: the packet has not changed since.
    let [_, destination] = unsafe { *addresses };
    if select::is_virtual::<F>(destination) {
        drop(reason)
    } else {
        NEXT
    }
}

/// What goes out: replies of this node's backends become the frontend's.
#[inline(always)]
pub(crate) fn egress<F: Locate>(skb: Skb) -> Verdict {
    let Some(addresses) = addresses::<F>(skb) else {
        return NEXT;
    };
    // SAFETY: the packet has not changed since.
    let [source, _] = unsafe { &*addresses };
    let hash = AddressHash::of(source.as_ref());
    if !filter_holds(FILTER_BACKENDS, hash.bit()) {
        return host::leave::<F>(skb);
    }
    let Some(config) = config() else {
        return NEXT;
    };
    let Ok(packet) = Packet::<F>::read(skb) else {
        return NEXT;
    };
    // A pod asks others as well, and so does the host, whose address may be a backend's.
    let bit = hash.row_bit(packet.tuple.ports.source(), packet.tuple.protocol);
    if !filter_holds(FILTER_BACKENDS, bit) {
        return host::leave::<F>(skb);
    }
    match reply(skb, packet, config) {
        Ok(flow) => send(skb, packet, flow, FlowKind::Reply),
        Err(PROCEED) => host::leave::<F>(skb),
        Err(verdict) => verdict,
    }
}
