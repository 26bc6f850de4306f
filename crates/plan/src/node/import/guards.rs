//! What no import may install: gathered from the cluster and the node, and asked for each prefix.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::super::instance;
use super::{Guards, PrefixRule, Refusal};
use crate::copy_on_write::CopyOnWrite;
use crate::node::{InstancePlan, Observed, Settings};
use crate::snapshot::{NodeFacts, ServiceFacts, Snapshot};

/// What no route of a unicast table is for.
const SPECIAL: [(IpNet, Refusal); 6] = [
    (v4(127, 0, 8), Refusal::Loopback),
    (v4(169, 254, 16), Refusal::LinkLocal),
    (v4(224, 0, 4), Refusal::Multicast),
    (v6(Ipv6Addr::LOCALHOST, 128), Refusal::Loopback),
    (
        v6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
        Refusal::LinkLocal,
    ),
    (
        v6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
        Refusal::Multicast,
    ),
];

const fn v4(first: u8, second: u8, length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(
        Ipv4Addr::new(first, second, 0, 0),
        length,
    ))
}

const fn v6(address: Ipv6Addr, length: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(address, length))
}

/// What is announced, and of which instances it was gathered: `None` before the first time.
#[derive(Debug, Default)]
pub(in crate::node) struct GuardedAnnounced {
    of: Option<CopyOnWrite<BTreeMap<String, InstancePlan>>>,
    prefixes: CopyOnWrite<BTreeSet<IpNet>>,
}

impl GuardedAnnounced {
    /// The same set again where it is of the same instances; or where it says the same, which spares others a look at all of
    /// it.
    fn of(
        &mut self,
        instances: &CopyOnWrite<BTreeMap<String, InstancePlan>>,
    ) -> CopyOnWrite<BTreeSet<IpNet>> {
        if self.of.as_ref().is_none_or(|of| !of.is(instances)) {
            let originate = instances.values().flat_map(|instance| &instance.originate);
            let prefixes: BTreeSet<IpNet> = originate.copied().collect();
            if *self.prefixes != prefixes {
                self.prefixes = prefixes.into();
            }
            self.of = Some(instances.clone());
        }
        self.prefixes.clone()
    }
}

/// The addresses of all Services, as host prefixes.
#[derive(Debug, Default)]
pub(in crate::node) struct GuardedServices {
    prefixes: CopyOnWrite<BTreeSet<IpNet>>,
    /// How often one is there beside the first time.
    again: BTreeMap<IpNet, usize>,
}

impl GuardedServices {
    /// Notes that a Service is not what it was, or is new or gone.
    pub(in crate::node) fn replace(
        &mut self,
        before: Option<&ServiceFacts>,
        now: Option<&ServiceFacts>,
    ) {
        let of = |facts: Option<&ServiceFacts>| -> Vec<IpNet> {
            let addresses = facts.into_iter().flat_map(of_service);
            addresses.map(host).collect()
        };
        let (before, now) = (of(before), of(now));
        if before == now {
            return;
        }
        // In this order, so that what stays is never taken out: the set is copied where it changes.
        for prefix in now {
            if self.prefixes.contains(&prefix) {
                *self.again.entry(prefix).or_default() += 1;
            } else {
                self.prefixes.insert(prefix);
            }
        }
        for prefix in before {
            match self.again.get_mut(&prefix) {
                None => drop(self.prefixes.remove(&prefix)),
                Some(1) => drop(self.again.remove(&prefix)),
                Some(times) => *times -= 1,
            }
        }
    }
}

/// Everything that is guarded on this node, which announces what `instances` originate.
pub(super) fn guards(
    snapshot: &Snapshot,
    settings: &Settings,
    observed: &Observed,
    instances: &CopyOnWrite<BTreeMap<String, InstancePlan>>,
    services: Option<&GuardedServices>,
    announced: &mut GuardedAnnounced,
) -> Guards {
    let node = instance::node(snapshot, settings);
    let networks = || observed.interface_networks.values().flatten();
    let usable = observed.interfaces.values().flatten();
    let internal = nodes(snapshot, &settings.node).flat_map(|node| &node.internal_addresses);
    let addresses = networks().map(IpNet::addr);
    let addresses = addresses.chain(usable.copied()).chain(internal.copied());
    let connected = networks().filter(|network| network.prefix_len() < network.max_prefix_len());
    let connected = connected.chain(&observed.far_ends);
    // Guarded as such anyway; and each interface that comes brings another.
    let is_link_local = |address: &IpAddr| matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
    let service_cidrs = snapshot.service_cidrs.values();
    Guards {
        pod_cidrs: truncated(node.into_iter().flat_map(|node| &node.pod_cidrs)),
        service_cidrs: truncated(service_cidrs.flat_map(|facts| &facts.cidrs)),
        node_addresses: addresses
            .filter(|address| !is_link_local(address))
            .map(host)
            .collect(),
        connected: connected.map(IpNet::trunc).collect(),
        service_addresses: services
            .map(|services| services.prefixes.clone())
            .unwrap_or_default(),
        announced: announced.of(instances),
    }
}

/// The node as Kubernetes and as Cilium sees it.
fn nodes<'a>(snapshot: &'a Snapshot, name: &str) -> impl Iterator<Item = &'a NodeFacts> {
    let cilium = snapshot.cilium_nodes.as_ref();
    let both = [Some(&snapshot.nodes), cilium].into_iter().flatten();
    both.filter_map(move |nodes| nodes.get(name))
        .map(AsRef::as_ref)
}

fn of_service(service: &ServiceFacts) -> impl Iterator<Item = IpAddr> {
    let others = service.cluster_ips.iter().chain(&service.external_ips);
    others.copied().chain(service.ingress_addresses())
}

/// Sorted, each once.
fn truncated<'a>(prefixes: impl Iterator<Item = &'a IpNet>) -> Vec<IpNet> {
    let prefixes: BTreeSet<IpNet> = prefixes.map(IpNet::trunc).collect();
    prefixes.into_iter().collect()
}

fn host(address: IpAddr) -> IpNet {
    IpNet::from(address.to_canonical())
}

impl Guards {
    /// Why there is no route to `prefix` although `rule` accepts it. Where several reasons apply, the one that tells most.
    pub(super) fn refusal(&self, rule: &PrefixRule, prefix: &IpNet) -> Option<Refusal> {
        if prefix.prefix_len() == 0 && rule.max_length != 0 {
            return Some(Refusal::DefaultRoute);
        }
        let special = SPECIAL.iter().find(|(special, _)| lies_in(prefix, special));
        if let Some((_, refusal)) = special {
            return Some(*refusal);
        }
        if prefix.prefix_len() < broad(prefix) && rule.max_length >= broad(prefix) {
            return Some(Refusal::DefaultRoute);
        }
        // Most of a full table are no hosts.
        let is_host = prefix.prefix_len() == prefix.max_prefix_len();
        if is_host && self.node_addresses.contains(prefix) {
            return Some(Refusal::NodeAddress);
        }
        if is_host && self.service_addresses.contains(prefix) {
            return Some(Refusal::ServiceAddress);
        }
        let is_part = |guarded: &[IpNet]| guarded.iter().any(|guarded| lies_in(prefix, guarded));
        if is_part(&self.pod_cidrs) {
            return Some(Refusal::PodCidr);
        }
        if is_part(&self.service_cidrs) {
            return Some(Refusal::ServiceCidr);
        }
        if self.announced.contains(prefix) {
            return Some(Refusal::Announced);
        }
        let network = innermost(&self.connected, prefix);
        let is_free = |network: &IpNet| network != prefix && lies_in(&rule.prefix, network);
        network
            .is_some_and(|network| !is_free(network))
            .then_some(Refusal::Connected)
    }
}

/// The least length of a route to some network and not to everything: 8 for IPv4, of which nobody was given more; 4 for IPv6, whose public
/// networks are all in 2000::/3. Two halves are as good as a default route, and better by their length.
fn broad(prefix: &IpNet) -> u8 {
    match prefix {
        IpNet::V4(_) => 8,
        IpNet::V6(_) => 4,
    }
}

/// The longest of `prefixes` that contains `prefix`.
///
/// Sorted as they are, by address and then by length, all that contain a prefix stand before it. The last one before it
/// that does not contain it has bits in common with it, and whatever contains the prefix is no longer than these: so the search
/// goes on from there, and takes as many steps as there are lengths of nested prefixes.
fn innermost<'a>(prefixes: &'a BTreeSet<IpNet>, prefix: &IpNet) -> Option<&'a IpNet> {
    let mut bound = *prefix;
    loop {
        let last = prefixes.range(..=bound).next_back()?;
        if lies_in(prefix, last) {
            return Some(last);
        }
        bound = common(last, prefix)?;
    }
}

/// The longest prefix that contains both; none for those of two families.
fn common(a: &IpNet, b: &IpNet) -> Option<IpNet> {
    let shorter = a.prefix_len().min(b.prefix_len());
    let bits = equal_bits(a, b)?;
    let length = u8::try_from(bits).map_or(shorter, |bits| bits.min(shorter));
    IpNet::new(b.addr(), length)
        .ok()
        .map(|common| common.trunc())
}

/// Whether `inner` is `outer` or lies in it, as `IpNet::contains` says more slowly.
pub(super) fn lies_in(inner: &IpNet, outer: &IpNet) -> bool {
    let length = outer.prefix_len();
    let is_in = |bits| u32::from(length) <= bits;
    length <= inner.prefix_len() && equal_bits(inner, outer).is_some_and(is_in)
}

/// How many bits the addresses have in common from the first on; nothing for those of two families.
fn equal_bits(a: &IpNet, b: &IpNet) -> Option<u32> {
    match (a, b) {
        (IpNet::V4(a), IpNet::V4(b)) => {
            Some((a.addr().to_bits() ^ b.addr().to_bits()).leading_zeros())
        }
        (IpNet::V6(a), IpNet::V6(b)) => {
            Some((a.addr().to_bits() ^ b.addr().to_bits()).leading_zeros())
        }
        (IpNet::V4(_), IpNet::V6(_)) | (IpNet::V6(_), IpNet::V4(_)) => None,
    }
}
