//! Others use the same hooks: a program and a traffic-control filter at a node's uplink and a masquerade rule, such as CNIs have, work on
//! beside the load balancer, and it beside them.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use lab::machine::Machine;
use lab::topology::NodeSpec;
use scenarios::foreign::Foreign;
use scenarios::peering::{address, node_addresses, pod_cidr};
use scenarios::topologies::HOST_BEHIND;
use scenarios::{Failure, Lab, claim, http};

use super::{balancing, frontends, services};

const PORT: u16 = 9000;
/// What the filter drops.
const FILTERED: u16 = 4444;
/// A connection attempt without an answer for so long has been dropped.
const SILENCE: Duration = Duration::from_millis(800);
/// Requests to each node, and packets of one in each direction at least: those of the handshake and of the question, or of the answer.
const REQUESTS: u64 = 10;
const PACKETS: u64 = 2;

pub(crate) fn programs_filters_and_masquerading_work_on(lab: &mut Lab) -> Result<(), Failure> {
    balancing::published(lab)?;
    services::patch(lab, r#"{"spec":{"externalTrafficPolicy":"Local"}}"#)?;
    services::await_routes(lab, &services::sorted(node_addresses(lab)))?;
    let nodes = lab.cluster.topology().nodes.clone();
    for node in &nodes {
        others(&lab.cluster.machine(&node.name)?, node)?;
    }
    let result = programs_work(lab).and_then(|()| both_work(lab, &nodes));
    for node in &nodes {
        let machine = lab.cluster.machine(&node.name)?;
        machine.exec(["nft", "delete", "table", "ip", "somebody"])?;
        machine.exec(["tc", "qdisc", "del", "dev", "eth1", "clsact"])?;
    }
    result
}

/// What somebody else has, on every node.
pub(crate) fn foreign(lab: &Lab) -> Result<Vec<Foreign>, Failure> {
    let nodes = lab.cluster.nodes().iter();
    let foreign = nodes.map(|node| {
        let gateway = frontends::router_beside(lab, address(node.spec()))?;
        Foreign::settle(node.machine(), gateway)
    });
    foreign.collect()
}

/// Programs of somebody else, attached after ours, see the packets that ours translate, in both directions.
fn programs_work(lab: &Lab) -> Result<(), Failure> {
    let client = lab.cluster.machine(HOST_BEHIND)?;
    let node_port = balancing::node_port(lab)?;
    for (node, foreign) in lab.cluster.nodes().iter().zip(foreign(lab)?) {
        let before = foreign.packets()?;
        for _ in 0..REQUESTS {
            let target = SocketAddr::new(address(node.spec()), node_port);
            http::fetch_from(client.namespace(), target)?;
        }
        let after = foreign.packets()?;
        let seen = before
            .iter()
            .zip(&after)
            .map(|(before, after)| after - before);
        let seen: Vec<u64> = seen.collect();
        claim(seen.iter().all(|seen| *seen >= PACKETS * REQUESTS), || {
            format!(
                "programs of others on {} see {REQUESTS} requests and answers, not {seen:?} packets",
                node.name()
            )
        })?;
        foreign.verify()?;
    }
    Ok(())
}

fn both_work(lab: &Lab, nodes: &[NodeSpec]) -> Result<(), Failure> {
    let client = lab.cluster.machine(HOST_BEHIND)?;
    for _ in 0..30 {
        http::fetch_from(client.namespace(), balancing::vip())?;
    }
    for node in nodes {
        for (port, expected) in [
            (FILTERED, ErrorKind::TimedOut),
            (FILTERED + 1, ErrorKind::ConnectionRefused),
        ] {
            let target = SocketAddr::new(address(node), port);
            let connect = || TcpStream::connect_timeout(&target, SILENCE);
            let outcome = client
                .namespace()
                .run(connect)?
                .map_err(|error| error.kind());
            claim(outcome.as_ref().err() == Some(&expected), || {
                format!("{target} is {expected:?}, as the filter beside ours has it: {outcome:?}")
            })?;
        }
    }
    // What a pod of the first node sends out is the node's, as the rule says.
    let first = nodes.first().expect("the topology has nodes");
    let listener = client
        .namespace()
        .run(|| TcpListener::bind((IpAddr::from([0; 4]), PORT)))?
        .map_err(Failure::socket("listen"))?;
    let url = format!("http://10.10.1.10:{PORT}/");
    let mut curl = lab.cluster.control_plane().kubectl_command();
    curl.args([
        "exec",
        "curl-pod",
        "--",
        "curl",
        "--silent",
        "--max-time",
        "2",
        &url,
    ]);
    let asking = std::thread::spawn(move || curl.output());
    let (_stream, peer): (_, SocketAddr) = listener.accept().map_err(Failure::socket("accept"))?;
    drop(_stream);
    // curl complains about the answer that it does not get; what matters is whose address asked.
    drop(asking.join());
    claim(peer.ip() == address(first), || {
        format!("a pod of {} is seen as its node, not as {peer}", first.name)
    })
}

/// A filter that drops what is for one port, and a rule that masquerades what pods send out of the cluster.
fn others(machine: &Machine, node: &NodeSpec) -> Result<(), Failure> {
    // ldh [36]; jeq #FILTERED, drop; ret unspec: the destination port of a packet without options.
    let filter = format!("4,40 0 0 36,21 0 1 {FILTERED},6 0 0 2,6 0 0 4294967295");
    let commands: [&[&str]; 2] = [
        &["tc", "qdisc", "add", "dev", "eth1", "clsact"],
        &[
            "tc",
            "filter",
            "add",
            "dev",
            "eth1",
            "ingress",
            "prio",
            "1",
            "bpf",
            "direct-action",
            "bytecode",
            &filter,
        ],
    ];
    for words in commands {
        let output = machine.exec(words)?;
        claim(output.success(), || format!("{words:?}: {}", output.stderr))?;
    }
    let own = pod_cidr(node);
    machine.namespace().nft(&format!(
        "table ip somebody {{\n chain postrouting {{\n type nat hook postrouting priority srcnat\n \
         ip saddr {own} ip daddr != 172.20.0.0/16 masquerade\n }}\n}}\n"
    ))?;
    Ok(())
}
