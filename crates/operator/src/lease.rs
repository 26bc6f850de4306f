//! Who may write: a Lease object, held by one replica at a time (Kubernetes API group `coordination.k8s.io`).
//!
//! The leader renews the lease every retry period and stops leading when it could not for the renew deadline, which is
//! shorter than the lease. A candidate *watches* the lease, so that it knows each renewal at once, and takes it when the
//! lease's duration has passed on its own clock since the last one it saw: clocks of nodes are not compared. A leader
//! that is killed is therefore followed after the lease duration, not after that and a polling period.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::time::Duration;

use futures::TryStreamExt;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams, WatchEvent, WatchParams};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tracing::{debug, info, warn};

/// Name of the Lease.
pub const NAME: &str = "tombolo-operator-resource-lock";
/// How long the API server may take to answer before the request is made again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// How long one watch of the lease lasts.
const WATCH_SECONDS: u32 = 280;

/// Times of the election; each is longer than the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// How long a leader is believed to be alive without a sign of it.
    pub duration: Duration,
    /// How long a leader may go on without having renewed the lease.
    pub renew_deadline: Duration,
    /// How often the lease is renewed.
    pub retry_period: Duration,
}

/// Whether this process may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leadership {
    /// Another one may, or nobody yet.
    Candidate,
    /// This one may.
    Leader,
}

/// A replica that wants the lease.
pub struct Elector {
    leases: Api<Lease>,
    identity: String,
    timing: Timing,
}

/// Why holding the lease ended.
enum End {
    /// We are told to stop; the lease is still ours.
    Stopped(Box<Lease>),
    /// Another one holds it.
    Taken(String),
    /// It could not be renewed in time.
    Expired,
}

/// How an attempt to renew the lease ended.
enum Renewal {
    Renewed(Box<Lease>),
    /// Somebody has written it, but it is still ours.
    Changed(Box<Lease>),
    Taken(String),
    Failed,
}

impl Elector {
    /// The lease is in the namespace of `POD_NAMESPACE`, else in that of the service account or kubeconfig. Our identity
    /// is `POD_NAME`: a container that is restarted in its pod continues the lease of the one before it. Without it,
    /// host name and a random number.
    #[must_use]
    pub fn new(client: &kube::Client, timing: Timing) -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let namespace =
            variable("POD_NAMESPACE").unwrap_or_else(|| client.default_namespace().to_owned());
        let identity = variable("POD_NAME").unwrap_or_else(|| {
            let host = variable("HOSTNAME").unwrap_or_else(|| "operator".to_owned());
            format!("{host}_{:016x}", random())
        });
        Self {
            leases: Api::namespaced(client.clone(), &namespace),
            identity,
            timing,
        }
    }

    /// Takes part in the election until `stop` is true, then gives the lease up if it is held, so that the next leader
    /// need not wait for its end.
    pub async fn run(self, leadership: watch::Sender<Leadership>, mut stop: watch::Receiver<bool>) {
        while let Some(lease) = self.win(&mut stop).await {
            info!(identity = self.identity, "leads");
            leadership.send_replace(Leadership::Leader);
            let end = self.hold(lease, &mut stop).await;
            leadership.send_replace(Leadership::Candidate);
            match end {
                End::Stopped(lease) => return self.release(*lease).await,
                End::Taken(by) => warn!(by, "no longer leads: the lease is taken"),
                End::Expired => warn!("no longer leads: the lease could not be renewed"),
            }
        }
    }

    /// Waits until the lease is ours. `None` when told to stop.
    async fn win(&self, stop: &mut watch::Receiver<bool>) -> Option<Lease> {
        let mut sight = Sight::default();
        let mut told = None;
        while !*stop.borrow() {
            let current = match answer(self.leases.get_opt(NAME)).await {
                Ok(current) => current,
                Err(error) => {
                    debug!(%error, "cannot read the lease");
                    self.pause(stop).await;
                    continue;
                }
            };
            let free_at = sight.free_at(
                current.as_ref(),
                &self.identity,
                self.timing.duration,
                Instant::now(),
            );
            if free_at <= Instant::now() {
                match self.take(current).await {
                    Ok(lease) => return Some(lease),
                    Err(error) => debug!(%error, "cannot take the lease"),
                }
                self.pause(stop).await;
                continue;
            }
            let holder = holder(current.as_ref()).to_owned();
            if told.as_ref() != Some(&holder) {
                info!(holder, "waits for the lease");
                told = Some(holder);
            }
            tokio::select! {
                () = sleep_until(free_at) => {}
                changed = self.changed(current) => if let Err(error) = changed {
                    debug!(%error, "cannot watch the lease");
                    self.pause(stop).await;
                },
                () = stopped(stop) => {}
            }
        }
        None
    }

    async fn take(&self, current: Option<Lease>) -> Result<Lease, Failure> {
        let lease = taken(
            current,
            &self.identity,
            self.timing.duration,
            Timestamp::now(),
        );
        if lease.metadata.resource_version.is_some() {
            answer(self.leases.replace(NAME, &PostParams::default(), &lease)).await
        } else {
            answer(self.leases.create(&PostParams::default(), &lease)).await
        }
    }

    /// Returns when the lease is no longer as it was.
    async fn changed(&self, current: Option<Lease>) -> Result<(), Failure> {
        let version = current
            .and_then(|lease| lease.metadata.resource_version)
            .unwrap_or_default();
        let only = WatchParams::default()
            .fields(&format!("metadata.name={NAME}"))
            .timeout(WATCH_SECONDS);
        let mut events = pin!(answer(self.leases.watch(&only, &version)).await?);
        loop {
            match events
                .try_next()
                .await
                .map_err(|error| Failure::Refused(Box::new(error)))?
            {
                Some(WatchEvent::Bookmark(_)) => {}
                Some(WatchEvent::Error(status)) => {
                    return Err(Failure::Refused(Box::new(kube::Error::Api(status))));
                }
                Some(WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Deleted(_))
                | None => return Ok(()),
            }
        }
    }

    /// Renews the lease until that fails for too long.
    async fn hold(&self, mut lease: Lease, stop: &mut watch::Receiver<bool>) -> End {
        let mut renewed = Instant::now();
        loop {
            self.pause(stop).await;
            if *stop.borrow() {
                return End::Stopped(Box::new(lease));
            }
            let asked = Instant::now();
            match timeout_at(renewed + self.timing.renew_deadline, self.renew(&lease)).await {
                Ok(Renewal::Renewed(written)) => {
                    lease = *written;
                    renewed = asked;
                }
                Ok(Renewal::Changed(current)) => lease = *current,
                Ok(Renewal::Taken(by)) => return End::Taken(by),
                Ok(Renewal::Failed) => {}
                Err(_) => return End::Expired,
            }
        }
    }

    async fn renew(&self, lease: &Lease) -> Renewal {
        let renewal = renewed_at(lease.clone(), Timestamp::now());
        match answer(self.leases.replace(NAME, &PostParams::default(), &renewal)).await {
            Ok(written) => return Renewal::Renewed(Box::new(written)),
            Err(error) => debug!(%error, "cannot renew the lease"),
        }
        match answer(self.leases.get_opt(NAME)).await {
            Ok(Some(current)) if holder(Some(&current)) == self.identity => {
                Renewal::Changed(Box::new(current))
            }
            Ok(current) => Renewal::Taken(holder(current.as_ref()).to_owned()),
            Err(error) => {
                debug!(%error, "cannot read the lease");
                Renewal::Failed
            }
        }
    }

    async fn release(&self, lease: Lease) {
        let released = released(lease, Timestamp::now());
        match answer(self.leases.replace(NAME, &PostParams::default(), &released)).await {
            Ok(_) => info!("gave up the lease"),
            Err(error) => {
                warn!(%error, "cannot give up the lease: the next leader waits for its end");
            }
        }
    }

    /// One retry period, a tenth of it at random; shorter when told to stop.
    async fn pause(&self, stop: &mut watch::Receiver<bool>) {
        let jitter = 0.9 + 0.1 * (random() % 1000) as f64 / 1000.0;
        tokio::select! {
            () = sleep(self.timing.retry_period.mul_f64(jitter)) => {}
            () = stopped(stop) => {}
        }
    }
}

/// Returns once `stop` is true, or can no longer become so.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that nobody is left who could tell us to go on.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Why a request about the lease failed.
enum Failure {
    Silent,
    Refused(Box<kube::Error>),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("no answer in time"),
            Self::Refused(error) => f.write_str(&cluster::causes(error.as_ref())),
        }
    }
}

async fn answer<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Failure> {
    match timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(|error| Failure::Refused(Box::new(error))),
        Err(_) => Err(Failure::Silent),
    }
}

/// What a candidate has seen of the lease, and when by its own clock.
#[derive(Debug, Default)]
struct Sight {
    sign: Option<(String, Option<Timestamp>)>,
    at: Option<Instant>,
}

impl Sight {
    /// When the lease may be taken. A sign of life not seen before starts the time anew.
    fn free_at(
        &mut self,
        lease: Option<&Lease>,
        me: &str,
        duration: Duration,
        now: Instant,
    ) -> Instant {
        let holder = holder(lease);
        if holder.is_empty() || holder == me {
            return now;
        }
        let spec = lease.and_then(|lease| lease.spec.as_ref());
        let sign = (
            holder.to_owned(),
            spec.and_then(|spec| spec.renew_time.as_ref())
                .map(|time| time.0),
        );
        if self.sign.as_ref() != Some(&sign) {
            self.sign = Some(sign);
            self.at = Some(now);
        }
        let said = spec
            .and_then(|spec| spec.lease_duration_seconds)
            .and_then(|seconds| u64::try_from(seconds).ok());
        self.at.unwrap_or(now) + said.map_or(duration, Duration::from_secs)
    }
}

fn holder(lease: Option<&Lease>) -> &str {
    lease
        .and_then(|lease| lease.spec.as_ref()?.holder_identity.as_deref())
        .unwrap_or_default()
}

/// The lease as ours. Taking it from another counts as a transition; continuing it does not.
fn taken(current: Option<Lease>, me: &str, duration: Duration, now: Timestamp) -> Lease {
    let is_ours = holder(current.as_ref()) == me;
    let existed = current.is_some();
    let metadata = ObjectMeta {
        name: Some(NAME.to_owned()),
        ..ObjectMeta::default()
    };
    let mut lease = current.unwrap_or(Lease {
        metadata,
        spec: None,
    });
    let spec = lease.spec.get_or_insert_default();
    if !is_ours {
        let transitions = spec.lease_transitions.unwrap_or_default();
        spec.lease_transitions = Some(if existed {
            transitions.saturating_add(1)
        } else {
            transitions
        });
        spec.acquire_time = Some(MicroTime(now));
        spec.holder_identity = Some(me.to_owned());
    }
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    spec.lease_duration_seconds = Some(i32::try_from(seconds).unwrap_or(i32::MAX));
    spec.renew_time = Some(MicroTime(now));
    lease
}

fn renewed_at(mut lease: Lease, now: Timestamp) -> Lease {
    lease.spec.get_or_insert_default().renew_time = Some(MicroTime(now));
    lease
}

/// Nobody's, as client-go leaves it.
fn released(mut lease: Lease, now: Timestamp) -> Lease {
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(1),
        renew_time: Some(MicroTime(now)),
        acquire_time: Some(MicroTime(now)),
        lease_transitions: lease.spec.and_then(|spec| spec.lease_transitions),
        ..LeaseSpec::default()
    });
    lease
}

/// A number nobody can guess: the seed that the standard library draws for its hash maps.
fn random() -> u64 {
    RandomState::new().hash_one(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(15);

    fn lease_of(holder: &str, renewed: i64) -> Lease {
        taken(
            None,
            holder,
            DURATION,
            Timestamp::from_second(renewed).unwrap(),
        )
    }

    #[test]
    fn a_lease_of_nobody_and_our_own_are_free_at_once() {
        let now = Instant::now();
        let rows = [
            None,
            Some(released(lease_of("other", 5), Timestamp::UNIX_EPOCH)),
            Some(lease_of("me", 5)),
        ];
        for lease in rows {
            assert_eq!(
                Sight::default().free_at(lease.as_ref(), "me", DURATION, now),
                now,
                "{lease:?}"
            );
        }
    }

    #[test]
    fn a_lease_of_another_is_free_one_duration_after_the_last_sign_we_saw() {
        let mut sight = Sight::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut free = |renewed, seconds| {
            sight.free_at(
                Some(&lease_of("other", renewed)),
                "me",
                DURATION,
                at(seconds),
            )
        };
        assert_eq!(free(100, 0), at(15), "first seen now, however old it is");
        assert_eq!(free(100, 9), at(15), "no new sign");
        assert_eq!(
            free(50, 10),
            at(25),
            "a new sign, though its clock went back"
        );
        assert_eq!(free(50, 24), at(25));
    }

    #[test]
    fn taking_a_lease_keeps_its_version_and_counts_transitions() {
        let mut current = lease_of("other", 5);
        current.metadata.resource_version = Some("7".to_owned());
        let now = Timestamp::from_second(60).unwrap();
        let spec = |lease: &Lease| lease.spec.clone().unwrap();
        assert_eq!(spec(&current).lease_transitions, Some(0));

        let ours = taken(Some(current), "me", Duration::from_millis(2500), now);
        assert_eq!(ours.metadata.resource_version.as_deref(), Some("7"));
        assert_eq!(spec(&ours).holder_identity.as_deref(), Some("me"));
        assert_eq!(spec(&ours).lease_transitions, Some(1));
        assert_eq!(
            spec(&ours).lease_duration_seconds,
            Some(3),
            "rounded up: never shorter than configured"
        );

        let continued = taken(
            Some(ours.clone()),
            "me",
            DURATION,
            Timestamp::from_second(90).unwrap(),
        );
        assert_eq!(spec(&continued).lease_transitions, Some(1));
        assert_eq!(spec(&continued).acquire_time, spec(&ours).acquire_time);
        assert_ne!(spec(&continued).renew_time, spec(&ours).renew_time);
    }
}
