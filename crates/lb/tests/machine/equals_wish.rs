//! Whatever is wished one after the other, and wherever the agent dies in between: no packet ever meets a reference to something that is
//! not there, and in the end the maps are what the last wish means.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lb::{
    Algorithm, Backend, BackendState, Capacity, Contents, Family, Frontend, FrontendAddress,
    FrontendKey, Machine, Protocol, Service, Settings, Wish,
};
use lb_abi::{FILTER_BACKENDS, FILTER_FRONTENDS, FILTER_ROWS, Scope};
use proptest::prelude::*;

use crate::maps::{Maps, address_of, with_scope};
use crate::reference::Expected;
use crate::wishes::{CAPACITY as AMPLE, address};

const TIGHT: Capacity = Capacity {
    frontends: 12,
    groups: 5,
    backends: 6,
    slots: 8,
    ring_slots: 768,
    ..AMPLE
};

/// Longer than an address stays in a filter without a user.
const LATER: Duration = Duration::from_secs(8_001);

fn settings() -> Settings {
    Settings {
        maximum_ring: 509,
        ..Settings::default()
    }
}

const NODES: [&str; 4] = ["10.0.0.1", "10.0.0.2", "fd00::1", "10.0.0.3"];
const NAMED: [&str; 6] = [
    "10.96.0.1",
    "10.96.0.2",
    "172.16.1.1",
    "172.16.1.2",
    "fd96::1",
    "192.0.2.1",
];

#[derive(Debug, Clone)]
struct Spec {
    is_maglev: bool,
    /// Kind and address, port, whether it is UDP, which list, whether those inside have another.
    frontends: Vec<(usize, usize, bool, usize, bool)>,
    /// Codes of the backends in three lists.
    lists: [[u8; 6]; 3],
}

#[derive(Debug, Clone)]
enum Edit {
    Service(usize, Option<Spec>),
    Nodes(u8),
    Hold(u8),
    Restart,
    Die(prop::sample::Index),
}

fn edits(most: usize) -> impl Strategy<Value = Vec<Edit>> {
    let list = prop::array::uniform6(prop_oneof![2 => Just(0u8), 2 => 1u8..3, 1 => 3u8..5]);
    let frontend = (
        0usize..9,
        0usize..2,
        any::<bool>(),
        0usize..3,
        prop::bool::weighted(0.3),
    );
    let spec = (
        any::<bool>(),
        prop::collection::vec(frontend, 1..4),
        prop::array::uniform3(list),
    );
    let spec = spec.prop_map(|(is_maglev, frontends, lists)| Spec {
        is_maglev,
        frontends,
        lists,
    });
    let edit = prop_oneof![
        8 => (0usize..4, prop::option::weighted(0.8, spec)).prop_map(|(name, spec)| Edit::Service(name, spec)),
        1 => any::<u8>().prop_map(Edit::Nodes),
        1 => any::<u8>().prop_map(Edit::Hold),
        1 => Just(Edit::Restart),
        2 => any::<prop::sample::Index>().prop_map(Edit::Die),
    ];
    prop::collection::vec(edit, 1..most)
}

fn backends(codes: [u8; 6]) -> Arc<[Backend]> {
    let all = [
        "10.0.1.1", "10.0.1.2", "10.0.1.3", "10.0.1.3", "10.0.1.4", "fd01::1",
    ];
    let mut backends: Vec<Backend> = Vec::new();
    for (index, (code, place)) in codes.into_iter().zip(all).enumerate().rev() {
        let (is_local, state) = match code {
            0 => continue,
            1 => (true, BackendState::Active),
            2 => (false, BackendState::Active),
            3 => (false, BackendState::Terminating),
            _ => (true, BackendState::Draining),
        };
        backends.push(Backend {
            address: address(place),
            port: 8080 + u16::from(index == 3),
            is_local,
            state,
        });
    }
    backends.into()
}

fn service(spec: &Spec) -> Arc<Service> {
    let frontends = spec
        .frontends
        .iter()
        .map(|(kind, port, is_udp, list, differs)| Frontend {
            address: match kind {
                0 | 1 => FrontendAddress::ClusterIp(address(NAMED[*kind])),
                2..5 => FrontendAddress::LoadBalancer(address(NAMED[*kind])),
                5 => FrontendAddress::ExternalIp(address(NAMED[*kind])),
                6 => FrontendAddress::ExternalIp(address(NODES[0])),
                7 => FrontendAddress::NodePort(Family::Ipv4),
                _ => FrontendAddress::NodePort(Family::Ipv6),
            },
            port: [80, 443][*port],
            protocol: if *is_udp {
                Protocol::Udp
            } else {
                Protocol::Tcp
            },
            external: backends(spec.lists[*list]),
            internal: backends(spec.lists[if *differs { (list + 1) % 3 } else { *list }]),
        });
    Arc::new(Service {
        algorithm: if spec.is_maglev {
            Algorithm::Maglev
        } else {
            Algorithm::Random
        },
        frontends: frontends.collect(),
    })
}

fn chosen<'a>(all: &'a [&'a str], mask: u8) -> impl Iterator<Item = IpAddr> + 'a {
    let set = move |index: &usize| mask >> index & 1 == 1;
    (0..all.len()).filter(set).map(|index| address(all[index]))
}

/// A machine, its maps and what was wished last.
struct World {
    capacity: Capacity,
    machine: Machine,
    maps: Maps,
    wish: Wish,
    now: Instant,
}

impl World {
    fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            machine: Machine::new(capacity, &settings(), &Contents::default()),
            maps: Maps::new(capacity),
            wish: Wish::default(),
            now: Instant::now(),
        }
    }

    fn edit(&mut self, edit: &Edit) {
        match edit {
            Edit::Service(name, Some(spec)) => {
                let name = format!("service-{name}").into();
                self.wish.services.insert(name, service(spec));
            }
            Edit::Service(name, None) => {
                self.wish
                    .services
                    .remove(format!("service-{name}").as_str());
            }
            Edit::Nodes(mask) => {
                self.wish.node_addresses = chosen(&NODES, mask & 0xf).collect();
                let others = chosen(&NODES, mask >> 4);
                self.wish.other_nodes = others
                    .filter(|other| !self.wish.node_addresses.contains(other))
                    .collect();
            }
            Edit::Hold(mask) => self.wish.hold = chosen(&NAMED, *mask).collect(),
            Edit::Restart => self.restart(),
            Edit::Die(at) => {
                // A great change, and the agent dies in the middle of it.
                let mut other = self.wish.clone();
                while other.services.len() > at.index(4) {
                    other.services.pop_first();
                }
                std::mem::swap(&mut self.wish, &mut other);
                let ops = self.machine.apply(&self.wish, self.now);
                self.maps.perform_partly(&ops, at.index(ops.len() + 1));
                self.wish = other;
                self.restart();
            }
        }
    }

    fn restart(&mut self) {
        let contents = self.maps.restart();
        self.machine = Machine::new(self.capacity, &settings(), &contents);
    }

    fn apply(&mut self) {
        let ops = self.machine.apply(&self.wish, self.now);
        self.maps.perform_watched(&ops);
    }

    fn settle(&mut self) {
        self.apply();
        for _ in 0..8 {
            if !self.machine.is_unsettled() {
                return;
            }
            self.apply();
        }
        panic!("the machine never settles: {:?}", self.machine.report());
    }

    /// Rows that are not expected, but for what belongs to addresses that are held.
    fn strangers(&self, expected: &Expected) -> Vec<FrontendKey> {
        let resolved = self.maps.resolved();
        let is_expected = |key: &&FrontendKey| {
            let external = with_scope(key, Scope::External);
            let row = expected.rows.get(&external);
            // A service that has no room leaves the frontend to one whose callers inside have a list of their own.
            expected.rows.contains_key(key)
                || row.is_some() && !self.machine.report().withheld.is_empty()
        };
        let keys = resolved.keys().filter(|key| !is_expected(key));
        keys.filter(|key| !self.wish.hold.contains(&address_of(key)))
            .copied()
            .collect()
    }

    fn check(&self) {
        let expected = Expected::of(&self.wish, settings().hash_seed);
        let resolved = self.maps.resolved();
        for (key, row) in &expected.rows {
            let found = resolved.get(key);
            // A held row may be one that may be asked from outside.
            let is_held = self.wish.hold.contains(&address_of(key))
                && row.flags & lb_abi::frontend_flags::WILDCARD != 0;
            assert!(
                found == Some(row) || is_held && found.is_some(),
                "{key:?}: {found:?}, not {row:?}"
            );
        }
        assert_eq!(self.strangers(&expected), []);
        assert_eq!(self.maps.node_addresses, expected.node_addresses);
        let report = self.machine.report();
        for address in &expected.addresses {
            assert!(report.programmed.contains(address), "{address}");
        }
        let held = |address: &&IpAddr| self.wish.hold.contains(*address);
        let others = report.programmed.difference(&expected.addresses);
        assert_eq!(others.filter(|address| !held(address)).count(), 0);
        for (filter, bits) in [FILTER_FRONTENDS, FILTER_BACKENDS, FILTER_ROWS]
            .into_iter()
            .zip(&expected.filters)
        {
            assert!(self.maps.bits(filter).is_superset(bits));
        }
        if self.wish.hold.is_empty() {
            assert_eq!(self.maps.present(), expected.backends);
            assert_eq!(report.backends, expected.backends.len());
            assert_eq!(report.frontends, expected.frontends);
            let used: BTreeSet<u32> = self.maps.frontends.values().map(|row| row.group).collect();
            let written = self.maps.groups.iter().filter(|(_, word)| **word != 0);
            assert_eq!(written.filter(|(id, _)| !used.contains(id)).count(), 0);
        }
    }

    /// With nothing wished, and time gone by, nothing is left.
    fn check_end(&mut self) {
        self.wish.hold.clear();
        self.apply();
        self.now += LATER;
        self.apply();
        let expected = Expected::of(&self.wish, settings().hash_seed);
        for (filter, bits) in [FILTER_FRONTENDS, FILTER_BACKENDS, FILTER_ROWS]
            .into_iter()
            .zip(&expected.filters)
        {
            assert_eq!(self.maps.bits(filter), *bits);
        }
        self.wish = Wish::default();
        self.apply();
        assert_eq!(self.maps.resolved().len(), 0);
        assert_eq!(self.maps.present().len(), 0);
        assert!(self.maps.groups.values().all(|word| *word == 0));
        assert!(self.maps.node_addresses.is_empty());
        assert!(self.machine.apply(&self.wish, self.now).is_empty());
    }
}

/// A wish that fills every table of `TIGHT` to the last entry.
fn brimful() -> Wish {
    let list = |codes| (backends(codes), backends(codes));
    let named = |index: usize, codes, is_maglev: bool| {
        let (external, internal) = list(codes);
        let frontend = |address| Frontend {
            address,
            port: 80,
            protocol: Protocol::Tcp,
            external: Arc::clone(&external),
            internal: Arc::clone(&internal),
        };
        let mut frontends = vec![frontend(FrontendAddress::LoadBalancer(address(&format!(
            "172.16.9.{index}"
        ))))];
        if is_maglev {
            frontends.push(frontend(FrontendAddress::ClusterIp(address(&format!(
                "10.96.9.{index}"
            )))));
        }
        let service = Service {
            algorithm: if is_maglev {
                Algorithm::Maglev
            } else {
                Algorithm::Random
            },
            frontends,
        };
        (Arc::from(format!("full-{index}")), Arc::new(service))
    };
    let services = [
        named(1, [2, 2, 2, 2, 2, 0], true),
        named(2, [1, 1, 0, 0, 0, 0], true),
        named(3, [1, 0, 0, 0, 0, 0], false),
        named(4, [0; 6], false),
    ];
    Wish {
        services: services.into_iter().collect(),
        ..Wish::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn maps_equal_the_wish_and_no_step_dangles(edits in edits(14)) {
        let mut world = World::new(AMPLE);
        for edit in &edits {
            world.edit(edit);
            world.apply();
            world.check();
            prop_assert!(world.machine.apply(&world.wish, world.now).is_empty());
        }
        world.check_end();
    }

    #[test]
    fn a_restart_changes_nothing(edits in edits(8)) {
        let mut world = World::new(AMPLE);
        for edit in &edits {
            world.edit(edit);
            world.apply();
        }
        // What only flows of a held list still need is not told from what nobody needs.
        world.wish.hold.clear();
        world.apply();
        world.restart();
        let ops = world.machine.apply(&world.wish, world.now);
        prop_assert!(ops.iter().all(|op| *op == lb::MapOp::RaiseEpoch), "{ops:#?}");
    }

    #[test]
    fn held_addresses_keep_what_they_have(before in edits(8), mask in any::<u8>(), after in edits(8)) {
        let mut world = World::new(AMPLE);
        for edit in &before {
            world.edit(edit);
            world.apply();
        }
        world.edit(&Edit::Hold(mask));
        for edit in after.iter().filter(|edit| matches!(edit, Edit::Service(..))) {
            let old = world.maps.resolved();
            world.edit(edit);
            world.apply();
            let expected = Expected::of(&world.wish, settings().hash_seed);
            let new = world.maps.resolved();
            for (key, row) in old {
                let address = address_of(&key);
                if world.wish.hold.contains(&address) && !expected.addresses.contains(&address) {
                    let found = new.get(&key).map(|row| &row.backends);
                    prop_assert_eq!(found, Some(&row.backends), "{:?}", key);
                }
            }
        }
        world.check_end();
    }

    #[test]
    fn full_tables_take_what_fits_and_lose_no_room(edits in edits(14)) {
        let mut world = World::new(TIGHT);
        for edit in &edits {
            world.edit(edit);
            world.settle();
            let expected = Expected::of(&world.wish, settings().hash_seed);
            prop_assert_eq!(world.strangers(&expected), []);
            let report = world.machine.report();
            if report.withheld.iter().all(|withheld| withheld.reason == lb::WithheldReason::FrontendTaken) {
                world.check();
            }
            for (key, row) in &expected.rows {
                let address = address_of(key);
                let is_named = expected.addresses.contains(&address) && row.flags & lb_abi::frontend_flags::WILDCARD == 0;
                if is_named && !world.maps.frontends.contains_key(key) {
                    prop_assert!(!report.withheld.is_empty());
                }
            }
        }
        world.wish = Wish::default();
        world.apply();
        world.wish = brimful();
        world.apply();
        prop_assert_eq!(world.machine.report().withheld, vec![]);
        world.check();
        world.check_end();
    }
}

#[test]
fn a_row_for_those_inside_that_is_given_up_at_once_is_never_written() {
    // The lesser name waits for room, and takes the second frontend over from the other in the plan that gives it to that.
    let first = Spec {
        is_maglev: false,
        frontends: vec![(0, 0, false, 1, true), (1, 0, true, 0, false)],
        lists: [[0, 0, 0, 0, 0, 1], [0, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0]],
    };
    let second = Spec {
        is_maglev: false,
        frontends: vec![(1, 0, true, 0, true)],
        lists: [[0; 6], [0, 0, 0, 0, 1, 0], [0; 6]],
    };
    let mut world = World::new(TIGHT);
    for (name, spec) in [first, second].into_iter().enumerate() {
        world.edit(&Edit::Service(name, Some(spec)));
        world.settle();
    }
}
