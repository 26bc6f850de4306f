//! The system call `bpf(2)` where aya does not speak it: batches, links that are replaced in place, pins, information.
//!
//! All that is unsafe about it is in this module and its children: addresses in the argument must be those of memory that the kernel may
//! read or write for as long as the call lasts.
#![expect(
    unsafe_code,
    reason = "the system call takes addresses and gives file descriptors as numbers"
)]

mod link;
mod table;

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_map_info};
use nix::libc;

pub(crate) use link::{
    CGROUP_ATTACH_TYPES, Link, LinkTarget, TCX_EGRESS, TCX_INGRESS, attach_cgroup, attach_tcx,
    detach, link_target, replace_program,
};
pub(crate) use table::{PerProcessor, Plain, Stopped, Table};

/// What a map is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MapShape {
    pub(crate) kind: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) flags: u32,
    pub(crate) entries: u32,
}

/// The shape of a map that exists.
pub(crate) fn map_shape(map: BorrowedFd<'_>) -> io::Result<MapShape> {
    // SAFETY: `bpf_map_info` is numbers throughout, for which zeros are a value.
    let mut info: bpf_map_info = unsafe { MaybeUninit::zeroed().assume_init() };
    information(map, &mut info)?;
    Ok(MapShape {
        kind: info.type_,
        key_size: info.key_size,
        value_size: info.value_size,
        flags: info.map_flags,
        entries: info.max_entries,
    })
}

/// Bytes of kernel memory that a map holds, as `/proc` says it of the file.
pub(crate) fn map_memory(map: BorrowedFd<'_>) -> io::Result<u64> {
    let path = format!("/proc/thread-self/fdinfo/{}", map.as_raw_fd());
    let text = std::fs::read_to_string(path)?;
    let memory = text
        .lines()
        .find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok());
    Ok(memory.unwrap_or_default())
}

/// Opens what is pinned.
pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = zeroed();
    attr.__bindgen_anon_4.pathname = name.as_ptr() as u64;
    // SAFETY: the path is a string that ends with zero and outlives the call.
    unsafe { descriptor(bpf_cmd::BPF_OBJ_GET, &mut attr) }
}

/// Pins a map or link.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = zeroed();
    attr.__bindgen_anon_4.pathname = name.as_ptr() as u64;
    attr.__bindgen_anon_4.bpf_fd = number(object);
    // SAFETY: the path is a string that ends with zero and outlives the call.
    unsafe { call(bpf_cmd::BPF_OBJ_PIN, &mut attr) }.map(drop)
}

/// What waits until no program runs that could have begun before.
///
/// # Why
/// An update of a map of maps returns only after that (Linux, `maybe_wait_bpf_programs`), which is the one documented way to wait for
/// running programs. `membarrier(2)` would wait as well, but does nothing on a machine of one processor and refuses one with isolated
/// processors.
#[derive(Debug)]
pub(crate) struct Grace {
    outer: OwnedFd,
    inner: OwnedFd,
}

impl Grace {
    pub(crate) fn new() -> io::Result<Self> {
        use aya_obj::generated::bpf_map_type::{BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_ARRAY_OF_MAPS};
        let inner = create_map(BPF_MAP_TYPE_ARRAY as u32, None)?;
        let outer = create_map(BPF_MAP_TYPE_ARRAY_OF_MAPS as u32, Some(inner.as_fd()))?;
        Ok(Self { outer, inner })
    }

    /// Some milliseconds: a grace period of the kernel.
    pub(crate) fn wait(&self) -> io::Result<()> {
        let key = 0u32;
        let value = number(self.inner.as_fd());
        let mut attr = zeroed();
        attr.__bindgen_anon_2.map_fd = number(self.outer.as_fd());
        attr.__bindgen_anon_2.key = &raw const key as u64;
        attr.__bindgen_anon_2.__bindgen_anon_1.value = &raw const value as u64;
        // SAFETY: key and value are as long as those of the map, four bytes each, and outlive the call.
        unsafe { call(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr) }.map(drop)
    }
}

/// A map of one entry, with keys and values of four bytes.
fn create_map(kind: u32, inner: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    attr.__bindgen_anon_1.map_type = kind;
    attr.__bindgen_anon_1.key_size = 4;
    attr.__bindgen_anon_1.value_size = 4;
    attr.__bindgen_anon_1.max_entries = 1;
    attr.__bindgen_anon_1.inner_map_fd = inner.map_or(0, number);
    // SAFETY: the argument has no addresses.
    unsafe { descriptor(bpf_cmd::BPF_MAP_CREATE, &mut attr) }
}

/// Fills in what the kernel knows of an object. `T` must be the structure for it.
fn information<T>(object: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    let mut attr = zeroed();
    attr.info.bpf_fd = number(object);
    attr.info.info_len = size_of::<T>() as u32;
    attr.info.info = std::ptr::from_mut(info) as u64;
    // SAFETY: the kernel writes at most the length given, which is that of the structure.
    unsafe { call(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr) }.map(drop)
}

fn zeroed() -> bpf_attr {
    // SAFETY: all members of the union are numbers throughout, for which zeros are a value.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// A descriptor as the kernel wants it.
fn number(descriptor: BorrowedFd<'_>) -> u32 {
    descriptor.as_raw_fd().cast_unsigned()
}

/// # Safety
/// Every address in `attr` must be one that the kernel may read, and write where the command writes, for as long as the call lasts, in
/// the length that the command and the other fields say.
unsafe fn call(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<libc::c_long> {
    // SAFETY: the argument is a `bpf_attr` of the length given; its addresses are the caller's promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            std::ptr::from_mut(attr),
            size_of::<bpf_attr>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// # Safety
/// That of [`call`], and the command must be one that gives a new descriptor.
unsafe fn descriptor(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    let result = unsafe { call(command, attr) }?;
    // SAFETY: the kernel has just made this descriptor for us and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(result as RawFd) })
}
