//! Whose address is a node's.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::DatapathSettings;
use crate::node::{Observed, Settings};
use crate::snapshot::{NodeFacts, Snapshot};

/// This node: as Kubernetes labels it, with the addresses and pod CIDRs that a CiliumNode says, where there is one.
pub(in crate::node) fn this(snapshot: &Snapshot, settings: &Settings) -> Option<Arc<NodeFacts>> {
    let node = snapshot.nodes.get(&settings.node);
    let cilium = snapshot.cilium_nodes.as_ref();
    let cilium = cilium.and_then(|nodes| nodes.get(&settings.node));
    match (node, cilium) {
        (node, None) => node.cloned(),
        (None, cilium) => cilium.cloned(),
        (Some(node), Some(cilium)) => Some(Arc::new(NodeFacts {
            labels: node.labels.clone(),
            ..NodeFacts::clone(cilium)
        })),
    }
}

/// Addresses at which this node answers for NodePorts: its own (InternalIP), and all usable ones of the devices that the
/// settings name or, where they name none, that hold one of its own.
pub(super) fn addresses(
    here: &NodeFacts,
    settings: &DatapathSettings,
    observed: &Observed,
) -> BTreeSet<IpAddr> {
    let own: BTreeSet<IpAddr> = here.internal_addresses.iter().copied().collect();
    let devices = observed.interfaces.iter();
    let of_devices = devices.filter(|(name, addresses)| {
        if settings.devices.is_empty() {
            addresses.iter().any(|address| own.contains(address))
        } else {
            is_named(&settings.devices, name)
        }
    });
    let of_devices = of_devices.flat_map(|(_, addresses)| addresses);
    own.iter().chain(of_devices).copied().collect()
}

/// Addresses of all nodes but this one.
pub(super) fn others(snapshot: &Snapshot, settings: &Settings) -> BTreeSet<IpAddr> {
    let nodes = snapshot.nodes.iter();
    let others = nodes.filter(|(name, _)| **name != settings.node);
    others
        .flat_map(|(_, facts)| facts.internal_addresses.iter().copied())
        .collect()
}

fn is_named(patterns: &[String], device: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| match pattern.strip_suffix('+') {
            Some(prefix) => device.starts_with(prefix),
            None => device == pattern,
        })
}
