//! What the `drop` target says at its end, out of flowd's log.

use serde_json::Value;

use crate::Failure;

/// Events dropped, and the sum of the checksums of their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) events: u64,
    pub(crate) checksum: u64,
}

impl Dropped {
    /// From a log in JSON lines.
    pub(crate) fn of(log: &str) -> Result<Self, Failure> {
        let totals = log
            .lines()
            .rev()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find(|line| line["message"] == "dropped");
        let dropped = totals.and_then(|totals| {
            let checksum = u64::from_str_radix(totals["checksum"].as_str()?, 16).ok()?;
            Some(Self { events: totals["events"].as_u64()?, checksum })
        });
        dropped.ok_or_else(|| format!("flowd logged no totals of the drop target:\n{log}").into())
    }
}
