//! What becomes of one learned prefix.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bgp::wire::NextHop;
use plan::node::{ImportPlan, Refusal};

use super::{Given, given, import, learned, net, plan};
use crate::routes::verdict::{Verdict, verdict};
use crate::routes::{LearnedRoute, Offer};

/// Two instances; both peers of `a` are as good, and so are those of `b`.
fn offers() -> Vec<Offer> {
    let offer = |instance: &str, list: &[(&'static str, &str)]| Offer {
        instance: instance.into(),
        paths: given(list),
    };
    vec![
        offer("a", &[("a1", "10.0.1.11"), ("a2", "10.0.1.12")]),
        offer("b", &[("b1", "10.0.1.21"), ("b2", "10.0.1.22")]),
    ]
}

fn names(list: &[&str]) -> Option<BTreeSet<String>> {
    Some(list.iter().map(|name| (*name).to_owned()).collect())
}

/// Gateways, or why not, in words.
fn told(imports: Vec<ImportPlan>, prefix: &str) -> String {
    let route = LearnedRoute {
        prefix: net(prefix),
        offers: offers(),
    };
    let plan = plan(imports);
    let imports = plan.imports.values().next().expect("one target");
    match verdict(&plan, imports, &route, &BTreeMap::new()) {
        Verdict::Install { next_hops, on_link } => {
            assert!(!on_link);
            let ranks = next_hops.chunk_by(|(one, _), (next, _)| one == next);
            let last =
                |(_, hop): &(u8, fib::NextHop)| hop.gateway.to_string().replace("10.0.1.", "");
            let ranks = ranks.map(|rank| rank.iter().map(last).collect::<Vec<_>>().join(" "));
            ranks.collect::<Vec<_>>().join(", else ")
        }
        Verdict::Refused(reason) => format!("{reason:?}"),
        Verdict::Nothing => "nothing".to_owned(),
    }
}

#[test]
fn the_first_import_that_may_decides_and_the_first_instance_that_has_paths_for_it() {
    let all = || import("i", &["0.0.0.0/0"]);
    let of = |instances, peers| ImportPlan {
        instances,
        peers,
        ..all()
    };
    let most = |count: u16| ImportPlan {
        maximum_paths: count.try_into().expect("not zero"),
        ..all()
    };
    let rows: Vec<(Vec<ImportPlan>, &str, &str)> = vec![
        (vec![all()], "192.0.2.0/24", "11 12, else 21 22"),
        (
            vec![most(1)],
            "192.0.2.0/24",
            "11, else 12, else 21, else 22",
        ),
        (vec![of(names(&["b"]), None)], "192.0.2.0/24", "21 22"),
        (
            vec![of(None, names(&["a2", "b1"]))],
            "192.0.2.0/24",
            "12, else 21",
        ),
        (vec![of(None, names(&["b1"]))], "192.0.2.0/24", "21"),
        (
            vec![of(names(&["a"]), names(&["b1"]))],
            "192.0.2.0/24",
            "nothing",
        ),
        (vec![of(names(&["c"]), None)], "192.0.2.0/24", "nothing"),
        (
            vec![import("i", &["198.51.100.0/24"])],
            "192.0.2.0/24",
            "NotAccepted",
        ),
        (
            vec![import("i", &["!192.0.2.0/24", "192.0.0.0/16"])],
            "192.0.2.0/24",
            "NotAccepted",
        ),
        (vec![all()], "10.244.0.0/24", "PodCidr"),
        (
            vec![import("i", &["198.51.100.0/24"]), of(names(&["b"]), None)],
            "192.0.2.0/24",
            "21 22",
        ),
        (
            vec![import("i", &["198.51.100.0/24"]), all()],
            "10.244.0.0/24",
            "PodCidr",
        ),
        (
            vec![all(), import("j", &["198.51.100.0/24"])],
            "10.244.0.0/24",
            "PodCidr",
        ),
        (
            vec![of(names(&["c"]), None), import("j", &["198.51.100.0/24"])],
            "192.0.2.0/24",
            "NotAccepted",
        ),
    ];
    for (number, (imports, prefix, expected)) in rows.into_iter().enumerate() {
        assert_eq!(told(imports, prefix), expected, "row {number}");
    }
}

#[test]
fn the_reason_of_a_refusal_is_handed_on() {
    assert_eq!(
        Verdict::Refused(Refusal::PodCidr).refusal(),
        Some(Refusal::PodCidr)
    );
    assert_eq!(Verdict::Nothing.refusal(), None);
}

/// RFC 2545 section 3: what is link-local counts on the link of the session.
#[test]
fn a_link_local_next_hop_is_on_the_link_of_our_end_of_the_session() {
    let (global, link_local) = ("2001:db8:1::2", "fe80::2");
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    let both = NextHop::Ipv6 {
        global: global.parse().expect("an address"),
        link_local: Some(link_local.parse().expect("an address")),
    };
    let links = BTreeMap::from([(address("2001:db8:1::1"), 7)]);
    let (known, unknown) = ("2001:db8:1::1", "2001:db8:2::1");
    let rows = [
        (NextHop::from(address(global)), known, (global, None), false),
        (both, known, (link_local, Some(7)), true),
        (both, unknown, (global, None), true),
        (
            NextHop::from(address(link_local)),
            known,
            (link_local, Some(7)),
            true,
        ),
        (
            NextHop::from(address(link_local)),
            unknown,
            (link_local, Some(0)),
            true,
        ),
    ];
    for (next_hop, local, (gateway, interface), expected_on_link) in rows {
        let paths = learned(&[Given {
            peer: "peer",
            next_hop,
            local: address(local),
        }]);
        let route = super::route("2001:db8:9::/48", &paths);
        let plan = plan(vec![import("i", &["::/0"])]);
        let imports = plan.imports.values().next().expect("one target");
        let Verdict::Install { next_hops, on_link } = verdict(&plan, imports, &route, &links)
        else {
            panic!("{next_hop:?} over {local} is not installed")
        };
        let expected = fib::NextHop {
            gateway: address(gateway),
            interface,
        };
        assert_eq!(
            (next_hops.as_slice(), on_link),
            (&[(0, expected)][..], expected_on_link)
        );
    }
}
