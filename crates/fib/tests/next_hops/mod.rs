//! By which next hops routes lead, as links, addresses and other people's routes come and go.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use fib::{Command, NextHopSet};

use crate::place::{Place, hop};
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
