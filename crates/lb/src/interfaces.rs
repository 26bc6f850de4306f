//! Which interfaces get which programs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::options::Uplinks;

/// An interface of this network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) layer: Layer,
    /// What made it, as the kernel calls it (`veth`, `bridge`); `None` for a network card.
    pub(crate) kind: Option<String>,
    /// Whether its other end is in another network namespace.
    pub(crate) leads_elsewhere: bool,
    /// Whether it is a part of another: of a bridge or bond.
    pub(crate) is_part: bool,
    /// Addresses of global scope.
    pub(crate) addresses: Vec<IpAddr>,
}

/// What frames look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layer {
    Ethernet,
    Loopback,
    Other,
}

/// What an interface is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Uplink,
    Pod,
}

/// By index.
pub(crate) type Interfaces = BTreeMap<u32, Interface>;

/// Kinds that carry what comes from outside, unlike bridges, tunnels and the ends of pods' links.
const OUTWARD: [&str; 8] = [
    "bond", "team", "vlan", "macvlan", "macvtap", "ipvlan", "macsec", "ifb",
];

/// What to do with an interface; `None` leaves it alone. Whoever names an interface is believed; an address of the node makes an uplink of
/// anything but what was named a pod's.
pub(crate) fn role(
    interface: &Interface,
    uplinks: &Uplinks,
    pod_interfaces: &[String],
    node_addresses: &BTreeSet<IpAddr>,
) -> Option<Role> {
    if interface.layer != Layer::Ethernet {
        return None;
    }
    let is_pod = || {
        let named = matches_any(pod_interfaces, &interface.name);
        // A veth that stays in this namespace is somebody's wiring, unless it is named in full.
        named && (interface.leads_elsewhere || pod_interfaces.contains(&interface.name))
    };
    let is_uplink = match uplinks {
        Uplinks::Named(names) => matches_any(names, &interface.name),
        Uplinks::Detect => is_detected(interface, node_addresses, is_pod()),
    };
    if is_uplink {
        Some(Role::Uplink)
    } else if is_pod() {
        Some(Role::Pod)
    } else {
        None
    }
}

fn is_detected(interface: &Interface, node_addresses: &BTreeSet<IpAddr>, is_pod: bool) -> bool {
    let addresses = &interface.addresses;
    if addresses
        .iter()
        .any(|address| node_addresses.contains(address))
    {
        return true;
    }
    let leads_outward = match &interface.kind {
        None => true,
        Some(kind) => OUTWARD.contains(&kind.as_str()),
    };
    leads_outward && !addresses.is_empty() && !interface.is_part && !is_pod
}

/// Whether a name is one of these; `*` or `+` at the end of a pattern stands for anything.
fn matches_any(patterns: &[String], name: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| match pattern.strip_suffix(['*', '+']) {
            Some(prefix) => name.starts_with(prefix),
            None => pattern == name,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, kind: Option<&str>, addresses: &[&str]) -> Interface {
        let addresses = addresses.iter();
        Interface {
            name: name.to_owned(),
            layer: Layer::Ethernet,
            kind: kind.map(str::to_owned),
            leads_elsewhere: kind == Some("veth"),
            is_part: false,
            addresses: addresses
                .map(|text| text.parse().expect("an address"))
                .collect(),
        }
    }

    fn names(patterns: &[&str]) -> Vec<String> {
        patterns.iter().map(|text| (*text).to_owned()).collect()
    }

    /// The role of an interface where `veth*` and `lxc+` are pods' and 192.0.2.1 is the node's.
    fn detected(interface: &Interface) -> Option<Role> {
        let node = BTreeSet::from(["192.0.2.1".parse().expect("an address")]);
        let pods = names(&["veth*", "lxc+"]);
        role(interface, &Uplinks::Detect, &pods, &node)
    }

    #[test]
    fn what_carries_the_nodes_address_is_an_uplink_whatever_it_is() {
        for (name, kind) in [
            ("eth0", None),
            ("veth0", Some("veth")),
            ("br0", Some("bridge")),
            ("bond0", Some("bond")),
        ] {
            let interface = interface(name, kind, &["198.51.100.1", "192.0.2.1"]);
            assert_eq!(detected(&interface), Some(Role::Uplink), "{name}");
        }
    }

    #[test]
    fn without_the_nodes_address_only_what_leads_outward_is() {
        for (name, kind, addresses, role) in [
            ("eth1", None, &["198.51.100.1"][..], Some(Role::Uplink)),
            ("eth1", None, &["2001:db8::1"][..], Some(Role::Uplink)),
            ("eth1", None, &[][..], None),
            (
                "bond0",
                Some("bond"),
                &["198.51.100.1"][..],
                Some(Role::Uplink),
            ),
            (
                "eth0.7",
                Some("vlan"),
                &["198.51.100.1"][..],
                Some(Role::Uplink),
            ),
            ("cni0", Some("bridge"), &["10.244.0.1"][..], None),
            ("docker0", Some("bridge"), &["172.17.0.1"][..], None),
            ("flannel.1", Some("vxlan"), &["10.244.0.0"][..], None),
            ("kube-ipvs0", Some("dummy"), &["10.96.0.1"][..], None),
            ("wire0", Some("veth"), &["198.51.100.1"][..], None),
        ] {
            assert_eq!(detected(&interface(name, kind, addresses)), role, "{name}");
        }
    }

    #[test]
    fn a_pods_interface_is_recognised_by_name_and_by_leading_elsewhere() {
        // The `ptp` plugin gives the host's end an address.
        let pod = interface("veth12ab", Some("veth"), &["10.244.0.1"]);
        assert_eq!(detected(&pod), Some(Role::Pod));
        let cilium = interface("lxc7", Some("veth"), &[]);
        assert_eq!(detected(&cilium), Some(Role::Pod));
        let wiring = Interface {
            leads_elsewhere: false,
            ..pod.clone()
        };
        assert_eq!(detected(&wiring), None);
        let in_full = names(&["veth12ab"]);
        let named = role(&wiring, &Uplinks::Detect, &in_full, &BTreeSet::new());
        assert_eq!(named, Some(Role::Pod));
        let card = interface("veth9", None, &["198.51.100.1"]);
        assert_eq!(detected(&card), Some(Role::Uplink), "a card named so");
    }

    #[test]
    fn named_uplinks_are_those_and_no_others() {
        let uplinks = Uplinks::Named(names(&["eth+", "ens5", "bond*"]));
        for (name, role_of) in [
            ("eth0", Some(Role::Uplink)),
            ("eth", Some(Role::Uplink)),
            ("ens5", Some(Role::Uplink)),
            ("ens5f0", None),
            ("bond0.100", Some(Role::Uplink)),
            ("veth1", Some(Role::Pod)),
            ("br0", None),
        ] {
            let interface = interface(name, Some("veth"), &["192.0.2.1"]);
            let node = BTreeSet::from(["192.0.2.1".parse().expect("an address")]);
            let role = role(&interface, &uplinks, &names(&["veth*"]), &node);
            assert_eq!(role, role_of, "{name}");
        }
    }

    #[test]
    fn only_ethernet_and_never_a_part_by_itself() {
        let card = interface("eth0", None, &["192.0.2.1"]);
        for layer in [Layer::Loopback, Layer::Other] {
            let other = Interface {
                layer,
                ..card.clone()
            };
            assert_eq!(detected(&other), None, "{layer:?}");
        }
        let part = Interface {
            is_part: true,
            ..interface("eth1", None, &["198.51.100.1"])
        };
        assert_eq!(detected(&part), None);
    }
}
