mod encoding;
mod multiprotocol;
mod reset;
mod treatment;

use super::*;
use crate::wire::error::DecodeError;

/// A four-octet external peer of AS 65001, for both families.
fn external() -> DecodeContext {
    DecodeContext {
        four_octet: true,
        peer_kind: PeerKind::External,
        families: vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST],
        local_asn: 65000,
        first_asn: Some(65001),
        reject_as_sets: true,
    }
}

fn internal() -> DecodeContext {
    DecodeContext {
        peer_kind: PeerKind::Internal,
        first_asn: None,
        reject_as_sets: false,
        ..external()
    }
}

fn two_octet() -> DecodeContext {
    DecodeContext {
        four_octet: false,
        ..external()
    }
}

/// One attribute with a short length.
fn attribute(flags: u8, code: u8, value: &[u8]) -> Vec<u8> {
    [
        &[flags, code, u8::try_from(value.len()).expect("short")],
        value,
    ]
    .concat()
}

const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
const AS_PATH: &[u8] = &[0x40, 2, 6, 2, 1, 0, 0, 0xFD, 0xE9];
const NEXT_HOP: &[u8] = &[0x40, 3, 4, 192, 0, 2, 1];
/// 198.51.100.0/24.
const PREFIX: &[u8] = &[24, 198, 51, 100];
/// 2001:db8:1::/48 by way of 2001:db8::1.
const MP_REACH: &[u8] = &[
    0x80, 14, 28, 0, 2, 1, 16, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 48, 0x20,
    1, 0xd, 0xb8, 0, 1,
];

fn mandatory() -> Vec<u8> {
    [ORIGIN, AS_PATH, NEXT_HOP].concat()
}

fn body(withdrawn: &[u8], attributes: &[u8], announced: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| u16::try_from(bytes.len()).expect("short").to_be_bytes();
    [
        &length(withdrawn)[..],
        withdrawn,
        &length(attributes)[..],
        attributes,
        announced,
    ]
    .concat()
}

fn strings<P: ToString>(prefixes: impl Iterator<Item = P>) -> Vec<String> {
    prefixes.map(|prefix| prefix.to_string()).collect()
}

/// Code, subcode and data of the error this body is.
fn reset(body: &[u8], context: &DecodeContext) -> (u8, u8, Vec<u8>) {
    let error: DecodeError = decode(body, context).expect_err("a session reset");
    let notification = error.notification();
    (
        notification.code,
        notification.subcode,
        notification.data.to_vec(),
    )
}
