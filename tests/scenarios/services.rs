//! The published tutorial from `lb.yaml` on: the Service becomes a LoadBalancer, is given the lowest address of the
//! pool, and the router balances over the nodes that may be asked: with policy Local those with a ready pod, with
//! policy Cluster all.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use api::CiliumLoadBalancerIPPool;
use lab::wait;
use scenarios::lab::PATIENCE;
use scenarios::peering::{self, node_addresses};
use scenarios::{Failure, Lab, claim, eventually, manifests};
use serde_json::Value;

/// The lowest address of the published pool that is not reserved.
pub(crate) const ADDRESS: &str = "172.16.1.1";
/// An address of the Service's that nobody gave it.
const EXTERNAL: &str = "203.0.113.80";
/// An advertisement of the addresses that the published one leaves out.
const OTHER_KINDS: &str = "apiVersion: cilium.io/v2
kind: CiliumBGPAdvertisement
metadata:
  name: other-kinds
  labels:
    advertise: bgp
spec:
  advertisements:
  - advertisementType: Service
    service:
      addresses: [ClusterIP, ExternalIP]
    selector:
      matchLabels:
        app: webpod
";
/// From a change to the router's kernel.
const SOON: Duration = Duration::from_secs(1);

pub(crate) fn is_given_an_address_and_announced(lab: &mut Lab) -> Result<(), Failure> {
    lab.workload()?;
    peering::as_published(lab)?;
    lab.cluster.apply(manifests::LB)?;
    await_available(lab, "254")?;

    patch(lab, r#"{"spec":{"type":"LoadBalancer"}}"#)?;
    let all = sorted(node_addresses(lab));
    await_routes(lab, &all)?;
    let given = lab.cluster.kubectl([
        "get",
        "service",
        "webpod",
        "-o=jsonpath={.status.loadBalancer.ingress[*].ip}",
    ])?;
    claim(given == ADDRESS, || {
        format!("webpod has the address {ADDRESS}, not {given:?}")
    })?;
    await_available(lab, "253")?;

    patch(lab, r#"{"spec":{"externalTrafficPolicy":"Local"}}"#)?;
    let two = scale(lab, 2)?;
    await_routes(lab, &two)?;
    patch(lab, r#"{"spec":{"externalTrafficPolicy":"Cluster"}}"#)?;
    await_routes(lab, &all)?;
    patch(lab, r#"{"spec":{"externalTrafficPolicy":"Local"}}"#)?;
    await_routes(lab, &two)?;
    let three = scale(lab, 3)?;
    await_routes(lab, &three)?;

    patch(lab, r#"{"spec":{"type":"ClusterIP"}}"#)?;
    let address: IpAddr = ADDRESS.parse().expect("an address");
    peering::await_no_kernel_route(lab.router()?, address.into(), SOON)?;
    await_available(lab, "254")?;
    other_kinds_are_announced(lab, &all)
}

/// The addresses within the cluster and those from elsewhere are announced while an advertisement names their kinds.
fn other_kinds_are_announced(lab: &Lab, nodes: &[IpAddr]) -> Result<(), Failure> {
    let external = format!(r#"{{"spec":{{"externalIPs":["{EXTERNAL}"]}}}}"#);
    patch(lab, &external)?;
    let router = lab.router()?;
    let addresses = [cluster_ip(lab)?, EXTERNAL.parse().expect("an address")];
    lab.cluster.apply(OTHER_KINDS)?;
    for address in addresses {
        peering::await_next_hops(router, address.into(), nodes, SOON)?;
    }
    lab.cluster
        .kubectl(["delete", "ciliumbgpadvertisement", "other-kinds"])?;
    for address in addresses {
        peering::await_no_kernel_route(router, address.into(), SOON)?;
    }
    patch(lab, r#"{"spec":{"externalIPs":null}}"#)
}

/// The address of webpod within the cluster.
pub(crate) fn cluster_ip(lab: &Lab) -> Result<IpAddr, Failure> {
    let service: Value = lab.get(&["service", "webpod"])?;
    let address = service["spec"]["clusterIP"].as_str();
    let address = address.and_then(|address| address.parse().ok());
    address.ok_or_else(|| Failure::Untrue(format!("webpod has a cluster address: {service}")))
}

pub(crate) fn patch(lab: &Lab, patch: &str) -> Result<(), Failure> {
    lab.cluster
        .kubectl(["patch", "service", "webpod", "--patch", patch])?;
    Ok(())
}

/// Returns the addresses of the nodes with a ready pod when that many have one.
pub(crate) fn scale(lab: &Lab, count: usize) -> Result<Vec<IpAddr>, Failure> {
    let replicas = format!("--replicas={count}");
    lab.cluster
        .kubectl(["scale", "deployment/webpod", &replicas])?;
    eventually(PATIENCE, || {
        let nodes = nodes_with_pods(lab)?;
        claim(nodes.len() == count, || {
            format!("{count} pods of webpod are ready, not on {nodes:?}")
        })?;
        Ok(nodes)
    })
}

pub(crate) fn sorted(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    addresses.sort_unstable();
    addresses
}

/// Addresses of the nodes that have a ready pod of the Service, by its EndpointSlices.
fn nodes_with_pods(lab: &Lab) -> Result<Vec<IpAddr>, Failure> {
    let slices: Vec<Value> = lab.list(&[
        "endpointslices",
        "--selector",
        "kubernetes.io/service-name=webpod",
    ])?;
    let endpoints = slices
        .iter()
        .flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    let ready: BTreeSet<&str> = endpoints
        .filter(|endpoint| endpoint["conditions"]["ready"] == true)
        .filter_map(|endpoint| endpoint["nodeName"].as_str())
        .collect();
    let nodes = lab.cluster.topology().nodes.iter();
    let nodes = nodes.filter(|node| ready.contains(node.name.as_str()));
    Ok(sorted(nodes.map(peering::address).collect()))
}

pub(crate) fn await_routes(lab: &Lab, vias: &[IpAddr]) -> Result<(), Failure> {
    let prefix = format!("{ADDRESS}/32").parse().expect("a prefix");
    peering::await_next_hops(lab.router()?, prefix, vias, SOON)
}

/// What `kubectl get ippools` shows under "IPs Available".
fn await_available(lab: &Lab, count: &str) -> Result<(), Failure> {
    let awaited = format!("the pool has {count} addresses available");
    wait::try_until(Duration::from_secs(2), &awaited, || {
        let pool: CiliumLoadBalancerIPPool = match lab.get(&["ippool", "cilium-pool"]) {
            Ok(pool) => pool,
            Err(Failure::Lab(error)) => return Err(error),
            Err(_) => return Ok(None),
        };
        let conditions = pool
            .status
            .map(|status| status.conditions)
            .unwrap_or_default();
        let is_so = |condition: &api::condition::Condition| {
            condition.type_ == "cilium.io/IPsAvailable" && condition.message == count
        };
        Ok(conditions.iter().any(is_so).then_some(()))
    })?;
    Ok(())
}
