//! `cargo xtask demo`: from nothing to a router that reaches pods and Services, told as it happens.

mod vip;

use crate::command::{self, section};
use crate::error::Error;
use crate::lab::{self, announce, indented, published, show};
use crate::workspace::Workspace;
use ::lab::cluster::Cluster;
use ::lab::router::{KernelRoute, Router};
use ::lab::{sweep, wait};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The demo's lab, and the router in it.
const NAME: &str = "demo";
const ROUTER: &str = "router";

/// How long sessions and routes may take; they take about a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// Boots the published lab, installs Tombolo, applies the published manifests, shows what the router has learned, and takes all down unless
/// it shall stay.
pub(crate) fn run(workspace: &Workspace, keep: bool) -> Result<(), Error> {
    sweep::on_interrupt()?;
    let start = Instant::now();
    let cluster = lab::boot(workspace, NAME)?;
    lab::install(workspace, &cluster)?;
    workload(workspace, &cluster)?;
    announce_routes(workspace, &cluster)?;
    what_everybody_says(&cluster)?;
    reach_pods(&cluster)?;
    vip::routes_of_nodes(&cluster)?;
    vip::show_one(workspace, &cluster)?;
    if keep {
        cluster.leave_standing()?;
        section("it stands");
        println!(
            "  cargo xtask lab kubectl get ciliumbgpnodeconfigs   cargo xtask lab exec router vtysh   cargo xtask lab down"
        );
    } else {
        drop(cluster);
        section("taken down; `cargo xtask demo --keep` leaves it standing");
    }
    println!("  {} in all", command::seconds(start.elapsed()));
    Ok(())
}

/// A web server on each node, as published.
fn workload(workspace: &Workspace, cluster: &Cluster) -> Result<(), Error> {
    section("a pod on each node");
    let mut apply = cluster.control_plane().kubectl_command();
    apply
        .arg("apply")
        .arg("-f")
        .arg(published(workspace, "webpod.yaml"));
    show(&mut apply, "kubectl apply -f tests/published/webpod.yaml")?;
    let mut rollout = cluster.control_plane().kubectl_command();
    show(
        rollout.args(["rollout", "status", "deployment/webpod", "--timeout=90s"]),
        "kubectl rollout status deployment/webpod",
    )?;
    let pods = webpods(cluster)?;
    let router = cluster.machine(ROUTER)?;
    let reached = pods
        .iter()
        .filter(|(_, pod)| ping(&router, pod).is_ok())
        .count();
    println!(
        "\n  The router reaches {reached} of {} pods: nobody has told it where they are.",
        pods.len()
    );
    Ok(())
}

/// Applies the BGP resources and tells of sessions and routes as they come.
fn announce_routes(workspace: &Workspace, cluster: &Cluster) -> Result<(), Error> {
    section("kubectl apply");
    announce("kubectl apply -f tests/published/bgp.yaml");
    let mut apply = cluster.control_plane().kubectl_command();
    apply
        .arg("apply")
        .arg("-f")
        .arg(published(workspace, "bgp.yaml"));
    let start = Instant::now();
    let said = command::output(&mut apply)?;
    println!("{}\n", indented(&said));
    let wanted = cluster.topology().nodes.len();
    let router = cluster.router(ROUTER)?;
    let mut told = Told {
        start,
        sessions: BTreeSet::new(),
        routes: BTreeSet::new(),
    };
    wait::try_until(
        PATIENCE,
        "every node's session is established and its route in the router's kernel",
        || {
            told.look(router)?;
            Ok((told.sessions.len() == wanted && told.routes.len() == wanted).then_some(()))
        },
    )?;
    Ok(())
}

/// What has been told already.
struct Told {
    start: Instant,
    sessions: BTreeSet<IpAddr>,
    routes: BTreeSet<String>,
}

impl Told {
    fn look(&mut self, router: &Router) -> Result<(), ::lab::error::Error> {
        for route in router
            .kernel_routes()?
            .iter()
            .filter(|route| route.protocol == "bgp")
        {
            if self.routes.insert(route.prefix.to_string()) {
                self.tell(&format!("the router's kernel has {}", text(route)));
            }
        }
        for neighbor in router
            .summary()?
            .iter()
            .filter(|neighbor| neighbor.is_established())
        {
            if self.sessions.insert(neighbor.address) {
                self.tell(&format!("session with {} established", neighbor.address));
            }
        }
        Ok(())
    }

    fn tell(&self, what: &str) {
        println!("    + {:.2} s  {what}", self.start.elapsed().as_secs_f64());
    }
}

fn text(route: &KernelRoute) -> String {
    let hops: Vec<String> = route
        .next_hops
        .iter()
        .filter_map(|hop| hop.via)
        .map(|via| via.to_string())
        .collect();
    format!("{} via {}", route.prefix, hops.join(", "))
}

/// The same facts from the router, from its kernel, and from Kubernetes.
fn what_everybody_says(cluster: &Cluster) -> Result<(), Error> {
    section("what the router says");
    let router = cluster.router(ROUTER)?;
    announce("vtysh -c 'show bgp summary'");
    println!("{}", indented(&router.ask("show bgp summary")?));
    let machine = cluster.machine(ROUTER)?;
    show(
        machine
            .command("ip")
            .args(["route", "show", "proto", "bgp"]),
        "ip route show proto bgp",
    )?;
    section("what Kubernetes says");
    // Agents report a change within a second; the routes above are faster.
    let mut reported = cluster.control_plane().kubectl_command();
    reported.args(["wait", "ciliumbgpnodeconfigs", "--all", "--timeout=10s"]);
    reported.arg("--for=jsonpath={.status.bgpInstances[0].peers[0].peeringState}=established");
    command::output(&mut reported)?;
    for resource in ["ciliumbgpclusterconfigs", "ciliumbgpnodeconfigs"] {
        let mut get = cluster.control_plane().kubectl_command();
        show(
            get.args(["get", resource]),
            &format!("kubectl get {resource}"),
        )?;
    }
    Ok(())
}

/// From the router into a pod on every node.
fn reach_pods(cluster: &Cluster) -> Result<(), Error> {
    section("from the router to a pod on every node");
    let router = cluster.machine(ROUTER)?;
    for (node, pod) in webpods(cluster)? {
        let said = ping(&router, &pod)?;
        let time = said
            .lines()
            .find_map(|line| line.split_once("time="))
            .map_or("?", |(_, time)| time);
        println!("  {pod:<14} on {node:<8} answers in {time}");
    }
    let pods = webpods(cluster)?;
    if let Some((_, pod)) = pods.first() {
        let url = format!("http://{pod}/");
        show(
            router
                .command("curl")
                .args(["--silent", "--max-time", "5", &url]),
            &format!("curl {url}"),
        )?;
    }
    Ok(())
}

fn ping(from: &::lab::machine::Machine, to: &str) -> Result<String, Error> {
    command::output(from.command("ping").args(["-c", "1", "-W", "1", to]))
}

/// Node and address of each pod of the published workload.
fn webpods(cluster: &Cluster) -> Result<Vec<(String, String)>, Error> {
    let path = r#"jsonpath={range .items[*]}{.spec.nodeName} {.status.podIP}{"\n"}{end}"#;
    let listed = cluster.kubectl(["get", "pods", "-l", "app=webpod", "-o", path])?;
    let pair = |line: &str| {
        line.split_once(' ')
            .map(|(node, address)| (node.to_owned(), address.to_owned()))
    };
    Ok(listed.lines().filter_map(pair).collect())
}
