//! The announcer's thread: a connection, and the times at which reports go out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::AHashMap;
use flowd_codec::applied::{ReportWriter, control_topic_of};
use flowd_codec::event::Framing;
use flowd_codec::frame::set_publish_seq;
use flowd_codec::session::{Outcome, Received, Role};
use flowd_engine::back_off::BackOff;
use tracing::{debug, info, warn};

use super::ledger::Scope;
use super::{AnnounceSettings, Shared, Stats, now_us};
use crate::config::MeshConfig;
use crate::link;
use crate::muffler::Muffler;
use crate::wire::Wire;

pub(super) struct Speaker {
    config: MeshConfig,
    settings: AnnounceSettings,
    shared: Arc<Shared>,
    stats: Arc<Stats>,
    /// Tells this process's reports from an earlier one's.
    run: u64,
    /// One for each source; none where the source's name tells no control topic.
    writers: AHashMap<Arc<str>, Option<ReportWriter>>,
    seq: u64,
    started: Instant,
    refusals: Muffler,
    losses: Muffler,
    /// Where to go instead, named by a server that sent us away.
    redirect: Option<String>,
}

/// When reports are due.
struct Times {
    /// Not before, whatever is new.
    next: Instant,
    again: Instant,
}

impl Speaker {
    pub(super) fn new(
        config: MeshConfig,
        settings: AnnounceSettings,
        shared: Arc<Shared>,
        stats: Arc<Stats>,
        run: u64,
    ) -> Self {
        Self {
            config,
            settings,
            shared,
            stats,
            run,
            writers: AHashMap::new(),
            seq: 0,
            started: Instant::now(),
            refusals: Muffler::default(),
            losses: Muffler::default(),
            redirect: None,
        }
    }

    /// Until the sink has ended. Outages are waited out, at the next address.
    pub(super) async fn run(mut self) {
        let mut back_off = BackOff::new(self.config.timing.reconnect, self.config.timing.reconnect_max);
        let mut attempt = 0;
        while !self.shared.ledger().is_over() {
            let listed = self.config.addresses[attempt % self.config.addresses.len()].clone();
            let address = self.redirect.take().unwrap_or(listed);
            attempt += 1;
            let reason = match link::open(&address, &self.config, Role::Publisher).await {
                Ok(link) => {
                    back_off.reset();
                    self.stats.connected.set(1);
                    let end = self.speak(Wire::new(link)).await;
                    self.stats.connected.set(0);
                    match end {
                        Ok(()) => continue,
                        Err(reason) => reason,
                    }
                }
                Err(error) => error.text().to_owned(),
            };
            if let Some(unsaid) = self.losses.speak(self.started.elapsed().as_millis() as u64) {
                warn!(address, unsaid, "what is applied cannot be announced, will try again: {reason}");
            }
            let _ = tokio::time::timeout(back_off.wait(), self.ended()).await;
        }
    }

    /// Until the sink has ended.
    async fn ended(&self) {
        while !self.shared.ledger().is_over() {
            self.shared.changed.notified().await;
        }
    }

    /// One connection's life; `Ok` when it was left in good order.
    async fn speak(&mut self, mut wire: Wire) -> Result<(), String> {
        let now = Instant::now();
        // A new connection first says everything.
        let mut times = Times { next: now, again: now };
        loop {
            let now = Instant::now();
            let is_sent_away = self.listen(&mut wire, now)?;
            wire.link.session.tick(now, &mut wire.out).map_err(|error| error.to_string())?;
            let is_over = self.report(&mut wire, &mut times, now);
            wire.write()?;
            if is_sent_away || (is_over && wire.out.is_empty()) {
                wire.say_goodbye().await;
                return Ok(());
            }
            self.wait(&wire, &times, is_over).await?;
        }
    }

    async fn wait(&self, wire: &Wire, times: &Times, is_over: bool) -> Result<(), String> {
        let report_at =
            if self.shared.ledger().has_news() { times.next.min(times.again) } else { times.again };
        let until = wire.link.session.wake_at().into_iter().chain([report_at]).min().unwrap_or(report_at);
        let stream = &wire.link.stream;
        tokio::select! {
            result = stream.readable() => result.map_err(|error| error.to_string()),
            result = stream.writable(), if !wire.out.is_empty() => result.map_err(|error| error.to_string()),
            () = self.shared.changed.notified(), if !is_over => Ok(()),
            () = tokio::time::sleep_until(until.into()) => Ok(()),
        }
    }

    /// Takes what the server says; whether it sends us away.
    fn listen(&mut self, wire: &mut Wire, now: Instant) -> Result<bool, String> {
        let mut is_sent_away = false;
        while wire.read()? {}
        while let Some(frame) = wire.link.decoder.next_frame().map_err(|error| error.to_string())? {
            let received = wire.link.session.receive(&frame, now, &mut wire.out);
            match received.map_err(|error| error.to_string())? {
                Received::Ack(ack) => self.answered(&ack.outcome, now),
                Received::ServerGoodbye { reason, .. } => {
                    info!("the announcer left the mesh server: goodbye: {reason}");
                    is_sent_away = true;
                }
                Received::Redirected(to) => {
                    self.redirect = to.map(|to| to.to_string());
                    is_sent_away = true;
                }
                _ => debug!(command = %frame.header.command, "a frame that an announcer has no use for"),
            }
        }
        Ok(is_sent_away)
    }

    fn answered(&mut self, outcome: &Outcome<'_>, now: Instant) {
        let (Outcome::Retryable(_, reason) | Outcome::Permanent(reason)) = outcome else { return };
        self.stats.refused.add(1);
        let now_ms = now.saturating_duration_since(self.started).as_millis() as u64;
        if let Some(unsaid) = self.refusals.speak(now_ms) {
            warn!(
                unsaid,
                "the mesh refused a report of what is applied, which is said again later: {reason}"
            );
        }
    }

    /// Writes the reports that are due; whether the sink has ended and all is said.
    fn report(&mut self, wire: &mut Wire, times: &mut Times, now: Instant) -> bool {
        let shared = Arc::clone(&self.shared);
        let mut ledger = shared.ledger();
        let is_over = ledger.is_over();
        // What the socket does not take must not pile up: later reports say the same.
        if !wire.out.is_empty() {
            return is_over;
        }
        let scope = if now >= times.again { Scope::Again } else { Scope::News };
        let is_due = scope == Scope::Again || (ledger.has_news() && (now >= times.next || is_over));
        if !is_due {
            return is_over;
        }
        for source in ledger.sources() {
            let (lanes, chunks) = source.report(scope);
            self.write(wire, &Arc::clone(&source.name), lanes, chunks);
        }
        times.next = now + self.settings.every;
        if scope == Scope::Again {
            times.again = now + self.settings.again;
        }
        is_over
    }

    fn write(
        &mut self,
        wire: &mut Wire,
        source: &Arc<str>,
        lanes: Vec<flowd_codec::applied::LaneMark<'static>>,
        chunks: Vec<flowd_codec::applied::ChunkMark<'static>>,
    ) {
        if !self.writers.contains_key(source) {
            self.writers.insert(Arc::clone(source), self.writer(source));
        }
        let Some(writer) = self.writers.get_mut(source).and_then(Option::as_mut) else { return };
        let time_us = i64::try_from(now_us()).unwrap_or(i64::MAX);
        for event in writer.write(&mut wire.out, time_us, lanes, chunks) {
            set_publish_seq(&mut wire.out[event.start as usize..event.end as usize], self.seq);
            self.seq += 1;
            self.stats.sent.add(1);
        }
    }

    fn writer(&self, source: &str) -> Option<ReportWriter> {
        let topic = self.settings.topic.clone().or_else(|| control_topic_of(source));
        if topic.is_none() {
            debug!(source, "nobody waits for what is applied of this source");
        }
        let instance = &self.settings.instance;
        topic.map(|topic| ReportWriter::new(Framing::EventMesh, &topic, source, instance, self.run))
    }
}

/// Shorter than any server's patience: at the end the last report goes out, or not.
const _: () = assert!(Duration::from_secs(1).as_millis() < super::LAST_REPORT.as_millis());
