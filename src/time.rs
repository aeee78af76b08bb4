//! The wall clock, in the units that positions, metrics and the mesh use.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now, µs since 1970-01-01 UTC; 0 where the clock stands before that.
pub(crate) fn now_us() -> i64 {
    i64::try_from(since_1970().as_micros()).unwrap_or(i64::MAX)
}

/// Now, ms since 1970-01-01 UTC; 0 where the clock stands before that.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX)
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
