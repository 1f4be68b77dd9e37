//! What becomes of the process's memory: who may dump it, whether it can get into the swap, what the allocator keeps, and
//! what calls that have returned leave on the stack and in registers.
//!
//! Freed memory is zeroed by the allocator of the programs (`zeroizing-alloc`), so that a key is gone with its owner.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::mman::{MlockAllFlags, mlockall, munlockall};
use nix::sys::prctl;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use tracing::{info, warn};

/// What [`forget`] overwrites of the stack, in bytes: more than a handshake or the making of an SA's keys takes.
const FORGOTTEN_STACK: usize = 64 << 10;

/// All memory of the process is locked.
static LOCKED: AtomicBool = AtomicBool::new(false);

/// Keys must not end up in a core file, nor in a debugger of another user's. Called before any key is read.
///
/// # Errors
/// The system refuses.
pub fn forbid_dumps() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE)?;
    setrlimit(Resource::RLIMIT_CORE, 0, hard)?;
    prctl::set_dumpable(false)?;
    Ok(())
}

/// Once the configuration is known: permits core files where it asks for them, and locks the memory where the limit on
/// locked memory is none. Whatever is locked, no allocation fails for it.
///
/// # Errors
/// The system refuses to permit core files.
pub fn protect(core_dumps: bool) -> io::Result<()> {
    if core_dumps {
        let (_, hard) = getrlimit(Resource::RLIMIT_CORE)?;
        setrlimit(Resource::RLIMIT_CORE, hard, hard)?;
        prctl::set_dumpable(true)?;
        warn!(
            "core_dumps: a core file of this process holds every key in use; take the key out when you have what you need"
        );
    }
    match lock() {
        Ok(true) => {}
        Ok(false) => info!("memory is not locked, so keys can get into the swap; allowed with LimitMEMLOCK=infinity"),
        Err(error) => warn!(%error, "memory is not locked, so keys can get into the swap"),
    }
    Ok(())
}

/// Locks everything, now and in future. With a limit on locked memory nothing is locked, because beyond the limit every
/// allocation would fail.
fn lock() -> io::Result<bool> {
    let (limit, _) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    if limit != RLIM_INFINITY {
        return Ok(false);
    }
    lock_everything()?;
    Ok(true)
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
            return eprintln!("SKIPPED what_is_locked_takes_no_more_memory_and_is_given_back: {error}");
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
        forbid_dumps().unwrap();
        assert!(!prctl::get_dumpable().unwrap());
        assert_eq!(getrlimit(Resource::RLIMIT_CORE).unwrap(), (0, before.1));
        protect(false).unwrap();
        assert!(!prctl::get_dumpable().unwrap());
        protect(true).unwrap();
        assert!(prctl::get_dumpable().unwrap());
        assert_eq!(getrlimit(Resource::RLIMIT_CORE).unwrap(), (before.1, before.1));
        setrlimit(Resource::RLIMIT_CORE, before.0, before.1).unwrap();
    }
}
