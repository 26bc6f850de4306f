//! A table from one peer into the kernel: through this agent's speaker and routes' task, through BIRD, and through FRR's bgpd
//! and zebra. Time from the first octet of the table sent to the last route in the kernel, and what that cost.
//!
//! ```sh
//! cargo bench -p agent --bench routes -- [--prefixes N]... [--only DAEMON]... [--runs N] [--limit SECONDS]
//! ```
//!
//! Needs root (network namespaces) and the other daemons where they are to be compared; those missing are named and left out.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that talks to a person"
)]

mod daemons;
mod feeder;
mod kernel;
#[path = "../../../bgp/benches/load/mod.rs"]
mod load;
#[path = "../../../bgp/benches/peers/network.rs"]
mod network;
mod ours;
#[path = "../../../bgp/benches/usage/mod.rs"]
mod usage;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{fs, io};

use daemons::Daemon;
use feeder::Feeder;
use kernel::Kernel;
use load::Table;
use network::{Network, peer_address};
use usage::Usage;

/// AS of the speaker under test, and of the peer that sends.
const LOCAL_ASN: u32 = 65000;
const PEER_ASN: u32 = 65001;
/// Long enough that nobody needs a keepalive during a run.
const HOLD_TIME: u16 = 3600;

/// What a person asked for.
struct Wish {
    prefixes: Vec<u32>,
    only: Vec<Daemon>,
    runs: usize,
    limit: Duration,
}

/// What one run showed.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    /// From the first octet to the last route; `None` if the limit came first.
    time: Option<Duration>,
    routes: u32,
    usage: Usage,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Wish, String> {
    let mut wish = Wish {
        prefixes: Vec::new(),
        only: Vec::new(),
        runs: 1,
        limit: Duration::from_secs(300),
    };
    while let Some(flag) = arguments.next() {
        if flag == "--bench" {
            continue;
        }
        let value = arguments
            .next()
            .ok_or_else(|| format!("{flag} wants a value"))?;
        let number = || {
            value
                .parse::<u32>()
                .map_err(|error| format!("{flag} {value}: {error}"))
        };
        match flag.as_str() {
            "--prefixes" => wish.prefixes.push(number()?),
            "--only" => {
                let daemon = Daemon::ALL
                    .into_iter()
                    .find(|daemon| daemon.name() == value);
                wish.only
                    .push(daemon.ok_or_else(|| format!("no daemon {value}"))?);
            }
            "--runs" => wish.runs = number()? as usize,
            "--limit" => wish.limit = Duration::from_secs(number()?.into()),
            _ => return Err(format!("unknown flag {flag}")),
        }
    }
    if wish.prefixes.is_empty() {
        wish.prefixes = vec![100_000, 1_000_000];
    }
    Ok(wish)
}

/// A table like the Internet's: five prefixes in an UPDATE, ten to a set of attributes.
fn table(prefixes: u32) -> Table {
    Table {
        prefixes,
        per_update: 5,
        sets: prefixes / 10,
    }
}

fn run(prefixes: u32, daemon: Daemon, limit: Duration) -> io::Result<Outcome> {
    let folder = Folder::new()?;
    let network = Network::new(1)?;
    let table = table(prefixes).encode(PEER_ASN, peer_address(0));
    let running = daemon.start(&network, &folder.0)?;
    let kernel = Kernel::of(running.process());
    let feeder = Feeder::establish()?;
    let routes_before = kernel.routes()?;
    let before = running.usage()?;
    let begin = Instant::now();
    let _sending = feeder.send(table);
    let (end, routes) = kernel.until(routes_before + prefixes, begin + limit)?;
    let after = running.usage()?;
    Ok(Outcome {
        time: (routes >= routes_before + prefixes).then_some(end - begin),
        routes: routes - routes_before,
        usage: Usage {
            cpu: after.cpu - before.cpu,
            ..after
        },
    })
}

/// A folder of its own for the daemon's files, removed on drop.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("tombolo-routes-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        // zebra gives root up and makes its socket there.
        fs::set_permissions(&path, Permissions::from_mode(0o777))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder left behind in the temporary directory harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The run with the median time of several.
fn median(mut outcomes: Vec<Outcome>) -> Option<Outcome> {
    outcomes.sort_by_key(|outcome| outcome.time.unwrap_or(Duration::MAX));
    outcomes.get(outcomes.len() / 2).copied()
}

fn compare(prefixes: u32, wish: &Wish) {
    println!(
        "\n{prefixes} routes from the wire into the kernel, median of {}",
        wish.runs
    );
    println!(
        "{:10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8} {:>8}",
        "", "seconds", "routes/s", "CPU s", "RSS MB", "peak MB", "time", "CPU", "RSS"
    );
    let mut ours: Option<Outcome> = None;
    let chosen = |daemon: &&Daemon| wish.only.is_empty() || wish.only.contains(daemon);
    for daemon in Daemon::ALL.iter().filter(chosen) {
        if !daemon.is_installed() {
            println!("{:10} not installed", daemon.name());
            continue;
        }
        let outcomes = (0..wish.runs)
            .map(|_| run(prefixes, *daemon, wish.limit))
            .collect::<io::Result<Vec<_>>>();
        match outcomes.map(median) {
            Ok(Some(outcome)) => {
                print_row(daemon.name(), prefixes, &outcome, ours.as_ref());
                if *daemon == Daemon::Tombolo {
                    ours = Some(outcome);
                }
            }
            Ok(None) => {}
            Err(error) => println!("{:10} failed: {error}", daemon.name()),
        }
    }
}

/// One line; the last columns are multiples of ours.
fn print_row(name: &str, prefixes: u32, outcome: &Outcome, ours: Option<&Outcome>) {
    let Outcome {
        time: Some(time),
        usage,
        ..
    } = outcome
    else {
        println!(
            "{name:10} incomplete: {} routes; {:?}",
            outcome.routes, outcome.usage
        );
        return;
    };
    let base = ours.unwrap_or(outcome);
    let multiple = |value: f64, base: f64| format!("{:.2}x", value / base.max(0.001));
    let seconds = |time: Duration| time.as_secs_f64();
    println!(
        "{name:10} {:9.3} {:9.0} {:9.2} {:9.1} {:9.1} {:>8} {:>8} {:>8}",
        seconds(*time),
        f64::from(prefixes) / seconds(*time),
        seconds(usage.cpu),
        usage.resident,
        usage.peak,
        multiple(seconds(*time), base.time.map_or(0.0, seconds)),
        multiple(seconds(usage.cpu), seconds(base.usage.cpu)),
        multiple(usage.resident, base.usage.resident),
    );
}

/// What the numbers depend on: a busy machine makes all of them worse.
fn print_machine() {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("unknown");
    println!(
        "{processors} processors, shared with the sender and the counting; load average before: {load}"
    );
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == ["--serve"] {
        return match ours::serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("run by cargo bench -p agent --bench routes");
        return ExitCode::SUCCESS;
    }
    match parse(arguments.into_iter()) {
        Ok(wish) => {
            println!(
                "seconds: first octet of the table sent to last route in the kernel; CPU and memory: of all processes of the \
                 speaker; multiples: of tombolo"
            );
            print_machine();
            for prefixes in &wish.prefixes {
                compare(*prefixes, &wish);
            }
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}
