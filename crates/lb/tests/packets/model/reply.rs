//! From the backend back to the client.

use lb_abi::{FILTER_BACKENDS, Reason, UDP, flow_flags};

use super::parse::{self, Headers, Sight};
use super::{Hook, Passage, Tuple, Verdict, age};

impl Passage<'_> {
    /// A remote backend's answer to this node, or a pod's to itself; `None` where it is none.
    pub(super) fn reply_to_node(&mut self, headers: &Headers) -> Option<Verdict> {
        let config = &self.model.tables.config;
        let range = config.snat_port_min..=config.snat_port_max;
        if self.is_hairpin(headers.destination.0) {
            let verdict = self.reply(headers);
            return Some(verdict.unwrap_or_else(|| self.drop(Reason::NoService)));
        }
        let is_to_node = !self.is_inside() && range.contains(&headers.destination.1);
        is_to_node.then(|| self.reply(headers)).flatten()
    }

    /// To the network, or to a pod: answers of backends get the frontend's address.
    pub(super) fn outgoing(&mut self) -> Verdict {
        let Sight::Flow(headers) = parse::parse(self.input.frame) else {
            return Verdict::Next;
        };
        let is_uplink = self.input.hook != Hook::PodOut;
        let tables = &self.model.tables;
        if (!is_uplink || tables.passes_filter(FILTER_BACKENDS, headers.source.0))
            && let Some(verdict) = self.reply(&headers)
        {
            return verdict;
        }
        if self.input.hook == Hook::HostOut {
            self.give_way(&headers);
        }
        Verdict::Next
    }

    /// The host begins to speak to a backend with the tuple of a flow that is over, or whose datagrams have ceased.
    fn give_way(&mut self, headers: &Headers) {
        let config = self.model.tables.config;
        let is_datagram = headers.protocol == UDP;
        let is_first = is_datagram || headers.is_syn();
        let key = Tuple::of(headers).reply();
        let Some(flow) = self.model.flows.get(&key).copied() else {
            return;
        };
        let is_over = if is_datagram {
            age(&flow, self.input.now) > i64::from(config.closing_timeout)
        } else {
            flow.has(flow_flags::CLOSED)
        };
        let is_over = is_over
            || self
                .model
                .is_expired(&flow, headers.protocol, self.input.now);
        let is_in_range = headers.source.1 >= config.snat_port_min;
        if is_first && is_in_range && flow.has(flow_flags::SNAT) && is_over {
            self.forget(key);
            self.count(Reason::DirectTakeover);
        }
    }

    /// A packet that may have a Reply entry; `None` where it is no reply.
    fn reply(&mut self, headers: &Headers) -> Option<Verdict> {
        let key = Tuple::of(headers).turned().reply();
        let mut flow = *self.model.flows.get(&key)?;
        if !self.is_quiet(headers, &flow) {
            // Who is asked does not open, but for a connection of its own.
            let is_over = self
                .model
                .is_expired(&flow, headers.protocol, self.input.now);
            if is_over {
                return None;
            }
            if headers.is_syn() {
                // One of the flow's own there can be none then; from afar that could be forged.
                if flow.has(flow_flags::LOCAL) {
                    self.forget(key);
                    self.count(Reason::DirectTakeover);
                }
                return None;
            }
            if flow.has(flow_flags::SNAT) {
                let Some(route) = self.model.route(flow.destination.0).copied() else {
                    return Some(self.drop(Reason::NoRoute));
                };
                flow.leave_by(&route);
            }
            if !self.tend(headers, key, &mut flow) {
                self.model.flows.remove(&key);
                return None;
            }
        }
        Some(self.send(headers, key, flow))
    }
}
