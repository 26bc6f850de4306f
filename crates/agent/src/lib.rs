//! The process on each node.
//!
//! ```text
//!            watches                    plan::node (pure, synchronous)
//! API ──► [follow] ──Snapshot──► (watch) ──► [reconcile] ──► (watch) Wish ──► [speaker]  ◄─ facts (mpsc) ─ [connection ×N]
//!                                  ▲              ▲    │                         │                          [listener ×N]
//!         [interfaces] ──(watch)───┘              │    └──► (watch) NodePlan     │
//!                                                 └───────────── (watch) Report ◄┘
//!                                                                    │
//!                        API ◄── [status] ◄── NodePlan, Report ──────┤
//!                        Prometheus, kubelet ◄── [http] ◄────────────┘
//! ```
//!
//! Wishes, plans and reports travel on watch channels, where the latest wins; bytes and connections on one bounded
//! channel, so that a busy speaker slows its peers down and loses nothing. Every task has one owner and ends when
//! its handle is dropped. The API server may come and go: sessions and routes stay as the last plan wants them.

pub mod apply;
pub mod config;
mod error;
mod homecoming;
mod http;
mod interfaces;
mod metrics;
pub mod observe;
mod pace;
mod reconcile;
mod run;
mod speaker;
mod status;

pub use config::Config;
pub use error::Error;
pub use run::run;
