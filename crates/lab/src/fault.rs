//! What goes wrong in real networks, as functions. A [`Fault`] lasts until it is healed or dropped.
//!
//! Faults of single programs are methods of [`Process`](crate::process::Process) (kill, freeze, thaw, start
//! again), of [`Router`](crate::router::Router) (stop, restart) and of
//! [`ControlPlane`](crate::control_plane::ControlPlane) (stop and start the API server). Here are those of
//! processes in pods, links, machines and pairs of machines.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::Signal;

use crate::cluster::Cluster;
use crate::command;
use crate::error::Error;
use crate::namespace::Namespace;
use crate::network;
use crate::process::{send, stopped};
use crate::wait;

/// Something that is broken now. Dropping it heals as [`Fault::heal`] does, but tells no errors.
#[derive(Debug)]
#[must_use = "a fault that is dropped is healed at once"]
pub struct Fault(Vec<Undo>);

/// One step of healing.
#[derive(Debug)]
enum Undo {
    Ip(Namespace, String),
    Nft(Namespace, String),
    Shape(Namespace, String),
    Thaw(u32),
}

impl Undo {
    fn perform(&self) -> Result<(), Error> {
        match self {
            Undo::Ip(namespace, batch) => namespace.ip(batch),
            Undo::Nft(namespace, script) => namespace.nft(script),
            Undo::Shape(namespace, interface) => {
                tc(namespace, &["qdisc", "del", "dev", interface, "root"])
            }
            Undo::Thaw(pid) => send(*pid, Signal::SIGCONT),
        }
    }
}

impl Fault {
    /// Makes it good again.
    ///
    /// # Errors
    /// When the kernel refuses; what could be healed is.
    pub fn heal(mut self) -> Result<(), Error> {
        self.undo()
    }

    /// Later steps first; all are tried, the first error is told.
    fn undo(&mut self) -> Result<(), Error> {
        let results: Vec<_> = self.0.drain(..).rev().map(|step| step.perform()).collect();
        results.into_iter().collect()
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        // A destructor has nobody to tell; tear-down removes the namespaces in any case.
        let _ = self.undo();
    }
}

/// `kill -9` of any process, e.g. of a [container](Cluster::container_pid). Waits until it is gone.
///
/// # Errors
/// [`Error::Deadline`] when it does not go.
pub fn kill(pid: u32) -> Result<(), Error> {
    let folder = format!("/proc/{pid}/exe");
    send(pid, Signal::SIGKILL)?;
    // A zombie has no program any more; its parent may take its time.
    wait::until(
        std::time::Duration::from_secs(10),
        &format!("process {pid} has ended"),
        || std::fs::read_link(&folder).is_err().then_some(()),
    )
}

/// Stops any process in its tracks: its sockets stay open, and nobody answers on them.
///
/// # Errors
/// [`Error::Kernel`] when the kernel refuses, [`Error::Deadline`] when it does not stop.
pub fn freeze(pid: u32) -> Result<Fault, Error> {
    send(pid, Signal::SIGSTOP)?;
    stopped(pid)?;
    Ok(Fault(vec![Undo::Thaw(pid)]))
}

/// Takes the link of a machine into a subnet down: the machine sees that its interface has no carrier.
///
/// # Errors
/// [`Error::Unknown`] when there is no such link.
pub fn link_down(cluster: &Cluster, machine: &str, subnet: &str) -> Result<Fault, Error> {
    let port = network::ends(cluster.topology(), machine, subnet)?.port;
    let switch = cluster.switch();
    switch.ip(&format!("link set {port} down\n"))?;
    Ok(Fault(vec![Undo::Ip(
        switch,
        format!("link set {port} up\n"),
    )]))
}

/// Unplugs the link of a machine from a subnet's switch: every frame is lost, and nobody is told.
///
/// # Errors
/// [`Error::Unknown`] when there is no such link.
pub fn unplug(cluster: &Cluster, machine: &str, subnet: &str) -> Result<Fault, Error> {
    let ends = network::ends(cluster.topology(), machine, subnet)?;
    let switch = cluster.switch();
    switch.ip(&format!("link set {} nomaster\n", ends.port))?;
    let plug = format!("link set {} master {}\n", ends.port, ends.bridge);
    Ok(Fault(vec![Undo::Ip(switch, plug)]))
}

/// Lets the link of a machine into a subnet carry no more than `kilobits` per second in each direction.
///
/// # Errors
/// [`Error::Unknown`] when there is no such link.
pub fn slow(cluster: &Cluster, machine: &str, subnet: &str, kilobits: u32) -> Result<Fault, Error> {
    let ends = network::ends(cluster.topology(), machine, subnet)?;
    let rate = format!("{kilobits}kbit");
    let mut fault = Fault(Vec::new());
    for (namespace, interface) in [
        (Namespace::of(cluster.state(), machine), ends.interface),
        (cluster.switch(), ends.port),
    ] {
        let shape = [
            "qdisc", "add", "dev", &interface, "root", "tbf", "rate", &rate,
        ];
        tc(
            &namespace,
            &[shape.as_slice(), &["burst", "16kb", "latency", "400ms"]].concat(),
        )?;
        fault.0.push(Undo::Shape(namespace, interface));
    }
    Ok(fault)
}

/// Loses `percent` of the packets on the link of a machine into a subnet, in each direction, at random.
///
/// # Errors
/// [`Error::Unknown`] when there is no such link.
pub fn lossy(cluster: &Cluster, machine: &str, subnet: &str, percent: u8) -> Result<Fault, Error> {
    let interface = network::ends(cluster.topology(), machine, subnet)?.interface;
    let chance = format!("numgen random mod 100 < {percent} drop");
    filter(
        Namespace::of(cluster.state(), machine),
        &[format!("iifname {interface} {chance}")],
        &[format!("oifname {interface} {chance}")],
    )
}

/// Lets two machines lose all packets between their addresses; everybody else reaches both.
///
/// # Errors
/// [`Error::Unknown`] when there is no such machine.
pub fn partition(cluster: &Cluster, one: &str, other: &str) -> Result<Fault, Error> {
    cluster.machine(one)?;
    cluster.machine(other)?;
    let links = cluster.topology().links(other).unwrap_or_default();
    let addresses: Vec<IpAddr> = links
        .iter()
        .flat_map(|link| &link.addresses)
        .map(ipnet::IpNet::addr)
        .collect();
    let rule = |direction: &str, address: &IpAddr| match address {
        IpAddr::V4(address) => format!("ip {direction} {address} drop"),
        IpAddr::V6(address) => format!("ip6 {direction} {address} drop"),
    };
    let received: Vec<_> = addresses
        .iter()
        .map(|address| rule("saddr", address))
        .collect();
    let sent: Vec<_> = addresses
        .iter()
        .map(|address| rule("daddr", address))
        .collect();
    filter(Namespace::of(cluster.state(), one), &received, &sent)
}

/// A router loses power: its daemons are gone at once, its connections end without a word, and until the fault
/// is healed its links are dead. Healing plugs the links in again; the daemons are for
/// [`Router::start_again`](crate::router::Router::start_again).
///
/// # Errors
/// [`Error::Unknown`] when there is no such router.
pub fn crash_router(cluster: &Cluster, name: &str) -> Result<Fault, Error> {
    let router = cluster.router(name)?;
    let fault = isolate(cluster, name)?;
    router.kill()?;
    // Connections that outlive their program would say goodbye once the links are plugged in again.
    let namespace = router.namespace();
    command::text(
        namespace
            .command("ss")
            .args(["--kill", "--tcp", "--numeric", "state", "all"]),
    )?;
    Ok(fault)
}

/// Unplugs all links of a machine.
///
/// # Errors
/// [`Error::Unknown`] when there is no such machine.
pub fn isolate(cluster: &Cluster, machine: &str) -> Result<Fault, Error> {
    cluster.machine(machine)?;
    let links = cluster.topology().links(machine).unwrap_or_default();
    let mut fault = Fault(Vec::new());
    for link in links {
        let mut unplugged = unplug(cluster, machine, &link.subnet)?;
        fault.0.append(&mut unplugged.0);
    }
    Ok(fault)
}

/// A node loses power and never comes back: its links are dead, all its processes gone, its Node object deleted.
///
/// # Errors
/// [`Error::Unknown`] when there is no such node.
pub fn remove_node(cluster: &Cluster, name: &str) -> Result<(), Error> {
    let node = cluster.node(name)?;
    isolate(cluster, name)?.0.clear();
    wait::try_until(
        std::time::Duration::from_secs(10),
        &format!("{name} is off"),
        || {
            let pids = node.pids()?;
            for pid in &pids {
                send(*pid, Signal::SIGKILL)?;
            }
            Ok(pids.is_empty().then_some(()))
        },
    )?;
    cluster
        .kubectl(["delete", "node", name, "--ignore-not-found"])
        .map(|_| ())
}

/// Adds rules to everything that is received and sent in a namespace, in a table of their own.
fn filter(namespace: Namespace, received: &[String], sent: &[String]) -> Result<Fault, Error> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let table = format!(
        "inet fault-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    let mut script = format!("table {table} {{\n");
    for (hook, rules) in [("prerouting", received), ("postrouting", sent)] {
        let _ = writeln!(
            script,
            "chain {hook} {{ type filter hook {hook} priority -500;"
        );
        for rule in rules {
            let _ = writeln!(script, "{rule}");
        }
        script.push_str("}\n");
    }
    script.push_str("}\n");
    namespace.nft(&script)?;
    Ok(Fault(vec![Undo::Nft(
        namespace,
        format!("delete table {table}\n"),
    )]))
}

fn tc(namespace: &Namespace, words: &[&str]) -> Result<(), Error> {
    command::text(namespace.command("tc").args(words)).map(|_| ())
}
