//! Connections that stay open and are asked something again and again, which count those that break.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ::lab::namespace::Namespace;
use socket2::{Domain, Socket, Type};

use crate::{Failure, claim, http};

/// Between two questions on one connection.
const INTERVAL: Duration = Duration::from_millis(250);
/// After so long a question counts as lost.
const PATIENCE: Duration = Duration::from_secs(3);

/// Open connections to the published workload.
pub struct Connections {
    stop: Arc<AtomicBool>,
    open: Vec<Open>,
    opened: Instant,
}

/// One of them.
struct Open {
    target: SocketAddr,
    /// Who is at its other end.
    pod: String,
    asking: JoinHandle<Result<usize, Break>>,
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
        let connect = || -> io::Result<Vec<_>> {
            let targets = targets.iter().cycle();
            let targets = targets.take(count);
            targets.map(|target| connect(source, *target)).collect()
        };
        let connected = namespace
            .run(connect)?
            .map_err(Failure::socket(format!("connect to {targets:?}")))?;
        let opened = Instant::now();
        let targets = targets.iter().cycle();
        let open = targets.zip(connected).map(|(target, (stream, pod))| {
            let stop = Arc::clone(&stop);
            let ask = move || {
                ask(&stream, &stop).map_err(|why| Break {
                    at: Instant::now(),
                    why,
                })
            };
            Open {
                target: *target,
                pod,
                asking: thread::spawn(ask),
            }
        });
        Ok(Self {
            open: open.collect(),
            stop,
            opened,
        })
    }

    /// How many have that pod at their other end.
    #[must_use]
    pub fn to(&self, pod: &str) -> usize {
        self.open.iter().filter(|open| open.pod == pod).count()
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
        let count = self.open.len();
        let mut broken = Vec::new();
        for Open { target, asking, .. } in self.open {
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

/// A connection, and the pod at its other end.
fn connect(source: IpAddr, target: SocketAddr) -> io::Result<(TcpStream, String)> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    socket.connect_timeout(&target.into(), PATIENCE)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let said = question(&mut BufReader::new(&stream), "/")?;
    let pod = http::field(&said, "Hostname").ok_or(io::ErrorKind::InvalidData)?;
    let pod = pod.to_owned();
    Ok((stream, pod))
}

fn ask(stream: &TcpStream, stop: &AtomicBool) -> io::Result<usize> {
    let mut reader = BufReader::new(stream);
    let mut asked = 0;
    while !stop.load(Ordering::Relaxed) {
        question(&mut reader, "/bench")?;
        asked += 1;
        thread::sleep(INTERVAL);
    }
    Ok(asked)
}

/// Asks, and reads the answer to its end (RFC 9112 section 6.3).
fn question(connection: &mut BufReader<&TcpStream>, path: &str) -> io::Result<String> {
    let question = format!("GET {path} HTTP/1.1\r\nHost: webpod\r\n\r\n");
    connection.get_mut().write_all(question.as_bytes())?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line)? == 0 {
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
    let mut body = String::new();
    connection.take(length).read_to_string(&mut body)?;
    if body.len() as u64 == length {
        Ok(body)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}
