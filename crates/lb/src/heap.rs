//! Memory of the process.

/// Gives back to the machine what is free of the heap, between parts that are in use too. What maps held before is read at a
/// start, and kept in another form; without this its memory would stay with the process.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the C library has no other name for it")]
pub(crate) fn give_back() {
    // SAFETY: malloc_trim(3) takes a number and may be called by any thread at any time.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

/// Another C library gives back what it likes.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn give_back() {}
