//! What is kept although no Service wants it: "withdrawn before it is unprogrammed".

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::DatapathPlan;

/// Addresses in the maps that no Service of the plan has, as long as a prefix that covers them is still announced and is
/// being withdrawn, one of `leaving`. An aggregate that stays announced for others holds nothing: it would do so for ever.
pub(in crate::node) fn hold(
    plan: &DatapathPlan,
    programmed: &BTreeSet<IpAddr>,
    leaving: &[&IpNet],
) -> BTreeSet<IpAddr> {
    let inside = leaving.iter().flat_map(|prefix| within(programmed, prefix));
    let mut held: BTreeSet<IpAddr> = inside.copied().collect();
    if held.is_empty() {
        return held;
    }
    for wanted in plan.addresses() {
        held.remove(&wanted);
    }
    held
}

/// The addresses that lie in a prefix. All of IPv4 are before all of IPv6, and those of a network lie together.
pub(in crate::node) fn within<'a>(
    addresses: &'a BTreeSet<IpAddr>,
    prefix: &IpNet,
) -> impl Iterator<Item = &'a IpAddr> {
    addresses.range(prefix.network()..=prefix.broadcast())
}
