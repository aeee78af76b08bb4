//! Sinks of messages behind an outlet that writes down what it is told.

use std::sync::{Arc, Mutex};

use flowd_engine::parcel::Parcel;
use flowd_engine::worker::Target;

use super::event::{Arrived, read};
use super::target::DeliverTarget;
use super::*;
use crate::stats::SinkStats;
use crate::testing::{FakeOutlet, with_data};

/// What a put got, each event as its id, topic and key.
type Puts = Arc<Mutex<Vec<Vec<(String, String, Option<String>)>>>>;

/// Answers each put as it is told, then takes everything.
#[derive(Default)]
struct Scripted {
    answers: Vec<Result<Vec<Refused>, Failure>>,
    puts: Puts,
    is_closed: Arc<Mutex<bool>>,
}

impl EventSink for Scripted {
    fn start(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn put(&mut self, events: &[DeliverEvent<'_>]) -> Result<Vec<Refused>, Failure> {
        let owned = |event: &DeliverEvent<'_>| {
            (event.id.to_owned(), event.topic.to_owned(), event.key.map(str::to_owned))
        };
        self.puts.lock().unwrap().push(events.iter().map(owned).collect());
        if self.answers.is_empty() { Ok(Vec::new()) } else { self.answers.remove(0) }
    }

    fn close(&mut self) {
        *self.is_closed.lock().unwrap() = true;
    }
}

fn event(id: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t","subject":"orders","partitionkey":"k\"{id}","data":1}}"#
    )
}

fn parcel(bodies: &[&str]) -> Parcel<Arrived> {
    let mut parcel = Parcel::default();
    bodies.iter().for_each(|body| read(body.as_bytes(), &mut parcel));
    parcel
}

fn run(sink: Scripted, outlet: &mut FakeOutlet<Arrived>) -> (Result<(), Failure>, Arc<SinkStats>) {
    let stats = Arc::<SinkStats>::default();
    let target = DeliverTarget::new(Box::new(sink), stats.clone());
    (Box::new(target).run(outlet), stats)
}

fn ids(puts: &Puts) -> Vec<Vec<String>> {
    puts.lock().unwrap().iter().map(|put| put.iter().map(|(id, ..)| id.clone()).collect()).collect()
}

#[test]
fn events_are_put_in_order_and_acknowledged_once_the_sink_has_them() {
    let sink = Scripted::default();
    let (puts, is_closed) = (sink.puts.clone(), sink.is_closed.clone());
    let mut outlet = FakeOutlet::new([parcel(&[&event("1"), &event("2")]), parcel(&[&event("3")])]);
    let watched = puts.clone();
    outlet.on_acked = Some(Box::new(move |_| assert!(!watched.lock().unwrap().is_empty())));
    let (result, stats) = run(sink, &mut outlet);
    assert_eq!((result, ids(&puts).concat()), (Ok(()), vec!["1".into(), "2".into(), "3".into()]));
    assert_eq!((outlet.acked.last(), outlet.recycled, stats.applied.value()), (Some(&1), 2, 3));
    assert!(*is_closed.lock().unwrap());
    let first = puts.lock().unwrap()[0][0].clone();
    assert_eq!(first, ("1".to_owned(), "orders".to_owned(), Some("k\"1".to_owned())));
}

#[test]
fn what_may_heal_is_put_again_whole_and_what_is_refused_is_a_dead_letter() {
    let refused = Refused { index: 1, reason: "HTTP 400".to_owned() };
    let answers = vec![Err(Failure::Retry("connection reset".into())), Ok(vec![refused])];
    let sink = Scripted { answers, ..Scripted::default() };
    let puts = sink.puts.clone();
    let mut outlet = FakeOutlet::new([parcel(&[&event("1"), &event("2")])]);
    let (result, stats) = run(sink, &mut outlet);
    assert_eq!((result, ids(&puts)), (Ok(()), vec![vec!["1".into(), "2".into()]; 2]));
    assert_eq!((outlet.rejects.len(), &*outlet.rejects[0].0), (1, "HTTP 400; event 2"));
    assert_eq!((outlet.acked, stats.reopened.value()), (vec![0], 1));
}

#[test]
fn a_failure_that_cannot_heal_ends_the_run_and_nothing_is_acknowledged() {
    let sink = Scripted { answers: vec![Err(Failure::Fatal("gone".into()))], ..Scripted::default() };
    let mut outlet = FakeOutlet::new([parcel(&[&event("1")])]);
    assert_eq!(run(sink, &mut outlet).0, Err(Failure::Fatal("gone".into())));
    assert!(outlet.acked.is_empty());
}

#[test]
fn members_of_batches_come_one_by_one_markers_never_and_what_is_no_event_is_a_dead_letter() {
    let batch = format!(
        r#"{{"specversion":"1.0","id":"1..2","source":"/s","type":"flowd.batch","subject":"orders","data":[{},{}]}}"#,
        event("1"),
        event("2")
    );
    let marker = String::from_utf8(with_data("flowd.rejected", 0, 1, "{}", "published")).unwrap();
    let empty = r#"{"specversion":"1.0","id":"b","source":"/s","type":"flowd.batch","data":[]}"#;
    let sink = Scripted::default();
    let puts = sink.puts.clone();
    let mut outlet = FakeOutlet::new([parcel(&[&batch, &marker, "what?", empty, &event("3")])]);
    assert_eq!(run(sink, &mut outlet).0, Ok(()));
    assert_eq!(ids(&puts), [["1", "2", "3"]]);
    let reasons: Vec<&str> = outlet.rejects.iter().map(|(reason, _)| reason.as_str()).collect();
    assert!(reasons[0].starts_with("it is no CloudEvent"), "{reasons:?}");
    assert!(reasons[1].starts_with("a batch event without members"), "{reasons:?}");
    assert_eq!(outlet.acked, [0]);
}
