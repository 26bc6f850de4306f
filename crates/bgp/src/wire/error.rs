//! What can be wrong with a message so that the session must end, and the NOTIFICATION each fault means.

use bytes::{BufMut, Bytes, BytesMut};

use super::attribute::AttributeFault;
use super::iana::{
    AttributeCode, ErrorCode, HeaderSubcode, OpenSubcode, RefreshErrorSubcode, UpdateSubcode,
    VERSION,
};
use super::notification::Notification;

/// A message that ends the session. What RFC 7606 lets a session survive is no error:
/// [`super::update::Treatment`] says it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// RFC 4271 section 6.1.
    #[error("the marker is not all ones")]
    NotSynchronized,
    /// RFC 4271 section 6.1.
    #[error("a message length of {0} does not fit its type or the negotiated maximum")]
    BadLength(u16),
    /// RFC 4271 section 6.1.
    #[error("message type {0} is unknown")]
    BadType(u8),
    /// RFC 4271 section 6.2.
    #[error("BGP version {0} is not 4")]
    UnsupportedVersion(u8),
    /// RFC 7607 section 2.
    #[error("AS number 0")]
    AsZero,
    /// RFC 6286 section 2.2.
    #[error("BGP identifier 0.0.0.0")]
    IdentifierZero,
    /// RFC 4271 section 6.2.
    #[error("a hold time of {0} s is neither 0 nor at least 3")]
    UnacceptableHoldTime(u16),
    /// RFC 4271 section 6.2.
    #[error("optional parameter {0} is unknown")]
    UnsupportedParameter(u8),
    /// RFC 4271 section 6.2.
    #[error("the optional parameters do not fit the OPEN")]
    MalformedParameters,
    /// RFC 5492 section 5 leaves it to section 6.2 of RFC 4271.
    #[error("capability {0} is malformed")]
    MalformedCapability(u8),
    /// RFC 7606 section 3, b and f: withdrawn routes or attributes overrun the message.
    #[error("withdrawn routes or path attributes overrun the message")]
    LengthsOverrun,
    /// RFC 7606 section 3, g.
    #[error("{0} appears twice")]
    DuplicateMultiprotocol(AttributeCode),
    /// RFC 4271 section 6.3.
    #[error("well-known attribute {} is unknown", attribute.get(1).copied().unwrap_or_default())]
    UnrecognizedWellKnown {
        /// The attribute as received.
        attribute: Bytes,
    },
    /// RFC 7606 section 5.3: prefixes that cannot be told apart.
    #[error("prefixes of {0} cannot be parsed")]
    InvalidNetworkField(NetworkField),
    /// RFC 7606 sections 7.11 and 7.12: an MP attribute whose prefixes cannot be found.
    #[error("{code} is malformed")]
    Multiprotocol {
        /// Which of the two.
        code: AttributeCode,
        /// The attribute as received.
        attribute: Bytes,
    },
    /// RFC 7606 section 5.2: what would be withdrawn cannot be told.
    #[error("{fault}, in an UPDATE without reachable prefixes")]
    FaultWithoutPrefixes {
        /// What is wrong.
        fault: AttributeFault,
        /// The attribute as received; empty when it is missing or cut.
        attribute: Bytes,
    },
    /// RFC 7313 section 5.
    #[error("a ROUTE-REFRESH of {} octets", message.len())]
    RefreshLength {
        /// The whole message.
        message: Bytes,
    },
}

/// Where prefixes stand in an UPDATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NetworkField {
    /// Withdrawn Routes.
    Withdrawn,
    /// Network Layer Reachability Information.
    Announced,
    /// MP_REACH_NLRI.
    MpReach,
    /// MP_UNREACH_NLRI.
    MpUnreach,
}

impl std::fmt::Display for NetworkField {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Withdrawn => "the withdrawn routes",
            Self::Announced => "the announced routes",
            Self::MpReach => "MP_REACH_NLRI",
            Self::MpUnreach => "MP_UNREACH_NLRI",
        })
    }
}

impl DecodeError {
    /// What the peer is told before the connection closes.
    #[must_use]
    pub fn notification(&self) -> Notification {
        match self {
            Self::NotSynchronized => header(HeaderSubcode::ConnectionNotSynchronized, Bytes::new()),
            Self::BadLength(length) => header(HeaderSubcode::BadMessageLength, number(*length)),
            Self::BadType(kind) => header(
                HeaderSubcode::BadMessageType,
                Bytes::copy_from_slice(&[*kind]),
            ),
            Self::UnsupportedVersion(_) => Notification::new(
                ErrorCode::OpenMessage,
                OpenSubcode::UnsupportedVersionNumber.number(),
                number(u16::from(VERSION)),
            ),
            Self::AsZero => Notification::open(OpenSubcode::BadPeerAs),
            Self::IdentifierZero => Notification::open(OpenSubcode::BadBgpIdentifier),
            Self::UnacceptableHoldTime(_) => Notification::open(OpenSubcode::UnacceptableHoldTime),
            Self::UnsupportedParameter(_) => {
                Notification::open(OpenSubcode::UnsupportedOptionalParameter)
            }
            Self::MalformedParameters | Self::MalformedCapability(_) => {
                Notification::open(OpenSubcode::Unspecific)
            }
            Self::LengthsOverrun | Self::DuplicateMultiprotocol(_) => {
                Notification::update(UpdateSubcode::MalformedAttributeList, Bytes::new())
            }
            Self::UnrecognizedWellKnown { attribute } => Notification::update(
                UpdateSubcode::UnrecognizedWellKnownAttribute,
                attribute.clone(),
            ),
            Self::InvalidNetworkField(_) => {
                Notification::update(UpdateSubcode::InvalidNetworkField, Bytes::new())
            }
            Self::Multiprotocol { attribute, .. } => {
                Notification::update(UpdateSubcode::OptionalAttributeError, attribute.clone())
            }
            Self::FaultWithoutPrefixes { fault, attribute } => {
                fault_notification(*fault, attribute)
            }
            Self::RefreshLength { message } => Notification::new(
                ErrorCode::RouteRefreshMessage,
                RefreshErrorSubcode::InvalidMessageLength.number(),
                message.clone(),
            ),
        }
    }
}

fn header(subcode: HeaderSubcode, data: Bytes) -> Notification {
    Notification::new(ErrorCode::MessageHeader, subcode.number(), data)
}

fn number(value: u16) -> Bytes {
    let mut data = BytesMut::with_capacity(2);
    data.put_u16(value);
    data.freeze()
}

fn fault_notification(fault: AttributeFault, attribute: &Bytes) -> Notification {
    let subcode = fault.reason.subcode();
    let data = match subcode {
        UpdateSubcode::MissingWellKnownAttribute => Bytes::copy_from_slice(&[fault.code]),
        UpdateSubcode::MalformedAttributeList
        | UpdateSubcode::InvalidNetworkField
        | UpdateSubcode::MalformedAsPath => Bytes::new(),
        UpdateSubcode::UnrecognizedWellKnownAttribute
        | UpdateSubcode::AttributeFlagsError
        | UpdateSubcode::AttributeLengthError
        | UpdateSubcode::InvalidOriginAttribute
        | UpdateSubcode::InvalidNextHopAttribute
        | UpdateSubcode::OptionalAttributeError => attribute.clone(),
    };
    Notification::update(subcode, data)
}

/// What cannot be put into a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Not even one prefix fits beside the attributes (RFC 8654 section 4: such a route must not be sent to this
    /// peer, and is withdrawn if it was).
    #[error("{octets} octets of attributes leave no room for a prefix in a message of {limit}")]
    AttributesTooLong {
        /// Length of the attributes.
        octets: usize,
        /// Longest message the peer takes.
        limit: usize,
    },
}
