//! One speaker talked to by hand: the test is its peer, byte by byte.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bgp::report::{DownReason, PeerReport};
use bgp::wire::{
    Capabilities, Framer, GracefulRestartCapability, MessageKind, Notification, Open, keepalive,
};
use bgp::{Accepted, ConnectionId, Family, Input, InstanceConfig, Output, PeerConfig, Speaker};

use crate::simulation::{address, instance, named, peer, prefixes, socket};

/// A message the speaker sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: MessageKind,
    pub(crate) body: Vec<u8>,
}

/// A speaker that dials the test, and the connection between them.
pub(crate) struct Conversation {
    pub(crate) speaker: Speaker,
    pub(crate) now: Instant,
    pub(crate) connection: ConnectionId,
    /// Whether what the speaker sends is taken from it.
    pub(crate) reading: bool,
    pub(crate) closed: bool,
    pub(crate) told: Vec<Output>,
    received: Vec<u8>,
}

/// What a well-behaved peer at node 1 would send.
pub(crate) fn their_open() -> Open {
    Open {
        asn: 65002,
        hold_time: 90,
        router_id: Ipv4Addr::new(10, 0, 0, 2),
        capabilities: Capabilities {
            multiprotocol: vec![Family::IPV4_UNICAST],
            route_refresh: true,
            enhanced_route_refresh: true,
            extended_message: true,
            four_octet_asn: Some(65002),
            graceful_restart: Some(GracefulRestartCapability {
                restarting: false,
                notification: true,
                restart_time: 15,
                families: vec![(Family::IPV4_UNICAST, true)],
            }),
            ..Capabilities::default()
        },
    }
}

impl Conversation {
    /// The speaker dialled and sent its OPEN.
    pub(crate) fn dialled() -> Self {
        Self::with(instance(0), peer(1))
    }

    pub(crate) fn with(instance: InstanceConfig, config: PeerConfig) -> Self {
        let now = Instant::now();
        let mut speaker = Speaker::new(instance, 1, now);
        speaker.originate(&prefixes(&["10.1.0.0/24"]), now);
        speaker.configure([(named(1), config)].into(), now);
        let Some(Output::Connect { connection, .. }) = speaker.poll_output() else {
            panic!("it dials at once")
        };
        let mut conversation = Self {
            speaker,
            now,
            connection,
            reading: true,
            closed: false,
            told: Vec::new(),
            received: Vec::new(),
        };
        conversation.connected();
        conversation
    }

    fn connected(&mut self) {
        let local = SocketAddr::new(address(0), 40_000);
        self.speaker.handle(
            Input::Connected {
                connection: self.connection,
                local,
            },
            self.now,
        );
        self.drain();
    }

    /// The session is up and what was said until then is read.
    pub(crate) fn established() -> Self {
        let mut conversation = Self::dialled();
        conversation.establish(&their_open());
        conversation
    }

    pub(crate) fn establish(&mut self, open: &Open) {
        self.say(&open.encode());
        self.say(&keepalive());
        assert!(self.report().established_at.is_some(), "{:?}", self.told);
        self.messages();
    }

    pub(crate) fn say(&mut self, bytes: &[u8]) {
        self.speaker.handle(
            Input::Received {
                connection: self.connection,
                bytes,
            },
            self.now,
        );
        self.drain();
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.speaker.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.speaker.handle(Input::Tick, self.now);
            self.drain();
        }
        self.now = end;
    }

    /// What was waiting is taken; from now on the test reads again.
    pub(crate) fn read(&mut self) {
        self.reading = true;
        self.speaker.handle(
            Input::Sent {
                connection: self.connection,
            },
            self.now,
        );
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.speaker.poll_output() {
            match output {
                Output::Send { connection, bytes } if connection == self.connection => {
                    assert!(!self.closed, "nothing is sent after Close");
                    self.received.extend_from_slice(&bytes);
                    if self.reading {
                        self.speaker.handle(Input::Sent { connection }, self.now);
                    }
                }
                Output::Close { connection } if connection == self.connection => self.closed = true,
                other => self.told.push(other),
            }
        }
    }

    /// Takes the next dial instead of the connection that ended.
    pub(crate) fn redialled(&mut self) {
        for _ in 0..100 {
            let dial = self
                .told
                .iter()
                .position(|output| matches!(output, Output::Connect { .. }));
            if let Some(Output::Connect { connection, .. }) = dial.map(|at| self.told.remove(at)) {
                (self.connection, self.closed, self.reading) = (connection, false, true);
                return self.connected();
            }
            self.wait(Duration::from_millis(200));
        }
        panic!("it does not dial again");
    }

    /// What the speaker said since the last call.
    pub(crate) fn messages(&mut self) -> Vec<Message> {
        let mut framer = Framer::new();
        framer.push(&std::mem::take(&mut self.received));
        let mut messages = Vec::new();
        while let Some(frame) = framer.next(65535).expect("well-formed messages") {
            messages.push(Message {
                kind: frame.kind,
                body: frame.body.to_vec(),
            });
        }
        assert_eq!(framer.pending(), 0, "whole messages");
        messages
    }

    /// The NOTIFICATION it ended with.
    pub(crate) fn last_word(&mut self) -> Option<Notification> {
        let last = self
            .messages()
            .pop()
            .filter(|message| message.kind == MessageKind::Notification)?;
        Some(Notification::decode(&last.body).expect("a valid NOTIFICATION"))
    }

    pub(crate) fn report(&self) -> PeerReport {
        let [report] = self.speaker.report().try_into().expect("one peer");
        report
    }

    pub(crate) fn downs(&self) -> Vec<DownReason> {
        self.told
            .iter()
            .filter_map(|output| match output {
                Output::Down { reason, .. } => Some(reason.clone()),
                Output::Up { .. }
                | Output::Connect { .. }
                | Output::Send { .. }
                | Output::Close { .. } => None,
            })
            .collect()
    }

    /// The test dials the speaker.
    pub(crate) fn dial(&mut self) -> Option<ConnectionId> {
        let accepted = self
            .speaker
            .accept(socket(1, 50_000), socket(0, 179), self.now)?;
        (self.connection, self.closed, self.reading) = (accepted.connection, false, true);
        self.received.clear();
        self.drain();
        Some(accepted.connection)
    }

    /// A stranger dials the speaker.
    pub(crate) fn dial_from(&mut self, address: IpAddr) -> Option<Accepted> {
        self.speaker
            .accept(SocketAddr::new(address, 50_000), socket(0, 179), self.now)
    }
}
