//! Which frontend, and which of its backends.

use crate::family::{Family, FrontendKey, Tuple};
use crate::maps::{BACKENDS, GROUPS, RINGS, SLOTS, filter_holds};
use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use lb_abi::{
    AddressHash, Backend, FILTER_ROWS, Frontend, Group, RING_SIZES, RING_SLOTS_PER_CHUNK,
    SLOTS_PER_CHUNK, Scope, flow_hash, frontend_flags,
};

/// The frontend at an address, port (in network order) and protocol. Callers inside the cluster get the row for them where there is one.
#[inline(always)]
pub(crate) fn frontend<F: Family>(
    address: F::Address,
    port: u16,
    protocol: u8,
    inside: bool,
) -> Option<Frontend> {
    let mut key = FrontendKey::<F> {
        address,
        port,
        protocol,
        scope: Scope::External as u8,
    };
    let frontend = F::frontend(&key)?;
    if inside && frontend.flags & frontend_flags::TWO_SCOPES != 0 {
        key.scope = Scope::Internal as u8;
        return F::frontend(&key);
    }
    Some(frontend)
}

/// Whether there is or lately was a frontend where a client's packet goes, or at all ports of that address: a wrong yes costs lookups.
/// `hash` is the destination's.
#[inline(always)]
pub(crate) fn may_be_frontend<F: Family>(client: &Tuple<F>, hash: AddressHash) -> bool {
    let bit = hash.row_bit(client.ports.destination(), client.protocol);
    filter_holds(FILTER_ROWS, bit) || filter_holds(FILTER_ROWS, hash.bit())
}

/// Whether an address is a virtual one: nobody answers for those of its ports that are no frontends.
#[inline(always)]
pub(crate) fn is_virtual<F: Family>(address: F::Address) -> bool {
    frontend::<F>(address, 0, 0, false).is_some()
}

/// Sizes of rings by class, as many as four bits can name: so that a mask is proof enough for the verifier, which loses a comparison when
/// LLVM moves it.
static SIZES: [u32; 16] = {
    let mut sizes = [0; 16];
    let mut class = 0;
    while class < RING_SIZES.len() {
        sizes[class] = RING_SIZES[class];
        class += 1;
    }
    sizes
};

/// A backend and its id.
pub(crate) struct Chosen {
    /// Id.
    pub(crate) id: u32,
    /// Row.
    pub(crate) backend: &'static Backend,
}

/// A place in a group's list.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    group: Group,
    ordinal: u32,
}

impl Place {
    /// The backend there; `None` where there is none.
    #[inline(always)]
    pub(crate) fn backend(&self) -> Option<Chosen> {
        in_list(&self.group, self.ordinal)
    }

    /// Goes on to the next, and to the first after the last.
    #[inline(always)]
    pub(crate) fn advance(&mut self) {
        let next = self.ordinal + 1;
        self.ordinal = if next < self.group.count as u32 {
            next
        } else {
            0
        };
    }
}

/// The place among a frontend's backends that a new flow gets; `None` where there is none.
#[inline(always)]
pub(crate) fn for_flow<F: Family>(
    frontend: &Frontend,
    tuple: &Tuple<F>,
    seed: u32,
) -> Option<Place> {
    let group = group(frontend.group)?;
    let size = SIZES[group.ring_class as usize & (SIZES.len() - 1)];
    let ordinal = if frontend.flags & frontend_flags::RING != 0 && size != 0 {
        let ports = tuple.ports.0.rotate_left(16);
        let hash = flow_hash(seed, tuple.source.as_ref(), ports, tuple.protocol);
        in_ring(group.ring_start + scale(hash, size))?
    } else {
        // SAFETY: takes and gives a number.
        scale(unsafe { bpf_get_prandom_u32() }, group.count as u32)
    };
    Some(Place { group, ordinal })
}

/// One of a frontend's backends by a number that is spread over all 32 bits; `None` where there is none.
#[inline(always)]
pub(crate) fn by_number(frontend: &Frontend, number: u32) -> Option<Chosen> {
    let group = group(frontend.group)?;
    in_list(&group, scale(number, group.count as u32))
}

/// A group, read at once: list and ring are of the same moment.
#[inline(always)]
fn group(id: u32) -> Option<Group> {
    let word = GROUPS.get_ptr(id)?;
    // SAFETY: the kernel gave the pointer; the agent writes whole words.
    Some(Group::unpack(unsafe { word.read_volatile() }))
}

/// A number below `bound`. Multiplied and shifted: the verifier does not follow what LLVM makes of a remainder.
#[inline(always)]
pub(crate) fn scale(number: u32, bound: u32) -> u32 {
    ((number as u64 * bound as u64) >> 32) as u32
}

#[inline(always)]
fn in_ring(place: u32) -> Option<u32> {
    let chunk = RINGS.get_ptr(place / RING_SLOTS_PER_CHUNK)?.cast::<u16>();
    let index = (place % RING_SLOTS_PER_CHUNK) as usize;
    // SAFETY: the index is below the chunk's length, a power of two, which the verifier sees by the mask.
    Some(unsafe { *chunk.add(index) } as u32)
}

#[inline(always)]
fn in_list(group: &Group, ordinal: u32) -> Option<Chosen> {
    if ordinal >= group.count as u32 {
        return None;
    }
    let slot = group.first_slot + ordinal;
    let chunk = SLOTS.get_ptr(slot / SLOTS_PER_CHUNK)?.cast::<u32>();
    let index = (slot % SLOTS_PER_CHUNK) as usize;
    // SAFETY: as in `in_ring`.
    let id = unsafe { *chunk.add(index) };
    let backend = present(id)?;
    Some(Chosen { id, backend })
}

/// A backend's row, where the id is in use.
#[inline(always)]
pub(crate) fn present(id: u32) -> Option<&'static Backend> {
    BACKENDS
        .get(id)
        .filter(|backend| backend.flags & lb_abi::backend_flags::PRESENT != 0)
}
