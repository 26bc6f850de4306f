//! The peer: it brings a session up and sends a table.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bgp::Family;
use bgp::wire::{Capabilities, HEADER_LENGTH, MessageKind, Open, keepalive};
use bytes::Bytes;
use socket2::{Domain, Socket, Type};

use crate::network::{SPEAKER, peer_address};
use crate::{HOLD_TIME, PEER_ASN};

/// How long a speaker may take to listen and to establish the session.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the session stands before the table is sent, so that everybody is idle.
const SETTLE: Duration = Duration::from_secs(3);

pub(crate) struct Feeder {
    stream: TcpStream,
}

impl Feeder {
    /// Dials until the speaker listens, and brings the session up.
    pub(crate) fn establish() -> io::Result<Self> {
        let deadline = Instant::now() + PATIENCE;
        let stream = loop {
            match dial() {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => thread::sleep(Duration::from_millis(100)),
            }
        };
        thread::sleep(SETTLE);
        Ok(Self { stream })
    }

    /// Sends the table and holds the session until the speaker ends it.
    pub(crate) fn send(self, table: Bytes) -> JoinHandle<io::Result<()>> {
        thread::spawn(move || {
            let Self { mut stream } = self;
            let mut incoming = stream.try_clone()?;
            incoming.set_read_timeout(None)?;
            thread::spawn(move || io::copy(&mut incoming, &mut io::sink()));
            stream.write_all(&table)?;
            stream.set_read_timeout(None)?;
            let mut rest = [0; 64];
            while matches!(stream.read(&mut rest), Ok(1..)) {}
            Ok(())
        })
    }
}

fn dial() -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((peer_address(0), 0)).into())?;
    socket.set_tcp_nodelay(true)?;
    socket.connect(&SocketAddr::from((SPEAKER, 179)).into())?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let open = Open {
        asn: PEER_ASN,
        hold_time: HOLD_TIME,
        router_id: Ipv4Addr::from(u32::from(peer_address(0))),
        capabilities: Capabilities {
            multiprotocol: vec![Family::IPV4_UNICAST],
            four_octet_asn: Some(PEER_ASN),
            ..Capabilities::default()
        },
    };
    stream.write_all(&open.encode())?;
    stream.write_all(&keepalive())?;
    let (mut header, mut seen) = ([0; HEADER_LENGTH], Vec::new());
    while seen != [MessageKind::Open, MessageKind::Keepalive] {
        stream.read_exact(&mut header)?;
        let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
        let mut body = vec![0; length - HEADER_LENGTH];
        stream.read_exact(&mut body)?;
        match MessageKind::from_number(header[18]) {
            Some(kind @ (MessageKind::Open | MessageKind::Keepalive)) => seen.push(kind),
            other => return Err(io::Error::other(format!("{other:?} during the handshake"))),
        }
    }
    Ok(stream)
}
