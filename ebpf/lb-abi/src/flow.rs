use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Which of a flow's two entries. Both keys are written in the client's direction, so that a reply is looked up by its turned tuple,
/// and a client that addresses a backend directly finds the entry of the reply it would otherwise get rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FlowKind {
    /// Key: client → frontend. Value: what the packet becomes.
    Forward = 0,
    /// Key: the forward packet's tuple after rewriting. Value: what the backend's reply becomes.
    Reply = 1,
}

macro_rules! flow_key {
    ($(#[$doc:meta])* $name:ident, $octets:literal) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
        )]
        #[repr(C)]
        pub struct $name {
            /// Source of the forward direction.
            pub source: [u8; $octets],
            /// Destination of the forward direction.
            pub destination: [u8; $octets],
            /// Source port.
            pub source_port: [u8; 2],
            /// Destination port.
            pub destination_port: [u8; 2],
            /// [`crate::TCP`] or [`crate::UDP`].
            pub protocol: u8,
            /// A [`FlowKind`].
            pub kind: u8,
            /// Zero.
            pub reserved: [u8; 2],
        }
    };
}

flow_key!(
    /// Key of a flow's entry.
    FlowKey4,
    4
);
flow_key!(
    /// Key of a flow's entry.
    FlowKey6,
    16
);

macro_rules! flow_value {
    ($(#[$doc:meta])* $name:ident, $octets:literal, $rest:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct $name {
            /// Bytes seen, of this direction.
            pub bytes: u64,
            /// Packets seen, of this direction; stops at its maximum.
            pub packets: u32,
            /// Last packet of either direction: in seconds since the machine started, by the kernel's ticks.
            pub last_seen: u32,
            /// Value of [`crate::Config::epoch`] for which backend and next hop were last checked; another where they are to be.
            pub epoch: u32,
            /// Backend id.
            pub backend: u32,
            /// [`crate::Backend::generation`] of that id.
            pub backend_generation: u32,
            /// Device the packet leaves by; 0 leaves it to the host's stack.
            pub ifindex: u32,
            /// The packet's source becomes this.
            pub source: [u8; $octets],
            /// The packet's destination becomes this.
            pub destination: [u8; $octets],
            /// Neighbour it is sent to where `ifindex` is not 0.
            pub next_hop: [u8; $octets],
            /// The source port becomes this.
            pub source_port: [u8; 2],
            /// The destination port becomes this.
            pub destination_port: [u8; 2],
            /// Bits of [`flow_flags`].
            pub flags: u16,
            /// TCP flags seen, of this direction.
            pub tcp_flags: u8,
            /// Zero.
            pub reserved: u8,
            /// Group the backend was chosen from.
            pub group: u32,
            /// What a checksum over the addresses is corrected by when they become the others: a one's complement sum (RFC 1624
            /// equation 3) below 2¹⁶. That of the other entry is its complement.
            pub difference: u32,
            /// Zero.
            pub rest: [u8; $rest],
        }
    };
}

flow_value!(
    /// One direction of a flow: all that its packets need. A cache line.
    FlowValue4,
    4,
    4
);
flow_value!(
    /// One direction of a flow: all that its packets need.
    FlowValue6,
    16,
    0
);

const _: () = assert!(size_of::<FlowValue4>() == 64 && size_of::<FlowValue6>() == 96);

/// Bits of a flow's `flags`.
pub mod flow_flags {
    /// The client's address and port are replaced: replies come back to this node.
    pub const SNAT: u16 = 1;
    /// The backend is on this node.
    pub const LOCAL: u16 = 1 << 1;
    /// The backend is the client itself.
    pub const HAIRPIN: u16 = 1 << 2;
    /// FIN or RST was seen in either direction: the tuple may be used again.
    pub const CLOSING: u16 = 1 << 3;
    /// A packet of the other direction was seen.
    pub const ANSWERED: u16 = 1 << 4;
    /// Made by a caller inside the cluster.
    pub const INTERNAL: u16 = 1 << 5;
    /// RST was seen, or FIN in both directions: nothing more is expected.
    pub const CLOSED: u16 = 1 << 6;
}
