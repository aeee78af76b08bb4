//! Delivery `applied` in the pool alone, with time and reports in the test's hand.

use flowd_codec::applied::{ChunkMark, LaneMark};
use flowd_codec::event::incoming::Chunk;
use flowd_codec::event::{Framing, marker};
use flowd_engine::parcel::Parcel;

use super::*;
use crate::Outgoing;
use crate::config::MeshConfig;
use crate::publish::pool::tests::{ack, answer, ids, pool, push_parcel, refuse, sends, two_lines};
use crate::testing::{EPOCH, Kind, SOURCE, counted_parcel};

const PATIENCE_MS: u64 = 1000;

fn config(by: &[&str]) -> MeshConfig {
    let mut config = MeshConfig { window: 64, ..two_lines() };
    config.timing.applied = Duration::from_millis(PATIENCE_MS);
    let by = by.iter().map(|name| (*name).to_owned()).collect();
    MeshConfig { applied: Some(AppliedBy { by, topic: "control".to_owned() }), ..config }
}

/// Pushes events, with a key each.
fn push(pool: &mut Pool, ticket: u64, events: impl IntoIterator<Item = (Kind, u64)>) {
    push_parcel(pool, ticket, counted_parcel(events));
}

/// Sends everything that can go, acknowledges it, and gives the ids.
fn publish(pool: &mut Pool, now_ms: u64) -> Vec<String> {
    let mut published = Vec::new();
    loop {
        let sent = sends(pool, 0, now_ms);
        if sent.is_empty() {
            return published;
        }
        for (_, _, id) in sent {
            let body = format!("{{\"id\":\"{id}\"}}");
            answer(pool, 0, 0, "7", "success", &body, now_ms);
            published.push(id);
        }
    }
}

fn report(instance: &str, number: u64) -> Report<'_> {
    let lane = LaneMark { epoch: EPOCH, topic: "shop.orders".into(), lane: 0, sequence: number };
    Report { source: SOURCE.into(), instance: instance.into(), lanes: vec![lane], chunks: vec![] }
}

fn chunk_report(instance: &str, number: u64) -> Report<'_> {
    let chunk = ChunkMark { snapshot: "s".into(), chunk: Chunk { run: EPOCH, number } };
    Report { lanes: vec![], chunks: vec![chunk], ..report(instance, 0) }
}

/// The next ticket that is acknowledged.
fn acked(pool: &mut Pool) -> Option<u64> {
    pool.emitted();
    pool.next_acked().map(|delivery| delivery.ticket)
}

fn changes(numbers: std::ops::RangeInclusive<u64>) -> impl Iterator<Item = (Kind, u64)> {
    numbers.map(|number| (Kind::Change(number), 100 + number))
}

#[test]
fn an_event_counts_as_acknowledged_once_every_sink_has_applied_it() {
    let mut pool = pool(&config(&["a", "b"]));
    push(&mut pool, 0, changes(1..=3));
    push(&mut pool, 1, changes(4..=4));
    assert_eq!(publish(&mut pool, 0).len(), 4);
    assert_eq!((acked(&mut pool), pool.stats.awaiting.value()), (None, 4));
    pool.take_report(&report("a", 4));
    pool.take_report(&report("b", 2));
    assert_eq!((acked(&mut pool), pool.stats.awaiting.value()), (None, 2));
    pool.take_report(&report("b", 3));
    assert_eq!((acked(&mut pool), acked(&mut pool)), (Some(0), None));
    pool.take_report(&report("b", 4));
    assert_eq!((acked(&mut pool), pool.is_empty()), (Some(1), true));
    assert!(!pool.is_timed());
}

#[test]
fn a_report_of_another_source_epoch_topic_or_sink_changes_nothing() {
    let mut pool = pool(&config(&["a"]));
    push(&mut pool, 0, changes(1..=1));
    publish(&mut pool, 0);
    let mut others = [report("a", 1), report("a", 1), report("a", 1), report("b", 1)];
    others[0].source = "/flowd/mysql/other".into();
    others[1].lanes[0].epoch = EPOCH - 1;
    others[2].lanes[0].topic = "other".into();
    for other in &others {
        pool.take_report(other);
        assert_eq!(acked(&mut pool), None, "{other:?}");
    }
    pool.take_report(&report("a", 1));
    assert_eq!(acked(&mut pool), Some(0));
}

#[test]
fn a_key_is_free_once_its_event_is_published() {
    let mut pool = pool(&config(&["a"]));
    push(&mut pool, 0, [(Kind::Change(1), 7), (Kind::Change(2), 7)]);
    assert_eq!(ids(&sends(&mut pool, 0, 0)), ["id-1"]);
    ack(&mut pool, 0, "id-1");
    assert_eq!(ids(&sends(&mut pool, 0, 0)), ["id-2"]);
}

#[test]
fn what_is_not_applied_in_time_is_published_again_until_it_is() {
    let mut pool = pool(&config(&["a"]));
    push(&mut pool, 0, changes(1..=3));
    publish(&mut pool, 0);
    pool.take_report(&report("a", 1));
    pool.tick(PATIENCE_MS - 1);
    assert_eq!(publish(&mut pool, PATIENCE_MS - 1), [""; 0]);
    let mut now_ms = PATIENCE_MS * 2;
    for _ in 0..3 {
        pool.tick(now_ms);
        assert_eq!(publish(&mut pool, now_ms), ["id-2", "id-3"]);
        now_ms += PATIENCE_MS;
    }
    assert_eq!(pool.stats.resent_unapplied.value(), 6);
    pool.tick(now_ms);
    let again = sends(&mut pool, 0, now_ms);
    assert_eq!(ids(&again), ["id-2", "id-3"]);
    // Applied while they are on their way once more: their parcel stays until that is over.
    pool.take_report(&report("a", 3));
    assert_eq!(acked(&mut pool), None);
    ack(&mut pool, 0, "id-2");
    ack(&mut pool, 0, "id-3");
    assert_eq!((acked(&mut pool), pool.is_empty()), (Some(0), true));
}

#[test]
fn what_was_applied_while_it_waited_to_be_published_again_is_not() {
    let mut pool = pool(&config(&["a"]));
    push(&mut pool, 0, changes(1..=2));
    publish(&mut pool, 0);
    // No room: the look-ahead is full of what waits for one key.
    push(&mut pool, 1, (3..=70_000).map(|number| (Kind::Change(number), 7)));
    pool.tick(PATIENCE_MS);
    pool.take_report(&report("a", 2));
    assert_eq!(acked(&mut pool), None, "a repeat holds its parcel until it is dropped");
    assert_eq!(publish(&mut pool, PATIENCE_MS)[..2], ["id-3", "id-4"]);
    assert_eq!(acked(&mut pool), Some(0));
    assert_eq!(pool.stats.resent_unapplied.value(), 0);
}

#[test]
fn a_row_holds_its_key_until_its_chunk_is_applied() {
    let mut pool = pool(&config(&["a", "b"]));
    let row = Kind::Row { chunk: 5 };
    push(&mut pool, 0, [(row, 7), (row, 8), (Kind::Change(1), 7)]);
    assert_eq!(publish(&mut pool, 0), ["row-5-0", "row-5-1"]);
    pool.take_report(&chunk_report("a", 5));
    pool.take_report(&chunk_report("b", 6));
    assert_eq!(publish(&mut pool, 0), [""; 0]);
    pool.tick(PATIENCE_MS);
    assert_eq!(publish(&mut pool, PATIENCE_MS), ["row-5-0", "row-5-1"], "not applied in time");
    pool.take_report(&chunk_report("b", 5));
    assert_eq!(publish(&mut pool, PATIENCE_MS), ["id-1"]);
    pool.take_report(&report("a", 1));
    pool.take_report(&report("b", 1));
    assert_eq!((acked(&mut pool), pool.is_empty(), pool.is_timed()), (Some(0), true, false));
}

#[test]
fn a_chunk_that_is_applied_needs_no_answers_any_more() {
    let mut pool = pool(&config(&["a"]));
    let row = Kind::Row { chunk: 5 };
    push(&mut pool, 0, [(row, 7), (row, 8)]);
    assert_eq!(sends(&mut pool, 0, 0).len(), 2);
    pool.take_report(&chunk_report("a", 5));
    assert_eq!((acked(&mut pool), pool.is_empty(), pool.in_flight(0)), (Some(0), true, 0));
    ack(&mut pool, 0, "row-5-0");
    assert_eq!(pool.stats.alien_answers.value(), 1);
}

#[test]
fn a_truncate_goes_when_all_before_it_is_applied_and_nothing_passes_it() {
    let mut pool = pool(&config(&["a"]));
    push(&mut pool, 0, [(Kind::Row { chunk: 1 }, 7), (Kind::Change(1), 8)]);
    push(&mut pool, 1, [(Kind::Truncate(2), 0), (Kind::Change(3), 9)]);
    push(&mut pool, 2, changes(4..=4));
    assert_eq!(publish(&mut pool, 0), ["row-1-0", "id-1"]);
    pool.take_report(&report("a", 1));
    assert_eq!(publish(&mut pool, 0), [""; 0]);
    pool.take_report(&chunk_report("a", 1));
    assert_eq!(publish(&mut pool, 0), ["t-2"]);
    pool.take_report(&report("a", 2));
    assert_eq!(publish(&mut pool, 0), ["id-3", "id-4"]);
}

#[test]
fn without_sinks_to_wait_for_a_truncate_waits_for_answers() {
    let mut pool = pool(&MeshConfig { window: 64, ..two_lines() });
    push(&mut pool, 0, [(Kind::Change(1), 8), (Kind::Truncate(2), 0), (Kind::Change(3), 9)]);
    assert_eq!(ids(&sends(&mut pool, 0, 0)), ["id-1"]);
    ack(&mut pool, 0, "id-1");
    assert_eq!(ids(&sends(&mut pool, 0, 0)), ["t-2"]);
    ack(&mut pool, 0, "t-2");
    assert_eq!(ids(&sends(&mut pool, 0, 0)), ["id-3"]);
}

/// Event 1 is refused for good, and its dead letter is written.
fn reject_first(pool: &mut Pool) {
    push(pool, 0, changes(1..=2));
    let sent = sends(pool, 0, 0);
    refuse(pool, 0, &sent[0].1, "event is null", 0);
    let (rejected, _) = pool.next_rejected().unwrap();
    pool.dead_letter_written(&rejected, 0);
}

#[test]
fn a_rejected_event_is_replaced_by_a_marker_with_its_number() {
    let mut pool = pool(&MeshConfig { window: 64, ..two_lines() });
    reject_first(&mut pool);
    let given = pool.give(0, 0).unwrap();
    let frame = pool.frame(0, given).unwrap();
    let body = frame.iter().position(|byte| *byte == b'}').unwrap();
    let json = &frame[frame[body..].windows(2).position(|pair| pair == b"{\"").unwrap() + body..];
    let event = incoming::read(json).unwrap();
    assert_eq!((&*event.event_type, &*event.id), (marker::EVENT_TYPE, "id-1/rejected"));
    assert_eq!(event.order, Order::Counted { epoch: EPOCH, lane: 0, sequence: 1 });
    assert!(event.applied);
    ack(&mut pool, 0, "id-1/rejected");
    ack(&mut pool, 0, "id-2");
    assert_eq!((acked(&mut pool), pool.stats.rejected.value()), (Some(0), 1));
}

#[test]
fn a_marker_is_published_again_as_any_event() {
    let mut pool = pool(&config(&["a"]));
    reject_first(&mut pool);
    ack(&mut pool, 0, "id-2");
    assert_eq!(publish(&mut pool, 0), ["id-1/rejected"]);
    for round in 1..3 {
        pool.tick(PATIENCE_MS * round);
        assert_eq!(publish(&mut pool, PATIENCE_MS * round), ["id-1/rejected", "id-2"], "round {round}");
    }
    pool.take_report(&report("a", 2));
    assert_eq!((acked(&mut pool), pool.is_empty()), (Some(0), true));
    assert_eq!(pool.stats.rejected.value(), 1);
}

#[test]
fn a_marker_that_is_refused_for_good_is_sent_until_it_is_taken_where_no_gap_is_passed() {
    for by in [None, Some("a")] {
        let mut pool = match by {
            None => pool(&MeshConfig { window: 64, ..two_lines() }),
            Some(name) => pool(&config(&[name])),
        };
        reject_first(&mut pool);
        ack(&mut pool, 0, "id-2");
        for round in 0..3 {
            let now_ms = round * 10_000;
            pool.tick(now_ms);
            let sent = sends(&mut pool, 0, now_ms);
            let marker = sent.iter().find(|(_, _, id)| id == "id-1/rejected");
            assert_eq!(marker.is_some(), round == 0 || by.is_some(), "round {round}, by {by:?}");
            for (_, seq, id) in &sent {
                if id == "id-1/rejected" {
                    refuse(&mut pool, 0, seq, "event is null", now_ms);
                } else {
                    ack(&mut pool, 0, id);
                }
            }
            assert!(pool.next_rejected().is_none(), "one dead letter is enough");
        }
        assert_eq!(acked(&mut pool).is_some(), by.is_none());
    }
}

#[test]
fn a_sink_that_was_never_heard_of_is_counted() {
    let mut pool = pool(&config(&["a", "b"]));
    push(&mut pool, 0, changes(1..=1));
    publish(&mut pool, 0);
    pool.take_report(&report("b", 1));
    pool.tick(UNHEARD_MS);
    assert_eq!(pool.stats.unheard.value(), 1);
    pool.take_report(&report("a", 1));
    pool.tick(UNHEARD_MS * 2);
    assert_eq!(pool.stats.unheard.value(), 0);
}

/// Pushes a batch of events 1 to `count`.
fn push_batch(pool: &mut Pool, count: u64) {
    let single = counted_parcel(changes(1..=count));
    let member = |keyed: &Outgoing| batch::Member {
        id: keyed.event.id(&single.buffer),
        json: keyed.event.json(&single.buffer),
    };
    let members: Vec<_> = single.events.iter().map(member).collect();
    let mut parcel = Parcel::default();
    let template = batch::template(Framing::EventMesh, SOURCE, "shop.orders");
    let event = batch::write(&mut parcel.buffer, &template, 0, &members);
    let last = single.events.last().unwrap();
    parcel.events.push(Outgoing { event, keys: [0; 2], ..*last });
    push_parcel(pool, 0, parcel);
}

#[test]
fn a_batch_that_went_out_in_pieces_is_published_again_in_the_same_pieces() {
    let mut pool = pool(&config(&["a"]));
    push_batch(&mut pool, 4);
    let whole = sends(&mut pool, 0, 0);
    refuse(&mut pool, 0, &whole[0].1, "event size exceeds the limit: 1000", 0);
    assert_eq!(publish(&mut pool, 0), ["id-1..id-2", "id-3..id-4"]);
    for round in 1..3 {
        pool.take_report(&report("a", 3));
        pool.tick(PATIENCE_MS * round);
        let again = publish(&mut pool, PATIENCE_MS * round);
        assert_eq!(again, ["id-1..id-2", "id-3..id-4"], "round {round}");
    }
    pool.take_report(&report("a", 4));
    assert_eq!((acked(&mut pool), pool.is_empty()), (Some(0), true));
}
