//! Which backend a new flow gets.

use std::collections::BTreeMap;

use lb_abi::{RING_SIZES, Reason, flow_hash};

use super::{HIGH, LOW, dns_of, web_of};
use crate::fixture::services::number;
use crate::model::Verdict;
use crate::model::tables::{backend_address, words};
use crate::packet::ACK;
use crate::scene::{Row, Scene, tuple};

/// The pod that the ring gives to a client's port, computed from the ring itself.
fn by_ring(s: &Scene<'_, '_>, source_port: u16, port: u16, protocol: u8) -> std::net::IpAddr {
    let tables = &s.stage.model.tables;
    let address = s.cast.vip(number::RING);
    let row = tables
        .frontend(address, port, protocol, lb_abi::Scope::External)
        .unwrap();
    let group = tables.groups[&row.group];
    let ports = u32::from(source_port.to_be()) << 16 | u32::from(port.to_be());
    let hash = flow_hash(
        tables.config.hash_seed,
        &words(s.cast.client),
        ports,
        protocol,
    );
    let size = RING_SIZES[usize::from(group.ring_class)];
    let place = u32::try_from((u64::from(hash) * u64::from(size)) >> 32).unwrap();
    let ordinal = tables.rings[&(group.ring_start + place)];
    let id = tables.slots[&(group.first_slot + u32::from(ordinal))];
    backend_address(&tables.backends[&id])
}

pub(crate) const ROWS: &[Row] = &[
    (
        "a random choice reaches every backend, each about as often",
        |s| {
            let mut hits = BTreeMap::new();
            for port in 0..300 {
                let syn = s.syn(1000 + port, s.web(number::MIXED));
                s.stage.send(
                    crate::model::Hook::UplinkIn,
                    s.stage.interfaces.uplink,
                    &syn.bytes(),
                );
                *hits.entry(s.forward(&syn).destination).or_insert(0) += 1;
            }
            s.stage.compare_flows();
            assert_eq!(hits.len(), 3, "{hits:?}");
            // Six standard deviations of a binomial distribution: 100 ± 49.
            assert!(
                hits.values().all(|hits| (51..150).contains(hits)),
                "{hits:?}"
            );
        },
    ),
    ("a ring's choice for TCP is the ring's", |s| {
        for port in 1000..1064 {
            let syn = s.syn(port, s.web(number::RING));
            s.arrives(&syn);
            let pod = by_ring(s, port, 80, lb_abi::TCP);
            assert_eq!(s.forward(&syn).destination, web_of(pod), "port {port}");
        }
    }),
    ("a ring's choice for UDP is the ring's", |s| {
        for port in 1000..1064 {
            let question = s.datagram(port, s.dns(number::RING));
            s.arrives(&question);
            let pod = by_ring(s, port, 53, lb_abi::UDP);
            assert_eq!(s.forward(&question).destination, dns_of(pod), "port {port}");
        }
    }),
    ("a ring spreads clients over all its backends", |s| {
        let pods = (0..300).map(|port| by_ring(s, 1000 + port, 80, lb_abi::TCP));
        let mut hits = BTreeMap::new();
        for pod in pods {
            *hits.entry(pod).or_insert(0) += 1;
        }
        assert_eq!(hits.len(), 3);
        assert!(
            hits.values().all(|hits| (51..150).contains(hits)),
            "{hits:?}"
        );
    }),
    (
        "a ring chooses the same again when the flow is forgotten",
        |s| {
            let syn = s.syn(HIGH, s.web(number::RING));
            s.arrives(&syn);
            let chosen = s.forward(&syn).destination;
            let reply = s.twin(&syn);
            s.evict(tuple(&syn).forward());
            s.evict(reply);
            s.arrives(&syn.clone().flags(ACK));
            assert_eq!(s.forward(&syn).destination, chosen);
        },
    ),
    ("a flow keeps its backend when another one comes", |s| {
        s.endpoints(
            "mixed",
            &[crate::fixture::services::local(s.cast.local_pod, 8080)],
        );
        let syn = s.syn(LOW, s.web(number::MIXED));
        s.arrives(&syn);
        s.endpoints(
            "mixed",
            &[
                crate::fixture::services::local(s.cast.local_pod, 8080),
                crate::fixture::services::local(s.cast.other_local_pod, 8080),
            ],
        );
        s.raise_epoch();
        for _ in 0..8 {
            let data = syn.clone().flags(ACK);
            s.arrives(&data)
                .passes_as(&data.clone().to(web_of(s.cast.local_pod)));
        }
    }),
    ("a new backend gets new flows", |s| {
        s.endpoints(
            "remote",
            &[crate::fixture::services::local(
                s.cast.other_local_pod,
                8080,
            )],
        );
        let syn = s.syn(LOW, s.web(number::REMOTE));
        s.arrives(&syn)
            .passes_as(&syn.clone().to(web_of(s.cast.other_local_pod)));
    }),
    ("a service without backends drops", |s| {
        s.arrives(&s.syn(LOW, s.web(number::EMPTY)))
            .is_dropped(Reason::NoBackend);
        assert_eq!(s.flow_count(), 0);
    }),
    ("a service whose backends all terminate still serves", |s| {
        let syn = s.syn(HIGH, s.web(number::TERMINATING));
        assert_eq!(s.arrives(&syn).verdict(), Verdict::Redirect);
        assert_eq!(s.forward(&syn).destination, web_of(s.cast.other_remote_pod));
    }),
    ("a service whose backends are not ready drops", |s| {
        s.arrives(&s.syn(LOW, s.web(number::DRAINING)))
            .is_dropped(Reason::NoBackend);
    }),
    (
        "a terminating backend gets nothing new while another is active",
        |s| {
            for port in 1000..1040 {
                let syn = s.syn(port, s.web(number::HALF_TERMINATING));
                s.arrives(&syn);
                assert_eq!(s.forward(&syn).destination, web_of(s.cast.remote_pod));
            }
        },
    ),
    (
        "a port that is reused with another protocol gets a choice of its own",
        |s| {
            s.arrives(&s.syn(LOW, s.web(number::LOCAL)));
            let udp = s.datagram(LOW, s.dns(number::LOCAL));
            s.arrives(&udp)
                .passes_as(&udp.clone().to(dns_of(s.cast.local_pod)));
            assert_eq!(s.flow_count(), 4);
        },
    ),
];
