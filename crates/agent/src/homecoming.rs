//! Whether this agent comes back after it ends: asked of its own DaemonSet.

use std::time::Duration;

use bgp::Goodbye;
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::{Api, Client};
use plan::Snapshot;
use tokio::time::timeout;
use tracing::info;

/// How long leaving waits for the API server's answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Names of what is asked about.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    /// Namespace of the DaemonSet.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) daemon_set: String,
    /// The node.
    pub(crate) node: String,
}

/// What the API server says of the DaemonSet.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// It is there and selects this node.
    Expected,
    /// It is gone, going, or looks elsewhere now.
    NotExpected,
    /// No answer.
    Unknown,
}

/// How to leave: silently where a successor is expected or nothing is known, so that graceful restart keeps our
/// routes; with Cease where nobody comes, so that no router waits for the restart time.
///
/// A refusal counts as gone: `helm uninstall` deletes the DaemonSet and our permission to see it together.
pub(crate) async fn goodbye(
    client: &Client,
    home: Option<&Home>,
    snapshot: Option<&Snapshot>,
) -> Goodbye {
    let Some(home) = home else {
        return Goodbye::Silent;
    };
    let answer = timeout(PATIENCE, ask(client, home, snapshot))
        .await
        .unwrap_or(Answer::Unknown);
    let goodbye = match answer {
        Answer::Expected | Answer::Unknown => Goodbye::Silent,
        Answer::NotExpected => Goodbye::Cease,
    };
    info!(?answer, ?goodbye, daemon_set = %home.daemon_set, "leaving");
    goodbye
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
    let template = daemon_set
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref());
    let selector = template.and_then(|pod| pod.node_selector.as_ref());
    let node = snapshot.and_then(|snapshot| snapshot.nodes.get(&home.node));
    match (selector, node) {
        (Some(selector), Some(node))
            if selector
                .iter()
                .any(|(key, value)| node.labels.get(key) != Some(value)) =>
        {
            Answer::NotExpected
        }
        _ => Answer::Expected,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use plan::NodeFacts;
    use serde_json::{Value, json};

    use super::*;

    fn check(daemon_set: Value, labels: &[(&str, &str)], expected: &Answer) {
        let daemon_set = serde_json::from_value(daemon_set).expect("a DaemonSet");
        let labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let facts = NodeFacts {
            labels,
            ..NodeFacts::default()
        };
        let mut snapshot = Snapshot::default();
        snapshot.nodes.insert("node".into(), Arc::new(facts));
        let home = Home {
            namespace: "kube-system".into(),
            daemon_set: "agent".into(),
            node: "node".into(),
        };
        assert_eq!(&judge(&daemon_set, &home, Some(&snapshot)), expected);
    }

    fn daemon_set(selector: &Value) -> Value {
        json!({"metadata": {}, "spec": {"selector": {}, "template": {"spec": {"containers": [], "nodeSelector": selector}}}})
    }

    #[test]
    fn a_daemon_set_that_selects_the_node_expects_it_back() {
        check(daemon_set(&json!({})), &[], &Answer::Expected);
        check(
            daemon_set(&json!({"role": "edge"})),
            &[("role", "edge")],
            &Answer::Expected,
        );
    }

    #[test]
    fn a_daemon_set_that_goes_or_looks_elsewhere_does_not() {
        check(
            daemon_set(&json!({"role": "edge"})),
            &[("role", "core")],
            &Answer::NotExpected,
        );
        check(
            daemon_set(&json!({"role": "edge"})),
            &[],
            &Answer::NotExpected,
        );
        let mut going = daemon_set(&json!({}));
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        check(going, &[], &Answer::NotExpected);
    }
}
