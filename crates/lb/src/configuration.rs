//! What the programs read at every packet, made of settings and of what is known of the node.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::time::Duration;

use lb_abi::{Config, config_flags};
use nix::libc;
use nix::time::{ClockId, clock_getres};

use crate::error::Error;
use crate::settings::Settings;

/// Seconds without a packet after which a flow is as good as over. Those of Cilium's connection table: an idle TCP connection may sleep for two
/// hours, and an unanswered one or UDP for a minute. One that has ended counts for as long as Linux remembers it at the backend
/// (`TCP_TIMEWAIT_LEN`), which Cilium forgets after 10.
pub(crate) const TCP_TIMEOUT: u32 = 8000;
const SYN_TIMEOUT: u32 = 60;
const CLOSING_TIMEOUT: u32 = 60;
const UDP_TIMEOUT: u32 = 60;
/// Nanoseconds of a second.
const SECOND: u128 = 1_000_000_000;
/// Sources of what a pod sends to itself through its Service. A pod answers them over its default route, and nobody has them: one of RFC 3927
/// outside what hosts choose for themselves by chance, one of RFC 4193.
const HAIRPIN4: Ipv4Addr = Ipv4Addr::new(169, 254, 42, 1);
const HAIRPIN6: Ipv6Addr = Ipv6Addr::new(0xfd74, 0x6f6d, 0x626f, 0x6c6f, 0, 0, 0, 1);

/// What the programs are told of the host; it stays as long as the host runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Host {
    /// The cookie of this thread's network namespace.
    namespace: u64,
    /// `CONFIG_HZ`.
    ticks_per_second: u32,
}

impl Host {
    /// # Errors
    /// [`Error::Namespace`] where the namespace has no cookie (before Linux 5.14), [`Error::Clock`] where the clock has no resolution.
    pub(crate) fn survey() -> Result<Self, Error> {
        Ok(Self {
            namespace: namespace_cookie()?,
            ticks_per_second: ticks_per_second()?,
        })
    }
}

/// The configuration. The epoch is left to whoever writes it.
pub(crate) fn configuration(
    settings: &Settings,
    host: &Host,
    node_addresses: &BTreeSet<IpAddr>,
) -> Config {
    let flag = |is_on: bool, flag: u32| if is_on { flag } else { 0 };
    let flags = flag(settings.ping, config_flags::PING)
        | flag(
            settings.external_cluster_ip,
            config_flags::EXTERNAL_CLUSTER_IP,
        )
        | flag(settings.host_sockets_only, config_flags::HOST_SOCKETS_ONLY);
    let first4 = node_addresses.iter().find_map(|address| match address {
        IpAddr::V4(address) => Some(address.octets()),
        IpAddr::V6(_) => None,
    });
    let first6 = node_addresses.iter().find_map(|address| match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(address.octets()),
    });
    Config {
        host_namespace: host.namespace,
        epoch: 0,
        hash_seed: settings.hash_seed,
        flags,
        tcp_timeout: TCP_TIMEOUT,
        syn_timeout: SYN_TIMEOUT,
        closing_timeout: CLOSING_TIMEOUT,
        udp_timeout: UDP_TIMEOUT,
        node_port_min: *settings.node_ports.start(),
        node_port_max: *settings.node_ports.end(),
        snat_port_min: *settings.snat_ports.start(),
        snat_port_max: *settings.snat_ports.end(),
        snat_address4: first4.unwrap_or_default(),
        hairpin_address4: HAIRPIN4.octets(),
        snat_address6: first6.unwrap_or_default(),
        hairpin_address6: HAIRPIN6.octets(),
        ticks_per_second: host.ticks_per_second,
    }
}

/// The coarse clock goes on with every tick, and says by its resolution how long one is (`clock_getres(2)`).
fn ticks_per_second() -> Result<u32, Error> {
    let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map_err(io::Error::from);
    let tick = Duration::from(tick.map_err(Error::Clock)?);
    // To the nearest: a third of a second is no whole number of nanoseconds.
    let ticks = (SECOND + tick.as_nanos() / 2).checked_div(tick.as_nanos());
    let ticks = ticks.and_then(|ticks| u32::try_from(ticks).ok());
    ticks
        .filter(|ticks| *ticks != 0)
        .ok_or_else(|| Error::Clock(io::ErrorKind::InvalidData.into()))
}

/// The cookie of this thread's network namespace (`SO_NETNS_COOKIE`, Linux 5.14).
fn namespace_cookie() -> Result<u64, Error> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .or_else(|_| std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)));
    let socket = socket.map_err(Error::Namespace)?;
    cookie_of(&socket).map_err(Error::Namespace)
}

#[expect(unsafe_code, reason = "a socket option that the libraries do not have")]
fn cookie_of(socket: &impl AsRawFd) -> io::Result<u64> {
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most eight bytes, into a number of that size, and the length into another; both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(cookie)
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Host = Host {
        namespace: 7,
        ticks_per_second: 250,
    };

    #[test]
    fn settings_become_flags_and_ranges() {
        let settings = Settings {
            ping: false,
            external_cluster_ip: true,
            host_sockets_only: true,
            node_ports: 30000..=30099,
            snat_ports: 40000..=40999,
            ..Settings::default()
        };
        let config = configuration(&settings, &HOST, &BTreeSet::new());
        assert_eq!(
            config.flags,
            config_flags::EXTERNAL_CLUSTER_IP | config_flags::HOST_SOCKETS_ONLY
        );
        assert_eq!((config.node_port_min, config.node_port_max), (30000, 30099));
        assert_eq!((config.snat_port_min, config.snat_port_max), (40000, 40999));
        assert_eq!((config.host_namespace, config.ticks_per_second), (7, 250));
        assert_eq!(config.hash_seed, settings.hash_seed);
    }

    #[test]
    fn the_least_address_of_a_family_replaces_clients_where_no_route_names_one() {
        let addresses = ["192.0.2.9", "192.0.2.1", "2001:db8::1"];
        let addresses = addresses.map(|text| text.parse().expect("an address"));
        let config = configuration(&Settings::default(), &HOST, &BTreeSet::from(addresses));
        assert_eq!(config.snat_address4, [192, 0, 2, 1]);
        assert_eq!(config.snat_address6[..4], [0x20, 0x01, 0x0d, 0xb8]);
        let none = configuration(&Settings::default(), &HOST, &BTreeSet::new());
        assert_eq!((none.snat_address4, none.snat_address6), ([0; 4], [0; 16]));
    }

    #[test]
    fn the_namespace_has_a_cookie_and_keeps_it() {
        let cookie = namespace_cookie().expect("a socket");
        assert_ne!(cookie, 0);
        assert_eq!(namespace_cookie().expect("a socket"), cookie);
    }

    #[test]
    fn the_kernel_ticks_as_often_as_one_may_choose() {
        let ticks = ticks_per_second().expect("a clock");
        // Kconfig.hz offers these, and Arm's and MIPS's a few more powers of two.
        let choices = [24, 48, 100, 128, 250, 256, 300, 500, 1000, 1024];
        assert!(choices.contains(&ticks), "{ticks}");
    }
}
