//! The process may come and go: what it left goes on, and is taken over.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aya::maps::{HashMap, MapData};
use lb::{Adoption, Options, Wish};

use crate::Claim;
use crate::place::{FRONTEND_PORT, LONG, Place, VIP, VIP6, at_a_node, until, version, wish};

pub(crate) fn claims() -> Vec<Claim> {
    vec![
        ("a_restart_loses_no_packet", a_restart_loses_no_packet),
        (
            "nothing_is_pruned_before_the_first_wish",
            nothing_is_pruned_before_the_first_wish,
        ),
        ("what_is_stale_is_unpinned", what_is_stale_is_unpinned),
        ("maps_keep_the_size_they_had", maps_keep_the_size_they_had),
        (
            "maps_of_another_layout_are_replaced",
            maps_of_another_layout_are_replaced,
        ),
        (
            "an_incomplete_set_of_maps_is_replaced",
            an_incomplete_set_of_maps_is_replaced,
        ),
        (
            "other_versions_are_removed_once_ours_is_attached",
            other_versions_are_removed,
        ),
        ("two_at_once_are_one_too_many", two_at_once_are_one_too_many),
        (
            "a_folder_that_is_no_bpf_file_system_is_refused",
            a_plain_folder_is_refused,
        ),
    ]
}

/// Asks and waits for the answer, over and over, while `meanwhile` runs. Gives answered and lost.
fn asked_over_and_over(place: &Place, address: &str, meanwhile: impl FnOnce()) -> (u64, u64) {
    let target = SocketAddr::new(address.parse().unwrap(), FRONTEND_PORT);
    let socket = place.client_socket(target);
    let (answered, lost) = (AtomicU64::new(0), AtomicU64::new(0));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; 16];
            let mut number = 0u64;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                // A refusal by a router shows as an error of the next call.
                let sent = socket.send(&number.to_ne_bytes()).is_ok();
                let is_echo =
                    sent && socket.recv(&mut buffer).is_ok() && buffer[..8] == number.to_ne_bytes();
                let count = if is_echo { &answered } else { &lost };
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        until(LONG, "the first answer", || {
            answered.load(Ordering::Relaxed) > 0
        });
        meanwhile();
        stop.store(true, Ordering::Relaxed);
    });
    (answered.into_inner(), lost.into_inner())
}

fn a_restart_loses_no_packet() {
    at_a_node("restart", |place| {
        let _echo = place.serve();
        let mut ours = place.start(place.options());
        assert_eq!(ours.balancer.adoption(), Adoption::New);
        ours.ready();
        ours.stop();
        for address in [VIP, VIP6] {
            let (answered, lost) = asked_over_and_over(place, address, || {
                for _ in 0..5 {
                    let mut again = place.start(place.options());
                    assert_eq!(again.balancer.adoption(), Adoption::Adopted);
                    let report = again.ready();
                    assert_eq!(report.frontends, 4);
                    again.stop();
                }
            });
            println!("{address}: {answered} answered, {lost} lost over 5 restarts");
            assert_eq!(lost, 0, "of {answered}");
            assert!(answered > 100, "{answered}");
        }
    });
}

fn nothing_is_pruned_before_the_first_wish() {
    at_a_node("prune", |place| {
        let _echo = place.serve();
        let mut ours = place.start(place.options());
        ours.ready();
        ours.stop();
        let mut again = place.start(place.options());
        let report = again.until("programs are attached", |report| {
            report.interfaces.len() == 2
        });
        assert!(!report.ready, "nobody has wished for anything yet");
        assert!(place.is_answered(VIP));
        again.balancer.wish(Wish {
            services: [].into(),
            ..wish()
        });
        again.until("the wish is there", |report| {
            report.ready && report.frontends == 0
        });
        assert!(!place.is_answered(VIP), "nobody wishes for it");
        again.stop();
    });
}

fn what_is_stale_is_unpinned() {
    at_a_node("stale", |place| {
        let pod = place.pod.name().to_owned();
        for name in ["lxc1", "lxc2"] {
            place.ip(&format!(
                "link add {name} type veth peer e-{name} netns {pod}"
            ));
        }
        let mut ours = place.start(place.options());
        assert_eq!(ours.ready().interfaces.len(), 4);
        ours.stop();
        place.ip("link delete lxc1");
        place.ip("link set lxc2 name lxc3");
        // Another of the same name has another index.
        place.ip(&format!("link add lxc2 type veth peer e-lxc4 netns {pod}"));
        let again = place.start(place.options());
        let links = || {
            let mut links = place.pinned("links");
            links.retain(|name| name.starts_with("pod_in"));
            links
        };
        until(
            LONG,
            "links are those of the interfaces that are there",
            || links() == ["pod_in-lxc0", "pod_in-lxc2", "pod_in-lxc3"],
        );
        again.stop();
    });
}

fn maps_keep_the_size_they_had() {
    at_a_node("size", |place| {
        let mut ours = place.start(place.options());
        let small = ours.balancer.capacity();
        ours.ready();
        ours.stop();
        let options = Options {
            memory: Some(16 << 30),
            ..place.options()
        };
        let mut again = place.start(options);
        assert_eq!(again.balancer.adoption(), Adoption::Adopted);
        assert_eq!(again.balancer.capacity(), small);
        again.ready();
        again.stop();
    });
}

fn maps_of_another_layout_are_replaced() {
    at_a_node("layout", |place| {
        let _echo = place.serve();
        let mut ours = place.start(place.options());
        ours.ready();
        ours.stop();
        let path = place.version().join("maps/NODE_ADDRESSES");
        std::fs::remove_file(&path).unwrap();
        let other = HashMap::<MapData, u32, u64>::create(16, 0).unwrap();
        other.pin(&path).unwrap();
        let mut again = place.start(place.options());
        let replaced = Adoption::Replaced {
            map: "NODE_ADDRESSES",
        };
        assert_eq!(again.balancer.adoption(), replaced);
        assert!(place.is_answered(VIP), "the old programs have the old maps");
        again.ready();
        assert!(place.is_answered(VIP));
        again.stop();
    });
}

fn an_incomplete_set_of_maps_is_replaced() {
    at_a_node("incomplete", |place| {
        let mut ours = place.start(place.options());
        ours.ready();
        ours.stop();
        std::fs::remove_file(place.version().join("maps/FLOWS6")).unwrap();
        let mut again = place.start(place.options());
        let replaced = Adoption::Replaced { map: "FLOWS6" };
        assert_eq!(again.balancer.adoption(), replaced);
        again.ready();
        assert_eq!(place.pinned("maps").len(), 13);
        again.stop();
    });
}

fn other_versions_are_removed() {
    at_a_node("version", |place| {
        let root = place.pin_root();
        let mut ours = place.start(place.options());
        ours.ready();
        ours.stop();
        std::fs::rename(place.version(), root.join("v0")).unwrap();
        let mut again = place.start(place.options());
        assert_eq!(again.balancer.adoption(), Adoption::New);
        assert!(
            root.join("v0/links/uplink_in-eth0").exists(),
            "until ours is attached"
        );
        again.ready();
        again.stop();
        assert_eq!(crate::place::names(&root), [version()]);
    });
}

fn a_plain_folder_is_refused() {
    at_a_node("plain", |place| {
        let options = Options {
            pin_root: place.state.folder("plain").unwrap(),
            ..place.options()
        };
        let begin = Instant::now();
        let error = lb::LoadBalancer::start(options, drop).unwrap_err();
        let text = error.to_string();
        assert!(
            text.ends_with("plain is not in a BPF file system"),
            "{text}"
        );
        assert!(begin.elapsed() < Duration::from_secs(1));
    });
}

fn two_at_once_are_one_too_many() {
    at_a_node("twice", |place| {
        let ours = place.start(place.options());
        let in_use = format!("another process uses {}", place.pin_root().display());
        let second = lb::LoadBalancer::start(place.options(), drop).unwrap_err();
        assert_eq!(second.to_string(), in_use);
        assert_eq!(
            lb::cleanup(&place.pin_root()).unwrap_err().to_string(),
            in_use
        );
        ours.stop();
        place.start(place.options()).stop();
    });
}
