//! From the wire into the kernel: a router's speaker in one namespace, the node's speaker and routes' task in the other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bgp::policy::{ExportPolicy, ExportRule, ExportVerdict, SetAttributes, Source};
use bgp::{Family, Goodbye, GracefulRestart, PeerConfig, PeerName};
use plan::node::{ImportPlan, RoutesPlan};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::place::{PATIENCE, Place};
use super::{TARGET, import, net, plan};
use crate::apply::{InstanceWish, Wish};
use crate::interfaces::Devices;
use crate::observe::Report;
use crate::routes::{Demand, Ends, Imports, RoutesTask};
use crate::speaker::{Farewell, Identity, Outlet, SpeakerTask};

type Wishes = watch::Sender<Option<Wish>>;

fn instance(asn: u32, ours: u8, peers: &[u8], originate: &[&str]) -> InstanceWish {
    let address = |last| IpAddr::V4(Ipv4Addr::new(10, 0, 1, last));
    let everything = ExportRule {
        source: Source::Local,
        prefixes: None,
        verdict: ExportVerdict::Accept(SetAttributes::default()),
    };
    let peer = |last: u8| PeerConfig {
        address: address(last),
        port: 179,
        local_address: Some(address(ours)),
        peer_asn: None,
        hold_time: 9,
        keepalive: 3,
        connect_retry: Duration::from_secs(1),
        ebgp_ttl: 1,
        families: vec![Family::IPV4_UNICAST],
        graceful_restart: Some(GracefulRestart { restart_time: 60 }),
        export: Arc::new(ExportPolicy {
            rules: vec![everything.clone()],
        }),
    };
    let peers = peers
        .iter()
        .map(|last| (PeerName::from(format!("peer{last}").as_str()), peer(*last)));
    InstanceWish {
        local_asn: asn,
        router_id: Ipv4Addr::new(10, 0, 0, ours),
        local_port: (ours != 1).then_some(179),
        peers: peers.collect(),
        originate: originate
            .iter()
            .map(|prefix| net(prefix))
            .collect::<BTreeSet<_>>(),
    }
}

fn wish(instances: &[(&str, InstanceWish)]) -> Wish {
    let named = |(name, wish): &(&str, InstanceWish)| ((*name).to_owned(), wish.clone());
    let originate = instances.iter().flat_map(|(_, wish)| &wish.originate);
    Wish {
        number: 0,
        originate: Arc::new(originate.copied().collect()),
        instances: instances.iter().map(named).collect::<BTreeMap<_, _>>(),
    }
}

fn identity() -> Identity {
    Identity {
        host_name: "node".into(),
        resumed: Arc::from([]),
    }
}

/// The router's speaker, on a thread in its namespace, until its orders end.
struct Router {
    wishes: Wishes,
    _farewell: mpsc::Sender<Farewell>,
}

impl Router {
    fn start(place: &Place, originate: &[&str]) -> Self {
        let (wishes, receiver) =
            watch::channel(Some(wish(&[("r", instance(65001, 2, &[1], originate))])));
        let (farewell, orders) = mpsc::channel(1);
        let namespace = place.router.path();
        std::thread::spawn(move || {
            let file = std::fs::File::open(namespace).expect("the namespace");
            nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).expect("it is entered");
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async {
                let (_nothing, demand) = watch::channel(Demand::default());
                let (batches, _nobody) = mpsc::channel(1);
                let (report, _reports) = watch::channel(Report::default());
                let outlet = Outlet { demand, batches };
                SpeakerTask::new(identity(), report)
                    .run(receiver, orders, outlet)
                    .await;
            });
        });
        Self {
            wishes,
            _farewell: farewell,
        }
    }

    fn announces(&self, originate: &[&str]) {
        self.wishes
            .send_replace(Some(wish(&[("r", instance(65001, 2, &[1], originate))])));
    }
}

/// The node's two tasks.
struct Node {
    wishes: Wishes,
    plans: watch::Sender<Option<Arc<RoutesPlan>>>,
    farewell: mpsc::Sender<Farewell>,
    imports: watch::Receiver<Imports>,
    demand: watch::Receiver<Demand>,
    _devices: watch::Sender<Devices>,
}

impl Node {
    fn start(instances: &[(&str, InstanceWish)], imports: Vec<ImportPlan>) -> Self {
        let (wishes, wish_receiver) = watch::channel(Some(wish(instances)));
        let (plans, plan_receiver) = watch::channel(Some(Arc::new(plan(imports))));
        let (devices, device_receiver) = watch::channel(Devices::default());
        let (farewell, orders) = mpsc::channel(1);
        let (report, _reports) = watch::channel(Report::default());
        let (demand_sender, demand) = watch::channel(Demand::default());
        let (batches, learned) = mpsc::channel(4);
        let (import_sender, imports) = watch::channel(Imports::default());
        let outlet = Outlet {
            demand: demand.clone(),
            batches,
        };
        tokio::spawn(SpeakerTask::new(identity(), report).run(wish_receiver, orders, outlet));
        let ends = Ends {
            plans: plan_receiver,
            devices: device_receiver,
            learned,
            demand: demand_sender,
            report: import_sender,
        };
        tokio::spawn(RoutesTask::new(ends).run());
        Self {
            wishes,
            plans,
            farewell,
            imports,
            demand,
            _devices: devices,
        }
    }

    async fn is_ready(&mut self) {
        let ready = self
            .imports
            .wait_for(|imports| imports.get(&TARGET).is_some_and(|routes| routes.ready));
        timeout(PATIENCE, ready)
            .await
            .expect("ready in time")
            .expect("the task runs");
    }

    async fn leaves(&self, goodbye: Goodbye) {
        let (done, finished) = oneshot::channel();
        self.farewell
            .send((goodbye, done))
            .await
            .expect("the speaker runs");
        timeout(PATIENCE, finished)
            .await
            .expect("left in time")
            .expect("left");
    }
}

fn everything() -> Vec<ImportPlan> {
    vec![import("all", &["0.0.0.0/0"])]
}

#[test]
fn what_the_router_announces_is_in_the_kernel_until_it_is_withdrawn() {
    let Some(place) = Place::make("wire") else {
        return;
    };
    // Left by an earlier process: not in the wish any more, but only the router's End-of-RIB says so.
    let left = "route add 10.77.0.0/16 via 10.0.1.2 proto 186 metric 30";
    place.node.ip(left).expect("a route");
    let router = Router::start(&place, &["192.0.2.0/24", "198.51.100.0/24"]);
    place.on_node(async || {
        let mut node = Node::start(
            &[("n", instance(65000, 1, &[2], &["10.244.0.0/24"]))],
            everything(),
        );
        node.is_ready().await;
        place.has(&["192.0.2.0/24", "198.51.100.0/24"]).await;
        let routes = place.routes("186");
        assert!(
            routes[0].contains("via 10.0.1.2 dev a0 metric 30"),
            "{routes:#?}"
        );
        router.announces(&["198.51.100.0/24", "203.0.113.0/24"]);
        place.has(&["198.51.100.0/24", "203.0.113.0/24"]).await;

        node.plans.send_replace(Some(Arc::new(plan(vec![import(
            "some",
            &["203.0.113.0/24"],
        )]))));
        place.has(&["203.0.113.0/24"]).await;
        node.plans
            .send_replace(Some(Arc::new(RoutesPlan::default())));
        place.has(&[]).await;
        let nothing = node.demand.wait_for(|demand| *demand == Demand::default());
        let nothing = timeout(PATIENCE, nothing).await.expect("in time");
        drop(nothing.expect("the task runs"));
        router.announces(&["192.0.2.0/24"]);
        node.plans.send_replace(Some(Arc::new(plan(everything()))));
        place.has(&["192.0.2.0/24"]).await;

        node.leaves(Goodbye::Cease).await;
        place.has(&["192.0.2.0/24"]).await;
    });
}

#[test]
fn a_peer_that_leaves_for_good_takes_its_routes_along_and_one_that_is_removed_too() {
    let Some(place) = Place::make("leaves") else {
        return;
    };
    let router = Router::start(&place, &["192.0.2.0/24"]);
    place.on_node(async || {
        let node = Node::start(&[("n", instance(65000, 1, &[2], &[]))], everything());
        place.has(&["192.0.2.0/24"]).await;
        router.wishes.send_replace(Some(Wish::default()));
        place.has(&[]).await;
        router.announces(&["192.0.2.0/24"]);
        place.has(&["192.0.2.0/24"]).await;
        node.wishes.send_replace(Some(Wish::default()));
        place.has(&[]).await;
    });
}

/// Instances have a RIB each; between them the order of their names decides, prefix by prefix.
#[test]
fn another_instance_steps_in_where_the_first_has_no_path_any_more() {
    let Some(place) = Place::make("instances") else {
        return;
    };
    let first = Router::start(&place, &["192.0.2.0/24"]);
    // A second router behind another address of the same link, for a second instance of the node.
    place
        .node
        .ip("address add 10.0.1.9/24 dev a0")
        .expect("an address");
    let second = {
        let mut theirs = instance(65002, 3, &[9], &["192.0.2.0/24", "203.0.113.0/24"]);
        theirs.local_port = None;
        theirs
    };
    first.wishes.send_modify(|wish| {
        let wish = wish.as_mut().expect("a wish");
        wish.instances.insert("s".to_owned(), second.clone());
    });
    place.on_node(async || {
        let mut listens = instance(65010, 9, &[3], &[]);
        listens.local_port = Some(179);
        let dials = instance(65000, 1, &[2], &[]);
        let mut node = Node::start(&[("a", dials), ("b", listens)], everything());
        node.is_ready().await;
        place.has(&["192.0.2.0/24", "203.0.113.0/24"]).await;
        let via = |prefix: &str| {
            let routes = place.routes("186");
            let line = routes.iter().find(|line| line.starts_with(prefix)).cloned();
            line.unwrap_or_default()
        };
        assert!(
            via("192.0.2.0/24").contains("via 10.0.1.2"),
            "the first instance's"
        );
        assert!(
            via("203.0.113.0/24").contains("via 10.0.1.3"),
            "the only one's"
        );
        first.wishes.send_modify(|wish| {
            let wish = wish.as_mut().expect("a wish");
            wish.instances
                .insert("r".to_owned(), instance(65001, 2, &[1], &[]));
        });
        let begin = std::time::Instant::now();
        while !via("192.0.2.0/24").contains("via 10.0.1.3") {
            assert!(begin.elapsed() < PATIENCE, "{:#?}", place.routes("186"));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        place.has(&["192.0.2.0/24", "203.0.113.0/24"]).await;
    });
}
