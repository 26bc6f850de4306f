//! What happens to a connection, named and numbered as in RFC 4271 section 8.1.
//!
//! Left out because nothing here can raise them: 1 and 4 (there is no manual start), 6 and 7 (damping waits in Idle
//! until event 13), 12 and 20 (no DelayOpen), 14 and 15 (the kernel and [`crate::Speaker::accept`] decide whether a
//! connection is valid before the machine hears of it).

use super::negotiation::Negotiated;
use crate::report::DownReason;
use crate::wire::notification::Notification;

/// How a session is made to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stop {
    /// What the peer is told; `None` just closes.
    pub(crate) notification: Option<Notification>,
    /// What is reported if the session was established.
    pub(crate) reason: DownReason,
}

/// One event of the machine.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// Event 2: the peer is gone from the configuration, or the speaker leaves.
    ManualStop(Stop),
    /// Event 3: dial.
    AutomaticStart,
    /// Event 5: wait to be dialled.
    AutomaticStartPassive,
    /// Event 8: stop, to start again at once with another configuration.
    AutomaticStop(Stop),
    /// Event 9.
    ConnectRetryTimerExpires,
    /// Event 10.
    HoldTimerExpires,
    /// Event 11.
    KeepaliveTimerExpires,
    /// Event 13.
    IdleHoldTimerExpires,
    /// Event 16: our attempt succeeded.
    TcpCrAcked,
    /// Event 17: the peer's attempt was accepted.
    TcpConnectionConfirmed,
    /// Event 18: with the operating system's error number where there is one.
    TcpConnectionFails(Option<i32>),
    /// Event 19: a valid OPEN, and what follows from it.
    BgpOpen(Box<Negotiated>),
    /// Event 21.
    BgpHeaderErr(Notification),
    /// Event 22.
    BgpOpenMsgErr(Notification),
    /// Event 23: the other connection survives (section 6.8).
    OpenCollisionDump,
    /// Event 24: the peer does not speak our version.
    NotifMsgVerErr(Notification),
    /// Event 25: any other NOTIFICATION.
    NotifMsg(Notification),
    /// Event 26.
    KeepAliveMsg,
    /// Event 27.
    UpdateMsg,
    /// Event 28: an error that RFC 7606 does not let a session survive.
    UpdateMsgErr(Notification),
    /// Event 29 (RFC 9687 section 3).
    SendHoldTimerExpires,
    /// A valid ROUTE-REFRESH; RFC 2918 gave it no number.
    RouteRefreshMsg,
    /// An invalid one (RFC 7313 section 5).
    RouteRefreshMsgErr(Notification),
}
