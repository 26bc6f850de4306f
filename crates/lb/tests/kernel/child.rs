//! What this program does as a child of a test. It says what it found in one line each.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use lb::{LoadBalancer, Options};

use crate::place::LONG;

pub(crate) fn play(role: &str, arguments: &[String]) {
    match (role, arguments) {
        ("connect", [cgroup, target]) => connect(cgroup, target.parse().unwrap()),
        ("start", [pin_root]) => start(pin_root.into()),
        _ => panic!("no such role: {role} {arguments:?}"),
    }
}

/// Joins a control group and talks to a frontend: over TCP, over UDP with a peer, and over UDP without.
fn connect(cgroup: &str, target: SocketAddr) {
    let processes = PathBuf::from(cgroup).join("cgroup.procs");
    std::fs::write(processes, std::process::id().to_string()).unwrap();
    let stream = TcpStream::connect_timeout(&target, LONG);
    match stream.and_then(|stream| stream.peer_addr()) {
        Ok(peer) => println!("tcp {peer}"),
        Err(error) => println!("tcp {error}"),
    }
    let any: SocketAddr = if target.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    }
    .parse()
    .unwrap();
    let connected = UdpSocket::bind(any).unwrap();
    match connected
        .connect(target)
        .and_then(|()| connected.peer_addr())
    {
        Ok(peer) => println!("udp connected {peer}"),
        Err(error) => println!("udp connected {error}"),
    }
    let unconnected = UdpSocket::bind(any).unwrap();
    unconnected
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut buffer = [0; 16];
    let asked = unconnected.send_to(b"ping", target);
    match asked.and_then(|_| unconnected.recv_from(&mut buffer)) {
        Ok((_, source)) => println!("udp {source}"),
        Err(error) => println!("udp {error}"),
    }
}

/// Tries to start.
fn start(pin_root: PathBuf) {
    let options = Options {
        pin_root,
        sockets: false,
        ..Options::default()
    };
    match LoadBalancer::start(options, drop) {
        Ok(_) => println!("started"),
        Err(error) => println!("{error}"),
    }
}
