//! What one node must do: its BGP instances, their peers, what each announces to whom, which learned routes it installs.

mod advertise;
pub mod announced;
pub mod datapath;
mod gate;
pub mod import;
mod instance;
mod known;
mod memory;
pub mod observed;
pub mod opening;
mod peer;
pub mod programmed;
mod services;
mod slices;
pub mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use api::family::{Afi, Safi};
use ipnet::IpNet;

pub use announced::Announced;
pub use datapath::{DatapathPlan, DatapathSettings};
pub use import::{Guards, ImportPlan, PrefixRule, Refusal, RoutesPlan, Target};
pub use memory::Memory;
pub use observed::{
    Observed, ObservedDatapath, ObservedPeer, ObservedRoutes, PeeringState, RefusedRoutes,
    RoutesProblem, WithheldRoutes,
};
pub use programmed::Programmed;

use crate::copy_on_write::CopyOnWrite;
use crate::rejected::Rejected;
use crate::snapshot::Snapshot;
use crate::withheld::Withheld;
use gate::Gate;
use memory::Instances;
use services::ServicePrefixes;

/// What does not come from Kubernetes objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Name of this node.
    pub node: String,
    /// Where a router ID comes from that the NodeConfig does not give.
    pub router_id: RouterIdMode,
    /// What is announced of a Service that has no endpoint at all.
    pub without_endpoints: WithoutEndpoints,
    /// The load balancer; `None` where the agent runs without one.
    pub datapath: Option<DatapathSettings>,
}

/// Value of `enable-no-service-endpoints-routable`: whether the addresses of a Service with traffic policy Cluster are
/// announced while it has no ready endpoint on any node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WithoutEndpoints {
    /// They are.
    #[default]
    Announce,
    /// They are not.
    Withhold,
}

/// Value of `bgp-router-id-allocation-mode`, as the agent reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RouterIdMode {
    /// From the node's address.
    #[default]
    Default,
    /// Only from the NodeConfig, where the operator writes it.
    IpPool,
}

/// All that this node must do, complete, and why not the rest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodePlan {
    /// BGP instances by name. Where nothing about them has changed they are the very same as in the plan before
    /// ([`CopyOnWrite::is`]).
    pub instances: CopyOnWrite<BTreeMap<String, InstancePlan>>,
    /// Learned routes that go into the kernel.
    pub routes: RoutesPlan,
    /// What cannot be carried out, in order of instance and peer, then of BGPRouteImport.
    pub rejected: Vec<Rejected>,
    /// What the load balancer does; `None` where the agent runs without one.
    pub datapath: Option<Arc<DatapathPlan>>,
    /// What has to wait.
    pub withheld: Vec<Withheld>,
    /// Where an address that the load balancer programs next makes another plan, see [`ObservedDatapath::is_news`].
    pub awaited: BTreeSet<IpNet>,
    /// Generation of the NodeConfig the plan was made from; `None` where there is none.
    pub generation: Option<i64>,
}

/// One BGP instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstancePlan {
    /// Our AS.
    pub local_asn: u32,
    /// Our BGP identifier.
    pub router_id: Ipv4Addr,
    /// Port to listen on; `None` only dials out.
    pub local_port: Option<u16>,
    /// Peers by name.
    pub peers: BTreeMap<String, PeerPlan>,
    /// Prefixes at least one peer is to hear of.
    pub originate: BTreeSet<IpNet>,
}

/// One peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerPlan {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Its AS; `None` learns it from its OPEN.
    pub asn: Option<u32>,
    /// Our end's address; `None` lets the kernel choose.
    pub local_address: Option<IpAddr>,
    /// Offered hold time, seconds.
    pub hold_time: u16,
    /// Keepalive interval, seconds.
    pub keepalive: u16,
    /// Connect-retry time.
    pub connect_retry: Duration,
    /// TTL towards an eBGP peer.
    pub ebgp_ttl: u8,
    /// Restart time where graceful restart is on, seconds.
    pub graceful_restart: Option<u16>,
    /// Families offered, in the order of the PeerConfig.
    pub families: Vec<IpFamily>,
    /// What is announced, with which attributes; no entry, no announcement.
    pub announce: BTreeMap<IpNet, Attributes>,
}

/// A unicast family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum IpFamily {
    /// IPv4 unicast.
    Ipv4,
    /// IPv6 unicast.
    Ipv6,
}

impl IpFamily {
    /// The family that these name, where it is one of ours.
    pub(super) fn unicast(afi: Afi, safi: Safi) -> Option<Self> {
        match (afi, safi) {
            (Afi::Ipv4, Safi::Unicast) => Some(Self::Ipv4),
            (Afi::Ipv6, Safi::Unicast) => Some(Self::Ipv6),
            (Afi::Ipv4 | Afi::Ipv6 | Afi::L2vpn | Afi::Ls | Afi::Opaque, _) => None,
        }
    }

    /// Whether `prefix` belongs to the family.
    #[must_use]
    pub fn contains(self, prefix: &IpNet) -> bool {
        matches!(
            (self, prefix),
            (Self::Ipv4, IpNet::V4(_)) | (Self::Ipv6, IpNet::V6(_))
        )
    }
}

/// Attributes added to an announcement. Several advertisements of one prefix merge: communities are united,
/// the largest local preference wins (Cilium 1.18, issue 35721).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    /// LOCAL_PREF for iBGP peers; `None` means 100.
    pub local_preference: Option<u32>,
    /// Standard and well-known communities.
    pub communities: BTreeSet<u32>,
    /// Large communities: global administrator and two local parts.
    pub large_communities: BTreeSet<(u32, u32, u32)>,
}

impl Attributes {
    fn merge(&mut self, other: &Self) {
        self.local_preference = self.local_preference.max(other.local_preference);
        self.communities.extend(&other.communities);
        self.large_communities.extend(&other.large_communities);
    }
}

/// Plans the node: every instance of its NodeConfig and every BGPRouteImport that can be carried out, what the load balancer
/// does, and the reasons for the rest.
///
/// No NodeConfig means no instance, and no routes to install. Instances and peers do not affect each other, except that
/// addresses and listening ports are given once.
#[must_use]
pub fn plan(snapshot: &Snapshot, settings: &Settings, observed: &Observed) -> NodePlan {
    replan(snapshot, settings, observed, &mut Memory::default())
}

/// The same plan as [`plan`]'s, made faster by what is remembered of the last one.
#[must_use]
pub fn replan(
    snapshot: &Snapshot,
    settings: &Settings,
    observed: &Observed,
    memory: &mut Memory,
) -> NodePlan {
    memory.services.follow(snapshot, settings);
    let known = &memory.services;
    let datapath = settings.datapath.as_ref();
    let datapath = datapath
        .map(|of_datapath| datapath::plan(snapshot, settings, of_datapath, observed, known));
    let mut plan = NodePlan::default();
    if let Some(config) = snapshot.node_configs.get(&settings.node) {
        plan.generation = config.metadata.generation;
        let observed_datapath = observed.datapath.as_ref();
        let mut gate = Gate::new(observed_datapath.filter(|_| datapath.is_some()));
        let services = ServicePrefixes::of_entries(known.entries(), &mut gate);
        plan.awaited = gate.awaited();
        plan.withheld = gate.into_withheld();
        let context = instance::Context {
            node: instance::node(snapshot, settings),
            router_id: settings.router_id,
            peer_configs: &snapshot.peer_configs,
            advertisements: &snapshot.advertisements,
            interfaces: &observed.interfaces,
            services: &services,
        };
        let wanted = &config.spec.bgp_instances;
        (plan.instances, plan.rejected) =
            memory.instances(&context, wanted, || instances(&context, wanted));
        let (services, announced) = (memory.services.guarded(), &mut memory.announced);
        let (routes, rejected) = import::plan(
            snapshot,
            settings,
            observed,
            &plan.instances,
            services,
            announced,
        );
        plan.routes = routes;
        plan.rejected.extend(rejected);
    }
    if let Some(mut datapath) = datapath {
        if let Some(observed_datapath) = &observed.datapath {
            let leaving: Vec<_> = leaving(&observed.announced, &plan.instances).collect();
            plan.awaited.extend(leaving.iter().copied());
            datapath.hold = datapath::hold(&datapath, &observed_datapath.programmed, &leaving);
            plan.withheld
                .extend(observed_datapath.withheld.iter().cloned());
        }
        plan.datapath = Some(Arc::new(datapath));
    }
    plan
}

/// What is announced and is not to be any more.
fn leaving<'a>(
    announced: &'a BTreeSet<IpNet>,
    instances: &'a BTreeMap<String, InstancePlan>,
) -> impl Iterator<Item = &'a IpNet> {
    static NOTHING: BTreeSet<IpNet> = BTreeSet::new();
    let mut originate = instances.values().map(|instance| &instance.originate);
    let first = originate.next().unwrap_or(&NOTHING);
    let others: Vec<_> = originate.collect();
    // Both in order: most nodes have one instance, and no prefix is looked for.
    let left = announced.difference(first);
    left.filter(move |prefix| !others.iter().any(|others| others.contains(prefix)))
}

fn instances(context: &instance::Context<'_>, wanted: &[api::node_config::Instance]) -> Instances {
    let mut planned = BTreeMap::new();
    let mut all_rejected = Vec::new();
    let mut ports = BTreeSet::new();
    for wanted in wanted {
        match instance::plan(context, wanted, &mut ports) {
            Ok((instance, rejected)) => {
                planned.insert(wanted.name.clone(), instance);
                all_rejected.extend(rejected);
            }
            Err(reason) => {
                all_rejected.push(Rejected {
                    instance: Some(wanted.name.clone()),
                    peer: None,
                    reason,
                });
            }
        }
    }
    (planned.into(), all_rejected)
}
