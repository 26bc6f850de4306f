//! What scenarios are written with: a lab on which Tombolo is installed as on any cluster, probes, peers that
//! misbehave, and the harness that runs scenarios in order; and the stage of tests that need a control plane only.
//!
//! Everything here looks at the product from outside: what `helm`, `kubectl`, the routers and the packets say.

pub mod api_server;
pub mod connections;
pub mod crowd;
pub mod failure;
pub mod foreign;
pub mod harness;
pub mod http;
pub mod lab;
pub mod manifests;
pub mod peering;
pub mod probe;
pub mod raw_speaker;
pub mod route_monitor;
pub mod stage;
pub mod topologies;

pub use failure::{Failure, claim, eventually, tell};
pub use lab::Lab;
