//! The cluster's objects, as those who make them in production would write them.

use std::net::Ipv4Addr;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use api::{CiliumBGPAdvertisement, CiliumBGPNodeConfig, CiliumBGPPeerConfig};
use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::node::ADDRESS;
use crate::{ENDPOINTS, LOAD_BALANCERS, Result};

/// The node of the agent under test, and how many there are, over which endpoints are spread.
pub(crate) const NODE: &str = "node-000";
const NODES: u32 = 100;
/// Requests under way at once.
const AT_ONCE: usize = 16;

pub(crate) struct Objects {
    services: Api<Service>,
    slices: Api<EndpointSlice>,
    client: kube::Client,
    replacements: AtomicU32,
}

/// The address of a Service in the cluster.
pub(crate) fn cluster_ip(service: u32) -> Ipv4Addr {
    after(Ipv4Addr::new(10, 96, 64, 0), service)
}

/// Its address for the outside, where it has one.
pub(crate) fn vip(service: u32) -> Option<Ipv4Addr> {
    let first = Ipv4Addr::new(172, 16, 0, 0);
    (service < LOAD_BALANCERS).then(|| after(first, service))
}

fn after(first: Ipv4Addr, count: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(first) + count)
}

impl Objects {
    pub(crate) fn new(client: kube::Client) -> Self {
        Self {
            services: Api::default_namespaced(client.clone()),
            slices: Api::default_namespaced(client.clone()),
            client,
            replacements: AtomicU32::new(0),
        }
    }

    /// All nodes, and for that of the agent a router that is not there: announcements are planned, and reach nobody.
    pub(crate) async fn make_node(&self) -> Result<()> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        for number in 0..NODES {
            let name = format!("node-{number:03}");
            let address = after(ADDRESS.parse()?, number).to_string();
            let status =
                json!({"status": {"addresses": [{"type": "InternalIP", "address": address}]}});
            let spec = json!({"metadata": {"name": name}, "spec": {"podCIDR": format!("10.200.{number}.0/24"),
                "podCIDRs": [format!("10.200.{number}.0/24")]}});
            let made = serde_json::from_value(spec)?;
            nodes.create(&PostParams::default(), &made).await?;
            let patch = Patch::Merge(status);
            nodes
                .patch_status(&name, &PatchParams::default(), &patch)
                .await?;
        }
        let router = after(ADDRESS.parse()?, 200).to_string();
        let peers = json!([{"name": "router", "peerAddress": router, "peerASN": 65000, "peerConfigRef": {"name": "peer"}}]);
        let instances = json!([{"name": "instance", "localASN": 65001, "peers": peers}]);
        let config = CiliumBGPNodeConfig::new(
            NODE,
            serde_json::from_value(json!({"bgpInstances": instances}))?,
        );
        let family = json!({"afi": "ipv4", "safi": "unicast", "advertisements": {"matchLabels": {"advertise": "bgp"}}});
        let peer = CiliumBGPPeerConfig::new(
            "peer",
            serde_json::from_value(json!({"families": [family]}))?,
        );
        let every = json!([{"key": "app", "operator": "Exists"}]);
        let services = json!({"advertisementType": "Service", "service": {"addresses": ["LoadBalancerIP"]},
            "selector": {"matchExpressions": every}});
        let mut advertisement = CiliumBGPAdvertisement::new(
            "services",
            serde_json::from_value(json!({"advertisements": [services]}))?,
        );
        advertisement.metadata.labels = Some([("advertise".to_owned(), "bgp".to_owned())].into());
        let params = PostParams::default();
        Api::all(self.client.clone())
            .create(&params, &config)
            .await?;
        Api::all(self.client.clone()).create(&params, &peer).await?;
        Api::all(self.client.clone())
            .create(&params, &advertisement)
            .await?;
        Ok(())
    }

    pub(crate) async fn make_services(&self, services: Range<u32>) -> Result<()> {
        let made = services.map(|service| self.make_service(service));
        let mut made = stream::iter(made).buffer_unordered(AT_ONCE);
        while let Some(()) = made.try_next().await? {}
        Ok(())
    }

    async fn make_service(&self, service: u32) -> Result<()> {
        let params = PostParams::default();
        let (made, name) = (
            serde_json::from_value(self::service(service))?,
            name(service),
        );
        self.services.create(&params, &made).await?;
        if let Some(vip) = vip(service) {
            let status =
                json!({"status": {"loadBalancer": {"ingress": [{"ip": vip, "ipMode": "VIP"}]}}});
            let params = PatchParams::default();
            self.services
                .patch_status(&name, &params, &Patch::Merge(status))
                .await?;
        }
        let slice = serde_json::from_value(slice(service))?;
        self.slices.create(&params, &slice).await?;
        Ok(())
    }

    /// An address that no endpoint ever had.
    pub(crate) fn replacement(&self) -> Ipv4Addr {
        let count = self.replacements.fetch_add(1, Ordering::Relaxed);
        after(Ipv4Addr::new(10, 192, 0, 0), count)
    }

    /// A pod goes and another comes, as the controller of endpoints writes it.
    pub(crate) async fn replace(&self, service: u32, replacement: Ipv4Addr) -> Result<()> {
        let mut endpoints = endpoints(service);
        endpoints[0] = endpoint(service, 0, replacement);
        let patch = Patch::Merge(json!({"endpoints": endpoints}));
        let name = slice_name(service);
        self.slices
            .patch(&name, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    pub(crate) async fn replace_all(&self, changes: &[(u32, Ipv4Addr)]) -> Result<()> {
        let changes = changes
            .iter()
            .map(|(service, replacement)| self.replace(*service, *replacement));
        let mut changes = stream::iter(changes).buffer_unordered(AT_ONCE);
        while let Some(()) = changes.try_next().await? {}
        Ok(())
    }
}

fn name(service: u32) -> String {
    format!("service-{service:05}")
}

fn slice_name(service: u32) -> String {
    format!("{}-x7k2p", name(service))
}

fn service(service: u32) -> Value {
    let name = name(service);
    let kind = match vip(service) {
        Some(_) => "LoadBalancer",
        None => "ClusterIP",
    };
    json!({
        "metadata": {"name": name, "labels": {"app": name, "app.kubernetes.io/managed-by": "Helm"},
            "annotations": {"meta.helm.sh/release-name": name, "meta.helm.sh/release-namespace": "default"}},
        "spec": {"type": kind, "clusterIP": cluster_ip(service), "selector": {"app": name},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]},
    })
}

fn slice(service: u32) -> Value {
    let name = name(service);
    json!({
        "metadata": {
            "name": slice_name(service), "generateName": format!("{name}-"),
            "labels": {"app": name, "app.kubernetes.io/managed-by": "Helm", "kubernetes.io/service-name": name,
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"},
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "2026-11-21T10:07:25Z"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": name, "uid": uid(service, 99),
                "controller": true, "blockOwnerDeletion": true}],
        },
        "addressType": "IPv4",
        "endpoints": endpoints(service),
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    })
}

/// Endpoints whose addresses no other Service has.
fn endpoints(service: u32) -> Vec<Value> {
    let first = Ipv4Addr::new(10, 128, 0, 0);
    let of_number = |number| endpoint(service, number, after(first, service * 16 + number));
    (0..ENDPOINTS).map(of_number).collect()
}

fn endpoint(service: u32, number: u32, address: Ipv4Addr) -> Value {
    let node = (service * 7 + number * 13) % NODES;
    let pod = format!("{}-6d5c7f8b9-{number:05}", name(service));
    json!({
        "addresses": [address], "nodeName": format!("node-{node:03}"), "zone": format!("zone-{}", node % 3),
        "conditions": {"ready": true, "serving": true, "terminating": false},
        "targetRef": {"kind": "Pod", "namespace": "default", "name": pod, "uid": uid(service, number)},
    })
}

fn uid(service: u32, number: u32) -> String {
    format!("6f1c2d3e-{number:04x}-4a5b-8c6d-{service:012x}")
}
