//! What a service asks for, row by row.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use lb_abi::frontend_flags::{NO_SOCKET, RING, ROUTABLE};

use super::list::List;
use super::place::{Place, family, protocol_number, unspecified};
use crate::wish::{Algorithm, Backend, Frontend, FrontendAddress, Service};

/// What kind of frontend a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// At a node's address, or for all of them.
    NodePort,
    /// At an address of its own, for those inside.
    Cluster,
    /// At an address of its own.
    Public,
}

impl Kind {
    /// Whether the service has the address, and not the node.
    pub(super) fn is_named(self) -> bool {
        match self {
            Self::NodePort => false,
            Self::Cluster | Self::Public => true,
        }
    }
}

/// A row that a service asks for.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) place: Place,
    pub(super) kind: Kind,
    /// Bits of `frontend_flags`, all but that for two scopes.
    pub(super) flags: u32,
    /// Index of the list for those outside.
    pub(super) external: usize,
    /// Index of the list for those inside, where it is another.
    pub(super) internal: Option<usize>,
}

/// All rows that a service asks for, in order, each once, and the lists behind them.
#[derive(Debug, Default)]
pub(super) struct Claims {
    pub(super) claims: Vec<Claim>,
    pub(super) lists: Vec<List>,
}

impl Claims {
    pub(super) fn new(service: &Service, node_addresses: &BTreeSet<IpAddr>) -> Self {
        let mut claims = Self::default();
        for frontend in &service.frontends {
            claims.add(service.algorithm, frontend, node_addresses);
        }
        claims.claims.sort_by_key(|claim| claim.place);
        claims.claims.dedup_by_key(|claim| claim.place);
        claims
    }

    fn add(
        &mut self,
        algorithm: Algorithm,
        frontend: &Frontend,
        node_addresses: &BTreeSet<IpAddr>,
    ) {
        let protocol = protocol_number(frontend.protocol);
        let external = self.list(&frontend.external, protocol, algorithm);
        let internal = self.list(&frontend.internal, protocol, algorithm);
        let internal = (internal != external).then_some(internal);
        let ring = match algorithm {
            Algorithm::Random => 0,
            Algorithm::Maglev => RING,
        };
        let mut claim = |address: IpAddr, kind, flags| {
            self.claims.push(Claim {
                place: Place::new(address, frontend.port, protocol),
                kind,
                flags: flags | ring,
                external,
                internal,
            });
        };
        match frontend.address {
            FrontendAddress::ClusterIp(address) => claim(address, Kind::Cluster, 0),
            FrontendAddress::LoadBalancer(address) => claim(address, Kind::Public, ROUTABLE),
            FrontendAddress::ExternalIp(address)
                if node_addresses.contains(&address.to_canonical()) =>
            {
                claim(address, Kind::Public, ROUTABLE);
            }
            FrontendAddress::ExternalIp(address) => {
                claim(address, Kind::Public, ROUTABLE | NO_SOCKET);
            }
            FrontendAddress::NodePort(of) => {
                claim(unspecified(of), Kind::NodePort, ROUTABLE);
                for address in node_addresses {
                    if family(*address) == of {
                        claim(*address, Kind::NodePort, ROUTABLE);
                    }
                }
            }
        }
    }

    fn list(&mut self, wished: &Arc<[Backend]>, protocol: u8, algorithm: Algorithm) -> usize {
        if let Some(index) = self.lists.iter().position(|list| list.is(wished, protocol)) {
            return index;
        }
        self.lists.push(List::new(wished, protocol, algorithm));
        self.lists.len() - 1
    }

    /// Whether a service keeps the address, at whatever port.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        let from = self
            .claims
            .partition_point(|claim| claim.place.address < address);
        self.claims[from..]
            .iter()
            .take_while(|claim| claim.place.address == address)
            .any(|claim| claim.kind.is_named())
    }

    pub(super) fn at(&self, place: &Place) -> Option<&Claim> {
        let index = self
            .claims
            .binary_search_by_key(place, |claim| claim.place)
            .ok()?;
        self.claims.get(index)
    }
}
