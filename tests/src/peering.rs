//! Sessions as both sides see them: the router by its own command, the node by its NodeConfig.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ::lab::error::Error;
use ::lab::router::{KernelRoute, Neighbor, Route, Router};
use ::lab::topology::NodeSpec;
use ::lab::wait;
use api::CiliumBGPNodeConfig;
use api::node_config::{PeerStatus, PeeringState};
use ipnet::IpNet;

use crate::{Failure, Lab, claim, eventually, manifests};

/// The first address of a node, which the published router peers with.
///
/// # Panics
/// When the topology gives a node no address: such a topology means nothing.
#[must_use]
pub fn address(node: &NodeSpec) -> IpAddr {
    *node.addresses.first().expect("a node has an address")
}

/// The first pod range of a node.
///
/// # Panics
/// When the topology gives a node none.
#[must_use]
pub fn pod_cidr(node: &NodeSpec) -> IpNet {
    *node.pod_cidrs.first().expect("a node has a pod range")
}

/// The nodes' addresses in the order of the topology, as the published router knows its peers.
#[must_use]
pub fn node_addresses(lab: &Lab) -> Vec<IpAddr> {
    lab.cluster.topology().nodes.iter().map(address).collect()
}

/// Applies the published resources and waits until every node's pod range is in the router's kernel.
///
/// # Errors
/// When that takes more than 15 s.
pub fn as_published(lab: &Lab) -> Result<(), Failure> {
    lab.cluster.apply(manifests::BGP)?;
    await_kernel_routes(lab, Duration::from_secs(15))
}

/// Waits until the published router's kernel has a route to each node's pod range by way of that node.
///
/// # Errors
/// [`Error::Deadline`] for the first that it has not.
pub fn await_kernel_routes(lab: &Lab, patience: Duration) -> Result<(), Failure> {
    let start = Instant::now();
    let router = lab.router()?;
    lab.cluster.topology().nodes.iter().try_for_each(|node| {
        await_kernel_route(
            router,
            pod_cidr(node),
            address(node),
            patience.saturating_sub(start.elapsed()),
        )
    })
}

/// Waits until `router` has an established session with each of `peers`.
///
/// # Errors
/// [`Error::Deadline`] that names the peers without one.
pub fn await_sessions(
    router: &Router,
    peers: &[IpAddr],
    patience: Duration,
) -> Result<(), Failure> {
    await_neighbors(router, peers, "is established", patience, |neighbor| {
        neighbor.is_established()
    })
}

/// Waits until `router` has no established session with any of `peers`.
///
/// # Errors
/// [`Error::Deadline`] that names the peers with one.
pub fn await_no_sessions(
    router: &Router,
    peers: &[IpAddr],
    patience: Duration,
) -> Result<(), Failure> {
    await_neighbors(router, peers, "is down", patience, |neighbor| {
        !neighbor.is_established()
    })
}

fn await_neighbors(
    router: &Router,
    peers: &[IpAddr],
    awaited: &str,
    patience: Duration,
    holds: impl Fn(&Neighbor) -> bool,
) -> Result<(), Failure> {
    let start = Instant::now();
    loop {
        let neighbors = router.summary()?;
        let fulfilled = |peer: &&IpAddr| {
            neighbors
                .iter()
                .any(|neighbor| neighbor.address == **peer && holds(neighbor))
        };
        let missing: Vec<String> = peers
            .iter()
            .filter(|peer| !fulfilled(peer))
            .map(ToString::to_string)
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let waited = start.elapsed();
        if waited >= patience {
            let awaited = format!(
                "the session of {} with {} {awaited}",
                router.name(),
                missing.join(", ")
            );
            return Err(Error::Deadline { awaited, waited }.into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One neighbour of a router.
///
/// # Errors
/// When the router has no such neighbour.
pub fn neighbor(router: &Router, address: IpAddr) -> Result<Neighbor, Failure> {
    let found = router.neighbor(address)?;
    found.ok_or_else(|| Failure::Untrue(format!("{} is a neighbour of {}", address, router.name())))
}

/// Waits until the router's kernel has a route of a routing daemon's to `prefix` by way of `via`.
///
/// # Errors
/// [`Error::Deadline`].
pub fn await_kernel_route(
    router: &Router,
    prefix: IpNet,
    via: IpAddr,
    patience: Duration,
) -> Result<(), Failure> {
    await_next_hops(router, prefix, &[via], patience)
}

/// Waits until the router's kernel has a route of a routing daemon's to `prefix` by way of all of `vias`, which are
/// sorted, and of nothing else.
///
/// # Errors
/// [`Error::Deadline`].
pub fn await_next_hops(
    router: &Router,
    prefix: IpNet,
    vias: &[IpAddr],
    patience: Duration,
) -> Result<(), Failure> {
    let list: Vec<_> = vias.iter().map(ToString::to_string).collect();
    let awaited = format!(
        "the kernel of {} has a route to {prefix} via {}",
        router.name(),
        list.join(", ")
    );
    wait::try_until(patience, &awaited, || {
        let routes = router.kernel_routes()?;
        Ok((next_hops(&routes, prefix) == vias).then_some(()))
    })?;
    Ok(())
}

/// Waits until the router's kernel has no route to `prefix`.
///
/// # Errors
/// [`Error::Deadline`].
pub fn await_no_kernel_route(
    router: &Router,
    prefix: IpNet,
    patience: Duration,
) -> Result<(), Failure> {
    let awaited = format!("the kernel of {} has no route to {prefix}", router.name());
    wait::try_until(patience, &awaited, || {
        Ok(router
            .kernel_routes()?
            .iter()
            .all(|route| route.prefix != prefix)
            .then_some(()))
    })?;
    Ok(())
}

/// Whether a routing daemon installed a route to `prefix` by way of `via`, and of nothing else.
#[must_use]
pub fn has_kernel_route(routes: &[KernelRoute], prefix: IpNet, via: IpAddr) -> bool {
    next_hops(routes, prefix) == [via]
}

/// The gateways of the route to `prefix` that a routing daemon installed, sorted; none where there is no such route.
#[must_use]
pub fn next_hops(routes: &[KernelRoute], prefix: IpNet) -> Vec<IpAddr> {
    let mut routes = routes.iter();
    let route = routes
        .find(|route| route.prefix == prefix && matches!(route.protocol.as_str(), "bgp" | "bird"));
    route.map(gateways).unwrap_or_default()
}

/// The gateways of a route, sorted.
#[must_use]
pub fn gateways(route: &KernelRoute) -> Vec<IpAddr> {
    let mut gateways: Vec<_> = route.next_hops.iter().filter_map(|hop| hop.via).collect();
    gateways.sort_unstable();
    gateways
}

/// Waits until `router` has a path to `prefix` of which `holds` is true.
///
/// # Errors
/// [`Error::Deadline`] with `awaited`.
pub fn await_path(
    router: &Router,
    prefix: IpNet,
    awaited: &str,
    patience: Duration,
    holds: impl Fn(&Route) -> bool,
) -> Result<Route, Failure> {
    let awaited = format!("{} has a path to {prefix} that {awaited}", router.name());
    let found = wait::try_until(patience, &awaited, || {
        Ok(router.paths(prefix)?.into_iter().find(&holds))
    })?;
    Ok(found)
}

/// The NodeConfigs by node.
///
/// # Errors
/// When kubectl refuses or prints something else.
pub fn node_configs(lab: &Lab) -> Result<BTreeMap<String, CiliumBGPNodeConfig>, Failure> {
    let items: Vec<CiliumBGPNodeConfig> = lab.list(&["ciliumbgpnodeconfigs"])?;
    Ok(items
        .into_iter()
        .map(|item| (item.metadata.name.clone().unwrap_or_default(), item))
        .collect())
}

/// What a NodeConfig's status says of a peer; `None` while it says nothing.
#[must_use]
pub fn peer_status<'a>(config: &'a CiliumBGPNodeConfig, peer: &str) -> Option<&'a PeerStatus> {
    let instances = &config.status.as_ref()?.bgp_instances;
    instances
        .iter()
        .flat_map(|instance| &instance.peers)
        .find(|status| status.name == peer)
}

/// Waits until `node` reports of `peer` something of which `holds` is true.
///
/// # Errors
/// [`Error::Deadline`] with `awaited`.
pub fn await_status(
    lab: &Lab,
    node: &str,
    peer: &str,
    awaited: &str,
    patience: Duration,
    holds: impl Fn(&PeerStatus) -> bool,
) -> Result<PeerStatus, Failure> {
    let start = Instant::now();
    loop {
        let configs = node_configs(lab)?;
        let status = configs
            .get(node)
            .and_then(|config| peer_status(config, peer));
        if let Some(status) = status.filter(|status| holds(status)) {
            return Ok(status.clone());
        }
        let waited = start.elapsed();
        if waited >= patience {
            let awaited = format!("{node} reports that {peer} {awaited}; it reports {status:?}");
            return Err(Error::Deadline { awaited, waited }.into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Waits until every node reports an established session with `peer`.
///
/// # Errors
/// [`Error::Deadline`] for the first that does not.
pub fn await_all_established(lab: &Lab, peer: &str, patience: Duration) -> Result<(), Failure> {
    for node in &lab.cluster.topology().nodes {
        await_status(
            lab,
            &node.name,
            peer,
            "is established",
            patience,
            |status| status.peering_state == Some(PeeringState::Established),
        )?;
    }
    Ok(())
}

/// Sessions that must not be disturbed: how many each neighbour of an FRR router had had when they were noted.
pub struct Undisturbed<'a> {
    router: &'a Router,
    sessions: BTreeMap<IpAddr, Option<u64>>,
}

impl<'a> Undisturbed<'a> {
    /// Notes the sessions that `router` has established.
    ///
    /// # Errors
    /// When the router does not answer.
    pub fn note(router: &'a Router) -> Result<Self, Failure> {
        Ok(Self {
            router,
            sessions: established(router)?,
        })
    }

    /// Makes sure that each of them is still the same session.
    ///
    /// # Errors
    /// [`Failure::Untrue`] that names the first that is not.
    pub fn verify(&self) -> Result<(), Failure> {
        self.verify_except(&[])
    }

    /// As [`Undisturbed::verify`], and that `others` have had a new one and are up again.
    ///
    /// # Errors
    /// As there.
    pub fn verify_except(&self, others: &[IpAddr]) -> Result<(), Failure> {
        let now = established(self.router)?;
        self.sessions.iter().try_for_each(|(address, before)| {
            let renewed = others.contains(address);
            let count = now.get(address).copied().flatten();
            let is_true = count.is_some() && (renewed == (count > *before));
            claim(is_true, || {
                let fate = if renewed { "made anew" } else { "left alone" };
                format!(
                    "the session of {} with {address} was {fate} (number {before:?} before, {count:?} now)",
                    self.router.name()
                )
            })
        })
    }
}

impl Undisturbed<'_> {
    /// Waits until each of `peers` has had a new session and is up again, and no other.
    ///
    /// # Errors
    /// As [`Undisturbed::verify_except`], for what is not so when the patience ends.
    pub fn await_renewed(&self, peers: &[IpAddr], patience: Duration) -> Result<(), Failure> {
        eventually(patience, || self.verify_except(peers))
    }
}

/// Which session of each established neighbour this is, counted from the router's start.
fn established(router: &Router) -> Result<BTreeMap<IpAddr, Option<u64>>, Failure> {
    Ok(router
        .summary()?
        .into_iter()
        .filter(Neighbor::is_established)
        .map(|neighbor| (neighbor.address, neighbor.sessions))
        .collect())
}

/// What FRR says about the last time a session ended, in its own words (`show bgp neighbors … json`).
///
/// # Errors
/// When the router does not answer.
pub fn last_reset(router: &Router, peer: IpAddr) -> Result<String, Failure> {
    let text = router.ask(&format!("show bgp neighbors {peer} json"))?;
    let shown: serde_json::Value =
        serde_json::from_str(&text).map_err(|source| Failure::Object {
            what: format!("neighbour {peer}"),
            source,
        })?;
    let facts = &shown[peer.to_string()];
    let fact = |key: &str| facts[key].as_str().map(|value| format!("{key}: {value}"));
    let keys = [
        "lastResetDueTo",
        "lastNotificationReason",
        "lastErrorCodeSubcode",
        "lastShutdownDescription",
    ];
    Ok(keys
        .into_iter()
        .filter_map(fact)
        .collect::<Vec<_>>()
        .join(", "))
}
