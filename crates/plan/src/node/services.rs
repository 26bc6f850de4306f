//! Which addresses of Services this node announces (behaviour of Cilium 1.20).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use api::CiliumBGPAdvertisement;
use api::advertisement::{Advertisement, AdvertisementType, ServiceAddressType, ServiceOptions};
use api::selector::{InvalidSelector, Selector};
use ipnet::IpNet;

use super::datapath::backends::{has_family, serves};
use super::datapath::{DatapathService, Fault};
use super::gate::Gate;
use super::known::Known;
use super::{Settings, WithoutEndpoints};
use crate::snapshot::{
    EndpointSliceFacts, Ingress, IpFamily, NamespacedName, ServiceFacts, TrafficPolicy,
};

/// For each entry of type Service, by name of the advertisement and place in it: the prefixes, in order and each once,
/// or why its selector cannot be evaluated.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ServicePrefixes(BTreeMap<String, BTreeMap<usize, OfEntry>>);

type OfEntry = Result<Vec<IpNet>, InvalidSelector>;

impl ServicePrefixes {
    /// Of what these entries name, what passes the gate. An entry is evaluated once, however many peers hear of it.
    pub(super) fn of_entries<'a>(entries: &'a [Entry], gate: &mut Gate<'a>) -> Self {
        let mut prefixes = Self::default();
        for entry in entries {
            let of_entry = match &entry.wanted {
                Ok(_) => Ok(gate.admitted(&entry.candidates)),
                Err(invalid) => Err(invalid.clone()),
            };
            let of_advertisement = prefixes.0.entry(entry.advertisement.clone()).or_default();
            of_advertisement.insert(entry.index, of_entry);
        }
        prefixes
    }

    /// Those of one entry; nothing where it is not of type Service.
    pub(super) fn of(&self, advertisement: &str, index: usize) -> Option<&OfEntry> {
        self.0.get(advertisement)?.get(&index)
    }
}

/// An address of a Service that an entry names, which is announced as soon as the load balancer serves it. In order of
/// addresses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub(super) address: IpAddr,
    pub(super) service: Arc<NamespacedName>,
    pub(super) prefix: IpNet,
    pub(super) standing: Standing,
}

/// What the load balancer of this node, where there is one, is to do about an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Serve it.
    Served,
    /// Nothing, because the Service restricts its clients.
    Restricted,
    /// Nothing.
    Unserved,
}

/// An entry of type Service of an advertisement, and what it names.
#[derive(Debug)]
pub(super) struct Entry {
    advertisement: String,
    index: usize,
    wanted: Result<Option<Wanted>, InvalidSelector>,
    candidates: BTreeSet<Candidate>,
}

#[derive(Debug)]
struct Wanted {
    selector: Selector,
    options: ServiceOptions,
}

impl Entry {
    /// The entries of type Service of all advertisements. They name nothing yet.
    pub(super) fn all(advertisements: &BTreeMap<String, Arc<CiliumBGPAdvertisement>>) -> Vec<Self> {
        let entries = advertisements.iter().flat_map(|(name, advertisement)| {
            let entries = advertisement.spec.advertisements.iter().enumerate();
            entries.map(move |(index, entry)| (name, index, entry))
        });
        entries
            .filter(|(.., entry)| entry.advertisement_type == AdvertisementType::Service)
            .map(|(name, index, entry)| Self {
                advertisement: name.clone(),
                index,
                wanted: Wanted::by(entry),
                candidates: BTreeSet::new(),
            })
            .collect()
    }

    /// Notes a Service.
    pub(super) fn add(&mut self, service: &Known, settings: &Settings) {
        if let Ok(Some(wanted)) = &self.wanted {
            self.candidates.extend(wanted.candidates(service, settings));
        }
    }

    /// Forgets a Service that was noted.
    pub(super) fn remove(&mut self, service: &Known, settings: &Settings) {
        if let Ok(Some(wanted)) = &self.wanted {
            for candidate in wanted.candidates(service, settings) {
                self.candidates.remove(&candidate);
            }
        }
    }
}

impl Wanted {
    /// No selector selects nothing; the schema makes the options come with the type.
    fn by(entry: &Advertisement) -> Result<Option<Self>, InvalidSelector> {
        let (Some(selector), Some(options)) = (&entry.selector, &entry.service) else {
            return Ok(None);
        };
        Ok(Some(Self {
            selector: selector.parse()?,
            options: options.clone(),
        }))
    }

    fn candidates(&self, service: &Known, settings: &Settings) -> Vec<Candidate> {
        let Known {
            name,
            facts,
            slices,
            planned,
        } = service;
        if !self.selector.matches_by(|key| facts.label(name, key)) {
            return Vec::new();
        }
        let restricts =
            |planned: &Arc<DatapathService>| planned.faults.contains(&Fault::SourceRanges);
        let is_restricted = planned.as_ref().is_some_and(restricts);
        let endpoints = [IpFamily::Ipv4, IpFamily::Ipv6]
            .map(|family| Endpoints::of(facts, slices, family, &settings.node));
        let mut candidates = Vec::new();
        for kind in &self.options.addresses {
            let policy = policy(facts, *kind);
            let is_announced = |address: &IpAddr| {
                let endpoints = endpoints[usize::from(address.is_ipv6())];
                match (policy, settings.without_endpoints) {
                    (TrafficPolicy::Local, _) => endpoints.here,
                    (TrafficPolicy::Cluster, WithoutEndpoints::Withhold) => endpoints.anywhere,
                    (TrafficPolicy::Cluster, WithoutEndpoints::Announce) => true,
                }
            };
            let addresses = addresses(facts, *kind).map(|address| address.to_canonical());
            candidates.extend(addresses.filter(is_announced).map(|address| {
                let is_served = planned.as_ref().is_some_and(|planned| planned.has(address));
                Candidate {
                    address,
                    service: Arc::clone(name),
                    prefix: prefix(address, policy, &self.options),
                    standing: match (is_served, is_restricted) {
                        (true, _) => Standing::Served,
                        (false, true) => Standing::Restricted,
                        (false, false) => Standing::Unserved,
                    },
                }
            }));
        }
        candidates
    }
}

/// Where the ready endpoints of a Service are that serve one of its ports in one family.
#[derive(Debug, Clone, Copy, Default)]
struct Endpoints {
    anywhere: bool,
    here: bool,
}

impl Endpoints {
    fn of(
        service: &ServiceFacts,
        slices: &[Arc<EndpointSliceFacts>],
        family: IpFamily,
        node: &str,
    ) -> Self {
        let slices = slices.iter().filter(|slice| serves(service, slice));
        let endpoints = slices.flat_map(|slice| &slice.endpoints);
        let mut found = Self::default();
        for endpoint in
            endpoints.filter(|endpoint| endpoint.is_ready() && has_family(endpoint.address, family))
        {
            found.anywhere = true;
            found.here |= endpoint.node.as_deref() == Some(node);
        }
        found
    }
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
        ServiceAddressType::LoadBalancerIp if service.is_for_bgp() => (&service.ingress, &[]),
        ServiceAddressType::LoadBalancerIp => (&[], &[]),
        ServiceAddressType::ExternalIp => (&[], &service.external_ips),
        ServiceAddressType::ClusterIp => (&[], &service.cluster_ips),
    };
    let ingress = ingress.iter().filter_map(Ingress::address);
    ingress.chain(others.iter().copied())
}

/// The canonical address alone, or the aggregate it lies in. An aggregate would draw traffic to nodes without endpoints, so where
/// the policy is Local there is none.
fn prefix(address: IpAddr, policy: TrafficPolicy, options: &ServiceOptions) -> IpNet {
    let length = match (policy, address) {
        (TrafficPolicy::Local, _) => None,
        (TrafficPolicy::Cluster, IpAddr::V4(_)) => options.aggregation_length_ipv4,
        (TrafficPolicy::Cluster, IpAddr::V6(_)) => options.aggregation_length_ipv6,
    };
    let host = IpNet::from(address);
    let aggregate = length.and_then(|length| IpNet::new(address, length).ok());
    aggregate.map_or(host, |aggregate| aggregate.trunc())
}
