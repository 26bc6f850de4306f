//! What is written is read by another implementation, and what the kernel writes is read here.

use netlink_packet_core::{NetlinkDeserializable, NetlinkHeader};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteNextHop, RouteProtocol, RouteScope, RouteType,
    RouteVia,
};
use proptest::prelude::*;

use super::*;
use crate::difference::{RouteOp, Target};
use crate::message::Messages;
use crate::route::Identity;

fn identity() -> impl Strategy<Value = Identity> {
    (1..=u32::MAX, 5..=255_u8, 1..=u32::MAX).prop_map(|(table, protocol, metric)| Identity {
        table,
        protocol,
        metric,
    })
}

fn prefix() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        (any::<u32>(), 0..=32_u8)
            .prop_map(|(bits, length)| IpNet::new_assert(Ipv4Addr::from(bits).into(), length)),
        (any::<u128>(), 0..=128_u8)
            .prop_map(|(bits, length)| IpNet::new_assert(Ipv6Addr::from(bits).into(), length)),
    ]
    .prop_map(|prefix| prefix.trunc())
}

/// Hops by which the prefix can be reached.
fn hops(prefix: IpNet) -> impl Strategy<Value = Arc<[Hop]>> {
    let ipv6 = any::<u128>().prop_map(|bits| IpAddr::from(Ipv6Addr::from(bits)));
    let ipv4 = any::<u32>().prop_map(|bits| IpAddr::from(Ipv4Addr::from(bits)));
    let gateway = match prefix {
        IpNet::V4(_) => prop_oneof![ipv4, ipv6].boxed(),
        IpNet::V6(_) => ipv6.boxed(),
    };
    let hop = (gateway, 1..1000_u32).prop_map(|(gateway, interface)| Hop { gateway, interface });
    prop::collection::btree_set(hop, 1..5).prop_map(|hops| hops.into_iter().collect())
}

fn route_to_hops() -> impl Strategy<Value = (IpNet, Arc<[Hop]>)> {
    prefix().prop_flat_map(|prefix| hops(prefix).prop_map(move |hops| (prefix, hops)))
}

fn exit(hop: Hop) -> Exit {
    Exit {
        gateway: Some(hop.gateway),
        interface: hop.interface,
    }
}

fn written(identity: &Identity, op: &RouteOp) -> Vec<u8> {
    let mut messages = Messages::default();
    messages.op(identity, op, 7);
    messages.bytes().to_vec()
}

/// The message as the other implementation reads it.
fn read_elsewhere(bytes: &[u8]) -> RouteMessage {
    let mut header = NetlinkHeader::default();
    header.length = u32_at(bytes, 0).expect("a length");
    header.message_type = u16_at(bytes, 4).expect("a type");
    assert_eq!(header.length as usize, bytes.len());
    match RouteNetlinkMessage::deserialize(&header, &bytes[16..]) {
        Ok(RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route)) => route,
        other => panic!("{other:?}"),
    }
}

fn read_here(bytes: &[u8]) -> Said {
    let answers: Vec<Answer> = answers(bytes).collect();
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].sequence, 7);
    answers[0].said.clone()
}

fn gateway_attribute(prefix: IpNet, gateway: IpAddr) -> RouteAttribute {
    match (prefix, gateway) {
        (IpNet::V4(_), IpAddr::V6(address)) => RouteAttribute::Via(RouteVia::Inet6(address)),
        (IpNet::V4(_) | IpNet::V6(_), IpAddr::V4(address)) => {
            RouteAttribute::Gateway(RouteAddress::Inet(address))
        }
        (IpNet::V6(_), IpAddr::V6(address)) => {
            RouteAttribute::Gateway(RouteAddress::Inet6(address))
        }
    }
}

proptest! {
    #[test]
    fn routes_say_elsewhere_what_is_meant_here(identity in identity(), (prefix, hops) in route_to_hops()) {
        let bytes = written(&identity, &RouteOp::Create { prefix, target: Target::Hops(hops.clone()) });
        let route = read_elsewhere(&bytes);
        prop_assert_eq!(route.header.protocol, RouteProtocol::from(identity.protocol));
        prop_assert_eq!(route.header.kind, RouteType::Unicast);
        prop_assert_eq!(route.header.destination_prefix_length, prefix.prefix_len());
        let destination = match prefix.network() {
            IpAddr::V4(address) => RouteAddress::Inet(address),
            IpAddr::V6(address) => RouteAddress::Inet6(address),
        };
        prop_assert!(route.attributes.contains(&RouteAttribute::Destination(destination)));
        prop_assert!(route.attributes.contains(&RouteAttribute::Table(identity.table)));
        prop_assert!(route.attributes.contains(&RouteAttribute::Priority(identity.metric)));
        if let [hop] = &*hops {
            prop_assert!(route.attributes.contains(&gateway_attribute(prefix, hop.gateway)));
            prop_assert!(route.attributes.contains(&RouteAttribute::Oif(hop.interface)));
        } else {
            let listed = hops.iter().map(|hop| {
                let mut next_hop = RouteNextHop::default();
                next_hop.interface_index = hop.interface;
                next_hop.attributes = vec![gateway_attribute(prefix, hop.gateway)];
                next_hop
            });
            prop_assert!(route.attributes.contains(&RouteAttribute::MultiPath(listed.collect())));
        }
    }

    #[test]
    fn routes_are_read_as_they_are_written(identity in identity(), (prefix, hops) in route_to_hops(), id in 1..u32::MAX) {
        for (target, via) in [(Target::Object(id), Via::Object(id)), (Target::Hops(hops.clone()), Via::Hops(hops))] {
            let wanted = KernelRoute {
                table: identity.table,
                prefix,
                narrowed: false,
                metric: identity.metric,
                protocol: identity.protocol,
                exit: match &via {
                    Via::Hops(hops) => hops.iter().copied().map(exit).min(),
                    Via::Object(_) | Via::OnLink(_) | Via::Other => None,
                },
                object: match via {
                    Via::Object(id) => Some(id),
                    Via::Hops(_) | Via::OnLink(_) | Via::Other => None,
                },
                via,
                replaced: false,
            };
            let bytes = written(&identity, &RouteOp::Create { prefix, target: target.clone() });
            prop_assert_eq!(read_here(&bytes), Said::Fact(Fact::Route(wanted.clone())));
            let bytes = written(&identity, &RouteOp::Replace { prefix, target });
            let replaced = KernelRoute { replaced: true, ..wanted };
            prop_assert_eq!(read_here(&bytes), Said::Fact(Fact::Route(replaced)));
        }
    }

    #[test]
    fn a_deletion_is_bound_to_our_mark(identity in identity(), prefix in prefix()) {
        let bytes = written(&identity, &RouteOp::Delete { prefix });
        let route = read_elsewhere(&bytes);
        prop_assert_eq!(route.header.protocol, RouteProtocol::from(identity.protocol));
        prop_assert_eq!(route.header.scope, RouteScope::NoWhere);
        prop_assert!(route.attributes.contains(&RouteAttribute::Table(identity.table)));
        prop_assert!(route.attributes.contains(&RouteAttribute::Priority(identity.metric)));
    }

    #[test]
    fn nexthops_are_read_as_they_are_written(
        identity in identity(),
        id in 1..u32::MAX,
        (_, hops) in route_to_hops(),
        members in prop::collection::btree_set(1..u32::MAX, 1..20),
    ) {
        for nexthop in [Nexthop::Hop(hops[0]), Nexthop::Group(members.into_iter().collect())] {
            let bytes = written(&identity, &RouteOp::CreateNexthop { id, nexthop: nexthop.clone() });
            let wanted = Fact::Nexthop { id, protocol: identity.protocol, nexthop };
            prop_assert_eq!(read_here(&bytes), Said::Fact(wanted));
        }
        let bytes = written(&identity, &RouteOp::DeleteNexthop { id });
        prop_assert_eq!(read_here(&bytes), Said::Fact(Fact::NexthopGone { id }));
    }

    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in prop::sample::select(vec![2_u16, 3, 16, 17, 21, 24, 25, 104, 105])) {
        let mut message = Vec::new();
        message.extend_from_slice(&u32::try_from(bytes.len() + 16).expect("short").to_ne_bytes());
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(&[0; 10]);
        message.extend_from_slice(&bytes);
        prop_assert!(answers(&message).count() <= 1);
        prop_assert!(answers(&bytes).count() <= 13);
    }
}

#[test]
fn errors_and_ends_are_told_apart() {
    let message = |kind: u16, code: i32| {
        let mut bytes = 20_u32.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&7_u32.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&code.to_ne_bytes());
        bytes
    };
    for (kind, code, wanted) in [
        (2, 0, Said::Acknowledged(Ok(()))),
        (2, -17, Said::Acknowledged(Err(Errno(17)))),
        (3, 0, Said::Done(Ok(()))),
        (3, -2, Said::Done(Err(Errno(2)))),
        (4, 0, Said::Overrun),
        (99, 0, Said::Nothing),
    ] {
        assert_eq!(read_here(&message(kind, code)), wanted);
    }
}

#[test]
fn a_link_is_usable_when_it_is_up_and_has_a_carrier() {
    let message = |family: u8, flags: u32| {
        let mut bytes = vec![family, 0, 0, 0];
        bytes.extend_from_slice(&3_u32.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        link(&bytes, NEW_LINK)
    };
    let wanted = |state| Some(Fact::Link { index: 3, state });
    assert_eq!(message(0, 0x1_0001), wanted(LinkState::Usable));
    assert_eq!(message(0, 0x0_0001), wanted(LinkState::NoCarrier));
    assert_eq!(message(0, 0x1_0000), wanted(LinkState::Down));
    assert_eq!(message(7, 0x1_0001), None, "a bridge speaks of its port");
}
