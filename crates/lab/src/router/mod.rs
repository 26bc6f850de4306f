//! Routers: FRR, BIRD 2 and GoBGP, each a set of daemons in a network namespace with folders of its own, and
//! one vocabulary for what they say.

mod bird;
mod frr;
mod gobgp;
mod kernel;
mod peering;
mod table;

use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

pub use kernel::{KernelRoute, NextHop, kernel_routes};
pub use peering::{Peering, Remote};
pub use table::{Afi, Community, LargeCommunity, Neighbor, Prefixes, Route, State};

use crate::error::Error;
use crate::namespace::Namespace;
use crate::process::{Place, Process};
use crate::state::StateFolder;
use crate::topology::{RouterKind, RouterSpec};
use crate::wait;

/// How long a daemon may take to answer its command, and to end when asked to.
const PATIENCE: Duration = Duration::from_secs(10);

/// A router that was started. Dropping the handle does not end it: the lab's tear-down does.
#[derive(Debug)]
pub struct Router {
    name: String,
    kind: RouterKind,
    namespace: Namespace,
    folder: PathBuf,
    /// What GoBGP is to originate: the networks of its loopback.
    originate: Vec<IpNet>,
    processes: Vec<Process>,
}

impl Router {
    /// Starts the daemons of `spec` in `namespace` and waits until they answer.
    ///
    /// # Errors
    /// When a daemon is not installed, ends (its configuration may be wrong, its log says so), or does not
    /// answer within 10 s.
    pub fn start(
        state: &StateFolder,
        namespace: &Namespace,
        spec: &RouterSpec,
    ) -> Result<Self, Error> {
        let mut router = Self::bare(state, namespace, spec)?;
        let launches = match spec.kind {
            RouterKind::Frr => frr::launches(&spec.name, &router.folder, &spec.config)?,
            RouterKind::Bird => bird::launches(&spec.name, &router.folder, &spec.config)?,
            RouterKind::Gobgp => gobgp::launches(&spec.name, &router.folder, &spec.config)?,
        };
        for launch in launches {
            let launch = launch.within(Place::Network(namespace.clone()));
            let process = Process::start(state, launch)?;
            router.await_zebra(&process)?;
            router.processes.push(process);
        }
        router.await_ready()?;
        Ok(router)
    }

    /// The router of a lab that stands.
    ///
    /// # Errors
    /// [`Error::NotStanding`] when its daemons were never started there.
    pub fn attach(
        state: &StateFolder,
        namespace: &Namespace,
        spec: &RouterSpec,
    ) -> Result<Self, Error> {
        let mut router = Self::bare(state, namespace, spec)?;
        let daemons: &[&str] = match spec.kind {
            RouterKind::Frr => &["zebra", "bgpd"],
            RouterKind::Bird => &["bird"],
            RouterKind::Gobgp => &["gobgpd"],
        };
        for daemon in daemons {
            let process = state.process(&format!("{}-{daemon}", spec.name))?;
            router
                .processes
                .push(process.ok_or_else(|| Error::NotStanding {
                    name: spec.name.clone(),
                })?);
        }
        Ok(router)
    }

    fn bare(state: &StateFolder, namespace: &Namespace, spec: &RouterSpec) -> Result<Self, Error> {
        Ok(Self {
            name: spec.name.clone(),
            kind: spec.kind,
            namespace: namespace.clone(),
            folder: state.folder(Path::new("routers").join(&spec.name))?,
            originate: spec.loopback.clone(),
            processes: Vec::new(),
        })
    }

    /// Its name in the lab.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What runs on it.
    pub fn kind(&self) -> RouterKind {
        self.kind
    }

    /// Where it runs.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Where its configuration and sockets are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its daemons.
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// Asks the daemons to end, the one that speaks BGP first, and waits for it.
    ///
    /// # Errors
    /// [`Error::Deadline`] when one still runs after 10 s.
    pub fn stop(&self) -> Result<(), Error> {
        self.processes
            .iter()
            .rev()
            .try_for_each(|process| process.terminate(PATIENCE))
    }

    /// `kill -9` for all daemons, the one that speaks BGP first. The kernel ends their connections.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(&self) -> Result<(), Error> {
        self.processes.iter().rev().try_for_each(Process::kill)
    }

    /// Starts the daemons again after [`Router::stop`] or [`Router::kill`] and waits until they answer.
    ///
    /// # Errors
    /// As [`Router::start`].
    pub fn start_again(&self) -> Result<(), Error> {
        for process in &self.processes {
            process.start_again()?;
            self.await_zebra(process)?;
        }
        self.await_ready()
    }

    /// [`Router::stop`], then [`Router::start_again`].
    ///
    /// # Errors
    /// As those two.
    pub fn restart(&self) -> Result<(), Error> {
        self.stop()?;
        self.start_again()
    }

    /// Stops the daemons in their tracks: connections stay open and nobody answers.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn freeze(&self) -> Result<(), Error> {
        self.processes.iter().rev().try_for_each(Process::freeze)
    }

    /// Lets frozen daemons run again.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn thaw(&self) -> Result<(), Error> {
        self.processes.iter().try_for_each(Process::thaw)
    }

    /// Every configured neighbour, in the daemon's order.
    ///
    /// # Errors
    /// When the daemon does not answer, or not as expected.
    pub fn summary(&self) -> Result<Vec<Neighbor>, Error> {
        match self.kind {
            RouterKind::Frr => frr::neighbors(self),
            RouterKind::Bird => bird::neighbors(self),
            RouterKind::Gobgp => gobgp::neighbors(self),
        }
    }

    /// One neighbour; `None` when it is not configured.
    ///
    /// # Errors
    /// As [`Router::summary`].
    pub fn neighbor(&self, address: IpAddr) -> Result<Option<Neighbor>, Error> {
        Ok(self
            .summary()?
            .into_iter()
            .find(|neighbor| neighbor.address == address))
    }

    /// Every path of the BGP table, what the router originates included.
    ///
    /// # Errors
    /// When the daemon does not answer, or not as expected.
    pub fn routes(&self, afi: Afi) -> Result<Vec<Route>, Error> {
        match self.kind {
            RouterKind::Frr => frr::routes(self, afi),
            RouterKind::Bird => bird::routes(self, afi),
            RouterKind::Gobgp => gobgp::routes(self, afi),
        }
    }

    /// The paths to one prefix.
    ///
    /// # Errors
    /// As [`Router::routes`].
    pub fn paths(&self, prefix: IpNet) -> Result<Vec<Route>, Error> {
        let routes = self.routes(Afi::of(&prefix))?;
        Ok(routes
            .into_iter()
            .filter(|route| route.prefix == prefix)
            .collect())
    }

    /// The main table of the router's kernel. GoBGP installs nothing there.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn kernel_routes(&self) -> Result<Vec<KernelRoute>, Error> {
        kernel_routes(&self.namespace)
    }

    /// Ends the session with `peer` with a Cease and lets it come back.
    ///
    /// # Errors
    /// When there is no such neighbour or the daemon refuses.
    pub fn clear_session(&self, peer: IpAddr) -> Result<(), Error> {
        match self.kind {
            RouterKind::Frr => frr::vtysh(self, &format!("clear bgp {peer}")).map(|_| ()),
            RouterKind::Bird => bird::clear(self, peer),
            RouterKind::Gobgp => {
                gobgp::gobgp(self, &["neighbor", &peer.to_string(), "reset"]).map(|_| ())
            }
        }
    }

    /// Asks the daemon in its own language (`vtysh -c`, `birdc`, `gobgp --json`) and gives its answer as it is.
    ///
    /// # Errors
    /// When the daemon does not answer or refuses.
    pub fn ask(&self, line: &str) -> Result<String, Error> {
        match self.kind {
            RouterKind::Frr => frr::vtysh(self, line),
            RouterKind::Bird => bird::birdc(self, line),
            RouterKind::Gobgp => gobgp::gobgp(self, &line.split(' ').collect::<Vec<_>>()),
        }
    }

    /// Writes another configuration and restarts the daemon that speaks BGP, gracefully as far as it can.
    ///
    /// # Errors
    /// As [`Router::restart`]; and when the file cannot be written.
    pub fn reconfigure(&self, config: &str) -> Result<(), Error> {
        match self.kind {
            RouterKind::Frr => frr::write(&self.name, &self.folder, config)?,
            RouterKind::Bird => drop(bird::write(&self.folder, config)?),
            RouterKind::Gobgp => drop(gobgp::write(&self.folder, config)?),
        }
        self.restart()
    }

    /// FRR's `bgpd` looks for the socket of `zebra` once, and then only seconds later.
    fn await_zebra(&self, process: &Process) -> Result<(), Error> {
        if !process.name().ends_with("-zebra") {
            return Ok(());
        }
        let socket = self.folder.join("zserv.api");
        wait::try_until(PATIENCE, "zebra listens", || {
            process.check()?;
            Ok(UnixStream::connect(&socket).ok().map(|_| ()))
        })
    }

    fn await_ready(&self) -> Result<(), Error> {
        wait::try_until(PATIENCE, &format!("{} answers", self.name), || {
            self.processes.iter().try_for_each(Process::check)?;
            let ready = match self.kind {
                RouterKind::Frr => frr::is_ready(self),
                RouterKind::Bird => bird::is_ready(self),
                RouterKind::Gobgp => gobgp::is_ready(self),
            };
            Ok(ready.then_some(()))
        })?;
        match self.kind {
            RouterKind::Gobgp => gobgp::originate(self, &self.originate),
            RouterKind::Frr | RouterKind::Bird => Ok(()),
        }
    }
}
