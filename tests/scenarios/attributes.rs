//! Attributes of an advertisement are edited while sessions are up: the router sees the new ones, and no
//! session is reset.

use std::time::Duration;

use lab::router::{Community, LargeCommunity};
use lab::topology::RouterKind;
use scenarios::manifests::{advertisement, cluster_config, peer_config, together};
use scenarios::peering::{self, Undisturbed, pod_cidr};
use scenarios::topologies::{Family, NODES_ASN, addresses, peering as expected};
use scenarios::{Failure, Lab, manifests};

const PROMPT: Duration = Duration::from_secs(3);

pub(crate) fn communities_change_without_a_reset(lab: &mut Lab) -> Result<(), Failure> {
    peering::as_published(lab)?;
    let router = lab.router()?;
    let sessions = Undisturbed::note(router)?;
    let with = |attributes: &str| {
        lab.cluster
            .apply(&advertisement("bgp-advertisements", attributes))
    };

    with(
        "      communities:\n        standard: [\"65001:7\"]\n        wellKnown: [no-export]\n        large: [\"65001:1:2\"]",
    )?;
    for node in &lab.cluster.topology().nodes {
        peering::await_path(
            router,
            pod_cidr(node),
            "carries the new communities",
            PROMPT,
            |route| {
                route.communities == [Community(NODES_ASN << 16 | 7), Community(0xffff_ff01)]
                    && route.large_communities == [LargeCommunity(NODES_ASN, 1, 2)]
                    && route.local_pref.is_none()
            },
        )?;
    }
    with("      communities:\n        standard: [\"65001:8\"]\n      localPreference: 300")?;
    for node in &lab.cluster.topology().nodes {
        peering::await_path(
            router,
            pod_cidr(node),
            "carries the replaced community and no preference",
            PROMPT,
            |route| {
                route.communities == [Community(NODES_ASN << 16 | 8)]
                    && route.large_communities.is_empty()
                    && route.local_pref.is_none() // LOCAL_PREF is for the own AS alone (RFC 4271 §5.1.5)
            },
        )?;
    }
    with("")?;
    for node in &lab.cluster.topology().nodes {
        let bare = |route: &lab::router::Route| route.communities.is_empty();
        peering::await_path(router, pod_cidr(node), "carries no community", PROMPT, bare)?;
    }
    sessions.verify()
}

pub(crate) fn local_preference_changes_without_a_reset(lab: &mut Lab) -> Result<(), Failure> {
    let nodes = addresses(lab.cluster.topology(), Family::Ipv4);
    let router = lab.cluster.router("frr")?;
    router.reconfigure(&expected(201, NODES_ASN, &nodes).configuration(RouterKind::Frr))?;
    let peer = manifests::Peer {
        name: "inside".to_owned(),
        address: "192.168.10.201".parse().expect("a literal address"),
        asn: NODES_ASN,
        config: "inside".to_owned(),
    };
    lab.cluster.apply(&together(&[
        advertisement("pods", ""),
        peer_config("inside", 9),
        cluster_config("inside", "enable-bgp", NODES_ASN, &[peer]),
    ]))?;
    let await_preference = |preference: u32, patience| {
        let awaited = format!("has preference {preference}");
        lab.cluster.topology().nodes.iter().try_for_each(|node| {
            let holds = |route: &lab::router::Route| route.local_pref == Some(preference);
            peering::await_path(router, pod_cidr(node), &awaited, patience, holds).map(|_| ())
        })
    };
    await_preference(100, Duration::from_secs(15))?;
    let sessions = Undisturbed::note(router)?;
    for preference in [300, 50] {
        lab.cluster.apply(&advertisement(
            "pods",
            &format!("      localPreference: {preference}"),
        ))?;
        await_preference(preference, PROMPT)?;
    }
    sessions.verify()
}
