//! The life of a client's session with an EventMesh server, without I/O and without a clock: the caller gives frames
//! and the time, and sends what is appended to its buffer (protocol manual, sections 3 and 10.1).
//!
//! Two roles, one connection each: a publisher is ready after HELLO, a subscriber after HELLO, SUBSCRIBE and LISTEN.
//! Publishing and acknowledging are not the session's business: [`publish_ack`] says what an ack means, and
//! [`Push::write_ack`] answers a push.
//!
//! Invariant: every wait has an end. [`ClientSession::wake_at`] names the next moment at which
//! [`ClientSession::tick`] has something to do, in every state but the last.

use std::time::{Duration, Instant};

use bytes::Bytes;
use compact_str::CompactString;
use thiserror::Error;

use crate::frame::{Command, Frame, Header, PushAck, Redirect, Subscription, UserAgent, encode_parts};

mod ack;

pub use ack::{About, Ack, Outcome, Reason, Retry, publish_ack};

/// How long a session waits, and how often it calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// From one heartbeat to the next. A Java server drops a session that is silent for 60 s, and only heartbeats
    /// count for it (section 3.2).
    pub heartbeat: Duration,
    /// For an answer to anything that the session asks.
    pub answer: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { heartbeat: Duration::from_secs(25), answer: Duration::from_secs(20) }
    }
}

/// What the connection is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Publishes.
    Publisher,
    /// Receives the topics.
    Subscriber(Subscription),
}

/// What a frame meant.
#[derive(Debug, PartialEq)]
pub enum Received<'a> {
    /// The session has dealt with it; maybe there is an answer to send.
    Nothing,
    /// The session has just become ready: publish, or expect pushes.
    Ready,
    /// A publish was answered.
    Ack(Ack<'a>),
    /// An event for a subscriber; answer it when it is dealt with.
    Push(Push),
    /// The server will close the session within 30 s: send nothing new, take what is still coming, connect anew.
    ServerGoodbye {
        /// 0 for an orderly end, 1 for an error.
        code: i32,
        /// Why.
        reason: String,
    },
    /// As a goodbye, with the address to connect to. `None` where the server's address cannot be read.
    Redirected(Option<Redirect>),
    /// Our goodbye was answered: close the connection.
    Left,
    /// A frame that nobody asked for; count it and go on.
    Unexpected(Command),
}

/// Why a session is over. All of these can be healed by a new connection, except for what a server refuses for good,
/// which only its text can tell.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SessionError {
    /// The server said no to a step of the session's life.
    #[error("the server refused {request}: {reason}")]
    Refused {
        /// The step.
        request: Command,
        /// The server's text; of HELLO it is a stack trace without the message (section 2).
        reason: String,
    },
    /// No answer in time: the connection is dead or the server hangs.
    #[error("no answer to {request} within {within:?}")]
    Silent {
        /// What was asked.
        request: Command,
        /// How long the session waited.
        within: Duration,
    },
}

/// An event pushed to a subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// The command that it came with.
    pub command: Command,
    /// To be echoed by the ack.
    pub seq: Option<CompactString>,
    /// Not 0 where the server could not encode the event: the body is then empty. Count it, ack it, go on.
    pub code: i32,
    /// The server's text, if the code is not 0.
    pub reason: Option<CompactString>,
    /// The event as structured JSON.
    pub body: Bytes,
}

impl Push {
    /// Appends the ack, where the push waits for one.
    pub fn write_ack(&self, out: &mut Vec<u8>) {
        if let Some(ack) = PushAck::of(self.command, self.seq.clone()) {
            ack.encode(out);
        }
    }
}

/// Something asked that has not been answered.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    request: Command,
    until: Instant,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Nothing was sent yet.
    New,
    /// One of HELLO, SUBSCRIBE, LISTEN is under way.
    Opening(Asked),
    Ready,
    /// The server has announced the end; what is in flight may still be answered.
    Ending,
    /// Our goodbye is under way.
    Leaving(Asked),
    /// Left, refused or dead.
    Over,
}

/// One client connection's session.
#[derive(Debug)]
pub struct ClientSession {
    agent: UserAgent,
    role: Role,
    timing: Timing,
    state: State,
    /// When the next heartbeat goes out; only once HELLO was accepted.
    heartbeat_due: Option<Instant>,
    heartbeat: Option<Asked>,
    /// Number of control requests sent, for their seqs.
    asked_count: u64,
}

impl ClientSession {
    /// A session that has not begun. The agent's `purpose` is set to suit the role.
    pub fn new(agent: UserAgent, role: Role, timing: Timing) -> Self {
        let purpose = match role {
            Role::Publisher => "pub",
            Role::Subscriber(_) => "sub",
        };
        let agent = UserAgent { purpose: Some(purpose.to_owned()), ..agent };
        Self { agent, role, timing, state: State::New, heartbeat_due: None, heartbeat: None, asked_count: 0 }
    }

    /// Begins the session on a fresh connection: appends HELLO.
    pub fn start(&mut self, now: Instant, out: &mut Vec<u8>) {
        debug_assert_eq!(self.state, State::New, "a session begins once");
        let body = serde_json::to_vec(&self.agent).expect("texts and numbers are always serialised");
        let asked = self.ask(Command::HelloRequest, &body, now, out);
        self.state = State::Opening(asked);
    }

    /// Whether new publishes may be sent.
    pub fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// Whether nothing more will come of it: left, refused or dead.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Takes one frame; appends what has to be sent in return.
    ///
    /// # Errors
    /// Where the server refuses a step; the session is then over.
    pub fn receive<'a>(
        &mut self,
        frame: &'a Frame,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Received<'a>, SessionError> {
        if let Some(ack) = publish_ack(frame) {
            return Ok(Received::Ack(ack));
        }
        let header = &frame.header;
        match header.command {
            Command::AsyncMessageToClient | Command::BroadcastMessageToClient | Command::RequestToClient => {
                Ok(Received::Push(push_of(frame)))
            }
            Command::HelloResponse | Command::SubscribeResponse | Command::ListenResponse => {
                self.opened(frame, now, out)
            }
            Command::HeartbeatResponse => {
                self.heartbeat = None;
                self.accepted(frame, Command::HeartbeatRequest)?;
                Ok(Received::Nothing)
            }
            Command::HeartbeatRequest => {
                answer(header, Command::HeartbeatResponse, out);
                Ok(Received::Nothing)
            }
            Command::ServerGoodbyeRequest => {
                answer(header, Command::ServerGoodbyeResponse, out);
                self.end();
                Ok(Received::ServerGoodbye { code: header.code, reason: reason_of(header) })
            }
            Command::RedirectToClient => {
                self.end();
                Ok(Received::Redirected(serde_json::from_slice(&frame.body).ok()))
            }
            Command::ClientGoodbyeResponse if matches!(self.state, State::Leaving(_)) => {
                self.state = State::Over;
                Ok(Received::Left)
            }
            command => Ok(Received::Unexpected(command)),
        }
    }

    /// Does what is due: appends a heartbeat, or finds that the server is silent.
    ///
    /// # Errors
    /// [`SessionError::Silent`]; the session is then over.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<u8>) -> Result<(), SessionError> {
        if self.state == State::Over {
            return Ok(());
        }
        let waiting = match &self.state {
            State::Opening(asked) | State::Leaving(asked) => Some(asked),
            _ => None,
        };
        let late = waiting.into_iter().chain(&self.heartbeat).find(|asked| now >= asked.until);
        if let Some(late) = late {
            let error = SessionError::Silent { request: late.request, within: self.timing.answer };
            self.state = State::Over;
            return Err(error);
        }
        if self.heartbeat_due.is_some_and(|due| now >= due) {
            self.heartbeat_due = Some(now + self.timing.heartbeat);
            let asked = self.ask(Command::HeartbeatRequest, &[], now, out);
            // One unanswered heartbeat decides; a second one must not give the server more time.
            self.heartbeat.get_or_insert(asked);
        }
        Ok(())
    }

    /// Something came, or waits to be read: the answer to a heartbeat is waited for from now on again. A subscriber that
    /// cannot take more pushes leaves them in the socket, and what the server answered behind them.
    pub fn heard(&mut self, now: Instant) {
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.until = now + self.timing.answer;
        }
    }

    /// When [`tick`](Self::tick) has to be called next; `None` before the start and after the end.
    pub fn wake_at(&self) -> Option<Instant> {
        let waiting = match &self.state {
            State::New | State::Over => return None,
            State::Opening(asked) | State::Leaving(asked) => Some(asked.until),
            State::Ready | State::Ending => None,
        };
        let heartbeat = self.heartbeat.as_ref().map(|asked| asked.until);
        [waiting, heartbeat, self.heartbeat_due].into_iter().flatten().min()
    }

    /// Says goodbye: appends the request; the answer is [`Received::Left`]. A session that has not begun, or that is
    /// over, has nobody to say it to.
    pub fn leave(&mut self, now: Instant, out: &mut Vec<u8>) {
        if matches!(self.state, State::New | State::Over | State::Leaving(_)) {
            return;
        }
        let asked = self.ask(Command::ClientGoodbyeRequest, &[], now, out);
        self.state = State::Leaving(asked);
    }

    /// The answer to a step of opening; takes the next one. Answers that belong to no step (a late one, one to a
    /// step that somebody else asked for) are unexpected, not errors.
    fn opened<'a>(
        &mut self,
        frame: &Frame,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Received<'a>, SessionError> {
        let request = match &self.state {
            State::Opening(asked) if asked.request.answer() == Some(frame.header.command) => asked.request,
            _ => return Ok(Received::Unexpected(frame.header.command)),
        };
        self.accepted(frame, request)?;
        if request == Command::HelloRequest {
            self.heartbeat_due = Some(now + self.timing.heartbeat);
        }
        let next = match (request, &self.role) {
            (Command::HelloRequest, Role::Subscriber(subscription)) => {
                let body = serde_json::to_vec(subscription).expect("texts are always serialised");
                Some((Command::SubscribeRequest, body))
            }
            // At once: what is pushed between the two is lost on a Java server (section 3.3).
            (Command::SubscribeRequest, _) => Some((Command::ListenRequest, Vec::new())),
            _ => None,
        };
        match next {
            Some((command, body)) => {
                let asked = self.ask(command, &body, now, out);
                self.state = State::Opening(asked);
                Ok(Received::Nothing)
            }
            None => {
                self.state = State::Ready;
                Ok(Received::Ready)
            }
        }
    }

    fn accepted(&mut self, frame: &Frame, request: Command) -> Result<(), SessionError> {
        if frame.header.code == 0 {
            return Ok(());
        }
        self.state = State::Over;
        Err(SessionError::Refused { request, reason: reason_of(&frame.header) })
    }

    fn end(&mut self) {
        if !matches!(self.state, State::Leaving(_) | State::Over) {
            self.state = State::Ending;
        }
    }

    /// Appends a control request. Its seq begins with a letter, so that it is never taken for a publish.
    fn ask(&mut self, request: Command, body: &[u8], now: Instant, out: &mut Vec<u8>) -> Asked {
        self.asked_count += 1;
        encode_parts(&Header::request(request, format!("c{}", self.asked_count)), body, out);
        Asked { request, until: now + self.timing.answer }
    }
}

fn push_of(frame: &Frame) -> Push {
    let header = &frame.header;
    Push {
        command: header.command,
        seq: header.seq.clone(),
        code: header.code,
        reason: if header.code == 0 { None } else { header.desc.clone() },
        body: frame.body.clone(),
    }
}

/// Answers a server's request, if it can be answered: without a seq nobody waits for it.
fn answer(request: &Header, command: Command, out: &mut Vec<u8>) {
    if let Some(seq) = &request.seq {
        encode_parts(&Header::request(command, seq.clone()), &[], out);
    }
}

fn reason_of(header: &Header) -> String {
    Reason::of(header).to_string()
}

#[cfg(test)]
mod tests;
