//! What the machines ask for, done: connections, messages out, and the RIB told of sessions that come and go.

use std::net::SocketAddr;

use bytes::Bytes;

use super::collision::Origin;
use super::event::Event;
use super::io::Output;
use super::link::Link;
use super::machine::Action;
use super::negotiation::{Negotiated, open};
use super::{Environment, Session, Slot};
use crate::report::DownReason;
use crate::rib::PeerFacts;
use crate::wire::{Notification, keepalive};

/// How many different failures are told until the session is up again: more than there are causes to correct.
const TOLD_MAXIMUM: usize = 8;

impl Session {
    pub(super) fn perform(&mut self, slot: Slot, action: Action, env: &mut Environment<'_>) {
        match action {
            Action::Dial => self.dial(slot, env),
            Action::SendOpen => {
                let message = open(env.instance, &self.config, self.is_restarting(env)).encode();
                self.send(slot, &message, env);
            }
            Action::SendKeepalive => self.send_keepalive(slot, env),
            Action::Close(notification) => {
                if let Some(link) = self.side_mut(slot).link.take() {
                    env.connections.close(
                        &link,
                        notification.as_ref().map(Notification::encode),
                        env.now,
                    );
                }
            }
            Action::Up => self.up(slot, env),
            Action::Lost(reason, negotiated) => self.lost(reason, &negotiated, env),
            Action::Failed(reason) => self.failed(slot, reason, env),
        }
    }

    fn dial(&mut self, slot: Slot, env: &mut Environment<'_>) {
        let connection = env.connections.open(self.id);
        self.side_mut(slot).link = Some(Link::new(connection, Origin::Dialled, None, env.now));
        env.connections.push(Output::Connect {
            connection,
            peer: self.name.clone(),
            remote: SocketAddr::new(self.config.address, self.config.port),
            local: self.config.local_address,
            ttl: self.ttl(env),
        });
    }

    /// TTL of the connection's packets: of an external peer the configured one, whoever dialled. A peer whose ASN is
    /// still to be learned counts as external.
    pub(super) fn ttl(&self, env: &Environment<'_>) -> Option<u8> {
        let external = self.config.peer_asn != Some(env.instance.local_asn);
        external.then_some(self.config.ebgp_ttl)
    }

    /// Whether to say that we restarted: until this peer has our whole table again, but no longer than it was asked
    /// to keep the old one (RFC 4724 sections 3 and 4.1).
    fn is_restarting(&self, env: &Environment<'_>) -> bool {
        let restart_time = self
            .config
            .graceful_restart
            .map_or(0, |restart| restart.restart_time);
        let window = std::time::Duration::from_secs(restart_time.into());
        env.instance.restarting && !self.announced && env.now < env.started_at + window
    }

    fn send(&mut self, slot: Slot, message: &[u8], env: &mut Environment<'_>) {
        if let Some(link) = &mut self.side_mut(slot).link {
            link.queue(message);
        }
        self.flush(slot, env);
    }

    /// A message that already waits tells the peer as much.
    fn send_keepalive(&mut self, slot: Slot, env: &mut Environment<'_>) {
        let waits = self.side(slot).link.as_ref().is_some_and(Link::has_control);
        if !waits {
            self.send(slot, &keepalive(), env);
        }
    }

    /// There is room again on the connection.
    pub(crate) fn sent(&mut self, connection: super::io::ConnectionId, env: &mut Environment<'_>) {
        let Some(slot) = self.slot_of(connection) else {
            return;
        };
        if let Some(link) = &mut self.side_mut(slot).link {
            link.sending_since = None;
        }
        self.flush(slot, env);
    }

    /// The RIB has something for the peer.
    pub(crate) fn pump(&mut self, env: &mut Environment<'_>) {
        self.flush(Slot::Primary, env);
    }

    /// Hands out the next bytes if the link is idle: messages of the session first, then routes.
    fn flush(&mut self, slot: Slot, env: &mut Environment<'_>) {
        let up = self.side(slot).machine.established().is_some();
        let id = self.id;
        let Some(link) = self
            .side_mut(slot)
            .link
            .as_mut()
            .filter(|link| link.sending_since.is_none())
        else {
            return;
        };
        if let Some(control) = link.take_control() {
            hand_out(link, control, env);
        } else if up && let Some(chunk) = env.rib.next_chunk(id) {
            hand_out(link, chunk, env);
            *env.revision += 1;
            self.announced = self.announced || env.rib.end_of_rib_sent(id);
            let Self {
                primary, jitter, ..
            } = self;
            primary.machine.update_sent(env.now, jitter);
        }
    }

    /// The session is up on one side, which becomes the primary one; the other connection goes.
    fn up(&mut self, slot: Slot, env: &mut Environment<'_>) {
        match slot {
            Slot::Primary => {}
            Slot::Second => std::mem::swap(&mut self.primary, &mut self.second),
        }
        self.event(Slot::Second, Event::OpenCollisionDump, env);
        let (Some(up), Some(link)) = (self.primary.machine.established(), &self.primary.link)
        else {
            return;
        };
        self.complete.clear();
        for family in self.helper.up(&up.negotiated, env.now) {
            env.rib.sweep(self.id, Some(family));
        }
        let Negotiated {
            kind,
            asn,
            router_id,
            families,
            four_octet,
            max_message,
            extended_next_hop,
            ..
        } = &*up.negotiated;
        env.rib.peer_up(
            self.id,
            PeerFacts {
                kind: *kind,
                asn: *asn,
                router_id: *router_id,
                remote: self.config.address,
                local: link
                    .local
                    .expect("an established connection knows its own end"),
                families: families.clone(),
                four_octet: *four_octet,
                max_message: *max_message,
                extended_next_hop: extended_next_hop.clone(),
                policy: self.config.export.clone(),
            },
        );
        self.history.told.clear();
        env.connections.push(Output::Up {
            peer: self.name.clone(),
        });
    }

    fn lost(&mut self, reason: DownReason, negotiated: &Negotiated, env: &mut Environment<'_>) {
        let retain = self.helper.lost(negotiated, &reason, env.now);
        self.refreshes.clear();
        self.complete.clear();
        env.rib.peer_down(self.id, retain);
        self.history.flaps += 1;
        self.tell(reason, env);
    }

    /// An attempt failed. Attempts go on for as long as the peer is away, so the same failure again is old news, and a
    /// peer that thinks up ever new ones is not worth listening to. While another connection stands, nothing failed.
    fn failed(&mut self, slot: Slot, reason: DownReason, env: &mut Environment<'_>) {
        if self
            .side(slot.other())
            .link
            .as_ref()
            .is_some_and(|link| link.local.is_some())
        {
            return;
        }
        let told = &self.history.told;
        if told.len() < TOLD_MAXIMUM && !told.contains(&reason) {
            self.tell(reason, env);
        } else if self.history.last_down.as_ref() != Some(&reason) {
            *env.revision += 1;
            self.history.last_down = Some(reason);
        }
    }

    fn tell(&mut self, reason: DownReason, env: &mut Environment<'_>) {
        *env.revision += 1;
        self.history.told.push(reason.clone());
        self.history.last_down = Some(reason.clone());
        env.connections.push(Output::Down {
            peer: self.name.clone(),
            reason,
        });
    }
}

fn hand_out(link: &mut Link, bytes: Bytes, env: &mut Environment<'_>) {
    link.sending_since = Some(env.now);
    env.connections.push(Output::Send {
        connection: link.id,
        bytes,
    });
}
