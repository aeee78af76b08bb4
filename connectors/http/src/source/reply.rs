//! What clients are told: a status, a line of text that says why, and when to come again.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

/// A whole answer.
pub(super) type Reply = Response<Full<Bytes>>;

/// An answer to a request of which nothing was taken, or of which nobody knows whether it was.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    text: String,
    /// A header that says what to do about it.
    remedy: Option<(&'static str, &'static str)>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), remedy: None }
    }

    /// Not now; come again after a second.
    pub(super) fn later(status: StatusCode, text: &str) -> Self {
        Self::new(status, text).with("retry-after", "1")
    }

    /// The same with a header.
    pub(super) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.remedy = Some((name, value));
        self
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        let mut reply = text(refusal.status, &refusal.text);
        if let Some((name, value)) = refusal.remedy {
            reply.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        reply
    }
}

/// An answer with a line of text.
pub(super) fn text(status: StatusCode, text: &str) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(format!("{text}\n"))));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    reply
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = status;
    reply
}
