//! A node that loses the label loses its NodeConfig, says Cease to the router and is gone from the routes; one
//! that gets it is back within 5 s.

use std::time::Duration;

use lab::wait;
use scenarios::peering::{self, Undisturbed, address, pod_cidr};
use scenarios::{Failure, Lab, claim};

pub(crate) fn decide_which_nodes_peer(lab: &mut Lab) -> Result<(), Failure> {
    peering::as_published(lab)?;
    let router = lab.router()?;
    let node = lab
        .cluster
        .topology()
        .nodes
        .last()
        .expect("the topology has nodes")
        .clone();
    let others = Undisturbed::note(router)?;

    lab.cluster
        .kubectl(["label", "node", &node.name, "enable-bgp-"])?;
    peering::await_no_kernel_route(router, pod_cidr(&node), Duration::from_secs(3))?;
    peering::await_no_sessions(router, &[address(&node)], Duration::from_secs(1))?;
    let why = peering::last_reset(router, address(&node))?;
    claim(why.contains("Cease"), || {
        format!("{} took leave with Cease, not: {why}", node.name)
    })?;
    wait::try_until(
        Duration::from_secs(5),
        &format!("the NodeConfig of {} is gone", node.name),
        || {
            let left = lab
                .cluster
                .kubectl(["get", "ciliumbgpnodeconfigs", "-o", "name"])?;
            Ok((!left.contains(&node.name)).then_some(()))
        },
    )?;

    lab.cluster
        .kubectl(["label", "node", &node.name, "enable-bgp=true"])?;
    peering::await_kernel_route(
        router,
        pod_cidr(&node),
        address(&node),
        Duration::from_secs(5),
    )?;
    others.verify_except(&[address(&node)])
}
