//! Load balancer control: rings, map image, difference, and the programs in the kernel.
//!
//! [`LoadBalancer::start`] takes care of the programs and maps of this network namespace: a [`Wish`] in, [`Report`]s out. [`cleanup()`] takes
//! away what it left.
//!
//! ```no_run
//! # fn main() -> Result<(), lb::Error> {
//! use lb::{LoadBalancer, Options, Wish};
//!
//! let (sender, reports) = std::sync::mpsc::channel();
//! let balancer = LoadBalancer::start(Options::default(), move |report| {
//!     // Nobody may be listening any more.
//!     let _ = sender.send(report);
//! })?;
//! balancer.wish(Wish::default());
//! while let Ok(report) = reports.recv() {
//!     if report.ready {
//!         break;
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What is promised:
//!
//! - Programs and maps outlive the process, and the next one takes them over without a packet lost: programs are replaced in place, and
//!   nothing is pruned before the first wish.
//! - Programs of others at the same interfaces and control groups keep running: ours come first on ingress, last on egress, and pass on what
//!   they do not know.
//! - Interfaces may appear, vanish and change their names at any time.
//!
//! What it never does: decide which services there are; know Kubernetes or BGP; log.
//!
//! The modules, from the middle outwards: `machine` decides over `ring` and `capacity`, `interfaces` which interface gets which programs,
//! without input or output; `object`, `maps`, `pins`, `attach` and `stopgap` are what is in the kernel, by way of `bpf`; `netlink` says what changes;
//! `kernel` joins them and `thread` does.

mod attach;
mod bpf;
mod capabilities;
mod capacity;
mod cgroup;
mod cleanup;
mod configuration;
mod error;
mod heap;
mod interfaces;
mod kernel;
mod machine;
mod maps;
mod netlink;
mod object;
mod op;
mod options;
mod pins;
mod report;
mod reporter;
mod ring;
mod settings;
mod stopgap;
mod thread;
mod unwritten;
mod wish;

pub use capabilities::{Capability, Lacking};
pub use capacity::capacity;
pub use cgroup::Unfit;
pub use cleanup::{Cleaned, cleanup};
pub use error::{Errno, Error};
pub use lb_abi::SCHEMA;
pub use machine::Machine;
pub use maps::{Failure, Maps};
pub use object::Object;
pub use op::{Capacity, Contents, FrontendKey, MapOp};
pub use options::{Options, Uplinks};
pub use pins::Adoption;
pub use report::{Attachment, Report, Sockets, Table, Withheld, WithheldReason};
pub use ring::{RingRecipe, ring, ring_class};
pub use settings::Settings;
pub use thread::LoadBalancer;
pub use wish::{
    Algorithm, Backend, BackendState, Family, Frontend, FrontendAddress, Protocol, Service, Wish,
};
