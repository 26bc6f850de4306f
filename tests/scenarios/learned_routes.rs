//! With one BGPRouteImport the nodes' kernels carry what the router announced: pods reach pods of other nodes, and hosts behind the
//! router reach pods. What would harm a node is refused and named; what is not ours is not touched; the agent's end changes nothing.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use lab::command;
use lab::fault;
use lab::machine::Machine;
use lab::namespace::Namespace;
use lab::topology::NodeSpec;
use lab::wait;
use scenarios::http::{self, Transport};
use scenarios::lab::{NAMESPACE, PATIENCE, Pod};
use scenarios::peering::{self, pod_cidr};
use scenarios::topologies::HOST_BEHIND;
use scenarios::{Failure, Lab, claim, eventually};

/// From a change to the nodes' kernels.
const SOON: Duration = Duration::from_secs(3);
/// What has not answered for so long does not.
const SILENCE: Duration = Duration::from_millis(500);
/// How long the kernel may be without a route that somebody removes.
const REPAIR: Duration = Duration::from_secs(1);
/// The network of the host behind the router.
pub(crate) const BEHIND: &str = "10.10.1.0/24";
/// Everything that the router announces may be installed, unless it is guarded.
pub(crate) const IMPORT: &str = r#"apiVersion: tombolo.io/v1alpha1
kind: BGPRouteImport
metadata:
  name: all
spec:
  rules:
  - cidr: 0.0.0.0/0
    action: Accept
"#;

/// The same as values of the chart, and as narrow as they can be.
const IMPORT_VALUES: [&str; 5] = [
    "tombolo.routeImport.enabled=true",
    "tombolo.routeImport.instances={instance-65001}",
    "tombolo.routeImport.peers={tor-switch}",
    "tombolo.routeImport.families[0].afi=ipv4",
    "tombolo.routeImport.families[0].safi=unicast",
];

pub(crate) fn join_pods_nodes_and_hosts(lab: &mut Lab) -> Result<(), Failure> {
    lab.workload()?;
    peering::as_published(lab)?;
    let before = foreign_routes(lab)?;
    let pods = lab.pods("default", "app=webpod")?;
    let client = lab.cluster.machine(HOST_BEHIND)?;
    let addresses = pods.iter().map(|pod| SocketAddr::new(pod.address, 80));
    reaches_none(client.namespace(), addresses)?;

    lab.upgrade(&IMPORT_VALUES)?;
    await_learned(lab, &[BEHIND])?;
    fetch_all(client.namespace(), &pods)?;
    curl_pod_reaches(lab, &pods)?;
    await_message(lab, &["3 routes"])?;
    a_removed_route_is_back(lab)?;
    claim(foreign_routes(lab)? == before, || {
        format!("routes of others are as before: {before:#?}")
    })?;

    lab.upgrade(&[])?;
    await_no_learned(lab)?;
    claim(foreign_routes(lab)? == before, || {
        format!("routes of others are as before: {before:#?}")
    })
}

pub(crate) fn leaks_are_refused_and_named(lab: &mut Lab) -> Result<(), Failure> {
    lab.workload()?;
    peering::as_published(lab)?;
    let before = foreign_routes(lab)?;
    lab.cluster.apply(IMPORT)?;
    await_learned(lab, &[BEHIND])?;
    let router = lab.router()?;
    let published = lab.cluster.topology().routers[0].config.clone();
    let leaks = [
        "172.20.0.0/24",
        "172.20.0.128/25",
        "10.96.0.0/16",
        "192.168.10.100/32",
        "192.168.10.0/24",
    ];
    // Harmless, and proof that what follows has arrived.
    let harmless = "203.0.113.0/24";
    router.reconfigure(&leaking(&published, &leaks, harmless))?;
    let leaked = leaks_seen(lab, harmless, &leaks, &before);
    router.reconfigure(&published)?;
    leaked?;
    await_learned(lab, &[BEHIND])?;
    claim(foreign_routes(lab)? == before, || {
        format!("routes of others are as before: {before:#?}")
    })
}

/// The first node owns the pod range, the address and the network that are leaked.
fn leaks_seen(lab: &Lab, harmless: &str, leaks: &[&str], before: &[String]) -> Result<(), Failure> {
    let names: Vec<&str> = leaks.iter().copied().chain(["0.0.0.0/0"]).collect();
    let nodes = &lab.cluster.topology().nodes;
    let node = nodes.first().expect("the topology has nodes");
    wait::try_until(SOON, "the harmless route is installed", || {
        let routes = learned(&lab.cluster.machine(&node.name)?)?;
        Ok(routes.contains(&harmless.to_owned()).then_some(()))
    })?;
    let routes = learned(&lab.cluster.machine(&node.name)?)?;
    claim(
        !routes.iter().any(|route| names.contains(&route.as_str())),
        || format!("{} installed none of {names:?}: {routes:?}", node.name),
    )?;
    await_message_of(lab, node, &names)?;
    claim(foreign_routes(lab)? == *before, || {
        format!("routes of others are as before the leak: {before:#?}")
    })
}

/// FRR's configuration with more networks, whether or not the router has routes to them, and a default route.
fn leaking(published: &str, leaks: &[&str], harmless: &str) -> String {
    let mut more = String::from("  no bgp network import-check\n");
    for network in leaks.iter().chain([&harmless]) {
        let _ = writeln!(more, "  network {network}");
    }
    more.push_str("  neighbor CILIUM default-originate\n");
    format!("{}\n{more}", published.trim_end())
}

pub(crate) fn outlive_their_agent(lab: &mut Lab) -> Result<(), Failure> {
    lab.workload()?;
    peering::as_published(lab)?;
    lab.cluster.apply(IMPORT)?;
    await_learned(lab, &[BEHIND])?;
    let node = lab.cluster.topology().nodes.last().expect("a node");
    let machine = lab.cluster.machine(&node.name)?;
    let expected = learned(&machine)?;
    let agent = lab.agent(&node.name)?;
    let restarts = restarts(lab, &agent)?;
    fault::kill(
        lab.cluster
            .container_pid(NAMESPACE, &agent.name, &agent.container)?,
    )?;
    // Longer than it takes to start, to converge and to sweep what is left over.
    let watch = Duration::from_secs(12);
    let start = Instant::now();
    while start.elapsed() < watch {
        let routes = learned(&machine)?;
        claim(routes == expected, || {
            format!(
                "{} keeps {expected:?} throughout, not {routes:?} after {:?}",
                node.name,
                start.elapsed()
            )
        })?;
        thread::sleep(Duration::from_millis(50));
    }
    claim(self::restarts(lab, &agent)? > restarts, || {
        "the agent was started again meanwhile".to_owned()
    })
}

pub(crate) fn uninstalling_takes_what_is_ours(lab: &mut Lab) -> Result<(), Failure> {
    lab.workload()?;
    peering::as_published(lab)?;
    let before = foreign_routes(lab)?;
    lab.cluster.apply(IMPORT)?;
    await_learned(lab, &[BEHIND])?;
    let node = lab.cluster.topology().nodes.first().expect("a node");
    let machine = lab.cluster.machine(&node.name)?;
    let foreign = ["198.51.100.0/24", "via", "192.168.10.200", "proto", "187"];
    let ip = |verb: &str| machine.exec(["ip", "route", verb].iter().chain(&foreign));
    let objects = || shown_by_ip(&machine, &["nexthop", "show", "proto", &protocol()]);
    claim(!objects()?.trim().is_empty(), || {
        "learned routes lead by nexthop objects".to_owned()
    })?;
    ip("add")?;
    let ended = lab.uninstall().and_then(|()| {
        wait::try_until(PATIENCE, "no learned route is left", || {
            Ok(learned(&machine)?.is_empty().then_some(()))
        })?;
        let objects = objects()?;
        claim(objects.trim().is_empty(), || {
            format!("no nexthop object is left: {objects}")
        })
    });
    let kept = foreign_routes(lab)?;
    ip("del")?;
    ended?;
    let foreign = kept.iter().any(|text| text.contains("198.51.100.0/24"));
    claim(foreign, || {
        "somebody else's route was left alone".to_owned()
    })?;
    claim(foreign_routes(lab)? == before, || {
        format!("routes of others are as before: {before:#?}")
    })
}

/// Somebody removes a learned route from each node.
pub(crate) fn a_removed_route_is_back(lab: &Lab) -> Result<(), Failure> {
    for node in &lab.cluster.topology().nodes {
        let machine = lab.cluster.machine(&node.name)?;
        let removed = machine.exec(["ip", "route", "del", BEHIND])?.success();
        claim(removed, || format!("{} had a route to {BEHIND}", node.name))?;
        wait::try_until(REPAIR, "a removed route is back", || {
            Ok(learned(&machine)?
                .contains(&BEHIND.to_owned())
                .then_some(()))
        })?;
    }
    Ok(())
}

/// None of `targets` answers: what is there, if anything is, has no way back to who asks.
pub(crate) fn reaches_none(
    namespace: &Namespace,
    targets: impl IntoIterator<Item = SocketAddr>,
) -> Result<(), Failure> {
    targets.into_iter().try_for_each(|target| {
        let answer = http::ask(namespace, target, Transport::Tcp, SILENCE);
        claim(answer.is_err(), || {
            format!(
                "{} does not reach {target} yet: {answer:?}",
                namespace.name()
            )
        })
    })
}

/// The toolbox on the first node reaches each of `pods` by its address.
pub(crate) fn curl_pod_reaches(lab: &Lab, pods: &[Pod]) -> Result<(), Failure> {
    for pod in pods {
        let url = format!("http://{}/", pod.address);
        let curl = ["curl", "--silent", "--max-time", "2", &url];
        let answer = lab
            .cluster
            .kubectl(["exec", "curl-pod", "--"].iter().chain(&curl))?;
        claim(http::field(&answer, "Hostname") == Some(&pod.name), || {
            format!("curl-pod reaches {} at {url}, not {answer:?}", pod.name)
        })?;
    }
    Ok(())
}

pub(crate) fn fetch_all(namespace: &Namespace, pods: &[Pod]) -> Result<(), Failure> {
    for pod in pods {
        let answer = http::fetch(namespace, pod.address)?;
        claim(http::field(&answer, "Hostname") == Some(&pod.name), || {
            format!("{} answers at {}, not {answer:?}", pod.name, pod.address)
        })?;
    }
    Ok(())
}

/// Waits until each node has, under our protocol number, the pod ranges of the others and `more`, and nothing else.
pub(crate) fn await_learned(lab: &Lab, more: &[&str]) -> Result<(), Failure> {
    let nodes = &lab.cluster.topology().nodes;
    for node in nodes {
        let others = nodes.iter().filter(|other| other.name != node.name);
        let mut wanted: Vec<String> = others.map(|other| pod_cidr(other).to_string()).collect();
        wanted.extend(more.iter().map(|prefix| (*prefix).to_owned()));
        wanted.sort_unstable();
        let machine = lab.cluster.machine(&node.name)?;
        let awaited = format!("{} has learned routes to {wanted:?}", node.name);
        wait::try_until(SOON, &awaited, || {
            Ok((learned(&machine)? == wanted).then_some(()))
        })?;
    }
    Ok(())
}

fn await_no_learned(lab: &Lab) -> Result<(), Failure> {
    for node in &lab.cluster.topology().nodes {
        let machine = lab.cluster.machine(&node.name)?;
        wait::try_until(SOON, "no learned route is left", || {
            Ok(learned(&machine)?.is_empty().then_some(()))
        })?;
    }
    Ok(())
}

/// The protocol number of learned routes, as `ip` wants it.
pub(crate) fn protocol() -> String {
    api::route_import::DEFAULT_PROTOCOL.to_string()
}

/// What `ip` prints. Where it fails nothing is known, which is not the same as nothing being there.
fn shown_by_ip(machine: &Machine, words: &[&str]) -> Result<String, lab::error::Error> {
    command::text(machine.command("ip").args(words))
}

/// Prefixes of the routes under our protocol number, sorted.
fn learned(machine: &Machine) -> Result<Vec<String>, lab::error::Error> {
    let shown = shown_by_ip(machine, &["-o", "route", "show", "proto", &protocol()])?;
    let prefixes = shown.lines().filter_map(|line| line.split(' ').next());
    let mut prefixes: Vec<String> = prefixes.map(in_full).collect();
    prefixes.sort_unstable();
    Ok(prefixes)
}

/// A prefix that `ip` prints in short.
fn in_full(prefix: &str) -> String {
    match prefix {
        "default" => "0.0.0.0/0".to_owned(),
        network if network.contains('/') => network.to_owned(),
        host => format!("{host}/32"),
    }
}

/// Every route of every node that is not under our protocol number, as `ip` prints it.
fn foreign_routes(lab: &Lab) -> Result<Vec<String>, Failure> {
    let ours = format!("proto {}", protocol());
    let mut all = Vec::new();
    for node in &lab.cluster.topology().nodes {
        let machine = lab.cluster.machine(&node.name)?;
        for family in ["-4", "-6"] {
            let shown = shown_by_ip(&machine, &["-o", family, "route", "show", "table", "all"])?;
            let foreign = shown.lines().filter(|line| !line.contains(&ours));
            all.extend(foreign.map(|line| format!("{}: {line}", node.name)));
        }
    }
    Ok(all)
}

/// Waits until the status of every node says all of `words` about learned routes.
fn await_message(lab: &Lab, words: &[&str]) -> Result<(), Failure> {
    let nodes = &lab.cluster.topology().nodes;
    nodes
        .iter()
        .try_for_each(|node| await_message_of(lab, node, words))
}

fn await_message_of(lab: &Lab, node: &NodeSpec, words: &[&str]) -> Result<(), Failure> {
    eventually(2 * SOON, || {
        let configs = peering::node_configs(lab)?;
        let status = configs
            .get(&node.name)
            .and_then(|config| config.status.as_ref());
        let conditions = status.map(|status| status.conditions.as_slice());
        let condition = conditions
            .unwrap_or_default()
            .iter()
            .find(|condition| condition.type_ == "tombolo.io/RoutesImported");
        let message = condition
            .map(|condition| condition.message.clone())
            .unwrap_or_default();
        claim(words.iter().all(|word| message.contains(word)), || {
            format!(
                "{} says {words:?} of learned routes, not {message:?}",
                node.name
            )
        })
    })
}

/// How often the container of a pod was started again.
fn restarts(lab: &Lab, pod: &Pod) -> Result<u64, Failure> {
    let object: serde_json::Value = lab.get(&["pod", "--namespace", NAMESPACE, &pod.name])?;
    let count = &object["status"]["containerStatuses"][0]["restartCount"];
    Ok(count.as_u64().unwrap_or_default())
}
