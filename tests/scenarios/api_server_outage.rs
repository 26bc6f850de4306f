//! The API server is gone for 60 s: sessions stay, nothing is withdrawn, no connection fails; when it is back, the
//! agents catch up with what has changed.

use std::thread;
use std::time::Duration;

use lab::router::Community;
use scenarios::manifests::advertisement;
use scenarios::peering::{self, Undisturbed, address, node_addresses, pod_cidr};
use scenarios::probe::{Probe, Question};
use scenarios::{Failure, Lab};

const OUTAGE: Duration = Duration::from_secs(60);

pub(crate) fn sessions_outlive_the_api_server(lab: &mut Lab) -> Result<(), Failure> {
    lab.workload()?;
    peering::as_published(lab)?;
    let router = lab.router()?;
    let pods = lab.pods("default", "app=webpod")?;
    let pod = pods
        .last()
        .ok_or_else(|| Failure::Untrue("a pod of webpod runs".to_owned()))?;
    let sessions = Undisturbed::note(router)?;
    let probe = Probe::start(router.namespace(), pod.address, Question::Request(80))?;

    lab.cluster.control_plane().stop_api_server()?;
    thread::sleep(OUTAGE);
    sessions.verify()?;
    lab.cluster.control_plane().start_api_server()?;

    lab.cluster.apply(&advertisement(
        "bgp-advertisements",
        "      communities:\n        standard: [\"65001:60\"]",
    ))?;
    for node in &lab.cluster.topology().nodes {
        let caught_up = |route: &lab::router::Route| {
            route.from == Some(address(node)) && route.communities == [Community(65001 << 16 | 60)]
        };
        peering::await_path(
            router,
            pod_cidr(node),
            "says what was applied after the outage",
            Duration::from_secs(30),
            caught_up,
        )?;
    }
    sessions.verify()?;
    peering::await_sessions(router, &node_addresses(lab), Duration::ZERO)?;
    probe.finish_without_loss().map(|_| ())
}
