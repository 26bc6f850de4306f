//! The only loop: on any change the plans, and their writes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use plan::Snapshot;
use plan::addresses::Figures;
use plan::cluster::rejected::Rejected;
use tokio::sync::watch;
use tokio::time::sleep_until;
use tracing::{info, warn};

use crate::apply::ops;
use crate::lease::Leadership;
use crate::metrics::Metrics;
use crate::planner::Planner;
use crate::writes::Writes;

/// Least time between two plans while writes of the one before still wait for their turn. Without it, the thousand
/// changes that a thousand writes cause would be planned over and over instead of written.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// How long writes may take to end when the process is told to.
const DRAIN: Duration = Duration::from_secs(3);

/// Plans and writes.
pub struct Reconciler {
    /// What is planned.
    pub planner: Planner,
    /// The writes.
    pub writes: Writes,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl Reconciler {
    /// Runs until `stop` is true; returns when the last write has ended.
    pub async fn run(
        mut self,
        mut snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
        mut leadership: watch::Receiver<Leadership>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut told = BTreeSet::new();
        let mut planned: Option<Instant> = None;
        let mut stale = true;
        let mut followed = true;
        loop {
            let busy_until = planned
                .map(|at| at + BUSY_PAUSE)
                .filter(|_| stale && !self.writes.is_started());
            // What is stale already need not become so again.
            let plan_at = if stale {
                busy_until
            } else {
                self.writes.deadline()
            };
            let deadline = [plan_at, self.writes.paced_until()]
                .into_iter()
                .flatten()
                .min();
            tokio::select! {
                // An error means that nobody is left who could tell us to go on.
                _ = stop.wait_for(|stop| *stop) => break,
                changed = snapshots.changed(), if followed => match changed {
                    Ok(()) => stale = true,
                    Err(_) => followed = false,
                },
                changed = leadership.changed() => match changed {
                    Ok(()) => stale = true,
                    Err(_) => break,
                },
                outcome = self.writes.next() => stale |= self.writes.finish(outcome, Instant::now()),
                () = until(deadline) => {
                    let now = Instant::now();
                    stale |= self.writes.deadline().is_some_and(|at| at <= now);
                }
            }
            if *leadership.borrow_and_update() == Leadership::Candidate {
                self.writes.abandon();
                self.metrics.show_addresses(&Figures::default());
                told.clear();
                continue;
            }
            let now = Instant::now();
            let rested =
                self.writes.is_started() || planned.is_none_or(|at| at + BUSY_PAUSE <= now);
            let snapshot = snapshots.borrow_and_update().clone();
            if let Some(snapshot) = snapshot.filter(|_| stale && rested) {
                stale = false;
                self.plan(&snapshot, &mut told, now);
                planned = Some(Instant::now());
            }
            self.writes.start(now);
        }
        self.writes.drain(DRAIN).await;
    }

    fn plan(
        &mut self,
        snapshot: &Arc<Snapshot>,
        told: &mut BTreeSet<(String, Rejected)>,
        now: Instant,
    ) {
        let snapshot = self.writes.correct(snapshot, now);
        let time = Timestamp::now();
        let observed = self.writes.observed();
        let cluster = self.planner.node_configs(&snapshot, observed, time);
        let addresses = self.planner.addresses(&snapshot, time);
        tell(&cluster.rejected, told);
        self.metrics.show_addresses(&addresses.figures);
        self.writes.replace(ops(cluster, addresses), now);
    }
}

/// Logs each rejection when it comes and when it goes.
fn tell(rejected: &BTreeMap<String, Vec<Rejected>>, told: &mut BTreeSet<(String, Rejected)>) {
    let all = rejected.iter().flat_map(|(config, reasons)| {
        reasons
            .iter()
            .map(|reason| (config.clone(), reason.clone()))
    });
    let present: BTreeSet<(String, Rejected)> = all.collect();
    for (cluster_config, reason) in present.difference(told) {
        warn!(cluster_config, "{reason}");
    }
    for (cluster_config, reason) in told.difference(&present) {
        info!(cluster_config, "no longer: {reason}");
    }
    *told = present;
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
