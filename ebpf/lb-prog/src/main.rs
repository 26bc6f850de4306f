//! The load balancer's programs in the kernel.
//!
//! A packet of a known flow needs one lookup: the flow's entry says all that it becomes and where it goes. Both directions have an entry
//! (`lb_abi::FlowKind`), and each can make the other anew. All state is in the maps, whose layout is `lb_abi`'s; the agent that fills
//! them is never on a packet's way.
//!
//! | Program | Where | What it does |
//! |---|---|---|
//! | `lb_uplink_in` | ingress of uplinks | clients' packets to backends, answers of backends elsewhere to clients |
//! | `lb_uplink_out` | egress of uplinks | answers of this node's backends become the frontend's |
//! | `lb_pod_in`, `lb_pod_out` | the host's end of pod interfaces | the same for pods whose sockets are not translated |
//! | `sk_*` | a cgroup | sockets are given a backend when they connect or send |
//!
//! What is not ours is left to the next program, always (`TCX_NEXT`).
#![no_std]
#![no_main]

mod family;
mod flow;
mod forward;
mod host;
mod maps;
mod next_hop;
mod parse;
mod ping;
mod pod;
mod rewrite;
mod select;
mod skb;
mod snat;
mod socket;
mod uplink;

use aya_ebpf::macros::{cgroup_sock_addr, classifier};
use aya_ebpf::programs::{SockAddrContext, TcContext};
use family::{V4, V6};
use skb::{IPV4, IPV6, NEXT, Skb};

/// A traffic-control program: the same source for both families.
macro_rules! classifiers {
    ($($(#[$doc:meta])* $name:ident => $hook:ident::$direction:ident;)*) => {$(
        $(#[$doc])*
        #[classifier]
        fn $name(context: TcContext) -> i32 {
            let skb = Skb(context.skb.skb);
            match skb.protocol() {
                IPV4 => $hook::$direction::<V4>(skb),
                IPV6 => $hook::$direction::<V6>(skb),
                _ => NEXT,
            }
        }
    )*};
}

classifiers! {
    /// Ingress of uplinks.
    lb_uplink_in => uplink::ingress;
    /// Egress of uplinks.
    lb_uplink_out => uplink::egress;
    /// What a pod sends.
    lb_pod_in => pod::ingress;
    /// What a pod receives.
    lb_pod_out => pod::egress;
}

/// `connect` of an IPv4 socket.
#[cgroup_sock_addr(connect4)]
fn sk_connect4(context: SockAddrContext) -> i32 {
    socket::translate4(socket::Call(context.sock_addr))
}

/// `connect` of an IPv6 socket.
#[cgroup_sock_addr(connect6)]
fn sk_connect6(context: SockAddrContext) -> i32 {
    socket::translate6(socket::Call(context.sock_addr))
}

/// A datagram with a destination of its own, of an IPv4 socket.
#[cgroup_sock_addr(sendmsg4)]
fn sk_sendmsg4(context: SockAddrContext) -> i32 {
    socket::translate4(socket::Call(context.sock_addr))
}

/// A datagram with a destination of its own, of an IPv6 socket.
#[cgroup_sock_addr(sendmsg6)]
fn sk_sendmsg6(context: SockAddrContext) -> i32 {
    socket::translate6(socket::Call(context.sock_addr))
}

/// Who sent a datagram, of an IPv4 socket.
#[cgroup_sock_addr(recvmsg4)]
fn sk_recvmsg4(context: SockAddrContext) -> i32 {
    socket::restore4(socket::Call(context.sock_addr))
}

/// Who sent a datagram, of an IPv6 socket.
#[cgroup_sock_addr(recvmsg6)]
fn sk_recvmsg6(context: SockAddrContext) -> i32 {
    socket::restore6(socket::Call(context.sock_addr))
}

/// Who the peer is, of an IPv4 socket.
#[cgroup_sock_addr(getpeername4)]
fn sk_getpeername4(context: SockAddrContext) -> i32 {
    socket::restore4(socket::Call(context.sock_addr))
}

/// Who the peer is, of an IPv6 socket.
#[cgroup_sock_addr(getpeername6)]
fn sk_getpeername6(context: SockAddrContext) -> i32 {
    socket::restore6(socket::Call(context.sock_addr))
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // The verifier accepts no program that could come here.
    loop {}
}
