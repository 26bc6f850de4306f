//! What a router does to its sessions, the agents get over.

use std::time::{Duration, Instant};

use api::node_config::PeeringState;
use lab::fault;
use scenarios::peering::{self, address, node_addresses};
use scenarios::{Failure, Lab, claim};

/// After the router is there again.
const SOON: Duration = Duration::from_secs(15);

/// `clear bgp *`: every session is back within 2 s.
pub(crate) fn a_cleared_session_is_back_at_once(lab: &mut Lab) -> Result<(), Failure> {
    peering::as_published(lab)?;
    let router = lab.router()?;
    let cleared = Instant::now();
    for node in node_addresses(lab) {
        router.clear_session(node)?;
    }
    peering::await_no_sessions(
        router,
        &node_addresses(lab)[2..],
        Duration::from_millis(500),
    )
    .ok(); // it may be back already
    peering::await_sessions(
        router,
        &node_addresses(lab),
        Duration::from_secs(2).saturating_sub(cleared.elapsed()),
    )?;
    peering::await_kernel_routes(lab, Duration::from_secs(2))
}

/// The router's daemons end in order and start again.
pub(crate) fn a_restarted_router_gets_its_routes_back(lab: &mut Lab) -> Result<(), Failure> {
    peering::as_published(lab)?;
    lab.router()?.restart()?;
    peering::await_sessions(lab.router()?, &node_addresses(lab), SOON)?;
    peering::await_kernel_routes(lab, SOON)?;
    peering::await_all_established(lab, "tor-switch", Duration::from_secs(6))
}

/// The router loses power: no FIN, no NOTIFICATION. The agents notice by the hold time of 9 s, say so, and find
/// the router again when it is back.
pub(crate) fn a_router_that_vanishes_is_noticed(lab: &mut Lab) -> Result<(), Failure> {
    peering::as_published(lab)?;
    peering::await_all_established(lab, "tor-switch", Duration::from_secs(5))?;
    let dark = fault::crash_router(&lab.cluster, "router")?;
    let noticed = Duration::from_secs(9 + 6);
    // Only this node reaches the API server without the router.
    let near = &lab.cluster.topology().nodes[0];
    let lost = peering::await_status(
        lab,
        &near.name,
        "tor-switch",
        "is not established",
        noticed,
        |status| {
            status
                .peering_state
                .is_some_and(|state| state != PeeringState::Established)
        },
    )?;
    claim(lost.established_time.is_none(), || {
        format!("a lost session has no time of establishment: {lost:?}")
    })?;
    dark.heal()?;
    lab.router()?.start_again()?;
    peering::await_sessions(lab.router()?, &node_addresses(lab), SOON)?;
    peering::await_kernel_routes(lab, SOON)?;
    let route = peering::neighbor(lab.router()?, address(near))?;
    claim(route.prefixes_received() == 1, || {
        format!("{} announces its pods again: {route:?}", near.name)
    })
}
