//! What can fail here.

use std::io;
use std::path::PathBuf;

use crate::capabilities::Lacking;
use crate::cgroup::Unfit;

/// Why the load balancer cannot be in the kernel, or look at what is there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Capabilities are missing; it says which, and what for.
    #[error("not permitted: {0}")]
    NotPermitted(Lacking),
    /// The thread's own status could not be read.
    #[error("cannot read the capabilities of this thread")]
    Capabilities(#[source] io::Error),
    /// The machine's memory, by which maps are sized, could not be read.
    #[error("cannot read how much memory there is")]
    Memory(#[source] io::Error),
    /// The object that is part of this program is not one, or its maps could not be made.
    #[error("cannot load the object")]
    Load(#[source] Box<aya::EbpfError>),
    /// The object that is part of this program cannot be read.
    #[error("the object cannot be read")]
    Object(#[source] Box<aya_obj::ParseError>),
    /// The kernel's verifier, or its lack of a feature, does not let a program in.
    #[error("the kernel refuses the program {name}")]
    Program {
        /// Its name in the object.
        name: &'static str,
        /// What the kernel says.
        #[source]
        source: Box<aya::programs::ProgramError>,
    },
    /// The object lacks a program.
    #[error("the object has no program {name}")]
    NoProgram {
        /// The name it should have.
        name: &'static str,
    },
    /// The object lacks a map.
    #[error("the object has no map {name}")]
    NoMap {
        /// The name it should have.
        name: &'static str,
    },
    /// A map is not what its name says.
    #[error("the map {name} has another layout than this program knows")]
    Layout {
        /// Its name.
        name: &'static str,
    },
    /// A map could not be read or mapped.
    #[error("cannot use the map {name}")]
    Map {
        /// Its name.
        name: &'static str,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// What the kernel must wait with could not be made.
    #[error("cannot wait for packets that are under way")]
    Grace(#[source] io::Error),
    /// A pinned map, link or folder could not be made, read or removed.
    #[error("cannot use {}", path.display())]
    Pin {
        /// Where it is.
        path: PathBuf,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// Another process uses the folder for pins.
    #[error("another process uses {}", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The folder for pins is not in a BPF file system.
    #[error("{} is not in a BPF file system", path.display())]
    NotBpffs {
        /// The folder.
        path: PathBuf,
    },
    /// The kernel refuses a program its place at the sockets.
    #[error("cannot attach the program {name} to the control group")]
    Attach {
        /// Its name.
        name: &'static str,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// The sockets of processes cannot be reached.
    #[error("cannot attach to sockets: {0}")]
    Cgroup(Unfit),
    /// The network namespace's cookie could not be had (Linux 5.14).
    #[error("cannot identify the network namespace")]
    Namespace(#[source] io::Error),
    /// The kernel does not say how long a tick of its clock is.
    #[error("cannot read the resolution of the kernel's clock")]
    Clock(#[source] io::Error),
    /// A netlink socket could not be made as needed.
    #[error("cannot open a netlink socket")]
    Open(#[source] io::Error),
    /// The kernel could not be asked.
    #[error("cannot send to the kernel")]
    Send(#[source] io::Error),
    /// The kernel's answer could not be had.
    #[error("cannot receive from the kernel")]
    Receive(#[source] io::Error),
    /// Waiting for the kernel or for wishes failed.
    #[error("cannot wait for events")]
    Wait(#[source] io::Error),
    /// The thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// What was being read changed all the time.
    #[error("the kernel's answer was interrupted again and again")]
    Interrupted,
}

/// An error number, shown by its name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(
    /// The number, positive.
    pub i32,
);

impl Errno {
    /// That of an error of the system; 0 where it has none.
    pub(crate) fn of(error: &io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or_default())
    }
}

impl std::fmt::Display for Errno {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:?}", nix::errno::Errno::from_raw(self.0))
    }
}

impl std::fmt::Debug for Errno {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, formatter)
    }
}
