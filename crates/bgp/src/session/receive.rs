//! Bytes in: cut into messages, told to the machine, routes passed to the RIB.

use super::collision::{Rank, Verdict, arbitrate};
use super::event::Event;
use super::io::ConnectionId;
use super::machine::State;
use super::negotiation::{Negotiated, negotiate};
use super::{Environment, Session, Slot};
use crate::wire::iana::{ErrorCode, OpenSubcode};
use crate::wire::{
    EXTENDED_MAXIMUM_LENGTH, Frame, MAXIMUM_LENGTH, MessageKind, Notification, Open,
    RefreshSubtype, RouteRefresh, update,
};

impl Session {
    /// Any piece of a connection's stream.
    pub(crate) fn received(
        &mut self,
        connection: ConnectionId,
        bytes: &[u8],
        env: &mut Environment<'_>,
    ) {
        let Some(slot) = self.slot_of(connection) else {
            return;
        };
        let Some(link) = &mut self.side_mut(slot).link else {
            return;
        };
        link.heard_at = env.now;
        link.framer.push(bytes);
        if link.is_flooding() {
            self.event(slot, Event::OpenCollisionDump, env);
        } else if !link.held {
            self.drain(connection, env);
        }
        self.settle(env);
    }

    /// Takes whole messages for as long as the connection lasts, on whichever side it is.
    pub(super) fn drain(&mut self, connection: ConnectionId, env: &mut Environment<'_>) {
        let Some(slot) = self.slot_of(connection) else {
            return;
        };
        let Some(link) = &mut self.side_mut(slot).link else {
            return;
        };
        let mut framer = std::mem::take(&mut link.framer);
        while let Some(slot) = self.slot_of(connection) {
            match framer.next(self.longest_message(slot)) {
                Ok(None) => break,
                Ok(Some(frame)) => self.frame(slot, frame, env),
                Err(error) => self.event(slot, Event::BgpHeaderErr(error.notification()), env),
            }
        }
        if let Some(slot) = self.slot_of(connection)
            && let Some(link) = &mut self.side_mut(slot).link
        {
            link.framer = framer;
        }
    }

    /// What the peer may send: we always offer long messages, and must take them from then on (RFC 8654 section 4).
    fn longest_message(&self, slot: Slot) -> usize {
        match self.side(slot).machine.state() {
            State::OpenConfirm(_) | State::Established(_) => EXTENDED_MAXIMUM_LENGTH,
            State::Idle(_) | State::Connect(_) | State::Active(_) | State::OpenSent(_) => {
                MAXIMUM_LENGTH
            }
        }
    }

    fn frame(&mut self, slot: Slot, frame: Frame<'_>, env: &mut Environment<'_>) {
        match frame.kind {
            MessageKind::Update => self.update(slot, frame.body, env),
            MessageKind::Keepalive => self.event(slot, Event::KeepAliveMsg, env),
            MessageKind::Open => self.open(slot, frame.body, env),
            MessageKind::Notification => self.notification(slot, frame.body, env),
            MessageKind::RouteRefresh => self.route_refresh(slot, frame.body, env),
        }
    }

    fn update(&mut self, slot: Slot, body: &[u8], env: &mut Environment<'_>) {
        let Some(up) = self.side(slot).machine.established() else {
            return self.event(slot, Event::UpdateMsg, env);
        };
        match update::decode(body, &up.negotiated.decode) {
            Err(error) => self.event(slot, Event::UpdateMsgErr(error.notification()), env),
            Ok(update) => {
                self.event(slot, Event::UpdateMsg, env);
                env.rib.update(self.id, &update);
                *env.revision += 1;
                if let Some(family) = update.end_of_rib {
                    self.helper.end_of_rib(family);
                    if !self.complete.contains(&family) {
                        self.complete.push(family);
                    }
                    env.rib.end_of_rib(self.id, family);
                }
            }
        }
    }

    fn open(&mut self, slot: Slot, body: &[u8], env: &mut Environment<'_>) {
        let negotiated = Open::decode(body)
            .map_err(|error| error.notification())
            .and_then(|open| negotiate(env.instance, &self.config, &open));
        match negotiated {
            Err(notification) => self.event(slot, Event::BgpOpenMsgErr(notification), env),
            Ok(negotiated) => self.opened(slot, Box::new(negotiated), env),
        }
    }

    /// A valid OPEN: only now is it known who the peer is, and so which of two connections may stay.
    fn opened(&mut self, slot: Slot, negotiated: Box<Negotiated>, env: &mut Environment<'_>) {
        let (State::OpenSent(_), Some(link)) =
            (self.side(slot).machine.state(), &self.side(slot).link)
        else {
            return self.event(slot, Event::BgpOpen(negotiated), env);
        };
        let ours = Rank {
            router_id: env.instance.router_id,
            asn: env.instance.local_asn,
        };
        let theirs = Rank {
            router_id: negotiated.router_id,
            asn: negotiated.asn,
        };
        let other = slot.other();
        let verdict = arbitrate(
            ours,
            theirs,
            link.origin,
            link.opened_at,
            self.side(other).machine.state(),
        );
        self.history.asn = Some(negotiated.asn);
        self.history.router_id = Some(negotiated.router_id);
        match verdict {
            Verdict::Proceed => self.event(slot, Event::BgpOpen(negotiated), env),
            Verdict::DumpThis => self.event(slot, Event::OpenCollisionDump, env),
            Verdict::DumpOther => {
                self.event(other, Event::OpenCollisionDump, env);
                self.event(slot, Event::BgpOpen(negotiated), env);
            }
            Verdict::Supersede => {
                self.event(other, Event::TcpConnectionFails(None), env);
                self.event(slot, Event::BgpOpen(negotiated), env);
            }
        }
    }

    fn notification(&mut self, slot: Slot, body: &[u8], env: &mut Environment<'_>) {
        let event = match Notification::decode(body) {
            Ok(notification) if is_version_error(&notification) => {
                Event::NotifMsgVerErr(notification)
            }
            Ok(notification) => Event::NotifMsg(notification),
            // RFC 4271 section 6.4: what is wrong with a NOTIFICATION is not told by another.
            Err(_) => Event::TcpConnectionFails(None),
        };
        self.event(slot, event, env);
    }

    fn route_refresh(&mut self, slot: Slot, body: &[u8], env: &mut Environment<'_>) {
        let refresh = match RouteRefresh::decode(body) {
            Ok(refresh) => refresh,
            Err(error) => {
                return self.event(slot, Event::RouteRefreshMsgErr(error.notification()), env);
            }
        };
        self.event(slot, Event::RouteRefreshMsg, env);
        let Some(up) = self.side(slot).machine.established() else {
            return;
        };
        // RFC 2918 section 4: a family that was not agreed on is ignored.
        if !up.negotiated.families.contains(&refresh.family) {
            return;
        }
        let enhanced = up.negotiated.enhanced_refresh;
        *env.revision += 1;
        match (refresh.subtype, enhanced) {
            (RefreshSubtype::Request, _) => env.rib.refresh(self.id, refresh.family, enhanced),
            (RefreshSubtype::Begin, true) => {
                self.refreshes.begin(refresh.family, env.now);
                env.rib.begin_refresh(self.id, refresh.family);
            }
            (RefreshSubtype::End, true) => {
                if self.refreshes.end(refresh.family) {
                    env.rib.end_refresh(self.id, refresh.family);
                }
            }
            // RFC 7313 section 5: an unknown subtype is ignored.
            (RefreshSubtype::Other(_), true) => {}
            // RFC 2918 section 3: without RFC 7313 the octet is reserved.
            (RefreshSubtype::Begin | RefreshSubtype::End | RefreshSubtype::Other(_), false) => {
                env.rib.refresh(self.id, refresh.family, false);
            }
        }
    }
}

fn is_version_error(notification: &Notification) -> bool {
    notification.code == ErrorCode::OpenMessage.number()
        && notification.subcode == OpenSubcode::UnsupportedVersionNumber.number()
}
