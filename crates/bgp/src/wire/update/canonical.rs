//! What a pass over attributes keeps: which codes it met, and the canonical block.

use std::borrow::Cow;
use std::ops::Range;

use crate::wire::attribute::put_attribute;
use crate::wire::iana::AttributeCode;

/// Codes met so far.
#[derive(Default)]
pub(super) struct Seen {
    bits: [u64; 4],
    /// Whether any was not MP_UNREACH_NLRI.
    pub(super) others: bool,
}

impl Seen {
    /// Whether `code` is new.
    pub(super) fn insert(&mut self, code: u8) -> bool {
        self.others |= code != AttributeCode::MpUnreachNlri.number();
        let (word, bit) = (&mut self.bits[usize::from(code >> 6)], 1 << (code & 63));
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    pub(super) fn has(&self, code: AttributeCode) -> bool {
        let code = code.number();
        self.bits[usize::from(code >> 6)] & (1 << (code & 63)) != 0
    }
}

/// The canonical block under construction: a piece of the message as long as what is kept hangs together.
pub(super) struct Canonical<'a> {
    block: &'a [u8],
    kept: Range<usize>,
    owned: Option<Vec<u8>>,
}

impl<'a> Canonical<'a> {
    pub(super) fn new(block: &'a [u8]) -> Self {
        Self {
            block,
            kept: 0..0,
            owned: None,
        }
    }

    pub(super) fn keep(&mut self, at: Range<usize>) {
        match &mut self.owned {
            Some(owned) => owned.extend_from_slice(&self.block[at]),
            None if self.kept.is_empty() => self.kept = at,
            None if self.kept.end == at.start => self.kept.end = at.end,
            None => {
                let block = self.block;
                self.own().extend_from_slice(&block[at]);
            }
        }
    }

    pub(super) fn replace(&mut self, flags: u8, code: u8, value: &[u8]) {
        put_attribute(self.own(), flags, code, value);
    }

    fn own(&mut self) -> &mut Vec<u8> {
        let kept = &self.block[self.kept.clone()];
        let room = self.block.len() * 2;
        self.owned.get_or_insert_with(|| {
            let mut owned = Vec::with_capacity(room);
            owned.extend_from_slice(kept);
            owned
        })
    }

    pub(super) fn finish(self) -> Cow<'a, [u8]> {
        match self.owned {
            Some(owned) => Cow::Owned(owned),
            None => Cow::Borrowed(&self.block[self.kept]),
        }
    }
}
