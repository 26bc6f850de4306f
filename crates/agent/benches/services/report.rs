//! How numbers are taken and shown.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Bytes of the goals' megabyte.
pub(crate) const MEGABYTE: f64 = 1e6;
/// How far beside its goal a number may be on a machine that is busy otherwise.
const FAR: f64 = 1.5;

/// What was found so far.
#[derive(Default)]
pub(crate) struct Report {
    is_missed_by_far: bool,
}

impl Report {
    /// Whether a goal is missed by so much that the machine cannot be the cause.
    pub(crate) fn is_missed_by_far(&self) -> bool {
        self.is_missed_by_far
    }

    /// What the numbers depend on: a busy machine makes all of them worse.
    pub(crate) fn machine(&self) {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split_whitespace().next().unwrap_or("unknown");
        println!(
            "{processors} processors, shared with API server and store; load average before: {load}"
        );
        println!("{:<66} {:>9} {:<3} {:>7}", "", "measured", "", "goal");
    }

    pub(crate) fn section(&self, title: &str) {
        println!("\n{title}");
    }

    /// One number and the most that it may be.
    pub(crate) fn row(&mut self, what: &str, measured: f64, unit: &str, goal: Option<f64>) {
        let (limit, verdict) = match goal {
            None => (String::new(), ""),
            Some(goal) if measured <= goal => (format!("{goal:.0}"), "reached"),
            Some(goal) if measured <= goal * FAR => (format!("{goal:.0}"), "missed"),
            Some(goal) => {
                self.is_missed_by_far = true;
                (format!("{goal:.0}"), "missed by far")
            }
        };
        println!("{what:<66} {measured:>9.2} {unit:<3} {limit:>7} {verdict}");
    }
}

/// Times of something that was done often.
#[derive(Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn push(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    /// In milliseconds.
    pub(crate) fn quantile(&mut self, share: f64) -> f64 {
        self.0.sort();
        let last = self.0.len().saturating_sub(1);
        let sample = self.0.get((last as f64 * share).round() as usize);
        sample.map_or(0.0, Duration::as_secs_f64) * 1e3
    }
}

/// Waits a while between two samples, at no fixed distance, so as not to fall into step with anybody's timer.
pub(crate) fn pause(sample: u32) {
    let millis = 30 + RandomState::new().hash_one(sample) % 70;
    std::thread::sleep(Duration::from_millis(millis));
}
