//! The agent at 10,000 Services with ten endpoints each, on a real API server: how long a start takes, how long a change, how much memory
//! of the process and of the kernel.
//!
//! ```sh
//! cargo bench -p agent --bench services -- [--services N] [--changes N] [--algorithm random|maglev]...
//! ```
//!
//! Needs root and the programs that `cargo xtask setup` builds. All is measured from outside: what is in the maps, what the kernel says of
//! the process. The API server, its store and this program share the machine with the agent.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that talks to a person"
)]

mod node;
mod objects;
mod process;
mod report;
mod tables;

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use node::Node;
use objects::Objects;
use process::Agent;
use report::{MEGABYTE, Report, Samples};
use tables::Tables;
use tokio::runtime::Runtime;

/// Longest any step may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Services of the most costly kind, each with a ClusterIP, a NodePort and an address for the outside; the others have a ClusterIP alone.
const LOAD_BALANCERS: u32 = 2_000;
/// Endpoints of a Service.
const ENDPOINTS: u32 = 10;
/// Services that change all at once.
const BURST: u32 = 1_000;
/// Milliseconds from an endpoint's change to the maps, of all but one in a hundred.
const CHANGE_GOAL: f64 = 50.0;
/// How often that is tried.
const ROUNDS: usize = 3;
/// How long nothing happens while it is measured what that costs.
const IDLE: Duration = Duration::from_secs(20);

type Failure = Box<dyn Error + Send + Sync>;
type Result<T> = std::result::Result<T, Failure>;

/// What a person asked for.
struct Wish {
    services: u32,
    changes: u32,
    algorithms: Vec<String>,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Wish> {
    let mut wish = Wish {
        services: 10_000,
        changes: 200,
        algorithms: Vec::new(),
    };
    while let Some(flag) = arguments.next() {
        if flag == "--bench" {
            continue;
        }
        let value = arguments.next();
        let value = value.ok_or_else(|| format!("{flag} wants a value"))?;
        match flag.as_str() {
            "--services" => wish.services = value.parse()?,
            "--changes" => wish.changes = value.parse()?,
            "--algorithm" => wish.algorithms.push(value),
            _ => return Err(format!("unknown flag {flag}").into()),
        }
    }
    if wish.algorithms.is_empty() {
        wish.algorithms = vec!["random".to_owned(), "maglev".to_owned()];
    }
    Ok(wish)
}

fn main() -> ExitCode {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("run by cargo bench -p agent --bench services");
        return ExitCode::SUCCESS;
    }
    let outcome = parse(std::env::args().skip(1))
        .and_then(|wish| node::at_a_node(|node| Bench::new(node)?.run(&wish)));
    match outcome {
        Ok(report) if report.is_missed_by_far() => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

struct Bench<'a> {
    node: &'a Node,
    runtime: Runtime,
    objects: Objects,
    report: Report,
}

impl<'a> Bench<'a> {
    fn new(node: &'a Node) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let options = cluster::ConnectOptions {
            kubeconfig: Some(node.plane.kubeconfig().to_owned()),
            api_server: None,
        };
        let client = runtime.block_on(cluster::connect(&options))?;
        Ok(Self {
            node,
            runtime,
            objects: Objects::new(client),
            report: Report::default(),
        })
    }

    fn run(mut self, wish: &Wish) -> Result<Report> {
        self.report.machine();
        self.runtime.block_on(self.objects.make_node())?;
        let costly = LOAD_BALANCERS.min(wish.services);
        self.fill(costly)?;
        let begin = Instant::now();
        self.runtime
            .block_on(self.objects.make_services(costly..wish.services))?;
        let what = format!("{} more Services made in", wish.services - costly);
        self.report
            .row(&what, begin.elapsed().as_secs_f64(), "s", None);
        for algorithm in &wish.algorithms {
            self.measure(algorithm, wish)?;
        }
        Ok(self.report)
    }

    /// Memory of the maps with next to no Services, and with some of the most costly kind.
    fn fill(&mut self, services: u32) -> Result<()> {
        let agent = Agent::start(self.node, "random")?;
        agent.await_ready()?;
        let tables = Tables::open(&self.node.maps())?;
        let empty = tables.memory()?;
        let begin = Instant::now();
        self.runtime
            .block_on(self.objects.make_services(0..services))?;
        let made = begin.elapsed();
        tables.await_services(0..services, PATIENCE)?;
        let full = tables.memory()?;
        let megabytes = |bytes: u64| bytes as f64 / MEGABYTE;
        self.report.row(
            "kernel memory of maps, one Service",
            megabytes(empty),
            "MB",
            Some(100.0),
        );
        let what = format!("kernel memory that {services} LoadBalancers with NodePorts add");
        let added = megabytes(full - empty);
        self.report.row(&what, added, "MB", Some(10.0));
        let what = format!("{services} such Services made, and followed by an agent, in");
        self.report.row(&what, made.as_secs_f64(), "s", None);
        agent.terminate()
    }

    fn measure(&mut self, algorithm: &str, wish: &Wish) -> Result<()> {
        self.report.section(&format!(
            "{} Services of {ENDPOINTS} endpoints, {algorithm}",
            wish.services
        ));
        let agent = self.start_cold(algorithm, wish)?;
        let tables = Tables::open(&self.node.maps())?;
        let memory = tables.memory()? as f64 / MEGABYTE;
        self.report.row("kernel memory of maps", memory, "MB", None);
        self.memory(&agent, "after the start")?;
        self.change(&tables, wish)?;
        self.memory(&agent, "after the changes")?;
        self.burst(&tables, wish)?;
        self.memory(&agent, "after the burst")?;
        self.idle(&agent)?;
        agent.kill()?;
        self.start_warm(algorithm)
    }

    /// From the process to the last Service in the maps.
    fn start_cold(&mut self, algorithm: &str, wish: &Wish) -> Result<Agent> {
        if self.node.maps().exists() {
            return Err("the maps of the agent before are still there".into());
        }
        let begin = Instant::now();
        let agent = Agent::start(self.node, algorithm)?;
        let tables = Tables::await_open(&self.node.maps(), PATIENCE)?;
        tables.await_services(0..wish.services, PATIENCE)?;
        let programmed = begin.elapsed();
        agent.await_ready()?;
        let ready = begin.elapsed();
        let usage = agent.usage()?;
        let seconds = programmed.as_secs_f64();
        self.report
            .row("cold start to the last Service", seconds, "s", Some(10.0));
        self.report
            .row("cold start to ready", ready.as_secs_f64(), "s", None);
        self.report.row(
            "processor time of a cold start",
            usage.cpu.as_secs_f64(),
            "s",
            None,
        );
        let withheld = agent.withheld()?;
        let what = "Services that did not fit into the maps";
        self.report.row(what, withheld, "", Some(0.0));
        Ok(agent)
    }

    fn memory(&mut self, agent: &Agent, when: &str) -> Result<()> {
        let usage = agent.usage()?;
        let what = format!(
            "RSS {when} (anonymous {:.0}, peak {:.0})",
            usage.anonymous, usage.peak
        );
        self.report.row(&what, usage.resident, "MB", Some(150.0));
        Ok(())
    }

    /// Changes, of which the best of some rounds counts: one busy moment of the machine decides the slowest hundredth.
    fn change(&mut self, tables: &Tables, wish: &Wish) -> Result<()> {
        let mut rounds = Vec::new();
        while rounds.len() < ROUNDS && rounds.iter().all(|p99| *p99 > CHANGE_GOAL) {
            rounds.push(self.change_once(tables, wish)?);
        }
        let best = rounds.iter().copied().fold(f64::INFINITY, f64::min);
        let what = format!("endpoint change to the map, p99, best of {}", rounds.len());
        self.report.row(&what, best, "ms", Some(CHANGE_GOAL));
        Ok(())
    }

    /// One endpoint after the other is replaced, at no fixed distance. The p99 of the times until the maps have it, in milliseconds.
    fn change_once(&mut self, tables: &Tables, wish: &Wish) -> Result<f64> {
        let mut answered = Samples::default();
        let mut programmed = Samples::default();
        for number in 0..wish.changes {
            report::pause(number);
            let service = (number * 4_711 + 13) % wish.services;
            let replacement = self.objects.replacement();
            let begin = Instant::now();
            let seen = std::thread::scope(|scope| -> Result<Instant> {
                let watch = || tables.await_backend(service, replacement, PATIENCE);
                let watch = scope.spawn(watch);
                let change = self.objects.replace(service, replacement);
                self.runtime.block_on(change)?;
                answered.push(begin.elapsed());
                watch.join().map_err(|_| "the watching thread panicked")?
            })?;
            programmed.push(seen - begin);
        }
        let changes = wish.changes;
        let what = format!("endpoint change to the API server's answer, p50 of {changes}");
        self.report.row(&what, answered.quantile(0.5), "ms", None);
        self.report
            .row("  the same, p99", answered.quantile(0.99), "ms", None);
        let what = "endpoint change to the map, p50";
        self.report.row(what, programmed.quantile(0.5), "ms", None);
        let p99 = programmed.quantile(0.99);
        self.report.row("  the same, p99", p99, "ms", None);
        Ok(p99)
    }

    /// Many change at once.
    fn burst(&mut self, tables: &Tables, wish: &Wish) -> Result<()> {
        let changes: Vec<_> = (0..BURST.min(wish.services))
            .map(|service| (service, self.objects.replacement()))
            .collect();
        self.runtime.block_on(self.objects.replace_all(&changes))?;
        let begin = Instant::now();
        for (service, replacement) in &changes {
            tables.await_backend(*service, *replacement, PATIENCE)?;
        }
        let what = format!("{} changes at once: last answer to the map", changes.len());
        self.report
            .row(&what, begin.elapsed().as_secs_f64() * 1e3, "ms", None);
        Ok(())
    }

    fn idle(&mut self, agent: &Agent) -> Result<()> {
        let before = agent.usage()?;
        std::thread::sleep(IDLE);
        let after = agent.usage()?;
        let share = (after.cpu - before.cpu).as_secs_f64() / IDLE.as_secs_f64();
        self.report
            .row("processor while nothing happens", share * 100.0, "%", None);
        Ok(())
    }

    /// A successor takes the maps over.
    fn start_warm(&mut self, algorithm: &str) -> Result<()> {
        let begin = Instant::now();
        let agent = Agent::start(self.node, algorithm)?;
        agent.await_ready()?;
        let what = "killed and started again, to ready";
        self.report
            .row(what, begin.elapsed().as_secs_f64(), "s", Some(10.0));
        self.memory(&agent, "after that")?;
        agent.terminate()
    }
}
