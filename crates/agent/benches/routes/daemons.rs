//! Those under test: how each is configured and started, and what it cost.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{fs, io};

use crate::network::{Network, SPEAKER, peer_address};
use crate::usage::Usage;
use crate::{HOLD_TIME, LOCAL_ASN, PEER_ASN};

const BIRD: &str = "/usr/sbin/bird";
const BGPD: &str = "/usr/lib/frr/bgpd";
const ZEBRA: &str = "/usr/lib/frr/zebra";

/// What can be under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Daemon {
    /// The agent's speaker and routes' task.
    Tombolo,
    /// BIRD 2 with its kernel protocol.
    Bird,
    /// FRR's bgpd and zebra.
    Frr,
}

impl Daemon {
    pub(crate) const ALL: [Self; 3] = [Self::Tombolo, Self::Bird, Self::Frr];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tombolo => "tombolo",
            Self::Bird => "bird",
            Self::Frr => "frr",
        }
    }

    pub(crate) fn is_installed(self) -> bool {
        match self {
            Self::Tombolo => true,
            Self::Bird => Path::new(BIRD).exists(),
            Self::Frr => Path::new(BGPD).exists() && Path::new(ZEBRA).exists(),
        }
    }

    /// Starts it for one peer that dials, with its files in `folder`.
    pub(crate) fn start(self, network: &Network, folder: &Path) -> io::Result<Running> {
        let log = fs::File::create(folder.join(format!("{}.log", self.name())))?;
        let mut processes = Vec::new();
        for mut command in self.commands(network, folder)? {
            command.stdin(Stdio::null());
            command.stdout(log.try_clone()?).stderr(log.try_clone()?);
            processes.push(command.spawn()?);
        }
        Ok(Running { processes })
    }

    fn commands(self, network: &Network, folder: &Path) -> io::Result<Vec<Command>> {
        match self {
            Self::Tombolo => {
                let mut command = network.command(&std::env::current_exe()?);
                command.arg("--serve");
                Ok(vec![command])
            }
            Self::Bird => {
                let file = folder.join("bird.conf");
                fs::write(&file, bird())?;
                let mut command = network.command(&PathBuf::from(BIRD));
                command.arg("-f").arg("-c").arg(&file);
                command.arg("-s").arg(folder.join("bird.ctl"));
                Ok(vec![command])
            }
            Self::Frr => {
                let (zebra, bgpd) = (folder.join("zebra.conf"), folder.join("bgpd.conf"));
                fs::write(&zebra, "")?;
                fs::write(&bgpd, frr())?;
                let common = |program: &str, configuration: &Path| {
                    let mut command = network.command(&PathBuf::from(program));
                    command.args(["-P", "0", "--vty_socket"]).arg(folder);
                    command.arg("-z").arg(folder.join("zserv.api"));
                    command.arg("-i").arg(configuration.with_extension("pid"));
                    command.arg("-f").arg(configuration);
                    command
                };
                let mut zebra = common(ZEBRA, &zebra);
                zebra.args(["-s", "90000000"]);
                let mut bgpd = common(BGPD, &bgpd);
                bgpd.args(["-S", "-u", "root", "-g", "root"]);
                Ok(vec![zebra, bgpd])
            }
        }
    }
}

fn bird() -> String {
    format!(
        "log stderr {{ warning, error, fatal, bug }};\nrouter id {SPEAKER};\nprotocol device {{ }}\n\
         protocol kernel {{ scan time 3600; ipv4 {{ import none; export all; }}; }}\n\
         protocol bgp peer {{\n  local {SPEAKER} as {LOCAL_ASN};\n  neighbor {} as {PEER_ASN};\n  passive;\n  \
         hold time {HOLD_TIME};\n  ipv4 {{ import all; export none; }};\n}}\n",
        peer_address(0)
    )
}

fn frr() -> String {
    let address = peer_address(0);
    format!(
        "router bgp {LOCAL_ASN}\n bgp router-id {SPEAKER}\n no bgp ebgp-requires-policy\n timers bgp 1200 {HOLD_TIME}\n \
         neighbor {address} remote-as {PEER_ASN}\n neighbor {address} passive\n"
    )
}

/// What runs; killed on drop.
pub(crate) struct Running {
    processes: Vec<Child>,
}

impl Running {
    /// A process in the speaker's network namespace.
    pub(crate) fn process(&self) -> u32 {
        self.processes.first().map_or(0, Child::id)
    }

    /// Of all processes together.
    pub(crate) fn usage(&self) -> io::Result<Usage> {
        let mut processes = self.processes.iter().map(|child| Usage::of(child.id()));
        let first = processes.next().ok_or(io::ErrorKind::NotFound)??;
        processes.try_fold(first, |sum, usage| {
            let usage = usage?;
            Ok(Usage {
                cpu: sum.cpu + usage.cpu,
                resident: sum.resident + usage.resident,
                peak: sum.peak + usage.peak,
            })
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // It may have ended by itself; then there is nothing to kill.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
