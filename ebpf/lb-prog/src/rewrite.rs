//! The packet becomes what its flow says: addresses, ports, hop limit and the checksums over them.
//!
//! The IPv4 header's checksum is corrected here (RFC 1624). That of TCP and UDP is left to the kernel, which alone knows whether the
//! field holds a checksum yet: a packet from a process or pod of this machine has the pseudo header's sum there until a device computes
//! the rest.

use crate::family::{Family, Flow, Tuple};
use crate::parse::Packet;
use crate::skb::{ETHERNET, PROCEED, Skb, Verdict, drop, exchange_ethernet_addresses};
use aya_ebpf::bindings::{BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR};
use aya_ebpf::helpers::generated::bpf_l4_csum_replace;
use lb_abi::{Reason, UDP};

/// `BPF_F_IPV6`, which Linux has since 6.16 and the bindings have not: the sum over the whole packet, which some devices give, does not
/// change with the addresses, because IPv6 has no header checksum that makes up for them.
const BPF_F_IPV6: u64 = 1 << 7;

/// Where the checksum is in a TCP header.
const TCP_CHECKSUM: u32 = 16;
/// Where the checksum is in a UDP header.
const UDP_CHECKSUM: u32 = 6;

/// How the packet goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Through the host's stack, which takes a hop off itself.
    Stack,
    /// To a next hop, past the stack.
    Hop,
    /// Back to where it came from.
    Back,
}

/// Rewrites the packet. [`PROCEED`], or that it is dropped because its hop limit is used up.
#[inline(always)]
pub(crate) fn rewrite<F: Family>(
    skb: Skb,
    packet: &Packet<F>,
    flow: &Flow<F>,
    way: Way,
) -> Verdict {
    let optionless = packet.offset as usize == ETHERNET + F::HEADER;
    let Some(frame) = skb.frame(ETHERNET + F::HEADER + size_of::<u32>()) else {
        return drop(Reason::Malformed);
    };
    // SAFETY: within the header and the ports behind it.
    unsafe {
        let header = frame.add(ETHERNET);
        let mut header_sum = flow.difference as u64;
        if way == Way::Hop {
            let hop_limit = header.add(if F::HEADER_CHECKSUM { 8 } else { 7 });
            if *hop_limit <= 1 {
                return drop(Reason::HopLimit);
            }
            *hop_limit -= 1;
            // The hop limit is the first byte of its checksum word.
            header_sum += !1u16.to_le() as u64;
        }
        if F::HEADER_CHECKSUM {
            let checksum = header.add(10).cast::<u16>();
            *checksum = !fold(header_sum + !*checksum as u64);
        }
        let field = header.add(F::SOURCE).cast::<F::Address>();
        *field = flow.source;
        *field.add(1) = flow.destination;
        if way == Way::Back {
            exchange_ethernet_addresses(frame);
        }
        if optionless {
            *header.add(F::HEADER).cast::<u32>() = flow.ports.0;
        }
    }
    // Helpers from here on: `frame` has ended.
    if !optionless && !skb.store(packet.offset, &flow.ports.0) {
        return drop(Reason::Malformed);
    }
    correct_checksum(skb, packet, flow);
    PROCEED
}

/// Corrects the checksum of TCP or UDP. Addresses and ports apart: a sum of the pseudo header alone has only the former.
#[inline(always)]
fn correct_checksum<F: Family>(skb: Skb, packet: &Packet<F>, flow: &Flow<F>) {
    let old = packet.tuple.ports.0;
    let (field, zero) = if packet.tuple.protocol == UDP {
        // No checksum stays none, and one that comes out as 0 is written as 0xffff (RFC 768).
        (UDP_CHECKSUM, BPF_F_MARK_MANGLED_0 as u64)
    } else {
        (TCP_CHECKSUM, 0)
    };
    let offset = packet.offset + field;
    let mut flags = BPF_F_PSEUDO_HDR as u64 | zero;
    if !F::HEADER_CHECKSUM {
        flags |= BPF_F_IPV6;
    }
    let addresses = flow.difference as u64;
    // SAFETY: the helper checks the offset.
    unsafe {
        let failed = bpf_l4_csum_replace(skb.0, offset, 0, addresses, flags);
        if !F::HEADER_CHECKSUM && failed != 0 {
            // A kernel that does not know the flag.
            bpf_l4_csum_replace(skb.0, offset, 0, addresses, flags & !BPF_F_IPV6);
        }
        if old != flow.ports.0 {
            let ports = fold_to_word(!old as u64 + flow.ports.0 as u64);
            bpf_l4_csum_replace(skb.0, offset, 0, ports, zero);
        }
    }
}

/// What a checksum over the addresses is corrected by where those of one tuple become those of another (RFC 1624 equation 3).
#[inline(always)]
pub(crate) fn difference_of<F: Family>(old: &Tuple<F>, new: &Tuple<F>) -> u32 {
    let sum = difference(0, old.source.as_ref(), new.source.as_ref());
    let sum = difference(sum, old.destination.as_ref(), new.destination.as_ref());
    fold_to_word(sum) as u32
}

/// Adds the difference of some words. Folded later: a few do not overflow.
#[inline(always)]
fn difference(sum: u64, old: &[u32], new: &[u32]) -> u64 {
    let pairs = old.iter().zip(new);
    pairs.fold(sum, |sum, (old, new)| sum + !*old as u64 + *new as u64)
}

#[inline(always)]
fn fold_to_word(sum: u64) -> u64 {
    let once = (sum & 0xffff_ffff) + (sum >> 32);
    (once & 0xffff_ffff) + (once >> 32)
}

#[inline(always)]
pub(crate) fn fold(sum: u64) -> u16 {
    let word = fold_to_word(sum);
    let once = (word & 0xffff) + (word >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}
