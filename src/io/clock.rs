//! The system's wall clock. Everything that measures time uses `std::time::Instant`, handed in from the threads.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// The time of day, to the millisecond.
pub fn time_of_day() -> Timestamp {
    let now = Timestamp::now();
    // A clock beyond the year 9999 cannot be rounded.
    now.round(jiff::Unit::Millisecond).unwrap_or(now)
}

/// Seconds since 1970; 0 on a machine whose clock stands before that.
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
