//! Filters that stand in for links for a moment.
//!
//! # Why
//! The kernel joins a program to an interface (TCX) only when a grace period has gone by, which takes 8 ms and more, and lets nobody else
//! touch any interface meanwhile (Linux, `tcx_entry_sync`). Where many pods appear at once, the last one's programs would be a second late. A
//! filter of the queueing discipline `clsact` waits for nothing. So filters come first, and each goes when the links are there, which have what
//! filters lack: a place before or after the programs of others, and a life of their own. While there are both, the second sees by a mark
//! of the packet that it is translated, and takes it for no connection of the pod's to the backend itself.
//!
//! When a discipline comes or goes the kernel stops the interface for a moment (`qdisc_graft`), which may cost a packet or two.
//!
//! The discipline is used only where we made it: what somebody else made is left alone.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use lb_abi::program;
use nix::libc::{EEXIST, ENODEV, ENOENT};

use crate::error::Error;
use crate::netlink::{Requests, attributes, bytes_at, question, text};

const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
const RTM_GETTFILTER: u16 = 46;
/// REQUEST, ACK.
const DO: u16 = 0x5;
/// The same, CREATE, EXCL.
const MAKE: u16 = 0x605;
/// REQUEST, DUMP.
const ASK: u16 = 0x301;

const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
/// The program's result is the verdict.
const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;

/// Length of `struct tcmsg`.
const HEAD: usize = 20;
const CLSACT: &CStr = c"clsact";
const BPF: &CStr = c"bpf";
/// `TC_H_MAKE(TC_H_CLSACT, 0)`.
const HANDLE: u32 = 0xffff_0000;
/// `TC_H_CLSACT`.
const PARENT: u32 = 0xffff_fff1;

/// A direction of the discipline: its parent number, the priority of our filter there, and the program.
#[derive(Debug, Clone, Copy)]
struct Side {
    parent: u32,
    priority: u16,
    program: &'static str,
}

/// What a pod receives comes before what it sends: a request that is translated has an answer to be translated.
const SIDES: [Side; 2] = [
    Side {
        parent: 0xffff_fff3,
        priority: u16::MAX,
        program: program::POD_OUT,
    },
    Side {
        parent: 0xffff_fff2,
        priority: 1,
        program: program::POD_IN,
    },
];

/// Puts filters at a pod's interface. Says whether they are there: not so where somebody else has a discipline.
pub(crate) fn place<'a>(
    requests: &mut Requests,
    interface: u32,
    descriptor: impl Fn(&'static str) -> Option<BorrowedFd<'a>>,
) -> io::Result<bool> {
    let discipline = message(
        RTM_NEWQDISC,
        MAKE,
        interface,
        HANDLE,
        PARENT,
        0,
        CLSACT,
        &[],
    );
    match requests.ask(&discipline) {
        Err(error) if error.raw_os_error() == Some(EEXIST) => return Ok(false),
        made => made?,
    }
    for side in SIDES {
        let program = descriptor(side.program).ok_or(io::ErrorKind::NotFound)?;
        let mut options = Vec::new();
        let number = program.as_raw_fd().cast_unsigned();
        attribute(&mut options, TCA_BPF_FD, &number.to_ne_bytes());
        attribute(&mut options, TCA_BPF_NAME, &terminated(side.program));
        let flags = TCA_BPF_FLAG_ACT_DIRECT.to_ne_bytes();
        attribute(&mut options, TCA_BPF_FLAGS, &flags);
        let filter = side.message(RTM_NEWTFILTER, MAKE, interface, &options);
        if let Err(error) = requests.ask(&filter) {
            remove(requests, interface)?;
            return Err(error);
        }
    }
    Ok(true)
}

/// Takes our filters away, and the discipline if nobody else has put one there. Nothing where the interface has gone.
pub(crate) fn remove(requests: &mut Requests, interface: u32) -> io::Result<()> {
    let gone = |result: io::Result<()>| match result.map_err(|error| (error.raw_os_error(), error))
    {
        Err((Some(ENODEV | ENOENT), _)) | Ok(()) => Ok(()),
        // A discipline that has gone is said to be an invalid one.
        Err((Some(nix::libc::EINVAL), _)) => Ok(()),
        Err((_, error)) => Err(error),
    };
    for side in SIDES {
        gone(requests.ask(&side.message(RTM_DELTFILTER, DO, interface, &[])))?;
    }
    for side in SIDES {
        let others = filters(requests, interface, side.parent)?;
        if !others.is_empty() {
            return Ok(());
        }
    }
    let discipline = message(RTM_DELQDISC, DO, interface, HANDLE, PARENT, 0, CLSACT, &[]);
    gone(requests.ask(&discipline))
}

/// Interfaces at which an earlier run left filters.
pub(crate) fn find(requests: &mut Requests) -> Result<BTreeSet<u32>, Error> {
    let mut candidates = BTreeSet::new();
    let all = message(RTM_GETQDISC, ASK, 0, 0, 0, 0, c"", &[]);
    requests.dump(&all, |_, body| {
        let interface = bytes_at(body, 4).map(u32::from_ne_bytes);
        if kind(body).as_deref() == CLSACT.to_str().ok() {
            candidates.extend(interface);
        }
    })?;
    let mut found = BTreeSet::new();
    for interface in candidates {
        for side in SIDES {
            let names = filters(requests, interface, side.parent).map_err(Error::Receive)?;
            if names.iter().any(|name| name == side.program) {
                found.insert(interface);
            }
        }
    }
    Ok(found)
}

/// Names of the filters in a direction; empty ones of filters that are no programs.
fn filters(requests: &mut Requests, interface: u32, parent: u32) -> io::Result<Vec<String>> {
    let question = message(RTM_GETTFILTER, ASK, interface, 0, parent, 0, c"", &[]);
    let mut names = Vec::new();
    let asked = requests.dump(&question, |_, body| names.extend(filter_name(body)));
    match asked {
        Err(Error::Send(error) | Error::Receive(error)) => match error.raw_os_error() {
            Some(ENODEV | ENOENT | nix::libc::EINVAL) => Ok(Vec::new()),
            _ => Err(error),
        },
        Err(_) | Ok(_) => Ok(names),
    }
}

/// The name of a filter; `None` for the head of a priority, which the kernel tells of as well.
fn filter_name(body: &[u8]) -> Option<String> {
    let handle = u32::from_ne_bytes(bytes_at(body, 8)?);
    let (_, options) = attributes(body.get(HEAD..)?).find(|(kind, _)| *kind == TCA_OPTIONS)?;
    let name = attributes(options).find(|(kind, _)| *kind == TCA_BPF_NAME);
    (handle != 0).then(|| name.map(|(_, name)| text(name)).unwrap_or_default())
}

fn kind(body: &[u8]) -> Option<String> {
    let (_, kind) = attributes(body.get(HEAD..)?).find(|(kind, _)| *kind == TCA_KIND)?;
    Some(text(kind))
}

impl Side {
    /// A message about our filter, which is for packets of all protocols.
    fn message(self, what: u16, flags: u16, interface: u32, options: &[u8]) -> Vec<u8> {
        const ETH_P_ALL: u16 = 3;
        let information = u32::from(self.priority) << 16 | u32::from(ETH_P_ALL.to_be());
        message(
            what,
            flags,
            interface,
            1,
            self.parent,
            information,
            BPF,
            options,
        )
    }
}

/// A `struct tcmsg` with kind and options.
#[expect(clippy::too_many_arguments, reason = "the fields of the message")]
fn message(
    what: u16,
    flags: u16,
    interface: u32,
    handle: u32,
    parent: u32,
    information: u32,
    kind: &CStr,
    options: &[u8],
) -> Vec<u8> {
    let mut body = vec![0; 4];
    for word in [interface, handle, parent, information] {
        body.extend_from_slice(&word.to_ne_bytes());
    }
    if !kind.is_empty() {
        attribute(&mut body, TCA_KIND, kind.to_bytes_with_nul());
    }
    if !options.is_empty() {
        attribute(&mut body, TCA_OPTIONS, options);
    }
    question(what, flags, &body)
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
    body.extend_from_slice(&kind.to_ne_bytes());
    body.extend_from_slice(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn terminated(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[0]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would say of a filter, without the head of the message.
    fn told(handle: u32, name: Option<&str>) -> Vec<u8> {
        let mut options = Vec::new();
        if let Some(name) = name {
            attribute(&mut options, TCA_BPF_NAME, &terminated(name));
        }
        let whole = message(RTM_NEWTFILTER, 0, 7, handle, 0, 0, BPF, &options);
        whole[16..].to_vec()
    }

    #[test]
    fn filters_are_known_by_the_programs_name() {
        let body = told(1, Some(program::POD_IN));
        assert_eq!(filter_name(&body).as_deref(), Some("lb_pod_in"));
        assert_eq!(kind(&body).as_deref(), Some("bpf"));
        let other = told(1, Some("x"));
        assert_eq!(filter_name(&other).as_deref(), Some("x"));
    }

    #[test]
    fn the_head_of_a_priority_is_no_filter() {
        assert_eq!(filter_name(&told(0, Some("x"))), None);
        assert_eq!(filter_name(&told(1, None)), None);
        for end in 0..HEAD {
            assert_eq!(filter_name(&told(1, Some("x"))[..end]), None);
        }
    }

    #[test]
    fn what_a_pod_receives_is_translated_before_what_it_sends() {
        assert_eq!(
            SIDES.map(|side| side.program),
            [program::POD_OUT, program::POD_IN]
        );
    }
}
