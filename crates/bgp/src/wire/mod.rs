//! The codec: bytes to messages and back, and what each fault in them means.
//!
//! Messages are decoded from borrowed bytes in one pass. A fault that ends the session is a
//! [`error::DecodeError`], which knows its NOTIFICATION; a fault that RFC 7606 lets the session survive is an
//! [`update::Treatment`]. Attributes stay bytes, in one canonical form that can be compared, hashed, stored and
//! sent; [`attribute::Attribute`] is a view of them.

pub mod attribute;
pub mod capability;
pub mod error;
pub mod framing;
pub mod iana;
pub mod nlri;
pub mod notification;
pub mod open;
pub mod refresh;
pub mod update;

pub use attribute::{AttributeBlock, AttributesBuilder, Summary};
pub use capability::{Capabilities, GracefulRestartCapability, HostName};
pub use error::{DecodeError, EncodeError};
pub use framing::{
    EXTENDED_MAXIMUM_LENGTH, Frame, Framer, HEADER_LENGTH, MAXIMUM_LENGTH, keepalive,
};
pub use iana::MessageKind;
pub use notification::Notification;
pub use open::Open;
pub use refresh::{RefreshSubtype, RouteRefresh};
pub use update::{DecodeContext, NextHop, PeerKind, Treatment, Update};
