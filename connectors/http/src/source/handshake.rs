//! The handshake of the CloudEvents webhook specification: a sender asks by OPTIONS whether it may deliver, for which
//! origin and how fast.
//!
//! The answer comes at once, so a callback is never called. The handshake says who is welcome, it proves nobody's name:
//! that is what credentials are for.

use hyper::HeaderMap;
use hyper::header::{ALLOW, HeaderName, HeaderValue};

const REQUEST_ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");
const REQUEST_RATE: HeaderName = HeaderName::from_static("webhook-request-rate");
const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");

/// Who is welcome.
#[derive(Debug, Clone)]
pub(super) struct Welcome {
    /// The names of origins; `*` is all.
    pub(super) origins: Vec<String>,
    /// Requests a minute; none is any number.
    pub(super) rate: Option<u64>,
}

impl Welcome {
    /// The headers that answer a handshake. One that is not granted lacks the permission, as the specification has it.
    pub(super) fn answer(&self, asked: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ALLOW, HeaderValue::from_static("POST, GET, HEAD, OPTIONS"));
        let Some(origin) = asked.get(REQUEST_ORIGIN).filter(|origin| self.allows(origin)) else {
            return headers;
        };
        headers.insert(ALLOWED_ORIGIN, origin.clone());
        if self.rate.is_some() || asked.contains_key(REQUEST_RATE) {
            let rate = self.rate.map_or(HeaderValue::from_static("*"), HeaderValue::from);
            headers.insert(ALLOWED_RATE, rate);
        }
        headers
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        let is_named = |name: &String| name == "*" || name.as_bytes().eq_ignore_ascii_case(origin.as_bytes());
        self.origins.iter().any(is_named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(welcome: &Welcome, pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        welcome.answer(&pairs.collect())
    }

    #[test]
    fn a_welcome_origin_is_granted_at_the_rate_that_is_set() {
        let all = Welcome { origins: vec!["*".into()], rate: None };
        let granted = ask(&all, &[(REQUEST_ORIGIN, "events.example.com"), (REQUEST_RATE, "120")]);
        assert_eq!(granted[ALLOWED_ORIGIN], "events.example.com");
        assert_eq!(granted[ALLOWED_RATE], "*");
        let few = Welcome { origins: vec!["events.example.com".into()], rate: Some(60) };
        let granted = ask(&few, &[(REQUEST_ORIGIN, "Events.Example.com")]);
        assert_eq!(granted[ALLOWED_RATE], "60");
    }

    #[test]
    fn another_origin_is_not_granted() {
        let few = Welcome { origins: vec!["events.example.com".into()], rate: Some(60) };
        for refused in [ask(&few, &[(REQUEST_ORIGIN, "other.example.com")]), ask(&few, &[])] {
            assert!(!refused.contains_key(ALLOWED_ORIGIN) && !refused.contains_key(ALLOWED_RATE));
            assert!(refused.contains_key(ALLOW));
        }
    }
}
