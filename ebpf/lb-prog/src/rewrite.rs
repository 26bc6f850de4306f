//! The packet becomes what its flow says: addresses, ports, hop limit and the checksums over them.
//!
//! The IPv4 header's checksum is corrected here (RFC 1624). That of TCP and UDP is left to the kernel, which alone knows whether the
//! field holds a checksum yet: a packet from a process or pod of this machine has the pseudo header's sum there until a device computes
//! the rest.

use crate::family::{Family, Flow, Ports, Tuple};
use crate::parse::Packet;
use crate::skb::{ETHERNET, PROCEED, Skb, Verdict, drop, exchange_ethernet_addresses};
use aya_ebpf::bindings::{BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR};
use aya_ebpf::helpers::generated::bpf_l4_csum_replace;
use lb_abi::{Reason, UDP};

/// `BPF_F_IPV6`, which Linux has since 6.16 and the bindings have not: the sum over the whole packet, which some devices give, does not
/// change with the addresses, because IPv6 has no header checksum that makes up for them.
const BPF_F_IPV6: u64 = 1 << 7;

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
    let optionless = packet.is_optionless();
    let Some(frame) = skb.frame(ETHERNET + F::HEADER + size_of::<u32>()) else {
        return drop(Reason::Malformed);
    };
    // SAFETY: within the header and the ports behind it.
    unsafe {
        let header = frame.add(ETHERNET);
        let mut difference = flow.difference;
        if way == Way::Hop {
            let hop_limit = header.add(if F::HEADER_CHECKSUM { 8 } else { 7 });
            if *hop_limit <= 1 {
                return drop(Reason::HopLimit);
            }
            *hop_limit -= 1;
            // The hop limit is the first byte of its checksum word.
            difference += !1u16.to_le() as u32;
        }
        if F::HEADER_CHECKSUM {
            let checksum = header.add(10).cast::<u16>();
            *checksum = corrected(*checksum, difference);
        }
        let field = header.add(F::SOURCE).cast::<F::Address>();
        *field = F::read(&flow.source);
        *field.add(1) = F::read(&flow.destination);
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
    if packet.tuple.protocol == UDP {
        UDP_CHECKSUM.correct(skb, packet, flow);
    } else {
        TCP_CHECKSUM.correct(skb, packet, flow);
    }
    PROCEED
}

/// The checksum of a protocol.
struct Checksum {
    /// Where it is in the header.
    field: usize,
    /// What the kernel's helper is told of it.
    flags: u64,
    /// What is written for 0.
    zero: u16,
}

const TCP_CHECKSUM: Checksum = Checksum {
    field: 16,
    flags: 0,
    zero: 0,
};

/// No checksum stays none, and one that comes out as 0 is written as 0xffff (RFC 768).
const UDP_CHECKSUM: Checksum = Checksum {
    field: 6,
    flags: BPF_F_MARK_MANGLED_0 as u64,
    zero: 0xffff,
};

impl Checksum {
    /// Corrects it by the addresses, and by the ports where it is over them.
    #[inline(always)]
    fn correct<F: Family>(self, skb: Skb, packet: &Packet<F>, flow: &Flow<F>) {
        let before = self.pointer(skb, packet);
        // SAFETY: no helper since.
        let before = before.map_or(0, |field| unsafe { *field });
        self.correct_by_addresses(skb, packet, flow);
        let ports = port_difference(packet.tuple.ports, flow.ports);
        if ports == 0 {
            return;
        }
        // Which of both it is can be seen, and then a second call be spared.
        let whole = corrected(before, flow.difference);
        let pseudo = !corrected(!before, flow.difference);
        if before != 0
            && whole != pseudo
            && let Some(field) = self.pointer(skb, packet)
        {
            // SAFETY: no helper since.
            unsafe {
                if *field == whole {
                    let checksum = corrected(whole, ports);
                    *field = if checksum == 0 { self.zero } else { checksum };
                    return;
                }
            }
        }
        self.call::<F>(skb, packet, ports, self.flags);
    }

    #[inline(always)]
    fn correct_by_addresses<F: Family>(&self, skb: Skb, packet: &Packet<F>, flow: &Flow<F>) {
        let flags = self.flags | BPF_F_PSEUDO_HDR as u64;
        if F::HEADER_CHECKSUM {
            self.call(skb, packet, flow.difference, flags);
        } else if !self.call(skb, packet, flow.difference, flags | BPF_F_IPV6) {
            // A kernel that does not know the flag.
            self.call(skb, packet, flow.difference, flags);
        }
    }

    /// Has the kernel correct it.
    #[inline(always)]
    fn call<F: Family>(&self, skb: Skb, packet: &Packet<F>, difference: u32, flags: u64) -> bool {
        let offset = packet.offset + self.field as u32;
        // SAFETY: the helper checks the offset.
        unsafe { bpf_l4_csum_replace(skb.0, offset, 0, difference as u64, flags) == 0 }
    }

    /// Where it is in the frame; `None` behind options.
    #[inline(always)]
    fn pointer<F: Family>(&self, skb: Skb, packet: &Packet<F>) -> Option<*mut u16> {
        let offset = ETHERNET + F::HEADER + self.field;
        let frame = skb.frame(offset + size_of::<u16>())?;
        // SAFETY: within the frame.
        packet
            .is_optionless()
            .then(|| unsafe { frame.add(offset).cast() })
    }
}

/// A checksum that is corrected by the difference of what it is over (RFC 1624 equation 3).
#[inline(always)]
pub(crate) fn corrected(checksum: u16, difference: u32) -> u16 {
    !fold(!checksum as u32 + difference)
}

/// What a checksum over the addresses is corrected by where those of one tuple become those of another: below 2¹⁶.
#[inline(always)]
pub(crate) fn difference_of<F: Family>(old: &Tuple<F>, new: &Tuple<F>) -> u32 {
    let sum = difference(0, old.source.as_ref(), new.source.as_ref());
    let sum = difference(sum, old.destination.as_ref(), new.destination.as_ref());
    let once = (sum & 0xffff_ffff) + (sum >> 32);
    fold(((once & 0xffff_ffff) + (once >> 32)) as u32) as u32
}

/// The difference of the other entry of a flow, by that of one.
#[inline(always)]
pub(crate) fn twin_difference(difference: u32) -> u32 {
    difference ^ 0xffff
}

/// Adds the difference of some words. Folded later: a few do not overflow.
#[inline(always)]
fn difference(sum: u64, old: &[u32], new: &[u32]) -> u64 {
    let pairs = old.iter().zip(new);
    pairs.fold(sum, |sum, (old, new)| sum + !*old as u64 + *new as u64)
}

/// The same of ports; 0 where they stay.
#[inline(always)]
fn port_difference(old: Ports, new: Ports) -> u32 {
    if old == new {
        return 0;
    }
    let halves = |word: u32| (word & 0xffff) + (word >> 16);
    fold(halves(!old.0) + halves(new.0)) as u32
}

#[inline(always)]
fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}
