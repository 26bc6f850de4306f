//! Pools and Services in memory: short builders, and an API server's part of applying a plan.

use std::net::IpAddr;
use std::sync::Arc;

use api::CiliumLoadBalancerIPPool;
use api::condition::Condition;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use plan::addresses::{
    AddressPlan, Memory, PoolOp, SERVICE_CONDITION, ServiceOp, Settings, plan, replan,
};
use plan::snapshot::{Ingress, ServicePort, ServiceType};
use plan::{NamespacedName, ServiceFacts, Snapshot};
use serde_json::{Value, json};

/// A cluster, and a clock that moves a second with each plan.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) snapshot: Snapshot,
    pub(crate) settings: Settings,
    /// Writes so far.
    pub(crate) writes: Writes,
    memory: Memory,
    seconds: i64,
    versions: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Writes {
    pub(crate) services: usize,
    pub(crate) pools: usize,
}

impl Default for World {
    /// Both families; Services without a class and those of BGP.
    fn default() -> Self {
        Self {
            snapshot: Snapshot::default(),
            settings: Settings {
                ipv4: true,
                ipv6: true,
                classless: true,
                classes: ["io.cilium/bgp-control-plane".to_owned()].into(),
            },
            writes: Writes::default(),
            memory: Memory::default(),
            seconds: 0,
            versions: 0,
        }
    }
}

/// Spec of a pool with these CIDRs.
pub(crate) fn cidrs(cidrs: &[&str]) -> Value {
    let blocks: Vec<Value> = cidrs.iter().map(|cidr| json!({"cidr": cidr})).collect();
    json!({"blocks": blocks})
}

/// Spec of a pool from one address to another.
pub(crate) fn from_to(start: &str, stop: &str) -> Value {
    json!({"blocks": [{"start": start, "stop": stop}]})
}

/// A spec with a member more, or another.
pub(crate) fn with(mut spec: Value, member: &str, value: Value) -> Value {
    spec[member] = value;
    spec
}

/// A Service's name; without a namespace it is in `default`.
pub(crate) fn name(text: &str) -> NamespacedName {
    let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
    NamespacedName {
        namespace: namespace.into(),
        name: name.into(),
    }
}

/// A condition that somebody else wrote.
pub(crate) fn foreign(type_: &str) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: "True".to_owned(),
        reason: "Fine".to_owned(),
        message: String::new(),
        observed_generation: None,
        last_transition_time: Time("2020-01-01T00:00:00Z".parse().expect("a time")),
    }
}

/// Changes of a Service, to hand to [`World::service`] and [`World::change`].
pub(crate) trait Change {
    fn ask(&mut self, addresses: &str) -> &mut Self;
    fn key(&mut self, key: &str) -> &mut Self;
    fn annotate(&mut self, key: &str, value: &str) -> &mut Self;
    fn label(&mut self, key: &str, value: &str) -> &mut Self;
    fn port(&mut self, port: u16) -> &mut Self;
    fn show(&mut self, addresses: &[&str]) -> &mut Self;
}

impl Change for ServiceFacts {
    fn ask(&mut self, addresses: &str) -> &mut Self {
        self.annotate("lbipam.cilium.io/ips", addresses)
    }

    fn key(&mut self, key: &str) -> &mut Self {
        self.annotate("lbipam.cilium.io/sharing-key", key)
    }

    fn annotate(&mut self, key: &str, value: &str) -> &mut Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    fn label(&mut self, key: &str, value: &str) -> &mut Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    fn port(&mut self, port: u16) -> &mut Self {
        self.ports = vec![ServicePort {
            port,
            ..ServicePort::default()
        }];
        self
    }

    fn show(&mut self, addresses: &[&str]) -> &mut Self {
        let entries = addresses.iter().map(|text| match text.parse() {
            Ok(address) => Ingress::Address(address),
            Err(_) => Ingress::Foreign,
        });
        self.ingress = entries.collect();
        self
    }
}

impl World {
    /// With one pool, `pool`.
    pub(crate) fn with_pool(spec: Value) -> Self {
        let mut world = Self::default();
        world.pool("pool", spec);
        world
    }

    /// Creates a pool, or edits its spec.
    pub(crate) fn pool(&mut self, name: &str, spec: Value) {
        let before = self.snapshot.pools.get(name).cloned();
        self.versions += 1;
        let mut metadata = before
            .as_ref()
            .map_or_else(|| self.metadata(name), |before| before.metadata.clone());
        metadata.generation = metadata.generation.map(|generation| generation + 1);
        metadata.resource_version = Some(self.versions.to_string());
        let pool = CiliumLoadBalancerIPPool {
            metadata,
            spec: serde_json::from_value(spec).expect("a spec of the right form"),
            status: before.and_then(|before| before.status.clone()),
        };
        self.snapshot.pools.insert(name.to_owned(), Arc::new(pool));
    }

    /// Changes the spec of a pool.
    pub(crate) fn edit_pool(&mut self, name: &str, member: &str, value: Value) {
        let spec = serde_json::to_value(&self.snapshot.pools[name].spec).expect("JSON");
        self.pool(name, with(spec, member, value));
    }

    pub(crate) fn change_pool(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut CiliumLoadBalancerIPPool),
    ) {
        let pool = self
            .snapshot
            .pools
            .get_mut(name)
            .expect("a pool of this name");
        change(Arc::make_mut(pool));
    }

    pub(crate) fn remove_pool(&mut self, name: &str) {
        self.snapshot
            .pools
            .remove(name)
            .expect("a pool of this name");
    }

    /// Each new object is a second younger than the one before.
    fn metadata(&self, name: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            uid: Some(format!("uid-{name}-{}", self.versions)),
            creation_timestamp: Some(Time(self.created())),
            generation: Some(0),
            ..ObjectMeta::default()
        }
    }

    fn created(&self) -> Timestamp {
        Timestamp::from_second(1_000 + i64::try_from(self.versions).expect("small"))
            .expect("in range")
    }

    /// Creates a Service of type LoadBalancer.
    pub(crate) fn service(&mut self, text: &str, change: impl FnOnce(&mut ServiceFacts)) {
        self.versions += 1;
        let mut facts = ServiceFacts {
            uid: format!("uid-{text}-{}", self.versions),
            resource_version: self.versions.to_string(),
            created: Some(self.created()),
            service_type: ServiceType::LoadBalancer,
            selector: [("app".to_owned(), "web".to_owned())].into(),
            ..ServiceFacts::default()
        };
        change(&mut facts);
        let before = self.snapshot.services.insert(name(text), Arc::new(facts));
        assert_eq!(before, None, "created over another");
    }

    /// Creates Services that ask for nothing in particular.
    pub(crate) fn services(&mut self, names: &[&str]) {
        for name in names {
            self.service(name, |_| {});
        }
    }

    pub(crate) fn change(&mut self, text: &str, change: impl FnOnce(&mut ServiceFacts)) {
        self.versions += 1;
        let facts = self.snapshot.services.get_mut(&name(text));
        let facts = Arc::make_mut(facts.expect("a Service of this name"));
        facts.resource_version = self.versions.to_string();
        change(facts);
    }

    pub(crate) fn remove(&mut self, text: &str) {
        self.snapshot
            .services
            .remove(&name(text))
            .expect("a Service of this name");
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_second(1_000_000 + self.seconds).expect("in range")
    }

    /// The plan, which is the same with and without what the last one remembers.
    pub(crate) fn plan(&mut self) -> AddressPlan {
        self.seconds += 1;
        let now = self.now();
        let again = replan(&self.snapshot, &self.settings, now, &mut self.memory);
        assert_eq!(again, plan(&self.snapshot, &self.settings, now));
        again
    }

    /// Plans and applies until nothing is left to write, and says how many plans wrote something.
    pub(crate) fn settle(&mut self) -> usize {
        for round in 0..10 {
            let plan = self.plan();
            if plan.services.is_empty() && plan.pools.is_empty() {
                return round;
            }
            self.apply(plan);
        }
        panic!("does not settle: {:#?}", self.plan());
    }

    pub(crate) fn apply(&mut self, plan: AddressPlan) {
        for op in plan.services {
            self.apply_service(op);
        }
        for op in plan.pools {
            self.apply_pool(op);
        }
    }

    pub(crate) fn apply_service(&mut self, op: ServiceOp) {
        self.writes.services += 1;
        self.versions += 1;
        let facts = self.snapshot.services.get_mut(&op.name);
        let facts = Arc::make_mut(facts.expect("a Service of this name"));
        assert_eq!(facts.resource_version, op.resource_version);
        facts.resource_version = self.versions.to_string();
        let ingress: Vec<Ingress> = op.ingress.into_iter().map(Ingress::Address).collect();
        let conditions = stored(op.conditions);
        assert!(
            facts.ingress != ingress || facts.conditions != conditions,
            "{} is written for nothing",
            op.name
        );
        facts.ingress = ingress;
        facts.conditions = conditions;
    }

    fn apply_pool(&mut self, op: PoolOp) {
        self.writes.pools += 1;
        self.versions += 1;
        let version = Some(self.versions.to_string());
        self.change_pool(&op.name, |pool| {
            assert_eq!(pool.metadata.resource_version, op.resource_version);
            pool.metadata.resource_version = version;
            let conditions = &mut pool.status.get_or_insert_default().conditions;
            let new = stored(op.conditions);
            assert_ne!(*conditions, new, "{} is written for nothing", op.name);
            *conditions = new;
        });
    }

    pub(crate) fn facts(&self, text: &str) -> &ServiceFacts {
        &self.snapshot.services[&name(text)]
    }

    /// What a Service shows.
    pub(crate) fn ingress(&self, text: &str) -> Vec<String> {
        let entries = self.facts(text).ingress.iter();
        entries
            .map(|entry| match entry {
                Ingress::Address(address) => address.to_string(),
                Ingress::Proxied(address) => format!("{address} (proxied)"),
                Ingress::Foreign => "foreign".to_owned(),
            })
            .collect()
    }

    /// Our condition of a Service, `Status reason: message`, or nothing.
    pub(crate) fn said(&self, text: &str) -> String {
        let mut conditions = self.facts(text).conditions.iter();
        let ours = conditions.find(|condition| condition.type_ == SERVICE_CONDITION);
        ours.map(said).unwrap_or_default()
    }

    pub(crate) fn pool_conditions(&self, name: &str) -> &[Condition] {
        let status = self.snapshot.pools[name].status.as_ref();
        status.map_or(&[], |status| &status.conditions)
    }

    /// The conditions of a pool, `Type Status reason: message`, without the prefix of Cilium's types.
    pub(crate) fn pool_said(&self, name: &str) -> Vec<String> {
        let conditions = self.pool_conditions(name).iter();
        conditions
            .map(|condition| {
                let type_ = &condition.type_;
                let type_ = type_.strip_prefix("cilium.io/").unwrap_or(type_);
                format!("{type_} {}", said(condition))
            })
            .collect()
    }

    /// Total, available and used addresses of a pool, as its conditions say.
    pub(crate) fn counts(&self, name: &str) -> [u128; 3] {
        [
            "cilium.io/IPsTotal",
            "cilium.io/IPsAvailable",
            "cilium.io/IPsUsed",
        ]
        .map(|type_| {
            let mut conditions = self.pool_conditions(name).iter();
            let condition = conditions.find(|condition| condition.type_ == type_);
            let message = &condition.expect("a condition of this type").message;
            message.parse().expect("a number")
        })
    }

    /// The message of a pool's conflict, if there is one.
    pub(crate) fn conflict(&self, name: &str) -> Option<String> {
        let mut conditions = self.pool_conditions(name).iter();
        let conflict = conditions.find(|condition| condition.type_ == "cilium.io/PoolConflict");
        let conflict = conflict.expect("a condition of this type");
        (conflict.status == "True").then(|| conflict.message.clone())
    }

    /// Reason and message of condition `tombolo.io/Rejected`.
    pub(crate) fn rejected(&self, name: &str) -> Option<(String, String)> {
        let mut conditions = self.pool_conditions(name).iter();
        let rejected =
            conditions.find(|condition| condition.type_ == plan::addresses::rejected::CONDITION)?;
        Some((rejected.reason.clone(), rejected.message.clone()))
    }

    /// Addresses with the Services that show them.
    pub(crate) fn shown(&self) -> Vec<(IpAddr, &NamespacedName)> {
        let mut shown: Vec<_> = self
            .snapshot
            .services
            .iter()
            .flat_map(|(name, facts)| facts.shown_addresses().map(move |address| (address, name)))
            .collect();
        shown.sort();
        shown.dedup();
        shown
    }
}

/// As the API server gives conditions back: it leaves out a generation of 0, which most clusters give Services.
fn stored(mut conditions: Vec<Condition>) -> Vec<Condition> {
    for condition in &mut conditions {
        condition.observed_generation = condition.observed_generation.filter(|of| *of != 0);
    }
    conditions
}

fn said(condition: &Condition) -> String {
    let Condition {
        status,
        reason,
        message,
        ..
    } = condition;
    format!("{status} {reason}: {message}")
}
