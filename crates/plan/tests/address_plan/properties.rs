//! What holds for every cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use plan::snapshot::{
    Ingress, IpFamily, IpFamilyPolicy, ServicePort, ServiceType, TrafficPolicy, TransportPort,
};
use plan::{NamespacedName, ServiceFacts};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::{Change, World, cidrs, from_to, name, with};

const SERVICES: [&str; 8] = ["a/0", "a/1", "a/2", "a/3", "b/0", "b/1", "b/2", "b/3"];
const POOLS: [&str; 4] = ["p0", "p1", "p2", "p3"];

/// One thing that happens to a cluster.
#[derive(Debug, Clone)]
enum Event {
    Pool(usize, usize, Option<u8>, Flags),
    PoolGone(usize),
    Service(usize, Wish),
    ServiceGone(usize),
    Deleting(usize),
    /// Its status is edited by hand.
    Shows(usize, Vec<usize>),
    Type(usize, bool),
    Settle,
}

#[derive(Debug, Clone, Copy)]
struct Flags {
    disabled: bool,
    reserve_ends: bool,
}

/// What a Service asks for.
#[derive(Debug, Clone)]
struct Wish {
    addresses: Vec<usize>,
    families: u8,
    key: Option<u8>,
    port: u16,
    tier: u8,
    local: bool,
    crosses: bool,
}

/// Specs of pools that overlap in every way.
fn spec(number: usize) -> Value {
    match number {
        0 => cidrs(&["10.0.0.0/30"]),
        1 => cidrs(&["10.0.0.4/30", "fd00::/126"]),
        2 => from_to("10.0.0.2", "10.0.0.5"),
        3 => cidrs(&["10.0.0.0/29"]),
        4 => cidrs(&["fd00::/125", "10.0.0.8/31"]),
        5 => {
            json!({"blocks": [{"start": "x"}, {"cidr": "10.0.0.8/30"}, {"start": "10.0.0.9", "stop": "fd00::1"}]})
        }
        6 => cidrs(&["10.0.0.0/31", "10.0.0.0/30"]),
        _ => cidrs(&["10.0.0.6/31", "10.0.0.0/31"]),
    }
}
const SPECS: usize = 8;

/// Addresses that Services ask for or show, some of no pool.
const ADDRESSES: [&str; 14] = [
    "10.0.0.0",
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.3",
    "10.0.0.4",
    "10.0.0.7",
    "10.0.0.9",
    "10.0.0.11",
    "fd00::",
    "fd00::1",
    "fd00::7",
    "192.0.2.1",
    "0.0.0.0",
    "foreign",
];

fn wish() -> impl Strategy<Value = Wish> {
    let addresses = prop_oneof![
        3 => Just(Vec::new()),
        1 => prop::collection::vec(0..ADDRESSES.len(), 1..3),
    ];
    let parts = (
        addresses,
        0..6_u8,
        prop::option::of(0..2_u8),
        0..3_u16,
        0..2_u8,
        prop::bool::weighted(0.2),
        prop::bool::ANY,
    );
    parts.prop_map(
        |(addresses, families, key, port, tier, local, crosses)| Wish {
            addresses,
            families,
            key,
            port,
            tier,
            local,
            crosses,
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let (service, pool) = (0..SERVICES.len(), 0..POOLS.len());
    let flags =
        (prop::bool::weighted(0.2), prop::bool::ANY).prop_map(|(disabled, reserve_ends)| Flags {
            disabled,
            reserve_ends,
        });
    let shows = prop::collection::vec(0..ADDRESSES.len(), 0..3);
    prop_oneof![
        4 => (pool.clone(), 0..SPECS, prop::option::weighted(0.4, 0..3_u8), flags)
            .prop_map(|(pool, spec, tier, flags)| Event::Pool(pool, spec, tier, flags)),
        1 => pool.prop_map(Event::PoolGone),
        8 => (service.clone(), wish()).prop_map(|(service, wish)| Event::Service(service, wish)),
        1 => service.clone().prop_map(Event::ServiceGone),
        1 => service.clone().prop_map(Event::Deleting),
        2 => (service.clone(), shows).prop_map(|(service, shows)| Event::Shows(service, shows)),
        1 => (service, prop::bool::ANY).prop_map(|(service, is)| Event::Type(service, is)),
        4 => Just(Event::Settle),
    ]
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec(event(), 0..50)
}

/// Selector 2 is one that the schema admits and that means nothing.
fn selector(tier: u8) -> Value {
    match tier {
        2 => json!({"matchExpressions": [{"key": "tier", "operator": "In"}]}),
        tier => json!({"matchLabels": {"tier": tier.to_string()}}),
    }
}

fn set(service: &mut ServiceFacts, wish: &Wish) {
    let asked: Vec<&str> = wish
        .addresses
        .iter()
        .map(|index| ADDRESSES[*index])
        .collect();
    service.annotations.clear();
    if !asked.is_empty() {
        service.ask(&asked.join(","));
    }
    if let Some(key) = wish.key {
        service.key(&key.to_string());
    }
    if wish.crosses {
        service.annotate("lbipam.cilium.io/sharing-cross-namespace", "*");
    }
    service.port(wish.port);
    service.label("tier", &wish.tier.to_string());
    service.ip_families = match wish.families {
        0 | 4 => Vec::new(),
        1 => vec![IpFamily::Ipv6],
        _ => vec![IpFamily::Ipv4],
    };
    service.ip_family_policy = if wish.families < 4 {
        IpFamilyPolicy::SingleStack
    } else {
        IpFamilyPolicy::RequireDualStack
    };
    service.external_traffic_policy = if wish.local {
        TrafficPolicy::Local
    } else {
        TrafficPolicy::Cluster
    };
}

fn happen(world: &mut World, event: &Event) {
    let exists = |world: &World, service: usize| {
        world
            .snapshot
            .services
            .contains_key(&name(SERVICES[service]))
    };
    match event {
        Event::Pool(pool, number, tier, flags) => {
            let allow = if flags.reserve_ends { "No" } else { "Yes" };
            let mut spec = with(spec(*number), "allowFirstLastIPs", json!(allow));
            spec = with(spec, "disabled", json!(flags.disabled));
            if let Some(tier) = tier {
                spec = with(spec, "serviceSelector", selector(*tier));
            }
            world.pool(POOLS[*pool], spec);
        }
        Event::PoolGone(pool) => drop(world.snapshot.pools.remove(POOLS[*pool])),
        Event::Service(service, wish) if exists(world, *service) => {
            world.change(SERVICES[*service], |service| set(service, wish));
        }
        Event::Service(service, wish) => {
            world.service(SERVICES[*service], |service| set(service, wish));
        }
        Event::ServiceGone(service) => {
            world.snapshot.services.remove(&name(SERVICES[*service]));
        }
        Event::Deleting(service) if exists(world, *service) => {
            world.change(SERVICES[*service], |service| {
                service.is_being_deleted = true;
            });
        }
        Event::Shows(service, shows) if exists(world, *service) => {
            let shown: Vec<&str> = shows.iter().map(|index| ADDRESSES[*index]).collect();
            world.change(SERVICES[*service], |service| {
                service.show(&shown);
            });
        }
        Event::Type(service, is) if exists(world, *service) => {
            world.change(SERVICES[*service], |service| {
                service.service_type = if *is {
                    ServiceType::LoadBalancer
                } else {
                    ServiceType::ClusterIp
                };
            });
        }
        Event::Deleting(_) | Event::Shows(..) | Event::Type(..) => {}
        Event::Settle => drop(world.settle()),
    }
}

fn world(events: &[Event]) -> World {
    let mut world = World::default();
    for event in events {
        happen(&mut world, event);
    }
    world
}

/// The rules of sharing once more, as plainly as can be.
fn may_share(a: (&NamespacedName, &ServiceFacts), b: (&NamespacedName, &ServiceFacts)) -> bool {
    let annotation = |facts: &ServiceFacts, name: &str| {
        facts
            .annotations
            .get(&format!("lbipam.cilium.io/{name}"))
            .cloned()
    };
    let (key_a, key_b) = (
        annotation(a.1, "sharing-key"),
        annotation(b.1, "sharing-key"),
    );
    let crosses = |facts| annotation(facts, "sharing-cross-namespace").is_some();
    let ports: BTreeSet<TransportPort> = a.1.ports.iter().map(ServicePort::transport).collect();
    key_a.is_some()
        && key_a == key_b
        && (a.0.namespace == b.0.namespace || crosses(a.1) && crosses(b.1))
        && b.1
            .ports
            .iter()
            .all(|port| !ports.contains(&port.transport()))
        && a.1.external_traffic_policy == b.1.external_traffic_policy
}

fn is_ours(world: &World, facts: &ServiceFacts) -> bool {
    facts.is_load_balancer() && !(facts.conditions.is_empty() && world.snapshot.pools.is_empty())
}

/// Pairs of our Services that show one address without being allowed to.
fn double(world: &World) -> Vec<(IpAddr, NamespacedName, NamespacedName)> {
    let mut by_address: BTreeMap<IpAddr, Vec<&NamespacedName>> = BTreeMap::new();
    for (address, name) in world.shown() {
        if is_ours(world, &world.snapshot.services[name]) {
            by_address.entry(address).or_default().push(name);
        }
    }
    let mut pairs = Vec::new();
    for (address, names) in by_address {
        for (index, a) in names.iter().enumerate() {
            for b in &names[index + 1..] {
                let facts = |name: &NamespacedName| world.snapshot.services[name].clone();
                if !may_share((a, &facts(a)), (b, &facts(b))) {
                    pairs.push((address, (*a).clone(), (*b).clone()));
                }
            }
        }
    }
    pairs
}

/// Whether a valid block of a pool has this address.
fn has(world: &World, pool: &str, address: IpAddr) -> bool {
    world.snapshot.pools[pool].spec.blocks.iter().any(|block| {
        let ends = match (&block.cidr, &block.start, &block.stop) {
            (Some(cidr), _, _) => {
                let net: ipnet::IpNet = cidr.parse().expect("a prefix");
                Some((net.network(), net.broadcast()))
            }
            (None, Some(start), Some(stop)) => Option::zip(start.parse().ok(), stop.parse().ok()),
            (None, _, _) => None,
        };
        ends.is_some_and(|(first, last)| {
            first.is_ipv4() == last.is_ipv4() && first <= address && address <= last
        })
    })
}

/// Whether a pool's selector is one of those that select this Service, or is invalid.
fn leaves(world: &World, pool: &str, service: &ServiceFacts) -> bool {
    match &world.snapshot.pools[pool].spec.service_selector {
        None => true,
        Some(selector) => selector
            .parse()
            .map_or(true, |selector| selector.matches(&service.labels)),
    }
}

proptest! {
    /// Applied op by op, a plan never lets two Services show an address that they may not share, unless they did before.
    #[test]
    fn no_address_has_two_owners_that_may_not_share_it_at_any_moment(events in events()) {
        let mut world = World::default();
        for event in &events {
            happen(&mut world, event);
            if !matches!(event, Event::Settle) {
                continue;
            }
            prop_assert_eq!(double(&world), []);
        }
        let mut before = double(&world);
        for _ in 0..4 {
            let plan = world.plan();
            let (services, pools) = (plan.services.clone(), plan.pools.clone());
            for op in services {
                world.apply_service(op);
                let now = double(&world);
                prop_assert!(now.iter().all(|pair| before.contains(pair)), "{:?} was {:?}", now, before);
                before = now;
            }
            let rest = plan::addresses::AddressPlan { pools, ..Default::default() };
            world.apply(rest);
        }
        prop_assert_eq!(before, []);
    }

    /// Whatever a Service of ours shows is of a pool there is, that selects it or cannot say.
    #[test]
    fn every_address_is_of_a_pool_that_selects_the_service(events in events()) {
        let mut world = world(&events);
        world.settle();
        for facts in world.snapshot.services.values() {
            if !facts.is_load_balancer() || facts.is_being_deleted || facts.conditions.is_empty() {
                continue;
            }
            for entry in &facts.ingress {
                let Ingress::Address(address) = entry else {
                    panic!("a foreign entry stays");
                };
                prop_assert!(!address.is_unspecified());
                let mut pools = world.snapshot.pools.keys();
                prop_assert!(pools.any(|pool| has(&world, pool, *address) && leaves(&world, pool, facts)));
            }
        }
    }

    /// Once applied, a plan leaves nothing to do; only an address that passes on takes more, because it must first leave.
    #[test]
    fn plans_come_to_rest(events in events()) {
        let mut world = world(&events);
        let plan = world.plan();
        let loses = plan.services.iter().any(|op| {
            let mut shown = world.snapshot.services[&op.name].shown_addresses();
            shown.any(|address| !op.ingress.contains(&address))
        });
        let rounds = world.settle();
        prop_assert!(rounds <= if loses { 3 } else { 1 }, "{} rounds after {:#?}", rounds, plan);
    }

    /// A plan knows only the objects: a restart changes nothing, and nothing depends on what happened before.
    #[test]
    fn a_restart_changes_nothing(events in events()) {
        let mut world = world(&events);
        prop_assert_eq!(world.clone().plan(), world.clone().plan());
        world.settle();
        let shown = |world: &World| -> Vec<(IpAddr, NamespacedName)> {
            world.shown().into_iter().map(|(address, name)| (address, name.clone())).collect()
        };
        let before = shown(&world);
        prop_assert_eq!(world.settle(), 0);
        // As far as it is ours, nothing moves even where all our conditions are lost.
        if !world.snapshot.pools.is_empty() {
            for facts in world.snapshot.services.values_mut() {
                std::sync::Arc::make_mut(facts).conditions.clear();
            }
            world.settle();
            prop_assert_eq!(shown(&world), before);
        }
    }

    /// [`World::plan`] compares: with what is remembered of clusters in any state, all or a part of it written or nothing.
    #[test]
    fn what_is_remembered_changes_no_plan(
        events in prop::collection::vec((event(), 0..4_usize), 0..50),
        settings in prop::collection::vec(prop::bool::weighted(0.95), 50),
    ) {
        let mut world = World::default();
        for ((event, written), ipv6) in events.iter().zip(settings) {
            world.settings.ipv6 = ipv6;
            happen(&mut world, event);
            let ops = world.plan().services;
            for op in ops.into_iter().take(*written) {
                world.apply_service(op);
            }
        }
    }

    /// What pools say adds up.
    #[test]
    fn counts_are_of_addresses(events in events()) {
        let mut world = world(&events);
        world.settle();
        let figures = world.plan().figures;
        for (pool, of_pool) in &figures.pools {
            let [total, available, used] = world.counts(pool);
            prop_assert_eq!(total, available + used);
            prop_assert_eq!((available, used), (of_pool.available, of_pool.used));
            let in_pool: BTreeSet<IpAddr> = world
                .shown()
                .into_iter()
                .filter(|(address, name)| {
                    has(&world, pool, *address) && is_served(&world.snapshot.services[*name])
                })
                .map(|(address, _)| address)
                .collect();
            let reserved = reserved(&world, pool);
            prop_assert_eq!(used, in_pool.union(&reserved).count() as u128, "{}", pool);
        }
        prop_assert_eq!(figures.pools.len(), world.snapshot.pools.len());
    }

    /// A Service says that it is satisfied when, and only when, it shows all it asks for.
    #[test]
    fn satisfied_is_who_shows_what_it_asks_for(events in events()) {
        let mut world = world(&events);
        world.settle();
        for (name, facts) in &world.snapshot.services {
            let Some(condition) = facts.conditions.first() else {
                prop_assert!(!facts.is_load_balancer() || facts.is_being_deleted || world.snapshot.pools.is_empty());
                continue;
            };
            if facts.is_being_deleted {
                continue;
            }
            let shown: BTreeSet<IpAddr> = facts.shown_addresses().collect();
            let asked = facts.annotations.get("lbipam.cilium.io/ips").cloned().unwrap_or_default();
            let asked: BTreeSet<IpAddr> = asked.split(',').filter_map(|text| text.parse().ok()).collect();
            let has_all = if asked.is_empty() {
                let has = |v4: bool| shown.iter().any(|address| address.is_ipv4() == v4);
                match (facts.ip_family_policy, facts.ip_families.first()) {
                    (IpFamilyPolicy::SingleStack, None | Some(IpFamily::Ipv4)) => has(true),
                    (IpFamilyPolicy::SingleStack, Some(IpFamily::Ipv6)) => has(false),
                    (IpFamilyPolicy::PreferDualStack | IpFamilyPolicy::RequireDualStack, _) => has(true) && has(false),
                }
            } else {
                asked == shown
            };
            prop_assert_eq!(condition.status == "True", has_all, "{}: {:?}", name, condition);
        }
    }
}

/// Whether we count a Service's addresses: those of one being deleted also where it was never ours.
fn is_served(facts: &ServiceFacts) -> bool {
    facts.is_load_balancer()
}

fn reserved(world: &World, pool: &str) -> BTreeSet<IpAddr> {
    let spec = &world.snapshot.pools[pool].spec;
    if spec.allow_first_last_ips != Some(api::load_balancer_ip_pool::AllowFirstLastIPs::No) {
        return BTreeSet::new();
    }
    let cidrs = spec.blocks.iter().filter_map(|block| block.cidr.as_deref());
    let nets = cidrs.map(|cidr| cidr.parse::<ipnet::IpNet>().expect("a prefix"));
    nets.filter(|net| net.max_prefix_len() - net.prefix_len() > 1)
        .flat_map(|net| [net.network(), net.broadcast()])
        .collect()
}
