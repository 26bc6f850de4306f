//! The two address families: what one source for both must know of each.
//!
//! Addresses are machine words here and bytes in `lb_abi`: LLVM reads an array of bytes byte by byte on this target, words at once. The
//! layouts are the same, and asserted to be.

use crate::maps::{FLOWS4, FLOWS6, FRONTENDS4, FRONTENDS6};
use core::mem::offset_of;
use lb_abi::{
    Backend, Config, FlowKey4, FlowKey6, FlowKind, FlowValue4, FlowValue6, Frontend, FrontendKey4,
    FrontendKey6,
};

/// Third word of an IPv4 address in its IPv6-mapped form (RFC 4291 section 2.5.5.2).
pub(crate) const MAPPED: u32 = 0xffffu32.to_be();

/// An IPv6 address. In words of eight bytes, so that it is copied in two steps.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Address6([u64; 2]);

impl Address6 {
    /// The address of sixteen bytes.
    #[inline(always)]
    pub(crate) fn new(bytes: [u8; 16]) -> Self {
        // SAFETY: both are sixteen bytes, and every value of either is one of the other.
        Self(unsafe { core::mem::transmute::<[u8; 16], [u64; 2]>(bytes) })
    }

    /// Its sixteen bytes.
    #[inline(always)]
    fn octets(self) -> [u8; 16] {
        // SAFETY: as in `new`.
        unsafe { core::mem::transmute(self.0) }
    }
}

impl AsRef<[u32]> for Address6 {
    #[inline(always)]
    fn as_ref(&self) -> &[u32] {
        // SAFETY: the same sixteen bytes, and no less aligned.
        unsafe { &*core::ptr::from_ref(&self.0).cast::<[u32; 4]>() }
    }
}

/// An address family.
pub(crate) trait Family: Copy + 'static {
    /// An address: its words in the order they come, read as the machine reads them.
    type Address: Copy + AsRef<[u32]>;
    /// What fills a flow's entry up.
    type Rest: Copy;
    /// The address of all zeros.
    const UNSPECIFIED: Self::Address;
    /// What fills a flow's entry up.
    const REST: Self::Rest;
    /// Bytes of the header without options.
    const HEADER: usize;
    /// Where the source address is in the header; the destination follows it.
    const SOURCE: usize;
    /// `AF_INET` or `AF_INET6`.
    const SOCKET_FAMILY: u8;
    /// Whether the header has a checksum of its own.
    const HEADER_CHECKSUM: bool;

    /// The entry of a flow.
    fn flow(key: &Tuple<Self>) -> Option<&'static mut Flow<Self>>;
    /// Writes an entry; `flags` are those of `bpf_map_update_elem`.
    fn insert_flow(key: &Tuple<Self>, flow: &Flow<Self>, flags: u64) -> bool;
    /// Deletes an entry.
    fn remove_flow(key: &Tuple<Self>);
    /// A frontend's row.
    fn frontend(key: &FrontendKey<Self>) -> Option<Frontend>;
    /// An address from a packet. Word by word: a copy as one may become a call.
    ///
    /// # Safety
    ///
    /// It may be read.
    unsafe fn read(from: *const Self::Address) -> Self::Address;
    /// An address as the kernel's unions have it, where an IPv4 address is the first word.
    fn wide(address: &Self::Address) -> [u32; 4];
    /// An address from where the kernel's unions have it.
    fn narrow(wide: &[u32; 4]) -> Self::Address;
    /// An address in its 16 byte form, where an IPv4 address is an IPv6-mapped one.
    fn mapped(address: &Self::Address) -> [u32; 4];
    /// A backend's address.
    fn backend_address(backend: &Backend) -> Self::Address;
    /// The source for packets where the routing table names none of the node's.
    fn snat_address(config: &Config) -> Self::Address;
    /// The source of a pod's packets that come back to it.
    fn hairpin_address(config: &Config) -> Self::Address;
}

/// Whether two addresses are equal. Comparing arrays would become a call of `bcmp`, which the kernel has not.
#[inline(always)]
pub(crate) fn same<A: AsRef<[u32]>>(one: &A, other: &A) -> bool {
    let pairs = one.as_ref().iter().zip(other.as_ref());
    pairs.fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// Whether an address is all zeros.
#[inline(always)]
pub(crate) fn is_unspecified<A: AsRef<[u32]>>(address: &A) -> bool {
    address.as_ref().iter().fold(0, |bits, word| bits | word) == 0
}

/// Source and destination port, as they lie in the packet.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Ports(pub(crate) u32);

impl Ports {
    /// The ports of a packet; both in network order, read as the machine reads them.
    #[inline(always)]
    pub(crate) fn new(source: u16, destination: u16) -> Self {
        let ([a, b], [c, d]) = (source.to_ne_bytes(), destination.to_ne_bytes());
        Self(u32::from_ne_bytes([a, b, c, d]))
    }

    /// The source port, in network order.
    #[inline(always)]
    pub(crate) fn source(self) -> u16 {
        let [a, b, _, _] = self.0.to_ne_bytes();
        u16::from_ne_bytes([a, b])
    }

    /// The destination port, in network order.
    #[inline(always)]
    pub(crate) fn destination(self) -> u16 {
        let [_, _, c, d] = self.0.to_ne_bytes();
        u16::from_ne_bytes([c, d])
    }

    /// Those of the other direction.
    #[inline(always)]
    pub(crate) fn turned(self) -> Self {
        Self(self.0.rotate_left(16))
    }
}

/// What tells one flow from another, and the key of its entries: `lb_abi::FlowKey4` or `FlowKey6` in words. Begins like the kernel's
/// `bpf_sock_tuple`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Tuple<F: Family> {
    /// Source address.
    pub(crate) source: F::Address,
    /// Destination address.
    pub(crate) destination: F::Address,
    /// Ports.
    pub(crate) ports: Ports,
    /// Protocol number.
    pub(crate) protocol: u8,
    /// A `lb_abi::FlowKind`; of a tuple that is no key, `Forward`.
    pub(crate) kind: u8,
    /// Zero.
    pub(crate) reserved: u16,
}

impl<F: Family> Tuple<F> {
    /// That of the other direction.
    #[inline(always)]
    pub(crate) fn turned(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            ports: self.ports.turned(),
            ..*self
        }
    }

    /// The key of the entry of that kind.
    #[inline(always)]
    pub(crate) fn of_kind(&self, kind: FlowKind) -> Self {
        Self {
            kind: kind as u8,
            ..*self
        }
    }
}

/// `lb_abi::FlowValue4` or `FlowValue6` in words; see there.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Flow<F: Family> {
    pub(crate) bytes: u64,
    pub(crate) packets: u32,
    pub(crate) last_seen: u32,
    pub(crate) epoch: u32,
    pub(crate) backend: u32,
    pub(crate) backend_generation: u32,
    pub(crate) ifindex: u32,
    pub(crate) source: F::Address,
    pub(crate) destination: F::Address,
    pub(crate) next_hop: F::Address,
    pub(crate) ports: Ports,
    pub(crate) flags: u16,
    pub(crate) tcp_flags: u8,
    pub(crate) reserved: u8,
    pub(crate) group: u32,
    pub(crate) difference: u32,
    pub(crate) rest: F::Rest,
}

/// `lb_abi::FrontendKey4` or `FrontendKey6` in words. Packed, because that of IPv6 is no multiple of its address's words.
#[repr(C, packed(4))]
pub(crate) struct FrontendKey<F: Family> {
    /// Address.
    pub(crate) address: F::Address,
    /// Port, in network order.
    pub(crate) port: u16,
    /// Protocol number.
    pub(crate) protocol: u8,
    /// A `lb_abi::Scope`.
    pub(crate) scope: u8,
}

macro_rules! assert_same_layout {
    ($family:ty, $key:ty, $value:ty, $frontend:ty) => {
        const _: () = assert!(
            size_of::<Tuple<$family>>() == size_of::<$key>()
                && offset_of!(Tuple<$family>, ports) == offset_of!($key, source_port)
                && offset_of!(Tuple<$family>, kind) == offset_of!($key, kind)
                && size_of::<Flow<$family>>() == size_of::<$value>()
                && offset_of!(Flow<$family>, ifindex) == offset_of!($value, ifindex)
                && offset_of!(Flow<$family>, source) == offset_of!($value, source)
                && offset_of!(Flow<$family>, next_hop) == offset_of!($value, next_hop)
                && offset_of!(Flow<$family>, ports) == offset_of!($value, source_port)
                && offset_of!(Flow<$family>, flags) == offset_of!($value, flags)
                && offset_of!(Flow<$family>, group) == offset_of!($value, group)
                && offset_of!(Flow<$family>, difference) == offset_of!($value, difference)
                && offset_of!(Flow<$family>, rest) == offset_of!($value, rest)
                && size_of::<FrontendKey<$family>>() == size_of::<$frontend>()
                && offset_of!(FrontendKey<$family>, scope) == offset_of!($frontend, scope)
        );
    };
}

assert_same_layout!(V4, FlowKey4, FlowValue4, FrontendKey4);
assert_same_layout!(V6, FlowKey6, FlowValue6, FrontendKey6);

macro_rules! maps_of {
    ($flows:ident, $key:ty, $value:ty, $frontends:ident, $frontend_key:ty) => {
        #[inline(always)]
        fn flow(key: &Tuple<Self>) -> Option<&'static mut Flow<Self>> {
            // SAFETY: the layouts are the same (asserted above).
            let key = unsafe { &*core::ptr::from_ref(key).cast::<$key>() };
            let flow = $flows.get_ptr_mut(key)?;
            // SAFETY: the kernel keeps the entry's memory until the program ends. Other processors may write to it meanwhile; every
            // field is a word on its own.
            Some(unsafe { &mut *flow.cast() })
        }

        #[inline(always)]
        fn insert_flow(key: &Tuple<Self>, flow: &Flow<Self>, flags: u64) -> bool {
            // SAFETY: the layouts are the same (asserted above).
            let (key, flow) = unsafe {
                (
                    &*core::ptr::from_ref(key).cast::<$key>(),
                    &*core::ptr::from_ref(flow).cast::<$value>(),
                )
            };
            $flows.insert(key, flow, flags).is_ok()
        }

        #[inline(always)]
        fn remove_flow(key: &Tuple<Self>) {
            // SAFETY: the layouts are the same (asserted above).
            let key = unsafe { &*core::ptr::from_ref(key).cast::<$key>() };
            // An entry that is gone already is as good.
            let _ = $flows.remove(key);
        }

        #[inline(always)]
        fn frontend(key: &FrontendKey<Self>) -> Option<Frontend> {
            // SAFETY: the layouts are the same (asserted above); the row is copied at once.
            unsafe {
                let key = &*core::ptr::from_ref(key).cast::<$frontend_key>();
                $frontends.get_ptr(key).map(|row| *row)
            }
        }
    };
}

/// IPv4.
#[derive(Clone, Copy)]
pub(crate) struct V4;

impl Family for V4 {
    type Address = [u32; 1];
    type Rest = [u8; 4];
    const UNSPECIFIED: [u32; 1] = [0];
    const REST: [u8; 4] = [0; 4];
    const HEADER: usize = 20;
    const SOURCE: usize = 12;
    const SOCKET_FAMILY: u8 = 2;
    const HEADER_CHECKSUM: bool = true;

    maps_of!(FLOWS4, FlowKey4, FlowValue4, FRONTENDS4, FrontendKey4);

    #[inline(always)]
    unsafe fn read(from: *const [u32; 1]) -> [u32; 1] {
        // SAFETY: the caller's promise.
        unsafe { *from }
    }

    #[inline(always)]
    fn wide(address: &[u32; 1]) -> [u32; 4] {
        [address[0], 0, 0, 0]
    }

    #[inline(always)]
    fn narrow(wide: &[u32; 4]) -> [u32; 1] {
        [wide[0]]
    }

    #[inline(always)]
    fn mapped(address: &[u32; 1]) -> [u32; 4] {
        [0, 0, MAPPED, address[0]]
    }

    #[inline(always)]
    fn backend_address(backend: &Backend) -> [u32; 1] {
        [words(backend.address)[3]]
    }

    #[inline(always)]
    fn snat_address(config: &Config) -> [u32; 1] {
        [u32::from_ne_bytes(config.snat_address4)]
    }

    #[inline(always)]
    fn hairpin_address(config: &Config) -> [u32; 1] {
        [u32::from_ne_bytes(config.hairpin_address4)]
    }
}

/// IPv6.
#[derive(Clone, Copy)]
pub(crate) struct V6;

impl Family for V6 {
    type Address = Address6;
    type Rest = [u8; 0];
    const UNSPECIFIED: Address6 = Address6([0; 2]);
    const REST: [u8; 0] = [];
    const HEADER: usize = 40;
    const SOURCE: usize = 8;
    const SOCKET_FAMILY: u8 = 10;
    const HEADER_CHECKSUM: bool = false;

    maps_of!(FLOWS6, FlowKey6, FlowValue6, FRONTENDS6, FrontendKey6);

    #[inline(always)]
    unsafe fn read(from: *const Address6) -> Address6 {
        let words = from.cast::<u64>();
        // SAFETY: the caller's promise.
        unsafe { Address6([*words, *words.add(1)]) }
    }

    #[inline(always)]
    fn wide(address: &Address6) -> [u32; 4] {
        words(address.octets())
    }

    #[inline(always)]
    fn narrow(wide: &[u32; 4]) -> Address6 {
        Address6::new(bytes(*wide))
    }

    #[inline(always)]
    fn mapped(address: &Address6) -> [u32; 4] {
        words(address.octets())
    }

    #[inline(always)]
    fn backend_address(backend: &Backend) -> Address6 {
        Address6::new(backend.address)
    }

    #[inline(always)]
    fn snat_address(config: &Config) -> Address6 {
        Address6::new(config.snat_address6)
    }

    #[inline(always)]
    fn hairpin_address(config: &Config) -> Address6 {
        Address6::new(config.hairpin_address6)
    }
}

/// The words of sixteen bytes.
#[inline(always)]
pub(crate) fn words(bytes: [u8; 16]) -> [u32; 4] {
    // SAFETY: both are sixteen bytes, and every value of either is one of the other.
    unsafe { core::mem::transmute(bytes) }
}

/// The bytes of four words.
#[inline(always)]
pub(crate) fn bytes(words: [u32; 4]) -> [u8; 16] {
    // SAFETY: both are sixteen bytes, and every value of either is one of the other.
    unsafe { core::mem::transmute(words) }
}
