//! What the speaker learned, for whoever forwards by it.

use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::{Speaker, index};
use crate::config::PeerName;
use crate::rib::{Learned, LearnedPath, PeerId};
use crate::session::Session;

/// How long peers may take to come up and to tell all they know before it is gone on without them (the
/// Selection_Deferral_Timer of RFC 4724 section 4.1). Shorter, and a router that boots slowly finds the routes through it
/// removed; longer, and routes to where nothing is any more attract traffic for as long.
pub const DEFERRAL: Duration = Duration::from_secs(120);

impl Speaker {
    /// From now on [`Speaker::poll_learned`] hands out what is learned; first all that is known, also if that was handed out
    /// before. To be called after the first [`Speaker::configure`], which says who is waited for.
    pub fn replay_learned(&mut self, now: Instant) {
        self.rib.replay_learned();
        self.converge(now);
    }

    /// What is learned is not handed out any more. That is how a speaker begins, and costs nothing.
    pub fn forget_learned(&mut self) {
        self.rib.forget_learned();
    }

    /// Whether [`Speaker::poll_learned`] has something.
    #[must_use]
    pub fn has_learned_news(&self) -> bool {
        self.rib.has_learned_news()
    }

    /// Up to `most` destinations whose learned paths may be others than when they were last handed out, with the paths of
    /// now: who does not ask misses states in between, never the latest. Routes of a peer that restarts gracefully count
    /// until they are swept.
    #[must_use]
    pub fn poll_learned(&mut self, most: usize) -> Vec<Learned> {
        let Self { rib, sessions, .. } = self;
        rib.poll_learned(most, |peer| name(sessions, peer))
    }

    /// All usable paths to a prefix.
    #[must_use]
    pub fn learned(&self, prefix: IpNet) -> Vec<LearnedPath> {
        self.rib.learned(prefix, |peer| name(&self.sessions, peer))
    }

    /// Whether every peer has sent its End-of-RIB since this speaker began, or [`DEFERRAL`] has passed: what was not learned
    /// by now does not come back by itself. Once true it stays so. Known only while what is learned is handed out.
    #[must_use]
    pub fn has_converged(&self) -> bool {
        self.converged
    }

    pub(super) fn convergence_deadline(&self) -> Option<Instant> {
        (self.rib.feeds() && !self.converged).then(|| self.started_at + DEFERRAL)
    }

    pub(super) fn converge(&mut self, now: Instant) {
        let Some(deadline) = self.convergence_deadline() else {
            return;
        };
        let mut sessions = self.sessions.iter().flatten();
        self.converged = now >= deadline || sessions.all(Session::has_told_all);
    }
}

fn name(sessions: &[Option<Session>], peer: PeerId) -> Option<PeerName> {
    let session = sessions.get(index(peer))?.as_ref()?;
    Some(session.name().clone())
}
