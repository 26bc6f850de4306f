//! Two network namespaces joined by a link: the speaker in one, everybody it talks to in the other.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sched::{CloneFlags, setns};

/// Start of the names of our namespaces; our process number follows.
const PREFIX: &str = "tombolo-bench-";

/// Address of the speaker under test.
pub(crate) const SPEAKER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

/// Address of one of those it talks to; the first one injects.
pub(crate) fn peer_address(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 99, 1, 0)) + number as u32 + 1)
}

/// The namespaces, removed on drop; this process is in that of the peers.
pub(crate) struct Network {
    speaker: String,
    peers: String,
}

fn ip(arguments: &[&str]) -> io::Result<()> {
    let output = Command::new("ip").args(arguments).output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!(
        "ip {}: {text}",
        arguments.join(" ")
    )))
}

/// Removes what earlier runs that were killed left behind.
fn remove_orphans() -> io::Result<()> {
    let Ok(entries) = std::fs::read_dir("/run/netns") else {
        return Ok(());
    };
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.rsplit('-').next());
        if owner.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            ip(&["netns", "del", &name])?;
        }
    }
    Ok(())
}

impl Network {
    /// Makes both namespaces with addresses for `peers` peers, and enters theirs.
    pub(crate) fn new(peers: usize) -> io::Result<Self> {
        remove_orphans()?;
        let process = std::process::id();
        let network = Self {
            speaker: format!("{PREFIX}speaker-{process}"),
            peers: format!("{PREFIX}peers-{process}"),
        };
        ip(&["netns", "add", &network.speaker])?;
        ip(&["netns", "add", &network.peers])?;
        let (speaker, others) = (network.speaker.as_str(), network.peers.as_str());
        ip(&[
            "-n", speaker, "link", "add", "link0", "type", "veth", "peer", "name", "link0",
            "netns", others,
        ])?;
        ip(&[
            "-n",
            speaker,
            "addr",
            "add",
            &format!("{SPEAKER}/16"),
            "dev",
            "link0",
        ])?;
        for number in 0..peers {
            ip(&[
                "-n",
                others,
                "addr",
                "add",
                &format!("{}/16", peer_address(number)),
                "dev",
                "link0",
            ])?;
        }
        for (namespace, link) in [
            (speaker, "lo"),
            (speaker, "link0"),
            (others, "lo"),
            (others, "link0"),
        ] {
            ip(&["-n", namespace, "link", "set", link, "up"])?;
        }
        setns(
            File::open(Path::new("/run/netns").join(others))?,
            CloneFlags::CLONE_NEWNET,
        )?;
        Ok(network)
    }

    /// A command that runs where the speaker is; its process is the program's.
    pub(crate) fn command(&self, program: &PathBuf) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.speaker]).arg(program);
        command
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in [&self.speaker, &self.peers] {
            // A namespace that is gone already is what we want; one that cannot be removed is removed by the
            // next run.
            let _ = ip(&["netns", "del", name]);
        }
    }
}
