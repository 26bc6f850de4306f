//! The two netlink sockets: one asks and writes, one listens.

use std::io::{self, ErrorKind};
use std::time::Duration;

use mio::{Interest, Registry, Token};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::libc::{EINVAL, ENOBUFS, ENOENT, EPERM};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{SockFilter, SockRef};

use crate::answer::{Said, answers};
use crate::difference::RouteOp;
use crate::error::Error;
use crate::kernel::Fact;
use crate::machine::Failure;
use crate::message::Messages;
use crate::message::number::{INET, INET6};
use crate::route::{Errno, Form, Identity};

/// Steps per datagram: fewer and system calls cost, more and the kernel works in larger buffers to no avail.
const BATCH: usize = 64;
/// The kernel answers in pieces of at most 32 KiB.
const PIECE: usize = 1 << 16;
/// Room for what the kernel says while we do something else: some ten thousand routes.
const LISTENING_ROOM: usize = 8 << 20;
/// How often something is tried that is interrupted.
pub(crate) const ATTEMPTS: usize = 8;
/// Before what was interrupted is tried again; in [`Requests::gather`] twice as long each time, a second and a quarter in all.
const PAUSE: Duration = Duration::from_millis(10);
/// Groups of `linux/rtnetlink.h`: links, IPv4 addresses, IPv4 routes, IPv6 routes, nexthop objects.
const GROUPS: [u32; 4] = [1, 5, 7, 11];
const NEXTHOP_GROUP: u32 = 32;

/// What became of a batch.
pub(crate) enum Outcome {
    /// All was done but these.
    Written(Vec<Failure>),
    /// Some answers were lost.
    Lost,
}

/// What the kernel is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Question {
    Links,
    Nexthops,
    /// The routes of a table, or of all tables; of a protocol, or of all.
    Routes {
        family: u8,
        table: Option<u32>,
        protocol: Option<u8>,
    },
}

impl Question {
    /// Of both families.
    pub(crate) fn routes(table: Option<u32>, protocol: Option<u8>) -> [Self; 2] {
        [INET, INET6].map(|family| Self::Routes {
            family,
            table,
            protocol,
        })
    }
}

/// The socket that asks and writes. One request at a time.
pub(crate) struct Requests {
    socket: Socket,
    port: u32,
    sequence: u32,
    messages: Messages,
    buffer: Vec<u8>,
}

impl Requests {
    pub(crate) fn open() -> Result<Self, Error> {
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(Error::Open)?;
        let address = socket.bind_auto().map_err(Error::Open)?;
        socket
            .connect(&SocketAddr::new(0, 0))
            .map_err(Error::Open)?;
        // Errors without a copy of the request; and filters in questions, which else are ignored.
        socket.set_cap_ack(true).map_err(Error::Open)?;
        socket
            .set_netlink_get_strict_chk(true)
            .map_err(Error::Open)?;
        Ok(Self {
            socket,
            port: address.port_number(),
            sequence: 1,
            messages: Messages::default(),
            buffer: vec![0; PIECE],
        })
    }

    /// Whether nexthop objects can be used here, and whether anything can be written at all.
    ///
    /// It asks to delete the object 0, which cannot exist.
    pub(crate) fn probe(&mut self, identity: &Identity) -> Result<Form, Error> {
        let op = RouteOp::DeleteNexthop { id: 0 };
        match self.write(identity, &[op])? {
            Outcome::Written(failures) => match failures.first() {
                Some((_, Errno(EPERM))) => Err(Error::NotPermitted),
                Some((_, Errno(EINVAL | ENOENT))) => Ok(Form::Objects),
                Some(_) | None => Ok(Form::Inline),
            },
            Outcome::Lost => Ok(Form::Inline),
        }
    }

    /// Writes the steps in order. A step that fails does not keep the next from being tried.
    pub(crate) fn write(&mut self, identity: &Identity, ops: &[RouteOp]) -> Result<Outcome, Error> {
        let mut failures = Vec::new();
        for (number, batch) in ops.chunks(BATCH).enumerate() {
            let first = self.sequence;
            self.messages.clear();
            for op in batch {
                self.messages.op(identity, op, self.sequence);
                self.sequence = self.sequence.wrapping_add(1);
            }
            self.messages.ask_for_ack();
            let last = self.sequence.wrapping_sub(1);
            self.socket
                .send(self.messages.bytes(), 0)
                .map_err(Error::Send)?;
            let failed = |sequence: u32, errno| {
                let index = sequence.wrapping_sub(first) as usize;
                if index < batch.len() {
                    failures.push((number * BATCH + index, errno));
                }
            };
            if !self.acknowledged(last, failed)? {
                return Ok(Outcome::Lost);
            }
        }
        Ok(Outcome::Written(failures))
    }

    /// Reads answers up to that to the last message. Says whether all came.
    fn acknowledged(
        &mut self,
        last: u32,
        mut failed: impl FnMut(u32, Errno),
    ) -> Result<bool, Error> {
        loop {
            let length = match receive(&self.socket, &mut self.buffer) {
                Err(error) if error.raw_os_error() == Some(ENOBUFS) => return Ok(false),
                received => received.map_err(Error::Receive)?,
            };
            for answer in answers(&self.buffer[..length]) {
                match answer.said {
                    Said::Acknowledged(verdict) => {
                        if let Err(errno) = verdict {
                            failed(answer.sequence, errno);
                        }
                        if answer.sequence == last {
                            return Ok(true);
                        }
                    }
                    Said::Fact(_) | Said::Done(_) | Said::Overrun | Said::Nothing => {}
                }
            }
        }
    }

    /// Asks, and gives each fact of the answer to `learn`. A table that does not exist has no routes.
    pub(crate) fn ask(
        &mut self,
        question: Question,
        mut learn: impl FnMut(Fact),
    ) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            if !self.ask_once(question, &mut learn)? {
                return Ok(());
            }
        }
        Err(Error::Interrupted)
    }

    /// Asks, and gathers what the facts of the answer say. Of answers that were interrupted nothing is kept.
    pub(crate) fn gather<T: Default>(
        &mut self,
        question: Question,
        mut learn: impl FnMut(&mut T, Fact),
    ) -> Result<T, Error> {
        uninterrupted(|gathered| self.ask_once(question, &mut |fact| learn(gathered, fact)))
    }

    /// Says whether the answer was interrupted.
    fn ask_once(
        &mut self,
        question: Question,
        learn: &mut impl FnMut(Fact),
    ) -> Result<bool, Error> {
        let sequence = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
        self.messages.clear();
        match question {
            Question::Links => self.messages.dump_links(sequence),
            Question::Nexthops => self.messages.dump_nexthops(sequence),
            Question::Routes {
                family,
                table,
                protocol,
            } => self.messages.dump_routes(family, table, protocol, sequence),
        }
        self.socket
            .send(self.messages.bytes(), 0)
            .map_err(Error::Send)?;
        let mut interrupted = false;
        loop {
            let length = receive(&self.socket, &mut self.buffer).map_err(Error::Receive)?;
            let ours = answers(&self.buffer[..length]).filter(|answer| answer.sequence == sequence);
            for answer in ours {
                interrupted |= answer.interrupted;
                match answer.said {
                    Said::Fact(fact) => learn(fact),
                    Said::Done(Ok(()) | Err(Errno(ENOENT)))
                    | Said::Acknowledged(Err(Errno(ENOENT))) => return Ok(interrupted),
                    Said::Done(Err(errno)) | Said::Acknowledged(Err(errno)) => {
                        return Err(Error::Refused(errno));
                    }
                    Said::Overrun => interrupted = true,
                    Said::Acknowledged(Ok(())) | Said::Nothing => {}
                }
            }
        }
    }
}

/// What the first attempt gathers that does not say that it was interrupted.
fn uninterrupted<T: Default>(
    mut attempt: impl FnMut(&mut T) -> Result<bool, Error>,
) -> Result<T, Error> {
    let mut pause = PAUSE;
    for number in 1..=ATTEMPTS {
        let mut gathered = T::default();
        if !attempt(&mut gathered)? {
            return Ok(gathered);
        }
        if number < ATTEMPTS {
            std::thread::sleep(pause);
            pause *= 2;
        }
    }
    Err(Error::Interrupted)
}

/// What the kernel says by itself.
pub(crate) enum Heard {
    Fact(Fact),
    /// It said more than there was room for.
    Overrun,
}

/// The socket that listens. It does not hear what [`Requests`] wrote.
pub(crate) struct Monitor {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Monitor {
    pub(crate) fn open(requests: &Requests, form: Form) -> Result<Self, Error> {
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(Error::Open)?;
        SockRef::from(&socket)
            .attach_filter(&all_but(requests.port))
            .map_err(Error::Open)?;
        socket.bind_auto().map_err(Error::Open)?;
        // Beyond the system's limit with CAP_NET_ADMIN in the first user namespace, else as far as the limit goes.
        if setsockopt(&socket, sockopt::RcvBufForce, &LISTENING_ROOM).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &LISTENING_ROOM)
                .map_err(|errno| Error::Open(errno.into()))?;
        }
        for group in GROUPS {
            socket.add_membership(group).map_err(Error::Open)?;
        }
        if form == Form::Objects {
            socket.add_membership(NEXTHOP_GROUP).map_err(Error::Open)?;
        }
        socket.set_non_blocking(true).map_err(Error::Open)?;
        Ok(Self {
            socket,
            buffer: vec![0; PIECE],
        })
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> Result<(), Error> {
        registry
            .register(&mut self.socket, token, Interest::READABLE)
            .map_err(Error::Wait)
    }

    /// Gives everything said so far to `hear`. Says whether there was something.
    pub(crate) fn drain(&mut self, mut hear: impl FnMut(Heard)) -> Result<bool, Error> {
        let mut heard = false;
        loop {
            match receive(&self.socket, &mut self.buffer) {
                Ok(length) => {
                    heard = true;
                    for answer in answers(&self.buffer[..length]) {
                        match answer.said {
                            Said::Fact(fact) => hear(Heard::Fact(fact)),
                            Said::Overrun => hear(Heard::Overrun),
                            Said::Acknowledged(_) | Said::Done(_) | Said::Nothing => {}
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(heard),
                Err(error) if error.raw_os_error() == Some(ENOBUFS) => {
                    heard = true;
                    hear(Heard::Overrun);
                }
                Err(error) => return Err(Error::Receive(error)),
            }
        }
    }
}

fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        let mut room = &mut *buffer;
        match socket.recv(&mut room, 0) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            received => return received,
        }
    }
}

/// Drops messages that the socket with this port caused: a million routes of ours would drown what others do.
fn all_but(port: u32) -> [SockFilter; 4] {
    // Classic BPF (`linux/filter.h`): load the port, which it takes for big-endian; skip one if different; drop; take all.
    let port = u32::from_be_bytes(port.to_ne_bytes());
    [
        SockFilter::new(0x20, 0, 0, 12),
        SockFilter::new(0x15, 0, 1, port),
        SockFilter::new(0x06, 0, 0, 0),
        SockFilter::new(0x06, 0, 0, u32::MAX),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_interrupted_answer_nothing_is_kept_and_the_last_is_an_error() {
        let after = |interruptions: usize| {
            let mut attempts = 0;
            let gathered = uninterrupted(|facts: &mut Vec<usize>| {
                attempts += 1;
                facts.push(attempts);
                Ok(attempts <= interruptions)
            });
            (gathered, attempts)
        };
        assert!(matches!(after(0), (Ok(facts), 1) if facts == [1]));
        assert!(matches!(after(3), (Ok(facts), 4) if facts == [4]));
        assert!(matches!(
            after(ATTEMPTS),
            (Err(Error::Interrupted), ATTEMPTS)
        ));
    }
}
