//! OPEN: who speaks and what it offers (RFC 4271 section 4.2, RFC 5492, RFC 6793, RFC 9072).

use std::net::Ipv4Addr;

use bytes::{BufMut, Bytes, BytesMut};

use super::capability::Capabilities;
use super::error::DecodeError;
use super::framing::message;
use super::iana::{
    AS_TRANS, MessageKind, PARAMETER_CAPABILITIES, PARAMETER_EXTENDED_LENGTH, VERSION,
};

/// An OPEN message, valid by itself; whether it is the one expected is the session's to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// AS number: of the 4-octet capability where there is one, else of the fixed field. Never 0.
    pub asn: u32,
    /// Offered hold time in seconds: 0, or at least 3.
    pub hold_time: u16,
    /// BGP identifier, never 0.0.0.0 (RFC 6286).
    pub router_id: Ipv4Addr,
    /// What the sender can do.
    pub capabilities: Capabilities,
}

impl Open {
    /// Decodes what follows the header, in the order of RFC 4271 section 6.2: version, AS, identifier, hold time,
    /// parameters.
    ///
    /// # Errors
    /// The first fault in that order.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let Some((
            &[
                version,
                as_high,
                as_low,
                hold_high,
                hold_low,
                a,
                b,
                c,
                d,
                parameters_length,
            ],
            parameters,
        )) = body.split_first_chunk::<10>()
        else {
            return Err(DecodeError::MalformedParameters);
        };
        if version != VERSION {
            return Err(DecodeError::UnsupportedVersion(version));
        }
        let capabilities = read_parameters(parameters_length, parameters);
        let two_octet_asn = u32::from(u16::from_be_bytes([as_high, as_low]));
        let asn = match &capabilities {
            Ok(capabilities) => capabilities.four_octet_asn.unwrap_or(two_octet_asn),
            Err(_) => two_octet_asn,
        };
        if asn == 0 {
            return Err(DecodeError::AsZero);
        }
        let router_id = Ipv4Addr::new(a, b, c, d);
        if router_id.is_unspecified() {
            return Err(DecodeError::IdentifierZero);
        }
        let hold_time = u16::from_be_bytes([hold_high, hold_low]);
        if hold_time == 1 || hold_time == 2 {
            return Err(DecodeError::UnacceptableHoldTime(hold_time));
        }
        Ok(Self {
            asn,
            hold_time,
            router_id,
            capabilities: capabilities?,
        })
    }

    /// The whole message. All capabilities stand in one parameter, in the extended form of RFC 9072 only when they
    /// need it.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let capabilities = self.capabilities.encode();
        let mut out = BytesMut::with_capacity(64 + capabilities.len());
        message(&mut out, MessageKind::Open, |out| {
            out.put_u8(VERSION);
            out.put_u16(u16::try_from(self.asn).unwrap_or(AS_TRANS));
            out.put_u16(self.hold_time);
            out.put_slice(&self.router_id.octets());
            put_parameter(out, &capabilities);
        });
        out.freeze()
    }
}

fn put_parameter(out: &mut BytesMut, capabilities: &[u8]) {
    let length = capabilities.len();
    match (
        u8::try_from(length),
        u8::try_from(length + 2),
        u16::try_from(length),
    ) {
        _ if length == 0 => out.put_u8(0),
        // 255 in the length octet would look like the extended form to a careless reader, and RFC 9072 reserves it.
        (Ok(length), Ok(total), _) if total != u8::MAX => {
            out.put_slice(&[total, PARAMETER_CAPABILITIES, length]);
            out.put_slice(capabilities);
        }
        (_, _, Ok(length)) => {
            out.put_slice(&[u8::MAX, PARAMETER_EXTENDED_LENGTH]);
            out.put_u16(length.saturating_add(3));
            out.put_u8(PARAMETER_CAPABILITIES);
            out.put_u16(length);
            out.put_slice(capabilities);
        }
        (_, _, Err(_)) => out.put_u8(0),
    }
}

/// Reads the optional parameters in whichever form they come (RFC 9072 section 2: the first parameter type decides).
fn read_parameters(length: u8, bytes: &[u8]) -> Result<Capabilities, DecodeError> {
    let mut capabilities = Capabilities::default();
    let extended = length != 0 && bytes.first() == Some(&PARAMETER_EXTENDED_LENGTH);
    let mut rest = if extended {
        let (&[_, high, low], rest) = bytes
            .split_first_chunk::<3>()
            .ok_or(DecodeError::MalformedParameters)?;
        (usize::from(u16::from_be_bytes([high, low])) == rest.len()).then_some(rest)
    } else {
        (usize::from(length) == bytes.len()).then_some(bytes)
    }
    .ok_or(DecodeError::MalformedParameters)?;
    while let Some((&kind, after)) = rest.split_first() {
        let (length, after) = if extended {
            after
                .split_first_chunk::<2>()
                .map(|(length, after)| (usize::from(u16::from_be_bytes(*length)), after))
        } else {
            after
                .split_first()
                .map(|(length, after)| (usize::from(*length), after))
        }
        .ok_or(DecodeError::MalformedParameters)?;
        let (value, after) = after
            .split_at_checked(length)
            .ok_or(DecodeError::MalformedParameters)?;
        if kind != PARAMETER_CAPABILITIES {
            return Err(DecodeError::UnsupportedParameter(kind));
        }
        capabilities.read(value)?;
        rest = after;
    }
    Ok(capabilities)
}

#[cfg(test)]
mod tests;
