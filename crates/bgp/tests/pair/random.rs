//! Any input in any order: no panic, and the contract with the shell holds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bgp::report::SessionState;
use bgp::wire::iana::CeaseSubcode;
use bgp::wire::{Notification, RefreshSubtype, RouteRefresh, keepalive};
use bgp::{ConnectionId, Family, Goodbye, Input, Output, PeerConfig, Speaker};
use proptest::prelude::*;

use crate::conversation::their_open;
use crate::simulation::{instance, named, peer, prefixes, socket};

#[derive(Debug, Clone)]
enum Step {
    Connected(usize),
    ConnectFailed(usize),
    Closed(usize),
    Sent(usize),
    Accept(usize),
    Open(usize),
    Keepalive(usize),
    Cease(usize),
    Refresh(usize, u8),
    Bytes(usize, Vec<u8>),
    Wait(u32),
    Originate(u8),
    Hold(u16),
    Remove,
    Add,
    Goodbye(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let connection = 0..4usize;
    prop_oneof![
        6 => connection.clone().prop_map(Step::Connected),
        1 => connection.clone().prop_map(Step::ConnectFailed),
        1 => connection.clone().prop_map(Step::Closed),
        6 => connection.clone().prop_map(Step::Sent),
        2 => (1..3usize).prop_map(Step::Accept),
        6 => connection.clone().prop_map(Step::Open),
        6 => connection.clone().prop_map(Step::Keepalive),
        1 => connection.clone().prop_map(Step::Cease),
        1 => (connection.clone(), any::<u8>()).prop_map(|(connection, subtype)| Step::Refresh(connection, subtype)),
        1 => (connection, prop::collection::vec(any::<u8>(), 0..64)).prop_map(|(at, bytes)| Step::Bytes(at, bytes)),
        4 => (0..12_000u32).prop_map(Step::Wait),
        2 => any::<u8>().prop_map(Step::Originate),
        1 => prop_oneof![Just(0u16), Just(3), Just(9), Just(90)].prop_map(Step::Hold),
        1 => Just(Step::Remove),
        1 => Just(Step::Add),
        1 => prop::bool::weighted(0.1).prop_map(Step::Goodbye),
    ]
}

/// The shell's view of one connection.
#[derive(Debug, Default)]
struct Connection {
    connected: bool,
    sending: bool,
}

struct Shell {
    speaker: Speaker,
    now: Instant,
    connections: BTreeMap<ConnectionId, Connection>,
    up: BTreeMap<bgp::PeerName, bool>,
    leaving: bool,
}

impl Shell {
    fn new() -> Self {
        let now = Instant::now();
        let speaker = Speaker::new(instance(0), 5, now);
        let mut shell = Self {
            speaker,
            now,
            connections: BTreeMap::new(),
            up: BTreeMap::new(),
            leaving: false,
        };
        shell.configure(&[1, 2], 9);
        shell
    }

    fn configure(&mut self, peers: &[usize], hold_time: u16) {
        let wish = peers
            .iter()
            .map(|&node| {
                (
                    named(node),
                    PeerConfig {
                        hold_time,
                        ..peer(node)
                    },
                )
            })
            .collect();
        self.speaker.configure(wish, self.now);
        self.drain();
    }

    fn pick(&self, number: usize) -> Option<ConnectionId> {
        self.connections.keys().rev().nth(number).copied()
    }

    fn say(&mut self, number: usize, bytes: &[u8]) {
        if let Some(connection) = self
            .pick(number)
            .filter(|id| self.connections[id].connected)
        {
            self.speaker
                .handle(Input::Received { connection, bytes }, self.now);
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Connected(number) => {
                if let Some(connection) = self
                    .pick(number)
                    .filter(|id| !self.connections[id].connected)
                {
                    self.connections.entry(connection).or_default().connected = true;
                    self.speaker.handle(
                        Input::Connected {
                            connection,
                            local: socket(0, 40_000),
                        },
                        self.now,
                    );
                }
            }
            Step::ConnectFailed(number) => {
                if let Some(connection) = self
                    .pick(number)
                    .filter(|id| !self.connections[id].connected)
                {
                    self.connections.remove(&connection);
                    self.speaker.handle(
                        Input::ConnectFailed {
                            connection,
                            error: None,
                        },
                        self.now,
                    );
                }
            }
            Step::Closed(number) => {
                if let Some(connection) = self
                    .pick(number)
                    .filter(|id| self.connections[id].connected)
                {
                    self.connections.remove(&connection);
                    self.speaker.handle(Input::Closed { connection }, self.now);
                }
            }
            Step::Sent(number) => {
                if let Some(connection) =
                    self.pick(number).filter(|id| self.connections[id].sending)
                {
                    self.connections.entry(connection).or_default().sending = false;
                    self.speaker.handle(Input::Sent { connection }, self.now);
                }
            }
            Step::Accept(node) => {
                if let Some(accepted) =
                    self.speaker
                        .accept(socket(node, 50_000), socket(0, 179), self.now)
                {
                    self.connections.insert(
                        accepted.connection,
                        Connection {
                            connected: true,
                            sending: false,
                        },
                    );
                }
            }
            Step::Open(number) => self.say(number, &their_open().encode()),
            Step::Keepalive(number) => self.say(number, &keepalive()),
            Step::Cease(number) => self.say(
                number,
                &Notification::cease(CeaseSubcode::AdministrativeReset).encode(),
            ),
            Step::Refresh(number, subtype) => {
                let subtype = RefreshSubtype::from(subtype);
                self.say(
                    number,
                    &RouteRefresh {
                        family: Family::IPV4_UNICAST,
                        subtype,
                    }
                    .encode(),
                );
            }
            Step::Bytes(number, bytes) => self.say(number, &bytes),
            Step::Wait(millis) => self.wait(Duration::from_millis(millis.into())),
            Step::Originate(bits) => {
                let list = ["10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24", "10.4.0.0/24"];
                let wish: Vec<&str> = list
                    .iter()
                    .enumerate()
                    .filter(|(bit, _)| bits & (1 << bit) != 0)
                    .map(|(_, net)| *net)
                    .collect();
                self.speaker.originate(&prefixes(&wish), self.now);
            }
            Step::Hold(hold_time) => self.configure(&[1, 2], hold_time),
            Step::Remove => self.configure(&[2], 9),
            Step::Add => self.configure(&[1, 2], 9),
            Step::Goodbye(really) => {
                if really {
                    self.speaker.goodbye(Goodbye::Cease, self.now);
                    self.leaving = true;
                }
            }
        }
        self.drain();
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..10_000 {
            let Some(at) = self.speaker.next_deadline().filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(at);
            self.speaker.handle(Input::Tick, self.now);
            assert!(
                self.speaker
                    .next_deadline()
                    .is_none_or(|next| next > self.now),
                "a tick settles what is due"
            );
            self.drain();
        }
        panic!("the speaker ticks without end");
    }

    fn drain(&mut self) {
        while let Some(output) = self.speaker.poll_output() {
            match output {
                Output::Connect { connection, .. } => {
                    assert!(!self.leaving, "no dial after the goodbye");
                    assert!(
                        self.connections
                            .insert(connection, Connection::default())
                            .is_none(),
                        "a new name"
                    );
                }
                Output::Send { connection, bytes } => {
                    let known = self
                        .connections
                        .get_mut(&connection)
                        .expect("a connection that stands");
                    assert!(
                        known.connected && !known.sending && !bytes.is_empty(),
                        "one piece at a time"
                    );
                    known.sending = true;
                }
                Output::Close { connection } => {
                    assert!(
                        self.connections.remove(&connection).is_some(),
                        "closed once"
                    );
                }
                Output::Up { peer } => {
                    assert_ne!(self.up.insert(peer, true), Some(true), "up twice");
                }
                Output::Down { peer, .. } => {
                    self.up.insert(peer, false);
                }
            }
        }
    }

    fn check(&self) {
        for report in self.speaker.report() {
            let established = report.state == SessionState::Established;
            assert_eq!(established, report.established_at.is_some());
            assert_eq!(established, !report.families.is_empty());
            assert_eq!(
                established,
                self.up.get(&report.name).copied().unwrap_or(false),
                "reported as told"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]


    #[test]
    fn any_input_in_any_order_keeps_the_contract(steps in prop::collection::vec(step(), 1..120)) {
        let mut shell = Shell::new();
        for step in steps {
            shell.take(step);
            shell.check();
        }
        shell.speaker.goodbye(Goodbye::Cease, shell.now);
        shell.leaving = true;
        shell.drain();
        shell.wait(Duration::from_secs(1));
        shell.drain();
        prop_assert!(shell.speaker.finished());
        prop_assert!(shell.connections.is_empty(), "every connection was closed");
    }
}
