//! Named network namespaces.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use nix::sched::{CloneFlags, setns};
use serde::{Deserialize, Serialize};

use crate::command::{self, Output};
use crate::error::Error;
use crate::process::Place;
use crate::state::{Record, StateFolder};

/// A named network namespace, as `ip netns` knows them. The value is its name; it can be copied freely.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes `tombolo-<lab>-<machine>`, with its loopback up.
    ///
    /// # Errors
    /// [`Error::Failed`] with what `ip` says.
    pub fn create(state: &StateFolder, machine: &str) -> Result<Self, Error> {
        let namespace = Self::of(state, machine);
        state.record(&Record::Namespace(namespace.name.clone()))?;
        command::text(Command::new("ip").args(["netns", "add", &namespace.name]))?;
        Ok(namespace)
    }

    /// The namespace of a machine of a lab that stands.
    pub fn of(state: &StateFolder, machine: &str) -> Self {
        Self {
            name: format!("tombolo-{}-{machine}", state.name()),
        }
    }

    /// Its name, as `ip netns` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that is the namespace.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// Removes it, and with it its interfaces. What still runs inside keeps it alive without a name.
    ///
    /// # Errors
    /// [`Error::Failed`] with what `ip` says.
    pub fn delete(&self) -> Result<(), Error> {
        command::text(Command::new("ip").args(["netns", "del", &self.name])).map(|_| ())
    }

    /// A command that runs `program` inside.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        Place::Network(self.clone()).command(program)
    }

    /// Runs a program inside to its end, whatever that is.
    ///
    /// # Errors
    /// [`Error::Spawn`] when it cannot be started.
    pub fn exec<A: AsRef<OsStr>>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Output, Error> {
        command::run(self.command(program).args(arguments))
    }

    /// Runs `ip` commands inside, one per line, stopping at the first that fails.
    ///
    /// # Errors
    /// [`Error::Failed`] with what `ip` says.
    pub fn ip(&self, batch: &str) -> Result<(), Error> {
        let mut ip = Command::new("ip");
        command::text_fed(ip.args(["-n", &self.name, "-batch", "-"]), batch).map(|_| ())
    }

    /// Loads an nftables script inside.
    ///
    /// # Errors
    /// [`Error::Failed`] with what `nft` says.
    pub fn nft(&self, script: &str) -> Result<(), Error> {
        command::text_fed(self.command("nft").args(["-f", "-"]), script).map(|_| ())
    }

    /// Sets a kernel parameter below `/proc/sys/net`, e.g. `("ipv4/ip_forward", "1")`.
    ///
    /// # Errors
    /// [`Error::File`] when there is no such parameter or value.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<(), Error> {
        let path = PathBuf::from("/proc/sys/net").join(key);
        self.run(|| fs::write(&path, value).map_err(Error::file(&path)))?
    }

    /// Runs a function on a thread of its own inside: the sockets it makes belong to the namespace and may be
    /// used from anywhere afterwards.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Kernel`] when the namespace cannot be entered.
    ///
    /// # Panics
    /// When the function does.
    pub fn run<T: Send>(&self, function: impl FnOnce() -> T + Send) -> Result<T, Error> {
        let path = self.path();
        let file = File::open(&path).map_err(Error::file(path))?;
        let inside = move || {
            setns(file, CloneFlags::CLONE_NEWNET).map_err(Error::kernel("setns"))?;
            Ok(function())
        };
        std::thread::scope(|scope| match scope.spawn(inside).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }
}
