use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::addresses::replan;
use crate::snapshot::{Ingress, ServiceType};

fn settings() -> Settings {
    Settings {
        ipv4: true,
        ipv6: false,
        classless: true,
        classes: [].into(),
    }
}

fn name(name: &str) -> NamespacedName {
    NamespacedName {
        namespace: "default".into(),
        name: name.into(),
    }
}

fn service(snapshot: &mut Snapshot, of: &str, change: impl FnOnce(&mut ServiceFacts)) {
    let service = snapshot.services.entry(name(of)).or_default();
    change(Arc::make_mut(service));
}

fn asks(facts: &mut ServiceFacts, annotation: &str, value: &str) {
    let annotation = format!("lbipam.cilium.io/{annotation}");
    facts.annotations.insert(annotation, value.to_owned());
}

/// `a`, `b` and `c` have an address each; `d` asks for one that `a` has, `e` shares, `f` is no LoadBalancer.
fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot::default();
    let spec = serde_json::from_value(json!({"blocks": [{"cidr": "10.0.0.0/24"}]}));
    let pool = CiliumLoadBalancerIPPool::new("pool", spec.expect("a spec"));
    snapshot.pools.insert("pool".to_owned(), pool.into());
    for of in ["a", "b", "c", "d", "e"] {
        service(&mut snapshot, of, |facts| {
            facts.service_type = ServiceType::LoadBalancer;
        });
    }
    service(&mut snapshot, "d", |facts| asks(facts, "ips", "10.0.0.0"));
    service(&mut snapshot, "e", |facts| asks(facts, "sharing-key", "k"));
    service(&mut snapshot, "f", |_| {});
    snapshot
}

/// Plans and writes until nothing is left to write.
fn settle(snapshot: &mut Snapshot, memory: &mut Memory) {
    loop {
        let plan = replan(snapshot, &settings(), Timestamp::UNIX_EPOCH, memory);
        if plan.services.is_empty() {
            break;
        }
        for op in plan.services {
            service(snapshot, &op.name.name, |facts| {
                facts.ingress = op.ingress.into_iter().map(Ingress::Address).collect();
                facts.conditions = op.conditions;
            });
        }
    }
}

/// What happens, and who is looked at then.
type Row = (&'static str, fn(&mut Snapshot), &'static [&'static str]);

#[test]
fn only_what_a_change_touches_is_looked_at_again() {
    let mut settled = snapshot();
    let mut memory = Memory::default();
    settle(&mut settled, &mut memory);
    let rows: [Row; 8] = [
        ("nothing", |_| {}, &["d", "e"]),
        (
            "a Service",
            |all| service(all, "b", |facts| facts.generation = 2),
            &["b", "d", "e"],
        ),
        ("a new one", |all| service(all, "g", |_| {}), &["d", "e"]),
        (
            "a new one of ours",
            |all| {
                service(all, "g", |facts| {
                    facts.service_type = ServiceType::LoadBalancer;
                });
            },
            &["d", "e", "g"],
        ),
        (
            "one that is gone",
            |all| drop(all.services.remove(&name("b"))),
            &["d", "e"],
        ),
        (
            "an address that another has",
            |all| {
                let address = Ingress::Address([10, 0, 0, 2].into());
                service(all, "d", |facts| facts.ingress = vec![address]);
            },
            &["c", "d", "e"],
        ),
        (
            "what the pool says",
            |all| {
                let pool = all.pools.get_mut("pool").expect("a pool");
                let metadata = &mut Arc::make_mut(pool).metadata;
                metadata.resource_version = Some("2".to_owned());
            },
            &["d", "e"],
        ),
        (
            "the pool",
            |all| {
                let pool = all.pools.get_mut("pool").expect("a pool");
                Arc::make_mut(pool).spec.disabled = true;
            },
            &["a", "b", "c", "d", "e"],
        ),
    ];
    for (change, happen, expected) in rows {
        let (mut snapshot, mut memory) = (settled.clone(), memory.clone());
        happen(&mut snapshot);
        let (_, awake) = memory.open(&snapshot, &settings());
        let awake: Vec<&str> = awake.iter().map(|service| &*service.name.name).collect();
        assert_eq!(awake, expected, "{change}");
    }
}
