//! Everything one wants to see when a scenario has failed, in one folder.
//!
//! | Where | What |
//! |---|---|
//! | `log/` | the log of every process, and what the routers saw of TCP port 179 (`*.pcap*`) |
//! | `objects/` | the Kubernetes objects that matter, one file per kind |
//! | `pods/<node>/` | the logs of all containers, also of those that ended |
//! | `network/` | addresses, routes, nexthops, connections and filters of every machine |
//! | `routers/` | what each router says about its sessions and routes |

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use crate::cluster::Cluster;
use crate::command;
use crate::error::Error;
use crate::topology::RouterKind;

/// The kinds that matter, with the `-A` that they understand.
const KINDS: [&str; 17] = [
    "nodes",
    "pods",
    "events",
    "services",
    "endpointslices",
    "configmaps",
    "daemonsets",
    "deployments",
    "replicasets",
    "leases",
    "customresourcedefinitions",
    "ciliumbgpclusterconfigs",
    "ciliumbgppeerconfigs",
    "ciliumbgpadvertisements",
    "ciliumbgpnodeconfigs",
    "ciliumbgpnodeconfigoverrides",
    "ciliumloadbalancerippools",
];

/// What is asked on every machine.
const NETWORK: [&[&str]; 9] = [
    &["ip", "-details", "address"],
    &["ip", "route", "show", "table", "all"],
    &["ip", "-6", "route", "show", "table", "all"],
    &["ip", "nexthop"],
    &["ip", "rule"],
    &["ip", "neighbour"],
    &["ss", "-tnaoi"],
    &["nft", "list", "ruleset"],
    &["tc", "-s", "qdisc"],
];

impl Cluster {
    /// Writes down the state of everything into `folder`, which is made. What cannot be had is written down as
    /// the reason why not: a broken lab is what this is for.
    ///
    /// # Errors
    /// [`Error::File`] when the folder cannot be written.
    pub fn collect(&self, folder: &Path) -> Result<(), Error> {
        copy(&self.state().path().join("log"), &folder.join("log"))?;
        for node in self.nodes() {
            let pods = self
                .state()
                .path()
                .join("nodes")
                .join(node.name())
                .join("root/var/log/pods");
            copy(&pods, &folder.join("pods").join(node.name()))?;
        }
        for kind in KINDS {
            let mut kubectl = self.control_plane().kubectl_command();
            kubectl.args(["get", "-A", "-o", "yaml", "--request-timeout=10s", kind]);
            write(
                &folder.join("objects"),
                &format!("{kind}.yaml"),
                &answer(&mut kubectl),
            )?;
        }
        for name in self.topology().machines() {
            let machine = self.machine(name)?;
            let told = NETWORK.map(|words| {
                let mut command = machine.command(words[0]);
                format!(
                    "$ {}\n{}\n",
                    words.join(" "),
                    answer(command.args(&words[1..]))
                )
            });
            write(
                &folder.join("network"),
                &format!("{name}.txt"),
                &told.concat(),
            )?;
        }
        for router in self.routers() {
            let told = questions(router.kind()).iter().map(|question| {
                let answer = router
                    .ask(question)
                    .unwrap_or_else(|error| error.to_string());
                format!("> {question}\n{answer}\n")
            });
            write(
                &folder.join("routers"),
                &format!("{}.txt", router.name()),
                &told.collect::<String>(),
            )?;
        }
        Ok(())
    }
}

/// What each kind of router is asked, in its own language.
fn questions(kind: RouterKind) -> &'static [&'static str] {
    match kind {
        RouterKind::Frr => &[
            "show running-config",
            "show bgp summary",
            "show bgp neighbors",
            "show bgp ipv4 unicast",
            "show bgp ipv6 unicast",
            "show ip route",
            "show ipv6 route",
        ],
        RouterKind::Bird => &["show status", "show protocols all", "show route all"],
        RouterKind::Gobgp => &["neighbor", "global", "global rib", "global rib -a ipv6"],
    }
}

/// What a program says, or why it cannot.
fn answer(command: &mut Command) -> String {
    match command::run(command) {
        Ok(output) if output.success() => output.stdout,
        Ok(output) => format!("{}{}", output.stdout, output.stderr),
        Err(error) => error.to_string(),
    }
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(Error::file(folder))?;
    let path = folder.join(name);
    fs::write(&path, text).map_err(Error::file(path))
}

/// Copies a folder of plain files and folders; what vanishes meanwhile is passed over.
fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    fs::create_dir_all(to).map_err(Error::file(to))?;
    let entries = match fs::read_dir(from) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(Error::File {
                path: from.to_path_buf(),
                source,
            });
        }
    };
    for entry in entries.flatten() {
        let target = to.join(entry.file_name());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => copy(&entry.path(), &target)?,
            Ok(kind) if kind.is_file() => match fs::copy(entry.path(), &target) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::File {
                        path: target,
                        source: error,
                    });
                }
                Ok(_) | Err(_) => {}
            },
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}
