//! Idle: nothing is attempted and nothing taken (RFC 4271 section 8.2.2, Idle state).

use std::time::Instant;

use super::{Active, Context, Mode, State};
use crate::session::event::Event;

/// Waiting for the IdleHoldTimer, or, without one, to be started.
#[derive(Debug, Clone)]
pub(crate) struct Idle {
    pub(crate) restart_at: Option<Instant>,
}

impl Idle {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "every state takes its events alike"
    )]
    pub(super) fn on(self, event: Event, context: &mut Context<'_>) -> State {
        match event {
            Event::AutomaticStart => context.connect(),
            Event::AutomaticStartPassive => State::Active(Active { retry_at: None }),
            Event::IdleHoldTimerExpires => match context.mode {
                Mode::Dial => context.connect(),
                Mode::Listen => State::Active(Active { retry_at: None }),
            },
            Event::ManualStop(_) => State::Idle(Self { restart_at: None }),
            Event::AutomaticStop(_) => State::Idle(Self {
                restart_at: Some(context.now),
            }),
            Event::ConnectRetryTimerExpires
            | Event::HoldTimerExpires
            | Event::KeepaliveTimerExpires
            | Event::TcpCrAcked
            | Event::TcpConnectionConfirmed
            | Event::TcpConnectionFails(_)
            | Event::BgpOpen(_)
            | Event::BgpHeaderErr(_)
            | Event::BgpOpenMsgErr(_)
            | Event::OpenCollisionDump
            | Event::NotifMsgVerErr(_)
            | Event::NotifMsg(_)
            | Event::KeepAliveMsg
            | Event::UpdateMsg
            | Event::UpdateMsgErr(_)
            | Event::SendHoldTimerExpires
            | Event::RouteRefreshMsg
            | Event::RouteRefreshMsgErr(_) => State::Idle(self),
        }
    }
}
