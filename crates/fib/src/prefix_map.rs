//! A map from prefixes that keeps the families apart, so that an IPv4 key takes five bytes instead of eighteen.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A map from prefixes.
#[derive(Debug)]
pub(crate) struct PrefixMap<T> {
    ipv4: HashMap<Ipv4Net, T, FixedState>,
    ipv6: HashMap<Ipv6Net, T, FixedState>,
}

impl<T> Default for PrefixMap<T> {
    fn default() -> Self {
        Self {
            ipv4: HashMap::default(),
            ipv6: HashMap::default(),
        }
    }
}

impl<T> PrefixMap<T> {
    pub(crate) fn get(&self, prefix: IpNet) -> Option<&T> {
        match prefix {
            IpNet::V4(prefix) => self.ipv4.get(&prefix),
            IpNet::V6(prefix) => self.ipv6.get(&prefix),
        }
    }

    pub(crate) fn get_mut(&mut self, prefix: IpNet) -> Option<&mut T> {
        match prefix {
            IpNet::V4(prefix) => self.ipv4.get_mut(&prefix),
            IpNet::V6(prefix) => self.ipv6.get_mut(&prefix),
        }
    }

    pub(crate) fn insert(&mut self, prefix: IpNet, value: T) -> Option<T> {
        match prefix {
            IpNet::V4(prefix) => self.ipv4.insert(prefix, value),
            IpNet::V6(prefix) => self.ipv6.insert(prefix, value),
        }
    }

    pub(crate) fn remove(&mut self, prefix: IpNet) -> Option<T> {
        match prefix {
            IpNet::V4(prefix) => self.ipv4.remove(&prefix),
            IpNet::V6(prefix) => self.ipv6.remove(&prefix),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ipv4.is_empty() && self.ipv6.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (IpNet, &T)> {
        let ipv4 = self
            .ipv4
            .iter()
            .map(|(prefix, value)| ((*prefix).into(), value));
        let ipv6 = self
            .ipv6
            .iter()
            .map(|(prefix, value)| ((*prefix).into(), value));
        ipv4.chain(ipv6)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (IpNet, &mut T)> {
        let ipv4 = self.ipv4.iter_mut();
        let ipv6 = self.ipv6.iter_mut();
        ipv4.map(|(prefix, value)| ((*prefix).into(), value))
            .chain(ipv6.map(|(prefix, value)| ((*prefix).into(), value)))
    }
}

impl<T: Default> PrefixMap<T> {
    /// What stands there, put there if nothing did.
    pub(crate) fn entry(&mut self, prefix: IpNet) -> &mut T {
        match prefix {
            IpNet::V4(prefix) => self.ipv4.entry(prefix).or_default(),
            IpNet::V6(prefix) => self.ipv6.entry(prefix).or_default(),
        }
    }
}
