//! The process that holds a pod's namespaces: it waits for its end and collects orphans.

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

fn main() -> Result<(), Errno> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD] {
        signals.add(signal);
    }
    signals.thread_block()?;
    loop {
        // Orphans that ended before the block would raise no further SIGCHLD, so reaping comes first.
        reap();
        if signals.wait()? != Signal::SIGCHLD {
            return Ok(());
        }
    }
}

/// Collects every child that has ended; in a pod that shares its process namespace all orphans end up here.
fn reap() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            return;
        }
    }
}
