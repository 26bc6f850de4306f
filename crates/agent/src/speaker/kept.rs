//! Peers that keep our routes while their session is gone (RFC 4724 section 4.2).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bgp::report::SessionState;
use bgp::{PeerConfig, PeerName, Speaker};

/// Which peers may still have what a session told them that is gone: until the next one has sent its End-of-RIB, for the restart time that we
/// have offered at most. Where the peer turned graceful restart down it has forgotten at once, and is waited for in vain.
#[derive(Debug, Default)]
pub(super) struct Kept {
    restart_times: BTreeMap<PeerName, Duration>,
    until: BTreeMap<PeerName, Instant>,
    /// Revision of the speaker's report that was looked at last.
    seen: Option<u64>,
}

impl Kept {
    /// These are the peers. One that is no peer any more has been told so, and has forgotten.
    pub(super) fn follow(&mut self, peers: &BTreeMap<PeerName, PeerConfig>) {
        let times = peers.iter().filter_map(|(name, config)| {
            let restart = config.graceful_restart.as_ref()?;
            let time = Duration::from_secs(restart.restart_time.into());
            Some((name.clone(), time))
        });
        self.restart_times = times.collect();
        self.until
            .retain(|name, _| self.restart_times.contains_key(name));
    }

    /// The session with this peer is gone.
    pub(super) fn gone(&mut self, peer: &PeerName, now: Instant) {
        if let Some(time) = self.restart_times.get(peer) {
            self.until.insert(peer.clone(), now + *time);
            self.seen = None;
        }
    }

    /// The sessions with all peers are, those of an earlier process.
    pub(super) fn all_gone(&mut self, now: Instant) {
        let until = self.restart_times.iter();
        self.until = until
            .map(|(peer, time)| (peer.clone(), now + *time))
            .collect();
    }

    /// Forgets the peers that have been told everything anew, or whose time is over.
    pub(super) fn turn(&mut self, speaker: &Speaker, now: Instant) {
        if self.until.is_empty() {
            return;
        }
        self.until.retain(|_, until| now < *until);
        let revision = speaker.revision();
        if self.seen.replace(revision) != Some(revision) {
            for peer in speaker.report() {
                if peer.state == SessionState::Established && peer.end_of_rib_sent {
                    self.until.remove(&peer.name);
                }
            }
        }
    }

    /// When the next peer forgets by itself; `None` where none keeps anything.
    pub(super) fn due(&self) -> Option<Instant> {
        self.until.values().min().copied()
    }
}
