use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Who asks: clients outside the cluster, or processes and pods inside. A Service whose two traffic policies differ has a row for
/// each ([`frontend_flags::TWO_SCOPES`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Scope {
    /// From outside, and the only scope of most.
    External = 0,
    /// From inside.
    Internal = 1,
}

macro_rules! frontend_key {
    ($(#[$doc:meta])* $name:ident, $octets:literal) => {
        $(#[$doc])*
        #[derive(
            Debug,
            Clone,
            Copy,
            PartialEq,
            Eq,
            PartialOrd,
            Ord,
            Hash,
            FromBytes,
            IntoBytes,
            Immutable,
            KnownLayout,
        )]
        #[repr(C)]
        pub struct $name {
            /// Address.
            pub address: [u8; $octets],
            /// Port.
            pub port: [u8; 2],
            /// [`crate::TCP`], [`crate::UDP`] or 0.
            pub protocol: u8,
            /// A [`Scope`].
            pub scope: u8,
        }
    };
}

frontend_key!(
    /// An IPv4 frontend. The row of port 0 and protocol 0 says that an address is a virtual one: what none of its other rows takes is
    /// dropped. The row of address 0 is a NodePort as sockets of this cluster look it up.
    FrontendKey4,
    4
);
frontend_key!(
    /// An IPv6 frontend; see [`FrontendKey4`].
    FrontendKey6,
    16
);

/// What is behind a frontend.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Frontend {
    /// Index into `GROUPS`; 0 is the group without backends.
    pub group: u32,
    /// Bits of [`frontend_flags`].
    pub flags: u32,
}

/// Bits of [`Frontend::flags`].
pub mod frontend_flags {
    /// Packets from outside may use it; a ClusterIP lacks it.
    pub const ROUTABLE: u32 = 1;
    /// There is a row of scope internal too, and callers inside use that one.
    pub const TWO_SCOPES: u32 = 1 << 1;
    /// Chosen by the ring (Maglev) and not at random.
    pub const RING: u32 = 1 << 2;
    /// The row of port 0: answers ping where that is on, drops the rest.
    pub const WILDCARD: u32 = 1 << 3;
    /// Sockets of processes are not translated: an external address that a tenant could have chosen (CVE-2020-8554).
    pub const NO_SOCKET: u32 = 1 << 4;
}
