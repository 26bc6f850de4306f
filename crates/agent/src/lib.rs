//! The process on each node.
//!
//! ```text
//!            watches                    plan::node (pure, synchronous)
//! API ──► [follow] ──Snapshot──► (watch) ──► [reconcile] ──► (watch) Wish ──► [speaker]  ◄─ facts (mpsc) ─ [connection ×N]
//!                                              ▲   │   │                       ▲     │ │                    [listener ×N]
//!         [interfaces] ──(watch) Devices ──────┤   │   └─► (watch) NodePlan    │     │ └──► (watch) Report
//!                                              │   └─────► (watch) RoutesPlan  │     │
//!                                              │                   │   (watch) Demand│(mpsc) Batch
//!                                              │                   ▼           │     ▼
//!                                              └───────────────► [routes] ─────┘     ·      ──► fib threads ×target
//!                                                                   └──► (watch) Imports
//!                   [reconcile] ──► (watch) DatapathPlan ──► [datapath] ◄──► lb thread
//!                        ▲                                       │
//!                        └─────── (watch) Report, Datapath ◄─────┘
//!
//!                        API ◄── [status] ◄──── NodePlan, Report, Imports, Datapath
//!                        Prometheus, kubelet ◄── [http] ◄── Report, Imports, Datapath
//! ```
//!
//! Wishes, plans and reports travel on watch channels, where the latest wins; bytes, connections and learned routes on
//! bounded ones, so that a busy speaker slows its peers down and loses nothing, and a busy kernel makes changed routes wait
//! in the speaker's table. Every task has one owner and ends when its handle is dropped. The API server may come and go:
//! sessions and routes stay as the last plan wants them.
//!
//! Where the agent balances Services, its first word to peers waits for the load balancer (`plan::node::opening`).

pub mod apply;
pub mod cleanup;
pub mod config;
mod datapath;
mod error;
mod homecoming;
mod http;
mod interfaces;
mod metrics;
pub mod observe;
mod pace;
mod reconcile;
mod remains;
mod routes;
mod run;
mod speaker;
mod status;

pub use config::Config;
pub use error::Error;
pub use run::{carry_out, run};
