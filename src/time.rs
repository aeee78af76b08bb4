//! The wall clock, in the unit that positions and metrics use.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, µs since 1970-01-01 UTC; 0 where the clock stands before that.
pub(crate) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
