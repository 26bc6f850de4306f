//! Two connections to one peer: which one survives (RFC 4271 section 6.8, RFC 6286 section 2.3, RFC 4724 section 5).

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::machine::State;

/// Who made a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// We dialled.
    Dialled,
    /// The peer dialled.
    Accepted,
}

/// Who a speaker is, in the order that decides a collision: identifier first, AS if the identifiers are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    pub(crate) router_id: Ipv4Addr,
    pub(crate) asn: u32,
}

/// What becomes of the two connections when a valid OPEN came in on one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// There is nothing to decide yet.
    Proceed,
    /// The one with the OPEN goes.
    DumpThis,
    /// The other one goes.
    DumpOther,
    /// The other one is Established, but dead: the peer restarted. It goes without a word, as if TCP had broken.
    Supersede,
}

/// A second connection within this time of Established is an attempt that crossed ours, not a peer that restarted:
/// longer than the first two retransmissions of a SYN.
const CROSSING: Duration = Duration::from_secs(5);

/// Whether a connection opened at `opened_at` may be a restarted peer's, although a session is established. Only
/// graceful restart makes that worth asking: without it the dead session has to time out.
pub(crate) fn may_supersede(
    established_at: Instant,
    graceful_restart: bool,
    opened_at: Instant,
) -> bool {
    graceful_restart && opened_at.saturating_duration_since(established_at) >= CROSSING
}

/// Decides when an OPEN came in on a connection of `origin` opened at `opened_at`, while the other connection to the
/// same peer is in state `other`.
///
/// An OpenSent connection is examined too, which section 6.8 permits where the peer's identifier is known, as it is
/// from this OPEN: so both sides decide alike whatever order the two OPENs arrive in, and no side gets to Established
/// on the connection that the other side dumps.
pub(crate) fn arbitrate(
    ours: Rank,
    theirs: Rank,
    origin: Origin,
    opened_at: Instant,
    other: &State,
) -> Verdict {
    match other {
        State::Idle(_) | State::Connect(_) | State::Active(_) => Verdict::Proceed,
        State::OpenSent(_) | State::OpenConfirm(_) => {
            let survivor = if ours > theirs {
                Origin::Dialled
            } else {
                Origin::Accepted
            };
            if origin == survivor {
                Verdict::DumpOther
            } else {
                Verdict::DumpThis
            }
        }
        State::Established(established) => {
            let restarts = established.negotiated.graceful_restart.is_some();
            if may_supersede(established.since, restarts, opened_at) {
                Verdict::Supersede
            } else {
                Verdict::DumpThis
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::machine::{Active, Connect, Idle, OpenSent};

    const LOW: Rank = Rank {
        router_id: Ipv4Addr::new(10, 0, 0, 1),
        asn: 65001,
    };
    const HIGH: Rank = Rank {
        router_id: Ipv4Addr::new(10, 0, 0, 2),
        asn: 65000,
    };
    const HIGH_AS: Rank = Rank {
        router_id: Ipv4Addr::new(10, 0, 0, 1),
        asn: 65009,
    };

    /// RFC 4271 section 6.8 with RFC 6286 section 2.3: the connection that the higher side dialled survives.
    #[test]
    fn the_higher_side_keeps_what_it_dialled() {
        let now = Instant::now();
        let other = State::OpenSent(OpenSent { hold_at: now });
        let rows = [
            (LOW, HIGH, Origin::Dialled, Verdict::DumpThis),
            (LOW, HIGH, Origin::Accepted, Verdict::DumpOther),
            (HIGH, LOW, Origin::Dialled, Verdict::DumpOther),
            (HIGH, LOW, Origin::Accepted, Verdict::DumpThis),
            (LOW, HIGH_AS, Origin::Dialled, Verdict::DumpThis),
            (HIGH_AS, LOW, Origin::Dialled, Verdict::DumpOther),
        ];
        for (ours, theirs, origin, verdict) in rows {
            assert_eq!(
                arbitrate(ours, theirs, origin, now, &other),
                verdict,
                "{ours:?} {theirs:?} {origin:?}"
            );
        }
    }

    #[test]
    fn a_connection_that_did_not_speak_yet_decides_nothing() {
        let now = Instant::now();
        for other in [
            State::Idle(Idle { restart_at: None }),
            State::Connect(Connect { retry_at: now }),
            State::Active(Active { retry_at: None }),
        ] {
            assert_eq!(
                arbitrate(LOW, HIGH, Origin::Dialled, now, &other),
                Verdict::Proceed
            );
        }
    }

    #[test]
    fn a_restart_is_believed_only_with_graceful_restart_and_some_seconds_after() {
        let now = Instant::now();
        let rows = [
            (true, 4_999, false),
            (true, 5_000, true),
            (false, 5_000, false),
            (true, 0, false),
        ];
        for (graceful, millis, believed) in rows {
            assert_eq!(
                may_supersede(now, graceful, now + Duration::from_millis(millis)),
                believed
            );
        }
        assert!(
            !may_supersede(now + Duration::from_secs(60), true, now),
            "opened before"
        );
    }
}
