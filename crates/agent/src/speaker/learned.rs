//! What the speakers learned, handed to the routes' task as fast as it takes it.

use std::time::Instant;

use ipnet::IpNet;
use tokio::sync::{mpsc, watch};

use super::SpeakerTask;
use super::instance::Instance;
use crate::routes::{Batch, Demand, LearnedRoute, Offer};

/// Prefixes handed over at once: enough to keep the kernel's side busy, little enough to keep a turn short.
const BATCH: usize = 2048;

/// The way out.
pub(crate) struct Outlet {
    pub(crate) demand: watch::Receiver<Demand>,
    pub(crate) batches: mpsc::Sender<Batch>,
}

/// Where the handing over stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Handover {
    /// The demand that is being met.
    replay: Option<u64>,
    /// It has been met in full, and that was said.
    complete: bool,
}

impl Handover {
    pub(super) fn is_on(self) -> bool {
        self.replay.is_some()
    }
}

impl SpeakerTask {
    /// The routes' task wants everything anew, or nothing any more.
    pub(super) fn meet(&mut self, demand: Demand, now: Instant) {
        let Demand { replay } = demand;
        self.handover = Handover {
            replay,
            complete: false,
        };
        for instance in self.instances.values_mut() {
            instance.feed(replay.is_some(), now);
        }
        if replay.is_none() {
            for instance in &mut self.leaving {
                instance.feed(false, now);
            }
        }
    }

    /// Whether there is something to hand over.
    pub(super) fn has_batch(&self) -> bool {
        self.handover.is_on()
            && (self.everyone().any(Instance::has_learned_news)
                || !self.handover.complete && self.is_complete())
    }

    /// Whether the first wish is carried out and every peer of it has had its say.
    fn is_complete(&self) -> bool {
        self.configured && self.instances.values().all(Instance::has_converged)
    }

    /// Some of what has changed.
    pub(super) fn batch(&mut self) -> Batch {
        let mut news = Vec::new();
        for instance in self.instances.values_mut().chain(&mut self.leaving) {
            news.extend(instance.poll_learned(BATCH - news.len()));
        }
        // With one instance its paths need no second look.
        let alone = self.leaving.is_empty() && self.instances.len() == 1;
        let only = self.instances.values().next().filter(|_| alone);
        let routes = news.into_iter().map(|learned| LearnedRoute {
            prefix: learned.prefix,
            offers: match only {
                Some(instance) if !learned.paths.is_empty() => vec![Offer {
                    instance: instance.name(),
                    paths: learned.paths,
                }],
                Some(_) => Vec::new(),
                None => self.offers(learned.prefix),
            },
        });
        let routes = routes.collect();
        let complete = !self.everyone().any(Instance::has_learned_news) && self.is_complete();
        self.handover.complete |= complete;
        Batch {
            replay: self.handover.replay.unwrap_or_default(),
            routes,
            complete,
        }
    }

    /// Who has paths to a prefix now.
    fn offers(&self, prefix: IpNet) -> Vec<Offer> {
        let offers = self.instances.values().map(|instance| Offer {
            instance: instance.name(),
            paths: instance.learned(prefix),
        });
        offers.filter(|offer| !offer.paths.is_empty()).collect()
    }
}
