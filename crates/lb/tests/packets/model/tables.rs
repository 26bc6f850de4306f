//! What the agent tells the programs, as its steps have it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use lb::{FrontendKey, MapOp};
use lb_abi::{
    AddressHash, Backend, Config, FILTER_COUNT, FILTER_WORDS, Frontend, FrontendKey4, FrontendKey6,
    Group, NodeAddressKind, Scope,
};

/// The maps' contents.
#[derive(Debug, Clone)]
pub(crate) struct Tables {
    pub(crate) frontends: BTreeMap<FrontendKey, Frontend>,
    pub(crate) groups: BTreeMap<u32, Group>,
    pub(crate) backends: BTreeMap<u32, Backend>,
    pub(crate) slots: BTreeMap<u32, u32>,
    pub(crate) rings: BTreeMap<u32, u16>,
    pub(crate) filters: [Vec<u64>; FILTER_COUNT],
    /// This node's.
    pub(crate) node_addresses: BTreeSet<IpAddr>,
    pub(crate) config: Config,
}

impl Tables {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            frontends: BTreeMap::new(),
            groups: BTreeMap::new(),
            backends: BTreeMap::new(),
            slots: BTreeMap::new(),
            rings: BTreeMap::new(),
            filters: std::array::from_fn(|_| vec![0; FILTER_WORDS]),
            node_addresses: BTreeSet::new(),
            config,
        }
    }

    /// One step.
    pub(crate) fn apply(&mut self, op: &MapOp) {
        match op {
            MapOp::Backend { id, backend } => {
                self.backends.insert(*id, *backend);
            }
            MapOp::Slots { first, backends } => self.slots.extend((*first..).zip(backends.clone())),
            MapOp::Ring { start, recipe } => self.rings.extend((*start..).zip(recipe.ordinals())),
            MapOp::Group { id, group } => {
                self.groups.insert(*id, *group);
            }
            MapOp::Filter {
                filter,
                index,
                word,
            } => self.filters[*filter as usize][*index] = *word,
            MapOp::SetFrontend { key, frontend } => {
                self.frontends.insert(*key, *frontend);
            }
            MapOp::RemoveFrontend { key } => {
                self.frontends.remove(key);
            }
            MapOp::RaiseEpoch => self.config.epoch = self.config.epoch.wrapping_add(1),
            MapOp::NodeAddress { address, kind } => {
                let address = Ipv6Addr::from(*address).to_canonical();
                if *kind == Some(NodeAddressKind::Local) {
                    self.node_addresses.insert(address);
                } else {
                    self.node_addresses.remove(&address);
                }
            }
            MapOp::Grace => (),
        }
    }

    pub(crate) fn frontend(
        &self,
        address: IpAddr,
        port: u16,
        protocol: u8,
        scope: Scope,
    ) -> Option<Frontend> {
        let (port, scope) = (port.to_be_bytes(), scope as u8);
        let key = match address {
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
        };
        self.frontends.get(&key).copied()
    }

    /// Whether an address is a virtual one.
    pub(crate) fn is_virtual(&self, address: IpAddr) -> bool {
        self.frontend(address, 0, 0, Scope::External).is_some()
    }

    pub(crate) fn passes_filter(&self, filter: u32, address: IpAddr) -> bool {
        let bit = AddressHash::of(&words(address)).bit();
        self.filters[filter as usize][bit as usize / 64] >> (bit % 64) & 1 == 1
    }

    /// What replaces a client's address on a way for which the host would use this source.
    pub(crate) fn snat_source(&self, source: IpAddr) -> Option<IpAddr> {
        let config = &self.config;
        match source {
            own if self.node_addresses.contains(&own) => Some(own),
            IpAddr::V4(_) => configured(config.snat_address4.into()),
            IpAddr::V6(_) => configured(config.snat_address6.into()),
        }
    }

    pub(crate) fn backend(&self, id: u32) -> Backend {
        self.backends.get(&id).copied().unwrap_or_default()
    }

    /// The ids of a group's list.
    pub(crate) fn list(&self, group: u32) -> Vec<u32> {
        let Some(group) = self.groups.get(&group) else {
            return Vec::new();
        };
        let slot = |slot| self.slots.get(&slot).copied().unwrap_or(0);
        (group.first_slot..group.first_slot + u32::from(group.count))
            .map(slot)
            .collect()
    }
}

/// An address of the configuration, where zeros are none.
fn configured(address: IpAddr) -> Option<IpAddr> {
    (!address.is_unspecified()).then_some(address)
}

/// An address as the machine reads its bytes.
pub(crate) fn words(address: IpAddr) -> Vec<u32> {
    let octets = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    octets
        .chunks(4)
        .map(|word| u32::from_ne_bytes(word.try_into().unwrap()))
        .collect()
}

/// The address of a backend's row.
pub(crate) fn backend_address(backend: &Backend) -> IpAddr {
    Ipv6Addr::from(backend.address).to_canonical()
}
