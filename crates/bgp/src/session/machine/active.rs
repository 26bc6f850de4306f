//! Active: the peer may connect; we will, if we dial (RFC 4271 section 8.2.2, Active state).

use std::time::Instant;

use super::{Context, State};
use crate::session::event::Event;
use crate::session::retry::Failure;

/// Until the ConnectRetryTimer, if we dial.
#[derive(Debug, Clone)]
pub(crate) struct Active {
    pub(crate) retry_at: Option<Instant>,
}

impl Active {
    pub(super) fn on(self, event: Event, context: &mut Context<'_>) -> State {
        match event {
            Event::AutomaticStart | Event::AutomaticStartPassive => State::Active(self),
            Event::ManualStop(_) => context.stopped(None),
            Event::AutomaticStop(_) => context.restarted(None),
            Event::ConnectRetryTimerExpires => context.connect(),
            Event::TcpCrAcked | Event::TcpConnectionConfirmed => context.open_sent(),
            Event::TcpConnectionFails(_) => context.idle(None, Failure::Connection),
            Event::OpenCollisionDump => context.dumped(),
            Event::NotifMsg(notification) | Event::NotifMsgVerErr(notification) => {
                context.refused(notification)
            }
            Event::HoldTimerExpires
            | Event::KeepaliveTimerExpires
            | Event::IdleHoldTimerExpires
            | Event::BgpOpen(_)
            | Event::BgpHeaderErr(_)
            | Event::BgpOpenMsgErr(_)
            | Event::KeepAliveMsg
            | Event::UpdateMsg
            | Event::UpdateMsgErr(_)
            | Event::SendHoldTimerExpires
            | Event::RouteRefreshMsg
            | Event::RouteRefreshMsgErr(_) => context.idle(None, Failure::Protocol),
        }
    }
}
