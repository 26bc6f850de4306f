//! How many routes a second go into the kernel of this machine, out again, and are adopted after a restart.
//!
//! `cargo bench -p fib --bench kernel [-- ROUTES…]`, as root. Each row in a network namespace of its own, whose table main is otherwise
//! empty but for two links.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench talks to a person and fails by panicking"
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use fib::{Command, Fib, Form, Identity, NextHop, NextHopSet, Report};
use ipnet::IpNet;
use lab::namespace::Namespace;
use lab::state::StateFolder;

const IDENTITY: Identity = Identity {
    table: 254,
    protocol: 186,
    metric: 20,
};
/// Commands per batch, as a speaker under load would send them.
const BATCH: usize = 4096;

struct Row {
    title: &'static str,
    form: Form,
    gateways: &'static [&'static str],
    prefix: fn(u32) -> IpNet,
}

const ROWS: &[Row] = &[
    Row {
        title: "IPv4, 1 next hop, objects",
        form: Form::Objects,
        gateways: &["10.0.1.2"],
        prefix: ipv4,
    },
    Row {
        title: "IPv4, 1 next hop, inline",
        form: Form::Inline,
        gateways: &["10.0.1.2"],
        prefix: ipv4,
    },
    Row {
        title: "IPv4, 4 next hops, objects",
        form: Form::Objects,
        gateways: &["10.0.1.2", "10.0.1.3", "10.0.2.2", "10.0.2.3"],
        prefix: ipv4,
    },
    Row {
        title: "IPv4, 4 next hops, inline",
        form: Form::Inline,
        gateways: &["10.0.1.2", "10.0.1.3", "10.0.2.2", "10.0.2.3"],
        prefix: ipv4,
    },
    Row {
        title: "IPv6, 4 next hops, objects",
        form: Form::Objects,
        gateways: &[
            "2001:db8:1::2",
            "2001:db8:1::3",
            "2001:db8:2::2",
            "2001:db8:2::3",
        ],
        prefix: ipv6,
    },
    Row {
        title: "IPv6, 4 next hops, inline",
        form: Form::Inline,
        gateways: &[
            "2001:db8:1::2",
            "2001:db8:1::3",
            "2001:db8:2::2",
            "2001:db8:2::3",
        ],
        prefix: ipv6,
    },
];

fn ipv4(number: u32) -> IpNet {
    IpNet::new_assert(Ipv4Addr::from_bits(0x1400_0000 + (number << 8)).into(), 24)
}

fn ipv6(number: u32) -> IpNet {
    let bits = 0x2002_u128 << 112 | u128::from(number) << 80;
    IpNet::new_assert(Ipv6Addr::from_bits(bits).into(), 48)
}

fn main() {
    let counts = std::env::args().filter_map(|argument| argument.parse::<u32>().ok());
    let mut counts: Vec<u32> = counts.collect();
    if counts.is_empty() {
        counts = vec![100_000, 1_000_000];
    }
    println!(
        "{:<28} {:>9}  {:>9} {:>9} {:>9} {:>9}  {:>8}",
        "", "routes", "install/s", "adopt/s", "move/s", "remove/s", "peak MB"
    );
    for routes in counts {
        for row in ROWS {
            measure(row, routes);
        }
    }
}

fn measure(row: &Row, routes: u32) {
    let state = StateFolder::create(&format!("fib-bench-{}", std::process::id())).unwrap();
    let namespace = Namespace::create(&state, "host").unwrap();
    namespace
        .ip("link set lo up\nlink add a0 type veth peer a1\nlink add b0 type veth peer b1\nlink set a1 up\nlink set b1 up\nlink set a0 up\nlink set b0 up\naddress add 10.0.1.1/24 dev a0\naddress add 10.0.2.1/24 dev b0\naddress add 2001:db8:1::1/64 dev a0 nodad\naddress add 2001:db8:2::1/64 dev b0 nodad")
        .unwrap();
    let hops = |gateways: &[&str]| {
        let hops = gateways
            .iter()
            .map(|text| NextHop::from(text.parse::<IpAddr>().unwrap()));
        NextHopSet::new(hops).unwrap()
    };
    let next_hops = hops(row.gateways);
    let others = hops(&row.gateways[..row.gateways.len().min(2)]);
    let moved = if others == next_hops {
        hops(&["10.0.2.2"])
    } else {
        others
    };
    let set = |next_hops: &NextHopSet| {
        let next_hops = next_hops.clone();
        move |number| Command::Set {
            prefix: (row.prefix)(number),
            next_hops: next_hops.clone(),
        }
    };
    let mut run = Run::start(&namespace, row.form);
    let install = run.measure(routes, set(&next_hops), routes as usize);
    run.fib.stop().unwrap();
    let mut run = Run::start(&namespace, row.form);
    let adopt = run.measure(routes, set(&next_hops), routes as usize);
    assert_eq!(
        run.report.counters.created + run.report.counters.replaced,
        0
    );
    let shift = run.measure(routes, set(&moved), routes as usize);
    let remove = run.measure(
        routes,
        |number| Command::Remove {
            prefix: (row.prefix)(number),
        },
        0,
    );
    run.fib.stop().unwrap();
    let per_second = |time: Duration| f64::from(routes) / time.as_secs_f64();
    println!(
        "{:<28} {routes:>9}  {:>9.0} {:>9.0} {:>9.0} {:>9.0}  {:>8}",
        row.title,
        per_second(install),
        per_second(adopt),
        per_second(shift),
        per_second(remove),
        peak_megabytes(),
    );
    namespace.delete().unwrap();
}

struct Run {
    fib: Fib,
    reports: Receiver<Report>,
    report: Report,
    batches: u64,
}

impl Run {
    fn start(namespace: &Namespace, form: Form) -> Self {
        let (fib, reports) = namespace
            .run(|| Fib::start(IDENTITY, form))
            .unwrap()
            .unwrap();
        Self {
            fib,
            reports,
            report: Report::default(),
            batches: 0,
        }
    }

    /// The time from the first command until all is done and so many are installed.
    fn measure(
        &mut self,
        routes: u32,
        command: impl Fn(u32) -> Command,
        installed: usize,
    ) -> Duration {
        let numbers: Vec<u32> = (0..routes).collect();
        let begin = Instant::now();
        for chunk in numbers.chunks(BATCH) {
            self.fib
                .send(chunk.iter().map(|number| command(*number)).collect())
                .unwrap();
            self.batches += 1;
        }
        self.fib.send(vec![Command::Complete]).unwrap();
        self.batches += 1;
        while !(self.report.batches == self.batches && self.report.is_settled()) {
            self.report = self.reports.recv().unwrap();
        }
        let time = begin.elapsed();
        assert_eq!(self.report.installed, installed, "{:?}", self.report);
        time
    }
}

/// The most memory this process has had so far.
fn peak_megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kilobytes = line.trim().trim_end_matches(" kB");
    kilobytes.parse::<u64>().unwrap() / 1024
}
