//! One connection that listens: pushes in, acknowledgements out, and leaving, of itself or sent away (protocol manual,
//! sections 3.3 to 3.6).
//!
//! While a run waits for room in the feed nothing more is read, and the server's silence proves nothing; heartbeats go
//! on. Invariant: what is read is handed on before more is read, so at most one run waits here.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flowd_codec::frame::{Command, Frame, Header, RunFrame, encode_parts, frames};
use flowd_codec::session::Received;
use flowd_engine::record::Span;
use tokio::sync::{oneshot, watch};
use tracing::{debug, warn};

use super::feed::{Outlet, Progress, Push, Reading, Waiting};
use super::stats::Stats;
use crate::link::Link;

/// Reads in a row before others get their turn.
const READS_MAX: usize = 8;
/// Room made for a read.
const READ_BYTES: usize = 128 * 1024;
/// How long the last goodbye is waited for.
const GOODBYE: Duration = Duration::from_secs(1);

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

/// A push that is not acknowledged, and the header that will acknowledge it.
struct Held {
    number: u64,
    ack: Option<Header>,
}

pub(super) struct Connection {
    outlet: Arc<Outlet>,
    stats: Arc<Stats>,
    drain: Duration,
    link: Link,
    progress: watch::Receiver<Progress>,
    held: VecDeque<Held>,
    waiting: Option<Waiting>,
    out: Vec<u8>,
    written: usize,
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
            link,
            progress: reading.progress.clone(),
            held: VecDeque::new(),
            waiting: None,
            out: Vec::new(),
            written: 0,
            departed: Some(departed),
            leave_by: None,
            is_abandoned: false,
        }
    }

    /// Runs until the connection is over, and tells when it listens no more.
    pub(super) async fn run(mut self) {
        match self.follow().await {
            Ok(()) => {
                self.say_goodbye().await;
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
            if self.waiting.is_some() || !self.read()? {
                break;
            }
            has_heard = true;
            self.hand_on(now)?;
        }
        if has_heard || self.waiting.is_some() {
            self.link.session.heard(now);
        }
        self.link.session.tick(now, &mut self.out).map_err(|error| error.to_string())?;
        self.acknowledge();
        self.write()
    }

    /// Whether bytes came.
    fn read(&mut self) -> Result<bool, String> {
        let buffer = self.link.decoder.buffer_mut();
        buffer.reserve(READ_BYTES);
        match self.link.stream.try_read_buf(buffer) {
            Ok(0) => Err("the server closed the connection".to_owned()),
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Hands on what waits, then what was read. Whether there was anything.
    fn hand_on(&mut self, now: Instant) -> Result<bool, String> {
        let mut is_any = false;
        loop {
            if !self.put_waiting() {
                return Ok(is_any);
            }
            let run = self.link.decoder.next_run();
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
        let (mut pushes, mut acks) = (Vec::new(), Vec::new());
        for frame in frames(&bytes) {
            match frame {
                Ok(RunFrame { header, body }) if is_push(header.command) => {
                    let span = Span { start: body.start as u32, end: body.end as u32 };
                    self.take_push(header, span, &mut pushes, &mut acks);
                }
                Ok(RunFrame { header, body }) => {
                    self.take_frame(&Frame { header, body: bytes.slice(body) }, now)?;
                }
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
        acks: &mut Vec<Option<Header>>,
    ) {
        if header.code == 0 && body.end > body.start {
            self.stats.pushes.add(1);
            self.stats.bytes.add(u64::from(body.end - body.start));
            pushes.push(Push { body, number: acks.len() as u64 });
        } else {
            self.stats.unreadable.add(1);
            let reason = header.desc.as_deref().unwrap_or("it has no body");
            warn!(reason, "the server pushed an event that it could not write, which is lost");
        }
        // A push without seq waits for no answer.
        let ack = header.command.answer().zip(header.seq);
        acks.push(ack.map(|(command, seq)| Header::request(command, seq)));
    }

    fn await_room(&mut self, bytes: Bytes, pushes: Vec<Push>, acks: Vec<Option<Header>>) {
        debug_assert!(self.waiting.is_none(), "one run waits at a time");
        if !acks.is_empty() {
            self.stats.in_hand.add(acks.len() as i64);
            self.waiting = Some(Waiting { bytes, pushes, acks });
        }
    }

    fn take_frame(&mut self, frame: &Frame, now: Instant) -> Result<(), String> {
        let received = self.link.session.receive(frame, now, &mut self.out);
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
        let mut early = std::mem::take(&mut self.link.early).into_iter();
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
        is_late || (is_leaving && is_empty && self.out.is_empty())
    }

    /// Acknowledges what is confirmed.
    fn acknowledge(&mut self) {
        let confirmed = self.progress.borrow_and_update().confirmed;
        let count = self.held.partition_point(|held| held.number <= confirmed);
        for held in self.held.drain(..count) {
            if let Some(ack) = &held.ack {
                encode_parts(ack, &[], &mut self.out);
            }
        }
        self.stats.acked.add(count as u64);
        self.stats.in_hand.add(-(count as i64));
    }

    fn write(&mut self) -> Result<(), String> {
        while self.written < self.out.len() {
            match self.link.stream.try_write(&self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Until there may be something to do.
    async fn wait(&mut self) -> Result<(), String> {
        let until = self.link.session.wake_at().into_iter().chain(self.leave_by).min();
        let until = until.expect("a session that is not over wakes for its heartbeats");
        let (stream, is_finishing) = (&self.link.stream, self.outlet.runs.is_closed());
        tokio::select! {
            result = stream.readable(), if self.waiting.is_none() => result.map_err(|error| error.to_string())?,
            result = stream.writable(), if !self.out.is_empty() => result.map_err(|error| error.to_string())?,
            _ = self.outlet.runs.reserve(), if self.waiting.is_some() && !is_finishing => {}
            // Its sender lives in the feed or in a confirmer.
            result = self.progress.changed(), if !self.is_abandoned => self.is_abandoned = result.is_err(),
            () = tokio::time::sleep_until(until.into()) => {}
        }
        Ok(())
    }

    /// Tells the server that we go and waits a moment for its answer; then the socket is closed, answer or not.
    async fn say_goodbye(&mut self) {
        self.link.session.leave(Instant::now(), &mut self.out);
        let farewell = async {
            while !self.link.session.is_over() {
                self.write()?;
                if !self.out.is_empty() {
                    self.link.stream.writable().await.map_err(|error| error.to_string())?;
                    continue;
                }
                self.link.stream.readable().await.map_err(|error| error.to_string())?;
                self.read()?;
                // Pushes that come now stay unacknowledged: the server has them again when the connection closes.
                while let Some(frame) = self.link.decoder.next_frame().map_err(|error| error.to_string())? {
                    let received = self.link.session.receive(&frame, Instant::now(), &mut self.out);
                    drop(received.map_err(|error| error.to_string())?);
                }
            }
            Ok::<(), String>(())
        };
        match tokio::time::timeout(GOODBYE, farewell).await {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => debug!("the goodbye was cut short: {reason}"),
            Err(_) => debug!("the server did not answer the goodbye"),
        }
    }
}

fn is_push(command: Command) -> bool {
    matches!(
        command,
        Command::AsyncMessageToClient | Command::BroadcastMessageToClient | Command::RequestToClient
    )
}
