//! On any change: plan, then hand out. The only loop that closes the circle from observation to plan.

mod serving;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plan::node::{InstancePlan, NodePlan, Observed, RoutesPlan, Settings};
use plan::{CopyOnWrite, Snapshot};
use tokio::sync::watch;
use tokio::task::yield_now;
use tracing::{info, warn};

use crate::apply::{self, Wish};
use crate::interfaces::Devices;
use crate::metrics::Metrics;

pub(crate) use serving::{Order, Serving};

/// What the planner reads and writes.
pub(crate) struct Reconcile {
    pub(crate) settings: Settings,
    pub(crate) snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    pub(crate) devices: watch::Receiver<Devices>,
    pub(crate) plans: watch::Sender<Option<Arc<NodePlan>>>,
    pub(crate) wishes: watch::Sender<Option<Wish>>,
    pub(crate) routes: watch::Sender<Option<Arc<RoutesPlan>>>,
    pub(crate) metrics: Metrics,
    pub(crate) serving: Serving,
    /// What the speaker was last told of.
    pub(crate) told: Option<CopyOnWrite<BTreeMap<String, InstancePlan>>>,
}

/// A plan of which load balancer and speaker know.
struct Planned {
    plan: NodePlan,
    /// How long it took to make.
    elapsed: Duration,
    /// Whether the devices have been read: else learned routes would not be guarded from them.
    guarded: bool,
}

impl Reconcile {
    /// Works until the watches behind it end. Before the first complete snapshot nothing is planned: an empty plan
    /// made of ignorance would withdraw what a predecessor announced.
    pub(crate) async fn run(mut self) {
        loop {
            let snapshot = self.snapshots.borrow_and_update().clone();
            if let Some(snapshot) = snapshot {
                let planned = self.plan(&snapshot);
                // Whoever writes to wire and maps goes first: others wait for that, nobody for the rest.
                yield_now().await;
                self.publish(planned);
            }
            tokio::select! {
                changed = self.snapshots.changed() => if changed.is_err() { return },
                changed = self.devices.changed() => if changed.is_err() { return },
                alive = self.serving.changed() => if !alive { return },
            }
        }
    }

    /// Plans, and tells the load balancer and the speaker.
    fn plan(&mut self, snapshot: &Snapshot) -> Planned {
        let started = Instant::now();
        let devices = self.devices.borrow_and_update().clone();
        let mut observed = Observed {
            interfaces: devices.usable,
            interface_networks: devices.networks,
            far_ends: devices.far_ends,
            ..Observed::default()
        };
        self.serving.observe(&mut observed);
        let memory = &mut self.serving.memory;
        let plan = plan::node::replan(snapshot, &self.settings, &observed, memory);
        // Where not even loopback has an address, the devices have not been read yet, and nothing guards them.
        let guarded = !observed.interface_networks.is_empty();
        let elapsed = started.elapsed();
        self.serving.hand_out(&plan);
        if self.serving.may_speak(&observed) {
            self.speak(&plan);
        }
        Planned {
            plan,
            elapsed,
            guarded,
        }
    }

    /// Tells the others.
    fn publish(&self, planned: Planned) {
        let Planned {
            plan,
            elapsed,
            guarded,
        } = planned;
        self.routes.send_if_modified(|current| {
            let changed = guarded && current.as_deref() != Some(&plan.routes);
            if changed {
                *current = Some(Arc::new(plan.routes.clone()));
            }
            changed
        });
        let previous = self.plans.borrow().clone();
        if previous.as_deref() != Some(&plan) {
            self.tell(&plan, previous.as_deref());
            self.metrics.planned(&plan, elapsed);
            self.plans.send_replace(Some(Arc::new(plan)));
        }
    }

    /// Hands the speaker its part where that says something new.
    fn speak(&mut self, plan: &NodePlan) {
        let instances = &plan.instances;
        if self.told.as_ref().is_some_and(|told| told.is(instances)) {
            return;
        }
        self.told = Some(instances.clone());
        let mut wish = apply::wish(plan);
        let current = self.wishes.borrow().as_ref().map(|current| current.number);
        wish.number = current.unwrap_or_default();
        if self.wishes.borrow().as_ref() != Some(&wish) {
            wish.number += 1;
            self.serving.asked(wish.number, &wish.originate);
            self.wishes.send_replace(Some(wish));
        }
    }

    fn tell(&self, plan: &NodePlan, previous: Option<&NodePlan>) {
        serving::tell(plan, previous);
        let known = previous
            .map(|plan| plan.rejected.as_slice())
            .unwrap_or_default();
        for rejected in plan
            .rejected
            .iter()
            .filter(|rejected| !known.contains(rejected))
        {
            warn!(reason = %rejected, "configuration cannot be carried out");
        }
        for rejected in known
            .iter()
            .filter(|rejected| !plan.rejected.contains(rejected))
        {
            info!(reason = %rejected, "no longer in the way");
        }
        let announced = |plan: &NodePlan| {
            plan.instances
                .values()
                .map(|i| i.originate.len())
                .sum::<usize>()
        };
        if previous.map(announced) != Some(announced(plan)) {
            info!(
                prefixes = announced(plan),
                instances = plan.instances.len(),
                "planned"
            );
        }
    }
}
