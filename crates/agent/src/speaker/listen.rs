//! The listening socket of an instance that has a `localPort`.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::tcp::{FactKind, Reporter};

/// Pause after a failed accept: out of file descriptors does not mend itself in a tight loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const BACKLOG: i32 = 128;

/// A listener; dropping it stops listening.
#[derive(Debug)]
pub(super) struct Listener {
    tasks: Vec<JoinHandle<()>>,
}

impl Listener {
    /// Listens on all addresses of both families; a host without IPv6 gets the IPv4 socket alone.
    pub(super) fn start(port: u16, reporter: &Reporter) -> io::Result<Self> {
        let ipv4 = socket(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
        let ipv6 = socket(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).ok();
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
