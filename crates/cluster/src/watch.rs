//! One kind, listed and watched for ever.
//!
//! Not `kube::runtime::watcher`: it does not say that a broken watch works again (which readiness needs), and one
//! object it cannot decode fails the whole list.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::{Request, Status};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use crate::follow::Change;
use crate::wire::{List, Names, Object, Wire};
use crate::{Kind, error};

/// Objects per page of a list. Each page is one request, and is in memory as JSON once: 100 NodeConfigs are 300 kB.
const PAGE: u32 = 100;
/// How long the API server may take to answer, or to begin to answer a watch.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// A watch is asked to last 180 s, and up to a third longer, so that a thousand agents do not come back together.
const WATCH_SECONDS: u32 = 180;
/// How much longer than it should a silent watch is believed to be alive.
const WATCH_GRACE: Duration = Duration::from_secs(5);
/// Pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause after a failure: how long an API server that is back may go unnoticed.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often a kind is looked for that does not exist and need not.
const ABSENT_PAUSE: Duration = Duration::from_secs(30);
/// How long a kind that was there must be unknown to the API server until its objects count as gone.
const BELIEVED_ABSENT: Duration = Duration::from_secs(10);
const UNKNOWN_KIND: &str = "the API server does not know this kind";
/// A watch that ends sooner than this did not work, whatever it said.
const SHORTEST_WATCH: Duration = Duration::from_secs(1);

/// Objects of a kind by name.
pub(crate) type Objects<T> = BTreeMap<<T as Wire>::Name, Arc<T>>;

/// What a watch tells of its kind.
#[derive(Debug)]
pub(crate) enum Told<T: Wire> {
    /// All objects, after a list.
    All(Objects<T>),
    /// An object is new or changed.
    Set(T::Name, Arc<T>),
    /// An object is gone, or cannot be understood.
    Removed(T::Name),
    /// The API server does not know the kind.
    Absent,
    /// The watch works.
    Connected,
    /// The watch does not work, and why.
    Lost(String),
}

/// What to watch.
pub(crate) struct Source<T> {
    pub(crate) client: kube::Client,
    pub(crate) kind: Kind,
    /// Path of the collection.
    pub(crate) path: String,
    /// Name of the only object wanted.
    pub(crate) only: Option<String>,
    /// Whether to ask for the metadata only.
    pub(crate) metadata_only: bool,
    /// Drops from each object what nobody reads.
    pub(crate) slim: fn(&mut T),
}

enum Trouble {
    Absent,
    /// The resource version is too old: list again.
    Expired,
    Other(String),
}

/// Lists and watches until the receiver is gone.
pub(crate) async fn watch<T: Wire>(
    source: Source<T>,
    wrap: fn(Told<T>) -> Change,
    changes: mpsc::Sender<Change>,
) {
    let mut teller = Teller {
        kind: source.kind,
        slim: source.slim,
        names: Names::default(),
        wrap,
        changes,
    };
    let mut pause = Pause::default();
    let mut presence = Presence::Unknown;
    loop {
        let trouble = match source.list(&mut teller).await {
            Ok((objects, version)) => {
                pause = Pause::default();
                presence = Presence::Known;
                if !teller.tell(Told::All(objects)).await {
                    return;
                }
                source.follow(version, &mut teller, &mut pause).await
            }
            Err(trouble) => trouble,
        };
        let told = match trouble {
            Trouble::Absent if source.kind.is_everywhere() => {
                Some(Told::Lost(UNKNOWN_KIND.to_owned()))
            }
            Trouble::Absent => Some(presence.missed(Instant::now())),
            Trouble::Expired => None,
            Trouble::Other(reason) => Some(Told::Lost(reason)),
        };
        let wait = match told {
            Some(Told::Absent) if source.kind.is_optional() => ABSENT_PAUSE,
            Some(_) | None => pause.next(),
        };
        if let Some(told) = told
            && !teller.tell(told).await
        {
            return;
        }
        sleep(wait).await;
    }
}

/// What is known of a kind that the API server may not have.
enum Presence {
    /// It was never listed.
    Unknown,
    /// It was listed.
    Known,
    /// It was listed, and since then is not known to the API server.
    Missed(Instant),
}

impl Presence {
    /// What to tell when the API server does not know the kind. One that was there counts as lost at first: an API
    /// server that starts may not know all kinds yet, and to believe it would take every object away.
    fn missed<T: Wire>(&mut self, now: Instant) -> Told<T> {
        match *self {
            Self::Unknown => Told::Absent,
            Self::Missed(since) if now.duration_since(since) >= BELIEVED_ABSENT => Told::Absent,
            Self::Missed(_) => Told::Lost(UNKNOWN_KIND.to_owned()),
            Self::Known => {
                *self = Self::Missed(now);
                Told::Lost(UNKNOWN_KIND.to_owned())
            }
        }
    }
}

impl<T: Wire> Source<T> {
    async fn list(&self, teller: &mut Teller<T>) -> Result<(Objects<T>, String), Trouble> {
        let mut objects = BTreeMap::new();
        let mut params = ListParams {
            limit: Some(PAGE),
            field_selector: self.field_selector(),
            ..ListParams::default()
        };
        loop {
            let request = Request::new(&self.path);
            let request = if self.metadata_only {
                request.list_metadata(&params)
            } else {
                request.list(&params)
            };
            let request = request.map_err(|error| Trouble::Other(error::causes(&error)))?;
            let page = timeout(
                REQUEST_TIMEOUT,
                self.client.request::<List<Object<T>>>(request),
            );
            let page = page
                .await
                .map_err(|_| Trouble::silent())?
                .map_err(Trouble::from)?;
            objects.extend(
                page.items
                    .into_iter()
                    .flatten()
                    .filter_map(|object| teller.understand(object)),
            );
            match page.metadata.next.filter(|next| !next.is_empty()) {
                Some(next) => params.continue_token = Some(next),
                None => return Ok((objects, page.metadata.resource_version)),
            }
        }
    }

    /// Watches from `version` on, one watch after the other, until a new list is needed.
    async fn follow(
        &self,
        mut version: String,
        teller: &mut Teller<T>,
        pause: &mut Pause,
    ) -> Trouble {
        loop {
            let started = Instant::now();
            match self.watch_once(&mut version, teller).await {
                Ok(()) if started.elapsed() >= SHORTEST_WATCH => *pause = Pause::default(),
                Ok(()) => sleep(pause.next()).await,
                Err(trouble @ (Trouble::Absent | Trouble::Expired)) => return trouble,
                Err(Trouble::Other(reason)) => {
                    if !teller.tell(Told::Lost(reason)).await {
                        return Trouble::Expired;
                    }
                    sleep(pause.next()).await;
                }
            }
        }
    }

    /// One watch, from its request to its end.
    async fn watch_once(
        &self,
        version: &mut String,
        teller: &mut Teller<T>,
    ) -> Result<(), Trouble> {
        let seconds =
            WATCH_SECONDS + u32::try_from(random() % u64::from(WATCH_SECONDS / 3)).unwrap_or(0);
        let params = WatchParams {
            field_selector: self.field_selector(),
            timeout: Some(seconds),
            bookmarks: true,
            ..WatchParams::default()
        };
        let request = Request::new(&self.path);
        let request = if self.metadata_only {
            request.watch_metadata(&params, version)
        } else {
            request.watch(&params, version)
        };
        let request = request.map_err(|error| Trouble::Other(error::causes(&error)))?;
        let events = timeout(
            REQUEST_TIMEOUT,
            self.client.request_events::<Object<T>>(request),
        );
        let mut events = pin!(
            events
                .await
                .map_err(|_| Trouble::silent())?
                .map_err(Trouble::from)?
        );
        teller.tell(Told::Connected).await;
        let patience = Duration::from_secs(seconds.into()) + WATCH_GRACE;
        loop {
            let event = timeout(patience, events.try_next())
                .await
                .map_err(|_| Trouble::silent())?;
            let Some(event) = event.map_err(Trouble::from)? else {
                return Ok(());
            };
            let told = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    version.clone_from(&object.resource_version);
                    teller.one(object)
                }
                WatchEvent::Deleted(object) => {
                    version.clone_from(&object.resource_version);
                    Told::Removed(object.name)
                }
                WatchEvent::Bookmark(bookmark) => {
                    *version = bookmark.metadata.resource_version;
                    continue;
                }
                WatchEvent::Error(status) => return Err(Trouble::from(kube::Error::Api(status))),
            };
            teller.tell(told).await;
        }
    }

    fn field_selector(&self) -> Option<String> {
        self.only
            .as_ref()
            .map(|name| format!("metadata.name={name}"))
    }
}

impl Trouble {
    fn silent() -> Self {
        Self::Other("no answer in time".to_owned())
    }
}

impl From<kube::Error> for Trouble {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if is_unknown_kind(&status) => Self::Absent,
            kube::Error::Api(status) if status.code == 410 => Self::Expired,
            other => Self::Other(error::causes(&other)),
        }
    }
}

/// Whether the API server itself says that it has nothing of the kind: by a Status where it knows the group, by the words of its HTTP library
/// where it does not. A proxy before it that has lost its way has other words.
fn is_unknown_kind(status: &Status) -> bool {
    status.code == 404
        && (status.reason == "NotFound" || status.message.trim() == "404 page not found")
}

/// Hands over what is told.
struct Teller<T: Wire> {
    kind: Kind,
    slim: fn(&mut T),
    names: Names,
    wrap: fn(Told<T>) -> Change,
    changes: mpsc::Sender<Change>,
}

impl<T: Wire> Teller<T> {
    /// Whether anybody still listens.
    async fn tell(&self, told: Told<T>) -> bool {
        self.changes.send((self.wrap)(told)).await.is_ok()
    }

    fn one(&mut self, object: Object<T>) -> Told<T> {
        let name = object.name.clone();
        match self.understand(object) {
            Some((name, value)) => Told::Set(name, value),
            None => Told::Removed(name),
        }
    }

    fn understand(&mut self, object: Object<T>) -> Option<(T::Name, Arc<T>)> {
        match object.value {
            Ok(mut value) => {
                (self.slim)(&mut value);
                value.share(&mut self.names);
                Some((object.name, Arc::new(value)))
            }
            Err(reason) => {
                warn!(kind = %self.kind, name = %object.name, reason, "object is not understood and left out");
                None
            }
        }
    }
}

/// Growing pauses between attempts, each up to a quarter longer at random.
#[derive(Debug, Default)]
struct Pause {
    failures: u32,
}

impl Pause {
    fn next(&mut self) -> Duration {
        let pause = FIRST_PAUSE
            .saturating_mul(2_u32.saturating_pow(self.failures))
            .min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        let pause = pause.mul_f64(0.75 + 0.25 * (random() % 1000) as f64 / 1000.0);
        debug!(?pause, "attempt failed");
        pause
    }
}

/// A number nobody can guess: the seed that the standard library draws for its hash maps.
fn random() -> u64 {
    RandomState::new().hash_one(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_two_seconds_and_never_pass_them() {
        let mut pause = Pause::default();
        let pauses: Vec<_> = (0..40).map(|_| pause.next()).collect();
        assert!(pauses[0] <= FIRST_PAUSE && pauses[0] >= FIRST_PAUSE.mul_f64(0.75));
        assert!(pauses.iter().all(|pause| *pause <= LONGEST_PAUSE));
        assert!(pauses[39] >= LONGEST_PAUSE.mul_f64(0.75));
    }

    #[test]
    fn a_kind_that_was_there_is_lost_for_a_while_before_it_is_absent() {
        let start = Instant::now();
        let mut presence = Presence::Unknown;
        assert!(
            matches!(presence.missed::<()>(start), Told::Absent),
            "never seen"
        );
        presence = Presence::Known;
        for (seconds, absent) in [(0, false), (9, false), (10, true), (11, true)] {
            let told = presence.missed::<()>(start + Duration::from_secs(seconds));
            assert_eq!(matches!(told, Told::Absent), absent, "after {seconds} s");
        }
    }

    #[test]
    fn only_the_api_server_can_say_that_it_does_not_know_a_kind() {
        // Code, reason, message; believed.
        let rows = [
            (
                404,
                "NotFound",
                "the server could not find the requested resource",
                true,
            ),
            (
                404,
                "Failed to parse error data",
                "404 page not found\n",
                true,
            ),
            (
                404,
                "Failed to parse error data",
                "<html><h1>404 Not Found</h1></html>",
                false,
            ),
            (403, "Forbidden", "404 page not found", false),
            (
                503,
                "Failed to parse error data",
                "404 page not found",
                false,
            ),
        ];
        for (code, reason, message, expected) in rows {
            let status = Status::failure(message, reason).with_code(code);
            assert_eq!(
                is_unknown_kind(&status),
                expected,
                "{code} {reason} {message}"
            );
        }
    }
}
