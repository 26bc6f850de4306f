//! When to try again: RFC 4271's ConnectRetryTimer, ConnectRetryCounter and DampPeerOscillations (sections 8.1.1
//! and 8.2.2), tuned for routers that come back within seconds.

use std::time::{Duration, Instant};

use super::jitter::Jitter;

/// The wait after a loss, and after the first failed connect. A router that cleared the session refuses connections for
/// up to a second (FRR's start timer); attempts after at most ½, 1 and 2 s meet it within the 2 s in which a session
/// has to be back.
const FIRST: Duration = Duration::from_millis(500);
/// The longest wait between attempts that TCP made fail. A router that returns is dialled within this, at the price
/// of one SYN every two seconds while it is away.
const REFUSED_MAXIMUM: Duration = Duration::from_secs(2);
/// How long one attempt may take: SYNs leave after 0, 1 and 3 s, then the next attempt starts over; the kernel's own
/// schedule would pause ever longer and notice a returning host up to a minute late.
const ATTEMPT_MAXIMUM: Duration = Duration::from_secs(5);
/// The wait after the peer turned the session away with Cease: often it still holds the old session and has to notice
/// first that it is dead.
const TURNED_AWAY: Duration = Duration::from_secs(1);
/// The first wait after a protocol error; doubled with each further one.
const DAMPING_FIRST: Duration = Duration::from_secs(1);
/// The longest wait after repeated protocol errors: one futile handshake every 15 s harms nobody, and an operator who
/// corrected the router waits no longer than that.
const DAMPING_MAXIMUM: Duration = Duration::from_secs(15);
/// How long a session must have lasted for earlier protocol errors to be forgotten. Without it a session that comes up
/// and breaks on its first UPDATE would oscillate at full speed (RFC 4271 section 8.1.1).
const STABLE: Duration = Duration::from_secs(60);

/// What went wrong, as far as the wait depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// TCP was refused, timed out or broke before the session was up.
    Connection,
    /// An established session ended without a protocol error.
    Loss,
    /// The peer does not want the session now (Cease), or this connection lost a collision.
    TurnedAway,
    /// Somebody violated the protocol, or the two configurations disagree.
    Protocol,
}

/// The counters of one peer.
#[derive(Debug, Clone)]
pub(crate) struct Retry {
    connect_retry: Duration,
    connections: u32,
    protocol: u32,
}

impl Retry {
    /// Nothing failed yet. `connect_retry` bounds every wait that is not damping.
    pub(crate) fn new(connect_retry: Duration) -> Self {
        Self {
            connect_retry,
            connections: 0,
            protocol: 0,
        }
    }

    pub(crate) fn set_connect_retry(&mut self, connect_retry: Duration) {
        self.connect_retry = connect_retry;
    }

    /// Forgets all failures: the configuration changed, so everything may be different.
    pub(crate) fn reset(&mut self) {
        self.connections = 0;
        self.protocol = 0;
    }

    /// When to try again after `failure`.
    pub(crate) fn after(&mut self, failure: Failure, now: Instant, jitter: &mut Jitter) -> Instant {
        let wait = match failure {
            Failure::Connection => {
                let wait = doubled(FIRST, self.connections).min(self.bounded(REFUSED_MAXIMUM));
                self.connections = self.connections.saturating_add(1);
                wait
            }
            Failure::Loss => {
                self.connections = 0;
                self.bounded(FIRST)
            }
            Failure::TurnedAway => self.bounded(TURNED_AWAY),
            Failure::Protocol => {
                let wait = doubled(DAMPING_FIRST, self.protocol).min(DAMPING_MAXIMUM);
                self.protocol = self.protocol.saturating_add(1);
                wait
            }
        };
        now + jitter.scale(wait)
    }

    /// When an attempt that starts now is given up.
    pub(crate) fn attempt(&self, now: Instant, jitter: &mut Jitter) -> Instant {
        now + jitter.scale(self.bounded(ATTEMPT_MAXIMUM))
    }

    /// A session is up.
    pub(crate) fn established(&mut self) {
        self.connections = 0;
    }

    /// A session that had been up this long ended; call before [`Retry::after`].
    pub(crate) fn ended(&mut self, lasted: Duration) {
        if lasted >= STABLE {
            self.protocol = 0;
        }
    }

    fn bounded(&self, wait: Duration) -> Duration {
        wait.min(self.connect_retry.max(FIRST))
    }
}

fn doubled(first: Duration, times: u32) -> Duration {
    first * 2u32.pow(times.min(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(retry: &mut Retry, failure: Failure, times: usize) -> Vec<u128> {
        let now = Instant::now();
        let mut jitter = Jitter::new(1);
        (0..times)
            .map(|_| {
                retry
                    .after(failure, now, &mut jitter)
                    .duration_since(now)
                    .as_millis()
            })
            .collect()
    }

    /// Each drawn wait lies within three quarters and the whole of the nominal one.
    fn check(waits: &[u128], nominal: &[u128]) {
        for (drawn, whole) in waits.iter().zip(nominal) {
            assert!(
                *drawn >= whole * 3 / 4 && drawn <= whole,
                "{drawn} is not 0.75 to 1.0 of {whole}"
            );
        }
    }

    #[test]
    fn each_failure_has_its_schedule() {
        let cilium_default = Duration::from_secs(120);
        let rows: &[(Failure, &[u128])] = &[
            (Failure::Connection, &[500, 1000, 2000, 2000, 2000]),
            (Failure::Loss, &[500, 500, 500]),
            (Failure::TurnedAway, &[1000, 1000, 1000]),
            (Failure::Protocol, &[1000, 2000, 4000, 8000, 15000, 15000]),
        ];
        for (failure, nominal) in rows {
            check(
                &waits(&mut Retry::new(cilium_default), *failure, nominal.len()),
                nominal,
            );
        }
    }

    #[test]
    fn after_a_loss_three_attempts_fit_into_two_seconds() {
        let mut retry = Retry::new(Duration::from_secs(120));
        check(&waits(&mut retry, Failure::Loss, 1), &[500]);
        check(
            &waits(&mut retry, Failure::Connection, 3),
            &[500, 1000, 2000],
        );
    }

    #[test]
    fn the_configured_retry_bounds_all_but_damping() {
        let mut retry = Retry::new(Duration::from_secs(1));
        check(
            &waits(&mut retry, Failure::Connection, 4),
            &[500, 1000, 1000, 1000],
        );
        check(
            &waits(&mut retry, Failure::Protocol, 3),
            &[1000, 2000, 4000],
        );
    }

    #[test]
    fn only_a_stable_session_clears_damping() {
        let mut retry = Retry::new(Duration::from_secs(120));
        check(&waits(&mut retry, Failure::Protocol, 2), &[1000, 2000]);
        retry.established();
        retry.ended(Duration::from_secs(59));
        check(&waits(&mut retry, Failure::Protocol, 1), &[4000]);
        retry.ended(Duration::from_secs(60));
        check(&waits(&mut retry, Failure::Protocol, 1), &[1000]);
    }

    #[test]
    fn exponents_do_not_overflow() {
        let mut retry = Retry::new(Duration::MAX);
        retry.connections = u32::MAX;
        retry.protocol = u32::MAX;
        check(&waits(&mut retry, Failure::Connection, 1), &[2000]);
        check(&waits(&mut retry, Failure::Protocol, 1), &[15000]);
    }
}
