//! Conditions in the words of the reference, written once.

use api::condition::Condition;
use plan::addresses::SERVICE_CONDITION;
use serde_json::json;

use crate::world::{Change, World, cidrs, foreign};

#[test]
fn a_healthy_pool_has_ciliums_four_conditions_in_its_order() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.settle();
    assert_eq!(
        world.writes.pools, 1,
        "counts and conflict come with one write"
    );
    let condition = |type_: &str, status: &str, reason: &str, message: &str| {
        json!({
            "lastTransitionTime": "1970-01-12T13:46:41Z", "message": message, "observedGeneration": 1,
            "reason": reason, "status": status, "type": format!("cilium.io/{type_}"),
        })
    };
    let expected = json!([
        condition("PoolConflict", "False", "resolved", ""),
        condition("IPsTotal", "Unknown", "noreason", "256"),
        condition("IPsAvailable", "Unknown", "noreason", "256"),
        condition("IPsUsed", "Unknown", "noreason", "0"),
    ]);
    assert_eq!(
        serde_json::to_value(world.pool_conditions("pool")).unwrap(),
        expected
    );
}

#[test]
fn a_served_service_has_ciliums_condition() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.service("web", |service| service.generation = 3);
    world.settle();
    assert_eq!(
        serde_json::to_value(&world.facts("web").conditions).unwrap(),
        json!([{
            "lastTransitionTime": "1970-01-12T13:46:41Z", "message": "", "observedGeneration": 3,
            "reason": "satisfied", "status": "True", "type": "cilium.io/IPAMRequestSatisfied",
        }])
    );
}

#[test]
fn a_generation_of_zero_which_the_api_server_leaves_out_is_no_reason_to_write() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.services(&["web"]);
    let plan = world.plan();
    assert_eq!(plan.services[0].conditions[0].observed_generation, None);
    world.apply(plan);
    assert_eq!(world.settle(), 0);
}

#[test]
fn the_transition_time_moves_with_the_status_only_and_the_generation_always() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/32"]));
    world.service("web", |service| service.generation = 1);
    world.settle();
    let time = |condition: &Condition| condition.last_transition_time.0;
    let satisfied = time(&world.facts("web").conditions[0]);
    let counted: Vec<_> = world.pool_conditions("pool").iter().map(time).collect();
    world.change("web", |service| service.generation = 2);
    world.edit_pool("pool", "blocks", json!([{"cidr": "10.0.0.0/31"}]));
    world.settle();
    let condition = &world.facts("web").conditions[0];
    assert_eq!(
        (time(condition), condition.observed_generation),
        (satisfied, Some(2))
    );
    let conditions = world.pool_conditions("pool");
    assert_eq!(conditions.iter().map(time).collect::<Vec<_>>(), counted);
    assert!(
        conditions
            .iter()
            .all(|condition| condition.observed_generation == Some(2))
    );
    assert_eq!(world.counts("pool"), [2, 1, 1]);
    world.change("web", |service| {
        service.ask("10.9.9.9");
    });
    world.settle();
    assert_eq!(
        time(&world.facts("web").conditions[0]),
        world.now() - jiff::SignedDuration::from_secs(1)
    );
}

#[test]
fn other_peoples_conditions_stay_in_their_order() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    world.service("web", |service| {
        service.conditions = vec![foreign("z.example/Last"), foreign("a.example/First")];
    });
    world.change_pool("pool", |pool| {
        let conditions = vec![foreign("z.example/Last"), foreign("a.example/First")];
        pool.status.get_or_insert_default().conditions = conditions;
    });
    world.settle();
    let types = |conditions: &[Condition]| -> Vec<String> {
        conditions
            .iter()
            .map(|condition| condition.type_.clone())
            .collect()
    };
    assert_eq!(
        types(&world.facts("web").conditions),
        ["z.example/Last", "a.example/First", SERVICE_CONDITION]
    );
    assert_eq!(
        types(world.pool_conditions("pool")),
        [
            "z.example/Last",
            "a.example/First",
            "cilium.io/PoolConflict",
            "cilium.io/IPsTotal",
            "cilium.io/IPsAvailable",
            "cilium.io/IPsUsed",
        ]
    );
    // What others say, and where they put ours, is their business.
    world.change("web", |service| {
        service.conditions.reverse();
        service.conditions[1].message = "still".to_owned();
    });
    world.change_pool("pool", |pool| {
        pool.status.as_mut().expect("a status").conditions.reverse();
    });
    assert_eq!(world.settle(), 0);
}

#[test]
fn a_rejection_comes_last_and_goes_when_it_is_repaired() {
    let mut world = World::with_pool(json!({"blocks": [{"cidr": "x"}, {"cidr": "10.0.0.0/24"}]}));
    world.settle();
    assert_eq!(
        world.pool_said("pool")[4],
        "tombolo.io/Rejected True InvalidCIDR: spec.blocks[0]: cidr \"x\" is not a prefix"
    );
    world.pool("pool", cidrs(&["10.0.0.0/24"]));
    world.settle();
    assert_eq!(world.pool_said("pool").len(), 4);
}

#[test]
fn one_event_writes_each_object_at_most_once() {
    let mut world = World::with_pool(cidrs(&["10.0.0.0/24"]));
    let names: Vec<String> = (0..50).map(|number| format!("s{number}")).collect();
    for name in &names {
        world.service(name, |_| {});
    }
    assert_eq!(world.settle(), 1);
    assert_eq!((world.writes.services, world.writes.pools), (50, 1));
    assert_eq!(world.counts("pool"), [256, 206, 50]);
}
