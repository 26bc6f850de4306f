//! A kernel in a few lines: what it refuses, what it drops without a word, what it says.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use nix::libc::{EEXIST, EHOSTUNREACH, EINVAL, ENETDOWN, ENETUNREACH, ENOENT, ESRCH};

use crate::difference::{RouteOp, Target};
use crate::kernel::{Exit, Fact, Hop, KernelRoute, LinkState, Nexthop, Via};
use crate::route::{Errno, Identity};

/// A route as the model keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) protocol: u8,
    pub(super) via: Via,
}

/// One table, four links, and what lies on them.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) identity: Identity,
    pub(super) links: BTreeMap<u32, LinkState>,
    /// Addresses given to links, as the prefixes they connect.
    pub(super) addresses: BTreeMap<IpNet, u32>,
    pub(super) objects: BTreeMap<u32, Nexthop>,
    pub(super) routes: BTreeMap<IpNet, Route>,
    pub(super) said: VecDeque<Fact>,
    pub(super) writes: usize,
}

impl Model {
    pub(super) fn new(identity: Identity) -> Self {
        let links = 1..=4;
        let addresses = links.clone().flat_map(|link| {
            let texts = [format!("10.0.{link}.0/24"), format!("2001:db8:{link}::/64")];
            texts.map(|text| (text.parse().expect("a prefix"), link))
        });
        Self {
            identity,
            addresses: addresses.collect(),
            links: links.map(|link| (link, LinkState::Usable)).collect(),
            objects: BTreeMap::new(),
            routes: BTreeMap::new(),
            said: VecDeque::new(),
            writes: 0,
        }
    }

    /// Everything, in the order in which it is asked for.
    pub(super) fn dump(&self) -> Vec<Fact> {
        let links = self.links.iter().map(|(index, state)| Fact::Link {
            index: *index,
            state: *state,
        });
        let objects = self.objects.iter().map(|(id, nexthop)| Fact::Nexthop {
            id: *id,
            protocol: self.identity.protocol,
            nexthop: nexthop.clone(),
        });
        let connected = self
            .connected()
            .map(|(prefix, link)| Fact::Route(connected_route(prefix, link)));
        let routes = self
            .routes
            .keys()
            .map(|prefix| Fact::Route(self.said_of(*prefix, false)));
        links
            .chain(objects)
            .chain(connected)
            .chain(routes)
            .collect()
    }

    fn connected(&self) -> impl Iterator<Item = (IpNet, u32)> {
        let up = |link: &u32| self.links[link] != LinkState::Down;
        self.addresses
            .iter()
            .filter(move |(_, link)| up(link))
            .map(|(prefix, link)| (*prefix, *link))
    }

    fn said_of(&self, prefix: IpNet, replaced: bool) -> KernelRoute {
        let Route { protocol, via } = self.routes[&prefix].clone();
        KernelRoute {
            table: self.identity.table,
            prefix,
            narrowed: false,
            metric: self.identity.metric_for(prefix),
            protocol,
            exit: self.hops_of(&via).first().map(exit),
            object: match via {
                Via::Object(id) => Some(id),
                Via::Hops(_) | Via::OnLink(_) | Via::Other => None,
            },
            via,
            replaced,
        }
    }

    /// Does a step of ours, of which nothing is said.
    pub(super) fn apply(&mut self, op: &RouteOp) -> Result<(), Errno> {
        self.writes += 1;
        match op {
            RouteOp::CreateNexthop { id, nexthop } => {
                if self.objects.contains_key(id) {
                    return Err(Errno(EEXIST));
                }
                self.check_nexthop(nexthop)?;
                self.objects.insert(*id, nexthop.clone());
            }
            RouteOp::ReplaceNexthop { id, nexthop } => {
                if !self.objects.contains_key(id) {
                    return Err(Errno(ENOENT));
                }
                self.check_nexthop(nexthop)?;
                self.objects.insert(*id, nexthop.clone());
            }
            RouteOp::DeleteNexthop { id } => {
                if !self.objects.contains_key(id) {
                    return Err(Errno(ENOENT));
                }
                self.remove_object(*id);
            }
            RouteOp::Create { prefix, target } => {
                if self.routes.contains_key(prefix) {
                    return Err(Errno(EEXIST));
                }
                self.write_route(*prefix, target)?;
            }
            RouteOp::Replace { prefix, target } => self.write_route(*prefix, target)?,
            RouteOp::Delete { prefix } => {
                let ours = |route: &Route| route.protocol == self.identity.protocol;
                if !self.routes.get(prefix).is_some_and(ours) {
                    return Err(Errno(ESRCH));
                }
                self.routes.remove(prefix);
            }
        }
        Ok(())
    }

    fn check_nexthop(&self, nexthop: &Nexthop) -> Result<(), Errno> {
        match nexthop {
            Nexthop::Hop(hop) if self.links.get(&hop.interface) != Some(&LinkState::Usable) => {
                Err(Errno(ENETDOWN))
            }
            Nexthop::Hop(hop) if !self.is_on_link(hop) => Err(Errno(EHOSTUNREACH)),
            Nexthop::Hop(_) => Ok(()),
            Nexthop::Group(members) => {
                let single = |id: &u32| matches!(self.objects.get(id), Some(Nexthop::Hop(_)));
                let sound = !members.is_empty() && members.iter().all(single);
                sound.then_some(()).ok_or(Errno(EINVAL))
            }
            Nexthop::Other => Err(Errno(EINVAL)),
        }
    }

    pub(super) fn is_on_link(&self, hop: &Hop) -> bool {
        self.connected()
            .any(|(prefix, link)| link == hop.interface && prefix.contains(&hop.gateway))
    }

    fn write_route(&mut self, prefix: IpNet, target: &Target) -> Result<(), Errno> {
        let via = match target {
            Target::Object(id) if self.objects.contains_key(id) => Via::Object(*id),
            Target::Object(_) => return Err(Errno(EINVAL)),
            Target::Hops(hops) => {
                if hops
                    .iter()
                    .any(|hop| self.links[&hop.interface] == LinkState::Down)
                {
                    return Err(Errno(ENETDOWN));
                }
                if !hops.iter().all(|hop| self.is_on_link(hop)) {
                    return Err(Errno(ENETUNREACH));
                }
                Via::Hops(hops.clone())
            }
        };
        let ipv4_gateway = self
            .hops_of(&via)
            .iter()
            .any(|hop| matches!(hop.gateway, IpAddr::V4(_)));
        if matches!(prefix, IpNet::V6(_)) && ipv4_gateway {
            return Err(Errno(EINVAL));
        }
        let protocol = self.identity.protocol;
        self.routes.insert(prefix, Route { protocol, via });
        Ok(())
    }

    /// The hops to which a route leads in the end.
    pub(super) fn hops_of(&self, via: &Via) -> Vec<Hop> {
        let mut hops = match via {
            Via::Object(id) => match self.objects.get(id) {
                Some(Nexthop::Hop(hop)) => vec![*hop],
                Some(Nexthop::Group(members)) => members
                    .iter()
                    .flat_map(|id| self.hops_of(&Via::Object(*id)))
                    .collect(),
                Some(Nexthop::Other) | None => Vec::new(),
            },
            Via::Hops(hops) => hops.to_vec(),
            Via::OnLink(_) | Via::Other => Vec::new(),
        };
        hops.sort_unstable();
        hops
    }

    /// An object goes: its IPv4 routes without a word, its groups get smaller.
    fn remove_object(&mut self, id: u32) {
        self.objects.remove(&id);
        self.remove_routes(|via| *via == Via::Object(id));
        let mut ended = Vec::new();
        for (group, nexthop) in &mut self.objects {
            if let Nexthop::Group(members) = nexthop
                && members.contains(&id)
            {
                let rest: Arc<[u32]> = members
                    .iter()
                    .copied()
                    .filter(|member| *member != id)
                    .collect();
                if rest.is_empty() {
                    ended.push(*group);
                } else {
                    *nexthop = Nexthop::Group(rest);
                    self.said.push_back(Fact::Nexthop {
                        id: *group,
                        protocol: self.identity.protocol,
                        nexthop: nexthop.clone(),
                    });
                }
            }
        }
        for group in ended {
            self.remove_object(group);
        }
    }

    fn remove_routes(&mut self, gone: impl Fn(&Via) -> bool) {
        let routes = self.routes.iter().filter(|(_, route)| gone(&route.via));
        let prefixes: Vec<IpNet> = routes.map(|(prefix, _)| *prefix).collect();
        for prefix in prefixes {
            if matches!(prefix, IpNet::V6(_)) {
                let route = self.said_of(prefix, false);
                self.said.push_back(Fact::RouteGone(route));
            }
            self.routes.remove(&prefix);
        }
    }

    /// A link changes.
    pub(super) fn set_link(&mut self, index: u32, state: LinkState) {
        let before = self.links.insert(index, state);
        if before == Some(state) {
            return;
        }
        self.said.push_back(Fact::Link { index, state });
        if state != LinkState::Usable {
            let on =
                |nexthop: &Nexthop| matches!(nexthop, Nexthop::Hop(hop) if hop.interface == index);
            let objects = self.objects.iter().filter(|(_, nexthop)| on(nexthop));
            let ids: Vec<u32> = objects.map(|(id, _)| *id).collect();
            ids.into_iter().for_each(|id| self.remove_object(id));
        }
        match state {
            LinkState::Down => {
                let links = self.links.clone();
                let dead = |hop: &Hop| links[&hop.interface] == LinkState::Down;
                self.remove_routes(|via| matches!(via, Via::Hops(hops) if hops.iter().all(dead)));
            }
            LinkState::NoCarrier | LinkState::Usable => {
                if before == Some(LinkState::Down) {
                    let back = self.addresses.iter().filter(|(_, link)| **link == index);
                    let back = back.map(|(prefix, _)| Fact::Route(connected_route(*prefix, index)));
                    self.said.extend(back.collect::<Vec<_>>());
                }
            }
        }
    }

    /// The address by which a prefix is connected comes or goes.
    pub(super) fn set_address(&mut self, prefix: IpNet, link: u32, there: bool) {
        let fact = if there {
            self.addresses.insert(prefix, link);
            Fact::Route(connected_route(prefix, link))
        } else {
            self.addresses.remove(&prefix);
            Fact::RouteGone(connected_route(prefix, link))
        };
        if self.links[&link] == LinkState::Down {
            return;
        }
        self.said.push_back(fact);
        if !there {
            // The last address of the link's family.
            self.remove_routes(|via| {
                matches!(via, Via::Hops(hops) if hops.iter().all(|hop| hop.interface == link))
            });
        }
    }

    /// Somebody removes a route.
    pub(super) fn delete_route(&mut self, prefix: IpNet) {
        if self.routes.contains_key(&prefix) {
            let route = self.said_of(prefix, false);
            self.routes.remove(&prefix);
            self.said.push_back(Fact::RouteGone(route));
        }
    }

    /// Somebody removes an object.
    pub(super) fn delete_object(&mut self, index: usize) {
        if let Some(id) = self.objects.keys().nth(index).copied() {
            self.remove_object(id);
            self.said.push_back(Fact::NexthopGone { id });
        }
    }

    /// Somebody else writes a route where ours may be, in its place or only if the place is free.
    pub(super) fn write_foreign(&mut self, prefix: IpNet, protocol: u8, replace: bool) {
        let occupied = self.routes.contains_key(&prefix);
        if occupied && !replace {
            return;
        }
        let via = Via::Other;
        self.routes.insert(prefix, Route { protocol, via });
        let route = self.said_of(prefix, occupied);
        self.said.push_back(Fact::Route(route));
    }
}

fn connected_route(prefix: IpNet, link: u32) -> KernelRoute {
    KernelRoute {
        table: Identity::MAIN,
        prefix,
        narrowed: false,
        metric: 0,
        protocol: 2,
        via: Via::OnLink(link),
        exit: Some(Exit {
            gateway: None,
            interface: link,
        }),
        object: None,
        replaced: false,
    }
}

pub(super) fn exit(hop: &Hop) -> Exit {
    Exit {
        gateway: Some(hop.gateway),
        interface: hop.interface,
    }
}
