//! Steps that the kernel had no room for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::maps::Failure;
use crate::op::{FrontendKey, MapOp};
use crate::report::{Table, Withheld, WithheldReason};
use crate::wish::Family;

/// The first attempt comes after this, each next after twice the time.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// Rows that are not as they should be, with the step that would make them so.
#[derive(Debug, Default)]
pub(crate) struct Unwritten {
    rows: BTreeMap<Row, MapOp>,
    again: Option<Instant>,
    pause: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Row {
    Frontend(FrontendKey),
    NodeAddress([u8; 16]),
}

impl Unwritten {
    /// Takes note of what was done and what was not. A later step for a row makes an earlier one void.
    pub(crate) fn note(&mut self, steps: &[MapOp], failures: &[Failure], now: Instant) {
        if !self.rows.is_empty() {
            for row in steps.iter().filter_map(row) {
                self.rows.remove(&row);
            }
        }
        for failure in failures {
            if let Some(step) = steps.get(failure.step)
                && let Some(row) = row(step)
            {
                self.rows.insert(row, step.clone());
            }
        }
        if self.rows.is_empty() {
            *self = Self::default();
        } else if self.again.is_none_or(|again| again <= now) {
            self.pause = (self.pause * 2).clamp(FIRST, LONGEST);
            self.again = Some(now + self.pause);
        }
    }

    /// When to try again.
    pub(crate) fn again(&self) -> Option<Instant> {
        self.again
    }

    /// What to try again.
    pub(crate) fn steps(&self) -> Vec<MapOp> {
        self.rows.values().cloned().collect()
    }

    /// Addresses of frontends that are not all there.
    pub(crate) fn addresses(&self) -> BTreeSet<IpAddr> {
        self.missing().map(address).collect()
    }

    /// What to report of it.
    pub(crate) fn withheld(&self) -> Vec<Withheld> {
        let count = |family| {
            let keys = self.missing();
            keys.filter(|key| self::family(key) == family).count()
        };
        let withheld = [Family::Ipv4, Family::Ipv6].map(|family| Withheld {
            reason: WithheldReason::Full(Table::Frontends(family)),
            count: count(family),
            examples: Vec::new(),
        });
        withheld.into_iter().filter(|one| one.count > 0).collect()
    }

    /// Frontends that should be there.
    fn missing(&self) -> impl Iterator<Item = &FrontendKey> {
        self.rows.values().filter_map(|step| match step {
            MapOp::SetFrontend { key, .. } => Some(key),
            MapOp::Backend { .. }
            | MapOp::Slots { .. }
            | MapOp::Ring { .. }
            | MapOp::Group { .. }
            | MapOp::Filter { .. }
            | MapOp::RemoveFrontend { .. }
            | MapOp::NodeAddress { .. }
            | MapOp::RaiseEpoch
            | MapOp::Grace => None,
        })
    }
}

/// The row of a hash table that a step writes. Arrays have room for all their rows.
fn row(step: &MapOp) -> Option<Row> {
    match step {
        MapOp::SetFrontend { key, .. } | MapOp::RemoveFrontend { key } => Some(Row::Frontend(*key)),
        MapOp::NodeAddress { address, .. } => Some(Row::NodeAddress(*address)),
        MapOp::Backend { .. }
        | MapOp::Slots { .. }
        | MapOp::Ring { .. }
        | MapOp::Group { .. }
        | MapOp::Filter { .. }
        | MapOp::RaiseEpoch
        | MapOp::Grace => None,
    }
}

fn address(key: &FrontendKey) -> IpAddr {
    match key {
        FrontendKey::V4(key) => Ipv4Addr::from(key.address).into(),
        FrontendKey::V6(key) => Ipv6Addr::from(key.address).into(),
    }
}

fn family(key: &FrontendKey) -> Family {
    match key {
        FrontendKey::V4(_) => Family::Ipv4,
        FrontendKey::V6(_) => Family::Ipv6,
    }
}

#[cfg(test)]
mod tests {
    use lb_abi::{Frontend, FrontendKey4};
    use nix::libc::ENOMEM;

    use super::*;
    use crate::error::Errno;

    fn key(last: u8) -> FrontendKey {
        FrontendKey::V4(FrontendKey4 {
            address: [192, 0, 2, last],
            port: [0, 80],
            protocol: 6,
            scope: 0,
        })
    }

    fn set(last: u8) -> MapOp {
        MapOp::SetFrontend {
            key: key(last),
            frontend: Frontend::default(),
        }
    }

    fn failed(steps: &[usize]) -> Vec<Failure> {
        let errno = Errno(ENOMEM);
        steps
            .iter()
            .map(|step| Failure { step: *step, errno })
            .collect()
    }

    #[test]
    fn what_could_not_be_written_is_named_and_tried_again_ever_less_often() {
        let mut unwritten = Unwritten::default();
        let mut now = Instant::now();
        unwritten.note(&[set(1), set(2), MapOp::RaiseEpoch], &failed(&[1]), now);
        assert_eq!(unwritten.steps(), [set(2)]);
        let address: IpAddr = "192.0.2.2".parse().expect("an address");
        assert_eq!(unwritten.addresses(), BTreeSet::from([address]));
        assert_eq!(unwritten.withheld()[0].count, 1);
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            assert_eq!(unwritten.again(), Some(now + Duration::from_secs(pause)));
            now += Duration::from_secs(pause);
            unwritten.note(&[set(2)], &failed(&[0]), now);
        }
        unwritten.note(&[set(2)], &[], now);
        assert_eq!((unwritten.again(), unwritten.steps()), (None, Vec::new()));
    }

    #[test]
    fn a_later_step_for_the_same_row_makes_the_earlier_one_void() {
        let mut unwritten = Unwritten::default();
        let now = Instant::now();
        unwritten.note(&[set(1)], &failed(&[0]), now);
        unwritten.note(&[MapOp::RemoveFrontend { key: key(1) }], &[], now);
        assert_eq!(unwritten.steps(), []);
        assert_eq!(unwritten.withheld(), []);
    }
}
