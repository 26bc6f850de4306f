//! Pure planning: what Kubernetes says and what was observed, to what must be true.
//!
//! Three questions, each one function: [`cluster::plan`] and [`addresses::plan`] for the operator, [`node::plan`] for
//! the agent of one node. A plan cannot fail: an object that is wrong becomes a reason ([`rejected`]) that costs that object
//! only. Nothing here reads a clock, logs, waits or draws random numbers; equal inputs give equal plans.

pub mod addresses;
pub mod cluster;
mod copy_on_write;
mod in_order;
pub mod node;
pub mod rejected;
pub mod snapshot;
mod verdict;
pub mod withheld;

pub use copy_on_write::CopyOnWrite;
pub use in_order::next_named;
pub use snapshot::{
    Endpoint, EndpointSliceFacts, NamespacedName, NodeFacts, ServiceCidrFacts, ServiceFacts,
    Snapshot,
};
