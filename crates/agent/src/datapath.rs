//! The task that carries plans to the load balancer and its reports back.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::sleep;
use tracing::{error, info, warn};

use crate::apply::{Translation, Translator};
use crate::observe::Datapath;
use crate::reconcile::Order;

/// Pause before a load balancer that could not start is tried again: what it lacks (a file system that is not mounted yet)
/// may have come. Peers wait for it a few seconds (`plan::node::opening::PATIENCE`), in which it must be tried more than once.
const RETRY: Duration = Duration::from_secs(1);

/// The load balancer's end in the agent. What it has put into the kernel stays there when this ends.
pub(crate) struct DatapathTask {
    pub(crate) options: lb::Options,
    pub(crate) orders: watch::Receiver<Option<Order>>,
    pub(crate) seen: watch::Sender<Datapath>,
}

impl DatapathTask {
    /// Works until nobody plans any more. A load balancer that cannot start costs what depends on it, nothing else; one that
    /// ends leaves in the kernel what it had there, and is started again.
    pub(crate) async fn run(mut self) {
        while self.orders.has_changed().is_ok() {
            match self.start().await {
                Ok((balancer, ended)) => self.serve(balancer, ended).await,
                Err(why) => self.unavailable(why),
            }
            let mut orders = self.orders.clone();
            let gone = async { while orders.changed().await.is_ok() {} };
            tokio::select! {
                () = sleep(RETRY) => {}
                () = gone => return,
            }
        }
    }

    /// Starts it away from the runtime: the kernel's verifier takes its time.
    async fn start(&self) -> Result<(lb::LoadBalancer, oneshot::Receiver<Infallible>), String> {
        let options = self.options.clone();
        let seen = self.seen.clone();
        let (end, ended) = oneshot::channel::<Infallible>();
        let listener = move |report| {
            // Its receiver hears when this is dropped.
            let _end = &end;
            forward(report, &seen);
        };
        let started =
            tokio::task::spawn_blocking(move || lb::LoadBalancer::start(options, listener)).await;
        let started = started.map_err(|panic| panic.to_string())?;
        let balancer = started.map_err(|error| cluster::causes(&error))?;
        Ok((balancer, ended))
    }

    async fn serve(
        &mut self,
        balancer: lb::LoadBalancer,
        mut ended: oneshot::Receiver<Infallible>,
    ) {
        let mut translator = Translator::default();
        // What was planned while it started counts as news.
        self.orders.mark_changed();
        loop {
            tokio::select! {
                changed = self.orders.changed() => if changed.is_err() { return },
                _ = &mut ended => {
                    let why = balancer.stop().err().map(|error| cluster::causes(&error));
                    error!(reason = why, "load balancer has ended; what it has programmed stays, and it is started again");
                    return;
                }
            }
            let order = self.orders.borrow_and_update().clone();
            if let Some(Order { number, plan }) = order {
                let Translation { wish, changed } = translator.translate(number, &plan);
                for (service, planned) in changed {
                    for fault in &planned.faults {
                        warn!(%service, reason = %fault, "Service cannot be carried out as written");
                    }
                }
                balancer.wish(wish);
            }
        }
    }

    fn unavailable(&self, why: String) {
        let why: Arc<str> = why.into();
        self.seen.send_if_modified(|seen| {
            let is_news = seen.unavailable.as_ref() != Some(&why);
            if is_news {
                error!(reason = %why, "load balancer cannot run; addresses of Services are not announced");
                *seen = Datapath {
                    unavailable: Some(why),
                    report: lb::Report::default(),
                };
            }
            is_news
        });
    }
}

/// Takes a report over, except that of a load balancer which has been started again and is not as far as the one before: what
/// that has programmed is still there.
fn forward(report: lb::Report, seen: &watch::Sender<Datapath>) {
    let (frontends, backends) = (report.frontends, report.backends);
    let mut came = false;
    seen.send_if_modified(|seen| {
        let was_ready = seen.report.ready && seen.unavailable.is_none();
        if was_ready && !report.ready {
            return false;
        }
        came = report.ready && !was_ready;
        *seen = Datapath {
            unavailable: None,
            report,
        };
        true
    });
    if came {
        info!(frontends, backends, "load balancer is ready");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_balancer_that_is_started_again_does_not_take_back_what_the_one_before_said() {
        let (seen, _reader) = watch::channel(Datapath::default());
        let report = |ready, frontends| lb::Report {
            ready,
            frontends,
            ..lb::Report::default()
        };
        // Report; what is known then.
        let rows = [
            ((false, 0), (false, 0)),
            ((true, 3), (true, 3)),
            ((false, 0), (true, 3)),
            ((true, 4), (true, 4)),
        ];
        for ((ready, frontends), expected) in rows {
            forward(report(ready, frontends), &seen);
            let known = seen.borrow().report.clone();
            assert_eq!((known.ready, known.frontends), expected);
        }
        seen.send_modify(|seen| seen.unavailable = Some("why".into()));
        forward(report(false, 0), &seen);
        assert_eq!(*seen.borrow(), Datapath::default());
    }
}
