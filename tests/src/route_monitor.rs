//! What a kernel says about its routes as it happens, with the time at which it was said.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use ::lab::error::Error;
use ::lab::namespace::Namespace;

use crate::{Failure, claim};

/// One change of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// When it was read.
    pub at: Instant,
    /// The destination as `ip` prints it, an address alone for a host route.
    pub prefix: String,
    /// Gateways it leads to now; none where it is gone.
    pub gateways: usize,
}

/// A running `ip monitor`.
pub struct RouteMonitor {
    child: Child,
    changes: Receiver<Change>,
}

impl RouteMonitor {
    /// Starts listening in a namespace.
    ///
    /// # Errors
    /// When `ip` cannot be started.
    pub fn start(namespace: &Namespace) -> Result<Self, Failure> {
        let mut command = namespace.command("ip");
        command
            // It ends when it misses something.
            .args(["-o", "-4", "-rcvbuf", "67108864", "monitor", "route"])
            .stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|source| Error::Spawn {
            program: "ip".into(),
            source,
        })?;
        let output = child.stdout.take().expect("its output is piped");
        let (sender, changes) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let change = change(&line, Instant::now());
                if change.is_some_and(|change| sender.send(change).is_err()) {
                    return;
                }
            }
        });
        Ok(Self { child, changes })
    }

    /// The next change of which `holds` is true; others are passed over.
    ///
    /// # Errors
    /// [`Error::Deadline`] with `awaited`.
    pub fn next(
        &self,
        awaited: &str,
        patience: Duration,
        holds: impl Fn(&Change) -> bool,
    ) -> Result<Change, Failure> {
        let start = Instant::now();
        loop {
            let rest = patience.saturating_sub(start.elapsed());
            match self.changes.recv_timeout(rest) {
                Ok(change) if holds(&change) => return Ok(change),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    let (awaited, waited) = (awaited.to_owned(), start.elapsed());
                    return Err(Error::Deadline { awaited, waited }.into());
                }
            }
        }
    }

    /// Passes over everything until nothing has been said for so long.
    pub fn settle(&self, pause: Duration) {
        while self.next("silence", pause, |_| true).is_ok() {}
    }

    /// Claims that nothing has been said that was not passed over.
    ///
    /// # Errors
    /// [`Failure::Untrue`] with the first change, or when something may have been missed.
    pub fn finish_unchanged(self) -> Result<(), Failure> {
        match self.changes.try_recv() {
            Err(TryRecvError::Empty) => Ok(()),
            Err(TryRecvError::Disconnected) => claim(false, || "no change was missed".to_owned()),
            Ok(first) => {
                let others = self.changes.try_iter().count();
                claim(false, || {
                    format!(
                        "no route changed; {:?} before the end {} had {} gateways, and {others} changes followed",
                        first.at.elapsed(),
                        first.prefix,
                        first.gateways
                    )
                })
            }
        }
    }
}

impl Drop for RouteMonitor {
    fn drop(&mut self) {
        // It may have ended with its namespace.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn change(line: &str, at: Instant) -> Option<Change> {
    let gone = line.strip_prefix("Deleted ");
    let line = gone.unwrap_or(line);
    let mut words = line.split_whitespace();
    let prefix = words.next()?.to_owned();
    let gateways = words.filter(|word| *word == "via").count();
    Some(Change {
        at,
        prefix,
        gateways: if gone.is_some() { 0 } else { gateways },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_has_as_many_gateways_as_it_says_via() {
        let at = Instant::now();
        for (line, prefix, gateways) in [
            (
                "172.16.1.1 nhid 30 via 10.0.0.1 dev eth0 proto bgp metric 20",
                "172.16.1.1",
                1,
            ),
            (
                "172.16.1.1 nhid 31 proto bgp metric 20\\\tnexthop via 10.0.0.1 dev eth0 weight 1\\\tnexthop via 10.0.0.2 dev eth0 weight 1",
                "172.16.1.1",
                2,
            ),
            (
                "Deleted 172.16.1.1 nhid 30 via 10.0.0.1 dev eth0 proto bgp metric 20",
                "172.16.1.1",
                0,
            ),
        ] {
            let change = change(line, at).expect("a change");
            assert_eq!(
                (change.prefix.as_str(), change.gateways),
                (prefix, gateways),
                "{line}"
            );
        }
    }
}
