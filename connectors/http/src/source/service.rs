//! One request: who sends it, whether there is room, what is in it, and the answer once the mesh has it.
//!
//! Invariant: 2xx is said only after everything of the request is acknowledged. All of a batch is looked at before any of it
//! is handed on, so a refusal means that nothing of it was.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flowd_codec::event::carried;
use flowd_codec::event::view::{Data, EventView, decode_event};
use flowd_source::Subject;
use flowd_source::subject::is_topic;
use futures_util::FutureExt;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{AUTHORIZATION, CONNECTION, HeaderValue};
use hyper::{HeaderMap, Method, Request, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::access::Access;
use super::handshake::Welcome;
use super::reply::{self, Refusal, Reply};
use super::taken::{Ready, keep_subject};
use crate::binding::read::{self, Found, Plain, Unreadable};

/// What the way through EventMesh adds to an event: its topic, and what its data is.
const CARRYING_BYTES: usize = 1024;
/// The way adds some; whoever reads them at its end takes 256.
const EXTENSIONS_MAX: usize = 200;
const METHODS: &str = "POST, GET, HEAD, OPTIONS";

/// What a request may be and what it may cost.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) path: String,
    pub(super) access: Access,
    pub(super) welcome: Welcome,
    pub(super) plain: Option<Arc<Plain>>,
    pub(super) subject: Subject,
    pub(super) body_bytes_max: usize,
    pub(super) event_bytes_max: usize,
    pub(super) read_time_max: Duration,
    pub(super) answer_time_max: Duration,
}

/// The events of one request, on their way to the pipeline.
pub(super) struct Delivery {
    pub(super) events: Vec<Ready>,
    /// The request's share of the memory for bodies, held until its events are the pipeline's.
    pub(super) room: OwnedSemaphorePermit,
    /// Told once all of them are acknowledged; dropped where they will not be.
    pub(super) acknowledged: oneshot::Sender<()>,
}

/// How things are, for all requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// There is room.
    Open,
    /// The pipeline takes nothing just now.
    Full,
    /// It goes down.
    Stopping,
}

/// Answers requests.
pub(super) struct Service {
    rules: Rules,
    condition: watch::Receiver<Condition>,
    /// Bytes for bodies that are read or wait to be handed on.
    room: Arc<Semaphore>,
    queue: mpsc::Sender<Delivery>,
}

impl Service {
    /// At most `room_bytes` of bodies are in memory at once.
    pub(super) fn new(
        rules: Rules,
        condition: watch::Receiver<Condition>,
        room_bytes: usize,
        queue: mpsc::Sender<Delivery>,
    ) -> Self {
        Self { rules, condition, room: Arc::new(Semaphore::new(room_bytes)), queue }
    }

    /// The answer to a request.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Reply {
        let (method, headers) = (request.method(), request.headers());
        let mut answer = if request.uri().path() != self.rules.path {
            Refusal::new(StatusCode::NOT_FOUND, format!("events are taken at {}", self.rules.path)).into()
        } else if *method == Method::POST {
            self.take(request).await.unwrap_or_else(Reply::from)
        } else if *method == Method::OPTIONS {
            self.welcome(headers).unwrap_or_else(Reply::from)
        } else if matches!(*method, Method::GET | Method::HEAD) {
            self.health()
        } else {
            let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "events come by POST");
            refusal.with("allow", METHODS).into()
        };
        if self.is_stopping() {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    /// A handshake needs no credentials; who shows some is told when they are wrong.
    fn welcome(&self, headers: &HeaderMap) -> Result<Reply, Refusal> {
        if headers.contains_key(AUTHORIZATION) {
            self.admit(headers)?;
        }
        let mut answer = reply::empty(StatusCode::OK);
        *answer.headers_mut() = self.rules.welcome.answer(headers);
        Ok(answer)
    }

    fn admit(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        self.rules.access.check(headers).map_err(|demanded| {
            let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "the credentials are missing or wrong");
            refusal.with("www-authenticate", demanded)
        })
    }

    fn health(&self) -> Reply {
        if self.is_stopping() {
            stopping().into()
        } else {
            reply::text(StatusCode::OK, "events are taken here by POST")
        }
    }

    fn condition(&self) -> Condition {
        *self.condition.borrow()
    }

    fn is_stopping(&self) -> bool {
        self.condition() == Condition::Stopping
    }

    /// Takes the events of a request.
    async fn take(&self, request: Request<Incoming>) -> Result<Reply, Refusal> {
        self.admit(request.headers())?;
        match self.condition() {
            Condition::Open => {}
            Condition::Full => return Err(full()),
            Condition::Stopping => return Err(stopping()),
        }
        let room = self.room_for(request.body().size_hint().exact())?;
        let (head, body) = request.into_parts();
        let body = self.body(body).await?;
        let events = self.events(head.headers, body)?;
        if events.is_empty() {
            return Ok(reply::empty(StatusCode::NO_CONTENT));
        }
        let (acknowledged, answer) = oneshot::channel();
        self.queue.try_send(Delivery { events, room, acknowledged }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => full(),
            mpsc::error::TrySendError::Closed(_) => stopping(),
        })?;
        match tokio::time::timeout(self.rules.answer_time_max, answer).await {
            Ok(Ok(())) => Ok(reply::empty(StatusCode::NO_CONTENT)),
            Ok(Err(_)) => Err(stopping()),
            Err(_) => Err(Refusal::later(
                StatusCode::SERVICE_UNAVAILABLE,
                "not acknowledged in time; it may still be: send it again under the same id",
            )),
        }
    }

    /// Room in memory for a body of this size, or of any if it is not said.
    fn room_for(&self, bytes: Option<u64>) -> Result<OwnedSemaphorePermit, Refusal> {
        let max = self.rules.body_bytes_max;
        let bytes = bytes.map_or(max, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        if bytes > max {
            return Err(self.too_large());
        }
        let bytes = u32::try_from(bytes).expect("the bound of a body is below 4 GiB");
        Arc::clone(&self.room).try_acquire_many_owned(bytes).map_err(|_| full())
    }

    fn too_large(&self) -> Refusal {
        let max = self.rules.body_bytes_max;
        let text = format!("a body has at most {max} bytes (connectorConfig.bodyBytes)");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    }

    async fn body(&self, body: Incoming) -> Result<Bytes, Refusal> {
        let mut whole = pin!(Limited::new(body, self.rules.body_bytes_max).collect());
        // A short one came with the head: to set a timer would take longer than to read it.
        let collected = match whole.as_mut().now_or_never() {
            Some(collected) => Ok(collected),
            None => tokio::time::timeout(self.rules.read_time_max, whole).await,
        };
        match collected {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(self.too_large()),
            Ok(Err(error)) => {
                Err(Refusal::new(StatusCode::BAD_REQUEST, format!("the body is cut short: {error}")))
            }
            Err(_) => Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
        }
    }

    /// The events of a message, each looked at, or the reason why it is refused.
    fn events(&self, headers: HeaderMap, body: Bytes) -> Result<Vec<Ready>, Refusal> {
        let mut text = Vec::new();
        let plain = self.rules.plain.as_ref();
        let found = read::events(&headers, &body, plain.map(Arc::as_ref), &mut text);
        let found = found.map_err(|reason| match reason {
            Unreadable::Malformed(text) => Refusal::new(StatusCode::BAD_REQUEST, text),
            Unreadable::Unknown(text) => Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text),
        })?;
        let members = match found {
            Found::Whole(members) => members,
            Found::Binary(event) => {
                let topic = self.look(&event).and_then(|topic| self.fits_written(&event).map(|()| topic));
                let topic = topic.map_err(|(status, text)| Refusal::new(status, text))?;
                return Ok(vec![Ready::Binary { headers, body, plain: plain.cloned(), topic }]);
            }
        };
        let count = members.len();
        let look = |(index, json): (usize, Bytes)| {
            self.whole(json).map_err(|(status, text)| match count {
                1 => Refusal::new(status, text),
                _ => Refusal::new(status, format!("event {} of {count}: {text}", index + 1)),
            })
        };
        members.into_iter().enumerate().map(look).collect()
    }

    fn whole(&self, json: Bytes) -> Result<Ready, (StatusCode, String)> {
        let decoded = decode_event(&json);
        let mut event =
            decoded.map_err(|error| (StatusCode::BAD_REQUEST, format!("no CloudEvent: {error}")))?;
        let topic = self.look(&event)?;
        if !keep_subject(&mut event, &topic) {
            self.fits(json.len())?;
            return Ok(Ready::Whole { json, topic });
        }
        let mut changed = Vec::with_capacity(json.len() + CARRYING_BYTES);
        event.write_json(&mut changed);
        self.fits(changed.len())?;
        Ok(Ready::Whole { json: changed.into(), topic })
    }

    /// As [`fits`](Self::fits), of an event that is not written yet: it is only where that may tell.
    fn fits_written(&self, event: &EventView<'_>) -> Result<(), (StatusCode, String)> {
        if self.fits(size_at_most(event)).is_ok() {
            return Ok(());
        }
        let mut json = Vec::new();
        event.write_json(&mut json);
        self.fits(json.len())
    }

    fn fits(&self, size: usize) -> Result<(), (StatusCode, String)> {
        let (size, max) = (size + CARRYING_BYTES, self.rules.event_bytes_max);
        if size <= max {
            return Ok(());
        }
        let text = format!("the event takes {size} bytes on its way, and may take at most {max}");
        Err((StatusCode::PAYLOAD_TOO_LARGE, text))
    }

    /// The topic of an event. What would be rejected on its way is refused here, where there is somebody to tell.
    fn look(&self, event: &EventView<'_>) -> Result<String, (StatusCode, String)> {
        let refused = |text| (StatusCode::BAD_REQUEST, text);
        let topic = self.topic(event).map_err(refused)?;
        if event.extensions.len() > EXTENSIONS_MAX {
            return Err(refused(format!("an event has at most {EXTENSIONS_MAX} extensions here")));
        }
        carried::check(event).map_err(refused)?;
        Ok(topic)
    }

    fn topic(&self, event: &EventView<'_>) -> Result<String, String> {
        let values = [("subject", event.subject.as_deref().unwrap_or_default()), ("type", &event.event_type)];
        let topic = self.rules.subject.topic(&values);
        if is_topic(&topic) {
            return Ok(topic.into_owned());
        }
        Err(match topic.is_empty() {
            true => "the event has no `subject`, which would name its topic".to_owned(),
            false => format!("the topic \"{topic}\" is too long"),
        })
    }
}

/// The most that an event of headers can take as JSON: of a text each byte may be escaped, and JSON around it.
fn size_at_most(event: &EventView<'_>) -> usize {
    let text = |text: &str| 6 * text.len() + 6;
    let attributes = event.attributes().map(|(name, value)| name.len() + text(&value));
    let data = match event.data {
        Data::Json(value) | Data::Base64(value) => value.len(),
        Data::Absent => 0,
    };
    attributes.sum::<usize>() + text(event.data_content_type.as_deref().unwrap_or_default()) + data
}

fn full() -> Refusal {
    Refusal::later(StatusCode::TOO_MANY_REQUESTS, "more is on its way to the mesh than there is room for")
}

fn stopping() -> Refusal {
    Refusal::later(StatusCode::SERVICE_UNAVAILABLE, "this server is going down")
}

#[cfg(test)]
mod tests {
    use flowd_codec::event::view::event_of;

    use super::*;

    #[test]
    fn an_event_of_headers_is_never_larger_than_it_was_thought() {
        let texts = ["\u{1}", "\"", "a", "\u{1}\"\\\n\u{7f}é€"].map(|text| text.repeat(300));
        for text in &texts {
            for data in [Data::Absent, Data::Json("[1]"), Data::Base64("\"AAE=\"")] {
                let required = [("specversion", "1.0"), ("id", text), ("source", text), ("type", text)];
                let optional = [("subject", &**text), ("datacontenttype", text), ("n", text), ("m", "")];
                let attributes = required.into_iter().chain(optional);
                let event = event_of(attributes.map(|(name, text)| (name, text.into())), data).unwrap();
                let mut json = Vec::new();
                event.write_json(&mut json);
                assert!(json.len() <= size_at_most(&event) + CARRYING_BYTES / 8, "{text}: {}", json.len());
            }
        }
    }
}
