//! What the load balancer serves, as far as the planner can know.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use super::DatapathPlan;
use crate::in_order::differences;

/// Plans that wait for a report one by one. Of more, the oldest count together: while no load balancer runs, they pile up.
const ASKED: usize = 16;

/// A lower bound of what is programmed: what the load balancer says it has programmed, less what it was asked to take away since
/// then, though it may be wanted again. Plans have rising numbers; the load balancer says which one it has carried out last.
#[derive(Debug, Default)]
pub struct Programmed {
    number: u64,
    reported: Arc<BTreeSet<IpAddr>>,
    last: Option<Arc<DatapathPlan>>,
    /// What plans that no report covers yet take away, the oldest first.
    asked: VecDeque<(u64, Taken)>,
    all: Arc<BTreeSet<IpAddr>>,
}

/// What a plan takes away of what is programmed.
#[derive(Debug)]
enum Taken {
    /// These, which the plan before wanted.
    These(BTreeSet<IpAddr>),
    /// Everything but these: what was there before nobody knows.
    AllBut(BTreeSet<IpAddr>),
}

impl Programmed {
    /// The load balancer is asked for plan `number`.
    pub fn ask(&mut self, number: u64, plan: &Arc<DatapathPlan>) {
        let last = self.last.replace(Arc::clone(plan));
        // A plan that holds what was found keeps more than it names.
        let taken = match last.filter(|last| !last.hold_found) {
            Some(last) => Taken::These(no_longer_wanted(&last, plan)),
            None => Taken::AllBut(plan.addresses().collect()),
        };
        self.asked.push_back((number, taken));
        if self.asked.len() > ASKED
            && let Some((_, oldest)) = self.asked.pop_front()
            && let Some((_, next)) = self.asked.front_mut()
        {
            next.add(oldest);
        }
        self.subtract();
    }

    /// The load balancer has carried out plan `number`, and serves these addresses.
    pub fn report(&mut self, number: u64, programmed: &Arc<BTreeSet<IpAddr>>) {
        if self.number == number && Arc::ptr_eq(&self.reported, programmed) {
            return;
        }
        self.number = number;
        self.reported = Arc::clone(programmed);
        self.asked.retain(|(asked, _)| *asked > number);
        self.subtract();
    }

    /// All addresses that are served, and stay so.
    #[must_use]
    pub fn all(&self) -> &Arc<BTreeSet<IpAddr>> {
        &self.all
    }

    fn subtract(&mut self) {
        let mut all = Arc::clone(&self.reported);
        for (_, taken) in &self.asked {
            taken.take_from(&mut all);
        }
        if self.all != all {
            self.all = all;
        }
    }
}

impl Taken {
    /// A copy is made only where something is taken.
    fn take_from(&self, all: &mut Arc<BTreeSet<IpAddr>>) {
        match self {
            Self::These(these) => {
                for address in these {
                    if all.contains(address) {
                        Arc::make_mut(all).remove(address);
                    }
                }
            }
            Self::AllBut(wanted) => {
                if !all.is_subset(wanted) {
                    Arc::make_mut(all).retain(|address| wanted.contains(address));
                }
            }
        }
    }

    /// Takes away what another takes away too.
    fn add(&mut self, other: Self) {
        match (&mut *self, other) {
            (Self::These(these), Self::These(more)) => these.extend(more),
            (Self::AllBut(wanted), Self::These(these)) => {
                wanted.retain(|address| !these.contains(address));
            }
            (Self::AllBut(wanted), Self::AllBut(also)) => {
                wanted.retain(|address| also.contains(address));
            }
            (Self::These(these), Self::AllBut(mut wanted)) => {
                wanted.retain(|address| !these.contains(address));
                *self = Self::AllBut(wanted);
            }
        }
    }
}

/// What of one plan is not wanted by the next. Most Services are the same in both, and not looked at.
fn no_longer_wanted(before: &DatapathPlan, now: &DatapathPlan) -> BTreeSet<IpAddr> {
    let mut gone: BTreeSet<IpAddr> = before.hold.difference(&now.hold).copied().collect();
    if !before.services.is(&now.services) {
        differences(&before.services, &now.services, |_, before, now| {
            let addresses = before.into_iter().flat_map(|service| service.addresses());
            gone.extend(addresses.filter(|address| !now.is_some_and(|now| now.has(*address))));
        });
    }
    if !gone.is_empty() {
        for wanted in now.addresses() {
            gone.remove(&wanted);
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::datapath::{DatapathService, Frontend, FrontendAddress, Transport};
    use crate::snapshot::NamespacedName;

    fn set(addresses: &[u8]) -> Arc<BTreeSet<IpAddr>> {
        let addresses = addresses.iter().map(|last| [10, 0, 0, *last].into());
        Arc::new(addresses.collect())
    }

    fn plan(addresses: &[u8]) -> Arc<DatapathPlan> {
        Arc::new(DatapathPlan {
            hold: BTreeSet::clone(&set(addresses)),
            ..DatapathPlan::default()
        })
    }

    #[test]
    fn what_a_plan_takes_away_counts_again_when_a_later_one_is_carried_out() {
        let mut programmed = Programmed::default();
        programmed.ask(1, &plan(&[1, 2]));
        assert_eq!(*programmed.all(), set(&[]));
        programmed.report(1, &set(&[1, 2]));
        assert_eq!(*programmed.all(), set(&[1, 2]));
        programmed.ask(2, &plan(&[2]));
        assert_eq!(*programmed.all(), set(&[2]), "soon to be gone");
        programmed.ask(3, &plan(&[1, 2, 3]));
        assert_eq!(*programmed.all(), set(&[2]), "gone for a while at least");
        programmed.report(1, &set(&[1, 2]));
        assert_eq!(*programmed.all(), set(&[2]), "the same as before");
        programmed.report(2, &set(&[2]));
        assert_eq!(*programmed.all(), set(&[2]));
        programmed.report(3, &set(&[1, 2, 3]));
        assert_eq!(*programmed.all(), set(&[1, 2, 3]));
    }

    #[test]
    fn plans_that_nobody_carries_out_take_no_more_room_and_count_all_the_same() {
        let mut programmed = Programmed::default();
        programmed.report(0, &set(&[1, 2]));
        programmed.ask(1, &plan(&[1]));
        for number in 2..100 {
            programmed.ask(number, &plan(&[1, 2]));
        }
        assert_eq!(programmed.asked.len(), ASKED);
        assert_eq!(*programmed.all(), set(&[1]));
        programmed.report(99, &set(&[1, 2]));
        assert_eq!(*programmed.all(), set(&[1, 2]));
    }

    /// Sets of the addresses 0 to 7, a bit for each.
    fn bits(mask: u8) -> Vec<u8> {
        (0..8).filter(|bit| mask & (1 << bit) != 0).collect()
    }

    /// Services by what they want, each the same as before where it wants the same.
    fn services(masks: [u8; 3], before: &DatapathPlan) -> DatapathPlan {
        let services = masks.into_iter().enumerate().map(|(number, mask)| {
            let name = NamespacedName {
                namespace: "default".into(),
                name: format!("{number}").into(),
            };
            let frontends = bits(mask).into_iter().map(|last| Frontend {
                address: FrontendAddress::LoadBalancer([10, 0, 0, last].into()),
                port: 80,
                protocol: Transport::Tcp,
                external: [].into(),
                internal: [].into(),
            });
            let service = Arc::new(DatapathService {
                frontends: frontends.collect(),
                ..DatapathService::default()
            });
            let known = before
                .services
                .get(&name)
                .filter(|known| **known == service);
            (Arc::new(name), known.cloned().unwrap_or(service))
        });
        DatapathPlan {
            services: services
                .filter(|(_, service)| !service.frontends.is_empty())
                .collect(),
            ..DatapathPlan::default()
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Ask {
            services: [u8; 3],
            hold: u8,
            hold_found: bool,
        },
        /// So many plans more are carried out, without these addresses, and with these where what was found is held.
        Report { more: u64, failed: u8, found: u8 },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let ask = (any::<[u8; 3]>(), any::<u8>(), prop::bool::weighted(0.2));
        let ask = ask.prop_map(|(services, hold, hold_found)| {
            let hold = hold & services[0];
            Step::Ask {
                services,
                hold,
                hold_found,
            }
        });
        let report = (0_u64..4, any::<u8>(), any::<u8>());
        let report = report.prop_map(|(more, failed, found)| {
            let failed = failed & found;
            Step::Report {
                more,
                failed,
                found,
            }
        });
        prop::collection::vec(prop_oneof![3 => ask, 2 => report], 1..60)
    }

    proptest! {
        /// What is reported, and wanted by every plan that no report covers, whatever the plans have in common.
        #[test]
        fn all_that_is_reported_and_wanted_since_is_programmed(steps in steps()) {
            let mut programmed = Programmed::default();
            let mut last = Arc::new(DatapathPlan::default());
            let mut asked = vec![(0_u64, BTreeSet::new(), true)];
            let (mut number, mut reported) = (0, BTreeSet::new());
            for step in steps {
                let waiting = asked.len() - 1 - number as usize;
                match step {
                    // Of more, the oldest count together.
                    Step::Ask { .. } if waiting == ASKED => {}
                    Step::Ask { services: masks, hold, hold_found } => {
                        let mut plan = services(masks, &last);
                        plan.hold = BTreeSet::clone(&set(&bits(hold)));
                        plan.hold_found = hold_found;
                        last = Arc::new(plan);
                        let next = asked.len() as u64;
                        asked.push((next, last.addresses().collect(), hold_found));
                        programmed.ask(next, &last);
                    }
                    Step::Report { more, failed, found } => {
                        number = (number + more).min(asked.len() as u64 - 1);
                        let (_, wanted, hold_found) = &asked[number as usize];
                        reported = wanted - &set(&bits(failed));
                        if *hold_found {
                            reported.extend(set(&bits(found)).iter());
                        }
                        programmed.report(number, &Arc::new(reported.clone()));
                    }
                }
                let since = asked.iter().filter(|(asked, ..)| *asked > number);
                let expected = since.fold(reported.clone(), |all, (_, wanted, _)| &all & wanted);
                prop_assert_eq!(&**programmed.all(), &expected);
            }
        }
    }
}
