//! What we have written and the watch has not shown yet.
//!
//! A plan made in between would write it again. So each answer of the API server replaces the object in the snapshot
//! until the watch is as new.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::{
    CiliumBGPClusterConfig, CiliumBGPNodeConfig, CiliumBGPPeerConfig, CiliumLoadBalancerIPPool,
};
use kube::{Resource, ResourceExt};
use plan::{NamespacedName, ServiceFacts, Snapshot};

use crate::apply::Applied;

/// How long an answer counts that the watch never confirms, because the object was deleted before it was seen. To forget
/// it too early costs a write that changes nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers not yet confirmed.
#[derive(Debug, Default)]
pub struct Unconfirmed {
    node_configs: Answers<String, CiliumBGPNodeConfig>,
    cluster_configs: Answers<String, CiliumBGPClusterConfig>,
    peer_configs: Answers<String, CiliumBGPPeerConfig>,
    services: Answers<NamespacedName, ServiceFacts>,
    pools: Answers<String, CiliumLoadBalancerIPPool>,
}

#[derive(Debug)]
struct Answers<K, T>(BTreeMap<K, Answer<T>>);

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

/// An object that is written here.
trait Written {
    /// Who makes objects of this kind.
    const MADE: Made;

    fn resource_version(&self) -> Option<&str>;

    fn uid(&self) -> Option<&str>;
}

/// Who makes objects of a kind.
enum Made {
    /// We do: one that the watch does not show may be new.
    Here,
    /// Users do: we write only what the watch has shown, so one that it does not show any more is gone.
    Elsewhere,
}

macro_rules! written {
    ($($kind:ty: $made:expr),+ $(,)?) => {$(
        impl Written for $kind {
            const MADE: Made = $made;

            fn resource_version(&self) -> Option<&str> {
                self.meta().resource_version.as_deref()
            }

            fn uid(&self) -> Option<&str> {
                self.meta().uid.as_deref()
            }
        }
    )+};
}

written!(
    CiliumBGPNodeConfig: Made::Here,
    CiliumBGPClusterConfig: Made::Elsewhere,
    CiliumBGPPeerConfig: Made::Elsewhere,
    CiliumLoadBalancerIPPool: Made::Elsewhere,
);

impl Written for ServiceFacts {
    const MADE: Made = Made::Elsewhere;

    fn resource_version(&self) -> Option<&str> {
        Some(&self.resource_version)
    }

    fn uid(&self) -> Option<&str> {
        Some(&self.uid)
    }
}

impl Unconfirmed {
    /// Remembers an answer.
    pub fn note(&mut self, applied: Applied, now: Instant) {
        let until = now + PATIENCE;
        match applied {
            Applied::NodeConfig(object) => {
                self.node_configs
                    .note(object.name_any(), Is::There(object), until);
            }
            Applied::Gone { name, uid } => self.node_configs.note(name, Is::Gone { uid }, until),
            Applied::ClusterConfig(object) => {
                self.cluster_configs
                    .note(object.name_any(), Is::There(object), until);
            }
            Applied::PeerConfig(object) => {
                self.peer_configs
                    .note(object.name_any(), Is::There(object), until);
            }
            Applied::Service(name, facts) => self.services.note(name, Is::There(facts), until),
            Applied::Pool(object) => self.pools.note(object.name_any(), Is::There(object), until),
        }
    }

    /// The snapshot as it will be when the watch has shown all we wrote. Forgets what it has shown.
    pub fn correct(&mut self, snapshot: &Arc<Snapshot>, now: Instant) -> Arc<Snapshot> {
        let Self {
            node_configs,
            cluster_configs,
            peer_configs,
            services,
            pools,
        } = self;
        node_configs.forget(&snapshot.node_configs, now);
        cluster_configs.forget(&snapshot.cluster_configs, now);
        peer_configs.forget(&snapshot.peer_configs, now);
        services.forget(&snapshot.services, now);
        pools.forget(&snapshot.pools, now);
        if self.deadline().is_none() {
            return snapshot.clone();
        }
        let mut corrected = Snapshot::clone(snapshot);
        self.node_configs.put(&mut corrected.node_configs);
        self.cluster_configs.put(&mut corrected.cluster_configs);
        self.peer_configs.put(&mut corrected.peer_configs);
        // To be changed, they are copied.
        if !self.services.0.is_empty() {
            self.services.put(&mut corrected.services);
        }
        self.pools.put(&mut corrected.pools);
        Arc::new(corrected)
    }

    /// When an answer stops counting.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        [
            self.node_configs.deadline(),
            self.cluster_configs.deadline(),
            self.peer_configs.deadline(),
            self.services.deadline(),
            self.pools.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

impl<K, T> Default for Answers<K, T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Clone, T: Written> Answers<K, T> {
    fn note(&mut self, name: K, is: Is<T>, until: Instant) {
        self.0.insert(name, Answer { is, until });
    }

    fn forget(&mut self, shown: &BTreeMap<K, Arc<T>>, now: Instant) {
        self.0.retain(|name, answer| {
            let shown = shown.get(name);
            let confirmed = match &answer.is {
                Is::There(object) => match shown {
                    Some(shown) => version(shown.as_ref()) >= version(object.as_ref()),
                    None => matches!(T::MADE, Made::Elsewhere),
                },
                Is::Gone { uid } => shown.is_none_or(|shown| shown.uid() != Some(uid)),
            };
            !confirmed && now < answer.until
        });
    }

    fn put(&self, objects: &mut BTreeMap<K, Arc<T>>) {
        for (name, answer) in &self.0 {
            match &answer.is {
                Is::There(object) => drop(objects.insert(name.clone(), object.clone())),
                Is::Gone { .. } => drop(objects.remove(name)),
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.0.values().map(|answer| answer.until).min()
    }
}

/// Resource versions of one kind are numbers that grow (guaranteed since Kubernetes 1.35, and so in every one before).
fn version(object: &impl Written) -> u64 {
    object
        .resource_version()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(uid: &str, version: u64) -> Arc<CiliumBGPNodeConfig> {
        let mut config = CiliumBGPNodeConfig::default();
        config.metadata.name = Some("n".to_owned());
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
        unconfirmed.note(answer, now);
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
            name: "n".to_owned(),
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

    #[test]
    fn services_are_not_copied_for_an_answer_about_something_else() {
        let mut unconfirmed = Unconfirmed::default();
        let now = Instant::now();
        unconfirmed.note(Applied::NodeConfig(config("a", 20)), now);
        let snapshot = Arc::new(Snapshot {
            services: [(NamespacedName::default(), service(9))].into(),
            ..Snapshot::default()
        });
        let corrected = unconfirmed.correct(&snapshot, now);
        assert_eq!(corrected.node_configs.len(), 1);
        assert!(corrected.services.is(&snapshot.services));
    }

    fn service(version: u64) -> Arc<ServiceFacts> {
        Arc::new(ServiceFacts {
            resource_version: version.to_string(),
            ..ServiceFacts::default()
        })
    }

    #[test]
    fn an_answer_about_a_service_is_forgotten_when_the_service_is_gone() {
        let name = NamespacedName::default;
        let rows = [
            (Some(service(9)), Some(service(20)), true),
            (Some(service(20)), Some(service(20)), false),
            (Some(service(21)), Some(service(21)), false),
            (None, None, false),
        ];
        for (shown, expected, kept) in rows {
            let mut unconfirmed = Unconfirmed::default();
            let now = Instant::now();
            unconfirmed.note(Applied::Service(name(), service(20)), now);
            let snapshot = Arc::new(Snapshot {
                services: shown
                    .clone()
                    .map(|facts| (name(), facts))
                    .into_iter()
                    .collect(),
                ..Snapshot::default()
            });
            let corrected = unconfirmed.correct(&snapshot, now);
            let found = (
                corrected.services.get(&name()).cloned(),
                unconfirmed.deadline().is_some(),
            );
            assert_eq!(found, (expected, kept), "{shown:?}");
        }
    }
}
