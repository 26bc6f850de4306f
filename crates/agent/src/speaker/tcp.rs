//! One TCP connection: dialled or accepted, read and written until one side ends it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bgp::{Accepted, ConnectionId};
use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// How long a dial may take. Less than Linux's own two minutes, so that a peer that comes back behind a silent
/// path is found by the next attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a closing connection may take to deliver its last message.
const LINGER: Duration = Duration::from_secs(1);
/// Room for one read. A full table arrives at this grain; an idle connection holds no more than this.
const READ_SIZE: usize = 16 * 1024;

/// What connections and listeners tell the speaker's task.
#[derive(Debug)]
pub(super) struct Fact {
    /// BGP instance it is about.
    pub(super) instance: Arc<str>,
    pub(super) kind: FactKind,
}

#[derive(Debug)]
pub(super) enum FactKind {
    Connected {
        connection: ConnectionId,
        local: SocketAddr,
    },
    ConnectFailed {
        connection: ConnectionId,
        error: Option<i32>,
    },
    Accepted {
        stream: TcpStream,
        remote: SocketAddr,
        local: SocketAddr,
    },
    Received {
        connection: ConnectionId,
        bytes: Bytes,
    },
    Sent {
        connection: ConnectionId,
    },
    Closed {
        connection: ConnectionId,
    },
}

/// Handle of a connection's task. Dropping it closes the connection after what was handed to
/// [`Connection::send`] has been written, within [`LINGER`].
#[derive(Debug)]
pub(super) struct Connection {
    outgoing: mpsc::Sender<Bytes>,
    dialling: Option<AbortHandle>,
}

/// Where to dial, and how.
#[derive(Debug)]
pub(super) struct Dial {
    pub(super) remote: SocketAddr,
    pub(super) local: Option<IpAddr>,
    pub(super) ttl: Option<u8>,
}

/// The way back to the speaker's task.
#[derive(Debug, Clone)]
pub(super) struct Reporter {
    pub(super) instance: Arc<str>,
    pub(super) facts: mpsc::Sender<Fact>,
}

impl Reporter {
    /// Waits while the speaker is busy: this is the backpressure that reaches the peer. An error means that the
    /// speaker's task is gone, and nobody is left to care.
    pub(super) async fn tell(&self, kind: FactKind) -> bool {
        self.facts
            .send(Fact {
                instance: Arc::clone(&self.instance),
                kind,
            })
            .await
            .is_ok()
    }
}

impl Connection {
    /// Starts an attempt, answered by `Connected` or `ConnectFailed`.
    pub(super) fn dial(connection: ConnectionId, dial: Dial, reporter: Reporter) -> Self {
        let (outgoing, queue) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            match timeout(CONNECT_TIMEOUT, connect(&dial)).await {
                Ok(Ok(stream)) => match stream.local_addr() {
                    Ok(local) => {
                        if reporter
                            .tell(FactKind::Connected { connection, local })
                            .await
                        {
                            carry(connection, stream, queue, &reporter).await;
                        }
                    }
                    Err(error) => failed(connection, error.raw_os_error(), &reporter).await,
                },
                Ok(Err(error)) => failed(connection, error.raw_os_error(), &reporter).await,
                Err(_elapsed) => failed(connection, None, &reporter).await,
            }
        });
        Self {
            outgoing,
            dialling: Some(task.abort_handle()),
        }
    }

    /// Takes over an accepted connection. One whose TTL cannot be set is closed, as a dialled one would be.
    pub(super) fn adopt(
        accepted: Accepted,
        stream: TcpStream,
        remote: SocketAddr,
        reporter: Reporter,
    ) -> Self {
        let Accepted { connection, ttl } = accepted;
        let (outgoing, queue) = mpsc::channel(1);
        tokio::spawn(async move {
            let set = ttl.map_or(Ok(()), |ttl| set_ttl(&SockRef::from(&stream), remote, ttl));
            match set {
                Ok(()) => carry(connection, stream, queue, &reporter).await,
                Err(_) => drop(reporter.tell(FactKind::Closed { connection }).await),
            }
        });
        Self {
            outgoing,
            dialling: None,
        }
    }

    /// The attempt succeeded: from now on dropping the handle delivers what is queued.
    pub(super) fn connected(&mut self) {
        self.dialling = None;
    }

    /// Queues the bytes of one `Output::Send`. The speaker has at most one outstanding, so there is always room;
    /// a connection that has just died takes nothing and reports itself closed.
    pub(super) fn send(&self, bytes: Bytes) {
        drop(self.outgoing.try_send(bytes));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(dialling) = &self.dialling {
            dialling.abort();
        }
    }
}

async fn failed(connection: ConnectionId, error: Option<i32>, reporter: &Reporter) {
    reporter
        .tell(FactKind::ConnectFailed { connection, error })
        .await;
}

async fn connect(dial: &Dial) -> io::Result<TcpStream> {
    let socket = match dial.remote {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    let options = SockRef::from(&socket);
    if let Some(ttl) = dial.ttl {
        set_ttl(&options, dial.remote, ttl)?;
    }
    options.set_tcp_nodelay(true)?;
    if let Some(local) = dial.local {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    socket.connect(dial.remote).await
}

fn set_ttl(options: &SockRef<'_>, remote: SocketAddr, ttl: u8) -> io::Result<()> {
    match remote {
        SocketAddr::V4(_) => options.set_ttl_v4(u32::from(ttl)),
        SocketAddr::V6(_) => options.set_unicast_hops_v6(u32::from(ttl)),
    }
}

/// Reads and writes until the peer ends the connection or the handle is dropped.
async fn carry(
    connection: ConnectionId,
    stream: TcpStream,
    queue: mpsc::Receiver<Bytes>,
    reporter: &Reporter,
) {
    let (mut incoming, outgoing) = stream.into_split();
    let ended = tokio::select! {
        () = read(connection, &mut incoming, reporter) => Ended::ByPeer,
        outgoing = write(connection, outgoing, queue, reporter) => Ended::ByUs(outgoing),
    };
    match ended {
        Ended::ByPeer => drop(reporter.tell(FactKind::Closed { connection }).await),
        Ended::ByUs(Some(outgoing)) => linger(incoming, outgoing).await,
        Ended::ByUs(None) => drop(reporter.tell(FactKind::Closed { connection }).await),
    }
}

enum Ended {
    ByPeer,
    ByUs(Option<OwnedWriteHalf>),
}

async fn read(connection: ConnectionId, incoming: &mut OwnedReadHalf, reporter: &Reporter) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(READ_SIZE);
        match incoming.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let bytes = buffer.split().freeze();
                if !reporter
                    .tell(FactKind::Received { connection, bytes })
                    .await
                {
                    return;
                }
            }
        }
    }
}

/// Writes what is queued; returns the half that can still be shut down, or nothing where the connection broke.
async fn write(
    connection: ConnectionId,
    mut outgoing: OwnedWriteHalf,
    mut queue: mpsc::Receiver<Bytes>,
    reporter: &Reporter,
) -> Option<OwnedWriteHalf> {
    while let Some(bytes) = queue.recv().await {
        outgoing.write_all(&bytes).await.ok()?;
        if !reporter.tell(FactKind::Sent { connection }).await {
            break;
        }
    }
    Some(outgoing)
}

/// Sends FIN and reads on until the peer's: closing with unread bytes would send RST, which may overtake the
/// NOTIFICATION just written.
async fn linger(mut incoming: OwnedReadHalf, mut outgoing: OwnedWriteHalf) {
    let goodbye = async {
        outgoing.shutdown().await?;
        tokio::io::copy(&mut incoming, &mut tokio::io::sink()).await
    };
    // Nobody is interested in how a connection that we gave up ends.
    drop(timeout(LINGER, goodbye).await);
}
