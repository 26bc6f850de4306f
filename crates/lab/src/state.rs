//! The folder in which a lab lives, and the record of everything that must go when it goes.
//!
//! `<root>/<lab>/` holds `owner.lock` (locked while the owning program lives), `records` (one JSON object per
//! line), `log/`, and whatever the parts of the lab keep there. The root is `/var/lib/tombolo-lab` for root and
//! `${XDG_STATE_HOME:-~/.local/state}/tombolo-lab` for others.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use crate::binaries;
use crate::error::Error;
use crate::process::{Launch, Process};
use crate::wait;

/// The environment variable by which every program of a lab carries the path of its state folder.
pub const MARK: &str = "TOMBOLO_LAB";

/// Something that must be gone when the lab is gone.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Record {
    /// A started program: how, and which process it became.
    Process {
        /// How it was started.
        launch: Launch,
        /// Its process number.
        pid: u32,
        /// When the kernel started it, in clock ticks since boot: tells it from a later owner of the number.
        started: u64,
    },
    /// A named network namespace.
    Namespace(String),
    /// A control group below the root of every hierarchy.
    Cgroup(String),
}

/// The folder of one lab. Clones are handles to the same folder. With the last handle of the program that
/// [created](StateFolder::create) it, everything on record goes, unless it was [left
/// standing](StateFolder::leave_standing).
#[derive(Clone, Debug)]
pub struct StateFolder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    path: PathBuf,
    records: Mutex<File>,
    /// Held by the program that created the folder, not by those that only attach.
    lock: Option<Flock<File>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.lock.is_some() && !is_standing(&self.path) {
            // What a destructor cannot remove, the next start of any lab tries again.
            let _ = crate::sweep::folder(&self.path);
        }
    }
}

impl StateFolder {
    /// Makes the folder of a new lab and locks it. What a dead owner of the same name left is swept before.
    ///
    /// # Errors
    /// [`Error::InUse`] when a living program owns it, [`Error::Standing`] when it was left standing.
    pub fn create(name: &str) -> Result<Self, Error> {
        let path = root().join(name);
        if is_standing(&path) {
            return Err(Error::Standing {
                name: name.to_owned(),
                folder: path,
            });
        }
        // Somebody else's repair may hold the lock for a moment, and remove the folder while it does.
        let attempt = wait::try_until(Duration::from_secs(2), "the folder is ours", || {
            let Some(lock) = lock(&path)? else {
                return Ok(None);
            };
            if path.join("records").exists() {
                crate::sweep::folder(&path)?;
                return Ok(None);
            }
            Ok(path.join("owner.lock").exists().then_some(lock))
        });
        let lock = match attempt {
            Ok(lock) => lock,
            Err(Error::Deadline { .. }) => {
                return Err(Error::InUse {
                    name: name.to_owned(),
                    folder: path,
                });
            }
            Err(error) => return Err(error),
        };
        fs::create_dir_all(path.join("log")).map_err(Error::file(&path))?;
        OWNED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(path.clone());
        Self::open(name, path, Some(lock))
    }

    /// Opens the folder of a lab that was left standing, without locking it.
    ///
    /// # Errors
    /// [`Error::NotStanding`] when there is none.
    pub fn attach(name: &str) -> Result<Self, Error> {
        let path = root().join(name);
        if !is_standing(&path) {
            return Err(Error::NotStanding {
                name: name.to_owned(),
            });
        }
        Self::open(name, path, None)
    }

    fn open(name: &str, path: PathBuf, lock: Option<Flock<File>>) -> Result<Self, Error> {
        let records = path.join("records");
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&records)
            .map_err(Error::file(&records))?;
        Ok(Self(Arc::new(Inner {
            name: name.to_owned(),
            path,
            records: Mutex::new(file),
            lock,
        })))
    }

    /// The lab's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// A folder inside, made if it is not there.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be made.
    pub fn folder(&self, name: impl AsRef<Path>) -> Result<PathBuf, Error> {
        let path = self.0.path.join(name);
        fs::create_dir_all(&path).map_err(Error::file(&path))?;
        Ok(path)
    }

    /// Writes a file inside, with the folders above it.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be written.
    pub fn write(
        &self,
        name: impl AsRef<Path>,
        content: impl AsRef<[u8]>,
    ) -> Result<PathBuf, Error> {
        let path = self.0.path.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(Error::file(folder))?;
        }
        fs::write(&path, content).map_err(Error::file(&path))?;
        Ok(path)
    }

    /// Where the log of a program is.
    pub fn log(&self, process: &str) -> PathBuf {
        self.0.path.join("log").join(format!("{process}.log"))
    }

    /// Writes down something that must be gone when the lab is gone. To be called before it is made, where
    /// that is possible.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be written.
    pub fn record(&self, record: &Record) -> Result<(), Error> {
        let path = self.0.path.join("records");
        let mut line = serde_json::to_string(record).map_err(Error::json("record"))?;
        line.push('\n');
        let mut file = self
            .0
            .records
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        file.write_all(line.as_bytes()).map_err(Error::file(path))
    }

    /// The latest process of that name, if one was ever started and still lives.
    ///
    /// # Errors
    /// [`Error::File`] when the records cannot be read.
    pub fn process(&self, name: &str) -> Result<Option<Process>, Error> {
        let found = records(&self.0.path)?
            .into_iter()
            .rev()
            .find_map(|record| match record {
                Record::Process {
                    launch,
                    pid,
                    started,
                } if launch.name() == name => {
                    Some(Process::adopt(self.clone(), launch, pid, started))
                }
                Record::Process { .. } | Record::Namespace(_) | Record::Cgroup(_) => None,
            });
        Ok(found)
    }

    /// Says that this lab is to outlive the program that made it.
    ///
    /// # Errors
    /// [`Error::File`] when the mark cannot be written.
    pub fn leave_standing(&self) -> Result<(), Error> {
        self.write("standing", "").map(|_| ())
    }

    /// Whether this lab is to outlive the program that made it.
    pub fn is_standing(&self) -> bool {
        is_standing(&self.0.path)
    }
}

/// The folders this program owns: what an interrupt has to sweep.
static OWNED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

pub(crate) fn owned() -> Vec<PathBuf> {
    OWNED.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

pub(crate) fn forget(path: &Path) {
    OWNED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .retain(|owned| owned != path);
}

/// Where the folders of all labs of this user are.
pub fn root() -> PathBuf {
    if geteuid().is_root() {
        return PathBuf::from("/var/lib/tombolo-lab");
    }
    env::var_os("XDG_STATE_HOME")
        .filter(|path| !path.is_empty())
        .map_or_else(|| binaries::home().join(".local/state"), PathBuf::from)
        .join("tombolo-lab")
}

pub(crate) fn is_standing(folder: &Path) -> bool {
    folder.join("standing").exists()
}

/// Takes the lock of a folder, if nobody has it.
pub(crate) fn lock(folder: &Path) -> Result<Option<Flock<File>>, Error> {
    fs::create_dir_all(folder).map_err(Error::file(folder))?;
    let path = folder.join("owner.lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(Error::file(&path))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, source)) => Err(Error::Kernel {
            call: "flock",
            source,
        }),
    }
}

/// Everything written down in a folder, oldest first. A last line that a dying owner tore off is passed over.
pub(crate) fn records(folder: &Path) -> Result<Vec<Record>, Error> {
    let path = folder.join("records");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(source) => return Err(Error::File { path, source }),
    };
    Ok(text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect())
}
