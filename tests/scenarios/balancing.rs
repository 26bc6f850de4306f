//! The published tutorial to its last command: the VIP answers, from every side, and the pods share the work.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lab::namespace::Namespace;
use scenarios::peering::{self, address, node_addresses};
use scenarios::topologies::{FIRST_ADDRESS, HOST_BEHIND};
use scenarios::{Failure, Lab, claim, eventually, http, manifests};

use super::learned_routes;
use super::services::{self, ADDRESS};

/// Questions by which the spread is judged.
const QUESTIONS: usize = 100;
/// So many questions miss one of three pods once in three million runs.
const ENOUGH: usize = 40;

pub(crate) fn the_vip_answers_and_spreads(lab: &mut Lab) -> Result<(), Failure> {
    published(lab)?;
    let client = lab.cluster.machine(HOST_BEHIND)?.namespace().clone();
    let router = lab.router()?.namespace().clone();
    let all = services::sorted(node_addresses(lab));
    services::await_routes(lab, &all)?;
    let spread = spread(&router, vip(), QUESTIONS)?;
    // Each third is expected 33 times; less than 15 happens once in 40,000 runs.
    claim(
        spread.len() == 3 && spread.values().all(|count| *count >= 15),
        || format!("{QUESTIONS} answers come from three pods alike: {spread:?}"),
    )?;

    services::patch(lab, r#"{"spec":{"externalTrafficPolicy":"Local"}}"#)?;
    let two = services::scale(lab, 2)?;
    services::await_routes(lab, &two)?;
    every_pod_sees_the_client(lab, &client, &two)?;
    let three = services::scale(lab, 3)?;
    services::await_routes(lab, &three)?;
    every_pod_sees_the_client(lab, &client, &three)?;
    services::patch(lab, r#"{"spec":{"externalTrafficPolicy":"Cluster"}}"#)?;
    services::await_routes(lab, &all)?;
    answers(&router, vip())
}

/// Without routes back nobody outside is answered; then pods are reached by their addresses, and all of them by every address of the Service.
pub(crate) fn pods_and_hosts_reach_services(lab: &mut Lab) -> Result<(), Failure> {
    let client = lab.cluster.machine(HOST_BEHIND)?.namespace().clone();
    announced(lab)?;
    services::await_routes(lab, &services::sorted(node_addresses(lab)))?;
    let pods = lab.pods("default", "app=webpod")?;
    let addresses = pods.iter().map(|pod| SocketAddr::new(pod.address, 80));
    learned_routes::reaches_none(&client, addresses.chain([vip()]))?;
    import(lab)?;
    learned_routes::fetch_all(&client, &pods)?;
    learned_routes::curl_pod_reaches(lab, &pods)?;

    let names: Vec<&str> = pods.iter().map(|pod| pod.name.as_str()).collect();
    let mut targets = vec![vip()];
    for node in &lab.cluster.topology().nodes {
        targets.push(SocketAddr::new(address(node), node_port(lab)?));
    }
    for target in &targets {
        all_answer(&names, &spread(&client, *target, ENOUGH)?, *target)?;
    }
    targets.push(SocketAddr::new(services::cluster_ip(lab)?, 80));
    for target in &targets {
        all_answer(&names, &spread_for_curl_pod(lab, *target)?, *target)?;
        for node in lab.cluster.nodes() {
            let url = format!("http://{target}/");
            let curl = node.daemon(["curl", "--silent", "--max-time", "2", &url])?;
            claim(http::field(&curl.stdout, "Hostname").is_some(), || {
                format!("a daemon of {} is answered at {url}: {curl:?}", node.name())
            })?;
        }
    }
    Ok(())
}

/// A value of the chart decides whether VIPs answer ping. They answer requests in any case.
pub(crate) fn the_vip_answers_ping(lab: &mut Lab) -> Result<(), Failure> {
    published(lab)?;
    let all = services::sorted(node_addresses(lab));
    services::await_routes(lab, &all)?;
    let client = lab.cluster.machine(HOST_BEHIND)?.namespace().clone();
    let ping = || client.exec("ping", ["-c", "3", "-i", "0.2", "-W", "1", ADDRESS]);
    let answered = ping()?;
    claim(answered.success(), || {
        format!("{ADDRESS} answers ping: {}", answered.stdout)
    })?;
    lab.upgrade(&["extraConfig.lb-ping=false"])?;
    let silent = services::await_routes(lab, &all).and_then(|()| {
        let answered = ping()?;
        claim(answered.stdout.contains(" 0 received"), || {
            format!("{ADDRESS} answers no ping: {}", answered.stdout)
        })?;
        answers(&client, vip())
    });
    lab.upgrade(&[])?;
    silent
}

/// `bgp.yaml`, `lb.yaml`, `webpod.yaml` as published, the Service made a LoadBalancer, and an import.
pub(crate) fn published(lab: &mut Lab) -> Result<(), Failure> {
    announced(lab)?;
    import(lab)
}

fn announced(lab: &Lab) -> Result<(), Failure> {
    lab.workload()?;
    peering::as_published(lab)?;
    lab.cluster.apply(manifests::LB)?;
    services::patch(lab, r#"{"spec":{"type":"LoadBalancer"}}"#)
}

/// What people otherwise do by hand: a node must have routes to the pods of the others before it can send them requests, and to who asks.
fn import(lab: &Lab) -> Result<(), Failure> {
    lab.cluster.apply(learned_routes::IMPORT)?;
    learned_routes::await_learned(lab, &[learned_routes::BEHIND])
}

pub(crate) fn vip() -> SocketAddr {
    SocketAddr::new(ADDRESS.parse().expect("an address"), 80)
}

/// The port by which every node leads to webpod.
pub(crate) fn node_port(lab: &Lab) -> Result<u16, Failure> {
    let service: serde_json::Value = lab.get(&["service", "webpod"])?;
    let port = service["spec"]["ports"][0]["nodePort"].as_u64();
    let port = port.and_then(|port| u16::try_from(port).ok());
    port.ok_or_else(|| Failure::Untrue(format!("webpod has a node port: {service}")))
}

fn answers(namespace: &Namespace, target: SocketAddr) -> Result<(), Failure> {
    let answer = http::fetch_from(namespace, target)?;
    claim(http::field(&answer, "Hostname").is_some(), || {
        format!("{target} answers, not {answer:?}")
    })
}

/// How many answers each pod gave.
fn spread(
    namespace: &Namespace,
    target: SocketAddr,
    questions: usize,
) -> Result<BTreeMap<String, usize>, Failure> {
    let mut counts = BTreeMap::new();
    for _ in 0..questions {
        let answer = http::fetch_from(namespace, target)?;
        let name = http::field(&answer, "Hostname").unwrap_or_default();
        *counts.entry(name.to_owned()).or_default() += 1;
    }
    Ok(counts)
}

/// With policy Local every ready pod answers, and each is told the address of who asked.
fn every_pod_sees_the_client(
    lab: &Lab,
    client: &Namespace,
    nodes: &[IpAddr],
) -> Result<(), Failure> {
    // The router may still use the routes of a moment ago.
    eventually(Duration::from_secs(2), || {
        let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for _ in 0..ENOUGH {
            let answer = http::fetch_from(client, vip())?;
            let said = |name| http::field(&answer, name).unwrap_or_default();
            let (host, _) = said("RemoteAddr").rsplit_once(':').unwrap_or_default();
            let pod = said("Hostname").to_owned();
            seen.entry(pod).or_default().insert(host.to_owned());
        }
        let client = BTreeSet::from([FIRST_ADDRESS.to_string()]);
        let pods = lab.pods("default", "app=webpod")?.into_iter();
        let ready = pods.filter(|pod| {
            let node = lab.cluster.node(&pod.node);
            node.is_ok_and(|node| nodes.contains(&address(node.spec())))
        });
        let expected = ready.map(|pod| (pod.name, client.clone())).collect();
        claim(seen == expected, || {
            format!("every ready pod is asked by the client itself: {expected:?}, not {seen:?}")
        })
    })
}

/// How many answers each pod gave to curl-pod.
fn spread_for_curl_pod(lab: &Lab, target: SocketAddr) -> Result<BTreeMap<String, usize>, Failure> {
    let script = r#"for _ in $(seq "$0"); do curl --silent --max-time 2 "$1" || echo "Hostname: nobody"; done"#;
    let (times, url) = (ENOUGH.to_string(), format!("http://{target}/"));
    let shell = ["exec", "curl-pod", "--", "sh", "-c", script, &times, &url];
    let mut counts = BTreeMap::new();
    let answers = lab.cluster.kubectl(shell)?;
    for name in answers
        .lines()
        .filter_map(|line| line.strip_prefix("Hostname: "))
    {
        *counts.entry(name.to_owned()).or_default() += 1;
    }
    Ok(counts)
}

/// All of `pods` have answered, and nobody else, and every question was answered.
fn all_answer(
    pods: &[&str],
    spread: &BTreeMap<String, usize>,
    target: SocketAddr,
) -> Result<(), Failure> {
    let expected: BTreeSet<&str> = pods.iter().copied().collect();
    let is_so = spread.keys().map(String::as_str).eq(expected);
    claim(is_so && spread.values().sum::<usize>() == ENOUGH, || {
        format!("all of {pods:?} answer {ENOUGH} questions to {target}, not {spread:?}")
    })
}
