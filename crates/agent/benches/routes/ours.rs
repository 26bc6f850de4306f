//! The agent's own tasks, as a daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::num::NonZeroU16;
use std::time::Duration;

use plan::node::{
    ImportPlan, InstancePlan, IpFamily, NodePlan, PeerPlan, PrefixRule, RoutesPlan, Target,
};

use crate::network::{SPEAKER, peer_address};
use crate::{HOLD_TIME, LOCAL_ASN, PEER_ASN};

/// Serves the one peer, which dials, until killed. One thread for the tasks, as in the agent.
pub(crate) fn serve() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(agent::carry_out(plan()));
    Ok(())
}

fn plan() -> NodePlan {
    let peer = PeerPlan {
        address: peer_address(0).into(),
        port: 179,
        asn: Some(PEER_ASN),
        local_address: Some(SPEAKER.into()),
        hold_time: HOLD_TIME,
        keepalive: HOLD_TIME / 3,
        connect_retry: Duration::from_secs(120),
        ebgp_ttl: 1,
        graceful_restart: None,
        families: vec![IpFamily::Ipv4],
        announce: BTreeMap::new(),
    };
    let instance = InstancePlan {
        local_asn: LOCAL_ASN,
        router_id: SPEAKER,
        local_port: Some(179),
        peers: BTreeMap::from([("peer".to_owned(), peer)]),
        originate: BTreeSet::new(),
    };
    let everything = PrefixRule {
        prefix: ipnet::IpNet::new_assert(std::net::Ipv4Addr::UNSPECIFIED.into(), 0),
        min_length: 0,
        max_length: 32,
        accept: true,
    };
    let import = ImportPlan {
        name: "everything".to_owned(),
        instances: None,
        peers: None,
        families: BTreeSet::from([IpFamily::Ipv4]),
        rules: vec![everything],
        maximum_paths: NonZeroU16::MIN,
    };
    let target = Target {
        table: 254,
        protocol: 186,
        metric: 30,
    };
    NodePlan {
        instances: [("instance".to_owned(), instance)].into(),
        routes: RoutesPlan {
            imports: BTreeMap::from([(target, vec![import])]),
            ..RoutesPlan::default()
        },
        ..NodePlan::default()
    }
}
