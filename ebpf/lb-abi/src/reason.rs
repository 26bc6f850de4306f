/// Why a packet was counted. The index into `COUNTERS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Reason {
    /// Sent on to a backend of this node.
    Local = 0,
    /// Sent on to a backend elsewhere.
    Remote = 1,
    /// A backend's reply, made the frontend's.
    Reply = 2,
    /// A flow was made.
    NewFlow = 3,
    /// A ping of a virtual address was answered.
    Ping = 4,
    /// A socket was given a backend.
    Socket = 5,
    /// Dropped: a virtual address has no such port.
    NoService = 6,
    /// Dropped: no backend may take it.
    NoBackend = 7,
    /// Dropped: a ClusterIP, asked from outside.
    NotRoutable = 8,
    /// Dropped: no port is left to replace the client's.
    NoSnatPort = 9,
    /// Dropped: no address to replace the client's.
    NoSnatAddress = 10,
    /// Dropped: no route to the backend or client.
    NoRoute = 11,
    /// Dropped: the hop limit is used up.
    HopLimit = 12,
    /// Dropped: a fragment of a packet for a virtual address, whose ports are unknown.
    Fragment = 13,
    /// Dropped: the flow could not be remembered.
    TableFull = 14,
    /// A missing half of a flow was made anew.
    Healed = 15,
    /// A direct connection took over the tuple of a flow.
    DirectTakeover = 16,
    /// Dropped: header of a packet for a virtual address is malformed.
    Malformed = 17,
}

impl Reason {
    /// Entries of `COUNTERS`.
    pub const COUNT: u32 = 32;
    /// All, in order of their numbers.
    pub const ALL: [Self; 18] = [
        Self::Local,
        Self::Remote,
        Self::Reply,
        Self::NewFlow,
        Self::Ping,
        Self::Socket,
        Self::NoService,
        Self::NoBackend,
        Self::NotRoutable,
        Self::NoSnatPort,
        Self::NoSnatAddress,
        Self::NoRoute,
        Self::HopLimit,
        Self::Fragment,
        Self::TableFull,
        Self::Healed,
        Self::DirectTakeover,
        Self::Malformed,
    ];
}
