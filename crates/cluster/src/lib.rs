//! A live copy of the Kubernetes objects a program reads.
//!
//! ```text
//!  API ──► [watch: one task per kind] ──Told (mpsc)──► [owner of the Snapshot] ──► (watch) Option<Arc<Snapshot>>
//!                                                                 └──────────────► (watch) Freshness
//! ```
//!
//! What is promised:
//!
//! * No [`Snapshot`](plan::Snapshot) is published before every followed kind has been listed once; from then on there
//!   always is one, also while the API server is away.
//! * The first [`AT_ONCE`] changes after a quiet time are published at once, each by itself; a burst at most every [`PACE`].
//!   A new Service that has yet to be given its address begins a burst for all but those who give it.
//! * A kind is replaced as a whole after a new list: there is no moment at which half of it is missing.
//! * A kind whose CRD does not exist is empty (CiliumNodes: `None`) and is looked for again. Services are empty as well
//!   while the kind of the pools, followed beside them, does not exist.
//! * An object that cannot be decoded costs that object only: it is left out, and a log line names it.
//! * Following never ends by itself; it ends when [`Following`] is dropped.
//!
//! This crate decides nothing and writes nothing.

mod burst;
pub mod config_dir;
mod connect;
mod error;
pub mod follow;
mod interest;
mod watch;
mod wire;

pub use burst::{AT_ONCE, PACE};
pub use connect::{ConnectOptions, connect};
pub use error::{Error, causes};
pub use follow::{Following, Freshness, follow};
pub use interest::{Interest, Kind, NodeConfigInterest, NodeInterest, ServiceInterest};
pub use kube::Client;
pub use wire::service;
