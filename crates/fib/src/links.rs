//! Interfaces and connected routes: which interface a gateway is on, and whether it can be used.

use std::collections::BTreeMap;
use std::net::IpAddr;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use ipnet::IpNet;

use crate::kernel::{Hop, LinkState};
use crate::route::{NextHop, Withheld};

/// A route that says that whoever has an address of the prefix is on the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Connected {
    pub(crate) prefix: IpNet,
    pub(crate) metric: u32,
    pub(crate) interface: u32,
    pub(crate) table: u32,
}

/// The interfaces of this network namespace.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Links {
    states: HashMap<u32, LinkState, FixedState>,
    connected: BTreeMap<Connected, Presence>,
}

/// Whether a connected route is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    There,
    /// It went with its interface. It says why a gateway cannot be reached, no more.
    Remembered,
}

/// What became of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkChange {
    Unchanged,
    Usable,
    /// It cannot be used, as before, but for another reason.
    StillUnusable,
    /// It was usable. The kernel has dropped what leads over it.
    Lost,
}

impl Links {
    /// The interface is so now.
    pub(crate) fn link(&mut self, index: u32, state: LinkState) -> LinkChange {
        let before = self.states.insert(index, state).unwrap_or(LinkState::Down);
        if state == LinkState::Down {
            // Of IPv4 routes the kernel says nothing when they go with their interface; it does when they come back.
            let routes = self.connected.iter_mut();
            routes
                .filter(|(route, _)| route.interface == index)
                .for_each(|(_, presence)| *presence = Presence::Remembered);
        }
        match (before == LinkState::Usable, state == LinkState::Usable) {
            (false, true) => LinkChange::Usable,
            (true, false) => LinkChange::Lost,
            (true, true) | (false, false) if before == state => LinkChange::Unchanged,
            (true, true) | (false, false) => LinkChange::StillUnusable,
        }
    }

    pub(crate) fn link_gone(&mut self, index: u32) -> LinkChange {
        self.connected.retain(|route, _| route.interface != index);
        match self.states.remove(&index) {
            Some(LinkState::Usable) => LinkChange::Lost,
            Some(LinkState::Down | LinkState::NoCarrier) => LinkChange::StillUnusable,
            None => LinkChange::Unchanged,
        }
    }

    /// Says whether this is news.
    pub(crate) fn connect(&mut self, route: Connected) -> bool {
        self.connected.insert(route, Presence::There) != Some(Presence::There)
    }

    /// Says whether this is news.
    pub(crate) fn disconnect(&mut self, route: Connected) -> bool {
        match self.connected.get(&route) {
            Some(Presence::There) => {
                self.connected.remove(&route);
                true
            }
            // It went with its interface.
            Some(Presence::Remembered) | None => false,
        }
    }

    /// The hop that a next hop means now. As in the kernel, the longest connected prefix decides, then the lowest metric; whether an
    /// interface that was named has the gateway on it is left to the kernel to say.
    pub(crate) fn resolve(&self, next_hop: NextHop) -> Result<Hop, Withheld> {
        let NextHop { gateway, interface } = next_hop;
        let interface = match interface {
            Some(interface) => interface,
            None => match self.towards(gateway, Presence::There) {
                Some(interface) => interface,
                None => {
                    let remembered = self.towards(gateway, Presence::Remembered);
                    return Err(
                        remembered.map_or(Withheld::GatewayUnreachable, |_| Withheld::LinkDown)
                    );
                }
            },
        };
        match self.states.get(&interface) {
            Some(LinkState::Usable) => Ok(Hop { gateway, interface }),
            Some(LinkState::Down | LinkState::NoCarrier) | None => Err(Withheld::LinkDown),
        }
    }

    fn towards(&self, gateway: IpAddr, presence: Presence) -> Option<u32> {
        let containing = self
            .connected
            .iter()
            .filter(|(route, is)| **is == presence && route.prefix.contains(&gateway));
        let closest = containing.min_by_key(|(route, _)| {
            let length = route.prefix.prefix_len();
            (u8::MAX - length, route.metric, route.interface)
        });
        closest.map(|(route, _)| route.interface)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links() -> Links {
        let mut links = Links::default();
        links.link(1, LinkState::Usable);
        links.link(2, LinkState::Usable);
        links.link(3, LinkState::NoCarrier);
        for (prefix, metric, interface) in [
            ("10.0.0.0/24", 0, 1),
            ("10.0.0.128/25", 0, 2),
            ("10.0.3.0/24", 0, 3),
            ("10.0.4.0/24", 200, 1),
            ("10.0.4.0/24", 100, 2),
            ("10.0.9.0/24", 0, 9),
            ("2001:db8::/64", 256, 2),
        ] {
            links.connect(Connected {
                prefix: prefix.parse().expect("a prefix"),
                metric,
                interface,
                table: 254,
            });
        }
        links
    }

    #[test]
    fn a_gateway_is_on_the_interface_of_the_longest_connected_prefix() {
        for (gateway, interface, wanted) in [
            ("10.0.0.1", None, Ok(1)),
            ("10.0.0.129", None, Ok(2)),
            ("10.0.0.129", Some(1), Ok(1)),
            ("10.0.3.1", None, Err(Withheld::LinkDown)),
            ("10.0.4.1", None, Ok(2)),
            ("10.0.9.1", None, Err(Withheld::LinkDown)),
            ("10.0.5.1", None, Err(Withheld::GatewayUnreachable)),
            ("2001:db8::1", None, Ok(2)),
            ("fe80::1", None, Err(Withheld::GatewayUnreachable)),
            ("fe80::1", Some(1), Ok(1)),
            ("fe80::1", Some(3), Err(Withheld::LinkDown)),
            ("fe80::1", Some(77), Err(Withheld::LinkDown)),
        ] {
            let gateway = gateway.parse().expect("an address");
            let resolved = links().resolve(NextHop { gateway, interface });
            assert_eq!(
                resolved.map(|hop| hop.interface),
                wanted,
                "{gateway} {interface:?}"
            );
        }
    }

    #[test]
    fn a_shorter_prefix_takes_over_from_an_interface_that_is_down() {
        let mut links = links();
        let gateway: IpAddr = "10.0.0.129".parse().expect("an address");
        let interface = |links: &Links| links.resolve(gateway.into()).map(|hop| hop.interface);
        links.link(2, LinkState::NoCarrier);
        assert_eq!(interface(&links), Err(Withheld::LinkDown));
        links.link(2, LinkState::Down);
        assert_eq!(interface(&links), Ok(1));
        links.link(1, LinkState::Down);
        assert_eq!(interface(&links), Err(Withheld::LinkDown));
        links.link(2, LinkState::Usable);
        assert_eq!(
            interface(&links),
            Err(Withheld::LinkDown),
            "its route is not back yet"
        );
    }

    #[test]
    fn a_link_is_lost_once() {
        let mut links = links();
        assert_eq!(links.link(1, LinkState::Usable), LinkChange::Unchanged);
        assert_eq!(links.link(1, LinkState::NoCarrier), LinkChange::Lost);
        assert_eq!(links.link(1, LinkState::NoCarrier), LinkChange::Unchanged);
        assert_eq!(links.link(1, LinkState::Usable), LinkChange::Usable);
        assert_eq!(links.link_gone(1), LinkChange::Lost);
        assert_eq!(links.link_gone(1), LinkChange::Unchanged);
    }
}
