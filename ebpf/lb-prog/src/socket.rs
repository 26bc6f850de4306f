//! Sockets: a process that asks for a frontend gets a backend before a packet is made, and is told the frontend when it asks.

use crate::family::{Address6, Family, MAPPED, V4, V6, bytes};
use crate::maps::{SOCKETS, config, count, node_address};
use crate::select;
use aya_ebpf::bindings::{BPF_ANY, bpf_sock_addr};
use aya_ebpf::helpers::generated::{
    bpf_get_netns_cookie, bpf_get_prandom_u32, bpf_get_socket_cookie, bpf_set_retval,
};
use lb_abi::{
    Config, Frontend, Reason, SocketKey, SocketValue, TCP, UDP, config_flags, flow_hash,
    frontend_flags,
};

/// The call goes on, with the address as it is now.
const ALLOW: i32 = 1;
/// The call fails with what `bpf_set_retval` was told.
const DENY: i32 = 0;
/// `EHOSTUNREACH`
const HOST_UNREACHABLE: i32 = 113;

/// A call of a process: what address it gives, or is given.
#[derive(Clone, Copy)]
pub(crate) struct Call(pub(crate) *mut bpf_sock_addr);

/// An address and port that a process asks for.
struct Asked<F: Family> {
    address: F::Address,
    port: u16,
}

impl Call {
    #[inline(always)]
    fn address4(self) -> u32 {
        // SAFETY: the kernel hands the program a context that lives as long as it runs.
        unsafe { (*self.0).user_ip4 }
    }

    #[inline(always)]
    fn address6(self) -> [u32; 4] {
        // SAFETY: as in `address4`. The verifier wants each word read on its own.
        unsafe {
            let words = &raw const (*self.0).user_ip6;
            let word = |index| words.cast::<u32>().add(index).read_volatile();
            [word(0), word(1), word(2), word(3)]
        }
    }

    #[inline(always)]
    fn port(self) -> u16 {
        // SAFETY: as in `address4`.
        unsafe { (*self.0).user_port as u16 }
    }

    #[inline(always)]
    fn protocol(self) -> u8 {
        // SAFETY: as in `address4`.
        unsafe { (*self.0).protocol as u8 }
    }

    #[inline(always)]
    fn set4(self, address: u32, port: [u8; 2]) {
        // SAFETY: as in `address4`.
        unsafe {
            (*self.0).user_ip4 = address;
            (*self.0).user_port = u16::from_ne_bytes(port) as u32;
        }
    }

    #[inline(always)]
    fn set6(self, address: [u32; 4], port: [u8; 2]) {
        // SAFETY: as in `address4`. The verifier wants each word written on its own.
        unsafe {
            let words = (&raw mut (*self.0).user_ip6).cast::<u32>();
            words.write_volatile(address[0]);
            words.add(1).write_volatile(address[1]);
            words.add(2).write_volatile(address[2]);
            words.add(3).write_volatile(address[3]);
            (*self.0).user_port = u16::from_ne_bytes(port) as u32;
        }
    }

    #[inline(always)]
    fn cookie(self) -> u64 {
        // SAFETY: as in `address4`.
        unsafe { bpf_get_socket_cookie(self.0.cast()) }
    }

    #[inline(always)]
    fn is_of_host(self, config: &Config) -> bool {
        // SAFETY: as in `address4`.
        unsafe { bpf_get_netns_cookie(self.0.cast()) == config.host_namespace }
    }
}

/// An IPv4 socket connects, or sends a datagram.
#[inline(always)]
pub(crate) fn translate4(call: Call) -> i32 {
    let address = call.address4();
    let asked = Asked::<V4> {
        address: [address],
        port: call.port(),
    };
    translate(
        call,
        &asked,
        address.to_ne_bytes()[0] == 127,
        |backend, port| {
            call.set4(backend[3], port);
        },
    )
}

/// An IPv6 socket connects, or sends a datagram; what it asks for may be an IPv4 address.
#[inline(always)]
pub(crate) fn translate6(call: Call) -> i32 {
    let address = call.address6();
    let [first, second, third, last] = address;
    let port = call.port();
    let set = |backend, port| call.set6(backend, port);
    if (first | second, third) == (0, MAPPED) {
        let asked = Asked::<V4> {
            address: [last],
            port,
        };
        return translate(call, &asked, last.to_ne_bytes()[0] == 127, set);
    }
    let asked = Asked::<V6> {
        address: Address6::new(bytes(address)),
        port,
    };
    let loopback = (first | second | third, last) == (0, 1u32.to_be());
    translate(call, &asked, loopback, set)
}

#[inline(always)]
fn translate<F: Family>(
    call: Call,
    asked: &Asked<F>,
    loopback: bool,
    set: impl FnOnce([u32; 4], [u8; 2]),
) -> i32 {
    let protocol = call.protocol();
    let Some(config) = config().filter(|_| matches!(protocol, TCP | UDP)) else {
        return ALLOW;
    };
    if config.flags & config_flags::HOST_SOCKETS_ONLY != 0 && !call.is_of_host(config) {
        return ALLOW;
    }
    let Some(frontend) = frontend(call, asked, loopback, protocol, config) else {
        return ALLOW;
    };
    let cookie = call.cookie();
    let number = if protocol == TCP {
        // SAFETY: takes and gives a number.
        unsafe { bpf_get_prandom_u32() }
    } else {
        // All datagrams of a socket go to one backend, as long as the list stays the same.
        let words = [cookie as u32, (cookie >> 32) as u32];
        flow_hash(config.hash_seed, &words, 0, protocol)
    };
    let Some(chosen) = select::by_number(&frontend, number) else {
        count(Reason::NoBackend);
        // SAFETY: takes a number only.
        unsafe { bpf_set_retval(-HOST_UNREACHABLE) };
        return DENY;
    };
    remember(
        &SocketKey {
            cookie,
            address: chosen.backend.address,
            port: chosen.backend.port,
            reserved: [0; 6],
        },
        &SocketValue {
            address: bytes(F::mapped(&asked.address)),
            port: asked.port.to_ne_bytes(),
            reserved: [0; 2],
            backend: chosen.id,
        },
    );
    set(
        crate::family::words(chosen.backend.address),
        chosen.backend.port,
    );
    count(Reason::Socket);
    ALLOW
}

/// The frontend that a process asks for: by its address, or a NodePort by the address of any node.
#[inline(always)]
fn frontend<F: Family>(
    call: Call,
    asked: &Asked<F>,
    loopback: bool,
    protocol: u8,
    config: &Config,
) -> Option<Frontend> {
    // The system takes no address for the caller's own loopback, and NodePorts have a row of their own under it.
    let is_unspecified = crate::family::is_unspecified(&asked.address);
    if !is_unspecified
        && let Some(exact) = select::frontend::<F>(asked.address, asked.port, protocol, true)
    {
        return (exact.flags & frontend_flags::NO_SOCKET == 0).then_some(exact);
    }
    let port = u16::from_be(asked.port);
    if port < config.node_port_min || port > config.node_port_max {
        return None;
    }
    let of_node = if loopback || is_unspecified {
        call.is_of_host(config)
    } else {
        node_address::<F>(&asked.address).is_some()
    };
    if !of_node {
        return None;
    }
    select::frontend::<F>(F::UNSPECIFIED, asked.port, protocol, true)
}

/// Remembers what the socket asked for. A socket that sends many datagrams is remembered once: a lookup is cheaper than an insertion.
#[inline(always)]
fn remember(key: &SocketKey, value: &SocketValue) {
    let known = SOCKETS.get_ptr(key).is_some_and(|known| {
        // SAFETY: the kernel keeps the entry's memory until the program ends.
        let known = unsafe { &*known };
        known.backend == value.backend
            && known.port == value.port
            && crate::family::same(
                &crate::family::words(known.address),
                &crate::family::words(value.address),
            )
    });
    if !known {
        // Without the entry the process sees the backend's address, and all else works.
        let _ = SOCKETS.insert(key, value, BPF_ANY as u64);
    }
}

/// An IPv4 socket is told who sent a datagram, or who its peer is.
#[inline(always)]
pub(crate) fn restore4(call: Call) -> i32 {
    let address = [0, 0, MAPPED, call.address4()];
    if let Some((frontend, port)) = asked_for(call, address) {
        call.set4(frontend[3], port);
    }
    ALLOW
}

/// An IPv6 socket is told who sent a datagram, or who its peer is.
#[inline(always)]
pub(crate) fn restore6(call: Call) -> i32 {
    if let Some((frontend, port)) = asked_for(call, call.address6()) {
        call.set6(frontend, port);
    }
    ALLOW
}

/// What the socket asked for and got this address instead.
#[inline(always)]
fn asked_for(call: Call, address: [u32; 4]) -> Option<([u32; 4], [u8; 2])> {
    let key = SocketKey {
        cookie: call.cookie(),
        address: bytes(address),
        port: call.port().to_ne_bytes(),
        reserved: [0; 6],
    };
    let value = SOCKETS.get_ptr(key)?;
    // SAFETY: the kernel keeps the entry's memory until the program ends.
    let value = unsafe { &*value };
    Some((crate::family::words(value.address), value.port))
}
