//! Addresses as the maps write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_abi::{FrontendKey4, FrontendKey6, Scope};

use crate::op::FrontendKey;
use crate::wish::{Family, Protocol};

/// Where a frontend or a backend is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    /// `lb_abi::TCP` or `lb_abi::UDP`; 0 for all that is not said of an address.
    pub(super) protocol: u8,
}

impl Place {
    pub(super) fn new(address: IpAddr, port: u16, protocol: u8) -> Self {
        Self {
            address: address.to_canonical(),
            port,
            protocol,
        }
    }

    /// The row of an address that takes what no other row takes.
    pub(super) fn wildcard(address: IpAddr) -> Self {
        Self::new(address, 0, 0)
    }

    pub(super) fn is_wildcard(&self) -> bool {
        self.port == 0 && self.protocol == 0
    }

    pub(super) fn family(&self) -> Family {
        family(self.address)
    }

    pub(super) fn key(&self, scope: Scope) -> FrontendKey {
        let (port, protocol, scope) = (self.port.to_be_bytes(), self.protocol, scope as u8);
        match self.address {
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

    /// The place of a key, and whether its scope is internal.
    pub(super) fn of(key: &FrontendKey) -> (Self, bool) {
        let (address, port, protocol, scope) = match key {
            FrontendKey::V4(key) => (
                IpAddr::V4(Ipv4Addr::from(key.address)),
                key.port,
                key.protocol,
                key.scope,
            ),
            FrontendKey::V6(key) => (
                IpAddr::V6(Ipv6Addr::from(key.address)),
                key.port,
                key.protocol,
                key.scope,
            ),
        };
        let place = Self {
            address,
            port: u16::from_be_bytes(port),
            protocol,
        };
        (place, scope == Scope::Internal as u8)
    }
}

pub(super) fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => lb_abi::TCP,
        Protocol::Udp => lb_abi::UDP,
    }
}

pub(super) fn family(address: IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::Ipv4,
        IpAddr::V6(_) => Family::Ipv6,
    }
}

/// The address that stands for all of a family.
pub(super) fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::Ipv6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// Sixteen bytes; an IPv4 address in its IPv6-mapped form.
pub(super) fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// The other way round.
pub(super) fn address(octets: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
}
