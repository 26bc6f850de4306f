//! What was measured, and how a person reads it: the median of all rounds, and the peers side by side.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::time::Duration;

use crate::load::{Figures, Kind, Load};

/// What stands between client and pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    /// The balancer of this project; no kube-proxy.
    Tombolo,
    /// kube-proxy in nftables mode; nothing of this project.
    KubeProxy,
    /// Routers only: the client asks the pods themselves.
    None,
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Tombolo => "Tombolo",
            Self::KubeProxy => "kube-proxy, nftables",
            Self::None => "no balancer, to the pods",
        })
    }
}

/// Everything measured so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    requests: BTreeMap<(Kind, usize, Peer), Vec<Figures>>,
    /// From the first creation to the last one's end, and to the last answer; seconds.
    programmed: BTreeMap<(usize, usize, Peer), Vec<(f64, f64)>>,
    /// From the creation of a single one among so many to its answer; milliseconds.
    singles: BTreeMap<(usize, Peer), Vec<f64>>,
}

impl Report {
    pub(crate) fn measured(&mut self, kind: Kind, services: usize, peer: Peer, figures: Figures) {
        println!(
            "  {:<16} {services:>5} Services: {}",
            name(kind),
            Row(figures)
        );
        let key = (kind, services, peer);
        self.requests.entry(key).or_default().push(figures);
    }

    pub(crate) fn programmed(
        &mut self,
        peer: Peer,
        (from, to): (usize, usize),
        created: Duration,
        answering: Duration,
    ) {
        println!(
            "  {from} to {to} Services: created in {created:.2?}, all answer after {answering:.2?}"
        );
        let key = (from, to, peer);
        let times = (created.as_secs_f64(), answering.as_secs_f64());
        self.programmed.entry(key).or_default().push(times);
    }

    pub(crate) fn single(&mut self, peer: Peer, among: usize, time: Duration) {
        println!("  one more among {among}: answers after {time:.0?}");
        let times = self.singles.entry((among, peer)).or_default();
        times.push(time.as_secs_f64() * 1e3);
    }

    fn middle(&self, key: (Kind, usize, Peer)) -> Option<Figures> {
        let all = self.requests.get(&key)?;
        let of = |figure: fn(&Figures) -> f64| median(all.iter().map(figure));
        Some(Figures {
            rate: of(|figures| figures.rate),
            p50: of(|figures| figures.p50),
            p99: of(|figures| figures.p99),
            processor: of(|figures| figures.processor),
            busy: of(|figures| figures.busy),
            failures: of(|figures| figures.failures),
        })
    }

    fn write_kind(&self, formatter: &mut fmt::Formatter<'_>, kind: Kind) -> fmt::Result {
        writeln!(formatter, "\n{}", name(kind))?;
        let mine = |row: &(&(Kind, usize, Peer), &Vec<Figures>)| row.0.0 == kind;
        for ((_, services, peer), all) in self.requests.iter().filter(mine) {
            let Some(figures) = self.middle((kind, *services, *peer)) else {
                continue;
            };
            let rates = all.iter().map(|figures| figures.rate);
            let low = rates.clone().fold(f64::INFINITY, f64::min);
            let high = rates.fold(0.0, f64::max);
            let services = if *services == 0 {
                String::new()
            } else {
                services.to_string()
            };
            writeln!(
                formatter,
                "{services:>5} {peer:<25} {} [{low:.0} to {high:.0} /s]",
                Row(figures)
            )?;
            if *peer == Peer::KubeProxy {
                self.write_ratio(formatter, kind, &services, figures)?;
            }
        }
        Ok(())
    }

    /// Tombolo's figures as multiples of kube-proxy's; what a request costs beyond its way to the pod, of each.
    fn write_ratio(
        &self,
        formatter: &mut fmt::Formatter<'_>,
        kind: Kind,
        services: &str,
        theirs: Figures,
    ) -> fmt::Result {
        let count = services.parse().unwrap_or_default();
        let Some(ours) = self.middle((kind, count, Peer::Tombolo)) else {
            return Ok(());
        };
        let floor = self.middle((kind, 0, Peer::None));
        let floor = floor.map_or(0.0, |floor| floor.processor);
        writeln!(
            formatter,
            "{services:>5} {:<25} requests/s x{:.2}, p50 x{:.2}, p99 x{:.2}, CPU x{:.2}; CPU beyond the floor {:.1} against {:.1} us",
            "Tombolo to kube-proxy",
            ours.rate / theirs.rate,
            ours.p50 / theirs.p50,
            ours.p99 / theirs.p99,
            ours.processor / theirs.processor,
            ours.processor - floor,
            theirs.processor - floor,
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "\nMedians of all rounds")?;
        for kind in [Kind::NewConnections, Kind::KeptAlive] {
            self.write_kind(formatter, kind)?;
        }
        writeln!(formatter, "\nfrom creation to answer")?;
        for ((from, to, peer), all) in &self.programmed {
            let created = median(all.iter().map(|(created, _)| *created));
            let answering = median(all.iter().map(|(_, answering)| *answering));
            writeln!(
                formatter,
                "{from:>5} to {to} Services, {peer}: all answer after {answering:.2} s, of which {created:.2} s to create them"
            )?;
        }
        for ((among, peer), all) in &self.singles {
            let slowest = all.iter().copied().fold(0.0, f64::max);
            writeln!(
                formatter,
                "one more among {among}, {peer}: p50 {:.0} ms, slowest of {} {slowest:.0} ms",
                median(all.iter().copied()),
                all.len()
            )?;
        }
        Ok(())
    }
}

/// A line of a table.
struct Row(Figures);

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures {
            rate,
            p50,
            p99,
            processor,
            busy,
            failures,
        } = self.0;
        write!(
            formatter,
            "{rate:>7.0} /s  p50 {p50:>5.0} us  p99 {p99:>6.0} us  CPU {processor:>6.1} us/request  busy {:>3.0} %  failed {failures:.0}",
            busy * 100.0
        )
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::NewConnections => "new connections",
        Kind::KeptAlive => "kept alive",
    }
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = figures.collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

pub(crate) fn print_machine(load: &Load) {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let average = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let average = average.split_whitespace().next().unwrap_or("unknown");
    println!(
        "{processors} processors for client, router, nodes, pods and control plane; {} requests at a time for {:.0?}; load average before: {average}",
        load.clients, load.time
    );
}

/// Sleeps for a time that is no multiple of anybody's timer: the phases of all samples cover more than a second.
pub(crate) fn rest(sample: usize) {
    let phase = (sample as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
    std::thread::sleep(Duration::from_millis(phase));
}
