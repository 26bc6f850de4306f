//! One peer's session: up to two connections, each with its machine, and one arbiter between them.
//!
//! ```text
//!                 ┌──────────── Session ────────────┐
//!   Input  ─────► │ primary: link + machine (dials) │ ──► Rib (updates, up, down)
//!   (Speaker)     │ second:  link + machine (waits) │ ──► Output (connections, up, down)
//!                 │ retry · helper · refreshes      │
//!                 └─────────────────────────────────┘
//! ```
//!
//! The primary side dials and, once established, is the session; the second side takes the peer's attempts. When the
//! second side gets to Established first, the two change places, so that a restarted peer can always be taken on the
//! second side. A connection that comes up while the other one is in OpenConfirm is held: it says nothing until that
//! handshake is decided, so that no peer, whatever its rules, finds two connections to choose from after it has chosen
//! (RFC 4271 section 6.8 alone would let the two sides choose differently).

pub(crate) mod collision;
pub(crate) mod event;
mod helper;
pub mod io;
pub(crate) mod jitter;
pub(crate) mod link;
mod machine;
mod negotiation;
mod perform;
mod receive;
mod refresh;
mod report;
mod retry;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use self::collision::{Origin, may_supersede};
use self::event::{Event, Stop};
use self::helper::Helper;
use self::io::{Accepted, ConnectionId};
use self::jitter::Jitter;
use self::link::Link;
use self::machine::{Context, Machine, Mode, State};
use self::refresh::Refreshes;
use self::report::History;
use self::retry::Retry;
use crate::config::{InstanceConfig, PeerConfig, PeerName};
use crate::family::Family;
use crate::report::DownReason;
use crate::rib::{PeerId, Rib};
use crate::speaker::connections::Connections;
use crate::wire::Notification;
use crate::wire::iana::CeaseSubcode;

/// How long a dial waits while the peer's own attempt is in OpenConfirm: handshakes take a few round trips.
const YIELD: Duration = Duration::from_secs(1);

/// What a session may use of its speaker during one step.
#[derive(Debug)]
pub(crate) struct Environment<'a> {
    pub(crate) now: Instant,
    pub(crate) started_at: Instant,
    pub(crate) instance: &'a InstanceConfig,
    pub(crate) rib: &'a mut Rib,
    pub(crate) connections: &'a mut Connections,
    pub(crate) revision: &'a mut u64,
}

/// One of the two places for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Primary,
    Second,
}

impl Slot {
    fn mode(self) -> Mode {
        match self {
            Self::Primary => Mode::Dial,
            Self::Second => Mode::Listen,
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Primary => Self::Second,
            Self::Second => Self::Primary,
        }
    }
}

#[derive(Debug)]
struct Side {
    machine: Machine,
    link: Option<Link>,
}

impl Side {
    fn new() -> Self {
        Self {
            machine: Machine::new(),
            link: None,
        }
    }

    fn is_opening(&self) -> bool {
        matches!(self.machine.state(), State::OpenConfirm(_))
    }
}

/// One configured peer.
#[derive(Debug)]
pub(crate) struct Session {
    id: PeerId,
    name: PeerName,
    config: PeerConfig,
    primary: Side,
    second: Side,
    retry: Retry,
    jitter: Jitter,
    helper: Helper,
    refreshes: Refreshes,
    history: History,
    /// Families whose End-of-RIB the peer has sent since the session is up.
    complete: Vec<Family>,
    /// Our End-of-RIB went out once, which ends our own restart towards this peer.
    announced: bool,
}

impl Session {
    /// A session that has not started.
    pub(crate) fn new(id: PeerId, name: PeerName, config: PeerConfig, seed: u64) -> Self {
        Self {
            id,
            name,
            retry: Retry::new(config.connect_retry),
            config,
            primary: Side::new(),
            second: Side::new(),
            jitter: Jitter::new(seed),
            helper: Helper::Quiet,
            refreshes: Refreshes::default(),
            history: History::default(),
            complete: Vec::new(),
            announced: false,
        }
    }

    pub(crate) fn config(&self) -> &PeerConfig {
        &self.config
    }

    pub(crate) fn name(&self) -> &PeerName {
        &self.name
    }

    /// Whether the peer is up and has sent its End-of-RIB for every family agreed on (RFC 4724 section 4.1).
    pub(crate) fn has_told_all(&self) -> bool {
        let up = self.primary.machine.established();
        up.is_some_and(|up| {
            let mut families = up.negotiated.families.iter();
            families.all(|family| self.complete.contains(family))
        })
    }

    /// Dials at once, and takes the peer's attempts where the instance listens.
    pub(crate) fn start(&mut self, env: &mut Environment<'_>) {
        self.event(Slot::Primary, Event::AutomaticStart, env);
        if env.instance.listens {
            self.event(Slot::Second, Event::AutomaticStartPassive, env);
        }
    }

    /// Stops for good: the peer was removed, or the speaker leaves. Where the N bit was agreed the notification goes
    /// as Hard Reset, because routes of somebody who left must not be kept (RFC 8538 section 3.1).
    pub(crate) fn stop(&mut self, stop: &Stop, env: &mut Environment<'_>) {
        for slot in [Slot::Primary, Slot::Second] {
            let machine = &self.side(slot).machine;
            let hard = machine
                .established()
                .is_some_and(|up| up.negotiated.survives_notification());
            let notification = match &stop.notification {
                Some(notification) if hard => Some(Notification::hard_reset(notification)),
                other => other.clone(),
            };
            self.event(
                slot,
                Event::ManualStop(Stop {
                    notification,
                    reason: stop.reason.clone(),
                }),
                env,
            );
        }
    }

    /// Takes another configuration for the same peer that has to be negotiated anew, and dials at once.
    pub(crate) fn renegotiate(&mut self, config: PeerConfig, env: &mut Environment<'_>) {
        self.adopt(config);
        self.retry.reset();
        self.history.told.clear();
        let notification = Some(Notification::cease(CeaseSubcode::OtherConfigurationChange));
        let stop = Stop {
            notification,
            reason: DownReason::Reconfigured,
        };
        self.event(Slot::Primary, Event::AutomaticStop(stop.clone()), env);
        if env.instance.listens {
            self.event(Slot::Second, Event::AutomaticStop(stop), env);
        }
        self.settle(env);
    }

    /// Takes another configuration that changes nothing about the connection.
    pub(crate) fn adopt(&mut self, config: PeerConfig) {
        self.retry.set_connect_retry(config.connect_retry);
        self.config = config;
    }

    /// The peer dialled. `None` turns it away without a word: nothing is taken while damping.
    pub(crate) fn accept(&mut self, local: IpAddr, env: &mut Environment<'_>) -> Option<Accepted> {
        let ttl = self.ttl(env);
        if let Some(up) = self.primary.machine.established()
            && !may_supersede(up.since, up.negotiated.graceful_restart.is_some(), env.now)
        {
            let link = Link::new(
                env.connections.open(self.id),
                Origin::Accepted,
                Some(local),
                env.now,
            );
            let collision = Notification::cease(CeaseSubcode::ConnectionCollision);
            env.connections
                .close(&link, Some(collision.encode()), env.now);
            return Some(Accepted {
                connection: link.id,
                ttl,
            });
        }
        if self.second.link.is_some() {
            // Who dials again has given up the attempt before.
            self.event(Slot::Second, Event::OpenCollisionDump, env);
            self.run_due(env);
        }
        let State::Active(_) = self.second.machine.state() else {
            return None;
        };
        let mut link = Link::new(
            env.connections.open(self.id),
            Origin::Accepted,
            Some(local),
            env.now,
        );
        let connection = link.id;
        link.held = self.primary.is_opening();
        let held = link.held;
        self.second.link = Some(link);
        if !held {
            self.event(Slot::Second, Event::TcpConnectionConfirmed, env);
        }
        Some(Accepted { connection, ttl })
    }

    /// Our attempt succeeded.
    pub(crate) fn connected(
        &mut self,
        connection: ConnectionId,
        local: IpAddr,
        env: &mut Environment<'_>,
    ) {
        let Some(slot) = self.slot_of(connection) else {
            return;
        };
        let held = self.side(slot.other()).is_opening();
        if let Some(link) = &mut self.side_mut(slot).link {
            link.local = Some(local);
            link.held = held;
        }
        if !held {
            self.event(slot, Event::TcpCrAcked, env);
        }
        self.settle(env);
    }

    /// A connection, or the attempt to make one, ended without us.
    pub(crate) fn ended(
        &mut self,
        connection: ConnectionId,
        error: Option<i32>,
        env: &mut Environment<'_>,
    ) {
        env.connections.forget(connection);
        let Some(slot) = self.slot_of(connection) else {
            return;
        };
        self.side_mut(slot).link = None;
        self.event(slot, Event::TcpConnectionFails(error), env);
        self.settle(env);
    }

    /// Time passed.
    pub(crate) fn tick(&mut self, env: &mut Environment<'_>) {
        for family in self.helper.expired(env.now) {
            env.rib.sweep(self.id, Some(family));
            *env.revision += 1;
        }
        while let Some(family) = self.refreshes.expired(env.now) {
            env.rib.end_refresh(self.id, family);
            *env.revision += 1;
        }
        self.settle(env);
    }

    /// When [`Session::tick`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        [
            self.primary.machine.next_deadline(),
            self.second.machine.next_deadline(),
            self.send_hold_at(),
            self.helper.next_deadline(),
            self.refreshes.next_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// When the peer will have read nothing for too long (RFC 9687 section 3.2).
    fn send_hold_at(&self) -> Option<Instant> {
        let since = self.primary.link.as_ref()?.sending_since?;
        Some(since + self.primary.machine.established()?.negotiated.send_hold())
    }

    /// Brings the two sides to rest: held connections are decided and timers that ran out are heard.
    fn settle(&mut self, env: &mut Environment<'_>) {
        for slot in [Slot::Primary, Slot::Second] {
            self.release(slot, env);
        }
        self.run_due(env);
    }

    /// Lets a held connection speak once the other one's handshake failed. If it succeeded, this one is gone already.
    fn release(&mut self, slot: Slot, env: &mut Environment<'_>) {
        if self.side(slot.other()).is_opening() {
            return;
        }
        let Some(link) = self.side_mut(slot).link.as_mut().filter(|link| link.held) else {
            return;
        };
        link.held = false;
        let (id, event) = match link.origin {
            Origin::Dialled => (link.id, Event::TcpCrAcked),
            Origin::Accepted => (link.id, Event::TcpConnectionConfirmed),
        };
        self.event(slot, event, env);
        self.drain(id, env);
    }

    fn run_due(&mut self, env: &mut Environment<'_>) {
        if self.send_hold_at().is_some_and(|at| at <= env.now) {
            self.event(Slot::Primary, Event::SendHoldTimerExpires, env);
        }
        for slot in [Slot::Primary, Slot::Second] {
            while let Some(event) = self.due(slot, env.now) {
                self.event(slot, event, env);
            }
        }
    }

    fn due(&mut self, slot: Slot, now: Instant) -> Option<Event> {
        let yields = slot == Slot::Primary && self.second.is_opening();
        let Side { machine, link } = self.side_mut(slot);
        if let Some(link) = link {
            machine.heard(link.heard_at);
        }
        match machine.due(now)? {
            Event::IdleHoldTimerExpires if yields => {
                machine.postpone(now + YIELD);
                None
            }
            event => Some(event),
        }
    }

    /// Hands an event to a machine and does what it asks for.
    fn event(&mut self, slot: Slot, event: Event, env: &mut Environment<'_>) {
        let Self {
            primary,
            second,
            retry,
            jitter,
            ..
        } = self;
        let machine = match slot {
            Slot::Primary => &mut primary.machine,
            Slot::Second => &mut second.machine,
        };
        let mut context = Context {
            now: env.now,
            mode: slot.mode(),
            retry,
            jitter,
            actions: Vec::new(),
        };
        let before = machine.name();
        machine.handle(event, &mut context);
        let actions = context.actions;
        if before != machine.name() {
            *env.revision += 1;
        }
        for action in actions {
            self.perform(slot, action, env);
        }
    }

    fn side(&self, slot: Slot) -> &Side {
        match slot {
            Slot::Primary => &self.primary,
            Slot::Second => &self.second,
        }
    }

    fn side_mut(&mut self, slot: Slot) -> &mut Side {
        match slot {
            Slot::Primary => &mut self.primary,
            Slot::Second => &mut self.second,
        }
    }

    fn slot_of(&self, connection: ConnectionId) -> Option<Slot> {
        [Slot::Primary, Slot::Second].into_iter().find(|slot| {
            self.side(*slot)
                .link
                .as_ref()
                .is_some_and(|link| link.id == connection)
        })
    }
}
