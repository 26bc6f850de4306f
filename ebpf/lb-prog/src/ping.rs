//! Virtual addresses are nobody's, so that nobody answers a ping of them: these programs may.

use crate::family::Family;
use crate::maps::count;
use crate::rewrite::corrected;
use crate::select;
use crate::skb::{ETHERNET, NEXT, Skb, Verdict, drop, exchange_ethernet_addresses};
use lb_abi::{Config, Reason, config_flags};

/// Hop limit of an answer, which has the way back before it.
const HOP_LIMIT: u8 = 64;

/// An echo request to an address that may be virtual, behind a header without options.
#[inline(never)]
pub(crate) fn answer<F: Family>(skb: Skb, config: &Config) -> Verdict {
    let Some(frame) = skb.frame(ETHERNET + F::HEADER + 8) else {
        return NEXT;
    };
    // SAFETY: within the header.
    let destination = unsafe {
        let addresses = frame.add(ETHERNET + F::SOURCE).cast::<F::Address>();
        *addresses.add(1)
    };
    if !select::is_virtual::<F>(destination) {
        return NEXT;
    }
    if config.flags & config_flags::PING == 0 {
        return drop(Reason::NoService);
    }
    // SAFETY: within the headers; no helper since changed the packet.
    unsafe { turn::<F>(frame) };
    count(Reason::Ping);
    skb.send_back()
}

/// Makes the request its own answer. That the addresses are exchanged changes no checksum.
///
/// # Safety
///
/// The frame's headers up to the first 8 bytes of ICMP may be read and written.
#[inline(always)]
unsafe fn turn<F: Family>(frame: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        let header = frame.add(ETHERNET);
        let addresses = header.add(F::SOURCE).cast::<F::Address>();
        let source = *addresses;
        *addresses = *addresses.add(1);
        *addresses.add(1) = source;
        exchange_ethernet_addresses(frame);

        let icmp = header.add(F::HEADER);
        // Types of request and answer: 8 and 0 (RFC 792), 128 and 129 (RFC 4443).
        let answer: u8 = if F::HEADER_CHECKSUM { 0 } else { 129 };
        replace_first_byte(icmp, icmp.add(2).cast(), answer);
        if F::HEADER_CHECKSUM {
            replace_first_byte(header.add(8), header.add(10).cast(), HOP_LIMIT);
        } else {
            *header.add(7) = HOP_LIMIT;
        }
    }
}

/// Replaces the first byte of a word and corrects the checksum over it (RFC 1624).
///
/// # Safety
///
/// Both may be read and written.
#[inline(always)]
unsafe fn replace_first_byte(byte: *mut u8, checksum: *mut u16, new: u8) {
    // SAFETY: the caller's promise.
    unsafe {
        let word = byte.cast::<u16>();
        let old = *word;
        *byte = new;
        *checksum = corrected(*checksum, !old as u32 + *word as u32);
    }
}
