//! Short builders of wishes.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use lb::{
    Algorithm, Backend, BackendState, Capacity, Contents, Frontend, FrontendAddress, FrontendKey,
    Machine, MapOp, Protocol, Service, Settings, Wish,
};
use lb_abi::{Scope, TCP};

use crate::maps::Maps;
use crate::reference::key;

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Active backends on other nodes at port 8080; `~` before an address is one that ends, `-` one that is not ready, `@` one on this node.
pub(crate) fn list(texts: &[&str]) -> Arc<[Backend]> {
    let backend = |text: &&str| Backend {
        address: address(text.trim_start_matches(['~', '-', '@'])),
        port: 8080,
        is_local: text.contains('@'),
        state: if text.contains('~') {
            BackendState::Terminating
        } else if text.contains('-') {
            BackendState::Draining
        } else {
            BackendState::Active
        },
    };
    texts.iter().map(backend).collect()
}

pub(crate) fn frontend(address: FrontendAddress, port: u16, list: &Arc<[Backend]>) -> Frontend {
    Frontend {
        address,
        port,
        protocol: Protocol::Tcp,
        external: Arc::clone(list),
        internal: Arc::clone(list),
    }
}

pub(crate) fn balancer(text: &str) -> FrontendAddress {
    FrontendAddress::LoadBalancer(address(text))
}

pub(crate) fn random(frontends: Vec<Frontend>) -> Arc<Service> {
    let algorithm = Algorithm::Random;
    Arc::new(Service {
        algorithm,
        frontends,
    })
}

pub(crate) fn maglev(frontends: Vec<Frontend>) -> Arc<Service> {
    let algorithm = Algorithm::Maglev;
    Arc::new(Service {
        algorithm,
        frontends,
    })
}

/// The row of a TCP frontend.
pub(crate) fn row(text: &str, port: u16) -> FrontendKey {
    key(address(text), port, TCP, Scope::External)
}

pub(crate) const CAPACITY: Capacity = Capacity {
    frontends: 1000,
    groups: 100,
    backends: 100,
    slots: 1024,
    ring_slots: 32_768,
    flows4: 0,
    flows6: 0,
    sockets: 0,
};

/// A machine with its maps.
pub(crate) struct Node {
    pub(crate) capacity: Capacity,
    pub(crate) machine: Machine,
    pub(crate) maps: Maps,
    pub(crate) wish: Wish,
    pub(crate) now: Instant,
}

impl Node {
    pub(crate) fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            machine: Machine::new(capacity, &Settings::default(), &Contents::default()),
            maps: Maps::new(capacity),
            wish: Wish::default(),
            now: Instant::now(),
        }
    }

    pub(crate) fn set(&mut self, name: &str, service: Arc<Service>) -> &mut Self {
        self.wish.services.insert(name.into(), service);
        self
    }

    pub(crate) fn unset(&mut self, name: &str) -> &mut Self {
        self.wish.services.remove(name);
        self
    }

    /// Applies the wish, watched, and gives the steps.
    pub(crate) fn apply(&mut self) -> Vec<MapOp> {
        let ops = self.machine.apply(&self.wish, self.now);
        self.maps.perform_watched(&ops);
        ops
    }

    pub(crate) fn restart(&mut self, settings: &Settings) {
        let contents = self.maps.restart();
        self.machine = Machine::new(self.capacity, settings, &contents);
    }

    /// Addresses of the backends behind a row.
    pub(crate) fn behind(&self, key: &FrontendKey) -> Vec<String> {
        let row = self.maps.resolved().remove(key);
        let backends = row.unwrap_or_else(|| panic!("no row {key:?}")).backends;
        backends
            .into_iter()
            .map(|backend| backend.0.to_string())
            .collect()
    }

    /// Withheld frontends: reason, how many, of whom.
    pub(crate) fn withheld(&self) -> Vec<String> {
        let report = self.machine.report();
        let say = |withheld: &lb::Withheld| {
            format!(
                "{}: {} of {}",
                withheld.reason,
                withheld.count,
                withheld.examples.join(", ")
            )
        };
        report.withheld.iter().map(say).collect()
    }
}

/// Names of steps, in order, each run of equal ones once.
pub(crate) fn kinds(ops: &[MapOp]) -> Vec<&'static str> {
    let mut kinds: Vec<&str> = ops
        .iter()
        .map(|op| match op {
            MapOp::Backend { backend, .. } if backend.flags == 0 => "free",
            MapOp::Backend { .. } => "backend",
            MapOp::Slots { .. } => "slots",
            MapOp::Ring { .. } => "ring",
            MapOp::Group { .. } => "group",
            MapOp::Filter { .. } => "filter",
            MapOp::SetFrontend { .. } => "set",
            MapOp::RemoveFrontend { .. } => "remove",
            MapOp::NodeAddress { .. } => "node",
            MapOp::RaiseEpoch => "epoch",
            MapOp::Grace => "grace",
        })
        .collect();
    kinds.dedup();
    kinds
}
