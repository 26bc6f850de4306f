//! Refreshes the peer announced with BoRR and has not ended yet (RFC 7313 section 4).

use std::time::{Duration, Instant};

use crate::family::Family;

/// How long a peer may take between BoRR and EoRR; then what it did not repeat goes all the same. Longer than any
/// table takes to be sent, shorter than anyone would want stale routes.
const MAXIMUM: Duration = Duration::from_secs(300);

/// Open refreshes with their deadlines.
#[derive(Debug, Default)]
pub(crate) struct Refreshes {
    open: Vec<(Family, Instant)>,
}

impl Refreshes {
    pub(crate) fn begin(&mut self, family: Family, now: Instant) {
        self.end(family);
        self.open.push((family, now + MAXIMUM));
    }

    /// Whether one was open.
    pub(crate) fn end(&mut self, family: Family) -> bool {
        let before = self.open.len();
        self.open.retain(|(open, _)| *open != family);
        self.open.len() < before
    }

    /// One whose time is over.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<Family> {
        let position = self.open.iter().position(|(_, until)| *until <= now)?;
        Some(self.open.swap_remove(position).0)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.open.iter().map(|(_, until)| *until).min()
    }

    pub(crate) fn clear(&mut self) {
        self.open.clear();
    }
}
