//! Announced only when programmed, withdrawn before unprogrammed.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;
use plan::NodeFacts;
use plan::node::observed::DatapathState;
use plan::node::{
    Announced, DatapathPlan, Memory, NodePlan, ObservedDatapath, Programmed, replan, status,
};
use plan::snapshot::TrafficPolicy;
use plan::withheld::{Reason, Subject, Table, Withheld};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Scene, ip, named, web};
use crate::world::{NODE, World};

fn of(addresses: &[&str]) -> Value {
    json!({"advertisementType": "Service", "service": {"addresses": addresses}, "selector": {}})
}

/// The Service's addresses are announced beside the node's pods.
fn scene(addresses: &[&str]) -> Scene {
    let mut scene = Scene::new();
    scene
        .world
        .advertisement("services", json!([of(addresses)]));
    scene
}

fn saw(state: DatapathState, programmed: &[&str]) -> Option<ObservedDatapath> {
    Some(ObservedDatapath {
        state,
        programmed: Arc::new(programmed.iter().map(|text| ip(text)).collect()),
        withheld: Vec::new(),
    })
}

fn plan(scene: &mut Scene) -> NodePlan {
    scene.plan();
    scene.world.plan()
}

fn originate(plan: &NodePlan) -> Vec<String> {
    let instances = plan.instances.values();
    instances
        .flat_map(|instance| instance.originate.iter().map(ToString::to_string))
        .collect()
}

fn unavailable() -> DatapathState {
    DatapathState::Unavailable("CAP_BPF is missing".into())
}

const PODS: &str = "172.20.0.0/24";
const VIP: &str = "172.16.1.7/32";

#[test]
fn an_address_is_announced_when_the_load_balancer_says_it_serves_it_and_else_waits_with_a_reason() {
    use DatapathState::{Ready, Starting};
    let reason = |state| match state {
        DatapathState::Unavailable(why) => Reason::DatapathUnavailable(why),
        Starting | Ready => unreachable!("no reason"),
    };
    let rows = [
        ("no load balancer", None, true, None),
        (
            "it starts",
            saw(Starting, &[]),
            false,
            Some(Reason::DatapathStarting),
        ),
        (
            "it starts and has what a predecessor left",
            saw(Starting, &["172.16.1.7"]),
            false,
            Some(Reason::DatapathStarting),
        ),
        (
            "it is not there yet",
            saw(Ready, &["10.96.0.7"]),
            false,
            Some(Reason::NotProgrammed),
        ),
        ("it is there", saw(Ready, &["172.16.1.7"]), true, None),
        (
            "it cannot run",
            saw(unavailable(), &[]),
            false,
            Some(reason(unavailable())),
        ),
    ];
    for (what, datapath, is_announced, reason) in rows {
        let mut scene = scene(&["LoadBalancerIP"]);
        scene.world.observed.datapath = datapath;
        let plan = plan(&mut scene);
        let expected: &[&str] = if is_announced { &[VIP, PODS] } else { &[PODS] };
        assert_eq!(originate(&plan), expected, "{what}");
        let reasons: Vec<_> = plan.withheld.into_iter().map(|it| it.reason).collect();
        assert_eq!(reasons, reason.into_iter().collect::<Vec<_>>(), "{what}");
    }
}

#[test]
fn a_service_that_is_not_this_node_s_is_neither_announced_nor_missed() {
    type Change = fn(&mut Scene);
    let rows: [(&str, Change); 3] = [
        ("another node", |s| s.annotate("node", "edge")),
        ("another proxy", |s| {
            s.label("service.kubernetes.io/service-proxy-name", "other");
        }),
        ("another type", |s| s.annotate("type", "ClusterIP")),
    ];
    // Nor does it matter here whether it restricts its clients.
    for ((what, change), has_source_ranges) in
        rows.iter().flat_map(|row| [(row, false), (row, true)])
    {
        let mut scene = scene(&["LoadBalancerIP"]);
        // What was programmed for a former plan does not count.
        scene.world.observed.datapath = saw(DatapathState::Ready, &["172.16.1.7"]);
        scene.service.has_source_ranges = has_source_ranges;
        change(&mut scene);
        let plan = plan(&mut scene);
        assert_eq!(originate(&plan), [PODS], "{what}");
        assert_eq!(plan.withheld, [], "{what}");
    }
}

#[test]
fn a_service_that_restricts_its_clients_is_not_announced_and_says_why() {
    let mut scene = scene(&["LoadBalancerIP", "ExternalIP"]);
    scene.service.has_source_ranges = true;
    scene.world.observed.datapath = saw(DatapathState::Ready, &["192.0.2.7"]);
    let plan = plan(&mut scene);
    assert_eq!(originate(&plan), [PODS, "192.0.2.7/32"]);
    let expected = Withheld {
        subject: Subject::Address,
        count: 1,
        examples: vec!["172.16.1.7 of default/web".to_owned()],
        reason: Reason::SourceRanges,
    };
    assert_eq!(plan.withheld, [expected]);
}

#[test]
fn an_aggregate_needs_one_address_that_is_served() {
    let mut scene = scene(&["LoadBalancerIP"]);
    let mut entry = of(&["LoadBalancerIP"]);
    entry["service"]["aggregationLengthIPv4"] = json!(24);
    scene.world.advertisement("services", json!([entry]));
    scene.world.observed.datapath = saw(DatapathState::Ready, &[]);
    assert_eq!(originate(&plan(&mut scene)), [PODS]);
    scene.world.observed.datapath = saw(DatapathState::Ready, &["172.16.1.7"]);
    assert_eq!(originate(&plan(&mut scene)), ["172.16.1.0/24", PODS]);
}

#[test]
fn what_waits_is_told_in_the_status() {
    let mut scene = scene(&["LoadBalancerIP"]);
    let full = Withheld {
        subject: Subject::Service,
        count: 2,
        examples: vec!["a/b".to_owned()],
        reason: Reason::TableFull(Table::Backends),
    };
    scene.world.observed.datapath = saw(unavailable(), &[]);
    if let Some(datapath) = &mut scene.world.observed.datapath {
        datapath.withheld.push(full);
    }
    let plan = plan(&mut scene);
    let now = Timestamp::UNIX_EPOCH;
    let status = status::status(&plan, &scene.world.observed, &[], now);
    assert_eq!(
        status.conditions[0].message,
        "1 address of a Service is not announced (172.16.1.7 of default/web): the load balancer does not run: CAP_BPF is \
         missing\n2 Services are not wholly balanced (a/b, ...): the table of backends is full"
    );
}

/// What is held when `announced` is out, `programmed` is in the maps, and the Service is gone or not.
fn held(scene: &mut Scene, gone: bool, announced: &[&str], programmed: &[&str]) -> Vec<String> {
    scene.world.observed.datapath = saw(DatapathState::Ready, programmed);
    let announced = announced.iter().map(|text| text.parse().unwrap());
    scene.world.observed.announced = Arc::new(announced.collect());
    scene.plan();
    if gone {
        scene.world.snapshot.services.clear();
    }
    let plan = scene.world.plan().datapath.unwrap();
    plan.hold.iter().map(ToString::to_string).collect()
}

#[test]
fn an_address_is_held_while_routers_may_still_have_it() {
    // Whether the Service is gone; what is announced, what is programmed, what is held.
    type Row<'a> = (&'a str, bool, &'a [&'a str], &'a [&'a str], &'a [&'a str]);
    let rows: [Row<'_>; 7] = [
        ("it is wanted", false, &[VIP], &["172.16.1.7"], &[]),
        ("it is out", true, &[VIP], &["172.16.1.7"], &["172.16.1.7"]),
        ("it is withdrawn", true, &[], &["172.16.1.7"], &[]),
        ("it was never there", true, &[VIP], &[], &[]),
        (
            "its aggregate is out",
            true,
            &["172.16.1.0/24"],
            &["172.16.1.7", "172.16.2.7"],
            &["172.16.1.7"],
        ),
        (
            "an IPv6 address",
            true,
            &["fd00:16::/64"],
            &["fd00:16::7", "fd00:17::7", "172.16.1.7"],
            &["fd00:16::7"],
        ),
        (
            "pods are not addresses of Services",
            true,
            &[PODS],
            &["172.20.0.9"],
            &[],
        ),
    ];
    for (what, gone, announced, programmed, expected) in rows {
        let mut scene = scene(&["LoadBalancerIP"]);
        assert_eq!(
            held(&mut scene, gone, announced, programmed),
            expected,
            "{what}"
        );
    }
}

#[test]
fn an_aggregate_that_stays_for_others_holds_nothing() {
    let mut scene = scene(&["LoadBalancerIP"]);
    let mut entry = of(&["LoadBalancerIP"]);
    entry["service"]["aggregationLengthIPv4"] = json!(24);
    scene.world.advertisement("services", json!([entry]));
    let programmed = ["172.16.1.7", "172.16.1.8"];
    let held = held(&mut scene, false, &["172.16.1.0/24"], &programmed);
    assert!(held.is_empty(), "{held:?}");
}

/// What really is, and the messages under way. Each party takes the newest wish, whenever it likes.
struct Truth {
    scene: Scene,
    memory: Memory,
    bound: Announced,
    plan: NodePlan,
    /// Wishes given to the speaker.
    number: u64,
    wish: Arc<BTreeSet<IpNet>>,
    /// The wish the speaker has taken, and what its peers may have.
    taken: u64,
    originate: Arc<BTreeSet<IpNet>>,
    peers_have: Arc<BTreeSet<IpNet>>,
    /// Plans given to the load balancer, and the last.
    order: u64,
    ordered: Option<Arc<DatapathPlan>>,
    /// The plan the load balancer has carried out, and what is in the maps.
    carried_out: u64,
    programmed: BTreeSet<IpAddr>,
    served: Programmed,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Create(u8),
    Delete(u8),
    Local(u8, bool),
    Here(bool),
    Plan,
    Program,
    Tell,
    Take,
    Settle,
    Report,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..3_u8).prop_map(Step::Create),
        2 => (0..3_u8).prop_map(Step::Delete),
        1 => (0..3_u8, any::<bool>()).prop_map(|(service, is)| Step::Local(service, is)),
        1 => any::<bool>().prop_map(Step::Here),
        4 => Just(Step::Plan),
        3 => Just(Step::Program),
        3 => Just(Step::Tell),
        3 => Just(Step::Take),
        3 => Just(Step::Settle),
        3 => Just(Step::Report),
    ]
}

impl Truth {
    fn new() -> Self {
        let mut scene = scene(&["LoadBalancerIP"]);
        scene.plan();
        scene.world.snapshot.services.clear();
        scene.world.observed.datapath = saw(DatapathState::Ready, &[]);
        let plan = scene.world.plan();
        Self {
            scene,
            memory: Memory::default(),
            bound: Announced::default(),
            plan,
            number: 0,
            wish: Arc::default(),
            taken: 0,
            originate: Arc::default(),
            peers_have: Arc::default(),
            order: 0,
            ordered: None,
            carried_out: 0,
            programmed: BTreeSet::new(),
            served: Programmed::default(),
        }
    }

    fn world(&mut self) -> &mut World {
        &mut self.scene.world
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Create(service) => {
                let mut facts = web();
                let address = format!("172.16.1.{service}");
                facts.ingress = vec![plan::snapshot::Ingress::Address(ip(&address))];
                let services = &mut self.world().snapshot.services;
                services.insert(named(&format!("s{service}")), Arc::new(facts));
            }
            Step::Delete(service) => {
                let services = &mut self.world().snapshot.services;
                services.remove(&named(&format!("s{service}")));
            }
            Step::Local(service, is) => {
                let services = &mut self.world().snapshot.services;
                if let Some(facts) = services.get_mut(&named(&format!("s{service}"))) {
                    Arc::make_mut(facts).external_traffic_policy = if is {
                        TrafficPolicy::Local
                    } else {
                        TrafficPolicy::Cluster
                    };
                }
            }
            Step::Here(is) => {
                let labels = [("service.cilium.io/node".to_owned(), is.to_string())];
                let node = &mut self.world().snapshot.nodes.get_mut(NODE).unwrap();
                let facts = NodeFacts::clone(node);
                **node = Arc::new(NodeFacts {
                    labels: labels.into(),
                    ..facts
                });
            }
            Step::Plan => self.replan(),
            Step::Program => self.program(),
            Step::Tell => self.tell(),
            Step::Take => {
                if self.taken != self.number {
                    self.taken = self.number;
                    self.originate = Arc::clone(&self.wish);
                    let mut may_have = BTreeSet::clone(&self.peers_have);
                    may_have.extend(self.originate.iter());
                    self.peers_have = Arc::new(may_have);
                }
            }
            Step::Settle => self.peers_have = Arc::clone(&self.originate),
            Step::Report => drop(self.bound.report(self.taken, &self.peers_have)),
        }
    }

    fn replan(&mut self) {
        let world = &mut self.scene.world;
        world.observed.announced = Arc::clone(self.bound.all());
        if let Some(datapath) = &mut world.observed.datapath {
            datapath.programmed = Arc::clone(self.served.all());
        }
        self.plan = replan(
            &world.snapshot,
            &world.settings,
            &world.observed,
            &mut self.memory,
        );
        if self.ordered != self.plan.datapath
            && let Some(plan) = &self.plan.datapath
        {
            self.order += 1;
            self.ordered = Some(Arc::clone(plan));
            self.served.ask(self.order, plan);
        }
        let instances = self.plan.instances.values();
        let originate: BTreeSet<IpNet> = instances
            .flat_map(|instance| instance.originate.iter().copied())
            .collect();
        if originate != *self.wish {
            self.number += 1;
            self.wish = Arc::new(originate);
            self.bound.ask(self.number, Arc::clone(&self.wish));
        }
    }

    /// The load balancer carries out the newest plan.
    fn program(&mut self) {
        let Some(plan) = &self.ordered else {
            return;
        };
        let services = plan.services.values();
        let wanted = services.flat_map(|service| &service.frontends);
        let wanted = wanted.filter_map(|frontend| frontend.address.ip());
        let held = plan.hold.intersection(&self.programmed).copied();
        self.programmed = wanted.chain(held).collect();
        self.carried_out = self.order;
    }

    /// The load balancer reports; the next plan knows it.
    fn tell(&mut self) {
        let programmed = Arc::new(self.programmed.clone());
        self.served.report(self.carried_out, &programmed);
        self.observe(ObservedDatapath {
            state: DatapathState::Ready,
            programmed: Arc::clone(self.served.all()),
            withheld: Vec::new(),
        });
    }

    /// What is no news to a plan leaves it as it is.
    fn observe(&mut self, now: ObservedDatapath) {
        let world = &mut self.scene.world;
        let plan_before = world.plan();
        let before = world.observed.datapath.replace(now.clone());
        if before.is_some_and(|before| !now.is_news(&before, &plan_before.awaited)) {
            assert_eq!(world.plan(), plan_before);
        }
    }

    fn black_holes(&self) -> Vec<IpNet> {
        let services = self
            .peers_have
            .iter()
            .filter(|prefix| prefix.prefix_len() == prefix.max_prefix_len());
        services
            .filter(|prefix| !self.programmed.contains(&prefix.addr()))
            .copied()
            .collect()
    }
}

#[test]
fn only_what_a_plan_awaits_is_news_to_it() {
    let before = saw(DatapathState::Ready, &["10.96.0.1", "172.16.1.1"]).unwrap();
    let refused = Withheld {
        subject: Subject::Interface,
        count: 1,
        examples: Vec::new(),
        reason: Reason::Refused("EPERM".into()),
    };
    let ready = |programmed| saw(DatapathState::Ready, programmed).unwrap();
    let rows = [
        (before.clone(), false),
        (ready(&["10.96.0.1", "10.96.0.2", "172.16.1.1"]), false),
        (ready(&["10.96.0.1", "172.16.1.1", "172.16.1.2"]), true),
        (ready(&["10.96.0.1", "172.16.1.1", "172.16.2.7"]), true),
        (ready(&["172.16.1.1"]), true),
        (
            ObservedDatapath {
                state: DatapathState::Starting,
                ..before.clone()
            },
            true,
        ),
        (
            ObservedDatapath {
                withheld: vec![refused],
                ..before.clone()
            },
            true,
        ),
    ];
    let awaited = ["172.16.1.2/32", "172.16.2.0/24"];
    let awaited = awaited.map(|prefix| prefix.parse().unwrap()).into();
    for (now, expected) in rows {
        assert_eq!(now.is_news(&before, &awaited), expected, "{now:?}");
    }
}

proptest! {
    #[test]
    fn no_router_ever_has_an_address_that_is_not_served(steps in prop::collection::vec(step(), 1..80)) {
        let mut truth = Truth::new();
        for (at, step) in steps.iter().enumerate() {
            truth.take(*step);
            prop_assert_eq!(truth.black_holes(), Vec::<IpNet>::new(), "after step {} of {:?}", at, steps);
        }
        // Left alone, everything that is wanted is announced, and nothing else is kept.
        for _ in 0..4 {
            for step in [Step::Plan, Step::Program, Step::Tell, Step::Take, Step::Settle, Step::Report] {
                truth.take(step);
            }
        }
        let hold = truth.plan.datapath.as_ref().map(|plan| plan.hold.clone());
        prop_assert_eq!(hold, Some(BTreeSet::new()));
        prop_assert_eq!(&truth.plan.withheld, &[]);
        let expected: BTreeSet<_> = truth.plan.instances["instance-65001"].originate.clone();
        prop_assert_eq!(&*truth.peers_have, &expected);
    }
}
