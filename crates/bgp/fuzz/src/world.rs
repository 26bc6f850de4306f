//! A speaker, two peers, and a script that drives them on a virtual clock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bgp::policy::{ExportPolicy, ExportRule, ExportVerdict, SetAttributes, Source};
use bgp::wire::{
    Capabilities, DecodeContext, Framer, MessageKind, Notification, Open, PeerKind, RouteRefresh,
    Treatment, keepalive, update,
};
use bgp::{
    ConnectionId, Family, Goodbye, GracefulRestart, Input, InstanceConfig, Output, PeerConfig,
    PeerName, Speaker,
};
use ipnet::IpNet;

const NAMES: [&str; 2] = ["a", "b"];
const ASNS: [u32; 2] = [65001, 65000];

/// One peer as the script sees it.
#[derive(Default)]
struct Peer {
    /// An attempt not answered yet.
    attempt: Option<ConnectionId>,
    /// Standing connections, oldest first.
    connections: Vec<Connection>,
    /// Takes what is sent only when told to.
    stalled: bool,
}

struct Connection {
    id: ConnectionId,
    framer: Framer,
    /// The peer said something.
    heard: bool,
    /// The first it said is who it is, as configured, so what it gets can be judged.
    proper: bool,
    unsent: bool,
}

impl Connection {
    fn new(id: ConnectionId) -> Self {
        Self {
            id,
            framer: Framer::new(),
            heard: false,
            proper: false,
            unsent: false,
        }
    }
}

/// A speaker and all there is around it.
pub struct World {
    speaker: Speaker,
    now: Instant,
    peers: [Peer; 2],
}

/// Takes octets off the front of a script.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn octet(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A two-octet length, and as many octets as there are of that.
    fn octets(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(u16::from_be_bytes([self.octet()?, self.octet()?]));
        let (octets, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        Some(octets)
    }
}

impl World {
    /// A speaker of AS 65000 that listens, with an external and an internal peer, and one route of its own.
    pub fn new() -> Self {
        let instance = InstanceConfig {
            local_asn: 65000,
            router_id: Ipv4Addr::new(10, 0, 0, 1),
            listens: true,
            host_name: Some("fuzzed".into()),
            restarting: false,
        };
        let now = Instant::now();
        let mut world = Self {
            speaker: Speaker::new(instance, 1, now),
            now,
            peers: Default::default(),
        };
        world.originate(1);
        world.configure(0);
        world
    }

    /// Plays a script to its end, then looks at everything once.
    pub fn play(&mut self, script: &[u8]) {
        let mut script = Script(script);
        while self.step(&mut script).is_some() {
            self.drain();
        }
        let reports = self.speaker.report();
        assert!(reports.len() <= NAMES.len());
        for report in reports {
            for family in report.families {
                assert!(family.accepted <= family.received);
            }
        }
        self.speaker.goodbye(Goodbye::Cease, self.now);
        self.drain();
    }

    fn step(&mut self, script: &mut Script<'_>) -> Option<()> {
        let code = script.octet()?;
        let peer = usize::from(code >> 4 & 1);
        let newest = self.peers[peer]
            .connections
            .last()
            .map(|connection| connection.id);
        match code & 0x0F {
            0 => self.connected(peer),
            1 => {
                if let Some(connection) = self.peers[peer].attempt.take() {
                    self.speaker.handle(
                        Input::ConnectFailed {
                            connection,
                            error: Some(111),
                        },
                        self.now,
                    );
                }
            }
            2 => self.greet(peer),
            3 => {
                let (kind, body) = (script.octet()?, script.octets()?);
                self.received(newest, &framed(kind, body));
            }
            4 => self.received(newest, script.octets()?),
            5 => self.take_sent(peer),
            6 => self.closed(peer),
            7 => {
                self.now = self
                    .speaker
                    .next_deadline()
                    .map_or(self.now, |deadline| deadline.max(self.now));
                self.speaker.handle(Input::Tick, self.now);
            }
            8 => {
                self.now += Duration::from_secs(u64::from(script.octet()?));
                self.speaker.handle(Input::Tick, self.now);
            }
            9 => {
                let local = SocketAddr::new(Ipv4Addr::new(192, 0, 2, 254).into(), 179);
                let accepted = self.speaker.accept(
                    SocketAddr::new(address(peer).into(), 40000),
                    local,
                    self.now,
                );
                self.peers[peer]
                    .connections
                    .extend(accepted.map(|accepted| Connection::new(accepted.connection)));
            }
            10 => self.originate(script.octet()?),
            11 => self.configure(script.octet()?),
            12 => self.peers[peer].stalled ^= true,
            13 if code >> 4 == 0x0F => {
                let goodbye = if script.octet()? & 1 == 0 {
                    Goodbye::Silent
                } else {
                    Goodbye::Cease
                };
                self.speaker.goodbye(goodbye, self.now);
            }
            _ => {}
        }
        Some(())
    }

    fn connected(&mut self, peer: usize) {
        if let Some(connection) = self.peers[peer].attempt.take() {
            self.peers[peer]
                .connections
                .push(Connection::new(connection));
            let local = SocketAddr::new(Ipv4Addr::new(192, 0, 2, 254).into(), 50000);
            self.speaker
                .handle(Input::Connected { connection, local }, self.now);
        }
    }

    /// The peer connects, opens as configured, and says that it is there.
    fn greet(&mut self, peer: usize) {
        self.connected(peer);
        self.drain();
        let Some(connection) = self.peers[peer].connections.last_mut() else {
            return;
        };
        connection.proper = !connection.heard;
        let id = connection.id;
        let open = Open {
            asn: ASNS[peer],
            hold_time: 90,
            router_id: address(peer),
            capabilities: Capabilities {
                multiprotocol: vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST],
                route_refresh: true,
                enhanced_route_refresh: true,
                extended_message: peer == 0,
                four_octet_asn: Some(ASNS[peer]),
                ..Capabilities::default()
            },
        };
        self.received(Some(id), &open.encode());
        self.drain();
        self.received(Some(id), &keepalive());
    }

    fn received(&mut self, connection: Option<ConnectionId>, bytes: &[u8]) {
        let Some(id) = connection else { return };
        let mut standing = self.peers.iter_mut().flat_map(|peer| &mut peer.connections);
        if let Some(connection) = standing.find(|connection| connection.id == id) {
            connection.heard = true;
        }
        let connection = id;
        self.speaker
            .handle(Input::Received { connection, bytes }, self.now);
    }

    fn take_sent(&mut self, peer: usize) {
        let waiting = self.peers[peer]
            .connections
            .iter_mut()
            .find(|connection| connection.unsent);
        if let Some(connection) = waiting {
            connection.unsent = false;
            let connection = connection.id;
            self.speaker.handle(Input::Sent { connection }, self.now);
        }
    }

    fn closed(&mut self, peer: usize) {
        if let Some(Connection { id: connection, .. }) = self.peers[peer].connections.pop() {
            self.speaker.handle(Input::Closed { connection }, self.now);
        }
    }

    fn originate(&mut self, bits: u8) {
        let prefixes = [
            "10.0.0.0/24",
            "10.0.1.0/24",
            "10.0.0.0/8",
            "0.0.0.0/0",
            "2001:db8::/32",
            "2001:db8:1::/64",
            "::/0",
        ];
        let wanted = prefixes
            .iter()
            .zip(0..)
            .filter(|(_, bit)| bits & 1 << bit != 0);
        let wanted: BTreeSet<IpNet> = wanted
            .map(|(prefix, _)| prefix.parse().expect("a prefix"))
            .collect();
        self.speaker.originate(&wanted, self.now);
    }

    /// Bits 0 and 1 leave out a peer, the others choose what is announced and how.
    fn configure(&mut self, bits: u8) {
        let mut peers = BTreeMap::new();
        for (peer, name) in NAMES
            .iter()
            .enumerate()
            .filter(|(peer, _)| bits & 1 << peer == 0)
        {
            peers.insert(PeerName::from(*name), config(peer, bits));
        }
        self.speaker.configure(peers, self.now);
    }

    /// Does what the speaker asks for, and checks what it says.
    fn drain(&mut self) {
        // Each answered Send may let out another one: as much as a table of a few routes can take.
        for _ in 0..1000 {
            while let Some(output) = self.speaker.poll_output() {
                self.take(output);
            }
            let mut answered = false;
            for peer in 0..self.peers.len() {
                let due = self.peers[peer]
                    .connections
                    .iter()
                    .any(|connection| connection.unsent);
                if due && !self.peers[peer].stalled {
                    self.take_sent(peer);
                    answered = true;
                }
            }
            if !answered {
                return;
            }
        }
        panic!("the speaker never stops sending");
    }

    fn take(&mut self, output: Output) {
        match output {
            Output::Connect {
                connection, peer, ..
            } => {
                let peer = usize::from(peer == PeerName::from(NAMES[1]));
                self.peers[peer].attempt = Some(connection);
            }
            Output::Send {
                connection: id,
                bytes,
            } => {
                for (number, peer) in self.peers.iter_mut().enumerate() {
                    if let Some(connection) = peer
                        .connections
                        .iter_mut()
                        .find(|connection| connection.id == id)
                    {
                        assert!(!connection.unsent, "sent before the last was taken");
                        connection.unsent = true;
                        let proper = connection.proper;
                        crate::messages(&mut connection.framer, &bytes, |kind, body| {
                            check(kind, body, number, proper)
                        });
                        assert_eq!(connection.framer.pending(), 0, "part of a message");
                    }
                }
            }
            Output::Close { connection: id } => {
                for peer in &mut self.peers {
                    peer.attempt.take_if(|attempt| *attempt == id);
                    peer.connections.retain(|connection| connection.id != id);
                }
            }
            Output::Up { .. } | Output::Down { .. } => {}
        }
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// Whatever it is, it decodes; an UPDATE to a peer that introduced itself properly is accepted without a fault.
fn check(kind: MessageKind, body: &[u8], peer: usize, proper: bool) {
    match kind {
        MessageKind::Open => assert!(Open::decode(body).is_ok_and(|open| open.asn == 65000)),
        MessageKind::Notification => assert!(Notification::decode(body).is_ok()),
        MessageKind::RouteRefresh => assert!(RouteRefresh::decode(body).is_ok()),
        MessageKind::Keepalive => {}
        MessageKind::Update if proper => {
            let context = DecodeContext {
                four_octet: true,
                peer_kind: if peer == 0 {
                    PeerKind::External
                } else {
                    PeerKind::Internal
                },
                families: vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST],
                local_asn: ASNS[peer],
                first_asn: (peer == 0).then_some(65000),
                reject_as_sets: false,
            };
            let update = update::decode(body, &context).expect("our own UPDATE");
            assert_eq!(update.treatment, Treatment::Accept);
        }
        MessageKind::Update => {}
    }
}

fn address(peer: usize) -> Ipv4Addr {
    [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)][peer]
}

fn config(peer: usize, bits: u8) -> PeerConfig {
    let set = |bit: u8| bits & 1 << bit != 0;
    let attributes = SetAttributes {
        local_preference: set(2).then_some(200),
        communities: if set(3) {
            BTreeSet::from([65000 << 16 | 1])
        } else {
            BTreeSet::new()
        },
        large_communities: BTreeSet::new(),
    };
    let rule = |source| ExportRule {
        source,
        prefixes: None,
        verdict: ExportVerdict::Accept(attributes.clone()),
    };
    let sources = if set(4) {
        vec![Source::Local]
    } else {
        vec![Source::Learned, Source::Local]
    };
    PeerConfig {
        address: address(peer).into(),
        port: 179,
        local_address: None,
        peer_asn: (peer == 0).then_some(ASNS[0]),
        hold_time: if set(5) { 0 } else { 90 },
        keepalive: 30,
        connect_retry: Duration::from_secs(120),
        ebgp_ttl: 1,
        families: vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST],
        graceful_restart: (!set(6)).then_some(GracefulRestart { restart_time: 120 }),
        export: Arc::new(ExportPolicy {
            rules: sources.into_iter().map(rule).collect(),
        }),
    }
}

/// A message of any kind with a good header.
fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let body = &body[..body.len().min(4000)];
    let mut message = vec![0xFF; 16];
    message.extend(u16::try_from(19 + body.len()).expect("short").to_be_bytes());
    message.push(kind);
    message.extend_from_slice(body);
    message
}
