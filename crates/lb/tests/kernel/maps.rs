//! Programs and maps without an interface.

use lb::{Contents, Errno, Failure, FrontendKey, MapOp, Object, RingRecipe};
use lb_abi::{
    Backend, Frontend, FrontendKey4, FrontendKey6, Group, NodeAddressKind, backend_flags, program,
};

use crate::Claim;
use crate::place::SMALL;

/// Error numbers of `asm-generic/errno-base.h`.
const E2BIG: Errno = Errno(7);

pub(crate) fn claims() -> Vec<Claim> {
    vec![
        (
            "the_verifier_takes_every_program",
            the_verifier_takes_every_program,
        ),
        ("what_is_written_is_read_back", what_is_written_is_read_back),
        ("what_is_removed_is_gone", what_is_removed_is_gone),
        (
            "what_a_full_table_does_not_take_is_named",
            what_a_full_table_does_not_take_is_named,
        ),
        (
            "a_row_that_no_array_has_is_an_error",
            a_row_that_no_array_has_is_an_error,
        ),
        (
            "ten_thousand_frontends_go_in_at_once",
            ten_thousand_frontends_go_in_at_once,
        ),
        ("a_grace_period_is_waited_for", a_grace_period_is_waited_for),
    ]
}

fn the_verifier_takes_every_program() {
    let object = Object::load(&SMALL).unwrap();
    let programs = [
        program::UPLINK_IN,
        program::UPLINK_OUT,
        program::POD_IN,
        program::POD_OUT,
    ];
    for name in programs.into_iter().chain(program::SOCKET) {
        assert!(object.program(name).is_some(), "{name}");
    }
    assert_eq!(object.maps().capacity(), SMALL);
    let empty = Contents {
        filters: std::array::from_fn(|_| vec![0; 1024]),
        ..Contents::default()
    };
    assert_eq!(object.maps().contents().unwrap(), empty);
}

fn key4(number: u32) -> FrontendKey {
    FrontendKey::V4(FrontendKey4 {
        address: number.to_be_bytes(),
        port: [0, 80],
        protocol: lb_abi::TCP,
        scope: 0,
    })
}

fn key6(last: u8) -> FrontendKey {
    let mut address = [0; 16];
    (address[0], address[15]) = (0x20, last);
    FrontendKey::V6(FrontendKey6 {
        address,
        port: [0, 80],
        protocol: lb_abi::UDP,
        scope: 1,
    })
}

fn set(key: FrontendKey) -> MapOp {
    let frontend = Frontend { group: 3, flags: 5 };
    MapOp::SetFrontend { key, frontend }
}

fn backend() -> Backend {
    Backend {
        address: [7; 16],
        port: [31, 144],
        protocol: lb_abi::TCP,
        flags: backend_flags::PRESENT | backend_flags::LOCAL,
        generation: 9,
        reserved: 0,
    }
}

const GROUP: Group = Group {
    first_slot: 1022,
    count: 4,
    ring_class: 1,
    ring_start: 1984,
};

/// Of a hundred backends.
fn recipe() -> RingRecipe {
    let names: Vec<_> = (0..100_u16).map(u16::to_be_bytes).collect();
    RingRecipe::new(GROUP.ring_class, 0, &names)
}

/// One of each kind, across the borders of chunks.
fn one_of_each() -> Vec<MapOp> {
    vec![
        MapOp::Backend {
            id: 5,
            backend: backend(),
        },
        MapOp::Slots {
            first: GROUP.first_slot,
            backends: vec![5, 6, 7, 8],
        },
        MapOp::Ring {
            start: GROUP.ring_start,
            recipe: recipe().into(),
        },
        MapOp::Group {
            id: 3,
            group: GROUP,
        },
        MapOp::Filter {
            filter: lb_abi::FILTER_BACKENDS,
            index: 1023,
            word: 1 << 63,
        },
        set(key4(1)),
        set(key6(1)),
        set(key4(2)),
        MapOp::NodeAddress {
            address: [1; 16],
            kind: Some(NodeAddressKind::Remote),
        },
        MapOp::RaiseEpoch,
        MapOp::Grace,
    ]
}

fn what_is_written_is_read_back() {
    let object = Object::load(&SMALL).unwrap();
    assert_eq!(object.maps().perform(&one_of_each()), []);
    let contents = object.maps().contents().unwrap();
    let frontend = Frontend { group: 3, flags: 5 };
    let keys = [key4(1), key4(2), key6(1)];
    assert_eq!(contents.frontends, keys.map(|key| (key, frontend)).into());
    assert_eq!(contents.groups, [(3, GROUP)].into());
    assert_eq!(contents.backends, [(5, backend())].into());
    assert_eq!(contents.slots, [(1022, vec![5, 6, 7, 8])].into());
    assert_eq!(contents.rings, [(1984, recipe().ordinals())].into());
    assert_eq!(contents.node_addresses, [([1; 16], 2)].into());
    let set = |filter: &[u64]| filter.iter().filter(|word| **word != 0).count();
    assert_eq!(
        contents.filters.each_ref().map(|filter| set(filter)),
        [0, 1, 0]
    );
    assert_eq!(contents.filters[1][1023], 1 << 63);
}

fn what_is_removed_is_gone() {
    let object = Object::load(&SMALL).unwrap();
    let maps = object.maps();
    assert_eq!(maps.perform(&one_of_each()), []);
    let remove = |key| MapOp::RemoveFrontend { key };
    let failures = maps.perform(&[
        // One in the middle that is not there.
        remove(key4(1)),
        remove(key4(99)),
        remove(key4(2)),
        set(key4(2)),
        remove(key6(1)),
        MapOp::NodeAddress {
            address: [1; 16],
            kind: None,
        },
        MapOp::NodeAddress {
            address: [2; 16],
            kind: None,
        },
        MapOp::Backend {
            id: 5,
            backend: Backend::default(),
        },
    ]);
    assert_eq!(failures, []);
    let contents = maps.contents().unwrap();
    let left: Vec<FrontendKey> = contents.frontends.into_keys().collect();
    assert_eq!(left, [key4(2)], "set again after it was removed");
    assert_eq!(contents.node_addresses, [].into());
    assert_eq!(contents.backends, [].into());
}

fn what_a_full_table_does_not_take_is_named() {
    let object = Object::load(&SMALL).unwrap();
    let maps = object.maps();
    let mut steps: Vec<MapOp> = (0..SMALL.frontends).map(|n| set(key4(n))).collect();
    assert_eq!(maps.perform(&steps), []);
    // Of two more only the one that is there already has room.
    steps = vec![set(key4(1000)), set(key6(1)), set(key4(5)), set(key4(1001))];
    let failures = maps.perform(&steps);
    let failed = |step| Failure { step, errno: E2BIG };
    assert_eq!(failures, [failed(0), failed(3)]);
    let there = maps.contents().unwrap().frontends;
    assert_eq!(there.len(), SMALL.frontends as usize + 1);
    assert!(there.contains_key(&key6(1)), "the other family has room");
}

fn a_row_that_no_array_has_is_an_error() {
    let object = Object::load(&SMALL).unwrap();
    let steps = [
        MapOp::Backend {
            id: SMALL.backends,
            backend: backend(),
        },
        MapOp::Slots {
            first: SMALL.slots - 1,
            backends: vec![1, 2],
        },
        MapOp::Ring {
            start: SMALL.ring_slots,
            recipe: recipe().into(),
        },
        MapOp::Group {
            id: u32::MAX,
            group: GROUP,
        },
        MapOp::Filter {
            filter: 3,
            index: 0,
            word: 1,
        },
        MapOp::Filter {
            filter: 0,
            index: 1024,
            word: 1,
        },
    ];
    let failures = object.maps().perform(&steps);
    let all = (0..steps.len()).map(|step| Failure { step, errno: E2BIG });
    assert_eq!(failures, all.collect::<Vec<_>>());
}

fn ten_thousand_frontends_go_in_at_once() {
    let capacity = lb::Capacity {
        frontends: 20_000,
        ..SMALL
    };
    let object = Object::load(&capacity).unwrap();
    let steps: Vec<MapOp> = (0..20_000).map(|number| set(key4(number))).collect();
    let before = object.maps().memory().unwrap();
    let begin = std::time::Instant::now();
    assert_eq!(object.maps().perform(&steps), []);
    let took = begin.elapsed();
    let frontends = object.maps().contents().unwrap().frontends;
    assert_eq!(frontends.len(), 20_000);
    let grown = object.maps().memory().unwrap() - before;
    assert!(
        (20_000 * 16..20_000 * 200).contains(&grown),
        "{grown} bytes"
    );
    println!("20,000 frontends in {took:?}, {grown} bytes");
}

fn a_grace_period_is_waited_for() {
    let object = Object::load(&SMALL).unwrap();
    let times: Vec<_> = (0..10)
        .map(|_| {
            let begin = std::time::Instant::now();
            assert_eq!(object.maps().perform(&[MapOp::Grace]), []);
            begin.elapsed()
        })
        .collect();
    println!("grace periods: {times:?}");
    // A mere system call takes a microsecond or less.
    assert!(times.iter().max().unwrap().as_micros() > 50, "{times:?}");
}
