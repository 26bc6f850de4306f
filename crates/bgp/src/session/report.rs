//! A session as seen from outside.

use std::net::Ipv4Addr;

use super::Session;
use crate::report::{DownReason, FamilyReport, PeerReport, SessionState};
use crate::rib::Rib;

/// What is remembered of a peer for its report.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) asn: Option<u32>,
    pub(super) router_id: Option<Ipv4Addr>,
    pub(super) last_down: Option<DownReason>,
    /// Failures told since the session was up.
    pub(super) told: Vec<DownReason>,
    pub(super) flaps: u64,
}

impl Session {
    /// The peer as it is.
    pub(crate) fn report(&self, rib: &Rib) -> PeerReport {
        let up = self.primary.machine.established();
        let negotiated = self
            .primary
            .machine
            .negotiated()
            .or_else(|| self.second.machine.negotiated());
        let families = up.map_or(&[][..], |up| &up.negotiated.families);
        PeerReport {
            name: self.name.clone(),
            address: self.config.address,
            port: self.config.port,
            asn: self.config.peer_asn.or(self.history.asn),
            router_id: self.history.router_id,
            state: self.state(),
            established_at: up.map(|up| up.since),
            hold_time: negotiated.map(|negotiated| negotiated.hold_time),
            keepalive: negotiated.map(|negotiated| negotiated.keepalive),
            families: families
                .iter()
                .map(|&family| {
                    let counts = rib.counts(self.id, family);
                    FamilyReport {
                        family,
                        received: counts.received,
                        accepted: counts.accepted,
                        advertised: counts.advertised,
                    }
                })
                .collect(),
            last_down: self.history.last_down.clone(),
            flaps: self.history.flaps,
            end_of_rib_sent: up.is_some() && rib.end_of_rib_sent(self.id),
        }
    }

    /// The state of the connection that got furthest; before that, of the one we make.
    fn state(&self) -> SessionState {
        let (primary, second) = (self.primary.machine.name(), self.second.machine.name());
        if second >= SessionState::OpenSent {
            primary.max(second)
        } else {
            primary
        }
    }
}
