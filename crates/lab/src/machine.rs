//! A machine of the lab, whatever it is: a place in which programs can be run.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use crate::command::{self, Output};
use crate::error::Error;
use crate::namespace::Namespace;
use crate::process::Place;

/// A machine: its network namespace, and for a node also its mounts and host name.
#[derive(Clone, Debug)]
pub struct Machine {
    name: String,
    namespace: Namespace,
    place: Place,
}

impl Machine {
    pub(crate) fn new(name: &str, namespace: Namespace, place: Place) -> Self {
        Self {
            name: name.to_owned(),
            namespace,
            place,
        }
    }

    /// Its name in the lab.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its network namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Where a program has to be started to be on this machine.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Where a file of the machine is, as seen from here.
    pub fn path(&self, path: &str) -> PathBuf {
        match &self.place {
            Place::Here | Place::Network(_) => PathBuf::from(path),
            Place::Beside { pid } => PathBuf::from(format!("/proc/{pid}/root{path}")),
        }
    }

    /// A command that runs `program` on it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.place.command(program)
    }

    /// Runs a program (the first word) on it to its end, whatever that is.
    ///
    /// # Errors
    /// [`Error::Spawn`] when it cannot be started.
    pub fn exec<A: AsRef<OsStr>>(
        &self,
        words: impl IntoIterator<Item = A>,
    ) -> Result<Output, Error> {
        let mut words = words.into_iter();
        match words.next() {
            Some(program) => command::run(self.command(program).args(words)),
            None => command::run(&mut self.command("true")),
        }
    }
}
