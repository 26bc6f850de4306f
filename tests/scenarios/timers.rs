//! The timers of one peer are edited: its session alone is negotiated anew, the other one of the same agent and
//! those of other agents stay.

use std::time::Duration;

use lab::topology::RouterKind;
use scenarios::manifests::{Peer, advertisement, cluster_config, peer_config, together};
use scenarios::peering::{self, Undisturbed};
use scenarios::topologies::{Family, NODES_ASN, OUTSIDE_ASN, addresses, peering as expected};
use scenarios::{Failure, Lab};

pub(crate) fn renegotiate_one_session_alone(lab: &mut Lab) -> Result<(), Failure> {
    let topology = lab.cluster.topology();
    let (v4, v6) = (
        addresses(topology, Family::Ipv4),
        addresses(topology, Family::Ipv6),
    );
    let router = lab.cluster.router("frr")?;
    let both: Vec<_> = v4.iter().chain(&v6).copied().collect();
    // A hold time above all that is configured here, so that the agents' values decide (RFC 4271 §4.2).
    let mut config = expected(201, OUTSIDE_ASN, &both);
    config.hold_time = 180;
    router.reconfigure(&config.configuration(RouterKind::Frr))?;

    let peer = |name: &str, address: &str| Peer {
        name: name.to_owned(),
        address: address.parse().expect("a literal address"),
        asn: OUTSIDE_ASN,
        config: name.to_owned(),
    };
    lab.cluster.apply(&together(&[
        advertisement("pods", ""),
        peer_config("steady", 9),
        peer_config("edited", 9),
        cluster_config(
            "both",
            "enable-bgp",
            NODES_ASN,
            &[
                peer("steady", "192.168.10.201"),
                peer("edited", "fd00:10::201"),
            ],
        ),
    ]))?;
    peering::await_sessions(router, &both, Duration::from_secs(20))?;
    let applied = |peer: &str, hold: i32, patience: u64| {
        topology.nodes.iter().try_for_each(|node| {
            let awaited = format!("has a hold time of {hold} s");
            peering::await_status(
                lab,
                &node.name,
                peer,
                &awaited,
                Duration::from_secs(patience),
                |status| {
                    let timers = status.timers.as_ref();
                    timers.and_then(|timers| timers.applied_hold_time_seconds) == Some(hold)
                },
            )
            .map(|_| ())
        })
    };
    applied("edited", 9, 10)?;
    applied("steady", 9, 10)?;

    let sessions = Undisturbed::note(router)?;
    lab.cluster.apply(&peer_config("edited", 30))?;
    applied("edited", 30, 15)?;
    peering::await_sessions(router, &both, Duration::from_secs(15))?;
    sessions.verify_except(&v6)?;
    applied("steady", 9, 0)
}
