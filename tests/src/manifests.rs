//! What is applied: the published manifests verbatim, and the variants of them that scenarios need.

use std::fmt::Write as _;
use std::net::IpAddr;

/// The published BGP resources.
pub const BGP: &str = include_str!("../published/bgp.yaml");

/// The published pool of addresses, and the advertisement of those that Services get.
pub const LB: &str = include_str!("../published/lb.yaml");

/// The published workload: a web server on each node, and a toolbox on one.
pub const WEBPOD: &str = include_str!("../published/webpod.yaml");

/// A `CiliumBGPAdvertisement` named `name` of the pod ranges, selected by the label `advertise: bgp`, with
/// `attributes` as they stand under that key (empty for none), indented by six blanks.
#[must_use]
pub fn advertisement(name: &str, attributes: &str) -> String {
    let attributes = if attributes.is_empty() {
        String::new()
    } else {
        format!("\n    attributes:\n{attributes}")
    };
    format!(
        "apiVersion: cilium.io/v2
kind: CiliumBGPAdvertisement
metadata:
  name: {name}
  labels:
    advertise: bgp
spec:
  advertisements:
  - advertisementType: PodCIDR{attributes}
"
    )
}

/// A `CiliumBGPPeerConfig`: both families announce what is labelled `advertise: bgp`, graceful restart for
/// 15 s, keepalives at a third of the hold time, one second between attempts to connect.
#[must_use]
pub fn peer_config(name: &str, hold_time: u16) -> String {
    let family = |afi: &str| {
        format!(
            "  - afi: {afi}\n    safi: unicast\n    advertisements:\n      matchLabels:\n        advertise: bgp\n"
        )
    };
    format!(
        "apiVersion: cilium.io/v2
kind: CiliumBGPPeerConfig
metadata:
  name: {name}
spec:
  timers:
    connectRetryTimeSeconds: 1
    holdTimeSeconds: {hold_time}
    keepAliveTimeSeconds: {}
  ebgpMultihop: 2
  gracefulRestart:
    enabled: true
    restartTimeSeconds: 15
  families:
{}{}",
        hold_time / 3,
        family("ipv4"),
        family("ipv6"),
    )
}

/// A peer of a `CiliumBGPClusterConfig`.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Its AS number.
    pub asn: u32,
    /// The `CiliumBGPPeerConfig` it refers to.
    pub config: String,
}

/// A `CiliumBGPClusterConfig` with one instance, for the nodes that have the label `label` with value `true`.
#[must_use]
pub fn cluster_config(name: &str, label: &str, asn: u32, peers: &[Peer]) -> String {
    let mut text = format!(
        "apiVersion: cilium.io/v2
kind: CiliumBGPClusterConfig
metadata:
  name: {name}
spec:
  nodeSelector:
    matchLabels:
      {label}: \"true\"
  bgpInstances:
  - name: instance-{asn}
    localASN: {asn}
    peers:
"
    );
    for peer in peers {
        let _ = write!(
            text,
            "    - name: {}\n      peerASN: {}\n      peerAddress: \"{}\"\n      peerConfigRef:\n        name: {}\n",
            peer.name, peer.asn, peer.address, peer.config
        );
    }
    text
}

/// Several manifests as one.
#[must_use]
pub fn together(manifests: &[String]) -> String {
    manifests.join("---\n")
}
