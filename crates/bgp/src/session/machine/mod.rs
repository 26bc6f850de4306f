//! The machine of RFC 4271 section 8: one connection, one state, and every event spelled in every state.
//!
//! ```text
//!            3          16/17             19                26
//!   Idle ────────► Connect ─────► OpenSent ─────► OpenConfirm ─────► Established
//!    │ ▲              │ ▲ 9   18│  ▲ 17
//!    │ │ any failure  ▼ │       ▼  │
//!    │ └────────────  Active ──────┘
//!    └── 5 ─────────────▲
//! ```
//!
//! It departs from the letter of the RFC in four places, each where the letter serves nobody: a failed attempt waits
//! in Active instead of Idle, so that the peer's own attempt is not refused meanwhile; a NOTIFICATION is never
//! answered by one (section 6.4 forbids what section 8 says for OpenSent); a broken header in Established is told as
//! what it is (section 6.1) instead of as an FSM error; and the wait for the first KEEPALIVE is bounded even where no
//! hold time was agreed.

mod active;
mod connect;
mod established;
mod idle;
mod open_confirm;
mod open_sent;

use std::time::{Duration, Instant};

pub(crate) use active::Active;
pub(crate) use connect::Connect;
pub(crate) use established::Established;
pub(crate) use idle::Idle;
pub(crate) use open_confirm::OpenConfirm;
pub(crate) use open_sent::OpenSent;

use super::event::Event;
use super::jitter::Jitter;
use super::negotiation::Negotiated;
use super::retry::{Failure, Retry};
use crate::report::{DownReason, SessionState};
use crate::wire::Notification;
use crate::wire::iana::{CeaseSubcode, ErrorCode, FsmSubcode, MessageKind};

/// The hold time while the peer's OPEN is awaited (RFC 4271 section 8.2.2 suggests 4 minutes).
const LARGE_HOLD: Duration = Duration::from_secs(240);

/// A state with what exists only in it.
#[derive(Debug, Clone)]
pub(crate) enum State {
    /// No connection, and none taken.
    Idle(Idle),
    /// Our attempt is under way.
    Connect(Connect),
    /// Taking the peer's attempt; where we dial, until the next attempt.
    Active(Active),
    /// Our OPEN is out.
    OpenSent(OpenSent),
    /// Both OPENs were fine.
    OpenConfirm(OpenConfirm),
    /// The session is up.
    Established(Established),
}

/// What the machine wants done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Open a TCP connection.
    Dial,
    /// Send our OPEN.
    SendOpen,
    /// Send a KEEPALIVE.
    SendKeepalive,
    /// Drop the connection, saying this first.
    Close(Option<Notification>),
    /// The session is up.
    Up,
    /// The session ended.
    Lost(DownReason, Box<Negotiated>),
    /// An attempt to get there failed.
    Failed(DownReason),
}

/// Who starts a machine's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// We do.
    Dial,
    /// The peer does; failures other than protocol errors leave it listening.
    Listen,
}

/// What a step may look at besides its state, and where it leaves its actions.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) now: Instant,
    pub(crate) mode: Mode,
    pub(crate) retry: &'a mut Retry,
    pub(crate) jitter: &'a mut Jitter,
    pub(crate) actions: Vec<Action>,
}

impl Context<'_> {
    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Closes and waits in Idle as long as the failure deserves (IdleHoldTimer, DampPeerOscillations).
    fn idle(&mut self, notification: Option<Notification>, failure: Failure) -> State {
        self.act(Action::Close(notification));
        let restart_at = match (self.mode, failure) {
            (Mode::Listen, Failure::Connection | Failure::Loss | Failure::TurnedAway) => self.now,
            (Mode::Listen, Failure::Protocol) | (Mode::Dial, _) => {
                self.retry.after(failure, self.now, self.jitter)
            }
        };
        State::Idle(Idle {
            restart_at: Some(restart_at),
        })
    }

    /// Tells the peer what is wrong, reports it, and waits in Idle.
    fn fail(&mut self, notification: Notification, failure: Failure) -> State {
        self.act(Action::Failed(DownReason::NotificationSent(
            notification.clone(),
        )));
        self.idle(Some(notification), failure)
    }

    /// The peer said why it does not want the connection. That slows down our attempts, not the peer's own.
    fn refused(&mut self, notification: Notification) -> State {
        let passing = notification.code == ErrorCode::Cease.number() && !is_overload(&notification);
        let failure = match self.mode {
            Mode::Dial if !passing => Failure::Protocol,
            Mode::Dial | Mode::Listen => Failure::TurnedAway,
        };
        self.act(Action::Failed(DownReason::NotificationReceived(
            notification,
        )));
        self.idle(None, failure)
    }

    /// Event 23: this connection lost a collision; that is no failure of the peer.
    fn dumped(&mut self) -> State {
        self.idle(
            Some(Notification::cease(CeaseSubcode::ConnectionCollision)),
            Failure::TurnedAway,
        )
    }

    fn stopped(&mut self, notification: Option<Notification>) -> State {
        self.act(Action::Close(notification));
        State::Idle(Idle { restart_at: None })
    }

    /// Event 8: stop and start again as soon as the caller has looked around.
    fn restarted(&mut self, notification: Option<Notification>) -> State {
        self.act(Action::Close(notification));
        State::Idle(Idle {
            restart_at: Some(self.now),
        })
    }

    fn connect(&mut self) -> State {
        self.act(Action::Dial);
        State::Connect(Connect {
            retry_at: self.retry.attempt(self.now, self.jitter),
        })
    }

    fn open_sent(&mut self) -> State {
        self.act(Action::SendOpen);
        State::OpenSent(OpenSent {
            hold_at: self.now + LARGE_HOLD,
        })
    }

    fn keepalive_at(&mut self, negotiated: &Negotiated) -> Option<Instant> {
        negotiated
            .keepalive()
            .map(|interval| self.now + self.jitter.scale(interval))
    }
}

/// An error of the machine itself: a message, or a timer, that the state does not know (RFC 6608).
fn unexpected(subcode: FsmSubcode, event: &Event) -> Notification {
    match event {
        Event::BgpOpen(_) | Event::BgpOpenMsgErr(_) => {
            Notification::unexpected_message(subcode, MessageKind::Open)
        }
        Event::KeepAliveMsg => Notification::unexpected_message(subcode, MessageKind::Keepalive),
        Event::UpdateMsg | Event::UpdateMsgErr(_) => {
            Notification::unexpected_message(subcode, MessageKind::Update)
        }
        Event::RouteRefreshMsg | Event::RouteRefreshMsgErr(_) => {
            Notification::unexpected_message(subcode, MessageKind::RouteRefresh)
        }
        Event::NotifMsgVerErr(_) | Event::NotifMsg(_) => {
            Notification::unexpected_message(subcode, MessageKind::Notification)
        }
        Event::ManualStop(_)
        | Event::AutomaticStart
        | Event::AutomaticStartPassive
        | Event::AutomaticStop(_)
        | Event::ConnectRetryTimerExpires
        | Event::HoldTimerExpires
        | Event::KeepaliveTimerExpires
        | Event::IdleHoldTimerExpires
        | Event::TcpCrAcked
        | Event::TcpConnectionConfirmed
        | Event::TcpConnectionFails(_)
        | Event::BgpHeaderErr(_)
        | Event::OpenCollisionDump
        | Event::SendHoldTimerExpires => Notification::new(
            ErrorCode::FiniteStateMachine,
            FsmSubcode::Unspecified.number(),
            &[][..],
        ),
    }
}

/// Cease that will not go away by itself: too many prefixes, out of resources.
fn is_overload(notification: &Notification) -> bool {
    let inner = notification.inside_hard_reset();
    let notification = inner.as_ref().unwrap_or(notification);
    notification.is_cease(CeaseSubcode::MaximumPrefixes)
        || notification.is_cease(CeaseSubcode::OutOfResources)
}

/// One machine.
#[derive(Debug)]
pub(crate) struct Machine {
    state: State,
}

impl Machine {
    /// Idle, until started.
    pub(crate) fn new() -> Self {
        Self {
            state: State::Idle(Idle { restart_at: None }),
        }
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// The session, while it is up.
    pub(crate) fn established(&self) -> Option<&Established> {
        match &self.state {
            State::Established(established) => Some(established),
            State::Idle(_)
            | State::Connect(_)
            | State::Active(_)
            | State::OpenSent(_)
            | State::OpenConfirm(_) => None,
        }
    }

    /// What was agreed, once both OPENs were seen.
    pub(crate) fn negotiated(&self) -> Option<&Negotiated> {
        match &self.state {
            State::OpenConfirm(confirm) => Some(&confirm.negotiated),
            State::Established(established) => Some(&established.negotiated),
            State::Idle(_) | State::Connect(_) | State::Active(_) | State::OpenSent(_) => None,
        }
    }

    /// One step. Actions are appended to the context.
    pub(crate) fn handle(&mut self, event: Event, context: &mut Context<'_>) {
        let state = std::mem::replace(&mut self.state, State::Idle(Idle { restart_at: None }));
        self.state = match state {
            State::Idle(state) => state.on(event, context),
            State::Connect(state) => state.on(event, context),
            State::Active(state) => state.on(event, context),
            State::OpenSent(state) => state.on(event, context),
            State::OpenConfirm(state) => state.on(event, context),
            State::Established(state) => state.on(event, context),
        };
    }

    /// Timers with their events, earliest first where both are due.
    fn timers(&self) -> [Option<(Instant, Event)>; 2] {
        match &self.state {
            State::Idle(idle) => [
                idle.restart_at.map(|at| (at, Event::IdleHoldTimerExpires)),
                None,
            ],
            State::Connect(connect) => [
                Some((connect.retry_at, Event::ConnectRetryTimerExpires)),
                None,
            ],
            State::Active(active) => [
                active
                    .retry_at
                    .map(|at| (at, Event::ConnectRetryTimerExpires)),
                None,
            ],
            State::OpenSent(sent) => [Some((sent.hold_at, Event::HoldTimerExpires)), None],
            State::OpenConfirm(confirm) => [
                Some((confirm.hold_at, Event::HoldTimerExpires)),
                confirm
                    .keepalive_at
                    .map(|at| (at, Event::KeepaliveTimerExpires)),
            ],
            State::Established(established) => [
                established.hold_at.map(|at| (at, Event::HoldTimerExpires)),
                established
                    .keepalive_at
                    .map(|at| (at, Event::KeepaliveTimerExpires)),
            ],
        }
    }

    /// When the next timer runs out.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timers().into_iter().flatten().map(|(at, _)| at).min()
    }

    /// The event of a timer that ran out; the hold timer first, because after it the other no longer matters.
    pub(crate) fn due(&self, now: Instant) -> Option<Event> {
        self.timers()
            .into_iter()
            .flatten()
            .find(|(at, _)| *at <= now)
            .map(|(_, event)| event)
    }

    /// Bytes came in at `at`. Whatever they are part of, the peer lives: a message longer than a hold time on a slow
    /// link, or input the shell could not read earlier, must not cost the session.
    pub(crate) fn heard(&mut self, at: Instant) {
        match &mut self.state {
            State::Established(established) => {
                let hold = established.negotiated.hold();
                established.hold_at = established
                    .hold_at
                    .zip(hold)
                    .map(|(hold_at, hold)| hold_at.max(at + hold));
            }
            State::Idle(_)
            | State::Connect(_)
            | State::Active(_)
            | State::OpenSent(_)
            | State::OpenConfirm(_) => {}
        }
    }

    /// An UPDATE went out, which tells the peer as much as a KEEPALIVE (RFC 4271 section 8.2.2, Established).
    pub(crate) fn update_sent(&mut self, now: Instant, jitter: &mut Jitter) {
        match &mut self.state {
            State::Established(established) => {
                established.keepalive_at = established
                    .negotiated
                    .keepalive()
                    .map(|interval| now + jitter.scale(interval));
            }
            State::Idle(_)
            | State::Connect(_)
            | State::Active(_)
            | State::OpenSent(_)
            | State::OpenConfirm(_) => {}
        }
    }

    /// The state by name.
    pub(crate) fn name(&self) -> SessionState {
        match &self.state {
            State::Idle(_) => SessionState::Idle,
            State::Connect(_) => SessionState::Connect,
            State::Active(_) => SessionState::Active,
            State::OpenSent(_) => SessionState::OpenSent,
            State::OpenConfirm(_) => SessionState::OpenConfirm,
            State::Established(_) => SessionState::Established,
        }
    }

    /// Puts off a restart from Idle.
    pub(crate) fn postpone(&mut self, until: Instant) {
        match &mut self.state {
            State::Idle(idle) => idle.restart_at = idle.restart_at.map(|_| until),
            State::Connect(_)
            | State::Active(_)
            | State::OpenSent(_)
            | State::OpenConfirm(_)
            | State::Established(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
