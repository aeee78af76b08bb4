//! The warning that the server will not keep for much longer what is not acknowledged.

use std::time::{Duration, Instant};

use flowd_engine::metrics::Metrics;

/// The warning comes when this part of the time is over, and again after each further tenth.
const WARN_FROM_TENTHS: i64 = 5;
/// Not said more often than this, whatever the rest is.
const AGAIN: Duration = Duration::from_secs(60);

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct Retention {
    said: Option<(i64, Instant)>,
}

impl Retention {
    /// Warns where it is time to.
    pub(super) fn look(&mut self, metrics: &Metrics, now_us: i64, now: Instant) {
        let kept_s = metrics.source_retention_s.value();
        let behind_s = metrics.lag_us(now_us) / 1_000_000;
        if self.is_due(behind_s, kept_s, now) {
            tracing::warn!(
                behind_s,
                kept_s,
                "the server deletes its binlog before what waits is acknowledged: see that the target, and the sinks of \
                 pipeline.appliedBy, take what they are sent, or raise binlog_expire_logs_seconds"
            );
        }
    }

    fn is_due(&mut self, behind_s: i64, kept_s: i64, now: Instant) -> bool {
        let tenths = if kept_s > 0 { behind_s.saturating_mul(10) / kept_s } else { 0 };
        if tenths < WARN_FROM_TENTHS {
            self.said = None;
            return false;
        }
        let is_news = self.said.is_none_or(|(said, at)| tenths > said && now.duration_since(at) >= AGAIN);
        if is_news {
            self.said = Some((tenths, now));
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_at_half_the_time_and_now_and_then_after_that() {
        let (mut retention, start) = (Retention::default(), Instant::now());
        let mut due =
            |behind_s, after_s| retention.is_due(behind_s, 1000, start + Duration::from_secs(after_s));
        assert!(!due(499, 0));
        assert!(due(500, 1));
        assert!(!due(599, 2), "the same tenth");
        assert!(!due(650, 30), "too soon");
        assert!(due(650, 61));
        assert!(!due(10, 62));
        assert!(due(700, 63), "it is another time");
    }

    #[test]
    fn what_is_kept_for_ever_is_no_reason_to_warn() {
        assert!(!Retention::default().is_due(i64::MAX, 0, Instant::now()));
    }
}
