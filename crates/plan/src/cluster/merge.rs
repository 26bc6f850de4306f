//! A ClusterConfig and an override make the spec of a node.

use std::net::Ipv4Addr;

use api::node_config::{self, NodeConfigSpec};
use api::{CiliumBGPClusterConfig, cluster_config, node_config_override};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;

use super::rejected::Rejected;
use super::select::{Living, Selection};
use crate::Snapshot;

/// What a node shall have.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) node: String,
    pub(super) owner: OwnerReference,
    pub(super) spec: NodeConfigSpec,
    /// Where the router IDs of `spec.bgp_instances` may come from, one for each.
    pub(super) router_ids: Vec<RouterIdWish>,
    pub(super) rejected: Vec<Rejected>,
}

/// The router ID of one instance: what the override wants, and what the NodeConfig has.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct RouterIdWish {
    pub(super) wanted: Option<Ipv4Addr>,
    pub(super) present: Option<Ipv4Addr>,
}

/// The wishes of all owned nodes, by name. Router IDs are not yet in the specs.
pub(super) fn merge(snapshot: &Snapshot, selection: &Selection<'_>) -> Vec<Wish> {
    selection
        .owned
        .iter()
        .map(|(node, owner)| wish(snapshot, node, *owner))
        .collect()
}

fn wish(snapshot: &Snapshot, node: &str, owner: Living<'_>) -> Wish {
    let deviations = snapshot
        .overrides
        .get(node)
        .map_or(&[][..], |config| &config.spec.bgp_instances);
    let present = snapshot
        .node_configs
        .get(node)
        .map_or(&[][..], |config| &config.spec.bgp_instances);
    let mut wish = Wish {
        node: node.to_owned(),
        owner: owner_reference(owner),
        spec: NodeConfigSpec::default(),
        router_ids: Vec::new(),
        rejected: Vec::new(),
    };
    for instance in &owner.config.spec.bgp_instances {
        let deviation = deviations
            .iter()
            .find(|deviation| deviation.name == instance.name);
        let present = present.iter().find(|present| present.name == instance.name);
        wish.add(instance, deviation, present);
    }
    wish
}

/// As Cilium's: controller, and without `blockOwnerDeletion`.
fn owner_reference(owner: Living<'_>) -> OwnerReference {
    OwnerReference {
        api_version: CiliumBGPClusterConfig::api_version(&()).into_owned(),
        kind: CiliumBGPClusterConfig::kind(&()).into_owned(),
        name: owner.name.to_owned(),
        uid: owner.uid.to_owned(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

impl Wish {
    fn add(
        &mut self,
        instance: &cluster_config::Instance,
        deviation: Option<&node_config_override::Instance>,
        present: Option<&node_config::Instance>,
    ) {
        let cluster_config::Instance {
            name,
            local_asn,
            local_port,
            peers,
        } = instance;
        let (asn, port, wanted) = match deviation {
            Some(deviation) => (
                deviation.local_asn,
                self.port(name, deviation.local_port),
                self.router_id(name, deviation),
            ),
            None => (None, None, None),
        };
        let peers_deviate = deviation.map_or(&[][..], |deviation| &deviation.peers);
        self.spec.bgp_instances.push(node_config::Instance {
            name: name.clone(),
            local_asn: asn.or(*local_asn),
            router_id: None,
            local_port: port.or(*local_port),
            peers: peers
                .iter()
                .map(|of_cluster| peer(of_cluster, peers_deviate))
                .collect(),
        });
        let present = present
            .and_then(|present| present.router_id.as_deref())
            .and_then(|text| text.parse().ok());
        self.router_ids.push(RouterIdWish { wanted, present });
    }

    /// The override's schema sets no bounds, the NodeConfig's does.
    fn port(&mut self, instance: &str, port: Option<i32>) -> Option<u16> {
        let port = port?;
        let valid = u16::try_from(port).ok().filter(|port| *port != 0);
        if valid.is_none() {
            let (node, instance) = (self.node.clone(), instance.to_owned());
            self.rejected.push(Rejected::LocalPort {
                node,
                instance,
                port,
            });
        }
        valid
    }

    /// A BGP identifier is any non-zero number (RFC 6286 section 2.1).
    fn router_id(
        &mut self,
        instance: &str,
        deviation: &node_config_override::Instance,
    ) -> Option<Ipv4Addr> {
        let text = deviation.router_id.as_deref()?;
        let valid = text
            .parse::<Ipv4Addr>()
            .ok()
            .filter(|router_id| !router_id.is_unspecified());
        if valid.is_none() {
            let (node, instance) = (self.node.clone(), instance.to_owned());
            self.rejected.push(Rejected::RouterId {
                node,
                instance,
                router_id: text.to_owned(),
            });
        }
        valid
    }
}

/// `peerASN` is always written, as Cilium does; of the override only the source address counts.
fn peer(
    of_cluster: &cluster_config::Peer,
    deviations: &[node_config_override::Peer],
) -> node_config::Peer {
    let cluster_config::Peer {
        name,
        peer_address,
        peer_asn: _,
        auto_discovery,
        peer_config_ref,
    } = of_cluster;
    let deviation = deviations.iter().find(|deviation| deviation.name == *name);
    node_config::Peer {
        name: name.clone(),
        peer_address: peer_address.clone(),
        peer_asn: Some(of_cluster.peer_asn()),
        auto_discovery: auto_discovery.clone(),
        local_address: deviation.and_then(|deviation| deviation.local_address.clone()),
        peer_config_ref: peer_config_ref.clone(),
    }
}
