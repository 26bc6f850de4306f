//! The agent as a process of its own.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::node::Node;
use crate::objects::NODE;
use crate::{PATIENCE, Result};

/// Where it says whether it is ready, and where it serves metrics.
const HEALTH: u16 = 9979;
const METRICS: u16 = 9980;
/// What sets the environment of the agents of a cluster.
const DAEMON_SET: &str = include_str!("../../../../charts/tombolo/templates/agent/daemonset.yaml");
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// A running agent; killed on drop.
pub(crate) struct Agent {
    child: Child,
    log: PathBuf,
}

/// What it has cost so far, memory in MB of a million bytes.
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    pub(crate) resident: f64,
    /// The part of it that is neither file nor map.
    pub(crate) anonymous: f64,
    pub(crate) peak: f64,
}

/// What the chart tells the C library of an agent.
fn memory_settings() -> impl Iterator<Item = (&'static str, &'static str)> {
    let mut lines = DAEMON_SET.lines().map(str::trim);
    std::iter::from_fn(move || {
        let name = lines.find_map(|line| {
            let name = line.strip_prefix("- name: ")?;
            name.starts_with("MALLOC_").then_some(name)
        })?;
        let value = lines.next()?.strip_prefix("value: ")?;
        Some((name, value.trim_matches('"')))
    })
}

impl Agent {
    /// Starts the program with everything on.
    pub(crate) fn start(node: &Node, algorithm: &str) -> Result<Self> {
        let log = node.plane.state().path().join("agent.log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_tombolo-agent"));
        command
            .arg(format!("--node-name={NODE}"))
            .arg("--k8s-kubeconfig-path")
            .arg(node.plane.kubeconfig());
        command.args([
            "--kube-proxy-replacement=true",
            &format!("--bpf-lb-algorithm={algorithm}"),
            &format!("--agent-health-port={HEALTH}"),
            &format!("--prometheus-serve-addr=127.0.0.1:{METRICS}"),
        ]);
        command.arg("--bpf-root").arg(&node.bpffs);
        command.arg("--cgroup-root").arg(&node.cgroup);
        // No DaemonSet has this name: when the agent is told to end, nobody comes back.
        command.args(["--namespace=kube-system", "--daemon-set=gone"]);
        command.env_remove("KUBERNETES_SERVICE_HOST");
        let settings: Vec<_> = memory_settings().collect();
        if settings.is_empty() {
            return Err(
                "the chart's DaemonSet has no memory settings where they are looked for".into(),
            );
        }
        command.envs(settings);
        let output = File::options().create(true).append(true).open(&log)?;
        let child = command.stderr(output).spawn()?;
        Ok(Self { child, log })
    }

    pub(crate) fn await_ready(&self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while !page(HEALTH, "/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            if Instant::now() > end {
                let log = fs::read_to_string(&self.log)?;
                return Err(format!("the agent is not ready:\n{log}").into());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// How many Services it says are not, or not wholly, in the maps.
    pub(crate) fn withheld(&self) -> Result<f64> {
        let metrics = page(METRICS, "/metrics")?;
        let of_reasons = metrics
            .lines()
            .filter(|line| line.starts_with("tombolo_load_balancer_withheld_services{"));
        let counts =
            of_reasons.map(|line| line.rsplit(' ').next().unwrap_or_default().parse::<f64>());
        let counts = counts.collect::<std::result::Result<Vec<f64>, _>>()?;
        Ok(counts.iter().fold(0.0, |sum, count| sum + count))
    }

    /// From `/proc` (`proc_pid_stat(5)`, `proc_pid_status(5)`; the clock tick is 10 ms on Linux).
    pub(crate) fn usage(&self) -> Result<Usage> {
        let process = format!("/proc/{}", self.child.id());
        let stat = fs::read_to_string(format!("{process}/stat"))?;
        // Behind the name, which may hold anything: field 3 onwards; user and system time are 14 and 15.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let times = fields.split_whitespace().skip(11).take(2);
        let ticks = times
            .map(str::parse::<u64>)
            .sum::<std::result::Result<u64, _>>()?;
        let status = fs::read_to_string(format!("{process}/status"))?;
        let megabytes = |name: &str| -> Result<f64> {
            let mut lines = status.lines();
            let value = lines.find_map(|line| line.strip_prefix(name));
            let kibibytes = value.and_then(|value| value.split_whitespace().next());
            let kibibytes: f64 = kibibytes.ok_or_else(|| format!("no {name}"))?.parse()?;
            Ok(kibibytes * 1024.0 / 1e6)
        };
        Ok(Usage {
            cpu: Duration::from_millis(ticks * 10),
            resident: megabytes("VmRSS:")?,
            anonymous: megabytes("RssAnon:")?,
            peak: megabytes("VmHWM:")?,
        })
    }

    /// As Kubernetes ends it where its DaemonSet is gone: it takes its maps away.
    pub(crate) fn terminate(mut self) -> Result<()> {
        let process = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &process]).status()?;
        let status = self.child.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the agent ended with {status}").into())
        }
    }

    /// As when it crashes: all that is in the kernel stays.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn page(port: u16, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
