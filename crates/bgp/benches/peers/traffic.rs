//! Those the speaker under test talks to: one that sends a table, and others that count what they get.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use bgp::Family;
use bgp::wire::nlri::Ipv4Prefixes;
use bgp::wire::{Capabilities, HEADER_LENGTH, MessageKind, Open, keepalive};
use bytes::Bytes;
use ipnet::Ipv4Net;
use socket2::{Domain, Socket, Type};

use crate::daemons::{HOLD_TIME, asn_of};
use crate::network::{SPEAKER, peer_address};

/// How long a speaker may take to listen and to establish a session.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a speaker may stay silent during a run.
const SILENCE: Duration = Duration::from_secs(30);
/// How long sessions stand before the table is sent, so that everybody is idle.
const SETTLE: Duration = Duration::from_secs(3);

/// When a receiver had everything, or what it had when it gave up.
pub(crate) struct Seen {
    pub(crate) prefixes: u32,
    pub(crate) at: Instant,
}

/// A whole message in front of `bytes`: its type, body and length.
fn message(bytes: &[u8]) -> Option<(MessageKind, &[u8], usize)> {
    let length = usize::from(u16::from_be_bytes([*bytes.get(16)?, *bytes.get(17)?]));
    let body = bytes.get(HEADER_LENGTH..length)?;
    Some((MessageKind::from_number(bytes[18])?, body, length))
}

/// Messages off a stream.
struct Reader {
    stream: TcpStream,
    buffer: Vec<u8>,
    from: usize,
    to: usize,
}

impl Reader {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: vec![0; 1 << 18],
            from: 0,
            to: 0,
        }
    }

    /// Reads more; false at the end of the stream.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.copy_within(self.from..self.to, 0);
        self.to -= self.from;
        self.from = 0;
        let read = self.stream.read(&mut self.buffer[self.to..])?;
        self.to += read;
        Ok(read > 0)
    }

    /// Hands over each whole message there is.
    fn drain(&mut self, mut take: impl FnMut(MessageKind, &[u8])) {
        while let Some((kind, body, length)) = message(&self.buffer[self.from..self.to]) {
            take(kind, body);
            self.from += length;
        }
    }
}

/// Dials until the speaker listens, and brings a session up.
fn establish(number: usize) -> io::Result<TcpStream> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match try_establish(number) {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn try_establish(number: usize) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((peer_address(number), 0)).into())?;
    socket.set_tcp_nodelay(true)?;
    socket.connect(&SocketAddr::from((SPEAKER, 179)).into())?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let capabilities = Capabilities {
        multiprotocol: vec![Family::IPV4_UNICAST],
        four_octet_asn: Some(asn_of(number)),
        ..Capabilities::default()
    };
    let router_id = Ipv4Addr::from(u32::from(peer_address(number)));
    stream.write_all(
        &Open {
            asn: asn_of(number),
            hold_time: HOLD_TIME,
            router_id,
            capabilities,
        }
        .encode(),
    )?;
    stream.write_all(&keepalive())?;
    let (mut header, mut seen) = ([0; HEADER_LENGTH], Vec::new());
    while seen != [MessageKind::Open, MessageKind::Keepalive] {
        stream.read_exact(&mut header)?;
        let mut body =
            vec![0; usize::from(u16::from_be_bytes([header[16], header[17]])) - HEADER_LENGTH];
        stream.read_exact(&mut body)?;
        match MessageKind::from_number(header[18]) {
            Some(kind @ (MessageKind::Open | MessageKind::Keepalive)) => seen.push(kind),
            other => return Err(io::Error::other(format!("{other:?} during the handshake"))),
        }
    }
    Ok(stream)
}

/// Counts distinct prefixes of a table, which are numbered from 1.0.0.0/24 on.
struct Counter {
    seen: Vec<u64>,
    count: u32,
}

impl Counter {
    fn new(prefixes: u32) -> Self {
        Self {
            seen: vec![0; prefixes as usize / 64 + 1],
            count: 0,
        }
    }

    fn note(&mut self, prefix: Ipv4Net) {
        let number = (u32::from(prefix.network()).wrapping_sub(0x0100_0000) >> 8) as usize;
        let (word, bit) = (number / 64, 1 << (number % 64));
        if let Some(word) = self.seen.get_mut(word)
            && *word & bit == 0
        {
            *word |= bit;
            self.count += 1;
        }
    }

    /// Counts what an UPDATE announces. The speakers all send IPv4 prefixes in its own field.
    fn update(&mut self, body: &[u8]) -> Option<()> {
        let withdrawn = usize::from(u16::from_be_bytes(*body.first_chunk()?));
        let rest = body.get(2 + withdrawn..)?;
        let attributes = usize::from(u16::from_be_bytes(*rest.first_chunk()?));
        Ipv4Prefixes::parse(rest.get(2 + attributes..)?)?.for_each(|prefix| self.note(prefix));
        Some(())
    }
}

/// Reads until all prefixes were seen, the stream ends, or nothing comes any more.
fn receive(stream: TcpStream, prefixes: u32, seen: &Sender<Seen>) -> io::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    let mut reader = Reader::new(stream);
    let mut counter = Counter::new(prefixes);
    while counter.count < prefixes {
        if !matches!(reader.fill(), Ok(true)) {
            break;
        }
        reader.drain(|kind, body| {
            if kind == MessageKind::Update {
                let _ = counter.update(body);
            }
        });
    }
    let _ = seen.send(Seen {
        prefixes: counter.count,
        at: Instant::now(),
    });
    // The session stays up until the run is over.
    while matches!(reader.fill(), Ok(true)) {
        reader.from = reader.to;
    }
    Ok(())
}

/// Sessions that stand: one that will send, and receivers that wait.
pub(crate) struct Peers {
    injector: TcpStream,
    receivers: Vec<TcpStream>,
    seen: Receiver<Seen>,
}

impl Peers {
    /// Brings up the injector and `receivers` receivers that expect `prefixes` prefixes.
    pub(crate) fn establish(receivers: usize, prefixes: u32) -> io::Result<Self> {
        let (sender, seen) = channel();
        let mut streams = Vec::new();
        for number in 1..=receivers {
            let stream = establish(number)?;
            streams.push(stream.try_clone()?);
            let sender = sender.clone();
            thread::spawn(move || receive(stream, prefixes, &sender));
        }
        let injector = establish(0)?;
        injector.set_read_timeout(None)?;
        let mut echo = Reader::new(injector.try_clone()?);
        thread::spawn(move || {
            while matches!(echo.fill(), Ok(true)) {
                echo.from = echo.to;
            }
        });
        thread::sleep(SETTLE);
        Ok(Self {
            injector,
            receivers: streams,
            seen,
        })
    }

    /// Sends the table. When it began, and how each receiver fared within `limit`.
    pub(crate) fn run(mut self, table: &Bytes, limit: Duration) -> (Instant, Vec<Seen>) {
        let start = Instant::now();
        let (table, mut injector) = (table.clone(), self.injector.try_clone());
        thread::spawn(move || {
            injector
                .as_mut()
                .map(|stream| stream.write_all(&table))
                .map(drop)
                .ok()
        });
        let mut all = Vec::new();
        while all.len() < self.receivers.len() {
            match self
                .seen
                .recv_timeout(limit.saturating_sub(start.elapsed()))
            {
                Ok(seen) => all.push(seen),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        for stream in self.receivers.drain(..).chain([self.injector]) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        (start, all)
    }
}
