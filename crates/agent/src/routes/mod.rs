//! The task that puts learned routes into the kernel, as far as the plan wants them there.
//!
//! ```text
//!              Demand (watch)                                     Vec<Command> (8)
//!   [speaker] ◄────────────── ┌────────────┐ ─► Installer ×target ───────────────► [fib thread]
//!             ──────────────► │  [routes]  │                                            │
//!               Batch (4)     └────────────┘ ◄──────────────── News (8) ◄── [fib reports thread]
//!                              ▲         │
//!       RoutesPlan (watch) ────┘         └──► ObservedRoutes by target (watch) ──► [status], metrics
//! ```
//!
//! It keeps no table of what was learned: with another plan it asks the speaker for everything once more. While the kernel
//! is busy nothing is taken from the speaker, which then keeps only which prefixes have changed. Where the plan imports
//! nothing, the speaker is asked for nothing, and no thread runs.
//!
//! When the task ends, routes stay as they are: a successor adopts them. They go with the last import of their target, also where
//! that went before the successor came, and by `tombolo-agent cleanup`.

mod installer;
mod refused;
mod retiring;
mod verdict;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bgp::rib::LearnedPath;
use fib::Command;
use ipnet::IpNet;
use plan::node::{ObservedRoutes, RoutesPlan, Target};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;

use crate::interfaces::Devices;
pub(crate) use installer::identity;
use installer::{Installer, News};
use retiring::Retiring;
use verdict::{Verdict, verdict};

/// Reports are made at this grain: readers want the latest, not each one.
const REPORT_GRAIN: Duration = Duration::from_millis(20);
/// Reports of kernel threads that may wait; each thread merges what it cannot deliver.
const NEWS_QUEUE: usize = 8;

/// What this task wants of the speaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Demand {
    /// Everything learned, anew whenever the number changes; `None` wants nothing.
    pub(crate) replay: Option<u64>,
}

/// Some of what the speaker learned.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The demand it answers.
    pub(crate) replay: u64,
    /// Prefixes whose paths have changed.
    pub(crate) routes: Vec<LearnedRoute>,
    /// With this batch everything that is known has been told, and every peer has had its say.
    pub(crate) complete: bool,
}

/// A prefix and who has paths to it.
#[derive(Debug, Clone)]
pub(crate) struct LearnedRoute {
    pub(crate) prefix: IpNet,
    /// By instance, in order of their names, which decides between instances; none has lost its last path.
    pub(crate) offers: Vec<Offer>,
}

/// What one instance has.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    pub(crate) instance: Arc<str>,
    pub(crate) paths: Vec<LearnedPath>,
}

/// Learned routes by target, as they are.
pub(crate) type Imports = BTreeMap<Target, ObservedRoutes>;

/// The task.
pub(crate) struct RoutesTask {
    plans: watch::Receiver<Option<Arc<RoutesPlan>>>,
    devices: watch::Receiver<Devices>,
    learned: mpsc::Receiver<Batch>,
    demand: watch::Sender<Demand>,
    report: watch::Sender<Imports>,
    plan: Arc<RoutesPlan>,
    /// Before the first plan nobody knows what is wanted.
    has_plan: bool,
    installers: BTreeMap<Target, Installer>,
    /// Where installers' threads report, and the end that hears them.
    reporter: mpsc::Sender<News>,
    news: mpsc::Receiver<News>,
    replays: u64,
    retiring: Retiring,
    /// Some route leads over a link that was found by our address on it.
    links_matter: bool,
    report_due: Option<Instant>,
}

/// The other ends of the task's channels.
pub(crate) struct Ends {
    pub(crate) plans: watch::Receiver<Option<Arc<RoutesPlan>>>,
    pub(crate) devices: watch::Receiver<Devices>,
    pub(crate) learned: mpsc::Receiver<Batch>,
    pub(crate) demand: watch::Sender<Demand>,
    pub(crate) report: watch::Sender<Imports>,
}

impl RoutesTask {
    /// A task without a plan.
    pub(crate) fn new(ends: Ends) -> Self {
        let Ends {
            plans,
            devices,
            learned,
            demand,
            report,
        } = ends;
        let (reporter, news) = mpsc::channel(NEWS_QUEUE);
        Self {
            plans,
            devices,
            learned,
            demand,
            report,
            plan: Arc::default(),
            has_plan: false,
            installers: BTreeMap::new(),
            reporter,
            news,
            replays: 0,
            retiring: Retiring::default(),
            links_matter: false,
            report_due: None,
        }
    }

    /// Works until the speaker or the planner is gone.
    pub(crate) async fn run(mut self) {
        self.plans.mark_changed();
        loop {
            let deadline = self.next_deadline();
            tokio::select! {
                changed = self.plans.changed() => {
                    if changed.is_err() { return }
                    let plan = self.plans.borrow_and_update().clone();
                    if let Some(plan) = plan { self.adopt(plan).await; }
                }
                batch = self.learned.recv() => match batch {
                    Some(batch) => self.take(batch).await,
                    None => return,
                },
                Some(news) = self.news.recv() => self.hear(news),
                changed = self.devices.changed() => {
                    if changed.is_err() { return }
                    if self.links_matter { self.ask_anew(); }
                }
                () = sleep_until(deadline.into()) => self.retry(),
            }
            self.publish(Instant::now());
            self.retire(Instant::now()).await;
        }
    }

    fn next_deadline(&self) -> Instant {
        // An idle task still looks up now and then; nothing depends on it.
        const IDLE: Duration = Duration::from_secs(3600);
        let retries = self.installers.values().filter_map(Installer::retry_at);
        let due = retries
            .chain(self.report_due)
            .chain(self.retiring.due())
            .min();
        due.unwrap_or_else(|| Instant::now() + IDLE)
    }

    /// Another plan: targets that nobody wants any more retire, new ones begin, and everything is judged anew.
    async fn adopt(&mut self, plan: Arc<RoutesPlan>) {
        self.has_plan = true;
        let now = Instant::now();
        let wanted = plan.imports.keys().copied();
        self.retiring.search(wanted, now).await;
        if *plan == *self.plan {
            return;
        }
        let gone = self
            .installers
            .keys()
            .filter(|target| !plan.imports.contains_key(target));
        for target in gone.copied().collect::<Vec<_>>() {
            if let Some(installer) = self.installers.remove(&target) {
                self.retiring.add(target, installer);
            }
        }
        // In the kernel, routes that differ in their protocol number alone stand in each other's place.
        let is_in_place = |old: Target| {
            let mut targets = plan.imports.keys();
            targets.any(|new| (new.table, new.metric) == (old.table, old.metric))
        };
        let wanted = plan.imports.keys();
        let revived = wanted.filter_map(|target| Some((*target, self.retiring.revive(*target)?)));
        let revived: BTreeMap<Target, u64> = revived.collect();
        self.retiring.empty(is_in_place, now).await;
        for target in plan.imports.keys() {
            let reporter = &self.reporter;
            let starts = revived.get(target).copied().unwrap_or_default();
            self.installers
                .entry(*target)
                .or_insert_with(|| Installer::start(*target, starts, reporter));
        }
        self.plan = plan;
        self.report_due = Some(Instant::now());
        if self.installers.values().all(Installer::is_hopeless) {
            self.demand.send_replace(Demand::default());
        } else {
            self.ask_anew();
        }
    }

    fn ask_anew(&mut self) {
        self.replays += 1;
        self.links_matter = false;
        let replay = Some(self.replays);
        self.demand.send_replace(Demand { replay });
    }

    /// Judges a batch for every target and hands on what follows. Waits while the kernel is behind.
    async fn take(&mut self, batch: Batch) {
        let Batch {
            replay,
            routes,
            complete,
        } = batch;
        let links = Arc::clone(&self.devices.borrow().links);
        for (target, installer) in &mut self.installers {
            let imports = self.plan.imports.get(target).map(Vec::as_slice);
            let mut commands = Vec::with_capacity(routes.len());
            for route in &routes {
                let verdict = verdict(&self.plan, imports.unwrap_or_default(), route, &links);
                let prefix = route.prefix;
                installer.refuse(prefix, verdict.refusal());
                commands.push(match verdict {
                    Verdict::Install { next_hops, on_link } => {
                        self.links_matter |= on_link;
                        let next_hops = installer.shared(next_hops);
                        Command::Set { prefix, next_hops }
                    }
                    Verdict::Refused(_) | Verdict::Nothing => Command::Remove { prefix },
                });
            }
            if complete && replay == self.replays && !installer.is_complete() {
                commands.push(Command::Complete);
            }
            installer.send(commands).await;
        }
        self.report_due
            .get_or_insert_with(|| Instant::now() + REPORT_GRAIN);
    }

    fn hear(&mut self, news: News) {
        if let Some(installer) = self.installers.get_mut(&news.target) {
            installer.hear(news);
            self.report_due
                .get_or_insert_with(|| Instant::now() + REPORT_GRAIN);
        }
    }

    /// Removes routes that nobody wants, once those that are wanted are there.
    async fn retire(&mut self, now: Instant) {
        if !self.has_plan {
            return;
        }
        let wanted = self.plan.imports.keys().copied();
        self.retiring.search(wanted, now).await;
        let is_at_rest = self.installers.values().all(Installer::is_at_rest);
        self.retiring.empty(|_| is_at_rest, now).await;
    }

    /// Starts again what could not be started, and has everything told to it.
    fn retry(&mut self) {
        let now = Instant::now();
        let reporter = &self.reporter;
        let mut started = false;
        for installer in self.installers.values_mut() {
            if installer.retry_at().is_some_and(|at| at <= now) {
                started |= installer.restart(reporter);
            }
        }
        if started {
            self.ask_anew();
        }
    }

    fn publish(&mut self, now: Instant) {
        if self.report_due.is_none_or(|due| due > now) {
            return;
        }
        self.report_due = None;
        let installers = self.installers.iter_mut();
        let imports: Imports = installers
            .map(|(target, installer)| (*target, installer.observed()))
            .collect();
        self.report.send_if_modified(|current| {
            let changed = *current != imports;
            *current = imports;
            changed
        });
    }
}

#[cfg(test)]
mod tests;
