//! The published topology is the one that the published manifests were written for.

use lab::topology::{RouterKind, Topology, published};

#[test]
fn the_published_addresses_are_there() {
    let topology = published();
    let nodes: Vec<_> = topology
        .nodes
        .iter()
        .map(|node| {
            (
                node.name.as_str(),
                node.addresses[0].to_string(),
                node.pod_cidrs[0].to_string(),
            )
        })
        .collect();
    let expected = [
        ("k8s-ctr", "192.168.10.100", "172.20.0.0/24"),
        ("k8s-w1", "192.168.10.101", "172.20.1.0/24"),
        ("k8s-w0", "192.168.20.100", "172.20.2.0/24"),
    ];
    assert_eq!(
        nodes,
        expected.map(|(name, address, pods)| (name, address.to_owned(), pods.to_owned()))
    );
    let router = &topology.routers[0];
    assert_eq!(router.kind, RouterKind::Frr);
    assert_eq!(
        router.links[0].addresses[0].to_string(),
        "192.168.10.200/24"
    );
    assert_eq!(
        router.links[1].addresses[0].to_string(),
        "192.168.20.200/24"
    );
    assert_eq!(router.loopback.len(), 2);
    assert_eq!(topology.api_address().to_string(), "192.168.10.50");
}

#[test]
fn the_router_runs_the_published_configuration_verbatim() {
    let topology = published();
    let config = &topology.routers[0].config;
    for node in &topology.nodes {
        let line = format!("neighbor {} peer-group CILIUM", node.addresses[0]);
        assert!(config.contains(&line), "{line}");
    }
}

#[test]
fn every_ipv4_address_and_range_has_an_ipv6_one_beside_it() {
    let topology = published();
    for node in &topology.nodes {
        assert!(
            node.addresses[0].is_ipv4() && node.addresses[1].is_ipv6(),
            "{}",
            node.name
        );
        let [v4, v6] = node.pod_cidrs.as_slice() else {
            panic!("{}", node.name)
        };
        assert!(topology.cluster_cidrs[0].contains(v4), "{v4}");
        assert!(topology.cluster_cidrs[1].contains(v6), "{v6}");
    }
}

#[test]
fn no_address_is_used_twice() {
    let topology = published();
    let links = topology
        .machines()
        .into_iter()
        .filter_map(|machine| topology.links(machine))
        .flatten();
    let mut addresses: Vec<_> = links
        .flat_map(|link| &link.addresses)
        .map(ipnet::IpNet::addr)
        .collect();
    let count = addresses.len();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), count);
}

#[test]
fn a_topology_survives_being_written_down() {
    let topology = published();
    let text = serde_json::to_string(&topology).unwrap();
    assert_eq!(serde_json::from_str::<Topology>(&text).unwrap(), topology);
}
