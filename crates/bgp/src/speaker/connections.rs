//! Connections by name: who owns each, and those that only wait to say their last word.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::rib::PeerId;
use crate::session::io::{ConnectionId, Output};
use crate::session::link::Link;

/// How long a closing connection may wait for room to send its NOTIFICATION: the peer that does not read is often the
/// very reason to close.
const LAST_WORD: Duration = Duration::from_secs(1);

/// A connection that closes once its last message fits.
#[derive(Debug)]
struct Departure {
    last: Bytes,
    until: Instant,
}

/// All connections of a speaker, and what it has to say about them.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    next: u64,
    owners: BTreeMap<ConnectionId, PeerId>,
    departing: BTreeMap<ConnectionId, Departure>,
    outputs: VecDeque<Output>,
}

impl Connections {
    /// A new name, owned by `peer`.
    pub(crate) fn open(&mut self, peer: PeerId) -> ConnectionId {
        let id = ConnectionId(self.next);
        self.next += 1;
        self.owners.insert(id, peer);
        id
    }

    /// Whose connection this is; `None` once it is closed.
    pub(crate) fn owner(&self, id: ConnectionId) -> Option<PeerId> {
        self.owners.get(&id).copied()
    }

    pub(crate) fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(crate) fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The other side, or the kernel, already ended it.
    pub(crate) fn forget(&mut self, id: ConnectionId) {
        self.owners.remove(&id);
        self.departing.remove(&id);
    }

    /// Closes a link, after `last` where the connection stands.
    pub(crate) fn close(&mut self, link: &Link, last: Option<Bytes>, now: Instant) {
        self.owners.remove(&link.id);
        let connected = link.local.is_some();
        match (last.filter(|_| connected), link.sending_since) {
            (Some(last), Some(_)) => {
                self.departing.insert(
                    link.id,
                    Departure {
                        last,
                        until: now + LAST_WORD,
                    },
                );
            }
            (Some(bytes), None) => {
                self.push(Output::Send {
                    connection: link.id,
                    bytes,
                });
                self.push(Output::Close {
                    connection: link.id,
                });
            }
            (None, _) => self.push(Output::Close {
                connection: link.id,
            }),
        }
    }

    /// There is room again on a connection.
    pub(crate) fn sent(&mut self, id: ConnectionId) {
        if let Some(departure) = self.departing.remove(&id) {
            self.push(Output::Send {
                connection: id,
                bytes: departure.last,
            });
            self.push(Output::Close { connection: id });
        }
    }

    /// Gives up on last words that found no room.
    pub(crate) fn expire(&mut self, now: Instant) {
        let outputs = &mut self.outputs;
        self.departing.retain(|&connection, departure| {
            let waits = departure.until > now;
            if !waits {
                outputs.push_back(Output::Close { connection });
            }
            waits
        });
    }

    /// When the first of them is given up.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.departing
            .values()
            .map(|departure| departure.until)
            .min()
    }

    /// Whether no connection is left, not even one that is closing, and nothing waits to be told.
    pub(crate) fn is_empty(&self) -> bool {
        self.owners.is_empty() && self.departing.is_empty() && self.outputs.is_empty()
    }
}
