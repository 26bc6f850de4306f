//! The image registry of a lab, which its nodes use as mirror of `docker.io`.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use crate::binaries;
use crate::error::Error;
use crate::namespace::Namespace;
use crate::process::{Launch, Place, Process};
use crate::state::StateFolder;
use crate::wait;

/// A registry of the lab's own (`crane registry serve`).
#[derive(Debug)]
pub struct Registry {
    namespace: Namespace,
    address: SocketAddr,
    process: Process,
}

impl Registry {
    /// Starts one and waits until it listens.
    ///
    /// # Errors
    /// When `crane` is missing, ends, or does not listen within 10 s.
    pub fn start(
        state: &StateFolder,
        namespace: &Namespace,
        address: SocketAddr,
    ) -> Result<Self, Error> {
        let folder = state.folder("registry")?;
        let launch = Launch::new("registry", binaries::CRANE.binary("crane")?)
            .args([
                "registry",
                "serve",
                "--address",
                &format!("0.0.0.0:{}", address.port()),
                "--disk",
            ])
            .arg(folder.to_string_lossy())
            .within(Place::Network(namespace.clone()));
        let process = Process::start(state, launch)?;
        let registry = Self {
            namespace: namespace.clone(),
            address,
            process,
        };
        wait::try_until(Duration::from_secs(10), "the registry listens", || {
            registry.process.check()?;
            namespace.run(|| std::net::TcpStream::connect(address).ok().map(|_| ()))
        })?;
        Ok(registry)
    }

    /// The registry of a lab that stands.
    pub(crate) fn attach(
        state: &StateFolder,
        namespace: &Namespace,
        address: SocketAddr,
    ) -> Result<Self, Error> {
        let process = state
            .process("registry")?
            .ok_or_else(|| Error::NotStanding {
                name: state.name().to_owned(),
            })?;
        Ok(Self {
            namespace: namespace.clone(),
            address,
            process,
        })
    }

    /// The address at which nodes and [`Registry::crane`] reach it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// A `crane` command that reaches the registry; references start with [`Registry::address`] and the
    /// command needs `--insecure`.
    ///
    /// # Errors
    /// [`Error::NotSetUp`] when `crane` is missing.
    pub fn crane(&self) -> Result<Command, Error> {
        Ok(self.namespace.command(binaries::CRANE.binary("crane")?))
    }
}
