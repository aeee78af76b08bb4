//! What clients are told: a status, a line of text that says why, and when to come again.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

/// A whole answer.
pub(super) type Reply = Response<Full<Bytes>>;

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

/// The same with a header more.
pub(super) fn with(mut reply: Reply, name: HeaderName, value: HeaderValue) -> Reply {
    reply.headers_mut().insert(name, value);
    reply
}

/// Not now; come again after a second.
pub(super) fn later(status: StatusCode, why: &str) -> Reply {
    with(text(status, why), RETRY_AFTER, HeaderValue::from_static("1"))
}
