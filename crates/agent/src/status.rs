//! Writes this node's CiliumBGPNodeConfig status: the only file of the agent that writes to the API server.

use std::sync::Arc;
use std::time::Instant;

use api::node_config::{CiliumBGPNodeConfig, NodeConfigStatus};
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use plan::Snapshot;
use plan::node::{NodePlan, Observed, status};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::sleep_until;
use tracing::{debug, warn};

use crate::observe::Report;
use crate::pace::Pace;
use crate::routes::Imports;

const FIELD_MANAGER: &str = "tombolo-agent";

/// The status writer.
pub(crate) struct StatusTask {
    pub(crate) client: Client,
    pub(crate) node: String,
    pub(crate) enabled: bool,
    pub(crate) snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    pub(crate) plans: watch::Receiver<Option<Arc<NodePlan>>>,
    pub(crate) reports: watch::Receiver<Report>,
    pub(crate) imports: watch::Receiver<Imports>,
}

impl StatusTask {
    /// Keeps the status true, within the limits of [`Pace`]. With reporting switched off, an old status is removed
    /// once and none is written.
    pub(crate) async fn run(mut self) {
        let mut pace = Pace::default();
        let mut failing = false;
        loop {
            let now = Instant::now();
            if self.plans.has_changed().unwrap_or(false) {
                pace.planned(now);
            }
            let wanted = self.wanted();
            match pace.due(wanted.is_some(), now) {
                Some(due) if due <= now => {
                    if let Some(status) = wanted {
                        self.write(&status, &mut failing).await;
                    }
                    pace.wrote(Instant::now());
                }
                Some(due) => tokio::select! {
                    () = sleep_until(due.into()) => {}
                    alive = self.changed() => if !alive { return },
                },
                None => {
                    if !self.changed().await {
                        return;
                    }
                }
            }
        }
    }

    async fn changed(&mut self) -> bool {
        tokio::select! {
            changed = self.snapshots.changed() => changed.is_ok(),
            changed = self.plans.changed() => changed.is_ok(),
            changed = self.reports.changed() => changed.is_ok(),
            changed = self.imports.changed() => changed.is_ok(),
        }
    }

    /// The status to write, where it differs from the one that is there; the empty one takes an old status away.
    fn wanted(&mut self) -> Option<NodeConfigStatus> {
        let snapshot = self.snapshots.borrow_and_update().clone()?;
        let config = snapshot.node_configs.get(&self.node)?;
        let present = config.status.clone().unwrap_or_default();
        let wanted = if self.enabled {
            self.current(config, &present)?
        } else {
            NodeConfigStatus::default()
        };
        (present != wanted).then_some(wanted)
    }

    /// What is true now, unless plan or report have yet to catch up with the object.
    fn current(
        &mut self,
        config: &CiliumBGPNodeConfig,
        present: &NodeConfigStatus,
    ) -> Option<NodeConfigStatus> {
        let plan = self.plans.borrow_and_update().clone()?;
        let report = self.reports.borrow_and_update().clone();
        if !report.configured || plan.generation != config.metadata.generation {
            return None;
        }
        let observed = Observed {
            peers: report.peers,
            listen_failures: report.listen_failures,
            imports: self.imports.borrow_and_update().clone(),
            ..Observed::default()
        };
        Some(status::status(
            &plan,
            &observed,
            &present.conditions,
            Timestamp::now(),
        ))
    }

    /// Replaces the whole status: parts that are no longer true go with it.
    async fn write(&self, status: &NodeConfigStatus, failing: &mut bool) {
        let configs: Api<CiliumBGPNodeConfig> = Api::all(self.client.clone());
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        // Both keys are always there: a merge patch replaces lists as a whole, and null takes an empty one away.
        let NodeConfigStatus {
            bgp_instances,
            conditions,
        } = status;
        let instances = (!bgp_instances.is_empty()).then_some(bgp_instances);
        let conditions = (!conditions.is_empty()).then_some(conditions);
        let patch = Patch::Merge(
            json!({ "status": { "bgpInstances": instances, "conditions": conditions } }),
        );
        let written = configs.patch_status(&self.node, &parameters, &patch).await;
        match written {
            Ok(_) => {
                debug!("status written");
                *failing = false;
            }
            // The object went away between plan and write: the next snapshot says so.
            Err(kube::Error::Api(refusal)) if refusal.code == 404 => {}
            Err(error) if !*failing => {
                warn!(%error, "status cannot be written; trying on");
                *failing = true;
            }
            Err(_still_failing) => {}
        }
    }
}
