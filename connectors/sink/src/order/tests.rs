//! Cases of the order that have a name; `simulation` runs whatever chance brings.

use flowd_codec::event::incoming::Chunk;

use super::*;

mod simulation;

const SETTINGS: Settings =
    Settings { buffer_bytes: 1000, gap_wait_ms: 10_000, silent_wait_ms: 300_000, first_wait_ms: 1000 };
const EPOCH: u64 = 1_764_028_800_000_000;

/// An order of one source and topic, its events named by a number each.
struct Case {
    order: Order<u64>,
    now_ms: u64,
    is_applied: bool,
}

impl Case {
    fn new(is_applied: bool) -> Self {
        Self { order: Order::new(SETTINGS), now_ms: 1, is_applied }
    }

    fn lane(&mut self, lane: u16) -> LaneId {
        self.order.lane("/flowd/mysql/a", "t", lane).unwrap()
    }

    fn counted(&mut self, lane: u16, epoch: u64, sequence: u64) -> Place {
        let number = Number::Counted { epoch, sequence };
        Place { lane: self.lane(lane), number, is_applied: self.is_applied, is_barrier: false, gap: None }
    }

    fn truncate(&mut self, sequence: u64) -> Place {
        Place { is_barrier: true, ..self.counted(0, EPOCH, sequence) }
    }

    fn row(&mut self, lane: u16, run: u64, number: u32, after: u64) -> Place {
        let snapshot = self.order.snapshot("/flowd/mysql/a", "s").unwrap();
        let row = Row { snapshot, chunk: Chunk { run, number: 1 }, number, size: 3 };
        let number = Number::Row { row, after: (EPOCH, after) };
        Place { lane: self.lane(lane), number, is_applied: self.is_applied, is_barrier: false, gap: None }
    }

    /// What happens to an event of this size that arrives.
    fn arrive_sized(&mut self, place: Place, name: u64, size: usize) -> Verdict {
        let verdict = self.order.judge(&place, size, self.now_ms);
        if verdict == Verdict::Wait {
            self.order.hold(place, size, name, self.now_ms);
        }
        verdict
    }

    fn arrive(&mut self, place: Place, name: u64) -> Verdict {
        self.arrive_sized(place, name, 10)
    }

    /// Events that go of themselves, in order.
    fn released(&mut self) -> Vec<u64> {
        let now_ms = self.now_ms;
        std::iter::from_fn(|| self.order.release(now_ms, true).map(|(_, name)| name)).collect()
    }

    /// The source goes on in other lanes, an event a second.
    fn go_on(&mut self, ms: u64) {
        for second in 1..=ms / 1000 {
            self.now_ms += 1000;
            let lane = self.counted(63, EPOCH, 0).lane;
            let sequence = self.order.record(lane).sequence + 1;
            let other = self.counted(63, EPOCH, sequence);
            assert_eq!(self.arrive(other, 0), Verdict::Go, "second {second}");
        }
    }

    fn missing(&mut self) -> u64 {
        self.order.take_counts().missing
    }
}

const LATE: Verdict = Verdict::Drop(Why::Late);
const DUPLICATE: Verdict = Verdict::Drop(Why::Duplicate);
const OUTDATED: Verdict = Verdict::Drop(Why::Outdated);

#[test]
fn what_is_next_goes_what_is_beyond_waits_for_it_and_what_comes_again_is_dropped() {
    for is_applied in [true, false] {
        let mut case = Case::new(is_applied);
        let [one, two, three, other] =
            [(1, 1), (1, 2), (1, 3), (2, 1)].map(|(lane, n)| case.counted(lane, EPOCH, n));
        assert_eq!(case.arrive(one, 1), Verdict::Go);
        assert_eq!(case.arrive(three, 3), Verdict::Wait);
        assert_eq!(case.arrive(three, 3), DUPLICATE);
        assert_eq!(case.arrive(other, 21), Verdict::Go, "another lane does not wait");
        assert!(case.released().is_empty());
        assert_eq!(case.arrive(two, 2), Verdict::Go);
        assert_eq!(case.released(), [3]);
        assert_eq!((case.arrive(one, 1), case.arrive(three, 3)), (DUPLICATE, DUPLICATE));
        assert_eq!((case.missing(), case.order.waiting()), (0, (0, 0)));
    }
}

#[test]
fn applied_delivery_never_passes_a_gap_and_a_full_buffer_drops_what_comes_but_not_what_was_missing() {
    let mut case = Case::new(true);
    let [one, two, three, four] = [1, 2, 3, 4].map(|n| case.counted(0, EPOCH, n));
    assert_eq!(case.arrive_sized(three, 3, 900), Verdict::Wait);
    assert_eq!(case.arrive_sized(four, 4, 200), Verdict::Drop(Why::Full));
    case.now_ms += 1_000_000;
    assert!(case.released().is_empty());
    assert_eq!(case.order.due_ms(), None, "there is nothing to wake up for");
    assert_eq!(case.arrive_sized(one, 1, 900), Verdict::Go);
    assert_eq!(case.arrive_sized(two, 2, 900), Verdict::Go);
    assert_eq!(case.released(), [3]);
    assert_eq!(case.arrive(four, 4), Verdict::Go, "it was sent again");
}

#[test]
fn published_delivery_gives_a_gap_up_once_its_source_has_gone_on_for_long_and_counts_what_is_missing() {
    let mut case = Case::new(false);
    let [one, four, five, eight, three] = [1, 4, 5, 8, 3].map(|n| case.counted(0, EPOCH, n));
    case.arrive(one, 1);
    case.arrive(four, 4);
    case.go_on(5000);
    case.arrive(eight, 8);
    assert!(case.released().is_empty());
    case.go_on(4000);
    case.arrive(five, 5);
    assert!(case.released().is_empty());
    case.go_on(1000);
    assert_eq!(case.order.due_ms(), Some(case.now_ms));
    assert_eq!((case.released(), case.missing()), (vec![4, 5], 2));
    assert_eq!(case.arrive(three, 3), LATE);
    assert_eq!(case.arrive(three, 3), DUPLICATE, "it is told once");
    case.go_on(4000);
    assert!(case.released().is_empty(), "a gap behind has its own time");
    case.go_on(1000);
    assert_eq!((case.released(), case.missing()), (vec![8], 2));
}

#[test]
fn a_source_that_is_down_is_waited_for_and_a_gap_of_one_that_stays_silent_is_given_up_in_the_end() {
    for comes_back in [true, false] {
        let mut case = Case::new(false);
        let [one, two, three, four] = [1, 2, 3, 4].map(|n| case.counted(0, EPOCH, n));
        case.arrive(one, 1);
        case.arrive(three, 3);
        case.now_ms += 299_999;
        // The mesh pushes again what waits: that says nothing of the source.
        assert_eq!(case.arrive(three, 3), DUPLICATE);
        assert!(case.released().is_empty());
        assert_eq!(case.order.due_ms(), Some(case.now_ms + 1));
        if comes_back {
            assert_eq!(case.arrive(four, 4), Verdict::Wait, "a moment before what it sends with it");
            assert!(case.released().is_empty());
            assert_eq!(case.arrive(two, 2), Verdict::Go);
            assert_eq!((case.released(), case.missing()), (vec![3, 4], 0));
        } else {
            case.now_ms += 1;
            assert_eq!((case.released(), case.missing()), (vec![3], 1));
            assert_eq!(case.arrive(two, 2), LATE);
        }
    }
}

#[test]
fn what_was_given_up_is_told_from_a_repeat_after_a_restart_too() {
    let mut first = Case::new(false);
    let places = [1, 4, 5].map(|n| first.counted(0, EPOCH, n));
    first.arrive(places[0], 1);
    first.arrive(places[1], 4);
    first.now_ms += 300_000;
    assert_eq!(first.released(), [4]);
    let records = first.order.records(&[places[0].lane], &[]);
    first.order.recorded(&records);
    first.arrive(places[2], 5);
    assert!(first.order.records(&[places[0].lane], &[]).chunks.is_empty(), "it is on record");

    let mut second = Case::new(false);
    second.order.load(&records);
    let [one, two, three, four, five] = [1, 2, 3, 4, 5].map(|n| second.counted(0, EPOCH, n));
    assert_eq!([one, two, four].map(|place| second.arrive(place, 0)), [DUPLICATE, LATE, DUPLICATE]);
    let records = second.order.records(&[one.lane], &[]);
    second.order.recorded(&records);
    let mut third = Case::new(false);
    third.order.load(&records);
    assert_eq!([two, three, five].map(|place| third.arrive(place, 0)), [DUPLICATE, LATE, Verdict::Go]);
    let newer = third.counted(0, EPOCH + 1, 1);
    assert_eq!(third.arrive(newer, 6), Verdict::Go);
    let records = third.order.records(&[newer.lane], &[]);
    assert!(records.chunks.is_empty(), "an epoch begins with nothing given up");
}

#[test]
fn what_is_given_up_before_one_that_did_not_go_is_not_given_up_again_after_a_restart() {
    let mut first = Case::new(false);
    let [one, four] = [1, 4].map(|n| first.counted(0, EPOCH, n));
    first.arrive(one, 1);
    first.arrive(four, 4);
    first.now_ms += 300_000;
    assert_eq!((first.released(), first.missing()), (vec![4], 2));
    for (place, name) in [(four, 4), (one, 1)] {
        first.order.give_back(place, 10, name, first.now_ms, first.now_ms + 500);
    }
    first.now_ms += 500;
    assert_eq!(first.order.release(first.now_ms, true).map(|(_, name)| name), Some(1));

    let mut second = Case::new(false);
    second.order.load(&first.order.records(&[one.lane], &[]));
    let [two, three, four] = [2, 3, 4].map(|n| second.counted(0, EPOCH, n));
    assert_eq!(second.arrive(four, 4), Verdict::Wait);
    second.now_ms += 300_000;
    assert_eq!((second.released(), second.missing()), (vec![4], 0));
    assert_eq!([two, three].map(|place| second.arrive(place, 0)), [LATE, LATE]);
}

#[test]
fn published_delivery_gives_the_oldest_gap_up_when_the_buffer_is_full() {
    let mut case = Case::new(false);
    for lane in [1, 0] {
        let one = case.counted(lane, EPOCH, 1);
        case.arrive(one, 0);
        let three = case.counted(lane, EPOCH, 3);
        case.arrive_sized(three, 3 + u64::from(lane), 600);
        case.now_ms += 1;
        case.order.due_ms();
        if lane == 1 {
            assert!(case.released().is_empty());
        }
    }
    assert_eq!((case.released(), case.missing()), (vec![4], 1));
    assert_eq!(case.order.waiting(), (1, 600));
}

#[test]
fn a_lane_that_is_new_begins_at_its_lowest_number_with_published_delivery_and_nothing_is_missing() {
    let mut case = Case::new(false);
    let [seven, eight, nine] = [7, 8, 9].map(|n| case.counted(0, EPOCH, n));
    case.arrive(eight, 8);
    case.now_ms += 900;
    case.arrive(seven, 7);
    assert!(case.released().is_empty());
    case.now_ms += 1000;
    assert_eq!((case.released(), case.missing()), (vec![7, 8], 0));
    assert_eq!(case.arrive(nine, 9), Verdict::Go);
}

#[test]
fn a_new_epoch_begins_at_1_and_with_applied_delivery_what_waits_of_the_old_is_dropped() {
    let mut case = Case::new(true);
    let [one, three, two] = [1, 3, 2].map(|n| case.counted(0, EPOCH, n));
    let [new_one, new_two] = [1, 2].map(|n| case.counted(0, EPOCH + 1, n));
    case.arrive(one, 1);
    case.arrive(three, 3);
    assert_eq!(case.arrive(new_two, 12), Verdict::Wait);
    assert_eq!(case.order.drain_dropped().collect::<Vec<_>>(), [3]);
    assert_eq!(case.arrive(two, 2), OUTDATED);
    assert_eq!(case.arrive(new_one, 11), Verdict::Go);
    assert_eq!(case.released(), [12]);
    assert_eq!(
        (case.order.record(new_one.lane).epoch, case.order.record(new_one.lane).sequence),
        (EPOCH + 1, 2)
    );
}

#[test]
fn a_new_epoch_waits_for_what_is_held_of_the_old_with_published_delivery() {
    let mut case = Case::new(false);
    let [one, three] = [1, 3].map(|n| case.counted(0, EPOCH, n));
    let new_one = case.counted(0, EPOCH + 1, 1);
    case.arrive(one, 1);
    case.arrive(three, 3);
    assert_eq!(case.arrive(new_one, 11), Verdict::Wait);
    assert!(case.released().is_empty());
    case.now_ms += 300_000;
    assert_eq!((case.released(), case.missing()), (vec![3, 11], 1));
}

#[test]
fn a_row_waits_for_the_event_that_it_comes_after_and_goes_once() {
    for is_applied in [true, false] {
        let mut case = Case::new(is_applied);
        let [one, two] = [1, 2].map(|n| case.counted(0, EPOCH, n));
        let [row, other] = [case.row(0, 5, 0, 2), case.row(1, 5, 1, 0)];
        assert_eq!(case.arrive(row, 100), Verdict::Wait);
        assert_eq!(case.arrive(other, 101), Verdict::Go);
        assert_eq!(case.arrive(one, 1), Verdict::Go);
        assert!(case.released().is_empty());
        assert_eq!(case.arrive(two, 2), Verdict::Go);
        assert_eq!(case.released(), [100]);
        assert_eq!((case.arrive(row, 100), case.arrive(other, 101)), (DUPLICATE, DUPLICATE));
        let last = case.row(2, 5, 2, 0);
        let Number::Row { row, .. } = last.number else { unreachable!() };
        assert!(!case.order.chunk_record(&row).unwrap().rows.is_empty());
        assert_eq!(case.arrive(last, 102), Verdict::Go);
        assert!(case.order.chunk_record(&row).unwrap().rows.is_empty(), "the chunk is whole");
    }
}

#[test]
fn a_row_gives_the_numbers_before_it_up_after_the_wait_with_published_delivery() {
    let mut case = Case::new(false);
    let one = case.counted(0, EPOCH, 1);
    let row = case.row(0, 5, 0, 4);
    case.arrive(one, 1);
    case.arrive(row, 100);
    case.now_ms += 300_000;
    assert_eq!((case.released(), case.missing()), (vec![100], 3));
    let five = case.counted(0, EPOCH, 5);
    assert_eq!(case.arrive(five, 5), Verdict::Go);
}

#[test]
fn rows_of_an_earlier_run_are_of_no_use_with_applied_delivery_alone() {
    let mut case = Case::new(true);
    let [old, waiting, new] = [case.row(0, 5, 0, 0), case.row(0, 5, 1, 9), case.row(0, 6, 0, 0)];
    assert_eq!((case.arrive(waiting, 1), case.arrive(new, 2)), (Verdict::Wait, Verdict::Go));
    assert_eq!(case.arrive(old, 3), OUTDATED);
    assert!(case.released().is_empty());
    let mut case = Case::new(false);
    let [old, new] = [case.row(0, 5, 0, 0), case.row(0, 6, 0, 0)];
    assert_eq!((case.arrive(new, 1), case.arrive(old, 2)), (Verdict::Go, Verdict::Go));
}

#[test]
fn older_runs_are_forgotten_only_with_a_record_of_the_newer() {
    let mut case = Case::new(true);
    let [old, new] = [case.row(0, 5, 0, 0), case.row(0, 6, 0, 0)];
    case.arrive(old, 1);
    case.arrive(new, 2);
    let row_of = |place: Place| match place.number {
        Number::Row { row, .. } => row,
        Number::Counted { .. } => unreachable!(),
    };
    let records = case.order.records(&[], &[row_of(old)]);
    assert_eq!((records.over.len(), records.chunks[0].run), (0, 5), "a row that went is recorded");
    let records = case.order.records(&[], &[row_of(new), row_of(new)]);
    assert_eq!((records.over.len(), records.over[0].run, records.chunks[0].run), (1, 6, 6));
    case.order.recorded(&records);
    assert!(case.order.records(&[], &[row_of(old)]).chunks.is_empty());
}

#[test]
fn a_snapshot_is_forgotten_with_the_record_of_a_newer_epoch_and_its_rows_stay_outdated() {
    let mut case = Case::new(true);
    let [row, event] = [case.row(0, 5, 0, 0), case.counted(0, EPOCH, 1)];
    case.arrive(row, 1);
    case.arrive(event, 2);
    assert!(case.order.records(&[event.lane], &[]).over.is_empty());
    let newer = case.counted(0, EPOCH + 1, 1);
    assert_eq!(case.arrive(newer, 3), Verdict::Go);
    let records = case.order.records(&[newer.lane], &[]);
    assert_eq!((records.over.len(), records.over[0].run), (1, u64::MAX));
    case.order.recorded(&records);
    assert!(case.order.records(&[newer.lane], &[]).over.is_empty());
    assert_eq!(case.arrive(row, 1), OUTDATED);
}

#[test]
fn an_epoch_that_has_begun_in_one_lane_alone_forgets_no_snapshot() {
    let mut case = Case::new(false);
    let [row, other, ahead] =
        [case.row(0, 5, 0, 0), case.counted(1, EPOCH, 1), case.counted(1, EPOCH + 1, 2)];
    assert_eq!((case.arrive(row, 1), case.arrive(other, 2)), (Verdict::Go, Verdict::Go));
    assert_eq!(case.arrive(ahead, 3), Verdict::Wait);
    let records = case.order.records(&[row.lane, ahead.lane], &[]);
    assert!(records.over.is_empty(), "{records:?}");
    case.order.recorded(&records);
    assert_eq!(case.arrive(row, 1), DUPLICATE);
}

#[test]
fn a_truncate_waits_for_all_lanes_and_all_lanes_wait_for_it() {
    let mut case = Case::new(false);
    let [a1, a3, a4, b1] = [(1, 1), (1, 3), (1, 4), (2, 1)].map(|(lane, n)| case.counted(lane, EPOCH, n));
    let truncate = case.truncate(1);
    case.arrive(a1, 11);
    case.arrive(a3, 13);
    assert_eq!(case.arrive(truncate, 1), Verdict::Wait);
    assert_eq!(case.arrive(a4, 14), Verdict::Wait, "it came behind the TRUNCATE");
    assert_eq!(case.arrive(b1, 21), Verdict::Wait, "so did this, in a lane that is new");
    assert!(case.released().is_empty());
    let a2 = case.counted(1, EPOCH, 2);
    assert_eq!(case.arrive(a2, 12), Verdict::Go, "it fills a gap from before");
    let mut rest = case.released();
    assert_eq!(rest[..2], [13, 1]);
    rest[2..].sort_unstable();
    assert_eq!(rest[2..], [14, 21]);
}

#[test]
fn rows_from_before_a_truncate_do_not_come_back_behind_it() {
    let mut case = Case::new(true);
    let [one, two] = [1, 2].map(|n| case.counted(1, EPOCH, n));
    let truncate = case.truncate(1);
    for (place, name) in [(one, 1), (two, 2), (truncate, 3)] {
        assert_eq!(case.arrive(place, name), Verdict::Go);
    }
    let [late, other, new] = [case.row(1, 5, 0, 1), case.row(0, 5, 1, 0), case.row(1, 5, 2, 2)];
    assert_eq!((case.arrive(late, 4), case.arrive(other, 5)), (OUTDATED, OUTDATED));
    assert_eq!(case.arrive(new, 6), Verdict::Go);
}

#[test]
fn what_is_given_back_is_tried_again_first_and_its_lane_waits_for_it() {
    let mut case = Case::new(true);
    let [one, two, three] = [1, 2, 3].map(|n| case.counted(0, EPOCH, n));
    let row = case.row(0, 5, 0, 1);
    for (place, name) in [(one, 1), (row, 100), (two, 2)] {
        assert_eq!(case.arrive(place, name), Verdict::Go);
    }
    for (place, name) in [(two, 2), (row, 100), (one, 1)] {
        case.order.give_back(place, 10, name, case.now_ms, case.now_ms + 500);
    }
    assert_eq!(case.order.record(one.lane).sequence, 0);
    assert_eq!(case.arrive(one, 1), DUPLICATE, "it waits already");
    assert_eq!(case.arrive(three, 3), Verdict::Wait);
    assert!(case.released().is_empty());
    assert_eq!(case.order.due_ms(), Some(case.now_ms + 500));
    case.now_ms += 500;
    assert_eq!(case.released(), [1, 100, 2, 3]);
    assert_eq!(case.order.record(one.lane).sequence, 3);
}

#[test]
fn a_store_that_has_a_record_is_gone_on_from() {
    let mut first = Case::new(true);
    let places = [first.counted(0, EPOCH, 1), first.counted(0, EPOCH, 2), first.row(0, 5, 1, 2)];
    places.iter().for_each(|place| assert_eq!(first.arrive(*place, 0), Verdict::Go));
    let Number::Row { row, .. } = places[2].number else { unreachable!() };
    let records = first.order.records(&[places[0].lane], &[row]);
    let mut second = Case::new(true);
    second.order.load(&records);
    let places = [second.counted(0, EPOCH, 1), second.counted(0, EPOCH, 2), second.row(0, 5, 1, 2)];
    places.iter().for_each(|place| assert_eq!(second.arrive(*place, 0), DUPLICATE));
    let next = [second.counted(0, EPOCH, 3), second.row(0, 5, 0, 2)];
    next.iter().for_each(|place| assert_eq!(second.arrive(*place, 0), Verdict::Go));
}
