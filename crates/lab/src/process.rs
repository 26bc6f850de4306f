//! Programs that keep running: started in their place with a log, watched, killed, frozen, started again.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::namespace::Namespace;
use crate::state::{MARK, Record, StateFolder};
use crate::wait;

/// Where a program runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// In the namespaces of the program that starts it.
    Here,
    /// In a network namespace, everything else as here.
    Network(Namespace),
    /// In the network, mount and host name namespaces of another process: what a node is.
    Beside {
        /// That process.
        pid: u32,
    },
}

impl Place {
    /// A command that runs `program` there. It knows no proxy: whatever a lab talks to is in the lab.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.enter(program.as_ref());
        for variable in ["http_proxy", "https_proxy", "all_proxy"] {
            command
                .env_remove(variable)
                .env_remove(variable.to_uppercase());
        }
        command
    }

    fn enter(&self, program: &OsStr) -> Command {
        let mut command = match self {
            Place::Here => return Command::new(program),
            Place::Network(namespace) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net={}", namespace.path().display()));
                command
            }
            Place::Beside { pid } => {
                let mut command = Command::new("nsenter");
                command.args(["--target", &pid.to_string(), "--mount", "--uts", "--net"]);
                command
            }
        };
        command.arg("--").arg(program);
        command
    }
}

/// How to start a program: enough to start it again later, even from another program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Launch {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    place: Place,
}

impl Launch {
    /// A program under a name that is its own within the lab: its log is `<name>.log`.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            place: Place::Here,
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<A: Into<String>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// One more variable in its environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// Where it runs; the default is [`Place::Here`].
    #[must_use]
    pub fn within(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// Its name in the lab.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A started program. Dropping the handle does not end it: the lab's tear-down does.
#[derive(Debug)]
pub struct Process {
    launch: Launch,
    running: Mutex<Running>,
    state: StateFolder,
}

#[derive(Debug)]
struct Running {
    pid: u32,
    started: u64,
    child: Option<Child>,
}

impl Process {
    /// Starts a program in a process group of its own, with its output appended to its log.
    ///
    /// # Errors
    /// [`Error::Spawn`] when there is no such program, [`Error::File`] when the log or the record cannot be
    /// written.
    pub fn start(state: &StateFolder, launch: Launch) -> Result<Self, Error> {
        let running = Mutex::new(Running::start(state, &launch)?);
        Ok(Self {
            launch,
            running,
            state: state.clone(),
        })
    }

    /// A handle to a program that another program started.
    pub(crate) fn adopt(state: StateFolder, launch: Launch, pid: u32, started: u64) -> Self {
        let running = Mutex::new(Running {
            pid,
            started,
            child: None,
        });
        Self {
            launch,
            running,
            state,
        }
    }

    /// Starts the same program in the same place again. The old one must have ended.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub fn start_again(&self) -> Result<(), Error> {
        let next = Running::start(&self.state, &self.launch)?;
        *self.running() = next;
        Ok(())
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its name in the lab.
    pub fn name(&self) -> &str {
        &self.launch.name
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.running().pid
    }

    /// Where its output goes.
    pub fn log(&self) -> PathBuf {
        self.state.log(&self.launch.name)
    }

    /// Whether it is still running (a frozen one is).
    pub fn is_alive(&self) -> bool {
        self.running().is_alive()
    }

    /// Makes sure that it is still running.
    ///
    /// # Errors
    /// [`Error::Ended`] with the end of its log.
    pub fn check(&self) -> Result<(), Error> {
        if self.is_alive() {
            return Ok(());
        }
        let log = self.log();
        let tail = tail(&log, 12);
        Err(Error::Ended {
            name: self.launch.name.clone(),
            log,
            tail,
        })
    }

    /// Sends a signal; to one that has ended this does nothing.
    ///
    /// # Errors
    /// [`Error::Kernel`] when the kernel refuses.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        let mut running = self.running();
        if running.is_alive() {
            send(running.pid, signal)
        } else {
            Ok(())
        }
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Errors
    /// [`Error::Deadline`] when it does not go.
    pub fn kill(&self) -> Result<(), Error> {
        self.signal(Signal::SIGKILL)?;
        self.ended(Duration::from_secs(10))
    }

    /// SIGTERM, and waits until it has ended by itself.
    ///
    /// # Errors
    /// [`Error::Deadline`] when it still runs after `patience`.
    pub fn terminate(&self, patience: Duration) -> Result<(), Error> {
        self.signal(Signal::SIGTERM)?;
        self.ended(patience)
    }

    /// Stops it in its tracks (SIGSTOP) and waits until it stands: its sockets stay open, and nobody answers on
    /// them.
    ///
    /// # Errors
    /// [`Error::Kernel`] when the kernel refuses, [`Error::Deadline`] when it does not stop.
    pub fn freeze(&self) -> Result<(), Error> {
        self.signal(Signal::SIGSTOP)?;
        stopped(self.pid())
    }

    /// Lets a frozen one run again.
    ///
    /// # Errors
    /// [`Error::Kernel`] when the kernel refuses.
    pub fn thaw(&self) -> Result<(), Error> {
        self.signal(Signal::SIGCONT)
    }

    fn ended(&self, patience: Duration) -> Result<(), Error> {
        let awaited = format!("{} has ended", self.launch.name);
        wait::until(patience, &awaited, || (!self.is_alive()).then_some(()))
    }
}

impl Running {
    fn start(state: &StateFolder, launch: &Launch) -> Result<Self, Error> {
        let path = state.log(&launch.name);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(Error::file(&path))?;
        let log_too = log.try_clone().map_err(Error::file(&path))?;
        let child = launch
            .place
            .command(&launch.program)
            .args(&launch.arguments)
            .envs(&launch.environment)
            .env(MARK, state.path())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_too)
            .process_group(0)
            .spawn()
            .map_err(|source| Error::Spawn {
                program: launch.name.clone(),
                source,
            })?;
        let pid = child.id();
        let started = Stat::read(pid).map_or(0, |stat| stat.started);
        state.record(&Record::Process {
            launch: launch.clone(),
            pid,
            started,
        })?;
        Ok(Self {
            pid,
            started,
            child: Some(child),
        })
    }

    /// Also takes the exit status of a child that has ended, so that it does not stay as a zombie.
    fn is_alive(&mut self) -> bool {
        if let Some(Ok(Some(_))) = self.child.as_mut().map(Child::try_wait) {
            return false;
        }
        is_running(self.pid, self.started)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.is_alive();
    }
}

/// What `/proc/<pid>/stat` says that matters here.
struct Stat {
    state: char,
    threads: u32,
    started: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may itself hold spaces and parentheses; proc_pid_stat(5) fields 3, 20, 22.
        let mut fields = text.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?.chars().next()?;
        let threads = fields.nth(16)?.parse().ok()?;
        let started = fields.nth(1)?.parse().ok()?;
        Some(Self {
            state,
            threads,
            started,
        })
    }
}

/// Whether the process of that number is the one that was started then, and still runs. A zombie does as long as
/// its other threads have not ended: they hold its sockets.
pub(crate) fn is_running(pid: u32, started: u64) -> bool {
    Stat::read(pid).is_some_and(|stat| {
        let is_dead = matches!(stat.state, 'Z' | 'X') && stat.threads <= 1;
        stat.started == started && !is_dead
    })
}

/// Sends a signal to a process; that it is gone already is no failure.
pub(crate) fn send(pid: u32, signal: Signal) -> Result<(), Error> {
    match signal::kill(Pid::from_raw(pid.cast_signed()), signal) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
        Err(source) => Err(Error::Kernel {
            call: "kill",
            source,
        }),
    }
}

/// Waits until a process that was sent SIGSTOP stands (or has ended): a signal sent before might still overtake.
pub(crate) fn stopped(pid: u32) -> Result<(), Error> {
    wait::until(
        Duration::from_secs(10),
        &format!("process {pid} stands still"),
        || {
            let state = Stat::read(pid).map(|stat| stat.state);
            state
                .is_none_or(|state| matches!(state, 'T' | 't' | 'Z' | 'X'))
                .then_some(())
        },
    )
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path, lines: usize) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
