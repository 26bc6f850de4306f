//! What can be wrong with one attribute without ending the session (RFC 7606).

use std::fmt;

use crate::wire::iana::{AttributeCode, UpdateSubcode};

/// One attribute and what is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttributeFault {
    /// Its code.
    pub code: u8,
    /// The fault.
    pub reason: FaultReason,
}

/// What is wrong with an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultReason {
    /// Optional or Transitive bit is not what its code demands (RFC 7606 section 3, c).
    Flags,
    /// A length its code does not allow.
    Length,
    /// ORIGIN above 2.
    Origin,
    /// Parts that do not fit their whole, or a number that is reserved.
    Value,
    /// NEXT_HOP is no host's address (RFC 4271 section 6.3).
    NextHop,
    /// AS_PATH segments of unknown kind, empty, or not filling the attribute (RFC 7606 section 7.2).
    Segments,
    /// AS number 0 (RFC 7607 section 2).
    AsZero,
    /// Confederation segments from outside any confederation (RFC 5065 section 5).
    ConfederationSegment,
    /// AS_SET (RFC 9774 section 3), where the context rejects it.
    AsSet,
    /// The path does not begin with the peer's AS (RFC 4271 section 6.3), where the context demands it.
    FirstAs,
    /// The attribute list is cut, here (RFC 7606 section 4).
    Cut,
    /// A well-known attribute is missing (RFC 7606 section 3, d).
    Missing,
    /// Only internal peers may send it (RFC 7606 sections 7.5, 7.9, 7.10).
    FromExternal,
    /// Only two-octet speakers may send it (RFC 6793 section 4.1).
    FromFourOctet,
}

impl FaultReason {
    /// The subcode that names this fault in an UPDATE error (RFC 4271 section 6.3).
    #[must_use]
    pub const fn subcode(self) -> UpdateSubcode {
        match self {
            Self::Flags => UpdateSubcode::AttributeFlagsError,
            Self::Length => UpdateSubcode::AttributeLengthError,
            Self::Origin => UpdateSubcode::InvalidOriginAttribute,
            Self::Value => UpdateSubcode::OptionalAttributeError,
            Self::NextHop => UpdateSubcode::InvalidNextHopAttribute,
            Self::Segments
            | Self::AsZero
            | Self::ConfederationSegment
            | Self::AsSet
            | Self::FirstAs => UpdateSubcode::MalformedAsPath,
            Self::Cut => UpdateSubcode::MalformedAttributeList,
            Self::Missing => UpdateSubcode::MissingWellKnownAttribute,
            Self::FromExternal | Self::FromFourOctet => UpdateSubcode::OptionalAttributeError,
        }
    }

    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Flags => "has wrong flags",
            Self::Length => "has a wrong length",
            Self::Origin => "is none of the three",
            Self::Value => "has a wrong value",
            Self::NextHop => "is not a host's address",
            Self::Segments => "has malformed segments",
            Self::AsZero => "contains AS 0",
            Self::ConfederationSegment => "contains a confederation segment",
            Self::AsSet => "contains an AS_SET",
            Self::FirstAs => "does not begin with the peer's AS",
            Self::Cut => "is cut",
            Self::Missing => "is missing",
            Self::FromExternal => "came from an external peer",
            Self::FromFourOctet => "came from a four-octet peer",
        }
    }
}

impl fmt::Display for AttributeFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match AttributeCode::from_number(self.code) {
            Some(code) => write!(formatter, "{code} {}", self.reason.words()),
            None => write!(formatter, "attribute {} {}", self.code, self.reason.words()),
        }
    }
}
