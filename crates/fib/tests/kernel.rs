//! Against the kernel of this machine, each test in a network namespace of its own with two links whose ends are both in it.
//!
//! ```text
//!   a0 (10.0.1.1/24, 2001:db8:1::1/64) ══ a1        b0 (10.0.2.1/24, 2001:db8:2::1/64) ══ b1
//! ```
//! Without root nothing of this can be: each test then says so and ends.

#![expect(
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

mod next_hops;
mod place;

use std::time::{Duration, Instant};

use fib::{Command, Error, Fib, Form, Identity, Withheld, abandoned, cleanup};
use place::{Place, set};

const OURS: Identity = Identity {
    table: 254,
    protocol: 186,
    metric: 20,
};
const FORMS: [Form; 2] = [Form::Objects, Form::Inline];
/// A repair must be seen within this.
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn every_kind_of_route_is_installed_and_removed() {
    for form in FORMS {
        let Some(place) = Place::make("kinds") else {
            return;
        };
        let mut ours = place.start(OURS, form);
        ours.say([
            set("192.0.2.0/24", &["10.0.1.2"]),
            set("198.51.100.0/24", &["10.0.1.2", "10.0.2.2"]),
            set("203.0.113.0/24", &["2001:db8:1::2"]),
            set("0.0.0.0/0", &["10.0.1.2", "2001:db8:2::2"]),
            set("2001:db8:ffff::/48", &["2001:db8:1::2"]),
            set("2001:db8:fffe::/48", &["2001:db8:1::2", "2001:db8:2::2"]),
            Command::Complete,
        ]);
        let report = ours.settled();
        assert_eq!(report.form, form);
        assert_eq!(
            (report.installed, report.withheld_routes()),
            (6, 0),
            "{report:?}"
        );
        assert_eq!(place.gateways("192.0.2.0/24"), ["10.0.1.2"]);
        assert_eq!(place.gateways("198.51.100.0/24"), ["10.0.1.2", "10.0.2.2"]);
        assert_eq!(place.gateways("203.0.113.0/24"), ["2001:db8:1::2"]);
        assert_eq!(place.gateways("default"), ["10.0.1.2", "2001:db8:2::2"]);
        assert_eq!(place.gateways("2001:db8:ffff::/48"), ["2001:db8:1::2"]);
        assert_eq!(
            place.gateways("2001:db8:fffe::/48"),
            ["2001:db8:1::2", "2001:db8:2::2"]
        );
        ours.say(
            [
                "192.0.2.0/24",
                "198.51.100.0/24",
                "203.0.113.0/24",
                "0.0.0.0/0",
                "2001:db8:ffff::/48",
                "2001:db8:fffe::/48",
            ]
            .map(place::remove),
        );
        ours.settled();
        ours.stop();
        assert_eq!(place.routes_of(186), "");
        assert_eq!(place.ip("nexthop show"), "");
    }
}

#[test]
fn a_foreign_route_is_untouched_and_ours_comes_when_it_goes() {
    for form in FORMS {
        let Some(place) = Place::make("foreign") else {
            return;
        };
        place.ip("route add 192.0.2.0/24 via 10.0.2.9 proto static metric 20");
        place.ip("route add 2001:db8:ffff::/48 via 2001:db8:2::9 proto static metric 20");
        place.ip("route add 198.51.100.0/24 via 10.0.2.9 proto static metric 30");
        let before = place.routes_of(4);
        let mut ours = place.start(OURS, form);
        ours.say([
            set("192.0.2.0/24", &["10.0.1.2"]),
            set("198.51.100.0/24", &["10.0.1.2"]),
            set("2001:db8:ffff::/48", &["2001:db8:1::2"]),
            Command::Complete,
        ]);
        let report = ours.settled();
        let reason = Some(Withheld::ForeignRoute { protocol: 4 });
        assert_eq!(
            report.why("192.0.2.0/24".parse().unwrap()),
            reason,
            "{report:?}"
        );
        assert_eq!(report.why("2001:db8:ffff::/48".parse().unwrap()), reason);
        assert_eq!(report.installed, 1, "another metric is another place");
        assert_eq!(place.routes_of(4), before);
        place.ip("route del 192.0.2.0/24 proto static");
        place.ip("route del 2001:db8:ffff::/48 proto static");
        ours.until(SECOND, "ours have come", |report| report.installed == 3);
        place.ip("route replace 192.0.2.0/24 via 10.0.2.9 proto static metric 20");
        let report = ours.until(SECOND, "it yields", |report| report.installed == 2);
        assert_eq!(report.why("192.0.2.0/24".parse().unwrap()), reason);
    }
}

#[test]
fn what_somebody_removes_is_back_within_a_second() {
    for form in FORMS {
        let Some(place) = Place::make("removed") else {
            return;
        };
        let mut ours = place.start(OURS, form);
        ours.say([
            set("192.0.2.0/24", &["10.0.1.2"]),
            set("198.51.100.0/24", &["10.0.1.2", "10.0.2.2"]),
            set("2001:db8:ffff::/48", &["2001:db8:1::2", "2001:db8:2::2"]),
            Command::Complete,
        ]);
        ours.settled();
        let before = place.routes_of(186);
        for deletion in [
            "route del 192.0.2.0/24 metric 20",
            "route del 198.51.100.0/24 metric 20",
            "route del 2001:db8:ffff::/48 metric 20",
            "route del 192.0.2.0/24 metric 20\nroute del 198.51.100.0/24 metric 20\nroute del 2001:db8:ffff::/48 metric 20",
        ] {
            let begin = Instant::now();
            place.ip(deletion);
            place.until(SECOND, deletion, || place.routes_of(186) == before);
            eprintln!("{form:?}: {deletion:?} undone in {:?}", begin.elapsed());
        }
        place.ip("route replace 192.0.2.0/24 via 10.0.2.7 proto 186 metric 20");
        place.until(SECOND, "changed back", || place.routes_of(186) == before);
        ours.until(SECOND, "all there", |report| report.installed == 3);
    }
}

#[test]
fn nexthop_objects_that_somebody_removes_are_back_within_a_second() {
    let Some(place) = Place::make("objects") else {
        return;
    };
    let mut ours = place.start(OURS, Form::Objects);
    ours.say([
        set("192.0.2.0/24", &["10.0.1.2"]),
        set("198.51.100.0/24", &["10.0.1.2", "10.0.2.2"]),
        set("2001:db8:ffff::/48", &["2001:db8:1::2"]),
        Command::Complete,
    ]);
    assert_eq!(ours.settled().nexthop_objects, 4);
    place.ip("nexthop flush proto 186");
    place.until(SECOND, "routes are back", || {
        place.gateways("192.0.2.0/24") == ["10.0.1.2"]
            && place.gateways("198.51.100.0/24") == ["10.0.1.2", "10.0.2.2"]
            && place.gateways("2001:db8:ffff::/48") == ["2001:db8:1::2"]
    });
    ours.until(SECOND, "the report says so", |report| {
        report.installed == 3 && report.nexthop_objects == 4
    });
}

#[test]
fn routes_go_and_come_with_their_link() {
    for form in FORMS {
        for (down, up) in [
            ("link set a0 down", "link set a0 up"),
            ("link set a1 down", "link set a1 up"),
        ] {
            let Some(place) = Place::make("links") else {
                return;
            };
            let mut ours = place.start(OURS, form);
            ours.say([
                set("192.0.2.0/24", &["10.0.1.2"]),
                set("198.51.100.0/24", &["10.0.1.2", "10.0.2.2"]),
                set("203.0.113.0/24", &["2001:db8:1::2"]),
                set("2001:db8:fffe::/48", &["2001:db8:1::2", "2001:db8:2::2"]),
                Command::Complete,
            ]);
            assert_eq!(ours.settled().installed, 4);
            place.ip(down);
            let report = ours.until(3 * SECOND, "it is noticed", |report| {
                report.installed == 2 && report.is_settled()
            });
            assert_eq!(
                report.why("192.0.2.0/24".parse().unwrap()),
                Some(Withheld::LinkDown),
                "{form:?} {down}"
            );
            assert_eq!(place.gateways("192.0.2.0/24"), [""; 0], "{form:?} {down}");
            assert_eq!(
                place.gateways("198.51.100.0/24"),
                ["10.0.2.2"],
                "{form:?} {down}"
            );
            assert_eq!(
                place.gateways("2001:db8:fffe::/48"),
                ["2001:db8:2::2"],
                "{form:?} {down}"
            );
            place.ip(up);
            place.readdress();
            ours.until(3 * SECOND, "all is back", |report| report.installed == 4);
            assert_eq!(place.gateways("198.51.100.0/24"), ["10.0.1.2", "10.0.2.2"]);
            assert_eq!(
                place.gateways("2001:db8:fffe::/48"),
                ["2001:db8:1::2", "2001:db8:2::2"]
            );
            // Too quick for anybody to look.
            place.ip(&format!("{down}\n{up}"));
            place.readdress();
            place.until(3 * SECOND, "all is back again", || {
                place.gateways("192.0.2.0/24") == ["10.0.1.2"]
                    && place.gateways("198.51.100.0/24") == ["10.0.1.2", "10.0.2.2"]
                    && place.gateways("203.0.113.0/24") == ["2001:db8:1::2"]
                    && place.gateways("2001:db8:fffe::/48") == ["2001:db8:1::2", "2001:db8:2::2"]
            });
        }
    }
}

#[test]
fn a_gateway_that_no_route_leads_to_is_waited_for() {
    for form in FORMS {
        let Some(place) = Place::make("gateway") else {
            return;
        };
        let mut ours = place.start(OURS, form);
        ours.say([set("192.0.2.0/24", &["10.0.3.2"]), Command::Complete]);
        let report = ours.settled();
        assert_eq!(
            report.why("192.0.2.0/24".parse().unwrap()),
            Some(Withheld::GatewayUnreachable)
        );
        place.ip("address add 10.0.3.1/24 dev b0");
        ours.until(SECOND, "it is installed", |report| report.installed == 1);
        place.ip("address del 10.0.3.1/24 dev b0");
        ours.until(SECOND, "it is gone", |report| {
            report.installed == 0 && report.is_settled()
        });
        assert_eq!(place.routes_of(186), "");
    }
}

#[test]
fn a_gateway_further_away_is_reached_as_a_static_route_says() {
    for form in FORMS {
        let Some(place) = Place::make("further") else {
            return;
        };
        let mut ours = place.start(OURS, form);
        ours.say([set("192.0.2.0/24", &["10.9.0.1"]), Command::Complete]);
        let report = ours.settled();
        assert_eq!(
            report.why("192.0.2.0/24".parse().unwrap()),
            Some(Withheld::GatewayUnreachable)
        );
        place.ip("route add 10.9.0.0/24 via 10.0.1.2");
        place.until(SECOND, "it is reached", || {
            place.gateways("192.0.2.0/24") == ["10.0.1.2"]
        });
        place.ip("route replace 10.9.0.0/24 via 10.0.2.2");
        place.until(SECOND, "it follows", || {
            place.gateways("192.0.2.0/24") == ["10.0.2.2"]
        });
        place.ip("route del 10.9.0.0/24");
        ours.until(SECOND, "it is gone", |report| {
            report.installed == 0 && report.is_settled()
        });
    }
}

#[test]
fn a_restart_adopts_what_is_there_without_a_write_and_sweeps_the_rest() {
    for form in FORMS {
        let Some(place) = Place::make("restart") else {
            return;
        };
        let wish = [
            set("192.0.2.0/24", &["10.0.1.2"]),
            set("198.51.100.0/24", &["10.0.1.2", "10.0.2.2"]),
            set("203.0.113.0/24", &["2001:db8:1::2"]),
            set("2001:db8:fffe::/48", &["2001:db8:1::2", "2001:db8:2::2"]),
        ];
        let mut ours = place.start(OURS, form);
        ours.say(wish.clone());
        ours.say([set("100.64.0.0/10", &["10.0.2.2"]), Command::Complete]);
        assert_eq!(ours.settled().installed, 5);
        ours.stop();
        let (routes, objects) = (place.routes_of(186), place.ip("-details nexthop show"));
        let mut monitor = place.monitor();
        let mut ours = place.start(OURS, form);
        ours.until(SECOND, "it has read the kernel", |report| {
            report.leftovers == 5
        });
        ours.say(wish);
        let report = ours.settled();
        assert_eq!((report.installed, report.leftovers), (4, 1), "{report:?}");
        assert_eq!(place.routes_of(186), routes);
        assert_eq!(place.ip("-details nexthop show"), objects);
        place.ip("route add 10.9.9.9/32 dev a0 proto static");
        assert_eq!(
            monitor.routes_until("10.9.9.9"),
            [""; 0],
            "{form:?}: nothing but the mark was written"
        );
        ours.say([Command::Complete]);
        let report = ours.settled();
        assert_eq!((report.installed, report.leftovers), (4, 0));
        assert_eq!(place.gateways("100.64.0.0/10"), [""; 0]);
    }
}

#[test]
fn cleanup_takes_what_is_ours_and_nothing_else() {
    let Some(place) = Place::make("cleanup") else {
        return;
    };
    place.ip("route add 172.16.0.0/12 via 10.0.1.9 proto static metric 20");
    place.ip("route add 192.0.2.0/24 via 10.0.1.9 proto 186 metric 77");
    place.ip("nexthop add id 7 via 10.0.1.9 dev a0 proto 186");
    let (before, objects) = (place.all_routes(), place.ip("nexthop show"));
    let mut ours = place.start(OURS, Form::Objects);
    ours.say([
        set("192.0.2.0/24", &["10.0.1.2"]),
        set("198.51.100.0/24", &["10.0.1.2", "10.0.2.2"]),
        set("2001:db8:ffff::/48", &["2001:db8:1::2"]),
        Command::Complete,
    ]);
    assert_eq!(ours.settled().installed, 3);
    ours.stop();
    let borrowed = *OURS.nexthop_ids().start();
    place.ip(&format!(
        "route add 100.64.0.0/10 nhid {borrowed} proto static"
    ));
    let cleaned = place.run(|| cleanup(OURS)).unwrap();
    assert_eq!((cleaned.routes, cleaned.nexthops, cleaned.kept), (3, 3, 1));
    place.ip("route del 100.64.0.0/10");
    let cleaned = place.run(|| cleanup(OURS)).unwrap();
    assert_eq!((cleaned.routes, cleaned.nexthops, cleaned.kept), (0, 1, 0));
    assert_eq!(place.all_routes(), before);
    assert_eq!(place.ip("nexthop show"), objects);
}

#[test]
fn what_nobody_wants_any_more_is_found_by_its_nexthop_objects() {
    let Some(place) = Place::make("abandoned") else {
        return;
    };
    let old = [(1000, 186, 20), (254, 186, 31), (254, 200, 40)];
    let old = old.map(|(table, protocol, metric)| Identity {
        table,
        protocol,
        metric,
    });
    // Somebody else's, with an object that is numbered as ours are, and one with marks of ours and no object.
    place.ip("nexthop add id 1610612737 via 10.0.1.9 dev a0 proto 99");
    place.ip("route add 100.64.0.0/10 nhid 1610612737 proto 99");
    place.ip("route add 192.0.2.0/24 via 10.0.1.9 proto 186 metric 77");
    for identity in old.iter().chain([&OURS]) {
        let mut fib = place.start(*identity, Form::Objects);
        fib.say([set("198.51.100.0/24", &["10.0.1.2"]), Command::Complete]);
        assert_eq!(fib.settled().installed, 1);
        fib.stop();
    }
    let find = |wanted: &[Identity]| {
        let wanted = wanted.iter().copied().collect();
        place.run(|| abandoned(&wanted)).unwrap()
    };
    let mut expected = old.to_vec();
    expected.sort_unstable_by_key(|it| (it.protocol, it.table, it.metric));
    assert_eq!(find(&[OURS]), expected);
    let everyone: Vec<_> = old.into_iter().chain([OURS]).collect();
    assert_eq!(find(&everyone), []);
    assert_eq!(find(&[OURS, old[0], old[2]]), [old[1]]);
}

#[test]
fn two_identities_live_side_by_side() {
    let Some(place) = Place::make("two") else {
        return;
    };
    let other = Identity {
        table: 1000,
        ..OURS
    };
    let mut ours = place.start(OURS, Form::Objects);
    let mut theirs = place.start(other, Form::Objects);
    ours.say([
        set("192.0.2.0/24", &["10.0.1.2", "10.0.2.2"]),
        Command::Complete,
    ]);
    theirs.say([set("192.0.2.0/24", &["10.0.2.2"]), Command::Complete]);
    assert_eq!(ours.settled().installed, 1);
    assert_eq!(theirs.settled().installed, 1);
    theirs.stop();
    let cleaned = place.run(|| cleanup(other)).unwrap();
    assert_eq!((cleaned.routes, cleaned.nexthops), (1, 1));
    assert_eq!(place.ip("route show table 1000"), "");
    assert_eq!(place.gateways("192.0.2.0/24"), ["10.0.1.2", "10.0.2.2"]);
    assert_eq!(ours.latest().counters.disturbed, 0);
}

#[test]
fn an_overrun_is_made_good() {
    let Some(place) = Place::make("overrun") else {
        return;
    };
    let mut ours = place.start(OURS, Form::Objects);
    let prefixes: Vec<String> = (0..20_000_u32)
        .map(|number| format!("100.{}.{}.0/24", 64 + (number >> 8), number & 255))
        .collect();
    ours.say(prefixes.iter().map(|prefix| set(prefix, &["10.0.1.2"])));
    ours.say([Command::Complete]);
    ours.until(10 * SECOND, "all are installed", |report| {
        report.installed == 20_000
    });
    let deletions = prefixes
        .iter()
        .map(|prefix| format!("route del {prefix} metric 20\n"));
    place.ip(&deletions.collect::<String>());
    ours.until(10 * SECOND, "all are noticed", |report| {
        report.counters.disturbed >= 20_000 || report.counters.reads > 1
    });
    place.until(10 * SECOND, "all are back", || {
        place.routes_of(186).lines().count() == 20_000
    });
}

#[test]
fn an_identity_that_cannot_be_owned_is_refused() {
    let identity = Identity { table: 0, ..OURS };
    let started = Fib::start(identity, Form::Objects);
    assert!(matches!(started, Err(Error::Table { table: 0 })));
    let cleaned = cleanup(Identity {
        protocol: 4,
        ..OURS
    });
    assert!(matches!(cleaned, Err(Error::Protocol { protocol: 4 })));
}

#[test]
fn without_the_capability_it_says_so() {
    const CHILD: &str = "FIB_TEST_WITHOUT_CAPABILITY";
    if std::env::var_os(CHILD).is_some() {
        let started = Fib::start(OURS, Form::Objects);
        assert!(matches!(started, Err(Error::NotPermitted)));
        assert!(matches!(cleanup(OURS), Err(Error::NotPermitted)));
        return;
    }
    if !place::is_root() {
        return;
    }
    let child = std::process::Command::new("setpriv")
        .args(["--bounding-set", "-net_admin", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "without_the_capability_it_says_so"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    assert!(
        child.status.success(),
        "{}",
        String::from_utf8_lossy(&child.stdout)
    );
}
