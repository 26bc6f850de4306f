//! The owner of the snapshot, told by hand.

use std::time::Duration;

use plan::NamespacedName;
use plan::snapshot::Ingress;
use tokio::time::timeout;

use super::*;
use crate::burst::{AT_ONCE, PACE};

/// An owner that follows these kinds, and what its readers see.
struct Scene {
    told: mpsc::Sender<Change>,
    snapshot: watch::Receiver<Option<Arc<Snapshot>>>,
    freshness: watch::Receiver<Freshness>,
    _task: JoinSet<()>,
}

fn scene(kinds: &[Kind]) -> Scene {
    scene_of(kinds, false)
}

fn scene_of(kinds: &[Kind], expects_addresses: bool) -> Scene {
    let unlisted = kinds.iter().copied().collect();
    let freshness = Freshness {
        unlisted,
        ..Freshness::default()
    };
    let (told, changes) = mpsc::channel(CHANGES);
    let (snapshot_sender, snapshot) = watch::channel(None);
    let (freshness_sender, freshness_receiver) = watch::channel(freshness.clone());
    let owner = Owner {
        snapshot: Snapshot::default(),
        freshness,
        specs_only: true,
        expects_addresses,
    };
    let mut task = JoinSet::new();
    task.spawn(owner.run(changes, snapshot_sender, freshness_sender));
    Scene {
        told,
        snapshot,
        freshness: freshness_receiver,
        _task: task,
    }
}

impl Scene {
    async fn tell(&self, change: Change) {
        self.told.send(change).await.expect("the owner listens");
    }

    /// The next snapshot; `None` if there is none for a while.
    async fn next(&mut self) -> Option<Arc<Snapshot>> {
        match timeout(Duration::from_millis(200), self.snapshot.changed()).await {
            Ok(changed) => {
                changed.expect("the owner lives");
                self.snapshot.borrow_and_update().clone()
            }
            Err(_) => None,
        }
    }
}

fn node(number: usize) -> (String, Arc<NodeFacts>) {
    let labels = [("number".to_owned(), number.to_string())].into();
    (
        format!("n{number}"),
        Arc::new(NodeFacts {
            labels,
            ..NodeFacts::default()
        }),
    )
}

fn node_config(asn: u32, version: u64) -> Change {
    let mut config = CiliumBGPNodeConfig::default();
    config.metadata.resource_version = Some(version.to_string());
    let instance = api::node_config::Instance {
        local_asn: Some(asn),
        ..Default::default()
    };
    config.spec.bgp_instances.push(instance);
    Change::NodeConfig(Told::Set("n".to_owned(), Arc::new(config)))
}

#[tokio::test]
async fn there_is_no_snapshot_until_every_kind_is_listed() {
    let mut scene = scene(&[Kind::Node, Kind::ClusterConfig]);
    scene.tell(Change::Node(Told::All([node(1)].into()))).await;
    scene
        .tell(Change::Node(Told::Set(node(2).0, node(2).1)))
        .await;
    assert_eq!(scene.next().await, None);
    assert_eq!(
        scene.freshness.borrow().unlisted,
        [Kind::ClusterConfig].into()
    );

    scene
        .tell(Change::ClusterConfig(Told::All(BTreeMap::new())))
        .await;
    let snapshot = scene.next().await.expect("all kinds are listed");
    assert_eq!(snapshot.nodes, [node(1), node(2)].into());
    assert!(scene.freshness.borrow().is_live());
}

#[tokio::test]
async fn an_empty_cluster_is_a_snapshot_too() {
    let mut scene = scene(&[Kind::Node]);
    scene.tell(Change::Node(Told::All(BTreeMap::new()))).await;
    assert_eq!(scene.next().await.as_deref(), Some(&Snapshot::default()));
}

#[tokio::test]
async fn a_burst_is_published_at_its_pace_and_ends_complete() {
    let mut scene = scene(&[Kind::Node]);
    scene.tell(Change::Node(Told::All(BTreeMap::new()))).await;
    scene.next().await.expect("listed");
    let begin = Instant::now();
    let (told, sender) = (scene.told.clone(), 2000);
    let burst = tokio::spawn(async move {
        for number in 0..sender {
            let (name, facts) = node(number);
            told.send(Change::Node(Told::Set(name, facts)))
                .await
                .expect("the owner listens");
        }
    });
    let mut published = 0;
    while scene
        .snapshot
        .borrow()
        .as_ref()
        .is_none_or(|snapshot| snapshot.nodes.len() < sender)
    {
        scene.next().await.expect("the rest is published");
        published += 1;
    }
    burst.await.expect("all is sent");
    let most = u128::from(AT_ONCE) + begin.elapsed().as_millis() / PACE.as_millis() + 1;
    assert!(published <= most, "{published} snapshots, at most {most}");
}

/// A new Service comes in three changes, and none of them waits for the one before.
#[tokio::test(start_paused = true)]
async fn a_few_changes_are_published_as_they_come() {
    let mut scene = scene(&[Kind::Node]);
    scene.tell(Change::Node(Told::All(BTreeMap::new()))).await;
    scene.next().await.expect("listed");
    for number in 1..=3 {
        let began = Instant::now();
        let (name, facts) = node(number);
        scene.tell(Change::Node(Told::Set(name, facts))).await;
        let snapshot = scene.next().await.expect("it is published");
        assert_eq!(snapshot.nodes.len(), number);
        assert_eq!(began.elapsed(), Duration::ZERO, "change {number}");
    }
}

/// A new Service is told of with its endpoints and its address, or after the pace of a burst; what is said of one that is known waits for
/// nothing, and who gives the addresses is told of everything at once.
#[tokio::test(start_paused = true)]
async fn a_new_service_waits_a_moment_for_its_address() {
    for expects in [false, true] {
        let mut scene = scene_of(&[Kind::Service, Kind::EndpointSlice], expects);
        let slices = Change::EndpointSlice(Told::All(BTreeMap::new()));
        scene.tell(slices).await;
        let (name, addressed) = service("a", "10.0.0.1");
        let load_balancer = |facts: &ServiceFacts| ServiceFacts {
            service_type: plan::snapshot::ServiceType::LoadBalancer,
            ..facts.clone()
        };
        let addressed = load_balancer(&addressed);
        let new = ServiceFacts {
            ingress: Vec::new(),
            ..addressed.clone()
        };
        let slice = |port| {
            let facts = EndpointSliceFacts {
                service: Some("web".to_owned()),
                ports: vec![plan::snapshot::EndpointPort {
                    port,
                    ..Default::default()
                }],
                ..EndpointSliceFacts::default()
            };
            Change::EndpointSlice(Told::Set(name.clone(), Arc::new(facts)))
        };
        let set = |facts: &ServiceFacts| {
            Change::Service(Told::Set(name.clone(), Arc::new(facts.clone())))
        };
        let other_class = ServiceFacts {
            load_balancer_class: Some("other".to_owned()),
            ..new.clone()
        };
        scene
            .tell(Change::Service(Told::All(BTreeMap::new())))
            .await;
        scene.next().await.expect("listed");
        let gone = || Change::Service(Told::Removed(name.clone()));
        let rows = [
            ("new", vec![set(&new)], expects),
            ("its endpoints change", vec![slice(2), slice(3)], false),
            ("it has an address", vec![set(&addressed)], false),
            ("it loses its address", vec![set(&new)], false),
            ("it goes", vec![gone()], false),
            ("new with an address", vec![set(&addressed)], false),
            ("it goes again", vec![gone()], false),
            (
                "new, and at once addressed",
                vec![set(&new), set(&addressed)],
                false,
            ),
            ("it goes once more", vec![gone()], false),
            ("somebody else's", vec![set(&other_class)], false),
        ];
        for (what, changes, waits) in rows {
            // Time enough for what may be published at once.
            tokio::time::sleep(Duration::from_secs(1)).await;
            let began = Instant::now();
            for change in changes {
                scene.tell(change).await;
            }
            scene.next().await.expect("it is published");
            let waited = if waits { PACE } else { Duration::ZERO };
            assert_eq!(began.elapsed(), waited, "{what}, expected: {expects}");
        }
    }
}

#[tokio::test]
async fn what_says_the_same_is_not_published() {
    let mut scene = scene(&[Kind::Node, Kind::NodeConfig]);
    scene.tell(Change::Node(Told::All([node(1)].into()))).await;
    scene
        .tell(Change::NodeConfig(Told::All(BTreeMap::new())))
        .await;
    scene.next().await.expect("listed");

    scene.tell(node_config(65001, 10)).await;
    assert!(scene.next().await.is_some());
    scene.tell(node_config(65001, 11)).await;
    scene
        .tell(Change::Node(Told::Set(node(1).0, node(1).1)))
        .await;
    scene.tell(Change::Node(Told::All([node(1)].into()))).await;
    scene
        .tell(Change::Node(Told::Removed("unknown".to_owned())))
        .await;
    assert_eq!(
        scene.next().await,
        None,
        "an agent's status, a heartbeat, a new list"
    );

    scene.tell(node_config(65002, 12)).await;
    let snapshot = scene.next().await.expect("the spec has changed");
    assert_eq!(
        snapshot.node_configs["n"]
            .metadata
            .resource_version
            .as_deref(),
        Some("12")
    );
}

#[tokio::test]
async fn cilium_nodes_are_none_where_the_kind_does_not_exist() {
    let mut scene = scene(&[Kind::CiliumNode]);
    scene.tell(Change::CiliumNode(Told::Absent)).await;
    assert_eq!(
        scene.next().await.expect("known to be absent").cilium_nodes,
        None
    );
    scene.tell(Change::CiliumNode(Told::Absent)).await;
    assert_eq!(scene.next().await, None, "still absent");
    scene
        .tell(Change::CiliumNode(Told::All(BTreeMap::new())))
        .await;
    assert_eq!(
        scene.next().await.expect("the CRD came").cilium_nodes,
        Some(BTreeMap::new())
    );
    assert_eq!(scene.freshness.borrow().absent, BTreeSet::new());
}

/// Kubernetes before 1.33 has no ServiceCIDRs, and a cluster with Cilium's definitions need not have ours.
#[tokio::test]
async fn a_kind_that_need_not_exist_holds_up_no_snapshot() {
    let mut scene = scene(&[Kind::Node, Kind::ServiceCidr, Kind::RouteImport]);
    scene.tell(Change::Node(Told::All([node(1)].into()))).await;
    scene.tell(Change::ServiceCidr(Told::Absent)).await;
    assert_eq!(scene.next().await, None, "one is not known about yet");
    scene.tell(Change::RouteImport(Told::Absent)).await;
    let snapshot = scene.next().await.expect("both are known to be absent");
    assert!(snapshot.service_cidrs.is_empty() && snapshot.route_imports.is_empty());
    assert!(scene.freshness.borrow().is_live());

    let facts = ServiceCidrFacts {
        cidrs: vec!["10.96.0.0/12".parse().expect("a prefix")],
    };
    let came = [("kubernetes".to_owned(), Arc::new(facts))];
    scene
        .tell(Change::ServiceCidr(Told::All(came.clone().into())))
        .await;
    let snapshot = scene.next().await.expect("the kind came");
    assert_eq!(snapshot.service_cidrs, came.into());
    assert_eq!(scene.freshness.borrow().absent, [Kind::RouteImport].into());
}

#[tokio::test]
async fn an_import_comes_changes_and_goes() {
    let mut scene = scene(&[Kind::RouteImport]);
    scene
        .tell(Change::RouteImport(Told::All(BTreeMap::new())))
        .await;
    scene.next().await.expect("listed");
    let import = |metric| {
        let mut import = BGPRouteImport::default();
        import.spec.metric = Some(metric);
        Change::RouteImport(Told::Set("all".to_owned(), Arc::new(import)))
    };
    for metric in [30, 40] {
        scene.tell(import(metric)).await;
        let snapshot = scene.next().await.expect("it says something else");
        assert_eq!(snapshot.route_imports["all"].spec.metric, Some(metric));
    }
    scene.tell(import(40)).await;
    assert_eq!(scene.next().await, None, "it says the same");
    scene
        .tell(Change::RouteImport(Told::Removed("all".to_owned())))
        .await;
    let snapshot = scene.next().await.expect("it is gone");
    assert!(snapshot.route_imports.is_empty());
}

fn service(namespace: &str, ingress: &str) -> (NamespacedName, Arc<ServiceFacts>) {
    let name = NamespacedName {
        namespace: namespace.into(),
        name: "web".into(),
    };
    let ingress = vec![Ingress::Address(ingress.parse().expect("an address"))];
    (
        name,
        Arc::new(ServiceFacts {
            ingress,
            ..ServiceFacts::default()
        }),
    )
}

#[tokio::test]
async fn services_of_one_name_in_two_namespaces_are_two() {
    let mut scene = scene(&[Kind::Service]);
    let (a, b) = (service("a", "10.0.0.1"), service("b", "10.0.0.2"));
    scene
        .tell(Change::Service(Told::All([a.clone()].into())))
        .await;
    assert_eq!(scene.next().await.expect("listed").services.len(), 1);
    scene
        .tell(Change::Service(Told::Set(b.0.clone(), b.1.clone())))
        .await;
    let snapshot = scene.next().await.expect("another one");
    assert_eq!(snapshot.services, [a.clone(), b.clone()].into());
    scene.tell(Change::Service(Told::Removed(a.0))).await;
    assert_eq!(scene.next().await.expect("gone").services, [b].into());
}

#[tokio::test]
async fn an_object_that_says_what_it_said_stays_the_one_it_was() {
    let mut scene = scene(&[Kind::Service]);
    let (a, b) = (service("a", "10.0.0.1"), service("b", "10.0.0.2"));
    let known = [a.clone(), b.clone()];
    scene.tell(Change::Service(Told::All(known.into()))).await;
    scene.next().await.expect("listed");
    let again = |(name, _): &(NamespacedName, Arc<ServiceFacts>), address| {
        (name.clone(), service("", address).1)
    };
    let (same, other) = (again(&a, "10.0.0.1"), again(&b, "10.0.0.9"));
    scene
        .tell(Change::Service(Told::Set(same.0.clone(), same.1.clone())))
        .await;
    assert_eq!(scene.next().await, None, "nothing new");
    scene
        .tell(Change::Service(Told::All([same, other.clone()].into())))
        .await;
    let services = scene.next().await.expect("one is new").services.clone();
    assert!(Arc::ptr_eq(&services[&a.0], &a.1));
    assert!(Arc::ptr_eq(&services[&b.0], &other.1));
}

#[tokio::test]
async fn services_are_not_shown_while_the_kind_of_the_pools_does_not_exist() {
    let mut scene = scene(&[Kind::Pool, Kind::Service]);
    let web = service("a", "10.0.0.1");
    scene
        .tell(Change::Service(Told::All([web.clone()].into())))
        .await;
    scene.tell(Change::Pool(Told::Absent)).await;
    let snapshot = scene.next().await.expect("both are known");
    assert_eq!(*snapshot, Snapshot::default());

    scene.tell(Change::Pool(Told::All(BTreeMap::new()))).await;
    let snapshot = scene.next().await.expect("the CRD came");
    assert_eq!(snapshot.services, [web.clone()].into());

    // It goes, and comes back with the same pools: at no moment are there Services without them.
    let pool = Arc::new(CiliumLoadBalancerIPPool::default());
    let pools: BTreeMap<_, _> = [("p".to_owned(), pool)].into();
    scene.tell(Change::Pool(Told::All(pools.clone()))).await;
    scene.next().await.expect("a pool");
    scene.tell(Change::Pool(Told::Absent)).await;
    let snapshot = scene.next().await.expect("the CRD went");
    assert_eq!(*snapshot, Snapshot::default());
    scene.tell(Change::Pool(Told::All(pools.clone()))).await;
    let snapshot = scene.next().await.expect("the CRD is back");
    assert_eq!(snapshot.pools, pools);
    assert_eq!(snapshot.services, [web].into());
}

#[tokio::test]
async fn a_broken_watch_is_told_and_the_snapshot_stays() {
    let mut scene = scene(&[Kind::Node]);
    scene.tell(Change::Node(Told::All([node(1)].into()))).await;
    let before = scene.next().await;
    scene
        .tell(Change::Node(Told::Lost("gone".to_owned())))
        .await;
    scene
        .freshness
        .wait_for(|freshness| !freshness.is_live())
        .await
        .expect("the owner lives");
    assert_eq!(
        scene.freshness.borrow().lost,
        [(Kind::Node, "gone".to_owned())].into()
    );
    assert_eq!(*scene.snapshot.borrow(), before);
    scene.tell(Change::Node(Told::Connected)).await;
    scene
        .freshness
        .wait_for(Freshness::is_live)
        .await
        .expect("the owner lives");
    assert_eq!(scene.next().await, None, "nothing has changed");
}

#[tokio::test]
async fn a_kind_that_does_not_exist_is_not_lost_once_the_api_server_is_back() {
    let mut scene = scene(&[Kind::CiliumNode]);
    scene.tell(Change::CiliumNode(Told::Absent)).await;
    scene.next().await.expect("a snapshot");
    let lost = Told::Lost("connection refused".to_owned());
    scene.tell(Change::CiliumNode(lost)).await;
    let mut freshness = scene.freshness.clone();
    let lost = freshness.wait_for(|freshness| !freshness.is_live());
    lost.await.expect("the owner lives");
    scene.tell(Change::CiliumNode(Told::Absent)).await;
    let found = timeout(
        Duration::from_secs(1),
        freshness.wait_for(Freshness::is_live),
    )
    .await;
    found.expect("in time").expect("the owner lives");
    assert!(scene.next().await.is_none(), "nothing else has changed");
}
