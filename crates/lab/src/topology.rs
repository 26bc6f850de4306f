//! Nodes, routers, hosts and the subnets that join them, as plain data.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A whole lab as data. [`Cluster::up`](crate::cluster::Cluster::up) makes it true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// The lab's name: of its state folder, and in the names of its namespaces and control groups.
    pub name: String,
    /// The subnets, each a switch of its own.
    pub subnets: Vec<String>,
    /// Where API server, scheduler, controller manager and registry run. The API server listens on the first
    /// address of the first link.
    pub control: Host,
    /// The nodes.
    pub nodes: Vec<NodeSpec>,
    /// The routers.
    pub routers: Vec<RouterSpec>,
    /// Machines with nothing on them.
    pub hosts: Vec<Host>,
    /// From which the API server takes ClusterIPs: one range per family, the first family is the cluster's.
    pub service_cidrs: Vec<IpNet>,
    /// From which the pod ranges of the nodes are.
    pub cluster_cidrs: Vec<IpNet>,
}

/// One interface of a machine, plugged into a subnet's switch. The interface is named `eth<n>` by its place in
/// the list of links, counted from 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The subnet.
    pub subnet: String,
    /// The addresses of the interface with the subnet's prefix length.
    pub addresses: Vec<IpNet>,
}

/// A static route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    pub to: IpNet,
    /// By way of which neighbour.
    pub via: IpAddr,
}

/// A machine with nothing on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its name in the lab.
    pub name: String,
    /// Its interfaces.
    pub links: Vec<Link>,
    /// Its static routes.
    pub routes: Vec<Route>,
}

/// A Kubernetes node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Its name, in the lab and in Kubernetes.
    pub name: String,
    /// Its interfaces.
    pub links: Vec<Link>,
    /// Its static routes.
    pub routes: Vec<Route>,
    /// Its addresses in Kubernetes: the InternalIPs, at most one per family.
    pub addresses: Vec<IpAddr>,
    /// The ranges of its pods, at most one per family.
    pub pod_cidrs: Vec<IpNet>,
    /// Labels of its Node object.
    pub labels: BTreeMap<String, String>,
}

/// Which program speaks BGP on a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RouterKind {
    /// FRR: `zebra` and `bgpd` of Debian.
    Frr,
    /// BIRD 2 of Debian.
    Bird,
    /// GoBGP of the machine cache.
    Gobgp,
}

/// A router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterSpec {
    /// Its name in the lab.
    pub name: String,
    /// What runs on it.
    pub kind: RouterKind,
    /// Its interfaces.
    pub links: Vec<Link>,
    /// Addresses on its loopback: networks that are behind it.
    pub loopback: Vec<IpNet>,
    /// Its static routes.
    pub routes: Vec<Route>,
    /// The text of its configuration file.
    pub config: String,
}

impl Topology {
    /// The names of all machines: control, nodes, routers, hosts.
    pub fn machines(&self) -> Vec<&str> {
        std::iter::once(self.control.name.as_str())
            .chain(self.nodes.iter().map(|node| node.name.as_str()))
            .chain(self.routers.iter().map(|router| router.name.as_str()))
            .chain(self.hosts.iter().map(|host| host.name.as_str()))
            .collect()
    }

    /// The links of a machine, if there is one of that name.
    pub fn links(&self, machine: &str) -> Option<&[Link]> {
        let hosts = std::iter::once(&self.control).chain(&self.hosts);
        let nodes = self.nodes.iter().map(|node| (&node.name, &node.links));
        let routers = self
            .routers
            .iter()
            .map(|router| (&router.name, &router.links));
        hosts
            .map(|host| (&host.name, &host.links))
            .chain(nodes)
            .chain(routers)
            .find_map(|(name, links)| (name == machine).then_some(links.as_slice()))
    }

    /// The address on which the API server listens for the nodes.
    ///
    /// # Panics
    /// When the control machine has no address: such a topology means nothing.
    pub fn api_address(&self) -> IpAddr {
        let link = self
            .control
            .links
            .first()
            .expect("the control machine has a link");
        link.addresses
            .first()
            .expect("the control machine has an address")
            .addr()
    }
}

impl Link {
    fn new(subnet: &str, addresses: &[&str]) -> Self {
        Self {
            subnet: subnet.to_owned(),
            addresses: addresses.iter().map(|text| net(text)).collect(),
        }
    }
}

impl Route {
    fn new(to: &str, via: &str) -> Self {
        Self {
            to: net(to),
            via: via.parse().expect("a literal address"),
        }
    }
}

fn net(literal: &str) -> IpNet {
    literal.parse().expect("a literal prefix")
}

/// The topology of the published manifests (`tests/published/`): three nodes in two subnets, one FRR router,
/// AS 65000 to AS 65001.
///
/// ```text
///                     router (FRR, AS 65000, 10.10.1.200/24 and 10.10.2.200/24 behind it)
///      192.168.10.200/24 │                                   │ 192.168.20.200/24
///            ┌───────────┴──────────┐                        │
///      k8s-ctr .10.100        k8s-w1 .10.101           k8s-w0 .20.100        AS 65001
///      172.20.0.0/24          172.20.1.0/24            172.20.2.0/24         pod CIDRs
/// ```
///
/// Every node has a first link whose gateway, its default route, leads nowhere: pod routes must come from BGP.
/// Beside each IPv4 address stands an IPv6 one (`fd00:10::`, `fd00:20::`, pods `fd00:172:20:<n>::/64`).
pub fn published() -> Topology {
    Topology {
        name: "published".to_owned(),
        subnets: ["uplink", "net10", "net20"].map(str::to_owned).to_vec(),
        control: Host {
            name: "ctl".to_owned(),
            links: vec![Link::new("net10", &["192.168.10.50/24", "fd00:10::50/64"])],
            routes: across(10),
        },
        nodes: vec![
            published_node("k8s-ctr", 0, 10, 100),
            published_node("k8s-w1", 1, 10, 101),
            published_node("k8s-w0", 2, 20, 100),
        ],
        routers: vec![RouterSpec {
            name: "router".to_owned(),
            kind: RouterKind::Frr,
            links: vec![
                Link::new("net10", &["192.168.10.200/24", "fd00:10::200/64"]),
                Link::new("net20", &["192.168.20.200/24", "fd00:20::200/64"]),
            ],
            loopback: vec![net("10.10.1.200/24"), net("10.10.2.200/24")],
            routes: Vec::new(),
            config: include_str!("../../../tests/published/frr.conf").to_owned(),
        }],
        hosts: Vec::new(),
        service_cidrs: vec![net("10.96.0.0/16"), net("fd00:96::/112")],
        cluster_cidrs: vec![net("172.20.0.0/16"), net("fd00:172:20::/48")],
    }
}

fn published_node(name: &str, index: u8, subnet: u8, host: u8) -> NodeSpec {
    let v4 = format!("192.168.{subnet}.{host}");
    let v6 = format!("fd00:{subnet}::{host}");
    let mut routes = across(subnet);
    routes.push(Route::new("0.0.0.0/0", "10.0.2.1"));
    NodeSpec {
        name: name.to_owned(),
        links: vec![
            Link::new("uplink", &[&format!("10.0.2.{}/24", 100 + index)]),
            Link::new(
                &format!("net{subnet}"),
                &[&format!("{v4}/24"), &format!("{v6}/64")],
            ),
        ],
        routes,
        addresses: [v4, v6]
            .map(|text| text.parse().expect("a literal address"))
            .to_vec(),
        pod_cidrs: vec![
            net(&format!("172.20.{index}.0/24")),
            net(&format!("fd00:172:20:{index}::/64")),
        ],
        labels: BTreeMap::from([("enable-bgp".to_owned(), "true".to_owned())]),
    }
}

/// The static routes of a machine in one of the two subnets to the other one, by way of the router.
fn across(subnet: u8) -> Vec<Route> {
    let other = 30 - subnet;
    vec![
        Route::new(
            &format!("192.168.{other}.0/24"),
            &format!("192.168.{subnet}.200"),
        ),
        Route::new(
            &format!("fd00:{other}::/64"),
            &format!("fd00:{subnet}::200"),
        ),
    ]
}
