//! OpenSent: our OPEN is out, the peer's awaited (RFC 4271 section 8.2.2, OpenSent state).

use std::time::Instant;

use super::connect::waiting;
use super::{Action, Context, LARGE_HOLD, OpenConfirm, State, unexpected};
use crate::report::DownReason;
use crate::session::event::Event;
use crate::session::retry::Failure;
use crate::wire::Notification;
use crate::wire::iana::FsmSubcode;

/// Until the large hold time has passed.
#[derive(Debug, Clone)]
pub(crate) struct OpenSent {
    pub(crate) hold_at: Instant,
}

impl OpenSent {
    pub(super) fn on(self, event: Event, context: &mut Context<'_>) -> State {
        match event {
            Event::AutomaticStart
            | Event::AutomaticStartPassive
            | Event::TcpCrAcked
            | Event::TcpConnectionConfirmed
            | Event::SendHoldTimerExpires => State::OpenSent(self),
            Event::ManualStop(stop) => context.stopped(stop.notification),
            Event::AutomaticStop(stop) => context.restarted(stop.notification),
            Event::HoldTimerExpires => {
                context.fail(Notification::hold_timer_expired(), Failure::Connection)
            }
            Event::TcpConnectionFails(_) => waiting(DownReason::ConnectionLost, context),
            Event::BgpOpen(negotiated) => {
                context.act(Action::SendKeepalive);
                let hold_at = context.now + negotiated.hold().unwrap_or(LARGE_HOLD);
                let keepalive_at = context.keepalive_at(&negotiated);
                State::OpenConfirm(OpenConfirm {
                    negotiated,
                    hold_at,
                    keepalive_at,
                })
            }
            Event::BgpHeaderErr(notification) | Event::BgpOpenMsgErr(notification) => {
                context.fail(notification, Failure::Protocol)
            }
            Event::OpenCollisionDump => context.dumped(),
            Event::NotifMsg(notification) | Event::NotifMsgVerErr(notification) => {
                context.refused(notification)
            }
            event @ (Event::ConnectRetryTimerExpires
            | Event::KeepaliveTimerExpires
            | Event::IdleHoldTimerExpires
            | Event::KeepAliveMsg
            | Event::UpdateMsg
            | Event::UpdateMsgErr(_)
            | Event::RouteRefreshMsg
            | Event::RouteRefreshMsgErr(_)) => context.fail(
                unexpected(FsmSubcode::UnexpectedInOpenSent, &event),
                Failure::Protocol,
            ),
        }
    }
}
