//! Sockets of processes in a control group, and what a process may not do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use lab::state::Record;
use lb::{FrontendAddress, Options, Sockets, Wish};

use crate::Claim;
use crate::place::{Place, at_a_node, wish};

const CLUSTER_IP: &str = "10.96.0.10";
const CLUSTER_IP6: &str = "fd00:96::a";

pub(crate) fn claims() -> Vec<Claim> {
    vec![
        (
            "a_process_reaches_a_frontend_and_is_told_so",
            a_process_reaches_a_frontend,
        ),
        (
            "programs_of_sockets_are_replaced_in_place",
            programs_are_replaced_in_place,
        ),
        (
            "another_control_group_gets_the_programs",
            another_control_group,
        ),
        (
            "without_a_control_group_the_rest_works",
            without_a_control_group,
        ),
        ("sockets_can_be_switched_off", sockets_can_be_switched_off),
    ]
}

/// A control group of the test's own.
fn cgroup(place: &Place, name: &str) -> PathBuf {
    let unified = Path::new("/sys/fs/cgroup/unified");
    let top = if unified.exists() {
        unified
    } else {
        Path::new("/sys/fs/cgroup")
    };
    let name = format!("lb-{}-{name}", place.state.name());
    place.state.record(&Record::Cgroup(name.clone())).unwrap();
    let path = top.join(name);
    fs::create_dir(&path).unwrap();
    path
}

fn options(place: &Place, cgroup: &Path) -> Options {
    Options {
        cgroup: Some(cgroup.to_owned()),
        sockets: true,
        ..place.options()
    }
}

/// The echo service behind ClusterIPs.
fn cluster_wish() -> Wish {
    let mut wish = wish();
    for service in wish.services.values_mut() {
        for frontend in &mut Arc::make_mut(service).frontends {
            frontend.address = match frontend.address {
                FrontendAddress::LoadBalancer(address) => FrontendAddress::ClusterIp(
                    if address.is_ipv4() {
                        CLUSTER_IP
                    } else {
                        CLUSTER_IP6
                    }
                    .parse()
                    .unwrap(),
                ),
                other => other,
            };
        }
    }
    wish
}

/// What a child of this program says, in a role.
pub(crate) fn child(command: &mut Command, role: &str, arguments: &[&str]) -> Vec<String> {
    let child = command.arg(format!("child:{role}")).args(arguments);
    let output = child.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

pub(crate) fn this_program() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// What a process in a control group finds out about a target.
fn connect(cgroup: &Path, target: &str) -> Vec<String> {
    let cgroup = cgroup.to_str().unwrap();
    child(
        &mut Command::new(this_program()),
        "connect",
        &[cgroup, target],
    )
}

fn told(target: &str) -> [String; 3] {
    ["tcp", "udp connected", "udp"].map(|what| format!("{what} {target}"))
}

fn a_process_reaches_a_frontend() {
    at_a_node("sockets", |place| {
        let _echo = place.serve();
        let cgroup = cgroup(place, "in");
        let mut ours = place.start(options(place, &cgroup));
        ours.balancer.wish(cluster_wish());
        let report = ours.until("it is ready", |report| report.ready);
        assert_eq!(report.sockets, Sockets::Translated);
        for target in [format!("{CLUSTER_IP}:80"), format!("[{CLUSTER_IP6}]:80")] {
            assert_eq!(connect(&cgroup, &target), told(&target));
        }
        let inner = cgroup.join("inner");
        fs::create_dir(&inner).unwrap();
        let target = format!("{CLUSTER_IP}:80");
        assert_eq!(connect(&inner, &target), told(&target), "below, too");
        ours.stop();
        assert_eq!(
            connect(&cgroup, &target),
            told(&target),
            "without the agent"
        );
        lb::cleanup(&place.pin_root()).unwrap();
        let lines = connect(&cgroup, &target);
        assert!(lines[0].contains("unreachable"), "{lines:?}");
        fs::remove_dir(inner).unwrap();
    });
}

/// Numbers of the links of sockets, by name.
fn links(place: &Place) -> Vec<(String, u32)> {
    let names = place.pinned("links").into_iter();
    let names = names.filter(|name| name.starts_with("sk_"));
    names
        .map(|name| {
            let path = place.version().join("links").join(&name);
            let link = aya::programs::links::PinnedLink::from_pin(path).unwrap();
            let link = aya::programs::links::FdLink::from(link);
            (name, link.info().unwrap().id())
        })
        .collect()
}

fn programs_are_replaced_in_place() {
    at_a_node("in-place", |place| {
        let cgroup = cgroup(place, "in");
        let mut ours = place.start(options(place, &cgroup));
        ours.ready();
        ours.stop();
        let before = links(place);
        assert_eq!(before.len(), 8);
        let mut again = place.start(options(place, &cgroup));
        again.ready();
        again.stop();
        assert_eq!(links(place), before, "the same links, with other programs");
        lb::cleanup(&place.pin_root()).unwrap();
    });
}

fn another_control_group() {
    at_a_node("another", |place| {
        let _echo = place.serve();
        let (first, second) = (cgroup(place, "first"), cgroup(place, "second"));
        let mut ours = place.start(options(place, &first));
        ours.ready();
        ours.stop();
        let before = links(place);
        let mut again = place.start(options(place, &second));
        again.balancer.wish(cluster_wish());
        again.until("it is ready", |report| {
            report.ready && report.programmed.len() == 2
        });
        let after = links(place);
        assert!(before.iter().all(|link| !after.contains(link)));
        let target = format!("{CLUSTER_IP}:80");
        assert_eq!(connect(&second, &target), told(&target));
        assert!(connect(&first, &target)[0].contains("unreachable"));
        again.stop();
        lb::cleanup(&place.pin_root()).unwrap();
    });
}

fn without_a_control_group() {
    at_a_node("none", |place| {
        let mut ours = place.start(options(place, Path::new("/nowhere")));
        ours.balancer.wish(wish());
        let report = ours.until("it is ready", |report| report.ready);
        assert_eq!((report.interfaces.len(), report.programmed.len()), (2, 2));
        let why = "cannot attach to sockets: /nowhere: ENOENT".to_owned();
        assert_eq!(report.sockets, Sockets::Refused(why));
        ours.stop();
    });
}

fn sockets_can_be_switched_off() {
    at_a_node("off", |place| {
        let cgroup = cgroup(place, "in");
        let mut ours = place.start(options(place, &cgroup));
        ours.ready();
        ours.stop();
        assert_eq!(links(place).len(), 8);
        let mut again = place.start(place.options());
        assert_eq!(again.ready().sockets, Sockets::Off);
        assert_eq!(links(place), []);
        again.stop();
    });
}
