//! What can fail here.

use std::io;

use crate::route::Errno;

/// Why the kernel's routes could not be taken care of.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This table belongs to the kernel or means none.
    #[error("table {table} is not for routes of ours")]
    Table {
        /// The table.
        table: u32,
    },
    /// This protocol number belongs to the kernel or to people.
    #[error("protocol number {protocol} is not for routes of ours")]
    Protocol {
        /// The number.
        protocol: u8,
    },
    /// `CAP_NET_ADMIN` is missing.
    #[error("may not change routes: CAP_NET_ADMIN is missing")]
    NotPermitted,
    /// A netlink socket could not be made as needed.
    #[error("cannot open a netlink socket")]
    Open(#[source] io::Error),
    /// The kernel could not be asked.
    #[error("cannot send to the kernel")]
    Send(#[source] io::Error),
    /// The kernel's answer could not be had.
    #[error("cannot receive from the kernel")]
    Receive(#[source] io::Error),
    /// Waiting for the kernel or for commands failed.
    #[error("cannot wait for events")]
    Wait(#[source] io::Error),
    /// The thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// The kernel would not be read.
    #[error("the kernel refuses to be read: {0}")]
    Refused(Errno),
    /// The kernel would not remove what is ours.
    #[error("the kernel refuses to remove {left} of our routes or nexthop objects: {errno}")]
    NotRemoved {
        /// How many are left.
        left: usize,
        /// Why, of the first of them.
        errno: Errno,
    },
    /// What was being read changed all the time.
    #[error("the kernel's answer was interrupted again and again")]
    Interrupted,
    /// The thread is gone; [`crate::Fib::stop`] says why.
    #[error("the thread that writes routes has ended")]
    Ended,
}
