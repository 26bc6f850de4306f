//! `cargo xtask lab`: the published lab, left standing for a person.

mod show;
pub(crate) mod standing;

use crate::command::section;
use crate::error::Error;
use crate::workspace::Workspace;
use crate::{image, setup, test};
use ::lab::cluster::Cluster;
use ::lab::topology::{self, RouterKind};
use ::lab::{image as lab_image, sweep};
use clap::Subcommand;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

pub(crate) use show::{announce, indented, show};

/// The namespace in which the lab installs Tombolo.
pub(crate) const NAMESPACE: &str = "tombolo-system";
/// What the image is called in the lab's registry.
const IMAGE: (&str, &str) = ("tombolo/tombolo", "lab");

/// What can be done with a lab. All but `up` act on the lab that stands; where several do, `--lab` says which.
#[derive(Subcommand)]
pub(crate) enum Task {
    /// Boot three nodes and a router, install Tombolo, and leave all standing
    Up {
        /// Only the cluster; the image is in its registry
        #[arg(long)]
        bare: bool,
    },
    /// Take it down
    Down {
        #[arg(long)]
        lab: Option<String>,
    },
    /// Run a command on a node, a router or a host: `exec router vtysh`, `exec k8s-w0 ip route`
    Exec {
        #[arg(long)]
        lab: Option<String>,
        machine: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// kubectl as administrator
    Kubectl {
        #[arg(long)]
        lab: Option<String>,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// helm as administrator
    Helm {
        #[arg(long)]
        lab: Option<String>,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The log of a program of the lab; without a name, which there are
    Logs {
        #[arg(long)]
        lab: Option<String>,
        name: Option<String>,
    },
}

pub(crate) fn run(workspace: &Workspace, task: Task) -> Result<(), Error> {
    match task {
        Task::Up { bare } => up(workspace, bare),
        Task::Down { lab } => {
            let name = standing::name(lab)?;
            sweep::down(&name)?;
            println!("lab {name}: down");
            Ok(())
        }
        Task::Exec {
            lab,
            machine,
            command,
        } => replace(exec(&standing::attach(lab)?, &machine, &command)?),
        Task::Kubectl { lab, arguments } => {
            let mut kubectl = standing::attach(lab)?.control_plane().kubectl_command();
            kubectl.args(arguments);
            replace(kubectl)
        }
        Task::Helm { lab, arguments } => {
            let mut helm = standing::attach(lab)?.helm_command()?;
            helm.args(arguments);
            replace(helm)
        }
        Task::Logs { lab, name } => standing::logs(&standing::attach(lab)?, name.as_deref()),
    }
}

/// Boots the published topology under `name` on a machine that has been set up. The image of the project is in its registry.
pub(crate) fn boot(workspace: &Workspace, name: &str) -> Result<Cluster, Error> {
    setup::lab(workspace)?;
    test::build_lab_programs(workspace)?;
    println!("building the image");
    let image = image::for_lab(workspace)?;
    section("a cluster: three nodes, two subnets, one router");
    let mut topology = topology::published();
    name.clone_into(&mut topology.name);
    let tell = |step: &::lab::cluster::Step| {
        println!("  {:>6.1} s  {}", step.after.as_secs_f64(), step.what);
    };
    let cluster = Cluster::up_telling(topology, &tell)?;
    let (repository, tag) = IMAGE;
    lab_image::push(cluster.registry(), &image, &format!("{repository}:{tag}"))?;
    Ok(cluster)
}

/// Installs both charts as any user would.
pub(crate) fn install(workspace: &Workspace, cluster: &Cluster) -> Result<(), Error> {
    section("helm install");
    let charts = workspace.root.join("charts");
    let mut crds = cluster.helm_command()?;
    crds.args(["install", "tombolo-crds"])
        .arg(charts.join("tombolo-crds"));
    show(&mut crds, "helm install tombolo-crds charts/tombolo-crds")?;
    let (repository, tag) = IMAGE;
    let api = cluster.topology().api_address();
    let values = [
        format!("image.repository=docker.io/{repository}"),
        format!("image.tag={tag}"),
        format!("k8sServiceHost={api}"),
        "k8sServicePort=6443".to_owned(),
        "tombolo.profile=full".to_owned(),
        "kubeProxyReplacement=true".to_owned(),
        "tombolo.routeImport.enabled=true".to_owned(),
        format!(
            "extraArgs={{--cgroup-root={}}}",
            cluster.cgroup_of("$(K8S_NODE_NAME)")?
        ),
    ];
    let mut tombolo = cluster.helm_command()?;
    tombolo
        .args(["install", "tombolo"])
        .arg(charts.join("tombolo"));
    tombolo.args([
        "--namespace",
        NAMESPACE,
        "--create-namespace",
        "--wait",
        "--timeout",
        "120s",
    ]);
    for value in &values {
        tombolo.args(["--set", value]);
    }
    let typed = format!(
        "helm install tombolo charts/tombolo --namespace {NAMESPACE} --create-namespace --wait \\\n      --set {}",
        values.join(",")
    );
    show(&mut tombolo, &typed)
}

fn up(workspace: &Workspace, bare: bool) -> Result<(), Error> {
    sweep::on_interrupt()?;
    let cluster = boot(workspace, "lab")?;
    if !bare {
        install(workspace, &cluster)?;
    }
    let kubeconfig = cluster.kubeconfig().to_owned();
    cluster.leave_standing()?;
    section("the lab stands; try");
    if bare {
        println!("  cargo xtask lab kubectl get nodes -o wide");
        println!("  cargo xtask lab helm install tombolo-crds charts/tombolo-crds");
    } else {
        println!("  cargo xtask lab kubectl apply -f tests/published/bgp.yaml");
        println!("  cargo xtask lab kubectl get ciliumbgpnodeconfigs");
    }
    println!("  cargo xtask lab exec router vtysh -c 'show bgp summary'");
    section("how to get in");
    println!("  a machine:   cargo xtask lab exec k8s-ctr|k8s-w0|k8s-w1|router|ctl COMMAND");
    println!(
        "  the cluster: cargo xtask lab kubectl …   or   export KUBECONFIG={}",
        kubeconfig.display()
    );
    println!("  the logs:    cargo xtask lab logs [NAME]");
    println!("  take it down: cargo xtask lab down");
    Ok(())
}

/// The command as it must be on that machine: the programs that ask a routing daemon are told where its socket is.
fn exec(cluster: &Cluster, machine: &str, words: &[String]) -> Result<Command, Error> {
    let (program, arguments) = words.split_first().expect("clap requires a command");
    let mut command = cluster.machine(machine)?.command(program);
    if let Ok(router) = cluster.router(machine) {
        let folder = router.folder();
        match (router.kind(), program.as_str()) {
            (RouterKind::Frr, "vtysh") => command.arg("--vty_socket").arg(folder),
            (RouterKind::Bird, "birdc") => command.arg("-s").arg(folder.join("bird.ctl")),
            (RouterKind::Frr | RouterKind::Bird | RouterKind::Gobgp, _) => &mut command,
        };
    }
    command.args(arguments);
    Ok(command)
}

/// This process becomes the command, with its terminal and its exit status.
fn replace(mut command: Command) -> Result<(), Error> {
    let source = command.exec();
    Err(crate::command::cannot_start(&command, source))
}

/// The published manifest of that name.
pub(crate) fn published(workspace: &Workspace, name: &str) -> PathBuf {
    workspace.root.join("tests/published").join(name)
}
