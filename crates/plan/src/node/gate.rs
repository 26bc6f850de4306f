//! "Announced only when programmed".

use std::net::IpAddr;
use std::sync::Arc;

use super::datapath::DatapathPlan;
use super::observed::{DatapathState, ObservedDatapath};
use crate::snapshot::{NamespacedName, ServiceFacts};
use crate::withheld::{Addresses, Reason, Withheld};

/// Lets addresses of Services pass that the load balancer of this node serves, and all where it has none. What has to wait
/// is noted with the reason. An address that the node is not to serve at all (another node's Service, another proxy's)
/// neither passes nor waits.
pub(super) struct Gate<'a> {
    rule: Option<Rule<'a>>,
    waiting: Addresses<'a>,
}

struct Rule<'a> {
    plan: &'a DatapathPlan,
    observed: &'a ObservedDatapath,
}

impl<'a> Gate<'a> {
    pub(super) fn new(
        plan: Option<&'a DatapathPlan>,
        observed: Option<&'a ObservedDatapath>,
    ) -> Self {
        Self {
            rule: plan
                .zip(observed)
                .map(|(plan, observed)| Rule { plan, observed }),
            waiting: Addresses::default(),
        }
    }

    pub(super) fn admits(
        &mut self,
        name: &'a NamespacedName,
        service: &ServiceFacts,
        address: IpAddr,
    ) -> bool {
        let Some(Rule { plan, observed }) = &self.rule else {
            return true;
        };
        let address = address.to_canonical();
        let is_served = plan
            .services
            .get(name)
            .is_some_and(|planned| planned.has(address));
        let reason = match (is_served, &observed.state) {
            (false, _) if service.has_source_ranges => Reason::SourceRanges,
            (false, _) => return false,
            (true, DatapathState::Ready) if observed.programmed.contains(&address) => return true,
            (true, DatapathState::Ready) => Reason::NotProgrammed,
            (true, DatapathState::Starting) => Reason::DatapathStarting,
            (true, DatapathState::Unavailable(why)) => Reason::DatapathUnavailable(Arc::clone(why)),
        };
        self.waiting.add(reason, address, name);
        false
    }

    pub(super) fn into_withheld(self) -> Vec<Withheld> {
        self.waiting.into_withheld()
    }
}
