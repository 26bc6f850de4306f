//! Which prefix is announced to a peer, with which attributes.

use std::collections::{BTreeMap, BTreeSet};

use api::advertisement::{self, AdvertisementType};
use api::peer_config::PeerConfigSpec;
use ipnet::IpNet;

use super::instance::Context;
use super::{Attributes, IpFamily};
use crate::rejected::{Reason, Unsupported};

/// Everything `peer_config` lets be announced: for each family, the entries of all advertisement objects whose
/// labels its selector matches. No selector matches nothing, an empty one everything.
pub(super) fn plan(
    context: &Context<'_>,
    peer_config: &str,
    spec: &PeerConfigSpec,
    offered: &[IpFamily],
    reject: &mut impl FnMut(Reason),
) -> BTreeMap<IpNet, Attributes> {
    let mut announce: BTreeMap<IpNet, Attributes> = BTreeMap::new();
    // Entries are looked at once for each family, and told once.
    let mut faults = BTreeSet::new();
    for wanted in spec.effective_families() {
        // What is not carried out has been told where the peer's families are planned.
        let Some(family) = IpFamily::unicast(wanted.afi, wanted.safi) else {
            continue;
        };
        let Some(selector) = wanted
            .advertisements
            .as_ref()
            .filter(|_| offered.contains(&family))
        else {
            continue;
        };
        let selector = match selector.parse() {
            Ok(selector) => selector,
            Err(problem) => {
                let family = wanted.afi.as_str().to_owned();
                let peer_config = peer_config.to_owned();
                reject(Reason::SelectorInvalid {
                    family,
                    peer_config,
                    problem: problem.to_string(),
                });
                continue;
            }
        };
        for (name, advertisement) in context.advertisements {
            let empty = BTreeMap::new();
            if !selector.matches(advertisement.metadata.labels.as_ref().unwrap_or(&empty)) {
                continue;
            }
            for (index, entry) in advertisement.spec.advertisements.iter().enumerate() {
                let prefixes = match prefixes(context, name, index, entry.advertisement_type) {
                    Ok(prefixes) => prefixes,
                    Err(reason) => {
                        faults.insert(reason);
                        continue;
                    }
                };
                let mut prefixes = prefixes
                    .iter()
                    .filter(|prefix| family.contains(prefix))
                    .peekable();
                if prefixes.peek().is_none() {
                    continue;
                }
                let attributes = attributes(name, entry.attributes.as_ref(), reject);
                for prefix in prefixes {
                    announce.entry(*prefix).or_default().merge(&attributes);
                }
            }
        }
    }
    faults.into_iter().for_each(reject);
    announce
}

/// The prefixes of this node that an entry names.
fn prefixes<'a>(
    context: &Context<'a>,
    advertisement: &str,
    index: usize,
    kind: AdvertisementType,
) -> Result<&'a [IpNet], Reason> {
    match kind {
        AdvertisementType::PodCidr => {
            let node = context.node;
            Ok(node.map_or(&[], |node| node.pod_cidrs.as_slice()))
        }
        AdvertisementType::Service => match context.services.of(advertisement, index) {
            None => Ok(&[]),
            Some(Ok(prefixes)) => Ok(prefixes),
            Some(Err(problem)) => Err(Reason::AdvertisementSelectorInvalid {
                advertisement: advertisement.to_owned(),
                problem: problem.to_string(),
            }),
        },
        AdvertisementType::Interface => {
            Err(Reason::Unsupported(Unsupported::InterfaceAdvertisement))
        }
        AdvertisementType::CiliumPodIpPool => {
            Err(Reason::Unsupported(Unsupported::PodIpPoolAdvertisement))
        }
    }
}

/// The attributes of one entry; a value that cannot be is left out and named.
fn attributes(
    advertisement: &str,
    wanted: Option<&advertisement::Attributes>,
    reject: &mut impl FnMut(Reason),
) -> Attributes {
    let mut attributes = Attributes::default();
    let Some(wanted) = wanted else {
        return attributes;
    };
    if let Some(value) = wanted.local_preference {
        match u32::try_from(value) {
            Ok(value) => attributes.local_preference = Some(value),
            Err(_) => {
                reject(Reason::LocalPreferenceInvalid {
                    advertisement: advertisement.to_owned(),
                    value,
                });
            }
        }
    }
    let Some(communities) = &wanted.communities else {
        return attributes;
    };
    let mut malformed = |community: &str| {
        let (advertisement, community) = (advertisement.to_owned(), community.to_owned());
        reject(Reason::CommunityInvalid {
            advertisement,
            community,
        });
    };
    for community in &communities.standard {
        match community.value() {
            Some(value) => drop(attributes.communities.insert(value)),
            None => malformed(&community.0),
        }
    }
    attributes
        .communities
        .extend(communities.well_known.iter().map(|name| name.value()));
    for community in &communities.large {
        match community.value() {
            Some([global, local1, local2]) => {
                attributes
                    .large_communities
                    .insert((global, local1, local2));
            }
            None => malformed(&community.0),
        }
    }
    attributes
}
