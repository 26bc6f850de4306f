use super::*;
use crate::wire::iana::MessageKind::{Keepalive, Notification, Open, RouteRefresh, Update};

fn raw(length: u16, kind: u8, body: usize) -> Vec<u8> {
    let mut message = vec![0xFF; 16];
    message.extend(length.to_be_bytes());
    message.push(kind);
    message.extend(vec![0xAB; body]);
    message
}

fn whole(kind: u8, body: usize) -> Vec<u8> {
    raw(
        u16::try_from(HEADER_LENGTH + body).expect("short"),
        kind,
        body,
    )
}

fn next(bytes: &[u8], limit: usize) -> Result<Option<(MessageKind, usize)>, DecodeError> {
    let mut framer = Framer::new();
    framer.push(bytes);
    framer
        .next(limit)
        .map(|frame| frame.map(|frame| (frame.kind, frame.body.len())))
}

#[test]
fn rfc_4271_section_6_1_lengths_are_bounded_per_type() {
    let bad = |length| Err(DecodeError::BadLength(length));
    for (bytes, limit, expected) in [
        (whole(1, 10), 4096, Ok(Some((Open, 10)))),
        (raw(28, 1, 9), 4096, bad(28)),
        (raw(4097, 1, 0), 65535, bad(4097)),
        (whole(2, 4), 4096, Ok(Some((Update, 4)))),
        (raw(22, 2, 3), 4096, bad(22)),
        (whole(2, 4077), 4096, Ok(Some((Update, 4077)))),
        (raw(4097, 2, 0), 4096, bad(4097)),
        (whole(2, 65516), 65535, Ok(Some((Update, 65516)))),
        (whole(3, 2), 4096, Ok(Some((Notification, 2)))),
        (raw(20, 3, 1), 4096, bad(20)),
        (whole(3, 5000), 65535, Ok(Some((Notification, 5000)))),
        (whole(4, 0), 4096, Ok(Some((Keepalive, 0)))),
        (raw(20, 4, 1), 65535, bad(20)),
        (whole(5, 4), 4096, Ok(Some((RouteRefresh, 4)))),
        (whole(5, 0), 4096, Ok(Some((RouteRefresh, 0)))),
        (raw(18, 4, 0), 4096, bad(18)),
        (raw(0, 4, 0), 4096, bad(0)),
        (raw(65535, 9, 0), 4096, bad(65535)),
        (raw(19, 0, 0), 4096, Err(DecodeError::BadType(0))),
        (raw(19, 6, 0), 4096, Err(DecodeError::BadType(6))),
    ] {
        assert_eq!(next(&bytes, limit), expected, "{:?}", &bytes[16..19]);
    }
}

#[test]
fn rfc_4271_section_6_1_any_marker_but_ones_is_not_synchronized() {
    for at in 0..16 {
        let mut message = whole(4, 0);
        message[at] ^= 1;
        assert_eq!(next(&message, 4096), Err(DecodeError::NotSynchronized));
    }
}

#[test]
fn header_errors_carry_what_was_offending() {
    for (error, code, subcode, data) in [
        (DecodeError::NotSynchronized, 1, 1, &[][..]),
        (DecodeError::BadLength(0x0102), 1, 2, &[1, 2]),
        (DecodeError::BadType(9), 1, 3, &[9]),
    ] {
        let notification = error.notification();
        assert_eq!(
            (
                notification.code,
                notification.subcode,
                &notification.data[..]
            ),
            (code, subcode, data)
        );
    }
}

#[test]
fn messages_come_out_the_same_however_the_stream_is_cut() {
    let mut stream = Vec::new();
    for body in [0, 5, 4077, 4, 100] {
        stream.extend(whole(2, body.max(4)));
        stream.extend(keepalive());
    }
    for piece in [1, 2, 7, 18, 19, 20, 1000, stream.len()] {
        let mut framer = Framer::new();
        let mut seen = Vec::new();
        for bytes in stream.chunks(piece) {
            framer.push(bytes);
            while let Some(frame) = framer.next(MAXIMUM_LENGTH).expect("a good stream") {
                seen.push((frame.kind, frame.body.len()));
            }
        }
        let updates = [4, 5, 4077, 4, 100].map(|body| [(Update, body), (Keepalive, 0)]);
        assert_eq!(seen, updates.as_flattened());
        assert_eq!(framer.pending(), 0);
    }
}

#[test]
fn a_bad_header_is_told_before_its_body_arrives() {
    assert_eq!(
        next(&raw(5000, 2, 0), 4096),
        Err(DecodeError::BadLength(5000))
    );
    assert_eq!(next(&raw(30, 2, 5), 4096), Ok(None));
    assert_eq!(next(&raw(30, 2, 5)[..18], 4096), Ok(None));
}

#[test]
fn rfc_4271_section_4_4_a_keepalive_is_a_header() {
    assert_eq!(next(&keepalive(), 4096), Ok(Some((Keepalive, 0))));
}
