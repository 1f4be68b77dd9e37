//! Places at which a test lets the disk refuse or the process end. In the programs there is nothing.

use std::io;

/// What happens at the place that a test has chosen.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The system refuses, as when the disk is full.
    Refused,
    /// The process ends: what was written so far is there, and nothing is put in order.
    Killed,
}

#[cfg(test)]
thread_local! {
    static NEXT: std::cell::Cell<Option<(usize, Fault)>> = const { std::cell::Cell::new(None) };
}

/// Lets `fault` happen at the place after so many others, once, in this thread.
#[cfg(test)]
pub fn after(places: usize, fault: Fault) {
    NEXT.set(Some((places, fault)));
}

/// Lets nothing happen any more. Answers whether it has happened.
#[cfg(test)]
pub fn clear() -> bool {
    NEXT.take().is_none()
}

/// One place.
#[cfg(test)]
pub fn point() -> io::Result<()> {
    match NEXT.take() {
        Some((0, Fault::Refused)) => Err(io::ErrorKind::StorageFull.into()),
        Some((0, Fault::Killed)) => std::panic::panic_any(Fault::Killed),
        Some((places, fault)) => {
            NEXT.set(Some((places - 1, fault)));
            Ok(())
        }
        None => Ok(()),
    }
}

/// One place.
#[cfg(not(test))]
#[inline]
pub fn point() -> io::Result<()> {
    Ok(())
}
