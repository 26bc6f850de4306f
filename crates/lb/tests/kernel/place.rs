//! A node with a client and a pod, each in a network namespace, and a BPF file system that goes with the test.
//!
//! ```text
//!   client                        node                              pod
//!   up0 10.0.1.2/24 ═══════ eth0 10.0.1.1/24
//!       2001:db8:1::2/64         2001:db8:1::1/64
//!                           lxc0 10.244.0.1/32 ═══════ eth0 10.244.0.2/24
//!                                fd00:244::1/64             fd00:244::2/64
//! ```
//! The client reaches 172.16.1.0/24 and 2001:db8:16::/64, where virtual addresses are, by way of the node.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use aya::programs::{SchedClassifier, TcAttachType};
use lab::namespace::Namespace;
use lab::state::StateFolder;
use lb::{
    Algorithm, Backend, BackendState, Capacity, Frontend, FrontendAddress, LoadBalancer, Options,
    Protocol, Report, Service, Uplinks, Wish,
};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// More than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(10);
/// Where the echo service is asked, and where it runs.
pub(crate) const VIP: &str = "172.16.1.1";
pub(crate) const VIP6: &str = "2001:db8:16::1";
pub(crate) const POD: &str = "10.244.0.2";
pub(crate) const POD6: &str = "fd00:244::2";
pub(crate) const FRONTEND_PORT: u16 = 80;
pub(crate) const BACKEND_PORT: u16 = 8080;
pub(crate) const NODE: &str = "10.0.1.1";

/// Small tables: hundreds of megabytes for each test would be much.
pub(crate) const SMALL: Capacity = Capacity {
    frontends: 64,
    groups: 64,
    backends: 64,
    slots: 2 * lb_abi::SLOTS_PER_CHUNK,
    ring_slots: 2 * lb_abi::RING_SLOTS_PER_CHUNK,
    flows4: 4096,
    flows6: 4096,
    sockets: 4096,
};

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Three namespaces. They go when this is dropped.
pub(crate) struct Place {
    pub(crate) node: Namespace,
    pub(crate) client: Namespace,
    pub(crate) pod: Namespace,
    pub(crate) state: StateFolder,
    /// Mounted for the thread of the test and those it starts, and for nobody else.
    pub(crate) bpffs: PathBuf,
}

/// Runs a test on a thread of its own whose network is the node's and whose mounts are its own. Everything
/// that it starts inherits both.
pub(crate) fn at_a_node(name: &str, test: impl FnOnce(&Place) + Send) {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let state = StateFolder::create(&format!("lb-{name}-{}-{number}", std::process::id())).unwrap();
    let bpffs = state.folder("bpf").unwrap();
    let make = |machine| Namespace::create(&state, machine).unwrap();
    let place = Place {
        node: make("node"),
        client: make("client"),
        pod: make("pod"),
        state: state.clone(),
        bpffs,
    };
    place.wire();
    let result = place.node.run(|| {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(
            Some("bpf"),
            &place.bpffs,
            Some("bpf"),
            MsFlags::empty(),
            none,
        )
        .unwrap();
        test(&place);
    });
    result.unwrap();
}

impl Place {
    fn wire(&self) {
        let (client, pod) = (self.client.name(), self.pod.name());
        for namespace in [&self.node, &self.client, &self.pod] {
            for key in ["all", "default"] {
                let set = |key: &str, value| namespace.sysctl(key, value).unwrap();
                set(&format!("ipv6/conf/{key}/accept_dad"), "0");
                set(&format!("ipv4/conf/{key}/rp_filter"), "0");
                set(&format!("ipv4/conf/{key}/forwarding"), "1");
                set(&format!("ipv6/conf/{key}/forwarding"), "1");
            }
            namespace.ip("link set lo up").unwrap();
        }
        self.node
            .ip(&format!(
                "link add eth0 type veth peer up0 netns {client}\n\
                 link add lxc0 type veth peer eth0 netns {pod}\n\
                 address add {NODE}/24 dev eth0\n\
                 address add 2001:db8:1::1/64 dev eth0 nodad\n\
                 address add 10.244.0.1/32 dev lxc0\n\
                 address add fd00:244::1/64 dev lxc0 nodad\n\
                 link set eth0 up\n\
                 link set lxc0 up\n\
                 route add 10.244.0.0/24 dev lxc0"
            ))
            .unwrap();
        self.client
            .ip("address add 10.0.1.2/24 dev up0\n\
                 address add 2001:db8:1::2/64 dev up0 nodad\n\
                 link set up0 up\n\
                 route add 172.16.1.0/24 via 10.0.1.1\n\
                 route add 2001:db8:16::/64 via 2001:db8:1::1")
            .unwrap();
        self.pod
            .ip(&format!(
                "address add {POD}/24 dev eth0\n\
                 address add {POD6}/64 dev eth0 nodad\n\
                 link set eth0 up\n\
                 route add 10.244.0.1 dev eth0 scope link\n\
                 route add default via 10.244.0.1\n\
                 route add default via fd00:244::1"
            ))
            .unwrap();
    }

    pub(crate) fn pin_root(&self) -> PathBuf {
        self.bpffs.join("tombolo")
    }

    /// Where this version pins what is its own.
    pub(crate) fn version(&self) -> PathBuf {
        self.pin_root().join(version())
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            pin_root: self.pin_root(),
            sockets: false,
            uplinks: Uplinks::Detect,
            pod_interfaces: vec!["lxc*".to_owned()],
            memory: Some(1 << 30),
            ..Options::default()
        }
    }

    pub(crate) fn start(&self, options: Options) -> Ours {
        let (sender, reports) = channel();
        // A test that has stopped listening has what it wants.
        let listener = move |report| drop(sender.send(report));
        let balancer = LoadBalancer::start(options, listener).unwrap();
        Ours {
            balancer,
            reports,
            latest: Report::default(),
        }
    }

    /// One `ip` command at the node, and what it prints.
    pub(crate) fn ip(&self, command: &str) -> String {
        let output = Command::new("ip")
            .args(command.split_whitespace())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip {command}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Whether a program is attached to an interface's traffic control.
    pub(crate) fn has_programs(&self, interface: &str) -> bool {
        let directions = [TcAttachType::Ingress, TcAttachType::Egress];
        directions.into_iter().any(|direction| {
            let attached = SchedClassifier::query_tcx(interface, direction);
            attached.is_ok_and(|(_, programs)| !programs.is_empty())
        })
    }

    /// The names of what is pinned in a folder below the root.
    pub(crate) fn pinned(&self, folder: &str) -> Vec<String> {
        names(&self.version().join(folder))
    }

    /// Serves at the pod until dropped: datagrams are sent back, connections accepted by the kernel.
    pub(crate) fn serve(&self) -> Echo {
        let bind = || {
            let at = SocketAddr::from((Ipv6Addr::UNSPECIFIED, BACKEND_PORT));
            (UdpSocket::bind(at).unwrap(), TcpListener::bind(at).unwrap())
        };
        let (datagrams, listener) = self.pod.run(bind).unwrap();
        datagrams
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((length, peer)) = datagrams.recv_from(&mut buffer) {
                    datagrams.send_to(&buffer[..length], peer).unwrap();
                }
            }
        });
        Echo {
            stop,
            thread: Some(thread),
            _listener: listener,
        }
    }

    /// A socket of the client, connected to an address.
    pub(crate) fn client_socket(&self, target: SocketAddr) -> UdpSocket {
        let any = if target.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        connected(&self.client, any, target)
    }

    /// A socket of the pod, connected to an IPv4 address.
    pub(crate) fn pod_socket(&self, target: SocketAddr) -> UdpSocket {
        connected(&self.pod, "0.0.0.0:0", target)
    }

    /// Whether the client gets an answer from the virtual address of a family.
    pub(crate) fn is_answered(&self, address: &str) -> bool {
        let target = SocketAddr::new(address.parse().unwrap(), FRONTEND_PORT);
        let socket = self.client_socket(target);
        let mut buffer = [0; 16];
        socket.send(b"ping").is_ok() && socket.recv(&mut buffer).is_ok_and(|length| length == 4)
    }
}

fn connected(namespace: &Namespace, own: &str, target: SocketAddr) -> UdpSocket {
    let bind = || UdpSocket::bind(own).unwrap();
    let socket = namespace.run(bind).unwrap();
    socket.connect(target).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    socket
}

/// Waits until something holds.
pub(crate) fn until(patience: Duration, awaited: &str, condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(
            begin.elapsed() < patience,
            "not within {patience:?}: {awaited}"
        );
        std::thread::yield_now();
    }
}

/// What serves at the pod.
pub(crate) struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _listener: TcpListener,
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// A wish with the echo service behind a virtual address of either family, for UDP and TCP.
pub(crate) fn wish() -> Wish {
    let backend = |address: &str| Backend {
        address: address.parse().unwrap(),
        port: BACKEND_PORT,
        is_local: true,
        state: BackendState::Active,
    };
    let mut frontends = Vec::new();
    for (address, pod) in [(VIP, POD), (VIP6, POD6)] {
        let backends: Arc<[Backend]> = Arc::from([backend(pod)]);
        frontends.extend([Protocol::Udp, Protocol::Tcp].map(|protocol| Frontend {
            address: FrontendAddress::LoadBalancer(address.parse().unwrap()),
            port: FRONTEND_PORT,
            protocol,
            external: Arc::clone(&backends),
            internal: Arc::clone(&backends),
        }));
    }
    let service = Service {
        algorithm: Algorithm::Random,
        frontends,
    };
    let node: IpAddr = NODE.parse().unwrap();
    Wish {
        services: BTreeMap::from([(Arc::from("default/echo"), Arc::new(service))]),
        node_addresses: [node].into(),
        ..Wish::default()
    }
}

/// A handle and its reports.
pub(crate) struct Ours {
    pub(crate) balancer: LoadBalancer,
    reports: Receiver<Report>,
    latest: Report,
}

impl Ours {
    /// Wishes for the echo service and waits until it is there.
    pub(crate) fn ready(&mut self) -> Report {
        self.balancer.wish(wish());
        self.until("it is ready", |report| {
            report.ready && report.programmed.len() == 2
        })
    }

    pub(crate) fn until(&mut self, awaited: &str, condition: impl Fn(&Report) -> bool) -> Report {
        let end = Instant::now() + LONG;
        while !condition(&self.latest) {
            let rest = end.saturating_duration_since(Instant::now());
            match self.reports.recv_timeout(rest) {
                Ok(report) => self.latest = report,
                Err(error) => panic!(
                    "not within {LONG:?} ({error}): {awaited}\n{:#?}",
                    self.latest
                ),
            }
        }
        self.latest.clone()
    }

    pub(crate) fn stop(self) {
        self.balancer.stop().unwrap();
    }
}

/// The name of this version's folder.
pub(crate) fn version() -> String {
    format!("v{}", lb_abi::SCHEMA)
}

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}
