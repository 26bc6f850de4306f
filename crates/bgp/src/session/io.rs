//! The whole contract between the speaker and its shell.
//!
//! Bytes out are pulled, not pushed: a connection carries at most one [`Output::Send`] at a time, the shell
//! answers it with [`Input::Sent`] once the kernel took all of it, and only then the next one follows. So a
//! peer that does not read costs nothing but its place in the export group's log (RFC 9687 bounds how long).

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use crate::config::PeerName;
use crate::report::DownReason;

/// One TCP connection, attempted or standing. Never reused within a speaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What the speaker is told.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// The attempt asked for by [`Output::Connect`] succeeded.
    Connected {
        /// The attempt.
        connection: ConnectionId,
        /// Our end.
        local: SocketAddr,
    },
    /// The attempt failed.
    ConnectFailed {
        /// The attempt.
        connection: ConnectionId,
        /// The operating system's error number, where there is one.
        error: Option<i32>,
    },
    /// Bytes came in.
    Received {
        /// From where.
        connection: ConnectionId,
        /// Any piece of the stream.
        bytes: &'a [u8],
    },
    /// All bytes of the last [`Output::Send`] were taken by the kernel.
    Sent {
        /// On which connection.
        connection: ConnectionId,
    },
    /// The connection ended: closed by the peer, reset, or failed.
    Closed {
        /// Which one.
        connection: ConnectionId,
    },
    /// Time passed: [`crate::Speaker::next_deadline`] is reached.
    Tick,
}

/// What the speaker asks for or tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Dial. Answered by [`Input::Connected`] or [`Input::ConnectFailed`].
    Connect {
        /// Name for the attempt.
        connection: ConnectionId,
        /// For whom.
        peer: PeerName,
        /// Where to.
        remote: SocketAddr,
        /// From where; `None` lets the kernel choose.
        local: Option<IpAddr>,
        /// TTL or hop limit to set; `None` keeps the system's default.
        ttl: Option<u8>,
    },
    /// Write all of this, then answer [`Input::Sent`].
    Send {
        /// On which connection.
        connection: ConnectionId,
        /// Whole messages.
        bytes: Bytes,
    },
    /// Close gracefully: pending [`Output::Send`] bytes are flushed first, for a second at most. No answer; further
    /// inputs for the connection are ignored. Also ends an attempt that is still being made.
    Close {
        /// Which one.
        connection: ConnectionId,
    },
    /// A session reached Established.
    Up {
        /// Whose.
        peer: PeerName,
    },
    /// A session left Established, or an attempt to reach it failed; repeated equal reasons of failing attempts
    /// are told once.
    Down {
        /// Whose.
        peer: PeerName,
        /// Why.
        reason: DownReason,
    },
}

/// A connection that [`crate::Speaker::accept`] takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Name for it.
    pub connection: ConnectionId,
    /// TTL or hop limit to set; `None` keeps the system's default.
    pub ttl: Option<u8>,
}

/// How a speaker leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goodbye {
    /// We come back: connections are just closed, so that graceful restart keeps our routes (RFC 4724).
    Silent,
    /// We do not: Cease/Administrative Shutdown, sent as Hard Reset where the N bit was negotiated (RFC 8538), so that
    /// routes are dropped at once.
    Cease,
}
