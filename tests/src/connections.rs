//! Connections that stay open and are asked something again and again, which count those that break.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ::lab::namespace::Namespace;
use socket2::{Domain, Socket, Type};

use crate::{Failure, claim};

/// Between two questions on one connection.
const INTERVAL: Duration = Duration::from_millis(250);
/// After so long a question counts as lost.
const PATIENCE: Duration = Duration::from_secs(3);

/// Open connections to the published workload.
pub struct Connections {
    stop: Arc<AtomicBool>,
    asking: Vec<(SocketAddr, JoinHandle<Result<usize, Break>>)>,
    opened: Instant,
}

/// How a connection ended that should not have.
struct Break {
    at: Instant,
    why: io::Error,
}

impl Connections {
    /// Opens `count` connections from `source`, an address of `namespace`, to one of `targets` after the other.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn open(
        namespace: &Namespace,
        source: IpAddr,
        targets: &[SocketAddr],
        count: usize,
    ) -> Result<Self, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let open = || -> io::Result<Vec<TcpStream>> {
            let targets = targets.iter().cycle();
            let targets = targets.take(count);
            targets.map(|target| connect(source, *target)).collect()
        };
        let streams = namespace
            .run(open)?
            .map_err(Failure::socket(format!("connect to {targets:?}")))?;
        let opened = Instant::now();
        let asking = targets.iter().cycle().zip(streams).map(|(target, stream)| {
            let stop = Arc::clone(&stop);
            let ask = move || {
                ask(&stream, &stop).map_err(|why| Break {
                    at: Instant::now(),
                    why,
                })
            };
            (*target, thread::spawn(ask))
        });
        Ok(Self {
            asking: asking.collect(),
            stop,
            opened,
        })
    }

    /// Asks no more, and claims that no connection broke and every question was answered.
    ///
    /// # Errors
    /// [`Failure::Untrue`] with what became of those that broke.
    ///
    /// # Panics
    /// When an asking thread did.
    pub fn finish_unbroken(self) -> Result<(), Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let count = self.asking.len();
        let mut broken = Vec::new();
        for (target, asking) in self.asking {
            let end = asking
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            match end {
                Ok(asked) => claim(asked > 0, || "every connection was used".to_owned())?,
                Err(Break { at, why }) => {
                    let after = at.duration_since(self.opened).as_secs_f64();
                    broken.push(format!("to {target} after {after:.3} s: {why}"));
                }
            }
        }
        claim(broken.is_empty(), || {
            format!(
                "none of {count} connections broke; {} did: {broken:?}",
                broken.len()
            )
        })
    }
}

fn connect(source: IpAddr, target: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    socket.connect_timeout(&target.into(), PATIENCE)?;
    Ok(socket.into())
}

fn ask(stream: &TcpStream, stop: &AtomicBool) -> io::Result<usize> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut asked = 0;
    while !stop.load(Ordering::Relaxed) {
        (&*stream).write_all(b"GET /bench HTTP/1.1\r\nHost: webpod\r\n\r\n")?;
        answer(&mut reader)?;
        asked += 1;
        thread::sleep(INTERVAL);
    }
    Ok(asked)
}

/// Reads one response to its end (RFC 9112 section 6.3).
fn answer(reader: &mut impl BufRead) -> io::Result<()> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value
                .trim()
                .parse()
                .map_err(|_| io::ErrorKind::InvalidData)?;
        }
    }
    io::copy(&mut reader.take(length), &mut io::sink()).map(|_| ())
}
