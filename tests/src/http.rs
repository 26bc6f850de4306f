//! Questions to the published workload.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use ::lab::namespace::Namespace;
use ::lab::node::Node;
use socket2::{Domain, Protocol, Socket, Type};

use crate::Failure;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the workload says of itself and of who asks it: the answer to `GET /` on port 80.
///
/// # Errors
/// When nobody answers within two seconds.
pub fn fetch(namespace: &Namespace, address: IpAddr) -> Result<String, Failure> {
    fetch_from(namespace, SocketAddr::new(address, 80))
}

/// As [`fetch`], on another port.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_from(namespace: &Namespace, address: SocketAddr) -> Result<String, Failure> {
    let doing = format!("GET http://{address}/ in {}", namespace.name());
    let ask = || get(TcpStream::connect_timeout(&address, PATIENCE)?);
    namespace.run(ask)?.map_err(Failure::socket(doing))
}

/// By what the workload is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// `GET /`.
    Tcp,
    /// Any datagram.
    Udp,
}

/// What the workload says to a question from a socket in `namespace`.
///
/// # Errors
/// When nobody answers within `patience`.
pub fn ask(
    namespace: &Namespace,
    address: SocketAddr,
    transport: Transport,
    patience: Duration,
) -> Result<String, Failure> {
    let doing = format!("{transport:?} {address} in {}", namespace.name());
    let ask = || match transport {
        Transport::Tcp => get(TcpStream::connect_timeout(&address, patience)?),
        Transport::Udp => datagram(address, patience),
    };
    namespace.run(ask)?.map_err(Failure::socket(doing))
}

/// What the workload says to a daemon of `node`, which has the node's control group; `None` where nobody answers.
///
/// # Errors
/// When the daemon cannot be started.
pub fn ask_as_daemon(
    node: &Node,
    address: SocketAddr,
    transport: Transport,
    patience: Duration,
) -> Result<Option<String>, Failure> {
    let limit = patience.as_secs_f64().to_string();
    let url = format!("http://{address}/");
    let (ip, port) = (address.ip().to_string(), address.port().to_string());
    // bash has sockets of its own; a datagram is read at once, and the answer has two lines.
    let datagram = r#"exec 3<>/dev/udp/"$1"/"$2" && echo who >&3 && timeout "$0" head -n 2 <&3"#;
    let output = match transport {
        Transport::Tcp => node.daemon(["curl", "--silent", "--max-time", &limit, &url])?,
        Transport::Udp => node.daemon(["bash", "-c", datagram, &limit, &ip, &port])?,
    };
    Ok(Some(output.stdout).filter(|text| !text.is_empty()))
}

fn datagram(address: SocketAddr, patience: Duration) -> io::Result<String> {
    let any = match address {
        SocketAddr::V4(_) => IpAddr::from([0; 4]),
        SocketAddr::V6(_) => IpAddr::from([0_u16; 8]),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(patience))?;
    socket.connect(address)?;
    socket.send(b"who?\n")?;
    let mut answer = [0; 2048];
    let length = socket.recv(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

/// As [`fetch_from`], from that source port, which earlier connections may have used.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_with_port(
    namespace: &Namespace,
    address: SocketAddr,
    port: u16,
) -> Result<String, Failure> {
    let doing = format!(
        "GET http://{address}/ from port {port} in {}",
        namespace.name()
    );
    let connect = || -> io::Result<String> {
        let (domain, any) = match address {
            SocketAddr::V4(_) => (Domain::IPV4, IpAddr::from([0; 4])),
            SocketAddr::V6(_) => (Domain::IPV6, IpAddr::from([0_u16; 8])),
        };
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        // Ends without TIME_WAIT, which would keep the port.
        socket.set_linger(Some(Duration::ZERO))?;
        socket.bind(&SocketAddr::new(any, port).into())?;
        socket.connect_timeout(&address.into(), PATIENCE)?;
        get(socket.into())
    };
    namespace.run(connect)?.map_err(Failure::socket(doing))
}

/// One request in this network namespace, whose answer must be a whole one that says yes; `patience` is that of each step.
pub(crate) fn request(address: SocketAddr, patience: Duration) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"GET /bench HTTP/1.1\r\nHost: webpod\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let is_whole = answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n1");
    is_whole
        .then_some(())
        .ok_or(io::ErrorKind::InvalidData.into())
}

fn get(mut stream: TcpStream) -> io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: webpod\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The value of a field of an answer, such as `Hostname` or `RemoteAddr`.
#[must_use]
pub fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    answer
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}
