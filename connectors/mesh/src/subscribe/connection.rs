//! One connection that listens: pushes in, acknowledgements out, and leaving, of itself or sent away (protocol manual,
//! sections 3.3 to 3.6).
//!
//! While a run waits for room in the feed nothing more is read, and the server's silence proves nothing; heartbeats go
//! on. Invariant: what is read is handed on before more is read, so at most one run waits here.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flowd_codec::frame::{Command, Frame, Header, PushAck, RunFrame, frames};
use flowd_codec::session::Received;
use flowd_engine::record::Span;
use tokio::sync::{oneshot, watch};
use tracing::{debug, warn};

use super::feed::{Outlet, Progress, Push, Reading, Waiting};
use super::stats::Stats;
use crate::link::Link;
use crate::wire::Wire;

/// Reads in a row before others get their turn.
const READS_MAX: usize = 8;
/// How a connection came to listen no more.
#[derive(Debug)]
pub(super) enum End {
    /// It broke, or is as good as broken.
    Lost(String),
    /// The server sent us away, perhaps to an address.
    SentAway { reason: String, to: Option<String> },
    /// The feed is gone.
    Finished,
}

/// A push that is not acknowledged, and what will acknowledge it.
struct Held {
    number: u64,
    ack: Option<PushAck>,
}

pub(super) struct Connection {
    outlet: Arc<Outlet>,
    stats: Arc<Stats>,
    drain: Duration,
    wire: Wire,
    progress: watch::Receiver<Progress>,
    held: VecDeque<Held>,
    waiting: Option<Waiting>,
    /// Pushes in the run before.
    usual: usize,
    /// For the keeper, until we listen no more.
    departed: Option<oneshot::Sender<End>>,
    leave_by: Option<Instant>,
    /// Neither feed nor confirmer is left.
    is_abandoned: bool,
}

impl Connection {
    pub(super) fn new(reading: &Reading, link: Link, departed: oneshot::Sender<End>) -> Self {
        reading.stats.connected.add(1);
        Self {
            outlet: reading.shared(),
            stats: Arc::clone(&reading.stats),
            drain: reading.config.timing.drain,
            wire: Wire::new(link),
            progress: reading.progress.clone(),
            held: VecDeque::new(),
            waiting: None,
            usual: 0,
            departed: Some(departed),
            leave_by: None,
            is_abandoned: false,
        }
    }

    /// Runs until the connection is over, and tells when it listens no more.
    pub(super) async fn run(mut self) {
        match self.follow().await {
            Ok(()) => {
                self.wire.say_goodbye().await;
                self.depart(End::Finished);
            }
            Err(reason) => {
                if self.leave_by.is_some() {
                    debug!("lost a connection that was being left: {reason}");
                }
                self.depart(End::Lost(reason));
            }
        }
        let unacked = self.held.len() + self.waiting.as_ref().map_or(0, |waiting| waiting.acks.len());
        self.stats.unacked.add(unacked as u64);
        self.stats.in_hand.add(-(unacked as i64));
        self.stats.connected.add(-1);
    }

    fn depart(&mut self, end: End) {
        if let Some(departed) = self.departed.take() {
            // Where the keeper is gone, so is the need to tell it.
            let _ = departed.send(end);
        }
    }

    async fn follow(&mut self) -> Result<(), String> {
        self.take_early();
        loop {
            self.turn()?;
            if self.is_done() {
                return Ok(());
            }
            self.wait().await?;
        }
    }

    /// Everything that can be done now.
    fn turn(&mut self) -> Result<(), String> {
        let now = Instant::now();
        let mut has_heard = self.hand_on(now)?;
        for _ in 0..READS_MAX {
            if self.waiting.is_some() || !self.wire.read()? {
                break;
            }
            has_heard = true;
            self.hand_on(now)?;
        }
        if has_heard || self.waiting.is_some() {
            self.wire.link.session.heard(now);
        }
        self.wire.link.session.tick(now, &mut self.wire.out).map_err(|error| error.to_string())?;
        self.acknowledge();
        self.wire.write()
    }

    /// Hands on what waits, then what was read. Whether there was anything.
    fn hand_on(&mut self, now: Instant) -> Result<bool, String> {
        let mut is_any = false;
        loop {
            if !self.put_waiting() {
                return Ok(is_any);
            }
            let run = self.wire.link.decoder.next_run();
            match run.map_err(|error| format!("the server broke the protocol: {error}"))? {
                Some(run) => self.take_run(run, now)?,
                None => return Ok(is_any),
            }
            is_any = true;
        }
    }

    /// Puts the run that waits into the feed; false while there is no room.
    fn put_waiting(&mut self) -> bool {
        let Some(waiting) = self.waiting.take() else { return true };
        match self.outlet.put(waiting) {
            Ok((before, acks)) => {
                self.held.extend((before + 1..).zip(acks).map(|(number, ack)| Held { number, ack }));
                true
            }
            Err(waiting) => {
                self.waiting = Some(waiting);
                false
            }
        }
    }

    fn take_run(&mut self, bytes: Bytes, now: Instant) -> Result<(), String> {
        let (mut pushes, mut acks) = (Vec::with_capacity(self.usual), Vec::with_capacity(self.usual));
        for frame in frames(&bytes) {
            match frame {
                Ok(RunFrame::Push(push, body)) if !body.is_empty() => {
                    pushes.push(Push { body: span(body), number: acks.len() as u64 });
                    acks.push(Some(push.into_ack()));
                }
                Ok(frame) => match frame.into_parts() {
                    (header, body) if is_push(header.command) => {
                        self.take_push(header, span(body), &mut pushes, &mut acks);
                    }
                    (header, body) => self.take_frame(&Frame { header, body: bytes.slice(body) }, now)?,
                },
                Err(error) if error.is_soft() => debug!("skipped a frame: {error}"),
                Err(error) => return Err(format!("the server broke the protocol: {error}")),
            }
        }
        self.await_room(bytes, pushes, acks);
        Ok(())
    }

    fn take_push(
        &mut self,
        header: Header,
        body: Span,
        pushes: &mut Vec<Push>,
        acks: &mut Vec<Option<PushAck>>,
    ) {
        if header.code == 0 && body.end > body.start {
            pushes.push(Push { body, number: acks.len() as u64 });
        } else {
            self.stats.unreadable.add(1);
            let reason = header.desc.as_deref().unwrap_or("it has no body");
            warn!(reason, "the server pushed an event that it could not write, which is lost");
        }
        acks.push(PushAck::of(header.command, header.seq));
    }

    fn await_room(&mut self, bytes: Bytes, pushes: Vec<Push>, acks: Vec<Option<PushAck>>) {
        debug_assert!(self.waiting.is_none(), "one run waits at a time");
        if !acks.is_empty() {
            self.usual = acks.len();
            self.stats.pushes.add(pushes.len() as u64);
            self.stats.bytes.add(pushes.iter().map(|push| u64::from(push.body.end - push.body.start)).sum());
            self.stats.in_hand.add(acks.len() as i64);
            self.waiting = Some(Waiting { bytes, pushes, acks });
        }
    }

    fn take_frame(&mut self, frame: &Frame, now: Instant) -> Result<(), String> {
        let received = self.wire.link.session.receive(frame, now, &mut self.wire.out);
        match received.map_err(|error| error.to_string())? {
            Received::ServerGoodbye { reason, .. } => {
                self.leave(End::SentAway { reason: format!("goodbye: {reason}"), to: None }, now);
            }
            Received::Redirected(to) => {
                let to = to.map(|to| to.to_string());
                let address = to.as_deref().unwrap_or("an address that cannot be read");
                self.leave(End::SentAway { reason: format!("redirected to {address}"), to }, now);
            }
            Received::Unexpected(command) => debug!(%command, "a frame that a subscriber has no use for"),
            Received::Nothing | Received::Ready | Received::Left | Received::Ack(_) | Received::Push(_) => {}
        }
        Ok(())
    }

    /// What came before the server said that it listens: each push is a run of its own.
    fn take_early(&mut self) {
        let mut early = std::mem::take(&mut self.wire.link.early).into_iter();
        let Some(first) = early.next() else { return };
        // One buffer, so that one run waits.
        let (mut bytes, mut pushes, mut acks) = (Vec::new(), Vec::new(), Vec::new());
        for frame in std::iter::once(first).chain(early) {
            let start = bytes.len() as u32;
            bytes.extend_from_slice(&frame.body);
            let body = Span { start, end: bytes.len() as u32 };
            self.take_push(frame.header, body, &mut pushes, &mut acks);
        }
        self.await_room(bytes.into(), pushes, acks);
    }

    /// Somebody else is to listen from now on; what is in hand is still acknowledged here.
    fn leave(&mut self, end: End, now: Instant) {
        self.leave_by.get_or_insert(now + self.drain);
        self.depart(end);
    }

    fn is_done(&mut self) -> bool {
        let progress = *self.progress.borrow();
        if let Some(last) = progress.last {
            // Nobody will look at what was not taken: another subscriber may have it.
            let dropped = self.waiting.take().map_or(0, |waiting| waiting.acks.len());
            let known = self.held.partition_point(|held| held.number <= last);
            self.stats.in_hand.add(-((dropped + self.held.len() - known) as i64));
            self.held.truncate(known);
            self.depart(End::Finished);
        }
        let is_late = self.leave_by.is_some_and(|by| Instant::now() >= by);
        let is_leaving = self.leave_by.is_some() || progress.last.is_some();
        let is_empty = (self.held.is_empty() || self.is_abandoned) && self.waiting.is_none();
        is_late || (is_leaving && is_empty && self.wire.out.is_empty())
    }

    /// Acknowledges what is confirmed.
    fn acknowledge(&mut self) {
        let confirmed = self.progress.borrow_and_update().confirmed;
        let count = self.held.partition_point(|held| held.number <= confirmed);
        for held in self.held.drain(..count) {
            if let Some(ack) = held.ack {
                ack.encode(&mut self.wire.out);
            }
        }
        self.stats.acked.add(count as u64);
        self.stats.in_hand.add(-(count as i64));
    }

    /// Until there may be something to do.
    async fn wait(&mut self) -> Result<(), String> {
        let until = self.wire.link.session.wake_at().into_iter().chain(self.leave_by).min();
        let until = until.expect("a session that is not over wakes for its heartbeats");
        let (stream, is_finishing) = (&self.wire.link.stream, self.outlet.runs.is_closed());
        tokio::select! {
            result = stream.readable(), if self.waiting.is_none() => result.map_err(|error| error.to_string())?,
            result = stream.writable(), if !self.wire.out.is_empty() => result.map_err(|error| error.to_string())?,
            _ = self.outlet.runs.reserve(), if self.waiting.is_some() && !is_finishing => {}
            // Its sender lives in the feed or in a confirmer.
            result = self.progress.changed(), if !self.is_abandoned => self.is_abandoned = result.is_err(),
            () = tokio::time::sleep_until(until.into()) => {}
        }
        Ok(())
    }
}

fn span(body: Range<usize>) -> Span {
    Span { start: body.start as u32, end: body.end as u32 }
}

fn is_push(command: Command) -> bool {
    matches!(
        command,
        Command::AsyncMessageToClient | Command::BroadcastMessageToClient | Command::RequestToClient
    )
}
