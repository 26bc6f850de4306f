//! Puts the process together: build, run, drain.

use std::sync::Arc;

use api::node_config::PeeringState;
use bgp::Goodbye;
use cluster::{ConnectOptions, Following, Interest};
use plan::Snapshot;
use plan::node::{NodePlan, RoutesPlan, Settings};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tracing::info;

use crate::apply::{self, Wish};
use crate::datapath::DatapathTask;
use crate::homecoming::{self, Home};
use crate::metrics::Metrics;
use crate::observe::Datapath;
use crate::reconcile::{Order, Reconcile, Serving};
use crate::routes::{Demand, Ends, Imports, RoutesTask};
use crate::speaker::{Farewell, Identity, Outlet, SpeakerTask};
use crate::status::StatusTask;
use crate::{Config, Error, http, interfaces, remains};

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
        error = agent.parts.first_end() => return Err(error),
    }
    agent.drain(&config).await;
    Ok(())
}

/// The tasks of the agent, none of which ends before the agent does. Dropping it ends them all.
#[derive(Default)]
struct Parts(JoinSet<&'static str>);

impl Parts {
    fn start(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(async move {
            task.await;
            name
        });
    }

    /// Waits until one ends, by a panic or because another has left it nothing to do. Whoever starts the agent again then does so without
    /// a word to its peers, as after a kill.
    async fn first_end(&mut self) -> Error {
        match self.0.join_next().await {
            Some(Ok(part)) => Error::Ended { part },
            Some(Err(panic)) => Error::Task(panic),
            None => std::future::pending().await,
        }
    }
}

/// The running tasks and the two ends needed to stop them.
struct Agent {
    client: cluster::Client,
    following: Following,
    farewell: mpsc::Sender<Farewell>,
    routes: watch::Receiver<Option<Arc<RoutesPlan>>>,
    parts: Parts,
}

async fn connect(config: &Config) -> Result<cluster::Client, Error> {
    let options = ConnectOptions {
        kubeconfig: config.kubeconfig.clone(),
        api_server: config.api_server.clone(),
    };
    cluster::connect(&options).await.map_err(Error::Cluster)
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
        let client = connect(config).await?;
        let following = cluster::follow(&client, &interest(config));
        if config.datapath.is_none() {
            remains::balancer(&config.pins).await;
        }

        let (report_sender, reports) = watch::channel(crate::observe::Report::default());
        let (plan_sender, plans) = watch::channel(None);
        let (wish_sender, wishes) = watch::channel(None);
        let (device_sender, devices) = watch::channel(interfaces::Devices::default());
        let (routes_sender, routes_plans) = watch::channel(None);
        let (farewell, farewell_receiver) = mpsc::channel(1);
        let (order_sender, orders) = watch::channel(None);
        let mut parts = Parts::default();
        let seen = balance(&mut parts, config, orders);
        let (outlet, imports) = install(&mut parts, routes_plans.clone(), devices.clone());
        let metrics = Metrics::new(reports.clone(), imports.clone(), seen.clone());
        parts.start(
            "health endpoint",
            http::serve_health(health, reports.clone(), seen.clone()),
        );
        if let Some(listener) = metrics_listener {
            parts.start(
                "metrics endpoint",
                http::serve_metrics(listener, metrics.clone()),
            );
        }
        parts.start("interfaces", interfaces::follow(device_sender));
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
            serving: Serving::new(seen, reports.clone(), order_sender),
            told: None,
        };
        parts.start("planner", reconcile.run());
        let speaker = Speaking {
            node: config.node.clone(),
            snapshots: following.snapshot.clone(),
            wishes,
            farewell: farewell_receiver,
            reports: report_sender,
            outlet,
        };
        parts.start("speaker", speaker.run());
        let status = StatusTask {
            client: client.clone(),
            node: config.node.clone(),
            enabled: config.status_report,
            snapshots: following.snapshot.clone(),
            plans,
            reports,
            imports,
        };
        parts.start("status", status.run());
        Ok(Self {
            client,
            following,
            farewell,
            routes: routes_plans,
            parts,
        })
    }

    /// Says goodbye on all sessions, silently where a successor is expected, for which learned routes and the load balancer
    /// stay as they are. What no successor takes over goes.
    async fn drain(mut self, config: &Config) {
        let home = config
            .daemon_set
            .as_ref()
            .map(|(namespace, daemon_set)| Home {
                namespace: namespace.clone(),
                daemon_set: daemon_set.clone(),
                node: config.node.clone(),
                pins: config.pins.clone(),
            });
        let snapshot = self.following.snapshot.borrow().clone();
        let left = homecoming::leave(&self.client, home.as_ref(), snapshot.as_deref()).await;
        let goodbye = if left.sessions {
            Goodbye::Silent
        } else {
            Goodbye::Cease
        };
        let (done, finished) = oneshot::channel();
        if self.farewell.send((goodbye, done)).await.is_ok() {
            // An error means that the speaker ended without a word: there is nobody left to wait for.
            drop(finished.await);
        }
        self.parts.0.shutdown().await;
        if !left.routes {
            remains::learned(&self.routes.borrow().clone().unwrap_or_default());
        }
        if !left.balancer && config.datapath.is_some() {
            remains::balancer(&config.pins).await;
        }
    }
}

/// Starts the task of the load balancer, where it is on. What it reports.
fn balance(
    parts: &mut Parts,
    config: &Config,
    orders: watch::Receiver<Option<Order>>,
) -> Option<watch::Receiver<Datapath>> {
    let datapath = config.datapath.as_ref()?;
    let (sender, seen) = watch::channel(Datapath::default());
    let task = DatapathTask {
        options: datapath.options.clone(),
        orders,
        seen: sender,
    };
    parts.start("load balancer", task.run());
    Some(seen)
}

/// Starts the task of learned routes. What the speaker needs for it, and what it reports.
fn install(
    parts: &mut Parts,
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
    parts.start("learned routes", task.run());
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
    let mut parts = Parts::default();
    let (outlet, _imports) = install(&mut parts, plans, devices);
    parts.start("interfaces", interfaces::follow(device_sender));
    parts.start("speaker", speaker.run(wishes, farewell, outlet));
    drop(parts.first_end().await);
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
    async fn a_part_that_ends_is_named_and_one_that_panics_shows_why() {
        let mut parts = Parts::default();
        parts.start("idle", std::future::pending());
        parts.start("planner", async {});
        let ended = parts.first_end().await;
        assert_eq!(ended.to_string(), "the agent's part \"planner\" ended");
        parts.start("speaker", async { panic!("as a defect would") });
        let Error::Task(panic) = parts.first_end().await else {
            panic!("a panic");
        };
        assert!(panic.is_panic());
    }
}
