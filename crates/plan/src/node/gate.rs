//! "Announced only when programmed".

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::observed::{DatapathState, ObservedDatapath};
use super::services::{Candidate, Standing};
use crate::withheld::{Addresses, Reason, Withheld};

/// Lets addresses of Services pass that the load balancer of this node serves, and all where it has none. What has to wait
/// is noted with the reason. An address that the node is not to serve at all (another node's Service, another proxy's)
/// neither passes nor waits.
pub(super) struct Gate<'a> {
    observed: Option<&'a ObservedDatapath>,
    waiting: Addresses<'a>,
}

impl<'a> Gate<'a> {
    /// Open, where nothing is observed.
    pub(super) fn new(observed: Option<&'a ObservedDatapath>) -> Self {
        Self {
            observed,
            waiting: Addresses::default(),
        }
    }

    /// The prefixes of those that pass, in order and each once.
    pub(super) fn admitted(&mut self, candidates: &'a BTreeSet<Candidate>) -> Vec<IpNet> {
        let Some(first) = candidates.first() else {
            return Vec::new();
        };
        let programmed = self.observed.map(|observed| &observed.programmed);
        // Both in order: no address is looked for.
        let mut programmed = programmed.map(|all| all.range(first.address..).peekable());
        let mut is_programmed = |address: IpAddr| {
            programmed.as_mut().is_some_and(|programmed| {
                while programmed.next_if(|before| **before < address).is_some() {}
                programmed.peek() == Some(&&address)
            })
        };
        let admitted = candidates.iter().filter(|candidate| {
            let Candidate { address, .. } = candidate;
            self.admits(candidate, || is_programmed(*address))
        });
        let mut prefixes: Vec<IpNet> = admitted.map(|candidate| candidate.prefix).collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        prefixes
    }

    fn admits(&mut self, candidate: &'a Candidate, is_programmed: impl FnOnce() -> bool) -> bool {
        let Some(observed) = self.observed else {
            return true;
        };
        let reason = match (candidate.standing, &observed.state) {
            (Standing::Restricted, _) => Reason::SourceRanges,
            (Standing::Unserved, _) => return false,
            (Standing::Served, DatapathState::Ready) if is_programmed() => return true,
            (Standing::Served, DatapathState::Ready) => Reason::NotProgrammed,
            (Standing::Served, DatapathState::Starting) => Reason::DatapathStarting,
            (Standing::Served, DatapathState::Unavailable(why)) => {
                Reason::DatapathUnavailable(Arc::clone(why))
            }
        };
        let Candidate {
            address, service, ..
        } = candidate;
        self.waiting.add(reason, *address, service);
        false
    }

    /// The addresses that pass as soon as the load balancer has programmed them.
    pub(super) fn awaited(&self) -> BTreeSet<IpNet> {
        let waiting = self.waiting.of(&Reason::NotProgrammed);
        waiting.map(IpNet::from).collect()
    }

    pub(super) fn into_withheld(self) -> Vec<Withheld> {
        self.waiting.into_withheld()
    }
}
