//! FRR: `zebra` keeps the kernel's routes, `bgpd` speaks BGP, `vtysh` answers in JSON. The daemons give up
//! root for the user `frr` themselves. Written for 8.4 (Debian 12) up to 10.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use nix::unistd::{User, chown};
use serde::Deserialize;

use super::{Afi, Community, LargeCommunity, Neighbor, Peering, Prefixes, Route, Router, State};
use crate::command;
use crate::error::Error;
use crate::process::Launch;

/// Where Debian keeps the daemons.
const DAEMONS: &str = "/usr/lib/frr";

pub(super) fn configuration(peering: &Peering) -> String {
    let mut text = format!(
        "router bgp {asn}\n  bgp router-id {id}\n  bgp graceful-restart\n  no bgp ebgp-requires-policy\n  \
         no bgp default ipv4-unicast\n  bgp bestpath as-path multipath-relax\n  timers bgp {keepalive} {hold}\n",
        asn = peering.asn,
        id = peering.router_id,
        keepalive = peering.keepalive(),
        hold = peering.hold_time,
    );
    for neighbor in &peering.neighbors {
        let address = neighbor.address;
        let _ = writeln!(text, "  neighbor {address} remote-as {}", neighbor.asn);
        if address.is_ipv6() {
            let _ = writeln!(text, "  neighbor {address} capability extended-nexthop");
        }
    }
    let multipath = if peering
        .neighbors
        .iter()
        .any(|neighbor| neighbor.asn == peering.asn)
    {
        "ibgp "
    } else {
        ""
    };
    for afi in Afi::ALL {
        let _ = write!(
            text,
            "  address-family {afi} unicast\n    maximum-paths {multipath}4\n"
        );
        for network in peering.networks(afi) {
            let _ = writeln!(text, "    network {}", network.trunc());
        }
        for neighbor in &peering.neighbors {
            let _ = writeln!(text, "    neighbor {} activate", neighbor.address);
        }
        text.push_str("  exit-address-family\n");
    }
    text
}

/// Says what to run, in order.
pub(super) fn launches(name: &str, folder: &Path, config: &str) -> Result<Vec<Launch>, Error> {
    write(name, folder, config)?;
    let inside = |file: &str| folder.join(file).to_string_lossy().into_owned();
    let launch = |daemon: &str| {
        Launch::new(format!("{name}-{daemon}"), Path::new(DAEMONS).join(daemon))
            .args(["-f".to_owned(), inside(&format!("{daemon}.conf"))])
            .args(["-i".to_owned(), inside(&format!("{daemon}.pid"))])
            .args(["-z".to_owned(), inside("zserv.api")])
            .args(["--vty_socket".to_owned(), inside("")])
            .args(["-A", "127.0.0.1", "--log", "stdout"])
    };
    Ok(["zebra", "bgpd"].map(launch).to_vec())
}

/// Writes the files, all of them the property of the user that the daemons become.
pub(super) fn write(name: &str, folder: &Path, config: &str) -> Result<(), Error> {
    let user = User::from_name("frr").map_err(Error::kernel("getpwnam"))?;
    let user = user.ok_or_else(|| Error::NotSetUp {
        program: "frr".to_owned(),
        folder: DAEMONS.into(),
    })?;
    let own =
        |path: &Path| chown(path, Some(user.uid), Some(user.gid)).map_err(Error::kernel("chown"));
    own(folder)?;
    // 'hostname' tells the routers of one machine apart, in vtysh and in the FQDN capability.
    for (daemon, text) in [("zebra", ""), ("bgpd", config)] {
        let path = folder.join(format!("{daemon}.conf"));
        fs::write(&path, format!("hostname {name}\n{text}")).map_err(Error::file(&path))?;
        own(&path)?;
    }
    Ok(())
}

/// Runs one command in `vtysh`.
pub(super) fn vtysh(router: &Router, line: &str) -> Result<String, Error> {
    let mut vtysh = router.namespace().command("vtysh");
    command::text(
        vtysh
            .arg("--vty_socket")
            .arg(router.folder())
            .args(["-c", line]),
    )
}

pub(super) fn is_ready(router: &Router) -> bool {
    vtysh(router, "show bgp summary json").is_ok_and(|text| summary(&text).is_ok())
}

pub(super) fn neighbors(router: &Router) -> Result<Vec<Neighbor>, Error> {
    summary(&vtysh(router, "show bgp summary json")?)
}

pub(super) fn routes(router: &Router, afi: Afi) -> Result<Vec<Route>, Error> {
    table(&vtysh(
        router,
        &format!("show bgp {afi} unicast json detail"),
    )?)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    ipv4_unicast: Option<SummaryFamily>,
    ipv6_unicast: Option<SummaryFamily>,
}

#[derive(Deserialize)]
struct SummaryFamily {
    #[serde(default)]
    peers: BTreeMap<IpAddr, SummaryPeer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SummaryPeer {
    remote_as: u32,
    state: String,
    connections_established: Option<u64>,
    #[serde(default)]
    pfx_rcd: u64,
    #[serde(default)]
    pfx_snt: u64,
}

fn summary(text: &str) -> Result<Vec<Neighbor>, Error> {
    let shown: Summary =
        serde_json::from_str(text).map_err(Error::json("vtysh show bgp summary"))?;
    let mut neighbors: BTreeMap<IpAddr, Neighbor> = BTreeMap::new();
    let families = [
        (Afi::Ipv4, shown.ipv4_unicast),
        (Afi::Ipv6, shown.ipv6_unicast),
    ];
    for (afi, family) in families {
        for (address, peer) in family.map(|family| family.peers).unwrap_or_default() {
            let neighbor = neighbors.entry(address).or_insert_with(|| Neighbor {
                address,
                asn: peer.remote_as,
                state: State::named(&peer.state),
                sessions: peer.connections_established,
                prefixes: BTreeMap::new(),
            });
            neighbor.prefixes.insert(
                afi,
                Prefixes {
                    received: peer.pfx_rcd,
                    sent: peer.pfx_snt,
                },
            );
        }
    }
    Ok(neighbors.into_values().collect())
}

#[derive(Deserialize)]
struct Table {
    #[serde(default)]
    routes: BTreeMap<IpNet, Paths>,
}

/// FRR 8 gives a list whose first element describes the prefix, later ones an object with the list inside.
#[derive(Deserialize)]
#[serde(untagged)]
enum Paths {
    List(Vec<PathShown>),
    Object { paths: Vec<PathShown> },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PathShown {
    #[serde(default)]
    aspath: AsPath,
    loc_prf: Option<u32>,
    #[serde(default)]
    stale: bool,
    bestpath: Option<Best>,
    community: Option<Listed>,
    large_community: Option<Listed>,
    #[serde(default)]
    nexthops: Vec<NextHop>,
    peer: Option<Peer>,
}

#[derive(Deserialize, Default)]
struct AsPath {
    #[serde(default)]
    segments: Vec<Segment>,
}

#[derive(Deserialize)]
struct Segment {
    list: Vec<u32>,
}

#[derive(Deserialize)]
struct Best {
    #[serde(default)]
    overall: bool,
    #[serde(default)]
    multipath: bool,
}

#[derive(Deserialize)]
struct Listed {
    list: Vec<String>,
}

#[derive(Deserialize)]
struct NextHop {
    ip: IpAddr,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Peer {
    peer_id: String,
}

fn table(text: &str) -> Result<Vec<Route>, Error> {
    let shown: Table = serde_json::from_str(text).map_err(Error::json("vtysh show bgp"))?;
    let mut routes = Vec::new();
    for (prefix, paths) in shown.routes {
        let paths = match paths {
            Paths::List(paths) | Paths::Object { paths } => paths,
        };
        for path in paths.into_iter().filter(|path| !path.nexthops.is_empty()) {
            routes.push(route(prefix, path)?);
        }
    }
    Ok(routes)
}

fn route(prefix: IpNet, path: PathShown) -> Result<Route, Error> {
    let from = path.peer.and_then(|peer| peer.peer_id.parse().ok());
    Ok(Route {
        prefix,
        from: from.filter(|address: &IpAddr| !address.is_unspecified()),
        next_hops: path.nexthops.into_iter().map(|hop| hop.ip).collect(),
        as_path: path
            .aspath
            .segments
            .into_iter()
            .flat_map(|segment| segment.list)
            .collect(),
        local_pref: path.loc_prf,
        communities: listed(path.community, Community::parse)?,
        large_communities: listed(path.large_community, LargeCommunity::parse)?,
        best: path
            .bestpath
            .is_some_and(|best| best.overall || best.multipath),
        stale: path.stale,
    })
}

fn listed<T: Ord>(shown: Option<Listed>, parse: fn(&str) -> Option<T>) -> Result<Vec<T>, Error> {
    let texts = shown.map(|shown| shown.list).unwrap_or_default();
    let mut values = texts
        .into_iter()
        .map(|text| {
            parse(&text).ok_or(Error::Answer {
                program: "vtysh",
                answer: text,
            })
        })
        .collect::<Result<Vec<T>, Error>>()?;
    values.sort();
    Ok(values)
}

#[cfg(test)]
mod tests;
