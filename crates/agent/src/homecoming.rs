//! Whether this agent comes back after it ends, and what it leaves for its return: asked of its own DaemonSet.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, PodSpec};
use kube::{Api, Client};
use plan::Snapshot;
use tokio::time::timeout;
use tracing::info;

/// How long leaving waits for the API server's answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is asked about.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    /// Namespace of the DaemonSet.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) daemon_set: String,
    /// The node.
    pub(crate) node: String,
    /// Where the load balancer's programs and maps are pinned.
    pub(crate) pins: PathBuf,
}

/// What is left for a successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leave {
    /// Sessions that end without a word, so that routers hold our routes.
    pub(crate) sessions: bool,
    /// Learned routes.
    pub(crate) routes: bool,
    /// The load balancer.
    pub(crate) balancer: bool,
}

impl Leave {
    const EVERYTHING: Self = Self {
        sessions: true,
        routes: true,
        balancer: true,
    };
    const NOTHING: Self = Self {
        sessions: false,
        routes: false,
        balancer: false,
    };
}

/// What the API server says of the DaemonSet.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// It is there and selects this node.
    Expected {
        /// Its containers see the pins: without that it will not balance, nor could it take away who does.
        sees_pins: bool,
        /// They have the capability to change routes: without it those would stay for ever.
        has_net_admin: bool,
    },
    /// It is gone, going, or looks elsewhere now.
    NotExpected,
    /// No answer.
    Unknown,
}

/// What to leave: everything where a successor is expected or nothing is known, so that graceful restart keeps our routes;
/// nothing where nobody comes, so that no router waits for the restart time.
///
/// A refusal counts as gone: `helm uninstall` deletes the DaemonSet, our permission to see it and our account together. A Pod that is
/// deleted by force has no account either, and so leaves nothing, though its successor comes.
pub(crate) async fn leave(
    client: &Client,
    home: Option<&Home>,
    snapshot: Option<&Snapshot>,
) -> Leave {
    let Some(home) = home else {
        return Leave::EVERYTHING;
    };
    let answer = timeout(PATIENCE, ask(client, home, snapshot))
        .await
        .unwrap_or(Answer::Unknown);
    let leave = match answer {
        Answer::Expected {
            sees_pins,
            has_net_admin,
        } => Leave {
            sessions: true,
            routes: has_net_admin,
            balancer: sees_pins,
        },
        Answer::Unknown => Leave::EVERYTHING,
        Answer::NotExpected => Leave::NOTHING,
    };
    info!(?answer, ?leave, daemon_set = %home.daemon_set, "leaving");
    leave
}

async fn ask(client: &Client, home: &Home, snapshot: Option<&Snapshot>) -> Answer {
    let daemon_sets: Api<DaemonSet> = Api::namespaced(client.clone(), &home.namespace);
    match daemon_sets.get(&home.daemon_set).await {
        Ok(daemon_set) => judge(&daemon_set, home, snapshot),
        Err(kube::Error::Api(status)) if matches!(status.code, 401 | 403 | 404) => {
            Answer::NotExpected
        }
        Err(_unreachable) => Answer::Unknown,
    }
}

fn judge(daemon_set: &DaemonSet, home: &Home, snapshot: Option<&Snapshot>) -> Answer {
    if daemon_set.metadata.deletion_timestamp.is_some() {
        return Answer::NotExpected;
    }
    let spec = daemon_set.spec.as_ref();
    let Some(pod) = spec.and_then(|spec| spec.template.spec.as_ref()) else {
        return Answer::Unknown;
    };
    // Without a snapshot nothing is known of the node.
    let expected = snapshot.is_none_or(|snapshot| {
        let node = snapshot.nodes.get(&home.node);
        node.is_some_and(|node| selects(pod, &home.node, &node.labels))
    });
    if expected {
        Answer::Expected {
            sees_pins: sees(pod, &home.pins),
            has_net_admin: has_net_admin(pod),
        }
    } else {
        Answer::NotExpected
    }
}

/// Whether a container of the Pod has a volume at the folder or above it.
fn sees(pod: &PodSpec, folder: &Path) -> bool {
    let containers = pod.containers.iter();
    let mut mounts = containers.flat_map(|container| container.volume_mounts.iter().flatten());
    mounts.any(|mount| folder.starts_with(&mount.mount_path))
}

/// Whether a container of the Pod has the capability NET_ADMIN.
fn has_net_admin(pod: &PodSpec) -> bool {
    let contexts = pod
        .containers
        .iter()
        .filter_map(|it| it.security_context.as_ref());
    let mut contexts = contexts.map(|context| {
        let capabilities = context.capabilities.as_ref().and_then(|it| it.add.as_ref());
        let mut added = capabilities.into_iter().flatten();
        context.privileged == Some(true)
            || added.any(|it| matches!(it.as_str(), "NET_ADMIN" | "CAP_NET_ADMIN" | "ALL"))
    });
    contexts.any(|it| it)
}

/// Whether the Pod may be on the node, by its node selector and by what its node affinity requires (all of the first; of the second one
/// term, and of that every expression).
fn selects(pod: &PodSpec, node: &str, labels: &BTreeMap<String, String>) -> bool {
    let mut selector = pod.node_selector.iter().flatten();
    let affinity = pod
        .affinity
        .as_ref()
        .and_then(|it| it.node_affinity.as_ref());
    let required = affinity.and_then(|it| {
        it.required_during_scheduling_ignored_during_execution
            .as_ref()
    });
    let fits = |term: &NodeSelectorTerm| {
        let mut expressions = term.match_expressions.iter().flatten();
        let mut fields = term.match_fields.iter().flatten();
        // A term of nothing selects nothing.
        let is_empty = expressions.clone().chain(fields.clone()).next().is_none();
        !is_empty
            && expressions.all(|it| holds(it, labels.get(&it.key).map(String::as_str)))
            && fields.all(|it| holds(it, (it.key == "metadata.name").then_some(node)))
    };
    selector.all(|(key, value)| labels.get(key) == Some(value))
        && required.is_none_or(|required| required.node_selector_terms.iter().any(fits))
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let is_among = || value.is_some_and(|value| values.iter().any(|it| it == value));
    let order = || {
        let value: i64 = value?.parse().ok()?;
        let [bound] = values else { return None };
        Some(value.cmp(&bound.parse().ok()?))
    };
    match requirement.operator.as_str() {
        "In" => is_among(),
        "NotIn" => !is_among(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => order() == Some(Ordering::Greater),
        "Lt" => order() == Some(Ordering::Less),
        // Whatever else there may be one day: a successor is only not expected where that is sure.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use plan::NodeFacts;
    use serde_json::{Value, json};

    use super::*;

    const LABELS: [(&str, &str); 2] = [("role", "edge"), ("slots", "4")];

    fn home() -> Home {
        Home {
            namespace: "kube-system".into(),
            daemon_set: "agent".into(),
            node: "node".into(),
            pins: "/sys/fs/bpf/tombolo".into(),
        }
    }

    fn snapshot(node: &str) -> Snapshot {
        let labels = LABELS.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let facts = NodeFacts {
            labels: labels.into(),
            ..NodeFacts::default()
        };
        let mut snapshot = Snapshot::default();
        snapshot.nodes.insert(node.into(), Arc::new(facts));
        snapshot
    }

    fn daemon_set(pod: &Value) -> DaemonSet {
        let mut spec = json!({"containers": [{"name": "agent"}]});
        if let (Some(spec), Some(pod)) = (spec.as_object_mut(), pod.as_object()) {
            spec.extend(pod.clone());
        }
        let daemon_set =
            json!({"metadata": {}, "spec": {"selector": {}, "template": {"spec": spec}}});
        serde_json::from_value(daemon_set).expect("a DaemonSet")
    }

    fn is_expected(pod: &Value) -> bool {
        let answer = judge(&daemon_set(pod), &home(), Some(&snapshot("node")));
        matches!(answer, Answer::Expected { .. })
    }

    #[test]
    fn a_daemon_set_expects_the_agent_back_on_nodes_that_it_selects() {
        // Node selector; whether a node with LABELS is selected.
        let rows = [
            (json!({}), true),
            (json!({"role": "edge"}), true),
            (json!({"role": "core"}), false),
            (json!({"zone": "a"}), false),
        ];
        for (selector, expected) in rows {
            let pod = json!({"nodeSelector": selector});
            assert_eq!(is_expected(&pod), expected, "{pod}");
        }
    }

    #[test]
    fn node_affinity_selects_as_kubernetes_does() {
        let says = |key: &str, operator: &str, values: &[&str]| json!({"key": key, "operator": operator, "values": values});
        // One expression on labels; whether a node with LABELS is selected.
        let rows = [
            (says("role", "In", &["core", "edge"]), true),
            (says("role", "In", &["core"]), false),
            (says("role", "NotIn", &["core"]), true),
            (says("role", "NotIn", &["edge"]), false),
            (says("zone", "NotIn", &["a"]), true),
            (says("role", "Exists", &[]), true),
            (says("zone", "Exists", &[]), false),
            (says("zone", "DoesNotExist", &[]), true),
            (says("role", "DoesNotExist", &[]), false),
            (says("slots", "Gt", &["3"]), true),
            (says("slots", "Gt", &["4"]), false),
            (says("slots", "Lt", &["10"]), true),
            (says("role", "Lt", &["10"]), false),
        ];
        let pod = |terms: &Value| {
            let required = json!({"nodeSelectorTerms": terms});
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}})
        };
        for (expression, expected) in rows {
            let pod = pod(&json!([{"matchExpressions": [expression]}]));
            assert_eq!(is_expected(&pod), expected, "{pod}");
        }
        let core = json!({"matchExpressions": [says("role", "In", &["core"])]});
        let named = |name| json!({"matchFields": [says("metadata.name", "In", &[name])]});
        assert!(is_expected(&pod(&json!([core, named("node")]))));
        assert!(!is_expected(&pod(&json!([core, named("other")]))));
        assert!(!is_expected(&pod(&json!([{}]))), "a term of nothing");
    }

    #[test]
    fn nobody_comes_back_to_a_node_that_is_gone_nor_from_a_daemon_set_that_goes() {
        let here = daemon_set(&json!({}));
        let elsewhere = snapshot("other");
        assert_eq!(judge(&here, &home(), Some(&elsewhere)), Answer::NotExpected);
        let unknown = judge(&here, &home(), None);
        assert!(matches!(unknown, Answer::Expected { .. }), "{unknown:?}");
        let mut going = here;
        let time = serde_json::from_value(json!("2026-01-01T00:00:00Z"));
        going.metadata.deletion_timestamp = time.expect("a time");
        let node = snapshot("node");
        assert_eq!(judge(&going, &home(), Some(&node)), Answer::NotExpected);
    }

    #[test]
    fn only_a_successor_that_sees_the_pins_is_left_the_load_balancer() {
        // Where a volume of the container is; whether the pins are in it.
        let rows = [
            ("/sys/fs/bpf", true),
            ("/sys/fs/bpf/tombolo", true),
            ("/sys/fs/cgroup", false),
            ("/sys/fs/bp", false),
        ];
        for (path, sees_pins) in rows {
            let mounts = json!([{"name": "volume", "mountPath": path}]);
            let pod = json!({"containers": [{"name": "agent", "volumeMounts": mounts}]});
            let answer = judge(&daemon_set(&pod), &home(), Some(&snapshot("node")));
            let has_net_admin = false;
            let expected = Answer::Expected {
                sees_pins,
                has_net_admin,
            };
            assert_eq!(answer, expected, "{path}");
        }
    }

    #[test]
    fn only_a_successor_that_may_change_routes_is_left_those() {
        let adds = |capabilities: &[&str]| json!({"capabilities": {"add": capabilities}});
        let rows = [
            (json!({}), false),
            (adds(&["BPF", "PERFMON"]), false),
            (adds(&["BPF", "NET_ADMIN"]), true),
            (adds(&["ALL"]), true),
            (json!({"privileged": true}), true),
        ];
        for (context, has_net_admin) in rows {
            let pod = json!({"containers": [{"name": "agent", "securityContext": context}]});
            let answer = judge(&daemon_set(&pod), &home(), Some(&snapshot("node")));
            let sees_pins = false;
            let expected = Answer::Expected {
                sees_pins,
                has_net_admin,
            };
            assert_eq!(answer, expected, "{pod}");
        }
    }
}
