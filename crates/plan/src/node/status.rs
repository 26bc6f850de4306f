//! From plan and observation to the status users see.

mod routes;

use std::collections::BTreeMap;

use api::condition::{Condition, ConditionReason, MESSAGE_MAX_LENGTH};
use api::family::{Afi, Safi};
use api::node_config::{
    InstanceStatus, NodeConfigStatus, PeerStatus, PeeringState as Peering, RouteCount, TimersStatus,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{IpFamily, NodePlan, Observed, ObservedPeer, PeerPlan, PeeringState};

pub use routes::ROUTES_IMPORTED;

/// The status of the node's CiliumBGPNodeConfig: every planned peer with what is true of it now, one condition that says
/// what of the configuration cannot be carried out, and where learned routes are imported one that says how that goes.
///
/// `previous` are the conditions in place: a condition whose status does not change keeps its transition time.
#[must_use]
pub fn status(
    plan: &NodePlan,
    observed: &Observed,
    previous: &[Condition],
    now: Timestamp,
) -> NodeConfigStatus {
    let instances = plan
        .instances
        .iter()
        .map(|(name, instance)| InstanceStatus {
            name: name.clone(),
            local_asn: Some(i64::from(instance.local_asn)),
            peers: instance
                .peers
                .iter()
                .map(|(peer, plan)| peer_status(name, peer, plan, &observed.peers))
                .collect(),
        });
    let said = [reconciled(plan, observed)].into_iter();
    let said = said.chain(routes::imported(&plan.routes, &observed.imports));
    NodeConfigStatus {
        bgp_instances: instances.collect(),
        conditions: said
            .map(|said| said.condition(plan.generation, previous, now))
            .collect(),
    }
}

fn peer_status(
    instance: &str,
    name: &str,
    plan: &PeerPlan,
    observed: &BTreeMap<(String, String), ObservedPeer>,
) -> PeerStatus {
    let mut status = PeerStatus {
        name: name.to_owned(),
        peer_address: plan.address.to_string(),
        peer_asn: plan.asn.map(i64::from),
        peering_state: Some(Peering::Idle),
        ..PeerStatus::default()
    };
    let Some(seen) = observed.get(&(instance.to_owned(), name.to_owned())) else {
        return status;
    };
    status.peer_asn = seen.asn.or(plan.asn).map(i64::from);
    status.peering_state = Some(peering(seen.state));
    status.established_time = seen.established_at.map(rfc3339);
    status.timers = seen
        .hold_time
        .zip(seen.keepalive)
        .map(|(hold, keepalive)| TimersStatus {
            applied_hold_time_seconds: Some(i32::from(hold)),
            applied_keepalive_seconds: Some(i32::from(keepalive)),
        });
    let counts = seen.routes.iter().map(|count| RouteCount {
        afi: match count.family {
            IpFamily::Ipv4 => Afi::Ipv4,
            IpFamily::Ipv6 => Afi::Ipv6,
        },
        safi: Safi::Unicast,
        received: Some(i32::try_from(count.received).unwrap_or(i32::MAX)),
        advertised: Some(i32::try_from(count.advertised).unwrap_or(i32::MAX)),
    });
    status.route_count = counts.collect();
    status
}

fn peering(state: PeeringState) -> Peering {
    match state {
        PeeringState::Idle => Peering::Idle,
        PeeringState::Connect => Peering::Connect,
        PeeringState::Active => Peering::Active,
        PeeringState::OpenSent => Peering::OpenSent,
        PeeringState::OpenConfirm => Peering::OpenConfirm,
        PeeringState::Established => Peering::Established,
    }
}

/// RFC 3339 in UTC with whole seconds, as Kubernetes writes times.
fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A condition without what depends on the one before it.
struct Said {
    condition_type: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
}

impl Said {
    fn condition(
        self,
        generation: Option<i64>,
        previous: &[Condition],
        now: Timestamp,
    ) -> Condition {
        let kept = previous
            .iter()
            .find(|old| old.type_ == self.condition_type && old.status == self.status);
        Condition {
            type_: self.condition_type.to_owned(),
            status: self.status.to_owned(),
            reason: self.reason.to_owned(),
            message: self.message.chars().take(MESSAGE_MAX_LENGTH).collect(),
            observed_generation: generation,
            last_transition_time: kept.map_or(Time(now), |old| old.last_transition_time.clone()),
        }
    }
}

fn reconciled(plan: &NodePlan, observed: &Observed) -> Said {
    let rejected = plan.rejected.iter().map(ToString::to_string);
    let listen = observed
        .listen_failures
        .iter()
        .map(|(instance, why)| format!("{instance}: {why}"));
    let withheld = plan.withheld.iter().map(ToString::to_string);
    let sentences = rejected.chain(listen).chain(withheld);
    let message = sentences.collect::<Vec<_>>().join("\n");
    let reason = if message.is_empty() {
        ConditionReason::ReconcileSucceeded
    } else {
        ConditionReason::ReconcileFailed
    };
    Said {
        condition_type: reason.condition_type().as_str(),
        status: reason.status(),
        reason: reason.as_str(),
        message,
    }
}
