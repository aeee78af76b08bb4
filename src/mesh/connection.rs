//! One socket: frames in, the session's bytes out, with bounds on both.
//!
//! A single task per connection. It stops reading while its outbox is full, so a client that does not read is not
//! served on; worst-case memory is one frame, one read buffer, two outboxes' bounds and one event beyond each.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flowd_codec::frame::{DecodeError, Decoder};
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::broker::{Broker, Shared};
use super::faults::Faults;
use super::limits::Limits;
use super::outbox::Outbox;
use super::session::{Course, FAREWELL, Rules, Session, write_goodbye};

const READ_MIN: usize = 4 << 10;
const READ_MAX: usize = 256 << 10;
/// Frames taken before the broker is unlocked and others get their turn.
const FRAMES_AT_ONCE: usize = 1_024;
/// How long a closing connection may take to send what it has.
const LINGER: Duration = Duration::from_secs(2);

/// What every connection of a server shares.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) shared: Arc<Shared>,
    pub(crate) rules: Rules,
    /// The server's own address without port, for the pushes.
    pub(crate) host: Arc<str>,
    pub(crate) faults: Faults,
    pub(crate) limits: Limits,
    /// Turns true when the server stops.
    pub(crate) stop: watch::Receiver<bool>,
}

/// Serves one client until it goes, misbehaves, falls silent or the server stops.
pub(crate) async fn serve(stream: TcpStream, peer: SocketAddr, context: Context) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "no TCP_NODELAY");
    }
    let notify = Arc::new(Notify::new());
    let seat = context.shared.lock().sit(Arc::clone(&notify));
    let session = Session::new(seat, peer.ip().to_string(), &context, Instant::now());
    let mut connection = Connection {
        stream,
        decoder: Decoder::new(),
        session,
        out: Outbox::default(),
        read: READ_MIN,
        frames_left: false,
        more: false,
        seat,
        notify,
        context,
    };
    if let Err(error) = connection.run().await {
        tracing::debug!(%peer, %error, "connection lost");
    }
    let shared = Arc::clone(&connection.context.shared);
    connection.session.end(&mut shared.lock());
}

struct Connection {
    stream: TcpStream,
    decoder: Decoder,
    session: Session,
    out: Outbox,
    /// The size of the next read.
    read: usize,
    /// Frames are left in the decoder that were not looked at.
    frames_left: bool,
    /// Events are left that need not wait for the socket.
    more: bool,
    seat: u32,
    notify: Arc<Notify>,
    context: Context,
}

/// Waits until the server stops; a server that is gone without a word has stopped too.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

impl Connection {
    async fn run(&mut self) -> io::Result<()> {
        let rules = self.context.rules;
        let shortest =
            rules.ack_timeout.min(rules.hello_timeout).min(rules.silence_max).min(rules.leave_timeout);
        let every = (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(1));
        let mut tick = tokio::time::interval(every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut stop = self.context.stop.clone();
        loop {
            let course = self.turn()?;
            if course == Course::Close {
                return self.close().await;
            }
            let held_until = self.session.held_until(Instant::now());
            let takes_frames = self.frames_left && held_until.is_none();
            if (self.more || takes_frames) && !self.out.is_full() {
                tokio::task::yield_now().await;
                continue;
            }
            let interest = self.interest(held_until.is_some());
            tokio::select! {
                () = self.notify.notified() => {}
                ready = async { match interest {
                    Some(interest) => self.stream.ready(interest).await.map(|_| ()),
                    None => std::future::pending().await,
                } } => ready?,
                () = async { match held_until {
                    Some(until) => tokio::time::sleep_until(until.into()).await,
                    None => std::future::pending().await,
                } } => {}
                _ = tick.tick() => {
                    if self.tick() == Course::Close {
                        return Ok(());
                    }
                }
                () = stopped(&mut stop) => return self.say_goodbye().await,
            }
        }
    }

    fn interest(&self, is_held: bool) -> Option<Interest> {
        match (is_held || self.out.is_full(), self.out.unsent().is_empty()) {
            (false, true) => Some(Interest::READABLE),
            (false, false) => Some(Interest::READABLE | Interest::WRITABLE),
            (true, false) => Some(Interest::WRITABLE),
            (true, true) => None,
        }
    }

    /// Does what can be done without waiting: read, answer, push, write.
    fn turn(&mut self) -> io::Result<Course> {
        let mut course = Course::Stay;
        let takes = self.session.held_until(Instant::now()).is_none() && !self.out.is_full();
        if takes && !self.frames_left {
            self.decoder.buffer_mut().reserve(self.read);
            match self.stream.try_read_buf(self.decoder.buffer_mut()) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.read = if count >= self.read { (self.read * 2).min(READ_MAX) } else { self.read }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        let shared = Arc::clone(&self.context.shared);
        {
            let mut broker = shared.lock();
            if broker.is_broken() {
                return Ok(Course::Close);
            }
            if takes {
                course = self.take_frames(&mut broker)?;
            }
            let now = Instant::now();
            self.more = self.session.pump(&self.context.host, &mut broker, &mut self.out, now)?;
            self.settle(&mut broker);
            if broker.work().0 {
                shared.work.notify_one();
            }
        }
        self.write()?;
        Ok(course)
    }

    fn take_frames(&mut self, broker: &mut Broker) -> io::Result<Course> {
        let now = Instant::now();
        let mut course = Course::Stay;
        self.frames_left = false;
        for count in 0.. {
            if count == FRAMES_AT_ONCE || self.out.is_full() || self.session.held_until(now).is_some() {
                self.frames_left = true;
                break;
            }
            match self.decoder.next_frame() {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    self.context.faults.reset(frame.header.command)?;
                    if self.session.receive(frame, broker, &mut self.out, now) == Course::Close {
                        course = Course::Close;
                        break;
                    }
                }
                Err(error @ (DecodeError::MissingHeader | DecodeError::MissingCommand)) => {
                    write_goodbye(self.out.push(), 1, &format!("java.lang.Exception: {error}"));
                    course = Course::Close;
                    break;
                }
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        }
        broker.wake_readers();
        Ok(course)
    }

    /// Frees replies that are durable by now; for the others asks to be woken.
    fn settle(&mut self, broker: &mut Broker) {
        self.out.release(broker.durable());
        if self.out.is_holding() {
            broker.await_commit(self.seat);
        }
    }

    fn tick(&mut self) -> Course {
        let shared = Arc::clone(&self.context.shared);
        let mut broker = shared.lock();
        let course = self.session.tick(&mut broker, &mut self.out, Instant::now());
        broker.wake_readers();
        course
    }

    fn write(&mut self) -> io::Result<()> {
        while !self.out.unsent().is_empty() {
            match self.stream.try_write(self.out.unsent()) {
                Ok(count) => self.out.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The server stops: what was acknowledged by the disk is answered, then the client hears goodbye.
    async fn say_goodbye(&mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.context.shared);
        let answered = async {
            loop {
                {
                    let mut broker = shared.lock();
                    self.settle(&mut broker);
                    if !self.out.is_holding() || broker.is_broken() {
                        break;
                    }
                    shared.work.notify_one();
                }
                self.notify.notified().await;
            }
        };
        if timeout(LINGER, answered).await.is_err() {
            tracing::warn!("publishes without an answer at the end: the disk did not take them in time");
        }
        write_goodbye(self.out.push(), 0, FAREWELL);
        self.close().await
    }

    /// Sends what is left and waits for the client to close, so that our last words are not lost to a reset.
    async fn close(&mut self) -> io::Result<()> {
        let flush = async {
            while !self.out.unsent().is_empty() {
                self.stream.writable().await?;
                self.write()?;
            }
            io::Result::Ok(())
        };
        timeout(LINGER, flush).await.unwrap_or_else(|late| Err(late.into()))?;
        self.stream.shutdown().await?;
        let drain = async {
            loop {
                self.stream.readable().await?;
                self.decoder.buffer_mut().reserve(READ_MIN);
                match self.stream.try_read_buf(self.decoder.buffer_mut()) {
                    Ok(0) => return io::Result::Ok(()),
                    Ok(_) => self.take_last_acks()?,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        };
        timeout(Duration::from_millis(500), drain).await.unwrap_or(Ok(()))
    }

    /// What a client acknowledges while we close need not go out again; nothing else is taken any more.
    fn take_last_acks(&mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.context.shared);
        let mut broker = shared.lock();
        while let Some(frame) = self.decoder.next_frame().map_err(io::Error::other)? {
            if frame.header.command.is_push_ack() {
                self.session.receive(frame, &mut broker, &mut self.out, Instant::now());
            }
        }
        Ok(())
    }
}
