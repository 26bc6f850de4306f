//! Connections that stay open and are asked something again and again, which count those that break.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ::lab::namespace::Namespace;

use crate::{Failure, claim};

/// Between two questions on one connection.
const INTERVAL: Duration = Duration::from_millis(250);
/// After so long a question counts as lost.
const PATIENCE: Duration = Duration::from_secs(3);

/// Open connections to the published workload.
pub struct Connections {
    stop: Arc<AtomicBool>,
    asking: Vec<JoinHandle<io::Result<usize>>>,
    target: SocketAddr,
}

impl Connections {
    /// Opens `count` connections from `namespace`.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn open(namespace: &Namespace, target: SocketAddr, count: usize) -> Result<Self, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let open = || -> io::Result<Vec<TcpStream>> {
            let connect = |_| TcpStream::connect_timeout(&target, PATIENCE);
            (0..count).map(connect).collect()
        };
        let streams = namespace
            .run(open)?
            .map_err(Failure::socket(format!("connect to {target}")))?;
        let asking = streams.into_iter().map(|stream| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || ask(&stream, &stop))
        });
        Ok(Self {
            asking: asking.collect(),
            stop,
            target,
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
        for asking in self.asking {
            let end = asking
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            match end {
                Ok(asked) => claim(asked > 0, || "every connection was used".to_owned())?,
                Err(error) => broken.push(error.to_string()),
            }
        }
        claim(broken.is_empty(), || {
            format!(
                "none of {count} connections to {} broke; {} did: {:?}",
                self.target,
                broken.len(),
                broken.first()
            )
        })
    }
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
