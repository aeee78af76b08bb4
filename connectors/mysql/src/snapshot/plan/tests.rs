//! The plan by example; by chance in `simulation`.

use flowd_binlog::result::{KeyKind, KeyValue};

use super::*;

mod simulation;

pub(super) fn key(number: i64) -> Key {
    vec![KeyValue { kind: KeyKind::Signed, bytes: Box::new(number.to_le_bytes()) }]
}

fn range(after: Option<i64>, upto: i64) -> Range {
    Range { after: after.map(key), upto: Some(key(upto)) }
}

fn names(names: &[&str]) -> Vec<(String, String)> {
    names.iter().map(|name| ("shop".to_owned(), (*name).to_owned())).collect()
}

fn plan(tables: &[&str]) -> Plan {
    Plan::new(SnapshotState::new("s1".into(), 1, "binlog.000001".into(), 4), names(tables))
}

pub(super) fn keyed(upto: i64) -> Opened {
    Opened::Keyed { columns: vec!["id".into()], upto: Some(key(upto)), rows_estimated: 10 }
}

fn next_open(plan: &mut Plan) -> (TableId, String) {
    match plan.next(0) {
        Work::Open { table, name, .. } => (table, name),
        other => panic!("{other:?}"),
    }
}

fn next_lease(plan: &mut Plan, idle: usize) -> Lease {
    match plan.next(idle) {
        Work::Read(lease) => lease,
        other => panic!("{other:?}"),
    }
}

/// A plan whose only table has keys up to 100.
fn opened() -> (Plan, TableId) {
    let mut plan = plan(&["a"]);
    let (table, _) = next_open(&mut plan);
    assert!(plan.opened(table, keyed(100)));
    (plan, table)
}

#[test]
fn a_table_is_read_from_its_first_key_to_its_upper_bound_and_then_done() {
    let (mut plan, _) = opened();
    let lease = next_lease(&mut plan, 0);
    assert_eq!((lease.range, lease.divide, lease.whole), (range(None, 100), false, false));
    let first = plan.chunk(lease.id, Some(key(40))).expect("leased");
    assert_eq!(plan.rest(lease.id), Some(&range(Some(40), 100)));
    let second = plan.chunk(lease.id, None).expect("leased");
    assert_eq!(plan.rest(lease.id), None);
    assert_eq!(plan.next(0), Work::Done, "what is read needs no worker");
    assert!(!plan.is_finished());
    assert!(plan.emitted(first, 4, 400));
    assert_eq!(plan.state().open[0].remaining, [range(Some(40), 100)]);
    assert!(plan.emitted(second, 6, 600));
    let state = plan.state();
    assert!(state.finished);
    assert_eq!((state.tables, state.tables_done, state.chunks), (1, 1, 2));
    assert_eq!((state.rows, state.bytes, state.rows_estimated), (10, 1_000, 10));
}

#[test]
fn workers_share_one_table_and_the_state_joins_what_touches() {
    let (mut plan, _) = opened();
    let first = next_lease(&mut plan, 1);
    assert!(first.divide, "somebody waits");
    assert!(plan.is_all_given());
    assert!(plan.divide(first.id, key(50)));
    assert!(!plan.is_all_given());
    let second = next_lease(&mut plan, 0);
    assert_eq!(second.range, range(Some(50), 100));
    assert_eq!(plan.rest(first.id), Some(&range(None, 50)));
    assert_eq!(plan.state().open[0].remaining, [range(None, 100)]);
    for bound in [0, 50] {
        assert!(plan.divide(second.id, key(75)) == (bound == 0), "its own bounds divide nothing");
        assert!(!plan.divide(second.id, key(50)));
    }
    let middle = plan.chunk(first.id, Some(key(20))).expect("leased");
    plan.chunk(first.id, Some(key(30))).expect("leased");
    assert!(plan.emitted(middle, 1, 1));
    assert_eq!(plan.state().open[0].remaining, [range(Some(20), 100)]);
    let end = plan.chunk(second.id, None).expect("leased");
    assert!(plan.emitted(end, 1, 1));
    assert_eq!(plan.state().open[0].remaining, [range(Some(20), 50), range(Some(75), 100)]);
}

#[test]
fn a_released_lease_gives_its_rest_to_the_next_worker() {
    let (mut plan, _) = opened();
    let lease = next_lease(&mut plan, 0);
    plan.divide(lease.id, key(50));
    let chunk = plan.chunk(lease.id, Some(key(10))).expect("leased");
    plan.release(lease.id);
    assert_eq!(plan.chunk(lease.id, None), None, "stale");
    assert_eq!(next_lease(&mut plan, 0).range, range(Some(10), 100), "and joined to what is free behind it");
    assert!(!plan.is_stale(chunk), "what was read counts");
}

#[test]
fn free_ranges_with_something_handed_on_between_them_stay_apart() {
    let (mut plan, _) = opened();
    let first = next_lease(&mut plan, 0);
    plan.divide(first.id, key(50));
    let second = next_lease(&mut plan, 0);
    let between = plan.chunk(second.id, Some(key(60))).expect("leased");
    assert!(plan.emitted(between, 1, 1));
    plan.release(first.id);
    plan.release(second.id);
    assert_eq!(plan.state().open[0].remaining, [range(None, 50), range(Some(60), 100)]);
    assert_eq!(next_lease(&mut plan, 0).range, range(None, 50));
    assert_eq!(next_lease(&mut plan, 0).range, range(Some(60), 100));
}

#[test]
fn a_lease_released_at_its_very_end_leaves_nothing() {
    let (mut plan, _) = opened();
    let lease = next_lease(&mut plan, 0);
    let chunk = plan.chunk(lease.id, Some(key(100))).expect("leased");
    assert!(plan.emitted(chunk, 10, 10));
    plan.release(lease.id);
    assert!(plan.is_finished());
    assert_eq!(plan.next(0), Work::Done);
}

#[test]
fn a_discard_makes_every_id_of_the_table_stale() {
    let (mut plan, table) = opened();
    let lease = next_lease(&mut plan, 0);
    let done = plan.chunk(lease.id, Some(key(10))).expect("leased");
    assert!(plan.emitted(done, 1, 1));
    let chunk = plan.chunk(lease.id, Some(key(20))).expect("leased");
    assert_eq!(plan.in_flight().collect::<Vec<_>>(), [table]);
    assert_eq!(plan.discard(table), 1);
    assert_eq!(plan.in_flight().count(), 0);
    assert!(plan.is_stale(chunk));
    assert!(!plan.emitted(chunk, 1, 1));
    assert!(!plan.emitted(done, 1, 1), "nor twice");
    assert_eq!(plan.chunk(lease.id, None), None);
    assert!(!plan.divide(lease.id, key(50)));
    assert_eq!(plan.discard(table), 0);
    let (again, _) = next_open(&mut plan);
    assert_ne!(again, table);
    assert_eq!(plan.id_of("shop", "a"), Some(again));
    assert!(!plan.opened(table, Opened::Gone), "what was seen before the discard does not count");
    assert!(plan.opened(again, keyed(100)));
    assert_eq!(next_lease(&mut plan, 0).range, range(Some(10), 100));
}

#[test]
fn a_table_that_was_discarded_while_somebody_looked_at_it_is_looked_at_again() {
    let mut plan = plan(&["a"]);
    let (table, _) = next_open(&mut plan);
    assert_eq!(plan.state().extra, names(&["a"]), "not lost while it is being opened");
    plan.discard(table);
    assert!(!plan.opened(table, keyed(100)));
    let (again, name) = next_open(&mut plan);
    assert_eq!(name, "a");
    plan.give_back(again);
    assert!(!plan.opened(again, keyed(100)));
    let (again, _) = next_open(&mut plan);
    assert!(plan.opened(again, keyed(100)));
}

#[test]
fn a_changed_key_starts_the_table_again_and_an_empty_or_dropped_one_ends() {
    let changed = Opened::Keyed {
        columns: vec!["id", "no"].into_iter().map(Into::into).collect(),
        upto: Some(key(7)),
        rows_estimated: 3,
    };
    let empty = Opened::Keyed { columns: vec!["id".into()], upto: None, rows_estimated: 0 };
    for (opened_as, left) in [(changed, Some(range(None, 7))), (empty, None), (Opened::Gone, None)] {
        let (mut plan, table) = opened();
        let lease = next_lease(&mut plan, 0);
        let chunk = plan.chunk(lease.id, Some(key(10))).expect("leased");
        plan.emitted(chunk, 1, 1);
        plan.discard(table);
        let (table, _) = next_open(&mut plan);
        assert!(plan.opened(table, opened_as));
        let state = plan.state();
        assert_eq!(
            state.open.first().map(|open| open.remaining.clone()),
            left.clone().map(|left| vec![left])
        );
        assert_eq!(state.finished, left.is_none());
        assert_eq!(state.rows_estimated, if left.is_some() { 4 } else { 1 });
    }
}

#[test]
fn tables_without_a_key_are_read_one_at_a_time_and_from_the_beginning_again() {
    let mut plan = plan(&["a", "b", "c"]);
    for _ in 0..3 {
        let (table, name) = next_open(&mut plan);
        let whole = Opened::Whole { rows_estimated: 2 };
        plan.opened(table, if name == "c" { keyed(9) } else { whole });
        if name == "a" {
            let lease = next_lease(&mut plan, 0);
            assert!(lease.whole);
            plan.chunk(lease.id, Some(Key::new())).expect("leased");
        }
    }
    let lease = next_lease(&mut plan, 0);
    assert!(!lease.whole, "a table with a key beside it");
    assert_eq!(plan.next(0), Work::Wait);
    let state = plan.state();
    assert!(state.open[0].whole);
    let resumed = Plan::new(state, names(&["a", "b", "c"]));
    assert_eq!(resumed.unopened().cloned().collect::<Vec<_>>(), names(&["a", "b"]));
    assert_eq!(resumed.state().extra, names(&["a", "b"]));
}

#[test]
fn a_table_without_a_key_is_being_handed_on_until_its_last_chunk_is_though_its_reader_is_done() {
    let mut plan = plan(&["a"]);
    let (table, _) = next_open(&mut plan);
    plan.opened(table, Opened::Whole { rows_estimated: 2 });
    let lease = next_lease(&mut plan, 0);
    assert!(!plan.is_handing_on_whole());
    let last = plan.chunk(lease.id, None).expect("leased");
    plan.release(lease.id);
    assert!(plan.is_handing_on_whole());
    assert!(plan.emitted(last, 1, 1));
    assert!(!plan.is_handing_on_whole());
}

#[test]
fn a_lost_reader_of_a_table_without_a_key_starts_it_again() {
    let mut plan = plan(&["a"]);
    let (table, _) = next_open(&mut plan);
    plan.opened(table, Opened::Whole { rows_estimated: 2 });
    let lease = next_lease(&mut plan, 0);
    let first = plan.chunk(lease.id, Some(Key::new())).expect("leased");
    let second = plan.chunk(lease.id, Some(Key::new())).expect("leased");
    assert!(!plan.emitted(second, 1, 1), "not out of turn");
    assert!(plan.emitted(first, 1, 1));
    plan.release(lease.id);
    assert!(plan.is_stale(second));
    let lease = next_lease(&mut plan, 0);
    let all = plan.chunk(lease.id, None).expect("leased");
    plan.release(lease.id);
    assert_eq!(plan.next(0), Work::Done);
    assert_eq!(plan.state().open[0].remaining, [Range::default()], "until the last chunk is handed on");
    assert!(plan.emitted(all, 2, 2));
    let state = plan.state();
    assert!(state.finished);
    assert_eq!((state.rows, state.rows_estimated), (3, 3));
}

#[test]
fn a_table_that_got_its_name_meanwhile_is_read_from_its_beginning() {
    let mut plan = plan(&["a", "b"]);
    let (a, _) = next_open(&mut plan);
    plan.opened(a, keyed(100));
    let lease = next_lease(&mut plan, 0);
    let chunk = plan.chunk(lease.id, None).expect("leased");
    assert_eq!(plan.rename("shop", "a"), 1);
    assert!(plan.is_stale(chunk));
    plan.rename("shop", "0");
    let state = plan.state();
    assert_eq!((state.extra.clone(), state.tables), (names(&["0", "a"]), 3));
    let mut plan = Plan::new(state, names(&["0", "a", "b"]));
    for expected in ["0", "a", "b"] {
        let (table, name) = next_open(&mut plan);
        assert_eq!(name, expected);
        plan.opened(table, Opened::Gone);
    }
    assert!(plan.is_finished());
    assert_eq!(plan.rename("shop", "a"), 0);
    assert!(plan.is_finished(), "nobody reads any more");
}

#[test]
fn a_snapshot_is_not_finished_before_it_is_known_which_tables_moved() {
    let mut plan = plan(&["a"]);
    let (table, _) = next_open(&mut plan);
    plan.moved(b"RENAME TABLE a TO b");
    assert!(plan.opened(table, Opened::Gone));
    assert_eq!(plan.next(0), Work::Wait);
    assert!(!plan.state().finished);
    for _ in 0..2 {
        let statement = plan.next_moved().expect("to be looked into");
        assert_eq!(plan.next_moved(), None, "by one worker");
        plan.not_settled(&statement);
    }
    let bytes = plan.encoded();
    let state = EncodedState::read(bytes.bytes()).expect("readable");
    let mut resumed = Plan::new(state, names(&["b"]));
    for plan in [&mut plan, &mut resumed] {
        plan.rename("shop", "b");
        let statement = plan.next_moved().expect("to be looked into");
        plan.settled(&statement);
        let (table, name) = next_open(plan);
        assert_eq!(name, "b");
        plan.opened(table, Opened::Gone);
        assert!(plan.state().finished);
        plan.moved(b"RENAME TABLE b TO c");
        assert!(plan.is_finished(), "too late");
    }
    plan.settled(b"never heard of");
}

#[test]
fn a_finished_snapshot_stays_finished_whatever_tables_come() {
    let mut plan = plan(&[]);
    assert_eq!(plan.next(3), Work::Done);
    let state = plan.state();
    assert!(state.finished);
    let mut resumed = Plan::new(state.clone(), names(&["a"]));
    assert_eq!(resumed.next(0), Work::Done);
    assert_eq!(resumed.state(), state);
}

#[test]
fn the_state_does_not_grow_with_the_number_of_tables() {
    let many: Vec<String> = (0..2_000).map(|number| format!("table_{number:05}")).collect();
    let mut plan = plan(&many.iter().map(String::as_str).collect::<Vec<_>>());
    let mut chunks = Vec::new();
    while let Work::Open { table, .. } = plan.next(0) {
        plan.opened(table, keyed(1));
        let lease = next_lease(&mut plan, 0);
        chunks.push(plan.chunk(lease.id, None).expect("leased"));
    }
    assert_eq!(plan.state().open.len(), OPEN_TABLES_MAX);
    assert_eq!(plan.next(0), Work::Wait);
    for chunk in chunks {
        plan.emitted(chunk, 1, 1);
    }
    let state = plan.state();
    assert!(state.open.is_empty() && state.extra.is_empty());
    assert_eq!((state.tables, state.tables_done), (2_000, 128));
    let bytes = EncodedState::of(&state).bytes().len();
    assert!(bytes < 200, "{bytes}");
    assert!(matches!(plan.next(0), Work::Open { .. }));
}

#[test]
fn the_bytes_are_made_again_whenever_the_state_changed() {
    let (mut plan, table) = opened();
    let check = |plan: &mut Plan, what: &str| {
        assert_eq!(EncodedState::read(plan.encoded().bytes()).expect("readable"), plan.state(), "{what}");
    };
    check(&mut plan, "opened");
    let lease = next_lease(&mut plan, 0);
    let chunk = plan.chunk(lease.id, Some(key(5))).expect("leased");
    check(&mut plan, "leased");
    plan.emitted(chunk, 1, 1);
    check(&mut plan, "emitted");
    plan.discard(table);
    check(&mut plan, "discarded");
    plan.rename("shop", "b");
    check(&mut plan, "renamed");
    let (table, _) = next_open(&mut plan);
    check(&mut plan, "opening");
    plan.opened(table, Opened::Gone);
    check(&mut plan, "gone");
}
