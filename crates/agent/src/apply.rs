//! The joint down: a node's plan taken apart into the speaker's words.

mod datapath;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use bgp::policy::{
    ExportPolicy, ExportRule, ExportVerdict, LargeCommunity, PrefixMatch, SetAttributes, Source,
};
use bgp::{Family, GracefulRestart, PeerConfig, PeerName};
use ipnet::IpNet;
use plan::node::{Attributes, InstancePlan, IpFamily, NodePlan, PeerPlan};

pub use datapath::{Translation, Translator};

/// What the speaker must make true: every instance, complete.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wish {
    /// Rises with each wish.
    pub number: u64,
    /// All that the instances originate.
    pub originate: Arc<BTreeSet<IpNet>>,
    /// Instances by name.
    pub instances: BTreeMap<String, InstanceWish>,
}

/// One instance of a [`Wish`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceWish {
    /// Our AS.
    pub local_asn: u32,
    /// Our BGP identifier.
    pub router_id: Ipv4Addr,
    /// Port to listen on.
    pub local_port: Option<u16>,
    /// Peers.
    pub peers: BTreeMap<PeerName, PeerConfig>,
    /// Prefixes originated.
    pub originate: BTreeSet<IpNet>,
}

/// Takes a plan apart. What was rejected or waits is not in it any more: it stays with the status; what the load balancer
/// does is taken apart by a [`Translator`]. The wish has no number yet.
#[must_use]
pub fn wish(plan: &NodePlan) -> Wish {
    let NodePlan {
        instances,
        // Learned routes have their own actuator, which gets the plan's verdicts whole.
        routes: _,
        rejected: _,
        datapath: _,
        withheld: _,
        awaited: _,
        generation: _,
    } = plan;
    let originate = instances.values().flat_map(|plan| &plan.originate);
    Wish {
        number: 0,
        originate: Arc::new(originate.copied().collect()),
        instances: instances
            .iter()
            .map(|(name, plan)| (name.clone(), instance(plan)))
            .collect(),
    }
}

fn instance(plan: &InstancePlan) -> InstanceWish {
    let InstancePlan {
        local_asn,
        router_id,
        local_port,
        peers,
        originate,
    } = plan;
    InstanceWish {
        local_asn: *local_asn,
        router_id: *router_id,
        local_port: *local_port,
        peers: peers
            .iter()
            .map(|(name, plan)| (PeerName::from(name.as_str()), peer(plan)))
            .collect(),
        originate: originate.clone(),
    }
}

fn peer(plan: &PeerPlan) -> PeerConfig {
    let PeerPlan {
        address,
        port,
        asn,
        local_address,
        hold_time,
        keepalive,
        connect_retry,
        ebgp_ttl,
        graceful_restart,
        families,
        announce,
    } = plan;
    PeerConfig {
        address: *address,
        port: *port,
        local_address: *local_address,
        peer_asn: *asn,
        hold_time: *hold_time,
        keepalive: *keepalive,
        connect_retry: *connect_retry,
        ebgp_ttl: *ebgp_ttl,
        families: families
            .iter()
            .map(|family| self::family(*family))
            .collect(),
        graceful_restart: graceful_restart.map(|restart_time| GracefulRestart { restart_time }),
        export: Arc::new(export(announce)),
    }
}

fn family(family: IpFamily) -> Family {
    match family {
        IpFamily::Ipv4 => Family::IPV4_UNICAST,
        IpFamily::Ipv6 => Family::IPV6_UNICAST,
    }
}

/// One rule for each set of attributes, so that prefixes with equal attributes leave in one UPDATE.
fn export(announce: &BTreeMap<IpNet, Attributes>) -> ExportPolicy {
    let mut rules: Vec<(&Attributes, Vec<PrefixMatch>)> = Vec::new();
    for (prefix, attributes) in announce {
        let length = prefix.prefix_len();
        let exact = PrefixMatch {
            prefix: *prefix,
            min_length: length,
            max_length: length,
        };
        match rules.iter_mut().find(|(known, _)| *known == attributes) {
            Some((_, prefixes)) => prefixes.push(exact),
            None => rules.push((attributes, vec![exact])),
        }
    }
    let rule = |(attributes, prefixes): (&Attributes, Vec<_>)| ExportRule {
        source: Source::Local,
        prefixes: Some(prefixes.into_iter().collect()),
        verdict: ExportVerdict::Accept(set(attributes)),
    };
    ExportPolicy {
        rules: rules.into_iter().map(rule).collect(),
    }
}

fn set(attributes: &Attributes) -> SetAttributes {
    let Attributes {
        local_preference,
        communities,
        large_communities,
    } = attributes;
    let large = |&(global, local1, local2): &(u32, u32, u32)| LargeCommunity {
        global,
        local1,
        local2,
    };
    SetAttributes {
        local_preference: *local_preference,
        communities: communities.clone(),
        large_communities: large_communities.iter().map(large).collect(),
    }
}
