//! Router IDs: from overrides, and from the pool where there is one.
//!
//! With a pool no ID is given twice. In this order: an instance keeps the ID it has, an override gets the ID it wants if
//! nobody has it, everyone else gets the lowest free one, by node and position of the instance. IDs of nodes and
//! instances that leave are free at once.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::RouterIds;
use super::merge::{RouterIdWish, Wish};
use super::rejected::{Holder, Rejected};

/// Puts router IDs into the specs. `in_use` are those of NodeConfigs that are not ours.
pub(super) fn assign(
    wishes: &mut [Wish],
    router_ids: RouterIds,
    in_use: &BTreeMap<Ipv4Addr, Holder>,
) {
    match router_ids {
        RouterIds::OfNode => {
            for wish in wishes {
                for (instance, router_id) in
                    wish.spec.bgp_instances.iter_mut().zip(&wish.router_ids)
                {
                    instance.router_id = router_id.wanted.map(|wanted| wanted.to_string());
                }
            }
        }
        RouterIds::Pool(pool) => {
            let lowest = u64::from(u32::from(pool.network()));
            Allocation {
                pool,
                taken: in_use.clone(),
                lowest,
            }
            .run(wishes);
        }
    }
}

struct Allocation {
    pool: Ipv4Net,
    taken: BTreeMap<Ipv4Addr, Holder>,
    /// No address of the pool below this one is free.
    lowest: u64,
}

/// One instance of one node.
#[derive(Clone, Copy)]
struct Seat {
    wish: usize,
    instance: usize,
}

impl Allocation {
    fn run(mut self, wishes: &mut [Wish]) {
        let seats: Vec<Seat> = wishes
            .iter()
            .enumerate()
            .flat_map(|(wish, of)| {
                (0..of.router_ids.len()).map(move |instance| Seat { wish, instance })
            })
            .collect();
        let (overridden, others): (Vec<Seat>, Vec<Seat>) = seats
            .into_iter()
            .partition(|seat| router_id(wishes, *seat).wanted.is_some());
        let (keepers, movers): (Vec<Seat>, Vec<Seat>) = overridden.into_iter().partition(|seat| {
            let RouterIdWish { wanted, present } = router_id(wishes, *seat);
            wanted == present
        });

        for seat in keepers.iter().chain(&others) {
            self.keep(wishes, *seat);
        }
        for seat in keepers.iter().chain(&movers) {
            self.want(wishes, *seat);
        }
        for seat in keepers.iter().chain(&movers) {
            self.keep(wishes, *seat);
        }
        for seat in keepers.iter().chain(&movers).chain(&others) {
            self.lowest_free(wishes, *seat);
        }
    }

    /// What it has, if it is of the pool and nobody else's.
    fn keep(&mut self, wishes: &mut [Wish], seat: Seat) {
        if let Some(present) = router_id(wishes, seat).present
            && self.allots(present)
            && !self.taken.contains_key(&present)
        {
            self.give(wishes, seat, present);
        }
    }

    /// What the override wants, of the pool or not, if nobody else has it.
    fn want(&mut self, wishes: &mut [Wish], seat: Seat) {
        let Some(wanted) = router_id(wishes, seat)
            .wanted
            .filter(|_| !is_seated(wishes, seat))
        else {
            return;
        };
        match self.taken.get(&wanted) {
            None => self.give(wishes, seat, wanted),
            Some(holder) => {
                let Holder { node, instance } = name(wishes, seat);
                let rejected = Rejected::RouterIdTaken {
                    node,
                    instance,
                    router_id: wanted,
                    holder: holder.clone(),
                };
                wishes[seat.wish].rejected.push(rejected);
            }
        }
    }

    fn lowest_free(&mut self, wishes: &mut [Wish], seat: Seat) {
        if is_seated(wishes, seat) {
            return;
        }
        let last = u64::from(u32::from(self.pool.broadcast()));
        let mut candidates = (self.lowest..=last)
            .filter_map(|number| u32::try_from(number).ok().map(Ipv4Addr::from));
        match candidates
            .find(|candidate| self.allots(*candidate) && !self.taken.contains_key(candidate))
        {
            Some(free) => {
                self.lowest = u64::from(u32::from(free)) + 1;
                self.give(wishes, seat, free);
            }
            None => {
                self.lowest = last + 1;
                let Holder { node, instance } = name(wishes, seat);
                wishes[seat.wish]
                    .rejected
                    .push(Rejected::RouterIdsExhausted {
                        node,
                        instance,
                        pool: self.pool,
                    });
            }
        }
    }

    fn allots(&self, router_id: Ipv4Addr) -> bool {
        self.pool.contains(&router_id) && !router_id.is_unspecified()
    }

    fn give(&mut self, wishes: &mut [Wish], seat: Seat, router_id: Ipv4Addr) {
        if is_seated(wishes, seat) {
            return;
        }
        self.taken.insert(router_id, name(wishes, seat));
        wishes[seat.wish].spec.bgp_instances[seat.instance].router_id = Some(router_id.to_string());
    }
}

fn router_id(wishes: &[Wish], seat: Seat) -> RouterIdWish {
    wishes[seat.wish].router_ids[seat.instance]
}

fn is_seated(wishes: &[Wish], seat: Seat) -> bool {
    wishes[seat.wish].spec.bgp_instances[seat.instance]
        .router_id
        .is_some()
}

fn name(wishes: &[Wish], seat: Seat) -> Holder {
    let wish = &wishes[seat.wish];
    Holder {
        node: wish.node.clone(),
        instance: wish.spec.bgp_instances[seat.instance].name.clone(),
    }
}
