use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A socket that was given a backend in place of the frontend it asked for: so that it is told the frontend when it asks who its peer
/// is, or who sent a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SocketKey {
    /// The socket's cookie.
    pub cookie: u64,
    /// The backend's address; an IPv4 address in its IPv6-mapped form.
    pub address: [u8; 16],
    /// The backend's port.
    pub port: [u8; 2],
    /// Zero.
    pub reserved: [u8; 6],
}

/// What the socket asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SocketValue {
    /// The frontend's address; an IPv4 address in its IPv6-mapped form.
    pub address: [u8; 16],
    /// The frontend's port.
    pub port: [u8; 2],
    /// Zero.
    pub reserved: [u8; 2],
    /// Backend id.
    pub backend: u32,
}

/// Whose an address is, for sockets that ask a node for a NodePort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum NodeAddressKind {
    /// This node's.
    Local = 1,
    /// Another node's.
    Remote = 2,
}
