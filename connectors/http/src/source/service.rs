//! One request: who sends it, whether there is room, what is in it, and the answer once the mesh has it.
//!
//! Invariant: 2xx is said only after everything of the request is acknowledged. All of a batch is looked at before any of it
//! is handed on, so a refusal means that nothing of it was.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flowd_codec::event::view::{EventView, ExtensionValue, decode_event};
use flowd_source::Subject;
use flowd_source::subject::is_topic;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{ALLOW, AUTHORIZATION, CONNECTION, HeaderValue, WWW_AUTHENTICATE};
use hyper::{HeaderMap, Method, Request, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::access::Access;
use super::handshake::Welcome;
use super::reply::{self, Reply};
use crate::binding::read::{self, Plain, Unreadable};

/// The extension that keeps a subject which is not the topic.
const ORIGINAL_SUBJECT: &str = "originalsubject";

/// What a request may be and what it may cost.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) path: String,
    pub(super) access: Access,
    pub(super) welcome: Welcome,
    pub(super) plain: Option<Plain>,
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

/// An event that was looked at.
pub(super) struct Ready {
    pub(super) json: Bytes,
    pub(super) topic: String,
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
        let answer = if request.uri().path() != self.rules.path {
            reply::text(StatusCode::NOT_FOUND, &format!("events are taken at {}", self.rules.path))
        } else if *method == Method::POST {
            self.take(request).await.unwrap_or_else(|refusal| refusal)
        } else if *method == Method::OPTIONS {
            self.welcome(headers).unwrap_or_else(|refusal| refusal)
        } else if matches!(*method, Method::GET | Method::HEAD) {
            self.health()
        } else {
            let refusal = reply::text(StatusCode::METHOD_NOT_ALLOWED, "events come by POST");
            reply::with(refusal, ALLOW, HeaderValue::from_static("POST, GET, HEAD, OPTIONS"))
        };
        if self.is_stopping() {
            reply::with(answer, CONNECTION, HeaderValue::from_static("close"))
        } else {
            answer
        }
    }

    /// A handshake needs no credentials; who shows some is told when they are wrong.
    fn welcome(&self, headers: &HeaderMap) -> Result<Reply, Reply> {
        if headers.contains_key(AUTHORIZATION) {
            self.admit(headers)?;
        }
        let mut answer = reply::empty(StatusCode::OK);
        *answer.headers_mut() = self.rules.welcome.answer(headers);
        Ok(answer)
    }

    fn admit(&self, headers: &HeaderMap) -> Result<(), Reply> {
        self.rules.access.check(headers).map_err(|demanded| {
            let refusal = reply::text(StatusCode::UNAUTHORIZED, "the credentials are missing or wrong");
            reply::with(refusal, WWW_AUTHENTICATE, demanded)
        })
    }

    fn health(&self) -> Reply {
        if self.is_stopping() {
            stopping()
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

    /// Takes the events of a request; `Err` is an answer, too.
    async fn take(&self, request: Request<Incoming>) -> Result<Reply, Reply> {
        self.admit(request.headers())?;
        match self.condition() {
            Condition::Open => {}
            Condition::Full => return Err(full()),
            Condition::Stopping => return Err(stopping()),
        }
        let room = self.room_for(request.body().size_hint().exact())?;
        let (head, body) = request.into_parts();
        let body = self.body(body).await?;
        let events = self.events(&head.headers, &body)?;
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
            Err(_) => Err(reply::later(
                StatusCode::SERVICE_UNAVAILABLE,
                "not acknowledged in time; it may still be: send it again under the same id",
            )),
        }
    }

    /// Room in memory for a body of this size, or of any if it is not said.
    fn room_for(&self, bytes: Option<u64>) -> Result<OwnedSemaphorePermit, Reply> {
        let bytes =
            bytes.map_or(self.rules.body_bytes_max, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        if bytes > self.rules.body_bytes_max {
            return Err(self.too_large());
        }
        let bytes = u32::try_from(bytes).expect("the bound of a body is below 4 GiB");
        Arc::clone(&self.room).try_acquire_many_owned(bytes).map_err(|_| full())
    }

    fn too_large(&self) -> Reply {
        let max = self.rules.body_bytes_max;
        reply::text(
            StatusCode::PAYLOAD_TOO_LARGE,
            &format!("a body has at most {max} bytes (connectorConfig.bodyBytes)"),
        )
    }

    async fn body(&self, body: Incoming) -> Result<Bytes, Reply> {
        let whole = Limited::new(body, self.rules.body_bytes_max).collect();
        match tokio::time::timeout(self.rules.read_time_max, whole).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(self.too_large()),
            Ok(Err(error)) => {
                Err(reply::text(StatusCode::BAD_REQUEST, &format!("the body is cut short: {error}")))
            }
            Err(_) => Err(reply::text(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
        }
    }

    /// The events of a message, each looked at, or the reason why it is refused.
    fn events(&self, headers: &HeaderMap, body: &Bytes) -> Result<Vec<Ready>, Reply> {
        let found =
            read::events(headers, body, self.rules.plain.as_ref()).map_err(|reason| match reason {
                Unreadable::Malformed(text) => reply::text(StatusCode::BAD_REQUEST, &text),
                Unreadable::Unknown(text) => reply::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, &text),
            })?;
        let count = found.len();
        let look = |(index, json): (usize, Bytes)| {
            let max = self.rules.event_bytes_max;
            if json.len() > max {
                let text = format!("an event has at most {max} bytes here; this one has {}", json.len());
                return Err(reply::text(StatusCode::PAYLOAD_TOO_LARGE, &text));
            }
            match self.look(&json) {
                Ok(ready) => Ok(ready),
                Err(text) if count == 1 => Err(reply::text(StatusCode::BAD_REQUEST, &text)),
                Err(text) => {
                    let text = format!("event {} of {count}: {text}", index + 1);
                    Err(reply::text(StatusCode::BAD_REQUEST, &text))
                }
            }
        };
        found.into_iter().enumerate().map(look).collect()
    }

    /// A CloudEvent with its topic. The topic takes the place of its subject, so another subject is kept aside.
    fn look(&self, json: &Bytes) -> Result<Ready, String> {
        let mut event = decode_event(json).map_err(|error| format!("no CloudEvent: {error}"))?;
        let topic = self.topic(&event)?;
        let Some(subject) = event.subject.take().filter(|subject| *subject != topic) else {
            return Ok(Ready { json: json.clone(), topic });
        };
        if event.extension(ORIGINAL_SUBJECT).is_none() {
            event.extensions.push((ORIGINAL_SUBJECT.into(), ExtensionValue::String(subject)));
        }
        let mut json = Vec::with_capacity(json.len() + 64);
        event.write_json(&mut json);
        Ok(Ready { json: json.into(), topic })
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

fn full() -> Reply {
    reply::later(StatusCode::TOO_MANY_REQUESTS, "more is on its way to the mesh than there is room for")
}

fn stopping() -> Reply {
    reply::later(StatusCode::SERVICE_UNAVAILABLE, "this server is going down")
}
