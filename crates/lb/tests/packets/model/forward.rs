//! From the client to the backend.

use std::net::IpAddr;

use lb_abi::{
    Backend, Frontend, RING_SIZES, Reason, Scope, UDP, backend_flags, config_flags, flow_flags,
    flow_hash, frontend_flags,
};

use super::parse::Headers;
use super::tables::{backend_address, words};
use super::{Flow, Passage, Route, Tuple, Verdict};
use crate::packet::End;

impl Passage<'_> {
    /// A packet that may have an entry; `None` where it needs a new one.
    pub(super) fn established(&mut self, headers: &Headers) -> Option<Verdict> {
        let key = Tuple::of(headers).forward();
        let mut flow = *self.model.flows.get(&key)?;
        if !self.is_quiet(headers, &flow) {
            let is_over = self
                .model
                .is_expired(&flow, headers.protocol, self.input.now);
            if is_over || self.must_reselect(headers, &flow) {
                // The backend still knows the tuple of a connection that has just ended.
                if is_over || !flow.has(flow_flags::CLOSED) {
                    self.forget(key);
                }
                return None;
            }
            if flow.has(flow_flags::SNAT) {
                let Some(route) = self.way(headers, flow.destination.0) else {
                    return Some(self.drop(Reason::NoRoute));
                };
                // An answered connection has its source for good.
                let is_settled = headers.protocol != UDP && flow.has(flow_flags::ANSWERED);
                let source = self.model.tables.snat_source(route.source);
                if !is_settled && source.is_some_and(|source| source != flow.source.0) {
                    self.forget(key);
                    return None;
                }
                flow.leave_by(&route);
            }
            if !self.tend(headers, key, &mut flow) {
                self.model.flows.remove(&key);
                return None;
            }
        }
        Some(self.send(headers, key, flow))
    }

    /// Whether a flow's backend may not have the packet. Flows outlive their backend's row for TCP, which is told by the backend itself.
    fn must_reselect(&self, headers: &Headers, flow: &Flow) -> bool {
        let backend = self.model.tables.backend(flow.backend);
        let is_there =
            backend.flags & backend_flags::PRESENT != 0 && backend.generation == flow.generation;
        let is_leaving = backend.flags & backend_flags::TERMINATING != 0;
        if headers.protocol == UDP {
            return !is_there;
        }
        headers.is_syn() && (flow.has(flow_flags::CLOSING) || !is_there || is_leaving)
    }

    /// A first packet to a frontend.
    pub(super) fn new_flow(&mut self, headers: &Headers, external: Frontend) -> Verdict {
        let tables = &self.model.tables;
        let open = tables.config.flags & config_flags::EXTERNAL_CLUSTER_IP != 0;
        let inside = self.is_inside();
        if !inside && !open && external.flags & frontend_flags::ROUTABLE == 0 {
            return self.drop(Reason::NotRoutable);
        }
        let (address, port) = headers.destination;
        let has_two = external.flags & frontend_flags::TWO_SCOPES != 0;
        let row = if inside && has_two {
            tables.frontend(address, port, headers.protocol, Scope::Internal)
        } else {
            Some(external)
        };
        let Some((frontend, id)) = row.and_then(|row| Some((row, self.select(headers, row)?)))
        else {
            return self.drop(Reason::NoBackend);
        };
        let backend = self.model.tables.backend(id);
        if backend.flags & backend_flags::PRESENT == 0 {
            return self.drop(Reason::NoBackend);
        }
        match self.plan(headers, &backend) {
            Ok(plan) => self.make(headers, frontend.group, id, &backend, &plan),
            Err(reason) => self.drop(reason),
        }
    }

    /// The chosen backend's id.
    fn select(&self, headers: &Headers, frontend: Frontend) -> Option<u32> {
        let list = self.model.tables.list(frontend.group);
        let group = self.model.tables.groups.get(&frontend.group)?;
        if frontend.flags & frontend_flags::RING != 0 && group.ring_class != 0 {
            let ports = [
                headers.source.1.to_be_bytes(),
                headers.destination.1.to_be_bytes(),
            ]
            .concat();
            // The source port is the upper half of the word, whatever the machine's order (lb-abi).
            let word = u32::from(u16::from_ne_bytes([ports[0], ports[1]])) << 16
                | u32::from(u16::from_ne_bytes([ports[2], ports[3]]));
            let hash = flow_hash(
                self.model.tables.config.hash_seed,
                &words(headers.source.0),
                word,
                headers.protocol,
            );
            let size = RING_SIZES[usize::from(group.ring_class)];
            let place = (u64::from(hash) * u64::from(size)) >> 32;
            let start = u64::from(group.ring_start);
            let ordinal = self
                .model
                .tables
                .rings
                .get(&u32::try_from(start + place).unwrap())?;
            return self.nearest(headers, &list, usize::from(*ordinal));
        }
        let given = self.given.forward(Tuple::of(headers));
        let ordinal = list
            .iter()
            .position(|id| given.is_some_and(|flow| flow.backend == *id));
        self.nearest(headers, &list, ordinal.unwrap_or(0))
    }

    /// The backend at a place of the list, or the next of the three after it that the client's port does not lead to yet.
    fn nearest(&self, headers: &Headers, list: &[u32], ordinal: usize) -> Option<u32> {
        let named = *list.get(ordinal)?;
        let others = list.iter().cycle().skip(ordinal + 1);
        let mut others = others.take((list.len() - 1).min(3)).copied();
        let suits = |id: &u32| {
            let backend = self.model.tables.backend(*id);
            backend.flags & backend_flags::PRESENT != 0 && !self.is_taken(headers, &backend)
        };
        let is_free = !self.is_taken(headers, &self.model.tables.backend(named));
        let other = if is_free { None } else { others.find(suits) };
        Some(other.unwrap_or(named))
    }

    /// Whether the client's own address and port are another connection to the backend, or were a moment ago.
    fn is_taken(&self, headers: &Headers, backend: &Backend) -> bool {
        let Ok(plan) = self.plan(headers, backend) else {
            return false;
        };
        if plan.flags & flow_flags::SNAT != 0 {
            return false;
        }
        let tuple = Tuple::of(headers);
        let toward = Tuple {
            source: plan.source,
            destination: (backend_address(backend), u16::from_be_bytes(backend.port)),
            protocol: headers.protocol,
        };
        let present = self.model.live(toward.reply(), self.input.now);
        present.is_some_and(|flow| {
            (flow.source, flow.destination) != (tuple.destination, tuple.source)
        })
    }

    /// What the packets of a new flow get.
    fn plan(&self, headers: &Headers, backend: &Backend) -> Result<Plan, Reason> {
        let address = backend_address(backend);
        let is_local = backend.flags & backend_flags::LOCAL != 0;
        let local = if is_local { flow_flags::LOCAL } else { 0 };
        let stay = |source, flags| Plan {
            source,
            flags: flags | local,
            route: None,
        };
        if self.is_inside() {
            let flags = flow_flags::INTERNAL;
            if address == headers.source.0 {
                let source = (self.hairpin_address(address), headers.source.1);
                return Ok(stay(source, flags | flow_flags::HAIRPIN));
            }
            return Ok(stay(headers.source, flags));
        }
        if is_local {
            return Ok(stay(headers.source, 0));
        }
        // The kernel has no route for what comes from a multicast address, and nobody may send so (RFC 4291 §2.7).
        let is_nobody = matches!(headers.source.0, IpAddr::V6(source) if source.is_multicast());
        let route = self.way(headers, address).filter(|_| !is_nobody);
        let route = route.ok_or(Reason::NoRoute)?;
        let destination = (address, u16::from_be_bytes(backend.port));
        let source = self.model.tables.snat_source(route.source);
        let source = source.ok_or(Reason::NoSnatAddress)?;
        let port = self.replace_port(headers, source, destination)?;
        Ok(Plan {
            source: (source, port),
            flags: flow_flags::SNAT,
            route: Some(route),
        })
    }

    /// The client's port where it is in the range and free; else any free one, whichever the kernel took; else any of a connection that is
    /// over, though not yet forgotten.
    fn replace_port(&self, headers: &Headers, source: IpAddr, to: End) -> Result<u16, Reason> {
        let config = &self.model.tables.config;
        let range = config.snat_port_min..=config.snat_port_max;
        let owner = |port: &u16| {
            let tuple = Tuple {
                source: (source, *port),
                destination: to,
                protocol: headers.protocol,
            };
            if self.model.sockets.contains(&tuple) {
                return Owner::Lives;
            }
            let asked = (headers.destination, headers.source);
            match self.model.live(tuple.reply(), self.input.now) {
                None => Owner::Nobody,
                Some(flow) if !flow.has(flow_flags::CLOSED) => Owner::Lives,
                Some(flow) if (flow.source, flow.destination) == asked => Owner::Nobody,
                Some(_) => Owner::Over,
            }
        };
        let is_free = |port: &u16| owner(port) == Owner::Nobody;
        let own = headers.source.1;
        if range.contains(&own) && is_free(&own) {
            return Ok(own);
        }
        // A flow that has lost its other entry is found again where the search begins.
        let is_own_flow = |port: &u16| {
            let tuple = Tuple {
                source: (source, *port),
                destination: to,
                protocol: headers.protocol,
            };
            !self.model.sockets.contains(&tuple) && self.adopted(headers, tuple).is_some()
        };
        let first = self.first_port(headers);
        if is_own_flow(&first) {
            return Ok(first);
        }
        let given = self.given.forward(Tuple::of(headers));
        let given = given.map(|flow| flow.source.1);
        let given = given.filter(|port| range.contains(port));
        // The kernel tries 16.
        let is_full = || {
            let taken = range.clone().filter(|port| !is_free(port)).take(16);
            taken.count() == range.len().min(16)
        };
        given
            .filter(|port| {
                is_own_flow(port) || is_free(port) || owner(port) == Owner::Over && is_full()
            })
            .or_else(|| range.clone().find(is_free))
            .or_else(|| range.clone().find(|port| owner(port) == Owner::Over))
            .ok_or(Reason::NoSnatPort)
    }

    /// The port that is tried first: the client's own where it is in the range, else one by a hash of the client.
    fn first_port(&self, headers: &Headers) -> u16 {
        let config = &self.model.tables.config;
        let range = config.snat_port_min..=config.snat_port_max;
        if range.contains(&headers.source.1) {
            return headers.source.1;
        }
        // Both ports as they lie in the packet.
        let [a, b] = headers.source.1.to_be_bytes();
        let [c, d] = headers.destination.1.to_be_bytes();
        let hash = flow_hash(
            config.hash_seed,
            &words(headers.source.0),
            u32::from_ne_bytes([a, b, c, d]),
            headers.protocol,
        );
        let place = (u64::from(hash) * range.len() as u64) >> 32;
        config.snat_port_min + u16::try_from(place).unwrap()
    }

    /// The Reply entry of the packet's own flow, whose Forward entry is lost.
    fn adopted(&self, headers: &Headers, tuple: Tuple) -> Option<Flow> {
        let asked = (headers.destination, headers.source);
        let flow = self.model.live(tuple.reply(), self.input.now)?;
        let is_same = (flow.source, flow.destination) == asked && flow.has(flow_flags::SNAT);
        (is_same && !headers.is_syn()).then_some(flow)
    }

    fn make(
        &mut self,
        headers: &Headers,
        group: u32,
        id: u32,
        backend: &Backend,
        plan: &Plan,
    ) -> Verdict {
        let epoch = self.model.tables.config.epoch;
        let mut flow = Flow {
            source: plan.source,
            destination: (backend_address(backend), u16::from_be_bytes(backend.port)),
            flags: plan.flags | headers.ends(0),
            backend: id,
            generation: backend.generation,
            group,
            ifindex: 0,
            next_hop: None,
            epoch,
            last_seen: self.input.now,
            packets: 0,
            bytes: 0,
            tcp_flags: headers.tcp_flags,
        };
        let tuple = Tuple::of(headers);
        let reply_key = flow.becomes(headers.protocol).reply();
        let adopted = self
            .adopted(headers, reply_key.0)
            .filter(|_| flow.has(flow_flags::SNAT));
        let reply = match adopted {
            Some(reply) => {
                flow.flags = reply.flags | headers.ends(reply.tcp_flags);
                let is_seen = reply.last_seen == self.input.now;
                Flow {
                    flags: flow.flags,
                    last_seen: self.input.now,
                    epoch: if is_seen {
                        reply.epoch
                    } else {
                        epoch.wrapping_sub(1)
                    },
                    ..reply
                }
            }
            None => {
                // Whoever had that tuple has lost it.
                self.forget(reply_key);
                Flow {
                    source: tuple.destination,
                    destination: tuple.source,
                    // So that its first packet finds its way, and tells this entry that there is an answer.
                    epoch: epoch.wrapping_sub(1),
                    tcp_flags: 0,
                    ..flow
                }
            }
        };
        self.model.flows.insert(reply_key, reply);
        if let Some(route) = &plan.route {
            flow.leave_by(route);
        }
        self.count(match adopted {
            Some(_) => Reason::Healed,
            None => Reason::NewFlow,
        });
        self.send(headers, tuple.forward(), flow)
    }
}

/// Who has a port of the node toward a backend.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Nobody,
    /// A connection that has ended a moment ago.
    Over,
    Lives,
}

/// What the packets of a new flow get.
struct Plan {
    source: End,
    flags: u16,
    /// Where they leave, if they are not left to the host's stack.
    route: Option<Route>,
}
