//! OpenConfirm: both OPENs were fine, the peer's KEEPALIVE is awaited (RFC 4271 section 8.2.2, OpenConfirm state).

use std::time::Instant;

use super::{Action, Context, Established, State, unexpected};
use crate::report::DownReason;
use crate::session::event::Event;
use crate::session::negotiation::Negotiated;
use crate::session::retry::Failure;
use crate::wire::Notification;
use crate::wire::iana::FsmSubcode;

/// What was agreed, and how long the KEEPALIVE may take.
#[derive(Debug, Clone)]
pub(crate) struct OpenConfirm {
    pub(crate) negotiated: Box<Negotiated>,
    pub(crate) hold_at: Instant,
    pub(crate) keepalive_at: Option<Instant>,
}

impl OpenConfirm {
    pub(super) fn on(mut self, event: Event, context: &mut Context<'_>) -> State {
        match event {
            Event::AutomaticStart
            | Event::AutomaticStartPassive
            | Event::TcpCrAcked
            | Event::TcpConnectionConfirmed
            | Event::SendHoldTimerExpires => State::OpenConfirm(self),
            Event::ManualStop(stop) => context.stopped(stop.notification),
            Event::AutomaticStop(stop) => context.restarted(stop.notification),
            Event::HoldTimerExpires => {
                context.fail(Notification::hold_timer_expired(), Failure::Connection)
            }
            Event::KeepaliveTimerExpires => {
                context.act(Action::SendKeepalive);
                self.keepalive_at = context.keepalive_at(&self.negotiated);
                State::OpenConfirm(self)
            }
            Event::TcpConnectionFails(_) => {
                context.act(Action::Failed(DownReason::ConnectionLost));
                context.idle(None, Failure::Connection)
            }
            Event::BgpHeaderErr(notification) | Event::BgpOpenMsgErr(notification) => {
                context.fail(notification, Failure::Protocol)
            }
            Event::OpenCollisionDump => context.dumped(),
            Event::NotifMsg(notification) | Event::NotifMsgVerErr(notification) => {
                context.refused(notification)
            }
            Event::KeepAliveMsg => {
                let Self {
                    negotiated,
                    hold_at: _,
                    keepalive_at,
                } = self;
                context.act(Action::Up);
                context.retry.established();
                let hold_at = negotiated.hold().map(|hold| context.now + hold);
                State::Established(Established {
                    negotiated,
                    since: context.now,
                    hold_at,
                    keepalive_at,
                })
            }
            event @ (Event::ConnectRetryTimerExpires
            | Event::IdleHoldTimerExpires
            | Event::BgpOpen(_)
            | Event::UpdateMsg
            | Event::UpdateMsgErr(_)
            | Event::RouteRefreshMsg
            | Event::RouteRefreshMsgErr(_)) => context.fail(
                unexpected(FsmSubcode::UnexpectedInOpenConfirm, &event),
                Failure::Protocol,
            ),
        }
    }
}
