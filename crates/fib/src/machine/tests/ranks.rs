//! Next hops of several ranks: the first rank that can be used has the route.

use super::*;

fn ranked(prefix: &str, ranks: &[&[&str]]) -> Command {
    let ranks = ranks.iter().map(|rank| {
        let texts = rank.iter();
        texts.map(|text| NextHop::from(text.parse::<IpAddr>().expect("an address")))
    });
    Command::Set {
        prefix: net(prefix),
        next_hops: NextHopSet::ranked(ranks).expect("some"),
    }
}

const PREFIX: &str = "192.0.2.0/24";

#[test]
fn a_route_leads_to_the_first_rank_that_can_be_used() {
    // Links 2 and 3 are down, and 10.0.9.0/24 is nowhere.
    for (ranks, wanted) in [
        (
            &[&["10.0.1.1"][..], &["10.0.4.1"]][..],
            Ok(&["10.0.1.1"][..]),
        ),
        (&[&["10.0.2.1"], &["10.0.4.1"]], Ok(&["10.0.4.1"])),
        (&[&["10.0.9.1"], &["10.0.4.1"]], Ok(&["10.0.4.1"])),
        (
            &[&["10.0.9.1"], &["10.0.2.1"], &["10.0.4.1", "10.0.1.1"]],
            Ok(&["10.0.1.1", "10.0.4.1"]),
        ),
        (
            &[&["10.0.2.1", "10.0.1.1"], &["10.0.4.1"]],
            Ok(&["10.0.1.1"]),
        ),
        (&[&["10.0.2.1"], &["2001:db8:1::1"]], Ok(&["2001:db8:1::1"])),
        (
            &[&["10.0.9.1"], &["10.0.2.1"]],
            Err(Withheld::GatewayUnreachable),
        ),
        (&[&["10.0.2.1"], &["10.0.9.1"]], Err(Withheld::LinkDown)),
    ] {
        for form in FORMS {
            let mut pair = Pair::new(form);
            pair.work();
            pair.model.set_link(2, LinkState::Down);
            pair.model.set_link(3, LinkState::NoCarrier);
            pair.say([ranked(PREFIX, ranks), Command::Complete]);
            let report = pair.work();
            assert_eq!(report.why(net(PREFIX)), wanted.err(), "{form:?} {ranks:?}");
            assert_eq!(
                pair.gateways(PREFIX),
                wanted.unwrap_or_default(),
                "{form:?} {ranks:?}"
            );
        }
    }
}

#[test]
fn a_route_goes_back_to_the_first_rank_when_it_can_be_used_again() {
    for form in FORMS {
        let mut pair = Pair::new(form);
        let ranks: [&[&str]; 2] = [&["10.0.1.1", "10.0.2.1"], &["10.0.3.1"]];
        pair.say([ranked(PREFIX, &ranks), Command::Complete]);
        pair.work();
        for (link, state, wanted) in [
            (1, LinkState::Down, &["10.0.2.1"][..]),
            (2, LinkState::NoCarrier, &["10.0.3.1"]),
            (3, LinkState::Down, &[]),
            (3, LinkState::Usable, &["10.0.3.1"]),
            (2, LinkState::Usable, &["10.0.2.1"]),
            (1, LinkState::Usable, &["10.0.1.1", "10.0.2.1"]),
        ] {
            pair.model.set_link(link, state);
            let report = pair.pass(Duration::from_millis(500));
            assert_eq!(pair.gateways(PREFIX), wanted, "{form:?} {link} {state:?}");
            assert_eq!(report.installed, usize::from(!wanted.is_empty()));
        }
    }
}

#[test]
fn where_the_kernel_keeps_its_objects_a_change_of_rank_writes_no_route() {
    let mut pair = Pair::new(Form::Objects);
    let routes = (0..100).map(|number| format!("10.{number}.0.0/16"));
    pair.say(routes.map(|prefix| ranked(&prefix, &[&["10.0.1.1"], &["10.0.2.1"]])));
    pair.say([Command::Complete]);
    let before = pair.work().counters;
    for (there, gateway) in [(false, "10.0.2.1"), (true, "10.0.1.1")] {
        pair.model.set_address(net("10.0.1.0/24"), 1, there);
        let report = pair.work();
        assert_eq!(pair.gateways("10.7.0.0/16"), [gateway]);
        assert_eq!(report.installed, 100);
        let written =
            |counters: crate::Counters| counters.created + counters.replaced + counters.deleted;
        assert_eq!(written(report.counters), written(before), "{there}");
    }
}

#[test]
fn what_the_kernel_refuses_gives_way_to_the_next_rank() {
    let mut pair = Pair::new(Form::Objects);
    // Named, and not on that link.
    let first = NextHop {
        gateway: "10.0.9.1".parse().expect("an address"),
        interface: Some(1),
    };
    let second = NextHop::from("10.0.2.1".parse::<IpAddr>().expect("an address"));
    pair.say([Command::Set {
        prefix: net(PREFIX),
        next_hops: NextHopSet::ranked([[first], [second]]).expect("some"),
    }]);
    assert_eq!(pair.work().installed, 1);
    assert_eq!(pair.gateways(PREFIX), ["10.0.2.1"]);
    pair.model.set_address(net("10.0.9.0/24"), 1, true);
    assert_eq!(pair.pass(Duration::from_secs(1)).installed, 1);
    assert_eq!(pair.gateways(PREFIX), ["10.0.9.1"]);
}

#[test]
fn an_ipv6_prefix_never_gets_an_ipv4_gateway_of_any_rank() {
    for form in FORMS {
        let mut pair = Pair::new(form);
        let ranks: [&[&str]; 2] = [&["2001:db8:1::1"], &["10.0.2.1"]];
        let six = "2001:db8:ffff::/48";
        pair.say([
            ranked(six, &ranks),
            ranked(PREFIX, &ranks),
            Command::Complete,
        ]);
        for state in [LinkState::Usable, LinkState::Down] {
            pair.model.set_link(1, state);
            let report = pair.work();
            assert_eq!(report.why(net(six)), Some(Withheld::GatewayFamily));
            assert_eq!(report.installed, 1, "{form:?}");
        }
        assert_eq!(pair.gateways(PREFIX), ["10.0.2.1"]);
    }
}
