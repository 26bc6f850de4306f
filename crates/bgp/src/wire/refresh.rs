//! ROUTE-REFRESH (RFC 2918) and its enhancement (RFC 7313).

use bytes::{BufMut, Bytes, BytesMut};

use super::error::DecodeError;
use super::framing::{HEADER_LENGTH, message};
use super::iana::MessageKind;
use crate::family::Family;

/// What a ROUTE-REFRESH says (RFC 7313 section 3.2). Without the enhanced capability the octet is reserved and every
/// message is a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefreshSubtype {
    /// 0: send the family again.
    Request,
    /// 1, BoRR: what follows is the whole family.
    Begin,
    /// 2, EoRR: that was the whole family.
    End,
    /// Anything else; to be ignored.
    Other(u8),
}

impl From<u8> for RefreshSubtype {
    fn from(number: u8) -> Self {
        match number {
            0 => Self::Request,
            1 => Self::Begin,
            2 => Self::End,
            other => Self::Other(other),
        }
    }
}

impl From<RefreshSubtype> for u8 {
    fn from(subtype: RefreshSubtype) -> Self {
        match subtype {
            RefreshSubtype::Request => 0,
            RefreshSubtype::Begin => 1,
            RefreshSubtype::End => 2,
            RefreshSubtype::Other(number) => number,
        }
    }
}

/// A ROUTE-REFRESH message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RouteRefresh {
    /// Which family.
    pub family: Family,
    /// What about it.
    pub subtype: RefreshSubtype,
}

impl RouteRefresh {
    /// Decodes what follows the header.
    ///
    /// # Errors
    /// [`DecodeError::RefreshLength`] unless that is four octets: nobody may send outbound route filters, for which
    /// we never offer the capability.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let &[high, low, subtype, safi] = body else {
            let mut whole = BytesMut::with_capacity(HEADER_LENGTH + body.len());
            message(&mut whole, MessageKind::RouteRefresh, |out| {
                out.put_slice(body);
            });
            return Err(DecodeError::RefreshLength {
                message: whole.freeze(),
            });
        };
        let family = Family {
            afi: u16::from_be_bytes([high, low]).into(),
            safi: safi.into(),
        };
        Ok(Self {
            family,
            subtype: subtype.into(),
        })
    }

    /// The whole message.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(HEADER_LENGTH + 4);
        message(&mut out, MessageKind::RouteRefresh, |out| {
            out.put_u16(self.family.afi.into());
            out.put_u8(self.subtype.into());
            out.put_u8(self.family.safi.into());
        });
        out.freeze()
    }
}

#[cfg(test)]
mod tests;
