//! The writes of a plan: many at once, each object by itself, failed ones again later.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use plan::Snapshot;
use plan::cluster::Observed;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::apply::{Applied, Failure, FailureSort, Key, Op, apply};
use crate::metrics::{self, Metrics};
use crate::pace::{Pace, Rate, Spacing, Turn};
use crate::promised::Promised;
use crate::unconfirmed::Unconfirmed;

/// Writes under way at once, each on a connection of its own. An API server answers one in some 5 ms, so 32 keep it
/// busy; more only cost memory on both sides.
const AT_ONCE: usize = 32;
/// Pause before the second attempt; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How many names a log line spells out.
const NAMES: usize = 5;

/// The writes of the newest plan.
pub struct Writes {
    client: kube::Client,
    metrics: Arc<Metrics>,
    pace: Pace,
    /// When the pace lets the next write start.
    paced_until: Option<Instant>,
    /// Of summaries.
    spacing: Spacing<Key>,
    queue: VecDeque<Op>,
    running: FuturesUnordered<BoxFuture<'static, Outcome>>,
    under_way: BTreeSet<Key>,
    failed: BTreeMap<Key, Attempts>,
    promised: Promised,
    unconfirmed: Unconfirmed,
    /// When the newest plan was taken.
    replaced_at: Option<Instant>,
    tally: Tally,
}

/// How a write ended.
#[derive(Debug)]
pub struct Outcome {
    op: Op,
    result: Result<Applied, Failure>,
}

/// A write that has failed.
#[derive(Debug)]
struct Attempts {
    op: Op,
    failure: Failure,
    count: u32,
    again_at: Instant,
}

/// What has been written since the last log line.
#[derive(Debug, Default)]
struct Tally {
    verbs: BTreeMap<&'static str, usize>,
    names: BTreeSet<String>,
    since: Option<Instant>,
}

impl Writes {
    /// None yet.
    #[must_use]
    pub fn new(client: kube::Client, rate: Option<Rate>, metrics: Arc<Metrics>) -> Self {
        Self {
            client,
            metrics,
            pace: Pace::new(rate),
            paced_until: None,
            spacing: Spacing::default(),
            queue: VecDeque::new(),
            running: FuturesUnordered::new(),
            under_way: BTreeSet::new(),
            failed: BTreeMap::new(),
            promised: Promised::default(),
            unconfirmed: Unconfirmed::default(),
            replaced_at: None,
            tally: Tally::default(),
        }
    }

    /// The snapshot as it is with what we wrote, and with the addresses that we are just giving.
    pub fn correct(&mut self, snapshot: &Arc<Snapshot>, now: Instant) -> Arc<Snapshot> {
        let written = self.unconfirmed.correct(snapshot, now);
        self.promised.correct(written)
    }

    /// What the plan must know of earlier writes.
    #[must_use]
    pub fn observed(&self) -> Observed {
        let refused =
            self.failed
                .iter()
                .filter_map(|(key, attempts)| match (key, attempts.failure.sort) {
                    (Key::NodeConfig(name), FailureSort::Refused) => {
                        Some((name.clone(), attempts.failure.reason.clone()))
                    }
                    (Key::NodeConfig(_), FailureSort::Stale | FailureSort::Passing)
                    | (Key::Conditions(..) | Key::Service(_) | Key::Pool(_), _) => None,
                });
        Observed {
            refused: refused.collect(),
        }
    }

    /// Takes the writes of a new plan in place of those before. What is under way stays so, and what has failed waits on,
    /// unless the plan now wants something else of that object. A summary waits for its turn.
    pub fn replace(&mut self, ops: Vec<Op>, now: Instant) {
        let mut wanted = BTreeSet::new();
        let mut summaries = Vec::new();
        self.queue.clear();
        self.replaced_at = Some(now);
        for op in ops {
            let key = op.key();
            let waits = self
                .failed
                .get(&key)
                .is_some_and(|failed| now < failed.again_at && op.repeats(&failed.op));
            if !waits && !self.under_way.contains(&key) {
                if op.is_summary() {
                    summaries.push(op);
                } else {
                    self.queue.push_back(op);
                }
            }
            wanted.insert(key);
        }
        self.queue_summaries(summaries, now);
        self.failed.retain(|key, _| wanted.contains(key));
        self.count_pending();
    }

    fn queue_summaries(&mut self, summaries: Vec<Op>, now: Instant) {
        let keys: Vec<_> = summaries.iter().map(Op::key).collect();
        let turns = self.spacing.turns(&keys, now);
        for (op, turn) in summaries.into_iter().zip(turns) {
            match turn {
                Turn::Later => {}
                Turn::Now => self.queue.push_back(op),
                Turn::Overdue => self.queue.push_front(op),
            }
        }
    }

    /// Starts as many writes as may run.
    pub fn start(&mut self, now: Instant) {
        self.paced_until = None;
        while self.running.len() < AT_ONCE && !self.queue.is_empty() {
            if let Err(next) = self.pace.take(now) {
                self.paced_until = Some(next);
                return;
            }
            let Some(op) = self.queue.pop_front() else {
                return;
            };
            let key = op.key();
            if op.is_summary() {
                self.spacing.start(key.clone(), now);
            }
            if let Op::Service(op) = &op {
                self.promised.note(op);
            }
            self.under_way.insert(key);
            let client = self.client.clone();
            self.running.push(Box::pin(async move {
                let result = apply(client, &op).await;
                Outcome { op, result }
            }));
        }
    }

    /// The next write to end; waits for ever while none runs.
    pub async fn next(&mut self) -> Outcome {
        match self.running.next().await {
            Some(outcome) => outcome,
            None => std::future::pending().await,
        }
    }

    /// Takes note of how a write ended, and says whether a new plan may differ by it.
    pub fn finish(&mut self, outcome: Outcome, now: Instant) -> bool {
        let Outcome { op, result } = outcome;
        let key = op.key();
        self.under_way.remove(&key);
        let failed = result.is_err();
        let (kind, verb) = (key.kind(), op.verb());
        let result_label = if failed { "failed" } else { "ok" };
        self.metrics
            .writes
            .get_or_create(&metrics::Write {
                kind,
                verb,
                result: result_label,
            })
            .inc();
        if let Op::Service(op) = &op
            && is_known(&result)
        {
            self.promised.forget(&op.name);
        }
        match result {
            Ok(applied) => {
                self.failed.remove(&key);
                self.tally.count(verb, &key, now);
                self.unconfirmed.note(applied, now);
            }
            Err(failure) => self.fail(key, op, failure, now),
        }
        if self.is_idle() {
            self.tally.tell(now);
        }
        self.count_pending();
        failed || self.is_idle()
    }

    fn fail(&mut self, key: Key, op: Op, failure: Failure, now: Instant) {
        self.metrics.count_failure(&key);
        let before = self
            .failed
            .get(&key)
            .filter(|attempts| attempts.op.repeats(&op));
        let count = before.map_or(1, |attempts| attempts.count.saturating_add(1));
        let known = before.is_some_and(|attempts| attempts.failure == failure);
        let (kind, name, verb, reason) = (key.kind(), key.name(), op.verb(), &failure.reason);
        match failure.sort {
            FailureSort::Refused | FailureSort::Passing if !known => {
                warn!(kind, name, verb, reason, "write failed, is tried again");
            }
            FailureSort::Refused | FailureSort::Passing | FailureSort::Stale => {
                debug!(
                    kind,
                    name, verb, reason, count, "write failed, is tried again"
                );
            }
        }
        self.failed.insert(
            key,
            Attempts {
                op,
                failure,
                count,
                again_at: now + pause(count),
            },
        );
    }

    /// Whether nothing waits to be started and nothing runs.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.running.is_empty()
    }

    /// Whether nothing waits to be started.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.queue.is_empty()
    }

    /// When there is something to plan that nobody else will tell: a new attempt, an answer to forget, or the turn of a
    /// summary.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let attempts = self
            .failed
            .iter()
            .filter(|(key, _)| !self.under_way.contains(key));
        let again = attempts.map(|(_, attempts)| attempts.again_at);
        // The newest plan has taken up those before it: they wait for a place or, as summaries, for their turn.
        let again = again.filter(|at| Some(*at) > self.replaced_at).min();
        [again, self.unconfirmed.deadline(), self.spacing.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// When the pace lets another write start.
    #[must_use]
    pub fn paced_until(&self) -> Option<Instant> {
        self.paced_until
    }

    /// Forgets the plan and drops what runs: somebody else writes now.
    pub fn abandon(&mut self) {
        self.queue.clear();
        self.running.clear();
        self.under_way.clear();
        self.failed.clear();
        self.promised = Promised::default();
        self.unconfirmed = Unconfirmed::default();
        self.replaced_at = None;
        self.spacing = Spacing::default();
        self.paced_until = None;
        self.count_pending();
    }

    /// Starts nothing more, and waits for what runs.
    pub async fn drain(&mut self, patience: Duration) {
        self.queue.clear();
        let all = async {
            while let Some(outcome) = self.running.next().await {
                let Outcome { op, result } = outcome;
                if let Err(Failure { reason, .. }) = result {
                    debug!(
                        kind = op.key().kind(),
                        name = op.key().name(),
                        reason,
                        "last write failed"
                    );
                }
            }
        };
        if timeout(patience, all).await.is_err() {
            debug!("stops with writes under way");
        }
    }

    fn count_pending(&self) {
        let pending = self.queue.len() + self.running.len() + self.failed.len();
        self.metrics
            .pending
            .set(i64::try_from(pending).unwrap_or(i64::MAX));
    }
}

/// Whether the end of a write tells if it was carried out.
fn is_known(result: &Result<Applied, Failure>) -> bool {
    match result.as_ref().map_err(|failure| failure.sort) {
        Ok(_) | Err(FailureSort::Stale | FailureSort::Refused) => true,
        Err(FailureSort::Passing) => false,
    }
}

/// From 0.25 s doubling up to 30 s, a quarter of it at random.
fn pause(attempts: u32) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(attempts.saturating_sub(1)));
    let random = RandomState::new().hash_one(()) % 1000;
    doubled
        .min(LONGEST_PAUSE)
        .mul_f64(0.75 + 0.25 * random as f64 / 1000.0)
}

impl Tally {
    fn count(&mut self, verb: &'static str, key: &Key, now: Instant) {
        *self.verbs.entry(verb).or_default() += 1;
        if self.names.len() <= NAMES {
            self.names.insert(key.name());
        }
        self.since.get_or_insert(now);
    }

    fn tell(&mut self, now: Instant) {
        let Self {
            verbs,
            names,
            since,
        } = std::mem::take(self);
        let Some(since) = since else { return };
        let counts: Vec<_> = verbs
            .iter()
            .map(|(verb, count)| format!("{verb}={count}"))
            .collect();
        let more = if names.len() > NAMES { " …" } else { "" };
        let names: Vec<_> = names.into_iter().take(NAMES).collect();
        let millis = (now - since).as_millis();
        info!(
            names = format!("{}{more}", names.join(" ")),
            millis,
            "wrote {}",
            counts.join(" ")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failed_write_of_a_summary_wakes_nobody_before_its_turn() {
        let config = kube::Config::new("http://127.0.0.1".parse().unwrap());
        let client = kube::Client::try_from(config).unwrap();
        let mut writes = Writes::new(client, None, Arc::default());
        let op = Op::Pool(plan::addresses::PoolOp {
            name: "pool".to_owned(),
            resource_version: None,
            conditions: Vec::new(),
        });
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let failure = Failure {
            reason: "forbidden".to_owned(),
            sort: FailureSort::Refused,
        };
        writes.spacing.start(op.key(), start);
        writes.fail(op.key(), op.clone(), failure, start);
        assert!(
            writes.deadline() <= Some(after(250)),
            "for the next attempt"
        );
        for millis in [300, 600, 999] {
            writes.replace(vec![op.clone()], after(millis));
            assert_eq!(writes.deadline(), Some(after(1000)), "at {millis} ms");
        }
    }

    #[test]
    fn pauses_double_up_to_half_a_minute() {
        let bounds = |attempts| {
            let longest = (FIRST_PAUSE * 2_u32.pow(attempts - 1)).min(LONGEST_PAUSE);
            (longest.mul_f64(0.75), longest)
        };
        for attempts in [1, 2, 3, 7, 8, 20] {
            let (shortest, longest) = bounds(attempts);
            let pause = pause(attempts);
            assert!(
                shortest <= pause && pause <= longest,
                "{attempts}: {pause:?}"
            );
        }
        assert!(pause(u32::MAX) <= LONGEST_PAUSE);
    }
}
