//! What a plan says of an object, and the list of conditions that says so.

use std::collections::BTreeSet;
use std::fmt::Display;

use api::condition::{Condition, MESSAGE_MAX_LENGTH};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// How many rejections a message spells out; of the others it tells the number.
const SPELLED_OUT: usize = 20;

/// A condition without its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) type_: &'static str,
    pub(crate) status: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Verdict {
    /// That something is rejected, one sentence each, sorted; nothing where nothing is. The reason is that of the first.
    pub(crate) fn rejected<R: Ord + Display>(
        type_: &'static str,
        rejected: &[R],
        reason: impl Fn(&R) -> &'static str,
    ) -> Option<Self> {
        let sorted: BTreeSet<_> = rejected.iter().collect();
        let first = sorted.first()?;
        let mut sentences: Vec<String> = sorted
            .iter()
            .take(SPELLED_OUT)
            .map(ToString::to_string)
            .collect();
        if sorted.len() > SPELLED_OUT {
            sentences.push(format!("and {} more", sorted.len() - SPELLED_OUT));
        }
        let message = sentences.join("; ");
        Some(Self {
            type_,
            status: "True",
            reason: reason(first),
            message: message.chars().take(MESSAGE_MAX_LENGTH).collect(),
        })
    }

    /// Whether this condition says the same of the same generation. The API server leaves out a generation of 0.
    fn is_said_by(&self, condition: &Condition, generation: Option<i64>) -> bool {
        condition.type_ == self.type_
            && condition.status == self.status
            && condition.reason == self.reason
            && condition.message == self.message
            && condition.observed_generation.unwrap_or(0) == generation.unwrap_or(0)
    }

    fn condition(self, old: &[&Condition], generation: Option<i64>, now: Timestamp) -> Condition {
        let Self {
            type_,
            status,
            reason,
            message,
        } = self;
        let before = old
            .iter()
            .find(|condition| condition.type_ == type_ && condition.status == status);
        Condition {
            last_transition_time: before.map_or_else(
                || Time(whole_seconds(now)),
                |condition| condition.last_transition_time.clone(),
            ),
            message,
            observed_generation: generation.filter(|generation| *generation != 0),
            reason: reason.to_owned(),
            status: status.to_owned(),
            type_: type_.to_owned(),
        }
    }
}

/// The list to write, if the one that is there lacks something: other people's conditions as they are and in their
/// order, then ours (those of the types `ours`) as the verdicts say and in their order. Of a condition whose status stays,
/// the transition time stays. The order in which somebody else may have put the list is no reason to write.
pub(crate) fn conditions(
    present: &[Condition],
    ours: &[&str],
    verdicts: Vec<Verdict>,
    generation: Option<i64>,
    now: Timestamp,
) -> Option<Vec<Condition>> {
    let is_ours = |condition: &&Condition| ours.contains(&condition.type_.as_str());
    let is_said = |verdict: &Verdict| {
        present
            .iter()
            .any(|condition| verdict.is_said_by(condition, generation))
    };
    if present.iter().filter(is_ours).count() == verdicts.len() && verdicts.iter().all(is_said) {
        return None;
    }
    let (old, others): (Vec<&Condition>, Vec<&Condition>) = present.iter().partition(is_ours);
    let new = verdicts
        .into_iter()
        .map(|verdict| verdict.condition(&old, generation, now));
    Some(others.into_iter().cloned().chain(new).collect())
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
