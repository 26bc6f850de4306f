//! Any octets as a stream: cut in two ways, it must give the same messages and the same error.
#![no_main]

use bgp::wire::{DecodeError, EXTENDED_MAXIMUM_LENGTH, Framer, MAXIMUM_LENGTH, MessageKind};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let [flags, piece, stream @ ..] = data else {
        return;
    };
    let limit = if flags & 1 == 0 {
        MAXIMUM_LENGTH
    } else {
        EXTENDED_MAXIMUM_LENGTH
    };
    let at_once = read(stream.chunks(stream.len().max(1)), limit);
    let in_pieces = read(stream.chunks(usize::from(*piece).max(1)), limit);
    assert_eq!(at_once, in_pieces);
});

type Messages = (Vec<(MessageKind, Vec<u8>)>, Option<DecodeError>);

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>, limit: usize) -> Messages {
    let (mut framer, mut messages) = (Framer::new(), Vec::new());
    for piece in pieces {
        framer.push(piece);
        loop {
            match framer.next(limit) {
                Ok(Some(frame)) => messages.push((frame.kind, frame.body.to_vec())),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
    }
    (messages, None)
}
