//! FRR, BIRD and GoBGP in three namespaces on one switch, each peering with the two others: what the
//! configuration generators say is what happens, and what the daemons answer is understood.
//!
//! ```text
//!   frr AS 65000 .1 ──┐         frr–bird: eBGP over IPv4     frr–gobgp: iBGP over IPv6
//!   bird AS 65001 .2 ─┼─ sw     bird–gobgp: eBGP over IPv6   every session carries both families
//!   gobgp AS 65000 .3 ┘
//! ```

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in its helpers"
)]

use std::net::IpAddr;
use std::time::Duration;

use lab::error::Error;
use lab::namespace::Namespace;
use lab::router::{Afi, Neighbor, Peering, Remote, Route, Router, State};
use lab::state::StateFolder;
use lab::topology::{RouterKind, RouterSpec};
use lab::wait;

const PATIENCE: Duration = Duration::from_secs(30);

/// The routers; with the last of them goes all that was made for them.
struct Triangle {
    frr: Router,
    bird: Router,
    gobgp: Router,
}

fn remote(address: &str, asn: u32) -> Remote {
    Remote {
        address: address.parse().unwrap(),
        asn,
    }
}

fn spec(name: &str, kind: RouterKind, peering: &Peering) -> RouterSpec {
    RouterSpec {
        name: name.to_owned(),
        kind,
        links: Vec::new(),
        loopback: peering.networks.clone(),
        routes: Vec::new(),
        config: peering.configuration(kind),
    }
}

fn triangle(state: &StateFolder) -> Result<Triangle, Error> {
    let switch = Namespace::create(state, "sw")?;
    switch.ip("link add br0 type bridge\nlink set br0 up")?;
    let start = |name: &str, kind, host: u8, asn, neighbors: [Remote; 2]| {
        let namespace = Namespace::create(state, name)?;
        let networks: Vec<_> = [format!("10.{host}.1.1/24"), format!("fd00:{host}::1/64")]
            .map(|text| text.parse().unwrap())
            .to_vec();
        let inside = namespace.name();
        switch.ip(&format!("link add to-{name} type veth peer name eth0 netns {inside}\nlink set to-{name} master br0 up"))?;
        namespace.ip(&format!(
            "addr add 10.9.0.{host}/24 dev eth0\naddr add fd00:9::{host}/64 dev eth0 nodad\nlink set eth0 up\n\
             link set lo up\naddr add {} dev lo\naddr add {} dev lo",
            networks[0], networks[1]
        ))?;
        namespace.sysctl("ipv4/ip_forward", "1")?;
        // Routers ignore advertisements (RFC 4861 §6.2.7), such as FRR sends for the sake of next hops.
        namespace.sysctl("ipv6/conf/all/forwarding", "1")?;
        let router_id = format!("10.9.0.{host}").parse().unwrap();
        let peering = Peering {
            asn,
            router_id,
            neighbors: neighbors.to_vec(),
            networks,
            hold_time: 9,
        };
        Router::start(state, &namespace, &spec(name, kind, &peering))
    };
    let bird = start(
        "bird",
        RouterKind::Bird,
        2,
        65001,
        [remote("10.9.0.1", 65000), remote("fd00:9::3", 65000)],
    )?;
    let frr = start(
        "frr",
        RouterKind::Frr,
        1,
        65000,
        [remote("10.9.0.2", 65001), remote("fd00:9::3", 65000)],
    )?;
    let gobgp = start(
        "gobgp",
        RouterKind::Gobgp,
        3,
        65000,
        [remote("fd00:9::1", 65000), remote("fd00:9::2", 65001)],
    )?;
    Ok(Triangle { frr, bird, gobgp })
}

fn await_neighbor(
    router: &Router,
    address: &str,
    awaited: &str,
    holds: impl Fn(&Neighbor) -> bool,
) -> Neighbor {
    let address: IpAddr = address.parse().unwrap();
    wait::try_until(
        PATIENCE,
        &format!("{}: {address} {awaited}", router.name()),
        || Ok(router.neighbor(address)?.filter(|neighbor| holds(neighbor))),
    )
    .unwrap()
}

fn await_route(
    router: &Router,
    prefix: &str,
    awaited: &str,
    holds: impl Fn(&Route) -> bool,
) -> Route {
    wait::try_until(
        PATIENCE,
        &format!("{}: {prefix} {awaited}", router.name()),
        || {
            Ok(router
                .paths(prefix.parse().unwrap())?
                .into_iter()
                .find(|route| holds(route)))
        },
    )
    .unwrap_or_else(|error| {
        panic!(
            "{error}; it has {:#?}",
            router.routes(Afi::of(&prefix.parse().unwrap()))
        )
    })
}

#[test]
fn three_daemons_peer_as_configured_and_their_answers_are_understood() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: namespaces need root");
        return;
    }
    let state = StateFolder::create(&format!("routers-{}", std::process::id())).unwrap();
    let lab = triangle(&state).unwrap();
    every_session_carries_both_families(&lab);
    routes_are_learned_and_installed(&lab);
    routes_of_a_killed_daemon_are_kept_as_stale(&lab);
    a_cleared_session_comes_back(&lab);
}

fn every_session_carries_both_families(lab: &Triangle) {
    for (router, neighbors) in [
        (&lab.frr, ["10.9.0.2", "fd00:9::3"]),
        (&lab.bird, ["10.9.0.1", "fd00:9::3"]),
        (&lab.gobgp, ["fd00:9::1", "fd00:9::2"]),
    ] {
        for neighbor in neighbors {
            let shown = await_neighbor(router, neighbor, "is established", |neighbor| {
                neighbor.is_established()
                    && neighbor
                        .prefixes
                        .values()
                        .all(|prefixes| prefixes.received > 0 && prefixes.sent > 0)
            });
            assert_eq!(
                shown.prefixes.keys().copied().collect::<Vec<_>>(),
                Afi::ALL,
                "{} {neighbor}",
                router.name()
            );
        }
    }
}

fn routes_are_learned_and_installed(lab: &Triangle) {
    for (router, prefix, next_hop, as_path) in [
        (&lab.frr, "10.2.1.0/24", "10.9.0.2", vec![65001]),
        (&lab.frr, "10.3.1.0/24", "fd00:9::3", vec![]),
        (&lab.frr, "fd00:3::/64", "fd00:9::3", vec![]),
        (&lab.bird, "10.1.1.0/24", "10.9.0.1", vec![65000]),
        (&lab.bird, "fd00:3::/64", "fd00:9::3", vec![65000]),
        (&lab.gobgp, "10.2.1.0/24", "fd00:9::2", vec![65001]),
        (&lab.gobgp, "fd00:1::/64", "fd00:9::1", vec![]),
    ] {
        let route = await_route(router, prefix, "is learned", |route| {
            route.from.is_some() && route.next_hops.contains(&next_hop.parse().unwrap())
        });
        assert_eq!(route.as_path, as_path, "{} {prefix}", router.name());
    }

    for (router, protocol) in [(&lab.frr, "bgp"), (&lab.bird, "bird")] {
        wait::try_until(
            PATIENCE,
            &format!("{}: GoBGP's network is in the kernel", router.name()),
            || {
                let routes = router.kernel_routes()?;
                Ok(routes.into_iter().find(|route| {
                    route.prefix.to_string() == "10.3.1.0/24" && route.protocol == protocol
                }))
            },
        )
        .unwrap();
    }
}

/// Graceful restart (RFC 4724 §4.2), as each daemon shows it.
fn routes_of_a_killed_daemon_are_kept_as_stale(lab: &Triangle) {
    lab.bird.kill().unwrap();
    await_route(&lab.frr, "10.2.1.0/24", "is kept as stale", |route| {
        route.stale
    });
    await_route(&lab.gobgp, "10.2.1.0/24", "is kept as stale", |route| {
        route.stale
    });
    lab.bird.start_again().unwrap();
    await_neighbor(
        &lab.frr,
        "10.9.0.2",
        "is established again",
        Neighbor::is_established,
    );
    let from_bird = |route: &Route| route.from == "10.9.0.2".parse().ok();
    await_route(&lab.frr, "10.2.1.0/24", "is fresh again", |route| {
        from_bird(route) && !route.stale
    });
    lab.frr.kill().unwrap();
    await_route(&lab.bird, "10.1.1.0/24", "is kept as stale", |route| {
        route.stale
    });
    lab.frr.start_again().unwrap();
    await_neighbor(
        &lab.bird,
        "10.9.0.1",
        "is established again",
        Neighbor::is_established,
    );
    await_route(&lab.bird, "10.1.1.0/24", "is fresh again", |route| {
        !route.stale
    });
}

fn a_cleared_session_comes_back(lab: &Triangle) {
    for (router, neighbor) in [
        (&lab.frr, "10.9.0.2"),
        (&lab.bird, "fd00:9::3"),
        (&lab.gobgp, "fd00:9::1"),
    ] {
        await_neighbor(router, neighbor, "is established", Neighbor::is_established);
        router.clear_session(neighbor.parse().unwrap()).unwrap();
        await_neighbor(router, neighbor, "is down after clearing", |neighbor| {
            neighbor.state != State::Established
        });
        await_neighbor(router, neighbor, "is back", Neighbor::is_established);
    }
}
