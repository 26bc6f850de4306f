//! What a two-octet speaker says for four-octet ones (RFC 6793).

use crate::wire::attribute::{PathFacts, RawAttribute};
use crate::wire::iana::{AS_TRANS, AttributeCode};

/// What a two-octet speaker adds for four-octet ones, found before the pass because it stands behind what it completes.
#[derive(Default)]
pub(super) struct As4<'a> {
    /// A well-formed AS4_PATH.
    pub(super) path: Option<&'a [u8]>,
    /// A well-formed AS4_AGGREGATOR: eight octets, and an AS other than 0 (RFC 7607 section 2).
    pub(super) aggregator: Option<&'a [u8; 8]>,
    /// An AGGREGATOR with a two-octet AS of its own voids both (RFC 6793 section 4.2.3).
    pub(super) ignored: bool,
}

impl<'a> As4<'a> {
    pub(super) fn find(mut block: &'a [u8]) -> Self {
        let mut found = Self::default();
        while let Some(attribute) = RawAttribute::take(&mut block) {
            match AttributeCode::from_number(attribute.code) {
                Some(AttributeCode::As4Path) if found.path.is_none() => {
                    let fits = PathFacts::of::<4>(attribute.value, 0).is_ok()
                        && !attribute.value.is_empty();
                    found.path = fits.then_some(attribute.value);
                }
                Some(AttributeCode::As4Aggregator) => {
                    let value: Option<&[u8; 8]> = attribute.value.try_into().ok();
                    let fits = value.filter(|value| value[..4] != [0; 4]);
                    found.aggregator = found.aggregator.or(fits);
                }
                Some(AttributeCode::Aggregator) => {
                    found.ignored = attribute.value.len() == 6
                        && attribute.value[..2] != AS_TRANS.to_be_bytes();
                }
                Some(_) | None => {}
            }
        }
        // Without AS4_AGGREGATOR the peer's AGGREGATOR says nothing about its AS4_PATH.
        found.ignored &= found.aggregator.is_some();
        found
    }
}
