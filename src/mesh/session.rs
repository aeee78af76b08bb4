//! One client's session: what it said in its HELLO, what it reads, what it has in hand. No I/O; the connection feeds
//! frames and clock readings in and takes bytes out of the outbox.
//!
//! States: not greeted → greeted → leaving (after its goodbye). Invariant: an event in hand is released to its group
//! when the session ends, however it ends. Replies follow the protocol manual, sections 2, 3 and 10.2; failures are
//! code 1 with the texts of the Java server where clients match on them.

use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use flowd_codec::frame::{
    Command, Frame, Header, Properties, Redirect, Subscription, SubscriptionMode, SubscriptionType,
    UserAgent, encode_parts,
};

use super::broker::{Broker, Place, Refusal};
use super::connection::Context;
use super::faults::{Faults, HeldBack};
use super::limits::Limits;
use super::outbox::{FULL, Outbox};
use super::publish::{self, Envelope};
use super::topic::Seat;
use super::window::Window;
use crate::time::now_ms;

/// Topics one session may subscribe to.
const SUBSCRIPTIONS_MAX: usize = 4_096;
/// Bytes of a topic's or group's name.
const NAME_MAX: usize = 1_024;
const NO_SESSION: &str = "java.lang.Exception: no session is found";
const NOT_SUB: &str = "java.lang.Exception: client purpose config is not sub";
/// The texts on which clients know that a refusal may pass (protocol manual, section 10.2).
const OVERLOAD: &str = "Tps overload, global flow control";
const TOO_FAST: &str = "java.lang.Exception: SEND_TOO_FAST";
/// With the last goodbye, whoever leaves.
pub(crate) const FAREWELL: &str = "graceful normal quit from eventmesh";

/// The times and bounds a session keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// Events in hand at most.
    pub(crate) window: usize,
    /// An unacknowledged event goes out again after this.
    pub(crate) ack_timeout: Duration,
    /// Un-greeted connections are closed after this.
    pub(crate) hello_timeout: Duration,
    /// Silent sessions are closed after this.
    pub(crate) silence_max: Duration,
    /// A session that said goodbye is closed after this.
    pub(crate) leave_timeout: Duration,
}

/// Whether the connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Course {
    Stay,
    /// Send what is there, then close.
    Close,
}

#[derive(Debug)]
struct Reading {
    topic: String,
    place: Place,
    push: Command,
}

#[derive(Debug)]
struct Client {
    reads: bool,
    group: String,
    listening: bool,
    readings: Vec<Reading>,
    envelope: Envelope,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Session {
    seat: Seat,
    /// The client's, for the pushes.
    address: String,
    faults: Faults,
    limits: Limits,
    rules: Rules,
    client: Option<Client>,
    held_back: HeldBack,
    in_hand: Window,
    since: Instant,
    heard: Instant,
    left: Option<Instant>,
    /// Reused for bodies.
    body: Vec<u8>,
    /// Reused for the headers of pushes.
    push: Header,
    first: usize,
}

impl Session {
    pub(crate) fn new(seat: Seat, address: String, context: &Context, now: Instant) -> Self {
        Self {
            seat,
            address,
            faults: context.faults.clone(),
            limits: context.limits.clone(),
            rules: context.rules,
            client: None,
            held_back: HeldBack::default(),
            in_hand: Window::new(context.rules.window, now),
            since: now,
            heard: now,
            left: None,
            body: Vec::new(),
            push: Header {
                properties: Properties::push(),
                ..Header::request(Command::AsyncMessageToClient, String::new())
            },
            first: 0,
        }
    }

    /// Takes one frame and queues its reply, if it has one.
    pub(crate) fn receive(
        &mut self,
        frame: Frame,
        broker: &mut Broker,
        out: &mut Outbox,
        now: Instant,
    ) -> Course {
        self.heard = now;
        self.limits.count_frame(now);
        let Frame { header, body } = frame;
        let command = header.command;
        if command.is_push_ack() {
            self.acknowledge(&header, broker, now);
            return Course::Stay;
        }
        if self.client.is_none() && command != Command::HelloRequest {
            return self.refuse_stranger(&header, broker, out);
        }
        let result = match command {
            Command::AsyncMessageToServer | Command::BroadcastMessageToServer => {
                if self.faults.drop_ack() {
                    self.publish(&header, &body, broker, &mut Outbox::default(), now);
                } else {
                    self.publish(&header, &body, broker, out, now);
                }
                return Course::Stay;
            }
            Command::HelloRequest => self.hello(&body),
            Command::HeartbeatRequest => Ok(()),
            Command::SubscribeRequest => match serde_json::from_slice::<Subscription>(&body) {
                Ok(subscription) => self.subscribe(subscription, broker),
                // A body that is there and no subscription closes the connection, like a malformed frame.
                Err(_) if !body.is_empty() => return Course::Close,
                Err(_) => self.subscribe(Subscription::default(), broker),
            },
            Command::UnsubscribeRequest => {
                self.leave_groups(broker);
                Ok(())
            }
            Command::ListenRequest => self.listen(),
            Command::ClientGoodbyeRequest => {
                self.left.get_or_insert(now);
                Ok(())
            }
            Command::RecommendRequest => {
                Err("java.lang.Exception: registry enable config is false, not support".to_owned())
            }
            // Answers of the client, which nobody waits for.
            Command::ServerGoodbyeResponse | Command::ResponseToServer | Command::HeartbeatResponse => {
                return Course::Stay;
            }
            other => Err(format!(
                "java.lang.UnsupportedOperationException: {other} is not supported by this server"
            )),
        };
        let failed_hello = command == Command::HelloRequest && result.is_err();
        // Who is told so may rely on it: groups that exist, and acknowledgements before a goodbye, survive a crash.
        let promises = matches!(command, Command::SubscribeRequest | Command::ClientGoodbyeRequest);
        let lsn = if promises { broker.seal() } else { 0 };
        answer(&header, result, lsn, broker, out);
        if failed_hello { Course::Close } else { Course::Stay }
    }

    /// Pushes a fair share of the waiting events while there is room; says whether to come again soon.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(crate) fn pump(
        &mut self,
        server: &str,
        broker: &mut Broker,
        out: &mut Outbox,
        now: Instant,
    ) -> io::Result<bool> {
        let Some(client) = &mut self.client else { return Ok(false) };
        if !client.listening || self.left.is_some() || client.readings.is_empty() {
            return Ok(false);
        }
        let count = client.readings.len();
        // The reading that goes first changes, so that a busy topic does not starve the others.
        self.first = (self.first + 1) % count;
        let now_ms = now_ms();
        let mut taken = 0;
        for step in 0..count {
            let reading = &client.readings[(self.first + step) % count];
            let room = self.in_hand.room();
            if room == 0 || out.unsent().len() >= FULL {
                self.held_back.release(out.push());
                return Ok(room > 0);
            }
            self.push.command = reading.push;
            let (in_hand, held_back) = (&mut self.in_hand, &mut self.held_back);
            taken += broker.take(reading.place, room, |event| {
                self.body.clear();
                publish::write_push(&mut self.body, &event, &client.envelope, server, now_ms);
                publish::set_seq(&mut self.push, event.seq);
                let fate = self.faults.fate();
                held_back.send(fate, out.push(), |out| encode_parts(&self.push, &self.body, out));
                in_hand.add(reading.place, &event, now);
                if out.unsent().len() >= FULL { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
        }
        if taken == 0 {
            self.held_back.release(out.push());
            broker.starve(self.seat);
        }
        Ok(taken > 0)
    }

    /// Looks after time-outs; to be called every now and then.
    pub(crate) fn tick(&mut self, broker: &mut Broker, out: &mut Outbox, now: Instant) -> Course {
        let silent = now.duration_since(self.heard) >= self.rules.silence_max;
        let ungreeted = self.client.is_none() && now.duration_since(self.since) >= self.rules.hello_timeout;
        let gone = self.left.is_some_and(|left| now.duration_since(left) >= self.rules.leave_timeout);
        if silent || ungreeted || gone {
            tracing::debug!(silent, ungreeted, gone, "connection closed");
            return Course::Close;
        }
        match self.faults.forget_after() {
            Some(after) => self.in_hand.forget(after, broker, now),
            None => self.in_hand.expire(self.rules.ack_timeout, broker, now),
        }
        self.send_away(out, now);
        Course::Stay
    }

    /// Until when no frame is taken, if that is after `now`: the client is over a rate.
    pub(crate) fn held_until(&self, now: Instant) -> Option<Instant> {
        self.limits.held_until(now)
    }

    /// Ends the session: everything in hand goes back to the groups.
    pub(crate) fn end(&mut self, broker: &mut Broker) {
        self.leave_groups(broker);
        broker.wake_readers();
        broker.stand_up(self.seat);
    }

    fn refuse_stranger(&mut self, header: &Header, broker: &Broker, out: &mut Outbox) -> Course {
        if !matches!(header.command, Command::ServerGoodbyeResponse | Command::ResponseToServer) {
            answer(header, Err(NO_SESSION.to_owned()), 0, broker, out);
        }
        Course::Stay
    }

    fn hello(&mut self, body: &[u8]) -> Result<(), String> {
        if self.client.is_some() {
            return Ok(()); // A second HELLO is answered and ignored.
        }
        let agent: UserAgent = serde_json::from_slice(body)
            .map_err(|error| format!("java.lang.Exception: client should send its user agent: {error}"))?;
        agent.version.as_deref().ok_or("java.lang.Exception: client version cannot be null")?;
        let reads = match agent.purpose.as_deref() {
            Some("pub") => false,
            Some("sub") => true,
            _ => return Err("java.lang.Exception: client purpose config is error".to_owned()),
        };
        let group = agent.group.clone().filter(|group| !group.trim().is_empty() && group.len() <= NAME_MAX);
        let group = group.ok_or("java.lang.Exception: client group cannot be null or blank")?;
        let envelope = Envelope::new(&agent, &group, &self.address);
        self.client = Some(Client { reads, group, listening: false, readings: Vec::new(), envelope });
        Ok(())
    }

    fn subscribe(&mut self, subscription: Subscription, broker: &mut Broker) -> Result<(), String> {
        let client = self.client.as_mut().ok_or(NO_SESSION)?;
        let items = subscription
            .topic_list
            .ok_or("java.lang.NullPointerException: subscriptionInfo can not be null")?;
        if !client.reads {
            return Err(NOT_SUB.to_owned());
        }
        for item in items {
            if item.topic.trim().is_empty() || item.topic.len() > NAME_MAX {
                return Err(format!("java.lang.Exception: topic must have 1 to {NAME_MAX} bytes"));
            }
            if client.readings.iter().any(|reading| reading.topic == item.topic) {
                continue;
            }
            if client.readings.len() >= SUBSCRIPTIONS_MAX {
                return Err(format!(
                    "java.lang.Exception: a session reads at most {SUBSCRIPTIONS_MAX} topics"
                ));
            }
            let (group, push) = match (item.mode, item.kind) {
                (Some(SubscriptionMode::Broadcasting), _) => (None, Command::BroadcastMessageToClient),
                (_, Some(SubscriptionType::Sync)) => (Some(&*client.group), Command::RequestToClient),
                _ => (Some(&*client.group), Command::AsyncMessageToClient),
            };
            let place = broker.subscribe(self.seat, &item.topic, group).map_err(refusal_text)?;
            client.readings.push(Reading { topic: item.topic, place, push });
        }
        Ok(())
    }

    fn listen(&mut self) -> Result<(), String> {
        let client = self.client.as_mut().ok_or(NO_SESSION)?;
        if !client.reads {
            return Err(NOT_SUB.to_owned());
        }
        client.listening = true;
        Ok(())
    }

    fn acknowledge(&mut self, header: &Header, broker: &mut Broker, now: Instant) {
        let Some(seq) = header.seq.as_deref().and_then(|seq| seq.parse::<u64>().ok()) else { return };
        self.in_hand.acknowledge(seq, broker, now);
    }

    /// Tells the client to go, if the faults want that by now. It may still publish and acknowledge until it is closed.
    fn send_away(&mut self, out: &mut Outbox, now: Instant) {
        let Some((after, to)) = self.faults.leave_after() else { return };
        if self.client.is_none() || self.left.is_some() || now.duration_since(self.since) < after {
            return;
        }
        self.left = Some(now);
        self.held_back.release(out.push());
        match to {
            Some(to) => write_redirect(out.push(), to),
            None => write_goodbye(out.push(), 0, FAREWELL),
        }
    }

    /// Stores a published event and queues its acknowledgement.
    fn publish(&mut self, header: &Header, body: &[u8], broker: &mut Broker, out: &mut Outbox, now: Instant) {
        self.body.clear();
        let stored = self.store(header, body, broker, now);
        match stored {
            Ok(lsn) => {
                let reply = reply_to(header, 0, "success");
                out.reply(lsn, broker.durable(), |out| encode_parts(&reply, &self.body, out));
            }
            Err(text) => answer(header, Err(text), 0, broker, out),
        }
    }

    /// The LSN from which on the event is durable; its acknowledgement is in `self.body`. Checked in the order of the
    /// Java server, so that an event that is too large is told so at any rate.
    fn store(
        &mut self,
        header: &Header,
        body: &[u8],
        broker: &mut Broker,
        now: Instant,
    ) -> Result<u64, String> {
        let event = publish::check(&header.properties, body, now_ms(), self.limits.event_size())?;
        if !self.limits.admit_publish(now) {
            return Err(OVERLOAD.to_owned());
        }
        if self.faults.is_too_fast() {
            return Err(TOO_FAST.to_owned());
        }
        let lsn = broker.publish(&event.subject, event.arrival, &event.body).map_err(refusal_text)?;
        publish::write_ack(&mut self.body, &event);
        Ok(lsn)
    }

    fn leave_groups(&mut self, broker: &mut Broker) {
        self.in_hand.give_back(broker);
        if let Some(client) = &mut self.client {
            for reading in client.readings.drain(..) {
                broker.leave(self.seat, reading.place);
            }
        }
    }
}

/// Queues the plain answer to a request: code 0 `success`, or code 1 with a text.
fn answer(header: &Header, result: Result<(), String>, lsn: u64, broker: &Broker, out: &mut Outbox) {
    let reply = match result {
        Ok(()) => reply_to(header, 0, "success"),
        Err(text) => reply_to(header, 1, &text),
    };
    out.reply(lsn, broker.durable(), |out| encode_parts(&reply, &[], out));
}

fn reply_to(request: &Header, code: i32, desc: &str) -> Header {
    let command = request.command.answer().unwrap_or(request.command);
    reply_header(command, code, desc, request.seq.as_deref().unwrap_or_default())
}

/// A reply's header. The Java SDK closes on a frame without `seq`, so there always is one.
fn reply_header(command: Command, code: i32, desc: &str, seq: &str) -> Header {
    Header { code, desc: Some(desc.into()), ..Header::request(command, seq) }
}

/// A frame that the server sends of its own accord.
pub(crate) fn write_goodbye(out: &mut Vec<u8>, code: i32, desc: &str) {
    let header = reply_header(Command::ServerGoodbyeRequest, code, desc, "0");
    encode_parts(&header, &[], out);
}

/// Sends a client to another server.
fn write_redirect(out: &mut Vec<u8>, to: SocketAddr) {
    let redirect = Redirect { ip: to.ip().to_string(), port: to.port().into() };
    let body = serde_json::to_vec(&redirect).expect("texts and numbers are always serialised");
    encode_parts(&Header::request(Command::RedirectToClient, "0"), &body, out);
}

fn refusal_text(refusal: Refusal) -> String {
    match refusal {
        Refusal::Full => OVERLOAD.to_owned(),
        Refusal::Crowded => "java.lang.Exception: this server holds no more topics or groups".to_owned(),
        Refusal::Broken => "java.io.IOException: the journal of this server cannot be written".to_owned(),
    }
}
