//! One BGP instance: its peers' sessions and their RIB, without IO.

pub(crate) mod connections;
mod learned;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Instant;

use ipnet::IpNet;

use self::connections::Connections;
pub use self::learned::DEFERRAL;
use crate::config::{Change, InstanceConfig, PeerConfig, PeerName};
use crate::report::{DownReason, PeerReport};
use crate::rib::{PeerId, Retain, Rib, RibConfig};
use crate::session::event::Stop;
use crate::session::io::{Accepted, ConnectionId, Goodbye, Input, Output};
use crate::session::jitter::Jitter;
use crate::session::{Environment, Session};
use crate::wire::Notification;
use crate::wire::iana::CeaseSubcode;

/// What a peer reads when this speaker leaves for good (RFC 9003).
const FAREWELL: &str = "this speaker leaves the node";

/// A BGP speaker: one local AS, one identifier, any number of peers.
///
/// The shell calls a method, drains [`Speaker::poll_output`], and calls [`Speaker::handle`] with [`Input::Tick`] no
/// later than [`Speaker::next_deadline`]. It passes on all input it already has before a tick: input that waits is a
/// sign of life. Work per call is linear in the input, so reads of up to 64 KiB keep a speaker responsive.
#[derive(Debug)]
pub struct Speaker {
    instance: InstanceConfig,
    started_at: Instant,
    jitter: Jitter,
    rib: Rib,
    names: BTreeMap<PeerName, PeerId>,
    sessions: Vec<Option<Session>>,
    connections: Connections,
    revision: u64,
    leaving: bool,
    /// All peers have told what they know, or had the time to.
    converged: bool,
}

impl Speaker {
    /// A speaker without peers. `seed` feeds the jitter of timers and nothing else; `now` is when this process began
    /// to speak, from which the R bit counts (RFC 4724 section 4.1).
    #[must_use]
    pub fn new(instance: InstanceConfig, seed: u64, now: Instant) -> Self {
        let config = RibConfig {
            hash_seed: seed,
            ..RibConfig::default()
        };
        Self {
            rib: Rib::new(instance.local_asn, instance.router_id, config),
            instance,
            started_at: now,
            jitter: Jitter::new(seed),
            names: BTreeMap::new(),
            sessions: Vec::new(),
            connections: Connections::default(),
            revision: 0,
            leaving: false,
            converged: false,
        }
    }

    /// What this speaker is.
    #[must_use]
    pub fn instance(&self) -> &InstanceConfig {
        &self.instance
    }

    /// Makes `peers` the peers: those missing are told so and dropped with their routes, new ones are dialled at once,
    /// changed ones keep what the change leaves standing (see [`PeerConfig`]). After a goodbye nothing happens.
    pub fn configure(&mut self, peers: BTreeMap<PeerName, PeerConfig>, now: Instant) {
        if self.leaving {
            return;
        }
        let removed: Vec<PeerName> = self
            .names
            .keys()
            .filter(|name| !peers.contains_key(*name))
            .cloned()
            .collect();
        for name in removed {
            self.remove(&name, now);
        }
        for (name, config) in peers {
            match self.change(&name, &config) {
                None => self.add(name, config, now),
                Some(Change::Identity) => {
                    self.remove(&name, now);
                    self.add(name, config, now);
                }
                Some(change @ (Change::InPlace | Change::Export | Change::Session)) => {
                    self.alter(&name, config, change, now);
                }
            }
        }
        self.converge(now);
        self.pump(now);
    }

    /// Makes `prefixes` what this speaker originates. To be called before the first [`Speaker::configure`], so that no
    /// End-of-RIB precedes the routes of a restarted speaker.
    pub fn originate(&mut self, prefixes: &BTreeSet<IpNet>, now: Instant) {
        self.rib.originate(prefixes);
        self.revision += 1;
        self.pump(now);
    }

    /// Someone connected from `remote` to our end `local`. `None`: close it without a word, for it is no peer, or one
    /// whose attempts are not taken. Otherwise the shell sets the TTL and serves the connection like one it dialled.
    pub fn accept(
        &mut self,
        remote: SocketAddr,
        local: SocketAddr,
        now: Instant,
    ) -> Option<Accepted> {
        if self.leaving || !self.instance.listens {
            return None;
        }
        let address = remote.ip().to_canonical();
        let local = local.ip().to_canonical();
        let peer = self.sessions.iter().position(|session| {
            session
                .as_ref()
                .is_some_and(|session| session.config().address.to_canonical() == address)
        })?;
        let accepted = self
            .step(peer_id(peer), now, |session, env| {
                session.accept(local, env)
            })
            .flatten();
        self.pump(now);
        accepted
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        match input {
            Input::Connected { connection, local } => {
                let local = local.ip().to_canonical();
                self.route(connection, now, |session, env| {
                    session.connected(connection, local, env);
                });
            }
            Input::ConnectFailed { connection, error } => {
                self.route(connection, now, |session, env| {
                    session.ended(connection, error, env);
                });
            }
            Input::Received { connection, bytes } => {
                self.route(connection, now, |session, env| {
                    session.received(connection, bytes, env);
                });
            }
            Input::Sent { connection } => {
                self.connections.sent(connection);
                self.route(connection, now, |session, env| {
                    session.sent(connection, env);
                });
            }
            Input::Closed { connection } => {
                self.route(connection, now, |session, env| {
                    session.ended(connection, None, env);
                });
                self.connections.forget(connection);
            }
            Input::Tick => self.tick(now),
        }
        self.converge(now);
        self.pump(now);
    }

    /// What the shell has to do or to know next; `None` when that was all.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.connections.poll()
    }

    /// When [`Input::Tick`] is due at the latest; may have passed already.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let sessions = self
            .sessions
            .iter()
            .flatten()
            .filter_map(Session::next_deadline)
            .min();
        sessions
            .into_iter()
            .chain(self.connections.next_deadline())
            .chain(self.convergence_deadline())
            .min()
    }

    /// All peers, by name.
    #[must_use]
    pub fn report(&self) -> Vec<PeerReport> {
        let sessions = self
            .names
            .values()
            .filter_map(|peer| self.sessions[index(*peer)].as_ref());
        sessions.map(|session| session.report(&self.rib)).collect()
    }

    /// Grows whenever [`Speaker::report`] may read differently than before.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Ends all sessions; nothing is dialled or taken afterwards. The shell goes on until [`Speaker::finished`].
    pub fn goodbye(&mut self, goodbye: Goodbye, now: Instant) {
        self.leaving = true;
        let notification = match goodbye {
            Goodbye::Silent => None,
            Goodbye::Cease => Some(Notification::cease_with_text(
                CeaseSubcode::AdministrativeShutdown,
                FAREWELL,
            )),
        };
        let stop = Stop {
            notification,
            reason: DownReason::Stopped,
        };
        for peer in self.peers() {
            self.step(peer, now, |session, env| session.stop(&stop, env));
        }
    }

    /// Whether, after a goodbye, all connections are closed and all outputs taken. That takes a second at most.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.leaving && self.connections.is_empty()
    }

    /// The routes.
    #[must_use]
    pub fn rib(&self) -> &Rib {
        &self.rib
    }

    /// The number under which the RIB knows a peer.
    #[must_use]
    pub fn peer_id(&self, name: &PeerName) -> Option<PeerId> {
        self.names.get(name).copied()
    }

    fn add(&mut self, name: PeerName, config: PeerConfig, now: Instant) {
        let free = self
            .sessions
            .iter()
            .position(Option::is_none)
            .unwrap_or_else(|| {
                self.sessions.push(None);
                self.sessions.len() - 1
            });
        let peer = peer_id(free);
        self.names.insert(name.clone(), peer);
        self.sessions[free] = Some(Session::new(peer, name, config, self.jitter.next()));
        self.revision += 1;
        self.step(peer, now, Session::start);
    }

    fn remove(&mut self, name: &PeerName, now: Instant) {
        let Some(peer) = self.names.remove(name) else {
            return;
        };
        let notification = Some(Notification::cease(CeaseSubcode::PeerDeconfigured));
        let stop = Stop {
            notification,
            reason: DownReason::Reconfigured,
        };
        self.step(peer, now, |session, env| session.stop(&stop, env));
        self.rib.peer_down(peer, Retain::Nothing);
        self.sessions[index(peer)] = None;
        self.revision += 1;
    }

    /// What a wish changes about a peer; `None` when there is no such peer yet.
    fn change(&self, name: &PeerName, next: &PeerConfig) -> Option<Change> {
        let session = self.sessions[index(*self.names.get(name)?)].as_ref()?;
        Some(session.config().change(next))
    }

    fn alter(&mut self, name: &PeerName, config: PeerConfig, change: Change, now: Instant) {
        let Some(&peer) = self.names.get(name) else {
            return;
        };
        self.step(peer, now, |session, env| match change {
            Change::InPlace => session.adopt(config),
            Change::Export => {
                env.rib.set_policy(peer, config.export.clone());
                *env.revision += 1;
                session.adopt(config);
            }
            Change::Session | Change::Identity => session.renegotiate(config, env),
        });
    }

    fn tick(&mut self, now: Instant) {
        self.connections.expire(now);
        for peer in self.peers() {
            self.step(peer, now, Session::tick);
        }
    }

    fn peers(&self) -> Vec<PeerId> {
        self.names.values().copied().collect()
    }

    /// Lets the owner of a connection take a step; a connection that is closed has none.
    fn route(
        &mut self,
        connection: ConnectionId,
        now: Instant,
        step: impl FnOnce(&mut Session, &mut Environment<'_>),
    ) {
        if let Some(peer) = self.connections.owner(connection) {
            self.step(peer, now, step);
        }
    }

    fn step<T>(
        &mut self,
        peer: PeerId,
        now: Instant,
        step: impl FnOnce(&mut Session, &mut Environment<'_>) -> T,
    ) -> Option<T> {
        let Self {
            instance,
            started_at,
            rib,
            sessions,
            connections,
            revision,
            ..
        } = self;
        let session = sessions.get_mut(index(peer))?.as_mut()?;
        let mut env = Environment {
            now,
            started_at: *started_at,
            instance,
            rib,
            connections,
            revision,
        };
        Some(step(session, &mut env))
    }

    /// Hands out routes to all peers whose connections are idle.
    fn pump(&mut self, now: Instant) {
        while let Some(peer) = self.rib.take_ready() {
            self.step(peer, now, Session::pump);
        }
    }
}

fn index(peer: PeerId) -> usize {
    peer.0 as usize
}

/// Peers are numbered by their place; no instance has four billion of them.
fn peer_id(index: usize) -> PeerId {
    PeerId(u32::try_from(index).unwrap_or(u32::MAX))
}
