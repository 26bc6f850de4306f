//! Established: routes are exchanged (RFC 4271 section 8.2.2, Established state).

use std::time::Instant;

use super::{Action, Context, State, is_overload, unexpected};
use crate::report::DownReason;
use crate::session::event::{Event, Stop};
use crate::session::negotiation::Negotiated;
use crate::session::retry::Failure;
use crate::wire::Notification;
use crate::wire::iana::{CeaseSubcode, ErrorCode, FsmSubcode};

/// What was agreed, since when, and the two timers that a hold time of zero leaves out.
#[derive(Debug, Clone)]
pub(crate) struct Established {
    pub(crate) negotiated: Box<Negotiated>,
    pub(crate) since: Instant,
    pub(crate) hold_at: Option<Instant>,
    pub(crate) keepalive_at: Option<Instant>,
}

impl Established {
    pub(super) fn on(mut self, event: Event, context: &mut Context<'_>) -> State {
        match event {
            Event::AutomaticStart
            | Event::AutomaticStartPassive
            | Event::TcpCrAcked
            | Event::TcpConnectionConfirmed => State::Established(self),
            Event::ManualStop(Stop {
                notification,
                reason,
            }) => {
                self.lost(reason, context);
                context.stopped(notification)
            }
            Event::AutomaticStop(Stop {
                notification,
                reason,
            }) => {
                self.lost(reason, context);
                context.restarted(notification)
            }
            Event::HoldTimerExpires => {
                self.lost(DownReason::HoldTimerExpired, context);
                context.idle(Some(Notification::hold_timer_expired()), Failure::Loss)
            }
            Event::SendHoldTimerExpires => {
                self.lost(DownReason::SendHoldTimerExpired, context);
                context.idle(Some(Notification::send_hold_timer_expired()), Failure::Loss)
            }
            Event::KeepaliveTimerExpires => {
                context.act(Action::SendKeepalive);
                self.keepalive_at = context.keepalive_at(&self.negotiated);
                State::Established(self)
            }
            Event::TcpConnectionFails(_) => {
                self.lost(DownReason::ConnectionLost, context);
                context.idle(None, Failure::Loss)
            }
            Event::KeepAliveMsg | Event::UpdateMsg | Event::RouteRefreshMsg => {
                self.hold_at = self.negotiated.hold().map(|hold| context.now + hold);
                State::Established(self)
            }
            Event::BgpHeaderErr(notification)
            | Event::UpdateMsgErr(notification)
            | Event::RouteRefreshMsgErr(notification) => self.broken(notification, context),
            Event::OpenCollisionDump => {
                let notification = Notification::cease(CeaseSubcode::ConnectionCollision);
                self.lost(DownReason::NotificationSent(notification.clone()), context);
                context.idle(Some(notification), Failure::TurnedAway)
            }
            Event::NotifMsg(notification) | Event::NotifMsgVerErr(notification) => {
                let failure = blame(&notification);
                self.lost(DownReason::NotificationReceived(notification), context);
                context.idle(None, failure)
            }
            event @ (Event::ConnectRetryTimerExpires
            | Event::IdleHoldTimerExpires
            | Event::BgpOpen(_)
            | Event::BgpOpenMsgErr(_)) => self.broken(
                unexpected(FsmSubcode::UnexpectedInEstablished, &event),
                context,
            ),
        }
    }

    /// The peer violated the protocol.
    fn broken(self, notification: Notification, context: &mut Context<'_>) -> State {
        self.lost(DownReason::NotificationSent(notification.clone()), context);
        context.idle(Some(notification), Failure::Protocol)
    }

    fn lost(self, reason: DownReason, context: &mut Context<'_>) {
        context
            .retry
            .ended(context.now.saturating_duration_since(self.since));
        context.act(Action::Lost(reason, self.negotiated));
    }
}

/// Whether a NOTIFICATION means that trying again at once is futile. A router that cleared the session, or missed our
/// KEEPALIVEs, wants it back.
fn blame(notification: &Notification) -> Failure {
    let inner = notification.inside_hard_reset();
    let notification = inner.as_ref().unwrap_or(notification);
    let code = notification.code;
    let wants_it_back = code == ErrorCode::Cease.number()
        || code == ErrorCode::HoldTimerExpired.number()
        || code == ErrorCode::SendHoldTimerExpired.number();
    if wants_it_back && !is_overload(notification) {
        Failure::Loss
    } else {
        Failure::Protocol
    }
}
