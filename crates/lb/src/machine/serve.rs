//! One service: which of its rows it gets, which group stands behind each, and what is written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lb_abi::Frontend;

use super::claims::{Claim, Claims};
use super::list::List;
use super::place::Place;
use super::rows::{Row, scoped};
use super::steps::Steps;
use super::waiting::Shortage;
use super::{Held, Machine, Origin, Served};
use crate::report::{Table, WithheldReason};
use crate::wish::Wish;

/// What rows of the service make of a group that they name now.
#[derive(Debug, Default)]
struct Use {
    /// Rows that this service writes or gives up.
    rows: u32,
    /// Lists those rows shall have.
    lists: BTreeSet<usize>,
}

/// The group behind each list of a service, or why there is none, or not such as it should be.
type Placed = Vec<(Option<u32>, Option<Shortage>)>;

impl Machine {
    /// Makes of a service what the wish says of it, if anything. Services that may have a row now, or lose one, or wait for one that
    /// another has got now, are added to the work. A row comes to be once, and is then only taken over by lesser names: the work ends.
    pub(super) fn serve(
        &mut self,
        name: &Arc<str>,
        wish: &Wish,
        work: &mut BTreeSet<Arc<str>>,
        steps: &mut Steps,
    ) {
        let old = self.services.remove(name);
        let service = wish.services.get(name);
        let claims = service.map_or_else(Claims::default, |service| {
            Claims::new(service, &self.node_addresses)
        });
        self.forget(name, old.as_ref());
        let given_up = self.give_up(name, old.as_ref(), &claims, work);
        let won = self.contend(name, &claims, work);
        let needed = self.needed_lists(&claims, &won);
        let uses = self.uses(name, &claims, &won, &given_up, wish);
        let placed = self.place_lists(&claims, &needed, &uses, steps);
        let served = self.write_rows(name, &claims, &won, &placed, work, steps);
        self.waiting.set(name, served.needs);
        if let Some(service) = service {
            let reasons = served.reasons.keys().copied().collect();
            for (reason, count) in served.reasons {
                let short = self.withheld.entry(reason).or_default();
                short.services.insert(Arc::clone(name), count.max(1));
                short.count += count.max(1);
            }
            for held in served.places.iter().filter(|held| held.is_named) {
                self.rows.claim(held.place.address, held.is_missing);
            }
            self.services.insert(
                Arc::clone(name),
                Served {
                    service: Arc::clone(service),
                    places: served.places,
                    reasons,
                },
            );
        }
    }

    /// Takes back what was counted for the service.
    fn forget(&mut self, name: &Arc<str>, old: Option<&Served>) {
        let Some(old) = old else {
            return;
        };
        for held in old.places.iter().filter(|held| held.is_named) {
            self.rows.unclaim(held.place.address, held.is_missing);
        }
        for reason in &old.reasons {
            if let Some(short) = self.withheld.get_mut(reason) {
                short.count -= short.services.remove(name).unwrap_or_default();
                if short.services.is_empty() {
                    self.withheld.remove(reason);
                }
            }
        }
    }

    /// Rows that the service had and does not ask for any more.
    fn give_up(
        &mut self,
        name: &Arc<str>,
        old: Option<&Served>,
        claims: &Claims,
        work: &mut BTreeSet<Arc<str>>,
    ) -> Vec<Place> {
        let mut given_up = Vec::new();
        for held in old.map_or(&[][..], |old| &old.places) {
            let place = held.place;
            if claims.at(&place).is_some() {
                continue;
            }
            self.lost_no_more(name, &place);
            if self.rows.owner(&place) != Some(name) {
                continue;
            }
            self.rows.disown(&place);
            let keeps_address = !held.is_named || claims.has(place.address);
            self.loose.insert(
                place,
                if keeps_address {
                    Origin::LeftPort
                } else {
                    Origin::LeftAddress
                },
            );
            work.extend(self.losers.get(&place).into_iter().flatten().cloned());
            given_up.push(place);
        }
        given_up
    }

    fn lost_no_more(&mut self, name: &Arc<str>, place: &Place) {
        if let Some(names) = self.losers.get_mut(place) {
            names.remove(name);
            if names.is_empty() {
                self.losers.remove(place);
            }
        }
    }

    /// Which of its claims the service wins: the least name does.
    fn contend(
        &mut self,
        name: &Arc<str>,
        claims: &Claims,
        work: &mut BTreeSet<Arc<str>>,
    ) -> Vec<bool> {
        let mut won = Vec::with_capacity(claims.claims.len());
        for claim in &claims.claims {
            let owner = self.rows.owner(&claim.place);
            if owner.is_some_and(|owner| owner < name) {
                let names = self.losers.entry(claim.place).or_default();
                names.insert(Arc::clone(name));
                won.push(false);
                continue;
            }
            work.extend(owner.filter(|owner| *owner != name).cloned());
            self.lost_no_more(name, &claim.place);
            won.push(true);
        }
        won
    }

    /// Finds or makes the group of each list that a row needs: one that has the list already, one whose rows all shall have it, or
    /// a new one.
    fn place_lists(
        &mut self,
        claims: &Claims,
        needed: &BTreeSet<usize>,
        uses: &BTreeMap<u32, Use>,
        steps: &mut Steps,
    ) -> Placed {
        let mut voters: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        for (group, r#use) in uses {
            for list in &r#use.lists {
                voters.entry(*list).or_default().push(*group);
            }
        }
        let voters = |index: &usize| voters.get(index).map_or(&[][..], Vec::as_slice);
        // A group has one service: none is taken that rows of another name, be the lists ever so equal.
        let own: BTreeSet<u32> = uses
            .iter()
            .filter(|(group, r#use)| r#use.rows == self.groups.rows(**group))
            .map(|(group, _)| *group)
            .collect();
        let mut placed: Placed = vec![(None, None); claims.lists.len()];
        let mut taken: BTreeSet<u32> = BTreeSet::new();
        for &index in needed {
            let same = voters(&index).iter().copied().find(|group| {
                own.contains(group)
                    && !taken.contains(group)
                    && self.groups.is(*group, &claims.lists[index])
            });
            taken.extend(same);
            placed[index].0 = same;
        }
        for &index in needed {
            let list = &claims.lists[index];
            let free = voters(&index).iter().copied().find(|group| {
                own.contains(group)
                    && !taken.contains(group)
                    && uses[group].lists.len() == 1
                    && self.groups.may_become(*group, list)
            });
            let group = placed[index].0.or(free);
            taken.extend(group);
            placed[index] = self.place_list(group, list, steps);
        }
        placed
    }

    fn place_list(
        &mut self,
        group: Option<u32>,
        list: &List,
        steps: &mut Steps,
    ) -> (Option<u32>, Option<Shortage>) {
        match group {
            None => match self.groups.create(list, steps) {
                Ok((group, shortage)) => (Some(group), shortage),
                Err(shortage) => (None, Some(shortage)),
            },
            Some(group) => match self.groups.rewrite(group, list, steps) {
                Ok(shortage) => (Some(group), shortage),
                Err(shortage) => {
                    self.groups.mend(group, list, steps);
                    (Some(group), Some(shortage))
                }
            },
        }
    }

    /// Lists of rows that the service gets.
    fn needed_lists(&self, claims: &Claims, won: &[bool]) -> BTreeSet<usize> {
        won_claims(claims, won)
            .filter(|claim| {
                self.rows
                    .has_room(&claim.place, claim.kind, claim.internal.is_some())
            })
            .flat_map(|claim| [Some(claim.external), claim.internal])
            .flatten()
            .collect()
    }

    /// Groups that rows of the service name now. Rows that stay because their address is held are not counted: they keep what they
    /// have.
    fn uses(
        &self,
        name: &Arc<str>,
        claims: &Claims,
        won: &[bool],
        given_up: &[Place],
        wish: &Wish,
    ) -> BTreeMap<u32, Use> {
        let mut uses: BTreeMap<u32, Use> = BTreeMap::new();
        for claim in won_claims(claims, won) {
            let row = self.rows.get(&claim.place);
            let Some(row) = row.filter(|row| row.is_open_to(name)) else {
                continue;
            };
            if let Some(frontend) = row.external {
                let r#use = uses.entry(frontend.group).or_default();
                r#use.rows += 1;
                r#use.lists.insert(claim.external);
                if row.internal.is_none() {
                    r#use.lists.extend(claim.internal);
                }
            }
            if let Some(frontend) = row.internal {
                let r#use = uses.entry(frontend.group).or_default();
                r#use.rows += 1;
                r#use.lists.extend(claim.internal);
            }
        }
        for place in given_up
            .iter()
            .filter(|place| !wish.hold.contains(&place.address))
        {
            let row = self.rows.get(place);
            let named = row.map_or([None, None], |row| [row.external, row.internal]);
            for frontend in named.into_iter().flatten() {
                uses.entry(frontend.group).or_default().rows += 1;
            }
        }
        uses
    }

    /// Writes the rows that the service gets, and says which it does not get.
    fn write_rows(
        &mut self,
        name: &Arc<str>,
        claims: &Claims,
        won: &[bool],
        placed: &Placed,
        work: &mut BTreeSet<Arc<str>>,
        steps: &mut Steps,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        for (claim, won) in claims.claims.iter().zip(won) {
            let place = claim.place;
            let was_missing = self.is_missing(&place);
            let refusal = if *won {
                let shortage = self.write_row(name, claim, placed, steps);
                shortage.map(|shortage| {
                    outcome.wants(shortage);
                    WithheldReason::Full(shortage.table)
                })
            } else {
                Some(WithheldReason::FrontendTaken)
            };
            let is_named = claim.kind.is_named();
            if let Some(reason) = refusal {
                let counts = is_named || place.address.is_unspecified();
                *outcome.reasons.entry(reason).or_default() += usize::from(counts);
            }
            let is_missing = self.is_missing(&place);
            if is_missing {
                let names = self.losers.entry(place).or_default();
                names.insert(Arc::clone(name));
            } else if was_missing {
                work.extend(self.losers.get(&place).into_iter().flatten().cloned());
            }
            outcome.places.push(Held {
                place,
                is_named,
                is_missing,
            });
        }
        outcome
    }

    fn is_missing(&self, place: &Place) -> bool {
        let row = self.rows.get(place);
        row.is_none_or(|row| row.external.is_none())
    }

    /// Writes a row. Says which table is full, if one is.
    fn write_row(
        &mut self,
        name: &Arc<str>,
        claim: &Claim,
        placed: &Placed,
        steps: &mut Steps,
    ) -> Option<Shortage> {
        let place = claim.place;
        let (external, mut full) = placed[claim.external];
        let internal = claim.internal.map(|list| placed[list]);
        full = full.or(internal.and_then(|(_, full)| full));
        let has_room = self
            .rows
            .has_room(&place, claim.kind, claim.internal.is_some());
        let frontends = match (external, internal) {
            (Some(group), None) if has_room => Some((group, None)),
            (Some(group), Some((Some(internal), _))) if has_room => Some((group, Some(internal))),
            (Some(_) | None, None | Some(_)) => None,
        };
        let Some((external, internal)) = frontends else {
            let is_own = self.rows.owner(&place) == Some(name);
            let is_found = matches!(self.loose.get(&place), Some(Origin::Found));
            if is_own || is_found && !self.is_missing(&place) {
                self.rows.keep(&place, name, claim.kind);
                self.loose.remove(&place);
            }
            return Some(
                full.unwrap_or(Shortage {
                    table: Table::Frontends(place.family()),
                    need: self
                        .rows
                        .needed(&place, claim.kind, claim.internal.is_some()),
                }),
            );
        };
        let frontend = |group, flags| Frontend { group, flags };
        let row = Row {
            owner: Some(Arc::clone(name)),
            kind: claim.kind,
            external: Some(frontend(external, scoped(claim.flags, internal.is_some()))),
            internal: internal.map(|group| frontend(group, claim.flags)),
        };
        self.rows.set(place, row, &mut self.groups, steps);
        self.loose.remove(&place);
        full
    }
}

/// What came of a service.
#[derive(Debug, Default)]
struct Outcome {
    places: Vec<Held>,
    /// Frontends that are withheld.
    reasons: BTreeMap<WithheldReason, usize>,
    /// The least of each table that would bring the service further.
    needs: BTreeMap<Table, u32>,
}

impl Outcome {
    fn wants(&mut self, shortage: Shortage) {
        let need = self.needs.entry(shortage.table).or_insert(shortage.need);
        *need = shortage.need.min(*need);
    }
}

fn won_claims<'a>(claims: &'a Claims, won: &'a [bool]) -> impl Iterator<Item = &'a Claim> {
    claims
        .claims
        .iter()
        .zip(won)
        .filter(|(_, won)| **won)
        .map(|(claim, _)| claim)
}
