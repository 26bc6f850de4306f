//! Puts the process together: build, run, drain.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::node_config::PeeringState;
use bgp::Goodbye;
use cluster::{ConnectOptions, Following, Interest};
use plan::Snapshot;
use plan::node::{DatapathPlan, NodePlan, RoutesPlan, Settings};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::apply::{self, Wish};
use crate::datapath::DatapathTask;
use crate::homecoming::{self, Home};
use crate::metrics::Metrics;
use crate::observe::Datapath;
use crate::reconcile::{Reconcile, Serving};
use crate::routes::{self, Demand, Ends, Imports, RoutesTask};
use crate::speaker::{Farewell, Identity, Outlet, SpeakerTask};
use crate::status::StatusTask;
use crate::{Config, Error, cleanup, http, interfaces};

/// Batches of learned routes that may wait for the kernel. More would only be memory: what does not fit stays where it is.
const LEARNED_QUEUE: usize = 4;

/// Runs the agent until SIGTERM or SIGINT, and then takes leave of its peers.
///
/// # Errors
///
/// What makes a start impossible: an unusable configuration, a taken port. After the start nothing is an error; an
/// API server that is away is waited for.
pub async fn run(config: Config) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    info!(version = env!("CARGO_PKG_VERSION"), node = %config.node, "agent starts");
    let mut agent = Agent::start(&config).await?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        error = first_panic(&mut agent.tasks) => return Err(Error::Task(error)),
    }
    agent.drain(&config).await;
    Ok(())
}

/// Waits for a task that panics. Whoever starts the agent again then does so without a word to its peers, as after a kill.
async fn first_panic(tasks: &mut JoinSet<()>) -> JoinError {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            return error;
        }
    }
    std::future::pending().await
}

/// The running tasks and the two ends needed to stop them.
struct Agent {
    client: cluster::Client,
    following: Following,
    farewell: mpsc::Sender<Farewell>,
    routes: watch::Receiver<Option<Arc<RoutesPlan>>>,
    /// Dropping it ends every task.
    tasks: JoinSet<()>,
}

/// The kinds that this agent plans from.
fn interest(config: &Config) -> Interest {
    let interest = if config.bgp {
        Interest::agent(&config.node)
    } else {
        Interest::default()
    };
    if config.datapath.is_some() {
        interest.and_load_balancer(&config.node)
    } else {
        interest
    }
}

impl Agent {
    async fn start(config: &Config) -> Result<Self, Error> {
        let health = http::bind(config.health).await?;
        let metrics_listener = match config.metrics {
            Some(address) => Some(http::bind(address).await?),
            None => None,
        };
        let options = ConnectOptions {
            kubeconfig: config.kubeconfig.clone(),
            api_server: config.api_server.clone(),
        };
        let client = cluster::connect(&options).await.map_err(Error::Cluster)?;
        let following = cluster::follow(&client, &interest(config));

        let (report_sender, reports) = watch::channel(crate::observe::Report::default());
        let (plan_sender, plans) = watch::channel(None);
        let (wish_sender, wishes) = watch::channel(None);
        let (device_sender, devices) = watch::channel(interfaces::Devices::default());
        let (routes_sender, routes_plans) = watch::channel(None);
        let (farewell, farewell_receiver) = mpsc::channel(1);
        let (datapath_sender, datapaths) = watch::channel(None);
        let mut tasks = JoinSet::new();
        let seen = balance(&mut tasks, config, datapaths);
        let (outlet, imports) = install(&mut tasks, routes_plans.clone(), devices.clone());
        let metrics = Metrics::new(reports.clone(), imports.clone(), seen.clone());
        tasks.spawn(http::serve_health(health, reports.clone(), seen.clone()));
        if let Some(listener) = metrics_listener {
            tasks.spawn(http::serve_metrics(listener, metrics.clone()));
        }
        tasks.spawn(interfaces::follow(device_sender));
        let reconcile = Reconcile {
            settings: Settings {
                node: config.node.clone(),
                router_id: config.router_id,
                without_endpoints: config.without_endpoints,
                datapath: config.datapath.as_ref().map(|it| it.settings.clone()),
            },
            snapshots: following.snapshot.clone(),
            devices,
            plans: plan_sender,
            wishes: wish_sender,
            routes: routes_sender,
            metrics,
            serving: Serving::new(seen, reports.clone(), datapath_sender),
            told: None,
        };
        tasks.spawn(reconcile.run());
        let speaker = Speaking {
            node: config.node.clone(),
            snapshots: following.snapshot.clone(),
            wishes,
            farewell: farewell_receiver,
            reports: report_sender,
            outlet,
        };
        tasks.spawn(speaker.run());
        let status = StatusTask {
            client: client.clone(),
            node: config.node.clone(),
            enabled: config.status_report,
            snapshots: following.snapshot.clone(),
            plans,
            reports,
            imports,
        };
        tasks.spawn(status.run());
        Ok(Self {
            client,
            following,
            farewell,
            routes: routes_plans,
            tasks,
        })
    }

    /// Says goodbye on all sessions, silently where a successor is expected. For it learned routes stay; where none is, they
    /// go too.
    async fn drain(mut self, config: &Config) {
        let home = config
            .daemon_set
            .as_ref()
            .map(|(namespace, daemon_set)| Home {
                namespace: namespace.clone(),
                daemon_set: daemon_set.clone(),
                node: config.node.clone(),
            });
        let snapshot = self.following.snapshot.borrow().clone();
        let goodbye = homecoming::goodbye(&self.client, home.as_ref(), snapshot.as_deref()).await;
        let (done, finished) = oneshot::channel();
        if self.farewell.send((goodbye, done)).await.is_ok() {
            // An error means that the speaker ended without a word: there is nobody left to wait for.
            drop(finished.await);
        }
        self.tasks.shutdown().await;
        match goodbye {
            Goodbye::Silent => {}
            Goodbye::Cease => {
                self.remove_routes();
                if let Some(datapath) = &config.datapath {
                    remove_balancer(&datapath.options.pin_root).await;
                }
            }
        }
    }

    fn remove_routes(&self) {
        let plan = self.routes.borrow().clone().unwrap_or_default();
        for target in plan.imports.keys() {
            match cleanup::routes(routes::identity(*target)) {
                // Without the capability none was installed.
                Ok(_) | Err(fib::Error::NotPermitted) => {}
                Err(error) => {
                    warn!(
                        error = cluster::causes(&error),
                        "learned routes cannot be removed"
                    );
                }
            }
        }
    }
}

/// The load balancer's thread ends by itself once its task has; until then its pins are locked.
async fn remove_balancer(pins: &Path) {
    const PATIENCE: Duration = Duration::from_secs(5);
    let begin = Instant::now();
    loop {
        match cleanup::balancer(pins) {
            Ok(_) => return,
            Err(lb::Error::InUse { .. }) if begin.elapsed() < PATIENCE => {
                sleep(Duration::from_millis(20)).await;
            }
            Err(error) => {
                warn!(
                    error = cluster::causes(&error),
                    "programs and maps of the load balancer cannot be removed"
                );
                return;
            }
        }
    }
}

/// Starts the task of the load balancer, where it is on. What it reports.
fn balance(
    tasks: &mut JoinSet<()>,
    config: &Config,
    plans: watch::Receiver<Option<Arc<DatapathPlan>>>,
) -> Option<watch::Receiver<Datapath>> {
    let datapath = config.datapath.as_ref()?;
    let (sender, seen) = watch::channel(Datapath::default());
    let task = DatapathTask {
        options: datapath.options.clone(),
        plans,
        seen: sender,
    };
    tasks.spawn(task.run());
    Some(seen)
}

/// Starts the task of learned routes. What the speaker needs for it, and what it reports.
fn install(
    tasks: &mut JoinSet<()>,
    plans: watch::Receiver<Option<Arc<RoutesPlan>>>,
    devices: watch::Receiver<interfaces::Devices>,
) -> (Outlet, watch::Receiver<Imports>) {
    let (demand_sender, demand) = watch::channel(Demand::default());
    let (batches, learned) = mpsc::channel(LEARNED_QUEUE);
    let (report, imports) = watch::channel(Imports::default());
    let task = RoutesTask::new(Ends {
        plans,
        devices,
        learned,
        demand: demand_sender,
        report,
    });
    tasks.spawn(task.run());
    (Outlet { demand, batches }, imports)
}

/// Carries out one plan until dropped, without Kubernetes: peers are spoken to and what is learned of them is installed as by
/// the agent.
pub async fn carry_out(plan: NodePlan) {
    let (device_sender, devices) = watch::channel(interfaces::Devices::default());
    let (_wishes, wishes) = watch::channel(Some(apply::wish(&plan)));
    let (_routes, plans) = watch::channel(Some(Arc::new(plan.routes)));
    let (_farewell, farewell) = mpsc::channel(1);
    let (reports, _nobody) = watch::channel(crate::observe::Report::default());
    let identity = Identity {
        host_name: "node".into(),
        resumed: Arc::from([]),
    };
    let speaker = SpeakerTask::new(identity, reports);
    let mut tasks = JoinSet::new();
    let (outlet, _imports) = install(&mut tasks, plans, devices);
    tasks.spawn(interfaces::follow(device_sender));
    tasks.spawn(speaker.run(wishes, farewell, outlet));
    while tasks.join_next().await.is_some() {}
}

/// The speaker's start: it waits for the first snapshot, which says whether an earlier process had sessions up.
struct Speaking {
    node: String,
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    wishes: watch::Receiver<Option<Wish>>,
    farewell: mpsc::Receiver<Farewell>,
    reports: watch::Sender<crate::observe::Report>,
    outlet: Outlet,
}

impl Speaking {
    async fn run(mut self) {
        let resumed = tokio::select! {
            first = self.snapshots.wait_for(Option::is_some) => match first {
                Ok(snapshot) => snapshot.as_deref().map(|snapshot| resumed(snapshot, &self.node)).unwrap_or_default(),
                Err(_follower_gone) => return,
            },
            order = self.farewell.recv() => {
                // Nothing was ever said to anyone.
                if let Some((_, done)) = order {
                    let _gave_up = done.send(());
                }
                return;
            }
        };
        let identity = Identity {
            host_name: self.node.as_str().into(),
            resumed: resumed.into(),
        };
        SpeakerTask::new(identity, self.reports)
            .run(self.wishes, self.farewell, self.outlet)
            .await;
    }
}

/// Instances that the status left behind shows with an established session: an earlier process of this node was
/// speaking, and its peers may still be keeping its routes.
fn resumed(snapshot: &Snapshot, node: &str) -> Vec<String> {
    let status = snapshot
        .node_configs
        .get(node)
        .and_then(|config| config.status.as_ref());
    let instances = status
        .map(|status| status.bgp_instances.as_slice())
        .unwrap_or_default();
    let was_up = |peers: &[api::node_config::PeerStatus]| {
        peers
            .iter()
            .any(|peer| peer.peering_state == Some(PeeringState::Established))
    };
    instances
        .iter()
        .filter(|instance| was_up(&instance.peers))
        .map(|instance| instance.name.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_is_passed_over_and_one_that_panics_is_not() {
        let mut tasks = JoinSet::new();
        tasks.spawn(async {});
        tasks.spawn(async { panic!("as a defect would") });
        assert!(first_panic(&mut tasks).await.is_panic());
    }
}
