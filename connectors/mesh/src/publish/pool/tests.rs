//! The pool alone, with time and chance in the test's hand.

use std::time::Duration;

use flowd_codec::event::carried::{Carried, Payload};
use flowd_codec::event::{Framing, Template, batch};
use flowd_codec::frame::{Command, Decoder, Frame, Header};
use flowd_codec::session::publish_ack;
use flowd_engine::order::{Keyed, Order};
use flowd_engine::parcel::Parcel;

use super::*;
use crate::publish::pack::MemberKeys;
use crate::testing::{mesh_parcel, padded_mesh_parcel};

pub(super) fn pool(config: &MeshConfig) -> Pool {
    let mut pool = Pool::new(config, Arc::new(Stats::default()), 1);
    (0..config.connections).for_each(|line| pool.open(line));
    pool
}

pub(super) fn two_lines() -> MeshConfig {
    let ack_timeout = Duration::from_millis(100);
    MeshConfig { connections: 2, window: 4, ack_timeout, ..MeshConfig::default() }
}

fn push(pool: &mut Pool, ticket: u64, events: impl IntoIterator<Item = (u64, u64)>) {
    push_parcel(pool, ticket, mesh_parcel(events));
}

pub(super) fn push_parcel(pool: &mut Pool, ticket: u64, parcel: Parcel<Outgoing>) {
    pool.push(Packed { delivery: Delivery { ticket, parcel }, keys: MemberKeys::default() });
}

/// What a line would write now: each event with its seq and id.
pub(super) fn sends(pool: &mut Pool, line: usize, now_ms: u64) -> Vec<(Given, String, String)> {
    std::iter::from_fn(|| {
        let given = pool.give(line, now_ms)?;
        let mut decoder = Decoder::new();
        decoder.feed(pool.frame(line, given).unwrap());
        let frame = decoder.next_frame().unwrap().unwrap();
        let event: serde_json::Value = serde_json::from_slice(&frame.body).unwrap();
        pool.written(given);
        Some((given, frame.header.seq.unwrap().into(), event["id"].as_str().unwrap().to_owned()))
    })
    .collect()
}

pub(super) fn ids(sends: &[(Given, String, String)]) -> Vec<&str> {
    sends.iter().map(|(_, _, id)| id.as_str()).collect()
}

pub(super) fn ack(pool: &mut Pool, line: usize, id: &str) {
    let body = format!("{{\"id\":\"{id}\"}}");
    assert_eq!(answer(pool, line, 0, "7", "success", &body, 0), Verdict::Keep);
}

pub(super) fn refuse(pool: &mut Pool, line: usize, seq: &str, desc: &str, now_ms: u64) -> Verdict {
    answer(pool, line, 1, seq, desc, "", now_ms)
}

pub(super) fn answer(
    pool: &mut Pool,
    line: usize,
    code: i32,
    seq: &str,
    desc: &str,
    body: &str,
    now_ms: u64,
) -> Verdict {
    let header =
        Header { code, desc: Some(desc.into()), ..Header::request(Command::AsyncMessageToServerAck, seq) };
    let frame = Frame { header, body: body.to_owned().into() };
    pool.answer(line, &publish_ack(&frame).unwrap(), now_ms)
}

#[test]
fn no_more_parcels_are_taken_than_the_look_ahead_needs() {
    let mut pool = pool(&two_lines());
    let mut tickets = 0;
    while pool.wants_parcel() {
        push(&mut pool, tickets, (0..1000).map(|n| (n, 5)));
        tickets += 1;
    }
    assert_eq!(tickets, LOOK_AHEAD.div_ceil(1000) as u64);
    assert_eq!(ids(&sends(&mut pool, 0, 0)), ["id-0"], "one key, one event");
}

#[test]
fn large_events_fill_the_look_ahead_by_their_bytes() {
    let mut pool = pool(&two_lines());
    let parcels = (0..).take_while(|ticket| {
        let wants = pool.wants_parcel();
        if wants {
            push_parcel(&mut pool, *ticket, padded_mesh_parcel([(*ticket, 1 + ticket)], 1024 * 1024));
        }
        wants
    });
    let count = parcels.count() as u64;
    assert_eq!(count, LOOK_AHEAD_BYTES.div_ceil(1024 * 1024));
    assert_eq!(ids(&sends(&mut pool, 0, 0)).len(), 4, "a window of them");
    // What is acknowledged behind the oldest makes no room: a subscriber may have to keep it until the oldest comes.
    ack(&mut pool, 0, "id-1");
    assert!(!pool.wants_parcel());
    ack(&mut pool, 0, "id-0");
    assert!(pool.wants_parcel());
}

#[test]
fn tickets_are_reported_in_order_however_the_answers_come() {
    let mut pool = pool(&two_lines());
    push(&mut pool, 0, [(0, 1), (1, 2)]);
    push(&mut pool, 1, [(2, 3)]);
    push(&mut pool, 2, []);
    assert_eq!(pool.emitted(), None);
    assert_eq!(ids(&sends(&mut pool, 0, 0)), ["id-0", "id-1", "id-2"]);
    assert_eq!((pool.emitted(), pool.emitted()), (Some(2), None));
    ack(&mut pool, 1, "id-2");
    ack(&mut pool, 0, "id-0");
    assert!(pool.next_acked().is_none());
    ack(&mut pool, 1, "id-1");
    let acked: Vec<u64> = std::iter::from_fn(|| pool.next_acked()).map(|delivery| delivery.ticket).collect();
    assert_eq!(acked, [0, 1, 2]);
    assert!(pool.is_empty() && !pool.is_timed());
}

#[test]
fn the_window_bounds_a_line_and_an_answer_elsewhere_frees_it() {
    let mut pool = pool(&two_lines());
    push(&mut pool, 0, (0..20).map(|n| (n, 1 + n)));
    assert_eq!(sends(&mut pool, 0, 0).len(), 4);
    assert_eq!(sends(&mut pool, 0, 0).len(), 0);
    assert_eq!(sends(&mut pool, 1, 0).len(), 4);
    ack(&mut pool, 1, "id-0");
    assert_eq!((pool.in_flight(0), pool.in_flight(1)), (3, 4));
    assert_eq!(ids(&sends(&mut pool, 0, 0)), ["id-8"]);
}

#[test]
fn the_number_of_unanswered_publishes_is_right_at_any_time() {
    let mut pool = pool(&two_lines());
    push(&mut pool, 0, (0..4).map(|n| (n, 1 + n)));
    let sent = sends(&mut pool, 0, 0);
    assert_eq!(pool.stats.in_flight.value(), 4);
    ack(&mut pool, 0, "id-0");
    refuse(&mut pool, 0, &sent[1].1, "event is null", 0);
    assert_eq!(pool.stats.in_flight.value(), 2);
    pool.lost(0);
    assert_eq!(pool.stats.in_flight.value(), 0);
}

#[test]
fn late_doubled_and_alien_answers_change_nothing() {
    let mut pool = pool(&two_lines());
    push(&mut pool, 0, [(0, 1), (1, 1)]);
    let first = sends(&mut pool, 0, 0);
    ack(&mut pool, 0, "id-1");
    ack(&mut pool, 0, "somebody-elses");
    for seq in ["", "x", "1", "99999999999999999999", "18446744073709551615"] {
        refuse(&mut pool, 0, seq, "event is null", 0);
    }
    assert_eq!(pool.in_flight(0), 1);
    ack(&mut pool, 0, "id-0");
    ack(&mut pool, 0, "id-0");
    refuse(&mut pool, 0, &first[0].1, "event is null", 0);
    assert!(pool.next_rejected().is_none());
    assert_eq!(pool.stats.alien_answers.value(), 9);
    assert_eq!(ids(&sends(&mut pool, 1, 0)), ["id-1"]);
}

#[test]
fn a_timed_out_event_goes_out_again_and_its_patience_doubles() {
    let mut pool = pool(&MeshConfig { order: Order::None, ..two_lines() });
    push(&mut pool, 0, [(0, 1)]);
    let first = sends(&mut pool, 0, 0);
    pool.tick(99);
    assert!(!pool.has_work(1, 99));
    pool.tick(100);
    assert!(pool.frame(0, first[0].0).is_none(), "what was given before is stale");
    let second = sends(&mut pool, 1, 100);
    assert_eq!((&second[0].1, &second[0].2), (&first[0].1, &first[0].2), "same seq, same event");
    pool.tick(299);
    assert!(!pool.has_work(0, 299));
    pool.tick(300);
    assert!(pool.has_work(0, 300));
    // The answer to the first send still counts.
    ack(&mut pool, 0, "id-0");
    assert_eq!(pool.emitted(), Some(0));
    assert_eq!(
        (sends(&mut pool, 0, 300).len(), pool.next_acked().map(|delivery| delivery.ticket)),
        (0, Some(0))
    );
}

#[test]
fn an_overload_pauses_its_line_and_not_the_others() {
    let mut pool = pool(&two_lines());
    push(&mut pool, 0, (0..20).map(|n| (n, 1 + n)));
    let first = sends(&mut pool, 0, 0);
    assert_eq!(refuse(&mut pool, 0, &first[0].1, "SEND_TOO_FAST", 0), Verdict::Keep);
    assert!(!pool.has_work(0, 1) && pool.has_work(1, 1));
    (1..4).for_each(|n| ack(&mut pool, 0, &format!("id-{n}")));
    assert!(pool.has_work(0, 100));
    pool.tick(100);
    let after = sends(&mut pool, 0, 100);
    assert_eq!(ids(&after[..1]), ["id-0"], "what was refused goes first");
    assert!(after.len() < 4, "the window is smaller after an overload: {}", after.len());
}

#[test]
fn a_lost_session_is_told_and_its_events_go_out_on_the_other_line() {
    let mut pool = pool(&two_lines());
    push(&mut pool, 0, [(0, 1), (1, 2)]);
    let first = sends(&mut pool, 0, 0);
    assert_eq!(
        refuse(&mut pool, 0, &first[0].1, "java.lang.Exception: no session is found", 0),
        Verdict::Reopen
    );
    pool.lost(0);
    assert_eq!(ids(&sends(&mut pool, 1, 0)), ["id-1"]);
    pool.tick(60);
    assert_eq!(ids(&sends(&mut pool, 1, 60)), ["id-0"]);
    pool.open(0);
    assert!(!pool.has_work(0, 60));
}

#[test]
fn an_unknown_refusal_is_sent_again_for_ever() {
    let mut pool = pool(&two_lines());
    push(&mut pool, 0, [(0, 1)]);
    for round in 0..300 {
        let now_ms = round * 10_000;
        pool.tick(now_ms);
        let sent = sends(&mut pool, 0, now_ms);
        assert_eq!(ids(&sent), ["id-0"], "round {round}");
        assert_eq!(refuse(&mut pool, 0, &sent[0].1, "something new", now_ms), Verdict::Keep);
    }
    assert!(pool.next_rejected().is_none());
}

#[test]
fn a_refusal_by_size_names_topic_and_setting_and_one_for_good_its_text() {
    let mut pool = pool(&two_lines());
    push(&mut pool, 0, [(0, 1), (1, 2)]);
    let sent = sends(&mut pool, 0, 0);
    refuse(&mut pool, 0, &sent[0].1, "java.lang.Exception: event size exceeds the limit: 1000", 0);
    refuse(&mut pool, 0, &sent[1].1, "java.lang.Exception: group:g has no auth to pub the topic:T", 0);
    for needles in
        [["shop.orders", "limit: 1000 (raise eventMesh.server.maxEventSize"], ["shop.orders", "no auth"]]
    {
        let (rejected, line) = pool.next_rejected().unwrap();
        let line = String::from_utf8(line).unwrap();
        for needle in needles {
            assert!(rejected.reason.contains(needle) && line.contains(needle), "{line}");
        }
    }
    assert_eq!(pool.in_flight(0), 0);
}

/// A batch of these events in place of them, with their keys from 1.
fn push_batch(pool: &mut Pool, ticket: u64, numbers: std::ops::Range<u64>) {
    let single = mesh_parcel(numbers.clone().map(|number| (number, 1 + number)));
    let members: Vec<_> = single
        .events
        .iter()
        .map(|keyed| batch::Member {
            id: keyed.event.id(&single.buffer),
            json: keyed.event.json(&single.buffer),
        })
        .collect();
    let mut parcel = Parcel::default();
    let template = batch::template(Framing::EventMesh, "/flowd/test/t", "shop.orders");
    let event = batch::write(&mut parcel.buffer, &template, 0, &members);
    parcel.events.push(Keyed::uncounted(event, [0; 2]));
    let keys = MemberKeys::of_one(numbers.map(|number| 1 + number).collect());
    pool.push(Packed { delivery: Delivery { ticket, parcel }, keys });
}

const TOO_LARGE: &str = "event size exceeds the limit: 1000";

#[test]
fn a_batch_that_is_too_large_goes_out_in_halves_one_after_another_and_keeps_its_keys() {
    let mut pool = pool(&two_lines());
    push_batch(&mut pool, 0, 0..5);
    push(&mut pool, 1, [(9, 3)]);
    let whole = sends(&mut pool, 0, 0);
    assert_eq!(ids(&whole), ["id-0..id-4"]);
    let size = pool.frame(0, whole[0].0).unwrap().len();
    assert_eq!(refuse(&mut pool, 0, &whole[0].1, TOO_LARGE, 0), Verdict::Keep);
    assert!(pool.batch_bytes_max() < size / 2);

    let half = sends(&mut pool, 0, 0);
    assert_eq!(ids(&half), ["id-0..id-2"], "one at a time");
    // A late answer to the whole counts for nothing.
    refuse(&mut pool, 0, &whole[0].1, TOO_LARGE, 0);
    refuse(&mut pool, 0, &whole[0].1, "event is null", 0);
    ack(&mut pool, 0, "id-0..id-4");
    assert_eq!(sends(&mut pool, 0, 0).len(), 0);
    refuse(&mut pool, 0, &half[0].1, TOO_LARGE, 0);
    assert_eq!(ids(&sends(&mut pool, 1, 0)), ["id-0..id-1"]);
    ack(&mut pool, 0, "id-0..id-1");
    assert_eq!(ids(&sends(&mut pool, 1, 0)), ["id-2"], "key 3 is held until the last piece has left");
    ack(&mut pool, 0, "id-2");
    assert_eq!(ids(&sends(&mut pool, 1, 0)), ["id-3..id-4"]);
    assert!(pool.next_acked().is_none());
    ack(&mut pool, 0, "id-3..id-4");
    assert_eq!(ids(&sends(&mut pool, 1, 0)), ["id-9"]);
    ack(&mut pool, 0, "id-9");
    assert_eq!(pool.emitted(), Some(1));
    assert_eq!(std::iter::from_fn(|| pool.next_acked()).count(), 2);
    assert!(pool.is_empty() && pool.rejected.is_empty() && pool.ids.is_empty());
}

#[test]
fn of_a_batch_that_is_refused_for_good_only_the_members_at_fault_are_rejected() {
    let mut pool = pool(&two_lines());
    push_batch(&mut pool, 0, 0..3);
    let whole = sends(&mut pool, 0, 0);
    refuse(&mut pool, 0, &whole[0].1, "JsonParseException", 0);
    assert_eq!(pool.batch_bytes_max(), usize::MAX, "its size was not at fault");
    for number in 0..3 {
        let sent = sends(&mut pool, 0, 0);
        assert_eq!(ids(&sent), [format!("id-{number}")]);
        if number == 1 {
            refuse(&mut pool, 0, &sent[0].1, TOO_LARGE, 0);
            let (rejected, line) = pool.next_rejected().unwrap();
            assert!(String::from_utf8(line).unwrap().contains("\"id\":\"id-1\""));
            assert_eq!(sends(&mut pool, 0, 0).len(), 0, "not before its dead letter is durable");
            pool.dead_letter_written(&rejected, 0);
        } else {
            ack(&mut pool, 0, &format!("id-{number}"));
        }
    }
    assert_eq!(pool.emitted(), Some(0));
    assert!(pool.next_acked().is_some() && pool.is_empty());
    assert_eq!(pool.stats.rejected.value(), 1);
}

#[test]
fn a_batch_in_pieces_survives_a_lost_connection() {
    let mut pool = pool(&two_lines());
    push_batch(&mut pool, 0, 0..4);
    let whole = sends(&mut pool, 0, 0);
    refuse(&mut pool, 0, &whole[0].1, TOO_LARGE, 0);
    assert_eq!(ids(&sends(&mut pool, 0, 0)), ["id-0..id-1"]);
    pool.lost(0);
    assert_eq!(ids(&sends(&mut pool, 1, 0)), ["id-0..id-1"]);
    ack(&mut pool, 1, "id-0..id-1");
    assert_eq!(ids(&sends(&mut pool, 1, 0)), ["id-2..id-3"]);
    pool.tick(100);
    assert_eq!(ids(&sends(&mut pool, 1, 100)), ["id-2..id-3"]);
    ack(&mut pool, 1, "id-2..id-3");
    assert!(pool.next_acked().is_none(), "emitted is told first");
    assert_eq!(pool.emitted(), Some(0));
    assert!(pool.next_acked().is_some() && pool.is_empty());
}

#[test]
fn an_answer_finds_its_event_whatever_escapes_its_id_is_written_with() {
    let mut pool = pool(&two_lines());
    let payload = Payload::None;
    let carried = Carried { id: "a\"\\ü", time: None, content_type: None, attributes: b"", payload };
    let mut parcel = Parcel::default();
    let template = Template::new(Framing::EventMesh, "/s", "t", "orders");
    let framed = carried.write(&mut parcel.buffer, &template);
    parcel.events.push(Keyed::uncounted(framed, [1, 0]));
    push_parcel(&mut pool, 0, parcel);
    assert_eq!(ids(&sends(&mut pool, 0, 0)), [carried.id]);
    ack(&mut pool, 0, r#"\u0061\"\u005c\u00fc"#);
    assert_eq!(pool.emitted(), Some(0));
    assert!(pool.next_acked().is_some() && pool.is_empty());
}
