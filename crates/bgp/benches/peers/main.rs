//! A table from one peer to others, over TCP, through this crate's speaker and through BIRD, FRR and GoBGP:
//! time from the first octet sent to the last prefix seen by every receiver, and what that cost the speaker.
//!
//! ```sh
//! cargo bench -p bgp --bench peers -- [--case NAME]... [--only DAEMON]... [--prefixes N] [--receivers N]
//!                                     [--runs N] [--limit SECONDS]
//! ```
//!
//! Needs root (network namespaces) and the other daemons where they are to be compared; those missing are
//! named and left out.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that talks to a person"
)]

mod daemons;
#[path = "../load/mod.rs"]
mod load;
mod network;
mod shell;
mod traffic;
#[path = "../usage/mod.rs"]
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use std::{fs, io};

use daemons::{Daemon, asn_of};
use load::Table;
use network::{Network, peer_address};
use traffic::Peers;
use usage::Usage;

/// One comparison.
#[derive(Debug, Clone)]
struct Case {
    name: &'static str,
    table: Table,
    receivers: usize,
    /// Who takes part unless somebody asks for others.
    daemons: &'static [Daemon],
}

/// GoBGP takes minutes for a million prefixes, and more than that for many receivers: by default it gets a
/// tenth, in cases of its own that all others do as well.
const CASES: [Case; 5] = [
    Case {
        name: "a",
        table: Table {
            prefixes: 1_000_000,
            per_update: 5,
            sets: 100_000,
        },
        receivers: 1,
        daemons: &[Daemon::Tombolo, Daemon::Bird, Daemon::Frr],
    },
    Case {
        name: "f",
        table: Table {
            prefixes: 1_000_000,
            per_update: 3,
            sets: 333_334,
        },
        receivers: 1,
        daemons: &[Daemon::Tombolo, Daemon::Bird, Daemon::Frr],
    },
    Case {
        name: "a-tenth",
        table: Table {
            prefixes: 100_000,
            per_update: 5,
            sets: 10_000,
        },
        receivers: 1,
        daemons: &Daemon::ALL,
    },
    Case {
        name: "r",
        table: Table {
            prefixes: 100_000,
            per_update: 5,
            sets: 10_000,
        },
        receivers: 50,
        daemons: &[Daemon::Tombolo, Daemon::Bird, Daemon::Frr],
    },
    Case {
        name: "r-tenth",
        table: Table {
            prefixes: 10_000,
            per_update: 5,
            sets: 1_000,
        },
        receivers: 50,
        daemons: &Daemon::ALL,
    },
];

/// What a person asked for.
#[derive(Debug)]
struct Wish {
    cases: Vec<Case>,
    only: Vec<Daemon>,
    runs: usize,
    limit: Duration,
}

/// What one run showed.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    /// From first octet to last prefix; `None` if a receiver did not get everything.
    time: Option<Duration>,
    /// Fewest prefixes any receiver got.
    fewest: u32,
    usage: Usage,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Wish, String> {
    let mut wish = Wish {
        cases: Vec::new(),
        only: Vec::new(),
        runs: 1,
        limit: Duration::from_secs(300),
    };
    let (mut prefixes, mut receivers) = (None, None);
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
            "--case" => {
                let case = CASES
                    .iter()
                    .find(|case| case.name == value)
                    .ok_or_else(|| format!("no case {value}"))?;
                wish.cases.push(case.clone());
            }
            "--only" => {
                let daemon = Daemon::ALL
                    .into_iter()
                    .find(|daemon| daemon.name() == value);
                wish.only
                    .push(daemon.ok_or_else(|| format!("no daemon {value}"))?);
            }
            "--prefixes" => prefixes = Some(number()?),
            "--receivers" => receivers = Some(number()? as usize),
            "--runs" => wish.runs = number()? as usize,
            "--limit" => wish.limit = Duration::from_secs(number()?.into()),
            _ => return Err(format!("unknown flag {flag}")),
        }
    }
    if wish.cases.is_empty() {
        wish.cases = CASES.to_vec();
    }
    for case in &mut wish.cases {
        case.table.prefixes = prefixes.unwrap_or(case.table.prefixes);
        case.receivers = receivers.unwrap_or(case.receivers);
    }
    Ok(wish)
}

fn run(case: &Case, daemon: Daemon, limit: Duration) -> io::Result<Outcome> {
    let folder = Folder::new()?;
    let network = Network::new(case.receivers + 1)?;
    let table = case.table.encode(asn_of(0), peer_address(0));
    let running = daemon.start(&network, &folder.0, case.receivers + 1)?;
    let peers = Peers::establish(case.receivers, case.table.prefixes).inspect_err(|_| {
        let log =
            fs::read_to_string(folder.0.join(format!("{}.log", daemon.name()))).unwrap_or_default();
        eprintln!("{}: no session\n{log}", daemon.name());
    })?;
    let before = running.usage()?;
    let (start, seen) = peers.run(&table, limit);
    let after = running.usage()?;
    let complete = seen.len() == case.receivers
        && seen.iter().all(|seen| seen.prefixes == case.table.prefixes);
    let last = seen.iter().map(|seen| seen.at).max().filter(|_| complete);
    Ok(Outcome {
        time: last.map(|at| at - start),
        fewest: if seen.len() < case.receivers {
            0
        } else {
            seen.iter().map(|seen| seen.prefixes).min().unwrap_or(0)
        },
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
        let path = std::env::temp_dir().join(format!("tombolo-bench-{}", std::process::id()));
        fs::create_dir_all(&path)?;
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

fn compare(case: &Case, wish: &Wish) {
    let Table {
        prefixes,
        per_update,
        sets,
    } = case.table;
    println!(
        "\ncase {}: {prefixes} prefixes, {per_update} per UPDATE, {sets} attribute sets, {} receiver(s), median of {}",
        case.name, case.receivers, wish.runs
    );
    println!(
        "{:10} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8} {:>8}",
        "", "seconds", "CPU s", "RSS MB", "peak MB", "time", "CPU", "RSS"
    );
    let mut ours: Option<Outcome> = None;
    let chosen = |daemon: &&Daemon| wish.only.is_empty() || wish.only.contains(daemon);
    let daemons = if wish.only.is_empty() {
        case.daemons
    } else {
        &Daemon::ALL
    };
    for daemon in daemons.iter().filter(chosen) {
        if daemon.program().is_none() {
            println!("{:10} not installed", daemon.name());
            continue;
        }
        let outcomes = (0..wish.runs)
            .map(|_| run(case, *daemon, wish.limit))
            .collect::<io::Result<Vec<_>>>();
        match outcomes.map(median) {
            Ok(Some(outcome)) => {
                print_row(daemon.name(), &outcome, ours.as_ref());
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
fn print_row(name: &str, outcome: &Outcome, ours: Option<&Outcome>) {
    let Outcome {
        time: Some(time),
        usage,
        ..
    } = outcome
    else {
        println!(
            "{name:10} incomplete: {} prefixes at the slowest receiver; {:?}",
            outcome.fewest, outcome.usage
        );
        return;
    };
    let base = ours.unwrap_or(outcome);
    let multiple = |value: f64, base: f64| format!("{:.2}x", value / base.max(0.001));
    println!(
        "{name:10} {:9.3} {:9.2} {:9.1} {:9.1} {:>8} {:>8} {:>8}",
        time.as_secs_f64(),
        usage.cpu.as_secs_f64(),
        usage.resident,
        usage.peak,
        multiple(
            time.as_secs_f64(),
            base.time.map_or(0.0, |time| time.as_secs_f64())
        ),
        multiple(usage.cpu.as_secs_f64(), base.usage.cpu.as_secs_f64()),
        multiple(usage.resident, base.usage.resident),
    );
}

/// What the numbers depend on: a busy machine makes all of them worse.
fn print_machine() {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("unknown");
    println!("{processors} processors, shared with those it talks to; load average before: {load}");
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [serve, count] = &arguments[..]
        && serve == "--serve"
    {
        return match count
            .parse()
            .map_err(io::Error::other)
            .and_then(shell::serve)
        {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("run by cargo bench -p bgp --bench peers");
        return ExitCode::SUCCESS;
    }
    match parse(arguments.into_iter()) {
        Ok(wish) => {
            println!(
                "seconds: first octet sent to last prefix seen by the last receiver; multiples: of tombolo"
            );
            print_machine();
            for case in &wish.cases {
                compare(case, &wish);
            }
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}
