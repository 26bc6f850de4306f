//! One BGP instance of a NodeConfig.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use api::node_config::Instance;
use api::{CiliumBGPAdvertisement, CiliumBGPPeerConfig};

use super::services::ServicePrefixes;
use super::{InstancePlan, RouterIdMode, Settings, peer};
use crate::rejected::{Reason, Rejected};
use crate::snapshot::{NodeFacts, Snapshot};

/// Everything that instances may look at. Instances of an equal context are equal, by which [`super::Memory`] knows them.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Context<'a> {
    /// See [`node`].
    pub(super) node: Option<&'a NodeFacts>,
    pub(super) router_id: RouterIdMode,
    pub(super) peer_configs: &'a BTreeMap<String, Arc<CiliumBGPPeerConfig>>,
    pub(super) advertisements: &'a BTreeMap<String, Arc<CiliumBGPAdvertisement>>,
    /// Usable addresses of the node's devices, by device name.
    pub(super) interfaces: &'a BTreeMap<String, Vec<IpAddr>>,
    pub(super) services: &'a ServicePrefixes,
}

/// This node as Cilium sees it where Cilium's CRD exists and knows the node, else as Kubernetes does.
pub(super) fn node<'a>(snapshot: &'a Snapshot, settings: &Settings) -> Option<&'a NodeFacts> {
    let name = &settings.node;
    let cilium = snapshot.cilium_nodes.as_ref();
    let cilium = cilium.and_then(|nodes| nodes.get(name));
    cilium
        .or_else(|| snapshot.nodes.get(name))
        .map(AsRef::as_ref)
}

/// Plans one instance; its own faults are an error, its peers' are listed beside it.
pub(super) fn plan(
    context: &Context<'_>,
    wanted: &Instance,
    ports: &mut BTreeSet<u16>,
) -> Result<(InstancePlan, Vec<Rejected>), Reason> {
    let local_asn = wanted
        .local_asn
        .filter(|asn| *asn != 0)
        .ok_or(Reason::LocalAsnMissing)?;
    let router_id = router_id(context, wanted.router_id.as_deref())?;
    let local_port = wanted
        .local_port
        .map(|port| listening_port(port, ports))
        .transpose()?;
    let mut instance = InstancePlan {
        local_asn,
        router_id,
        local_port,
        peers: BTreeMap::new(),
        originate: BTreeSet::new(),
    };
    let mut rejected = Vec::new();
    let mut addresses = BTreeSet::new();
    for wanted_peer in &wanted.peers {
        let mut reject = |reason| {
            rejected.push(Rejected {
                instance: Some(wanted.name.clone()),
                peer: Some(wanted_peer.name.clone()),
                reason,
            });
        };
        match peer::plan(context, wanted_peer, &mut reject) {
            Ok(peer) if !addresses.insert(peer.address) => {
                reject(Reason::PeerAddressTaken(peer.address));
            }
            Ok(peer) => {
                instance.originate.extend(peer.announce.keys());
                instance.peers.insert(wanted_peer.name.clone(), peer);
            }
            Err(reason) => reject(reason),
        }
    }
    Ok((instance, rejected))
}

fn listening_port(port: u16, taken: &mut BTreeSet<u16>) -> Result<u16, Reason> {
    match port {
        0 => Err(Reason::LocalPortInvalid(port)),
        port if taken.insert(port) => Ok(port),
        port => Err(Reason::LocalPortTaken(port)),
    }
}

/// The NodeConfig's router ID; in mode `default` else the node's first IPv4 InternalIP, as Cilium does. A node
/// that has only IPv6 gets its address folded to 32 bits: stable, and distinct within a subnet, where Cilium takes
/// the MAC address of a device that exists only with Cilium's datapath.
fn router_id(context: &Context<'_>, configured: Option<&str>) -> Result<Ipv4Addr, Reason> {
    if let Some(text) = configured {
        let parsed = text
            .trim()
            .parse::<Ipv4Addr>()
            .ok()
            .filter(|id| !id.is_unspecified());
        return parsed.ok_or_else(|| Reason::RouterIdInvalid(text.to_owned()));
    }
    match context.router_id {
        RouterIdMode::IpPool => Err(Reason::RouterIdMissing),
        RouterIdMode::Default => {
            let addresses = context
                .node
                .map(|node| node.internal_addresses.as_slice())
                .unwrap_or_default();
            let ipv4 = addresses.iter().find_map(|address| match address {
                IpAddr::V4(address) => Some(*address),
                IpAddr::V6(_) => None,
            });
            let folded = || addresses.first().map(|address| fold(*address));
            ipv4.or_else(folded).ok_or(Reason::NodeWithoutAddress)
        }
    }
}

fn fold(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            let folded = (0..4).fold(0_u32, |folded, word| {
                folded ^ ((bits >> (word * 32)) & 0xffff_ffff) as u32
            });
            Ipv4Addr::from(folded.max(1))
        }
    }
}
