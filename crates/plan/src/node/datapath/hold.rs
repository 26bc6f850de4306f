//! What is kept although no Service wants it: "withdrawn before it is unprogrammed".

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::DatapathPlan;

/// Addresses in the maps that no Service of the plan has, as long as a prefix that covers them is still announced and is
/// being withdrawn, one of `leaving`. An aggregate that stays announced for others holds nothing: it would do so for ever.
pub(in crate::node) fn hold<'a>(
    plan: &DatapathPlan,
    programmed: &BTreeSet<IpAddr>,
    leaving: impl Iterator<Item = &'a IpNet>,
) -> BTreeSet<IpAddr> {
    let mut held = BTreeSet::new();
    for prefix in leaving {
        held.extend(programmed.range(prefix.network()..=last(prefix)));
    }
    if held.is_empty() {
        return held;
    }
    for service in plan.services.values() {
        for frontend in &service.frontends {
            if let Some(wanted) = frontend.address.ip() {
                held.remove(&wanted);
            }
        }
    }
    held
}

/// All addresses of an IPv4 network are before all of IPv6, and those of a network lie together.
fn last(prefix: &IpNet) -> IpAddr {
    prefix.broadcast()
}
