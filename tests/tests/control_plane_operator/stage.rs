//! A control plane with our definitions, short ways to make objects, and operators to watch.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use api::{CiliumBGPClusterConfig, CiliumBGPNodeConfig, CiliumBGPPeerConfig};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::{Client, Resource};
use lab::control_plane::ControlPlane;
use serde_json::{Value, json};

/// How long anything that must happen may take. What must be quick is measured by the test itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Where a test takes place.
pub(crate) struct Stage {
    pub(crate) plane: ControlPlane,
    pub(crate) client: Client,
}

impl Stage {
    pub(crate) async fn set(name: &str) -> Outcome<Self> {
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

    /// Starts an operator with times of election that suit a test.
    pub(crate) fn operator(&self, name: &str, arguments: &[&str]) -> Outcome<Operator> {
        let log = self.plane.state().path().join(format!("{name}.log"));
        let mut command = Command::new(lab::binaries::own("tombolo-operator")?);
        command
            .arg("--k8s-kubeconfig-path")
            .arg(self.plane.kubeconfig());
        command.args([
            "--operator-api-serve-addr=127.0.0.1:0",
            "--operator-prometheus-serve-addr=",
        ]);
        command.args([
            "--leader-election-lease-duration=3s",
            "--leader-election-renew-deadline=2s",
        ]);
        command
            .arg("--leader-election-retry-period=500ms")
            .args(arguments);
        command
            .env_remove("KUBERNETES_SERVICE_HOST")
            .env("POD_NAMESPACE", "kube-system")
            .env("POD_NAME", name);
        let child = command.stderr(File::create(&log)?).spawn()?;
        Ok(Operator { child, log })
    }

    pub(crate) fn all<K: Resource<DynamicType = (), Scope = k8s_openapi::ClusterResourceScope>>(
        &self,
    ) -> Api<K> {
        Api::all(self.client.clone())
    }

    pub(crate) async fn node(&self, name: &str, labels: Value) -> Outcome {
        let node = serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}}))?;
        self.all::<Node>()
            .create(&PostParams::default(), &node)
            .await?;
        Ok(())
    }

    /// Sets labels of a node; `null` takes one off.
    pub(crate) async fn label(&self, node: &str, labels: Value) -> Outcome {
        let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
        self.all::<Node>()
            .patch(node, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    /// Creates or edits an object of group `cilium.io`.
    pub(crate) fn apply(&self, kind: &str, name: &str, spec: &Value) -> Outcome {
        let object = json!({"apiVersion": "cilium.io/v2", "kind": kind, "metadata": {"name": name}, "spec": spec});
        self.plane.apply(&object.to_string())?;
        Ok(())
    }

    pub(crate) async fn node_configs(&self) -> Outcome<BTreeMap<String, CiliumBGPNodeConfig>> {
        let list = self
            .all::<CiliumBGPNodeConfig>()
            .list(&ListParams::default())
            .await?;
        Ok(list
            .into_iter()
            .map(|config| (config.metadata.name.clone().unwrap_or_default(), config))
            .collect())
    }

    /// Nodes that have a NodeConfig.
    pub(crate) async fn configured(&self) -> Outcome<Vec<String>> {
        Ok(self.node_configs().await?.into_keys().collect())
    }

    pub(crate) async fn await_configured(&self, nodes: &[&str]) -> Outcome {
        eventually(&format!("NodeConfigs are {nodes:?}"), async || {
            Ok((self.configured().await? == nodes).then_some(()))
        })
        .await
    }

    pub(crate) async fn conditions(&self, cluster_config: &str) -> Outcome<Vec<Condition>> {
        let config = self
            .all::<CiliumBGPClusterConfig>()
            .get(cluster_config)
            .await?;
        Ok(config
            .status
            .map(|status| status.conditions)
            .unwrap_or_default())
    }

    /// Waits until a ClusterConfig has exactly these conditions, each `Type Status Reason: message`.
    pub(crate) async fn await_conditions(
        &self,
        cluster_config: &str,
        expected: &[&str],
    ) -> Outcome {
        let mut found = Vec::new();
        let waited = eventually("the conditions are as expected", async || {
            found = self
                .conditions(cluster_config)
                .await?
                .iter()
                .map(said)
                .collect();
            Ok((found == expected).then_some(()))
        });
        let waited = waited.await;
        waited.map_err(|error| format!("{error}: {cluster_config} says {found:#?}").into())
    }

    pub(crate) async fn await_peer_condition(
        &self,
        peer_config: &str,
        expected: &[&str],
    ) -> Outcome {
        eventually("the PeerConfig has its condition", async || {
            let config = self.all::<CiliumBGPPeerConfig>().get(peer_config).await?;
            let conditions = config
                .status
                .map(|status| status.conditions)
                .unwrap_or_default();
            Ok((conditions.iter().map(said).collect::<Vec<_>>() == expected).then_some(()))
        })
        .await
    }

    pub(crate) async fn delete<K>(&self, name: &str) -> Outcome
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
    pub(crate) fn writes(&self) -> Outcome<u64> {
        let metrics = self.plane.request_metrics()?;
        let requests = metrics
            .lines()
            .filter(|line| line.starts_with("apiserver_request_total{"));
        let ours = requests.filter(|line| line.contains(r#"group="cilium.io""#));
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

/// A running operator; ends with the test.
pub(crate) struct Operator {
    child: Child,
    log: PathBuf,
}

impl Operator {
    pub(crate) fn log(&self) -> Outcome<String> {
        Ok(fs::read_to_string(&self.log)?)
    }

    /// Waits for a line of its log.
    pub(crate) async fn await_line(&self, part: &str) -> Outcome<String> {
        let sentence = format!("the log says {part:?}");
        let line = eventually(&sentence, async || {
            Ok(self
                .log()?
                .lines()
                .find(|line| line.contains(part))
                .map(str::to_owned))
        });
        line.await
            .map_err(|error| format!("{error}:\n{}", self.log().unwrap_or_default()).into())
    }

    /// Status and body of a page it serves.
    pub(crate) async fn page(&self, path: &str) -> Outcome<(u16, String)> {
        let line = self.await_line("listens").await?;
        let address = line
            .rsplit("address=")
            .next()
            .unwrap_or_default()
            .trim_matches('"')
            .to_owned();
        let mut stream = TcpStream::connect(&address)?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).unwrap_or_default().parse()?;
        Ok((
            status,
            answer
                .split_once("\r\n\r\n")
                .map(|(_, body)| body.to_owned())
                .unwrap_or_default(),
        ))
    }

    /// As when its machine loses power.
    pub(crate) fn kill(mut self) -> Outcome {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// As Kubernetes ends it.
    pub(crate) fn terminate(mut self) -> Outcome {
        Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status()?;
        let status = self.child.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("ended with {status}: {}", self.log()?).into())
        }
    }

    /// Resident memory in MB.
    pub(crate) fn resident(&self) -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .ok_or("no VmRSS")?;
        Ok(line
            .split_whitespace()
            .next()
            .ok_or("no number")?
            .parse::<u64>()?
            / 1000)
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks until there is an answer.
pub(crate) async fn eventually<T>(
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
pub(crate) fn said(condition: &Condition) -> String {
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

/// Selects nodes with label `bgp=on`, one instance `a` with one peer.
pub(crate) fn on() -> Value {
    with_selector(&json!({"matchLabels": {"bgp": "on"}}))
}

pub(crate) fn with_selector(selector: &Value) -> Value {
    json!({"nodeSelector": selector, "bgpInstances": [{"name": "a", "localASN": 65001, "peers": [
        {"name": "tor", "peerASN": 65000, "peerAddress": "10.0.0.1", "peerConfigRef": {"name": "peer"}},
    ]}]})
}

pub(crate) const HEALTHY: [&str; 3] = [
    "ConflictingClusterConfig False ClusterConfigValidated: ",
    "MissingPeerConfigs False PeerConfigsResolved: ",
    "NoMatchingNode False MatchingNodeSelected: ",
];
