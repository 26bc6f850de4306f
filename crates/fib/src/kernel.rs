//! What the kernel says, and the names under which we keep it.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

/// A gateway on an interface: a next hop as the kernel needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Hop {
    pub(crate) gateway: IpAddr,
    pub(crate) interface: u32,
}

/// What a nexthop object is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Nexthop {
    Hop(Hop),
    /// Identifiers of its members in ascending order, all of the same weight.
    Group(Arc<[u32]>),
    /// Something that we never write.
    Other,
}

/// Where a route of the kernel leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// To a nexthop object.
    Object(u32),
    /// To gateways of equal weight, in ascending order.
    Hops(Arc<[Hop]>),
    /// To everybody on an interface.
    OnLink(u32),
    /// Somewhere where our routes never lead.
    Other,
}

/// A way on from here: by a gateway, or to everybody on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Exit {
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) interface: u32,
}

/// A route of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KernelRoute {
    pub(crate) table: u32,
    pub(crate) prefix: IpNet,
    /// The traffic class or source prefix narrows what it is for. Ours are for all traffic.
    pub(crate) narrowed: bool,
    pub(crate) metric: u32,
    pub(crate) protocol: u8,
    pub(crate) via: Via,
    /// The lowest of its ways on, also where none of our routes would lead like this. What has to be wrapped up for it is none.
    pub(crate) exit: Option<Exit>,
    /// The nexthop object that it leads to, whatever else is said of it.
    pub(crate) object: Option<u32>,
    /// Said of a new route: it took the place of another one.
    pub(crate) replaced: bool,
}

/// What can be done with an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// The kernel has dropped its connected routes, too.
    Down,
    /// Up, but nobody is at the other end. Connected routes stay, nexthop objects do not.
    NoCarrier,
    Usable,
}

/// One thing the kernel says, answering a question or by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// An interface is there.
    Link {
        index: u32,
        state: LinkState,
    },
    LinkGone {
        index: u32,
    },
    Nexthop {
        id: u32,
        protocol: u8,
        nexthop: Nexthop,
    },
    NexthopGone {
        id: u32,
    },
    /// An interface has lost an IPv4 address.
    AddressGone,
    Route(KernelRoute),
    RouteGone(KernelRoute),
}

/// What a route of ours is in the kernel, in eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Carried {
    /// It is not there.
    #[default]
    Nothing,
    /// It leads to the nexthop object with this identifier.
    Object(u32),
    /// It leads to the list of hops with this number, see [`crate::inline::Inlines`].
    Inline(u32),
    /// It is there and leads where we did not lead it.
    Strange,
}
