use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An endpoint: where packets for a frontend go. Id 0 is none.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Backend {
    /// Address; an IPv4 address in its IPv6-mapped form.
    pub address: [u8; 16],
    /// Port.
    pub port: [u8; 2],
    /// [`crate::TCP`] or [`crate::UDP`].
    pub protocol: u8,
    /// Bits of [`backend_flags`]; 0 is a free row.
    pub flags: u8,
    /// Raised whenever the id gets another meaning; flows remember it.
    pub generation: u32,
    /// Zero.
    pub reserved: u64,
}

/// Bits of [`Backend::flags`].
pub mod backend_flags {
    /// The row is in use.
    pub const PRESENT: u8 = 1;
    /// It runs on this node: packets go to it by the host's own routes and keep the client's address.
    pub const LOCAL: u8 = 1 << 1;
    /// It takes no new connection; those it has go on.
    pub const TERMINATING: u8 = 1 << 2;
}
