//! The network: virtual time, TCP streams, faults.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant};

use bgp::{ConnectionId, Goodbye, Input, InstanceConfig, Output, PeerConfig, Speaker};
use bytes::Bytes;

use super::{Node, address, named, prefixes, socket};

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct End {
    pub(crate) node: usize,
    pub(crate) id: ConnectionId,
}

#[derive(Debug, Clone)]
enum Event {
    /// A SYN arrives.
    Syn {
        from: End,
        to: usize,
    },
    /// The answer to it arrives: the other end, or a refusal.
    Answer {
        to: End,
        other: Option<End>,
    },
    Bytes {
        to: End,
        bytes: Bytes,
    },
    Taken {
        to: End,
    },
    Fin {
        to: End,
    },
}

#[derive(Debug, Clone, Default)]
struct Stream {
    other: Option<End>,
    /// Nothing sent earlier may arrive later.
    last: Option<Instant>,
    stalled: bool,
    closed: bool,
}

/// All nodes and what is between them.
pub(crate) struct Network {
    pub(crate) nodes: Vec<Node>,
    pub(crate) now: Instant,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    events: BTreeMap<u64, Event>,
    sequence: u64,
    random: u64,
    ends: BTreeMap<End, Stream>,
    /// Bounds of the delay of a segment in microseconds.
    pub(crate) delay: (u64, u64),
    /// No SYN gets through.
    pub(crate) partitioned: bool,
    /// How many connections were ever accepted.
    pub(crate) accepted: usize,
}

impl Network {
    pub(crate) fn new(seed: u64) -> Self {
        let start = Instant::now();
        Self {
            nodes: Vec::new(),
            now: start,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            sequence: 0,
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            ends: BTreeMap::new(),
            delay: (100, 5_000),
            partitioned: false,
            accepted: 0,
        }
    }

    pub(crate) fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        if below == 0 { 0 } else { self.random % below }
    }

    pub(crate) fn add(&mut self, instance: InstanceConfig) {
        let seed = self.random(u64::MAX);
        self.nodes.push(Node {
            speaker: Speaker::new(instance, seed, self.now),
            told: Vec::new(),
            alive: true,
        });
    }

    /// Another process in the place of a node: what it knew is gone.
    pub(crate) fn replace(&mut self, node: usize, instance: InstanceConfig) {
        let seed = self.random(u64::MAX);
        self.nodes[node].speaker = Speaker::new(instance, seed, self.now);
        self.nodes[node].alive = true;
    }

    pub(crate) fn originate(&mut self, node: usize, list: &[&str]) {
        let now = self.now;
        self.nodes[node].speaker.originate(&prefixes(list), now);
        self.drain(node);
    }

    pub(crate) fn configure(&mut self, node: usize, peers: Vec<(usize, PeerConfig)>) {
        let now = self.now;
        let wish = peers
            .into_iter()
            .map(|(number, config)| (named(number), config))
            .collect();
        self.nodes[node].speaker.configure(wish, now);
        self.drain(node);
    }

    pub(crate) fn goodbye(&mut self, node: usize, goodbye: Goodbye) {
        let now = self.now;
        self.nodes[node].speaker.goodbye(goodbye, now);
        self.drain(node);
    }

    /// The process is gone; the kernel closes its connections.
    pub(crate) fn kill(&mut self, node: usize) {
        self.nodes[node].alive = false;
        for end in self.ends_of(node) {
            self.close(end);
        }
    }

    /// The machine is gone: nobody is told.
    pub(crate) fn power_off(&mut self, node: usize) {
        self.nodes[node].alive = false;
        for end in self.ends_of(node) {
            if let Some(other) = self.ends.remove(&end).and_then(|stream| stream.other)
                && let Some(stream) = self.ends.get_mut(&other)
            {
                stream.other = None;
                stream.stalled = true;
            }
        }
    }

    /// Standing connections of a node.
    pub(crate) fn ends_of(&self, node: usize) -> Vec<End> {
        self.ends
            .keys()
            .copied()
            .filter(|end| end.node == node)
            .collect()
    }

    /// Resets all connections of a node, at both ends.
    pub(crate) fn reset(&mut self, node: usize) {
        for end in self.ends_of(node) {
            let other = self.ends.remove(&end).and_then(|stream| stream.other);
            self.input(end, None);
            if let Some(other) = other
                && self.ends.remove(&other).is_some()
            {
                self.input(other, None);
            }
        }
    }

    /// From now on nothing that `node` sends is taken from it.
    pub(crate) fn stall(&mut self, node: usize) {
        for end in self.ends_of(node) {
            if let Some(stream) = self.ends.get_mut(&end) {
                stream.stalled = true;
            }
        }
    }

    /// Gives a node bytes as if its peer had sent them.
    pub(crate) fn inject(&mut self, node: usize, bytes: &[u8]) {
        let [end] = self.ends_of(node).try_into().expect("one connection");
        let now = self.now;
        self.nodes[node].speaker.handle(
            Input::Received {
                connection: end.id,
                bytes,
            },
            now,
        );
        self.drain(node);
    }

    fn input(&mut self, end: End, bytes: Option<&[u8]>) {
        let now = self.now;
        let connection = end.id;
        let input = match bytes {
            Some(bytes) => Input::Received { connection, bytes },
            None => Input::Closed { connection },
        };
        self.nodes[end.node].speaker.handle(input, now);
        self.drain(end.node);
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence)));
        self.events.insert(self.sequence, event);
    }

    fn after(&mut self) -> Instant {
        let (low, high) = self.delay;
        let micros = low + self.random(high - low + 1);
        self.now + Duration::from_micros(micros)
    }

    /// When the next thing sent by `end` arrives: never before what was sent earlier.
    fn arrival(&mut self, end: End) -> Instant {
        let at = self.after();
        let stream = self.ends.entry(end).or_default();
        let at = stream.last.map_or(at, |last| last.max(at));
        stream.last = Some(at);
        at
    }

    /// Runs until `done`, but no longer than `limit` of virtual time; whether it was.
    pub(crate) fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        while !done(self) {
            let event = self.queue.peek().map(|Reverse((at, _))| *at);
            let deadline = self
                .nodes
                .iter()
                .filter(|node| node.alive)
                .filter_map(|node| node.speaker.next_deadline())
                .min();
            let Some(next) = event
                .into_iter()
                .chain(deadline)
                .min()
                .filter(|next| *next <= end)
            else {
                self.now = end;
                return done(self);
            };
            self.now = self.now.max(next);
            if event.is_some_and(|at| at <= self.now) {
                if let Some(Reverse((_, sequence))) = self.queue.pop()
                    && let Some(event) = self.events.remove(&sequence)
                {
                    self.deliver(event);
                }
            } else {
                self.tick();
            }
        }
        true
    }

    pub(crate) fn run(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    fn tick(&mut self) {
        let now = self.now;
        for node in 0..self.nodes.len() {
            let due = self.nodes[node].alive
                && self.nodes[node]
                    .speaker
                    .next_deadline()
                    .is_some_and(|deadline| deadline <= now);
            if due {
                self.nodes[node].speaker.handle(Input::Tick, now);
                self.drain(node);
            }
        }
    }

    fn deliver(&mut self, event: Event) {
        match event {
            Event::Syn { from, to } => self.syn(from, to),
            Event::Answer { to, other } => self.answer(to, other),
            Event::Bytes { to, bytes } => {
                if self.nodes[to.node].alive && self.ends.contains_key(&to) {
                    self.input(to, Some(&bytes));
                }
            }
            Event::Taken { to } => {
                if self.nodes[to.node].alive && self.ends.contains_key(&to) {
                    let now = self.now;
                    self.nodes[to.node]
                        .speaker
                        .handle(Input::Sent { connection: to.id }, now);
                    self.drain(to.node);
                }
            }
            Event::Fin { to } => {
                if self.ends.remove(&to).is_some() && self.nodes[to.node].alive {
                    self.input(to, None);
                }
            }
        }
    }

    fn syn(&mut self, from: End, to: usize) {
        let now = self.now;
        let node = &mut self.nodes[to];
        let listening = node.alive && node.speaker.instance().listens;
        let remote = socket(from.node, 40_000);
        let accepted = if listening {
            node.speaker.accept(remote, socket(to, 179), now)
        } else {
            None
        };
        let other = accepted.map(|accepted| End {
            node: to,
            id: accepted.connection,
        });
        let at = self.after();
        if let Some(other) = other {
            self.accepted += 1;
            // What the new end says cannot overtake the answer to the SYN.
            self.ends.insert(
                other,
                Stream {
                    other: Some(from),
                    last: Some(at),
                    ..Stream::default()
                },
            );
        }
        if self.nodes[to].alive {
            self.schedule(at, Event::Answer { to: from, other });
        }
        self.drain(to);
    }

    fn answer(&mut self, to: End, other: Option<End>) {
        let gone =
            !self.nodes[to.node].alive || self.ends.get(&to).is_none_or(|stream| stream.closed);
        let now = self.now;
        match other {
            Some(other) if gone => {
                self.ends.remove(&to);
                if self.ends.remove(&other).is_some() && self.nodes[other.node].alive {
                    self.input(other, None);
                }
            }
            _ if gone => {
                self.ends.remove(&to);
            }
            Some(other) => {
                self.ends.insert(
                    to,
                    Stream {
                        other: Some(other),
                        ..Stream::default()
                    },
                );
                let input = Input::Connected {
                    connection: to.id,
                    local: socket(to.node, 40_000),
                };
                self.nodes[to.node].speaker.handle(input, now);
                self.drain(to.node);
            }
            None => {
                self.ends.remove(&to);
                let input = Input::ConnectFailed {
                    connection: to.id,
                    error: Some(111),
                };
                self.nodes[to.node].speaker.handle(input, now);
                self.drain(to.node);
            }
        }
    }

    /// Does what a node asks for.
    fn drain(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].speaker.poll_output() {
            match &output {
                Output::Connect {
                    connection, remote, ..
                } => {
                    let from = End {
                        node,
                        id: *connection,
                    };
                    self.ends.insert(from, Stream::default());
                    let to = (0..self.nodes.len()).find(|to| address(*to) == remote.ip());
                    if let Some(to) = to.filter(|_| !self.partitioned) {
                        let at = self.after();
                        self.schedule(at, Event::Syn { from, to });
                    }
                }
                Output::Send { connection, bytes } => self.send(
                    End {
                        node,
                        id: *connection,
                    },
                    bytes,
                ),
                Output::Close { connection } => self.close(End {
                    node,
                    id: *connection,
                }),
                Output::Up { .. } | Output::Down { .. } => {}
            }
            let now = self.now;
            if matches!(
                output,
                Output::Up { .. } | Output::Down { .. } | Output::Connect { .. }
            ) {
                self.nodes[node].told.push((now, output));
            }
        }
    }

    fn send(&mut self, end: End, bytes: &Bytes) {
        let Some(stream) = self.ends.get(&end) else {
            return;
        };
        let Some(other) = stream.other else { return };
        if stream.stalled {
            return;
        }
        let mut rest = bytes.clone();
        while !rest.is_empty() {
            let cut = 1 + self.random(rest.len() as u64) as usize;
            let piece = rest.split_to(cut.min(rest.len()));
            let at = self.arrival(end);
            self.schedule(
                at,
                Event::Bytes {
                    to: other,
                    bytes: piece,
                },
            );
        }
        let at = self.after();
        self.schedule(at, Event::Taken { to: end });
    }

    fn close(&mut self, end: End) {
        let Some(stream) = self.ends.get(&end) else {
            return;
        };
        match stream.other {
            None if stream.stalled => {
                self.ends.remove(&end);
            }
            // An attempt still under way: the answer will find nobody.
            None => {
                if let Some(stream) = self.ends.get_mut(&end) {
                    stream.closed = true;
                }
            }
            Some(other) => {
                let stalled = stream.stalled;
                let at = self.arrival(end);
                self.ends.remove(&end);
                if !stalled {
                    self.schedule(at, Event::Fin { to: other });
                }
            }
        }
    }
}
