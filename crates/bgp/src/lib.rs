//! BGP-4 without IO: codec, session machine, RIB and export policy.
//!
//! A [`Speaker`] is one BGP instance (one local AS, one router ID). The shell around it owns sockets and
//! the clock; it tells the speaker what happened by [`Speaker::handle`], does what [`Speaker::poll_output`]
//! asks for, and calls again no later than [`Speaker::next_deadline`]. Nothing in this crate reads a clock,
//! opens a socket, logs or waits.

pub mod config;
pub mod family;
pub mod policy;
pub mod report;
pub mod rib;
pub mod session;
pub mod speaker;
pub mod wire;

pub use config::{GracefulRestart, InstanceConfig, PeerConfig, PeerName};
pub use family::{Afi, Family, Safi};
pub use session::io::{Accepted, ConnectionId, Goodbye, Input, Output};
pub use speaker::{DEFERRAL, Speaker};
