//! The core against a model of the kernel.

mod model;
mod random;
mod ranks;
mod reading;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::{Machine, Step};
use crate::kernel::{LinkState, Via};
use crate::route::{Command, Errno, Form, Identity, NextHop, NextHopSet, Report, Withheld};
use model::Model;

const IDENTITY: Identity = Identity {
    table: 100,
    protocol: 186,
    metric: 20,
};
const STATIC: u8 = 4;

/// A core, its kernel and a clock.
struct Pair {
    machine: Machine,
    model: Model,
    now: Instant,
    /// Of so many steps one is refused.
    refuse_each: Option<usize>,
    /// Readings are interrupted after so many facts.
    interrupt_after: Option<usize>,
}

impl Pair {
    fn new(form: Form) -> Self {
        let now = Instant::now();
        Self {
            machine: Machine::new(IDENTITY, form, now),
            model: Model::new(IDENTITY),
            now,
            refuse_each: None,
            interrupt_after: None,
        }
    }

    /// The core is another process now. The kernel stays.
    fn restart(&mut self, form: Form) {
        self.machine = Machine::new(IDENTITY, form, self.now);
        self.model.said.clear();
    }

    /// What was said is heard, and one step is made. Gives the time to wait for if there is none.
    fn turn(&mut self) -> Option<Instant> {
        while let Some(fact) = self.model.said.pop_front() {
            self.machine.fact(fact, self.now);
        }
        match self.machine.poll(self.now) {
            Step::Wait(until) => return Some(until),
            Step::Read => {
                self.machine.begin_read();
                let facts = self.model.dump();
                let heard = self.interrupt_after.unwrap_or(facts.len());
                for fact in facts.into_iter().take(heard) {
                    self.machine.learn(fact);
                }
                match self.interrupt_after {
                    Some(_) => self.machine.read_failed(self.now),
                    None => self.machine.end_read(Duration::from_millis(1), self.now),
                }
            }
            Step::Write => {
                let mut failures = Vec::new();
                let ops = self.machine.ops().to_vec();
                for (index, op) in ops.iter().enumerate() {
                    let refused = self.refuse_each.is_some_and(|each| {
                        self.model.writes += 1;
                        self.model.writes.is_multiple_of(each)
                    });
                    let result = if refused {
                        Err(Errno(nix::libc::ENOMEM))
                    } else {
                        self.model.apply(op)
                    };
                    failures.extend(result.err().map(|errno| (index, errno)));
                }
                self.machine.written(&failures, self.now);
            }
        }
        None
    }

    /// Turns until nothing is left to do now.
    fn work(&mut self) -> Report {
        for _ in 0..10_000 {
            if self.turn().is_some() {
                return self.machine.survey();
            }
        }
        panic!("it never rests: {:?}", self.machine.ops());
    }

    /// Turns while so much time passes.
    fn pass(&mut self, time: Duration) -> Report {
        let end = self.now + time;
        for _ in 0..10_000 {
            match self.turn() {
                Some(until) if until > end => {
                    self.now = end;
                    return self.work();
                }
                Some(until) => self.now = until.max(self.now),
                None => {}
            }
        }
        panic!("it never rests: {:?}", self.machine.ops());
    }

    fn say(&mut self, commands: impl IntoIterator<Item = Command>) {
        self.machine.command(commands.into_iter().collect());
    }

    /// The gateways by which the kernel reaches a prefix by a route of ours.
    fn gateways(&self, prefix: &str) -> Vec<String> {
        let Some(route) = self.model.routes.get(&net(prefix)) else {
            return Vec::new();
        };
        if route.protocol != IDENTITY.protocol {
            return Vec::new();
        }
        let hops = self.model.hops_of(&route.via);
        hops.iter().map(|hop| hop.gateway.to_string()).collect()
    }
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

fn hops(gateways: &[&str]) -> NextHopSet {
    let hops = gateways
        .iter()
        .map(|text| NextHop::from(text.parse::<IpAddr>().expect("an address")));
    NextHopSet::new(hops).expect("some")
}

fn set(prefix: &str, gateways: &[&str]) -> Command {
    Command::Set {
        prefix: net(prefix),
        next_hops: hops(gateways),
    }
}

fn remove(prefix: &str) -> Command {
    Command::Remove {
        prefix: net(prefix),
    }
}

const FORMS: [Form; 2] = [Form::Objects, Form::Inline];

#[test]
fn routes_come_and_go_as_wished() {
    for form in FORMS {
        let mut pair = Pair::new(form);
        pair.say([
            set("192.0.2.0/24", &["10.0.1.1"]),
            set("198.51.100.0/24", &["10.0.1.1", "10.0.2.1"]),
            set("203.0.113.0/24", &["2001:db8:1::1"]),
            set("2001:db8:ffff::/48", &["2001:db8:1::1", "2001:db8:2::1"]),
            Command::Complete,
        ]);
        let report = pair.work();
        assert_eq!((report.wished, report.installed), (4, 4), "{form:?}");
        assert_eq!(pair.gateways("198.51.100.0/24"), ["10.0.1.1", "10.0.2.1"]);
        assert_eq!(pair.gateways("203.0.113.0/24"), ["2001:db8:1::1"]);
        pair.say([
            set("192.0.2.0/24", &["10.0.2.1"]),
            remove("198.51.100.0/24"),
            remove("203.0.113.0/24"),
            remove("2001:db8:ffff::/48"),
        ]);
        let report = pair.work();
        assert_eq!((report.wished, report.installed), (1, 1), "{form:?}");
        assert_eq!(pair.gateways("192.0.2.0/24"), ["10.0.2.1"]);
        assert_eq!(pair.model.routes.len(), 1);
        let wanted = usize::from(form == Form::Objects);
        assert_eq!(pair.model.objects.len(), wanted, "{form:?}");
    }
}

#[test]
fn routes_with_the_same_next_hops_share_their_objects() {
    let mut pair = Pair::new(Form::Objects);
    let prefixes = (0..100).map(|number| format!("10.{number}.0.0/16"));
    pair.say(prefixes.map(|prefix| set(&prefix, &["10.0.1.1", "10.0.2.1"])));
    assert_eq!(pair.work().installed, 100);
    assert_eq!(pair.model.objects.len(), 3);
}

#[test]
fn a_restart_writes_nothing_and_removes_nothing_before_it_is_complete() {
    for form in FORMS {
        let mut pair = Pair::new(form);
        let wish = [
            set("192.0.2.0/24", &["10.0.1.1"]),
            set("198.51.100.0/24", &["10.0.1.1", "10.0.2.1"]),
            set("2001:db8:ffff::/48", &["2001:db8:1::1", "2001:db8:2::1"]),
        ];
        pair.say(wish.clone());
        pair.say([set("203.0.113.0/24", &["10.0.3.1", "10.0.4.1"])]);
        pair.say([Command::Complete]);
        pair.work();
        let (before, objects) = (pair.model.routes.clone(), pair.model.objects.clone());
        let writes = pair.model.writes;
        pair.restart(form);
        assert_eq!(pair.work().leftovers, 4);
        pair.say(wish.clone());
        let report = pair.work();
        assert_eq!((report.installed, report.leftovers), (3, 1));
        assert_eq!(pair.model.writes, writes, "{form:?}");
        assert_eq!(pair.model.routes, before);
        assert_eq!(pair.model.objects, objects);
        pair.say([Command::Complete]);
        let report = pair.work();
        assert_eq!((report.installed, report.leftovers), (3, 0));
        assert_eq!(pair.model.routes.len(), 3);
        if form == Form::Objects {
            assert_eq!(
                pair.model.objects.len(),
                6,
                "group and hops of the leftover are gone"
            );
        }
    }
}

#[test]
fn what_was_asked_for_and_removed_since_a_restart_goes_before_it_is_complete() {
    for form in FORMS {
        for (asked_before_reading, refused) in [(true, false), (false, false), (false, true)] {
            let mut pair = Pair::new(form);
            let wish = [
                set("192.0.2.0/24", &["10.0.1.1"]),
                set("198.51.100.0/24", &["10.0.1.1"]),
            ];
            pair.say(wish.clone());
            pair.say([Command::Complete]);
            pair.work();
            pair.restart(form);
            if !asked_before_reading {
                assert_eq!(pair.work().leftovers, 2);
            }
            pair.say([wish[0].clone()]);
            if !asked_before_reading {
                pair.work();
            }
            pair.say([remove("192.0.2.0/24")]);
            pair.machine.overrun(pair.now);
            pair.refuse_each = refused.then_some(1);
            let report = pair.pass(Duration::from_millis(500));
            assert_eq!(report.leftovers, 1, "{form:?} {report:?}");
            pair.refuse_each = None;
            let report = pair.pass(Duration::from_secs(31));
            assert_eq!((report.removing, report.leftovers), (0, 1), "{form:?}");
            let left: Vec<String> = pair.model.routes.keys().map(IpNet::to_string).collect();
            assert_eq!(left, ["198.51.100.0/24"], "{form:?}");
        }
    }
}

#[test]
fn a_restart_in_another_form_rewrites_without_a_gap() {
    for (before, after) in [(Form::Objects, Form::Inline), (Form::Inline, Form::Objects)] {
        let mut pair = Pair::new(before);
        let wish = [
            set("198.51.100.0/24", &["10.0.1.1", "10.0.2.1"]),
            Command::Complete,
        ];
        pair.say(wish.clone());
        pair.work();
        pair.restart(after);
        pair.say(wish);
        let report = pair.work();
        assert_eq!(report.installed, 1);
        assert_eq!(
            (
                report.counters.created,
                report.counters.replaced,
                report.counters.deleted
            ),
            (0, 1, 0)
        );
        assert_eq!(pair.gateways("198.51.100.0/24"), ["10.0.1.1", "10.0.2.1"]);
    }
}

#[test]
fn a_foreign_route_is_left_alone_and_ours_comes_when_it_goes() {
    for form in FORMS {
        let mut pair = Pair::new(form);
        pair.model.write_foreign(net("192.0.2.0/24"), STATIC, false);
        pair.model.said.clear();
        pair.say([set("192.0.2.0/24", &["10.0.1.1"]), Command::Complete]);
        let reason = Withheld::ForeignRoute { protocol: STATIC };
        assert_eq!(pair.work().why(net("192.0.2.0/24")), Some(reason));
        // One of which nothing was heard.
        pair.model
            .write_foreign(net("198.51.100.0/24"), STATIC, false);
        pair.model.said.clear();
        pair.say([set("198.51.100.0/24", &["10.0.1.1"])]);
        let report = pair.pass(Duration::from_secs(1));
        assert_eq!(
            report.why(net("198.51.100.0/24")),
            Some(reason),
            "{report:?}"
        );
        assert!(
            pair.model
                .routes
                .values()
                .all(|route| route.protocol == STATIC)
        );
        pair.model.delete_route(net("192.0.2.0/24"));
        pair.model.delete_route(net("198.51.100.0/24"));
        assert_eq!(pair.work().installed, 2);
    }
}

#[test]
fn who_takes_our_place_keeps_it() {
    for form in FORMS {
        let mut pair = Pair::new(form);
        pair.say([set("192.0.2.0/24", &["10.0.1.1"]), Command::Complete]);
        pair.work();
        pair.model.write_foreign(net("192.0.2.0/24"), STATIC, true);
        let reason = Withheld::ForeignRoute { protocol: STATIC };
        assert_eq!(pair.work().why(net("192.0.2.0/24")), Some(reason));
        pair.pass(Duration::from_secs(100));
        assert_eq!(pair.model.routes[&net("192.0.2.0/24")].protocol, STATIC);
    }
}

#[test]
fn what_is_removed_is_put_back_at_once_and_then_less_and_less_often() {
    let mut pair = Pair::new(Form::Objects);
    pair.say([set("192.0.2.0/24", &["10.0.1.1"]), Command::Complete]);
    pair.work();
    pair.model.delete_route(net("192.0.2.0/24"));
    assert_eq!(pair.work().installed, 1);
    pair.model.delete_route(net("192.0.2.0/24"));
    assert_eq!(
        pair.work().why(net("192.0.2.0/24")),
        Some(Withheld::Contested)
    );
    assert_eq!(pair.pass(Duration::from_millis(100)).installed, 1);
    let mut restored = 0;
    for _ in 0..600 {
        restored += pair.pass(Duration::from_millis(100)).installed;
        pair.model.delete_route(net("192.0.2.0/24"));
    }
    assert!((5..=10).contains(&restored), "{restored} times in a minute");
    assert_eq!(pair.pass(Duration::from_secs(31)).installed, 1);
}

#[test]
fn an_object_that_is_removed_comes_back_with_its_routes() {
    for index in 0..3 {
        let mut pair = Pair::new(Form::Objects);
        pair.say([
            set("192.0.2.0/24", &["10.0.1.1"]),
            set("198.51.100.0/24", &["10.0.1.1", "10.0.2.1"]),
            set("2001:db8:ffff::/48", &["2001:db8:1::1"]),
            Command::Complete,
        ]);
        pair.work();
        pair.model.delete_object(index);
        let report = pair.pass(Duration::from_millis(500));
        assert_eq!(report.installed, 3, "{index}: {report:?}");
        assert_eq!(pair.gateways("192.0.2.0/24"), ["10.0.1.1"]);
        assert_eq!(pair.gateways("198.51.100.0/24"), ["10.0.1.1", "10.0.2.1"]);
    }
}

#[test]
fn a_link_takes_its_routes_with_it_and_brings_them_back() {
    for form in FORMS {
        for state in [LinkState::Down, LinkState::NoCarrier] {
            let mut pair = Pair::new(form);
            pair.say([
                set("192.0.2.0/24", &["10.0.1.1"]),
                set("198.51.100.0/24", &["10.0.1.1", "10.0.2.1"]),
                set("2001:db8:ffff::/48", &["2001:db8:1::1", "2001:db8:2::1"]),
                Command::Complete,
            ]);
            pair.work();
            pair.model.set_link(1, state);
            let report = pair.pass(Duration::from_millis(500));
            assert_eq!(
                report.why(net("192.0.2.0/24")),
                Some(Withheld::LinkDown),
                "{form:?} {state:?}"
            );
            assert_eq!(pair.gateways("192.0.2.0/24"), [""; 0]);
            assert_eq!(pair.gateways("198.51.100.0/24"), ["10.0.2.1"]);
            assert_eq!(pair.gateways("2001:db8:ffff::/48"), ["2001:db8:2::1"]);
            pair.model.set_link(1, LinkState::Usable);
            assert_eq!(
                pair.pass(Duration::from_millis(500)).installed,
                3,
                "{form:?} {state:?}"
            );
            assert_eq!(pair.gateways("198.51.100.0/24"), ["10.0.1.1", "10.0.2.1"]);
            // Down and up again before anybody looks.
            pair.model.set_link(1, state);
            pair.model.set_link(1, LinkState::Usable);
            assert_eq!(
                pair.pass(Duration::from_millis(500)).installed,
                3,
                "{form:?} {state:?}"
            );
            assert_eq!(pair.gateways("192.0.2.0/24"), ["10.0.1.1"]);
            assert_eq!(
                pair.gateways("2001:db8:ffff::/48"),
                ["2001:db8:1::1", "2001:db8:2::1"]
            );
        }
    }
}

#[test]
fn a_gateway_without_a_connected_route_is_waited_for() {
    for form in FORMS {
        let mut pair = Pair::new(form);
        let connected = net("10.0.1.0/24");
        pair.model.set_address(connected, 1, false);
        pair.say([set("192.0.2.0/24", &["10.0.1.1"]), Command::Complete]);
        assert_eq!(
            pair.work().why(net("192.0.2.0/24")),
            Some(Withheld::GatewayUnreachable)
        );
        pair.model.set_address(connected, 1, true);
        assert_eq!(pair.work().installed, 1);
        pair.model.set_address(connected, 1, false);
        assert_eq!(
            pair.work().why(net("192.0.2.0/24")),
            Some(Withheld::GatewayUnreachable)
        );
        pair.model.set_address(connected, 2, true);
        assert_eq!(pair.work().installed, 1, "it is on another link now");
    }
}

#[test]
fn an_ipv6_prefix_by_an_ipv4_gateway_is_withheld() {
    let mut pair = Pair::new(Form::Objects);
    pair.say([set("2001:db8:ffff::/48", &["10.0.1.1"]), Command::Complete]);
    let report = pair.work();
    assert_eq!(
        report.why(net("2001:db8:ffff::/48")),
        Some(Withheld::GatewayFamily)
    );
    assert_eq!(report.withheld_routes(), 1);
}

#[test]
fn what_was_missed_is_found_by_reading_again() {
    for form in FORMS {
        let mut pair = Pair::new(form);
        pair.say([
            set("192.0.2.0/24", &["10.0.1.1"]),
            set("198.51.100.0/24", &["10.0.1.1", "10.0.2.1"]),
            Command::Complete,
        ]);
        pair.pass(Duration::from_secs(1));
        pair.model.delete_route(net("192.0.2.0/24"));
        pair.model.set_link(2, LinkState::Down);
        pair.model.said.clear();
        pair.machine.overrun(pair.now);
        let report = pair.work();
        assert_eq!(report.installed, 2, "{report:?}");
        assert_eq!(pair.gateways("198.51.100.0/24"), ["10.0.1.1"]);
    }
}

#[test]
fn what_carries_our_mark_and_is_not_wished_goes_when_all_is_said() {
    let mut pair = Pair::new(Form::Objects);
    pair.work();
    pair.model.routes.insert(
        net("192.0.2.0/24"),
        model::Route {
            protocol: IDENTITY.protocol,
            via: Via::Other,
        },
    );
    pair.machine.overrun(pair.now);
    assert_eq!(pair.pass(Duration::from_secs(1)).leftovers, 1);
    pair.say([Command::Complete]);
    pair.work();
    assert!(pair.model.routes.is_empty());
}
