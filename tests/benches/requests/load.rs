//! The clients: a few threads, each with one request at a time.
//!
//! They ask from many addresses, and from no address twice by the same port: else what a pod remembers of a connection that is over (TIME_WAIT),
//! and not a balancer, would decide how soon the next one is made. They also are the first to close, as clients are that keep connections,
//! so that what is remembered is remembered here.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lab::namespace::Namespace;
use scenarios::Failure;
use socket2::{Domain, Protocol, Socket, Type};

const REQUEST: &[u8] = b"GET /bench HTTP/1.1\r\nHost: webpod\r\n\r\n";
/// How every answer begins and ends.
const GOOD: (&[u8], &[u8]) = (b"HTTP/1.1 200 ", b"\r\n\r\n1");
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Nothing is counted before.
const WARM_UP: Duration = Duration::from_millis(500);
/// Requests on a connection that is kept alive.
const KEPT: u32 = 1000;

/// How a request comes to its Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Each by a connection of its own.
    NewConnections,
    /// A thousand by one connection.
    KeptAlive,
}

/// How much is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) clients: u64,
    pub(crate) time: Duration,
}

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    /// Requests that were answered, per second.
    pub(crate) rate: f64,
    /// Middle and 99th of a hundred of the times of all requests, microseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// What the whole machine's processors did per request, microseconds.
    pub(crate) processor: f64,
    /// Share of the processors' time in which they did that.
    pub(crate) busy: f64,
    /// Requests without a good answer.
    pub(crate) failures: f64,
}

impl Load {
    /// Asks at random one of `targets` after the other from a machine.
    pub(crate) fn run(
        &self,
        from: &Namespace,
        kind: Kind,
        targets: &[SocketAddr],
    ) -> Result<Figures, Failure> {
        let begin = Instant::now() + WARM_UP;
        let end = begin + self.time;
        let measured = from.run(|| {
            std::thread::scope(|scope| {
                let clients: Vec<_> = (0..self.clients)
                    .map(|number| {
                        let client = Client {
                            random: Random::new(number),
                            targets,
                            begin,
                            end,
                            times: Vec::new(),
                            failures: 0,
                        };
                        scope.spawn(move || client.run(kind))
                    })
                    .collect();
                std::thread::sleep(WARM_UP);
                let before = Processors::read()?;
                std::thread::sleep(end.saturating_duration_since(Instant::now()));
                let after = Processors::read()?;
                let answers = clients.into_iter().map(|client| match client.join() {
                    Ok(answers) => answers,
                    Err(panic) => std::panic::resume_unwind(panic),
                });
                let (times, failures): (Vec<_>, Vec<_>) = answers.unzip();
                io::Result::Ok((before, after, times.concat(), failures.iter().sum::<u32>()))
            })
        })?;
        let (before, after, mut times, failures) =
            measured.map_err(Failure::socket("/proc/stat"))?;
        if times.is_empty() {
            return Err(Failure::Untrue(format!("{} answers anything", targets[0])));
        }
        times.sort_unstable();
        let at = |share: usize| f64::from(times[(times.len() * share).div_ceil(100) - 1]) / 1e3;
        let (used, whole) = (after.used - before.used, after.whole - before.whole);
        Ok(Figures {
            rate: times.len() as f64 / self.time.as_secs_f64(),
            p50: at(50),
            p99: at(99),
            processor: used * 1e6 / times.len() as f64,
            busy: used / whole,
            failures: f64::from(failures),
        })
    }
}

/// One thread.
struct Client<'a> {
    random: Random,
    targets: &'a [SocketAddr],
    begin: Instant,
    end: Instant,
    /// Nanoseconds.
    times: Vec<u32>,
    failures: u32,
}

impl Client<'_> {
    fn run(mut self, kind: Kind) -> (Vec<u32>, u32) {
        while Instant::now() < self.end {
            let target = self.targets[self.random.below(self.targets.len())];
            match kind {
                Kind::NewConnections => {
                    let start = Instant::now();
                    let result = request(target, PATIENCE);
                    self.note(start, result.is_ok());
                }
                Kind::KeptAlive => self.keep(target),
            }
        }
        (self.times, self.failures)
    }

    /// Many requests by one connection, whose making is not counted.
    fn keep(&mut self, target: SocketAddr) {
        let Ok(mut stream) = connect(target, PATIENCE) else {
            self.note(Instant::now(), false);
            return;
        };
        for _ in 0..KEPT {
            let start = Instant::now();
            if start >= self.end {
                return;
            }
            let result = ask(&mut stream);
            self.note(start, result.is_ok());
            if result.is_err() {
                return;
            }
        }
    }

    fn note(&mut self, start: Instant, is_answered: bool) {
        let now = Instant::now();
        if start < self.begin || now > self.end {
            return;
        }
        if is_answered {
            let nanoseconds = now.duration_since(start).as_nanos();
            self.times
                .push(u32::try_from(nanoseconds).unwrap_or(u32::MAX));
        } else {
            self.failures += 1;
        }
    }
}

/// One request by a connection of its own.
pub(crate) fn request(target: SocketAddr, patience: Duration) -> io::Result<()> {
    ask(&mut connect(target, patience)?)
}

fn connect(target: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_read_timeout(Some(patience))?;
    // Limits connect(2) as well (socket(7)).
    socket.set_write_timeout(Some(patience))?;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    socket.bind(&source(number).into())?;
    socket.connect(&target.into())?;
    Ok(socket.into())
}

/// Addresses of the client's network from which is asked, and the ports of each: the kernel's own choice.
const SOURCES: u64 = 64;
const PORTS: u64 = 28_232;
const FIRST_PORT: u64 = 32_768;
/// Connections so far.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The addresses from which is asked.
pub(crate) fn addresses() -> impl Iterator<Item = Ipv4Addr> {
    (0..SOURCES).map(source_address)
}

fn source_address(number: u64) -> Ipv4Addr {
    Ipv4Addr::from(0x0a0a_0180 + u32::try_from(number % SOURCES).unwrap_or_default())
}

/// Where the connection of that number comes from: address after address, each by all its ports in an order that looks like none.
fn source(number: u64) -> SocketAddr {
    let place = number / SOURCES + number % SOURCES * (PORTS / SOURCES);
    let port = FIRST_PORT + place * 7919 % PORTS;
    let port = u16::try_from(port).expect("ports begin at the first and are so many");
    SocketAddr::new(source_address(number).into(), port)
}

fn ask(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(REQUEST)?;
    let mut answer = [0; 512];
    let mut length = 0;
    while !answer[..length].ends_with(GOOD.1) {
        match stream.read(&mut answer[length..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => length += more,
        }
    }
    judge(&answer[..length])
}

fn judge(answer: &[u8]) -> io::Result<()> {
    if answer.starts_with(GOOD.0) && answer.ends_with(GOOD.1) {
        Ok(())
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Marsaglia's xorshift, 64 bits: all that choosing a Service takes.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The high half times the limit: its own high half is below the limit.
        let high = u128::from(self.0) * limit as u128;
        usize::try_from(high >> 64).unwrap_or_default()
    }
}

/// What all processors of this machine have done since it started, but for programs of low priority; seconds (proc_stat(5)).
struct Processors {
    used: f64,
    whole: f64,
}

impl Processors {
    fn read() -> io::Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        let line = text.lines().next().unwrap_or_default();
        // user, nice, system, idle, iowait, irq, softirq, steal; in hundredths of a second.
        let ticks: Vec<f64> = line
            .split_whitespace()
            .skip(1)
            .take(8)
            .map_while(|field| field.parse().ok())
            .collect();
        let sum_of = |fields: &[usize]| {
            let fields = fields.iter().filter_map(|field| ticks.get(*field));
            fields.sum::<f64>() / 100.0
        };
        Ok(Self {
            // Without nice: what gives way to everything else is none of the lab's.
            used: sum_of(&[0, 2, 5, 6]),
            whole: sum_of(&[0, 1, 2, 3, 4, 5, 6, 7]),
        })
    }
}
