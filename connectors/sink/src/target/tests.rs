//! The target on a store in memory: order, repeats, refusals, dead letters and acknowledgements.

use flowd_codec::event::{Framing, incoming, marker};
use proptest::prelude::*;

use super::*;
use crate::testing::{EPOCH, FakeOutlet, Heard, MemoryStore, Mishap, counted, parcel, row, with_data};

const APPLIED: &str = "applied";
const PUBLISHED: &str = "published";

fn run_with(store: &MemoryStore, outlet: &mut FakeOutlet, heard: &Heard) -> Result<Arc<SinkStats>, Failure> {
    let stats = Arc::new(SinkStats::default());
    let settings = SinkSettings {
        buffer_bytes: 100_000,
        gap_wait: Duration::from_millis(60),
        first_wait: Duration::from_millis(5),
    };
    let announce = Box::new(heard.clone());
    let mut target = SinkTarget::new(store.clone(), announce, settings, Arc::clone(&stats));
    target.start()?;
    Box::new(target).run(outlet)?;
    assert!(store.kept().is_closed);
    Ok(stats)
}

fn run(store: &MemoryStore, outlet: &mut FakeOutlet) -> Result<Arc<SinkStats>, Failure> {
    run_with(store, outlet, &Heard::default())
}

/// Events of lane 0, named by their numbers.
fn numbers(sequences: impl IntoIterator<Item = u64>, delivery: &str) -> Vec<Vec<u8>> {
    sequences.into_iter().map(|n| counted(0, n, &n.to_string(), delivery)).collect()
}

fn log(store: &MemoryStore) -> Vec<String> {
    store.kept().log.clone()
}

fn recorded(store: &MemoryStore) -> Vec<(u16, u64)> {
    store.kept().lanes.values().map(|lane| (lane.lane, lane.sequence)).collect()
}

#[test]
fn events_are_put_in_order_with_their_record_and_acknowledged_behind_it() {
    let store = MemoryStore::default();
    let mut outlet =
        FakeOutlet::new([parcel(&numbers([1, 2], PUBLISHED)), parcel(&[]), parcel(&numbers([3], PUBLISHED))]);
    let watched = store.clone();
    outlet.on_acked = Some(Box::new(move |ticket| {
        assert!(log(&watched).len() as u64 > ticket, "ticket {ticket} before its events are in the store");
    }));
    let stats = run(&store, &mut outlet).unwrap();
    assert_eq!((log(&store), recorded(&store)), (vec!["1".into(), "2".into(), "3".into()], vec![(0, 3)]));
    assert_eq!((outlet.acked.last(), outlet.recycled, outlet.has_left), (Some(&2), 3, false));
    assert_eq!((stats.received.value(), stats.applied.value()), (3, 3));
}

#[test]
fn what_was_applied_before_changes_nothing_when_it_comes_again() {
    let store = MemoryStore::default();
    run(&store, &mut FakeOutlet::new([parcel(&numbers(1..=5, APPLIED))])).unwrap();
    let again = [parcel(&numbers(2..=4, APPLIED)), parcel(&numbers([5, 6, 5], APPLIED))];
    let mut outlet = FakeOutlet::new(again);
    let stats = run(&store, &mut outlet).unwrap();
    assert!(store.kept().counters.values().all(|count| *count == 1), "{:?}", store.kept().counters);
    assert_eq!((recorded(&store), outlet.acked.last()), (vec![(0, 6)], Some(&1)));
    assert_eq!((stats.duplicates.value(), stats.applied.value()), (5, 1));
}

#[test]
fn a_put_is_bounded_and_takes_what_is_there() {
    let store = MemoryStore::default();
    run(&store, &mut FakeOutlet::new([parcel(&numbers(1..=2500, PUBLISHED))])).unwrap();
    assert_eq!(store.kept().puts, [1000, 1000, 500]);
    let store = MemoryStore::default();
    let parcels = (0..10).map(|n| parcel(&numbers(n * 10 + 1..=n * 10 + 10, PUBLISHED)));
    run(&store, &mut FakeOutlet::new(parcels)).unwrap();
    assert_eq!(store.kept().puts, [100]);
}

#[test]
fn with_published_delivery_what_waits_is_acknowledged_only_when_it_is_put() {
    let store = MemoryStore::default();
    let mut outlet = FakeOutlet::new([
        parcel(&numbers([1], PUBLISHED)),
        parcel(&numbers([3], PUBLISHED)),
        parcel(&numbers([4], PUBLISHED)),
    ]);
    outlet.ends_after = Some(2);
    let watched = store.clone();
    outlet.on_acked = Some(Box::new(move |ticket| {
        assert_eq!(log(&watched).len() as u64, ticket + 1, "{ticket}");
    }));
    let stats = run(&store, &mut outlet).unwrap();
    assert_eq!((log(&store), outlet.acked), (vec!["1".into(), "3".into(), "4".into()], vec![0, 2]));
    assert_eq!((stats.missing.value(), stats.waiting.value()), (1, 0));
}

#[test]
fn a_gap_is_not_given_up_for_the_time_that_the_store_took() {
    let store = MemoryStore::default();
    // The store is away for longer than a gap is waited for, while what is missing waits to be taken.
    store.kept().mishaps.insert(1, Mishap::BeforeCommit);
    store.kept().mishaps.insert(2, Mishap::BeforeCommit);
    let first = numbers([1, 1003].into_iter().chain(2..=1001), PUBLISHED);
    let mut outlet = FakeOutlet::new([parcel(&first), parcel(&numbers([1002], PUBLISHED))]);
    let stats = run(&store, &mut outlet).unwrap();
    assert_eq!((log(&store).len(), stats.missing.value(), outlet.acked.last()), (1003, 0, Some(&1)));
}

#[test]
fn what_comes_after_it_was_given_up_is_rejected_and_not_taken_for_a_repeat() {
    let store = MemoryStore::default();
    // More than the buffer holds: the gap before it is given up at once.
    let big = "x".repeat(120_000);
    let bodies = [(1, "1"), (3, &*big), (2, "2"), (3, &*big), (2, "2")]
        .map(|(sequence, name)| counted(0, sequence, name, PUBLISHED));
    let mut outlet = FakeOutlet::new([parcel(&bodies)]);
    let stats = run(&store, &mut outlet).unwrap();
    assert_eq!(log(&store), ["1", &*big]);
    assert_eq!((stats.missing.value(), stats.late.value(), stats.duplicates.value()), (1, 1, 2));
    let [(reason, letter)] = &outlet.rejects[..] else { panic!("{} letters", outlet.rejects.len()) };
    assert!(reason.contains("it was given up") && letter.contains(r#""name":"2""#), "{reason}: {letter}");
    assert_eq!(outlet.acked, [0]);
}

#[test]
fn what_still_waits_at_the_end_is_not_acknowledged() {
    let store = MemoryStore::default();
    let mut outlet = FakeOutlet::new([parcel(&numbers([1], PUBLISHED)), parcel(&numbers([3], PUBLISHED))]);
    run(&store, &mut outlet).unwrap();
    assert_eq!((log(&store), outlet.acked, outlet.has_left), (vec!["1".into()], vec![0], true));
}

#[test]
fn with_applied_delivery_what_waits_is_acknowledged_since_it_is_sent_again() {
    let store = MemoryStore::default();
    let mut outlet = FakeOutlet::new([parcel(&numbers([1, 3], APPLIED)), parcel(&numbers([4], APPLIED))]);
    run(&store, &mut outlet).unwrap();
    assert_eq!((log(&store), outlet.acked.last(), outlet.has_left), (vec!["1".into()], Some(&1), false));
    let mut outlet = FakeOutlet::new([parcel(&numbers([4, 3, 2], APPLIED))]);
    run(&store, &mut outlet).unwrap();
    assert_eq!(log(&store), ["1", "2", "3", "4"]);
}

#[test]
fn a_refused_event_is_a_dead_letter_before_its_number_is_on_record() {
    let store = MemoryStore::default();
    store.kept().refused.insert("2".into(), String::new());
    let mut outlet = FakeOutlet::new([parcel(&numbers([1, 2, 3], APPLIED))]);
    run(&store, &mut outlet).unwrap();
    assert_eq!((log(&store), recorded(&store)), (vec!["1".into(), "3".into()], vec![(0, 3)]));
    let (reason, line) = &outlet.rejects[0];
    assert!(reason.contains("2 is refused; event 0-2") && line.contains(r#""name":"2""#), "{reason} {line}");

    let store = MemoryStore::default();
    store.kept().refused.insert("2".into(), String::new());
    let mut outlet = FakeOutlet::new([parcel(&numbers([1, 2, 3], APPLIED))]);
    outlet.on_reject = Some(Failure::Fatal("stop".into()));
    assert_eq!(run(&store, &mut outlet).unwrap_err(), Failure::Fatal("stop".into()));
    assert_eq!((recorded(&store), outlet.acked), (vec![], vec![]));
}

#[test]
fn what_cannot_be_understood_is_a_dead_letter_and_takes_its_number_as_a_marker_does() {
    let store = MemoryStore::default();
    let bodies = [
        counted(0, 1, "1", APPLIED),
        with_data("flowd.change.c", 0, 2, "{}", APPLIED),
        with_data("flowd.rejected", 0, 3, r#"{"reason":"no"}"#, APPLIED),
        b"what?".to_vec(),
        counted(0, 4, "4", APPLIED),
    ];
    let mut outlet = FakeOutlet::new([parcel(&bodies)]);
    run(&store, &mut outlet).unwrap();
    assert_eq!((log(&store), recorded(&store)), (vec!["1".into(), "4".into()], vec![(0, 4)]));
    let reasons: Vec<&str> = outlet.rejects.iter().map(|(reason, _)| reason.as_str()).collect();
    assert!(
        reasons[0].contains("`data.op` is missing") && reasons[1].contains("no CloudEvent"),
        "{reasons:?}"
    );
    assert!(outlet.rejects[1].1.contains(r#""event":"what?""#), "{:?}", outlet.rejects[1]);
}

#[test]
fn plain_events_go_as_they_come() {
    let store = MemoryStore::default();
    let plain =
        br#"{"specversion":"1.0","id":"p","source":"/shop","type":"paid","data":{"name":"p"}}"#.to_vec();
    run(&store, &mut FakeOutlet::new([parcel(&[plain.clone(), plain])])).unwrap();
    assert_eq!(log(&store), ["p", "p"]);
}

#[test]
fn what_the_store_takes_only_later_is_tried_behind_others_and_holds_its_lane() {
    let store = MemoryStore::default();
    store.kept().refused.insert("2".into(), "other".into());
    let mut bodies = numbers([1, 2, 3], APPLIED);
    bodies.push(counted(1, 1, "other", APPLIED));
    let mut outlet = FakeOutlet::new([parcel(&bodies)]);
    let stats = run(&store, &mut outlet).unwrap();
    assert_eq!(log(&store), ["1", "other", "2", "3"]);
    assert_eq!((recorded(&store), stats.deferred.value()), (vec![(0, 3), (1, 1)], 2));
    assert!(outlet.rejects.is_empty() && stats.duplicates.value() == 0);
}

#[test]
fn what_the_store_never_takes_is_a_dead_letter_in_the_end_and_its_lane_goes_on() {
    let store = MemoryStore::default();
    store.kept().refused.insert("2".into(), "nothing".into());
    let mut outlet = FakeOutlet::new([parcel(&numbers([1, 2, 3], PUBLISHED))]);
    run(&store, &mut outlet).unwrap();
    assert_eq!((log(&store), outlet.rejects.len()), (vec!["1".into(), "3".into()], 1));
    assert_eq!((recorded(&store), outlet.acked), (vec![(0, 3)], vec![0]));
}

#[test]
fn a_truncate_is_put_alone_between_what_came_before_and_behind() {
    let store = MemoryStore::default();
    let bodies = [
        counted(1, 1, "a", APPLIED),
        counted(0, 1, "truncate", APPLIED),
        counted(1, 2, "b", APPLIED),
        counted(0, 2, "c", APPLIED),
    ];
    run(&store, &mut FakeOutlet::new([parcel(&bodies)])).unwrap();
    assert_eq!(
        (log(&store), store.kept().puts.clone()),
        (vec!["a".into(), "truncate".into(), "b".into(), "c".into()], vec![1, 1, 2])
    );
    // One that had to wait is alone too.
    let store = MemoryStore::default();
    let order = [3, 0, 1, 2];
    let waiting = order.map(|index: usize| {
        [
            counted(0, 1, "a", APPLIED),
            counted(0, 2, "truncate", APPLIED),
            counted(0, 3, "b", APPLIED),
            counted(1, 1, "c", APPLIED),
        ][index]
            .clone()
    });
    let shuffled = [waiting[3].clone(), waiting[2].clone(), waiting[0].clone(), waiting[1].clone()];
    run(&store, &mut FakeOutlet::new([parcel(&shuffled)])).unwrap();
    let log = log(&store);
    let at = |name: &str| log.iter().position(|found| found == name).unwrap();
    assert!(at("a") < at("truncate") && at("truncate") < at("b") && log.len() == 4, "{log:?}");
}

#[test]
fn a_run_that_goes_on_with_a_snapshot_is_heard_behind_a_truncate_and_ends_the_earlier_one() {
    let (store, heard) = (MemoryStore::default(), Heard::default());
    let (late, mut begins) = (row(0, 2, "late"), Vec::new());
    let text = String::from_utf8(row(0, 1, "next")).unwrap();
    // A later run's number 0, behind what came before the TRUNCATE.
    let next = text.replace(&format!(r#""chunk":"{EPOCH}-1""#), &format!(r#""chunk":"{}-0""#, EPOCH + 1));
    marker::replace(&mut begins, Framing::Bare, &incoming::read(next.as_bytes()).unwrap(), "it goes on");
    let bodies = [counted(0, 1, "a", APPLIED), counted(0, 2, "truncate", APPLIED), begins, late];
    let stats = run_with(&store, &mut FakeOutlet::new([parcel(&bodies)]), &heard).unwrap();
    assert_eq!(log(&store), ["a", "truncate"]);
    assert_eq!((stats.outdated.value(), heard.1.lock().unwrap().clone()), (1, vec![0]));
}

#[test]
fn a_put_whose_answer_was_lost_is_put_again_only_if_it_was_not_committed() {
    for mishap in [Mishap::AfterCommit, Mishap::BeforeCommit] {
        let store = MemoryStore::default();
        store.kept().mishaps.extend([(1, mishap), (3, mishap)]);
        let mut rows = numbers([3, 4], APPLIED);
        rows.push(row(0, 2, "row"));
        let mut outlet = FakeOutlet::new([parcel(&numbers([1, 2], APPLIED))]);
        run(&store, &mut outlet).unwrap();
        let mut outlet = FakeOutlet::new([parcel(&rows), parcel(&[row(1, 2, "last")])]);
        let stats = run(&store, &mut outlet).unwrap();
        let kept = store.kept();
        assert_eq!(kept.counters.len(), 6);
        assert!(kept.counters.values().all(|count| *count == 1), "{mishap:?}: {:?}", kept.counters);
        assert!(stats.reopened.value() <= 1 && outlet.acked.last() == Some(&1));
    }
}

#[test]
fn a_store_that_comes_back_with_less_stops_the_sink() {
    let store = MemoryStore::default();
    run(&store, &mut FakeOutlet::new([parcel(&numbers([1, 2], APPLIED))])).unwrap();
    store.kept().mishaps.insert(2, Mishap::Restored);
    let failure = run(&store, &mut FakeOutlet::new([parcel(&numbers([3], APPLIED))])).unwrap_err();
    assert!(matches!(&failure, Failure::Fatal(text) if text.contains("was restored")), "{failure:?}");
}

#[test]
fn a_source_hears_what_is_applied_and_again_when_it_sends_again() {
    let store = MemoryStore::default();
    let heard = Heard::default();
    let bodies = [counted(0, 1, "a", APPLIED), counted(1, 1, "b", APPLIED), row(0, 1, "row")];
    run_with(&store, &mut FakeOutlet::new([parcel(&bodies)]), &heard).unwrap();
    assert!(heard.0.lock().unwrap().ends_with(&[(0, 1), (1, 1)]), "{heard:?}");
    assert_eq!(*heard.1.lock().unwrap(), [1]);
    // A new process tells all of it at the first word of the source.
    let heard = Heard::default();
    run_with(&store, &mut FakeOutlet::new([parcel(&[row(0, 1, "row")])]), &heard).unwrap();
    let mut lanes = heard.0.lock().unwrap().clone();
    lanes.sort_unstable();
    lanes.dedup();
    assert_eq!((lanes, heard.1.lock().unwrap().clone()), (vec![(0, 1), (1, 1)], vec![1]));
    // Who does not wait hears nothing.
    let (store, heard) = (MemoryStore::default(), Heard::default());
    run_with(&store, &mut FakeOutlet::new([parcel(&numbers([1], PUBLISHED))]), &heard).unwrap();
    assert!(heard.0.lock().unwrap().is_empty());
}

#[test]
fn a_torn_chunk_goes_on_where_it_was() {
    let store = MemoryStore::default();
    run(&store, &mut FakeOutlet::new([parcel(&[row(0, 3, "a"), row(2, 3, "c")])])).unwrap();
    let all = [row(0, 3, "a"), row(1, 3, "b"), row(2, 3, "c")];
    let heard = Heard::default();
    run_with(&store, &mut FakeOutlet::new([parcel(&all)]), &heard).unwrap();
    assert_eq!(
        (log(&store), heard.1.lock().unwrap().clone()),
        (vec!["a".into(), "c".into(), "b".into()], vec![1])
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(25))]

    #[test]
    fn whatever_comes_and_whatever_breaks_each_event_is_counted_once_and_lanes_are_in_order(
        seed in any::<u64>(),
        lost_answers in prop::collection::btree_map(1_usize..12, prop::bool::ANY, 0..2),
        pieces in prop::collection::vec(1_usize..20, 3..12),
    ) {
        let store = MemoryStore::default();
        let mishap = |is_committed| if is_committed { Mishap::AfterCommit } else { Mishap::BeforeCommit };
        store.kept().mishaps.extend(lost_answers.into_iter().map(|(put, is_committed)| (put, mishap(is_committed))));
        let mut chance = seed | 1;
        let mut below = |bound: usize| {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (chance >> 33) as usize % bound
        };
        // Each of 60 events until it is applied, in any order, several times, over several processes.
        let all: Vec<(u16, u64)> = (0..60).map(|n| ((n % 3) as u16, n / 3 + 1)).collect();
        for _ in 0..40 {
            let parcels = pieces.iter().map(|count| {
                let picked = (0..*count).map(|_| all[below(all.len())]);
                let bodies: Vec<_> = picked.map(|(lane, n)| counted(lane, n, &format!("{lane}-{n:02}"), APPLIED)).collect();
                parcel(&bodies)
            });
            let parcels: Vec<_> = parcels.collect();
            let count = parcels.len() as u64;
            let mut outlet = FakeOutlet::new(parcels);
            run(&store, &mut outlet).unwrap();
            prop_assert_eq!(outlet.acked.last(), Some(&(count - 1)));
        }
        let in_order = all.iter().map(|(lane, n)| counted(*lane, *n, &format!("{lane}-{n:02}"), APPLIED)).collect::<Vec<_>>();
        run(&store, &mut FakeOutlet::new([parcel(&in_order)])).unwrap();
        let kept = store.kept();
        prop_assert_eq!(kept.counters.len(), 60);
        prop_assert!(kept.counters.values().all(|count| *count == 1), "{:?}", kept.counters);
        for lane in ["0-", "1-", "2-"] {
            let of_lane: Vec<&String> = kept.log.iter().filter(|name| name.starts_with(lane)).collect();
            prop_assert!(of_lane.is_sorted(), "{:?}", of_lane);
        }
    }
}
