//! Peers that say what no implementation should: each is answered with the right NOTIFICATION, or its UPDATE is
//! treated as RFC 7606 wants; the agent's other session does not notice.
//!
//! Every case is a peer of its own, with an address of its own on the control machine, so all run at once.

mod cases;

use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::{Duration, Instant};

use scenarios::manifests::{Peer, advertisement, cluster_config, peer_config, together};
use scenarios::peering::{self, Undisturbed, address};
use scenarios::raw_speaker::{Conversation, Identity, Reaction, Speaker, message};
use scenarios::topologies::{NODES_ASN, OUTSIDE_ASN};
use scenarios::{Failure, Lab, claim};

use cases::{Case, Expected, Moment, PEER_ASN};

/// The host number of the first case's address in 192.168.10.0/24; what lies above is free up to the router.
const FIRST: u8 = 110;
/// How long an agent may take to connect to all of them.
const CONNECTED: Duration = Duration::from_secs(20);
/// How long an agent may take to react.
const REACTION: Duration = Duration::from_secs(3);

pub(crate) fn hurt_only_their_sender(lab: &mut Lab) -> Result<(), Failure> {
    let cases = cases::all();
    let machine = lab.cluster.machine("ctl")?;
    let addresses: Vec<Ipv4Addr> = (FIRST..)
        .take(cases.len())
        .map(|host| Ipv4Addr::new(192, 168, 10, host))
        .collect();
    let batch = |verb: &str| -> String {
        addresses
            .iter()
            .map(|address| format!("addr {verb} {address}/24 dev eth0\n"))
            .collect()
    };
    machine.namespace().ip(&batch("add"))?;
    let result = all(lab, &cases, &addresses);
    machine.namespace().ip(&batch("del"))?;
    result
}

fn all(lab: &Lab, cases: &[Case], addresses: &[Ipv4Addr]) -> Result<(), Failure> {
    let namespace = lab.cluster.machine("ctl")?.namespace().clone();
    let speakers = addresses
        .iter()
        .map(|address| Speaker::bind(&namespace, IpAddr::V4(*address)));
    let speakers = speakers.collect::<Result<Vec<_>, _>>()?;
    let node = &lab.cluster.topology().nodes[0];
    lab.cluster
        .kubectl(["label", "node", &node.name, "malformed=true", "--overwrite"])?;
    lab.cluster.apply(&together(&[
        advertisement("pods", ""),
        peer_config("router", 90),
        peer_config("malformed", 90),
        cluster_config("malformed", "malformed", NODES_ASN, &peers(addresses)),
    ]))?;
    let router = lab.router()?;
    peering::await_sessions(router, &[address(node)], CONNECTED)?;
    let session = Undisturbed::note(router)?;

    let outcomes: Vec<Result<Conversation, String>> = thread::scope(|scope| {
        let conversations =
            cases
                .iter()
                .zip(&speakers)
                .zip(addresses)
                .map(|((case, speaker), address)| {
                    scope.spawn(move || {
                        converse(case, speaker, *address)
                            .map_err(|failure| format!("{}: {failure}", case.name))
                    })
                });
        let running: Vec<_> = conversations.collect();
        running
            .into_iter()
            .map(|case| {
                case.join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    let mut wrong: Vec<String> = outcomes
        .iter()
        .filter_map(|outcome| outcome.as_ref().err().cloned())
        .collect();
    wrong.extend(miscounted(lab, &node.name, cases)?);
    claim(wrong.is_empty(), || {
        format!(
            "each of {} cases has the right outcome:\n  {}",
            cases.len(),
            wrong.join("\n  ")
        )
    })?;
    session.verify()
}

fn peers(addresses: &[Ipv4Addr]) -> Vec<Peer> {
    let router = Peer {
        name: "tor-switch".to_owned(),
        address: IpAddr::V4(Ipv4Addr::new(192, 168, 10, 200)),
        asn: OUTSIDE_ASN,
        config: "router".to_owned(),
    };
    let case = |(index, address): (usize, &Ipv4Addr)| Peer {
        name: format!("case-{index}"),
        address: IpAddr::V4(*address),
        asn: PEER_ASN.into(),
        config: "malformed".to_owned(),
    };
    std::iter::once(router)
        .chain(addresses.iter().enumerate().map(case))
        .collect()
}

/// Goes through one case; the conversation is given back so that it stays open.
fn converse(case: &Case, speaker: &Speaker, address: Ipv4Addr) -> Result<Conversation, Failure> {
    let identity = Identity {
        asn: PEER_ASN,
        id: address,
        hold_time: 90,
    };
    let mut conversation = match case.moment {
        Moment::OpenSent => speaker.accept(CONNECTED)?,
        Moment::OpenConfirm => {
            let mut conversation = speaker.accept(CONNECTED)?;
            conversation.say(&identity.open())?;
            let (kind, _) = conversation.message()?;
            claim(kind == message::KEEPALIVE, || {
                format!("a flawless OPEN is answered with KEEPALIVE, not {kind}")
            })?;
            conversation
        }
        Moment::Established => speaker.establish(identity, CONNECTED)?,
    };
    for bytes in &case.said {
        conversation.say(bytes)?;
    }
    let reaction = conversation.reaction(REACTION);
    let expected = match case.expected {
        Expected::Notification(notification) => Reaction::Notified(notification),
        Expected::Silence => Reaction::Closed,
        Expected::Received(_) => Reaction::Lives,
    };
    claim(reaction == expected, || {
        format!("the agent reacts with {expected:?}, not {reaction:?}")
    })?;
    Ok(conversation)
}

/// The cases whose routes are not counted as they should be, once all are or the time for it is over.
fn miscounted(lab: &Lab, node: &str, cases: &[Case]) -> Result<Vec<String>, Failure> {
    let start = Instant::now();
    loop {
        let configs = peering::node_configs(lab)?;
        let received = |index: usize| {
            let status = peering::peer_status(configs.get(node)?, &format!("case-{index}"))?;
            status
                .route_count
                .iter()
                .find(|count| count.afi == api::family::Afi::Ipv4)?
                .received
        };
        let wrong: Vec<String> = cases
            .iter()
            .enumerate()
            .filter_map(|(index, case)| match case.expected {
                Expected::Received(count) if received(index) != Some(count) => Some(format!(
                    "{}: {count} routes are left, not {:?}",
                    case.name,
                    received(index)
                )),
                Expected::Received(_) | Expected::Notification(_) | Expected::Silence => None,
            })
            .collect();
        if wrong.is_empty() || start.elapsed() > Duration::from_secs(8) {
            return Ok(wrong);
        }
        thread::sleep(Duration::from_millis(200));
    }
}
