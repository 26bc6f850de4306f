//! When a speaker that has just started may say its first word.

use std::time::Duration;

use super::Observed;
use super::observed::DatapathState;

/// How long the first word waits for the load balancer. Longer, and a router that keeps our routes over the restart may stop
/// doing so (the shortest restart time in use is 15 s); shorter, and a slow start would withdraw addresses that work.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Whether to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Everything that can be known is known.
    Speak,
    /// Not yet: what would be said lacks the addresses of Services, and the End-of-RIB behind it would take them away from
    /// routers that still have them. To be asked again after this time, or with news.
    Wait(Duration),
    /// The load balancer did not report in time. Addresses of Services are missing, and the status says so.
    SpeakWithoutServices,
}

/// Whether the first plan may reach the speaker, `waited` after it was made.
#[must_use]
pub fn opening(observed: &Observed, waited: Duration) -> Opening {
    let state = observed.datapath.as_ref().map(|datapath| &datapath.state);
    match state {
        None | Some(DatapathState::Ready | DatapathState::Unavailable(_)) => Opening::Speak,
        Some(DatapathState::Starting) => match PATIENCE.checked_sub(waited) {
            Some(left) if !left.is_zero() => Opening::Wait(left),
            Some(_) | None => Opening::SpeakWithoutServices,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::observed::ObservedDatapath;

    #[test]
    fn the_first_word_waits_for_the_load_balancer_and_not_longer_than_ten_seconds() {
        let starting = || Some(DatapathState::Starting);
        let unavailable = DatapathState::Unavailable("no".into());
        let rows = [
            (None, 0, Opening::Speak),
            (starting(), 0, Opening::Wait(Duration::from_secs(10))),
            (starting(), 9, Opening::Wait(Duration::from_secs(1))),
            (starting(), 10, Opening::SpeakWithoutServices),
            (starting(), 11, Opening::SpeakWithoutServices),
            (Some(DatapathState::Ready), 0, Opening::Speak),
            (Some(unavailable), 0, Opening::Speak),
        ];
        for (state, waited, expected) in rows {
            let datapath = state.clone().map(|state| ObservedDatapath {
                state,
                ..ObservedDatapath::default()
            });
            let observed = Observed {
                datapath,
                ..Observed::default()
            };
            let opening = opening(&observed, Duration::from_secs(waited));
            assert_eq!(opening, expected, "{state:?} after {waited} s");
        }
    }
}
