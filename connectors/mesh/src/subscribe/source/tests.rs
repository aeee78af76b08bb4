//! The source against a scripted server, with an intake in the test's hand.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::thread;
use std::time::Instant;

use flowd_engine::parcel::Parcel;
use flowd_engine::worker::{Closed, Encoded};

use super::*;
use crate::testing::mesh::{Happening, MeshServer};

/// A batch's position and events.
type Taken = (Position, Vec<String>);

/// Takes batches and closes after so many.
struct FakeIntake {
    confirmed: Confirmed,
    batches: Arc<Mutex<Vec<Taken>>>,
    close_after: usize,
    closed: Arc<AtomicBool>,
    reserved: usize,
}

impl Intake<Push> for FakeIntake {
    fn send(&mut self, batch: Batch<Push>) -> Result<(), Closed> {
        assert_eq!(self.reserved, batch.bytes.len(), "what is sent was reserved");
        self.reserved = 0;
        let text = |push: &Push| String::from_utf8(push.body.of(&batch.bytes).to_vec()).unwrap();
        let mut batches = self.batches.lock().unwrap();
        if batches.len() == self.close_after {
            self.closed.store(true, Ordering::SeqCst);
            return Err(Closed);
        }
        batches.push((batch.position.clone(), batch.records.iter().map(text).collect()));
        Ok(())
    }

    fn reserve(&mut self, bytes: usize) -> Result<(), Closed> {
        self.reserved += bytes;
        Ok(())
    }

    fn poll_reserve(&mut self, _: &mut Context<'_>, bytes: usize) -> Poll<Result<(), Closed>> {
        Poll::Ready(self.reserve(bytes))
    }

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn confirmations(&self) -> Confirmed {
        self.confirmed.clone()
    }
}

struct NoEncoder;

impl Encode<Push, ()> for NoEncoder {
    fn encode(&mut self, _: &Batch<Push>, _: &mut Parcel<()>) -> Result<Encoded, Failure> {
        unreachable!("the test has no lanes")
    }
}

fn source(server: &MeshServer) -> MeshSource<(), fn() -> NoEncoder> {
    let config = MeshConfig { addresses: vec![server.address.clone()], ..MeshConfig::default() };
    MeshSource::new(config, vec!["T".to_owned()], Arc::default(), || NoEncoder)
}

/// Pushes one event, and the next after each acknowledgement, up to `last`.
fn one_by_one(last: u64) -> MeshServer {
    MeshServer::start(Box::new(move |world, happening| match happening {
        Happening::Listening(connection) => world.push(connection, "1", b"{\"n\":1}"),
        Happening::PushAcked(connection, seq) => {
            let next = seq.parse::<u64>().unwrap() + 1;
            if next <= last {
                world.push(connection, &next.to_string(), format!("{{\"n\":{next}}}").as_bytes());
            }
        }
        _ => {}
    }))
}

fn wait(holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(10), "it never came to hold");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn nothing_is_subscribed_before_the_run() {
    let server = one_by_one(1);
    let mut source = source(&server);
    assert_eq!(source.start(Some(&counted(9))), Ok(counted(0)));
    let world = server.world.lock().unwrap();
    assert_eq!((world.hellos.len(), world.subscriptions.len()), (1, 0));
}

#[test]
fn a_batch_is_acknowledged_once_the_pipeline_confirms_its_position_also_on_the_way_down() {
    let server = one_by_one(3);
    let confirmed = Confirmed::new();
    let batches: Arc<Mutex<Vec<Taken>>> = Arc::default();
    let closed = Arc::new(AtomicBool::new(false));
    let mut intake = FakeIntake {
        confirmed: confirmed.clone(),
        batches: Arc::clone(&batches),
        close_after: usize::MAX,
        closed: Arc::clone(&closed),
        reserved: 0,
    };
    let source = source(&server);
    let running = thread::spawn(move || source.run(&mut intake));
    for number in 1..=2 {
        wait(|| batches.lock().unwrap().len() == number as usize);
        assert_eq!(server.world.lock().unwrap().push_acks.len() as u64, number - 1);
        confirmed.put(counted(number));
    }
    wait(|| batches.lock().unwrap().len() == 3);
    closed.store(true, Ordering::SeqCst);
    thread::sleep(LOOK * 2);
    confirmed.put(counted(3));
    assert_eq!(running.join().unwrap(), Ok(SourceEnd::Stopped));
    let world = server.world.lock().unwrap();
    let seqs: Vec<&str> = world.push_acks.iter().map(|(_, seq)| seq.as_str()).collect();
    assert_eq!((seqs, world.goodbyes), (vec!["1", "2", "3"], 1));
    assert_eq!(batches.lock().unwrap()[1], (counted(2), vec!["{\"n\":2}".to_owned()]));
}

#[test]
fn what_the_pipeline_did_not_take_is_not_waited_for_and_not_acknowledged() {
    let server = one_by_one(2);
    let confirmed = Confirmed::new();
    let mut intake = FakeIntake {
        confirmed: confirmed.clone(),
        batches: Arc::default(),
        close_after: 1,
        closed: Arc::default(),
        reserved: 0,
    };
    let batches = Arc::clone(&intake.batches);
    let source = source(&server);
    let began = Instant::now();
    let running = thread::spawn(move || source.run(&mut intake));
    wait(|| batches.lock().unwrap().len() == 1);
    confirmed.put(counted(1));
    assert_eq!(running.join().unwrap(), Ok(SourceEnd::Stopped));
    assert!(began.elapsed() < LAST_ACK, "nothing is in hand that could be waited for");
    assert_eq!(server.world.lock().unwrap().push_acks, [(0, "1".to_owned())]);
}

#[test]
fn a_refusal_of_the_subscription_ends_the_run() {
    let server = one_by_one(1);
    server.world.lock().unwrap().refuse_hello = Some((1, "no such user".to_owned()));
    let mut intake = FakeIntake {
        confirmed: Confirmed::new(),
        batches: Arc::default(),
        close_after: 1,
        closed: Arc::default(),
        reserved: 0,
    };
    let mut source = source(&server);
    let refused = |result: Result<(), Failure>| matches!(result, Err(Failure::Unusable(text)) if text.contains("no such user"));
    assert!(refused(source.start(None).map(drop)));
    assert!(refused(source.run(&mut intake).map(drop)));
}
