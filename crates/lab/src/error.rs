//! Why a lab cannot do what it was asked.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;

/// Why a lab cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be read, written, made or removed.
    #[error("{}: {source}", path.display())]
    File {
        /// What was touched.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A program of the machine cache has not been built on this machine.
    #[error("{program} is not in {}: run `cargo xtask setup`", folder.display())]
    NotSetUp {
        /// The file that is missing.
        program: String,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// One of this package's own programs has not been built beside the running one.
    #[error("{program} is not in {}: run `cargo build -p lab --bins`", folder.display())]
    OwnProgramMissing {
        /// The file that is missing.
        program: String,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// A program could not be started at all.
    #[error("cannot start {program}: {source}")]
    Spawn {
        /// What was to be started.
        program: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A program that was waited for ended with a failure.
    #[error("`{command}` failed ({status}): {stderr}")]
    Failed {
        /// The program and its arguments.
        command: String,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// What it said on its standard error.
        stderr: String,
    },
    /// A program that must keep running has ended.
    #[error("{name} has ended; its log is {} and closes with:\n{tail}", log.display())]
    Ended {
        /// The process by its name in the lab.
        name: String,
        /// Its whole log.
        log: PathBuf,
        /// The last lines of its log.
        tail: String,
    },
    /// What was waited for did not come true in time.
    #[error("waited {waited:.1?} in vain for: {awaited}")]
    Deadline {
        /// What was awaited, as a sentence.
        awaited: String,
        /// How long.
        waited: Duration,
    },
    /// Another living program owns a lab of this name.
    #[error("the lab {name:?} belongs to another running program ({} is locked)", folder.display())]
    InUse {
        /// The lab's name.
        name: String,
        /// Its state folder.
        folder: PathBuf,
    },
    /// A lab of this name was left standing, and nobody said to take it down.
    #[error("the lab {name:?} is standing ({}): take it down first (`cargo xtask lab down`)", folder.display())]
    Standing {
        /// The lab's name.
        name: String,
        /// Its state folder.
        folder: PathBuf,
    },
    /// No lab of this name is standing.
    #[error("no lab {name:?} is standing")]
    NotStanding {
        /// The lab's name.
        name: String,
    },
    /// The topology has no node, router, host or subnet of this name.
    #[error("the lab has no {name:?}; it has {}", known.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A cluster needs root: it makes network namespaces, mounts and control groups.
    #[error("a cluster needs root")]
    NotRoot,
    /// A system call failed.
    #[error("{call}: {source}")]
    Kernel {
        /// The call.
        call: &'static str,
        /// What the kernel said.
        source: Errno,
    },
    /// Nobody can be told of interrupts: something else in the program already is.
    #[error("interrupts: {0}")]
    Interrupts(#[from] ctrlc::Error),
    /// A certificate or key could not be made.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A program printed, or a state folder held, JSON that means something else than expected.
    #[error("{from}: {source}")]
    Json {
        /// Who wrote it.
        from: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A program that is to go into an image needs a library that this machine lacks.
    #[error("{} needs {library}, which is not on this machine", program.display())]
    MissingLibrary {
        /// The program.
        program: PathBuf,
        /// The library, by the name under which the program asks for it.
        library: String,
    },
    /// A program's answer, which is text for people, is not of the expected form.
    #[error("{program} answered what is not understood: {answer:?}")]
    Answer {
        /// Who answered.
        program: &'static str,
        /// The part that is not understood.
        answer: String,
    },
    /// What was left could not all be removed.
    #[error("left behind after tear-down: {}", remains.join(", "))]
    Remains {
        /// What is still there.
        remains: Vec<String>,
    },
}

impl Error {
    /// For `map_err` of file operations: keeps the path beside the kernel's answer.
    pub fn file(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Error {
        let path = path.as_ref().to_path_buf();
        move |source| Error::File { path, source }
    }

    /// For `map_err` of system calls.
    pub fn kernel(call: &'static str) -> impl FnOnce(Errno) -> Error {
        move |source| Error::Kernel { call, source }
    }

    /// For `map_err` of JSON reading.
    pub fn json(from: impl Into<String>) -> impl FnOnce(serde_json::Error) -> Error {
        let from = from.into();
        move |source| Error::Json { from, source }
    }
}
