//! What is true: one look at every row.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::{Machine, Row};
use crate::difference::Present;
use crate::route::{Report, Withheld, WithheldGroup};

/// Where a row stands.
enum Standing {
    Installed,
    Pending,
    Withheld(Withheld),
    Removing,
    Leftover,
    Nothing,
}

impl Machine {
    /// What is true now. It looks at every row, so that it cannot be wrong; a million rows take some ten milliseconds.
    pub(crate) fn survey(&self) -> Report {
        let mut report = Report {
            batches: self.batches,
            complete: self.complete,
            ready: self.reading.ready,
            form: self.form,
            nexthop_objects: self.objects.count(),
            counters: self.counters,
            ..Report::default()
        };
        let mut withheld: BTreeMap<Withheld, WithheldGroup> = BTreeMap::new();
        for (prefix, row) in self.rows.iter() {
            report.wished += usize::from(row.wish.is_some());
            match self.standing(prefix, row) {
                Standing::Installed => report.installed += 1,
                Standing::Pending => report.pending += 1,
                Standing::Removing => report.removing += 1,
                Standing::Leftover => report.leftovers += 1,
                Standing::Nothing => {}
                Standing::Withheld(reason) => {
                    let group = withheld.entry(reason).or_insert_with(|| WithheldGroup {
                        reason,
                        routes: 0,
                        examples: Vec::new(),
                    });
                    group.routes += 1;
                    if group.examples.len() < WithheldGroup::EXAMPLES {
                        group.examples.push(prefix);
                    }
                }
            }
        }
        report.withheld = withheld.into_values().collect();
        report
    }

    fn standing(&self, prefix: IpNet, row: &Row) -> Standing {
        let present = self.present(row.carried);
        let Some(set) = row.wish.and_then(|id| self.wish.set(id)) else {
            return match present {
                Present::Nothing => Standing::Nothing,
                Present::Route(_) | Present::Doubtful if !row.asked && !self.complete => {
                    Standing::Leftover
                }
                Present::Route(_) | Present::Doubtful => Standing::Removing,
            };
        };
        if set.has_ipv4_gateway && matches!(prefix, IpNet::V6(_)) {
            return Standing::Withheld(Withheld::GatewayFamily);
        }
        let target = match set.target {
            None => return Standing::Pending,
            Some(Err(reason)) => return Standing::Withheld(reason),
            Some(Ok(target)) => target,
        };
        if present == Present::Route(target) {
            return Standing::Installed;
        }
        let trouble = self.troubles.get(&prefix);
        match (
            self.foreign.get(prefix),
            trouble.and_then(|trouble| trouble.reason),
        ) {
            (Some(protocol), _) => Standing::Withheld(Withheld::ForeignRoute {
                protocol: *protocol,
            }),
            (None, Some(reason)) => Standing::Withheld(reason),
            (None, None) => Standing::Pending,
        }
    }
}
