//! This crate's speaker as a daemon: the smallest shell that serves real connections.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bgp::policy::{ExportPolicy, ExportRule, ExportVerdict, SetAttributes, Source};
use bgp::{ConnectionId, Family, Input, InstanceConfig, Output, PeerConfig, PeerName, Speaker};
use bytes::Bytes;
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::daemons::{HOLD_TIME, LOCAL_ASN, asn_of};
use crate::network::{SPEAKER, peer_address};

const LISTENER: Token = Token(0);
const READ_OCTETS: usize = 65_536;

struct Connection {
    stream: TcpStream,
    id: ConnectionId,
    /// What the kernel has not taken yet.
    sending: Option<Bytes>,
    readable: bool,
    writable: bool,
}

struct Shell {
    speaker: Speaker,
    poll: Poll,
    listener: TcpListener,
    connections: HashMap<Token, Connection>,
    tokens: HashMap<ConnectionId, Token>,
    next_token: usize,
    buffer: Vec<u8>,
}

/// Everything learned is announced to everybody but the injector.
fn peers(count: usize) -> BTreeMap<PeerName, PeerConfig> {
    let verdict = ExportVerdict::Accept(SetAttributes::default());
    let all = ExportPolicy {
        rules: vec![ExportRule {
            source: Source::Learned,
            prefixes: None,
            verdict,
        }],
    };
    let (all, nothing) = (Arc::new(all), Arc::new(ExportPolicy::default()));
    let peer = |number: usize| PeerConfig {
        address: peer_address(number).into(),
        port: 179,
        local_address: Some(SPEAKER.into()),
        peer_asn: Some(asn_of(number)),
        hold_time: HOLD_TIME,
        keepalive: HOLD_TIME / 3,
        connect_retry: Duration::from_secs(120),
        ebgp_ttl: 1,
        families: vec![Family::IPV4_UNICAST],
        graceful_restart: None,
        export: Arc::clone(if number == 0 { &nothing } else { &all }),
    };
    (0..count)
        .map(|number| {
            (
                PeerName::from(format!("peer{number}").as_str()),
                peer(number),
            )
        })
        .collect()
}

/// Serves `count` peers until killed.
pub(crate) fn serve(count: usize) -> io::Result<()> {
    let poll = Poll::new()?;
    let mut listener = TcpListener::bind(SocketAddr::from((SPEAKER, 179)))?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let instance = InstanceConfig {
        local_asn: LOCAL_ASN,
        router_id: SPEAKER,
        listens: true,
        host_name: None,
        restarting: false,
    };
    let mut speaker = Speaker::new(instance, 1, Instant::now());
    speaker.configure(peers(count), Instant::now());
    let mut shell = Shell {
        speaker,
        poll,
        listener,
        connections: HashMap::new(),
        tokens: HashMap::new(),
        next_token: 1,
        buffer: vec![0; READ_OCTETS],
    };
    shell.perform();
    shell.run()
}

impl Shell {
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        loop {
            let busy = self
                .connections
                .values()
                .any(|connection| connection.readable);
            let until = self
                .speaker
                .next_deadline()
                .map(|at| at.saturating_duration_since(Instant::now()));
            let timeout = if busy { Some(Duration::ZERO) } else { until };
            self.poll
                .poll(&mut events, timeout)
                .or_else(|error| match error.kind() {
                    io::ErrorKind::Interrupted => Ok(()),
                    _ => Err(error),
                })?;
            for event in &events {
                self.note(event)?;
            }
            self.read();
            if self
                .speaker
                .next_deadline()
                .is_some_and(|at| at <= Instant::now())
            {
                self.speaker.handle(Input::Tick, Instant::now());
                self.perform();
            }
        }
    }

    fn note(&mut self, event: &Event) -> io::Result<()> {
        if event.token() == LISTENER {
            return self.accept();
        }
        let Some(connection) = self.connections.get_mut(&event.token()) else {
            return Ok(());
        };
        connection.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        connection.writable |= event.is_writable();
        if connection.writable && connection.sending.is_some() {
            self.write(event.token());
            self.perform();
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let (mut stream, remote) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let local = stream.local_addr()?;
            stream.set_nodelay(true)?;
            let Some(accepted) = self.speaker.accept(remote, local, Instant::now()) else {
                continue;
            };
            let token = Token(self.next_token);
            self.next_token += 1;
            self.poll.registry().register(
                &mut stream,
                token,
                Interest::READABLE | Interest::WRITABLE,
            )?;
            self.connections.insert(
                token,
                Connection {
                    stream,
                    id: accepted.connection,
                    sending: None,
                    readable: false,
                    writable: false,
                },
            );
            self.tokens.insert(accepted.connection, token);
            self.perform();
        }
    }

    /// One read from every connection that has something, so that none starves the others.
    fn read(&mut self) {
        let ready = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.readable);
        for token in ready.map(|(token, _)| *token).collect::<Vec<_>>() {
            let Some(connection) = self.connections.get_mut(&token) else {
                continue;
            };
            let id = connection.id;
            match connection.stream.read(&mut self.buffer) {
                Ok(read) if read > 0 => {
                    let bytes = &self.buffer[..read];
                    self.speaker.handle(
                        Input::Received {
                            connection: id,
                            bytes,
                        },
                        Instant::now(),
                    );
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    connection.readable = false;
                }
                Ok(_) | Err(_) => {
                    self.forget(id);
                    self.speaker
                        .handle(Input::Closed { connection: id }, Instant::now());
                }
            }
            self.perform();
        }
    }

    fn forget(&mut self, id: ConnectionId) {
        if let Some(token) = self.tokens.remove(&id) {
            self.connections.remove(&token);
        }
    }

    /// Does what the speaker asks for. It is never let out: its peers dial.
    fn perform(&mut self) {
        while let Some(output) = self.speaker.poll_output() {
            match output {
                Output::Connect { connection, .. } => {
                    self.speaker.handle(
                        Input::ConnectFailed {
                            connection,
                            error: None,
                        },
                        Instant::now(),
                    );
                }
                Output::Send { connection, bytes } => {
                    let Some(token) = self.tokens.get(&connection).copied() else {
                        continue;
                    };
                    if let Some(connection) = self.connections.get_mut(&token) {
                        connection.sending = Some(bytes);
                        self.write(token);
                    }
                }
                Output::Close { connection } => self.forget(connection),
                Output::Up { .. } | Output::Down { .. } => {}
            }
        }
    }

    /// Writes as much as the kernel takes.
    fn write(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(&token) else {
            return;
        };
        let id = connection.id;
        while let Some(bytes) = &mut connection.sending {
            match connection.stream.write(bytes) {
                Ok(written) => {
                    drop(bytes.split_to(written));
                    if bytes.is_empty() {
                        connection.sending = None;
                        self.speaker
                            .handle(Input::Sent { connection: id }, Instant::now());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    connection.writable = false;
                    return;
                }
                Err(_) => {
                    self.forget(id);
                    self.speaker
                        .handle(Input::Closed { connection: id }, Instant::now());
                    return;
                }
            }
        }
    }
}
