//! Frames on a wire: what the kernel makes of them before a program sees them, which a test run of the program does not show.

use std::collections::BTreeSet;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, sendto, socket};

use crate::fixture::Place;
use crate::fixture::cast::Cast;
use crate::fixture::services::{BOTH, number};
use crate::model::Hook;
use crate::packet::{Packet, SYN};
use crate::scene::Stage;

/// The other end of the uplink.
const WIRE: &str = "u1";
/// How long a frame may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Frames by the port that their client has, and whether they are for us.
fn frames(cast: &Cast) -> [(u16, Vec<u8>, bool); 5] {
    let syn = |port| Packet::tcp((cast.client, port), (cast.vip(number::LOCAL), 80), SYN);
    let of_priority = |vlan| syn(vlan & 0xfff | 0x5000).vlan(vlan).bytes();
    let mut for_another = syn(1).bytes();
    for_another[5] = 9;
    let mut for_all = syn(2).bytes();
    for_all[..6].fill(0xff);
    [
        (1, for_another, false),
        // A VLAN's own interface has programs of its own.
        (0x5007, of_priority(7), false),
        (2, for_all, true),
        // No VLAN, but a priority (IEEE 802.1Q).
        (0x5000, of_priority(3 << 13), true),
        (3, syn(3).bytes(), true),
    ]
}

/// The test.
pub(crate) fn play() {
    let Some(place) = Place::make("wire") else {
        return;
    };
    place.run(|| {
        let mut stage = Stage::new(&place);
        stage.kernel.attach(Hook::UplinkIn, "u0");
        for family in BOTH {
            stage.kernel.forget_flows();
            let frames = frames(&Cast::of(family));
            for (_, frame, _) in &frames {
                send(frame);
            }
            let ours = frames.iter().filter(|(_, _, is_ours)| *is_ours);
            let ours: BTreeSet<u16> = ours.map(|(port, _, _)| *port).collect();
            let end = Instant::now() + PATIENCE;
            while clients(&stage) != ours && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(10));
            }
            assert_eq!(clients(&stage), ours, "{family:?}");
        }
    });
}

/// Ports of the clients that have a flow.
fn clients(stage: &Stage<'_>) -> BTreeSet<u16> {
    let flows = stage.kernel.flows();
    let ports = flows.keys().map(|(tuple, _)| tuple.source.1);
    ports.collect()
}

fn send(frame: &[u8]) {
    let packets = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::empty(),
        None,
    )
    .unwrap();
    let wire = getifaddrs().unwrap().find_map(|interface| {
        let address: LinkAddr = *interface.address?.as_link_addr()?;
        (interface.interface_name == WIRE).then_some(address)
    });
    let wire = wire.expect("an interface with a link address");
    let sent = sendto(packets.as_raw_fd(), frame, &wire, MsgFlags::empty());
    assert_eq!(sent, Ok(frame.len()));
}
