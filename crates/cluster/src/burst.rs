//! When the next snapshot may be published.

use std::time::{Duration, Instant};

use plan::{NamespacedName, ServiceFacts, Snapshot};

use crate::follow::Change;
use crate::watch::Told;

/// Time between two snapshots of a burst, so that planning 1,000 changes takes 50 plans a second and not 1,000.
pub const PACE: Duration = Duration::from_millis(20);
/// Snapshots that may follow each other as fast as changes come, after a quiet time of as many [`PACE`]s. What a user does
/// once comes to us in several changes, some milliseconds apart: a new Service is itself, then its EndpointSlice, then the
/// address it is given, for which alone all wait. The address is not to wait for the two before it.
pub const AT_ONCE: u32 = 4;

/// Lets each change of a few through by itself, and those of a burst together. A token bucket, kept as the time at which it
/// would be full.
#[derive(Debug, Default)]
pub(crate) struct Burst {
    full_at: Option<Instant>,
}

impl Burst {
    /// The time before which nothing may be published; may have passed.
    pub(crate) fn not_before(&self) -> Option<Instant> {
        self.full_at
            .and_then(|full_at| full_at.checked_sub(PACE * (AT_ONCE - 1)))
    }

    /// Something is published.
    pub(crate) fn publish(&mut self, now: Instant) {
        self.full_at = Some(self.full_at.map_or(now, |full_at| full_at.max(now)) + PACE);
    }
}

/// Whether a burst begins with this: a new Service that has yet to be given its address, or new endpoints of such a one. Who
/// makes plans of it on each node takes the processor from whoever gives the address, and has to plan again for that.
pub(crate) fn is_begun_by(change: &Change, snapshot: &Snapshot) -> bool {
    let awaits_address = |facts: &ServiceFacts| facts.is_for_bgp() && facts.ingress.is_empty();
    if let Change::Service(Told::Set(name, facts)) = change {
        return awaits_address(facts) && !snapshot.services.contains_key(name);
    }
    let Change::EndpointSlice(Told::Set(name, slice)) = change else {
        return false;
    };
    let Some(service) = &slice.service else {
        return false;
    };
    let service = NamespacedName {
        namespace: name.namespace.clone(),
        name: service.as_str().into(),
    };
    let service = snapshot.services.get(&service);
    service.is_some_and(|facts| awaits_address(facts))
        && !snapshot.endpoint_slices.contains_key(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When changes that come at these milliseconds are published, each as soon as may be.
    fn published(changes: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let start = Instant::now() + Duration::from_secs(1);
        let mut burst = Burst::default();
        let mut published: Vec<u64> = Vec::new();
        for change in changes {
            // What is published after this change came tells of it already.
            if published.last().is_some_and(|last| *last >= change) {
                continue;
            }
            let came = start + Duration::from_millis(change);
            let at = burst.not_before().map_or(came, |at| at.max(came));
            burst.publish(at);
            published.push((at - start).as_millis() as u64);
        }
        published
    }

    #[test]
    fn a_few_changes_are_published_as_they_come_and_a_burst_at_its_pace() {
        let rows: [(&[u64], &[u64]); 6] = [
            (&[0], &[0]),
            // A Service, its EndpointSlice, its address, and one thing more.
            (&[0, 6, 11, 12], &[0, 6, 11, 12]),
            (&[0, 1, 2, 3, 4], &[0, 1, 2, 3, 20]),
            (&[0, 1, 2, 3, 20, 21], &[0, 1, 2, 3, 20, 40]),
            // After a quiet time there is room again, and no more than before.
            (
                &[0, 1, 2, 3, 100, 101, 102, 103, 104],
                &[0, 1, 2, 3, 100, 101, 102, 103, 120],
            ),
            (&[0, 1, 2, 3, 43, 44, 45], &[0, 1, 2, 3, 43, 44, 60]),
        ];
        for (changes, expected) in rows {
            assert_eq!(published(changes.iter().copied()), expected, "{changes:?}");
        }
    }

    #[test]
    fn in_no_time_are_more_published_than_the_first_few_and_one_for_each_pace() {
        let published = published(0..2000);
        let pace = PACE.as_millis() as u64;
        for (first, from) in published.iter().enumerate() {
            for (last, to) in published.iter().enumerate().skip(first) {
                let most = u64::from(AT_ONCE) + (to - from) / pace;
                let count = (first..=last).count() as u64;
                assert!(count <= most, "from {from} to {to}");
            }
        }
        assert!(published.len() >= 100, "and no fewer than one for each");
    }
}
