//! The task that owns the BGP speakers: wishes in, bytes in and out, reports out.
//!
//! It moves bytes and time and decides nothing: what is sent, when, and why is the machine's business.

mod instance;
mod kept;
mod learned;
mod listen;
mod tcp;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bgp::Goodbye;
use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep_until, timeout};
use tracing::info;

use crate::apply::Wish;
use crate::observe::{Epoch, Report};
use instance::Instance;
use learned::Handover;
pub(crate) use learned::Outlet;
use tcp::Fact;

/// Facts waiting for the speaker. Each holds one read at most, so this bounds the memory of a peer that sends
/// faster than we digest; smaller would stall readers between two turns of the loop.
const FACT_QUEUE: usize = 64;
/// Facts digested before outputs are looked at again, so that a flood of input does not starve the sending side.
const FACTS_PER_TURN: usize = 32;
/// Reports are made at this grain: readers want the latest, not each one.
const REPORT_GRAIN: Duration = Duration::from_millis(20);
/// How long leaving may take: enough for a NOTIFICATION to reach a peer that reads.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a speaker needs to know of the process it is in.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// Host name announced by the FQDN capability.
    pub(crate) host_name: Arc<str>,
    /// Instances an earlier process of this node had up, read from the status it left (RFC 4724's R bit).
    pub(crate) resumed: Arc<[String]>,
}

/// Order to leave, answered when all is said.
pub(crate) type Farewell = (Goodbye, oneshot::Sender<()>);

/// The speaker's task.
pub(crate) struct SpeakerTask {
    identity: Identity,
    instances: BTreeMap<String, Instance>,
    /// Instances that are saying goodbye.
    leaving: Vec<Instance>,
    facts: mpsc::Receiver<Fact>,
    reporter: mpsc::Sender<Fact>,
    report: watch::Sender<Report>,
    epoch: Epoch,
    configured: bool,
    /// The wish in hand, what it originates, and what peers may have: see [`Report::announced`].
    wish: u64,
    originate: Arc<BTreeSet<IpNet>>,
    announced: Arc<BTreeSet<IpNet>>,
    /// Peers may have what an earlier process announced.
    inherits: bool,
    report_due: Option<Instant>,
    handover: Handover,
}

impl SpeakerTask {
    /// A task that has no instance yet.
    pub(crate) fn new(identity: Identity, report: watch::Sender<Report>) -> Self {
        let (reporter, facts) = mpsc::channel(FACT_QUEUE);
        Self {
            inherits: !identity.resumed.is_empty(),
            identity,
            instances: BTreeMap::new(),
            leaving: Vec::new(),
            facts,
            reporter,
            report,
            epoch: Epoch::now(),
            configured: false,
            wish: 0,
            originate: Arc::default(),
            announced: Arc::default(),
            report_due: None,
            handover: Handover::default(),
        }
    }

    /// Works until told to leave, then leaves.
    pub(crate) async fn run(
        mut self,
        mut wishes: watch::Receiver<Option<Wish>>,
        mut farewell: mpsc::Receiver<Farewell>,
        outlet: Outlet,
    ) {
        let Outlet {
            mut demand,
            batches,
        } = outlet;
        // What was planned before this task began counts as news.
        wishes.mark_changed();
        demand.mark_changed();
        loop {
            let deadline = self.next_deadline();
            tokio::select! {
                changed = wishes.changed() => match changed {
                    Ok(()) => {
                        let wish = wishes.borrow_and_update();
                        wish.iter().for_each(|wish| self.apply(wish));
                    }
                    Err(_planner_gone) => return,
                },
                Some(fact) = self.facts.recv() => self.digest(fact),
                // An error means that the routes' task is gone: nobody wants anything.
                Ok(()) = demand.changed() => {
                    let wanted = *demand.borrow_and_update();
                    self.meet(wanted, Instant::now());
                }
                // There is room for as long as the kernel keeps up; else what has changed waits where it is.
                Ok(room) = batches.reserve(), if self.has_batch() => room.send(self.batch()),
                () = sleep_until(deadline.into()) => {}
                order = farewell.recv() => {
                    let Some((goodbye, done)) = order else { return };
                    self.leave(goodbye).await;
                    // The one who asked may have given up waiting.
                    let _gave_up = done.send(());
                    return;
                }
            }
            self.turn(Instant::now());
        }
    }

    fn next_deadline(&self) -> Instant {
        // An idle speaker still looks up now and then; nothing depends on it.
        const IDLE: Duration = Duration::from_secs(60);
        let machines = self.everyone().filter_map(Instance::next_deadline);
        machines
            .chain(self.report_due)
            .min()
            .unwrap_or_else(|| Instant::now() + IDLE)
    }

    fn everyone(&self) -> impl Iterator<Item = &Instance> {
        self.instances.values().chain(&self.leaving)
    }

    fn apply(&mut self, wish: &Wish) {
        let now = Instant::now();
        let gone: Vec<_> = self
            .instances
            .iter()
            .filter(|(name, instance)| {
                !wish
                    .instances
                    .get(*name)
                    .is_some_and(|wish| instance.is(wish))
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            if let Some(mut instance) = self.instances.remove(&name) {
                info!(instance = %name, "BGP instance removed");
                instance.withdraw(now);
                self.leaving.push(instance);
            }
        }
        for (name, wish) in &wish.instances {
            let instance = self.instances.entry(name.clone()).or_insert_with(|| {
                info!(instance = %name, asn = wish.local_asn, router_id = %wish.router_id, "BGP instance added");
                Instance::new(name, wish, &self.identity, self.reporter.clone(), now)
            });
            instance.apply(wish, now);
            if self.handover.is_on() {
                instance.feed_once(now);
            }
        }
        self.configured = true;
        self.wish = wish.number;
        self.originate = Arc::clone(&wish.originate);
        if !self.originate.is_subset(&self.announced) {
            let mut announced = BTreeSet::clone(&self.announced);
            announced.extend(self.originate.iter());
            self.announced = Arc::new(announced);
        }
        self.report_due = Some(now);
    }

    fn digest(&mut self, first: Fact) {
        self.route(first);
        for _ in 1..FACTS_PER_TURN {
            let Ok(fact) = self.facts.try_recv() else {
                return;
            };
            self.route(fact);
        }
    }

    /// Gives a fact to the instance that owns its connection. Facts about a connection that has been given up
    /// meanwhile have no owner; an accepted stream among them closes.
    fn route(&mut self, Fact { instance, kind }: Fact) {
        let named = self.instances.get_mut(&*instance);
        let owner = named
            .into_iter()
            .chain(&mut self.leaving)
            .find(|owner| owner.owns(&instance, &kind));
        if let Some(owner) = owner {
            owner.handle(kind, Instant::now());
        }
    }

    /// Runs timers, performs outputs, reports.
    fn turn(&mut self, now: Instant) {
        let mut told = false;
        for instance in self.instances.values_mut().chain(&mut self.leaving) {
            told |= instance.turn(now);
        }
        self.leaving
            .retain(|instance| !instance.is_silent() || instance.has_learned_news());
        let is_told = |instance: &Instance| instance.is_delivered() && !instance.is_kept();
        if (self.announced != self.originate || self.inherits)
            && self.configured
            && self.everyone().all(is_told)
        {
            self.announced = Arc::clone(&self.originate);
            self.inherits = false;
            told = true;
        }
        if told || self.report_due.is_some_and(|due| due <= now) {
            self.publish();
            self.report_due = None;
        } else if self.report_due.is_none() && self.instances.values().any(Instance::has_news) {
            self.report_due = Some(now + REPORT_GRAIN);
        }
    }

    fn publish(&mut self) {
        let mut report = Report {
            configured: self.configured,
            wish: self.wish,
            announced: Arc::clone(&self.announced),
            inherits: self.inherits,
            ..Report::default()
        };
        for (name, instance) in &mut self.instances {
            instance.report(name, &self.epoch, &mut report);
        }
        self.report.send_if_modified(|current| {
            let changed = *current != report;
            *current = report;
            changed
        });
    }

    /// Says goodbye on every session and waits until the last words are written, for [`FAREWELL`] at most.
    async fn leave(mut self, goodbye: Goodbye) {
        let now = Instant::now();
        for instance in self.instances.values_mut() {
            instance.goodbye(goodbye, now);
        }
        let farewell = async {
            loop {
                self.turn(Instant::now());
                if self.everyone().all(Instance::is_silent) {
                    break;
                }
                let Some(fact) = self.facts.recv().await else {
                    break;
                };
                self.digest(fact);
            }
            // Connections hold the other ends of the channel: it closes when the last has delivered its queue.
            let Self {
                mut facts,
                instances,
                leaving,
                reporter,
                ..
            } = self;
            drop((instances, leaving, reporter));
            while facts.recv().await.is_some() {}
        };
        if timeout(FAREWELL, farewell).await.is_err() {
            info!("left without waiting for peers that do not read");
        }
    }
}
