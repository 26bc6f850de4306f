//! What is written to Services and pools, in Cilium 1.20's words.

use std::net::IpAddr;

use api::condition::Condition;
use jiff::Timestamp;

use super::ledger::Count;
use super::pools::Pool;
use super::rejected::{self, Rejected};
use super::satisfy::{Satisfaction, Settled};
use super::service::{Role, Service};
use super::{PoolOp, SERVICE_CONDITION, ServiceOp};
use crate::snapshot::Ingress;
use crate::verdict::{self, Verdict};

const POOL_CONFLICT: &str = "cilium.io/PoolConflict";
const TOTAL: &str = "cilium.io/IPsTotal";
const AVAILABLE: &str = "cilium.io/IPsAvailable";
const USED: &str = "cilium.io/IPsUsed";

/// Types of a pool that only we write.
const OF_POOLS: [&str; 5] = [POOL_CONFLICT, TOTAL, AVAILABLE, USED, rejected::CONDITION];

/// First the Services that lose an address, so that no two show one that they do not share; each the oldest first.
pub(super) fn of_services(services: &[Settled<'_>], now: Timestamp) -> Vec<ServiceOp> {
    let (losing, others): (Vec<_>, Vec<_>) =
        services.iter().partition(|settled| loses(&settled.service));
    let ops = losing.into_iter().chain(others);
    ops.filter_map(|settled| of_service(&settled.service, settled.satisfaction, now))
        .collect()
}

fn loses(service: &Service<'_>) -> bool {
    service.shown().any(|address| !service.has(address))
}

fn of_service(
    service: &Service<'_>,
    satisfaction: Satisfaction,
    now: Timestamp,
) -> Option<ServiceOp> {
    let Service {
        facts,
        role,
        ingress,
        ..
    } = service;
    let is_new = !is_shown(ingress, &facts.ingress);
    let verdicts = match (role, satisfaction) {
        // Nothing is said of a wish that the next plan may fulfil, as long as there is nothing else to write.
        (Role::Served, Satisfaction::Waits(_)) if !is_new => return None,
        (Role::Served, satisfaction) => verdict(satisfaction),
        (Role::LeftAlone, _) => return None,
        (Role::Released, _) => Vec::new(),
        // It is as good as gone: not even a foreign entry of its status matters any more.
        (Role::Going, _) if !loses(service) => return None,
        (Role::Going, _) => return Some(op(service, facts.conditions.clone())),
    };
    let generation = Some(facts.generation);
    let conditions = verdict::conditions(
        &facts.conditions,
        &[SERVICE_CONDITION],
        verdicts,
        generation,
        now,
    );
    if !is_new && conditions.is_none() {
        return None;
    }
    Some(op(
        service,
        conditions.unwrap_or_else(|| facts.conditions.clone()),
    ))
}

fn op(service: &Service<'_>, conditions: Vec<Condition>) -> ServiceOp {
    ServiceOp {
        name: service.name.clone(),
        resource_version: service.facts.resource_version.clone(),
        ingress: service.ingress.clone(),
        conditions,
    }
}

fn is_shown(ingress: &[IpAddr], shown: &[Ingress]) -> bool {
    ingress.len() == shown.len()
        && ingress
            .iter()
            .zip(shown)
            .all(|(address, entry)| *entry == Ingress::Address(*address))
}

fn verdict(satisfaction: Satisfaction) -> Vec<Verdict> {
    let (status, reason, message) = match satisfaction {
        Satisfaction::Satisfied => ("True", "satisfied", String::new()),
        Satisfaction::Waits(unmet) | Satisfaction::Lacks(unmet) => {
            ("False", unmet.reason(), unmet.to_string())
        }
        Satisfaction::Unasked => return Vec::new(),
    };
    vec![Verdict {
        type_: SERVICE_CONDITION,
        status,
        reason,
        message,
    }]
}

/// The counts are of what is true once the Services are written.
pub(super) fn of_pools(counts: &[(&Pool<'_>, Count)], now: Timestamp) -> Vec<PoolOp> {
    let ops = counts.iter().filter_map(|(pool, count)| {
        let metadata = &pool.object.metadata;
        let status = pool.object.status.as_ref();
        let conditions = verdict::conditions(
            status.map_or(&[][..], |status| &status.conditions),
            &OF_POOLS,
            of_pool(pool, *count),
            metadata.generation,
            now,
        )?;
        Some(PoolOp {
            name: pool.name.to_owned(),
            resource_version: metadata.resource_version.clone(),
            conditions,
        })
    });
    ops.collect()
}

fn of_pool(pool: &Pool<'_>, count: Count) -> Vec<Verdict> {
    let (status, reason, message) = match &pool.conflict {
        None => ("False", "resolved", String::new()),
        Some(conflict) => ("True", "cidr_overlap", conflict.to_string()),
    };
    let conflict = Verdict {
        type_: POOL_CONFLICT,
        status,
        reason,
        message,
    };
    let number = |type_, number: u128| Verdict {
        type_,
        status: "Unknown",
        reason: "noreason",
        message: number.to_string(),
    };
    let counts = [
        conflict,
        number(TOTAL, count.total),
        number(AVAILABLE, count.figures.available),
        number(USED, count.figures.used),
    ];
    let rejected = Verdict::rejected(rejected::CONDITION, &pool.rejected, Rejected::reason);
    counts.into_iter().chain(rejected).collect()
}
