//! Links: what joins a program to a place in the kernel.
//!
//! # Why
//! aya replaces the program of a link only where the link is of a traffic-control hook, and takes interfaces by name, which may have
//! passed to another in between.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use aya_obj::generated::{
    BPF_F_AFTER, BPF_F_BEFORE, bpf_attach_type, bpf_cmd, bpf_link_info, bpf_link_type,
};

use super::{call, descriptor, information, number, zeroed};

/// Traffic control of what an interface receives.
pub(crate) const TCX_INGRESS: u32 = bpf_attach_type::BPF_TCX_INGRESS as u32;
/// Traffic control of what an interface sends.
pub(crate) const TCX_EGRESS: u32 = bpf_attach_type::BPF_TCX_EGRESS as u32;

/// Attach types of `lb_abi::program::SOCKET`, in that order.
pub(crate) const CGROUP_ATTACH_TYPES: [u32; 8] = [
    bpf_attach_type::BPF_CGROUP_INET4_CONNECT as u32,
    bpf_attach_type::BPF_CGROUP_INET6_CONNECT as u32,
    bpf_attach_type::BPF_CGROUP_UDP4_SENDMSG as u32,
    bpf_attach_type::BPF_CGROUP_UDP6_SENDMSG as u32,
    bpf_attach_type::BPF_CGROUP_UDP4_RECVMSG as u32,
    bpf_attach_type::BPF_CGROUP_UDP6_RECVMSG as u32,
    bpf_attach_type::BPF_CGROUP_INET4_GETPEERNAME as u32,
    bpf_attach_type::BPF_CGROUP_INET6_GETPEERNAME as u32,
];

/// What a link is attached to, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) target: LinkTarget,
    pub(crate) attach_type: u32,
}

/// What a link is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkTarget {
    /// An interface's traffic control. 0 when the interface has gone.
    Interface(u32),
    /// A control group. 0 when it has gone.
    Cgroup(u64),
    /// Something that we never attach to.
    Foreign,
}

/// Attaches to traffic control: before all others to what comes in, after all others to what goes out.
pub(crate) fn attach_tcx(
    program: BorrowedFd<'_>,
    interface: u32,
    attach_type: u32,
) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    attr.link_create.__bindgen_anon_1.prog_fd = number(program);
    attr.link_create.__bindgen_anon_2.target_ifindex = interface;
    attr.link_create.attach_type = attach_type;
    // Relative to nobody: the very first, the very last.
    attr.link_create.flags = if attach_type == TCX_INGRESS {
        BPF_F_BEFORE
    } else {
        BPF_F_AFTER
    };
    // SAFETY: the argument has no addresses.
    unsafe { descriptor(bpf_cmd::BPF_LINK_CREATE, &mut attr) }
}

/// Attaches to a control group, beside what others attach there and below.
pub(crate) fn attach_cgroup(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    attach_type: u32,
) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    attr.link_create.__bindgen_anon_1.prog_fd = number(program);
    attr.link_create.__bindgen_anon_2.target_fd = number(cgroup);
    attr.link_create.attach_type = attach_type;
    // SAFETY: the argument has no addresses.
    unsafe { descriptor(bpf_cmd::BPF_LINK_CREATE, &mut attr) }
}

/// Puts a program in the place of the one that a link has. No packet sees neither.
pub(crate) fn replace_program(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = zeroed();
    attr.link_update.link_fd = number(link);
    attr.link_update.__bindgen_anon_1.new_prog_fd = number(program);
    // SAFETY: the argument has no addresses.
    unsafe { call(bpf_cmd::BPF_LINK_UPDATE, &mut attr) }.map(drop)
}

/// Detaches for good, whoever else holds the link. A link that only loses its file goes some time later.
pub(crate) fn detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = zeroed();
    attr.link_detach.link_fd = number(link);
    // SAFETY: the argument has no addresses.
    unsafe { call(bpf_cmd::BPF_LINK_DETACH, &mut attr) }.map(drop)
}

/// What a link is attached to.
pub(crate) fn link_target(link: &OwnedFd) -> io::Result<Link> {
    // SAFETY: `bpf_link_info` is numbers throughout, for which zeros are a value.
    let mut info: bpf_link_info = unsafe { MaybeUninit::zeroed().assume_init() };
    information(link.as_fd(), &mut info)?;
    if info.type_ == bpf_link_type::BPF_LINK_TYPE_TCX as u32 {
        // SAFETY: numbers; the type says that this is the member that the kernel wrote.
        let tcx = unsafe { info.__bindgen_anon_1.tcx };
        return Ok(Link {
            target: LinkTarget::Interface(tcx.ifindex),
            attach_type: tcx.attach_type,
        });
    }
    if info.type_ == bpf_link_type::BPF_LINK_TYPE_CGROUP as u32 {
        // SAFETY: as above.
        let cgroup = unsafe { info.__bindgen_anon_1.cgroup };
        return Ok(Link {
            target: LinkTarget::Cgroup(cgroup.cgroup_id),
            attach_type: cgroup.attach_type,
        });
    }
    Ok(Link {
        target: LinkTarget::Foreign,
        attach_type: 0,
    })
}
