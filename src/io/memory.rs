//! The allocator's memory.

/// Gives whole pages that are free back to the system, where the allocator can. Takes milliseconds when there is much of
/// it; not for a thread that packets wait for.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes a number and may be called by any thread at any time (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}
