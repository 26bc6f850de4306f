//! What the agent leaves in the kernel on purpose, taken away where nobody comes to use it.

use std::collections::BTreeSet;
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

/// Removes the learned routes of a plan, and those that were on their way out.
pub(crate) fn learned(plan: &RoutesPlan) {
    let wanted: BTreeSet<Identity> = plan
        .imports
        .keys()
        .map(|it| routes::identity(*it))
        .collect();
    let others = fib::abandoned(&wanted).unwrap_or_else(|error| {
        told(&error);
        Vec::new()
    });
    for identity in wanted.into_iter().chain(others) {
        match cleanup::routes(identity) {
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
