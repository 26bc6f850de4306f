//! What a peer's UPDATE does to its Adj-RIB-In.

use std::net::{IpAddr, Ipv6Addr};

use super::attributes::AttributeId;
use super::encoding::{next_hop_octets, summarize};
use super::key::{Ipv4Key, Ipv6Key, PrefixKey};
use super::path::{Admission, Path};
use super::peers::Peer;
use super::{PeerFacts, PeerId, Rib};
use crate::wire::nlri::Nlri;
use crate::wire::update::MpReach;
use crate::wire::{Treatment, Update};

impl Rib {
    /// Applies a whole UPDATE: withdrawals, then announcements, or what RFC 7606 makes of them. A route that
    /// cannot be selected (our own AS in its path, RFC 4271 section 9.1.2; an unusable next hop, section 6.3)
    /// takes its predecessor's place all the same, without being eligible. End-of-RIB is not looked at:
    /// [`Rib::end_of_rib`] is.
    pub fn update(&mut self, peer: PeerId, update: &Update<'_>) {
        if self.peers.member(peer).is_none() {
            return;
        }
        for net in update.withdrawn {
            self.unlearn::<Ipv4Key>(peer, net.into());
        }
        if let Some(nlri) = update.mp_unreach {
            self.unlearn_all(peer, nlri);
        }
        match &update.treatment {
            Treatment::Accept | Treatment::Discard(_) => self.announced(peer, update),
            Treatment::Withdraw(_) => {
                self.unlearn_all(peer, Nlri::Ipv4(update.announced));
                if let Some(reach) = &update.mp_reach {
                    self.unlearn_all(peer, reach.nlri);
                }
            }
        }
    }

    fn announced(&mut self, peer: PeerId, update: &Update<'_>) {
        if let Some(next_hop) = update.attributes.summary().next_hop
            && !update.announced.is_empty()
        {
            let (attributes, admission) = self.admit(peer, update, next_hop.into(), &[]);
            for net in update.announced {
                self.learn::<Ipv4Key>(peer, net.into(), attributes, admission);
            }
            self.attributes.release(attributes);
        }
        if let Some(MpReach { next_hop, nlri }) = update.mp_reach {
            let (octets, length) = next_hop_octets(next_hop);
            let (attributes, admission) =
                self.admit(peer, update, next_hop.address(), &octets[..length]);
            match nlri {
                Nlri::Ipv4(nets) => nets
                    .for_each(|net| self.learn::<Ipv4Key>(peer, net.into(), attributes, admission)),
                Nlri::Ipv6(nets) => nets
                    .for_each(|net| self.learn::<Ipv6Key>(peer, net.into(), attributes, admission)),
            }
            self.attributes.release(attributes);
        }
    }

    /// Stores the attributes of an UPDATE, referenced once, and says what routes with them can be used for.
    fn admit(
        &mut self,
        peer: PeerId,
        update: &Update<'_>,
        next_hop: IpAddr,
        octets: &[u8],
    ) -> (AttributeId, Admission) {
        let summary = update.attributes.summary();
        let attributes = self
            .attributes
            .intern(update.attributes.bytes(), octets, || summarize(summary));
        let usable = |peer: &Peer| is_usable_next_hop(next_hop, &peer.facts);
        let usable = self.peers.get(peer).is_some_and(usable);
        // Reflected back to us (RFC 4456 section 8), it leads to where we are.
        let admission = if !usable || summary.originator_id == Some(self.router_id) {
            Admission::Unusable
        } else if summary.own_as_count > 0 {
            Admission::ForwardingOnly
        } else {
            Admission::Selectable
        };
        (attributes, admission)
    }

    fn learn<K: PrefixKey>(
        &mut self,
        peer: PeerId,
        key: K,
        attributes: AttributeId,
        admission: Admission,
    ) {
        self.attributes.retain(attributes);
        self.insert(key, Path::learned(peer, attributes, admission));
    }

    fn unlearn_all(&mut self, peer: PeerId, nlri: Nlri<'_>) {
        match nlri {
            Nlri::Ipv4(nets) => nets.for_each(|net| self.unlearn::<Ipv4Key>(peer, net.into())),
            Nlri::Ipv6(nets) => nets.for_each(|net| self.unlearn::<Ipv6Key>(peer, net.into())),
        }
    }

    fn unlearn<K: PrefixKey>(&mut self, peer: PeerId, key: K) {
        self.withdraw(key, |path| path.peer() == Some(peer));
    }
}

/// Whether an address can be the next hop of a route learned from a peer (RFC 4271 section 6.3): a unicast
/// address, and not our own.
pub(super) fn is_usable_next_hop(next_hop: IpAddr, facts: &PeerFacts) -> bool {
    let unicast = match next_hop {
        IpAddr::V4(address) => {
            let first = address.octets()[0];
            first != 0 && first < 224 && !address.is_loopback()
        }
        IpAddr::V6(address) => {
            !address.is_unspecified() && !address.is_multicast() && address != Ipv6Addr::LOCALHOST
        }
    };
    unicast && next_hop.to_canonical() != facts.local.to_canonical()
}
