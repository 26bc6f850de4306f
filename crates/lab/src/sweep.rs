//! Tear-down: everything that a state folder has on record goes, whoever made it and however that one ended.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::cgroup;
use crate::command;
use crate::error::Error;
use crate::process::{is_running, send};
use crate::state::{self, MARK, Record};
use crate::wait;

/// Takes down the standing lab of that name.
///
/// # Errors
/// [`Error::NotStanding`] when there is none, [`Error::InUse`] when a running program owns it.
pub fn down(name: &str) -> Result<(), Error> {
    let path = state::root().join(name);
    if !path.exists() {
        return Err(Error::NotStanding {
            name: name.to_owned(),
        });
    }
    match state::lock(&path)? {
        Some(_lock) => folder(&path),
        None => Err(Error::InUse {
            name: name.to_owned(),
            folder: path,
        }),
    }
}

/// Sweeps every lab whose owner died without taking it down, and names them. Labs that were left standing and
/// labs whose owner lives are not touched.
///
/// # Errors
/// When something that was left cannot be removed.
pub fn repair() -> Result<Vec<String>, Error> {
    let mut repaired = Vec::new();
    for path in labs()? {
        if state::is_standing(&path) {
            continue;
        }
        if let Some(_lock) = state::lock(&path)? {
            folder(&path)?;
            repaired.push(name(&path));
        }
    }
    Ok(repaired)
}

/// The names of the labs that were left standing.
///
/// # Errors
/// [`Error::File`] when the folder of all labs cannot be read.
pub fn standing() -> Result<Vec<String>, Error> {
    let labs = labs()?;
    Ok(labs
        .iter()
        .filter(|path| state::is_standing(path))
        .map(|path| name(path))
        .collect())
}

fn labs() -> Result<Vec<PathBuf>, Error> {
    let root = state::root();
    match fs::read_dir(&root) {
        Ok(entries) => Ok(entries.flatten().map(|entry| entry.path()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(Error::File { path: root, source }),
    }
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// From now on ctrl-c (and SIGTERM, SIGHUP) takes down the labs of this program before it ends, with exit status
/// 130.
///
/// # Errors
/// [`Error::Interrupts`] when it was called before.
pub fn on_interrupt() -> Result<(), Error> {
    // A handler and not a blocked signal: programs inherit what their starter blocks, and would not end when
    // they are told to.
    ctrlc::set_handler(|| {
        for path in state::owned() {
            if !state::is_standing(&path) {
                // The process ends in any case; the next start of any lab tries again.
                let _ = folder(&path);
            }
        }
        process::exit(130);
    })?;
    Ok(())
}

/// Removes everything on record in a state folder, and the folder. The caller has made sure that nobody owns it.
pub(crate) fn folder(path: &Path) -> Result<(), Error> {
    let records = state::records(path)?;
    end_processes(path, &records)?;
    for record in &records {
        match record {
            Record::Process { .. } => {}
            Record::Namespace(name) => delete_namespace(name)?,
            Record::Cgroup(name) => cgroup::remove(name)?,
        }
    }
    state::forget(path);
    wait::until(
        Duration::from_secs(5),
        "the state folder is gone",
        || match fs::remove_dir_all(path) {
            Ok(()) => Some(()),
            Err(error) => (error.kind() == io::ErrorKind::NotFound).then_some(()),
        },
    )?;
    // Only the last lab removes the folder of all labs: it is not empty before.
    let _ = fs::remove_dir(state::root());
    Ok(())
}

fn delete_namespace(name: &str) -> Result<(), Error> {
    if !Path::new("/run/netns").join(name).exists() {
        return Ok(());
    }
    command::text(Command::new("ip").args(["netns", "del", name])).map(|_| ())
}

/// Kills until nobody is left: what dies may have started others meanwhile.
fn end_processes(path: &Path, records: &[Record]) -> Result<(), Error> {
    let result = wait::try_until(
        Duration::from_secs(20),
        "the lab's processes have ended",
        || {
            let doomed = doomed(path, records)?;
            for pid in &doomed {
                send(*pid, Signal::SIGKILL)?;
            }
            Ok(doomed.is_empty().then_some(()))
        },
    );
    reap(records);
    match result {
        Err(Error::Deadline { .. }) => Err(Error::Remains {
            remains: doomed(path, records)?
                .iter()
                .map(|pid| format!("process {pid}"))
                .collect(),
        }),
        Ok(()) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Takes the exit status of those that this program has started; others are their own parents' business.
fn reap(records: &[Record]) {
    for record in records {
        if let Record::Process { pid, .. } = record {
            let _ = waitpid(Pid::from_raw(pid.cast_signed()), Some(WaitPidFlag::WNOHANG));
        }
    }
}

/// The living processes of a lab: those on record, those that carry its mark, those in its control groups.
fn doomed(path: &Path, records: &[Record]) -> Result<Vec<u32>, Error> {
    let mut pids = marked(path)?;
    for record in records {
        match record {
            Record::Process { pid, started, .. } if is_running(*pid, *started) => pids.push(*pid),
            Record::Process { .. } | Record::Namespace(_) => {}
            Record::Cgroup(name) => pids.extend(cgroup::processes(name)?),
        }
    }
    pids.sort_unstable();
    pids.dedup();
    pids.retain(|pid| *pid != process::id());
    Ok(pids)
}

/// The processes that carry the folder's path in their environment: the lab's programs and what they started
/// without a fresh environment (the shims of containerd). Zombies have no environment any more.
fn marked(path: &Path) -> Result<Vec<u32>, Error> {
    let mark = format!("{MARK}={}", path.display());
    let entries = fs::read_dir("/proc").map_err(Error::file("/proc"))?;
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(pids.filter(|pid| carries(*pid, mark.as_bytes())).collect())
}

fn carries(pid: u32, mark: &[u8]) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment
        .split(|byte| *byte == 0)
        .any(|variable| variable == mark)
}
