//! Which addresses are whose, and when the datapath is planned at all.

use std::net::IpAddr;
use std::sync::Arc;

use plan::NodeFacts;
use plan::node::DatapathSettings;

use super::{Scene, ip};
use crate::world::{NODE, World};

impl Scene {
    pub(super) fn datapath(&mut self) -> &mut DatapathSettings {
        self.world.settings.datapath.as_mut().unwrap()
    }

    pub(super) fn label(&mut self, key: &str, value: &str) {
        self.service.labels.insert(key.to_owned(), value.to_owned());
    }

    pub(super) fn node_label(&mut self, key: &str, value: &str) {
        let node = self.world.snapshot.nodes.get_mut(NODE).unwrap();
        let labels = &mut Arc::make_mut(node).labels;
        labels.insert(key.to_owned(), value.to_owned());
    }
}

#[test]
fn without_its_settings_there_is_no_datapath() {
    assert_eq!(World::published().plan().datapath, None);
}

#[test]
fn a_node_without_bgp_balances() {
    let mut scene = Scene::new();
    scene.world.snapshot.node_configs.clear();
    assert_eq!(scene.service().frontends.len(), 4);
}

#[test]
fn node_ports_are_answered_at_the_node_s_addresses_and_those_of_its_devices() {
    let rows: [(&[&str], &[&str]); 4] = [
        // Nothing named: the device that has the node's address, with all of its addresses.
        (&[], &["192.168.10.100", "192.168.10.101", "fd00:10::100"]),
        (&["eth9"], &["192.168.10.100", "203.0.113.9"]),
        (
            &["eth+"],
            &[
                "192.168.10.100",
                "192.168.10.101",
                "203.0.113.9",
                "fd00:10::100",
            ],
        ),
        (&["none"], &["192.168.10.100"]),
    ];
    for (devices, expected) in rows {
        let mut scene = Scene::new();
        scene.datapath().devices = devices.iter().map(|name| (*name).to_owned()).collect();
        let addresses = |texts: &[&str]| texts.iter().map(|text| ip(text)).collect::<Vec<_>>();
        let interfaces = [
            ("cni0", addresses(&["172.20.0.254"])),
            (
                "eth1",
                addresses(&["192.168.10.100", "192.168.10.101", "fd00:10::100"]),
            ),
            ("eth9", addresses(&["203.0.113.9"])),
        ];
        scene.world.observed.interfaces = interfaces
            .map(|(name, addresses)| (name.to_owned(), addresses))
            .into();
        let found: Vec<IpAddr> = scene.plan().node_addresses.iter().copied().collect();
        assert_eq!(found, addresses(expected), "{devices:?}");
    }
}

#[test]
fn the_other_nodes_are_known_by_all_their_addresses() {
    let mut scene = Scene::new();
    let facts = NodeFacts {
        internal_addresses: vec![ip("192.168.10.101"), ip("fd00:10::101")],
        ..NodeFacts::default()
    };
    let nodes = &mut scene.world.snapshot.nodes;
    nodes.insert("k8s-w1".to_owned(), Arc::new(facts));
    let found: Vec<_> = scene.plan().other_nodes.iter().copied().collect();
    assert_eq!(found, [ip("192.168.10.101"), ip("fd00:10::101")]);
}
