//! One TCP connection as the session uses it: bytes in are cut into messages, bytes out go one piece at a time.

use std::net::IpAddr;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::collision::Origin;
use super::io::ConnectionId;
use crate::wire::Framer;

/// Bytes a held connection may have sent before it is given up: an OPEN and some KEEPALIVEs are all a peer can have
/// to say before it has seen our OPEN.
const HELD_MAXIMUM: usize = 8192;

/// One connection, attempted or standing.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: ConnectionId,
    pub(crate) origin: Origin,
    /// When it was dialled or accepted.
    pub(crate) opened_at: Instant,
    /// Our end; `None` while the attempt lasts.
    pub(crate) local: Option<IpAddr>,
    /// Connected, but our OPEN is held back until the other connection's handshake is decided.
    pub(crate) held: bool,
    pub(crate) framer: Framer,
    /// When bytes last came in.
    pub(crate) heard_at: Instant,
    /// Since when the kernel has not taken all of what was last handed out.
    pub(crate) sending_since: Option<Instant>,
    /// Messages of the session itself that wait for that; they go before routes.
    control: BytesMut,
}

impl Link {
    pub(crate) fn new(
        id: ConnectionId,
        origin: Origin,
        local: Option<IpAddr>,
        now: Instant,
    ) -> Self {
        Self {
            id,
            origin,
            opened_at: now,
            local,
            held: false,
            framer: Framer::new(),
            heard_at: now,
            sending_since: None,
            control: BytesMut::new(),
        }
    }

    /// Puts a message of the session in front of all routes.
    pub(crate) fn queue(&mut self, message: &[u8]) {
        self.control.extend_from_slice(message);
    }

    /// Whether messages of the session wait. Then a KEEPALIVE would say nothing new.
    pub(crate) fn has_control(&self) -> bool {
        !self.control.is_empty()
    }

    /// What to hand out next on an idle link, before any routes.
    pub(crate) fn take_control(&mut self) -> Option<Bytes> {
        (!self.control.is_empty()).then(|| self.control.split().freeze())
    }

    /// Whether a held connection sent more than it can have to say.
    pub(crate) fn is_flooding(&self) -> bool {
        self.held && self.framer.pending() > HELD_MAXIMUM
    }
}
