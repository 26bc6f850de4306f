//! The listening socket of an instance that has a `localPort`.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::tcp::{FactKind, Reporter};

/// Pause after a failed accept: out of file descriptors does not mend itself in a tight loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const BACKLOG: i32 = 128;
/// Of a host without IPv6 (`asm-generic/errno.h`).
const EAFNOSUPPORT: i32 = 97;

/// Pause before a port is tried again that could not be had. It doubles with each failure; nothing is said of the first.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause: how long it goes unnoticed that another program has let go of the port.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Where peers may come in.
#[derive(Debug)]
pub(super) enum Door {
    /// Nobody is let in.
    Shut,
    /// The port could not be had, or was not tried yet.
    Blocked {
        port: u16,
        error: Option<io::Error>,
        retry: Instant,
        pause: Duration,
    },
    /// Held for its sockets.
    Open { port: u16, _listener: Listener },
}

impl Door {
    pub(super) fn new(port: Option<u16>, now: Instant) -> Self {
        port.map_or(Self::Shut, |port| Self::Blocked {
            port,
            error: None,
            retry: now,
            pause: FIRST_PAUSE,
        })
    }

    pub(super) fn port(&self) -> Option<u16> {
        match self {
            Self::Shut => None,
            Self::Blocked { port, .. } | Self::Open { port, .. } => Some(*port),
        }
    }

    /// When there is something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        match self {
            Self::Shut | Self::Open { .. } => None,
            Self::Blocked { retry, .. } => Some(*retry),
        }
    }

    /// Opens it, where that is due and possible. Returns whether there is something to tell.
    pub(super) fn turn(&mut self, instance: &str, reporter: &Reporter, now: Instant) -> bool {
        let Self::Blocked {
            port,
            error,
            retry,
            pause,
        } = self
        else {
            return false;
        };
        if now < *retry {
            return false;
        }
        let port = *port;
        match Listener::start(port, reporter) {
            Ok(_listener) => {
                info!(instance, port, "listening");
                *self = Self::Open { port, _listener };
                true
            }
            // An instance before this one may be letting go of it just now.
            Err(_) if *pause == FIRST_PAUSE => {
                *retry = now + *pause;
                *pause *= 2;
                false
            }
            Err(why) => {
                let is_news = error.as_ref().map(io::Error::kind) != Some(why.kind());
                if is_news {
                    warn!(instance, port, error = %why, "cannot listen; trying on");
                }
                *error = Some(why);
                *retry = now + *pause;
                *pause = (*pause * 2).min(LONGEST_PAUSE);
                is_news
            }
        }
    }

    /// Why nobody can come in who should.
    pub(super) fn failure(&self) -> Option<String> {
        match self {
            Self::Blocked {
                port,
                error: Some(error),
                ..
            } => Some(format!("cannot listen on port {port}: {error}")),
            Self::Shut | Self::Open { .. } | Self::Blocked { error: None, .. } => None,
        }
    }
}

/// A listener; dropping it stops listening.
#[derive(Debug)]
pub(super) struct Listener {
    tasks: Vec<JoinHandle<()>>,
}

impl Listener {
    /// Listens on all addresses of both families; a host without IPv6 gets the IPv4 socket alone.
    fn start(port: u16, reporter: &Reporter) -> io::Result<Self> {
        let ipv4 = socket(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
        let ipv6 = match socket(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
            Err(error) if error.raw_os_error() == Some(EAFNOSUPPORT) => None,
            socket => Some(socket?),
        };
        let start = |listener| tokio::spawn(accept(listener, reporter.clone()));
        Ok(Self {
            tasks: std::iter::once(ipv4).chain(ipv6).map(start).collect(),
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn socket(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

async fn accept(listener: TcpListener, reporter: Reporter) {
    loop {
        let Ok((stream, remote)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(local) = stream.local_addr() else {
            continue;
        };
        // A socket without the option only delays small messages; the session works all the same.
        drop(SockRef::from(&stream).set_tcp_nodelay(true));
        if !reporter
            .tell(FactKind::Accepted {
                stream,
                remote,
                local,
            })
            .await
        {
            return;
        }
    }
}
