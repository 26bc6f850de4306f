//! What the load balancer serves, as far as the planner can know.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use super::DatapathPlan;

/// Plans that wait for a report one by one. Of more, the oldest count together: while no load balancer runs, they pile up.
const ASKED: usize = 16;

/// A lower bound of what is programmed: what the load balancer says it has programmed, less what it was asked to take away since
/// then, though it may be wanted again. Plans have rising numbers; the load balancer says which one it has carried out last.
#[derive(Debug, Default)]
pub struct Programmed {
    number: u64,
    reported: Arc<BTreeSet<IpAddr>>,
    /// What plans that no report covers yet want, the oldest first, each in order.
    asked: VecDeque<(u64, Vec<IpAddr>)>,
    all: Arc<BTreeSet<IpAddr>>,
}

impl Programmed {
    /// The load balancer is asked for plan `number`.
    pub fn ask(&mut self, number: u64, plan: &DatapathPlan) {
        let mut wanted: Vec<IpAddr> = plan.addresses().collect();
        wanted.sort_unstable();
        wanted.dedup();
        self.asked.push_back((number, wanted));
        if self.asked.len() > ASKED
            && let Some((_, oldest)) = self.asked.pop_front()
            && let Some((_, next)) = self.asked.front_mut()
        {
            next.retain(|address| oldest.binary_search(address).is_ok());
        }
        self.intersect();
    }

    /// The load balancer has carried out plan `number`, and serves these addresses.
    pub fn report(&mut self, number: u64, programmed: &Arc<BTreeSet<IpAddr>>) {
        if self.number == number && Arc::ptr_eq(&self.reported, programmed) {
            return;
        }
        self.number = number;
        self.reported = Arc::clone(programmed);
        self.asked.retain(|(asked, _)| *asked > number);
        self.intersect();
    }

    /// All addresses that are served, and stay so.
    #[must_use]
    pub fn all(&self) -> &Arc<BTreeSet<IpAddr>> {
        &self.all
    }

    fn intersect(&mut self) {
        let mut all = Arc::clone(&self.reported);
        for (_, wanted) in &self.asked {
            if !is_within(&all, wanted) {
                Arc::make_mut(&mut all).retain(|address| wanted.binary_search(address).is_ok());
            }
        }
        if self.all != all {
            self.all = all;
        }
    }
}

/// Whether every address is among the wanted ones. Both are in order: none is looked for.
fn is_within(addresses: &BTreeSet<IpAddr>, wanted: &[IpAddr]) -> bool {
    let mut wanted = wanted.iter();
    addresses
        .iter()
        .all(|address| wanted.by_ref().any(|wanted| wanted == address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(addresses: &[u8]) -> Arc<BTreeSet<IpAddr>> {
        let addresses = addresses.iter().map(|last| [10, 0, 0, *last].into());
        Arc::new(addresses.collect())
    }

    fn plan(addresses: &[u8]) -> DatapathPlan {
        DatapathPlan {
            hold: BTreeSet::clone(&set(addresses)),
            ..DatapathPlan::default()
        }
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
}
