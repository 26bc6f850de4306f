//! GoBGP: one daemon, asked over its socket by `gobgp --json`. It installs no routes in the kernel; what it
//! originates it is told by command once it runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::Deserialize;

use super::{Afi, Community, LargeCommunity, Neighbor, Peering, Prefixes, Route, Router, State};
use crate::binaries;
use crate::command;
use crate::error::Error;
use crate::process::Launch;

pub(super) fn configuration(peering: &Peering) -> String {
    let mut text = format!(
        "[global.config]\n  as = {}\n  router-id = \"{}\"\n[global.use-multiple-paths.config]\n  enabled = true\n",
        peering.asn, peering.router_id
    );
    for neighbor in &peering.neighbors {
        let _ = write!(
            text,
            "[[neighbors]]\n  [neighbors.config]\n    neighbor-address = \"{}\"\n    peer-as = {}\n  \
             [neighbors.timers.config]\n    connect-retry = 5\n    hold-time = {}\n    keepalive-interval = {}\n    \
             idle-hold-time-after-reset = 1\n  \
             [neighbors.graceful-restart.config]\n    enabled = true\n    restart-time = 120\n    \
             notification-enabled = true\n",
            neighbor.address,
            neighbor.asn,
            peering.hold_time,
            peering.keepalive(),
        );
        for afi in Afi::ALL {
            let _ = write!(
                text,
                "  [[neighbors.afi-safis]]\n    [neighbors.afi-safis.config]\n      afi-safi-name = \"{afi}-unicast\"\n    \
                 [neighbors.afi-safis.mp-graceful-restart.config]\n      enabled = true\n"
            );
        }
    }
    text
}

/// Writes the file and says what to run.
pub(super) fn launches(name: &str, folder: &Path, config: &str) -> Result<Vec<Launch>, Error> {
    let path = write(folder, config)?;
    Ok(vec![
        Launch::new(format!("{name}-gobgpd"), binaries::GOBGP.binary("gobgpd")?)
            .args(["-f".to_owned(), path.to_string_lossy().into_owned()])
            .args([
                "--api-hosts".to_owned(),
                target(folder),
                "--pprof-disable".to_owned(),
            ]),
    ])
}

pub(super) fn write(folder: &Path, config: &str) -> Result<PathBuf, Error> {
    let path = folder.join("gobgpd.toml");
    fs::write(&path, config).map_err(Error::file(&path))?;
    Ok(path)
}

fn target(folder: &Path) -> String {
    format!("unix://{}", folder.join("api.sock").display())
}

/// Runs one command of `gobgp` and gives what it prints, in JSON where the command has an answer.
pub(super) fn gobgp(router: &Router, words: &[&str]) -> Result<String, Error> {
    let mut gobgp = router.namespace().command(binaries::GOBGP.binary("gobgp")?);
    command::text(
        gobgp
            .args(["--json", "--target", &target(router.folder())])
            .args(words),
    )
}

pub(super) fn is_ready(router: &Router) -> bool {
    gobgp(router, &["global"]).is_ok()
}

pub(super) fn originate(router: &Router, networks: &[IpNet]) -> Result<(), Error> {
    for network in networks {
        let prefix = network.trunc().to_string();
        gobgp(
            router,
            &[
                "global",
                "rib",
                "add",
                "-a",
                &Afi::of(network).to_string(),
                &prefix,
                "origin",
                "igp",
            ],
        )?;
    }
    Ok(())
}

pub(super) fn neighbors(router: &Router) -> Result<Vec<Neighbor>, Error> {
    let listed: Vec<NeighborShown> = parse(&gobgp(router, &["neighbor"])?)?;
    listed
        .iter()
        .map(|neighbor| {
            // Only the view of a single neighbour counts what is announced to it.
            let address = neighbor.state.neighbor_address.to_string();
            Ok(parse::<NeighborShown>(&gobgp(router, &["neighbor", &address])?)?.read())
        })
        .collect()
}

pub(super) fn routes(router: &Router, afi: Afi) -> Result<Vec<Route>, Error> {
    table(&gobgp(router, &["global", "rib", "-a", &afi.to_string()])?)
}

fn parse<T: for<'text> Deserialize<'text>>(text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(Error::json("gobgp"))
}

#[derive(Deserialize)]
struct NeighborShown {
    state: StateShown,
    #[serde(default)]
    afi_safis: Vec<AfiSafi>,
}

#[derive(Deserialize)]
struct StateShown {
    neighbor_address: IpAddr,
    peer_asn: u32,
    #[serde(default)]
    session_state: u8,
}

#[derive(Deserialize)]
struct AfiSafi {
    state: AfiSafiState,
}

#[derive(Deserialize)]
struct AfiSafiState {
    family: Family,
    #[serde(default)]
    accepted: u64,
    #[serde(default)]
    advertised: u64,
}

#[derive(Deserialize)]
struct Family {
    afi: u16,
}

impl NeighborShown {
    fn read(self) -> Neighbor {
        // The numbers of the daemon's API (`PeerState.SessionState`); 0 is "unknown".
        let state = match self.state.session_state {
            2 => State::Connect,
            3 => State::Active,
            4 => State::OpenSent,
            5 => State::OpenConfirm,
            6 => State::Established,
            _ => State::Idle,
        };
        let families = self.afi_safis.into_iter().filter_map(|AfiSafi { state }| {
            let afi = match state.family.afi {
                1 => Afi::Ipv4,
                2 => Afi::Ipv6,
                _ => return None,
            };
            Some((
                afi,
                Prefixes {
                    received: state.accepted,
                    sent: state.advertised,
                },
            ))
        });
        Neighbor {
            address: self.state.neighbor_address,
            asn: self.state.peer_asn,
            state,
            sessions: None,
            prefixes: families.collect(),
        }
    }
}

#[derive(Deserialize)]
struct PathShown {
    #[serde(default)]
    best: bool,
    #[serde(default)]
    stale: bool,
    #[serde(default)]
    attrs: Vec<Attribute>,
    #[serde(rename = "peer-address")]
    peer_address: Option<String>,
}

/// A path attribute, told apart by its number (IANA "BGP Path Attributes").
#[derive(Deserialize)]
struct Attribute {
    #[serde(rename = "type")]
    code: u8,
    nexthop: Option<IpAddr>,
    #[serde(default)]
    as_paths: Vec<Segment>,
    #[serde(default)]
    communities: Vec<u32>,
    #[serde(default)]
    value: serde_json::Value,
}

#[derive(Deserialize)]
struct Segment {
    asns: Vec<u32>,
}

#[derive(Deserialize)]
struct LargeShown {
    #[serde(rename = "ASN")]
    administrator: u32,
    #[serde(rename = "LocalData1")]
    first: u32,
    #[serde(rename = "LocalData2")]
    second: u32,
}

fn table(text: &str) -> Result<Vec<Route>, Error> {
    let shown: BTreeMap<IpNet, Vec<PathShown>> = parse(text)?;
    let paths = shown
        .into_iter()
        .flat_map(|(prefix, paths)| paths.into_iter().map(move |path| (prefix, path)));
    paths.map(|(prefix, path)| route(prefix, path)).collect()
}

fn route(prefix: IpNet, path: PathShown) -> Result<Route, Error> {
    let mut route = Route {
        prefix,
        from: path.peer_address.and_then(|text| text.parse().ok()),
        next_hops: Vec::new(),
        as_path: Vec::new(),
        local_pref: None,
        communities: Vec::new(),
        large_communities: Vec::new(),
        best: path.best,
        stale: path.stale,
    };
    for attribute in path.attrs {
        route.next_hops.extend(attribute.nexthop);
        route.as_path.extend(
            attribute
                .as_paths
                .into_iter()
                .flat_map(|segment| segment.asns),
        );
        route
            .communities
            .extend(attribute.communities.into_iter().map(Community));
        match attribute.code {
            5 => {
                route.local_pref = attribute
                    .value
                    .as_u64()
                    .and_then(|value| u32::try_from(value).ok());
            }
            32 => {
                let large: Vec<LargeShown> =
                    serde_json::from_value(attribute.value).map_err(Error::json("gobgp"))?;
                route.large_communities.extend(
                    large.iter().map(|shown| {
                        LargeCommunity(shown.administrator, shown.first, shown.second)
                    }),
                );
            }
            _ => {}
        }
    }
    route.communities.sort();
    route.large_communities.sort();
    Ok(route)
}

#[cfg(test)]
mod tests;
