//! A steady stream of questions from a namespace to addresses, which counts what stays without an answer.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ::lab::namespace::Namespace;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{Failure, claim, http};

/// Between two questions: 200 each second.
const INTERVAL: Duration = Duration::from_millis(5);
/// After so long an answer does not count any more.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// An ICMP echo.
    Ping,
    /// An HTTP request to this port, over a connection of its own.
    Request(u16),
}

/// A stream of questions that runs until [`Probe::finish`].
pub struct Probe {
    stop: Arc<AtomicBool>,
    asking: JoinHandle<Report>,
    /// What is asked whom.
    what: String,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// How many questions were asked.
    pub asked: usize,
    /// From the first to the last.
    pub took: Duration,
    /// When those that stayed without an answer were asked, since the start.
    pub lost: Vec<Duration>,
}

impl Probe {
    /// Starts asking `target` from `namespace`.
    ///
    /// # Errors
    /// When no socket can be had there.
    pub fn start(
        namespace: &Namespace,
        target: IpAddr,
        question: Question,
    ) -> Result<Self, Failure> {
        match question {
            Question::Ping => {
                // Lets any group open echo sockets (icmp(7)); the range is the namespace's own.
                namespace.sysctl("ipv4/ping_group_range", "0 2147483647")?;
                let socket = namespace
                    .run(|| echo_socket(target))?
                    .map_err(Failure::socket("echo socket"))?;
                let socket = Arc::new(socket);
                Ok(Self::spawn(
                    format!("{question:?} of {target}"),
                    move |stop| ping(&socket, stop),
                ))
            }
            Question::Request(port) => Ok(Self::requests(
                namespace,
                vec![SocketAddr::new(target, port)],
            )),
        }
    }

    /// Starts sending requests from `namespace` to `targets`, one after the other and again, each over a connection of its own.
    #[must_use]
    pub fn requests(namespace: &Namespace, targets: Vec<SocketAddr>) -> Self {
        let namespace = namespace.clone();
        Self::spawn(format!("request to {targets:?}"), move |stop| {
            // Threads started inside stay inside; without the namespace there is nothing to lose.
            let asked = namespace.run(|| request(&targets, stop));
            asked.unwrap_or_default()
        })
    }

    fn spawn(what: String, ask: impl FnOnce(&AtomicBool) -> Report + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let asking = thread::spawn(move || ask(&stopped));
        Self { stop, asking, what }
    }

    /// Asks no more, waits for late answers, and tells.
    ///
    /// # Errors
    /// [`Failure::Untrue`] when not a single question was asked.
    ///
    /// # Panics
    /// When the asking thread did.
    pub fn finish(self) -> Result<Report, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let report = self
            .asking
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        claim(report.asked > 0, || format!("there was a {}", self.what))?;
        Ok(report)
    }

    /// As [`Probe::finish`], and claims that every question was answered.
    ///
    /// # Errors
    /// [`Failure::Untrue`] with the times of the losses.
    pub fn finish_without_loss(self) -> Result<Report, Failure> {
        let what = self.what.clone();
        let report = self.finish()?;
        claim(report.lost.is_empty(), || {
            format!("no {what} was lost: {report}")
        })?;
        Ok(report)
    }
}

impl Report {
    /// Questions per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.asked as f64 / self.took.as_secs_f64()
    }
}

impl fmt::Display for Report {
    /// The count, and the losses as spans: from the first to the last of those in a row.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} of {} lost", self.lost.len(), self.asked)?;
        let mut spans: Vec<(Duration, Duration)> = Vec::new();
        for time in &self.lost {
            match spans.last_mut() {
                Some((_, end)) if *time <= *end + 4 * INTERVAL => *end = *time,
                Some(_) | None => spans.push((*time, *time)),
            }
        }
        for (start, end) in spans {
            write!(
                formatter,
                ", from {:.3} to {:.3} s",
                start.as_secs_f64(),
                end.as_secs_f64()
            )?;
        }
        Ok(())
    }
}

fn echo_socket(target: IpAddr) -> io::Result<Socket> {
    let (domain, protocol) = match target {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(protocol))?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    socket.connect(&SocketAddr::new(target, 0).into())?;
    Ok(socket)
}

/// An echo request (RFC 792, RFC 4443 §4.1) that carries its number; the kernel fills in checksum and identifier.
fn echo_request(number: u32, v6: bool) -> [u8; 12] {
    let [a, b, c, d] = number.to_be_bytes();
    [if v6 { 128 } else { 8 }, 0, 0, 0, 0, 0, c, d, a, b, c, d]
}

/// The number that an echo reply carries.
fn echo_reply(packet: &[u8]) -> Option<u32> {
    let number = packet.get(8..12)?.try_into().ok()?;
    Some(u32::from_be_bytes(number))
}

/// Questions that wait for their answer: when each was asked.
type Waiting = Mutex<BTreeMap<u32, Duration>>;

fn ping(socket: &Arc<Socket>, stop: &AtomicBool) -> Report {
    let start = Instant::now();
    let waiting = Waiting::default();
    let over = AtomicBool::new(false);
    let v6 = socket.peer_addr().is_ok_and(|peer| peer.is_ipv6());
    let (asked, took) = thread::scope(|scope| {
        scope.spawn(|| hear(socket, &waiting, start, &over));
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            let at = pace(start, number);
            waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(number, at);
            // A question that the kernel cannot even send (no route) is a lost one.
            let _ = socket.send(&echo_request(number, v6));
            number += 1;
        }
        let took = start.elapsed();
        thread::sleep(PATIENCE);
        over.store(true, Ordering::Relaxed);
        (number as usize, took)
    });
    let lost = waiting.into_inner().unwrap_or_else(PoisonError::into_inner);
    Report {
        asked,
        took,
        lost: lost.into_values().collect(),
    }
}

fn hear(socket: &Socket, waiting: &Waiting, start: Instant, over: &AtomicBool) {
    let mut buffer = [0; 256];
    let mut socket = socket;
    while !over.load(Ordering::Relaxed) {
        // A timeout, or an ICMP error about a question: neither is an answer.
        let Ok(length) = socket.read(&mut buffer) else {
            continue;
        };
        if let Some(number) = echo_reply(&buffer[..length]) {
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting
                .get(&number)
                .is_some_and(|asked| start.elapsed() <= *asked + PATIENCE)
            {
                waiting.remove(&number);
            }
        }
    }
}

/// Waits for the turn of question `number` and tells when it came.
fn pace(start: Instant, number: u32) -> Duration {
    let turn = INTERVAL * number;
    thread::sleep(turn.saturating_sub(start.elapsed()));
    start.elapsed()
}

fn request(targets: &[SocketAddr], stop: &AtomicBool) -> Report {
    let start = Instant::now();
    let lost = Mutex::new(Vec::new());
    let (asked, took) = thread::scope(|scope| {
        let mut number = 0;
        for target in targets.iter().cycle() {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let at = pace(start, number);
            let lost = &lost;
            scope.spawn(move || {
                if http::request(*target, PATIENCE).is_err() {
                    lost.lock().unwrap_or_else(PoisonError::into_inner).push(at);
                }
            });
            number += 1;
        }
        (number as usize, start.elapsed())
    });
    let mut lost = lost.into_inner().unwrap_or_else(PoisonError::into_inner);
    lost.sort();
    Report { asked, took, lost }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_in_a_row_are_told_as_one_span() {
        let lost = [100, 105, 110, 900].map(Duration::from_millis).to_vec();
        let report = Report {
            asked: 200,
            took: Duration::from_secs(1),
            lost,
        };
        assert_eq!(
            report.to_string(),
            "4 of 200 lost, from 0.100 to 0.110 s, from 0.900 to 0.900 s"
        );
    }

    #[test]
    fn an_echo_carries_its_number_there_and_back() {
        for number in [0, 65_536, u32::MAX] {
            assert_eq!(echo_reply(&echo_request(number, false)), Some(number));
        }
        assert_eq!(echo_reply(&[0; 8]), None);
    }
}
