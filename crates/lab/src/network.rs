//! Namespaces and wires: makes the links of a topology true.
//!
//! Every subnet is a bridge in a namespace of its own, the switch. Every link is a veth pair: `eth<n>` in the
//! machine's namespace, `p<machine>-<n>` in the switch (machines counted as [`Topology::machines`] lists them).

use std::fmt::Write as _;
use std::thread;

use crate::error::Error;
use crate::namespace::Namespace;
use crate::state::StateFolder;
use crate::topology::{Host, Link, NodeSpec, Route, RouterSpec, Topology};

/// The name of the switch's namespace within the lab.
pub(crate) const SWITCH: &str = "switch";

/// Kernel parameters of every machine: addresses work at once, and stay when the link goes down.
const EVERYWHERE: [(&str, &str); 9] = [
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/all/accept_ra", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/all/keep_addr_on_down", "1"),
    ("ipv4/fib_multipath_hash_policy", "1"),
    ("ipv6/fib_multipath_hash_policy", "1"),
];

/// Kernel parameters of machines that forward: nodes and routers.
const FORWARDING: [(&str, &str); 2] = [("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")];

/// What a machine needs of the network, whatever it is otherwise.
struct Wiring<'a> {
    machine: &'a str,
    links: &'a [Link],
    loopback: Vec<ipnet::IpNet>,
    routes: &'a [Route],
    forwards: bool,
}

impl<'a> Wiring<'a> {
    fn host(host: &'a Host) -> Self {
        Self {
            machine: &host.name,
            links: &host.links,
            loopback: Vec::new(),
            routes: &host.routes,
            forwards: false,
        }
    }

    fn node(node: &'a NodeSpec) -> Self {
        Self {
            machine: &node.name,
            links: &node.links,
            loopback: Vec::new(),
            routes: &node.routes,
            forwards: true,
        }
    }

    fn router(router: &'a RouterSpec) -> Self {
        Self {
            machine: &router.name,
            links: &router.links,
            loopback: router.loopback.clone(),
            routes: &router.routes,
            forwards: true,
        }
    }

    /// All machines in the order of [`Topology::machines`].
    fn all(topology: &'a Topology) -> Vec<Self> {
        std::iter::once(Self::host(&topology.control))
            .chain(topology.nodes.iter().map(Self::node))
            .chain(topology.routers.iter().map(Self::router))
            .chain(topology.hosts.iter().map(Self::host))
            .collect()
    }
}

/// Makes all namespaces and links.
///
/// # Errors
/// [`Error::Unknown`] when a link names a subnet that is not listed, or what the kernel refuses.
pub(crate) fn build(state: &StateFolder, topology: &Topology) -> Result<(), Error> {
    let wirings = Wiring::all(topology);
    let plugs = switch_script(topology, &wirings)?;
    let switch = Namespace::create(state, SWITCH)?;
    switch.sysctl("ipv6/conf/default/disable_ipv6", "1")?;
    switch.ip(&bridges_script(topology))?;
    thread::scope(|scope| {
        let started: Vec<_> = wirings
            .iter()
            .enumerate()
            .map(|(index, wiring)| {
                let switch = &switch;
                scope.spawn(move || connect(state, switch, index, wiring))
            })
            .collect();
        started
            .into_iter()
            .try_for_each(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
    })?;
    switch.ip(&plugs)?;
    Ok(())
}

fn connect(
    state: &StateFolder,
    switch: &Namespace,
    index: usize,
    wiring: &Wiring<'_>,
) -> Result<(), Error> {
    let namespace = Namespace::create(state, wiring.machine)?;
    let forwarding = FORWARDING.iter().filter(|_| wiring.forwards);
    for (key, value) in EVERYWHERE.iter().chain(forwarding) {
        namespace.sysctl(key, value)?;
    }
    namespace.ip(&machine_script(switch, index, wiring))?;
    for interface in 0..wiring.links.len() {
        // No hardware will fill the checksums in. Kernels without the feature need nothing turned off.
        namespace.exec("ethtool", ["-K", &format!("eth{interface}"), "tx", "off"])?;
    }
    Ok(())
}

fn bridges_script(topology: &Topology) -> String {
    let mut script = String::from("link set lo up\n");
    for (index, subnet) in topology.subnets.iter().enumerate() {
        let _ = writeln!(script, "link add br{index} type bridge mcast_snooping 0");
        let _ = writeln!(script, "link set br{index} alias {subnet} up");
    }
    script
}

fn machine_script(switch: &Namespace, index: usize, wiring: &Wiring<'_>) -> String {
    let mut script = String::from("link set lo up\n");
    for address in &wiring.loopback {
        let _ = writeln!(script, "addr add {address} dev lo");
    }
    for (number, link) in wiring.links.iter().enumerate() {
        let (peer, switch) = (port(index, number), switch.name());
        let _ = writeln!(
            script,
            "link add eth{number} type veth peer name {peer} netns {switch}"
        );
        for address in &link.addresses {
            let nodad = if address.addr().is_ipv6() {
                " nodad"
            } else {
                ""
            };
            let _ = writeln!(script, "addr add {address} dev eth{number}{nodad}");
        }
        let _ = writeln!(script, "link set eth{number} up");
    }
    for Route { to, via } in wiring.routes {
        let _ = writeln!(script, "route add {to} via {via}");
    }
    script
}

fn switch_script(topology: &Topology, wirings: &[Wiring<'_>]) -> Result<String, Error> {
    let mut script = String::new();
    for (index, wiring) in wirings.iter().enumerate() {
        for (number, link) in wiring.links.iter().enumerate() {
            let bridge = bridge(topology, &link.subnet)?;
            let (port, machine) = (port(index, number), wiring.machine);
            let _ = writeln!(
                script,
                "link set {port} alias {machine}/eth{number} master {bridge} up"
            );
        }
    }
    Ok(script)
}

fn port(machine: usize, link: usize) -> String {
    format!("p{machine}-{link}")
}

/// The bridge of a subnet, in the switch.
pub(crate) fn bridge(topology: &Topology, subnet: &str) -> Result<String, Error> {
    let index = topology.subnets.iter().position(|name| name == subnet);
    let unknown = || Error::Unknown {
        name: subnet.to_owned(),
        known: topology.subnets.clone(),
    };
    index.map(|index| format!("br{index}")).ok_or_else(unknown)
}

/// Both ends of the link between a machine and a subnet.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    /// The interface in the machine.
    pub(crate) interface: String,
    /// The port in the switch.
    pub(crate) port: String,
    /// The bridge it is plugged into.
    pub(crate) bridge: String,
}

/// Finds the link between a machine and a subnet.
///
/// # Errors
/// [`Error::Unknown`] when there is no such machine, subnet or link.
pub(crate) fn ends(topology: &Topology, machine: &str, subnet: &str) -> Result<Ends, Error> {
    let bridge = bridge(topology, subnet)?;
    let machines = topology.machines();
    let known = || machines.iter().map(|name| (*name).to_owned()).collect();
    let index = machines.iter().position(|name| *name == machine);
    let index = index.ok_or_else(|| Error::Unknown {
        name: machine.to_owned(),
        known: known(),
    })?;
    let links = topology.links(machine).unwrap_or_default();
    let number = links
        .iter()
        .position(|link| link.subnet == subnet)
        .ok_or_else(|| Error::Unknown {
            name: format!("link of {machine} into {subnet}"),
            known: links.iter().map(|link| link.subnet.clone()).collect(),
        })?;
    Ok(Ends {
        interface: format!("eth{number}"),
        port: port(index, number),
        bridge,
    })
}

#[cfg(test)]
mod tests {
    use super::{Wiring, ends, machine_script, port, switch_script};
    use crate::error::Error;
    use crate::namespace::Namespace;
    use crate::topology::{Topology, published};

    fn wiring<'a>(topology: &'a Topology, machine: &str) -> (usize, Wiring<'a>) {
        let all = Wiring::all(topology).into_iter().enumerate();
        all.into_iter()
            .find(|(_, wiring)| wiring.machine == machine)
            .unwrap()
    }

    #[test]
    fn a_published_node_has_a_default_route_that_leads_nowhere_and_one_to_the_other_subnet() {
        let topology = published();
        let switch: Namespace = serde_json::from_str("\"switch\"").unwrap();
        let (index, wiring) = wiring(&topology, "k8s-w0");
        let expected = "link set lo up
link add eth0 type veth peer name p3-0 netns switch
addr add 10.0.2.102/24 dev eth0
link set eth0 up
link add eth1 type veth peer name p3-1 netns switch
addr add 192.168.20.100/24 dev eth1
addr add fd00:20::100/64 dev eth1 nodad
link set eth1 up
route add 192.168.10.0/24 via 192.168.20.200
route add fd00:10::/64 via fd00:20::200
route add 0.0.0.0/0 via 10.0.2.1
";
        assert_eq!(machine_script(&switch, index, &wiring), expected);
    }

    #[test]
    fn every_link_ends_in_the_switch_of_its_subnet() {
        let topology = published();
        let script = switch_script(&topology, &Wiring::all(&topology)).unwrap();
        assert_eq!(script.lines().count(), 9);
        assert!(
            script.contains("link set p4-1 alias router/eth1 master br2 up"),
            "{script}"
        );
        let ends = ends(&topology, "router", "net20").unwrap();
        assert_eq!(
            (
                ends.interface.as_str(),
                ends.port.as_str(),
                ends.bridge.as_str()
            ),
            ("eth1", "p4-1", "br2")
        );
    }

    #[test]
    fn links_that_are_not_there_are_told_with_what_there_is() {
        let topology = published();
        for (machine, subnet) in [
            ("k8s-w0", "net10"),
            ("k8s-w9", "net10"),
            ("k8s-w0", "net30"),
        ] {
            let error = ends(&topology, machine, subnet).unwrap_err();
            assert!(
                matches!(error, Error::Unknown { .. }),
                "{machine} {subnet}: {error}"
            );
        }
    }

    #[test]
    fn a_port_of_the_thousandth_machine_is_a_valid_interface_name() {
        assert!(port(1000, 99).len() <= 15);
    }
}
