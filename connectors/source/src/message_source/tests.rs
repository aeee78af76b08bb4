//! Sources of messages on the engine's own pipeline.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flowd_engine::checkpoint::{Checkpoint, MemoryRegistry, Registry};
use flowd_engine::pipeline::{Outcome, Pipeline, Settings};
use flowd_engine::reject::OnReject;
use flowd_engine::stop::Stop;
use flowd_engine::worker::{Closed, Outlet, Target};

use super::*;
use crate::batch::LINGER;
use crate::event::{Data, Event};
use crate::feeder::{News, run_async};
use crate::position::{counted, number};

/// Acknowledges what comes, once it may, and writes down the ids.
struct Collected {
    ids: Arc<Mutex<Vec<String>>>,
    /// Each event waits for a word here.
    gate: Option<mpsc::Receiver<()>>,
}

impl Target<Keyed<Framed>> for Collected {
    fn start(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn run(self: Box<Self>, parcels: &mut dyn Outlet<Keyed<Framed>>) -> Result<(), Failure> {
        while let Some(delivery) = parcels.next() {
            for keyed in &delivery.parcel.events {
                if let Some(gate) = &self.gate {
                    let _ = gate.recv();
                }
                self.ids.lock().unwrap().push(keyed.event.id_text(&delivery.parcel.buffer).into_owned());
            }
            parcels.acked(delivery.ticket);
            parcels.recycle(delivery.parcel);
        }
        Ok(())
    }
}

/// A registry that can be looked at afterwards.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<MemoryRegistry>>);

impl Registry for Kept {
    fn load(&self) -> Result<Option<Checkpoint>, Failure> {
        self.0.lock().unwrap().load()
    }

    fn store(&mut self, checkpoint: &Checkpoint) -> Result<(), Failure> {
        self.0.lock().unwrap().store(checkpoint)
    }
}

struct Run {
    ids: Arc<Mutex<Vec<String>>>,
    registry: Kept,
    stop: Stop,
    on_reject: OnReject,
}

impl Run {
    fn new() -> Self {
        let ids = Arc::default();
        Self { ids, registry: Kept::default(), stop: Stop::new(), on_reject: OnReject::Stop }
    }

    fn run(&self, source: impl EventSource, gate: Option<mpsc::Receiver<()>>) -> Result<Outcome, Failure> {
        let mut source = MessageSource::new(Box::new(source), Framing::Line, "/test".to_owned());
        let begin = source.start(None)?;
        let pipeline = Pipeline {
            source,
            target: Box::new(Collected { ids: self.ids.clone(), gate }),
            registry: Box::new(self.registry.clone()),
            begin,
            settings: Settings { lanes: 3, on_reject: self.on_reject.clone(), ..Settings::default() },
            sequence: None,
            metrics: Arc::default(),
            stop: self.stop.clone(),
        };
        pipeline.run()
    }

    fn ids(&self) -> Vec<String> {
        self.ids.lock().unwrap().clone()
    }

    fn stored(&self) -> u64 {
        number(&self.registry.load().unwrap().unwrap().acked)
    }
}

fn event(id: &str) -> Event<'_> {
    Event::new(id, "t", "topic", Data::None)
}

/// Pushes so many events, each with its number as its id and its position.
struct Blocking {
    count: u64,
    /// What it heard is acknowledged.
    heard: Arc<Mutex<Vec<u64>>>,
    is_rejecting: bool,
}

impl EventSource for Blocking {
    fn start(&mut self, _stored: Option<&Position>) -> Result<Position, Failure> {
        Ok(counted(0))
    }

    fn run(self: Box<Self>, out: &mut Events<'_>) -> Result<SourceEnd, Failure> {
        for number in 1..=self.count {
            let pushed = match self.is_rejecting && number == 2 {
                true => out.reject("it is torn", b"half a li"),
                false => out.push(&event(&number.to_string())),
            };
            if pushed == Err(Closed) {
                return Ok(SourceEnd::Stopped);
            }
            out.mark(counted(number));
            self.heard.lock().unwrap().extend(out.acked().map(|position| crate::position::number(&position)));
        }
        Ok(SourceEnd::Reached)
    }
}

#[test]
fn all_events_arrive_in_order_and_the_last_position_is_stored() {
    let run = Run::new();
    let count = 20_000;
    let source = Blocking { count, heard: Arc::default(), is_rejecting: false };
    assert_eq!(run.run(source, None), Ok(Outcome::Reached));
    let expected: Vec<String> = (1..=count).map(|number| number.to_string()).collect();
    assert_eq!((run.ids(), run.stored()), (expected, count));
}

#[test]
fn what_can_become_no_event_is_a_dead_letter_and_its_position_counts() {
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = directory.path().join("dead.jsonl");
    let run = Run { on_reject: OnReject::DeadLetter(path.clone()), ..Run::new() };
    let source = || Blocking { count: 2, heard: Arc::default(), is_rejecting: true };
    assert_eq!(run.run(source(), None), Ok(Outcome::Reached));
    assert_eq!((run.ids(), run.stored()), (vec!["1".to_owned()], 2));
    let line = std::fs::read_to_string(path).unwrap();
    assert!(line.contains("it is torn") && line.contains("half a li"), "{line}");
    let run = Run::new();
    let failure = run.run(source(), None).unwrap_err();
    assert!(matches!(&failure, Failure::Fatal(text) if text.contains("it is torn")), "{failure:?}");
    assert!(run.stored() < 2);
}

/// Marks only when it is told that the next event makes a new batch, after a batch grew old between its look and its event.
struct Slow;

impl EventSource for Slow {
    fn start(&mut self, _stored: Option<&Position>) -> Result<Position, Failure> {
        Ok(counted(0))
    }

    fn run(self: Box<Self>, out: &mut Events<'_>) -> Result<SourceEnd, Failure> {
        out.push(&event("1")).unwrap();
        assert!(!out.is_due());
        std::thread::sleep(2 * LINGER);
        out.push(&event("2")).unwrap();
        assert!(out.is_due(), "the first event was handed on without its position");
        out.mark(counted(2));
        out.push(&event("3")).unwrap();
        assert_eq!(out.handed_on, counted(2));
        out.mark(counted(3));
        Ok(SourceEnd::Reached)
    }
}

#[test]
fn what_a_source_is_told_of_a_batch_holds_until_its_next_event() {
    let run = Run::new();
    assert_eq!(run.run(Slow, None), Ok(Outcome::Reached));
    assert_eq!((run.ids().len(), run.stored()), (3, 3));
}

/// Pushes events until it is stopped, and tells what it hears.
struct Asynchronous {
    heard: mpsc::Sender<News>,
    limit: u64,
}

impl EventSource for Asynchronous {
    fn start(&mut self, _stored: Option<&Position>) -> Result<Position, Failure> {
        Ok(counted(0))
    }

    fn run(self: Box<Self>, out: &mut Events<'_>) -> Result<SourceEnd, Failure> {
        run_async(out, async move |feeder| {
            for number in 1..=self.limit {
                if feeder.push(&event(&number.to_string())).await.is_err() {
                    break;
                }
                feeder.mark(counted(number));
            }
            loop {
                let news = feeder.news().await;
                let _ = self.heard.send(news.clone());
                match news {
                    News::Drained => return Ok(SourceEnd::Stopped),
                    News::Acked(position) if number(&position) == 7 => return Ok(SourceEnd::Reached),
                    News::Acked(_) | News::Closing => {}
                }
            }
        })
    }
}

#[test]
fn an_asynchronous_source_hears_what_is_acknowledged() {
    let run = Run::new();
    let (heard, news) = mpsc::channel();
    assert_eq!(run.run(Asynchronous { heard, limit: 7 }, None), Ok(Outcome::Reached));
    assert_eq!(news.iter().last(), Some(News::Acked(counted(7))));
    assert_eq!((run.ids().len(), run.stored()), (7, 7));
}

#[test]
fn a_stop_is_heard_while_the_target_waits_and_acknowledgements_come_until_all_is_drained() {
    let run = Run::new();
    let (heard, news) = mpsc::channel();
    let (open, gate) = mpsc::sync_channel(0);
    let stop = run.stop.clone();
    let drain = std::thread::spawn(move || {
        // Taken: the first event is with the target, which waits for a word for the next.
        open.send(()).unwrap();
        stop.request();
        let before: Vec<News> = news.iter().take_while(|news| *news != News::Closing).collect();
        // The gate falls only now, and the rest goes through.
        drop(open);
        (before, news.iter().collect::<Vec<News>>())
    });
    assert_eq!(run.run(Asynchronous { heard, limit: u64::MAX }, Some(gate)), Ok(Outcome::Stopped));
    let (before, news) = drain.join().unwrap();
    assert_eq!(news.last(), Some(&News::Drained), "before the stop: {before:?}");
    let News::Acked(last) = &news[news.len() - 2] else {
        panic!("no acknowledgement after the stop: {news:?}")
    };
    assert_eq!((number(last), run.stored()), (run.ids().len() as u64, run.ids().len() as u64));
}

/// Pushes until a push waits, looks whether another task of the client's runs meanwhile, and opens the gate for all.
struct Beating {
    gate: mpsc::SyncSender<()>,
    pushed: Arc<Mutex<Vec<String>>>,
}

impl EventSource for Beating {
    fn start(&mut self, _stored: Option<&Position>) -> Result<Position, Failure> {
        Ok(counted(0))
    }

    fn run(self: Box<Self>, out: &mut Events<'_>) -> Result<SourceEnd, Failure> {
        run_async(out, async move |feeder| {
            let Self { gate, pushed } = *self;
            let beats = Arc::new(AtomicU64::new(0));
            let counter = beats.clone();
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
            let mut gate = Some(gate);
            for number in 1_u64.. {
                let id = number.to_string();
                let before = beats.load(Ordering::Relaxed);
                let waited = tokio::time::timeout(Duration::from_millis(200), feeder.push(&event(&id))).await;
                pushed.lock().unwrap().push(id.clone());
                if waited.is_err() {
                    assert!(feeder.is_full());
                    assert!(beats.load(Ordering::Relaxed) > before, "the task stood still");
                    drop(gate.take());
                    feeder.push(&event(&id)).await.unwrap();
                    feeder.mark(counted(number));
                    break;
                }
                feeder.mark(counted(number));
            }
            Ok(SourceEnd::Reached)
        })
    }
}

#[test]
fn other_tasks_of_a_client_run_while_a_push_waits_and_one_that_was_given_up_was_not_added() {
    let run = Run::new();
    let (gate, closed) = mpsc::sync_channel(0);
    let pushed: Arc<Mutex<Vec<String>>> = Arc::default();
    let source = Beating { gate, pushed: pushed.clone() };
    assert_eq!(run.run(source, Some(closed)), Ok(Outcome::Reached));
    assert_eq!(run.ids(), *pushed.lock().unwrap());
}
