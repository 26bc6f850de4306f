//! Route selection (RFC 4271 section 9.1.2) as elimination: each step keeps the candidates that are best by
//! it, and the step that leaves one alone is the reason.
//!
//! Elimination over the whole set makes MULTI_EXIT_DISC deterministic: it only compares routes of one
//! neighbouring AS, so that a pairwise order would not be transitive.

use std::net::IpAddr;

use super::attributes::Summary;

/// Why the best path is the best: the step that excluded its last rival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SelectionReason {
    /// There was no other eligible path.
    OnlyPath,
    /// This speaker originates it; nothing learned takes its place.
    LocallyOriginated,
    /// Highest LOCAL_PREF (RFC 4271 section 9.1.1).
    LocalPreference,
    /// Shortest AS_PATH (section 9.1.2.2 a).
    AsPathLength,
    /// Lowest ORIGIN (section 9.1.2.2 b).
    Origin,
    /// Lowest MULTI_EXIT_DISC among routes of the same neighbouring AS (section 9.1.2.2 c).
    MultiExitDiscriminator,
    /// Learned from an external peer (section 9.1.2.2 d).
    ExternalPeer,
    /// Lowest BGP identifier, or ORIGINATOR_ID where present (section 9.1.2.2 f; RFC 4456 section 9).
    RouterId,
    /// Shortest CLUSTER_LIST (RFC 4456 section 9).
    ClusterListLength,
    /// Lowest peer address (RFC 4271 section 9.1.2.2 g).
    PeerAddress,
    /// Two sessions to one address: the peer that was configured first.
    PeerIdentity,
}

/// What the decision knows of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Where it is in its destination's list.
    pub(super) position: usize,
    pub(super) summary: Summary,
    /// `None`: originated here.
    pub(super) from: Option<CandidatePeer>,
}

/// What the decision knows of a path's peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CandidatePeer {
    pub(super) external: bool,
    pub(super) router_id: u32,
    pub(super) address: IpAddr,
    pub(super) id: u32,
}

/// The outcome of a selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decision {
    /// The best path's place in its destination's list.
    pub(super) position: usize,
    pub(super) reason: SelectionReason,
}

type Step = (SelectionReason, fn(&mut Vec<Candidate>));

/// Steps up to the multipath boundary. The metric to the next hop (section 9.1.2.2 e) would be the last of
/// them: all our next hops count as directly reachable.
const PREFERENCE: [Step; 6] = [
    (SelectionReason::LocallyOriginated, |rest| {
        keep_least(rest, |candidate| candidate.from.is_some());
    }),
    (SelectionReason::LocalPreference, |rest| {
        keep_least(rest, |candidate| !candidate.summary.local_preference);
    }),
    (SelectionReason::AsPathLength, |rest| {
        keep_least(rest, |candidate| candidate.summary.as_path_length);
    }),
    (SelectionReason::Origin, |rest| {
        keep_least(rest, |candidate| candidate.summary.origin);
    }),
    (
        SelectionReason::MultiExitDiscriminator,
        keep_lowest_discriminators,
    ),
    (SelectionReason::ExternalPeer, |rest| {
        keep_least(rest, |candidate| {
            candidate.from.is_some_and(|peer| !peer.external)
        });
    }),
];

/// Steps behind it, which end in a total order.
const TIE_BREAK: [Step; 4] = [
    (SelectionReason::RouterId, |rest| {
        keep_least(rest, Candidate::identifier);
    }),
    (SelectionReason::ClusterListLength, |rest| {
        keep_least(rest, |candidate| candidate.summary.cluster_list_length);
    }),
    (SelectionReason::PeerAddress, |rest| {
        keep_least(rest, |candidate| candidate.from.map(|peer| peer.address));
    }),
    (SelectionReason::PeerIdentity, |rest| {
        keep_least(rest, |candidate| candidate.from.map(|peer| peer.id));
    }),
];

impl Candidate {
    fn identifier(&self) -> u32 {
        match (self.summary.originator_id, self.from) {
            (0, Some(peer)) => peer.router_id,
            (0, None) => 0,
            (originator, _) => originator,
        }
    }
}

fn keep_least<K: Ord>(rest: &mut Vec<Candidate>, key: impl Fn(&Candidate) -> K) {
    if let Some(least) = rest.iter().map(&key).min() {
        rest.retain(|candidate| key(candidate) == least);
    }
}

/// Removes a candidate where another one of the same neighbouring AS has a lower MULTI_EXIT_DISC.
fn keep_lowest_discriminators(rest: &mut Vec<Candidate>) {
    let mut position = 0;
    while let Some(candidate) = rest.get(position).map(|candidate| candidate.summary) {
        let beaten = rest.iter().any(|other| {
            other.summary.neighbour_as == candidate.neighbour_as
                && other.summary.multi_exit_discriminator < candidate.multi_exit_discriminator
        });
        if beaten {
            rest.swap_remove(position);
        } else {
            position += 1;
        }
    }
}

/// Selects among eligible candidates; leaves the survivors in `candidates`. `None` without any.
pub(super) fn decide(candidates: &mut Vec<Candidate>) -> Option<Decision> {
    let mut reason = SelectionReason::OnlyPath;
    for (step, eliminate) in PREFERENCE.iter().chain(&TIE_BREAK) {
        if candidates.len() < 2 {
            break;
        }
        eliminate(candidates);
        reason = *step;
    }
    candidates.first().map(|best| Decision {
        position: best.position,
        reason,
    })
}

/// Leaves the candidates that tie with the best one up to the multipath boundary, the best one first and the
/// others in the order in which they would follow it.
pub(super) fn equally_preferred(candidates: &mut Vec<Candidate>) {
    for (_, eliminate) in &PREFERENCE {
        eliminate(candidates);
    }
    candidates.sort_by_key(|candidate| {
        let peer = candidate.from.map(|peer| (peer.address, peer.id));
        (
            candidate.identifier(),
            candidate.summary.cluster_list_length,
            peer,
        )
    });
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn candidate(position: usize) -> Candidate {
        let summary = Summary {
            local_preference: 100,
            as_path_length: 2,
            neighbour_as: 65001,
            ..Summary::default()
        };
        let number = position as u32 + 1;
        let address = Ipv4Addr::from(number).into();
        let from = Some(CandidatePeer {
            external: true,
            router_id: number,
            address,
            id: number,
        });
        Candidate {
            position,
            summary,
            from,
        }
    }

    fn winner(candidates: &[Candidate]) -> Decision {
        decide(&mut candidates.to_vec()).unwrap()
    }

    /// One row per step: a change that makes the second candidate the best although every later step prefers
    /// the first.
    #[test]
    fn each_step_decides_before_the_next() {
        type Change = fn(&mut Candidate, &mut Candidate);
        let rows: [(SelectionReason, Change); 10] = [
            (SelectionReason::LocallyOriginated, |_, second| {
                second.from = None;
            }),
            (SelectionReason::LocalPreference, |_, second| {
                second.summary.local_preference = 101;
            }),
            (SelectionReason::AsPathLength, |_, second| {
                second.summary.as_path_length = 1;
            }),
            (SelectionReason::Origin, |first, _| first.summary.origin = 2),
            (SelectionReason::MultiExitDiscriminator, |first, _| {
                first.summary.multi_exit_discriminator = 1;
            }),
            (SelectionReason::ExternalPeer, |first, _| {
                first.from.as_mut().unwrap().external = false;
            }),
            (SelectionReason::RouterId, |first, _| {
                first.summary.originator_id = 9;
            }),
            (SelectionReason::ClusterListLength, |first, second| {
                second.summary.originator_id = 1;
                first.summary.cluster_list_length = 1;
            }),
            (SelectionReason::PeerAddress, |first, second| {
                second.summary.originator_id = 1;
                first.from.as_mut().unwrap().address = Ipv4Addr::BROADCAST.into();
            }),
            (SelectionReason::PeerIdentity, |first, second| {
                second.from = first.from;
                first.from.as_mut().unwrap().id = 9;
            }),
        ];
        let mut changed = [candidate(0), candidate(1)];
        for (reason, change) in rows.into_iter().rev() {
            let mut pair = [candidate(0), candidate(1)];
            let [first, second] = &mut pair;
            change(first, second);
            assert_eq!(
                winner(&pair),
                Decision {
                    position: 1,
                    reason
                }
            );
            let [first, second] = &mut changed;
            change(first, second);
        }
        assert_eq!(winner(&changed).reason, SelectionReason::LocallyOriginated);
        assert_eq!(
            winner(&changed[..1]),
            Decision {
                position: 0,
                reason: SelectionReason::OnlyPath
            }
        );
        assert_eq!(decide(&mut Vec::new()), None);
    }

    /// RFC 4271 section 9.1.2.2 c: pairwise, a beats b by router ID, b beats c by router ID, c beats a by
    /// MED.
    #[test]
    fn discriminators_do_not_depend_on_the_order_of_arrival() {
        let with = |position, neighbour_as, multi_exit_discriminator| {
            let mut candidate = candidate(position);
            candidate.summary.neighbour_as = neighbour_as;
            candidate.summary.multi_exit_discriminator = multi_exit_discriminator;
            candidate
        };
        let [a, b, c] = [with(0, 65001, 10), with(1, 65002, 0), with(2, 65001, 5)];
        for order in [
            [a, b, c],
            [a, c, b],
            [b, a, c],
            [b, c, a],
            [c, a, b],
            [c, b, a],
        ] {
            assert_eq!(
                winner(&order),
                Decision {
                    position: 1,
                    reason: SelectionReason::RouterId
                }
            );
        }
    }

    #[test]
    fn paths_that_tie_up_to_the_boundary_are_equally_preferred() {
        let mut longer = candidate(0);
        longer.summary.as_path_length = 3;
        let mut candidates = vec![candidate(3), longer, candidate(2), candidate(1)];
        equally_preferred(&mut candidates);
        assert_eq!(
            candidates
                .iter()
                .map(|candidate| candidate.position)
                .collect::<Vec<_>>(),
            [1, 2, 3]
        );
    }
}
