//! Who has which address, and what is left.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use super::PoolFigures;
use super::places::{Index, Place};
use super::pools::Pool;
use super::ranges::{self, BlockRange, Range};
use super::service::{Service, family};
use super::sharing::{Group, Incompatible};
use super::stock::Stock;
use crate::NamespacedName;
use crate::snapshot::{IpFamily, ServicePort, TransportPort};

/// All addresses that are taken, whatever pools they are of, and what the pools have left.
#[derive(Debug)]
pub(super) struct Ledger<'a> {
    /// In the order in which they are drawn from.
    pools: Vec<Pool<'a>>,
    index: Index,
    stock: Stock,
    /// By Services that are looked at; what Services at rest have is in the stock.
    taken: BTreeMap<IpAddr, Group<'a>>,
    /// Addresses that a Service still shows and loses with this plan. Nobody is given them before they are gone from there.
    leaving: HashSet<IpAddr>,
    /// Pools, by their places, of which an address of the family becomes free with this plan.
    awaited: HashSet<(usize, IpFamily)>,
    shared: HashMap<(&'a str, IpFamily), SharedAddresses>,
}

/// What became of the wish for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    /// It is fulfilled.
    Given(IpAddr),
    /// The next plan can fulfil it, when the address has left the status of the Service that loses it.
    Waits(Unmet),
    /// It cannot be fulfilled.
    Fails(Unmet),
}

/// Why a wish for an address is not fulfilled. Displayed in Cilium's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unmet {
    #[error("There are no enabled CiliumLoadBalancerIPPools that match this service")]
    NoPool,
    #[error("No pool exists with a CIDR containing '{0}'")]
    NoPoolWith(IpAddr),
    #[error("The pool with the CIDR containing '{0}', doesn't select this service")]
    NotSelected(IpAddr),
    #[error(
        "All enabled CiliumLoadBalancerIPPools that match this service ran out of allocatable IPs"
    )]
    OutOfAddresses,
    /// Or it is reserved.
    #[error("The IP '{0}' is already allocated to another service")]
    Taken(IpAddr),
    #[error("The IP '{0}' is already allocated to an incompatible service. Reason: {1}")]
    NotShared(IpAddr, Incompatible),
}

impl Unmet {
    /// The condition's reason.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::NoPool | Self::NoPoolWith(_) => "no_pool",
            Self::NotSelected(_) => "pool_selector_mismatch",
            Self::OutOfAddresses => "out_of_ips",
            Self::Taken(_) => "already_allocated",
            Self::NotShared(..) => "already_allocated_incompatible_service",
        }
    }
}

/// How many addresses a pool has; of 2^128 one less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) total: u128,
    pub(super) figures: PoolFigures,
}

impl<'a> Ledger<'a> {
    /// Nothing is taken but what Services at rest have.
    pub(super) fn of(pools: Vec<Pool<'a>>, stock: Stock) -> Self {
        Self {
            index: Index::of(&pools),
            pools,
            stock,
            taken: BTreeMap::new(),
            leaving: HashSet::new(),
            awaited: HashSet::new(),
            shared: HashMap::new(),
        }
    }

    /// The pools, in the order in which they are drawn from.
    pub(super) fn pools(&self) -> &[Pool<'a>] {
        &self.pools
    }

    /// What is taken and leaving is so no more: all is as it was before this plan.
    pub(super) fn put_all_back(&mut self) {
        let taken = std::mem::take(&mut self.taken).into_keys();
        for address in taken.chain(std::mem::take(&mut self.leaving)) {
            self.put_back(address);
        }
    }

    /// What is left.
    pub(super) fn into_stock(self) -> Stock {
        self.stock
    }

    /// Who at rest has this address.
    pub(super) fn at_rest_with(&self, address: IpAddr) -> Option<&NamespacedName> {
        self.stock.at_rest.get(&address)
    }

    /// Notes that a Service comes to rest with an address that nobody has.
    pub(super) fn lay(&mut self, address: IpAddr, owner: &NamespacedName) {
        self.stock.at_rest.insert(address, owner.clone());
        self.take_from_open_pool(address);
    }

    /// Notes that the Service that was at rest with this address is looked at again.
    pub(super) fn lift(&mut self, address: IpAddr) {
        self.stock.at_rest.remove(&address);
        self.put_back(address);
    }

    /// Whether a pool, open or not, has this address and leaves it to this Service.
    pub(super) fn leaves(&self, address: IpAddr, service: &Service<'a>) -> bool {
        !ranges::is_unusable(address)
            && self
                .index
                .places_of(address)
                .any(|place| self.pools[place.pool].leaves_to(service))
    }

    /// Notes who has an address that nobody had.
    pub(super) fn hold(&mut self, address: IpAddr, group: Group<'a>) {
        if let Some(key) = group.key() {
            let shared = self.shared.entry((key, family(address))).or_default();
            shared.addresses.push(address);
        }
        self.taken.insert(address, group);
        self.take_from_open_pool(address);
    }

    /// Notes that a Service shows an address that it loses.
    pub(super) fn release(&mut self, address: IpAddr) {
        self.leaving.insert(address);
        if let Some(place) = self.take_from_open_pool(address) {
            self.awaited.insert((place.pool, family(address)));
        }
    }

    /// An address of this family that is new to the Service: one that it can share, else the lowest that is free.
    pub(super) fn any(&mut self, service: &Service<'a>, family: IpFamily) -> Attempt {
        if let Some(address) = self.shareable(service, family) {
            return if self.leaving.contains(&address) {
                Attempt::Waits(Unmet::Taken(address))
            } else {
                self.give(address, service)
            };
        }
        let (mut unmet, mut waits) = (Unmet::NoPool, false);
        for (place, pool) in self.pools.iter().enumerate() {
            if !pool.is_open() || !pool.has(family) || !pool.gives_to(service) {
                continue;
            }
            if let Some(address) = self.stock.lowest_free(place, family) {
                return self.give(address, service);
            }
            unmet = Unmet::OutOfAddresses;
            waits |= self.awaited.contains(&(place, family));
        }
        if waits {
            Attempt::Waits(unmet)
        } else {
            Attempt::Fails(unmet)
        }
    }

    /// This address, which is new to the Service.
    pub(super) fn this(&mut self, service: &Service<'a>, address: IpAddr) -> Attempt {
        let Some(place) = self.open_place(address) else {
            return Attempt::Fails(Unmet::NoPoolWith(address));
        };
        let pool = &self.pools[place.pool];
        if !pool.gives_to(service) {
            return Attempt::Fails(Unmet::NotSelected(address));
        }
        if pool.reserves(place.block, address) {
            return Attempt::Fails(Unmet::Taken(address));
        }
        match self.refuses(service, address) {
            Some(unmet) => Attempt::Fails(unmet),
            None if self.leaving.contains(&address) => Attempt::Waits(Unmet::Taken(address)),
            None => self.give(address, service),
        }
    }

    /// Why a Service cannot have this address, if somebody has it who does not share it with that Service.
    fn refuses(&self, service: &Service<'a>, address: IpAddr) -> Option<Unmet> {
        let admitted = match self.taken.get(&address) {
            Some(group) => group.admits(&service.terms),
            None => {
                self.at_rest_with(address)?;
                // Nobody at rest shares.
                Err(Incompatible::Key)
            }
        };
        let unmet = |incompatible| match service.terms.key {
            None => Unmet::Taken(address),
            Some(_) => Unmet::NotShared(address, incompatible),
        };
        admitted.err().map(unmet)
    }

    /// All pools by name, with what they have.
    pub(super) fn counts(&self) -> Vec<(&Pool<'a>, Count)> {
        let counts = self.pools.iter().map(|pool| (pool, self.count(pool)));
        let mut counts: Vec<_> = counts.collect();
        counts.sort_by_key(|(pool, _)| pool.name);
        counts
    }

    /// Counted by address: a shared one counts once, and a reserved one that is taken, too.
    fn count(&self, pool: &Pool<'_>) -> Count {
        let all = ranges::union(pool.blocks.iter().map(|block| block.range).collect());
        let reserved = pool.blocks.iter().flat_map(BlockRange::reserved);
        let reserved = ranges::union(reserved.collect());
        let sizes = |ranges: &[Range]| {
            ranges
                .iter()
                .fold(0_u128, |sum, range| sum.saturating_add(range.size()))
        };
        let taken = |ranges: &[Range]| {
            let taken = ranges.iter().map(|range| {
                let range = range.first..=range.last;
                let at_rest = self.stock.at_rest.range(range.clone()).count();
                (at_rest + self.taken.range(range).count()) as u128
            });
            taken.sum::<u128>()
        };
        let total = sizes(&all);
        let used = taken(&all) + sizes(&reserved) - taken(&reserved);
        let available = total.saturating_sub(used);
        let figures = PoolFigures { available, used };
        Count { total, figures }
    }

    /// The first address shared under the Service's key that it can join.
    fn shareable(&mut self, service: &Service<'a>, family: IpFamily) -> Option<IpAddr> {
        let shared = self.shared.get_mut(&(service.terms.key?, family))?;
        let start = shared.first_without(service.terms.ports, &self.taken);
        let candidates = self.shared.get(&(service.terms.key?, family))?;
        let mut candidates = candidates.addresses.iter().skip(start).copied();
        candidates.find(|address| {
            let group = self.taken.get(address);
            group.is_some_and(|group| group.admits(&service.terms).is_ok())
                && self.is_given_to(*address, service)
        })
    }

    fn is_given_to(&self, address: IpAddr, service: &Service<'a>) -> bool {
        self.open_place(address).is_some_and(|place| {
            let pool = &self.pools[place.pool];
            !pool.reserves(place.block, address) && pool.gives_to(service)
        })
    }

    fn give(&mut self, address: IpAddr, service: &Service<'a>) -> Attempt {
        match self.taken.get_mut(&address) {
            Some(group) => group.join(&service.terms),
            None => self.hold(address, Group::of(&service.terms)),
        }
        Attempt::Given(address)
    }

    /// Open pools do not overlap, so there is at most one.
    fn open_place(&self, address: IpAddr) -> Option<Place> {
        let mut places = self.index.places_of(address);
        places.find(|place| self.pools[place.pool].is_open())
    }

    /// Where the address was free, if it was.
    fn take_from_open_pool(&mut self, address: IpAddr) -> Option<Place> {
        let place = self.open_place(address)?;
        self.stock.take(place, address).then_some(place)
    }

    /// What nobody has is free in the open pool that has it, unless that reserves it.
    fn put_back(&mut self, address: IpAddr) {
        if let Some(place) = self.open_place(address)
            && !self.pools[place.pool].reserves(place.block, address)
        {
            self.stock.put_back(place, address);
        }
    }
}

/// Addresses of one family that are shared under one key.
#[derive(Debug, Default)]
struct SharedAddresses {
    /// Those that Services show, the lowest first; then those that are given by this plan.
    addresses: Vec<IpAddr>,
    /// For a port, how many of the addresses at the beginning have it, as far as is known. They never lose it, so that
    /// many Services with one key and one port do not look at all addresses each.
    have: HashMap<TransportPort, usize>,
}

impl SharedAddresses {
    /// A place before which each address has one of these ports.
    fn first_without(
        &mut self,
        ports: &[ServicePort],
        taken: &BTreeMap<IpAddr, Group<'_>>,
    ) -> usize {
        let mut start = 0;
        for port in ports {
            let have = self.have.entry(port.transport()).or_default();
            let rest = self.addresses.iter().skip(*have);
            let more = rest
                .take_while(|address| taken.get(address).is_some_and(|group| group.has_port(port)));
            *have += more.count();
            start = start.max(*have);
        }
        start
    }
}
