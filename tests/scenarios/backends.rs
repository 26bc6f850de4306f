//! Backends come and go: new connections go to those that may take them, old ones stay where they are.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lab::namespace::Namespace;
use scenarios::connections::Connections;
use scenarios::http;
use scenarios::lab::{PATIENCE, Pod};
use scenarios::peering::node_addresses;
use scenarios::topologies::{HOST_BEHIND, SECOND_ADDRESS};
use scenarios::{Failure, Lab, claim, eventually};
use serde_json::{Value, json};

use super::{balancing, services};

/// From a change to all nodes' maps.
const SOON: Duration = Duration::from_secs(2);
/// Connections that are open while a backend goes. None of so many has a given one of four backends once in thirty million runs.
const OPEN: usize = 60;

/// A Service whose endpoints are written by hand.
const BY_HAND: &str = "apiVersion: v1
kind: Service
metadata:
  name: by-hand
  labels:
    app: webpod
spec:
  type: LoadBalancer
  ports:
  - port: 80
";

/// A pod of webpod's that goes on for a while when it is told to end.
const LEAVING: &str = "apiVersion: v1
kind: Pod
metadata:
  name: leaving
  labels:
    app: webpod
spec:
  nodeName: NODE
  containers:
  - name: webpod
    image: traefik/whoami
    lifecycle:
      preStop:
        sleep:
          seconds: 20
";

pub(crate) fn come_and_go(lab: &mut Lab) -> Result<(), Failure> {
    let client = lab.cluster.machine(HOST_BEHIND)?.namespace().clone();
    balancing::published(lab)?;
    services::await_routes(lab, &services::sorted(node_addresses(lab)))?;
    let vip = balancing::vip();

    // All gone: refused at once by nobody, for new connections; two come back.
    lab.cluster
        .kubectl(["scale", "deployment/webpod", "--replicas=0"])?;
    await_pods(lab, &client, vip, 0)?;
    services::scale(lab, 2)?;
    await_pods(lab, &client, vip, 2)?;
    services::scale(lab, 3)?;
    await_pods(lab, &client, vip, 3)?;
    let pods = lab.pods("default", "app=webpod")?;
    let outcome = not_ready(lab, &client, &pods);
    lab.cluster.kubectl(["delete", "service", "by-hand"])?;
    outcome?;
    let outcome = terminating(lab, &client, &pods);
    let end = ["delete", "pod", "leaving", "--force", "--ignore-not-found"];
    lab.cluster.kubectl(end)?;
    outcome?;
    removed(lab, &client, &pods)
}

/// An endpoint that an EndpointSlice says is not ready.
fn not_ready(lab: &Lab, client: &Namespace, pods: &[Pod]) -> Result<(), Failure> {
    lab.cluster.apply(BY_HAND)?;
    lab.cluster.apply(&slice(pods, None))?;
    let vip = eventually(PATIENCE, || {
        let service: Value = lab.get(&["service", "by-hand"])?;
        let given = service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str();
        let given = given.and_then(|address| address.parse().ok());
        given.ok_or_else(|| Failure::Untrue("by-hand has an address".to_owned()))
    })?;
    let vip = SocketAddr::new(vip, 80);
    await_pods(lab, client, vip, pods.len())?;
    let leaving = first(pods)?;
    leaves(client, vip, &leaving.name, || {
        lab.cluster.apply(&slice(pods, Some(leaving)))?;
        Ok(())
    })?;
    lab.cluster.apply(&slice(pods, None))?;
    await_pods(lab, client, vip, pods.len())
}

/// A pod that is told to end and goes on serving what it has.
fn terminating(lab: &Lab, client: &Namespace, pods: &[Pod]) -> Result<(), Failure> {
    lab.cluster
        .apply(&LEAVING.replace("NODE", &first(pods)?.node))?;
    let vip = balancing::vip();
    await_pods(lab, client, vip, pods.len() + 1)?;
    leaves(client, vip, "leaving", || {
        lab.cluster
            .kubectl(["delete", "pod", "leaving", "--wait=false"])?;
        eventually(PATIENCE, || {
            let conditions = conditions(lab, "leaving")?;
            let is_so = conditions["terminating"] == true && conditions["serving"] == true;
            claim(is_so, || {
                format!("the pod is terminating and serves: {conditions}")
            })
        })
    })?;
    let conditions = conditions(lab, "leaving")?;
    claim(conditions["terminating"] == true, || {
        format!("the pod was there all the time: {conditions}")
    })
}

/// A pod without the label that the Service selects by is no endpoint, and still runs.
fn removed(lab: &Lab, client: &Namespace, pods: &[Pod]) -> Result<(), Failure> {
    let leaving = first(pods)?;
    let outcome = leaves(client, balancing::vip(), &leaving.name, || {
        let label = ["label", "pod", &leaving.name, "app=drained", "--overwrite"];
        lab.cluster.kubectl(label)?;
        Ok(())
    });
    lab.cluster
        .kubectl(["delete", "pod", &leaving.name, "--wait=false"])?;
    outcome
}

/// When `change` has been made, the pod takes no new connection, and keeps those that it has until they are closed.
fn leaves(
    client: &Namespace,
    vip: SocketAddr,
    pod: &str,
    change: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let connections = Connections::open(client, SECOND_ADDRESS, &[vip], OPEN)?;
    claim(connections.to(pod) > 0, || {
        format!("{pod} has one of {OPEN} connections")
    })?;
    change()?;
    let start = Instant::now();
    while start.elapsed() < SOON {
        let answer = http::fetch_from(client, vip)?;
        if http::field(&answer, "Hostname") == Some(pod) {
            claim(start.elapsed() < SOON / 2, || {
                format!("{pod} takes no new connection any more")
            })?;
        }
    }
    connections.finish_unbroken()
}

fn first(pods: &[Pod]) -> Result<&Pod, Failure> {
    let first = pods.first();
    first.ok_or_else(|| Failure::Untrue("webpod has pods".to_owned()))
}

/// The endpoints of the Service that is written by hand, of which one may not be ready.
fn slice(pods: &[Pod], not_ready: Option<&Pod>) -> String {
    let endpoints = pods.iter().map(|pod| {
        json!({
            "addresses": [pod.address],
            "conditions": {"ready": not_ready != Some(pod)},
            "nodeName": pod.node,
        })
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "by-hand", "labels": {"kubernetes.io/service-name": "by-hand"}},
        "addressType": "IPv4",
        "endpoints": endpoints.collect::<Vec<_>>(),
        "ports": [{"name": "", "port": 80, "protocol": "TCP"}],
    });
    slice.to_string()
}

/// What the EndpointSlices of webpod say of a pod.
fn conditions(lab: &Lab, pod: &str) -> Result<Value, Failure> {
    let slices: Vec<Value> = lab.list(&[
        "endpointslices",
        "--selector",
        "kubernetes.io/service-name=webpod",
    ])?;
    let mut endpoints = slices
        .iter()
        .flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    let found = endpoints.find(|endpoint| endpoint["targetRef"]["name"] == pod);
    Ok(found.map_or(Value::Null, |endpoint| endpoint["conditions"].clone()))
}

/// Waits until as many pods answer, as is seen from a row of answers without a failure; for 0 until nobody does.
fn await_pods(lab: &Lab, client: &Namespace, vip: SocketAddr, count: usize) -> Result<(), Failure> {
    eventually(PATIENCE, || {
        let answers: Vec<Option<String>> = (0..12 * count.max(1))
            .map(|_| http::ask(client, vip, http::Transport::Tcp, SOON / 4).ok())
            .collect();
        let mut names: Vec<&str> = answers
            .iter()
            .flatten()
            .filter_map(|answer| http::field(answer, "Hostname"))
            .collect();
        let all = names.len() == answers.len();
        names.sort_unstable();
        names.dedup();
        claim(names.len() == count && (all || count == 0), || {
            format!(
                "{count} pods answer behind {} nodes, not {names:?} (each question answered: {all})",
                lab.cluster.nodes().len()
            )
        })
    })
}
