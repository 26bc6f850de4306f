//! One BGP instance: its machine, its connections, its listener.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::Instant;

use bgp::rib::{Learned, LearnedPath};
use bgp::{ConnectionId, Goodbye, Input, InstanceConfig, Output, Speaker};
use ipnet::IpNet;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::Identity;
use super::kept::Kept;
use super::listen::Door;
use super::tcp::{Connection, Dial, Fact, FactKind, Reporter};
use crate::apply::InstanceWish;
use crate::observe::{self, Epoch, Report};

pub(super) struct Instance {
    name: Arc<str>,
    local_asn: u32,
    router_id: std::net::Ipv4Addr,
    speaker: Speaker,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Connections that have been given bytes and not written them yet.
    writing: BTreeSet<ConnectionId>,
    door: Door,
    reporter: Reporter,
    kept: Kept,
    /// Revision of the speaker's report that was published last.
    reported: Option<u64>,
    /// What is learned is handed over.
    feeds: bool,
}

impl Instance {
    pub(super) fn new(
        name: &str,
        wish: &InstanceWish,
        identity: &Identity,
        facts: mpsc::Sender<Fact>,
        now: Instant,
    ) -> Self {
        let InstanceWish {
            local_asn,
            router_id,
            local_port,
            peers,
            originate: _,
        } = wish;
        let name: Arc<str> = name.into();
        let reporter = Reporter {
            instance: Arc::clone(&name),
            facts,
        };
        let config = InstanceConfig {
            local_asn: *local_asn,
            router_id: *router_id,
            listens: local_port.is_some(),
            host_name: Some(Arc::clone(&identity.host_name)),
            restarting: identity.resumed.iter().any(|resumed| **resumed == *name),
        };
        let mut kept = Kept::default();
        if config.restarting {
            kept.follow(peers);
            kept.all_gone(now);
        }
        // Jitter must differ between nodes that start together; the standard library's hash keys are random.
        let seed = RandomState::new().build_hasher().finish();
        Self {
            name,
            local_asn: *local_asn,
            router_id: *router_id,
            speaker: Speaker::new(config, seed, now),
            connections: BTreeMap::new(),
            writing: BTreeSet::new(),
            door: Door::new(*local_port, now),
            reporter,
            kept,
            reported: None,
            feeds: false,
        }
    }

    /// Whether the wish is for this very instance: its sessions could not survive a change of these.
    pub(super) fn is(&self, wish: &InstanceWish) -> bool {
        (self.local_asn, self.router_id, self.door.port())
            == (wish.local_asn, wish.router_id, wish.local_port)
    }

    /// Originates first: a session that comes up finds the table complete, and End-of-RIB after it.
    pub(super) fn apply(&mut self, wish: &InstanceWish, now: Instant) {
        self.kept.follow(&wish.peers);
        self.speaker.originate(&wish.originate, now);
        self.speaker.configure(wish.peers.clone(), now);
    }

    /// Takes leave of all peers for good.
    pub(super) fn withdraw(&mut self, now: Instant) {
        self.door = Door::Shut;
        self.kept = Kept::default();
        self.speaker.configure(BTreeMap::new(), now);
    }

    pub(super) fn goodbye(&mut self, goodbye: Goodbye, now: Instant) {
        self.door = Door::Shut;
        self.speaker.goodbye(goodbye, now);
    }

    pub(super) fn owns(&self, name: &str, kind: &FactKind) -> bool {
        *self.name == *name
            && match kind {
                FactKind::Accepted { .. } => self.door.port().is_some(),
                FactKind::Connected { connection, .. }
                | FactKind::ConnectFailed { connection, .. }
                | FactKind::Received { connection, .. }
                | FactKind::Sent { connection }
                | FactKind::Closed { connection } => self.connections.contains_key(connection),
            }
    }

    pub(super) fn handle(&mut self, kind: FactKind, now: Instant) {
        match kind {
            FactKind::Connected { connection, local } => {
                if let Some(handle) = self.connections.get_mut(&connection) {
                    handle.connected();
                }
                self.speaker
                    .handle(Input::Connected { connection, local }, now);
            }
            FactKind::ConnectFailed { connection, error } => {
                self.forget(connection);
                self.speaker
                    .handle(Input::ConnectFailed { connection, error }, now);
            }
            FactKind::Accepted {
                stream,
                remote,
                local,
            } => {
                // Refused: dropping the stream closes it.
                if let Some(accepted) = self.speaker.accept(remote, local, now) {
                    let reporter = self.reporter.clone();
                    let handle = Connection::adopt(accepted, stream, remote, reporter);
                    self.connections.insert(accepted.connection, handle);
                }
            }
            FactKind::Received { connection, bytes } => {
                self.speaker.handle(
                    Input::Received {
                        connection,
                        bytes: &bytes,
                    },
                    now,
                );
            }
            FactKind::Sent { connection } => {
                self.writing.remove(&connection);
                self.speaker.handle(Input::Sent { connection }, now);
            }
            FactKind::Closed { connection } => {
                self.forget(connection);
                self.speaker.handle(Input::Closed { connection }, now);
            }
        }
    }

    /// Runs due timers and performs all outputs; returns whether a session came up or went down, or the door did.
    pub(super) fn turn(&mut self, now: Instant) -> bool {
        if self
            .speaker
            .next_deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            self.speaker.handle(Input::Tick, now);
        }
        let mut told = self.door.turn(&self.name, &self.reporter, now);
        while let Some(output) = self.speaker.poll_output() {
            told |= self.perform(output, now);
        }
        self.kept.turn(&self.speaker, now);
        told
    }

    fn perform(&mut self, output: Output, now: Instant) -> bool {
        match output {
            Output::Connect {
                connection,
                peer: _,
                remote,
                local,
                ttl,
            } => {
                let dial = Dial { remote, local, ttl };
                self.connections.insert(
                    connection,
                    Connection::dial(connection, dial, self.reporter.clone()),
                );
            }
            Output::Send { connection, bytes } => {
                if let Some(handle) = self.connections.get(&connection) {
                    handle.send(bytes);
                    self.writing.insert(connection);
                }
            }
            Output::Close { connection } => self.forget(connection),
            Output::Up { peer } => {
                info!(instance = %self.name, %peer, "session established");
                return true;
            }
            Output::Down { peer, reason } => {
                warn!(instance = %self.name, %peer, %reason, "session down");
                self.kept.gone(&peer, now);
                return true;
            }
        }
        false
    }

    /// Begins, or begins anew, to hand over what is learned; or ends it.
    pub(super) fn feed(&mut self, wanted: bool, now: Instant) {
        if wanted {
            self.feeds = true;
            self.speaker.replay_learned(now);
        } else {
            self.feeds = false;
            self.speaker.forget_learned();
        }
    }

    /// Begins to hand over what is learned, unless it does.
    pub(super) fn feed_once(&mut self, now: Instant) {
        if !self.feeds {
            self.feed(true, now);
        }
    }

    pub(super) fn name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    pub(super) fn has_learned_news(&self) -> bool {
        self.speaker.has_learned_news()
    }

    pub(super) fn has_converged(&self) -> bool {
        self.speaker.has_converged()
    }

    pub(super) fn poll_learned(&mut self, most: usize) -> Vec<Learned> {
        self.speaker.poll_learned(most)
    }

    pub(super) fn learned(&self, prefix: IpNet) -> Vec<LearnedPath> {
        self.speaker.learned(prefix)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let due = [
            self.speaker.next_deadline(),
            self.door.due(),
            self.kept.due(),
        ];
        due.into_iter().flatten().min()
    }

    fn forget(&mut self, connection: ConnectionId) {
        self.connections.remove(&connection);
        self.writing.remove(&connection);
    }

    /// Whether everything that was to be said has been handed to TCP. The machine gives a connection more as soon as it has
    /// written what it had, so that nothing waits behind what is being written.
    pub(super) fn is_delivered(&self) -> bool {
        self.writing.is_empty()
    }

    /// Whether a peer may be keeping what a session that is gone told it.
    pub(super) fn is_kept(&self) -> bool {
        self.kept.due().is_some()
    }

    /// Whether every connection has been handed over to its closing.
    pub(super) fn is_silent(&self) -> bool {
        self.connections.is_empty()
    }

    /// Whether a report would read differently from the last one.
    pub(super) fn has_news(&self) -> bool {
        self.reported != Some(self.speaker.revision())
    }

    pub(super) fn report(&mut self, name: &str, epoch: &Epoch, report: &mut Report) {
        self.reported = Some(self.speaker.revision());
        report.local_asns.insert(name.to_owned(), self.local_asn);
        let failure = self.door.failure();
        let failure = failure.map(|failure| (name.to_owned(), failure));
        report.listen_failures.extend(failure);
        for peer in self.speaker.report() {
            report.peers.insert(
                (name.to_owned(), peer.name.to_string()),
                observe::peer(&peer, epoch),
            );
        }
    }
}
