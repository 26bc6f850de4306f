//! One route of one peer to one destination, in eight octets, and where several of them are kept.

use super::PeerId;
use super::attributes::AttributeId;

/// A path: whose, with which attributes, and its marks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Path {
    pub(super) attributes: AttributeId,
    /// Peer in the lower 24 bits, marks in the upper 8.
    tag: u32,
}

/// The peer field of what this speaker originates.
const LOCAL: u32 = 0x00ff_ffff;
const PEER_MASK: u32 = 0x00ff_ffff;
const ELIGIBLE: u32 = 1 << 24;
const STALE: u32 = 1 << 25;
const UNREFRESHED: u32 = 1 << 26;
const FORWARDS: u32 = 1 << 27;

/// What a learned path may be used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Admission {
    /// To be selected, passed on and forwarded by.
    Selectable,
    /// To be forwarded by, and nothing else: it has been in our AS before (RFC 4271 section 9.1.2). Where the nodes of one AS meet at a
    /// router of another, only such paths lead from one to the other; they loop only for who passes them on.
    ForwardingOnly,
    /// For nothing: its next hop cannot be one.
    Unusable,
}

impl Path {
    pub(super) fn learned(peer: PeerId, attributes: AttributeId, admission: Admission) -> Self {
        debug_assert!(peer.0 < LOCAL, "peer ids are below 2^24 - 1");
        let marks = match admission {
            Admission::Selectable => ELIGIBLE | FORWARDS,
            Admission::ForwardingOnly => FORWARDS,
            Admission::Unusable => 0,
        };
        Self {
            attributes,
            tag: peer.0 & PEER_MASK | marks,
        }
    }

    pub(super) fn local(attributes: AttributeId) -> Self {
        Self {
            attributes,
            tag: LOCAL | ELIGIBLE | FORWARDS,
        }
    }

    /// Whose it is; `None` if this speaker originates it.
    pub(super) fn peer(self) -> Option<PeerId> {
        let peer = self.tag & PEER_MASK;
        (peer != LOCAL).then_some(PeerId(peer))
    }

    /// Same peer, or both local.
    pub(super) fn same_source(self, other: Self) -> bool {
        (self.tag ^ other.tag) & PEER_MASK == 0
    }

    pub(super) fn is_local(self) -> bool {
        self.tag & PEER_MASK == LOCAL
    }

    pub(super) fn is_eligible(self) -> bool {
        self.tag & ELIGIBLE != 0
    }

    /// Whether packets may be forwarded by it; so they may by every one that may be selected.
    pub(super) fn forwards(self) -> bool {
        self.tag & FORWARDS != 0
    }

    /// Whether both may be used for the same.
    pub(super) fn same_admission(self, other: Self) -> bool {
        (self.tag ^ other.tag) & (ELIGIBLE | FORWARDS) == 0
    }

    /// Kept for a peer that is restarting (RFC 4724 section 4.2).
    pub(super) fn is_stale(self) -> bool {
        self.tag & STALE != 0
    }

    /// Not repeated since the peer's Beginning-of-RIB (RFC 7313 section 4).
    pub(super) fn is_unrefreshed(self) -> bool {
        self.tag & UNREFRESHED != 0
    }

    pub(super) fn mark_stale(&mut self) {
        self.tag |= STALE;
    }

    pub(super) fn mark_unrefreshed(&mut self) {
        self.tag |= UNREFRESHED;
    }

    /// A block's filler, never seen.
    fn vacant() -> Self {
        Self {
            attributes: AttributeId::NONE,
            tag: 0,
        }
    }

    /// A path's eight octets holding an index instead: into the arena, or the list of free destinations.
    pub(super) fn from_index(index: u32) -> Self {
        Self {
            attributes: AttributeId::NONE,
            tag: index,
        }
    }

    pub(super) fn index(self) -> u32 {
        self.tag
    }
}

/// Blocks of 2, 4, 8, … paths for destinations that have more than one.
#[derive(Debug, Default)]
pub(super) struct PathArena {
    classes: Vec<SizeClass>,
}

#[derive(Debug, Default)]
struct SizeClass {
    paths: Vec<Path>,
    free: Vec<u32>,
}

/// The size class of a list of `count` paths: blocks of `2 << class`.
fn class_of(count: u32) -> usize {
    debug_assert!(count >= 2);
    count.next_power_of_two().trailing_zeros() as usize - 1
}

impl PathArena {
    pub(super) fn get(&self, block: u32, count: u32) -> &[Path] {
        let start = block as usize;
        &self.classes[class_of(count)].paths[start..start + count as usize]
    }

    pub(super) fn get_mut(&mut self, block: u32, count: u32) -> &mut [Path] {
        let start = block as usize;
        &mut self.classes[class_of(count)].paths[start..start + count as usize]
    }

    /// A block for two paths.
    pub(super) fn pair(&mut self, first: Path, second: Path) -> u32 {
        let block = self.allocate(0);
        self.get_mut(block, 2).copy_from_slice(&[first, second]);
        block
    }

    /// Appends to a list of `count` paths; where it is afterwards.
    pub(super) fn push(&mut self, block: u32, count: u32, path: Path) -> u32 {
        let block = self.resize(block, count, count + 1);
        self.get_mut(block, count + 1)[count as usize] = path;
        block
    }

    /// Removes one of `count` > 2 paths, the last taking its place; where the list is afterwards.
    pub(super) fn swap_remove(&mut self, block: u32, count: u32, position: usize) -> u32 {
        self.get_mut(block, count)
            .swap(position, count as usize - 1);
        self.resize(block, count, count - 1)
    }

    /// Gives back the block of a list of `count` paths.
    pub(super) fn release(&mut self, block: u32, count: u32) {
        self.classes[class_of(count)].free.push(block);
    }

    fn resize(&mut self, block: u32, count: u32, wanted: u32) -> u32 {
        let (old, new) = (class_of(count), class_of(wanted));
        if old == new {
            return block;
        }
        let target = self.allocate(new);
        for offset in 0..count.min(wanted) as usize {
            let path = self.classes[old].paths[block as usize + offset];
            self.classes[new].paths[target as usize + offset] = path;
        }
        self.classes[old].free.push(block);
        target
    }

    fn allocate(&mut self, class: usize) -> u32 {
        if class >= self.classes.len() {
            self.classes.resize_with(class + 1, SizeClass::default);
        }
        let class_paths = &mut self.classes[class];
        class_paths.free.pop().unwrap_or_else(|| {
            let block = class_paths.paths.len();
            class_paths
                .paths
                .resize(block + (2 << class), Path::vacant());
            u32::try_from(block).expect("fewer than 2^32 paths fit into memory")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(number: u32) -> Path {
        Path::learned(PeerId(number), AttributeId::NONE, Admission::Selectable)
    }

    #[test]
    fn lists_keep_their_paths_while_they_grow_and_shrink() {
        let mut arena = PathArena::default();
        let other = arena.pair(path(100), path(101));
        let mut block = arena.pair(path(0), path(1));
        for number in 2..20 {
            block = arena.push(block, number, path(number));
        }
        let peers = |arena: &PathArena, block, count| {
            arena
                .get(block, count)
                .iter()
                .map(|path| path.peer().unwrap().0)
                .collect::<Vec<_>>()
        };
        assert_eq!(peers(&arena, block, 20), (0..20).collect::<Vec<_>>());
        for count in (3..=20).rev() {
            block = arena.swap_remove(block, count, 0);
        }
        assert_eq!(peers(&arena, block, 2).len(), 2);
        assert_eq!(peers(&arena, other, 2), [100, 101]);
    }

    #[test]
    fn marks_do_not_disturb_the_peer() {
        let mut path = Path::learned(
            PeerId(0x00ab_cdef),
            AttributeId::NONE,
            Admission::Selectable,
        );
        path.mark_stale();
        path.mark_unrefreshed();
        assert_eq!(path.peer(), Some(PeerId(0x00ab_cdef)));
        assert!(path.is_eligible() && path.is_stale() && path.is_unrefreshed() && !path.is_local());
        assert!(
            Path::local(AttributeId::NONE).is_local()
                && Path::local(AttributeId::NONE).is_eligible()
        );
    }
}
