//! NOTIFICATION: why a session ends (RFC 4271 section 4.5, RFC 9003, RFC 8538).

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use super::error::DecodeError;
use super::framing::{HEADER_LENGTH, MAXIMUM_LENGTH, message};
use super::iana::{
    CeaseSubcode, ErrorCode, FsmSubcode, HeaderSubcode, MessageKind, OpenSubcode,
    RefreshErrorSubcode, UpdateSubcode,
};
use crate::family::Family;

/// Longest shutdown communication in octets (RFC 9003 section 2: its length is one octet).
const TEXT_MAXIMUM: usize = 255;

/// A NOTIFICATION, sent or received. Numbers are kept as they are on the wire, known or not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Notification {
    /// Error code; [`ErrorCode`] names the known ones.
    pub code: u8,
    /// Error subcode; its meaning depends on the code.
    pub subcode: u8,
    /// Diagnostic data.
    pub data: Bytes,
}

impl Notification {
    /// Any code, subcode and data.
    #[must_use]
    pub fn new(code: ErrorCode, subcode: u8, data: impl Into<Bytes>) -> Self {
        Self {
            code: code.number(),
            subcode,
            data: data.into(),
        }
    }

    /// An OPEN error (RFC 4271 section 6.2) without data.
    #[must_use]
    pub fn open(subcode: OpenSubcode) -> Self {
        Self::new(ErrorCode::OpenMessage, subcode.number(), Bytes::new())
    }

    /// An UPDATE error (RFC 4271 section 6.3).
    #[must_use]
    pub fn update(subcode: UpdateSubcode, data: impl Into<Bytes>) -> Self {
        Self::new(ErrorCode::UpdateMessage, subcode.number(), data)
    }

    /// A capability we cannot do without is missing (RFC 5492 section 5); `wanted` is the capabilities as they
    /// would stand in our OPEN.
    #[must_use]
    pub fn unsupported_capability(wanted: impl Into<Bytes>) -> Self {
        Self::new(
            ErrorCode::OpenMessage,
            OpenSubcode::UnsupportedCapability.number(),
            wanted,
        )
    }

    /// Nothing was heard for the hold time (RFC 4271 section 6.5).
    #[must_use]
    pub fn hold_timer_expired() -> Self {
        Self::new(ErrorCode::HoldTimerExpired, 0, Bytes::new())
    }

    /// Nothing could be sent for the send hold time (RFC 9687 section 3).
    #[must_use]
    pub fn send_hold_timer_expired() -> Self {
        Self::new(ErrorCode::SendHoldTimerExpired, 0, Bytes::new())
    }

    /// A message that the state does not expect (RFC 6608); `kind` goes along as data.
    #[must_use]
    pub fn unexpected_message(subcode: FsmSubcode, kind: MessageKind) -> Self {
        Self::new(
            ErrorCode::FiniteStateMachine,
            subcode.number(),
            vec![kind.number()],
        )
    }

    /// Cease without data (RFC 4486).
    #[must_use]
    pub fn cease(subcode: CeaseSubcode) -> Self {
        Self::new(ErrorCode::Cease, subcode.number(), Bytes::new())
    }

    /// Cease with a shutdown communication (RFC 9003), cut at a character when longer than 255 octets. Only
    /// Administrative Shutdown and Administrative Reset define one.
    #[must_use]
    pub fn cease_with_text(subcode: CeaseSubcode, text: &str) -> Self {
        let end = text.floor_char_boundary(TEXT_MAXIMUM);
        let mut data = BytesMut::with_capacity(1 + end);
        data.put_u8(u8::try_from(end).unwrap_or(u8::MAX));
        data.put_slice(&text.as_bytes()[..end]);
        Self::new(ErrorCode::Cease, subcode.number(), data.freeze())
    }

    /// Cease because the peer sent more than `limit` prefixes of `family` (RFC 4486 section 4).
    #[must_use]
    pub fn maximum_prefixes(family: Family, limit: u32) -> Self {
        let mut data = BytesMut::with_capacity(7);
        data.put_u16(family.afi.into());
        data.put_u8(family.safi.into());
        data.put_u32(limit);
        Self::new(
            ErrorCode::Cease,
            CeaseSubcode::MaximumPrefixes.number(),
            data.freeze(),
        )
    }

    /// `inner` wrapped as Hard Reset, so that a peer that negotiated the N bit drops our routes (RFC 8538 section 3).
    #[must_use]
    pub fn hard_reset(inner: &Self) -> Self {
        let mut data = BytesMut::with_capacity(2 + inner.data.len());
        data.put_u8(inner.code);
        data.put_u8(inner.subcode);
        data.put_slice(&inner.data);
        Self::new(
            ErrorCode::Cease,
            CeaseSubcode::HardReset.number(),
            data.freeze(),
        )
    }

    /// Whether this is a Hard Reset (RFC 8538 section 3.1).
    #[must_use]
    pub fn is_hard_reset(&self) -> bool {
        self.is_cease(CeaseSubcode::HardReset)
    }

    /// Whether this is Cease with this subcode.
    #[must_use]
    pub fn is_cease(&self, subcode: CeaseSubcode) -> bool {
        self.code == ErrorCode::Cease.number() && self.subcode == subcode.number()
    }

    /// What a Hard Reset carries; `None` when this is none, or carries nothing.
    #[must_use]
    pub fn inside_hard_reset(&self) -> Option<Self> {
        match (self.is_hard_reset(), self.data.as_ref()) {
            (true, [code, subcode, ..]) => Some(Self {
                code: *code,
                subcode: *subcode,
                data: self.data.slice(2..),
            }),
            (true, _) | (false, _) => None,
        }
    }

    /// The shutdown communication, if this carries one (RFC 9003): not empty, valid UTF-8, of the stated length.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        let carries = self.is_cease(CeaseSubcode::AdministrativeShutdown)
            || self.is_cease(CeaseSubcode::AdministrativeReset);
        let (&length, rest) = self.data.split_first()?;
        let text = rest.get(..usize::from(length))?;
        (carries && length > 0)
            .then(|| std::str::from_utf8(text).ok())
            .flatten()
    }

    /// Decodes what follows the header.
    ///
    /// # Errors
    /// [`DecodeError::BadLength`] when code and subcode are not there.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        match body {
            [code, subcode, data @ ..] => Ok(Self {
                code: *code,
                subcode: *subcode,
                data: Bytes::copy_from_slice(data),
            }),
            [] | [_] => Err(DecodeError::BadLength(
                u16::try_from(HEADER_LENGTH + body.len()).unwrap_or(u16::MAX),
            )),
        }
    }

    /// The whole message. Data that would make it longer than 4096 octets is cut.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let kept = self.data.len().min(MAXIMUM_LENGTH - HEADER_LENGTH - 2);
        let mut out = BytesMut::with_capacity(HEADER_LENGTH + 2 + kept);
        message(&mut out, MessageKind::Notification, |out| {
            out.put_u8(self.code);
            out.put_u8(self.subcode);
            out.put_slice(&self.data[..kept]);
        });
        out.freeze()
    }

    fn describe(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ErrorCode::from_number(self.code) {
            Some(code) => write!(formatter, "{code}")?,
            None => write!(formatter, "error code {}", self.code)?,
        }
        match (self.subcode_words(), self.subcode) {
            (Some(words), _) => write!(formatter, ": {words}")?,
            (None, 0) => {}
            (None, subcode) => write!(formatter, ": subcode {subcode}")?,
        }
        match self.text() {
            Some(text) => write!(formatter, " (\"{}\")", text.escape_debug()),
            None => Ok(()),
        }
    }

    fn subcode_words(&self) -> Option<&'static str> {
        match ErrorCode::from_number(self.code)? {
            ErrorCode::MessageHeader => {
                HeaderSubcode::from_number(self.subcode).map(HeaderSubcode::words)
            }
            ErrorCode::OpenMessage => {
                OpenSubcode::from_number(self.subcode).map(OpenSubcode::words)
            }
            ErrorCode::UpdateMessage => {
                UpdateSubcode::from_number(self.subcode).map(UpdateSubcode::words)
            }
            ErrorCode::FiniteStateMachine => {
                FsmSubcode::from_number(self.subcode).map(FsmSubcode::words)
            }
            ErrorCode::Cease => CeaseSubcode::from_number(self.subcode).map(CeaseSubcode::words),
            ErrorCode::RouteRefreshMessage => {
                RefreshErrorSubcode::from_number(self.subcode).map(RefreshErrorSubcode::words)
            }
            ErrorCode::HoldTimerExpired | ErrorCode::SendHoldTimerExpired => None,
        }
    }
}

/// In words, for logs and status: `Cease: Administrative Shutdown ("maintenance")`. A text from the peer is escaped.
impl fmt::Display for Notification {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe(formatter)?;
        // One level only: a peer may nest thousands, each of which would take its part of our stack.
        if let Some(inner) = self.inside_hard_reset() {
            formatter.write_str(" (")?;
            inner.describe(formatter)?;
            formatter.write_str(")")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
