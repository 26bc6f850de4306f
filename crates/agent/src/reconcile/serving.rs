//! The load balancer's part in the loop: what of it is observed, and when the speaker may speak.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::IpNet;
use plan::node::opening::{Opening, opening};
use plan::node::{
    Announced, DatapathPlan, Memory, NodePlan, Observed, ObservedDatapath, Programmed,
};
use plan::withheld::{Reason, Withheld};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::observe::{Datapath, Report};

/// What the loop knows of load balancer and speaker. Where the agent has no load balancer none of it plays a part.
pub(crate) struct Serving {
    seen: Option<watch::Receiver<Datapath>>,
    reports: watch::Receiver<Report>,
    orders: watch::Sender<Option<Order>>,
    pub(super) memory: Memory,
    /// What the last plan was made of, and what it awaits.
    observed: Option<ObservedDatapath>,
    awaited: BTreeSet<IpNet>,
    announced: Announced,
    /// Routers may have what an earlier process announced; the speaker has not said otherwise.
    inherits: bool,
    programmed: Programmed,
    speech: Speech,
}

/// What the load balancer is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// Higher than that of the order before.
    pub(crate) number: u64,
    pub(crate) plan: Arc<DatapathPlan>,
}

/// Whether the speaker has been told anything.
#[derive(Debug, Clone, Copy)]
enum Speech {
    /// Nothing is planned yet.
    Silent,
    /// The first plan waits for the load balancer.
    Waiting { since: Instant, until: Instant },
    /// It is told everything.
    Open,
}

impl Serving {
    pub(crate) fn new(
        seen: Option<watch::Receiver<Datapath>>,
        reports: watch::Receiver<Report>,
        orders: watch::Sender<Option<Order>>,
    ) -> Self {
        Self {
            seen,
            reports,
            orders,
            memory: Memory::default(),
            observed: None,
            awaited: BTreeSet::new(),
            announced: Announced::default(),
            inherits: true,
            programmed: Programmed::default(),
            speech: Speech::Silent,
        }
    }

    /// Adds what is known now.
    pub(super) fn observe(&mut self, observed: &mut Observed) {
        let programmed = &mut self.programmed;
        let seen = self.seen.as_mut();
        self.observed = seen.map(|seen| seen.borrow_and_update().observed(programmed));
        observed.datapath.clone_from(&self.observed);
        observed.announced = Arc::clone(self.announced.all());
        observed.inherits = self.inherits;
    }

    /// Waits until a new plan would be made of something new, or a wish may be sent that could not be before. False when
    /// nobody is left to observe.
    pub(super) async fn changed(&mut self) -> bool {
        let Some(seen) = &mut self.seen else {
            return std::future::pending().await;
        };
        let until = match self.speech {
            Speech::Waiting { until, .. } => Some(until),
            Speech::Silent | Speech::Open => None,
        };
        loop {
            tokio::select! {
                changed = seen.changed() => {
                    if changed.is_err() {
                        return false;
                    }
                    let now = seen.borrow_and_update().observed(&mut self.programmed);
                    let is_news = |before| now.is_news(before, &self.awaited);
                    if self.observed.as_ref().is_none_or(is_news) {
                        return true;
                    }
                }
                changed = self.reports.changed() => {
                    if changed.is_err() {
                        return false;
                    }
                    let report = self.reports.borrow_and_update();
                    let inherits = self.inherits && (report.inherits || !report.configured);
                    let was_inheriting = std::mem::replace(&mut self.inherits, inherits);
                    let is_news = self.announced.report(report.wish, &report.announced);
                    if is_news || was_inheriting != inherits {
                        return true;
                    }
                }
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => return true,
            }
        }
    }

    /// Hands the load balancer its part.
    pub(super) fn hand_out(&mut self, plan: &NodePlan) {
        self.awaited.clone_from(&plan.awaited);
        let Some(plan) = &plan.datapath else {
            return;
        };
        let programmed = &mut self.programmed;
        self.orders.send_if_modified(|current| {
            let known = current.as_ref();
            let changed = known.is_none_or(|current| current.plan != *plan);
            if changed {
                let number = known.map_or(1, |current| current.number + 1);
                programmed.ask(number, plan);
                let plan = Arc::clone(plan);
                *current = Some(Order { number, plan });
            }
            changed
        });
    }

    /// Whether the speaker may be told what is planned. Once it was, it always is.
    pub(super) fn may_speak(&mut self, observed: &Observed) -> bool {
        let now = Instant::now();
        let since = match self.speech {
            Speech::Open => return true,
            Speech::Silent => now,
            Speech::Waiting { since, .. } => since,
        };
        match opening(observed, now.duration_since(since)) {
            Opening::Speak => self.speech = Speech::Open,
            Opening::SpeakWithoutServices => {
                warn!(
                    "the load balancer is slow; peers are told of everything but addresses of Services"
                );
                self.speech = Speech::Open;
            }
            Opening::Wait(left) => {
                if let Speech::Silent = self.speech {
                    info!("peers are told when the load balancer is ready");
                }
                let until = now + left;
                self.speech = Speech::Waiting { since, until };
            }
        }
        matches!(self.speech, Speech::Open)
    }

    /// The speaker is told to originate these.
    pub(super) fn asked(&mut self, number: u64, originate: &Arc<BTreeSet<IpNet>>) {
        if self.seen.is_some() {
            self.announced.ask(number, Arc::clone(originate));
        }
    }
}

/// Says what has to wait for longer than a moment, once. What the load balancer itself lacks is told where it starts.
pub(super) fn tell(plan: &NodePlan, previous: Option<&NodePlan>) {
    let known = previous.map_or(&[][..], |plan| &plan.withheld);
    let is_new = |withheld: &&Withheld| {
        let mut known = known.iter();
        !known.any(|known| (known.subject, &known.reason) == (withheld.subject, &withheld.reason))
    };
    for withheld in plan.withheld.iter().filter(is_new) {
        match withheld.reason {
            Reason::DatapathUnavailable(_) | Reason::DatapathStarting | Reason::NotProgrammed => {}
            Reason::SourceRanges
            | Reason::FrontendTaken
            | Reason::TableFull(_)
            | Reason::Refused(_) => warn!("{withheld}"),
        }
    }
}
