//! What routers may have from us, as far as the planner can know.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use ipnet::IpNet;

/// An upper bound of what is announced: what the speaker says it has announced, and what it was asked to since then.
/// Wishes have rising numbers; the speaker says which one it has taken last.
#[derive(Debug, Default)]
pub struct Announced {
    reported: Arc<BTreeSet<IpNet>>,
    /// Wishes that no report covers yet, the oldest first.
    asked: VecDeque<(u64, Arc<BTreeSet<IpNet>>)>,
    all: Arc<BTreeSet<IpNet>>,
}

impl Announced {
    /// The speaker is asked to originate these.
    pub fn ask(&mut self, number: u64, originate: Arc<BTreeSet<IpNet>>) {
        self.asked.push_back((number, originate));
        self.unite();
    }

    /// The speaker has taken wish `number`, and its peers may have these prefixes. Returns whether that changes anything.
    pub fn report(&mut self, number: u64, announced: &Arc<BTreeSet<IpNet>>) -> bool {
        let known = self.asked.len();
        self.asked.retain(|(asked, _)| *asked > number);
        if known == self.asked.len() && self.reported == *announced {
            return false;
        }
        self.reported = Arc::clone(announced);
        let before = Arc::clone(&self.all);
        self.unite();
        before != self.all
    }

    /// All prefixes that some peer may have.
    #[must_use]
    pub fn all(&self) -> &Arc<BTreeSet<IpNet>> {
        &self.all
    }

    fn unite(&mut self) {
        let asked = self.asked.iter().map(|(_, asked)| asked);
        let mut more = asked
            .filter(|asked| !asked.is_subset(&self.reported))
            .peekable();
        self.all = if more.peek().is_none() {
            Arc::clone(&self.reported)
        } else {
            let mut all = BTreeSet::clone(&self.reported);
            more.for_each(|asked| all.extend(asked.iter()));
            Arc::new(all)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(prefixes: &[&str]) -> Arc<BTreeSet<IpNet>> {
        let prefixes = prefixes.iter().map(|text| text.parse().unwrap());
        Arc::new(prefixes.collect())
    }

    #[test]
    fn what_was_asked_counts_until_a_report_covers_it() {
        let (a, b, none) = (set(&["10.0.0.1/32"]), set(&["10.0.0.2/32"]), set(&[]));
        let mut announced = Announced::default();
        announced.ask(1, Arc::clone(&a));
        assert_eq!(*announced.all(), a);
        announced.ask(2, Arc::clone(&b));
        assert_eq!(*announced.all(), set(&["10.0.0.1/32", "10.0.0.2/32"]));
        assert!(!announced.report(0, &none), "nothing taken yet");
        assert!(
            !announced.report(1, &a),
            "the same is known from the other side"
        );
        assert!(announced.report(2, &b));
        assert_eq!(*announced.all(), b);
        announced.ask(3, Arc::clone(&none));
        assert_eq!(*announced.all(), b, "it is still out");
        assert!(!announced.report(3, &b), "the withdrawal is being written");
        assert!(announced.report(3, &none));
        assert_eq!(*announced.all(), none);
    }
}
