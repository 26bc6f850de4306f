//! Waiting for something that can be observed, with a deadline and a sentence for the one who reads the failure.

use std::thread;
use std::time::{Duration, Instant};

use crate::error::Error;

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Looks every 50 ms until `probe` answers, at least once even when `patience` is zero.
///
/// # Errors
/// [`Error::Deadline`] with `awaited` when `patience` is over.
pub fn until<T>(
    patience: Duration,
    awaited: &str,
    mut probe: impl FnMut() -> Option<T>,
) -> Result<T, Error> {
    try_until(patience, awaited, || Ok(probe()))
}

/// As [`until`], for probes that can tell that waiting is useless: their error ends the wait at once.
///
/// # Errors
/// What the probe says, or [`Error::Deadline`].
pub fn try_until<T>(
    patience: Duration,
    awaited: &str,
    mut probe: impl FnMut() -> Result<Option<T>, Error>,
) -> Result<T, Error> {
    let start = Instant::now();
    loop {
        if let Some(answer) = probe()? {
            return Ok(answer);
        }
        let waited = start.elapsed();
        if waited >= patience {
            return Err(Error::Deadline {
                awaited: awaited.to_owned(),
                waited,
            });
        }
        thread::sleep(POLL.min(patience.saturating_sub(waited)));
    }
}
