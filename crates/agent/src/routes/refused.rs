//! Which learned prefixes are refused at a target, and why: exact counts and a few examples.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use plan::node::Refusal;
use plan::node::observed::{EXAMPLES, RefusedRoutes};

/// Refused prefixes: six bytes each of IPv4, so that a full table of which little is wanted costs some megabytes.
#[derive(Debug, Default)]
pub(super) struct Refused {
    ipv4: HashMap<Ipv4Net, Refusal>,
    ipv6: HashMap<Ipv6Net, Refusal>,
    reasons: BTreeMap<Refusal, RefusedRoutes>,
}

impl Refused {
    /// From now on the prefix is refused for this reason, or is not.
    pub(super) fn set(&mut self, prefix: IpNet, reason: Option<Refusal>) {
        let before = match (prefix, reason) {
            (IpNet::V4(prefix), Some(reason)) => self.ipv4.insert(prefix, reason),
            (IpNet::V4(prefix), None) => self.ipv4.remove(&prefix),
            (IpNet::V6(prefix), Some(reason)) => self.ipv6.insert(prefix, reason),
            (IpNet::V6(prefix), None) => self.ipv6.remove(&prefix),
        };
        if before == reason {
            return;
        }
        if let Some(before) = before {
            self.leave(prefix, before);
        }
        if let Some(reason) = reason {
            let group = self.reasons.entry(reason).or_default();
            group.routes += 1;
            if group.examples.len() < EXAMPLES {
                group.examples.push(prefix);
            }
        }
    }

    fn leave(&mut self, prefix: IpNet, reason: Refusal) {
        let Entry::Occupied(mut group) = self.reasons.entry(reason) else {
            return;
        };
        group.get_mut().routes -= 1;
        group
            .get_mut()
            .examples
            .retain(|example| *example != prefix);
        if group.get().routes == 0 {
            group.remove();
        }
    }

    /// By reason. An example that went is replaced by another one.
    pub(super) fn observed(&mut self) -> BTreeMap<Refusal, RefusedRoutes> {
        let Self {
            ipv4,
            ipv6,
            reasons,
        } = self;
        for (reason, group) in reasons.iter_mut() {
            if group.examples.len() as u64 >= group.routes.min(EXAMPLES as u64) {
                continue;
            }
            let ipv4 = ipv4
                .iter()
                .map(|(prefix, reason)| (IpNet::from(*prefix), *reason));
            let ipv6 = ipv6
                .iter()
                .map(|(prefix, reason)| (IpNet::from(*prefix), *reason));
            let alike = ipv4.chain(ipv6).filter(|(_, other)| other == reason);
            group.examples = alike.map(|(prefix, _)| prefix).take(EXAMPLES).collect();
        }
        let sorted = |(reason, group): (&Refusal, &RefusedRoutes)| {
            let mut group = group.clone();
            group.examples.sort_unstable();
            (*reason, group)
        };
        reasons.iter().map(sorted).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(number: u8) -> IpNet {
        IpNet::new_assert([10, number, 0, 0].into(), 16)
    }

    #[test]
    fn counts_are_exact_and_examples_are_refused_prefixes() {
        let mut refused = Refused::default();
        for number in 0..10 {
            refused.set(net(number), Some(Refusal::NotAccepted));
            refused.set(net(number), Some(Refusal::NotAccepted));
        }
        refused.set(
            "2001:db8::/32".parse().expect("a prefix"),
            Some(Refusal::PodCidr),
        );
        let observed = refused.observed();
        assert_eq!(observed[&Refusal::NotAccepted].routes, 10);
        assert_eq!(
            observed[&Refusal::NotAccepted].examples,
            [net(0), net(1), net(2)]
        );
        assert_eq!(observed[&Refusal::PodCidr].routes, 1);
        for number in 0..9 {
            let other = (number % 2 == 0).then_some(Refusal::DefaultRoute);
            refused.set(net(number), other);
        }
        let observed = refused.observed();
        assert_eq!(observed[&Refusal::NotAccepted].routes, 1);
        assert_eq!(observed[&Refusal::NotAccepted].examples, [net(9)]);
        assert_eq!(observed[&Refusal::DefaultRoute].routes, 5);
        assert_eq!(observed[&Refusal::DefaultRoute].examples.len(), EXAMPLES);
        for number in 0..10 {
            refused.set(net(number), None);
        }
        assert_eq!(
            refused.observed().keys().collect::<Vec<_>>(),
            [&Refusal::PodCidr]
        );
    }
}
