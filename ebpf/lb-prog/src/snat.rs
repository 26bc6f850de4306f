//! Source translation: a packet for a backend elsewhere gets an address and a port of this node, so that the answer comes back here.

use crate::family::{Family, Flow, Ports, Tuple};
use crate::flow::forget;
use crate::select::scale;
use crate::skb::Skb;
use aya_ebpf::bindings::{BPF_F_CURRENT_NETNS, BPF_NOEXIST, bpf_sock};
use aya_ebpf::helpers::generated::{
    bpf_loop, bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp,
};
use lb_abi::{Config, UDP, flow_flags, flow_hash};

/// Ports that are tried for one flow.
const TRIES: u32 = 16;
/// From one tried port to the next; odd, so that ranges of any power of two are gone through whole.
const STEP: u32 = 7919;

/// Finds a source port for the tuple in `key`, the client's own where it is free, and makes the reply's entry under it. False where no
/// tried port is free.
///
/// The insertion decides: two processors that want one port cannot both get it.
#[inline(never)]
pub(crate) fn claim<F: Family>(
    skb: Skb,
    client: &Tuple<F>,
    key: &mut Tuple<F>,
    reply: &Flow<F>,
    config: &Config,
) -> bool {
    let least = config.snat_port_min as u32;
    let size = (config.snat_port_max as u32 + 1).saturating_sub(least);
    if size == 0 {
        return false;
    }
    let own = u16::from_be(client.ports.source()) as u32;
    let hash = flow_hash(
        config.hash_seed,
        client.source.as_ref(),
        client.ports.0,
        client.protocol,
    );
    let start = scale(hash, size);
    // Clients that share a port, as those of a protocol with a fixed one do, must not share what is tried after it.
    let (place, next) = if own.wrapping_sub(least) < size {
        (own - least, start)
    } else {
        (start, (start + STEP) % size)
    };
    let mut search = Search {
        skb,
        key,
        reply,
        config,
        size,
        place,
        next,
        found: 0,
    };
    let search = core::ptr::from_mut(&mut search);
    // SAFETY: the kernel calls the function with the pointer, while this one waits.
    unsafe {
        bpf_loop(TRIES, attempt::<F> as *mut _, search.cast(), 0);
        (*search).found != 0
    }
}

/// A search for a port. In the kernel's loop and not one of ours, so that the verifier goes through an attempt once and not [`TRIES`] times.
struct Search<'a, F: Family> {
    skb: Skb,
    key: &'a mut Tuple<F>,
    reply: &'a Flow<F>,
    config: &'a Config,
    size: u32,
    place: u32,
    next: u32,
    found: u32,
}

/// Tries one port; 1 ends the search.
unsafe extern "C" fn attempt<F: Family>(_: u64, search: *mut Search<'_, F>) -> i64 {
    // SAFETY: `claim` hands it over and does not touch it meanwhile.
    let search = unsafe { &mut *search };
    let port = ((search.config.snat_port_min as u32 + search.place) as u16).to_be();
    search.key.ports = Ports::new(port, search.key.ports.destination());
    if !is_used_by_host(search.skb, search.key) && insert(search.key, search.reply, search.config) {
        search.found = 1;
        return 1;
    }
    search.place = search.next;
    // Checked, because a panic would be a function without an end, which the kernel refuses.
    search.next = (search.next + STEP).checked_rem(search.size).unwrap_or(0);
    0
}

/// Makes the entry, in the place of one that has expired where there is one.
#[inline(always)]
fn insert<F: Family>(key: &Tuple<F>, reply: &Flow<F>, config: &Config) -> bool {
    F::insert_flow(key, reply, BPF_NOEXIST as u64)
        || (displace(key, reply.last_seen, config)
            && F::insert_flow(key, reply, BPF_NOEXIST as u64))
}

/// Deletes the flow that has the key, where it is over.
#[inline(always)]
fn displace<F: Family>(key: &Tuple<F>, now: u32, config: &Config) -> bool {
    let Some(present) = F::flow(key) else {
        return true;
    };
    let over = present.has(flow_flags::CLOSED) || present.is_expired(key.protocol, now, config);
    if over {
        forget(key, present);
    }
    over
}

/// Whether a socket of the host has the tuple, or listens where the answer would arrive: it would get what is not meant for it, or lose
/// what is.
#[inline(always)]
fn is_used_by_host<F: Family>(skb: Skb, key: &Tuple<F>) -> bool {
    // As the answer arrives: from the backend to us.
    let mut tuple = key.turned();
    // A tuple begins like a `bpf_sock_tuple`, whose size tells the family.
    let size = (size_of::<Tuple<F>>() - size_of::<u32>()) as u32;
    let namespace = BPF_F_CURRENT_NETNS as i64 as u64;
    let pointer = core::ptr::from_mut(&mut tuple).cast();
    // SAFETY: the helpers read the struct; a socket that is found is given back.
    unsafe {
        let socket: *mut bpf_sock = if key.protocol == UDP {
            bpf_sk_lookup_udp(skb.0.cast(), pointer, size, namespace, 0)
        } else {
            bpf_skc_lookup_tcp(skb.0.cast(), pointer, size, namespace, 0)
        };
        if socket.is_null() {
            return false;
        }
        bpf_sk_release(socket.cast());
        true
    }
}
