//! How each program of a control plane is started: pure, from where it sits and what it may show.

use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;

use crate::binaries::{ETCD, KUBERNETES};
use crate::error::Error;
use crate::pki::{Authority, Leaf};
use crate::process::{Launch, Place};
use crate::state::StateFolder;

/// Where a control plane sits.
pub(crate) struct Seat {
    /// The namespaces of its programs.
    pub(crate) place: Place,
    /// The address of the API server.
    pub(crate) address: IpAddr,
    /// The port of the API server.
    pub(crate) port: u16,
    pub(crate) etcd_client: u16,
    pub(crate) etcd_peer: u16,
    pub(crate) service_cidrs: Vec<IpNet>,
    pub(crate) cluster_cidrs: Vec<IpNet>,
    /// Whether kubelets will join: then there is a scheduler, and their heartbeats are watched.
    pub(crate) has_nodes: bool,
}

/// What the programs of a control plane show each other.
pub(super) struct Credentials {
    pub(super) server: Leaf,
    pub(super) admin: Leaf,
    pub(super) controller_manager: Leaf,
    pub(super) scheduler: Leaf,
    pub(super) service_accounts: Leaf,
}

impl Seat {
    /// The URL at which its own programs and the kubelets reach the API server.
    pub(crate) fn url(&self) -> String {
        match self.address {
            IpAddr::V4(address) => format!("https://{address}:{}", self.port),
            IpAddr::V6(address) => format!("https://[{address}]:{}", self.port),
        }
    }

    fn etcd_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.etcd_client)
    }
}

/// etcd, which here need not survive a power failure.
pub(super) fn etcd(state: &StateFolder, seat: &Seat) -> Result<Launch, Error> {
    let peer = format!("http://127.0.0.1:{}", seat.etcd_peer);
    Ok(Launch::new("etcd", ETCD.binary("etcd")?)
        .arg(format!(
            "--data-dir={}",
            state.path().join("etcd").display()
        ))
        .arg("--unsafe-no-fsync")
        .arg(format!("--listen-client-urls={}", seat.etcd_url()))
        .arg(format!("--advertise-client-urls={}", seat.etcd_url()))
        .arg(format!("--listen-peer-urls={peer}"))
        .arg(format!("--initial-advertise-peer-urls={peer}"))
        .arg(format!("--initial-cluster=default={peer}"))
        .within(seat.place.clone()))
}

/// The API server. Kubelets are reached by their InternalIP: nothing resolves their names.
pub(super) fn api_server(
    seat: &Seat,
    authority: &Authority,
    credentials: &Credentials,
) -> Result<Launch, Error> {
    let accounts = &credentials.service_accounts;
    let launch = Launch::new("kube-apiserver", KUBERNETES.binary("kube-apiserver")?)
        .arg(format!("--etcd-servers={}", seat.etcd_url()))
        .arg(format!("--secure-port={}", seat.port))
        .arg(format!("--advertise-address={}", seat.address))
        .arg(format!(
            "--service-cluster-ip-range={}",
            list(&seat.service_cidrs)
        ))
        .arg(file("--client-ca-file", &authority.certificate()))
        .arg(file("--tls-cert-file", &credentials.server.certificate))
        .arg(file("--tls-private-key-file", &credentials.server.key))
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg(file("--service-account-key-file", &accounts.certificate))
        .arg(file("--service-account-signing-key-file", &accounts.key))
        .arg("--authorization-mode=Node,RBAC")
        .arg(file(
            "--kubelet-client-certificate",
            &credentials.admin.certificate,
        ))
        .arg(file("--kubelet-client-key", &credentials.admin.key))
        .arg("--kubelet-preferred-address-types=InternalIP")
        .arg("--allow-privileged=true")
        .within(seat.place.clone());
    // Alone it listens on a loopback address, which it refuses to publish as an endpoint.
    Ok(if seat.has_nodes {
        launch
    } else {
        launch
            .arg(format!("--bind-address={}", seat.address))
            .arg("--endpoint-reconciler-type=none")
    })
}

/// The controller manager. Without kubelets nobody must be declared dead for lack of a heartbeat.
pub(super) fn controller_manager(
    seat: &Seat,
    authority: &Authority,
    credentials: &Credentials,
) -> Result<Launch, Error> {
    let name = "kube-controller-manager";
    let kubeconfig = authority.kubeconfig(name, &seat.url(), &credentials.controller_manager)?;
    let launch = Launch::new(name, KUBERNETES.binary(name)?)
        .arg(file("--kubeconfig", &kubeconfig))
        .arg("--use-service-account-credentials")
        .arg(file(
            "--service-account-private-key-file",
            &credentials.service_accounts.key,
        ))
        .arg(file("--root-ca-file", &authority.certificate()))
        .arg("--leader-elect=false")
        .arg("--secure-port=0")
        .within(seat.place.clone());
    Ok(if seat.has_nodes {
        launch
            // Thousands of Services have their EndpointSlices within seconds, not minutes.
            .args(["--kube-api-qps=400", "--kube-api-burst=800"].map(str::to_owned))
            // A scenario that stops the API server for a minute must not cost the nodes their readiness: the heartbeats
            // they could not send would count as missed.
            .arg("--node-monitor-grace-period=5m")
            .arg("--allocate-node-cidrs")
            .arg(format!("--cluster-cidr={}", list(&seat.cluster_cidrs)))
            .args(seat.cluster_cidrs.iter().map(mask_size))
            .arg(format!(
                "--service-cluster-ip-range={}",
                list(&seat.service_cidrs)
            ))
    } else {
        launch.arg("--controllers=*,-node-lifecycle-controller")
    })
}

/// The scheduler.
pub(super) fn scheduler(
    seat: &Seat,
    authority: &Authority,
    credentials: &Credentials,
) -> Result<Launch, Error> {
    let name = "kube-scheduler";
    let kubeconfig = authority.kubeconfig(name, &seat.url(), &credentials.scheduler)?;
    Ok(Launch::new(name, KUBERNETES.binary(name)?)
        .arg(file("--kubeconfig", &kubeconfig))
        .arg(file("--authentication-kubeconfig", &kubeconfig))
        .arg(file("--authorization-kubeconfig", &kubeconfig))
        .arg("--leader-elect=false")
        .arg("--secure-port=0")
        .within(seat.place.clone()))
}

/// The size of a node's share of a cluster range.
fn mask_size(range: &IpNet) -> &'static str {
    match range {
        IpNet::V4(_) => "--node-cidr-mask-size-ipv4=24",
        IpNet::V6(_) => "--node-cidr-mask-size-ipv6=64",
    }
}

fn list(ranges: &[IpNet]) -> String {
    ranges
        .iter()
        .map(IpNet::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

fn file(option: &str, path: &Path) -> String {
    format!("{option}={}", path.display())
}
