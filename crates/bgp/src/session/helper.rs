//! The helper's side of graceful restart: what becomes of a peer's routes when its session ends (RFC 4724 section
//! 4.2, RFC 8538 section 4).

use std::time::{Duration, Instant};

use super::negotiation::Negotiated;
use crate::family::Family;
use crate::report::DownReason;
use crate::rib::Retain;

/// How long a peer that is back may take until its End-of-RIB: what FRR allows too. A peer that never sends one would
/// otherwise keep dead routes alive for ever.
const END_OF_RIB_MAXIMUM: Duration = Duration::from_secs(360);

/// Where the peer's restart stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Helper {
    /// Nothing of the peer is stale.
    Quiet,
    /// The session is down; its routes of these families are stale and the peer has until then to return.
    Waiting {
        families: Vec<Family>,
        until: Instant,
    },
    /// The session is back; what it does not announce again before End-of-RIB goes.
    Confirming {
        families: Vec<Family>,
        until: Instant,
    },
}

impl Helper {
    /// An established session ended: which routes stay.
    pub(crate) fn lost(
        &mut self,
        negotiated: &Negotiated,
        reason: &DownReason,
        now: Instant,
    ) -> Retain {
        *self = Self::Quiet;
        let Some(restart) = &negotiated.graceful_restart else {
            return Retain::Nothing;
        };
        let families: Vec<Family> = restart.families.iter().map(|(family, _)| *family).collect();
        if families.is_empty()
            || restart.restart_time.is_zero()
            || !survives(reason, restart.notification)
        {
            return Retain::Nothing;
        }
        *self = Self::Waiting {
            families: families.clone(),
            until: now + restart.restart_time,
        };
        Retain::Stale(families)
    }

    /// The session is up again: which families lose their stale routes at once, because the peer no longer speaks
    /// them, no longer restarts them gracefully, or lost its forwarding state (F bit clear).
    pub(crate) fn up(&mut self, negotiated: &Negotiated, now: Instant) -> Vec<Family> {
        let stale = match std::mem::replace(self, Self::Quiet) {
            Self::Quiet => return Vec::new(),
            Self::Waiting { families, .. } | Self::Confirming { families, .. } => families,
        };
        let preserved: &[(Family, bool)] = negotiated
            .graceful_restart
            .as_ref()
            .map_or(&[], |restart| &restart.families);
        let (kept, swept): (Vec<Family>, Vec<Family>) = stale
            .into_iter()
            .partition(|family| preserved.contains(&(*family, true)));
        if !kept.is_empty() {
            *self = Self::Confirming {
                families: kept,
                until: now + END_OF_RIB_MAXIMUM,
            };
        }
        swept
    }

    /// The peer's End-of-RIB; the RIB sweeps by itself.
    pub(crate) fn end_of_rib(&mut self, family: Family) {
        match self {
            Self::Confirming { families, .. } => {
                families.retain(|stale| *stale != family);
                if families.is_empty() {
                    *self = Self::Quiet;
                }
            }
            Self::Quiet | Self::Waiting { .. } => {}
        }
    }

    /// Families whose time is over: their stale routes go.
    pub(crate) fn expired(&mut self, now: Instant) -> Vec<Family> {
        match self {
            Self::Waiting { families, until } | Self::Confirming { families, until }
                if *until <= now =>
            {
                let families = std::mem::take(families);
                *self = Self::Quiet;
                families
            }
            Self::Quiet | Self::Waiting { .. } | Self::Confirming { .. } => Vec::new(),
        }
    }

    /// When [`Helper::expired`] has something to say.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        match self {
            Self::Quiet => None,
            Self::Waiting { until, .. } | Self::Confirming { until, .. } => Some(*until),
        }
    }
}

/// Whether a loss of this kind is a restart. Without the N bit only the silent end of TCP is one (RFC 4724 section
/// 4.2); with it everything but Hard Reset and what takes the peer away for good (RFC 8538 section 4).
fn survives(reason: &DownReason, notification_bit: bool) -> bool {
    match reason {
        DownReason::ConnectionLost => true,
        DownReason::NotificationSent(notification)
        | DownReason::NotificationReceived(notification) => {
            notification_bit && !notification.is_hard_reset()
        }
        DownReason::HoldTimerExpired
        | DownReason::SendHoldTimerExpired
        | DownReason::Reconfigured => notification_bit,
        DownReason::ConnectFailed(_) | DownReason::Stopped => false,
    }
}

#[cfg(test)]
mod tests;
