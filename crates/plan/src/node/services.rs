//! Which addresses of Services this node announces (behaviour of Cilium 1.20).

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::advertisement::{Advertisement, AdvertisementType, ServiceAddressType, ServiceOptions};
use api::selector::{InvalidSelector, Selector};
use ipnet::IpNet;

use super::gate::Gate;
use super::slices::{Slice, Slices};
use super::{Settings, WithoutEndpoints};
use crate::snapshot::{Ingress, NamespacedName, ServiceFacts, Snapshot, TrafficPolicy};

/// The class of Services that belong to whoever announces them by BGP.
const BGP_CLASS: &str = "io.cilium/bgp-control-plane";

/// For each entry of type Service, by name of the advertisement and place in it: the prefixes, in order and each once,
/// or why its selector cannot be evaluated.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ServicePrefixes(BTreeMap<String, BTreeMap<usize, OfEntry>>);

type OfEntry = Result<Vec<IpNet>, InvalidSelector>;

impl ServicePrefixes {
    /// Those of one entry; nothing where it is not of type Service.
    pub(super) fn of(&self, advertisement: &str, index: usize) -> Option<&OfEntry> {
        self.0.get(advertisement)?.get(&index)
    }
}

/// Where the ready endpoints of a Service are.
#[derive(Debug, Clone, Copy, Default)]
struct Endpoints {
    anywhere: bool,
    here: bool,
}

impl Endpoints {
    fn of(slices: &[Slice<'_>], node: &str) -> Self {
        let endpoints = slices.iter().flat_map(|slice| &slice.facts.endpoints);
        let mut found = Self::default();
        for endpoint in endpoints.filter(|endpoint| endpoint.is_ready()) {
            found.anywhere = true;
            found.here |= endpoint.node.as_deref() == Some(node);
        }
        found
    }
}

/// The prefixes of all entries of type Service. An entry is evaluated once, however many peers hear of it.
pub(super) fn prefixes<'a>(
    snapshot: &'a Snapshot,
    settings: &Settings,
    slices: &Slices<'_>,
    gate: &mut Gate<'a>,
) -> ServicePrefixes {
    let mut prefixes = ServicePrefixes::default();
    for (name, advertisement) in &snapshot.advertisements {
        for (index, entry) in advertisement.spec.advertisements.iter().enumerate() {
            if entry.advertisement_type == AdvertisementType::Service {
                let of_entry = of_entry(entry, snapshot, settings, slices, gate);
                let entries = prefixes.0.entry(name.clone()).or_default();
                entries.insert(index, of_entry);
            }
        }
    }
    prefixes
}

fn of_entry<'a>(
    entry: &Advertisement,
    snapshot: &'a Snapshot,
    settings: &Settings,
    slices: &Slices<'_>,
    gate: &mut Gate<'a>,
) -> OfEntry {
    // No selector selects nothing; the schema makes the options come with the type.
    let (Some(selector), Some(options)) = (&entry.selector, &entry.service) else {
        return Ok(Vec::new());
    };
    let selector = selector.parse()?;
    let mut prefixes = Vec::new();
    let (mut plans, mut slices) = (gate.walk(), slices.walk());
    for (name, service) in selected(&selector, snapshot) {
        let planned = plans.to(name);
        let mut known = None;
        let mut endpoints =
            || *known.get_or_insert_with(|| Endpoints::of(slices.to(name), &settings.node));
        for kind in &options.addresses {
            let policy = policy(service, *kind);
            let is_announced = match (policy, settings.without_endpoints) {
                (TrafficPolicy::Local, _) => endpoints().here,
                (TrafficPolicy::Cluster, WithoutEndpoints::Withhold) => endpoints().anywhere,
                (TrafficPolicy::Cluster, WithoutEndpoints::Announce) => true,
            };
            if is_announced {
                let ready = addresses(service, *kind)
                    .filter(|address| gate.admits(name, service, planned, *address));
                prefixes.extend(ready.map(|address| prefix(address, policy, options)));
            }
        }
    }
    prefixes.sort_unstable();
    prefixes.dedup();
    Ok(prefixes)
}

fn selected<'a>(
    selector: &Selector,
    snapshot: &'a Snapshot,
) -> impl Iterator<Item = (&'a NamespacedName, &'a ServiceFacts)> {
    let services = snapshot.services.iter();
    services
        .filter(|(name, service)| selector.matches_by(|key| service.label(name, key)))
        .map(|(name, service)| (name, service.as_ref()))
}

/// The traffic policy that applies to addresses of one type.
fn policy(service: &ServiceFacts, kind: ServiceAddressType) -> TrafficPolicy {
    match kind {
        ServiceAddressType::LoadBalancerIp | ServiceAddressType::ExternalIp => {
            service.external_traffic_policy
        }
        ServiceAddressType::ClusterIp => service.internal_traffic_policy,
    }
}

/// The addresses of one type.
fn addresses(service: &ServiceFacts, kind: ServiceAddressType) -> impl Iterator<Item = IpAddr> {
    let (ingress, others): (&[Ingress], &[IpAddr]) = match kind {
        ServiceAddressType::LoadBalancerIp if is_for_bgp(service) => (&service.ingress, &[]),
        ServiceAddressType::LoadBalancerIp => (&[], &[]),
        ServiceAddressType::ExternalIp => (&[], &service.external_ips),
        ServiceAddressType::ClusterIp => (&[], &service.cluster_ips),
    };
    let ingress = ingress.iter().filter_map(Ingress::address);
    ingress.chain(others.iter().copied())
}

fn is_for_bgp(service: &ServiceFacts) -> bool {
    let class = service.load_balancer_class.as_deref();
    service.is_load_balancer() && class.is_none_or(|class| class == BGP_CLASS)
}

/// The address alone, or the aggregate it lies in. An aggregate would draw traffic to nodes without endpoints, so where
/// the policy is Local there is none.
fn prefix(address: IpAddr, policy: TrafficPolicy, options: &ServiceOptions) -> IpNet {
    let address = address.to_canonical();
    let length = match (policy, address) {
        (TrafficPolicy::Local, _) => None,
        (TrafficPolicy::Cluster, IpAddr::V4(_)) => options.aggregation_length_ipv4,
        (TrafficPolicy::Cluster, IpAddr::V6(_)) => options.aggregation_length_ipv6,
    };
    let host = IpNet::from(address);
    let aggregate = length.and_then(|length| IpNet::new(address, length).ok());
    aggregate.map_or(host, |aggregate| aggregate.trunc())
}
