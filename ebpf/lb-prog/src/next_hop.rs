//! Where a packet leaves that is not left to the host's stack.

use crate::family::{Family, Flow, Tuple, is_unspecified, same};
use crate::flow::{is_now, seconds};
use crate::maps::{is_of_this_node, snat_source};
use crate::skb::{Skb, Verdict};
use aya_ebpf::bindings::{BPF_FIB_LKUP_RET_SUCCESS, BPF_FIB_LOOKUP_SKIP_NEIGH, BPF_FIB_LOOKUP_SRC};
use aya_ebpf::helpers::generated::{bpf_fib_lookup, bpf_redirect_neigh};
use lb_abi::{AddressHash, Config};

/// The kernel's `struct bpf_fib_lookup`, with addresses in words.
#[repr(C)]
struct Question {
    family: u8,
    protocol: u8,
    ports: [u16; 2],
    total_length: u16,
    ifindex: u32,
    flow_info: u32,
    source: [u32; 4],
    destination: [u32; 4],
    vlan: u32,
    ethernet_addresses: [u16; 6],
}

const _: () = assert!(size_of::<Question>() == size_of::<aya_ebpf::bindings::bpf_fib_lookup>());

impl Question {
    #[inline(always)]
    fn of<F: Family>(skb: Skb, tuple: &Tuple<F>) -> Self {
        Self {
            family: F::SOCKET_FAMILY,
            protocol: tuple.protocol,
            ports: [tuple.ports.source(), tuple.ports.destination()],
            total_length: 0,
            ifindex: skb.ifindex(),
            flow_info: 0,
            source: F::wide(&tuple.source),
            destination: F::wide(&tuple.destination),
            vlan: 0,
            ethernet_addresses: [0; 6],
        }
    }

    /// Asks the routing table as for a packet that is forwarded, so that the rules for its device apply.
    #[inline(always)]
    fn ask(&mut self, skb: Skb, flags: u32) -> u32 {
        // SAFETY: the helper reads and writes the whole struct.
        unsafe {
            bpf_fib_lookup(
                skb.0.cast(),
                core::ptr::from_mut(self).cast(),
                size_of::<Self>() as i32,
                BPF_FIB_LOOKUP_SKIP_NEIGH | flags,
            ) as u32
        }
    }
}

/// The kernel's `struct bpf_redir_neigh`.
#[repr(C)]
struct Neighbour {
    family: u32,
    address: [u32; 4],
}

const _: () = assert!(size_of::<Neighbour>() == size_of::<aya_ebpf::bindings::bpf_redir_neigh>());

/// A way to a destination.
pub(crate) struct NextHop<F: Family> {
    /// Device; 0 leaves the packet to the host's stack.
    pub(crate) ifindex: u32,
    /// Neighbour: a gateway or the destination itself; all zeros where the kernel shall look it up at every packet, because it is of
    /// the other family.
    pub(crate) address: F::Address,
}

impl<F: Family> NextHop<F> {
    /// The host's stack.
    pub(crate) const STACK: Self = Self {
        ifindex: 0,
        address: F::UNSPECIFIED,
    };

    /// The way of a packet by the routing table; false where there is none.
    ///
    /// Without the neighbour: its MAC address is found when the packet is sent, and a neighbour that is not known yet is asked for then.
    #[inline(never)]
    pub(crate) fn find(&mut self, skb: Skb, tuple: &Tuple<F>) -> bool {
        let mut question = Question::of(skb, tuple);
        if question.ask(skb, 0) != BPF_FIB_LKUP_RET_SUCCESS {
            return false;
        }
        self.ifindex = question.ifindex;
        self.address = if question.family == F::SOCKET_FAMILY {
            F::narrow(&question.destination)
        } else {
            F::UNSPECIFIED
        };
        true
    }

    /// What replaces a client's address on this way of its packet: the source that the host would use, where it is an address of the node as
    /// the agent knows them, for an answer to any other is the host's own business; else the configured one. All zeros where there is none.
    ///
    /// The host's choice costs it more than all the rest of a new flow (IPv6: RFC 6724 over all addresses), and is the same for all flows to
    /// a destination by one way: it is asked once a second.
    #[inline(never)]
    pub(crate) fn snat_source(
        &self,
        skb: Skb,
        tuple: &Tuple<F>,
        config: &Config,
    ) -> Option<&'static F::Address> {
        let hash = AddressHash::of(tuple.destination.as_ref());
        let known = snat_source::<F>(hash)?;
        let is_known = known.ifindex == self.ifindex
            && known.epoch == config.epoch
            && is_now(known.second, config)
            && same(&known.destination, &tuple.destination)
            && same(&known.next_hop, &self.address);
        if !is_known {
            known.source = chosen_source(skb, tuple, config);
            known.ifindex = self.ifindex;
            known.epoch = config.epoch;
            known.second = seconds(config);
            known.destination = tuple.destination;
            known.next_hop = self.address;
        }
        Some(&known.source)
    }
}

/// Which source replaces clients' on the way to a destination, as it was found in a second.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct SnatSource<F: Family> {
    destination: F::Address,
    next_hop: F::Address,
    source: F::Address,
    ifindex: u32,
    epoch: u32,
    second: u32,
}

#[inline(always)]
fn chosen_source<F: Family>(skb: Skb, tuple: &Tuple<F>, config: &Config) -> F::Address {
    let mut question = Question::of(skb, tuple);
    if question.ask(skb, BPF_FIB_LOOKUP_SRC) == BPF_FIB_LKUP_RET_SUCCESS {
        let source = F::narrow(&question.source);
        if is_of_this_node::<F>(&source) {
            return source;
        }
    }
    F::snat_address(config)
}

/// Sends a packet of the flow to its next hop.
#[inline(always)]
pub(crate) fn send<F: Family>(flow: &Flow<F>) -> Verdict {
    let ifindex = flow.ifindex;
    if is_unspecified(&flow.next_hop) {
        // SAFETY: takes numbers only.
        return unsafe { bpf_redirect_neigh(ifindex, core::ptr::null_mut(), 0, 0) as Verdict };
    }
    let mut neighbour = Neighbour {
        family: F::SOCKET_FAMILY as u32,
        address: F::wide(&flow.next_hop),
    };
    // SAFETY: the helper reads the whole struct.
    unsafe {
        bpf_redirect_neigh(
            ifindex,
            core::ptr::from_mut(&mut neighbour).cast(),
            size_of::<Neighbour>() as i32,
            0,
        ) as Verdict
    }
}
