//! Requests per second to Services over the lab, with 1, 100 and 5,000 of them: through this project's balancer, through kube-proxy in nftables
//! mode, and past any balancer to the pods themselves, which is the floor. The same machines, pods, Services and addresses for all three,
//! which take turns; and how long each takes until what was created answers.
//!
//! ```sh
//! cargo xtask bench requests
//! TOMBOLO_IMAGE=FOLDER cargo bench -p scenarios --bench requests -- [--rounds N] [--seconds N] [--clients N] [--services N]...
//! ```
//!
//! Client, router, nodes, pods and control plane share one machine, whose processors are the limit: what a balancer spends on a request
//! is what makes the rates differ. Needs root.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that talks to a person"
)]

mod crowd;
mod figures;
mod load;
mod stage;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use lab::kube_proxy::KubeProxy;
use scenarios::Failure;

use crowd::Crowd;
use figures::{Peer, Report};
use load::{Kind, Load};
use stage::Stage;

/// Services that are created one at a time where all others are there.
const SINGLES: usize = 10;

/// What a person asked for.
struct Wish {
    rounds: u32,
    load: Load,
    services: Vec<usize>,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Wish, String> {
    let mut wish = Wish {
        rounds: 3,
        load: Load {
            clients: 4,
            time: Duration::from_secs(4),
        },
        services: Vec::new(),
    };
    while let Some(flag) = arguments.next() {
        if flag == "--bench" {
            continue;
        }
        let value = arguments.next().and_then(|value| value.parse::<u16>().ok());
        let value = value.ok_or_else(|| format!("{flag} wants a number"))?;
        match flag.as_str() {
            "--rounds" => wish.rounds = u32::from(value),
            "--seconds" => wish.load.time = Duration::from_secs(u64::from(value)),
            "--clients" => wish.load.clients = u64::from(value),
            "--services" => wish.services.push(usize::from(value)),
            _ => return Err(format!("unknown argument {flag}")),
        }
    }
    if wish.services.is_empty() {
        wish.services = vec![1, 100, 5000];
    }
    Ok(wish)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("run by cargo xtask bench requests");
        return ExitCode::SUCCESS;
    }
    let measured = parse(arguments.into_iter())
        .and_then(|wish| measure(&wish).map_err(|failure| failure.to_string()));
    match measured {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn measure(wish: &Wish) -> Result<Report, Failure> {
    lab::sweep::on_interrupt()?;
    figures::print_machine(&wish.load);
    let mut stage = Stage::boot()?;
    let crowd = Crowd::new(&stage)?;
    let mut report = Report::default();
    // What slows the machine down for a while must not always hit the same peer.
    let mut order = [Peer::None, Peer::Tombolo, Peer::KubeProxy];
    for round in 1..=wish.rounds {
        for peer in order {
            println!("round {round} of {}: {peer}", wish.rounds);
            turn(wish, &mut stage, &crowd, peer, &mut report)?;
        }
        order.reverse();
    }
    Ok(report)
}

/// Everything that is measured of one peer in one round. It starts without Services and leaves none.
fn turn(
    wish: &Wish,
    stage: &mut Stage,
    crowd: &Crowd,
    peer: Peer,
    report: &mut Report,
) -> Result<(), Failure> {
    match peer {
        Peer::None => {
            let pods = stage.pods.clone();
            both_kinds(wish, stage, peer, 0, &pods, report)
        }
        Peer::Tombolo => {
            stage.lab.install()?;
            let result = among_services(wish, stage, crowd, peer, report);
            stage.lab.uninstall()?;
            crowd.disperse()?;
            result
        }
        Peer::KubeProxy => {
            let proxies = KubeProxy::start(&stage.lab.cluster)?;
            let result = among_services(wish, stage, crowd, peer, report);
            proxies.check()?;
            proxies.stop()?;
            crowd.disperse()?;
            result
        }
    }
}

/// More and more Services, all of which answer before anything is measured.
fn among_services(
    wish: &Wish,
    stage: &Stage,
    crowd: &Crowd,
    peer: Peer,
    report: &mut Report,
) -> Result<(), Failure> {
    let mut there = 0;
    for &count in &wish.services {
        let start = Instant::now();
        crowd.gather(there..count)?;
        let created = start.elapsed();
        stage.await_answers(&crowd::targets(there..count))?;
        report.programmed(peer, (there, count), created, start.elapsed());
        there = count;
        let targets = crowd::targets(0..count);
        both_kinds(wish, stage, peer, count, &targets, report)?;
    }
    for single in there..there + SINGLES {
        figures::rest(single);
        let start = Instant::now();
        crowd.gather(single..single + 1)?;
        stage.await_answers(&crowd::targets(single..single + 1))?;
        report.single(peer, there, start.elapsed());
    }
    Ok(())
}

fn both_kinds(
    wish: &Wish,
    stage: &Stage,
    peer: Peer,
    services: usize,
    targets: &[std::net::SocketAddr],
    report: &mut Report,
) -> Result<(), Failure> {
    for kind in [Kind::NewConnections, Kind::KeptAlive] {
        let figures = wish.load.run(&stage.client, kind, targets)?;
        report.measured(kind, services, peer, figures);
    }
    Ok(())
}
