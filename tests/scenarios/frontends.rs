//! Every kind of frontend, family, transport and traffic policy, asked at a node with a pod and at one without, from outside and from
//! inside the cluster, with real sockets.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lab::namespace::Namespace;
use lab::node::Node;
use lab::topology::NodeSpec;
use lab::wait;
use scenarios::http::{self, Transport};
use scenarios::lab::{PATIENCE, Pod};
use scenarios::{Failure, Lab, claim, peering};
use serde_json::Value;

use super::{learned_routes, services};

/// Kinds of frontends × families × protocols × policies × askers × nodes, as far as they can be combined.
const ROWS: usize = 336;
/// What stays without an answer is waited for that long.
const SILENCE: Duration = Duration::from_millis(400);

/// Either of two pods is missed by so many questions once in half a million runs of all rows.
const QUESTIONS: usize = 28;

/// Four Services that differ in their policies: outside, inside.
const SERVICES: [(&str, Policy, Policy); 4] = [
    ("everywhere", Policy::Cluster, Policy::Cluster),
    ("nearby", Policy::Local, Policy::Local),
    ("nearby-outside", Policy::Local, Policy::Cluster),
    ("nearby-inside", Policy::Cluster, Policy::Local),
];

const POOL: &str = "apiVersion: cilium.io/v2
kind: CiliumLoadBalancerIPPool
metadata:
  name: frontends
spec:
  blocks:
  - cidr: 172.16.2.0/28
  - cidr: fd00:172:16:2::/124
";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Cluster,
    Local,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    ClusterIp,
    NodePort,
    ExternalIp,
    LoadBalancer,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
enum Asker<'a> {
    Outside(&'a Namespace),
    Inside,
}

/// One question and who may answer it.
struct Row<'a> {
    name: String,
    kind: Kind,
    target: SocketAddr,
    transport: Transport,
    policy: Policy,
    asker: Asker<'a>,
    node: &'a Node,
}

pub(crate) fn every_kind_is_answered_as_its_policy_says(lab: &mut Lab) -> Result<(), Failure> {
    lab.workload()?;
    peering::as_published(lab)?;
    lab.cluster.apply(learned_routes::IMPORT)?;
    learned_routes::await_learned(lab, &[learned_routes::BEHIND])?;
    lab.cluster.apply(POOL)?;
    services::scale(lab, 2)?;
    wait::try_until(PATIENCE, "the third pod is gone", || {
        let pods = lab
            .cluster
            .kubectl(["get", "pods", "-l", "app=webpod", "-o", "name"])?;
        Ok((pods.lines().count() == 2).then_some(()))
    })?;
    lead_to_pods(lab)?;
    for (index, (name, external, internal)) in SERVICES.iter().enumerate() {
        lab.cluster
            .apply(&service(index, name, *external, *internal))?;
    }
    let result = rows_hold(lab);
    for (name, _, _) in SERVICES {
        lab.cluster.kubectl(["delete", "service", name])?;
    }
    services::scale(lab, 3)?;
    result
}

fn rows_hold(lab: &Lab) -> Result<(), Failure> {
    let router = lab.router()?.namespace().clone();
    let pods = lab.pods("default", "app=webpod")?;
    let mut wrong = Vec::new();
    let mut count = 0;
    for (name, external, internal) in SERVICES {
        let object = await_addresses(lab, name)?;
        for node in lab.cluster.nodes() {
            let asked = [
                (Asker::Outside(&router), external),
                (Asker::Inside, internal),
            ];
            for (asker, policy) in asked {
                for row in rows(name, &object, policy, asker, node) {
                    if let Asker::Outside(_) = asker {
                        lead(&router, &row)?;
                    }
                    count += 1;
                    wrong.extend(row.check(&pods).err().map(|failure| failure.to_string()));
                }
            }
        }
    }
    claim(count == ROWS && wrong.is_empty(), || {
        format!(
            "all of {count} rows hold; {} do not:\n{}",
            wrong.len(),
            wrong.join("\n")
        )
    })
}

/// The published peering is of IPv4 alone: what it does for that family is done here for the other.
fn lead_to_pods(lab: &Lab) -> Result<(), Failure> {
    let router = lab.router()?;
    let nodes = &lab.cluster.topology().nodes;
    for owner in nodes {
        let Some(pods) = owner.pod_cidrs.iter().find(|pods| pods.addr().is_ipv6()) else {
            continue;
        };
        let via = address_of(owner, pods.addr());
        router
            .namespace()
            .ip(&format!("route replace {pods} via {via}"))?;
        for node in nodes.iter().filter(|node| node.name != owner.name) {
            let machine = lab.cluster.machine(&node.name)?;
            let own = address_of(node, pods.addr());
            let gateway = router_beside(lab, own)?;
            machine
                .namespace()
                .ip(&format!("route replace {pods} via {gateway}"))?;
        }
    }
    Ok(())
}

/// The router's address in the network of `address`.
pub(crate) fn router_beside(lab: &Lab, address: IpAddr) -> Result<IpAddr, Failure> {
    let routers = lab.cluster.topology().routers.iter();
    let mut addresses = routers
        .flat_map(|router| &router.links)
        .flat_map(|link| &link.addresses);
    let network = addresses.find(|network| network.contains(&address));
    let network =
        network.ok_or_else(|| Failure::Untrue(format!("a router is beside {address}")))?;
    Ok(network.addr())
}

/// Makes the router send what is for the row's address to the row's node.
fn lead(router: &Namespace, row: &Row<'_>) -> Result<(), Failure> {
    if row.kind == Kind::NodePort {
        return Ok(());
    }
    let gateway = address_of(row.node.spec(), row.target.ip());
    Ok(router.ip(&format!("route replace {} via {gateway}", row.target.ip()))?)
}

fn rows<'a>(
    name: &str,
    object: &Value,
    policy: Policy,
    asker: Asker<'a>,
    node: &'a Node,
) -> Vec<Row<'a>> {
    let mut rows = Vec::new();
    let ports = object["spec"]["ports"].as_array().into_iter().flatten();
    for port in ports {
        let transport = match port["protocol"].as_str() {
            Some("UDP") => Transport::Udp,
            _ => Transport::Tcp,
        };
        let node_port =
            u16::try_from(port["nodePort"].as_u64().unwrap_or_default()).unwrap_or_default();
        let mut add = |kind, address: &Value, port| {
            let Some(ip) = address.as_str().and_then(|text| text.parse().ok()) else {
                return;
            };
            rows.push(Row {
                name: format!("{name} {kind:?} {transport:?}"),
                kind,
                target: SocketAddr::new(ip, port),
                transport,
                policy,
                asker,
                node,
            });
        };
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        for address in list(&object["spec"]["clusterIPs"]) {
            add(Kind::ClusterIp, &address, 80);
        }
        for address in list(&object["spec"]["externalIPs"]) {
            add(Kind::ExternalIp, &address, 80);
        }
        for ingress in list(&object["status"]["loadBalancer"]["ingress"]) {
            add(Kind::LoadBalancer, &ingress["ip"], 80);
        }
        for address in &node.spec().addresses {
            add(Kind::NodePort, &Value::from(address.to_string()), node_port);
        }
    }
    // A socket of the cluster is not led to an address that whoever writes a Service could have chosen (CVE-2020-8554).
    rows.retain(|row| !matches!((row.asker, row.kind), (Asker::Inside, Kind::ExternalIp)));
    rows
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.asker {
            Asker::Outside(_) => "outside",
            Asker::Inside => "inside",
        };
        let (name, target, node) = (&self.name, self.target, self.node.name());
        write!(formatter, "{name} at {target} by {node} ({side})")
    }
}

impl Row<'_> {
    /// With policy Cluster both pods answer, that of the node which is asked, if it has one, and the other's; with policy Local its own alone.
    fn check(&self, pods: &[Pod]) -> Result<(), Failure> {
        let expected: BTreeSet<&str> = pods
            .iter()
            .filter(|pod| self.may_answer(pod))
            .map(|pod| pod.name.as_str())
            .collect();
        let mut seen = BTreeSet::new();
        for _ in 0..QUESTIONS {
            let answer = self.ask(expected.is_empty())?;
            let name = answer
                .as_deref()
                .and_then(|text| http::field(text, "Hostname"));
            let pod = pods.iter().find(|pod| Some(pod.name.as_str()) == name);
            let holds = match (pod, &answer) {
                (Some(pod), Some(text)) => self.may_answer(pod) && self.shows_the_client(pod, text),
                (_, answer) => expected.is_empty() && answer.is_none(),
            };
            claim(holds, || {
                format!("{self}: {expected:?} may answer, got {answer:?}")
            })?;
            seen.extend(pod.map(|pod| pod.name.as_str()));
            if seen == expected {
                return Ok(());
            }
        }
        claim(false, || {
            format!("{self}: all of {expected:?} answer {QUESTIONS} questions, not {seen:?}")
        })
    }

    /// Whether a question of this row may be answered by `pod`.
    fn may_answer(&self, pod: &Pod) -> bool {
        let outside = matches!(self.asker, Asker::Outside(_));
        let may_be_asked = !(outside && self.kind == Kind::ClusterIp);
        may_be_asked && (self.policy == Policy::Cluster || pod.node == self.node.name())
    }

    fn ask(&self, in_vain: bool) -> Result<Option<String>, Failure> {
        let patience = if in_vain { SILENCE } else { 5 * SILENCE };
        match self.asker {
            Asker::Outside(router) => {
                Ok(http::ask(router, self.target, self.transport, patience).ok())
            }
            Asker::Inside => http::ask_as_daemon(self.node, self.target, self.transport, patience),
        }
    }

    /// A pod of the node that was asked from outside is told the client's own address.
    fn shows_the_client(&self, pod: &Pod, answer: &str) -> bool {
        let Asker::Outside(_) = self.asker else {
            return true;
        };
        let remote = http::field(answer, "RemoteAddr").unwrap_or_default();
        let remote = remote.parse::<SocketAddr>().ok().map(|remote| remote.ip());
        let is_a_node = remote.is_some_and(|remote| self.node.spec().addresses.contains(&remote));
        is_a_node != (pod.node == self.node.name())
    }
}

/// The node's address of the same family.
fn address_of(node: &NodeSpec, like: IpAddr) -> IpAddr {
    let same = node
        .addresses
        .iter()
        .find(|address| address.is_ipv4() == like.is_ipv4());
    *same.expect("a node has an address of each family")
}

fn await_addresses(lab: &Lab, name: &str) -> Result<Value, Failure> {
    let awaited = format!("{name} has an address of each family");
    let object = wait::try_until(PATIENCE, &awaited, || {
        let object: Value = match lab.get(&["service", name]) {
            Ok(object) => object,
            Err(Failure::Lab(error)) => return Err(error),
            Err(_) => return Ok(None),
        };
        let given = object["status"]["loadBalancer"]["ingress"]
            .as_array()
            .map_or(0, Vec::len);
        Ok((given == 2).then_some(object))
    })?;
    Ok(object)
}

fn service(index: usize, name: &str, external: Policy, internal: Policy) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata:
  name: {name}
spec:
  type: LoadBalancer
  selector:
    app: webpod
  ipFamilyPolicy: RequireDualStack
  externalTrafficPolicy: {external:?}
  internalTrafficPolicy: {internal:?}
  externalIPs: [\"198.51.100.{index}\", \"2001:db8:5::{index}\"]
  ports:
  - name: http
    port: 80
  - name: datagrams
    protocol: UDP
    port: 80
",
        index = index + 1
    )
}
