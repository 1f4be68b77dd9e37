//! What becomes of the process's memory: who may dump it, whether it can get into the swap, what the allocator keeps, and
//! what calls that have returned leave on the stack and in registers.
//!
//! Freed memory is zeroed by the allocator of the programs (`zeroizing-alloc`), so that a key is gone with its owner.

use std::collections::BTreeSet;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::sys::mman::{MlockAllFlags, mlock, mlockall, munlockall};
use nix::sys::prctl;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use tracing::{info, warn};

use crate::crypto::secret;

/// What [`forget`] overwrites of the stack, in bytes: more than a handshake or the making of an SA's keys takes, also without
/// optimization (where 64 KiB are too few).
const FORGOTTEN_STACK: usize = 128 << 10;

/// Pages with keys that are locked one by one at most: each may cost the kernel two more mappings, and their number in a
/// process is bounded, whereas a gateway with more keys than this has more to fear of an allocation that fails.
const KEY_PAGES: usize = 256;

/// All memory of the process is locked.
static LOCKED: AtomicBool = AtomicBool::new(false);

/// The numbers of the pages that are locked because keys stand in them; `None` once no more can be.
static KEY_PAGES_LOCKED: Mutex<Option<BTreeSet<usize>>> = Mutex::new(Some(BTreeSet::new()));

/// What is locked, so that it does not get into the swap.
#[derive(Debug)]
pub enum Locked {
    /// All memory, now and in future.
    Everything,
    /// Pages with keys, as far as the limit on locked memory (in bytes) and [`KEY_PAGES`] go.
    PagesWithKeys {
        /// `RLIMIT_MEMLOCK`, in bytes.
        limit: u64,
    },
    /// Nothing.
    Nothing(io::Error),
}

/// Keys must not end up in a core file, nor in a debugger of another user's, nor in the swap. Called before any key is
/// read; [`settle`] follows once the configuration is known.
///
/// # Errors
/// The system refuses to forbid core files.
pub fn protect() -> io::Result<Locked> {
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE)?;
    setrlimit(Resource::RLIMIT_CORE, 0, hard)?;
    prctl::set_dumpable(false)?;
    Ok(lock().unwrap_or_else(Locked::Nothing))
}

/// Permits core files where the configuration asks for them, and tells what of this is less than it could be.
///
/// # Errors
/// The system refuses to permit core files.
pub fn settle(locked: &Locked, core_dumps: bool) -> io::Result<()> {
    if core_dumps {
        let (_, hard) = getrlimit(Resource::RLIMIT_CORE)?;
        setrlimit(Resource::RLIMIT_CORE, hard, hard)?;
        prctl::set_dumpable(true)?;
        warn!("core_dumps: a core file of this process holds every key in use");
    }
    match locked {
        Locked::Everything => {}
        Locked::PagesWithKeys { limit } => {
            info!(
                limit,
                "of the memory only pages with keys are locked; without a limit (LimitMEMLOCK=infinity) all is"
            );
        }
        Locked::Nothing(error) => warn!(%error, "memory is not locked, so keys can get into the swap"),
    }
    Ok(())
}

/// Locks everything if there is no limit. With one, every allocation beyond it would fail, so then it is only the pages
/// that keys stand in, as they are made.
fn lock() -> io::Result<Locked> {
    let (limit, _) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    if limit == RLIM_INFINITY {
        lock_everything()?;
        return Ok(Locked::Everything);
    }
    secret::tell_places(lock_pages_of);
    Ok(Locked::PagesWithKeys { limit })
}

/// Locks the pages of a key. They stay locked when the key has gone: another one is likely to take its place. A refusal
/// (the limit is reached) ends it for good; the key is where it is all the same.
fn lock_pages_of(address: usize, length: usize) {
    const PAGE: usize = 4096;
    let mut locked = KEY_PAGES_LOCKED.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(pages) = locked.as_mut() else { return };
    for page in address / PAGE..(address + length).div_ceil(PAGE) {
        if !pages.insert(page) {
            continue;
        }
        let start = NonNull::new(std::ptr::with_exposed_provenance_mut(page * PAGE));
        // SAFETY: mlock neither reads nor writes memory; the page is mapped, because a live value stands in it.
        let refused = start.is_none_or(|start| unsafe { mlock(start, PAGE) }.is_err());
        if refused || pages.len() >= KEY_PAGES {
            *locked = None;
            return;
        }
    }
}

fn lock_everything() -> io::Result<()> {
    // Pages are locked as they are first touched: memory that is only reserved stays that.
    let on_fault = MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT);
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | on_fault)?;
    LOCKED.store(true, Ordering::Relaxed);
    Ok(())
}

/// Gives whole pages that are free back to the system, where the allocator can. Takes milliseconds when there is much of
/// it; not for a thread that packets wait for.
///
/// # Errors
/// What was locked before could not be locked again.
pub fn give_back() -> io::Result<()> {
    let locked = LOCKED.swap(false, Ordering::Relaxed);
    if locked {
        // The kernel takes no locked page back (madvise(2), MADV_DONTNEED). What is free holds no key any more.
        munlockall()?;
    }
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes a number and may be called by any thread at any time (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
    if locked { lock_everything() } else { Ok(()) }
}

/// Overwrites what calls that have returned left below the caller on this thread's stack and in the vector registers:
/// round keys, states of a cipher, halves of a copy. Call it from where the work was called. Takes 2 to 3 µs.
#[inline(never)]
pub fn forget() {
    zeroize::zeroize_stack::<FORGOTTEN_STACK>();
    clear_vector_registers();
}

/// The kernel saves a waiting thread's registers, and a core file holds them.
#[cfg(target_arch = "x86_64")]
fn clear_vector_registers() {
    use std::arch::asm;

    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has these instructions; they write registers only, all of which are declared clobbered as
        // those that the C calling convention lets a callee use.
        unsafe {
            asm!(
                "vpxord zmm16, zmm16, zmm16",
                "vpxord zmm17, zmm17, zmm17",
                "vpxord zmm18, zmm18, zmm18",
                "vpxord zmm19, zmm19, zmm19",
                "vpxord zmm20, zmm20, zmm20",
                "vpxord zmm21, zmm21, zmm21",
                "vpxord zmm22, zmm22, zmm22",
                "vpxord zmm23, zmm23, zmm23",
                "vpxord zmm24, zmm24, zmm24",
                "vpxord zmm25, zmm25, zmm25",
                "vpxord zmm26, zmm26, zmm26",
                "vpxord zmm27, zmm27, zmm27",
                "vpxord zmm28, zmm28, zmm28",
                "vpxord zmm29, zmm29, zmm29",
                "vpxord zmm30, zmm30, zmm30",
                "vpxord zmm31, zmm31, zmm31",
                clobber_abi("sysv64"),
                options(nomem, nostack, preserves_flags),
            );
        }
    }
    if is_x86_feature_detected!("avx") {
        // SAFETY: as above; vzeroall clears registers 0 to 15 at their full width.
        unsafe { asm!("vzeroall", clobber_abi("sysv64"), options(nomem, nostack, preserves_flags)) }
    }
}

/// Elsewhere the next calls overwrite them.
#[cfg(not(target_arch = "x86_64"))]
fn clear_vector_registers() {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::missing::skipped;

    /// Kibibytes of locked and of resident memory (proc(5), status).
    fn memory() -> [u64; 2] {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        ["VmLck:", "VmRSS:"].map(|name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        })
    }

    #[test]
    fn what_is_locked_takes_no_more_memory_and_is_given_back() {
        let [_, before] = memory();
        if let Err(error) = lock_everything() {
            // Only who has CAP_IPC_LOCK or no limit may lock everything.
            return skipped(format_args!("the right to lock all memory: {error}"));
        }
        let reserved = Vec::<u8>::with_capacity(256 << 20);
        let [locked, resident] = memory();
        assert!(locked >= 256 << 10, "what is reserved later counts as locked");
        assert!(resident < before + (128 << 10), "and takes no memory before it is touched: {before}, {resident}");
        drop(reserved);
        give_back().unwrap();
        assert!(memory()[0] > 0, "still locked");
        LOCKED.store(false, Ordering::Relaxed);
        munlockall().unwrap();
    }

    #[test]
    fn dumps_are_forbidden_until_the_configuration_asks_for_them() {
        let before = getrlimit(Resource::RLIMIT_CORE).unwrap();
        let locked = protect().unwrap();
        assert!(!prctl::get_dumpable().unwrap());
        assert_eq!(getrlimit(Resource::RLIMIT_CORE).unwrap(), (0, before.1));
        settle(&locked, false).unwrap();
        assert!(!prctl::get_dumpable().unwrap());
        settle(&locked, true).unwrap();
        assert!(prctl::get_dumpable().unwrap());
        assert_eq!(getrlimit(Resource::RLIMIT_CORE).unwrap(), (before.1, before.1));
        setrlimit(Resource::RLIMIT_CORE, before.0, before.1).unwrap();
    }
}
