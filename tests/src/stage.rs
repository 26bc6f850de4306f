//! A control plane with our definitions, short ways to make objects, and operators to watch: for tests that cross only
//! the API.

mod node_configs;
mod operator;
mod services;

use std::error::Error;
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, DeleteParams};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::{Client, Resource};
use lab::control_plane::ControlPlane;
use serde_json::{Value, json};

pub use self::node_configs::{HEALTHY, on, with_selector};
pub use self::operator::Operator;
pub use self::services::{NO_POOL, SATISFIED, Writes};

/// How long anything that must happen may take. What must be quick is measured by the test itself.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Of a test, or of a step of one.
pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Where a test takes place.
pub struct Stage {
    /// The control plane.
    pub plane: ControlPlane,
    /// An administrator's client.
    pub client: Client,
}

impl Stage {
    /// Starts a control plane and installs our definitions.
    ///
    /// # Errors
    ///
    /// When it does not start, or a definition is refused.
    pub async fn set(name: &str) -> Outcome<Self> {
        let plane = ControlPlane::start(name)?;
        for definition in api::crd::custom_resource_definitions() {
            plane.apply(&api::crd::manifest(&definition).to_string())?;
        }
        plane.kubectl([
            "wait",
            "--for=condition=Established",
            "crd",
            "--all",
            "--timeout=30s",
        ])?;
        let kubeconfig = Kubeconfig::read_from(plane.kubeconfig())?;
        let config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Self {
            client: Client::try_from(config)?,
            plane,
        })
    }

    /// All objects of a kind without namespaces.
    #[must_use]
    pub fn all<K: Resource<DynamicType = (), Scope = k8s_openapi::ClusterResourceScope>>(
        &self,
    ) -> Api<K> {
        Api::all(self.client.clone())
    }

    /// Creates or edits an object of group `cilium.io`.
    ///
    /// # Errors
    ///
    /// When it is refused.
    pub fn apply(&self, kind: &str, name: &str, spec: &Value) -> Outcome {
        let object = json!({"apiVersion": "cilium.io/v2", "kind": kind, "metadata": {"name": name}, "spec": spec});
        self.plane.apply(&object.to_string())?;
        Ok(())
    }

    /// Deletes an object of a kind without namespaces.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub async fn delete<K>(&self, name: &str) -> Outcome
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::ClusterResourceScope>,
        K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
    {
        self.all::<K>()
            .delete(name, &DeleteParams::default())
            .await?;
        Ok(())
    }

    /// How many requests so far could change objects of group `cilium.io`, by the API server's own count.
    ///
    /// # Errors
    ///
    /// When it does not say.
    pub fn writes(&self) -> Outcome<u64> {
        self.changes(&[r#"group="cilium.io""#])
    }

    /// How many requests so far could change objects whose labels in the API server's count are these.
    fn changes(&self, labels: &[&str]) -> Outcome<u64> {
        let metrics = self.plane.request_metrics()?;
        let requests = metrics
            .lines()
            .filter(|line| line.starts_with("apiserver_request_total{"));
        let ours = requests.filter(|line| labels.iter().all(|label| line.contains(label)));
        let changing = ours.filter(|line| {
            ["POST", "PUT", "PATCH", "APPLY", "DELETE"]
                .iter()
                .any(|verb| line.contains(&format!("verb=\"{verb}\"")))
        });
        Ok(changing
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .map(|count| count as u64)
            .sum())
    }
}

/// Looks until there is an answer.
///
/// # Errors
///
/// When there is none within [`PATIENCE`], or the probe fails.
pub async fn eventually<T>(
    sentence: &str,
    mut probe: impl AsyncFnMut() -> Outcome<Option<T>>,
) -> Outcome<T> {
    let begin = Instant::now();
    loop {
        if let Some(answer) = probe().await? {
            return Ok(answer);
        }
        if begin.elapsed() > PATIENCE {
            return Err(format!("not within {PATIENCE:?}: {sentence}").into());
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// `Type Status Reason: message`, without the prefix of Cilium's types.
#[must_use]
pub fn said(condition: &Condition) -> String {
    let Condition {
        type_,
        status,
        reason,
        message,
        ..
    } = condition;
    let type_ = type_.strip_prefix("cilium.io/").unwrap_or(type_);
    format!("{type_} {status} {reason}: {message}")
}
