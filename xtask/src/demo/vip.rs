//! The second half of the demo: nodes that have learned from the router where each other's pods are, and a Service with an address of its
//! own, which the router reaches by way of every node.

use std::collections::BTreeMap;
use std::time::Instant;

use ::lab::cluster::Cluster;
use ::lab::machine::Machine;
use ::lab::topology::NodeSpec;
use ::lab::wait;
use api::route_import::DEFAULT_PROTOCOL;

use super::{PATIENCE, ROUTER};
use crate::command::{self, section};
use crate::error::Error;
use crate::lab::{announce, indented, published, show};
use crate::workspace::Workspace;

/// Requests that show how the pods share the work.
const REQUESTS: usize = 100;
/// Where a Service's address stands.
const PATH: &str = "jsonpath={.status.loadBalancer.ingress[0].ip}";

/// How many addresses the pool has left: of its 256, the first, the last and the Service's are not to be had.
const AVAILABLE: &str =
    r#"jsonpath={.items[0].status.conditions[?(@.type=="cilium.io/IPsAvailable")].message}"#;

/// Routes of other nodes' pods in each node's kernel, which people otherwise write by hand: a node must reach the pods that it sends
/// requests to.
pub(super) fn routes_of_nodes(cluster: &Cluster) -> Result<(), Error> {
    section("what the nodes have learned");
    let protocol = DEFAULT_PROTOCOL.to_string();
    let nodes = &cluster.topology().nodes;
    let range_of = |node: &NodeSpec| node.pod_cidrs.first().map(ToString::to_string);
    for node in nodes {
        let machine = cluster.machine(&node.name)?;
        let others = nodes.iter().filter(|other| other.name != node.name);
        let wanted: Vec<String> = others.filter_map(range_of).collect();
        wait::try_until(PATIENCE, "the node has routes to the others' pods", || {
            let shown = machine.exec(["ip", "route", "show", "proto", &protocol])?;
            let has = |range: &String| shown.stdout.lines().any(|line| line.starts_with(range));
            Ok(wanted.iter().all(has).then_some(()))
        })?;
    }
    for node in nodes {
        let machine = cluster.machine(&node.name)?;
        show(
            machine
                .command("ip")
                .args(["route", "show", "proto", &protocol]),
            &format!("ip route show proto {protocol}   # on {}", node.name),
        )?;
    }
    Ok(())
}

/// The rest of the published tutorial, to `curl` of the address.
pub(super) fn show_one(workspace: &Workspace, cluster: &Cluster) -> Result<(), Error> {
    section("a Service of type LoadBalancer");
    let mut apply = cluster.control_plane().kubectl_command();
    apply
        .arg("apply")
        .arg("-f")
        .arg(published(workspace, "lb.yaml"));
    show(&mut apply, "kubectl apply -f tests/published/lb.yaml")?;
    let patch = r#"{"spec":{"type":"LoadBalancer"}}"#;
    announce(&format!("kubectl patch service webpod --patch '{patch}'"));
    let mut patching = cluster.control_plane().kubectl_command();
    let start = Instant::now();
    let said = command::output(patching.args(["patch", "service", "webpod", "--patch", patch]))?;
    println!("{}", indented(&said));
    let address = wait::try_until(PATIENCE, "the Service has an address", || {
        let given = cluster.kubectl(["get", "service", "webpod", "-o", PATH])?;
        Ok((!given.is_empty()).then_some(given))
    })?;
    let nodes = cluster.topology().nodes.len();
    let router = cluster.router(ROUTER)?;
    wait::try_until(
        PATIENCE,
        "the router leads to it by way of every node",
        || {
            let routes = router.kernel_routes()?;
            let mut routes = routes.iter();
            let route = routes.find(|route| route.prefix.addr().to_string() == address);
            Ok(route
                .filter(|route| route.next_hops.len() == nodes)
                .map(|_| ()))
        },
    )?;
    println!(
        "    + {:.2} s  {address}, by way of {nodes} nodes",
        start.elapsed().as_secs_f64()
    );
    // The counts of a pool are written once in a second.
    wait::try_until(PATIENCE, "the pool has counted the address", || {
        let available = cluster.kubectl(["get", "ippools", "-o", AVAILABLE])?;
        Ok((available == "253").then_some(()))
    })?;
    for resource in ["ippools", "service/webpod"] {
        let mut get = cluster.control_plane().kubectl_command();
        show(
            get.args(["get", resource]),
            &format!("kubectl get {resource}"),
        )?;
    }
    let machine = cluster.machine(ROUTER)?;
    show(
        machine.command("ip").args(["route", "show", &address]),
        &format!("ip route show {address}"),
    )?;
    answers(cluster, &machine, &address)
}

fn answers(cluster: &Cluster, router: &Machine, address: &str) -> Result<(), Error> {
    section("from the router to the Service");
    let url = format!("http://{address}/");
    show(&mut ask(router, &url), &format!("curl {url}"))?;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..REQUESTS {
        let answer = command::output(&mut ask(router, &url))?;
        let name = answer
            .lines()
            .find_map(|line| line.strip_prefix("Hostname: "));
        *counts
            .entry(name.unwrap_or_default().to_owned())
            .or_default() += 1;
    }
    println!("\n  {REQUESTS} requests:");
    let names = cluster.kubectl([
        "get",
        "pods",
        "-l",
        "app=webpod",
        "-o",
        r#"jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName}{"\n"}{end}"#,
    ])?;
    for (name, node) in names.lines().filter_map(|line| line.split_once(' ')) {
        let count = counts.get(name).copied().unwrap_or_default();
        println!("  {count:>5}  {name} on {node}");
    }
    Ok(())
}

fn ask(from: &Machine, url: &str) -> std::process::Command {
    let mut curl = from.command("curl");
    curl.args(["--silent", "--max-time", "5", url]);
    curl
}
