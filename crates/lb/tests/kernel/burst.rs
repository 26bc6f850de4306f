//! Many pods at once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lb::{Attachment, cleanup};

use crate::Claim;
use crate::foreign::Foreign;
use crate::place::{FRONTEND_PORT, LONG, Ours, Place, VIP, at_a_node, until, wish};

/// Pods besides the one that every place has.
const PODS: usize = 30;
/// How soon a pod that appears must have its programs. One link after the other takes more than a second for all.
const SOON: Duration = Duration::from_millis(300);

pub(crate) fn claims() -> Vec<Claim> {
    vec![
        (
            "a_pod_among_thirty_has_its_programs_at_once",
            a_pod_among_thirty_has_its_programs_at_once,
        ),
        (
            "filters_translate_until_links_do",
            filters_translate_until_links_do,
        ),
        (
            "filters_stay_where_links_are_refused",
            filters_stay_where_links_are_refused,
        ),
        (
            "a_wish_does_not_wait_for_thirty_pods",
            a_wish_does_not_wait_for_thirty_pods,
        ),
        (
            "thirty_pods_are_adopted_and_left_quickly",
            thirty_pods_are_adopted_and_left_quickly,
        ),
        (
            "filters_of_a_run_that_ended_early_go",
            filters_of_a_run_that_ended_early_go,
        ),
        (
            "a_discipline_of_somebody_else_is_left_alone",
            a_discipline_of_somebody_else_is_left_alone,
        ),
    ]
}

fn pods_appear(place: &Place) {
    let pod = place.pod.name();
    let lines = (1..=PODS).map(|number| {
        format!(
            "link add lxc{number} type veth peer e{number} netns {pod}\nlink set lxc{number} up\n"
        )
    });
    place.node.ip(&lines.collect::<String>()).unwrap();
}

fn pods_go(place: &Place) {
    for number in 1..=PODS {
        place.ip(&format!("link delete lxc{number}"));
    }
}

fn pods(interfaces: &BTreeMap<String, Attachment>) -> usize {
    let attached = interfaces.values().filter(|it| **it == Attachment::Pod);
    attached.count()
}

fn all_attached(ours: &mut Ours) {
    ours.until("all pods have programs", |report| {
        pods(&report.interfaces) == PODS + 1
    });
}

/// What traffic control has at interfaces, besides what each has by itself.
fn disciplines() -> usize {
    tc(&["qdisc", "show"]).matches("clsact").count()
}

fn tc(words: &[&str]) -> String {
    let output = std::process::Command::new("tc")
        .args(words)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tc {words:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn pinned_pods(place: &Place) -> usize {
    let links = place.pinned("links");
    links.iter().filter(|name| name.starts_with("pod_")).count()
}

/// When links are there, and nothing that stood in for them is.
fn await_links(place: &Place) -> Duration {
    let begin = Instant::now();
    until(LONG, "links have taken the place of filters", || {
        pinned_pods(place) == 2 * (PODS + 1) && disciplines() == 0
    });
    begin.elapsed()
}

fn a_pod_among_thirty_has_its_programs_at_once() {
    at_a_node("burst", |place| {
        let mut ours = place.start(place.options());
        ours.ready();
        let begin = Instant::now();
        pods_appear(place);
        let appeared = begin.elapsed();
        all_attached(&mut ours);
        let attached = begin.elapsed();
        let linked = await_links(place);
        println!(
            "{PODS} pods appeared in {appeared:?}, had programs after {attached:?}, links {linked:?} later"
        );
        let last = attached.saturating_sub(appeared);
        assert!(last < SOON, "the last one waited {last:?}");
        ours.stop();
    });
}

/// A pod asks its own Service by way of the interface whose links are made last, where only programs can answer. The kernel stops the interface for a moment when the
/// discipline of a filter goes (`qdisc_graft`), which may cost a packet that is just under way.
fn filters_translate_until_links_do() {
    at_a_node("filters", |place| {
        let _echo = place.serve();
        pods_appear(place);
        ask_by_way_of_the_last(place);
        let last = format!("pod_in-lxc{PODS}");
        let mut ours = place.start(place.options());
        ours.ready();
        let is_answered = asking(place);
        let (mut answered, mut lost) = (0, 0);
        while !place.pinned("links").contains(&last) {
            *(if is_answered() {
                &mut answered
            } else {
                &mut lost
            }) += 1;
        }
        println!("{answered} answered by way of a filter, {lost} lost");
        assert!(100 * lost < answered, "{lost} lost, {answered} answered");
        await_links(place);
        assert!(is_answered(), "by way of the link");
        ours.stop();
    });
}

/// The pod's requests to its own Service take the interface whose links are made last.
fn ask_by_way_of_the_last(place: &Place) {
    let way = format!("link set e{PODS} up\nroute add {VIP} via 10.244.0.1 dev e{PODS} onlink");
    place.pod.ip(&way).unwrap();
}

/// Whether the next request of the pod is answered.
fn asking(place: &Place) -> impl Fn() -> bool {
    let socket = place.pod_socket(format!("{VIP}:{FRONTEND_PORT}").parse().unwrap());
    move || {
        socket.send(b"ping").unwrap();
        socket.recv(&mut [0; 16]).is_ok()
    }
}

fn filters_stay_where_links_are_refused() {
    at_a_node("crowded", |place| {
        let _echo = place.serve();
        pods_appear(place);
        ask_by_way_of_the_last(place);
        let last = format!("lxc{PODS}");
        let crowd = Foreign::crowd(&last);
        let mut ours = place.start(place.options());
        ours.ready();
        let refused = Attachment::Refused("ERANGE".to_owned());
        ours.until("one is refused", |report| {
            pods(&report.interfaces) == PODS && report.interfaces.get(&last) == Some(&refused)
        });
        assert_eq!(disciplines(), 1, "its filters are left");
        let is_answered = asking(place);
        assert!(is_answered(), "by way of a filter");
        drop(crowd);
        await_links(place);
        assert!(is_answered(), "by way of the link");
        ours.stop();
    });
}

fn a_wish_does_not_wait_for_thirty_pods() {
    at_a_node("wishes", |place| {
        let mut ours = place.start(place.options());
        ours.ready();
        pods_appear(place);
        all_attached(&mut ours);
        let mut times = Vec::new();
        while pinned_pods(place) < 2 * (PODS + 1) {
            let mut next = wish();
            let number = if times.len().is_multiple_of(2) { 0 } else { 4 };
            if number == 0 {
                next.services.clear();
            }
            let begin = Instant::now();
            ours.balancer.wish(next);
            ours.until("the wish is there", |report| report.frontends == number);
            times.push(begin.elapsed());
        }
        times.sort();
        let median = times.get(times.len() / 2).copied();
        println!("wishes while links were made: {times:?}");
        assert!(median.is_some_and(|median| median < SOON), "{median:?}");
        ours.stop();
    });
}

fn thirty_pods_are_adopted_and_left_quickly() {
    at_a_node("adopt", |place| {
        let _echo = place.serve();
        pods_appear(place);
        let mut ours = place.start(place.options());
        ours.ready();
        await_links(place);
        ours.stop();
        let begin = Instant::now();
        let mut again = place.start(place.options());
        let loaded = begin.elapsed();
        again.until("all are adopted", |report| report.interfaces.len() > PODS);
        let adopted = begin.elapsed() - loaded;
        println!("loaded in {loaded:?}, {PODS} pods adopted in {adopted:?}");
        assert!(adopted < SOON, "{adopted:?}");
        assert_eq!(disciplines(), 0, "no filter is needed");
        again.ready();
        again.stop();
        assert!(place.is_answered(VIP));
        let begin = Instant::now();
        let cleaned = cleanup(&place.pin_root()).unwrap();
        let left = begin.elapsed();
        assert!(!place.is_answered(VIP), "nothing is balanced any more");
        assert_eq!(cleaned.links, 2 * (PODS + 2));
        let begin = Instant::now();
        until(LONG, "no program is attached", || {
            (1..=PODS).all(|number| !place.has_programs(&format!("lxc{number}")))
        });
        println!(
            "left {PODS} pods in {left:?}; the kernel was done {:?} later",
            begin.elapsed()
        );
        assert!(!place.has_programs("eth0"));
        assert!(left < 2 * SOON, "{left:?}");
    });
}

/// A run that ends before links have taken the place of all filters. On a busy machine they may: then there is another run.
fn end_early(place: &Place) {
    for _ in 0..10 {
        let mut ours = place.start(place.options());
        ours.ready();
        pods_appear(place);
        all_attached(&mut ours);
        ours.stop();
        if disciplines() > 0 {
            return;
        }
        cleanup(&place.pin_root()).unwrap();
        pods_go(place);
    }
    panic!("links take longer");
}

fn filters_of_a_run_that_ended_early_go() {
    at_a_node("early", |place| {
        end_early(place);
        cleanup(&place.pin_root()).unwrap();
        assert_eq!(disciplines(), 0);
        pods_go(place);
        end_early(place);
        let mut again = place.start(place.options());
        again.ready();
        await_links(place);
        again.stop();
    });
}

fn a_discipline_of_somebody_else_is_left_alone() {
    at_a_node("disciplines", |place| {
        let mut ours = place.start(place.options());
        ours.ready();
        ours.stop();
        pods_appear(place);
        tc(&["qdisc", "add", "dev", "lxc1", "clsact"]);
        // Classic BPF: one instruction, which passes all.
        tc(&[
            "filter",
            "add",
            "dev",
            "lxc1",
            "ingress",
            "prio",
            "7",
            "bpf",
            "bytecode",
            "1,6 0 0 4294967295",
        ]);
        let mut again = place.start(place.options());
        all_attached(&mut again);
        until(LONG, "links are there", || {
            pinned_pods(place) == 2 * (PODS + 1) && disciplines() == 1
        });
        again.stop();
        cleanup(&place.pin_root()).unwrap();
        let left = tc(&["filter", "show", "dev", "lxc1", "ingress"]);
        assert!(left.contains("pref 7 bpf"), "{left}");
    });
}
