//! Connect: our TCP connection is being made (RFC 4271 section 8.2.2, Connect state).

use std::time::Instant;

use super::{Action, Active, Context, Mode, State};
use crate::report::DownReason;
use crate::session::event::Event;
use crate::session::retry::Failure;

/// An attempt, given up when the ConnectRetryTimer runs out.
#[derive(Debug, Clone)]
pub(crate) struct Connect {
    pub(crate) retry_at: Instant,
}

impl Connect {
    pub(super) fn on(self, event: Event, context: &mut Context<'_>) -> State {
        match event {
            Event::AutomaticStart | Event::AutomaticStartPassive => State::Connect(self),
            Event::ManualStop(_) => context.stopped(None),
            Event::AutomaticStop(_) => context.restarted(None),
            Event::ConnectRetryTimerExpires => {
                context.act(Action::Failed(DownReason::ConnectFailed(None)));
                context.act(Action::Close(None));
                context.connect()
            }
            Event::TcpCrAcked | Event::TcpConnectionConfirmed => context.open_sent(),
            Event::TcpConnectionFails(error) => waiting(DownReason::ConnectFailed(error), context),
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

/// Waits in Active for the next attempt, or for the peer's.
pub(super) fn waiting(reason: DownReason, context: &mut Context<'_>) -> State {
    context.act(Action::Failed(reason));
    context.act(Action::Close(None));
    let retry_at = match context.mode {
        Mode::Dial => Some(
            context
                .retry
                .after(Failure::Connection, context.now, context.jitter),
        ),
        Mode::Listen => None,
    };
    State::Active(Active { retry_at })
}
