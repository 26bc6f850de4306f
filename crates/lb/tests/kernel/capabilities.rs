//! What a start without a capability says, and what goes on all the same.

use std::process::Command;

use crate::Claim;
use crate::place::{Place, VIP, VIP6, at_a_node};
use crate::sockets::{child, this_program};

pub(crate) fn claims() -> Vec<Claim> {
    vec![
        ("without_cap_bpf", without_cap_bpf),
        ("without_cap_net_admin", without_cap_net_admin),
        ("without_cap_perfmon", without_cap_perfmon),
        ("all_that_is_missing_is_named", all_that_is_missing_is_named),
        (
            "three_capabilities_are_enough",
            three_capabilities_are_enough,
        ),
    ]
}

/// What a start says with these capabilities, as `setpriv` writes them.
fn start_with(place: &Place, capabilities: &str) -> String {
    let mut command = Command::new("setpriv");
    command
        .args(["--bounding-set", capabilities])
        .arg(this_program());
    let root = place.pin_root();
    child(&mut command, "start", &[root.to_str().unwrap()]).join("\n")
}

/// The capability is named with what it is for; nothing is begun; and what an earlier run left goes on balancing.
fn refused(name: &str, capabilities: &str, text: &str) {
    at_a_node(name, |place| {
        let _echo = place.serve();
        assert_eq!(start_with(place, capabilities), text);
        assert!(!place.pin_root().exists(), "nothing was begun");
        let mut ours = place.start(place.options());
        ours.ready();
        ours.stop();
        let pins = |place: &Place| [place.pinned("links"), place.pinned("maps")];
        let before = pins(place);
        assert_eq!(start_with(place, capabilities), text);
        assert_eq!(pins(place), before);
        assert!(place.is_answered(VIP) && place.is_answered(VIP6));
    });
}

fn without_cap_bpf() {
    refused(
        "no-bpf",
        "-bpf,-sys_admin",
        "not permitted: CAP_BPF is missing, to make maps and load programs",
    );
}

fn without_cap_net_admin() {
    refused(
        "no-admin",
        "-net_admin",
        "not permitted: CAP_NET_ADMIN is missing, to attach programs to interfaces and sockets",
    );
}

fn without_cap_perfmon() {
    refused(
        "no-perfmon",
        "-perfmon,-sys_admin",
        "not permitted: CAP_PERFMON is missing, to have the kernel accept programs that compute with packet addresses",
    );
}

fn all_that_is_missing_is_named() {
    at_a_node("none-at-all", |place| {
        let text = start_with(place, "-all");
        for capability in ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"] {
            assert!(text.contains(&format!("{capability} is missing")), "{text}");
        }
        assert!(!place.pin_root().exists(), "nothing was begun");
    });
}

fn three_capabilities_are_enough() {
    at_a_node("enough", |place| {
        let text = start_with(place, "-all,+bpf,+net_admin,+perfmon");
        assert_eq!(text, "started");
    });
}
