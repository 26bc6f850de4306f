//! What holds for every cluster.

use std::collections::BTreeSet;

use plan::cluster::{NodeConfigOp, RouterIds};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::World;

const NODES: [&str; 5] = ["n0", "n1", "n2", "n3", "n4"];
const CONFIGS: [&str; 3] = ["a", "b", "c"];

/// One thing that happens to a cluster.
#[derive(Debug, Clone)]
enum Event {
    Label(usize, u8),
    NodeGone(usize),
    Configure(usize, Option<u8>, u8),
    ConfigGone(usize),
    Override(usize, u8, i32),
    OverrideGone(usize),
    HandMade(usize),
    NodeConfigGone(usize),
    Pool(u8),
    Settle,
}

fn event() -> impl Strategy<Value = Event> {
    let (node, config) = (0..NODES.len(), 0..CONFIGS.len());
    prop_oneof![
        3 => (node.clone(), 0..3_u8).prop_map(|(node, label)| Event::Label(node, label)),
        1 => node.clone().prop_map(Event::NodeGone),
        3 => (config.clone(), prop::option::of(0..4_u8), 1..3_u8).prop_map(|(c, s, i)| Event::Configure(c, s, i)),
        1 => config.prop_map(Event::ConfigGone),
        2 => (node.clone(), 0..6_u8, -1..3_i32).prop_map(|(node, id, port)| Event::Override(node, id, port)),
        1 => node.clone().prop_map(Event::OverrideGone),
        1 => node.clone().prop_map(Event::HandMade),
        1 => node.prop_map(Event::NodeConfigGone),
        1 => (0..4_u8).prop_map(Event::Pool),
        2 => Just(Event::Settle),
    ]
}

/// Selector 3 is one that the schema admits and that means nothing.
fn selector(number: u8) -> Value {
    match number {
        3 => json!({"matchExpressions": [{"key": "rack", "operator": "In"}]}),
        rack => {
            json!({"matchExpressions": [{"key": "rack", "operator": "NotIn", "values": [rack.to_string()]}]})
        }
    }
}

fn instances(count: u8) -> Value {
    (0..count)
        .map(|number| json!({"name": format!("i{number}"), "localASN": 65000}))
        .collect()
}

fn happen(world: &mut World, event: &Event) {
    match *event {
        Event::Label(node, label) => world.node(NODES[node], &[("rack", &label.to_string())]),
        Event::NodeGone(node) => drop(world.snapshot.nodes.remove(NODES[node])),
        Event::Configure(config, number, count) => {
            world.cluster_config(CONFIGS[config], number.map(selector), instances(count));
        }
        Event::ConfigGone(config) => drop(world.snapshot.cluster_configs.remove(CONFIGS[config])),
        Event::Override(node, id, port) => {
            let router_id = format!("10.0.0.{id}");
            world.override_(
                NODES[node],
                json!([{"name": "i0", "routerID": router_id, "localPort": port}]),
            );
        }
        Event::OverrideGone(node) => drop(world.snapshot.overrides.remove(NODES[node])),
        Event::HandMade(node) => {
            if !world.snapshot.node_configs.contains_key(NODES[node]) {
                world.hand_made(
                    NODES[node],
                    json!([{"name": "mine", "routerID": "10.0.0.1"}]),
                );
            }
        }
        Event::NodeConfigGone(node) => drop(world.snapshot.node_configs.remove(NODES[node])),
        Event::Pool(0) => world.settings.router_ids = RouterIds::OfNode,
        Event::Pool(size) => {
            let pool = format!("10.0.0.0/{}", 32 - size).parse().expect("a CIDR");
            world.settings.router_ids = RouterIds::Pool(pool);
        }
        Event::Settle => drop(world.settle()),
    }
}

fn has_pool(world: &World) -> bool {
    world.settings.router_ids != RouterIds::OfNode
}

fn world(events: &[Event]) -> World {
    let mut world = World::with_nodes(&[]);
    for event in events {
        happen(&mut world, event);
    }
    world
}

proptest! {
    /// Once applied, a plan leaves nothing to do; only a node that changes its owner takes a second one, because the
    /// old NodeConfig must be gone before the new one comes.
    #[test]
    fn a_plan_once_applied_is_empty(events in prop::collection::vec(event(), 0..40)) {
        let mut world = world(&events);
        let first = world.plan();
        let hands_over = first.node_configs.iter().any(|op| {
            matches!(op, NodeConfigOp::Delete { .. } | NodeConfigOp::Collect { .. })
        });
        let rounds = world.settle();
        prop_assert!(rounds <= if hands_over { 2 } else { 1 }, "{rounds} rounds after {first:#?}");
    }

    /// No object is written twice by one plan, and no node has two owners.
    #[test]
    fn a_plan_writes_each_object_once_and_gives_each_node_one_owner(events in prop::collection::vec(event(), 0..40)) {
        let mut world = world(&events);
        let plan = world.plan();
        let names: BTreeSet<_> = plan.node_configs.iter().map(NodeConfigOp::name).collect();
        prop_assert_eq!(names.len(), plan.node_configs.len());
        let conditions: BTreeSet<_> = plan.conditions.iter().map(|op| (op.kind, &op.name)).collect();
        prop_assert_eq!(conditions.len(), plan.conditions.len());
        world.settle();
        for config in world.snapshot.node_configs.values() {
            prop_assert!(config.metadata.owner_references.iter().flatten().count() <= 1);
        }
    }

    /// Equal clusters give equal plans.
    #[test]
    fn a_plan_is_a_function_of_what_it_is_given(events in prop::collection::vec(event(), 0..40)) {
        let world = world(&events);
        prop_assert_eq!(world.clone().plan(), world.clone().plan());
    }

    /// With a pool, no router ID is given twice, 0.0.0.0 never, and an owner is never taken its node away.
    #[test]
    fn router_ids_of_a_pool_are_unique(events in prop::collection::vec(event(), 0..40)) {
        let mut world = world(&events);
        world.settings.router_ids = RouterIds::Pool("10.0.0.0/29".parse().unwrap());
        world.settle();
        let mut seen = BTreeSet::new();
        let owned = world.snapshot.node_configs.values().filter(|config| plan::cluster::is_owned(&config.metadata));
        for instance in owned.flat_map(|config| &config.spec.bgp_instances) {
            if let Some(router_id) = &instance.router_id {
                prop_assert_ne!(router_id.as_str(), "0.0.0.0");
                prop_assert!(seen.insert(router_id.clone()), "{} twice", router_id);
            }
        }
    }

    /// A bad object costs itself: beside it, everything else is as without it. (Router IDs of a pool are shared, so
    /// there each object counts.)
    #[test]
    fn one_bad_object_never_changes_what_others_get(
        events in prop::collection::vec(event(), 0..30),
        node in 0..NODES.len(),
    ) {
        let mut without = world(&events);
        if has_pool(&without) {
            without.settings.router_ids = RouterIds::OfNode;
        }
        let mut with = without.clone();
        with.cluster_config("bad", Some(selector(3)), instances(1));
        with.override_(NODES[node], json!([{"name": "i0", "routerID": "0.0.0.0", "localPort": 70000}]));
        without.snapshot.overrides.remove(NODES[node]);
        without.settle();
        with.settle();
        let specs = |world: &World| -> Vec<_> {
            world.snapshot.node_configs.iter().map(|(name, config)| (name.clone(), config.spec.clone())).collect()
        };
        prop_assert_eq!(specs(&with), specs(&without));
        for name in CONFIGS {
            if with.snapshot.cluster_configs.contains_key(name) {
                prop_assert_eq!(&with.said(name)[..3], &without.said(name)[..3]);
            }
        }
    }
}
