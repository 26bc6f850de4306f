//! Which addresses of Services this node announces (behaviour of Cilium 1.20).

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::advertisement::{Advertisement, AdvertisementType, ServiceAddressType, ServiceOptions};
use api::selector::{InvalidSelector, Selector};
use ipnet::IpNet;

use super::{Settings, WithoutEndpoints};
use crate::snapshot::{Ingress, NamespacedName, ServiceFacts, Snapshot, TrafficPolicy};

/// The class of Services that belong to whoever announces them by BGP.
const BGP_CLASS: &str = "io.cilium/bgp-control-plane";

/// For each entry of type Service, by name of the advertisement and place in it: the prefixes, in order and each once,
/// or why its selector cannot be evaluated.
pub(super) type ServicePrefixes<'a> =
    BTreeMap<(&'a String, usize), Result<Vec<IpNet>, InvalidSelector>>;

/// Where the ready endpoints of a Service are.
#[derive(Debug, Clone, Copy, Default)]
struct Endpoints {
    anywhere: bool,
    here: bool,
}

/// The prefixes of all entries of type Service. An entry is evaluated once, however many peers hear of it.
pub(super) fn prefixes<'a>(snapshot: &'a Snapshot, settings: &Settings) -> ServicePrefixes<'a> {
    let mut endpoints = None;
    let mut prefixes = BTreeMap::new();
    for (name, advertisement) in &snapshot.advertisements {
        for (index, entry) in advertisement.spec.advertisements.iter().enumerate() {
            if entry.advertisement_type == AdvertisementType::Service {
                let endpoints =
                    endpoints.get_or_insert_with(|| self::endpoints(snapshot, settings));
                let of_entry = of_entry(entry, snapshot, endpoints, settings.without_endpoints);
                prefixes.insert((name, index), of_entry);
            }
        }
    }
    prefixes
}

fn endpoints(snapshot: &Snapshot, settings: &Settings) -> BTreeMap<NamespacedName, Endpoints> {
    let mut endpoints: BTreeMap<NamespacedName, Endpoints> = BTreeMap::new();
    for (name, slice) in &snapshot.endpoint_slices {
        let Some(service) = &slice.service else {
            continue;
        };
        let service = NamespacedName {
            namespace: name.namespace.clone(),
            name: service.clone(),
        };
        let of_service = endpoints.entry(service).or_default();
        for endpoint in slice.endpoints.iter().filter(|endpoint| endpoint.is_ready) {
            of_service.anywhere = true;
            of_service.here |= endpoint.node.as_ref() == Some(&settings.node);
        }
    }
    endpoints
}

fn of_entry(
    entry: &Advertisement,
    snapshot: &Snapshot,
    endpoints: &BTreeMap<NamespacedName, Endpoints>,
    without_endpoints: WithoutEndpoints,
) -> Result<Vec<IpNet>, InvalidSelector> {
    // No selector selects nothing; the schema makes the options come with the type.
    let (Some(selector), Some(options)) = (&entry.selector, &entry.service) else {
        return Ok(Vec::new());
    };
    let selector = selector.parse()?;
    let mut prefixes = Vec::new();
    for (name, service) in selected(&selector, snapshot) {
        let endpoints = endpoints.get(name).copied().unwrap_or_default();
        for kind in &options.addresses {
            let (policy, addresses) = addresses(service, *kind);
            let is_announced = match (policy, without_endpoints) {
                (TrafficPolicy::Local, _) => endpoints.here,
                (TrafficPolicy::Cluster, WithoutEndpoints::Withhold) => endpoints.anywhere,
                (TrafficPolicy::Cluster, WithoutEndpoints::Announce) => true,
            };
            if is_announced {
                let addresses = addresses.into_iter();
                prefixes.extend(addresses.map(|address| prefix(address, policy, options)));
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

/// The addresses of one type, and the traffic policy that applies to them.
fn addresses(service: &ServiceFacts, kind: ServiceAddressType) -> (TrafficPolicy, Vec<IpAddr>) {
    match kind {
        ServiceAddressType::LoadBalancerIp => {
            let class = service.load_balancer_class.as_deref();
            let is_ours = service.is_load_balancer && class.is_none_or(|class| class == BGP_CLASS);
            let ingress = service.ingress.iter().filter(|_| is_ours);
            let addresses = ingress.filter_map(|ingress| match ingress {
                Ingress::Address(address) => Some(*address),
                Ingress::Foreign => None,
            });
            (service.external_traffic_policy, addresses.collect())
        }
        ServiceAddressType::ExternalIp => (
            service.external_traffic_policy,
            service.external_ips.clone(),
        ),
        ServiceAddressType::ClusterIp => {
            (service.internal_traffic_policy, service.cluster_ips.clone())
        }
    }
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
