//! Ours goes; what is somebody else's stays.

use std::fs;

use aya::maps::{HashMap, MapData};
use aya::programs::TcAttachType;
use lb::{Cleaned, cleanup};

use crate::Claim;
use crate::foreign::Foreign;
use crate::place::{VIP, at_a_node, names};

pub(crate) fn claims() -> Vec<Claim> {
    vec![
        ("everything_of_ours_goes", everything_of_ours_goes),
        ("what_is_somebody_elses_stays", what_is_somebody_elses_stays),
        ("nothing_to_clean_is_no_error", nothing_to_clean_is_no_error),
    ]
}

fn everything_of_ours_goes() {
    at_a_node("clean", |place| {
        let _echo = place.serve();
        let mut ours = place.start(place.options());
        ours.ready();
        ours.stop();
        assert!(place.is_answered(VIP));
        let cleaned = cleanup(&place.pin_root()).unwrap();
        assert_eq!(cleaned, Cleaned { links: 4, maps: 13 });
        assert!(!place.pin_root().exists());
        assert!(!place.is_answered(VIP));
        let mut again = place.start(place.options());
        again.ready();
        assert!(place.is_answered(VIP), "it can come back");
        again.stop();
    });
}

fn what_is_somebody_elses_stays() {
    at_a_node("theirs", |place| {
        let foreign = Foreign::attach("eth0", TcAttachType::Ingress);
        let map = HashMap::<MapData, u32, u64>::create(16, 0).unwrap();
        let beside = place.bpffs.join("theirs");
        map.pin(&beside).unwrap();
        let mut ours = place.start(place.options());
        ours.ready();
        ours.stop();
        let inside = place.pin_root().join("theirs");
        let map = HashMap::<MapData, u32, u64>::create(16, 0).unwrap();
        map.pin(&inside).unwrap();
        cleanup(&place.pin_root()).unwrap();
        assert!(beside.exists());
        assert_eq!(names(&place.pin_root()), ["theirs"]);
        let before = foreign.packets();
        place.is_answered(VIP);
        assert!(foreign.packets() > before);
        fs::remove_file(inside).unwrap();
    });
}

fn nothing_to_clean_is_no_error() {
    at_a_node("nothing", |place| {
        for _ in 0..2 {
            assert_eq!(cleanup(&place.pin_root()).unwrap(), Cleaned::default());
        }
    });
}
