//! The operator on a real API server with 1,000 nodes, beside what Cilium's operator needs there.
//!
//! `cargo bench -p operator`. Starts a control plane of its own, makes Nodes without kubelets, and measures from outside:
//! what a watch of NodeConfigs sees, and what the kernel says of the process.

#![expect(clippy::print_stdout, reason = "a bench tells a person")]

use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use api::{CiliumBGPClusterConfig, CiliumBGPNodeConfig};
use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Node;
use kube::api::{
    Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use lab::control_plane::ControlPlane;
use serde_json::json;
use tokio::time::timeout;

const NODES: usize = 1000;
/// Label changes to time.
const CHANGES: usize = 200;
/// Longest any step may take.
const PATIENCE: Duration = Duration::from_secs(60);

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    // Cargo also runs benches as tests; then there is nothing to measure.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let plane = ControlPlane::start("node-configs")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(measure(&plane))
}

async fn measure(plane: &ControlPlane) -> Result<()> {
    let options = cluster::ConnectOptions {
        kubeconfig: Some(plane.kubeconfig().to_owned()),
        api_server: None,
    };
    let client = cluster::connect(&options).await?;
    install_definitions(plane)?;
    make_nodes(&client).await?;
    let bench = Bench {
        plane,
        node_configs: Api::all(client.clone()),
        nodes: Api::all(client.clone()),
    };
    let cluster_configs: Api<CiliumBGPClusterConfig> = Api::all(client);

    let mut operator = bench.start()?;
    bench.await_lead().await?;
    let burst = bench
        .await_all(async {
            cluster_configs
                .create(&PostParams::default(), &cluster_config())
                .await
        })
        .await?;
    let loaded = Memory::of(&operator)?;
    let (off, on) = bench.change_labels().await?;
    let idle_writes = bench.writes_while_idle().await?;
    let settled = Memory::of(&operator)?;

    end(&mut operator)?;
    bench.remove_all().await?;
    let mut started = None;
    let restart = bench
        .await_all(async {
            started = Some(bench.start());
            Ok(())
        })
        .await?;
    let mut operator = started.ok_or("not started")??;
    let fresh = Memory::of(&operator)?;
    end(&mut operator)?;

    row("", "this", "Cilium 1.20.2");
    row("1,000 NodeConfigs: first written", &millis(burst.first), "");
    row(
        "1,000 NodeConfigs: all written",
        &millis(burst.all),
        "8,700 ms",
    );
    row(
        "label on to NodeConfig seen, p50 / p99",
        &quantiles(on),
        "15 to 30 ms",
    );
    row(
        "label off to NodeConfig gone, p50 / p99",
        &quantiles(off),
        "15 to 30 ms",
    );
    row(
        "start to first NodeConfig",
        &millis(restart.first),
        "8,000 to 10,000 ms",
    );
    row("start to all NodeConfigs", &millis(restart.all), "");
    row(
        "RSS after the burst / later / after a start",
        &format!("{loaded} / {settled} / {fresh} MB"),
        "128 MB",
    );
    row(
        "writes of our kinds in 10 s idle",
        &idle_writes.to_string(),
        "",
    );
    Ok(())
}

fn row(what: &str, this: &str, cilium: &str) {
    println!("{what:<45}{this:>26}{cilium:>22}");
}

struct Bench<'a> {
    plane: &'a ControlPlane,
    node_configs: Api<CiliumBGPNodeConfig>,
    nodes: Api<Node>,
}

/// When the first and the last of 1,000 NodeConfigs were seen.
struct Burst {
    first: Duration,
    all: Duration,
}

impl Bench<'_> {
    fn start(&self) -> Result<Child> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tombolo-operator"));
        command
            .arg("--k8s-kubeconfig-path")
            .arg(self.plane.kubeconfig());
        command.args([
            "--operator-prometheus-serve-addr=",
            "--operator-api-serve-addr=",
        ]);
        command
            .env_remove("KUBERNETES_SERVICE_HOST")
            .env("POD_NAMESPACE", "kube-system")
            .env("POD_NAME", "bench");
        Ok(command.stderr(Stdio::null()).spawn()?)
    }

    /// Waits until a running operator has taken the lease and listed everything.
    async fn await_lead(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let holder = [
            "get",
            "-n",
            "kube-system",
            "lease",
            "tombolo-operator-resource-lock",
            "-o=name",
        ];
        while !self.plane.try_kubectl(holder)?.success() {
            if Instant::now() > deadline {
                return Err("the operator takes no lease".into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok(())
    }

    /// Does something, and waits until a watch that was there before has seen all NodeConfigs come. The API server may
    /// end a watch that reads too slowly; it is then taken up again where it ended.
    async fn await_all<T>(
        &self,
        cause: impl Future<Output = std::result::Result<T, kube::Error>>,
    ) -> Result<Burst> {
        let first_page = ListParams::default().limit(1);
        let list = self.node_configs.list_metadata(&first_page).await?;
        let mut version = list.metadata.resource_version.unwrap_or_default();
        let params = WatchParams::default();
        let watch = self.node_configs.watch_metadata(&params, &version);
        let mut events = Box::pin(watch.await?);
        let begin = Instant::now();
        cause.await?;
        let (mut first, mut seen) = (None, 0);
        while seen < NODES {
            match timeout(PATIENCE, events.try_next()).await?? {
                Some(WatchEvent::Added(config)) => {
                    seen += 1;
                    version = config.metadata.resource_version.unwrap_or_default();
                    first.get_or_insert(begin.elapsed());
                }
                Some(_) => {}
                None => {
                    let watch = self.node_configs.watch_metadata(&params, &version);
                    events = Box::pin(watch.await?);
                }
            }
        }
        Ok(Burst {
            first: first.unwrap_or_default(),
            all: begin.elapsed(),
        })
    }

    /// Takes the label off one node after the other and puts it on again. Times run from the request to the event.
    async fn change_labels(&self) -> Result<(Vec<Duration>, Vec<Duration>)> {
        let (mut off, mut on) = (Vec::new(), Vec::new());
        for change in 0..CHANGES {
            let node = name(change * 7 % NODES);
            // At no fixed distance, so as not to fall into step with anybody's timer.
            tokio::time::sleep(Duration::from_millis(
                20 + RandomState::new().hash_one(change) % 60,
            ))
            .await;
            off.push(self.change_label(&node, "off").await?);
            tokio::time::sleep(Duration::from_millis(
                20 + RandomState::new().hash_one(change) % 60,
            ))
            .await;
            on.push(self.change_label(&node, "on").await?);
        }
        Ok((off, on))
    }

    async fn change_label(&self, node: &str, value: &str) -> Result<Duration> {
        let only = ListParams::default().fields(&format!("metadata.name={node}"));
        let version = self
            .node_configs
            .list_metadata(&only)
            .await?
            .metadata
            .resource_version
            .unwrap_or_default();
        let only = WatchParams::default().fields(&format!("metadata.name={node}"));
        let mut events = pin!(self.node_configs.watch_metadata(&only, &version).await?);
        let patch = Patch::Merge(json!({"metadata": {"labels": {"bgp": value}}}));
        let begin = Instant::now();
        let params = PatchParams::default();
        let request = self.nodes.patch_metadata(node, &params, &patch);
        let seen = async {
            loop {
                match timeout(PATIENCE, events.try_next()).await?? {
                    Some(WatchEvent::Added(_)) if value == "on" => return Ok(begin.elapsed()),
                    Some(WatchEvent::Deleted(_)) if value == "off" => return Ok(begin.elapsed()),
                    Some(_) => {}
                    None => return Err(Box::<dyn Error>::from("the watch ended")),
                }
            }
        };
        let (patched, seen) = tokio::join!(request, seen);
        patched?;
        seen
    }

    async fn writes_while_idle(&self) -> Result<u64> {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = writes(&self.plane.request_metrics()?);
        tokio::time::sleep(Duration::from_secs(10)).await;
        Ok(writes(&self.plane.request_metrics()?) - before)
    }

    async fn remove_all(&self) -> Result<()> {
        let _ = self
            .node_configs
            .delete_collection(&DeleteParams::default(), &ListParams::default())
            .await?;
        while !self
            .node_configs
            .list_metadata(&ListParams::default().limit(1))
            .await?
            .items
            .is_empty()
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

/// How many requests have changed objects of group `cilium.io`.
fn writes(metrics: &str) -> u64 {
    let requests = metrics
        .lines()
        .filter(|line| line.starts_with("apiserver_request_total{"));
    let ours = requests.filter(|line| line.contains(r#"group="cilium.io""#));
    let changing = ours.filter(|line| {
        ["POST", "PUT", "PATCH", "DELETE"]
            .iter()
            .any(|verb| line.contains(&format!(r#"verb="{verb}""#)))
    });
    changing
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .map(|count| count as u64)
        .sum()
}

fn install_definitions(plane: &ControlPlane) -> Result<()> {
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
    Ok(())
}

fn name(number: usize) -> String {
    format!("node-{number:04}")
}

async fn make_nodes(client: &kube::Client) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let creations = (0..NODES).map(|number| {
        let nodes = nodes.clone();
        async move {
            let node = json!({
                "metadata": {"name": name(number), "labels": {
                    "bgp": "on",
                    "kubernetes.io/arch": "amd64",
                    "kubernetes.io/hostname": name(number),
                    "kubernetes.io/os": "linux",
                    "topology.kubernetes.io/zone": format!("zone-{}", number % 3),
                }},
                "spec": {"podCIDR": format!("10.{}.{}.0/24", number / 256, number % 256)},
            });
            nodes
                .create(&PostParams::default(), &serde_json::from_value(node)?)
                .await?;
            Ok::<(), Box<dyn Error>>(())
        }
    });
    stream::iter(creations)
        .buffer_unordered(16)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}

fn cluster_config() -> CiliumBGPClusterConfig {
    let spec = json!({
        "nodeSelector": {"matchLabels": {"bgp": "on"}},
        "bgpInstances": [{"name": "instance-65001", "localASN": 65001, "peers": [
            {"name": "tor-a", "peerASN": 65000, "peerAddress": "192.168.10.200", "peerConfigRef": {"name": "cilium-peer"}},
            {"name": "tor-b", "peerASN": 65000, "peerAddress": "192.168.10.201", "peerConfigRef": {"name": "cilium-peer"}},
        ]}],
    });
    let spec = serde_json::from_value(spec).expect("a spec of the right form");
    CiliumBGPClusterConfig::new("cilium-bgp", spec)
}

/// Resident memory of a process.
struct Memory {
    now: u64,
    peak: u64,
}

impl Memory {
    fn of(process: &Child) -> Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()))?;
        let kilobytes = |field: &str| -> Option<u64> {
            status
                .lines()
                .find_map(|line| line.strip_prefix(field))?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        };
        Ok(Self {
            now: kilobytes("VmRSS:").ok_or("VmRSS")?,
            peak: kilobytes("VmHWM:").ok_or("VmHWM")?,
        })
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.0} (peak {:.0})",
            self.now as f64 / 1000.0,
            self.peak as f64 / 1000.0
        )
    }
}

/// Ends the operator as Kubernetes does, so that it gives up its lease.
fn end(operator: &mut Child) -> Result<()> {
    Command::new("kill")
        .args(["-TERM", &operator.id().to_string()])
        .status()?;
    operator.wait()?;
    Ok(())
}

fn millis(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}

fn quantiles(mut samples: Vec<Duration>) -> String {
    samples.sort();
    let at = |share: f64| {
        samples[((samples.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1000.0
    };
    format!("{:.1} / {:.1} ms", at(0.5), at(0.99))
}
