//! Counting, and what is stored of it.

use bytes::Bytes;

use super::*;
use crate::failure::Failure;

fn place(topic: TopicId, lane: u16, numbering: Numbering) -> Place {
    Place { topic, lane: Lane(lane), numbering }
}

type Event = (Place, u64);

fn settings(topics: &Topics, lanes: u16, identity: u64) -> SequenceSettings<Event> {
    SequenceSettings {
        topics: topics.clone(),
        lanes,
        identity,
        stamp: |_, event, _, number| event.1 = number,
        place: |event| event.0,
    }
}

fn resumed(topics: &Topics, lanes: u16, identity: u64, stored: &[u8], same_position: bool) -> SequenceRecord {
    SequenceRecord::resume(&settings(topics, lanes, identity), stored, same_position, 1_000).unwrap()
}

/// Two topics, three lanes; topic `b` was interned first.
fn stored() -> Bytes {
    let topics = Topics::new();
    let (b, a) = (topics.intern("b"), topics.intern("a"));
    assert_eq!((b, a), (TopicId(0), TopicId(1)));
    let mut record = resumed(&topics, 3, 7, &[], false);
    record.counts = vec![0, 5, 0, 9];
    record.encode()
}

#[test]
fn counts_are_per_topic_and_lane_and_a_snapshot_row_takes_none() {
    let topics = Topics::new();
    let (a, b) = (topics.intern("a"), topics.intern("b"));
    let mut sequencer = Sequencer::new(settings(&topics, 2, 0), &resumed(&topics, 2, 0, &[], false));
    let events = [
        (place(a, 0, Numbering::Counted), 1),
        (place(a, 1, Numbering::Counted), 1),
        (place(b, 0, Numbering::Behind), 0),
        (place(a, 0, Numbering::Counted), 2),
        (place(a, 0, Numbering::Behind), 2),
        (place(a, 0, Numbering::None), 0),
        (place(b, 0, Numbering::Counted), 1),
    ];
    let mut parcel = Parcel::default();
    parcel.events.extend(events.iter().map(|event| (event.0, 0)));
    sequencer.stamp(&mut parcel);
    assert_eq!(parcel.events, events);
    assert_eq!(sequencer.drain_changes().collect::<Vec<_>>(), [(0, 2), (1, 1), (2, 1)]);
    assert_eq!(sequencer.drain_changes().count(), 0);
}

#[test]
fn what_is_stored_goes_on_whatever_numbers_the_topics_have_now() {
    let topics = Topics::new();
    let a = topics.intern("a");
    let record = resumed(&topics, 3, 7, &stored(), true);
    assert_eq!(record.epoch, Epoch(1_000));
    let b = topics.find("b").unwrap();
    assert_eq!((a, b), (TopicId(0), TopicId(1)));
    assert_eq!(record.counts, [9, 0, 0, 0, 5]);
}

#[test]
fn another_position_identity_or_number_of_lanes_is_a_new_and_greater_epoch() {
    for (lanes, identity, same_position) in [(3, 7, false), (3, 8, true), (4, 7, true)] {
        let record = resumed(&Topics::new(), lanes, identity, &stored(), same_position);
        assert_eq!((record.epoch, record.counts.len()), (Epoch(1_001), 0), "the clock stands still");
    }
    let settings = settings(&Topics::new(), 3, 8);
    let later = SequenceRecord::resume(&settings, &stored(), true, 5_000).unwrap();
    assert_eq!(later.epoch, Epoch(5_000));
}

#[test]
fn what_is_stored_and_cut_off_or_of_another_format_is_refused() {
    let whole = stored();
    let failed = |bytes: &[u8]| {
        SequenceRecord::resume(&settings(&Topics::new(), 3, 7), bytes, true, 1).map(|_| ()).unwrap_err()
    };
    // Between two topics a cut is not seen: the registry's checksum sees that one.
    for end in (1..whole.len()).filter(|end| ![19, 34].contains(end)) {
        assert!(matches!(failed(&whole[..end]), Failure::Unusable(_)), "cut at {end}");
    }
    let mut other = whole.to_vec();
    other[0] = 2;
    assert!(matches!(failed(&other), Failure::Unusable(text) if text.contains("format version 2")));
}
