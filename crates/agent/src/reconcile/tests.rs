//! The loop between planner, load balancer and speaker, with the actuators played by the test.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use plan::node::{DatapathSettings, RouterIdMode, WithoutEndpoints};
use plan::snapshot::{Ingress, Protocol, ServicePort, ServiceType};
use plan::{NamespacedName, NodeFacts, ServiceFacts};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;
use crate::observe::{Datapath, Report};
use crate::routes::Imports;

const NODE: &str = "k8s-ctr";
const VIP: &str = "172.16.1.1/32";
const PODS: &str = "172.20.0.0/24";
/// More than the first word ever waits; virtual time, so that it passes at once.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything around the loop.
struct Stage {
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    seen: watch::Sender<Datapath>,
    reports: watch::Sender<Report>,
    wishes: watch::Receiver<Option<Wish>>,
    plans: watch::Receiver<Option<Arc<NodePlan>>>,
    orders: watch::Receiver<Option<Order>>,
    _devices: watch::Sender<Devices>,
}

impl Stage {
    fn start(datapath: Option<DatapathSettings>) -> Self {
        let (snapshots, snapshot_receiver) = watch::channel(Some(Arc::new(snapshot(true))));
        let (seen, seen_receiver) = watch::channel(Datapath::default());
        let (reports, report_receiver) = watch::channel(Report::default());
        let (wish_sender, wishes) = watch::channel(None);
        let (plan_sender, plans) = watch::channel(None);
        let (order_sender, orders) = watch::channel(None);
        let (devices, device_receiver) = watch::channel(Devices::default());
        let (route_sender, _routes) = watch::channel(None);
        let (_, imports) = watch::channel(Imports::default());
        let seen_receiver = datapath.as_ref().map(|_| seen_receiver);
        let reconcile = Reconcile {
            settings: Settings {
                node: NODE.to_owned(),
                router_id: RouterIdMode::Default,
                without_endpoints: WithoutEndpoints::Announce,
                datapath,
            },
            snapshots: snapshot_receiver,
            devices: device_receiver,
            routes: route_sender,
            plans: plan_sender,
            wishes: wish_sender,
            metrics: Metrics::new(report_receiver.clone(), imports, seen_receiver.clone()),
            serving: Serving::new(seen_receiver, report_receiver, order_sender),
            told: None,
        };
        tokio::spawn(reconcile.run());
        Self {
            snapshots,
            seen,
            reports,
            wishes,
            plans,
            orders,
            _devices: devices,
        }
    }

    /// The load balancer serves these addresses.
    fn serves(&self, addresses: &[&str]) {
        let programmed: BTreeSet<IpAddr> = addresses
            .iter()
            .map(|address| address.parse().unwrap())
            .collect();
        self.seen.send_replace(Datapath {
            unavailable: None,
            report: lb::Report {
                ready: true,
                programmed: Arc::new(programmed),
                ..lb::Report::default()
            },
        });
    }

    /// The speaker has taken a wish, and peers may have these.
    fn announced(&self, wish: u64, prefixes: &[&str]) {
        let announced = prefixes.iter().map(|prefix| prefix.parse().unwrap());
        self.reports.send_replace(Report {
            wish,
            announced: Arc::new(announced.collect()),
            ..Report::default()
        });
    }

    /// Waits until the speaker is wished exactly these, and gives back the wish's number.
    async fn wished(&mut self, prefixes: &[&str]) -> u64 {
        let wanted = |wish: &Option<Wish>| {
            wish.as_ref().is_some_and(|wish| {
                let originate: Vec<_> = wish.originate.iter().map(ToString::to_string).collect();
                originate == prefixes
            })
        };
        let wish = timeout(PATIENCE, self.wishes.wait_for(wanted)).await;
        let wish = wish.unwrap_or_else(|_| panic!("never wished: {prefixes:?}"));
        wish.expect("the loop runs")
            .as_ref()
            .map(|wish| wish.number)
            .unwrap()
    }

    /// Waits until the load balancer is to hold exactly these.
    async fn holds(&mut self, addresses: &[&str]) {
        let wanted = |order: &Option<Order>| {
            order.as_ref().is_some_and(|order| {
                let hold: Vec<_> = order.plan.hold.iter().map(ToString::to_string).collect();
                hold == addresses
            })
        };
        let order = timeout(PATIENCE, self.orders.wait_for(wanted)).await;
        let order = order.unwrap_or_else(|_| panic!("never held: {addresses:?}"));
        drop(order.expect("the loop runs"));
    }

    /// Waits until the loop has nothing to do: time stands still as long as it has.
    async fn is_idle(&self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// Waits for a plan, and says what waits in it.
    async fn waiting(&mut self, what: &str) {
        let wanted = |plan: &Option<Arc<NodePlan>>| {
            plan.as_ref().is_some_and(|plan| {
                let mut withheld = plan.withheld.iter();
                withheld.any(|withheld| withheld.to_string().ends_with(what))
            })
        };
        let plan = timeout(PATIENCE, self.plans.wait_for(wanted)).await;
        let plan = plan.unwrap_or_else(|_| panic!("never told: {what}"));
        drop(plan.expect("the loop runs"));
    }
}

fn object<T: serde::de::DeserializeOwned>(kind: &str, name: &str, spec: &Value) -> Arc<T> {
    let object = json!({"apiVersion": "cilium.io/v2", "kind": kind,
        "metadata": {"name": name, "labels": {"advertise": "bgp"}}, "spec": spec});
    Arc::new(serde_json::from_value(object).unwrap())
}

/// The published lab with one Service, which may be gone.
fn snapshot(has_service: bool) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let facts = NodeFacts {
        pod_cidrs: vec![PODS.parse().unwrap()],
        internal_addresses: vec!["192.168.10.100".parse().unwrap()],
        ..NodeFacts::default()
    };
    snapshot.nodes.insert(NODE.to_owned(), Arc::new(facts));
    let peer = json!({"name": "tor", "peerASN": 65000, "peerAddress": "192.168.10.200", "peerConfigRef": {"name": "peer"}});
    let spec = json!({"bgpInstances": [{"name": "i", "localASN": 65001, "peers": [peer]}]});
    let config = object("CiliumBGPNodeConfig", NODE, &spec);
    snapshot.node_configs.insert(NODE.to_owned(), config);
    let spec = json!({"families": [{"afi": "ipv4", "safi": "unicast", "advertisements": {}}]});
    let config = object("CiliumBGPPeerConfig", "peer", &spec);
    snapshot.peer_configs.insert("peer".to_owned(), config);
    let service = json!({"advertisementType": "Service", "selector": {}, "service": {"addresses": ["LoadBalancerIP"]}});
    let spec = json!({"advertisements": [{"advertisementType": "PodCIDR"}, service]});
    let advertisement = object("CiliumBGPAdvertisement", "all", &spec);
    snapshot
        .advertisements
        .insert("all".to_owned(), advertisement);
    let web = ServiceFacts {
        service_type: ServiceType::LoadBalancer,
        ingress: vec![Ingress::Address("172.16.1.1".parse().unwrap())],
        ports: vec![ServicePort {
            port: 80,
            protocol: Protocol::Tcp,
            ..ServicePort::default()
        }],
        ..ServiceFacts::default()
    };
    let name = NamespacedName {
        namespace: "default".into(),
        name: "web".into(),
    };
    if has_service {
        snapshot.services.insert(name, Arc::new(web));
    }
    snapshot
}

fn on() -> Option<DatapathSettings> {
    Some(DatapathSettings::default())
}

#[tokio::test(start_paused = true)]
async fn without_a_load_balancer_everything_is_said_at_once() {
    let mut stage = Stage::start(None);
    assert_eq!(stage.wished(&[VIP, PODS]).await, 1);
    assert!(stage.orders.borrow().is_none());
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_the_first_word_has_the_addresses_of_services() {
    let mut stage = Stage::start(on());
    stage.waiting("the load balancer starts").await;
    stage.holds(&[]).await;
    assert!(stage.wishes.borrow().is_none(), "nothing is said yet");
    stage.serves(&["172.16.1.1"]);
    assert_eq!(
        stage.wished(&[VIP, PODS]).await,
        1,
        "nothing was said before"
    );
}

#[tokio::test(start_paused = true)]
async fn a_load_balancer_that_is_slow_is_waited_for_ten_seconds() {
    let start = tokio::time::Instant::now();
    let mut stage = Stage::start(on());
    assert_eq!(stage.wished(&[PODS]).await, 1);
    let waited = start.elapsed().as_millis();
    assert!((10_000..10_100).contains(&waited), "{waited} ms");
    stage.serves(&["172.16.1.1"]);
    assert_eq!(stage.wished(&[VIP, PODS]).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_load_balancer_that_cannot_run_costs_the_addresses_of_services_only() {
    let mut stage = Stage::start(on());
    stage.seen.send_replace(Datapath {
        unavailable: Some("CAP_BPF is missing".into()),
        report: lb::Report::default(),
    });
    assert_eq!(stage.wished(&[PODS]).await, 1);
    stage
        .waiting("the load balancer does not run: CAP_BPF is missing")
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_address_is_kept_until_its_withdrawal_is_on_its_way() {
    let mut stage = Stage::start(on());
    stage.serves(&["172.16.1.1"]);
    assert_eq!(stage.wished(&[VIP, PODS]).await, 1);
    // The Service goes before the speaker has even said that it took the wish.
    stage
        .snapshots
        .send_replace(Some(Arc::new(snapshot(false))));
    assert_eq!(stage.wished(&[PODS]).await, 2);
    stage.holds(&["172.16.1.1"]).await;
    stage.announced(1, &[VIP, PODS]);
    stage.announced(2, &[VIP, PODS]);
    stage.holds(&["172.16.1.1"]).await;
    stage.announced(2, &[PODS]);
    stage.holds(&[]).await;
    let order = stage.orders.borrow().clone();
    assert!(order.is_some_and(|order| order.plan.services.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_process_served_is_kept_until_routers_have_forgotten_what_it_said() {
    let mut stage = Stage::start(on());
    let holds = |wanted| {
        move |order: &Option<Order>| {
            order
                .as_ref()
                .is_some_and(|order| order.plan.hold_found == wanted)
        }
    };
    let first = timeout(PATIENCE, stage.orders.wait_for(Option::is_some)).await;
    assert!(holds(true)(
        &first.expect("ordered").expect("the loop runs")
    ));
    stage.serves(&["172.16.1.1"]);
    stage.wished(&[VIP, PODS]).await;
    let says = |inherits| Report {
        wish: 1,
        configured: true,
        inherits,
        ..Report::default()
    };
    stage.reports.send_replace(says(true));
    stage.is_idle().await;
    assert!(
        holds(true)(&stage.orders.borrow()),
        "some router may not have heard"
    );
    stage.reports.send_replace(says(false));
    let last = timeout(PATIENCE, stage.orders.wait_for(holds(false))).await;
    drop(last.expect("let go").expect("the loop runs"));
}

#[tokio::test(start_paused = true)]
async fn wire_and_maps_are_told_of_a_plan_before_anybody_else() {
    let mut stage = Stage::start(None);
    stage.wished(&[VIP, PODS]).await;
    assert!(!stage.plans.has_changed().unwrap());
    stage.plans.changed().await.unwrap();
}
