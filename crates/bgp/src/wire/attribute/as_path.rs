//! AS_PATH: segments, length, and the two-octet world (RFC 4271 section 4.3, RFC 6793).

use std::borrow::Cow;
use std::fmt;

use crate::wire::iana::{AS_TRANS, SegmentKind};

/// Most AS numbers one segment holds.
const SEGMENT_MAXIMUM: usize = 255;

/// A four-octet AS_PATH whose segments are known to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AsPath<'a>(&'a [u8]);

/// One segment of an AS_PATH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Its kind.
    pub kind: SegmentKind,
    /// Its AS numbers, leftmost (nearest) first.
    pub asns: Asns<'a>,
}

/// AS numbers of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asns<'a>(&'a [[u8; 4]]);

impl<'a> Asns<'a> {
    /// How many.
    #[must_use]
    pub fn len(self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The numbers.
    pub fn iter(self) -> impl ExactSizeIterator<Item = u32> + use<'a> {
        self.0.iter().map(|octets| u32::from_be_bytes(*octets))
    }
}

impl<'a> AsPath<'a> {
    /// The path a value carries; `None` when segments are of unknown kind, empty or cut.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        PathFacts::of::<4>(value, 0).ok().map(|_| Self(value))
    }

    /// Its segments, nearest first.
    pub fn segments(self) -> impl Iterator<Item = Segment<'a>> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (&[kind, count], after) = rest.split_first_chunk::<2>()?;
            let (asns, after) = after.split_at_checked(usize::from(count) * 4)?;
            rest = after;
            Some(Segment {
                kind: SegmentKind::from_number(kind)?,
                asns: Asns(asns.as_chunks().0),
            })
        })
    }

    /// All AS numbers, sets and confederations included, nearest first.
    pub fn asns(self) -> impl Iterator<Item = u32> + use<'a> {
        self.segments().flat_map(|segment| segment.asns.iter())
    }

    /// The wire form.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

/// `65001 65002 {65010,65011} (64512)`, as routers print it; nothing for an empty path.
impl fmt::Display for AsPath<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.segments().enumerate() {
            let (open, separator, close) = match segment.kind {
                SegmentKind::AsSequence => ("", " ", ""),
                SegmentKind::AsSet => ("{", ",", "}"),
                SegmentKind::ConfedSequence => ("(", " ", ")"),
                SegmentKind::ConfedSet => ("[", ",", "]"),
            };
            formatter.write_str(if index == 0 { "" } else { " " })?;
            formatter.write_str(open)?;
            for (index, asn) in segment.asns.iter().enumerate() {
                write!(
                    formatter,
                    "{}{asn}",
                    if index == 0 { "" } else { separator }
                )?;
            }
            formatter.write_str(close)?;
        }
        Ok(())
    }
}

/// What one pass over a path tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::wire) struct PathFacts {
    /// Length for selection: a set counts one, confederations nothing.
    pub(in crate::wire) length: u16,
    /// First AS, when the path begins with a sequence.
    pub(in crate::wire) first: Option<u32>,
    /// How often the AS looked for occurs.
    pub(in crate::wire) occurrences: u16,
    pub(in crate::wire) has_zero: bool,
    pub(in crate::wire) has_set: bool,
    pub(in crate::wire) has_confederation: bool,
    /// Whether a number needs four octets.
    pub(in crate::wire) has_wide: bool,
}

/// Segments of unknown kind, empty, or not filling the attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::wire) struct PathFault;

impl PathFacts {
    /// Facts of a path whose numbers take `WIDTH` octets, 2 or 4, counting `wanted` (0 counts nothing).
    pub(in crate::wire) fn of<const WIDTH: usize>(
        value: &[u8],
        wanted: u32,
    ) -> Result<Self, PathFault> {
        let mut facts = Self::default();
        let mut rest = value;
        let mut at_start = true;
        while !rest.is_empty() {
            let (&[kind, count], after) = rest.split_first_chunk::<2>().ok_or(PathFault)?;
            let kind = SegmentKind::from_number(kind).ok_or(PathFault)?;
            if count == 0 {
                return Err(PathFault);
            }
            let (asns, after) = after
                .split_at_checked(usize::from(count) * WIDTH)
                .ok_or(PathFault)?;
            for octets in asns.as_chunks::<WIDTH>().0 {
                let asn = octets
                    .iter()
                    .fold(0, |asn, octet| asn << 8 | u32::from(*octet));
                facts.has_zero |= asn == 0;
                facts.has_wide |= asn > u32::from(u16::MAX);
                facts.occurrences += u16::from(asn == wanted && wanted != 0);
                if at_start && kind == SegmentKind::AsSequence {
                    facts.first = Some(asn);
                }
                at_start = false;
            }
            facts.length = facts.length.saturating_add(match kind {
                SegmentKind::AsSequence => u16::from(count),
                SegmentKind::AsSet => 1,
                SegmentKind::ConfedSequence | SegmentKind::ConfedSet => 0,
            });
            facts.has_set |= matches!(kind, SegmentKind::AsSet | SegmentKind::ConfedSet);
            facts.has_confederation |=
                matches!(kind, SegmentKind::ConfedSequence | SegmentKind::ConfedSet);
            rest = after;
        }
        Ok(facts)
    }
}

/// Segments of a path whose numbers take `WIDTH` octets; ends at the first that does not fit.
fn raw_segments<const WIDTH: usize>(
    mut value: &[u8],
) -> impl Iterator<Item = (u8, &[[u8; WIDTH]])> {
    std::iter::from_fn(move || {
        let (&[kind, count], after) = value.split_first_chunk::<2>()?;
        let (asns, after) = after.split_at_checked(usize::from(count) * WIDTH)?;
        value = after;
        Some((kind, asns.as_chunks().0))
    })
}

/// A two-octet path, checked, in four octets.
pub(in crate::wire) fn widen(value: &[u8]) -> Vec<u8> {
    let mut wide = Vec::with_capacity(value.len() * 2);
    for (kind, asns) in raw_segments::<2>(value) {
        wide.extend([kind, u8::try_from(asns.len()).unwrap_or(u8::MAX)]);
        for [high, low] in asns {
            wide.extend([0, 0, *high, *low]);
        }
    }
    wide
}

/// The path a two-octet speaker's AS_PATH (`path`, already widened) and AS4_PATH mean together: as many leading
/// numbers of the former as the latter lacks, then the latter (RFC 6793 section 4.2.3). A longer AS4_PATH is ignored.
/// Confederation segments of the AS4_PATH are too (section 3).
pub(in crate::wire) fn merge_as4_path(path: &[u8], as4_path: &[u8]) -> Vec<u8> {
    let counted =
        |value: &[u8]| PathFacts::of::<4>(value, 0).map_or(0, |facts| usize::from(facts.length));
    let Some(mut lead) = counted(path).checked_sub(counted(as4_path)) else {
        return path.to_vec();
    };
    let mut merged = Vec::with_capacity(path.len() + as4_path.len());
    for (kind, asns) in raw_segments::<4>(path) {
        match SegmentKind::from_number(kind) {
            Some(SegmentKind::AsSequence) => {
                let taken = asns.len().min(lead);
                push_segment(&mut merged, kind, &asns[..taken]);
                lead -= taken;
            }
            Some(SegmentKind::AsSet) if lead > 0 => {
                push_segment(&mut merged, kind, asns);
                lead -= 1;
            }
            // Prepended by confederation members in front of what is taken, they stay with it.
            Some(SegmentKind::ConfedSequence | SegmentKind::ConfedSet)
                if lead > 0 || merged.is_empty() =>
            {
                push_segment(&mut merged, kind, asns);
            }
            Some(SegmentKind::AsSet | SegmentKind::ConfedSequence | SegmentKind::ConfedSet)
            | None => {}
        }
    }
    for (kind, asns) in raw_segments::<4>(as4_path) {
        if is_public(kind) {
            push_segment(&mut merged, kind, asns);
        }
    }
    merged
}

/// Appends a segment, joined with a sequence before it where both fit into one.
fn push_segment(path: &mut Vec<u8>, kind: u8, asns: &[[u8; 4]]) {
    if asns.is_empty() {
        return;
    }
    let last = last_segment(path);
    match last {
        Some((at, last_kind, count))
            if kind == SegmentKind::AsSequence.number()
                && last_kind == kind
                && count + asns.len() <= SEGMENT_MAXIMUM =>
        {
            path[at + 1] = u8::try_from(count + asns.len()).unwrap_or(u8::MAX);
        }
        Some(_) | None => path.extend([kind, u8::try_from(asns.len()).unwrap_or(u8::MAX)]),
    }
    path.extend_from_slice(asns.as_flattened());
}

/// Where the last segment begins, its kind and count.
fn last_segment(path: &[u8]) -> Option<(usize, u8, usize)> {
    let mut at = 0;
    let mut last = None;
    for (kind, asns) in raw_segments::<4>(path) {
        last = Some((at, kind, asns.len()));
        at += 2 + asns.len() * 4;
    }
    last
}

/// Appends a sequence of any number of ASNs, in as many segments as it takes.
pub(super) fn put_sequence(path: &mut Vec<u8>, asns: &[u32]) {
    for segment in asns.chunks(SEGMENT_MAXIMUM) {
        path.extend([
            SegmentKind::AsSequence.number(),
            u8::try_from(segment.len()).unwrap_or(u8::MAX),
        ]);
        path.extend(segment.iter().flat_map(|asn| asn.to_be_bytes()));
    }
}

/// `path` with `asn` in front, for an external peer (RFC 4271 section 5.1.2, b): without the segments of a confederation, which an internal
/// peer may have sent, and which nobody outside accepts (RFC 5065 sections 4.1 and 5).
pub(super) fn prepend(path: &[u8], asn: u32) -> Vec<u8> {
    let path = outside_confederation(path);
    let mut longer = Vec::with_capacity(path.len() + 6);
    match &*path {
        [kind, count, rest @ ..]
            if *kind == SegmentKind::AsSequence.number()
                && usize::from(*count) < SEGMENT_MAXIMUM =>
        {
            longer.extend([*kind, count + 1]);
            longer.extend(asn.to_be_bytes());
            longer.extend_from_slice(rest);
        }
        _ => {
            put_sequence(&mut longer, &[asn]);
            longer.extend_from_slice(&path);
        }
    }
    longer
}

/// Whether a segment is for everybody, and not for the members of one confederation.
fn is_public(kind: u8) -> bool {
    kind == SegmentKind::AsSequence.number() || kind == SegmentKind::AsSet.number()
}

fn outside_confederation(path: &[u8]) -> Cow<'_, [u8]> {
    if raw_segments::<4>(path).all(|(kind, _)| is_public(kind)) {
        return Cow::Borrowed(path);
    }
    let mut outside = Vec::with_capacity(path.len());
    for (kind, asns) in raw_segments::<4>(path).filter(|(kind, _)| is_public(*kind)) {
        push_segment(&mut outside, kind, asns);
    }
    Cow::Owned(outside)
}

/// What a two-octet speaker gets for a path: the AS_PATH with AS_TRANS for wide numbers, and an AS4_PATH where there
/// are any (RFC 6793 section 4.2.2), without confederation segments.
pub(super) fn narrow(path: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut narrow = Vec::with_capacity(path.len() / 2 + 2);
    let mut as4_path = Vec::new();
    for (kind, asns) in raw_segments::<4>(path) {
        narrow.extend([kind, u8::try_from(asns.len()).unwrap_or(u8::MAX)]);
        for octets in asns {
            narrow.extend(narrow_asn(u32::from_be_bytes(*octets)).to_be_bytes());
        }
        if is_public(kind) {
            as4_path.extend([kind, u8::try_from(asns.len()).unwrap_or(u8::MAX)]);
            as4_path.extend_from_slice(asns.as_flattened());
        }
    }
    let wide = PathFacts::of::<4>(path, 0).is_ok_and(|facts| facts.has_wide);
    (narrow, wide.then_some(as4_path))
}

/// An AS number in two octets (RFC 6793 section 4.2.2).
pub(super) fn narrow_asn(asn: u32) -> u16 {
    u16::try_from(asn).unwrap_or(AS_TRANS)
}
