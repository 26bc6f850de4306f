//! The kernel read as a whole, and readings that come to nothing.

use super::*;

#[test]
fn a_reading_that_is_interrupted_changes_nothing() {
    for form in FORMS {
        // Nothing heard; links only; links, objects and some routes.
        for heard in [0, 4, 10] {
            let mut pair = Pair::new(form);
            pair.model
                .write_foreign(net("203.0.113.0/24"), STATIC, false);
            pair.say([
                set("192.0.2.0/24", &["10.0.1.1"]),
                set("198.51.100.0/24", &["10.0.1.1", "10.0.4.1"]),
                set("203.0.113.0/24", &["10.0.1.1"]),
                set("2001:db8:ffff::/48", &["2001:db8:1::1"]),
                Command::Complete,
            ]);
            let before = pair.pass(Duration::from_secs(1));
            assert_eq!((before.installed, before.withheld_routes()), (3, 1));
            let (routes, writes) = (pair.model.routes.clone(), pair.model.writes);
            pair.interrupt_after = Some(heard);
            pair.machine.overrun(pair.now);
            pair.work();
            // Whatever is said has all next hops looked at again.
            pair.model.set_link(3, LinkState::NoCarrier);
            let report = pair.pass(Duration::from_secs(1));
            assert_eq!(report.withheld, before.withheld, "{form:?} {heard}");
            assert_eq!(pair.model.routes, routes, "{form:?} {heard}");
            pair.model.set_link(4, LinkState::Down);
            pair.pass(Duration::from_secs(1));
            assert_eq!(pair.model.writes, writes, "{form:?} {heard}");
            pair.interrupt_after = None;
            let report = pair.pass(Duration::from_secs(1));
            assert_eq!(report.installed, 3, "{form:?} {heard}: {report:?}");
            assert_eq!(pair.gateways("198.51.100.0/24"), ["10.0.1.1"]);
        }
    }
}

#[test]
fn what_is_said_between_two_readings_of_which_the_first_fails_is_known() {
    for form in FORMS {
        let mut pair = Pair::new(form);
        pair.say([set("192.0.2.0/24", &["10.0.1.1"]), Command::Complete]);
        pair.pass(Duration::from_secs(1));
        pair.model.set_address(net("10.0.1.0/24"), 1, false);
        pair.interrupt_after = Some(7);
        pair.machine.overrun(pair.now);
        pair.work();
        pair.model.set_address(net("10.0.1.0/24"), 2, true);
        pair.work();
        pair.interrupt_after = None;
        assert_eq!(pair.pass(Duration::from_secs(1)).installed, 1, "{form:?}");
    }
}

#[test]
fn a_link_is_said_to_be_down_as_long_as_it_is() {
    for form in FORMS {
        let mut pair = Pair::new(form);
        let prefix = net("192.0.2.0/24");
        pair.say([set("192.0.2.0/24", &["10.0.1.1"]), Command::Complete]);
        pair.work();
        pair.model.set_link(1, LinkState::Down);
        assert_eq!(pair.work().why(prefix), Some(Withheld::LinkDown));
        pair.machine.overrun(pair.now);
        let report = pair.pass(Duration::from_secs(1));
        assert_eq!(report.why(prefix), Some(Withheld::LinkDown), "{form:?}");
        pair.model.set_address(net("10.0.1.0/24"), 1, false);
        pair.model.set_link(1, LinkState::Usable);
        let reason = Some(Withheld::GatewayUnreachable);
        assert_eq!(pair.work().why(prefix), reason, "{form:?}");
    }
}
