//! Which learned routes go into this node's kernel, and why not the rest.
//!
//! Two parties decide on a prefix. The rules of a BGPRouteImport accept or reject it; then the [`Guards`] refuse what would
//! harm the node or the cluster, whatever the rules say. [`RoutesPlan::verdict`] asks both.

mod guards;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;

use api::route_import::{
    self, Action, REFUSED_PROTOCOLS, REFUSED_TABLES, RouteAfi, RouteImportSpec, RouteSafi,
};
use ipnet::IpNet;

use guards::lies_in;
pub(super) use guards::{GuardedAnnounced, GuardedServices};

use super::instance;
use super::observed::Observed;
use super::{InstancePlan, IpFamily, Settings};
use crate::copy_on_write::CopyOnWrite;
use crate::rejected::{ImportProblem, Reason, Rejected, RuleProblem};
use crate::snapshot::Snapshot;

/// Where routes are installed: their mark in the kernel. Several imports may share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Routing table.
    pub table: u32,
    /// Routing protocol number (`RTPROT_*` of `linux/rtnetlink.h`).
    pub protocol: u8,
    /// Metric (`RTA_PRIORITY`).
    pub metric: u32,
}

/// The learned routes of one BGPRouteImport that this node installs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportPlan {
    /// Name of the BGPRouteImport.
    pub name: String,
    /// BGP instances whose routes count; `None` means all.
    pub instances: Option<BTreeSet<String>>,
    /// Peers whose routes count, by name; `None` means all.
    pub peers: Option<BTreeSet<String>>,
    /// Families installed.
    pub families: BTreeSet<IpFamily>,
    /// First match decides; what no rule matches is refused.
    pub rules: Vec<PrefixRule>,
    /// Next hops of one route at most.
    pub maximum_paths: NonZeroU16,
}

/// One rule of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixRule {
    /// The prefix that matching prefixes lie in or equal.
    pub prefix: IpNet,
    /// Least prefix length.
    pub min_length: u8,
    /// Greatest prefix length.
    pub max_length: u8,
    /// Whether matching routes are installed.
    pub accept: bool,
}

/// Everything about learned routes on this node: imports by target in order of their names, and what is never installed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoutesPlan {
    /// Imports; empty installs nothing.
    pub imports: BTreeMap<Target, Vec<ImportPlan>>,
    /// What no import may install.
    pub guards: Arc<Guards>,
}

/// Prefixes that are refused, each kind with its reason. None has bits behind its length.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Guards {
    /// Pod CIDRs of this node.
    pub pod_cidrs: Vec<IpNet>,
    /// Service CIDRs of the cluster.
    pub service_cidrs: Vec<IpNet>,
    /// Addresses of this node, on any device, as host prefixes.
    pub node_addresses: BTreeSet<IpNet>,
    /// Prefixes the node is connected to.
    pub connected: BTreeSet<IpNet>,
    /// Addresses of this cluster's Services, as host prefixes: any of them may be announced.
    pub service_addresses: CopyOnWrite<BTreeSet<IpNet>>,
    /// What this node announces itself, in any instance to any peer.
    pub announced: CopyOnWrite<BTreeSet<IpNet>>,
}

/// Why a learned route is not installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// No rule accepts it.
    NotAccepted,
    /// A default route that no rule names: one names it that matches nothing else, with a greatest length of 0. The same for its halves and
    /// other parts shorter than /8 (IPv4) or /4 (IPv6), which a rule names that matches nothing longer.
    DefaultRoute,
    /// A pod CIDR of this node, or a part of one. (What contains one does no harm: the routes to the pods are more specific,
    /// and to what else there may be in it there is no other way.)
    PodCidr,
    /// A service CIDR, or a part of one. (What contains one does no harm: an address of a Service is translated before it is
    /// routed, or after a routing decision that any route may have made.)
    ServiceCidr,
    /// An address of this node.
    NodeAddress,
    /// A prefix the node is connected to; or a part of it that no rule names, by a prefix of its own that lies there too. A
    /// part would take neighbours away from the wire they are on, the router that told of it among them.
    Connected,
    /// An address of a Service of this cluster: its home is here.
    ServiceAddress,
    /// What this node announces itself: whoever asks here for it would be sent back to where it came from.
    Announced,
    /// Loopback (RFC 6890).
    Loopback,
    /// Link-local (RFC 3927, RFC 4291 section 2.5.6).
    LinkLocal,
    /// Multicast (RFC 5771, RFC 4291 section 2.7).
    Multicast,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotAccepted => "accepted by no rule",
            Self::DefaultRoute => "default route",
            Self::PodCidr => "pod CIDR of this node",
            Self::ServiceCidr => "service CIDR",
            Self::NodeAddress => "address of this node",
            Self::Connected => "connected network",
            Self::ServiceAddress => "address of a Service",
            Self::Announced => "announced by this node",
            Self::Loopback => "loopback",
            Self::LinkLocal => "link-local",
            Self::Multicast => "multicast",
        })
    }
}

impl RoutesPlan {
    /// Whether `import` may install a route to `prefix`, which has no bits behind its length. Meant to be asked for every
    /// prefix of a full table.
    ///
    /// # Errors
    ///
    /// Why not: [`Refusal::NotAccepted`] where the import's rules or families do not let it through, else what the guards
    /// say.
    pub fn verdict(&self, import: &ImportPlan, prefix: &IpNet) -> Result<(), Refusal> {
        let rule = import.rule(prefix).filter(|rule| rule.accept);
        let rule = rule.ok_or(Refusal::NotAccepted)?;
        self.guards.refusal(rule, prefix).map_or(Ok(()), Err)
    }
}

impl ImportPlan {
    /// The rule that decides on `prefix`.
    fn rule(&self, prefix: &IpNet) -> Option<&PrefixRule> {
        let is_family = self.families.iter().any(|family| family.contains(prefix));
        let mut rules = self.rules.iter().filter(|_| is_family);
        rules.find(|rule| rule.matches(prefix))
    }
}

impl PrefixRule {
    fn matches(&self, prefix: &IpNet) -> bool {
        let length = prefix.prefix_len();
        self.min_length <= length && length <= self.max_length && lies_in(prefix, &self.prefix)
    }
}

/// The imports that select this node, each complete or rejected, and what none of them may install. Without an import
/// nothing is installed, and there is nothing to guard. `instances` are what the node announces.
pub(super) fn plan(
    snapshot: &Snapshot,
    settings: &Settings,
    observed: &Observed,
    instances: &CopyOnWrite<BTreeMap<String, InstancePlan>>,
    services: Option<&GuardedServices>,
    announced: &mut GuardedAnnounced,
) -> (RoutesPlan, Vec<Rejected>) {
    let mut plan = RoutesPlan::default();
    let mut rejected = Vec::new();
    let empty = BTreeMap::new();
    let labels = instance::node(snapshot, settings).map_or(&empty, |node| &node.labels);
    for (name, import) in &snapshot.route_imports {
        match of_import(name, &import.spec, labels) {
            Ok(Some((target, import))) => plan.imports.entry(target).or_default().push(import),
            Ok(None) => {}
            Err(problem) => rejected.push(Rejected {
                instance: None,
                peer: None,
                reason: Reason::RouteImportInvalid {
                    import: name.clone(),
                    problem,
                },
            }),
        }
    }
    if !plan.imports.is_empty() {
        let guards = guards::guards(snapshot, settings, observed, instances, services, announced);
        plan.guards = Arc::new(guards);
    }
    (plan, rejected)
}

/// What an import asks of a node with these labels; nothing where it does not select the node.
fn of_import(
    name: &str,
    spec: &RouteImportSpec,
    labels: &BTreeMap<String, String>,
) -> Result<Option<(Target, ImportPlan)>, ImportProblem> {
    let selector = spec.node_selector.as_ref();
    let selector = selector.map(api::LabelSelector::parse).transpose()?;
    if selector.is_some_and(|selector| !selector.matches(labels)) {
        return Ok(None);
    }
    let rules = spec.rules.iter().enumerate();
    let rules = rules.map(|(index, wanted)| {
        rule(wanted).map_err(|problem| ImportProblem::Rule { index, problem })
    });
    let families = spec.effective_families().iter();
    let families = families.map(|family| match (family.afi, family.safi) {
        (RouteAfi::Ipv4, RouteSafi::Unicast) => IpFamily::Ipv4,
        (RouteAfi::Ipv6, RouteSafi::Unicast) => IpFamily::Ipv6,
    });
    let names =
        |names: &Option<Vec<String>>| names.as_ref().map(|names| names.iter().cloned().collect());
    let import = ImportPlan {
        name: name.to_owned(),
        instances: names(&spec.instances),
        peers: names(&spec.peers),
        families: families.collect(),
        rules: rules.collect::<Result<_, _>>()?,
        maximum_paths: NonZeroU16::new(spec.maximum_paths()).ok_or(ImportProblem::MaximumPaths)?,
    };
    Ok(Some((target(spec)?, import)))
}

/// The schema says the same of what the API server takes in.
fn target(spec: &RouteImportSpec) -> Result<Target, ImportProblem> {
    let target = Target {
        table: spec.table(),
        protocol: spec.protocol(),
        metric: spec.metric(),
    };
    if REFUSED_TABLES.contains(&target.table) {
        return Err(ImportProblem::Table(target.table));
    }
    if REFUSED_PROTOCOLS.contains(&target.protocol) {
        return Err(ImportProblem::Protocol(target.protocol));
    }
    // The kernel makes 1024 of it for IPv6.
    if target.metric == 0 {
        return Err(ImportProblem::Metric);
    }
    Ok(target)
}

fn rule(wanted: &route_import::PrefixRule) -> Result<PrefixRule, RuleProblem> {
    let prefix: IpNet = wanted
        .cidr
        .parse()
        .map_err(|_| RuleProblem::Cidr(wanted.cidr.clone()))?;
    if prefix.trunc() != prefix {
        return Err(RuleProblem::BitsBehind(prefix));
    }
    let min_length = wanted.min_length.unwrap_or(prefix.prefix_len());
    let max_length = wanted.max_length.unwrap_or(prefix.max_prefix_len());
    let bounds = prefix.prefix_len()..=prefix.max_prefix_len();
    if !bounds.contains(&min_length) || !bounds.contains(&max_length) || min_length > max_length {
        return Err(RuleProblem::Lengths {
            prefix,
            min_length,
            max_length,
        });
    }
    Ok(PrefixRule {
        prefix,
        min_length,
        max_length,
        accept: wanted.action == Action::Accept,
    })
}
