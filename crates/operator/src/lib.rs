//! The process of the cluster: makes a CiliumBGPNodeConfig of each ClusterConfig for each node it selects, gives
//! addresses of CiliumLoadBalancerIPPools to Services, and says in conditions what is wrong.
//!
//! ```text
//!        ┌──────────┐ Snapshot (watch)  ┌───────────┐ plan::{cluster, addresses} ┌────────┐ up to 32 at once
//!  API ─►│ cluster  │──────────────────►│ reconcile │─────────── Ops ───────────►│ writes │──────────────────► API
//!        │ ::follow │ Freshness (watch) │           │◄────────── Outcome ────────│        │
//!        └──────────┘───────┐           └───────────┘         (same task)        └────────┘
//!                           ▼                 ▲
//!                       ┌──────┐              │ Leadership (watch)
//!                       │ http │        ┌───────────┐
//!                       └──────┘        │   lease   │◄──► API
//!                                       └───────────┘
//! ```
//!
//! [`planner`] asks each question again only when something it depends on has changed. Four tasks on one thread.
//! [`reconcile`](mod@reconcile) is the only one that writes objects of users, and only while [`lease`] says that this
//! process leads. Nothing is written that is so already: what the watch has not confirmed yet is remembered
//! ([`writes`]), so that the plan sees the cluster as it was left, and so is what is just being given ([`promised`]).

pub mod apply;
pub mod cleanup;
pub mod config;
mod error;
pub mod http;
pub mod lease;
pub mod metrics;
pub mod pace;
pub mod planner;
pub mod promised;
pub mod reconcile;
pub mod unconfirmed;
pub mod writes;

use std::sync::Arc;

use cluster::{ConnectOptions, Interest};
use tokio::sync::watch;
use tracing::info;

pub use config::Config;
pub use error::Error;

/// Runs until `stop` is true, then finishes what is being written and gives up the lease.
///
/// # Errors
///
/// When the process cannot start: no configuration of the cluster, or an address that cannot be listened on. What
/// happens later is retried and no error.
pub async fn run(config: Config, stop: watch::Receiver<bool>) -> Result<(), Error> {
    let client = cluster::connect(&config.connect).await?;
    let metrics = Arc::new(metrics::Metrics::default());
    let following = cluster::follow(&client, &interest(&config));
    let (leadership_sender, leadership) = watch::channel(lease::Leadership::Candidate);
    let _servers = http::serve(
        &config.listen,
        following.freshness.clone(),
        leadership.clone(),
        metrics.clone(),
    )
    .await?;

    // The lease is given up only after the last write has ended.
    let (written_sender, written) = watch::channel(false);
    let elector = lease::Elector::new(&client, config.lease.clone());
    let elector = tokio::spawn(elector.run(leadership_sender, written));
    let writes = writes::Writes::new(client, config.pace, metrics.clone());
    let reconciler = reconcile::Reconciler {
        planner: planner::Planner::new(config.questions.clone(), metrics.clone()),
        writes,
        metrics,
    };
    reconciler
        .run(following.snapshot.clone(), leadership, stop)
        .await;
    written_sender.send_replace(true);
    // A panic there has been reported by its hook; there is nothing left to stop.
    let _ = elector.await;
    info!("stopped");
    Ok(())
}

fn interest(config: &Config) -> Interest {
    let planner::Questions {
        node_configs,
        addresses,
    } = &config.questions;
    let interest = match node_configs {
        Some(_) => Interest::operator(config.secrets_namespace.clone()),
        None => Interest::default(),
    };
    match addresses {
        Some(_) => interest.and_addresses(),
        None => interest,
    }
}

/// Removes what the operator made. See [`cleanup::cleanup`].
///
/// # Errors
///
/// When the API server cannot be reached, or refuses.
pub async fn clean(connect: &ConnectOptions) -> Result<usize, Error> {
    cleanup::cleanup(&cluster::connect(connect).await?).await
}
