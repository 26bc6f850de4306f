//! etcd, API server and controller manager, alone or as the control plane of a cluster.

mod component;

use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::time::Duration;

use ipnet::IpNet;

use self::component::Credentials;
pub(crate) use self::component::Seat;
use crate::binaries::KUBERNETES;
use crate::command::{self, Output};
use crate::error::Error;
use crate::pki::{Authority, Leaf, Subject};
use crate::process::{Place, Process};
use crate::state::StateFolder;
use crate::sweep;
use crate::wait;

/// How long a control plane may take to be ready; on two busy cores it takes 5 to 8 s.
const BOOT: Duration = Duration::from_secs(90);

/// A running control plane. Dropping it ends its programs and removes its folder.
#[derive(Debug)]
pub struct ControlPlane {
    state: StateFolder,
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    etcd: Process,
    api_server: Process,
    controller_manager: Process,
    scheduler: Option<Process>,
}

/// What [`ControlPlane::boot`] has to know beyond the defaults of a control plane alone.
pub(crate) struct Boot<'a> {
    pub(crate) seat: Seat,
    pub(crate) authority: &'a Authority,
    /// The URL under which this program reaches the API server.
    pub(crate) url: String,
}

impl ControlPlane {
    /// Starts a control plane alone, on free ports of the loopback, and waits until the API server is ready.
    /// `name` only helps a reader of the folder; any number of them may have the same.
    ///
    /// Node objects stay as a test makes them: nothing watches their heartbeat.
    ///
    /// # Errors
    /// When a program is missing, ends, or is not ready in time.
    pub fn start(name: &str) -> Result<Self, Error> {
        sweep::repair()?;
        let state = StateFolder::create(&unique(name))?;
        let authority = Authority::create(&state.folder("pki")?)?;
        let [port, etcd_client, etcd_peer] = free_ports()?;
        let seat = Seat {
            place: Place::Here,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port,
            etcd_client,
            etcd_peer,
            service_cidrs: ["10.96.0.0/16", "fd00:96::/112"].map(literal).to_vec(),
            cluster_cidrs: ["172.20.0.0/16", "fd00:172:20::/48"].map(literal).to_vec(),
            has_nodes: false,
        };
        let url = format!("https://127.0.0.1:{port}");
        Self::boot(
            &state,
            Boot {
                seat,
                authority: &authority,
                url,
            },
        )
    }

    /// Starts the programs in their seat and waits until the API server is ready.
    pub(crate) fn boot(state: &StateFolder, boot: Boot<'_>) -> Result<Self, Error> {
        let Boot {
            seat,
            authority,
            url,
        } = boot;
        let credentials = credentials(authority, &seat)?;
        let kubeconfig = authority.kubeconfig("admin", &url, &credentials.admin)?;
        let etcd = Process::start(state, component::etcd(state, &seat)?)?;
        let api_server = Process::start(
            state,
            component::api_server(&seat, authority, &credentials)?,
        )?;
        let kubectl = KUBERNETES.binary("kubectl")?;
        await_ready(&kubectl, &kubeconfig, &[&etcd, &api_server])?;
        let launch = component::controller_manager(&seat, authority, &credentials)?;
        let controller_manager = Process::start(state, launch)?;
        let scheduler = seat
            .has_nodes
            .then(|| Process::start(state, component::scheduler(&seat, authority, &credentials)?))
            .transpose()?;
        Ok(Self {
            state: state.clone(),
            kubectl,
            kubeconfig,
            etcd,
            api_server,
            controller_manager,
            scheduler,
        })
    }

    /// The control plane of a lab that stands.
    pub(crate) fn attach(state: &StateFolder) -> Result<Self, Error> {
        let process = |name| {
            let missing = || Error::NotStanding {
                name: state.name().to_owned(),
            };
            state.process(name)?.ok_or_else(missing)
        };
        Ok(Self {
            state: state.clone(),
            kubectl: KUBERNETES.binary("kubectl")?,
            kubeconfig: state.path().join("pki/admin.kubeconfig"),
            etcd: process("etcd")?,
            api_server: process("kube-apiserver")?,
            controller_manager: process("kube-controller-manager")?,
            scheduler: state.process("kube-scheduler")?,
        })
    }

    /// A kubeconfig of a cluster administrator, good for kubectl, helm and client libraries on this machine.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The folder of its certificates, logs and data.
    pub fn state(&self) -> &StateFolder {
        &self.state
    }

    /// A kubectl command as administrator.
    pub fn kubectl_command(&self) -> Command {
        kubectl_command(&self.kubectl, &self.kubeconfig)
    }

    /// Runs kubectl, which must succeed, and gives what it printed.
    ///
    /// # Errors
    /// [`Error::Failed`] with what kubectl complains about.
    pub fn kubectl<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<String, Error> {
        command::text(self.kubectl_command().args(arguments))
    }

    /// Runs kubectl to its end, whatever that is: for what must be refused.
    ///
    /// # Errors
    /// [`Error::Spawn`].
    pub fn try_kubectl<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Output, Error> {
        command::run(self.kubectl_command().args(arguments))
    }

    /// `kubectl apply -f -`.
    ///
    /// # Errors
    /// [`Error::Failed`] with what kubectl complains about.
    pub fn apply(&self, manifest: &str) -> Result<String, Error> {
        command::text_fed(self.kubectl_command().args(["apply", "-f", "-"]), manifest)
    }

    /// The API server's metrics as Prometheus text: how many requests of which verb and resource it has
    /// answered is `apiserver_request_total`.
    ///
    /// # Errors
    /// [`Error::Failed`] when it does not answer.
    pub fn request_metrics(&self) -> Result<String, Error> {
        self.kubectl(["get", "--raw", "/metrics"])
    }

    /// Ends the API server at once, as if its machine had lost power. etcd goes on.
    ///
    /// # Errors
    /// [`Error::Deadline`] when it does not end.
    pub fn stop_api_server(&self) -> Result<(), Error> {
        self.api_server.kill()
    }

    /// Starts the API server again, on the same port with the same data, and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time.
    pub fn start_api_server(&self) -> Result<(), Error> {
        self.api_server.start_again()?;
        await_ready(
            &self.kubectl,
            &self.kubeconfig,
            &[&self.etcd, &self.api_server],
        )?;
        self.revive()
    }

    /// Controller manager and scheduler may end themselves when they lose the API server; a real cluster's
    /// kubelet would start them again.
    fn revive(&self) -> Result<(), Error> {
        let clients = std::iter::once(&self.controller_manager).chain(&self.scheduler);
        clients
            .filter(|client| !client.is_alive())
            .try_for_each(Process::start_again)
    }

    /// Its programs.
    pub fn processes(&self) -> Vec<&Process> {
        let three = [&self.etcd, &self.api_server, &self.controller_manager];
        three.into_iter().chain(&self.scheduler).collect()
    }
}

fn kubectl_command(kubectl: &Path, kubeconfig: &Path) -> Command {
    let mut command = Command::new(kubectl);
    command.arg("--kubeconfig").arg(kubeconfig);
    // Its cache of what the server can do would else be shared by all labs that ever had this port.
    if let Some(folder) = kubeconfig.parent() {
        command.arg("--cache-dir").arg(folder.join("kubectl-cache"));
    }
    command
}

fn await_ready(kubectl: &Path, kubeconfig: &Path, needed: &[&Process]) -> Result<(), Error> {
    wait::try_until(BOOT, "the API server says that it is ready", || {
        for process in needed {
            process.check()?;
        }
        let probe = ["get", "--raw", "/readyz", "--request-timeout=2s"];
        let output = command::run(kubectl_command(kubectl, kubeconfig).args(probe))?;
        Ok(output.success().then_some(()))
    })
}

fn credentials(authority: &Authority, seat: &Seat) -> Result<Credentials, Error> {
    let mut names: Vec<String> = seat
        .service_cidrs
        .iter()
        .filter_map(first_address)
        .collect();
    names.extend([seat.address.to_string(), "127.0.0.1".to_owned()]);
    names.extend(
        [
            "localhost",
            "kubernetes.default.svc",
            "kubernetes.default",
            "kubernetes",
        ]
        .map(str::to_owned),
    );
    names.dedup();
    let client = |name: &str, common_name: &str, organization| -> Result<Leaf, Error> {
        authority.issue(
            name,
            Subject {
                common_name,
                organization,
            },
            &[],
        )
    };
    let server = Subject {
        common_name: "kube-apiserver",
        organization: None,
    };
    Ok(Credentials {
        server: authority.issue("kube-apiserver", server, &names)?,
        admin: client("admin", "admin", Some("system:masters"))?,
        controller_manager: client(
            "kube-controller-manager",
            "system:kube-controller-manager",
            None,
        )?,
        scheduler: client("kube-scheduler", "system:kube-scheduler", None)?,
        service_accounts: authority.key_pair("service-accounts")?,
    })
}

/// The ClusterIP of `kubernetes.default`: the first of the range.
fn first_address(range: &IpNet) -> Option<String> {
    range.hosts().next().map(|address| address.to_string())
}

/// Ports that are free now. Another program may take one before ours does; then ours ends and says so.
fn free_ports<const N: usize>() -> Result<[u16; N], Error> {
    let path = Path::new("127.0.0.1:0");
    let held = [(); N].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&held) {
        let refused = |error: &io::Error| io::Error::new(error.kind(), error.to_string());
        let listener = listener
            .as_ref()
            .map_err(|error| Error::file(path)(refused(error)))?;
        *port = listener.local_addr().map_err(Error::file(path))?.port();
    }
    Ok(ports)
}

/// One free port of the loopback.
pub(crate) fn free_port() -> Result<u16, Error> {
    free_ports::<1>().map(|[port]| port)
}

fn unique(name: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("control-plane-{name}-{}-{count}", process::id())
}

fn literal(prefix: &str) -> IpNet {
    prefix.parse().expect("a literal prefix")
}
