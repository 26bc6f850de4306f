//! The load balancer against the kernel of this machine: in network namespaces, a BPF file system and control groups of the tests' own.
//!
//! Some claims are about a process of another kind: one in a control group, one without a capability. This program is that process, too, when its
//! arguments say so.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and says what it measured; a child process says what it found"
)]

mod attach;
mod burst;
mod capabilities;
mod change;
mod child;
mod cleanup;
mod foreign;
mod maps;
mod memory;
mod place;
mod restart;
mod sockets;

use libtest_mimic::{Arguments, Conclusion, Trial};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some((role, rest)) = words.split_first()
        && let Some(role) = role.strip_prefix("child:")
    {
        child::play(role, rest);
        return;
    }
    run().exit();
}

fn run() -> Conclusion {
    let arguments = Arguments::from_args();
    let claims = [
        maps::claims(),
        attach::claims(),
        burst::claims(),
        capabilities::claims(),
        change::claims(),
        memory::claims(),
        restart::claims(),
        sockets::claims(),
        cleanup::claims(),
    ];
    let trials = claims.into_iter().flatten().map(|(name, claim)| {
        Trial::test(name, move || {
            claim();
            Ok(())
        })
        .with_ignored_flag(!place::is_root())
    });
    libtest_mimic::run(&arguments, trials.collect())
}

/// A claim and the function that panics if it does not hold.
type Claim = (&'static str, fn());
