//! Source translation: a packet for a backend elsewhere gets an address and a port of this node, so that the answer comes back here.

use crate::family::{Family, Flow, Ports, Tuple, same};
use crate::flow::{ends_by, forget};
use crate::parse::Packet;
use crate::select::scale;
use crate::skb::Skb;
use aya_ebpf::bindings::{BPF_F_CURRENT_NETNS, BPF_NOEXIST, bpf_sock};
use aya_ebpf::helpers::generated::{
    bpf_loop, bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp,
};
use lb_abi::{Config, Reason, UDP, flow_flags, flow_hash};

/// Ports that are tried for one flow.
const TRIES: u32 = 16;
/// From one tried port to the next; odd, so that ranges of any power of two are gone through whole.
const STEP: u32 = 7919;

/// No place among the ports.
const NOWHERE: u32 = u32::MAX;

/// Finds a source port for the tuple in `key`, the client's own where it is free, and makes the reply's entry under it. `None` where no
/// tried port is free; [`Reason::Healed`] where the flow has lost its other entry only, and goes on with the port and the flags it had.
///
/// The backend remembers a connection that is over for a while, and may refuse the next one of the same tuple (RFC 9293 section 3.6.1). So
/// its port is taken only where no other is free: that of the connection that has been over for longest.
///
/// The insertion decides: two processors that want one port cannot both get it.
#[inline(never)]
pub(crate) fn claim<F: Family>(
    skb: Skb,
    packet: &Packet<F>,
    key: &mut Tuple<F>,
    reply: &mut Flow<F>,
    config: &Config,
) -> Option<Reason> {
    let client = &packet.tuple;
    let least = config.snat_port_min as u32;
    let size = (config.snat_port_max as u32 + 1).saturating_sub(least);
    if size == 0 {
        return None;
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
        is_first: packet.is_syn(),
        tcp_flags: packet.tcp_flags as u8,
        size,
        place,
        next,
        found: None,
        over: NOWHERE,
        over_for: 0,
    };
    let search = core::ptr::from_mut(&mut search);
    // SAFETY: the kernel calls the function with the pointer, while this one waits.
    unsafe {
        bpf_loop(TRIES, attempt::<F> as *mut _, search.cast(), 0);
        (*search)
            .found
            .or_else(|| (*search).take_from_one_that_is_over())
    }
}

/// A search for a port. In the kernel's loop and not one of ours, so that the verifier goes through an attempt once and not [`TRIES`] times.
struct Search<'a, F: Family> {
    skb: Skb,
    key: &'a mut Tuple<F>,
    reply: &'a mut Flow<F>,
    config: &'a Config,
    /// The packet asks for a connection, so that it is of none that is there.
    is_first: bool,
    tcp_flags: u8,
    size: u32,
    place: u32,
    next: u32,
    found: Option<Reason>,
    /// Place of the port whose connection has been over for longest, and for how many seconds.
    over: u32,
    over_for: u32,
}

impl<F: Family> Search<'_, F> {
    /// Puts the port of a place into the key.
    #[inline(always)]
    fn set_port(&mut self, place: u32) {
        let port = ((self.config.snat_port_min as u32 + place) as u16).to_be();
        self.key.ports = Ports::new(port, self.key.ports.destination());
    }

    #[inline(always)]
    fn insert(&self) -> Option<Reason> {
        F::insert_flow(self.key, self.reply, BPF_NOEXIST as u64).then_some(Reason::NewFlow)
    }

    /// Makes the entry where there is none, or one that has expired, or one of an earlier connection of the very same client and frontend,
    /// to which the next is known by its sequence number and time stamp. Where that one still goes on, the packet is its.
    #[inline(always)]
    fn take(&mut self) -> Option<Reason> {
        if let Some(made) = self.insert() {
            return Some(made);
        }
        let now = self.reply.last_seen;
        if let Some(present) = F::flow(self.key) {
            let is_expired = present.is_expired(self.key.protocol, now, self.config);
            let is_same_client = self.is_same_client(present);
            if is_same_client && !is_expired && !self.is_first {
                present.flags |= ends_by(self.tcp_flags, present.tcp_flags);
                self.reply.flags = present.flags;
                present.be_seen(now, self.config);
                return Some(Reason::Healed);
            }
            let is_over = present.has(flow_flags::CLOSED);
            let is_free = is_expired || (is_over && is_same_client);
            if !is_free {
                let over_for = now.wrapping_sub(present.last_seen);
                if is_over && (self.over == NOWHERE || over_for > self.over_for) {
                    self.over = self.place;
                    self.over_for = over_for;
                }
                return None;
            }
            forget(self.key, present);
        }
        self.insert()
    }

    /// Whether an entry's replies go where those of the new one go.
    #[inline(always)]
    fn is_same_client(&self, present: &Flow<F>) -> bool {
        present.ports == self.reply.ports
            && same(&present.source, &self.reply.source)
            && same(&present.destination, &self.reply.destination)
    }

    #[inline(always)]
    fn take_from_one_that_is_over(&mut self) -> Option<Reason> {
        if self.over == NOWHERE {
            return None;
        }
        self.set_port(self.over);
        if let Some(present) = F::flow(self.key) {
            if !present.has(flow_flags::CLOSED) {
                return None;
            }
            forget(self.key, present);
        }
        self.insert()
    }
}

/// Tries one port; 1 ends the search.
unsafe extern "C" fn attempt<F: Family>(_: u64, search: *mut Search<'_, F>) -> i64 {
    // SAFETY: `claim` hands it over and does not touch it meanwhile.
    let search = unsafe { &mut *search };
    search.set_port(search.place);
    if !is_used_by_host(search.skb, search.key) {
        search.found = search.take();
        if search.found.is_some() {
            return 1;
        }
    }
    search.place = search.next;
    // Checked, because a panic would be a function without an end, which the kernel refuses.
    search.next = (search.next + STEP).checked_rem(search.size).unwrap_or(0);
    0
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
