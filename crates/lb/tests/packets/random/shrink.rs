//! A failure made small.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::{Event, happen};
use crate::scene::Stage;

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// Fails, with as few events as it can be reproduced with. What the kernel chose at random it may choose otherwise when the events are
/// repeated: then the last ones are told as they were.
pub(super) fn report(stage: &mut Stage<'_>, events: &[Event], failure: &str) -> ! {
    let end = Instant::now() + PATIENCE;
    let is_reproduced = fails(stage, events).is_some();
    let (events, remark) = if is_reproduced {
        (shrink(stage, events.to_vec(), end), "are enough")
    } else {
        let tail = events.len().saturating_sub(12);
        (
            events[tail..].to_vec(),
            "were the last; repeated they do not fail",
        )
    };
    let lines: Vec<String> = events.iter().map(ToString::to_string).collect();
    panic!(
        "{failure}\n{} events {remark}:\n  {}\n{}",
        events.len(),
        lines.join("\n  "),
        fails(stage, &events).unwrap_or_default()
    );
}

/// What a panic says.
pub(super) fn text_of(panic: &(dyn Any + Send)) -> String {
    panic.downcast_ref::<String>().cloned().unwrap_or_default()
}

/// Leaves out what can be left out: halves, quarters, and so on to single events.
fn shrink(stage: &mut Stage<'_>, mut events: Vec<Event>, end: Instant) -> Vec<Event> {
    let mut size = events.len() / 2;
    while size > 0 {
        let mut place = 0;
        while place < events.len() && Instant::now() < end {
            let rest = events.len().min(place + size);
            let fewer = [&events[..place], &events[rest..]].concat();
            if fails(stage, &fewer).is_some() {
                events = fewer;
            } else {
                place += size;
            }
        }
        size /= 2;
    }
    events
}

/// What goes wrong when these events happen from the beginning.
fn fails(stage: &mut Stage<'_>, events: &[Event]) -> Option<String> {
    stage.reset();
    for event in events {
        let outcome = catch_unwind(AssertUnwindSafe(|| happen(stage, event, true)));
        if let Err(panic) = outcome {
            return Some(text_of(panic.as_ref()));
        }
    }
    None
}
