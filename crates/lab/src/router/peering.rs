//! With whom a router peers and what it originates, from which each daemon's configuration is made.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::{Afi, bird, frr, gobgp};
use crate::topology::RouterKind;

/// A router's side of its sessions. Both families are negotiated on every session, IPv4 with IPv6 next
/// hops where the session runs over IPv6 (RFC 8950), and graceful restart helps neighbours that ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peering {
    /// The router's AS number.
    pub asn: u32,
    /// Its BGP identifier.
    pub router_id: Ipv4Addr,
    /// The other ends.
    pub neighbors: Vec<Remote>,
    /// Prefixes that the router originates. FRR announces them while its kernel has routes to them; GoBGP
    /// knows no such thing in its file and announces the networks of its loopback instead.
    pub networks: Vec<IpNet>,
    /// Hold time in seconds that the router offers; keepalives come at a third of it.
    pub hold_time: u16,
}

/// The other end of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remote {
    /// Its address.
    pub address: IpAddr,
    /// Its AS number; equal to the router's own for iBGP.
    pub asn: u32,
}

impl Peering {
    /// The configuration file that says this to a router of that kind.
    #[must_use]
    pub fn configuration(&self, kind: RouterKind) -> String {
        match kind {
            RouterKind::Frr => frr::configuration(self),
            RouterKind::Bird => bird::configuration(self),
            RouterKind::Gobgp => gobgp::configuration(self),
        }
    }

    /// Keepalives come at a third of the hold time (RFC 4271 §4.4).
    pub(super) fn keepalive(&self) -> u16 {
        self.hold_time / 3
    }

    pub(super) fn networks(&self, afi: Afi) -> impl Iterator<Item = &IpNet> {
        self.networks
            .iter()
            .filter(move |network| Afi::of(network) == afi)
    }

    /// Sessions with each of `addresses`, all of AS `asn`.
    #[must_use]
    pub fn with(asn: u32, addresses: impl IntoIterator<Item = IpAddr>) -> Vec<Remote> {
        addresses
            .into_iter()
            .map(|address| Remote { address, asn })
            .collect()
    }
}
