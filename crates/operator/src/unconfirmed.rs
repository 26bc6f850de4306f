//! What we have written and the watch has not shown yet.
//!
//! A plan made in between would write it again. So each answer of the API server replaces the object in the snapshot
//! until the watch is as new.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::{CiliumBGPClusterConfig, CiliumBGPNodeConfig, CiliumBGPPeerConfig};
use kube::Resource;
use plan::Snapshot;

use crate::apply::{Applied, Key};

/// How long an answer counts that the watch never confirms, because the object was deleted before it was seen. To forget
/// it too early costs a write that changes nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers not yet confirmed.
#[derive(Debug, Default)]
pub struct Unconfirmed {
    node_configs: Answers<CiliumBGPNodeConfig>,
    cluster_configs: Answers<CiliumBGPClusterConfig>,
    peer_configs: Answers<CiliumBGPPeerConfig>,
}

type Answers<T> = BTreeMap<String, Answer<T>>;

#[derive(Debug)]
struct Answer<T> {
    is: Is<T>,
    until: Instant,
}

#[derive(Debug)]
enum Is<T> {
    There(Arc<T>),
    Gone { uid: String },
}

impl Unconfirmed {
    /// Remembers an answer.
    pub fn note(&mut self, key: &Key, applied: Applied, now: Instant) {
        let until = now + PATIENCE;
        let name = key.name().to_owned();
        match applied {
            Applied::NodeConfig(object) => {
                drop(self.node_configs.insert(
                    name,
                    Answer {
                        is: Is::There(object),
                        until,
                    },
                ));
            }
            Applied::Gone { uid } => drop(self.node_configs.insert(
                name,
                Answer {
                    is: Is::Gone { uid },
                    until,
                },
            )),
            Applied::ClusterConfig(object) => {
                drop(self.cluster_configs.insert(
                    name,
                    Answer {
                        is: Is::There(object),
                        until,
                    },
                ));
            }
            Applied::PeerConfig(object) => {
                drop(self.peer_configs.insert(
                    name,
                    Answer {
                        is: Is::There(object),
                        until,
                    },
                ));
            }
        }
    }

    /// The snapshot as it will be when the watch has shown all we wrote. Forgets what it has shown.
    pub fn correct(&mut self, snapshot: &Arc<Snapshot>, now: Instant) -> Arc<Snapshot> {
        forget(&mut self.node_configs, &snapshot.node_configs, now);
        forget(&mut self.cluster_configs, &snapshot.cluster_configs, now);
        forget(&mut self.peer_configs, &snapshot.peer_configs, now);
        if self.node_configs.is_empty()
            && self.cluster_configs.is_empty()
            && self.peer_configs.is_empty()
        {
            return snapshot.clone();
        }
        let mut corrected = Snapshot::clone(snapshot);
        put(&self.node_configs, &mut corrected.node_configs);
        put(&self.cluster_configs, &mut corrected.cluster_configs);
        put(&self.peer_configs, &mut corrected.peer_configs);
        Arc::new(corrected)
    }

    /// When an answer stops counting.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let node_configs = self.node_configs.values().map(|answer| answer.until);
        let cluster_configs = self.cluster_configs.values().map(|answer| answer.until);
        let peer_configs = self.peer_configs.values().map(|answer| answer.until);
        node_configs
            .chain(cluster_configs)
            .chain(peer_configs)
            .min()
    }
}

fn forget<T: Resource>(answers: &mut Answers<T>, shown: &BTreeMap<String, Arc<T>>, now: Instant) {
    answers.retain(|name, answer| {
        let shown = shown.get(name);
        let confirmed = match &answer.is {
            Is::There(object) => {
                shown.is_some_and(|shown| version(shown.as_ref()) >= version(object.as_ref()))
            }
            Is::Gone { uid } => shown.is_none_or(|shown| shown.meta().uid.as_ref() != Some(uid)),
        };
        !confirmed && now < answer.until
    });
}

fn put<T>(answers: &Answers<T>, objects: &mut BTreeMap<String, Arc<T>>) {
    for (name, answer) in answers {
        match &answer.is {
            Is::There(object) => drop(objects.insert(name.clone(), object.clone())),
            Is::Gone { .. } => drop(objects.remove(name)),
        }
    }
}

/// Resource versions of one kind are numbers that grow (guaranteed since Kubernetes 1.35, and so in every one before).
fn version(object: &impl Resource) -> u64 {
    object
        .meta()
        .resource_version
        .as_deref()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(uid: &str, version: u64) -> Arc<CiliumBGPNodeConfig> {
        let mut config = CiliumBGPNodeConfig::default();
        config.metadata.uid = Some(uid.to_owned());
        config.metadata.resource_version = Some(version.to_string());
        Arc::new(config)
    }

    fn snapshot(shown: Option<Arc<CiliumBGPNodeConfig>>) -> Arc<Snapshot> {
        let node_configs = shown
            .map(|config| ("n".to_owned(), config))
            .into_iter()
            .collect();
        Arc::new(Snapshot {
            node_configs,
            ..Snapshot::default()
        })
    }

    /// What a plan sees of NodeConfig `n` when the watch shows `shown` after `answer`, and whether the answer is kept.
    fn check(
        answer: Applied,
        shown: Option<Arc<CiliumBGPNodeConfig>>,
        later: Duration,
    ) -> (Option<Arc<CiliumBGPNodeConfig>>, bool) {
        let mut unconfirmed = Unconfirmed::default();
        let now = Instant::now();
        unconfirmed.note(&Key::NodeConfig("n".to_owned()), answer, now);
        let corrected = unconfirmed.correct(&snapshot(shown), now + later);
        (
            corrected.node_configs.get("n").cloned(),
            unconfirmed.deadline().is_some(),
        )
    }

    #[test]
    fn an_answer_counts_until_the_watch_is_as_new() {
        let soon = Duration::from_millis(1);
        let written = || Applied::NodeConfig(config("a", 20));
        let gone = || Applied::Gone {
            uid: "a".to_owned(),
        };
        let rows = [
            (written(), None, (Some(config("a", 20)), true)),
            (
                written(),
                Some(config("a", 9)),
                (Some(config("a", 20)), true),
            ),
            (
                written(),
                Some(config("a", 20)),
                (Some(config("a", 20)), false),
            ),
            (
                written(),
                Some(config("b", 30)),
                (Some(config("b", 30)), false),
            ),
            (gone(), Some(config("a", 9)), (None, true)),
            (gone(), None, (None, false)),
            (
                gone(),
                Some(config("b", 30)),
                (Some(config("b", 30)), false),
            ),
        ];
        for (answer, shown, expected) in rows {
            assert_eq!(check(answer, shown.clone(), soon), expected, "{shown:?}");
        }
    }

    #[test]
    fn an_answer_that_is_never_confirmed_is_forgotten() {
        assert_eq!(
            check(Applied::NodeConfig(config("a", 20)), None, PATIENCE),
            (None, false)
        );
    }
}
