//! The maps. Names and meaning are those of `lb_abi::map`; sizes here are small defaults that user space overrides when it loads the object.

use crate::family::{Family, Flow, V6, bytes};
use crate::next_hop::SnatSource;
use crate::parse::Packet;
use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps::{Array, HashMap, LruHashMap, PerCpuArray};
use aya_ebpf::macros::btf_map;
use lb_abi::{
    AddressHash, Backend, Config, FILTER_COUNT, FILTER_WORDS, FlowKey4, FlowKey6, FlowValue4,
    FlowValue6, Frontend, FrontendKey4, FrontendKey6, NodeAddressKind, RING_SLOTS_PER_CHUNK,
    Reason, SLOTS_PER_CHUNK, SocketKey, SocketValue,
};

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;
const NO_PREALLOC: usize = BPF_F_NO_PREALLOC as usize;

#[btf_map]
pub(crate) static FRONTENDS4: HashMap<FrontendKey4, Frontend, 65536, NO_PREALLOC> = HashMap::new();
#[btf_map]
pub(crate) static FRONTENDS6: HashMap<FrontendKey6, Frontend, 65536, NO_PREALLOC> = HashMap::new();
#[btf_map]
pub(crate) static GROUPS: Array<u64, 4096, MMAPABLE> = Array::new();
#[btf_map]
pub(crate) static SLOTS: Array<[u32; SLOTS_PER_CHUNK as usize], 64, MMAPABLE> = Array::new();
#[btf_map]
pub(crate) static RINGS: Array<[u16; RING_SLOTS_PER_CHUNK as usize], 512, MMAPABLE> = Array::new();
#[btf_map]
pub(crate) static BACKENDS: Array<Backend, 16384, MMAPABLE> = Array::new();
#[btf_map]
pub(crate) static FLOWS4: LruHashMap<FlowKey4, FlowValue4, 65536> = LruHashMap::new();
#[btf_map]
pub(crate) static FLOWS6: LruHashMap<FlowKey6, FlowValue6, 65536> = LruHashMap::new();
#[btf_map]
pub(crate) static SOCKETS: LruHashMap<SocketKey, SocketValue, 65536> = LruHashMap::new();
#[btf_map]
pub(crate) static NODE_ADDRESSES: HashMap<[u8; 16], u32, 16384, NO_PREALLOC> = HashMap::new();
#[btf_map]
pub(crate) static FILTERS: Array<[u64; FILTER_WORDS], FILTER_COUNT, MMAPABLE> = Array::new();
#[btf_map]
pub(crate) static CONFIG: Array<Config, 1, MMAPABLE> = Array::new();
#[btf_map]
pub(crate) static COUNTERS: PerCpuArray<u64, { Reason::COUNT as usize }> = PerCpuArray::new();

/// Room for what a program keeps of its packet, and for one entry of a flow: the stack is 512 bytes for a program and all that it calls,
/// and an IPv6 entry nearly a fifth of it. No program interrupts another on a processor.
#[btf_map]
static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

#[repr(C)]
struct Scratch {
    packet: [u64; 6],
    entry: FlowValue6,
}

const _: () = assert!(size_of::<Packet<V6>>() <= size_of::<[u64; 6]>());

/// Memory for the packet; what is in it is left from another.
#[inline(always)]
pub(crate) fn packet_memory<F: Family>() -> Option<*mut Packet<F>> {
    let scratch = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: within the element; no packet takes more than one of IPv6 (asserted above).
    Some(unsafe { (&raw mut (*scratch).packet).cast() })
}

/// Memory for an entry that is being made; what is in it is left from another.
#[inline(always)]
pub(crate) fn scratch<F: Family>() -> Option<&'static mut Flow<F>> {
    let scratch = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: no entry is larger than this one, every value of its bytes is an entry, and it is this processor's own.
    Some(unsafe { &mut *(&raw mut (*scratch).entry).cast() })
}

/// The sources that replace clients', by family and a hash of the destination.
#[btf_map]
static SNAT_SOURCES: PerCpuArray<[u64; 8], { 2 << SNAT_SOURCE_BITS }> = PerCpuArray::new();

const SNAT_SOURCE_BITS: u32 = 7;

const _: () = assert!(size_of::<SnatSource<V6>>() <= size_of::<[u64; 8]>());

/// Where the source for a destination is remembered, or another's of the same hash.
#[inline(always)]
pub(crate) fn snat_source<F: Family>(
    destination: AddressHash,
) -> Option<&'static mut SnatSource<F>> {
    let family = u32::from(F::HEADER_CHECKSUM) << SNAT_SOURCE_BITS;
    let place = destination.bit() >> (16 - SNAT_SOURCE_BITS);
    let memory = SNAT_SOURCES.get_ptr_mut(family | place)?;
    // SAFETY: no row is larger than the element, every value of its bytes is a row, and it is this processor's own.
    Some(unsafe { &mut *memory.cast() })
}

/// What the agent says now.
#[inline(always)]
pub(crate) fn config() -> Option<&'static Config> {
    CONFIG.get(0)
}

/// Whether an address may be in a filter, by its bit there; a wrong yes costs one lookup.
#[inline(always)]
pub(crate) fn filter_holds(filter: u32, bit: u32) -> bool {
    // A lookup of a constant index is inlined: no call. The bit is below 2¹⁶, so that the verifier sees the word within the array.
    FILTERS
        .get_ptr(filter)
        // SAFETY: 2¹⁶ bits are `FILTER_WORDS` words.
        .is_some_and(|words| unsafe {
            *words.cast::<u64>().add((bit >> 6) as usize) >> (bit & 63) & 1 != 0
        })
}

/// Whose a node's address is; `None` of any other address.
#[inline(always)]
pub(crate) fn node_address<F: Family>(address: &F::Address) -> Option<u32> {
    let kind = NODE_ADDRESSES.get_ptr(bytes(F::mapped(address)))?;
    // SAFETY: the kernel keeps the row's memory until the program ends.
    Some(unsafe { *kind })
}

/// Whether an address is one of this node's, as the agent knows them.
#[inline(always)]
pub(crate) fn is_of_this_node<F: Family>(address: &F::Address) -> bool {
    node_address::<F>(address) == Some(NodeAddressKind::Local as u32)
}

/// Counts a packet.
#[inline(always)]
pub(crate) fn count(reason: Reason) {
    if let Some(counter) = COUNTERS.get_ptr_mut(reason as u32) {
        // SAFETY: the element is this processor's own.
        unsafe { *counter += 1 }
    }
}
