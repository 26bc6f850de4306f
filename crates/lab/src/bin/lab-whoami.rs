//! A web server that tells who it is and who asked, with the fields of `traefik/whoami`:
//! host name, every address, the client's address and the request as it arrived.
//!
//! It listens on `--port N`, or `WHOAMI_PORT_NUMBER`, or 80, on IPv4 and IPv6, keeps connections alive
//! and ends at SIGTERM. `/bench` answers `1`, `/health` answers nothing, both with status 200. A datagram to the same port is answered
//! with host name and client's address; that is this program's own.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use nix::sys::signal::{SigSet, Signal};

/// A request head beyond this is refused, so that no client can fill the memory.
const HEAD_LIMIT: u64 = 64 * 1024;
/// A connection that says nothing for so long is closed.
const IDLE: Duration = Duration::from_secs(120);
/// Threads that wait for clients at most; one that finds so many ends.
const WAITING: usize = 8;

#[expect(
    clippy::print_stderr,
    reason = "a program tells a person why it cannot start"
)]
fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab-whoami: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block()?; // before any thread starts: they inherit the mask

    let port = port(
        std::env::args().skip(1),
        std::env::var("WHOAMI_PORT_NUMBER").ok(),
    )?;
    let listener =
        TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)))?;
    let datagrams =
        UdpSocket::bind(("::", port)).or_else(|_| UdpSocket::bind(("0.0.0.0", port)))?;
    let server = Arc::new(Server {
        listener,
        host: Host::here()?,
        waiting: AtomicUsize::new(0),
    });
    let same = Arc::clone(&server);
    std::thread::spawn(move || answer_datagrams(&datagrams, &same.host));
    std::thread::spawn(move || work(&server));
    signals.wait()?;
    Ok(())
}

/// What the threads that serve clients share.
struct Server {
    listener: TcpListener,
    host: Host,
    /// How many of them wait for a client.
    waiting: AtomicUsize,
}

/// Serves one client after the other. Whoever was the last to wait has another wait in its place, so that no client waits for another and
/// hardly any costs a new thread.
fn work(server: &Arc<Server>) {
    let one_more = |waiting| (waiting < WAITING).then_some(waiting + 1);
    while server
        .waiting
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more)
        .is_ok()
    {
        let client = server.listener.accept();
        if server.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            let server = Arc::clone(server);
            std::thread::spawn(move || work(&server));
        }
        // A client that hangs up, or talks nonsense, concerns nobody but itself.
        if let Ok((client, _)) = client {
            serve(&client, &server.host).ok();
        }
    }
}

/// The port from `--port N`, `--port=N` (one dash serves too), else from the environment, else 80.
fn port(arguments: impl Iterator<Item = String>, environment: Option<String>) -> io::Result<u16> {
    let mut chosen = environment;
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let name = argument.trim_start_matches('-');
        chosen = match name.split_once('=') {
            Some(("port", value)) => Some(value.to_owned()),
            None if name == "port" => arguments.next(),
            Some(_) | None => return Err(invalid(&format!("unknown argument {argument:?}"))),
        };
    }
    let text = chosen.unwrap_or_else(|| "80".to_owned());
    text.parse()
        .map_err(|_| invalid(&format!("{text:?} is not a port")))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

/// What does not change from one request to the next.
struct Host {
    name: String,
    addresses: Vec<IpAddr>,
}

impl Host {
    fn here() -> io::Result<Self> {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname")?
            .trim()
            .to_owned();
        let addresses = getifaddrs()?
            .filter_map(|interface| {
                let address = interface.address?;
                let v4 = address
                    .as_sockaddr_in()
                    .map(|socket| IpAddr::V4(socket.ip()));
                v4.or_else(|| {
                    address
                        .as_sockaddr_in6()
                        .map(|socket| IpAddr::V6(socket.ip()))
                })
            })
            .collect();
        Ok(Self { name, addresses })
    }
}

/// Who sent what cannot be answered does not hear of it.
fn answer_datagrams(socket: &UdpSocket, host: &Host) {
    let mut question = [0; 2048];
    loop {
        let Ok((_, peer)) = socket.recv_from(&mut question) else {
            continue;
        };
        let from = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let answer = format!("Hostname: {}\nRemoteAddr: {from}\n", host.name);
        socket.send_to(answer.as_bytes(), peer).ok();
    }
}

/// Answers requests on one connection until either side has had enough.
fn serve(client: &TcpStream, host: &Host) -> io::Result<()> {
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(IDLE))?;
    let peer = client.peer_addr()?;
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let mut reader = BufReader::new(client);
    let mut writer = client;
    while let Some(request) = Request::read(&mut reader)? {
        if request
            .header("expect")
            .is_some_and(|value| value.eq_ignore_ascii_case("100-continue"))
        {
            writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        io::copy(
            &mut reader.by_ref().take(request.body_length()),
            &mut io::sink(),
        )?;
        let keep_alive = request.keeps_alive();
        writer.write_all(&response(&request, &body(&request, host, peer), keep_alive))?;
        if !keep_alive {
            break;
        }
    }
    Ok(())
}

/// The head of a request, as it arrived.
struct Request {
    line: String,
    headers: Vec<(String, String)>,
}

impl Request {
    /// The next request, or `None` where the client has closed the connection between two.
    fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut head = reader.take(HEAD_LIMIT);
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut headers = Vec::new();
        loop {
            let mut text = String::new();
            if head.read_line(&mut text)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match text.trim_end().split_once(':') {
                Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
                None if text.trim_end().is_empty() => break,
                None => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Ok(Some(Self {
            line: line.trim_end().to_owned(),
            headers,
        }))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    fn body_length(&self) -> u64 {
        self.header("content-length")
            .and_then(|length| length.parse().ok())
            .unwrap_or(0)
    }

    /// Whether another request may follow (RFC 9112 §9.3). A body in chunks is not read, so nothing may.
    fn keeps_alive(&self) -> bool {
        let connection = self.header("connection").unwrap_or_default();
        self.header("transfer-encoding").is_none()
            && if self.line.ends_with("HTTP/1.0") {
                connection.eq_ignore_ascii_case("keep-alive")
            } else {
                !connection.eq_ignore_ascii_case("close")
            }
    }

    fn path(&self) -> &str {
        let target = self.line.split(' ').nth(1).unwrap_or("/");
        target.split('?').next().unwrap_or("/")
    }
}

fn body(request: &Request, host: &Host, peer: SocketAddr) -> String {
    match request.path() {
        "/bench" => return "1".to_owned(),
        "/health" => return String::new(),
        _ => {}
    }
    let mut text = format!("Hostname: {}\n", host.name);
    for address in &host.addresses {
        let _ = writeln!(text, "IP: {address}");
    }
    let _ = write!(text, "RemoteAddr: {peer}\n{}\r\n", request.line);
    for (name, value) in &request.headers {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    text.push_str("\r\n");
    text
}

fn response(request: &Request, body: &str, keep_alive: bool) -> Vec<u8> {
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let shown = if request.line.starts_with("HEAD ") {
        ""
    } else {
        body
    };
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n{shown}",
        body.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Request {
        Request::read(&mut text.as_bytes())
            .unwrap()
            .expect("a request")
    }

    #[test]
    fn the_body_has_the_fields_of_traefik_whoami() {
        let host = Host {
            name: "webpod-1".into(),
            addresses: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
        };
        let asked = request("GET /?x HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n");
        assert_eq!(
            body(&asked, &host, "10.0.0.1:5000".parse().unwrap()),
            "Hostname: webpod-1\nIP: 127.0.0.1\nIP: ::1\nRemoteAddr: 10.0.0.1:5000\nGET /?x HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n"
        );
    }

    #[test]
    fn a_connection_stays_open_as_http_says() {
        for (text, expected) in [
            ("GET / HTTP/1.1\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nConnection: Close\r\n\r\n", false),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
                false,
            ),
        ] {
            assert_eq!(request(text).keeps_alive(), expected, "{text:?}");
        }
    }

    #[test]
    fn the_port_is_the_argument_then_the_environment_then_80() {
        let chosen = |arguments: &[&str], environment: Option<&str>| {
            port(
                arguments.iter().map(|text| (*text).to_owned()),
                environment.map(str::to_owned),
            )
            .ok()
        };
        assert_eq!(chosen(&[], None), Some(80));
        assert_eq!(chosen(&[], Some("8080")), Some(8080));
        assert_eq!(chosen(&["--port", "81"], Some("8080")), Some(81));
        assert_eq!(chosen(&["-port=82"], None), Some(82));
        assert_eq!(chosen(&["--verbose"], None), None);
        assert_eq!(chosen(&["--port", "x"], None), None);
    }
}
