//! The packet at a traffic-control hook, and what may become of it.

use crate::maps::count;
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::bindings::tcx_action_base::{TCX_DROP, TCX_NEXT};
use aya_ebpf::helpers::generated::{
    bpf_redirect, bpf_skb_load_bytes, bpf_skb_pull_data, bpf_skb_store_bytes,
};
use core::mem::MaybeUninit;
use lb_abi::Reason;

/// What a program returns: [`NEXT`], [`DROP`] or what a redirect helper gives.
pub(crate) type Verdict = i32;

/// Not ours, or ours and left to the host's stack: the next program decides.
pub(crate) const NEXT: Verdict = TCX_NEXT;
/// The packet ends here.
pub(crate) const DROP: Verdict = TCX_DROP;

/// No verdict yet: what was asked for is done, and the packet goes on.
pub(crate) const PROCEED: Verdict = 256;

/// Length of an Ethernet header, at which every frame's network header is here.
pub(crate) const ETHERNET: usize = 14;

/// `PACKET_OTHERHOST`.
const OTHER_HOST: u32 = 3;

/// Mark of a packet that has become a backend's. In a field that only classifiers of packet schedulers use.
const TRANSLATED: u32 = 0x7462;

/// The bits of a VLAN tag's control information that are the VLAN's number.
const VLAN_ID: u32 = 0xfff;

/// `ETH_P_IP` as the machine reads it.
pub(crate) const IPV4: u32 = 0x0800u16.to_be() as u32;
/// `ETH_P_IPV6` as the machine reads it.
pub(crate) const IPV6: u32 = 0x86ddu16.to_be() as u32;

/// Counts why a packet ends here.
#[inline(always)]
pub(crate) fn drop(reason: Reason) -> Verdict {
    count(reason);
    DROP
}

/// The packet. Pointers into it end with the next helper that may change it.
#[derive(Clone, Copy)]
pub(crate) struct Skb(pub(crate) *mut __sk_buff);

impl Skb {
    /// Its whole length.
    #[inline(always)]
    pub(crate) fn len(self) -> u32 {
        // SAFETY: the kernel hands the program a context that lives as long as it runs.
        unsafe { (*self.0).len }
    }

    /// `ETH_P_*` of its network header; of a frame with a VLAN tag, that inside the tag.
    #[inline(always)]
    pub(crate) fn protocol(self) -> u32 {
        // SAFETY: as in `len`.
        unsafe { (*self.0).protocol }
    }

    /// Whether the frame is for another host: seen because the interface is a bridge's or somebody listens to all.
    #[inline(always)]
    pub(crate) fn is_for_another(self) -> bool {
        // SAFETY: as in `len`.
        unsafe { (*self.0).pkt_type == OTHER_HOST }
    }

    /// Whether it has a VLAN tag: it is for the VLAN's own interface, which has programs of its own. A tag of VLAN 0 has only a
    /// priority, and is for the interface itself (IEEE 802.1Q).
    #[inline(always)]
    pub(crate) fn is_tagged(self) -> bool {
        // SAFETY: as in `len`.
        unsafe { (*self.0).vlan_present != 0 && (*self.0).vlan_tci & VLAN_ID != 0 }
    }

    /// The device it is at.
    #[inline(always)]
    pub(crate) fn ifindex(self) -> u32 {
        // SAFETY: as in `len`.
        unsafe { (*self.0).ifindex }
    }

    /// Whether a process of this machine sends it: what came by an interface and is sent on keeps that one's number.
    #[inline(always)]
    pub(crate) fn is_from_host(self) -> bool {
        // SAFETY: as in `len`.
        unsafe { (*self.0).ingress_ifindex == 0 }
    }

    /// Marks it as one that has become what its flow says.
    #[inline(always)]
    pub(crate) fn set_translated(self) {
        // SAFETY: as in `len`.
        unsafe { (*self.0).tc_index = TRANSLATED }
    }

    /// Whether it has become what its flow says already: where programs of ours follow each other, at one interface or at two of which one
    /// is upon the other, they all see the same packet.
    #[inline(always)]
    pub(crate) fn is_translated(self) -> bool {
        // SAFETY: as in `len`.
        unsafe { (*self.0).tc_index == TRANSLATED }
    }

    /// The start of the frame, of which the first `length` bytes may be read and written.
    #[inline(always)]
    pub(crate) fn frame(self, length: usize) -> Option<*mut u8> {
        // SAFETY: as in `len`.
        let (start, end) = unsafe { ((*self.0).data as usize, (*self.0).data_end as usize) };
        // This very comparison is what the verifier takes as the proof.
        (start + length <= end).then_some(start as *mut u8)
    }

    /// Makes the first `length` bytes one piece, where the packet has so many. Most have them in one piece already.
    #[inline(always)]
    pub(crate) fn pull(self, length: u32) {
        // SAFETY: as in `len`.
        let linear = unsafe { ((*self.0).data_end - (*self.0).data).min(length) };
        let wanted = length.min(self.len());
        if linear < wanted {
            // SAFETY: as in `len`. Where it fails, `frame` finds too little.
            unsafe { bpf_skb_pull_data(self.0, wanted) };
        }
    }

    /// Copies bytes at an offset that is known at run time only.
    #[inline(always)]
    pub(crate) fn load<T: Copy>(self, offset: u32) -> Option<T> {
        let mut value = MaybeUninit::<T>::uninit();
        let size = size_of::<T>() as u32;
        // SAFETY: as in `len`; the helper writes the whole value or fails.
        unsafe {
            let failed = bpf_skb_load_bytes(self.0.cast(), offset, value.as_mut_ptr().cast(), size);
            (failed == 0).then(|| value.assume_init())
        }
    }

    /// Writes bytes at an offset that is known at run time only; checksums are the caller's business.
    #[inline(always)]
    pub(crate) fn store<T: Copy>(self, offset: u32, value: &T) -> bool {
        let size = size_of::<T>() as u32;
        // SAFETY: as in `len`; the helper reads the whole value.
        unsafe {
            bpf_skb_store_bytes(self.0, offset, core::ptr::from_ref(value).cast(), size, 0) == 0
        }
    }

    /// Sends it out of the device it is at.
    #[inline(always)]
    pub(crate) fn send_back(self) -> Verdict {
        // SAFETY: takes numbers only.
        unsafe { bpf_redirect(self.ifindex(), 0) as Verdict }
    }
}

/// Exchanges the two Ethernet addresses at the start of a frame.
///
/// # Safety
///
/// The first 12 bytes of `frame` may be read and written.
#[inline(always)]
pub(crate) unsafe fn exchange_ethernet_addresses(frame: *mut u8) {
    // Halves, because the second address begins at an offset that no larger number divides.
    let half = frame.cast::<u16>();
    // SAFETY: the caller's promise.
    unsafe {
        let ours = (*half, *half.add(1), *half.add(2));
        (*half, *half.add(1), *half.add(2)) = (*half.add(3), *half.add(4), *half.add(5));
        (*half.add(3), *half.add(4), *half.add(5)) = ours;
    }
}
