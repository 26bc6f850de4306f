//! The operator on a real API server with 1,000 nodes, beside what Cilium's operator needs there.
//!
//! `cargo bench -p operator`. Starts a control plane of its own, makes Nodes without kubelets, and measures from outside:
//! what a watch of NodeConfigs sees, and what the kernel says of the process.

#![expect(clippy::print_stdout, reason = "a bench tells a person")]

mod measure;

use std::pin::pin;
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

use self::measure::{Memory, PATIENCE, Result, await_lead, end, millis, quantiles, row, start};

const NODES: usize = 1000;
/// Label changes to time.
const CHANGES: usize = 200;

fn main() -> Result<()> {
    measure::run("node-configs", measure)
}

async fn measure(plane: &ControlPlane, client: kube::Client) -> Result<()> {
    make_nodes(&client).await?;
    let bench = Bench {
        node_configs: Api::all(client.clone()),
        nodes: Api::all(client.clone()),
    };
    let cluster_configs: Api<CiliumBGPClusterConfig> = Api::all(client);

    let mut operator = start(plane)?;
    await_lead(plane).await?;
    let burst = bench
        .await_all(async {
            cluster_configs
                .create(&PostParams::default(), &cluster_config())
                .await
        })
        .await?;
    let loaded = Memory::of(&operator)?;
    let (off, on) = bench.change_labels().await?;
    let idle_writes = measure::writes_while_idle(plane, &[r#"group="cilium.io""#]).await?;
    let settled = Memory::of(&operator)?;

    end(&mut operator)?;
    bench.remove_all().await?;
    let mut started = None;
    let restart = bench
        .await_all(async {
            started = Some(start(plane));
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

struct Bench {
    node_configs: Api<CiliumBGPNodeConfig>,
    nodes: Api<Node>,
}

/// When the first and the last of 1,000 NodeConfigs were seen.
struct Burst {
    first: Duration,
    all: Duration,
}

impl Bench {
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
            measure::pause().await;
            off.push(self.change_label(&node, "off").await?);
            measure::pause().await;
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
                    None => return Err(Box::<dyn std::error::Error>::from("the watch ended")),
                }
            }
        };
        let (patched, seen) = tokio::join!(request, seen);
        patched?;
        seen
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
            Result::Ok(())
        }
    });
    stream::iter(creations)
        .buffer_unordered(measure::AT_ONCE)
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
