//! The operator's second question: which addresses has each Service of type LoadBalancer, and what do the pools say?
//!
//! ```text
//!  Services that are not at rest ([memory]) ──────────────► keep what they show ─► supply what they lack
//!  pools ─► [ranges] valid? [pools] overlapping? ─► [ledger] ◄────┴────────────────────┘
//!                                                       └─► ingress + condition of each Service, counts of each pool
//! ```
//!
//! # Why
//!
//! Behaviour is that of Cilium 1.20's operator, condition texts included, and otherwise where that one is wrong or leaves
//! it to chance:
//!
//! * Who has an address is what the statuses of the Services say, so a restart moves nothing and nothing can leak. Every
//!   Service that is ours says so by our condition. What [`Memory`] knows of Services that have not changed is what reading
//!   them again would say.
//! * Addresses that Services show are settled before one is given out. Two that show the same: the older keeps it. The
//!   lowest free address comes first, of the oldest pool that selects the Service.
//! * A pool that is disabled, in conflict, being deleted or has an invalid selector gives nothing out, and leaves to
//!   Services what they have. An invalid block costs itself. [`rejected`] names what is not carried out.
//! * A Service that is ours no more only because the operator was started with other settings keeps what it has.
//! * An address that a Service loses is given to another only by a later plan, when the status no longer shows it.

mod conditions;
mod free;
mod ledger;
mod memory;
mod places;
mod pools;
mod ranges;
pub mod rejected;
mod satisfy;
mod service;
mod sharing;
mod stock;

use std::collections::BTreeSet;
use std::net::IpAddr;

use api::condition::Condition;
use jiff::Timestamp;

use self::ledger::Count;
pub use self::memory::Memory;
use self::pools::Pool;
use self::satisfy::{Satisfaction, Settled};
use self::service::Role;
use crate::{NamespacedName, Snapshot};

/// Type of the condition that says, at a Service, whether it has the addresses it asks for. Whoever has it is ours.
pub const SERVICE_CONDITION: &str = "cilium.io/IPAMRequestSatisfied";

/// What the administrator decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether Services may have IPv4 addresses (`enable-ipv4`).
    pub ipv4: bool,
    /// Whether Services may have IPv6 addresses (`enable-ipv6`).
    pub ipv6: bool,
    /// Whether Services without a class are given addresses (`default-lb-service-ipam` is `lbipam`).
    pub classless: bool,
    /// The values of `loadBalancerClass` that are.
    pub classes: BTreeSet<String>,
}

/// What must be written. Nothing in it that is so already.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AddressPlan {
    /// Statuses of Services, in the order in which they shall be written.
    pub services: Vec<ServiceOp>,
    /// Conditions of pools, by name.
    pub pools: Vec<PoolOp>,
    /// Numbers for the metrics.
    pub figures: Figures,
}

/// A new status of a Service: its ingress addresses and all its conditions, other people's included.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceOp {
    /// The Service.
    pub name: NamespacedName,
    /// The state this was made for: with another, the write must fail.
    pub resource_version: String,
    /// `status.loadBalancer.ingress`.
    pub ingress: Vec<IpAddr>,
    /// `status.conditions`.
    pub conditions: Vec<Condition>,
}

/// New conditions of a pool: the complete list, other people's included.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolOp {
    /// The pool.
    pub name: String,
    /// The state the list was made for: with another, the write must fail.
    pub resource_version: Option<String>,
    /// The list.
    pub conditions: Vec<Condition>,
}

/// Numbers for the metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Addresses of each pool, by its name.
    pub pools: Vec<(String, PoolFigures)>,
    /// Pools in conflict.
    pub conflicting_pools: usize,
    /// Services that are given addresses here.
    pub services: usize,
    /// Those of them that lack one.
    pub unsatisfied: usize,
}

/// Addresses of a pool. A range of 2^128 addresses counts as one less.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolFigures {
    /// Free.
    pub available: u128,
    /// Taken or reserved.
    pub used: u128,
}

/// What must be written so that every Service has the addresses it asks for, as far as the pools have them. `now`
/// becomes the transition time of conditions whose status changes, in whole seconds.
#[must_use]
pub fn plan(snapshot: &Snapshot, settings: &Settings, now: Timestamp) -> AddressPlan {
    replan(snapshot, settings, now, &mut Memory::default())
}

/// The same as [`plan`], in less time where most Services are as they were when `memory` was last used.
#[must_use]
pub fn replan(
    snapshot: &Snapshot,
    settings: &Settings,
    now: Timestamp,
    memory: &mut Memory,
) -> AddressPlan {
    let (mut ledger, services) = memory.open(snapshot, settings);
    let settled = satisfy::satisfy(services, &mut ledger);
    let counts = ledger.counts();
    let plan = AddressPlan {
        services: conditions::of_services(&settled, now),
        pools: conditions::of_pools(&counts, now),
        figures: figures(&settled, memory.served(), &counts),
    };
    memory.close(ledger, &settled, &plan.services);
    plan
}

fn figures(services: &[Settled<'_>], at_rest: usize, counts: &[(&Pool<'_>, Count)]) -> Figures {
    let pools = counts
        .iter()
        .map(|(pool, count)| (pool.name.to_owned(), count.figures));
    let conflicting = counts.iter().filter(|(pool, _)| pool.conflict.is_some());
    let ours = services
        .iter()
        .filter(|settled| match settled.service.role {
            Role::Served | Role::Going => true,
            Role::LeftAlone | Role::Released => false,
        });
    let unsatisfied = services
        .iter()
        .filter(|settled| match settled.satisfaction {
            Satisfaction::Waits(_) | Satisfaction::Lacks(_) => true,
            Satisfaction::Satisfied | Satisfaction::Unasked => false,
        });
    Figures {
        pools: pools.collect(),
        conflicting_pools: conflicting.count(),
        services: at_rest + ours.count(),
        unsatisfied: unsatisfied.count(),
    }
}
