//! The speakers under test: how each is configured and started, and what it cost.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::{fs, io};

use crate::network::{Network, SPEAKER, peer_address};
use crate::usage::Usage;

/// AS of the speaker under test.
pub(crate) const LOCAL_ASN: u32 = 65000;
/// Long enough that nobody needs a keepalive during a run.
pub(crate) const HOLD_TIME: u16 = 3600;

/// The AS of a peer: the injector has its own.
pub(crate) fn asn_of(number: usize) -> u32 {
    if number == 0 { 65001 } else { 65002 }
}

/// A speaker that can be under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Daemon {
    /// This crate's, in the shell of [`crate::shell`].
    Tombolo,
    /// BIRD 2.
    Bird,
    /// FRR's bgpd, without zebra.
    Frr,
    /// GoBGP's gobgpd.
    GoBgp,
}

impl Daemon {
    pub(crate) const ALL: [Self; 4] = [Self::Tombolo, Self::Bird, Self::Frr, Self::GoBgp];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tombolo => "tombolo",
            Self::Bird => "bird",
            Self::Frr => "frr",
            Self::GoBgp => "gobgp",
        }
    }

    /// The program, where it is installed.
    pub(crate) fn program(self) -> Option<PathBuf> {
        let program = match self {
            Self::Tombolo => std::env::current_exe().ok()?,
            Self::Bird => PathBuf::from("/usr/sbin/bird"),
            Self::Frr => PathBuf::from("/usr/lib/frr/bgpd"),
            Self::GoBgp => {
                let home = std::env::var_os("HOME")?;
                let cache = std::env::var_os("XDG_CACHE_HOME")
                    .map_or_else(|| Path::new(&home).join(".cache"), PathBuf::from);
                cache.join("tombolo/gobgp-4.8.0/gobgpd")
            }
        };
        program.exists().then_some(program)
    }

    /// Starts it for `peers` peers, with its files in `folder`.
    pub(crate) fn start(
        self,
        network: &Network,
        folder: &Path,
        peers: usize,
    ) -> io::Result<Running> {
        let program = self.program().ok_or(io::ErrorKind::NotFound)?;
        let mut command = network.command(&program);
        let file = folder.join(format!("{}.conf", self.name()));
        match self {
            Self::Tombolo => {
                command.args(["--serve", &peers.to_string()]);
            }
            Self::Bird => {
                fs::write(&file, bird(peers))?;
                command
                    .arg("-f")
                    .arg("-c")
                    .arg(&file)
                    .arg("-s")
                    .arg(folder.join("bird.ctl"));
            }
            Self::Frr => {
                fs::write(&file, frr(peers))?;
                command
                    .args([
                        "-Z",
                        "-n",
                        "-S",
                        "-u",
                        "root",
                        "-g",
                        "root",
                        "-P",
                        "0",
                        "--vty_socket",
                    ])
                    .arg(folder);
                command
                    .arg("-i")
                    .arg(folder.join("bgpd.pid"))
                    .arg("-f")
                    .arg(&file);
            }
            Self::GoBgp => {
                fs::write(&file, gobgp(peers))?;
                command
                    .args([
                        "-t",
                        "toml",
                        "--pprof-disable",
                        "--api-hosts",
                        "127.0.0.1:50051",
                        "-l",
                        "error",
                        "-f",
                    ])
                    .arg(&file);
            }
        }
        let log = fs::File::create(folder.join(format!("{}.log", self.name())))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Running { child })
    }
}

fn bird(peers: usize) -> String {
    let mut text = format!(
        "log stderr {{ warning, error, fatal, bug }};\nrouter id {SPEAKER};\nprotocol device {{ }}\n\
         template bgp table_peer {{\n  local {SPEAKER} as {LOCAL_ASN};\n  passive;\n  hold time {HOLD_TIME};\n  \
         ipv4 {{ import all; export all; next hop self; }};\n}}\n"
    );
    for number in 0..peers {
        let (address, asn) = (peer_address(number), asn_of(number));
        let _ = writeln!(
            text,
            "protocol bgp peer{number} from table_peer {{ neighbor {address} as {asn}; }}"
        );
    }
    text
}

fn frr(peers: usize) -> String {
    let mut text = format!(
        "router bgp {LOCAL_ASN}\n bgp router-id {SPEAKER}\n no bgp ebgp-requires-policy\n timers bgp 1200 {HOLD_TIME}\n"
    );
    for number in 0..peers {
        let (address, asn) = (peer_address(number), asn_of(number));
        let _ = writeln!(
            text,
            " neighbor {address} remote-as {asn}\n neighbor {address} passive"
        );
    }
    text
}

fn gobgp(peers: usize) -> String {
    let mut text = format!(
        "[global.config]\n  as = {LOCAL_ASN}\n  router-id = \"{SPEAKER}\"\n  local-address-list = [\"{SPEAKER}\"]\n"
    );
    for number in 0..peers {
        let (address, asn) = (peer_address(number), asn_of(number));
        let _ = writeln!(
            text,
            "[[neighbors]]\n  [neighbors.config]\n    neighbor-address = \"{address}\"\n    peer-as = {asn}\n  \
             [neighbors.transport.config]\n    passive-mode = true\n  \
             [neighbors.timers.config]\n    hold-time = {HOLD_TIME}\n    keepalive-interval = 1200\n  \
             [[neighbors.afi-safis]]\n    [neighbors.afi-safis.config]\n      afi-safi-name = \"ipv4-unicast\""
        );
    }
    text
}

/// A speaker that runs; killed on drop.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    pub(crate) fn usage(&self) -> io::Result<Usage> {
        Usage::of(self.child.id())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
