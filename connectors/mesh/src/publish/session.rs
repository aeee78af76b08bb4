//! One greeted connection: publishes out, answers in, and leaving, of itself or sent away (protocol manual, section 3).
//! The session's own frames are the affair of [`ClientSession`](flowd_codec::session::ClientSession); here are its
//! socket and its clock.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

use flowd_codec::frame::Frame;
use flowd_codec::session::{Ack, Outcome, Received};
use tokio::time::{Sleep, sleep_until};
use tracing::debug;

use crate::link::Link;
use crate::publish::pool::{Given, Verdict};
use crate::publish::shared::Shared;

/// Frames that go into one write.
const WRITE_FRAMES_MAX: usize = 64;
/// Reads in a row before others get their turn.
const READS_MAX: usize = 8;
/// Room made for a read.
const READ_BYTES: usize = 64 * 1024;
/// How long the last goodbye is waited for.
const GOODBYE: Duration = Duration::from_secs(1);

/// How a session ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The connection broke, or is as good as broken.
    Lost(String),
    /// The server sent us away, perhaps to an address.
    SentAway { reason: String, to: Option<String> },
    /// It moved to make connections spread evenly.
    Moved,
    /// Everything is acknowledged.
    Finished,
}

struct Leaving {
    by: Instant,
    end: End,
}

pub(crate) struct Session<'a> {
    shared: &'a Shared,
    line: usize,
    link: Link,
    /// Given to this connection and not written.
    outgoing: VecDeque<Given>,
    /// Bytes that go before `outgoing`: the rest of a frame that was cut, and frames of the session itself.
    first: Vec<u8>,
    first_written: usize,
    is_blocked: bool,
    /// The beginning of this turn, and the same as the pool's time.
    now: Instant,
    now_ms: u64,
    leaving: Option<Leaving>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(shared: &'a Shared, line: usize, link: Link) -> Self {
        Self {
            shared,
            line,
            link,
            outgoing: VecDeque::with_capacity(WRITE_FRAMES_MAX),
            first: Vec::new(),
            first_written: 0,
            is_blocked: false,
            now: Instant::now(),
            now_ms: shared.now_ms(),
            leaving: None,
        }
    }

    /// Runs until the session ends. The caller tells the pool that the line is lost.
    pub(crate) async fn run(mut self) -> End {
        self.shared.pool.borrow_mut().open(self.line);
        let mut clock = pin!(sleep_until(self.now.into()));
        loop {
            if let Err(reason) = self.turn() {
                return End::Lost(reason);
            }
            if self.shared.is_finished.get() {
                self.say_goodbye().await;
                return End::Finished;
            }
            if let Some(end) = self.left() {
                self.say_goodbye().await;
                return end;
            }
            self.shared.spread(Some(self.line));
            self.wait(clock.as_mut()).await;
        }
    }

    /// Everything that can be done now.
    fn turn(&mut self) -> Result<(), String> {
        self.now = Instant::now();
        self.now_ms = self.shared.now_ms();
        self.read()?;
        self.link.session.tick(self.now, &mut self.first).map_err(|error| error.to_string())?;
        if self.leaving.is_none() && self.shared.moves[self.line].take() {
            self.leave(End::Moved);
        }
        self.write()
    }

    fn read(&mut self) -> Result<(), String> {
        // What came behind the greeting, the first time.
        self.take_frames()?;
        for _ in 0..READS_MAX {
            let buffer = self.link.decoder.buffer_mut();
            buffer.reserve(READ_BYTES);
            match self.link.stream.try_read_buf(buffer) {
                Ok(0) => return Err("the server closed the connection".to_owned()),
                Ok(_) => self.take_frames()?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    fn take_frames(&mut self) -> Result<(), String> {
        loop {
            match self.link.decoder.next_frame() {
                Ok(Some(frame)) => self.take(&frame)?,
                Ok(None) => return Ok(()),
                Err(error) if error.is_soft() => debug!("skipped a frame: {error}"),
                Err(error) => return Err(format!("the server broke the protocol: {error}")),
            }
        }
    }

    fn take(&mut self, frame: &Frame) -> Result<(), String> {
        let received = self.link.session.receive(frame, self.now, &mut self.first);
        match received.map_err(|error| error.to_string())? {
            Received::Ack(ack) => return self.take_ack(&ack),
            Received::ServerGoodbye { reason, .. } => {
                self.leave(End::SentAway { reason: format!("goodbye: {reason}"), to: None });
            }
            Received::Redirected(to) => {
                let to = to.map(|to| to.to_string());
                let address = to.as_deref().unwrap_or("an address that cannot be read");
                self.leave(End::SentAway { reason: format!("redirected to {address}"), to });
            }
            Received::Nothing | Received::Ready | Received::Left => {}
            Received::Push(_) | Received::Unexpected(_) => {
                debug!(command = %frame.header.command, "a frame that a publisher has no use for");
            }
        }
        Ok(())
    }

    fn take_ack(&mut self, ack: &Ack<'_>) -> Result<(), String> {
        let verdict = self.shared.pool.borrow_mut().answer(self.line, ack, self.now_ms);
        match (verdict, ack.outcome) {
            (Verdict::Reopen, Outcome::Retryable(_, reason)) => {
                Err(format!("the server dropped the session: {reason}"))
            }
            _ => Ok(()),
        }
    }

    /// Takes no more to send, and goes once what is in flight is answered.
    fn leave(&mut self, end: End) {
        self.shared.pool.borrow_mut().drain(self.line);
        self.leaving = Some(Leaving { by: self.now + self.shared.config.timing.drain, end });
    }

    fn left(&mut self) -> Option<End> {
        let drained = self.shared.pool.borrow().in_flight(self.line) == 0;
        self.leaving.take_if(|leaving| drained || Instant::now() >= leaving.by).map(|leaving| leaving.end)
    }

    fn write(&mut self) -> Result<(), String> {
        loop {
            self.fill();
            if self.first.is_empty() && self.outgoing.is_empty() {
                self.is_blocked = false;
                return Ok(());
            }
            match self.write_once() {
                Ok(written) => self.advance(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.is_blocked = true;
                    return Ok(());
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Takes events to send once all earlier ones are written: what waits here cannot go out on another connection.
    fn fill(&mut self) {
        let mut pool = self.shared.pool.borrow_mut();
        self.outgoing.retain(|given| pool.frame(self.line, *given).is_some());
        if self.outgoing.is_empty() {
            let (line, now_ms) = (self.line, self.now_ms);
            self.outgoing.extend(std::iter::from_fn(|| pool.give(line, now_ms)).take(WRITE_FRAMES_MAX));
        }
    }

    fn write_once(&self) -> std::io::Result<usize> {
        let pool = self.shared.pool.borrow();
        let mut slices = [IoSlice::new(&[]); WRITE_FRAMES_MAX + 1];
        let mut count = 0;
        if !self.first.is_empty() {
            slices[0] = IoSlice::new(&self.first[self.first_written..]);
            count = 1;
        }
        for given in &self.outgoing {
            slices[count] = IoSlice::new(pool.frame(self.line, *given).unwrap_or_default());
            count += 1;
        }
        self.link.stream.try_write_vectored(&slices[..count])
    }

    /// Accounts for `written` bytes. The rest of a frame that was cut is copied: its parcel need not outlive its
    /// acknowledgement, and nothing may come between its halves.
    fn advance(&mut self, mut written: usize) {
        let of_first = written.min(self.first.len() - self.first_written);
        self.first_written += of_first;
        written -= of_first;
        if self.first_written == self.first.len() {
            self.first.clear();
            self.first_written = 0;
        }
        let mut pool = self.shared.pool.borrow_mut();
        while written > 0 {
            let given = self.outgoing.pop_front().expect("no more is written than was to be written");
            let frame = pool.frame(self.line, given).unwrap_or_default();
            let whole = frame.len() <= written;
            if whole {
                written -= frame.len();
            } else {
                self.first.extend_from_slice(&frame[written..]);
                written = 0;
            }
            pool.written(given);
        }
    }

    /// Until there may be something to do.
    async fn wait(&mut self, mut clock: Pin<&mut Sleep>) {
        let leave_by = self.leaving.as_ref().map(|leaving| leaving.by);
        let until = self.link.session.wake_at().into_iter().chain(leave_by).min();
        let until = until.expect("a session that is not over wakes for its heartbeats").into();
        if clock.deadline() != until {
            clock.as_mut().reset(until);
        }
        let (stream, bell) = (&self.link.stream, &self.shared.bells[self.line]);
        poll_fn(|context| {
            let heard = bell.poll(context).is_ready();
            // An error shows at the next read or write.
            let readable = stream.poll_read_ready(context).is_ready();
            let writable = self.is_blocked && stream.poll_write_ready(context).is_ready();
            let late = clock.as_mut().poll(context).is_ready();
            if heard || readable || writable || late { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Tells the server that we go and waits a moment for its answer; then the socket is closed, answer or not.
    async fn say_goodbye(&mut self) {
        self.outgoing.clear();
        self.link.session.leave(self.now, &mut self.first);
        let farewell = async {
            loop {
                if self.write_rest().is_err() || self.is_answered_goodbye() {
                    return;
                }
                let stream = &self.link.stream;
                poll_fn(|context| {
                    let readable = stream.poll_read_ready(context).is_ready();
                    let writable = self.is_blocked && stream.poll_write_ready(context).is_ready();
                    if readable || writable { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
            }
        };
        if tokio::time::timeout(GOODBYE, farewell).await.is_err() {
            debug!("the server did not answer the goodbye");
        }
    }

    fn write_rest(&mut self) -> std::io::Result<()> {
        while !self.first.is_empty() {
            match self.write_once() {
                Ok(written) => self.advance(written),
                Err(error) => {
                    self.is_blocked = error.kind() == ErrorKind::WouldBlock;
                    return if self.is_blocked { Ok(()) } else { Err(error) };
                }
            }
        }
        self.is_blocked = false;
        Ok(())
    }

    /// Whether the answer to our goodbye came, or nothing will come any more. Late answers still count.
    fn is_answered_goodbye(&mut self) -> bool {
        let buffer = self.link.decoder.buffer_mut();
        buffer.reserve(READ_BYTES);
        match self.link.stream.try_read_buf(buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != ErrorKind::WouldBlock,
        }
        while let Ok(Some(frame)) = self.link.decoder.next_frame() {
            if self.take(&frame).is_err() {
                return true;
            }
        }
        self.link.session.is_over()
    }
}
