//! What a wish means, computed from nothing each time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb::{
    Algorithm, BackendState, Family, Frontend, FrontendAddress, FrontendKey, Protocol, Wish, ring,
};
use lb_abi::backend_flags::{LOCAL, PRESENT, TERMINATING};
use lb_abi::frontend_flags::{NO_SOCKET, RING, ROUTABLE, TWO_SCOPES, WILDCARD};
use lb_abi::{FrontendKey4, FrontendKey6, RING_SIZES, Scope, TCP, UDP};

use crate::maps::{address_of, bit_of, bit_of_place, bit_of_row};

/// A row of frontends and what it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) flags: u32,
    /// Address, port, protocol.
    pub(crate) backends: Vec<(IpAddr, u16, u8)>,
    pub(crate) ring: Vec<u16>,
}

/// All that the maps should hold.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    pub(crate) rows: BTreeMap<FrontendKey, Row>,
    /// Flags by address, port and protocol.
    pub(crate) backends: BTreeMap<(IpAddr, u16, u8), u8>,
    /// Bits of the filters.
    pub(crate) filters: [BTreeSet<usize>; 3],
    pub(crate) node_addresses: BTreeMap<[u8; 16], u32>,
    /// Addresses that services have.
    pub(crate) addresses: BTreeSet<IpAddr>,
    /// Frontends, a NodePort counted once.
    pub(crate) frontends: usize,
}

impl Expected {
    pub(crate) fn of(wish: &Wish, seed: u32) -> Self {
        let mut expected = Self::default();
        let mut taken = BTreeSet::new();
        let mut lists = Vec::new();
        for service in wish.services.values() {
            let mut own: Vec<(lb::Backend, u8)> = Vec::new();
            let before = taken.clone();
            for frontend in &service.frontends {
                for address in addresses(frontend, wish) {
                    let place = (address, frontend.port, number(frontend.protocol));
                    if before.contains(&place) || !taken.insert(place) {
                        continue;
                    }
                    expected.add(address, frontend, service.algorithm, wish, seed);
                    for list in [&frontend.external, &frontend.internal] {
                        own.extend(
                            list.iter()
                                .map(|backend| (*backend, number(frontend.protocol))),
                        );
                    }
                }
            }
            lists.extend(own);
        }
        expected.add_backends(&lists);
        expected.add_wildcards(wish);
        let bits = expected.rows.keys().map(bit_of_row);
        expected.filters[2] = bits.collect();
        for (address, kind) in wish
            .other_nodes
            .iter()
            .map(|address| (address, 2))
            .chain(wish.node_addresses.iter().map(|address| (address, 1)))
        {
            expected.node_addresses.insert(mapped(*address), kind);
        }
        for address in &wish.node_addresses {
            expected.filters[0].insert(bit_of(*address));
        }
        expected
    }

    fn add(
        &mut self,
        address: IpAddr,
        frontend: &Frontend,
        algorithm: Algorithm,
        wish: &Wish,
        seed: u32,
    ) {
        let mut flags = match frontend.address {
            FrontendAddress::ClusterIp(_) => 0,
            FrontendAddress::LoadBalancer(_) | FrontendAddress::NodePort(_) => ROUTABLE,
            FrontendAddress::ExternalIp(_) if wish.node_addresses.contains(&address) => ROUTABLE,
            FrontendAddress::ExternalIp(_) => ROUTABLE | NO_SOCKET,
        };
        if algorithm == Algorithm::Maglev {
            flags |= RING;
        }
        let has_two = frontend.external != frontend.internal;
        let row = |flags, list| Row {
            ring: if algorithm == Algorithm::Maglev {
                ring_of(&selectable(list, frontend.protocol), seed)
            } else {
                Vec::new()
            },
            backends: selectable(list, frontend.protocol),
            flags,
        };
        let key = |scope| key(address, frontend.port, number(frontend.protocol), scope);
        let external = row(
            flags | if has_two { TWO_SCOPES } else { 0 },
            &frontend.external,
        );
        self.rows.insert(key(Scope::External), external);
        if has_two {
            self.rows
                .insert(key(Scope::Internal), row(flags, &frontend.internal));
        }
        let is_nodes = matches!(frontend.address, FrontendAddress::NodePort(_));
        if !is_nodes {
            self.addresses.insert(address);
        }
        self.frontends += usize::from(!is_nodes || address.is_unspecified());
        if !address.is_unspecified() {
            self.filters[0].insert(bit_of(address));
        }
    }

    fn add_backends(&mut self, lists: &[(lb::Backend, u8)]) {
        // Connections are drained, datagrams are not.
        let mut lists = lists.to_vec();
        lists.retain(|(backend, protocol)| {
            *protocol != UDP || backend.state != BackendState::Draining
        });
        for (backend, protocol) in &lists {
            let place = (backend.address, backend.port, *protocol);
            let says = |test: fn(&lb::Backend) -> bool| {
                lists.iter().any(|(other, number)| {
                    (other.address, other.port, *number) == place && test(other)
                })
            };
            let mut flags = PRESENT;
            if says(|backend| backend.is_local) {
                flags |= LOCAL;
                self.filters[1].insert(bit_of(backend.address));
                self.filters[1].insert(bit_of_place(backend.address, backend.port, *protocol));
            }
            if !says(|backend| backend.state == BackendState::Active) {
                flags |= TERMINATING;
            }
            self.backends.insert(place, flags);
        }
    }

    fn add_wildcards(&mut self, wish: &Wish) {
        for address in &self.addresses {
            if wish.node_addresses.contains(address) || wish.other_nodes.contains(address) {
                continue;
            }
            let is_routable = self
                .rows
                .iter()
                .any(|(key, row)| address_of(key) == *address && row.flags & ROUTABLE != 0);
            let row = Row {
                flags: WILDCARD | if is_routable { ROUTABLE } else { 0 },
                backends: Vec::new(),
                ring: Vec::new(),
            };
            self.rows.insert(key(*address, 0, 0, Scope::External), row);
        }
    }
}

fn addresses(frontend: &Frontend, wish: &Wish) -> Vec<IpAddr> {
    match frontend.address {
        FrontendAddress::ClusterIp(address)
        | FrontendAddress::LoadBalancer(address)
        | FrontendAddress::ExternalIp(address) => vec![address],
        FrontendAddress::NodePort(family) => {
            let all: IpAddr = match family {
                Family::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
                Family::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
            };
            let is_of = |address: &&IpAddr| address.is_ipv4() == (family == Family::Ipv4);
            let own = wish.node_addresses.iter().filter(is_of).copied();
            std::iter::once(all).chain(own).collect()
        }
    }
}

fn selectable(list: &[lb::Backend], protocol: Protocol) -> Vec<(IpAddr, u16, u8)> {
    let of = |state| -> BTreeSet<(IpAddr, u16, u8)> {
        let wanted = list.iter().filter(|backend| backend.state == state);
        wanted
            .map(|backend| (backend.address, backend.port, number(protocol)))
            .collect()
    };
    let active = of(BackendState::Active);
    let chosen = if active.is_empty() {
        of(BackendState::Terminating)
    } else {
        active
    };
    chosen.into_iter().collect()
}

/// A ring of at most 509 places.
fn ring_of(backends: &[(IpAddr, u16, u8)], seed: u32) -> Vec<u16> {
    let addresses: BTreeSet<IpAddr> = backends.iter().map(|backend| backend.0).collect();
    let names: Vec<Vec<u8>> = backends
        .iter()
        .map(|(address, port, _)| {
            let mut name = mapped(*address).to_vec();
            if addresses.len() < backends.len() {
                name.extend(port.to_be_bytes());
            }
            name
        })
        .collect();
    let size = RING_SIZES[if backends.len() <= 2 { 1 } else { 2 }];
    ring(size, seed, &names)
}

pub(crate) fn key(address: IpAddr, port: u16, protocol: u8, scope: Scope) -> FrontendKey {
    let (port, scope) = (port.to_be_bytes(), scope as u8);
    match address {
        IpAddr::V4(address) => FrontendKey::V4(FrontendKey4 {
            address: address.octets(),
            port,
            protocol,
            scope,
        }),
        IpAddr::V6(address) => FrontendKey::V6(FrontendKey6 {
            address: address.octets(),
            port,
            protocol,
            scope,
        }),
    }
}

fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => TCP,
        Protocol::Udp => UDP,
    }
}
