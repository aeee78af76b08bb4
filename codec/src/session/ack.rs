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
use std::fmt;

use crate::frame::{Command, Frame, Header, is_publish_seq};
use crate::json;

/// The answer to a publish. It borrows from its frame: reading one asks for no memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Which event it answers.
    pub about: About<'a>,
    /// What to do with the event.
    pub outcome: Outcome<'a>,
}

/// Which event an ack is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About<'a> {
    /// The one with this id, which the ack's body names. It is right even where the seq is another event's
    /// (section 5.4).
    Id(Cow<'a, str>),
    /// The one that was sent with this seq, since the ack has no body. It is the number that
    /// [`set_publish_seq`](crate::frame::set_publish_seq) wrote.
    Seq(u64),
    /// None of ours: a body without an id, or no body and no seq that we could have written.
    Unknown,
}

/// What to do with a published event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// The server has it.
    Accepted,
    /// Send it again, for ever.
    Retryable(Retry, Reason<'a>),
    /// The server will never take it: reject it, with this reason.
    Permanent(Reason<'a>),
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

/// Why the server said no. It is shown as the server's text, with the remedy where one is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason<'a> {
    /// The result code, not 0.
    pub code: i32,
    /// The server's text; may be empty.
    pub text: &'a str,
    /// What the server's operator can do.
    pub remedy: Option<&'static str>,
}

impl<'a> Reason<'a> {
    /// Of a header that carries a result.
    pub(super) fn of(header: &'a Header) -> Self {
        Self { code: header.code, text: header.desc.as_deref().unwrap_or_default(), remedy: None }
    }

    /// Whether the event was larger than the server takes: a smaller one may pass.
    pub fn is_size_limit(&self) -> bool {
        self.text.contains(SIZE)
    }

    fn says(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| self.text.contains(phrase))
    }
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text {
            "" => write!(formatter, "code {} without a text", self.code)?,
            text => formatter.write_str(text)?,
        }
        self.remedy.map_or(Ok(()), |remedy| write!(formatter, " ({remedy})"))
    }
}

const SIZE: &str = "event size exceeds the limit";
const SIZE_REMEDY: &str = "raise eventMesh.server.maxEventSize of the server, or send less in one event";
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
    match header.command {
        Command::AsyncMessageToServerAck | Command::BroadcastMessageToServerAck => {}
        // A command that the server does not handle comes back as itself (section 2).
        Command::AsyncMessageToServer | Command::BroadcastMessageToServer if header.code != 0 => {}
        _ => return None,
    }
    let outcome = if header.code == 0 { Outcome::Accepted } else { refused(Reason::of(header)) };
    Some(Ack { about: about(frame), outcome })
}

fn about(frame: &Frame) -> About<'_> {
    if frame.body.is_empty() {
        return frame.header.seq.as_deref().and_then(own_seq).map_or(About::Unknown, About::Seq);
    }
    body_id(&frame.body).map_or(About::Unknown, About::Id)
}

/// The number in a seq of ours; of nobody else's.
fn own_seq(seq: &str) -> Option<u64> {
    is_publish_seq(seq.as_bytes()).then(|| seq.parse().ok())?
}

fn refused(reason: Reason<'_>) -> Outcome<'_> {
    match reason {
        _ if reason.is_size_limit() => Outcome::Permanent(Reason { remedy: Some(SIZE_REMEDY), ..reason }),
        _ if reason.code == CODE_OVERLOAD || reason.says(&OVERLOAD) => {
            Outcome::Retryable(Retry::Overload, reason)
        }
        _ if reason.says(&SESSION) => Outcome::Retryable(Retry::Session, reason),
        // Before the permanent ones: these texts end with a topic, which may hold any word.
        _ if reason.says(&LATER) => Outcome::Retryable(Retry::Later, reason),
        _ if reason.code == CODE_ACL || reason.says(&NEVER) => Outcome::Permanent(reason),
        _ => Outcome::Retryable(Retry::Later, reason),
    }
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
