//! Random wishes, events and refusals; then rest, and the kernel is the wish minus what must be withheld.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipnet::IpNet;
use proptest::prelude::*;

use super::{IDENTITY, Pair};
use crate::kernel::{Hop, LinkState, Nexthop};
use crate::route::{Command, Form, NextHop, NextHopSet, Withheld};

const PREFIXES: [&str; 8] = [
    "192.0.2.0/24",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "203.0.113.128/25",
    "0.0.0.0/0",
    "2001:db8:a::/48",
    "2001:db8:b::/48",
    "::/0",
];
const GATEWAYS: [&str; 8] = [
    "10.0.1.1",
    "10.0.1.2",
    "10.0.2.1",
    "10.0.3.1",
    "10.0.9.1",
    "2001:db8:1::1",
    "2001:db8:2::1",
    "2001:db8:4::1",
];

#[derive(Clone, Debug)]
enum Act {
    Set(usize, Vec<BTreeSet<usize>>),
    Remove(usize),
    Complete,
    Link(u32, LinkState),
    Address(u32, bool, bool),
    DeleteRoute(usize),
    DeleteObject(usize),
    Foreign(usize, bool),
    Overrun,
    Turns(usize),
    Pass(u64),
    RefuseEach(Option<usize>),
    Interrupt(Option<usize>),
    Restart(Form),
}

fn act() -> impl Strategy<Value = Act> {
    let link_state = prop_oneof![
        Just(LinkState::Down),
        Just(LinkState::NoCarrier),
        Just(LinkState::Usable)
    ];
    let rank = prop::collection::btree_set(0..GATEWAYS.len(), 1..4);
    let ranks = prop_oneof![
        3 => prop::collection::vec(rank.clone(), 1),
        2 => prop::collection::vec(rank, 2..4),
    ];
    prop_oneof![
        8 => (0..PREFIXES.len(), ranks).prop_map(|(prefix, ranks)| Act::Set(prefix, ranks)),
        3 => (0..PREFIXES.len()).prop_map(Act::Remove),
        1 => Just(Act::Complete),
        3 => (1..=4_u32, link_state).prop_map(|(link, state)| Act::Link(link, state)),
        2 => (1..=4_u32, any::<bool>(), any::<bool>()).prop_map(|(link, six, there)| Act::Address(link, six, there)),
        2 => (0..PREFIXES.len()).prop_map(Act::DeleteRoute),
        2 => (0..6_usize).prop_map(Act::DeleteObject),
        2 => (0..PREFIXES.len(), any::<bool>()).prop_map(|(prefix, replace)| Act::Foreign(prefix, replace)),
        1 => Just(Act::Overrun),
        6 => (1..6_usize).prop_map(Act::Turns),
        2 => (1..2000_u64).prop_map(Act::Pass),
        1 => prop_oneof![Just(None), (2..9_usize).prop_map(Some)].prop_map(Act::RefuseEach),
        1 => prop::option::of(0..30_usize).prop_map(Act::Interrupt),
        1 => prop_oneof![Just(Form::Objects), Just(Form::Inline)].prop_map(Act::Restart),
    ]
}

/// A pair and what must come of it.
struct Run {
    pair: Pair,
    wish: BTreeMap<IpNet, NextHopSet>,
    foreign: BTreeSet<IpNet>,
}

impl Run {
    fn act(&mut self, act: Act) {
        let Self {
            pair,
            wish,
            foreign,
        } = self;
        match act {
            Act::Set(prefix, ranks) => {
                let hop = |index: usize| NextHop {
                    gateway: GATEWAYS[index].parse().expect("an address"),
                    interface: None,
                };
                let next_hops =
                    NextHopSet::ranked(ranks.into_iter().map(|rank| rank.into_iter().map(hop)))
                        .expect("some");
                wish.insert(net(prefix), next_hops.clone());
                let prefix = net(prefix);
                pair.say([Command::Set { prefix, next_hops }]);
            }
            Act::Remove(prefix) => {
                wish.remove(&net(prefix));
                let prefix = net(prefix);
                pair.say([Command::Remove { prefix }]);
            }
            Act::Complete => pair.say([Command::Complete]),
            Act::Link(link, state) => pair.model.set_link(link, state),
            Act::Address(link, six, there) => {
                let text = if six {
                    format!("2001:db8:{link}::/64")
                } else {
                    format!("10.0.{link}.0/24")
                };
                let prefix: IpNet = text.parse().expect("a prefix");
                if pair.model.addresses.contains_key(&prefix) != there {
                    pair.model.set_address(prefix, link, there);
                }
            }
            Act::DeleteRoute(prefix) => {
                pair.model.delete_route(net(prefix));
                foreign.remove(&net(prefix));
            }
            Act::DeleteObject(index) => pair.model.delete_object(index),
            Act::Foreign(prefix, replace) => {
                if replace || !pair.model.routes.contains_key(&net(prefix)) {
                    foreign.insert(net(prefix));
                }
                pair.model.write_foreign(net(prefix), 4, replace);
            }
            Act::Overrun => {
                pair.model.said.clear();
                pair.machine.overrun(pair.now);
            }
            Act::Turns(turns) => (0..turns).for_each(|_| {
                pair.turn();
            }),
            Act::Pass(milliseconds) => {
                pair.pass(Duration::from_millis(milliseconds));
            }
            Act::RefuseEach(each) => pair.refuse_each = each,
            Act::Interrupt(after) => pair.interrupt_after = after,
            Act::Restart(form) => {
                pair.restart(form);
                let wish = wish.iter().map(|(prefix, next_hops)| Command::Set {
                    prefix: *prefix,
                    next_hops: next_hops.clone(),
                });
                pair.machine.command(wish.collect());
            }
        }
    }

    /// What the kernel must have for a prefix at rest, or why it must not.
    fn wanted(&self, prefix: IpNet, next_hops: &NextHopSet) -> Result<Vec<Hop>, ()> {
        if matches!(prefix, IpNet::V6(_)) && next_hops.iter().any(|hop| hop.gateway.is_ipv4()) {
            return Err(());
        }
        if self.foreign.contains(&prefix) {
            return Err(());
        }
        let model = &self.pair.model;
        let links = model.links.iter();
        let usable = links.filter(|(_, state)| **state == LinkState::Usable);
        let usable: Vec<u32> = usable.map(|(link, _)| *link).collect();
        let resolved = |NextHop { gateway, .. }| {
            let hops = usable.iter().map(|link| Hop {
                gateway,
                interface: *link,
            });
            hops.into_iter().find(|hop| model.is_on_link(hop))
        };
        let mut ranks = next_hops
            .ranks()
            .map(|rank| rank.filter_map(resolved).collect::<Vec<Hop>>());
        let mut hops = ranks.find(|hops| !hops.is_empty()).ok_or(())?;
        hops.sort_unstable();
        Ok(hops)
    }

    fn check(&mut self) {
        self.pair.refuse_each = None;
        self.pair.interrupt_after = None;
        self.pair.say([Command::Complete]);
        let report = self.pair.pass(Duration::from_secs(100));
        let Self {
            pair,
            wish,
            foreign,
        } = &*self;
        let model = &pair.model;
        for (prefix, next_hops) in wish {
            let route = model.routes.get(prefix);
            let ours = route.filter(|route| route.protocol == IDENTITY.protocol);
            let have = ours.map(|route| model.hops_of(&route.via)).ok_or(());
            assert_eq!(
                have,
                self.wanted(*prefix, next_hops),
                "{prefix} {report:#?}"
            );
            assert_eq!(
                report.why(*prefix).is_none(),
                have.is_ok(),
                "{prefix} {report:#?}"
            );
        }
        for (prefix, route) in &model.routes {
            let theirs = foreign.contains(prefix);
            assert_eq!(route.protocol == 4, theirs, "{prefix}");
            assert!(theirs || wish.contains_key(prefix), "{prefix} is nobody's");
        }
        assert_eq!(
            report.pending + report.removing + report.leftovers,
            0,
            "{report:#?}"
        );
        assert_eq!(report.wished, wish.len());
        assert_eq!(report.installed + report.withheld_routes(), wish.len());
        let contested = report
            .withheld
            .iter()
            .any(|group| matches!(group.reason, Withheld::Contested | Withheld::Refused { .. }));
        assert!(!contested, "{report:#?}");
        self.check_objects(report.nexthop_objects);
    }

    /// Nothing is there for nobody: each hop is in a set of a wish, each group led to or kept for a set.
    fn check_objects(&self, known: usize) {
        let model = &self.pair.model;
        assert_eq!(model.objects.len(), known);
        let wished: BTreeSet<_> = self
            .wish
            .values()
            .flat_map(NextHopSet::iter)
            .map(|hop| hop.gateway)
            .collect();
        for (id, nexthop) in &model.objects {
            match nexthop {
                Nexthop::Hop(hop) => assert!(wished.contains(&hop.gateway), "{id} {hop:?}"),
                Nexthop::Group(members) => assert!(!members.is_empty()),
                Nexthop::Other => panic!("{id}"),
            }
        }
    }
}

fn net(index: usize) -> IpNet {
    PREFIXES[index].parse().expect("a prefix")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn at_rest_the_kernel_is_the_wish_minus_what_is_withheld(
        inline in any::<bool>(),
        acts in prop::collection::vec(act(), 1..60),
    ) {
        let form = if inline { Form::Inline } else { Form::Objects };
        let mut run = Run { pair: Pair::new(form), wish: BTreeMap::new(), foreign: BTreeSet::new() };
        for act in acts {
            run.act(act);
        }
        run.check();
    }
}
