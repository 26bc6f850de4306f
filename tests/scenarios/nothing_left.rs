//! What takes leave of a node leaves nothing of Tombolo there: no route, program, link or map. `tombolo-agent cleanup` where the agent had no
//! chance to, `helm uninstall` everywhere. What somebody else has stays as it is.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use aya::maps::{MapInfo, loaded_maps};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::loaded_links;
use lab::error::Error;
use lab::fault;
use lab::machine::Machine;
use lab::node::Node;
use lab::wait;
use scenarios::foreign::Foreign;
use scenarios::lab::PATIENCE;
use scenarios::peering::node_addresses;
use scenarios::{Failure, Lab, claim};

use super::{balancing, balancing_restarts, beside_others, learned_routes, services};

/// Where the programs and maps of the load balancer are pinned.
const PINS: &str = "/sys/fs/bpf/tombolo";

pub(crate) fn after_cleanup_and_uninstall(lab: &mut Lab) -> Result<(), Failure> {
    balancing::published(lab)?;
    services::await_routes(lab, &services::sorted(node_addresses(lab)))?;
    let foreign = beside_others::foreign(lab)?;
    let node = lab.cluster.nodes().first().expect("a node");
    cleaned_by_hand(lab, node)?;
    foreign.iter().try_for_each(Foreign::verify)?;

    // The kubelet starts the agent again, which begins from nothing.
    balancing_restarts::await_ready(node)?;
    let pinned = pinned(lab)?;
    lab.uninstall()?;
    await_clean(lab, &pinned)?;
    foreign.iter().try_for_each(Foreign::verify)
}

/// Kills the agent so that nobody starts it again meanwhile, and calls its program as a person would.
fn cleaned_by_hand(lab: &Lab, node: &Node) -> Result<(), Failure> {
    let kubelet = node.kubelet().expect("the node has a kubelet");
    let kubelet = fault::freeze(kubelet.pid())?;
    let agent = lab.agent_process(node)?;
    let agent = agent.ok_or_else(|| Failure::Untrue(format!("{} has an agent", node.name())))?;
    let pinned = Pinned::on(node)?;
    let running = format!("/proc/{agent}/exe");
    let program = lab.cluster.state().path().join("tombolo-agent");
    fs::copy(&running, &program).map_err(Error::file(&running))?;
    fault::kill(agent)?;
    let machine = node.machine();
    claim(!is_clean(machine)?, || {
        format!(
            "{} keeps pins and routes of an agent that is killed",
            node.name()
        )
    })?;
    let cleanup = machine.exec([program.as_os_str(), "cleanup".as_ref()])?;
    claim(cleanup.success() && is_clean(machine)?, || {
        format!("`cleanup` leaves nothing on {}: {cleanup:?}", node.name())
    })?;
    pinned.await_gone()?;
    Ok(kubelet.heal()?)
}

/// What the agents have pinned, all of them.
pub(crate) fn pinned(lab: &Lab) -> Result<Vec<Pinned>, Failure> {
    lab.cluster.nodes().iter().map(Pinned::on).collect()
}

/// Waits until no node has anything of Tombolo's in its kernel, nor anything that was pinned.
pub(crate) fn await_clean(lab: &Lab, pinned: &[Pinned]) -> Result<(), Failure> {
    for node in lab.cluster.nodes() {
        let awaited = format!("{} has no pin and no route of Tombolo's left", node.name());
        wait::try_until(PATIENCE, &awaited, || {
            Ok(is_clean(node.machine())?.then_some(()))
        })?;
    }
    pinned.iter().try_for_each(Pinned::await_gone)
}

/// Whether a node has neither pins nor routes of Tombolo's.
fn is_clean(machine: &Machine) -> Result<bool, Error> {
    let protocol = learned_routes::protocol();
    let pins = machine.exec(["test", "-e", PINS])?.success();
    let routes = machine.exec(["ip", "route", "show", "proto", &protocol])?;
    let routes6 = machine.exec(["ip", "-6", "route", "show", "proto", &protocol])?;
    let objects = machine.exec(["ip", "nexthop", "show", "proto", &protocol])?;
    let shown = [routes, routes6, objects];
    let mut shown = shown.iter().map(|shown| shown.stdout.trim());
    Ok(!pins && shown.all(str::is_empty))
}

/// The numbers of the maps and links that an agent has pinned.
pub(crate) struct Pinned {
    maps: BTreeSet<u32>,
    links: BTreeSet<u32>,
}

impl Pinned {
    fn on(node: &Node) -> Result<Self, Failure> {
        let map = |path: &Path| {
            Ok(MapInfo::from_pin(path)
                .map_err(Failure::kernel("look at a pinned map"))?
                .id())
        };
        let link = |path: &Path| {
            let link = PinnedLink::from_pin(path).and_then(|link| FdLink::from(link).info());
            Ok(link.map_err(Failure::kernel("look at a pinned link"))?.id())
        };
        Ok(Self {
            maps: pins(node, "maps", map)?,
            links: pins(node, "links", link)?,
        })
    }

    /// Waits until the kernel has none of them any more. Then it has none of the programs either: each of them holds its maps. Their names say
    /// nothing, for all labs and tests of a machine have one kernel.
    pub(crate) fn await_gone(&self) -> Result<(), Failure> {
        wait::until(PATIENCE, "no map of ours is left", || {
            let mut loaded = loaded_maps().filter_map(Result::ok);
            (!loaded.any(|map| self.maps.contains(&map.id()))).then_some(())
        })?;
        wait::until(PATIENCE, "no link of ours is left", || {
            let mut loaded = loaded_links().filter_map(Result::ok);
            (!loaded.any(|link| self.links.contains(&link.id()))).then_some(())
        })?;
        Ok(())
    }
}

/// The numbers of what is pinned in that folder, of which there must be something.
fn pins(
    node: &Node,
    folder: &str,
    number: impl Fn(&Path) -> Result<u32, Failure>,
) -> Result<BTreeSet<u32>, Failure> {
    let list = |path: &Path| fs::read_dir(path).map_err(Error::file(path));
    let mut numbers = BTreeSet::new();
    for version in list(&node.machine().path(PINS))?.flatten() {
        for pin in list(&version.path().join(folder))?.flatten() {
            numbers.insert(number(&pin.path())?);
        }
    }
    claim(!numbers.is_empty(), || {
        format!("the agent of {} has pinned {folder}", node.name())
    })?;
    Ok(numbers)
}
