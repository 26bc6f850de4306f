//! The routes in a namespace's kernel, from `ip -j route`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::Deserialize;

use super::Afi;
use crate::command;
use crate::error::Error;
use crate::namespace::Namespace;

/// A route of the main table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelRoute {
    /// The destination.
    pub prefix: IpNet,
    /// Who installed it, in iproute2's words: `kernel`, `static`, `bgp`, `bird`, or a number.
    pub protocol: String,
    /// Where packets go; several for equal cost, none for a route that discards.
    pub next_hops: Vec<NextHop>,
    /// The metric; 0 is the best.
    pub metric: u32,
}

/// One way out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NextHop {
    /// The gateway; `None` for what is on the link.
    pub via: Option<IpAddr>,
    /// The device.
    pub dev: String,
}

/// The main table of `namespace`, both families, in the kernel's order.
///
/// # Errors
/// When `ip` fails or prints what is not understood.
pub fn kernel_routes(namespace: &Namespace) -> Result<Vec<KernelRoute>, Error> {
    let mut routes = Vec::new();
    for (afi, flag) in [(Afi::Ipv4, "-4"), (Afi::Ipv6, "-6")] {
        let text = command::text(
            namespace
                .command("ip")
                .args(["-j", flag, "route", "show", "table", "main"]),
        )?;
        routes.extend(parse(afi, &text)?);
    }
    Ok(routes)
}

#[derive(Deserialize)]
struct Shown {
    dst: String,
    #[serde(default)]
    protocol: String,
    #[serde(default)]
    metric: u32,
    #[serde(flatten)]
    hop: ShownHop,
    #[serde(default)]
    nexthops: Vec<ShownHop>,
}

#[derive(Deserialize)]
struct ShownHop {
    gateway: Option<IpAddr>,
    via: Option<Via>,
    dev: Option<String>,
}

/// A gateway of another family than the route's (RFC 8950 in the kernel).
#[derive(Deserialize)]
struct Via {
    host: IpAddr,
}

fn parse(afi: Afi, text: &str) -> Result<Vec<KernelRoute>, Error> {
    if text.trim().is_empty() {
        return Ok(Vec::new()); // ip prints nothing, not an empty list, where the table is empty
    }
    let shown: Vec<Shown> = serde_json::from_str(text).map_err(Error::json("ip route"))?;
    Ok(shown
        .into_iter()
        .filter_map(|route| {
            let hops = if route.nexthops.is_empty() {
                vec![route.hop]
            } else {
                route.nexthops
            };
            Some(KernelRoute {
                prefix: destination(afi, &route.dst)?,
                protocol: route.protocol,
                next_hops: hops.into_iter().filter_map(next_hop).collect(),
                metric: route.metric,
            })
        })
        .collect())
}

fn next_hop(hop: ShownHop) -> Option<NextHop> {
    Some(NextHop {
        via: hop.gateway.or(hop.via.map(|via| via.host)),
        dev: hop.dev?,
    })
}

/// `default`, a prefix, or an address that stands for itself alone. Multicast routes and others with a
/// qualifier before the destination are none of these.
fn destination(afi: Afi, text: &str) -> Option<IpNet> {
    match (text, afi) {
        ("default", Afi::Ipv4) => IpNet::new(Ipv4Addr::UNSPECIFIED.into(), 0).ok(),
        ("default", Afi::Ipv6) => IpNet::new(Ipv6Addr::UNSPECIFIED.into(), 0).ok(),
        _ => text
            .parse()
            .ok()
            .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(via: &str, dev: &str) -> NextHop {
        NextHop {
            via: via.parse().ok(),
            dev: dev.into(),
        }
    }

    #[test]
    fn every_shape_of_route_is_read() {
        let text = r#"[
            {"dst":"default","gateway":"192.168.10.1","dev":"eth1","flags":[]},
            {"dst":"10.9.0.0/24","dev":"eth1","protocol":"kernel","scope":"link","prefsrc":"10.9.0.2","flags":[]},
            {"dst":"10.0.0.7","gateway":"10.9.0.1","dev":"eth1","protocol":"bgp","metric":20,"flags":[]},
            {"dst":"10.30.1.0/24","via":{"family":"inet6","host":"fd00:9::3"},"dev":"eth1","protocol":"bird","metric":32,"flags":[]},
            {"dst":"172.16.1.1","protocol":"bgp","metric":20,"flags":[],"nexthops":[
                {"gateway":"192.168.10.100","dev":"eth1","weight":1,"flags":[]},
                {"gateway":"192.168.20.100","dev":"eth2","weight":1,"flags":[]}]},
            {"type":"blackhole","dst":"10.40.0.0/16","protocol":"static","flags":[]}]"#;
        let routes = parse(Afi::Ipv4, text).unwrap();
        let shown: Vec<_> = routes
            .iter()
            .map(|route| {
                (
                    route.prefix.to_string(),
                    route.protocol.as_str(),
                    route.metric,
                    route.next_hops.clone(),
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("0.0.0.0/0".into(), "", 0, vec![hop("192.168.10.1", "eth1")]),
                ("10.9.0.0/24".into(), "kernel", 0, vec![hop("", "eth1")]),
                (
                    "10.0.0.7/32".into(),
                    "bgp",
                    20,
                    vec![hop("10.9.0.1", "eth1")]
                ),
                (
                    "10.30.1.0/24".into(),
                    "bird",
                    32,
                    vec![hop("fd00:9::3", "eth1")]
                ),
                (
                    "172.16.1.1/32".into(),
                    "bgp",
                    20,
                    vec![hop("192.168.10.100", "eth1"), hop("192.168.20.100", "eth2")]
                ),
                ("10.40.0.0/16".into(), "static", 0, vec![]),
            ]
        );
        assert!(parse(Afi::Ipv6, "").unwrap().is_empty());
    }
}
