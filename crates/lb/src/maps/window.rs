//! The memory of an array map, mapped into this process.
#![expect(
    unsafe_code,
    reason = "memory that programs in the kernel read at the same time"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};

use nix::libc;

use crate::bpf::map_shape;

/// The values of an array map that may be mapped, one after the other. All access is by atomic words, so that neither this process nor a
/// program in the kernel sees half of one.
#[derive(Debug)]
pub(crate) struct Window {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is only reached by atomics.
unsafe impl Send for Window {}
// SAFETY: as above.
unsafe impl Sync for Window {}

impl Window {
    /// Maps all values of the map. `None` if it is no array of values of that many bytes, which must be a multiple of eight: else the kernel
    /// leaves gaps.
    pub(crate) fn open(map: BorrowedFd<'_>, value_size: usize) -> io::Result<Option<Self>> {
        let shape = map_shape(map)?;
        let array = aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY as u32;
        if shape.kind != array
            || shape.value_size as usize != value_size
            || !value_size.is_multiple_of(8)
        {
            return Ok(None);
        }
        let length = shape.entries as usize * value_size;
        // SAFETY: a new mapping at an address of the kernel's choice; nothing of this process is replaced.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Some(Self { start, length }))
    }

    pub(crate) fn words64(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is that long, begins at a page and lives as long as `self`; whoever else has it uses atomics or is the kernel.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.length / 8) }
    }

    pub(crate) fn words32(&self) -> &[AtomicU32] {
        // SAFETY: as in `words64`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.length / 4) }
    }

    pub(crate) fn words16(&self) -> &[AtomicU16] {
        // SAFETY: as in `words64`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.length / 2) }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `open`, in this length, and no reference into it outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}
