//! The difference between what a route shall be and what it is.

use std::sync::Arc;

use ipnet::IpNet;

use crate::kernel::{Carried, Hop, Nexthop};

/// One step of the difference, to be written to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RouteOp {
    /// Fails when there is such an object.
    CreateNexthop { id: u32, nexthop: Nexthop },
    /// Changes the object, and with it all routes that lead to it.
    ReplaceNexthop { id: u32, nexthop: Nexthop },
    /// Removes the object, and with it all routes that lead to it.
    DeleteNexthop { id: u32 },
    /// Fails when there is a route with this prefix and metric, whoever's.
    Create { prefix: IpNet, target: Target },
    /// Takes the place of the route with this prefix and metric.
    Replace { prefix: IpNet, target: Target },
    /// Removes the route with this prefix and metric if it carries our protocol number.
    Delete { prefix: IpNet },
}

/// Where a route of ours shall lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Object(u32),
    Hops(Arc<[Hop]>),
}

/// What is known of a route in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Present {
    Nothing,
    Route(Carried),
    /// Ours was there, and may have been dropped without a word.
    Doubtful,
}

/// What to do about one route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Create(Carried),
    Replace(Carried),
    Delete,
}

/// What makes `present` into `wanted`; `None` when nothing has to be done.
pub(crate) fn difference(wanted: Option<Carried>, present: Present) -> Option<Change> {
    match (wanted, present) {
        (None, Present::Nothing) => None,
        (None, Present::Route(_) | Present::Doubtful) => Some(Change::Delete),
        (Some(wanted), Present::Nothing) => Some(Change::Create(wanted)),
        (Some(wanted), Present::Route(carried)) if wanted == carried => None,
        (Some(wanted), Present::Route(_) | Present::Doubtful) => Some(Change::Replace(wanted)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_wish_and_presence_has_its_change() {
        let (one, two) = (Carried::Object(1), Carried::Object(2));
        for (wanted, present, change) in [
            (None, Present::Nothing, None),
            (None, Present::Route(one), Some(Change::Delete)),
            (None, Present::Route(Carried::Strange), Some(Change::Delete)),
            (None, Present::Doubtful, Some(Change::Delete)),
            (Some(one), Present::Nothing, Some(Change::Create(one))),
            (Some(one), Present::Route(one), None),
            (Some(one), Present::Route(two), Some(Change::Replace(one))),
            (
                Some(one),
                Present::Route(Carried::Strange),
                Some(Change::Replace(one)),
            ),
            (Some(one), Present::Doubtful, Some(Change::Replace(one))),
        ] {
            assert_eq!(
                difference(wanted, present),
                change,
                "{wanted:?} {present:?}"
            );
        }
    }
}
