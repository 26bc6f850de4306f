//! BIRD 2: one daemon, asked over its socket by `birdc`, which answers people: the text is taken apart here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::{Afi, Community, LargeCommunity, Neighbor, Peering, Prefixes, Route, Router, State};
use crate::command;
use crate::error::Error;
use crate::process::Launch;

pub(super) fn configuration(peering: &Peering) -> String {
    let mut text = format!(
        "log stderr all;\nrouter id {};\nprotocol device {{}}\n",
        peering.router_id
    );
    for afi in Afi::ALL {
        let _ = writeln!(
            text,
            "protocol kernel kernel_{afi} {{ merge paths on; {afi} {{ import none; export where source = RTS_BGP; }}; }}"
        );
        let routes: String = peering
            .networks(afi)
            .fold(String::new(), |mut routes, network| {
                let _ = write!(routes, " route {} blackhole;", network.trunc());
                routes
            });
        let _ = writeln!(text, "protocol static static_{afi} {{ {afi};{routes} }}");
    }
    for (index, neighbor) in peering.neighbors.iter().enumerate() {
        // 'direct': without it BIRD takes iBGP for multihop and looks next hops up in its own table.
        let _ = write!(
            text,
            "protocol bgp peer{index} {{\n  local as {};\n  neighbor {} as {};\n  direct;\n  graceful restart on;\n  \
             hold time {};\n  keepalive time {};\n  connect retry time 5;\n  error wait time 1, 5;\n",
            peering.asn,
            neighbor.address,
            neighbor.asn,
            peering.hold_time,
            peering.keepalive(),
        );
        for afi in Afi::ALL {
            let _ = writeln!(
                text,
                "  {afi} {{ import all; export where source = RTS_STATIC; next hop self; extended next hop on; }};"
            );
        }
        text.push_str("}\n");
    }
    text
}

/// Writes the file and says what to run.
pub(super) fn launches(name: &str, folder: &Path, config: &str) -> Result<Vec<Launch>, Error> {
    let path = write(folder, config)?;
    let inside = |file: &str| folder.join(file).to_string_lossy().into_owned();
    Ok(vec![
        Launch::new(format!("{name}-bird"), "bird")
            .args([
                "-f".to_owned(),
                "-c".to_owned(),
                path.to_string_lossy().into_owned(),
            ])
            .args([
                "-s".to_owned(),
                inside("bird.ctl"),
                "-P".to_owned(),
                inside("bird.pid"),
            ]),
    ])
}

pub(super) fn write(folder: &Path, config: &str) -> Result<PathBuf, Error> {
    let path = folder.join("bird.conf");
    fs::write(&path, config).map_err(Error::file(&path))?;
    Ok(path)
}

/// Runs one command in `birdc`.
pub(super) fn birdc(router: &Router, line: &str) -> Result<String, Error> {
    let mut birdc = router.namespace().command("birdc");
    command::text(
        birdc
            .arg("-r")
            .arg("-s")
            .arg(router.folder().join("bird.ctl"))
            .args(line.split(' ')),
    )
}

pub(super) fn is_ready(router: &Router) -> bool {
    birdc(router, "show status").is_ok_and(|text| text.contains("up and running"))
}

pub(super) fn clear(router: &Router, peer: IpAddr) -> Result<(), Error> {
    let shown = protocols(&birdc(router, "show protocols all")?)?;
    let protocol = shown
        .iter()
        .find(|protocol| protocol.neighbor.address == peer);
    let protocol = protocol.ok_or_else(|| Error::Unknown {
        name: peer.to_string(),
        known: shown
            .iter()
            .map(|protocol| protocol.neighbor.address.to_string())
            .collect(),
    })?;
    let mut birdc = router.namespace().command("birdc");
    birdc
        .arg("-s")
        .arg(router.folder().join("bird.ctl"))
        .args(["restart", &protocol.name]);
    command::text(&mut birdc).map(|_| ())
}

pub(super) fn neighbors(router: &Router) -> Result<Vec<Neighbor>, Error> {
    let shown = protocols(&birdc(router, "show protocols all")?)?;
    Ok(shown
        .into_iter()
        .map(|protocol| protocol.neighbor)
        .collect())
}

pub(super) fn routes(router: &Router, afi: Afi) -> Result<Vec<Route>, Error> {
    let peers = protocols(&birdc(router, "show protocols all")?)?;
    let table = birdc(router, &format!("show route table {} all", master(afi)))?;
    self::table(&table, &peers)
}

fn master(afi: Afi) -> &'static str {
    match afi {
        Afi::Ipv4 => "master4",
        Afi::Ipv6 => "master6",
    }
}

/// A BGP protocol of BIRD's, which is one session.
#[derive(Debug, PartialEq, Eq)]
struct Protocol {
    name: String,
    neighbor: Neighbor,
}

fn unexpected(answer: &str) -> Error {
    Error::Answer {
        program: "birdc",
        answer: answer.to_owned(),
    }
}

/// Reads `show protocols all`: a line at the margin per protocol, its facts indented below.
fn protocols(text: &str) -> Result<Vec<Protocol>, Error> {
    let mut found = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if line.starts_with(' ') || words.get(1) != Some(&"BGP") {
            continue;
        }
        let mut facts = Vec::new();
        while let Some(fact) = lines.next_if(|next| next.starts_with(' ')) {
            facts.push(fact.trim());
        }
        found.push(protocol(words[0], &facts).ok_or_else(|| unexpected(line))?);
    }
    Ok(found)
}

fn protocol(name: &str, facts: &[&str]) -> Option<Protocol> {
    let fact = |key: &str| {
        facts
            .iter()
            .find_map(|fact| fact.strip_prefix(key)?.strip_prefix(':').map(str::trim))
    };
    let state = State::named(fact("BGP state")?);
    let mut prefixes = BTreeMap::new();
    let mut channel = None;
    for fact in facts {
        match *fact {
            "Channel ipv4" => channel = Some(Afi::Ipv4),
            "Channel ipv6" => channel = Some(Afi::Ipv6),
            _ => {}
        }
        if let (Some(afi), Some(counts)) = (channel, fact.strip_prefix("Routes:")) {
            prefixes.insert(afi, exchanged(counts));
        }
    }
    Some(Protocol {
        name: name.to_owned(),
        neighbor: Neighbor {
            address: fact("Neighbor address")?.parse().ok()?,
            asn: fact("Neighbor AS")?.parse().ok()?,
            state,
            sessions: None,
            prefixes,
        },
    })
}

/// Reads `1 imported, 2 exported, 1 preferred`, or with `filtered` in between.
fn exchanged(text: &str) -> Prefixes {
    let count = |kind: &str| {
        let entry = text
            .split(',')
            .map(str::trim)
            .find_map(|entry| entry.strip_suffix(kind));
        entry
            .and_then(|number| number.trim().parse().ok())
            .unwrap_or(0)
    };
    Prefixes {
        received: count("imported"),
        sent: count("exported"),
    }
}

/// Reads `show route all`: a line at the margin for a prefix (further paths of it are indented by blanks),
/// facts of the path below, indented by a tab.
fn table(text: &str, peers: &[Protocol]) -> Result<Vec<Route>, Error> {
    let established: BTreeSet<&str> = peers
        .iter()
        .filter(|peer| peer.neighbor.is_established())
        .map(|peer| peer.name.as_str())
        .collect();
    let mut routes: Vec<Route> = Vec::new();
    for line in text.lines() {
        if let Some(fact) = line.strip_prefix('\t') {
            if let Some(route) = routes.last_mut() {
                add(route, fact.trim()).ok_or_else(|| unexpected(line))?;
            }
        } else if let Some((head, rest)) = line.split_once('[') {
            let mut words = head.split_whitespace();
            let prefix = words.next().and_then(|word| word.parse().ok());
            let prefix = prefix
                .or_else(|| routes.last().map(|route| route.prefix))
                .ok_or_else(|| unexpected(line))?;
            let name = rest.split_whitespace().next().unwrap_or_default();
            let peer = peers.iter().find(|peer| peer.name == name);
            routes.push(Route {
                prefix,
                from: peer.map(|peer| peer.neighbor.address),
                next_hops: Vec::new(),
                as_path: Vec::new(),
                local_pref: None,
                communities: Vec::new(),
                large_communities: Vec::new(),
                best: rest
                    .split_once(']')
                    .is_some_and(|(_, flags)| flags.trim_start().starts_with('*')),
                // BIRD does not say which routes it keeps for a neighbour that restarts; those of a session
                // that is not established can be no others.
                stale: peer.is_some() && !established.contains(name),
            });
        }
    }
    Ok(routes)
}

/// Adds one fact to the route; `None` when it is not of the expected form.
fn add(route: &mut Route, fact: &str) -> Option<()> {
    let Some((key, value)) = fact.split_once(": ") else {
        return Some(());
    };
    match key {
        "BGP.next_hop" => {
            route.next_hops = value
                .split(' ')
                .map(|address| address.parse().ok())
                .collect::<Option<_>>()?;
        }
        "BGP.as_path" => {
            let numbers = value
                .split_whitespace()
                .map(|word| word.trim_matches(['{', '}', '(', ')']));
            route.as_path = numbers
                .filter(|word| !word.is_empty())
                .map(|word| word.parse().ok())
                .collect::<Option<_>>()?;
        }
        "BGP.local_pref" => route.local_pref = Some(value.parse().ok()?),
        "BGP.community" => {
            route.communities = tuples(value)
                .map(|text| Community::parse(&text))
                .collect::<Option<_>>()?;
            route.communities.sort();
        }
        "BGP.large_community" => {
            route.large_communities = tuples(value)
                .map(|text| LargeCommunity::parse(&text))
                .collect::<Option<_>>()?;
            route.large_communities.sort();
        }
        _ => {}
    }
    Some(())
}

/// Turns `(65000,1) (65535,65281)` and `(1, 2, 3)` into `65000:1`, … .
fn tuples(text: &str) -> impl Iterator<Item = String> {
    let inside = text
        .split(')')
        .filter_map(|tuple| tuple.split_once('(').map(|(_, inside)| inside));
    inside.map(|inside| {
        inside
            .split(',')
            .map(str::trim)
            .collect::<Vec<_>>()
            .join(":")
    })
}

#[cfg(test)]
mod tests;
