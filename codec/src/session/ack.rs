//! What the answer to a publish means (protocol manual, sections 4.7 and 5).
//!
//! The Java server has one code for every failure, so the text decides. It is searched for these phrases, in this
//! order; texts that are not known are retried, because an event that is sent again is better than one that is lost:
//!
//! | text holds | outcome |
//! |---|---|
//! | `event size exceeds the limit` | permanent; `eventMesh.server.maxEventSize` is named |
//! | `SEND_TOO_FAST`, `Tps overload`, `flow control`, `RejectedExecutionException` (or code 3) | retry, overload |
//! | `no session`, `will be closed` | retry on another session |
//! | `not created`, `not subscribed`, `Send message error` | retry: a subscriber heals it |
//! | `event is null`, extension name and CloudEvents or JSON parse errors | permanent |
//! | `has no auth`, `invalid token`, `no acl permission` (or code 2) | permanent |
//! | anything else, a bare `NullPointerException` included (the server loses true reasons that way) | retry |

use std::borrow::Cow;

use crate::frame::{Command, Frame};
use crate::json;

/// The answer to a publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The event's id, where the answer has a body. It is right even where the seq is another event's (section 5.4):
    /// an ack with an id counts for that event and no other.
    pub id: Option<Cow<'a, str>>,
    /// The seq of the answer; counts only where there is no id.
    pub seq: Option<&'a str>,
    /// What to do with the event.
    pub outcome: Outcome,
}

impl Ack<'_> {
    /// The seq as the number that [`set_publish_seq`](crate::frame::set_publish_seq) wrote. `None` for a seq that is
    /// not ours.
    pub fn seq_number(&self) -> Option<u64> {
        let seq = self.seq.filter(|seq| seq.len() == crate::frame::SEQ_WIDTH)?;
        // `parse` would take a sign.
        seq.bytes().all(|byte| byte.is_ascii_digit()).then(|| seq.parse().ok())?
    }
}

/// What to do with a published event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The server has it.
    Accepted,
    /// Send it again, for ever; with the server's text.
    Retryable(Retry, String),
    /// The server will never take it: reject it, with this reason.
    Permanent(String),
}

/// How to send an event again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Slower: the server is over a limit.
    Overload,
    /// On a new session.
    Session,
    /// After a while.
    Later,
}

const SIZE: &str = "event size exceeds the limit";
const OVERLOAD: [&str; 4] = ["SEND_TOO_FAST", "Tps overload", "flow control", "RejectedExecutionException"];
const SESSION: [&str; 2] = ["no session", "will be closed"];
const LATER: [&str; 3] = ["not created", "not subscribed", "Send message error"];
const NEVER: [&str; 9] = [
    "event is null",
    "nvalid extension",
    "CloudEventRWException",
    "EventDeserializationException",
    "JsonParseException",
    "JsonProcessingException",
    "has no auth",
    "invalid token",
    "no acl permission",
];

/// The code that the protocol has for a refused access, though the Java server never uses it.
const CODE_ACL: i32 = 2;
/// The code for overload, likewise.
const CODE_OVERLOAD: i32 = 3;

/// Reads the answer to a publish; `None` where the frame is something else.
///
/// REQUEST_TO_SERVER is answered by an event, not by an ack, and is not meant here.
pub fn publish_ack(frame: &Frame) -> Option<Ack<'_>> {
    let header = &frame.header;
    if !matches!(header.command, Command::AsyncMessageToServerAck | Command::BroadcastMessageToServerAck) {
        return None;
    }
    let outcome = match header.code {
        0 => Outcome::Accepted,
        code => outcome(code, header.desc.as_deref().unwrap_or("")),
    };
    Some(Ack { id: body_id(&frame.body), seq: header.seq.as_deref(), outcome })
}

fn outcome(code: i32, text: &str) -> Outcome {
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
    let full = || if text.is_empty() { format!("code {code} without a text") } else { text.to_owned() };
    if text.contains(SIZE) {
        let remedy = "raise eventMesh.server.maxEventSize of the server, or send less in one event";
        return Outcome::Permanent(format!("{text} ({remedy})"));
    }
    if code == CODE_OVERLOAD || says(&OVERLOAD) {
        return Outcome::Retryable(Retry::Overload, full());
    }
    if says(&SESSION) {
        return Outcome::Retryable(Retry::Session, full());
    }
    // Before the permanent ones: these texts end with a topic, which may hold any word.
    if says(&LATER) {
        return Outcome::Retryable(Retry::Later, full());
    }
    if code == CODE_ACL || says(&NEVER) {
        return Outcome::Permanent(full());
    }
    Outcome::Retryable(Retry::Later, full())
}

/// The id in an answer's body: a JSON object, or one inside a JSON string literal, as the Java SDK writes bodies.
fn body_id(body: &[u8]) -> Option<Cow<'_, str>> {
    if body.first() != Some(&b'"') {
        return json::find_top_level_string(body, "id");
    }
    let text: String = serde_json::from_slice(body).ok()?;
    let id = json::find_top_level_string(text.as_bytes(), "id")?;
    Some(Cow::Owned(id.into_owned()))
}
