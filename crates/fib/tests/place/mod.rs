//! A network namespace with two links, and a handle whose reports can be awaited.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use fib::{Command, Fib, Form, Identity, NextHop, NextHopSet, Report};
use lab::namespace::Namespace;
use lab::state::StateFolder;

pub(crate) fn set(prefix: &str, gateways: &[&str]) -> Command {
    Command::Set {
        prefix: prefix.parse().unwrap(),
        next_hops: NextHopSet::new(gateways.iter().map(|text| hop(text))).unwrap(),
    }
}

pub(crate) fn hop(gateway: &str) -> NextHop {
    NextHop::from(gateway.parse::<IpAddr>().unwrap())
}

pub(crate) fn remove(prefix: &str) -> Command {
    Command::Remove {
        prefix: prefix.parse().unwrap(),
    }
}

/// Whether what needs root can be tested; says so if it cannot.
pub(crate) fn is_root() -> bool {
    let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    if !root {
        eprintln!("skipped: this needs root");
    }
    root
}

/// A namespace. It goes when this is dropped, with the folder that records it.
pub(crate) struct Place {
    namespace: Namespace,
    _state: StateFolder,
}

impl Place {
    /// `None`, with a word to the reader, where namespaces cannot be made.
    pub(crate) fn make(name: &str) -> Option<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        if !is_root() {
            return None;
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("fib-{name}-{}-{number}", std::process::id());
        let state = StateFolder::create(&name).unwrap();
        let namespace = Namespace::create(&state, "host").unwrap();
        for key in ["default", "all"] {
            namespace
                .sysctl(&format!("ipv6/conf/{key}/accept_dad"), "0")
                .unwrap();
        }
        namespace
            .ip("link set lo up\nlink add a0 type veth peer a1\nlink add b0 type veth peer b1\nlink set a1 up\nlink set b1 up\nlink set a0 up\nlink set b0 up\naddress add 10.0.1.1/24 dev a0\naddress add 10.0.2.1/24 dev b0")
            .unwrap();
        let place = Self {
            namespace,
            _state: state,
        };
        place.readdress();
        // Addresses take effect a moment later: ::1, two of ours, and one of each end by itself.
        place.until(Duration::from_secs(5), "all addresses", || {
            let routes = place.ip("-6 route show table local");
            routes
                .lines()
                .filter(|line| line.starts_with("local"))
                .count()
                == 7
        });
        Some(place)
    }

    /// IPv6 addresses go when their link goes down.
    pub(crate) fn readdress(&self) {
        self.ip("address replace 2001:db8:1::1/64 dev a0 nodad");
        self.ip("address replace 2001:db8:2::1/64 dev b0 nodad");
    }

    pub(crate) fn start(&self, identity: Identity, form: Form) -> Ours {
        let (fib, reports) = self.run(|| Fib::start(identity, form)).unwrap();
        Ours {
            fib,
            reports,
            latest: Report::default(),
            batches: 0,
        }
    }

    pub(crate) fn run<T: Send>(&self, function: impl FnOnce() -> T + Send) -> T {
        self.namespace.run(function).unwrap()
    }

    /// One `ip` command and what it prints, or a batch of them.
    pub(crate) fn ip(&self, command: &str) -> String {
        if command.contains('\n') {
            self.namespace.ip(command).unwrap();
            return String::new();
        }
        let output = self
            .namespace
            .exec("ip", command.split_whitespace())
            .unwrap();
        assert!(output.success(), "ip {command}: {}", output.stderr);
        output.stdout.trim_end().to_owned()
    }

    /// What an `ip` command prints, nothing where it fails.
    pub(crate) fn ip_or_nothing(&self, command: &str) -> String {
        let words = command.split_whitespace();
        let output = self.namespace.exec("ip", words).unwrap();
        if output.success() {
            output.stdout
        } else {
            String::new()
        }
    }

    pub(crate) fn sysctl(&self, key: &str, value: &str) {
        self.namespace.sysctl(key, value).unwrap();
    }

    pub(crate) fn all_routes(&self) -> String {
        format!(
            "{}\n{}",
            self.ip("-details route show table all"),
            self.ip("-6 -details route show table all")
        )
    }

    /// All routes with a protocol number, in no order that could change.
    pub(crate) fn routes_of(&self, protocol: u8) -> String {
        let ipv4 = self.ip(&format!("route show proto {protocol}"));
        let ipv6 = self.ip(&format!("-6 route show proto {protocol}"));
        let ids = |line: &str| {
            // Objects that were made again have other identifiers.
            let words = line.split_whitespace();
            let mut after_nhid = false;
            let kept: Vec<&str> = words
                .filter(|word| {
                    let skip = after_nhid || *word == "nhid";
                    after_nhid = *word == "nhid";
                    !skip
                })
                .collect();
            kept.join(" ")
        };
        let lines = ipv4.lines().chain(ipv6.lines()).map(ids);
        let lines: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
        lines.join("\n")
    }

    /// The gateways of the route to a prefix with our protocol number in the table main, ascending.
    pub(crate) fn gateways(&self, prefix: &str) -> Vec<String> {
        let family = if prefix.contains(':') { "-6" } else { "-4" };
        let text = self.ip(&format!("{family} route show exact {prefix} proto 186"));
        let words: Vec<&str> = text.split_whitespace().collect();
        let vias = words.windows(3).filter(|words| words[0] == "via");
        let mut gateways: Vec<String> = vias
            .map(|words| {
                if words[1] == "inet6" {
                    words[2]
                } else {
                    words[1]
                }
                .to_owned()
            })
            .collect();
        gateways.sort();
        gateways.dedup();
        gateways
    }

    pub(crate) fn until(&self, patience: Duration, awaited: &str, condition: impl Fn() -> bool) {
        let begin = Instant::now();
        while !condition() {
            assert!(
                begin.elapsed() < patience,
                "not within {patience:?}: {awaited}\n{}\n{}",
                self.all_routes(),
                self.ip("nexthop show")
            );
        }
    }

    /// Listens to what is written from now on.
    pub(crate) fn monitor(&self) -> Monitor {
        let mut command = self.namespace.command("ip");
        command.args(["-o", "monitor", "route", "nexthop"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        let mut monitor = Monitor {
            child,
            lines: Box::new(lines.map_while(Result::ok)),
        };
        let begin = Instant::now();
        loop {
            assert!(
                begin.elapsed() < Duration::from_secs(5),
                "ip monitor does not start"
            );
            let process = monitor.child.id();
            if self.is_listening(process) && is_waiting(process) {
                break;
            }
        }
        self.ip("route add 10.9.9.8/32 dev a0 proto static");
        assert_eq!(monitor.routes_until("10.9.9.8"), [""; 0]);
        monitor
    }

    /// Whether the netlink socket of a process, which bears its number, is a member of the groups of IPv4 routes and nexthop objects.
    fn is_listening(&self, process: u32) -> bool {
        const GROUPS: u32 = 1 << 31 | 1 << 6;
        let text = self.run(|| std::fs::read_to_string("/proc/thread-self/net/netlink").unwrap());
        text.lines().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.get(1..3) == Some(&["0", &process.to_string()])
                && u32::from_str_radix(words[3], 16).is_ok_and(|groups| groups & GROUPS == GROUPS)
        })
    }
}

/// Whether a process waits for a message. `ip monitor` reads the names of devices first, and drops what it hears meanwhile.
fn is_waiting(process: u32) -> bool {
    let wait = std::fs::read_to_string(format!("/proc/{process}/wchan"));
    wait.is_ok_and(|wait| wait.contains("wait_for_more_packets"))
}

impl Drop for Place {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.namespace.delete().unwrap();
        }
    }
}

pub(crate) struct Monitor {
    child: Child,
    lines: Box<dyn Iterator<Item = String>>,
}

impl Monitor {
    /// What was written before the line that contains this.
    pub(crate) fn routes_until(&mut self, mark: &str) -> Vec<String> {
        self.lines
            .by_ref()
            .take_while(|line| !line.contains(mark))
            .collect()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A handle and its reports.
pub(crate) struct Ours {
    fib: Fib,
    reports: Receiver<Report>,
    latest: Report,
    batches: u64,
}

impl Ours {
    pub(crate) fn say(&mut self, commands: impl IntoIterator<Item = Command>) {
        self.batches += 1;
        self.fib.send(commands.into_iter().collect()).unwrap();
    }

    /// Everything said is done.
    pub(crate) fn settled(&mut self) -> Report {
        let batches = self.batches;
        self.until(Duration::from_secs(5), "everything is done", |report| {
            report.batches == batches && report.is_settled()
        })
    }

    pub(crate) fn until(
        &mut self,
        patience: Duration,
        awaited: &str,
        condition: impl Fn(&Report) -> bool,
    ) -> Report {
        let end = Instant::now() + patience;
        while !condition(&self.latest) {
            let rest = end.saturating_duration_since(Instant::now());
            match self.reports.recv_timeout(rest) {
                Ok(report) => self.latest = report,
                Err(error) => panic!(
                    "not within {patience:?} ({error}): {awaited}\n{:#?}",
                    self.latest
                ),
            }
        }
        self.latest.clone()
    }

    pub(crate) fn latest(&mut self) -> &Report {
        self.latest = self
            .reports
            .try_iter()
            .last()
            .unwrap_or_else(|| self.latest.clone());
        &self.latest
    }

    pub(crate) fn stop(self) {
        self.fib.stop().unwrap();
    }
}
