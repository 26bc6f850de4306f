//! Bare TCP connections from inside a namespace, for bytes that no honest program would send.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::namespace::Namespace;
use crate::wait;

/// A port in a namespace on which somebody is awaited.
#[derive(Debug)]
pub struct RawListener {
    listener: TcpListener,
    address: SocketAddr,
}

/// A connection. Dropping it closes it.
#[derive(Debug)]
pub struct RawConnection {
    stream: TcpStream,
    peer: SocketAddr,
}

/// What came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Whether the other side has ended the connection, by whatever means.
    pub closed: bool,
}

impl RawListener {
    /// Listens on an address of the namespace.
    ///
    /// # Errors
    /// [`Error::File`] when the namespace has no such address, or the port is taken.
    pub fn bind(namespace: &Namespace, address: SocketAddr) -> Result<Self, Error> {
        let at = name(address);
        let listener = namespace.run(|| {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })?;
        Ok(Self {
            listener: listener.map_err(Error::file(at))?,
            address,
        })
    }

    /// Waits for the next one who connects.
    ///
    /// # Errors
    /// [`Error::Deadline`] when nobody does.
    pub fn accept(&self, patience: Duration) -> Result<RawConnection, Error> {
        let awaited = format!("somebody connects to {}", self.address);
        let (stream, peer) =
            wait::try_until(patience, &awaited, || match self.listener.accept() {
                Ok(accepted) => Ok(Some(accepted)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                Err(source) => Err(Error::File {
                    path: name(self.address),
                    source,
                }),
            })?;
        stream
            .set_nonblocking(false)
            .map_err(Error::file(name(peer)))?;
        Ok(RawConnection { stream, peer })
    }
}

impl RawConnection {
    /// Connects from the namespace.
    ///
    /// # Errors
    /// [`Error::File`] when nobody listens there.
    pub fn dial(
        namespace: &Namespace,
        peer: SocketAddr,
        patience: Duration,
    ) -> Result<Self, Error> {
        let stream = namespace.run(|| TcpStream::connect_timeout(&peer, patience))?;
        Ok(Self {
            stream: stream.map_err(Error::file(name(peer)))?,
            peer,
        })
    }

    /// The other end.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// [`Error::File`] when the connection has ended.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.stream
            .write_all(bytes)
            .map_err(Error::file(name(self.peer)))
    }

    /// Waits until `count` bytes are there.
    ///
    /// # Errors
    /// [`Error::File`] when the connection ends before, or nothing comes for `patience`.
    pub fn read_exactly(&mut self, count: usize, patience: Duration) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; count];
        let timeout = self.stream.set_read_timeout(Some(patience));
        timeout
            .and_then(|()| self.stream.read_exact(&mut bytes))
            .map_err(Error::file(name(self.peer)))?;
        Ok(bytes)
    }

    /// Reads whatever comes until the other side ends the connection or `patience` is over.
    ///
    /// # Errors
    /// [`Error::File`] when the kernel has another reason not to read.
    pub fn read_until_closed(&mut self, patience: Duration) -> Result<Received, Error> {
        let start = Instant::now();
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let left = patience.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(Received {
                    bytes,
                    closed: false,
                });
            }
            let timeout = self.stream.set_read_timeout(Some(left));
            match timeout.and_then(|()| self.stream.read(&mut buffer)) {
                Ok(0) => {
                    return Ok(Received {
                        bytes,
                        closed: true,
                    });
                }
                Ok(count) => bytes.extend_from_slice(&buffer[..count]),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::Interrupted => {}
                    io::ErrorKind::ConnectionReset => {
                        return Ok(Received {
                            bytes,
                            closed: true,
                        });
                    }
                    _ => {
                        return Err(Error::File {
                            path: name(self.peer),
                            source: error,
                        });
                    }
                },
            }
        }
    }

    /// Says that nothing more will be sent (FIN), and goes on reading.
    ///
    /// # Errors
    /// [`Error::File`] when the connection has ended.
    pub fn finish(&mut self) -> Result<(), Error> {
        self.stream
            .shutdown(Shutdown::Write)
            .map_err(Error::file(name(self.peer)))
    }
}

/// How errors call an address.
fn name(address: SocketAddr) -> PathBuf {
    PathBuf::from(format!("tcp:{address}"))
}
