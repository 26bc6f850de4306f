//! Address families (RFC 4760 section 2; numbers from IANA's registries).

use std::fmt;

/// Address family identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Afi {
    /// IPv4, 1.
    Ipv4,
    /// IPv6, 2.
    Ipv6,
    /// Any other number, as on the wire; carried in capabilities, never in our RIB.
    Other(u16),
}

/// Subsequent address family identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Safi {
    /// Unicast, 1.
    Unicast,
    /// Any other number, as on the wire.
    Other(u8),
}

/// An address family with its subsequent identifier: what one multiprotocol capability names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Family {
    /// Address family.
    pub afi: Afi,
    /// Subsequent address family.
    pub safi: Safi,
}

impl Family {
    /// IPv4 unicast, implied where no multiprotocol capability is exchanged (RFC 4760 section 8).
    pub const IPV4_UNICAST: Self = Self {
        afi: Afi::Ipv4,
        safi: Safi::Unicast,
    };
    /// IPv6 unicast.
    pub const IPV6_UNICAST: Self = Self {
        afi: Afi::Ipv6,
        safi: Safi::Unicast,
    };
}

impl From<u16> for Afi {
    fn from(number: u16) -> Self {
        match number {
            1 => Self::Ipv4,
            2 => Self::Ipv6,
            other => Self::Other(other),
        }
    }
}

impl From<Afi> for u16 {
    fn from(afi: Afi) -> Self {
        match afi {
            Afi::Ipv4 => 1,
            Afi::Ipv6 => 2,
            Afi::Other(number) => number,
        }
    }
}

impl From<u8> for Safi {
    fn from(number: u8) -> Self {
        match number {
            1 => Self::Unicast,
            other => Self::Other(other),
        }
    }
}

impl From<Safi> for u8 {
    fn from(safi: Safi) -> Self {
        match safi {
            Safi::Unicast => 1,
            Safi::Other(number) => number,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.afi {
            Afi::Ipv4 => formatter.write_str("ipv4/")?,
            Afi::Ipv6 => formatter.write_str("ipv6/")?,
            Afi::Other(number) => write!(formatter, "{number}/")?,
        }
        match self.safi {
            Safi::Unicast => formatter.write_str("unicast"),
            Safi::Other(number) => write!(formatter, "{number}"),
        }
    }
}
