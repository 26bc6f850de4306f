//! What the benches share: a control plane of their own, the operator as a process, and how numbers are shown. All is
//! measured from outside: what a watch sees, and what the kernel and the API server say.

use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lab::control_plane::ControlPlane;

/// Longest any step may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Requests under way at once while a bench makes its objects.
pub(crate) const AT_ONCE: usize = 16;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Runs a bench on a control plane with our definitions, unless cargo runs it as a test: then there is nothing to measure.
pub(crate) fn run(
    name: &str,
    bench: impl AsyncFnOnce(&ControlPlane, kube::Client) -> Result<()>,
) -> Result<()> {
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let plane = ControlPlane::start(name)?;
    install_definitions(&plane)?;
    let options = cluster::ConnectOptions {
        kubeconfig: Some(plane.kubeconfig().to_owned()),
        api_server: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let client = cluster::connect(&options).await?;
        bench(&plane, client).await
    })
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

/// Starts an operator.
pub(crate) fn start(plane: &ControlPlane) -> Result<Child> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tombolo-operator"));
    command.arg("--k8s-kubeconfig-path").arg(plane.kubeconfig());
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
pub(crate) async fn await_lead(plane: &ControlPlane) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let holder = [
        "get",
        "-n",
        "kube-system",
        "lease",
        "tombolo-operator-resource-lock",
        "-o=name",
    ];
    while !plane.try_kubectl(holder)?.success() {
        if Instant::now() > deadline {
            return Err("the operator takes no lease".into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    Ok(())
}

/// Ends the operator as Kubernetes does, so that it gives up its lease.
pub(crate) fn end(operator: &mut Child) -> Result<()> {
    Command::new("kill")
        .args(["-TERM", &operator.id().to_string()])
        .status()?;
    operator.wait()?;
    Ok(())
}

/// Waits a while between two samples, at no fixed distance, so as not to fall into step with anybody's timer.
pub(crate) async fn pause() {
    let millis = 20 + RandomState::new().hash_one(()) % 60;
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// How many requests so far could change objects whose labels in the API server's count are these.
pub(crate) fn writes(plane: &ControlPlane, labels: &[&str]) -> Result<u64> {
    let metrics = plane.request_metrics()?;
    let requests = metrics
        .lines()
        .filter(|line| line.starts_with("apiserver_request_total{"));
    let ours = requests.filter(|line| labels.iter().all(|label| line.contains(label)));
    let changing = ours.filter(|line| {
        ["POST", "PUT", "PATCH", "DELETE"]
            .iter()
            .any(|verb| line.contains(&format!(r#"verb="{verb}""#)))
    });
    Ok(changing
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .map(|count| count as u64)
        .sum())
}

/// How many such requests there are in ten seconds in which nothing happens.
pub(crate) async fn writes_while_idle(plane: &ControlPlane, labels: &[&str]) -> Result<u64> {
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = writes(plane, labels)?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    Ok(writes(plane, labels)? - before)
}

/// Resident memory of a process.
pub(crate) struct Memory {
    now: u64,
    peak: u64,
}

impl Memory {
    pub(crate) fn of(process: &Child) -> Result<Self> {
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

pub(crate) fn row(what: &str, this: &str, cilium: &str) {
    println!("{what:<45}{this:>26}{cilium:>22}");
}

pub(crate) fn millis(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}

/// p50 and p99.
pub(crate) fn quantiles(mut samples: Vec<Duration>) -> String {
    samples.sort();
    let at = |share: f64| {
        samples[((samples.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1000.0
    };
    format!("{:.1} / {:.1} ms", at(0.5), at(0.99))
}
