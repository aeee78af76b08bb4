//! The tracker beside a plain list of everything that happened.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// The `number`th transaction of a history in which three kinds of ids, two servers and several files take turns.
fn nth(number: u64) -> (TransactionId, Place) {
    let uuid = Uuid([u8::try_from(number % 2).expect("0 or 1"); 16]);
    let file: Arc<str> = format!("binlog.{:06}", number / 10).into();
    let id = match number % 5 {
        0 => TransactionId::Tagged(uuid, "tag".into(), number),
        1 => TransactionId::MariaDb(format!("0-1-{number}").parse().expect("a GTID")),
        2 => TransactionId::Place { server: "s".into(), file: file.clone(), offset: number },
        _ => TransactionId::MySql(uuid, number),
    };
    (id, Place { file, offset: number * 100 })
}

fn tracker(entries_max: usize, touches: &[(TableId, u64, u64)]) -> Tracker {
    let mut tracker = Tracker::new(entries_max);
    for (table, transaction, key) in touches {
        let (id, place) = nth(*transaction);
        tracker.transaction(&id, place);
        tracker.touch(*table, *key).expect("room");
    }
    tracker
}

#[test]
fn a_chunk_is_told_the_keys_that_its_mark_does_not_see() {
    let tracker = tracker(100, &[(1, 3, 50), (1, 4, 40), (2, 4, 60), (1, 5, 40), (1, 6, 30)]);
    let sees = |touch: &Touch| touch.place.offset < 500;
    assert_eq!(tracker.touched(1, 0, sees), [30, 40]);
    assert_eq!(tracker.touched(2, 0, sees), [0; 0]);
    assert_eq!(tracker.touched(1, 0, |_| false), [30, 40, 50]);
    assert_eq!(tracker.touched(1, 3, |_| false), [30], "only from this transaction on");
    assert_eq!(tracker.touched(3, 0, |_| false), [0; 0]);
}

#[test]
fn what_comes_later_has_the_index_of_now_or_a_later_one() {
    let mut tracker = Tracker::new(100);
    let before = tracker.now();
    let (id, place) = nth(1);
    let first = tracker.transaction(&id, place.clone());
    assert!(first >= before);
    tracker.touch(1, 1).expect("room");
    assert_eq!(tracker.now(), first);
    assert_eq!(tracker.transaction(&id, place), first, "the same transaction");
    let since = tracker.now();
    tracker.touch(1, 2).expect("room");
    assert_eq!(tracker.touched(1, since, |_| false), [1, 2], "the open one counts");
    let (id, place) = nth(2);
    assert_eq!(tracker.transaction(&id, place), first + 1);
}

#[test]
fn sees_is_asked_once_a_transaction_and_given_what_was_noted() {
    let touches: Vec<_> = (0..60).map(|index| (1, index / 3, index)).collect();
    let tracker = tracker(1_000, &touches);
    let asked = std::cell::RefCell::new(Vec::new());
    tracker.touched(1, 0, |touch| {
        asked.borrow_mut().push(touch.clone());
        true
    });
    let expected: Vec<_> =
        (0..20).map(nth).map(|(transaction, place)| Touch { transaction, place }).collect();
    assert_eq!(*asked.borrow(), expected);
}

#[test]
fn a_hot_row_takes_little_room_in_one_transaction() {
    let mut tracker = Tracker::new(16);
    let (id, place) = nth(1);
    tracker.transaction(&id, place);
    for round in 0..1_000 {
        tracker.touch(1, round % 4).expect("four keys fit");
    }
    assert!(tracker.len() <= 16);
    assert_eq!(tracker.touched(1, 0, |_| false), [0, 1, 2, 3]);
}

#[test]
fn a_full_tracker_says_so_and_has_room_again_when_a_table_is_forgotten() {
    let mut tracker = Tracker::new(100);
    let (id, place) = nth(1);
    tracker.transaction(&id, place);
    let fitted = (0..1_000).take_while(|key| tracker.touch(1, *key).is_ok()).count();
    assert!((85..=99).contains(&fitted), "{fitted}");
    assert_eq!(tracker.touch(2, 5), Err(Full));
    assert!(tracker.len() <= 100);
    tracker.clear(1);
    assert_eq!(tracker.touch(2, 5), Ok(()));
    assert_eq!(tracker.touched(2, 0, |_| false), [5]);
}

#[test]
fn what_no_chunk_needs_is_forgotten_with_its_transactions() {
    let touches: Vec<_> =
        (0..90).map(|index| (u32::try_from(index % 2).expect("0 or 1"), index, index)).collect();
    let mut tracker = tracker(1_000, &touches);
    assert_eq!(tracker.len(), 180);
    tracker.keep(0, Some(80));
    assert_eq!(tracker.touched(0, 0, |_| false), [80, 82, 84, 86, 88]);
    tracker.keep(1, Some(86));
    assert_eq!(tracker.len(), 5 + 2 + 10, "transactions from 80 on");
    tracker.keep(0, None);
    tracker.keep(1, None);
    assert_eq!(tracker.len(), 1, "the last transaction may go on");
}

#[test]
fn an_entry_takes_no_more_than_promised() {
    assert!(size_of::<Entry>() <= 24);
    assert!(size_of::<Noted>() <= 24);
}

#[derive(Debug, Clone)]
enum Step {
    Touch { table: TableId, key: u64, is_new_transaction: bool },
    Keep { table: TableId, back: u64 },
    Clear { table: TableId },
    Ask { table: TableId, back: u64, seen: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let touch = (1..4u32, 0..40u64, any::<bool>()).prop_map(|(table, key, is_new_transaction)| Step::Touch {
        table,
        key,
        is_new_transaction,
    });
    prop_oneof![
        20 => touch,
        1 => (1..4u32, 0..30u64).prop_map(|(table, back)| Step::Keep { table, back }),
        1 => (1..4u32).prop_map(|table| Step::Clear { table }),
        4 => (1..4u32, 0..30u64, 0..30u64).prop_map(|(table, back, seen)| Step::Ask { table, back, seen }),
    ]
}

/// A change as the plain list has it.
#[derive(Debug, Clone, Copy)]
struct Change {
    table: TableId,
    index: u64,
    number: u64,
    key: u64,
}

/// Notes a change, giving up the largest table as often as there is no room.
fn touch(tracker: &mut Tracker, list: &mut Vec<Change>, table: TableId, number: u64, key: u64) {
    let (id, place) = nth(number);
    let index = tracker.transaction(&id, place);
    while tracker.touch(table, key) == Err(Full) {
        assert!(!list.is_empty(), "no room although nothing is tracked");
        let size = |table: &TableId| list.iter().filter(|change| change.table == *table).count();
        let largest = (1..4).max_by_key(size).expect("three tables");
        tracker.clear(largest);
        list.retain(|change| change.table != largest);
    }
    assert_eq!(tracker.now(), index, "indexes outlast whatever is thrown out");
    list.push(Change { table, index, number, key });
}

proptest! {
    /// Marks see a beginning of the history, as a key's transactions commit in order. The bound is small, so that
    /// entries are thrown out and tables are given up.
    #[test]
    fn it_tells_what_a_plain_list_tells(
        steps in proptest::collection::vec(step(), 1..200),
        bound in 20..200usize,
    ) {
        let mut tracker = Tracker::new(bound);
        let mut list: Vec<Change> = Vec::new();
        let mut number = 0;
        for step in steps {
            match step {
                Step::Touch { table, key, is_new_transaction } => {
                    number += u64::from(is_new_transaction);
                    touch(&mut tracker, &mut list, table, number, key);
                }
                Step::Keep { table, back } => {
                    let since = tracker.now().saturating_sub(back);
                    tracker.keep(table, Some(since));
                    list.retain(|change| change.table != table || change.index >= since);
                }
                Step::Clear { table } => {
                    tracker.clear(table);
                    list.retain(|change| change.table != table);
                }
                Step::Ask { table, back, seen } => {
                    let since = tracker.now().saturating_sub(back);
                    let mark = number.saturating_sub(seen);
                    let counts = |change: &&Change| {
                        change.table == table && change.index >= since && change.number >= mark
                    };
                    let expected: BTreeSet<u64> =
                        list.iter().filter(counts).map(|change| change.key).collect();
                    let told = tracker.touched(table, since, |touch| touch.place.offset < mark * 100);
                    prop_assert_eq!(told, expected.into_iter().collect::<Vec<_>>());
                }
            }
            prop_assert!(tracker.len() <= bound);
        }
    }
}
