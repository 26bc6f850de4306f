//! From a byte stream to messages, and the header of those we send (RFC 4271 section 4.1).

use bytes::{BufMut, Bytes, BytesMut};

use super::error::DecodeError;
use super::iana::MessageKind;

/// Octets of the message header: marker, length, type.
pub const HEADER_LENGTH: usize = 19;
/// Longest message without RFC 8654, and longest OPEN and KEEPALIVE always.
pub const MAXIMUM_LENGTH: usize = 4096;
/// Longest message with RFC 8654.
pub const EXTENDED_MAXIMUM_LENGTH: usize = 65535;

const MARKER: [u8; 16] = [0xFF; 16];

/// One message, header checked and taken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its type.
    pub kind: MessageKind,
    /// What follows the header.
    pub body: &'a [u8],
}

/// Cuts a stream into messages. Holds at most one incomplete message besides what was pushed last.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    start: usize,
}

impl Framer {
    /// With nothing buffered.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what was read. Call [`Framer::next`] until it gives nothing before pushing more.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// How many octets wait for the rest of their message.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// The next whole message, if there is one. `limit` is the longest message the peer may send:
    /// [`MAXIMUM_LENGTH`], or [`EXTENDED_MAXIMUM_LENGTH`] once both sides offered RFC 8654.
    ///
    /// # Errors
    /// What RFC 4271 section 6.1 checks, as soon as the header is there. The stream is useless afterwards.
    pub fn next(&mut self, limit: usize) -> Result<Option<Frame<'_>>, DecodeError> {
        let Some((header, rest)) = self.buffer[self.start..].split_first_chunk::<HEADER_LENGTH>()
        else {
            return Ok(None);
        };
        let (kind, length) = check_header(header, limit)?;
        let Some(body) = rest.get(..length - HEADER_LENGTH) else {
            return Ok(None);
        };
        self.start += length;
        Ok(Some(Frame { kind, body }))
    }
}

fn check_header(
    header: &[u8; HEADER_LENGTH],
    limit: usize,
) -> Result<(MessageKind, usize), DecodeError> {
    let [marker @ .., high, low, kind] = header;
    if *marker != MARKER {
        return Err(DecodeError::NotSynchronized);
    }
    let stated = u16::from_be_bytes([*high, *low]);
    let length = usize::from(stated);
    if length < HEADER_LENGTH || length > limit {
        return Err(DecodeError::BadLength(stated));
    }
    let kind = MessageKind::from_number(*kind).ok_or(DecodeError::BadType(*kind))?;
    if lengths(kind, limit).contains(&length) {
        Ok((kind, length))
    } else {
        Err(DecodeError::BadLength(stated))
    }
}

/// Lengths a message may have. A ROUTE-REFRESH of a wrong length has its own error (RFC 7313 section 5), so any
/// passes here.
fn lengths(kind: MessageKind, limit: usize) -> std::ops::RangeInclusive<usize> {
    match kind {
        MessageKind::Open => 29..=MAXIMUM_LENGTH,
        MessageKind::Update => 23..=limit,
        MessageKind::Notification => 21..=limit,
        MessageKind::Keepalive => HEADER_LENGTH..=HEADER_LENGTH,
        MessageKind::RouteRefresh => HEADER_LENGTH..=limit,
    }
}

/// A KEEPALIVE (RFC 4271 section 4.4).
#[must_use]
pub fn keepalive() -> Bytes {
    const KEEPALIVE: [u8; HEADER_LENGTH] = {
        let mut message = [0xFF; HEADER_LENGTH];
        message[16] = 0;
        message[17] = HEADER_LENGTH as u8;
        message[18] = MessageKind::Keepalive.number();
        message
    };
    Bytes::from_static(&KEEPALIVE)
}

/// Appends a message: header, then what `body` appends, then the length patched in. The body must keep the message
/// within 65535 octets.
pub(super) fn message(out: &mut BytesMut, kind: MessageKind, body: impl FnOnce(&mut BytesMut)) {
    let start = begin(out, kind);
    body(out);
    finish(out, start);
}

/// Appends a header with its length still open; [`finish`] closes it.
pub(super) fn begin(out: &mut BytesMut, kind: MessageKind) -> usize {
    let start = out.len();
    out.put_slice(&MARKER);
    out.put_u16(0);
    out.put_u8(kind.number());
    start
}

/// Patches the length of the message that began at `start` and ends here.
pub(super) fn finish(out: &mut BytesMut, start: usize) {
    patch_u16(out, start + MARKER.len(), out.len() - start);
}

/// Writes a length that was left open.
pub(super) fn patch_u16(out: &mut BytesMut, at: usize, length: usize) {
    debug_assert!(length <= usize::from(u16::MAX));
    out[at..at + 2].copy_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
}

#[cfg(test)]
mod tests;
