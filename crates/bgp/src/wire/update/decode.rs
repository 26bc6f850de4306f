//! Decoding: the lengths, the prefixes outside attributes, then the attributes in one pass.

use super::scan::{Scan, Scanned};
use super::{DecodeContext, Treatment, Update};
use crate::family::Family;
use crate::wire::attribute::AttributeBlock;
use crate::wire::error::{DecodeError, NetworkField};
use crate::wire::nlri::Ipv4Prefixes;

/// Decodes what follows the header.
///
/// # Errors
/// What RFC 7606 answers with a session reset; everything milder is in [`Update::treatment`].
pub fn decode<'a>(body: &'a [u8], context: &DecodeContext) -> Result<Update<'a>, DecodeError> {
    let (withdrawn, rest) = counted(body)?;
    let (block, announced) = counted(rest)?;
    let withdrawn = Ipv4Prefixes::parse(withdrawn)
        .ok_or(DecodeError::InvalidNetworkField(NetworkField::Withdrawn))?;
    let announced = Ipv4Prefixes::parse(announced)
        .ok_or(DecodeError::InvalidNetworkField(NetworkField::Announced))?;
    let empty = withdrawn.is_empty() && announced.is_empty();
    let has_ipv4 = context.families.contains(&Family::IPV4_UNICAST);
    let mut update = Update {
        withdrawn: if has_ipv4 {
            withdrawn
        } else {
            Ipv4Prefixes::EMPTY
        },
        announced: if has_ipv4 {
            announced
        } else {
            Ipv4Prefixes::EMPTY
        },
        mp_reach: None,
        mp_unreach: None,
        end_of_rib: None,
        attributes: AttributeBlock::default(),
        treatment: Treatment::Accept,
    };
    if block.is_empty() && announced.is_empty() {
        update.end_of_rib = (empty && has_ipv4).then_some(Family::IPV4_UNICAST);
        return Ok(update);
    }
    let scanned = Scan::new(block, context, &update.announced).run(!announced.is_empty())?;
    let Scanned {
        attributes,
        mp_reach,
        mp_unreach,
        nothing_but_unreach,
        treatment,
    } = scanned;
    update.attributes = attributes;
    update.mp_reach = mp_reach;
    update.treatment = treatment;
    match mp_unreach {
        Some(nlri) if empty && nothing_but_unreach && nlri.is_empty() => {
            update.end_of_rib = Some(nlri.family());
        }
        mp_unreach => update.mp_unreach = mp_unreach,
    }
    Ok(update)
}

/// A two-octet length, as many octets, and what is behind them (RFC 7606 section 3, b: else the session is reset).
fn counted(bytes: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    let (length, rest) = bytes
        .split_first_chunk::<2>()
        .ok_or(DecodeError::LengthsOverrun)?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
        .ok_or(DecodeError::LengthsOverrun)
}
