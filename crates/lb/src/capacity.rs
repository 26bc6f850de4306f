//! How large the maps are.

use lb_abi::{RING_SLOTS_PER_CHUNK, SLOTS_PER_CHUNK};

use crate::op::Capacity;

const GIBIBYTE: u64 = 1 << 30;

/// Sizes for a node with this much memory (bytes). What a flow needs grows with the node, since a greater node has more of them;
/// what a service needs depends on the cluster, and is smaller only where memory is scarce.
///
/// From 8 to 64 GiB all maps together hold at most 100 MB of kernel memory, below 2 GiB less than 20 MB. From 8 GiB on there is room for
/// 10,000 services of 10 backends each, with a ring of 1021 places for every one.
#[must_use]
pub fn capacity(memory: u64) -> Capacity {
    let (flows, services) = match memory / GIBIBYTE {
        0..2 => (1 << 15, 1 << 14),
        2..4 => (1 << 16, 1 << 15),
        4..8 => (1 << 17, 1 << 16),
        8..64 => (1 << 18, 1 << 17),
        64..128 => (1 << 19, 1 << 17),
        _ => (1 << 20, 1 << 17),
    };
    Capacity {
        frontends: services,
        groups: services / 2,
        backends: services,
        slots: services * 4 / SLOTS_PER_CHUNK * SLOTS_PER_CHUNK,
        ring_slots: services * 80 / RING_SLOTS_PER_CHUNK * RING_SLOTS_PER_CHUNK,
        flows4: flows,
        // A row of IPv6 is half as large again.
        flows6: flows / 8 * 3,
        sockets: flows / 4,
    }
}

#[cfg(test)]
mod tests {
    use lb_abi::{
        Backend, FlowKey4, FlowKey6, FlowValue4, FlowValue6, Frontend, FrontendKey4, FrontendKey6,
        SocketKey, SocketValue,
    };

    use super::*;

    /// Bytes of a hash's element before key and value (`struct htab_elem` of kernel 6.18), each rounded up to 8.
    const ELEMENT: u64 = 48;
    /// Bytes of a hash's bucket; there is one for each entry, rounded up to a power of two.
    const BUCKET: u64 = 16;

    fn hash<Key, Value>(entries: u32, filled: u32) -> u64 {
        let round = |size: usize| size.next_multiple_of(8) as u64;
        u64::from(entries.next_power_of_two()) * BUCKET
            + u64::from(filled) * (ELEMENT + round(size_of::<Key>()) + round(size_of::<Value>()))
    }

    /// Memory of all maps with this many frontends of each family in them.
    fn memory(capacity: &Capacity, frontends: u32) -> u64 {
        hash::<FlowKey4, FlowValue4>(capacity.flows4, capacity.flows4)
            + hash::<FlowKey6, FlowValue6>(capacity.flows6, capacity.flows6)
            + hash::<SocketKey, SocketValue>(capacity.sockets, capacity.sockets)
            + hash::<FrontendKey4, Frontend>(capacity.frontends, frontends)
            + hash::<FrontendKey6, Frontend>(capacity.frontends, frontends)
            + u64::from(capacity.groups) * 8
            + u64::from(capacity.slots) * 4
            + u64::from(capacity.ring_slots) * 2
            + u64::from(capacity.backends) * size_of::<Backend>() as u64
            + 2 * lb_abi::FILTER_WORDS as u64 * 8
    }

    #[test]
    fn maps_take_their_share_of_the_nodes_memory() {
        for (gibibytes, least_mb, most_mb) in [
            (1, 5, 20),
            (2, 10, 30),
            (4, 25, 50),
            (8, 80, 100),
            (24, 80, 100),
            (63, 80, 100),
            (64, 100, 200),
            (512, 200, 400),
        ] {
            let memory = memory(&capacity(gibibytes * GIBIBYTE), 0) / 1_000_000;
            assert!(
                (least_mb..=most_mb).contains(&memory),
                "{gibibytes} GiB: {memory} MB"
            );
        }
    }

    #[test]
    fn two_thousand_services_add_less_than_ten_megabytes() {
        let capacity = capacity(24 * GIBIBYTE);
        assert!(memory(&capacity, 2_000 * 7) - memory(&capacity, 0) < 10_000_000);
    }

    #[test]
    fn sizes_are_such_as_the_layouts_can_name() {
        for gibibytes in [0, 1, 3, 6, 24, 100, 4096] {
            let capacity = capacity(gibibytes * GIBIBYTE);
            assert!(capacity.slots <= 1 << 24 && capacity.ring_slots <= 1 << 26);
            assert_eq!(capacity.slots % SLOTS_PER_CHUNK, 0);
            assert_eq!(capacity.ring_slots % RING_SLOTS_PER_CHUNK, 0);
        }
    }
}
