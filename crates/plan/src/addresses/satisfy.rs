//! Who keeps what, who is given what.

use std::net::IpAddr;

use super::ledger::{Attempt, Ledger, Unmet};
use super::service::{Request, Role, Service};
use super::sharing::Group;
use crate::snapshot::IpFamily;

/// A Service with the addresses it has now.
pub(super) struct Settled<'a> {
    pub(super) service: Service<'a>,
    pub(super) satisfaction: Satisfaction,
}

/// Whether a Service has what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Satisfaction {
    /// It has.
    Satisfied,
    /// It lacks something that the next plan can give it, and perhaps more.
    Waits(Unmet),
    /// It lacks something; the reason is that of the last thing.
    Lacks(Unmet),
    /// It is not asked for.
    Unasked,
}

/// First every Service keeps what it can of what it shows, then those that lack something are given it. So nothing
/// moves because of another Service's wish, nor because we were started again. The Services are in order of their names,
/// and returned the oldest first.
pub(super) fn satisfy<'a>(
    mut services: Vec<Service<'a>>,
    ledger: &mut Ledger<'a>,
) -> Vec<Settled<'a>> {
    // Stable: those of one second stay in the order of their names.
    services.sort_by_key(|service| service.facts.created);
    keep(&mut services, ledger);
    let services = services.into_iter().map(|mut service| {
        let satisfaction = match service.role {
            Role::Served => supply(&mut service, ledger),
            Role::Going | Role::LeftAlone | Role::Released => Satisfaction::Unasked,
        };
        Settled {
            service,
            satisfaction,
        }
    });
    services.collect()
}

/// Gives each Service what it shows and may keep.
fn keep<'a>(services: &mut [Service<'a>], ledger: &mut Ledger<'a>) {
    let mut claims: Vec<(IpAddr, usize)> = Vec::with_capacity(services.len());
    for (age, service) in services.iter().enumerate() {
        let kept = service
            .shown()
            .filter(|address| may_keep(service, *address, ledger));
        claims.extend(kept.map(|address| (address, age)));
    }
    claims.sort_unstable();
    claims.dedup();
    for claims in claims.chunk_by(|(a, _), (b, _)| a == b) {
        if let [(address, owner)] = claims {
            ledger.hold(*address, Group::of(&services[*owner].terms));
            services[*owner].keep(*address);
        } else {
            settle(claims, services, ledger);
        }
    }
    for service in services {
        for lost in service.part() {
            ledger.release(lost);
        }
    }
}

fn may_keep<'a>(service: &Service<'a>, address: IpAddr, ledger: &Ledger<'a>) -> bool {
    match service.role {
        Role::Served => service.request.admits(address) && ledger.leaves(address, service),
        Role::Going | Role::LeftAlone => true,
        Role::Released => false,
    }
}

/// Of those that show one address, by age, decides who keeps it: the oldest, and all that can share it with those before
/// them. Where one wants to share, the one that was changed last comes last: that change is what made them incompatible.
fn settle<'a>(claims: &[(IpAddr, usize)], services: &mut [Service<'a>], ledger: &mut Ledger<'a>) {
    let mut claims = claims.to_vec();
    let is_shared = |(_, claimant): &(IpAddr, usize)| services[*claimant].terms.key.is_some();
    if claims.iter().any(is_shared) {
        claims.sort_by_key(|(_, claimant)| changed(&services[*claimant]));
    }
    let Some(((address, first), rest)) = claims.split_first() else {
        return;
    };
    let mut group = Group::of(&services[*first].terms);
    services[*first].keep(*address);
    for (_, claimant) in rest {
        let service = &mut services[*claimant];
        if group.admits(&service.terms).is_ok() {
            group.join(&service.terms);
            service.keep(*address);
        }
    }
    ledger.hold(*address, group);
}

/// Resource versions of one kind are numbers that grow with each change; one that is no number comes last.
fn changed(service: &Service<'_>) -> u64 {
    service.facts.resource_version.parse().unwrap_or(u64::MAX)
}

/// Something that a Service lacks.
#[derive(Debug, Clone, Copy)]
enum Wish {
    OneOf(IpFamily),
    This(IpAddr),
}

fn wishes(service: &Service<'_>) -> Vec<Wish> {
    match &service.request {
        Request::Families(families) => {
            let lacking = families
                .iter()
                .filter(|family| !service.has_one_of(**family));
            lacking.map(|wanted| Wish::OneOf(*wanted)).collect()
        }
        Request::Addresses { in_order, .. } => {
            let lacking = in_order.iter().filter(|address| !service.has(**address));
            lacking.map(|wanted| Wish::This(*wanted)).collect()
        }
    }
}

/// Gives a Service what it lacks, as far as there is.
fn supply<'a>(service: &mut Service<'a>, ledger: &mut Ledger<'a>) -> Satisfaction {
    let mut satisfaction = Satisfaction::Satisfied;
    for wish in wishes(service) {
        let attempt = match wish {
            Wish::OneOf(family) => ledger.any(service, family),
            Wish::This(address) => ledger.this(service, address),
        };
        satisfaction = match (attempt, satisfaction) {
            (Attempt::Given(address), before) => {
                service.give(address);
                before
            }
            (Attempt::Waits(unmet), _) | (Attempt::Fails(unmet), Satisfaction::Waits(_)) => {
                Satisfaction::Waits(unmet)
            }
            (
                Attempt::Fails(unmet),
                Satisfaction::Satisfied | Satisfaction::Lacks(_) | Satisfaction::Unasked,
            ) => Satisfaction::Lacks(unmet),
        };
    }
    satisfaction
}
