//! `helm upgrade` with another value rolls the agents, and no packet is lost; `helm uninstall` ends the sessions
//! with Cease, so that the router drops the routes at once and not after the restart time, leaves no NodeConfig,
//! and keeps the definitions of the resources.

use std::time::Duration;

use lab::wait;
use scenarios::peering::{self, node_addresses, pod_cidr};
use scenarios::{Failure, Lab, claim};

use crate::scenarios::agent_restarts::unnoticed;

pub(crate) fn an_upgrade_loses_no_packet(lab: &mut Lab) -> Result<(), Failure> {
    unnoticed(lab, |lab| lab.upgrade(&["debug.enabled=true"]))?;
    lab.upgrade(&[])
}

pub(crate) fn uninstalling_ends_the_sessions_at_once(lab: &mut Lab) -> Result<(), Failure> {
    peering::as_published(lab)?;
    lab.uninstall()?;
    let router = lab.router()?;
    for node in &lab.cluster.topology().nodes {
        // helm waited for the pods to end; had they gone silently, the routes would stay for 15 s more.
        peering::await_no_kernel_route(router, pod_cidr(node), Duration::from_secs(1))?;
    }
    for peer in node_addresses(lab) {
        let why = peering::last_reset(router, peer)?;
        claim(why.contains("Cease"), || {
            format!("{peer} took leave with Cease, not: {why}")
        })?;
    }
    wait::try_until(Duration::from_secs(10), "no NodeConfig is left", || {
        let left = lab
            .cluster
            .kubectl(["get", "ciliumbgpnodeconfigs", "-o", "name"])?;
        Ok(left.trim().is_empty().then_some(()))
    })?;
    let kept = lab.cluster.kubectl([
        "get",
        "crd",
        "ciliumbgpclusterconfigs.cilium.io",
        "-o",
        "name",
    ])?;
    claim(!kept.trim().is_empty(), || {
        "the definitions of the resources are kept".to_owned()
    })?;
    let resources = lab
        .cluster
        .kubectl(["get", "ciliumbgpclusterconfigs", "-o", "name"])?;
    claim(resources.contains("cilium-bgp"), || {
        format!("what users wrote is kept, not {resources:?}")
    })
}
