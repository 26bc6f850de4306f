//! A BGP speaker that says exactly the bytes it is given, for what no honest implementation would send. It is
//! written from the RFCs and shares no code with the product.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use ::lab::error::Error;
use ::lab::namespace::Namespace;
use ::lab::raw::{RawConnection, RawListener};

use crate::{Failure, claim};

/// The port of BGP.
pub const PORT: u16 = 179;

/// The bytes of messages (RFC 4271 §4).
pub mod message {
    use std::net::Ipv4Addr;

    /// OPEN (RFC 4271 §4.2).
    pub const OPEN: u8 = 1;
    /// UPDATE (§4.3).
    pub const UPDATE: u8 = 2;
    /// NOTIFICATION (§4.5).
    pub const NOTIFICATION: u8 = 3;
    /// KEEPALIVE (§4.4).
    pub const KEEPALIVE: u8 = 4;

    /// A message of that kind with a true header (§4.1).
    #[must_use]
    pub fn with_header(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len() + 19).unwrap_or(u16::MAX);
        headed(&[0xff; 16], length, kind, body)
    }

    /// A message whose header says what it is given.
    #[must_use]
    pub fn headed(marker: &[u8; 16], length: u16, kind: u8, body: &[u8]) -> Vec<u8> {
        [marker, length.to_be_bytes().as_slice(), &[kind], body].concat()
    }

    /// An OPEN with these optional parameters.
    #[must_use]
    pub fn open(version: u8, asn: u16, hold_time: u16, id: Ipv4Addr, parameters: &[u8]) -> Vec<u8> {
        let length = u8::try_from(parameters.len()).unwrap_or(u8::MAX);
        let body = [
            &[version],
            asn.to_be_bytes().as_slice(),
            &hold_time.to_be_bytes(),
            &id.octets(),
            &[length],
            parameters,
        ]
        .concat();
        with_header(OPEN, &body)
    }

    /// The optional parameter that holds capabilities (RFC 5492 §4), each as code and value.
    #[must_use]
    pub fn capabilities(list: &[(u8, &[u8])]) -> Vec<u8> {
        let mut values = Vec::new();
        for (code, value) in list {
            values.extend([*code, u8::try_from(value.len()).unwrap_or(u8::MAX)]);
            values.extend_from_slice(value);
        }
        [
            &[2, u8::try_from(values.len()).unwrap_or(u8::MAX)],
            values.as_slice(),
        ]
        .concat()
    }

    /// An UPDATE of withdrawn routes, attributes and routes as they are given (RFC 4271 §4.3).
    #[must_use]
    pub fn update(withdrawn: &[u8], attributes: &[u8], routes: &[u8]) -> Vec<u8> {
        let length = |part: &[u8]| u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes();
        let body = [
            length(withdrawn).as_slice(),
            withdrawn,
            length(attributes).as_slice(),
            attributes,
            routes,
        ]
        .concat();
        with_header(UPDATE, &body)
    }

    /// A path attribute; its length takes two bytes where `flags` say so.
    #[must_use]
    pub fn attribute(flags: u8, code: u8, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes();
        let length = if flags & 0x10 == 0 {
            &length[1..]
        } else {
            &length[..]
        };
        [&[flags, code], length, value].concat()
    }

    /// A prefix as routes are written: its length, then as many bytes as that needs.
    #[must_use]
    pub fn prefix(address: Ipv4Addr, length: u8) -> Vec<u8> {
        let bytes = usize::from(length.div_ceil(8)).min(4);
        [&[length], &address.octets()[..bytes]].concat()
    }
}

/// What a speaker says in its OPEN.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// Its AS number, below 65536.
    pub asn: u16,
    /// Its BGP identifier.
    pub id: Ipv4Addr,
    /// The hold time it offers, in seconds.
    pub hold_time: u16,
}

impl Identity {
    /// A flawless OPEN: IPv4 unicast (RFC 4760 §8), four-octet AS numbers (RFC 6793 §3).
    #[must_use]
    pub fn open(&self) -> Vec<u8> {
        let asn = u32::from(self.asn).to_be_bytes();
        let parameters = message::capabilities(&[(1, &[0, 1, 0, 1]), (65, &asn)]);
        message::open(4, self.asn, self.hold_time, self.id, &parameters)
    }
}

/// A NOTIFICATION: code and subcode (RFC 4271 §4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Notification(pub u8, pub u8);

/// What the other side did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reaction {
    /// It sent a NOTIFICATION.
    Notified(Notification),
    /// It ended the connection without a word.
    Closed,
    /// It let the session live.
    Lives,
}

/// An address on which a peer is awaited.
pub struct Speaker {
    listener: RawListener,
}

impl Speaker {
    /// Listens on port 179 of `address`, which `namespace` has.
    ///
    /// # Errors
    /// When it has not, or something listens there.
    pub fn bind(namespace: &Namespace, address: IpAddr) -> Result<Self, Failure> {
        Ok(Self {
            listener: RawListener::bind(namespace, SocketAddr::new(address, PORT))?,
        })
    }

    /// Waits for the peer's connection and its OPEN.
    ///
    /// # Errors
    /// When it does not come.
    pub fn accept(&self, patience: Duration) -> Result<Conversation, Failure> {
        let mut conversation = Conversation {
            connection: self.listener.accept(patience)?,
            patience: Duration::from_secs(5),
        };
        let (kind, _) = conversation.message()?;
        claim(kind == message::OPEN, || {
            format!("the first message of a peer is OPEN, not {kind}")
        })?;
        Ok(conversation)
    }

    /// As [`Speaker::accept`], and brings the session up.
    ///
    /// # Errors
    /// When the peer does not answer with KEEPALIVE.
    pub fn establish(
        &self,
        identity: Identity,
        patience: Duration,
    ) -> Result<Conversation, Failure> {
        let mut conversation = self.accept(patience)?;
        conversation.say(&identity.open())?;
        conversation.say(&message::with_header(message::KEEPALIVE, &[]))?;
        let (kind, body) = conversation.message()?;
        claim(kind == message::KEEPALIVE, || {
            format!("a flawless OPEN is answered with KEEPALIVE, not {kind} {body:?}")
        })?;
        Ok(conversation)
    }
}

/// A connection with a peer that has sent its OPEN.
pub struct Conversation {
    connection: RawConnection,
    patience: Duration,
}

impl Conversation {
    /// Says these bytes. That the peer has hung up already is no failure: what it said before can be read.
    ///
    /// # Errors
    /// When the kernel has another reason.
    pub fn say(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self.connection.send(bytes) {
            Ok(()) => Ok(()),
            Err(Error::File { source, .. })
                if matches!(
                    source.kind(),
                    std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The next message: kind and body.
    ///
    /// # Errors
    /// When none comes.
    pub fn message(&mut self) -> Result<(u8, Vec<u8>), Failure> {
        let header = self.connection.read_exactly(19, self.patience)?;
        let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
        claim((19..=4096).contains(&length), || {
            format!("a message of ours is {length} bytes long")
        })?;
        Ok((
            header[18],
            self.connection.read_exactly(length - 19, self.patience)?,
        ))
    }

    /// What the peer does within `patience`, routine messages aside.
    #[must_use]
    pub fn reaction(&mut self, patience: Duration) -> Reaction {
        let start = Instant::now();
        loop {
            self.patience = patience.saturating_sub(start.elapsed());
            if self.patience.is_zero() {
                return Reaction::Lives;
            }
            match self.message() {
                Ok((message::NOTIFICATION, body)) => {
                    let byte = |index: usize| body.get(index).copied().unwrap_or_default();
                    return Reaction::Notified(Notification(byte(0), byte(1)));
                }
                Ok(_) => {}
                Err(Failure::Lab(Error::File { source, .. }))
                    if matches!(
                        source.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) =>
                {
                    return Reaction::Lives;
                }
                Err(_) => return Reaction::Closed,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_bytes_of_the_rfc() {
        assert_eq!(
            message::with_header(message::KEEPALIVE, &[]),
            [[0xff; 16].as_slice(), &[0, 19, 4]].concat()
        );
        assert_eq!(message::prefix(Ipv4Addr::new(10, 1, 0, 0), 9), [9, 10, 1]);
        assert_eq!(message::attribute(0x40, 1, &[0]), [0x40, 1, 1, 0]);
        assert_eq!(message::attribute(0x50, 2, &[]), [0x50, 2, 0, 0]);
        assert_eq!(
            message::update(&[], &[0x40, 1, 1, 0], &[8, 10])[19..],
            [0, 0, 0, 4, 0x40, 1, 1, 0, 8, 10]
        );
        let identity = Identity {
            asn: 65000,
            id: Ipv4Addr::new(10, 0, 0, 1),
            hold_time: 9,
        };
        assert_eq!(
            identity.open()[19..],
            [
                4, 0xfd, 0xe8, 0, 9, 10, 0, 0, 1, 14, 2, 12, 1, 4, 0, 1, 0, 1, 65, 4, 0, 0, 0xfd,
                0xe8
            ]
        );
    }
}
