//! Targets that nobody wants any more, until their routes are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fib::Cleaned;
use plan::node::Target;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::installer::{Installer, Named, identity, target};
use crate::cleanup;

/// Pause before what could not be removed is tried again.
const PAUSE: Duration = Duration::from_secs(10);

/// The targets. Their routes serve until what is wanted instead is there, so that an import that moves to another table or metric leaves no
/// gap.
#[derive(Default)]
pub(super) struct Retiring {
    /// Each with its thread, which keeps its routes in the kernel; without one, an earlier process has left them.
    targets: BTreeMap<Target, Option<Installer>>,
    /// What earlier processes left has been looked for.
    has_searched: bool,
    /// Something could not be done, and is not tried before this.
    again: Option<Instant>,
}

impl Retiring {
    /// Nobody wants this target any more.
    pub(super) fn add(&mut self, target: Target, installer: Installer) {
        self.targets.insert(target, Some(installer));
    }

    /// The target is wanted again: whoever takes care of it next finds its routes. How often its thread was started before, where there
    /// was one.
    pub(super) fn revive(&mut self, target: Target) -> Option<u64> {
        let installer = self.targets.remove(&target)?;
        installer.map(Installer::stop)
    }

    /// Looks, until that has succeeded once, for targets of earlier processes beside those that are `wanted`.
    pub(super) async fn search(&mut self, wanted: impl Iterator<Item = Target>, now: Instant) {
        if self.has_searched || self.is_waiting(now) {
            return;
        }
        let known = self.targets.keys().copied();
        let known: BTreeSet<_> = wanted.chain(known).map(identity).collect();
        // The kernel's lists may be long.
        let found = spawn_blocking(move || fib::abandoned(&known)).await;
        match found {
            Ok(Ok(found)) => {
                self.has_searched = true;
                self.again = None;
                let found = found.into_iter().map(|it| (target(it), None));
                self.targets.extend(found);
            }
            Ok(Err(error)) => self.failed(&error),
            Err(_process_ends) => {}
        }
    }

    /// Removes the routes of those that may go now.
    pub(super) async fn empty(&mut self, may_go: impl Fn(Target) -> bool, now: Instant) {
        if self.targets.is_empty() || self.is_waiting(now) {
            return;
        }
        self.again = None;
        let targets: Vec<Target> = self
            .targets
            .keys()
            .copied()
            .filter(|it| may_go(*it))
            .collect();
        for target in targets {
            let installer = self.targets.remove(&target).flatten();
            let removed = spawn_blocking(move || {
                drop(installer);
                cleanup::routes(identity(target))
            });
            match removed.await {
                Ok(Ok(Cleaned { routes, .. })) => {
                    info!(target = %Named(target), routes, "learned routes removed: no import wants them");
                }
                Ok(Err(error)) => {
                    // Nobody gives a running process a capability that it began without.
                    if !matches!(error, fib::Error::NotPermitted) {
                        self.targets.insert(target, None);
                    }
                    self.failed(&error);
                }
                Err(_process_ends) => {}
            }
        }
    }

    /// When to call [`Self::search`] or [`Self::empty`] again, though nothing happens.
    pub(super) fn due(&self) -> Option<Instant> {
        let is_idle = self.has_searched && self.targets.is_empty();
        self.again.filter(|_| !is_idle)
    }

    fn is_waiting(&self, now: Instant) -> bool {
        self.again.is_some_and(|again| now < again)
    }

    fn failed(&mut self, error: &fib::Error) {
        warn!(
            error = cluster::causes(error),
            "learned routes that no import wants cannot be removed: tombolo-agent cleanup takes them away"
        );
        self.again = Some(Instant::now() + PAUSE);
    }
}
