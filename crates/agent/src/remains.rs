//! What the agent leaves in the kernel on purpose, taken away where nobody comes to use it.

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

use fib::Identity;
use plan::node::RoutesPlan;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::{cleanup, routes};

/// How long another process may go on using the pins: the load balancer's thread ends by itself once its task has.
const PATIENCE: Duration = Duration::from_secs(5);

/// Removes programs and maps of a load balancer that nobody keeps up to date.
pub(crate) async fn balancer(pins: &Path) {
    let begin = Instant::now();
    loop {
        match cleanup::balancer(pins) {
            Ok(removed) if removed == lb::Cleaned::default() => return,
            Ok(lb::Cleaned { links, maps }) => {
                info!(links, maps, "load balancer removed");
                return;
            }
            Err(lb::Error::InUse { .. }) if begin.elapsed() < PATIENCE => {
                sleep(Duration::from_millis(20)).await;
            }
            Err(error) => {
                warn!(
                    error = cluster::causes(&error),
                    "programs and maps of the load balancer cannot be removed, and work on with what they know: \
                     tombolo-agent cleanup takes them away"
                );
                return;
            }
        }
    }
}

/// Removes learned routes of which no target of the plan is, those that an agent before this one had installed for an import that has gone or
/// changed meanwhile.
pub(crate) async fn abandoned(plan: &RoutesPlan) {
    let wanted = plan.imports.keys().map(|target| routes::identity(*target));
    let wanted: BTreeSet<Identity> = wanted.collect();
    // The kernel's lists may be long.
    let removal = tokio::task::spawn_blocking(move || {
        for identity in fib::abandoned(&wanted)? {
            let cleaned = cleanup::routes(identity)?;
            info!(
                ?identity,
                ?cleaned,
                "learned routes of an import that is gone removed"
            );
        }
        Ok(())
    });
    match removal.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => told(&error),
        Err(panic) => resume_unwind(panic.into_panic()),
    }
}

/// Removes the learned routes of a plan.
pub(crate) fn learned(plan: &RoutesPlan) {
    for target in plan.imports.keys() {
        match cleanup::routes(routes::identity(*target)) {
            // Without the capability none was installed.
            Ok(_) | Err(fib::Error::NotPermitted) => {}
            Err(error) => told(&error),
        }
    }
}

fn told(error: &fib::Error) {
    warn!(
        error = cluster::causes(error),
        "learned routes cannot be removed: tombolo-agent cleanup takes them away"
    );
}
