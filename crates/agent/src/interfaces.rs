//! The node's devices with their addresses, followed by netlink: what `sourceInterface` is resolved with, what learned routes
//! must not take the place of, and on which link a link-local next hop is.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::TryStreamExt as _;
use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage, State};
use rtnetlink::{Handle, MulticastGroup};
use tokio::sync::watch;
use tracing::warn;

use crate::Error;

/// What is known of the devices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Devices {
    /// Addresses that can be a source, by name of a device that is up.
    pub(crate) usable: BTreeMap<String, Vec<IpAddr>>,
    /// Addresses with their prefix lengths, by name of any device.
    pub(crate) networks: BTreeMap<String, Vec<IpNet>>,
    /// What lies at the other ends of addresses that have one (`ip address add ... peer ...`).
    pub(crate) far_ends: BTreeSet<IpNet>,
    /// Numbers of the devices that are up and not loopback, by an address that only this device has.
    pub(crate) links: Arc<BTreeMap<IpAddr, u32>>,
}

/// Pause before a broken netlink socket is opened anew.
const REOPEN: Duration = Duration::from_secs(1);
/// Changes come in bursts (a link with all its addresses); they are read once after this pause.
const BURST: Duration = Duration::from_millis(20);

/// Publishes the addresses and each change of them until nobody listens. A node without netlink keeps an empty
/// map: only peers with a `sourceInterface` miss it, and say so.
pub(crate) async fn follow(devices: watch::Sender<Devices>) {
    while !devices.is_closed() {
        if let Err(error) = session(&devices).await {
            warn!(%error, "cannot follow the node's addresses");
        }
        tokio::time::sleep(REOPEN).await;
    }
}

async fn session(devices: &watch::Sender<Devices>) -> Result<(), Error> {
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
            devices.send_if_modified(|known| {
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
        () = devices.closed() => Ok(()),
    };
    connection.abort();
    result
}

async fn list(handle: &Handle) -> Result<Devices, rtnetlink::Error> {
    let links: Vec<LinkMessage> = handle.link().get().execute().try_collect().await?;
    let addresses = handle.address().get().execute();
    Ok(devices(&links, &addresses.try_collect::<Vec<_>>().await?))
}

fn devices(links: &[LinkMessage], addresses: &[AddressMessage]) -> Devices {
    let known: BTreeMap<u32, Device> = links
        .iter()
        .filter_map(|link| Some((link.header.index, Device::of(link)?)))
        .collect();
    let mut devices = Devices::default();
    let mut numbers: BTreeMap<IpAddr, BTreeSet<u32>> = BTreeMap::new();
    for address in addresses {
        let number = address.header.index;
        let (Some(device), Some((ours, theirs))) = (known.get(&number), ends(address)) else {
            continue;
        };
        if let Ok(network) = IpNet::new(theirs, address.header.prefix_len) {
            let far = (ours != theirs).then(|| network.trunc());
            devices.far_ends.extend(far);
            let near = far.map_or(network, |_| ours.into());
            add(devices.networks.entry(device.name.clone()), near);
        }
        if device.usable && usable(&ours) {
            add(devices.usable.entry(device.name.clone()), ours);
        }
        if device.usable && !device.loopback {
            numbers.entry(ours).or_default().insert(number);
        }
    }
    let only = |(address, numbers): (IpAddr, BTreeSet<u32>)| match numbers.len() {
        1 => Some((address, *numbers.first()?)),
        _ => None,
    };
    devices.links = Arc::new(numbers.into_iter().filter_map(only).collect());
    devices
}

/// Appends what is not there yet.
fn add<T: PartialEq>(list: Entry<'_, String, Vec<T>>, item: T) {
    let list = list.or_default();
    if !list.contains(&item) {
        list.push(item);
    }
}

struct Device {
    name: String,
    /// Administratively up, and operationally up or unknown.
    usable: bool,
    loopback: bool,
}

impl Device {
    fn of(link: &LinkMessage) -> Option<Self> {
        let mut operational = true;
        let mut name = None;
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::IfName(text) => name = Some(text.clone()),
                LinkAttribute::OperState(state) => {
                    operational = matches!(state, State::Up | State::Unknown);
                }
                _ => {}
            }
        }
        let flags = link.header.flags;
        Some(Self {
            name: name?,
            usable: operational && flags.contains(LinkFlags::Up),
            loopback: flags.contains(LinkFlags::Loopback),
        })
    }
}

/// Our address, and the one whose network is connected: the other end's on a point-to-point device, where IFA_ADDRESS is that and
/// IFA_LOCAL is ours; else the same.
fn ends(address: &AddressMessage) -> Option<(IpAddr, IpAddr)> {
    let (mut local, mut remote) = (None, None);
    for attribute in &address.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => remote = Some(*address),
            _ => {}
        }
    }
    let ours = local.or(remote)?;
    Some((ours, remote.unwrap_or(ours)))
}

/// Whether an address can be a source: no loopback, multicast, unspecified, IPv6 link-local or IPv4-mapped one (Cilium's
/// filter).
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

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, flags: LinkFlags, state: State) -> LinkMessage {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.header.flags = flags;
        link.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::OperState(state),
        ];
        link
    }

    fn address(index: u32, text: &str) -> AddressMessage {
        let network: IpNet = text.parse().expect("an address and a length");
        let mut address = AddressMessage::default();
        address.header.index = index;
        address.header.prefix_len = network.prefix_len();
        address.attributes = vec![AddressAttribute::Address(network.addr())];
        address
    }

    fn with_peer(index: u32, ours: &str, theirs: &str) -> AddressMessage {
        let mut address = address(index, theirs);
        let ours = ours.parse().expect("an address");
        address.attributes.push(AddressAttribute::Local(ours));
        address
    }

    #[test]
    fn what_can_be_a_source_what_is_connected_and_what_tells_a_link_are_told_apart() {
        let links = [
            link(1, "lo", LinkFlags::Up | LinkFlags::Loopback, State::Unknown),
            link(2, "eth0", LinkFlags::Up, State::Up),
            link(3, "eth1", LinkFlags::Up, State::Up),
            link(4, "down", LinkFlags::empty(), State::Down),
        ];
        let addresses = [
            address(1, "127.0.0.1/8"),
            address(1, "192.0.2.9/32"),
            address(2, "192.0.2.1/24"),
            address(2, "fe80::1/64"),
            address(2, "fe80::2/64"),
            address(3, "fe80::1/64"),
            address(4, "198.51.100.1/24"),
            with_peer(3, "10.0.0.1", "192.168.5.2/24"),
            with_peer(3, "10.0.0.3", "10.0.0.4/32"),
        ];
        let devices = devices(&links, &addresses);
        let names = |usable: &BTreeMap<String, Vec<IpAddr>>| {
            usable
                .iter()
                .map(|(name, list)| format!("{name} {list:?}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names(&devices.usable),
            [
                "eth0 [192.0.2.1]",
                "eth1 [10.0.0.1, 10.0.0.3]",
                "lo [192.0.2.9]"
            ]
        );
        let lengths = |name: &str| {
            devices.networks[name]
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(lengths("lo"), ["127.0.0.1/8", "192.0.2.9/32"]);
        assert_eq!(
            lengths("eth0"),
            ["192.0.2.1/24", "fe80::1/64", "fe80::2/64"]
        );
        assert_eq!(lengths("down"), ["198.51.100.1/24"]);
        assert_eq!(
            lengths("eth1"),
            ["fe80::1/64", "10.0.0.1/32", "10.0.0.3/32"]
        );
        let far: Vec<String> = devices.far_ends.iter().map(ToString::to_string).collect();
        assert_eq!(far, ["10.0.0.4/32", "192.168.5.0/24"]);
        let links: Vec<String> = devices
            .links
            .iter()
            .map(|(address, number)| format!("{address} {number}"))
            .collect();
        assert_eq!(
            links,
            ["10.0.0.1 3", "10.0.0.3 3", "192.0.2.1 2", "fe80::2 2"],
            "an address of two devices tells nothing"
        );
    }
}
