//! The owner of the snapshot: gathers what the watches tell, publishes what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use api::{
    BGPRouteImport, CiliumBGPAdvertisement, CiliumBGPClusterConfig, CiliumBGPNodeConfig,
    CiliumBGPNodeConfigOverride, CiliumBGPPeerConfig, CiliumLoadBalancerIPPool,
};
use plan::{EndpointSliceFacts, NodeFacts, ServiceCidrFacts, ServiceFacts, Snapshot};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use crate::burst::{self, Burst, PACE};
use crate::interest::{Interest, Kind, NodeConfigInterest, NodeInterest, ServiceInterest};
use crate::watch::{Objects, Source, Told, watch};
use crate::wire::{self, Wire};

/// Changes that may wait for the owner. A watch that is faster waits; none is lost.
const CHANGES: usize = 256;

/// What is followed, for as long as this lives.
#[derive(Debug)]
pub struct Following {
    /// The newest snapshot; `None` until every kind has been listed.
    pub snapshot: watch::Receiver<Option<Arc<Snapshot>>>,
    /// How new it is.
    pub freshness: watch::Receiver<Freshness>,
    _tasks: JoinSet<()>,
}

/// How far the snapshot can be trusted to be what the API server says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Freshness {
    /// Kinds that have not been listed yet. While there are any, there is no snapshot.
    pub unlisted: BTreeSet<Kind>,
    /// Kinds whose watch is broken at present, each with the reason. Their part of the snapshot stands still.
    pub lost: BTreeMap<Kind, String>,
    /// Kinds that the API server does not know.
    pub absent: BTreeSet<Kind>,
}

impl Freshness {
    /// Whether every kind is listed and watched.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.unlisted.is_empty() && self.lost.is_empty()
    }
}

/// Follows what `interest` names. Needs a tokio runtime with time and network; starts one task per kind and one more.
#[must_use]
pub fn follow(client: &kube::Client, interest: &Interest) -> Following {
    let (changes, told) = mpsc::channel(CHANGES);
    let mut watches = Watches {
        client,
        changes,
        tasks: JoinSet::new(),
        kinds: BTreeSet::new(),
    };
    watches.start_all(interest);
    let Watches {
        tasks: mut tasks_of_kinds,
        kinds,
        ..
    } = watches;

    let specs_only = interest.node_configs == Some(NodeConfigInterest::Specs);
    let expects_addresses = interest.services == Some(ServiceInterest::Traffic);
    let freshness = Freshness {
        unlisted: kinds,
        ..Freshness::default()
    };
    let (snapshot_sender, snapshot) = watch::channel(None);
    let (freshness_sender, freshness_receiver) = watch::channel(freshness.clone());
    let owner = Owner {
        snapshot: Snapshot::default(),
        freshness,
        specs_only,
        expects_addresses,
    };
    tasks_of_kinds.spawn(owner.run(told, snapshot_sender, freshness_sender));
    Following {
        snapshot,
        freshness: freshness_receiver,
        _tasks: tasks_of_kinds,
    }
}

/// What a watch tells, by kind.
#[derive(Debug)]
pub(crate) enum Change {
    Node(Told<NodeFacts>),
    CiliumNode(Told<NodeFacts>),
    ClusterConfig(Told<CiliumBGPClusterConfig>),
    PeerConfig(Told<CiliumBGPPeerConfig>),
    Advertisement(Told<CiliumBGPAdvertisement>),
    Override(Told<CiliumBGPNodeConfigOverride>),
    NodeConfig(Told<CiliumBGPNodeConfig>),
    Secret(Told<()>),
    Pool(Told<CiliumLoadBalancerIPPool>),
    Service(Told<ServiceFacts>),
    EndpointSlice(Told<EndpointSliceFacts>),
    ServiceCidr(Told<ServiceCidrFacts>),
    RouteImport(Told<BGPRouteImport>),
}

struct Watches<'a> {
    client: &'a kube::Client,
    changes: mpsc::Sender<Change>,
    tasks: JoinSet<()>,
    kinds: BTreeSet<Kind>,
}

impl Watches<'_> {
    fn start_all(&mut self, interest: &Interest) {
        let Interest {
            nodes,
            cilium_nodes,
            cluster_configs,
            peer_configs,
            advertisements,
            overrides,
            node_configs,
            secrets_namespace,
            pools,
            services,
            endpoint_slices,
            service_cidrs,
            route_imports,
        } = interest;
        if let Some(nodes) = nodes {
            self.start_nodes(Kind::Node, CORE, nodes, Change::Node);
        }
        if let Some(nodes) = cilium_nodes {
            self.start_nodes(Kind::CiliumNode, CILIUM, nodes, Change::CiliumNode);
        }
        if *cluster_configs {
            self.start_whole(Kind::ClusterConfig, CILIUM, Change::ClusterConfig);
        }
        if *peer_configs {
            self.start_whole(Kind::PeerConfig, CILIUM, Change::PeerConfig);
        }
        if *advertisements {
            self.start_whole(Kind::Advertisement, CILIUM, Change::Advertisement);
        }
        if *overrides {
            self.start_whole(Kind::Override, CILIUM, Change::Override);
        }
        if let Some(node_configs) = node_configs {
            self.start_node_configs(node_configs);
        }
        if let Some(namespace) = secrets_namespace {
            self.start(
                Kind::Secret,
                &format!("{CORE}/namespaces/{namespace}"),
                None,
                true,
                Change::Secret,
            );
        }
        if *pools {
            self.start_whole(Kind::Pool, CILIUM, Change::Pool);
        }
        if let Some(services) = services {
            let slim = match services {
                ServiceInterest::Whole => |_: &mut ServiceFacts| {},
                ServiceInterest::Traffic => wire::drop_address_requests,
            };
            self.start_with(Kind::Service, CORE, None, false, slim, Change::Service);
        }
        if *endpoint_slices {
            self.start_whole(Kind::EndpointSlice, DISCOVERY, Change::EndpointSlice);
        }
        if *service_cidrs {
            self.start_whole(Kind::ServiceCidr, NETWORKING, Change::ServiceCidr);
        }
        if *route_imports {
            self.start_whole(Kind::RouteImport, TOMBOLO, Change::RouteImport);
        }
    }

    fn start_nodes(
        &mut self,
        kind: Kind,
        group: &str,
        nodes: &NodeInterest,
        wrap: fn(Told<NodeFacts>) -> Change,
    ) {
        match nodes {
            NodeInterest::Labels => self.start(kind, group, None, true, wrap),
            NodeInterest::Named(name) => self.start(kind, group, Some(name.clone()), false, wrap),
            NodeInterest::All => self.start(kind, group, None, false, wrap),
        }
    }

    fn start_node_configs(&mut self, node_configs: &NodeConfigInterest) {
        let (only, slim): (_, fn(&mut _)) = match node_configs {
            NodeConfigInterest::Specs => (None, wire::drop_status),
            NodeConfigInterest::Named(name) => (Some(name.clone()), |_| {}),
        };
        let wrap = Change::NodeConfig;
        self.start_with(Kind::NodeConfig, CILIUM, only, false, slim, wrap);
    }

    /// All objects of the kind, complete.
    fn start_whole<T: Wire>(&mut self, kind: Kind, group: &str, wrap: fn(Told<T>) -> Change) {
        self.start(kind, group, None, false, wrap);
    }

    fn start<T: Wire>(
        &mut self,
        kind: Kind,
        group: &str,
        only: Option<String>,
        metadata_only: bool,
        wrap: fn(Told<T>) -> Change,
    ) {
        self.start_with(kind, group, only, metadata_only, |_| {}, wrap);
    }

    fn start_with<T: Wire>(
        &mut self,
        kind: Kind,
        group: &str,
        only: Option<String>,
        metadata_only: bool,
        slim: fn(&mut T),
        wrap: fn(Told<T>) -> Change,
    ) {
        let path = format!("{group}/{kind}");
        let source = Source {
            client: self.client.clone(),
            kind,
            path,
            only,
            metadata_only,
            slim,
        };
        self.kinds.insert(kind);
        self.tasks.spawn(watch(source, wrap, self.changes.clone()));
    }
}

const CORE: &str = "/api/v1";
const DISCOVERY: &str = "/apis/discovery.k8s.io/v1";
const NETWORKING: &str = "/apis/networking.k8s.io/v1";
const CILIUM: &str = "/apis/cilium.io/v2";
const TOMBOLO: &str = "/apis/tombolo.io/v1alpha1";

struct Owner {
    snapshot: Snapshot,
    freshness: Freshness,
    specs_only: bool,
    /// Somebody else gives Services their addresses.
    expects_addresses: bool,
}

impl Owner {
    async fn run(
        mut self,
        mut told: mpsc::Receiver<Change>,
        snapshots: watch::Sender<Option<Arc<Snapshot>>>,
        freshness: watch::Sender<Freshness>,
    ) {
        // When what has changed is to be published.
        let mut pending = None;
        let mut burst = Burst::default();
        loop {
            let due = self.due(pending, &burst);
            tokio::select! {
                change = told.recv() => match change {
                    Some(change) => pending = self.take_by(change, pending),
                    None => return,
                },
                () = until(due), if due.is_some() => {}
            }
            while let Ok(change) = told.try_recv() {
                pending = self.take_by(change, pending);
            }
            let now = Instant::now();
            if self.due(pending, &burst).is_some_and(|due| due <= now) {
                pending = None;
                burst.publish(now.into_std());
                snapshots.send_replace(Some(Arc::new(self.shown())));
            }
            freshness.send_if_modified(|published| {
                let changed = *published != self.freshness;
                if changed {
                    published.clone_from(&self.freshness);
                }
                changed
            });
        }
    }

    /// What readers get. Without the kind of the pools there are no Services: an API server that has lost the kind must
    /// not look like a user who has removed all pools, for which Services lose their addresses.
    fn shown(&self) -> Snapshot {
        let mut snapshot = self.snapshot.clone();
        if self.freshness.absent.contains(&Kind::Pool) {
            snapshot.services.clear();
        }
        snapshot
    }

    /// When what is to be published at `pending` may be.
    fn due(&self, pending: Option<Instant>, burst: &Burst) -> Option<Instant> {
        let pending = pending.filter(|_| self.freshness.unlisted.is_empty())?;
        let not_before = burst.not_before().map(Instant::from_std);
        Some(not_before.map_or(pending, |not_before| pending.max(not_before)))
    }

    /// Takes a change, and says when what is pending is to be published then.
    fn take_by(&mut self, change: Change, pending: Option<Instant>) -> Option<Instant> {
        let is_first = self.expects_addresses && burst::is_begun_by(&change, &self.snapshot);
        let patience = if is_first { PACE } else { Duration::ZERO };
        if !self.take(change) {
            return pending;
        }
        let at = Instant::now() + patience;
        Some(pending.map_or(at, |pending| pending.min(at)))
    }

    /// Whether the snapshot says something else than before.
    fn take(&mut self, change: Change) -> bool {
        let Self {
            snapshot,
            freshness,
            specs_only,
            expects_addresses: _,
        } = self;
        match change {
            Change::Node(told) => freshness
                .note(Kind::Node, told)
                .is_some_and(|told| told.into(&mut snapshot.nodes)),
            Change::CiliumNode(told) => {
                freshness.note(Kind::CiliumNode, told).is_some_and(|told| {
                    let absent = matches!(told, News::Absent);
                    let before = snapshot.cilium_nodes.is_some();
                    let changed = told.into(snapshot.cilium_nodes.get_or_insert_default());
                    if absent {
                        snapshot.cilium_nodes = None;
                    }
                    changed || before == absent
                })
            }
            Change::ClusterConfig(told) => freshness
                .note(Kind::ClusterConfig, told)
                .is_some_and(|told| told.into(&mut snapshot.cluster_configs)),
            Change::PeerConfig(told) => freshness
                .note(Kind::PeerConfig, told)
                .is_some_and(|told| told.into(&mut snapshot.peer_configs)),
            Change::Advertisement(told) => freshness
                .note(Kind::Advertisement, told)
                .is_some_and(|told| told.into(&mut snapshot.advertisements)),
            Change::Override(told) => freshness
                .note(Kind::Override, told)
                .is_some_and(|told| told.into(&mut snapshot.overrides)),
            Change::NodeConfig(told) => {
                freshness.note(Kind::NodeConfig, told).is_some_and(|told| {
                    if *specs_only {
                        told.into_if(&mut snapshot.node_configs, wire::same_wish)
                    } else {
                        told.into(&mut snapshot.node_configs)
                    }
                })
            }
            Change::Secret(told) => freshness
                .note(Kind::Secret, told)
                .is_some_and(|told| told.into_names(&mut snapshot.secrets)),
            Change::Pool(told) => {
                let was_absent = freshness.absent.contains(&Kind::Pool);
                freshness.note(Kind::Pool, told).is_some_and(|told| {
                    let came = was_absent && !matches!(told, News::Absent);
                    told.into(&mut snapshot.pools) || came
                })
            }
            Change::Service(told) => freshness
                .note(Kind::Service, told)
                .filter(|told| !told.is_known(&snapshot.services))
                .is_some_and(|told| told.into(&mut snapshot.services)),
            Change::EndpointSlice(told) => freshness
                .note(Kind::EndpointSlice, told)
                .filter(|told| !told.is_known(&snapshot.endpoint_slices))
                .is_some_and(|told| told.into(&mut snapshot.endpoint_slices)),
            Change::ServiceCidr(told) => freshness
                .note(Kind::ServiceCidr, told)
                .is_some_and(|told| told.into(&mut snapshot.service_cidrs)),
            Change::RouteImport(told) => freshness
                .note(Kind::RouteImport, told)
                .is_some_and(|told| told.into(&mut snapshot.route_imports)),
        }
    }
}

async fn until(due: Option<Instant>) {
    if let Some(due) = due {
        sleep_until(due).await;
    }
}

impl Freshness {
    /// Notes what a watch says of itself, and gives back what it says of its objects. The first list of a kind is
    /// always news: it may be the last one that a snapshot waits for.
    fn note<T: Wire>(&mut self, kind: Kind, told: Told<T>) -> Option<News<T>> {
        let news = match told {
            Told::All(objects) => News::All {
                objects,
                first: self.unlisted.remove(&kind),
            },
            Told::Set(name, value) => return Some(News::Set(name, value)),
            Told::Removed(name) => return Some(News::Removed(name)),
            Told::Absent => {
                let first = self.unlisted.remove(&kind);
                // An API server that answers so is there again, whether or not the answer is known.
                self.found(kind);
                if !self.absent.insert(kind) && !first {
                    return None;
                }
                debug!(%kind, "the API server does not know this kind");
                return Some(News::Absent);
            }
            Told::Connected => {
                self.found(kind);
                return None;
            }
            Told::Lost(reason) => {
                if self.lost.is_empty() {
                    warn!(%kind, reason, "watch is broken");
                }
                self.lost.insert(kind, reason);
                return None;
            }
        };
        self.absent.remove(&kind);
        self.found(kind);
        Some(news)
    }

    fn found(&mut self, kind: Kind) {
        if self.lost.remove(&kind).is_some() && self.lost.is_empty() {
            info!("all watches work again");
        }
    }
}

/// What is new among the objects of a kind.
enum News<T: Wire> {
    All { objects: Objects<T>, first: bool },
    Set(T::Name, Arc<T>),
    Removed(T::Name),
    Absent,
}

impl<T: Wire + PartialEq> News<T> {
    /// Whether it says of one object what is known. Asked first where to change the objects means to copy them all.
    fn is_known(&self, objects: &Objects<T>) -> bool {
        match self {
            Self::Set(name, value) => objects.get(name) == Some(value),
            Self::Removed(name) => !objects.contains_key(name),
            Self::All { .. } | Self::Absent => false,
        }
    }

    /// An object that says what it said stays the same `Arc`, by which planners know it.
    fn into(self, objects: &mut Objects<T>) -> bool {
        match self {
            Self::All {
                objects: mut new,
                first,
            } => {
                for (name, value) in &mut new {
                    if let Some(old) = objects.get(name).filter(|old| *old == value) {
                        *value = Arc::clone(old);
                    }
                }
                Self::All {
                    objects: new,
                    first,
                }
                .into_if(objects, |a, b| a == b)
            }
            Self::Set(name, value) => {
                let is_news = objects.get(&name) != Some(&value);
                if is_news {
                    objects.insert(name, value);
                }
                is_news
            }
            other @ (Self::Removed(_) | Self::Absent) => other.into_if(objects, |a, b| a == b),
        }
    }
}

impl<T: Wire> News<T> {
    /// Changes `objects` and says whether they now say something else, where `same` tells what says the same. The
    /// newest state is kept in any case.
    fn into_if(self, objects: &mut Objects<T>, same: fn(&T, &T) -> bool) -> bool {
        match self {
            Self::All {
                objects: new,
                first,
            } => {
                let old = std::mem::replace(objects, new);
                let equal = old.len() == objects.len()
                    && old
                        .iter()
                        .zip(objects.iter())
                        .all(|((a, old), (b, new))| a == b && same(old, new));
                first || !equal
            }
            Self::Set(name, value) => match objects.insert(name, value.clone()) {
                Some(old) => !same(&old, &value),
                None => true,
            },
            Self::Removed(name) => objects.remove(&name).is_some(),
            Self::Absent => {
                objects.clear();
                true
            }
        }
    }
}

impl News<()> {
    fn into_names(self, names: &mut BTreeSet<String>) -> bool {
        match self {
            Self::All { objects, first } => {
                let new: BTreeSet<_> = objects.into_keys().collect();
                let changed = first || new != *names;
                *names = new;
                changed
            }
            Self::Set(name, _) => names.insert(name),
            Self::Removed(name) => names.remove(&name),
            Self::Absent => {
                names.clear();
                true
            }
        }
    }
}

#[cfg(test)]
mod tests;
