//! Kernel routes: the difference between what is wished and what is there, then netlink.
//!
//! [`Fib::start`] takes care of the routes of one [`Identity`] (table, protocol number, metric): [`Command`]s in, [`Report`]s out.
//! Several identities live side by side, each with a handle of its own. [`cleanup()`] takes away what an identity left.
//!
//! ```no_run
//! # fn main() -> Result<(), fib::Error> {
//! use fib::{Command, Fib, Form, Identity, NextHop, NextHopSet};
//! use std::net::IpAddr;
//!
//! let identity = Identity { table: Identity::MAIN, protocol: 215, metric: 20 };
//! let (fib, reports) = Fib::start(identity, Form::Objects)?;
//! let gateways = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse::<IpAddr>().expect("an address"));
//! let next_hops = NextHopSet::new(gateways.map(NextHop::from)).expect("two");
//! let prefix = "198.51.100.0/24".parse().expect("a prefix");
//! fib.send(vec![Command::Set { prefix, next_hops }, Command::Complete])?;
//! while let Ok(report) = reports.recv() {
//!     if report.batches == 1 && report.is_settled() {
//!         break;
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What is promised:
//!
//! - Routes that do not carry our mark are never changed or removed, and none is put in their place: ours is withheld instead.
//! - What an earlier run left stays as it is until [`Command::Complete`]; what is wished just so is not even written.
//! - What somebody removes is put back at once, the second time after 100 ms, then at doubling intervals up to 30 s.
//! - What the kernel drops by itself when a link goes down comes back with the link.
//!
//! What it never does: decide which prefixes or how many next hops; know Kubernetes or BGP; log.
//!
//! The modules, from the middle outwards: `machine` decides over `wish`, `links`, `objects`, `inline`, `difference`, `backlog` and
//! `backoff`, without input or output; `message` and `answer` are bytes; `socket` and `thread` do.

mod answer;
mod backlog;
mod backoff;
mod cleanup;
mod difference;
mod error;
mod inline;
mod kernel;
mod links;
mod machine;
mod message;
mod objects;
mod prefix_map;
mod route;
mod socket;
mod thread;
mod wish;

pub use cleanup::{Cleaned, Marked, abandoned, cleanup, marked};
pub use error::Error;
pub use route::{
    Command, Counters, Errno, Form, Identity, NextHop, NextHopSet, Report, Withheld, WithheldGroup,
};
pub use thread::Fib;
