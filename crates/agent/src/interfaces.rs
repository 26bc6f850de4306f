//! Addresses of the node's devices, followed by netlink: what `sourceInterface` is resolved with.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use futures::StreamExt as _;
use futures::TryStreamExt as _;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, State};
use rtnetlink::{Handle, MulticastGroup};
use tokio::sync::watch;
use tracing::warn;

use crate::Error;

/// Usable addresses by device name.
pub(crate) type Interfaces = BTreeMap<String, Vec<IpAddr>>;

/// Pause before a broken netlink socket is opened anew.
const REOPEN: Duration = Duration::from_secs(1);
/// Changes come in bursts (a link with all its addresses); they are read once after this pause.
const BURST: Duration = Duration::from_millis(20);

/// Publishes the addresses and each change of them until nobody listens. A node without netlink keeps an empty
/// map: only peers with a `sourceInterface` miss it, and say so.
pub(crate) async fn follow(interfaces: watch::Sender<Interfaces>) {
    while !interfaces.is_closed() {
        if let Err(error) = session(&interfaces).await {
            warn!(%error, "cannot follow the node's addresses");
        }
        tokio::time::sleep(REOPEN).await;
    }
}

async fn session(interfaces: &watch::Sender<Interfaces>) -> Result<(), Error> {
    let groups = [
        MulticastGroup::Link,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv6Ifaddr,
    ];
    let (connection, handle, mut changes) =
        rtnetlink::new_multicast_connection(&groups).map_err(Error::Netlink)?;
    let connection = tokio::spawn(connection);
    let followed = async {
        loop {
            let current = list(&handle).await.map_err(Error::Interfaces)?;
            interfaces.send_if_modified(|known| {
                let changed = *known != current;
                *known = current;
                changed
            });
            if changes.next().await.is_none() {
                return Ok(());
            }
            tokio::time::sleep(BURST).await;
            while let Ok(_another) = changes.try_recv() {}
        }
    };
    let result = tokio::select! {
        result = followed => result,
        () = interfaces.closed() => Ok(()),
    };
    connection.abort();
    result
}

/// Devices that are administratively up and operationally up or unknown, with the addresses that can be a source:
/// no loopback, multicast, unspecified, IPv6 link-local or IPv4-mapped ones (Cilium's filter).
async fn list(handle: &Handle) -> Result<Interfaces, rtnetlink::Error> {
    let links: Vec<_> = handle.link().get().execute().try_collect().await?;
    let mut names = BTreeMap::new();
    for link in links {
        let mut operational = true;
        let mut name = None;
        for attribute in link.attributes {
            match attribute {
                LinkAttribute::IfName(text) => name = Some(text),
                LinkAttribute::OperState(state) => {
                    operational = matches!(state, State::Up | State::Unknown);
                }
                _ => {}
            }
        }
        if let Some(name) =
            name.filter(|_| operational && link.header.flags.contains(LinkFlags::Up))
        {
            names.insert(link.header.index, name);
        }
    }
    let addresses: Vec<_> = handle.address().get().execute().try_collect().await?;
    let mut interfaces = Interfaces::new();
    for address in addresses {
        let Some(name) = names.get(&address.header.index) else {
            continue;
        };
        // On a point-to-point device IFA_ADDRESS is the other end; IFA_LOCAL is ours where it exists.
        let mut ours = None;
        for attribute in &address.attributes {
            match attribute {
                AddressAttribute::Local(local) => ours = Some(*local),
                AddressAttribute::Address(address) => ours = ours.or(Some(*address)),
                _ => {}
            }
        }
        if let Some(ours) = ours.filter(usable) {
            let known = interfaces.entry(name.clone()).or_default();
            if !known.contains(&ours) {
                known.push(ours);
            }
        }
    }
    Ok(interfaces)
}

fn usable(address: &IpAddr) -> bool {
    let never = address.is_loopback() || address.is_multicast() || address.is_unspecified();
    !never
        && match address {
            IpAddr::V4(_) => true,
            IpAddr::V6(address) => {
                !address.is_unicast_link_local() && address.to_ipv4_mapped().is_none()
            }
        }
}
