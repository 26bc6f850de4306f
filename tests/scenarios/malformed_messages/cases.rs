//! The cases: what is said when, and what must come of it.

use std::net::Ipv4Addr;

use scenarios::raw_speaker::message::{
    self, attribute, capabilities, headed, open, prefix, update, with_header,
};
use scenarios::raw_speaker::{Identity, Notification};

/// The AS of every peer here.
pub(super) const PEER_ASN: u16 = 64999;
const ID: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const ALL_ONES: [u8; 16] = [0xff; 16];

/// When it is said.
#[derive(Clone, Copy)]
pub(super) enum Moment {
    /// Instead of an OPEN.
    OpenSent,
    /// Instead of the KEEPALIVE that confirms the OPEN.
    OpenConfirm,
    /// While routes are exchanged.
    Established,
}

/// What must come of it.
#[derive(Clone, Copy)]
pub(super) enum Expected {
    /// The session ends with this NOTIFICATION.
    Notification(Notification),
    /// The session ends without a word.
    Silence,
    /// The session lives, and this many of the two routes that were announced before are left.
    Received(i32),
}

/// One peer's misbehaviour.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) moment: Moment,
    pub(super) said: Vec<Vec<u8>>,
    pub(super) expected: Expected,
}

pub(super) fn all() -> Vec<Case> {
    [
        headers(),
        opens(),
        out_of_turn(),
        resets(),
        withdrawals(),
        discards(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn notified(name: &'static str, moment: Moment, code: u8, subcode: u8, said: Vec<u8>) -> Case {
    Case {
        name,
        moment,
        said: vec![said],
        expected: Expected::Notification(Notification(code, subcode)),
    }
}

/// RFC 4271 §6.1.
fn headers() -> Vec<Case> {
    let established = |name, subcode, said| notified(name, Moment::Established, 1, subcode, said);
    let mut one_zero = ALL_ONES;
    one_zero[15] = 0xfe;
    vec![
        established(
            "a marker that is not all ones",
            1,
            headed(&one_zero, 19, message::KEEPALIVE, &[]),
        ),
        notified(
            "a marker of zeros before OPEN",
            Moment::OpenSent,
            1,
            1,
            headed(&[0; 16], 29, message::OPEN, &[0; 10]),
        ),
        established(
            "a length of 0",
            2,
            headed(&ALL_ONES, 0, message::KEEPALIVE, &[]),
        ),
        established(
            "a length of 18",
            2,
            headed(&ALL_ONES, 18, message::KEEPALIVE, &[]),
        ),
        // An agent that announces extended messages takes them for what may be longer (RFC 8654 §4).
        notified(
            "an OPEN of 4097 bytes",
            Moment::OpenSent,
            1,
            2,
            headed(&ALL_ONES, 4097, message::OPEN, &[4; 10]),
        ),
        established(
            "a KEEPALIVE of 65535 bytes",
            2,
            headed(&ALL_ONES, 65535, message::KEEPALIVE, &[]),
        ),
        established(
            "a KEEPALIVE with a body",
            2,
            with_header(message::KEEPALIVE, &[0]),
        ),
        established(
            "an UPDATE of 22 bytes",
            2,
            with_header(message::UPDATE, &[0; 3]),
        ),
        notified(
            "an OPEN of 28 bytes",
            Moment::OpenSent,
            1,
            2,
            with_header(message::OPEN, &[4; 9]),
        ),
        established("type 0", 3, with_header(0, &[])),
        established("type 6", 3, with_header(6, &[])),
        established("type 255", 3, with_header(255, &[])),
    ]
}

/// RFC 4271 §6.2, RFC 5492, RFC 6286, RFC 7607.
fn opens() -> Vec<Case> {
    let said = |name, subcode, said| notified(name, Moment::OpenSent, 2, subcode, said);
    let four_octets = u32::from(PEER_ASN).to_be_bytes();
    let good = capabilities(&[(1, &[0, 1, 0, 1]), (65, &four_octets)]);
    let other = capabilities(&[(1, &[0, 1, 0, 1]), (65, &64998_u32.to_be_bytes())]);
    let zero = capabilities(&[(65, &[0; 4])]);
    let mut overrunning = open(4, PEER_ASN, 90, ID, &good);
    overrunning[28] += 1;
    vec![
        said("version 3", 1, open(3, PEER_ASN, 90, ID, &good)),
        said("version 5", 1, open(5, PEER_ASN, 90, ID, &good)),
        said(
            "another AS than configured",
            2,
            open(4, 64998, 90, ID, &other),
        ),
        said("AS 0", 2, open(4, 0, 90, ID, &zero)),
        said(
            "another AS in the capability than configured",
            2,
            open(4, PEER_ASN, 90, ID, &other),
        ),
        said(
            "identifier 0.0.0.0",
            3,
            open(4, PEER_ASN, 90, Ipv4Addr::UNSPECIFIED, &good),
        ),
        said(
            "an optional parameter of type 99",
            4,
            open(4, PEER_ASN, 90, ID, &[99, 1, 0]),
        ),
        said("a hold time of 1 s", 6, open(4, PEER_ASN, 1, ID, &good)),
        said("a hold time of 2 s", 6, open(4, PEER_ASN, 2, ID, &good)),
        said("parameters that overrun the message", 0, overrunning),
        said(
            "a parameter that overruns the parameters",
            0,
            open(4, PEER_ASN, 90, ID, &[2, 9, 1, 4, 0, 1, 0, 1]),
        ),
        said(
            "a capability that overruns its parameter",
            0,
            open(4, PEER_ASN, 90, ID, &[2, 6, 1, 9, 0, 1, 0, 1]),
        ),
        said(
            "a four-octet AS of three octets",
            0,
            open(4, PEER_ASN, 90, ID, &capabilities(&[(65, &[0, 0, 1])])),
        ),
    ]
}

/// RFC 6608.
fn out_of_turn() -> Vec<Case> {
    let keepalive = with_header(message::KEEPALIVE, &[]);
    let another = Identity {
        asn: PEER_ASN,
        id: ID,
        hold_time: 90,
    }
    .open();
    vec![
        notified(
            "KEEPALIVE instead of OPEN",
            Moment::OpenSent,
            5,
            1,
            keepalive,
        ),
        notified(
            "UPDATE instead of OPEN",
            Moment::OpenSent,
            5,
            1,
            update(&[], &[], &[]),
        ),
        notified(
            "UPDATE before KEEPALIVE",
            Moment::OpenConfirm,
            5,
            2,
            update(&[], &[], &[]),
        ),
        notified(
            "a second OPEN while established",
            Moment::Established,
            5,
            3,
            another,
        ),
        Case {
            name: "NOTIFICATION instead of OPEN",
            moment: Moment::OpenSent,
            said: vec![with_header(message::NOTIFICATION, &[6, 2])],
            expected: Expected::Silence,
        },
    ]
}

/// Attributes by number, complete and flawless.
fn flawless() -> Vec<(u8, Vec<u8>)> {
    let mut path = vec![2, 1];
    path.extend(u32::from(PEER_ASN).to_be_bytes());
    vec![
        (1, attribute(0x40, 1, &[0])),
        (2, attribute(0x40, 2, &path)),
        (3, attribute(0x40, 3, &[192, 168, 10, 50])),
    ]
}

/// The flawless attributes with these instead of, or beside, those of the same number.
fn with(changed: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let kept = flawless()
        .into_iter()
        .filter(|(code, _)| changed.iter().all(|(other, _)| other != code));
    let mut attributes: Vec<(u8, Vec<u8>)> = kept.chain(changed.iter().cloned()).collect();
    attributes.sort_by_key(|(code, _)| *code);
    attributes
        .into_iter()
        .flat_map(|(_, bytes)| bytes)
        .collect()
}

fn steady() -> Vec<u8> {
    prefix(Ipv4Addr::new(10, 77, 1, 0), 24)
}

fn victim() -> Vec<u8> {
    prefix(Ipv4Addr::new(10, 77, 2, 0), 24)
}

/// RFC 4271 §6.3 and RFC 7606 §3, §5, §7.11, §7.12: what leaves no choice but to end the session.
fn resets() -> Vec<Case> {
    let said = |name, subcode, said| notified(name, Moment::Established, 3, subcode, said);
    let body = |bytes: &[u8]| with_header(message::UPDATE, bytes);
    let reach = |value: &[u8]| attribute(0x80, 14, value);
    let v6 = [&[0, 2, 1, 16], [0xfd; 16].as_slice(), &[0, 16, 0xfd, 0]].concat();
    vec![
        said(
            "withdrawn routes that overrun the message",
            1,
            body(&[0, 9, 0, 0]),
        ),
        said(
            "attributes that overrun the message",
            1,
            body(&[0, 0, 0, 9, 0x40, 1, 1, 0]),
        ),
        said(
            "MP_REACH_NLRI twice",
            1,
            update(&[], &with(&[(14, [reach(&v6), reach(&v6)].concat())]), &[]),
        ),
        said(
            "an unknown well-known attribute",
            2,
            update(&[], &with(&[(99, attribute(0x40, 99, &[0]))]), &victim()),
        ),
        said(
            "a wrong ORIGIN without any route",
            6,
            update(&[], &with(&[(1, attribute(0x40, 1, &[3]))]), &[]),
        ),
        said(
            "MP_REACH_NLRI with a next hop of 3 octets",
            9,
            update(&[], &with(&[(14, reach(&[0, 1, 1, 3, 1, 2, 3, 0]))]), &[]),
        ),
        said(
            "MP_UNREACH_NLRI of 2 octets",
            9,
            update(&[], &attribute(0x80, 15, &[0, 2]), &[]),
        ),
        said(
            "a prefix of 33 bits",
            10,
            update(&[], &with(&[]), &[33, 10, 0, 0, 0, 0]),
        ),
        said(
            "a prefix that is cut",
            10,
            update(&[], &with(&[]), &[24, 10, 0]),
        ),
        said(
            "a withdrawn prefix of 33 bits",
            10,
            update(&[33, 10, 0, 0, 0, 0], &[], &[]),
        ),
    ]
}

/// Two flawless routes, then an UPDATE of one of them that has the given attributes.
fn spoiled(name: &'static str, attributes: &[u8], left: i32) -> Case {
    let both = [steady(), victim()].concat();
    Case {
        name,
        moment: Moment::Established,
        said: vec![
            update(&[], &with(&[]), &both),
            update(&[], attributes, &victim()),
        ],
        expected: Expected::Received(left),
    }
}

/// RFC 7606 §2: the routes of the UPDATE are withdrawn, the session lives.
fn withdrawals() -> Vec<Case> {
    let instead = |name, code: u8, bytes: Vec<u8>| spoiled(name, &with(&[(code, bytes)]), 1);
    let wrong = |name, flags: u8, code: u8, value: &[u8]| {
        instead(name, code, attribute(flags, code, value))
    };
    let mut cut = with(&[]);
    cut.extend([0xc0, 8, 8, 0, 1, 0, 1]); // says 8, and has 4
    vec![
        wrong("ORIGIN 3", 0x40, 1, &[3]),
        wrong("ORIGIN of 2 octets", 0x40, 1, &[0, 0]),
        wrong(
            "ORIGIN with the flags of an optional attribute",
            0x80,
            1,
            &[0],
        ),
        instead("no ORIGIN", 1, Vec::new()),
        instead("no AS_PATH", 2, Vec::new()),
        instead("no NEXT_HOP", 3, Vec::new()),
        wrong(
            "AS_PATH with a segment of type 9",
            0x40,
            2,
            &[9, 1, 0, 0, 0xfd, 0xe7],
        ),
        wrong(
            "AS_PATH with a segment that overruns it",
            0x40,
            2,
            &[2, 2, 0, 0, 0xfd, 0xe7],
        ),
        wrong("AS_PATH with an empty segment", 0x40, 2, &[2, 0]),
        wrong(
            "AS_PATH with AS 0",
            0x40,
            2,
            &[2, 2, 0, 0, 0xfd, 0xe7, 0, 0, 0, 0],
        ),
        wrong("NEXT_HOP of 3 octets", 0x40, 3, &[192, 168, 10]),
        wrong("MULTI_EXIT_DISC of 3 octets", 0x80, 4, &[0, 0, 1]),
        wrong("COMMUNITIES of 5 octets", 0xc0, 8, &[0, 1, 0, 1, 0]),
        wrong("COMMUNITIES of no octets", 0xc0, 8, &[]),
        wrong("EXTENDED COMMUNITIES of 7 octets", 0xc0, 16, &[0; 7]),
        wrong("LARGE_COMMUNITY of 11 octets", 0xc0, 32, &[0; 11]),
        spoiled("an attribute that overruns the attributes", &cut, 1),
    ]
}

/// RFC 7606 §2: only the attribute goes, or nothing at all; both routes stay.
fn discards() -> Vec<Case> {
    let beside = |name, flags: u8, code: u8, value: &[u8]| {
        spoiled(name, &with(&[(code, attribute(flags, code, value))]), 2)
    };
    let twice = [attribute(0x40, 1, &[0]), attribute(0x40, 1, &[1])].concat();
    vec![
        beside("LOCAL_PREF of 3 octets from outside", 0x40, 5, &[0, 0, 1]),
        beside("ATOMIC_AGGREGATE of 1 octet", 0x40, 6, &[0]),
        beside("AGGREGATOR of 5 octets", 0xc0, 7, &[0; 5]),
        beside("ORIGINATOR_ID of 3 octets from outside", 0x80, 9, &[0; 3]),
        beside("CLUSTER_LIST of 5 octets from outside", 0x80, 10, &[0; 5]),
        beside(
            "AS4_PATH that overruns itself",
            0xc0,
            17,
            &[2, 9, 0, 0, 0, 1],
        ),
        beside(
            "an unknown optional transitive attribute",
            0xc0,
            99,
            &[1, 2, 3],
        ),
        beside(
            "an unknown optional non-transitive attribute",
            0x80,
            98,
            &[1, 2, 3],
        ),
        spoiled("ORIGIN twice", &with(&[(1, twice)]), 2),
    ]
}
