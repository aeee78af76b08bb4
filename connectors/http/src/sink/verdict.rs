//! What an answer means for the events that it answers.

use std::time::{Duration, SystemTime};

use hyper::header::{HeaderName, LOCATION, RETRY_AFTER};
use hyper::{HeaderMap, StatusCode};

/// What the far side said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// The beginning of the body.
    pub(super) text: String,
}

/// What follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The far side has it.
    Delivered,
    /// It will never take this.
    Refused(String),
    /// Not now; not before this time has passed, if it says so.
    Later(String, Option<Duration>),
    /// It takes nothing from us at all, whatever the event: somebody has to see to it.
    Unusable(String),
}

impl Answer {
    /// What the status means. `now` counts for a `retry-after` that names a time.
    pub(super) fn verdict(&self, now: SystemTime) -> Verdict {
        match self.status.as_u16() {
            200..=299 => Verdict::Delivered,
            408 | 425 | 429 | 500..=599 => Verdict::Later(self.words(), self.wait(now)),
            401 | 403 | 407 => Verdict::Unusable(format!(
                "{}; see connectorConfig.token, userName, passWord and headers",
                self.words()
            )),
            300..=399 => Verdict::Unusable(format!(
                "{}: redirects to {} are not followed; set connectorConfig.url to where events are to go",
                self.words(),
                self.header(LOCATION).unwrap_or("nowhere")
            )),
            400..=499 => Verdict::Refused(self.words()),
            _ => Verdict::Unusable(format!("{}, which is no answer to a POST", self.words())),
        }
    }

    /// A header's value, where it is a text.
    pub(super) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Status and text.
    pub(super) fn words(&self) -> String {
        let text = self.text.trim();
        let status = self.status;
        if text.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {text}") }
    }

    /// `retry-after`, in seconds or as a time.
    fn wait(&self, now: SystemTime) -> Option<Duration> {
        let value = self.header(RETRY_AFTER)?.trim();
        if let Ok(seconds) = value.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let time = httpdate::parse_http_date(value).ok()?;
        Some(time.duration_since(now).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry_after: Option<&str>) -> Answer {
        let mut headers: HeaderMap = [(LOCATION, "/other".parse().unwrap())].into_iter().collect();
        headers.extend(retry_after.map(|text| (RETRY_AFTER, text.parse().unwrap())));
        Answer { status: StatusCode::from_u16(status).unwrap(), headers, text: " why \n".into() }
    }

    fn verdict(status: u16) -> Verdict {
        answer(status, None).verdict(SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn the_status_tells_what_becomes_of_the_event() {
        for status in [200, 201, 202, 204] {
            assert_eq!(verdict(status), Verdict::Delivered);
        }
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert!(
                matches!(verdict(status), Verdict::Later(text, None) if text.ends_with(": why")),
                "{status}"
            );
        }
        for status in [400, 404, 409, 413, 415, 422] {
            assert!(
                matches!(verdict(status), Verdict::Refused(text) if text.contains(&status.to_string())),
                "{status}"
            );
        }
        assert!(matches!(verdict(401), Verdict::Unusable(text) if text.contains("token")));
        assert!(matches!(verdict(308), Verdict::Unusable(text) if text.contains("/other")));
        assert!(matches!(verdict(101), Verdict::Unusable(_)));
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 5);
        let wait = |text| match answer(503, Some(text)).verdict(now) {
            Verdict::Later(_, wait) => wait.map(|wait| wait.as_secs()),
            other => panic!("{other:?}"),
        };
        assert_eq!(wait("120"), Some(120));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Some(5));
        assert_eq!(wait("Tue, 06 Nov 1984 08:49:37 GMT"), Some(0));
        assert_eq!(wait("soon"), None);
    }
}
