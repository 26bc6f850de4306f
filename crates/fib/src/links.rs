//! Interfaces, connected routes and the routes of others to gateways further away: by which neighbour on which interface a next hop
//! is reached, and whether it can be used.

use std::collections::BTreeMap;
use std::net::IpAddr;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use ipnet::IpNet;

use crate::kernel::{Exit, Hop, LinkState, Nexthop};
use crate::route::{NextHop, Withheld};

/// A route, not of ours, by which next hops are reached (RFC 4271 section 5.1.3: a next hop need not be a neighbour).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reach {
    pub(crate) prefix: IpNet,
    pub(crate) metric: u32,
    pub(crate) table: u32,
    pub(crate) interface: u32,
    /// The neighbour that passes it on; without one, whoever has an address of the prefix is on the interface.
    pub(crate) gateway: Option<IpAddr>,
    /// The nexthop object, with which it goes.
    pub(crate) object: Option<u32>,
}

impl Reach {
    /// Whether the kernel can have only one of both.
    fn displaces(&self, other: &Self) -> bool {
        let key = |reach: &Self| (reach.prefix, reach.metric, reach.table);
        key(self) == key(other) && self != other
    }
}

/// The interfaces of this network namespace.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Links {
    states: HashMap<u32, LinkState, FixedState>,
    reaches: BTreeMap<Reach, Presence>,
    /// Other people's nexthop objects. With `nexthop_compat_mode` 0 their routes do not say where these lead.
    objects: BTreeMap<u32, Nexthop>,
}

/// Whether a route is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    There,
    /// It went with its interface, which cannot be used yet. It says why a gateway cannot be reached, no more.
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
        self.forget_dropped(index, state);
        match (before == LinkState::Usable, state == LinkState::Usable) {
            (false, true) => LinkChange::Usable,
            (true, false) => LinkChange::Lost,
            (true, true) | (false, false) if before == state => LinkChange::Unchanged,
            (true, true) | (false, false) => LinkChange::StillUnusable,
        }
    }

    /// The kernel drops routes with their interface, those to nexthop objects with the carrier already. Of IPv4 routes it says nothing
    /// then; it does when they come back.
    fn forget_dropped(&mut self, index: u32, state: LinkState) {
        let goes = |route: &Reach| match state {
            LinkState::Down => true,
            LinkState::NoCarrier => route.object.is_some(),
            LinkState::Usable => false,
        };
        for (route, presence) in &mut self.reaches {
            if route.interface == index && goes(route) {
                *presence = Presence::Remembered;
            }
        }
        match state {
            // What comes back is said.
            LinkState::Usable => self.reaches.retain(|route, presence| {
                route.interface != index || *presence != Presence::Remembered
            }),
            LinkState::Down | LinkState::NoCarrier => self.objects_gone_with(index),
        }
    }

    pub(crate) fn link_gone(&mut self, index: u32) -> LinkChange {
        self.reaches.retain(|route, _| route.interface != index);
        self.objects_gone_with(index);
        match self.states.remove(&index) {
            Some(LinkState::Usable) => LinkChange::Lost,
            Some(LinkState::Down | LinkState::NoCarrier) => LinkChange::StillUnusable,
            None => LinkChange::Unchanged,
        }
    }

    fn objects_gone_with(&mut self, index: u32) {
        self.objects.retain(|_, nexthop| match nexthop {
            Nexthop::Hop(hop) => hop.interface != index,
            Nexthop::Group(_) | Nexthop::Other => true,
        });
    }

    /// The route is there, in the place of another if `replaced`. Says whether this is news.
    pub(crate) fn reach(&mut self, route: Reach, replaced: bool) -> bool {
        if replaced {
            self.reaches.retain(|other, _| !route.displaces(other));
        }
        self.reaches.insert(route, Presence::There) != Some(Presence::There)
    }

    /// Says whether this is news.
    pub(crate) fn reach_gone(&mut self, route: Reach) -> bool {
        match self.reaches.get(&route) {
            Some(Presence::There) => {
                self.reaches.remove(&route);
                true
            }
            // It went with its interface.
            Some(Presence::Remembered) | None => false,
        }
    }

    /// The kernel has been read. What was there before, and is not, went with its interface where that cannot be used.
    pub(crate) fn remember(&mut self, before: &Self) {
        for route in before.reaches.keys() {
            let went = match self.states.get(&route.interface) {
                Some(LinkState::Down | LinkState::NoCarrier) => true,
                Some(LinkState::Usable) | None => false,
            };
            if went {
                self.reaches.entry(*route).or_insert(Presence::Remembered);
            }
        }
    }

    /// Somebody else's nexthop object is this now. Says whether routes lead to it that may lead elsewhere now.
    pub(crate) fn object(&mut self, id: u32, nexthop: Nexthop) -> bool {
        let unknown = nexthop == Nexthop::Other;
        let before = self.objects.insert(id, nexthop);
        if before.as_ref() == self.objects.get(&id) && !unknown {
            return false;
        }
        let leads_to_it = |object: u32| match self.objects.get(&object) {
            Some(Nexthop::Group(members)) => object == id || members.contains(&id),
            Some(Nexthop::Hop(_) | Nexthop::Other) | None => object == id,
        };
        let mut reaches = self.reaches.keys();
        reaches.any(|route| route.object.is_some_and(leads_to_it))
    }

    /// An object is gone, and with it the routes to it. Says whether this is news.
    pub(crate) fn object_gone(&mut self, id: u32) -> bool {
        self.objects.remove(&id);
        let before = self.reaches.len();
        self.reaches.retain(|route, _| route.object != Some(id));
        self.reaches.len() != before
    }

    /// Where somebody else's nexthop object leads, of a group the lowest of its members.
    pub(crate) fn exit(&self, id: u32) -> Option<Exit> {
        let single = |id: &u32| match self.objects.get(id)? {
            Nexthop::Hop(Hop { gateway, interface }) => Some(Exit {
                gateway: Some(*gateway),
                interface: *interface,
            }),
            Nexthop::Group(_) | Nexthop::Other => None,
        };
        match self.objects.get(&id)? {
            Nexthop::Group(members) => members.iter().filter_map(single).min(),
            Nexthop::Hop(_) | Nexthop::Other => single(&id),
        }
    }

    /// The hop that a next hop means now. As in the kernel, the longest prefix decides, then the lowest metric; whether an interface that
    /// was named has the gateway on it is left to the kernel to say.
    pub(crate) fn resolve(&self, next_hop: NextHop) -> Result<Hop, Withheld> {
        let NextHop { gateway, interface } = next_hop;
        let hop = match interface {
            Some(interface) => Hop { gateway, interface },
            None => match self.towards(gateway, Presence::There) {
                Some(reach) => Hop {
                    gateway: reach.gateway.unwrap_or(gateway),
                    interface: reach.interface,
                },
                None => {
                    let remembered = self.towards(gateway, Presence::Remembered);
                    return Err(
                        remembered.map_or(Withheld::GatewayUnreachable, |_| Withheld::LinkDown)
                    );
                }
            },
        };
        match self.states.get(&hop.interface) {
            Some(LinkState::Usable) => Ok(hop),
            Some(LinkState::Down | LinkState::NoCarrier) | None => Err(Withheld::LinkDown),
        }
    }

    fn towards(&self, gateway: IpAddr, presence: Presence) -> Option<&Reach> {
        let containing = self
            .reaches
            .iter()
            .filter(|(route, is)| **is == presence && route.prefix.contains(&gateway));
        let closest = containing.min_by_key(|(route, _)| {
            let length = route.prefix.prefix_len();
            (u8::MAX - length, route.metric, route.interface)
        });
        closest.map(|(route, _)| route)
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
            links.reach(reach(prefix, metric, interface, None), false);
        }
        links
    }

    fn reach(prefix: &str, metric: u32, interface: u32, gateway: Option<&str>) -> Reach {
        Reach {
            prefix: prefix.parse().expect("a prefix"),
            metric,
            table: 254,
            interface,
            gateway: gateway.map(|gateway| gateway.parse().expect("an address")),
            object: None,
        }
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
    fn a_next_hop_further_away_is_reached_by_the_gateway_of_the_closest_route() {
        let mut links = links();
        let far: IpAddr = "10.7.0.1".parse().expect("an address");
        let resolved = |links: &Links| links.resolve(far.into()).map(|hop| hop.gateway.to_string());
        links.reach(reach("10.7.0.0/16", 0, 1, Some("10.0.0.1")), false);
        assert_eq!(resolved(&links).as_deref(), Ok("10.0.0.1"));
        let closer = reach("10.7.0.0/24", 0, 2, Some("10.0.0.129"));
        links.reach(closer, false);
        assert_eq!(resolved(&links).as_deref(), Ok("10.0.0.129"));
        links.reach_gone(closer);
        links.reach(reach("10.7.0.0/16", 0, 1, Some("10.0.0.2")), true);
        assert_eq!(
            resolved(&links).as_deref(),
            Ok("10.0.0.2"),
            "it replaced the first"
        );
        links.link(1, LinkState::Down);
        assert_eq!(resolved(&links), Err(Withheld::LinkDown));
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
        assert_eq!(interface(&links), Err(Withheld::LinkDown));
        links.link(1, LinkState::Usable);
        assert_eq!(
            interface(&links),
            Err(Withheld::GatewayUnreachable),
            "no route is back yet"
        );
    }

    #[test]
    fn a_route_goes_with_the_object_that_it_leads_to() {
        let mut links = links();
        let far: IpAddr = "10.7.0.1".parse().expect("an address");
        let hop = |interface| {
            let gateway = "10.0.0.1".parse().expect("an address");
            Nexthop::Hop(Hop { gateway, interface })
        };
        let group = |members: &[u32]| Nexthop::Group(members.into());
        assert!(!links.object(6, group(&[7, 8])), "no route leads to it");
        assert!(!links.object(7, hop(1)));
        assert!(!links.object(8, hop(2)));
        let interface = |links: &Links, id| links.exit(id).map(|exit| exit.interface);
        assert_eq!(interface(&links, 6), Some(1));
        let behind = Reach {
            object: Some(6),
            ..reach("10.7.0.0/16", 0, 1, Some("10.0.0.1"))
        };
        links.reach(behind, false);
        assert!(!links.object(7, hop(1)), "as before");
        assert!(links.object(7, hop(2)), "a member of the group");
        assert!(links.object(6, group(&[8])));
        links.link(1, LinkState::NoCarrier);
        assert_eq!(links.resolve(far.into()), Err(Withheld::LinkDown));
        links.link(1, LinkState::Usable);
        let gone = Err(Withheld::GatewayUnreachable);
        assert_eq!(links.resolve(far.into()), gone, "it is not back");
        links.reach(behind, false);
        assert!(links.resolve(far.into()).is_ok());
        assert!(links.object_gone(6));
        assert_eq!(links.resolve(far.into()), gone);
        links.link(2, LinkState::Down);
        assert_eq!(links.exit(8), None);
    }

    #[test]
    fn a_reading_remembers_what_went_with_an_interface_until_that_can_be_used() {
        let gateway: IpAddr = "10.0.0.129".parse().expect("an address");
        let resolved = |links: &Links| links.resolve(gateway.into()).map(|hop| hop.interface);
        for (state, wanted) in [
            (Some(LinkState::Down), Withheld::LinkDown),
            (Some(LinkState::NoCarrier), Withheld::LinkDown),
            (Some(LinkState::Usable), Withheld::GatewayUnreachable),
            (None, Withheld::GatewayUnreachable),
        ] {
            let mut read = Links::default();
            if let Some(state) = state {
                read.link(2, state);
            }
            read.remember(&links());
            assert_eq!(resolved(&read), Err(wanted), "{state:?}");
            read.link(2, LinkState::Usable);
            assert_eq!(resolved(&read), Err(Withheld::GatewayUnreachable));
        }
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
