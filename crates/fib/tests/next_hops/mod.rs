//! By which next hops routes lead, as links, addresses and other people's routes come and go.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use fib::{Command, Form, Identity, NextHopSet, Withheld, cleanup};

use crate::place::{Place, hop, set};
use crate::{FORMS, OURS, SECOND};

const PREFIX: &str = "192.0.2.0/24";

fn ranked(prefix: &str, ranks: &[&[&str]]) -> Command {
    let ranks = ranks.iter().map(|rank| rank.iter().map(|text| hop(text)));
    Command::Set {
        prefix: prefix.parse().unwrap(),
        next_hops: NextHopSet::ranked(ranks).unwrap(),
    }
}

#[test]
fn a_route_leads_to_the_next_rank_while_the_first_is_down() {
    for form in FORMS {
        for (down, up) in [
            ("link set a0 down", "link set a0 up"),
            ("link set a1 down", "link set a1 up"),
            (
                "address del 10.0.1.1/24 dev a0",
                "address add 10.0.1.1/24 dev a0",
            ),
        ] {
            let Some(place) = Place::make("ranks") else {
                return;
            };
            let mut ours = place.start(OURS, form);
            let six = "2001:db8:ffff::/48";
            ours.say([
                ranked(PREFIX, &[&["10.0.1.2"], &["10.0.2.2"]]),
                ranked(
                    "198.51.100.0/24",
                    &[&["10.0.1.2", "10.0.1.3"], &["2001:db8:2::2"]],
                ),
                ranked(six, &[&["2001:db8:1::2"], &["2001:db8:2::2"]]),
                Command::Complete,
            ]);
            assert_eq!(ours.settled().installed, 3);
            assert_eq!(place.gateways(PREFIX), ["10.0.1.2"]);
            assert_eq!(place.gateways("198.51.100.0/24"), ["10.0.1.2", "10.0.1.3"]);
            assert_eq!(place.gateways(six), ["2001:db8:1::2"]);
            place.ip(down);
            if down.starts_with("address") {
                place.ip("address del 2001:db8:1::1/64 dev a0");
            }
            place.until(SECOND, "it leads to the second", || {
                place.gateways(PREFIX) == ["10.0.2.2"]
                    && place.gateways("198.51.100.0/24") == ["2001:db8:2::2"]
                    && place.gateways(six) == ["2001:db8:2::2"]
            });
            place.ip(up);
            place.readdress();
            place.until(3 * SECOND, "it is back", || {
                place.gateways(PREFIX) == ["10.0.1.2"]
                    && place.gateways("198.51.100.0/24") == ["10.0.1.2", "10.0.1.3"]
                    && place.gateways(six) == ["2001:db8:1::2"]
            });
            ours.until(SECOND, "all are there", |report| {
                report.installed == 3 && report.is_settled()
            });
        }
    }
}

const GROUP: &str = "nexthop add id 7 via 10.0.1.2 dev a0\nnexthop add id 8 via 10.0.2.2 dev b0\nnexthop add id 9 group 7/8";

#[test]
fn a_gateway_is_reached_however_the_route_to_it_is_written() {
    for (objects, route, reached) in [
        ("nexthop add id 7 via 10.0.1.2 dev a0", "nhid 7", "10.0.1.2"),
        (
            "nexthop add id 7 via 2001:db8:1::2 dev a0",
            "nhid 7",
            "2001:db8:1::2",
        ),
        ("nexthop add id 7 dev a0", "scope link nhid 7", "10.9.0.1"),
        (GROUP, "nhid 9", "10.0.1.2"),
        ("", "via 10.0.1.2 src 10.0.2.1", "10.0.1.2"),
        ("", "via 10.0.1.2 mtu 1400", "10.0.1.2"),
        (
            "",
            "nexthop via 10.0.2.2 weight 2 nexthop via 10.0.1.2 weight 1",
            "10.0.1.2",
        ),
    ] {
        for form in FORMS {
            let Some(place) = Place::make("written") else {
                return;
            };
            place.ip(&format!("{objects}\nroute add 10.9.0.0/24 {route}"));
            let mut ours = place.start(OURS, form);
            ours.say([set(PREFIX, &["10.9.0.1"]), Command::Complete]);
            let report = ours.settled();
            assert_eq!(report.installed, 1, "{form:?} {route}: {report:?}");
            assert_eq!(place.gateways(PREFIX), [reached], "{form:?} {route}");
            place.ip("route del 10.9.0.0/24");
            ours.until(SECOND, "it is gone", |report| {
                report.installed == 0 && report.is_settled()
            });
            place.ip(&format!("route add 10.9.0.0/24 {route}"));
            ours.until(SECOND, "it is back", |report| report.installed == 1);
        }
    }
}

#[test]
fn a_gateway_behind_a_nexthop_object_follows_the_object() {
    for compatible in ["1", "0"] {
        let Some(place) = Place::make("behind") else {
            return;
        };
        place.sysctl("ipv4/nexthop_compat_mode", compatible);
        place.ip(GROUP);
        place.ip("route add 10.9.0.0/24 nhid 9");
        let mut ours = place.start(OURS, Form::Objects);
        ours.say([set(PREFIX, &["10.9.0.1"]), Command::Complete]);
        assert_eq!(ours.settled().installed, 1);
        let leads_to = |gateway: &str| {
            let awaited = format!("{compatible}: by {gateway}");
            place.until(SECOND, &awaited, || {
                let text = place.ip_or_nothing("route get 192.0.2.1");
                text.contains(&format!(" via {gateway} "))
            });
        };
        leads_to("10.0.1.2");
        place.ip("nexthop del id 7");
        leads_to("10.0.2.2");
        place.ip("nexthop replace id 10 via 10.0.1.3 dev a0");
        place.ip("nexthop replace id 9 group 10");
        leads_to("10.0.1.3");
        place.ip("route replace 10.9.0.0/24 nhid 10");
        place.ip("nexthop replace id 10 via 10.0.2.3 dev b0");
        leads_to("10.0.2.3");
        place.ip("nexthop del id 10");
        let report = ours.until(SECOND, "it is gone", |report| {
            report.installed == 0 && report.is_settled()
        });
        let reason = Some(Withheld::GatewayUnreachable);
        assert_eq!(report.why(PREFIX.parse().unwrap()), reason);
    }
}

#[test]
fn what_only_routes_of_ours_lead_to_is_not_reached() {
    let other = Identity {
        protocol: 99,
        metric: 21,
        ..OURS
    };
    let Some(place) = Place::make("learned") else {
        return;
    };
    let mut theirs = place.start(other, Form::Objects);
    theirs.say([set("10.9.0.0/24", &["10.0.1.2"]), Command::Complete]);
    assert_eq!(theirs.settled().installed, 1);
    let mut ours = place.start(OURS, Form::Objects);
    ours.say([set(PREFIX, &["10.9.0.1"]), Command::Complete]);
    let report = ours.settled();
    let reason = Some(Withheld::GatewayUnreachable);
    assert_eq!(report.why(PREFIX.parse().unwrap()), reason);
}

#[test]
fn a_nexthop_object_that_any_route_of_others_leads_to_outlives_a_cleanup() {
    let Some(place) = Place::make("borrowed") else {
        return;
    };
    let id = *OURS.nexthop_ids().start();
    place.ip(&format!(
        "nexthop add id {id} via 10.0.1.2 dev a0 proto 186"
    ));
    place.ip(&format!(
        "route add 100.64.0.0/10 nhid {id} src 10.0.2.1 proto static"
    ));
    let before = place.all_routes();
    let cleaned = place.run(|| cleanup(OURS)).unwrap();
    assert_eq!((cleaned.nexthops, cleaned.kept), (0, 1));
    assert_eq!(place.all_routes(), before);
}

#[test]
fn what_the_kernel_drops_with_an_address_reaches_no_gateway() {
    // With the last address of an interface; with the source of a route; with an address that has no network.
    for (prepare, address, route) in [
        ("", "10.0.1.1/24 dev a0", "via 10.0.1.2"),
        ("", "10.0.1.1/24 dev a0", "via 10.0.2.2 src 10.0.1.1"),
        (
            "address replace 10.0.5.5/32 dev lo\naddress del 10.0.1.1/24 dev a0\naddress add 10.0.5.5/32 dev a0\nroute add 10.0.7.0/24 dev a0",
            "10.0.5.5/32 dev a0",
            "via 10.0.7.2",
        ),
    ] {
        for form in FORMS {
            let Some(place) = Place::make("renumber") else {
                return;
            };
            place.ip(&format!("{prepare}\nroute add 10.9.0.0/24 {route}"));
            let mut ours = place.start(OURS, form);
            ours.say([set(PREFIX, &["10.9.0.1"]), Command::Complete]);
            assert_eq!(ours.settled().installed, 1, "{form:?} {route}");
            place.ip(&format!("address del {address}"));
            let report = ours.until(SECOND, "it is gone", |report| {
                report.installed == 0 && report.is_settled()
            });
            let reason = Some(Withheld::GatewayUnreachable);
            assert_eq!(report.why(PREFIX.parse().unwrap()), reason);
            assert_eq!(place.gateways(PREFIX), [""; 0], "{form:?} {route}");
            place.ip(&format!("address add {address}\nroute replace 10.0.7.0/24 dev a0\nroute add 10.9.0.0/24 {route}"));
            ours.until(SECOND, "it is back", |report| report.installed == 1);
        }
    }
}

#[test]
fn a_gateway_whose_network_has_not_come_back_with_its_link_is_not_behind_a_link_that_is_down() {
    for form in FORMS {
        let Some(place) = Place::make("flap") else {
            return;
        };
        let mut ours = place.start(OURS, form);
        ours.say([set(PREFIX, &["2001:db8:1::2"]), Command::Complete]);
        assert_eq!(ours.settled().installed, 1);
        let why = |report: &fib::Report| report.why(PREFIX.parse().unwrap());
        place.ip("link set a0 down");
        ours.until(SECOND, "it is down", |report| {
            why(report) == Some(Withheld::LinkDown)
        });
        place.ip("link set a0 up");
        ours.until(SECOND, "its address is gone", |report| {
            why(report) == Some(Withheld::GatewayUnreachable)
        });
        place.readdress();
        ours.until(SECOND, "it is back", |report| report.installed == 1);
    }
}

#[test]
fn ours_comes_when_a_route_in_its_place_goes_with_its_link_or_object() {
    for (route, end) in [
        ("via 10.0.2.9", "link set b0 down"),
        ("nhid 7", "link set b1 down"),
        ("nhid 7", "nexthop del id 7"),
    ] {
        let Some(place) = Place::make("gives-way") else {
            return;
        };
        place.ip("nexthop add id 7 via 10.0.2.9 dev b0");
        place.ip(&format!(
            "route add {PREFIX} {route} proto static metric 20"
        ));
        let mut ours = place.start(OURS, Form::Objects);
        ours.say([set(PREFIX, &["10.0.1.2"]), Command::Complete]);
        let report = ours.settled();
        let reason = Some(Withheld::ForeignRoute { protocol: 4 });
        assert_eq!(report.why(PREFIX.parse().unwrap()), reason);
        place.ip(end);
        ours.until(3 * SECOND, end, |report| report.installed == 1);
    }
}

#[test]
fn a_gateway_is_reached_by_what_is_left_of_several_ways() {
    let Some(place) = Place::make("left") else {
        return;
    };
    place.ip("-6 route add 2001:db8:9::/48 nexthop via 2001:db8:1::2 nexthop via 2001:db8:2::2");
    let mut ours = place.start(OURS, Form::Objects);
    ours.say([set(PREFIX, &["2001:db8:9::1"]), Command::Complete]);
    ours.settled();
    assert_eq!(place.gateways(PREFIX), ["2001:db8:1::2"]);
    place.ip("-6 route del 2001:db8:9::/48 via 2001:db8:1::2");
    place.until(SECOND, "by the other", || {
        place.gateways(PREFIX) == ["2001:db8:2::2"]
    });
}
