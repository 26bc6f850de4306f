//! Lists of backends, as services wish for them.

use std::sync::Arc;

use lb_abi::UDP;

use super::place::Place;
use crate::wish::{self, Algorithm, BackendState};

/// A list as it is wished: in the order of address and port, each once.
#[derive(Debug)]
pub(super) struct List {
    wished: Arc<[wish::Backend]>,
    pub(super) protocol: u8,
    pub(super) algorithm: Algorithm,
    pub(super) backends: Vec<wish::Backend>,
}

impl List {
    /// Datagrams have no end that could be waited for: where a backend takes none any more, those of a client that goes on must go elsewhere,
    /// as from one that is gone.
    pub(super) fn new(wished: &Arc<[wish::Backend]>, protocol: u8, algorithm: Algorithm) -> Self {
        let mut backends = wished.to_vec();
        backends.retain(|backend| protocol != UDP || backend.state != BackendState::Draining);
        for backend in &mut backends {
            backend.address = backend.address.to_canonical();
        }
        backends.sort_by_key(|backend| (backend.address, backend.port, backend.state));
        backends.dedup_by(|later, first| {
            let same = later.address == first.address && later.port == first.port;
            first.is_local |= same && later.is_local;
            same
        });
        Self {
            wished: Arc::clone(wished),
            protocol,
            algorithm,
            backends,
        }
    }

    /// Whether this is the list that is wished there.
    pub(super) fn is(&self, wished: &Arc<[wish::Backend]>, protocol: u8) -> bool {
        self.protocol == protocol && (Arc::ptr_eq(&self.wished, wished) || self.wished == *wished)
    }

    /// The backends that new flows may be given: the active ones, and if there is none those that end.
    pub(super) fn selectable(&self) -> Vec<Place> {
        let of = |state| {
            self.backends
                .iter()
                .filter(move |backend| backend.state == state)
                .map(|backend| Place::new(backend.address, backend.port, self.protocol))
                .collect::<Vec<_>>()
        };
        let active = of(BackendState::Active);
        if active.is_empty() {
            of(BackendState::Terminating)
        } else {
            active
        }
    }
}
