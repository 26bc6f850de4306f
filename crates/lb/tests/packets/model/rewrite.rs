//! Changes to a frame. Checksums are corrected by difference (RFC 1624), so that a wrong one stays wrong.

use std::net::IpAddr;

use lb_abi::UDP;

use super::parse::Headers;
use crate::packet::End;

const IP: usize = 14;

/// Gives a packet other ends.
pub(crate) fn translate(frame: &mut [u8], headers: &Headers, source: End, destination: End) {
    let mut changes = Vec::new();
    let (source_at, destination_at) = if source.0.is_ipv4() {
        (12, 16)
    } else {
        (8, 24)
    };
    for (at, address) in [(source_at, source.0), (destination_at, destination.0)] {
        changes.extend(put(frame, IP + at, &octets(address)));
    }
    if source.0.is_ipv4() {
        correct(frame, IP + 10, &changes);
    }
    let ports = [source.1.to_be_bytes(), destination.1.to_be_bytes()].concat();
    changes.extend(put(frame, headers.transport, &ports));
    if headers.protocol == UDP {
        let at = headers.transport + 6;
        if frame[at..at + 2] != [0, 0] {
            correct(frame, at, &changes);
            if frame[at..at + 2] == [0, 0] {
                // Zero would say that there is no checksum (RFC 768).
                frame[at..at + 2].fill(0xff);
            }
        }
    } else {
        correct(frame, headers.transport + 16, &changes);
    }
}

/// Takes one hop off.
pub(crate) fn hop(frame: &mut [u8], is_ipv4: bool) {
    if is_ipv4 {
        let word = [frame[IP + 8] - 1, frame[IP + 9]];
        let change = put(frame, IP + 8, &word);
        correct(frame, IP + 10, &change);
    } else {
        frame[IP + 7] -= 1;
    }
}

/// Hop limit of an answer.
const ANSWER: u8 = 64;

/// Makes an echo request its own answer.
pub(crate) fn answer_echo(frame: &mut [u8], headers: &Headers) {
    let (at, length) = if headers.source.0.is_ipv4() {
        (12, 4)
    } else {
        (8, 16)
    };
    let addresses = frame[IP + at..IP + at + 2 * length].to_vec();
    frame[IP + at..IP + at + length].copy_from_slice(&addresses[length..]);
    frame[IP + at + length..IP + at + 2 * length].copy_from_slice(&addresses[..length]);
    let kind = if headers.source.0.is_ipv4() { 0 } else { 129 };
    let word = [kind, frame[headers.transport + 1]];
    let change = put(frame, headers.transport, &word);
    correct(frame, headers.transport + 2, &change);
    if headers.source.0.is_ipv4() {
        let word = [ANSWER, frame[IP + 9]];
        let change = put(frame, IP + 8, &word);
        correct(frame, IP + 10, &change);
    } else {
        frame[IP + 7] = ANSWER;
    }
    turn_ethernet(frame);
}

/// Exchanges the Ethernet addresses.
pub(crate) fn turn_ethernet(frame: &mut [u8]) {
    let (first, rest) = frame.split_at_mut(6);
    first.swap_with_slice(&mut rest[..6]);
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Writes and says which words it changed: what was there, and what is.
fn put(frame: &mut [u8], at: usize, bytes: &[u8]) -> Vec<(u16, u16)> {
    let place = &mut frame[at..at + bytes.len()];
    let word = |word: &[u8]| u16::from_be_bytes([word[0], word[1]]);
    let changes = place
        .chunks(2)
        .zip(bytes.chunks(2))
        .map(|(old, new)| (word(old), word(new)))
        .collect();
    place.copy_from_slice(bytes);
    changes
}

/// HC' = ~(~HC + ~m + m') (RFC 1624 §3).
fn correct(frame: &mut [u8], at: usize, changes: &[(u16, u16)]) {
    let mut sum = u64::from(!u16::from_be_bytes([frame[at], frame[at + 1]]));
    for (old, new) in changes {
        sum += u64::from(!old) + u64::from(*new);
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let checksum = !u16::try_from(sum).unwrap();
    frame[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}
