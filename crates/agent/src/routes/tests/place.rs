//! A node and a router in network namespaces, joined by a link; and the task with its channels in a test's hands.

use std::future::Future;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lab::namespace::Namespace;
use lab::state::StateFolder;
use plan::node::{ObservedRoutes, RoutesPlan};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::TARGET;
use crate::interfaces::Devices;
use crate::routes::{Batch, Demand, Ends, Imports, LearnedRoute, RoutesTask};

pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// ```text
///   node: a0 10.0.1.1/24, 2001:db8:1::1/64  ══  router: r0 10.0.1.2/24 … 10.0.1.4/24, 2001:db8:1::2/64
/// ```
/// Both go when this is dropped.
pub(super) struct Place {
    pub(super) node: Namespace,
    pub(super) router: Namespace,
    _state: StateFolder,
}

impl Place {
    /// `None`, with a word to the reader, where namespaces cannot be made.
    pub(super) fn make(name: &str) -> Option<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let metadata = std::fs::metadata("/proc/self").expect("/proc is mounted");
        if metadata.uid() != 0 {
            eprintln!("skipped: this needs root");
            return None;
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("agent-{name}-{}-{number}", std::process::id());
        let state = StateFolder::create(&name).expect("a folder");
        let node = Namespace::create(&state, "node").expect("a namespace");
        let router = Namespace::create(&state, "router").expect("a namespace");
        for namespace in [&node, &router] {
            namespace
                .sysctl("ipv6/conf/default/accept_dad", "0")
                .expect("a parameter");
        }
        let link = format!(
            "link set lo up\nlink add a0 type veth peer name r0 netns {}\nlink set a0 up\naddress add 10.0.1.1/24 dev a0\n\
             address add 2001:db8:1::1/64 dev a0 nodad",
            router.name()
        );
        node.ip(&link).expect("a link");
        router
            .ip("link set lo up\nlink set r0 up\naddress add 10.0.1.2/24 dev r0\naddress add 10.0.1.3/24 dev r0\n\
                 address add 10.0.1.4/24 dev r0\naddress add 2001:db8:1::2/64 dev r0 nodad")
            .expect("addresses");
        Some(Self {
            node,
            router,
            _state: state,
        })
    }

    /// Runs to its end what a test does on the node.
    pub(super) fn on_node<F: Future<Output = ()>>(&self, test: impl FnOnce() -> F + Send) {
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(test());
        };
        self.node.run(run).expect("the namespace is entered");
    }

    /// The node's routes with a protocol number, without the numbers of nexthop objects.
    pub(super) fn routes(&self, protocol: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for family in ["-4", "-6"] {
            let output = self
                .node
                .exec(
                    "ip",
                    [family, "route", "show", "table", "all", "proto", protocol],
                )
                .expect("ip runs");
            lines.extend(output.stdout.lines().map(|line| {
                let mut words: Vec<&str> = line.split_whitespace().collect();
                if let Some(position) = words.iter().position(|word| *word == "nhid") {
                    words.drain(position..position + 2);
                }
                words.retain(|word| !matches!(*word, "pref" | "medium"));
                words.join(" ")
            }));
        }
        lines
    }

    /// Waits until the kernel has exactly these prefixes of our protocol number, by the first words of their lines.
    pub(super) async fn has(&self, prefixes: &[&str]) {
        let begin = Instant::now();
        loop {
            let routes = self.routes("186");
            let mut found: Vec<&str> = routes
                .iter()
                .filter(|line| !line.starts_with("nexthop"))
                .filter_map(|line| line.split(' ').next())
                .collect();
            found.sort_unstable();
            if found == prefixes {
                return;
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "not in time: {prefixes:?}; there is {routes:#?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A namespace that stays behind after a failed test shows what was there.
        if !std::thread::panicking() {
            for namespace in [&self.node, &self.router] {
                namespace.delete().expect("it goes");
            }
        }
    }
}

/// The task, and the ends of its channels that others have otherwise.
pub(super) struct Running {
    pub(super) plans: watch::Sender<Option<Arc<RoutesPlan>>>,
    pub(super) devices: watch::Sender<Devices>,
    pub(super) demand: watch::Receiver<Demand>,
    pub(super) batches: mpsc::Sender<Batch>,
    pub(super) imports: watch::Receiver<Imports>,
    pub(super) task: JoinHandle<()>,
}

impl Running {
    pub(super) fn start(plan: RoutesPlan) -> Self {
        let (plans, plans_receiver) = watch::channel(Some(Arc::new(plan)));
        let (devices, devices_receiver) = watch::channel(Devices::default());
        let (batches, learned) = mpsc::channel(4);
        let (demand_sender, demand) = watch::channel(Demand::default());
        let (report, imports) = watch::channel(Imports::default());
        let task = RoutesTask::new(Ends {
            plans: plans_receiver,
            devices: devices_receiver,
            learned,
            demand: demand_sender,
            report,
        });
        Self {
            plans,
            devices,
            demand,
            batches,
            imports,
            task: tokio::spawn(task.run()),
        }
    }

    pub(super) fn plan(&self, plan: RoutesPlan) {
        self.plans.send_replace(Some(Arc::new(plan)));
    }

    /// Waits for the next demand.
    pub(super) async fn demanded(&mut self) -> Option<u64> {
        timeout(PATIENCE, self.demand.changed())
            .await
            .expect("asked in time")
            .expect("the task runs");
        self.demand.borrow_and_update().replay
    }

    /// Says something as the speaker would.
    pub(super) async fn learn(&self, routes: &[LearnedRoute], complete: bool) {
        let batch = Batch {
            replay: self.demand.borrow().replay.unwrap_or_default(),
            routes: routes.to_vec(),
            complete,
        };
        self.batches.send(batch).await.expect("the task runs");
    }

    /// Waits until a report of the target satisfies a condition.
    pub(super) async fn sees(
        &mut self,
        awaited: &str,
        condition: impl Fn(&ObservedRoutes) -> bool,
    ) -> ObservedRoutes {
        let seen = self
            .imports
            .wait_for(|imports| imports.get(&TARGET).is_some_and(&condition));
        if let Ok(imports) = timeout(PATIENCE, seen).await {
            return imports.expect("the task runs")[&TARGET].clone();
        }
        panic!("not seen in time: {awaited}: {:#?}", self.imports.borrow())
    }
}
