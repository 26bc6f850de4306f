//! Names that many objects repeat, each kept once.

use std::collections::HashSet;
use std::sync::Arc;

/// How many names may come until those are looked for that nobody has any more.
const SWEEP: usize = 1024;

/// The names that are in use.
#[derive(Debug, Default)]
pub(crate) struct Names {
    known: HashSet<Arc<str>>,
    sweep_at: usize,
}

impl Names {
    /// The one copy of a name.
    pub(crate) fn one(&mut self, name: &Arc<str>) -> Arc<str> {
        if let Some(known) = self.known.get(&**name) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|known| Arc::strong_count(known) > 1);
            self.sweep_at = self.known.len() + SWEEP;
        }
        self.known.insert(Arc::clone(name));
        Arc::clone(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_nobody_has_do_not_stay() {
        let mut names = Names::default();
        let kept = names.one(&"kept".into());
        for number in 0..10 * SWEEP {
            drop(names.one(&format!("gone-{number}").into()));
        }
        assert!(names.known.len() <= SWEEP + 1, "{}", names.known.len());
        assert!(Arc::ptr_eq(&kept, &names.one(&"kept".into())));
    }
}
