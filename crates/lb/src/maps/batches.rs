//! Rows of hash tables, gathered from steps that follow each other.

use lb_abi::{Frontend, FrontendKey4, FrontendKey6};
use nix::libc::ENOENT;

use super::{Failure, Maps};
use crate::bpf::Stopped;
use crate::error::Errno;
use crate::op::{FrontendKey, MapOp};

/// Frontends that are set or removed in one go. Never both at once, so that the order of the steps holds.
#[derive(Default)]
pub(super) struct Batches {
    set4: Batch<FrontendKey4, Frontend>,
    set6: Batch<FrontendKey6, Frontend>,
    remove4: Batch<FrontendKey4, ()>,
    remove6: Batch<FrontendKey6, ()>,
}

struct Batch<K, V> {
    steps: Vec<usize>,
    keys: Vec<K>,
    values: Vec<V>,
}

impl<K, V> Default for Batch<K, V> {
    fn default() -> Self {
        Self {
            steps: Vec::new(),
            keys: Vec::new(),
            values: Vec::new(),
        }
    }
}

impl<K, V> Batch<K, V> {
    fn push(&mut self, step: usize, key: K, value: V) {
        self.steps.push(step);
        self.keys.push(key);
        self.values.push(value);
    }

    /// Calls `write` with what is left until nothing is. What `write` stops at has failed, unless `forgive` says otherwise.
    fn flush(
        &mut self,
        failures: &mut Vec<Failure>,
        forgive: impl Fn(Errno) -> bool,
        write: impl Fn(&[K], &[V]) -> Result<(), Stopped>,
    ) {
        let mut done = 0;
        while done < self.keys.len() {
            let Err(stopped) = write(&self.keys[done..], &self.values[done..]) else {
                break;
            };
            done += stopped.done;
            let errno = Errno::of(&stopped.error);
            if let Some(step) = self.steps.get(done)
                && !forgive(errno)
            {
                failures.push(Failure { step: *step, errno });
            }
            done += 1;
        }
        self.steps.clear();
        self.keys.clear();
        self.values.clear();
    }
}

impl Batches {
    pub(super) fn set(&mut self, step: usize, key: FrontendKey, frontend: Frontend) {
        match key {
            FrontendKey::V4(key) => self.set4.push(step, key, frontend),
            FrontendKey::V6(key) => self.set6.push(step, key, frontend),
        }
    }

    pub(super) fn remove(&mut self, step: usize, key: FrontendKey) {
        match key {
            FrontendKey::V4(key) => self.remove4.push(step, key, ()),
            FrontendKey::V6(key) => self.remove6.push(step, key, ()),
        }
    }

    pub(super) fn flush_unless_fits(
        &mut self,
        maps: &Maps,
        next: &MapOp,
        failures: &mut Vec<Failure>,
    ) {
        let sets = !self.set4.keys.is_empty() || !self.set6.keys.is_empty();
        let removes = !self.remove4.keys.is_empty() || !self.remove6.keys.is_empty();
        let fits = match next {
            MapOp::SetFrontend { .. } => !removes,
            MapOp::RemoveFrontend { .. } => !sets,
            MapOp::Backend { .. }
            | MapOp::Slots { .. }
            | MapOp::Ring { .. }
            | MapOp::Group { .. }
            | MapOp::Filter { .. }
            | MapOp::NodeAddress { .. }
            | MapOp::RaiseEpoch
            | MapOp::Grace => !sets && !removes,
        };
        if !fits {
            self.flush(maps, failures);
        }
    }

    pub(super) fn flush(&mut self, maps: &Maps, failures: &mut Vec<Failure>) {
        let never = |_| false;
        let gone = |errno| errno == Errno(ENOENT);
        let (tables4, tables6) = (&maps.frontends4, &maps.frontends6);
        self.set4
            .flush(failures, never, |keys, values| tables4.set(keys, values));
        self.set6
            .flush(failures, never, |keys, values| tables6.set(keys, values));
        self.remove4
            .flush(failures, gone, |keys, _| tables4.remove(keys));
        self.remove6
            .flush(failures, gone, |keys, _| tables6.remove(keys));
    }
}
