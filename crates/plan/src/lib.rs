//! Pure planning: what Kubernetes says and what was observed, to what must be true.
//!
//! Two questions, each one function: [`cluster::plan`] for the operator, [`node::plan`] for the agent of one
//! node. A plan cannot fail: an object that is wrong becomes a reason ([`rejected`]) that costs that object
//! only. Nothing here reads a clock, logs, waits or draws random numbers; equal inputs give equal plans.

pub mod cluster;
pub mod node;
pub mod rejected;
pub mod snapshot;

pub use snapshot::{NodeFacts, Snapshot};
