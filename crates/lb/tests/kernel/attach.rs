//! Programs come and go with interfaces.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aya::programs::{SchedClassifier, TcAttachType};
use lb::{Attachment, Options, Uplinks};

use crate::Claim;
use crate::foreign::{Foreign, epoch as epoch_of};
use crate::place::{LONG, VIP, VIP6, at_a_node, until, wish};

pub(crate) fn claims() -> Vec<Claim> {
    vec![
        (
            "a_frontend_answers_once_it_is_reported",
            a_frontend_answers_once_it_is_reported,
        ),
        (
            "interfaces_may_appear_rename_and_vanish",
            interfaces_may_appear_rename_and_vanish,
        ),
        (
            "interfaces_may_exchange_their_names",
            interfaces_may_exchange_their_names,
        ),
        (
            "an_address_of_the_node_makes_an_uplink",
            an_address_of_the_node_makes_an_uplink,
        ),
        (
            "named_uplinks_are_taken_by_pattern",
            named_uplinks_are_taken_by_pattern,
        ),
        (
            "a_start_outlives_addresses_that_come_and_go",
            a_start_outlives_addresses_that_come_and_go,
        ),
        (
            "nothing_is_attached_before_the_first_wish",
            nothing_is_attached_before_the_first_wish,
        ),
        (
            "a_foreign_program_keeps_running",
            a_foreign_program_keeps_running,
        ),
        (
            "ours_come_first_on_ingress_and_last_on_egress",
            ours_come_first_on_ingress_and_last_on_egress,
        ),
        (
            "a_refusal_is_reported_and_tried_again",
            a_refusal_is_reported_and_tried_again,
        ),
        (
            "route_changes_raise_the_epoch",
            route_changes_raise_the_epoch,
        ),
    ]
}

fn a_frontend_answers_once_it_is_reported() {
    at_a_node("answers", |place| {
        let _echo = place.serve();
        assert!(!place.is_answered(VIP));
        let mut ours = place.start(place.options());
        let report = ours.ready();
        let interfaces: Vec<_> = report.interfaces.into_iter().collect();
        let both = [
            ("eth0".to_owned(), Attachment::Uplink),
            ("lxc0".to_owned(), Attachment::Pod),
        ];
        assert_eq!(interfaces, both);
        assert_eq!((report.frontends, report.backends), (4, 4));
        assert!(report.memory > 1 << 20, "{} bytes", report.memory);
        assert!(place.is_answered(VIP));
        assert!(place.is_answered(VIP6));
        ours.stop();
        assert!(place.is_answered(VIP), "nobody but the kernel is needed");
    });
}

fn interfaces_may_appear_rename_and_vanish() {
    at_a_node("names", |place| {
        let mut ours = place.start(place.options());
        ours.ready();
        let pod = place.pod.name().to_owned();
        place.ip(&format!("link add lxc1.7 type veth peer e1 netns {pod}"));
        let begin = Instant::now();
        ours.until("the new one has programs", |report| {
            report.interfaces.get("lxc1.7") == Some(&Attachment::Pod)
        });
        let took = begin.elapsed();
        assert!(took < Duration::from_millis(300), "{took:?}");
        println!("attached {took:?} after it appeared");
        let ours_now = [
            "pod_in-lxc0",
            "pod_in-lxc1%2e7",
            "pod_out-lxc0",
            "pod_out-lxc1%2e7",
        ];
        let pods = || {
            let mut names = place.pinned("links");
            names.retain(|name| name.starts_with("pod"));
            names
        };
        assert_eq!(pods(), ours_now);

        place.ip("link set lxc1.7 name lxc9");
        ours.until("the new name is known", |report| {
            report.interfaces.contains_key("lxc9") && !report.interfaces.contains_key("lxc1.7")
        });
        let renamed = ["pod_in-lxc0", "pod_in-lxc9", "pod_out-lxc0", "pod_out-lxc9"];
        assert_eq!(pods(), renamed);

        place.ip("link set lxc9 name other9");
        ours.until("it is nobody's", |report| report.interfaces.len() == 2);
        assert_eq!(pods(), ["pod_in-lxc0", "pod_out-lxc0"]);

        place.ip("link set other9 name lxc9");
        ours.until("it is a pod's again", |report| report.interfaces.len() == 3);
        place.ip("link delete lxc9");
        ours.until("it is gone", |report| report.interfaces.len() == 2);
        assert_eq!(pods(), ["pod_in-lxc0", "pod_out-lxc0"]);
        ours.stop();
    });
}

fn interfaces_may_exchange_their_names() {
    at_a_node("exchange", |place| {
        let _echo = place.serve();
        let pod = place.pod.name().to_owned();
        place.ip(&format!("link add lxc1 type veth peer e1 netns {pod}"));
        let mut ours = place.start(place.options());
        ours.ready();
        let before = place.pinned("links");
        place
            .node
            .ip("link set lxc0 name between\nlink set lxc1 name lxc0\nlink set between name lxc1")
            .unwrap();
        place.ip(&format!("link add lxc2 type veth peer e2 netns {pod}"));
        let report = ours.until("what came after is there", |report| {
            report.interfaces.contains_key("lxc2")
        });
        let mut after = place.pinned("links");
        after.retain(|name| !name.ends_with("lxc2"));
        assert_eq!(after, before);
        assert!(place.is_answered(VIP));
        ours.stop();
        let mut again = place.start(place.options());
        assert_eq!(again.ready().interfaces, report.interfaces);
        assert!(place.is_answered(VIP));
        again.stop();
    });
}

fn an_address_of_the_node_makes_an_uplink() {
    at_a_node("address", |place| {
        let client = place.client.name().to_owned();
        let mut ours = place.start(place.options());
        ours.ready();
        place.ip(&format!("link add wire0 type veth peer up1 netns {client}"));
        place.ip("address add 192.0.2.1/24 dev wire0");
        let mut wish = wish();
        wish.node_addresses.insert("192.0.2.1".parse().unwrap());
        ours.balancer.wish(wish.clone());
        ours.until("it is an uplink", |report| {
            report.interfaces.get("wire0") == Some(&Attachment::Uplink)
        });
        place.ip("address delete 192.0.2.1/24 dev wire0");
        ours.until("it is none any more", |report| {
            !report.interfaces.contains_key("wire0")
        });
        place.ip("address add 192.0.2.1/24 dev wire0");
        ours.until("it is one again", |report| {
            report.interfaces.contains_key("wire0")
        });
        ours.stop();
    });
}

fn named_uplinks_are_taken_by_pattern() {
    at_a_node("named", |place| {
        let client = place.client.name().to_owned();
        place.ip(&format!("link add wan7 type veth peer up7 netns {client}"));
        let options = Options {
            uplinks: Uplinks::Named(vec!["wan+".to_owned()]),
            pod_interfaces: Vec::new(),
            ..place.options()
        };
        let mut ours = place.start(options);
        let report = ours.ready();
        let interfaces: Vec<_> = report.interfaces.into_iter().collect();
        assert_eq!(interfaces, [("wan7".to_owned(), Attachment::Uplink)]);
        assert_eq!(place.pinned("links"), ["uplink_in-wan7", "uplink_out-wan7"]);
        ours.stop();
    });
}

/// Addresses besides the usual ones, so that the kernel tells of all in several messages.
const MANY: usize = 2000;

fn a_start_outlives_addresses_that_come_and_go() {
    at_a_node("restless", |place| {
        let many = (0..MANY).map(|number| {
            let (high, low) = (number / 250, number % 250);
            format!("address add 10.77.{high}.{low}/32 dev d0\n")
        });
        let many = many.collect::<String>();
        let link = "link add d0 type bridge\n";
        place.node.ip(&format!("{link}{many}")).unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let address = "10.78.0.1/32 dev d0\n";
                let restless = format!("address add {address}address del {address}").repeat(500);
                let end = Instant::now() + 3 * LONG;
                while !is_over.load(Ordering::Relaxed) && Instant::now() < end {
                    place.node.ip(&restless).unwrap();
                }
            });
            for _ in 0..5 {
                let mut ours = place.start(place.options());
                ours.ready();
                ours.stop();
            }
            is_over.store(true, Ordering::Relaxed);
        });
    });
}

fn nothing_is_attached_before_the_first_wish() {
    at_a_node("patience", |place| {
        let mut ours = place.start(place.options());
        let first = ours.until("there is a first report", |report| report.memory > 0);
        assert!(!first.ready);
        assert_eq!(first.interfaces.len(), 0);
        assert_eq!(place.pinned("links"), [""; 0]);
        let report = ours.ready();
        assert_eq!(report.interfaces.len(), 2);
        ours.stop();
    });
}

/// The other's program is last to be attached: without an order of our own it would come last on ingress and see nothing of ours.
fn a_foreign_program_keeps_running() {
    at_a_node("foreign", |place| {
        let _echo = place.serve();
        let foreign = Foreign::attach("eth0", TcAttachType::Ingress);
        let mut ours = place.start(place.options());
        ours.ready();
        let before = foreign.packets();
        for _ in 0..10 {
            assert!(place.is_answered(VIP));
        }
        assert!(foreign.packets() >= before + 10, "it sees what comes in");
        ours.stop();
        let before = foreign.packets();
        lb::cleanup(&place.pin_root()).unwrap();
        assert!(!place.is_answered(VIP));
        assert!(foreign.packets() > before, "it sees what nobody answers");
    });
}

fn ours_come_first_on_ingress_and_last_on_egress() {
    at_a_node("order", |place| {
        let interfaces = ["eth0", "lxc0"];
        let directions = [TcAttachType::Ingress, TcAttachType::Egress];
        let places = interfaces.map(|interface| directions.map(|direction| (interface, direction)));
        let foreign = places.as_flattened().iter().flat_map(|place| [place; 2]);
        let foreign = foreign.map(|(interface, direction)| Foreign::attach(interface, *direction));
        let _foreign: Vec<_> = foreign.collect();
        let mut ours = place.start(place.options());
        ours.ready();
        let rows = [
            (places[0][0], ["lb_uplink_in", "", ""]),
            (places[0][1], ["", "", "lb_uplink_out"]),
            (places[1][0], ["lb_pod_in", "", ""]),
            (places[1][1], ["", "", "lb_pod_out"]),
        ];
        for ((interface, direction), expected) in rows {
            let (_, programs) = SchedClassifier::query_tcx(interface, direction).unwrap();
            let names = programs.iter().map(|it| it.name_as_str().unwrap());
            let names: Vec<_> = names.collect();
            assert_eq!(names, expected, "{interface} {direction:?}");
        }
        ours.stop();
    });
}

fn a_refusal_is_reported_and_tried_again() {
    at_a_node("refused", |place| {
        let foreign = Foreign::crowd("eth0");
        assert!(foreign.len() > 1);
        let mut ours = place.start(place.options());
        ours.balancer.wish(wish());
        let refused = Attachment::Refused("ERANGE".to_owned());
        let report = ours.until("it is refused", |report| {
            report.interfaces.get("eth0") == Some(&refused)
        });
        assert!(!report.ready);
        assert_eq!(report.interfaces.get("lxc0"), Some(&Attachment::Pod));
        drop(foreign);
        let report = ours.ready();
        assert_eq!(report.interfaces.get("eth0"), Some(&Attachment::Uplink));
        ours.stop();
    });
}

fn route_changes_raise_the_epoch() {
    at_a_node("epoch", |place| {
        let mut ours = place.start(place.options());
        ours.ready();
        let epoch = || epoch_of(&place.pin_root());
        place.ip("neighbour add 10.0.1.77 lladdr 02:00:00:00:00:01 dev eth0");
        for change in [
            "route add 198.51.100.0/24 via 10.0.1.2",
            "route delete 198.51.100.0/24",
            "-6 route add 2001:db8:99::/64 via 2001:db8:1::2",
            "neighbour delete 10.0.1.77 dev eth0",
            "address add 10.0.1.99/24 dev eth0",
            "link set lxc0 down",
            "rule add from 10.9.9.9 lookup main",
        ] {
            let before = epoch();
            let begin = Instant::now();
            place.ip(change);
            until(LONG, change, || epoch() != before);
            println!("{change}: {:?}", begin.elapsed());
        }
        let before = epoch();
        place.ip("neighbour add 10.0.1.78 lladdr 02:00:00:00:00:02 dev eth0");
        place.ip("route add 198.51.101.0/24 via 10.0.1.2");
        until(LONG, "the route counts", || epoch() != before);
        assert_eq!(epoch(), before + 1, "a neighbour that is well does not");
        ours.stop();
    });
}
