//! What goes in comes out once, in order, in batches that keep their bounds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::task::Waker;

use flowd_codec::event::view::Data;
use flowd_codec::event::{EventWriter, Framing, Template, batch, incoming, stamp};
use flowd_engine::order::Keyed;
use flowd_engine::sequence::{Lane, Place, TopicId};
use proptest::prelude::*;

use super::*;
use crate::testing::FakeParcels;

const LANES: u64 = 3;

#[derive(Debug, Clone)]
enum Kind {
    Change,
    /// From this key to the event's.
    KeyChange(u64),
    Row(u64),
    Truncate,
    Uncounted,
}

#[derive(Debug, Clone)]
struct Input {
    topic: u32,
    key: u64,
    kind: Kind,
    padding: usize,
}

/// Writes events as an encoder and the engine do.
#[derive(Default)]
struct Writer {
    counts: HashMap<(u32, u64), u64>,
    written: u64,
}

impl Writer {
    fn write(&mut self, parcel: &mut Parcel<Outgoing>, input: &Input) {
        // A key is a table's, and a table is in one topic.
        let key = input.key + 1 + 100 * u64::from(input.topic);
        match input.kind {
            Kind::KeyChange(from) => {
                let from = from + 1 + 100 * u64::from(input.topic);
                self.event(parcel, input, [from, key], from % LANES);
                self.event(parcel, input, [from, key], key % LANES);
            }
            Kind::Truncate => self.event(parcel, input, [0; 2], 0),
            // Where a table's definition has changed, all of it goes in lane 0.
            _ if input.padding.is_multiple_of(7) => self.event(parcel, input, [key, 0], 0),
            _ => self.event(parcel, input, [key, 0], key % LANES),
        }
    }

    fn event(&mut self, parcel: &mut Parcel<Outgoing>, input: &Input, keys: [u64; 2], lane: u64) {
        let event_type =
            if matches!(input.kind, Kind::Truncate) { "flowd.change.t" } else { "flowd.change.c" };
        let template = Template::new(Framing::EventMesh, "/s", event_type, &format!("topic-{}", input.topic));
        let count = self.counts.entry((input.topic, lane)).or_default();
        let mut writer = EventWriter::begin(&mut parcel.buffer, &template);
        writer.id(|out| out.extend_from_slice(self.written.to_string().as_bytes()));
        writer.time_us(1_700_000_000_000_000);
        let numbering = match input.kind {
            Kind::Row(chunk) => {
                writer.snapshot_row("s", &format!("1700000000000000-{chunk}"), 0, 1, lane as u16);
                Numbering::Behind
            }
            Kind::Uncounted => Numbering::None,
            _ => {
                *count += 1;
                writer.sequence(lane as u16);
                if matches!(input.kind, Kind::Truncate) { Numbering::Barrier } else { Numbering::Counted }
            }
        };
        writer.data().extend_from_slice(format!("\"{}\"", "x".repeat(input.padding)).as_bytes());
        let event = writer.finish();
        stamp(&mut parcel.buffer, &event, 5, *count);
        let place = Place { topic: TopicId(input.topic), lane: Lane(lane as u16), numbering };
        let sequence = if numbering == Numbering::None { 0 } else { *count };
        parcel.events.push(Keyed { event, keys, place, sequence });
        self.written += 1;
    }
}

/// Parcels of so many inputs each.
fn parcels(inputs: &[Input], each: usize) -> Vec<Parcel<Outgoing>> {
    let mut writer = Writer::default();
    let parcel = |inputs: &[Input]| {
        let mut parcel = Parcel::default();
        inputs.iter().for_each(|input| writer.write(&mut parcel, input));
        parcel
    };
    inputs.chunks(each).map(parcel).collect()
}

fn with_runtime<T>(run: impl FnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _guard = runtime.enter();
    run()
}

/// What an event that came out holds.
#[derive(Debug)]
struct Found {
    keyed: Outgoing,
    json_size: usize,
    member_keys: Vec<u64>,
    /// The numbers of the events that went in.
    members: Vec<u64>,
}

fn found(packed: &Packed) -> Vec<Found> {
    let parcel = &packed.delivery.parcel;
    let each = |(index, keyed): (usize, &Outgoing)| {
        let json = keyed.event.json(&parcel.buffer);
        let event = incoming::read(json).expect("a CloudEvent");
        let number = |json| incoming::read(json).unwrap().id.parse::<u64>().unwrap();
        let members: Vec<u64> = match event.data {
            Data::Json(data) if event.event_type == batch::EVENT_TYPE => {
                let members: Vec<u64> = batch::members(data).map(number).collect();
                assert_eq!(event.id, format!("{}..{}", members[0], members[members.len() - 1]));
                assert!(members.len() > 1);
                members
            }
            _ => vec![number(json)],
        };
        let member_keys = packed.keys.of(index as u32).to_vec();
        Found { keyed: *keyed, json_size: json.len(), member_keys, members }
    };
    parcel.events.iter().enumerate().map(each).collect()
}

fn drain(packer: &mut Packer<'_>) -> Vec<Packed> {
    let mut context = Context::from_waker(Waker::noop());
    std::iter::from_fn(|| match packer.poll_next(&mut context) {
        Poll::Ready(next) => next,
        Poll::Pending => panic!("the parcels end"),
    })
    .collect()
}

fn check(inputs: &[Input], each: usize, bytes: usize, order: Order) {
    let parcels = parcels(inputs, each);
    let events: Vec<Outgoing> = parcels.iter().flat_map(|parcel| parcel.events.clone()).collect();
    let last_of: Vec<usize> = parcels
        .iter()
        .scan(0, |end, parcel| {
            *end += parcel.events.len();
            Some(*end)
        })
        .collect();
    let mut outlet = FakeParcels::ending(parcels);
    let packed = with_runtime(|| {
        let batching = Batching { bytes, linger: Duration::ZERO };
        let mut packer = Packer::new(&mut outlet, Some(batching), order, usize::MAX);
        let packed = drain(&mut packer);
        for packed in &packed {
            packer.emitted(packed.delivery.ticket);
            packer.acked(packed.delivery.ticket);
        }
        packed
    });
    let tickets: Vec<u64> = packed.iter().map(|packed| packed.delivery.ticket).collect();
    assert_eq!(tickets, (0..packed.len() as u64).collect::<Vec<_>>());
    let found: Vec<Found> = packed.iter().flat_map(found).collect();
    let flat: Vec<u64> = found.iter().flat_map(|found| found.members.clone()).collect();
    assert_eq!(flat.iter().collect::<BTreeSet<_>>().len(), events.len(), "each once: {flat:?}");
    assert_eq!(flat.len(), events.len());
    if order == Order::Total {
        assert!(flat.is_sorted());
    }
    let mut of_lane = BTreeMap::<_, u64>::new();
    let mut of_key = BTreeMap::<u64, u64>::new();
    for number in flat {
        let event = &events[number as usize];
        let before = of_lane.insert((event.place.topic.0, event.place.lane.0), number);
        assert!(before.is_none_or(|before| before < number), "lane order: {before:?}, {number}");
        for key in BTreeSet::from(event.keys).into_iter().filter(|key| *key != 0) {
            let before = of_key.insert(key, number);
            assert!(before.is_none_or(|before| before < number), "key order: {before:?}, {number}");
        }
    }
    found.iter().for_each(|found| check_event(found, &events, bytes));
    assert_eq!(outlet.acked.last().copied(), last_of.len().checked_sub(1).map(|last| last as u64));
    assert_eq!(outlet.emitted, outlet.acked);
}

fn check_event(found: &Found, events: &[Outgoing], bytes: usize) {
    let members: Vec<&Outgoing> = found.members.iter().map(|number| &events[*number as usize]).collect();
    let last = members[members.len() - 1];
    assert_eq!((found.keyed.place, found.keyed.sequence), (last.place, last.sequence));
    if members.len() == 1 {
        assert_eq!((found.keyed.keys, found.member_keys.len()), (last.keys, 0));
        return;
    }
    assert!(found.json_size <= bytes, "{} of {bytes} bytes", found.json_size);
    assert_eq!(found.keyed.keys, [0; 2]);
    assert_eq!(found.member_keys, members.iter().map(|member| member.keys[0]).collect::<Vec<_>>());
    assert!(members.iter().all(|member| member.place == last.place && member.keys[1] == 0));
    assert!(matches!(last.place.numbering, Numbering::Counted | Numbering::Behind));
}

fn input() -> impl Strategy<Value = Input> {
    let kind = prop_oneof![
        12 => Just(Kind::Change),
        1 => (0..9_u64).prop_map(Kind::KeyChange),
        3 => (0..2_u64).prop_map(Kind::Row),
        1 => Just(Kind::Truncate),
        1 => Just(Kind::Uncounted),
    ];
    (0..2_u32, 0..9_u64, kind, 0..300_usize).prop_map(|(topic, key, kind, padding)| Input {
        topic,
        key,
        kind,
        padding,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_goes_in_comes_out_once_and_in_order(
        inputs in prop::collection::vec(input(), 0..80),
        each in 1..30_usize,
        bytes in 100..4000_usize,
        order in prop::sample::select(vec![Order::Key, Order::Total, Order::None]),
    ) {
        check(&inputs, each, bytes, order);
    }
}

fn changes(count: u64) -> Vec<Input> {
    (0..count).map(|key| Input { topic: 0, key: key * LANES, kind: Kind::Change, padding: 100 }).collect()
}

#[test]
fn events_of_a_lane_are_packed_up_to_the_limit_and_chunks_apart() {
    let mut inputs = changes(20);
    inputs.extend((0..4).map(|row| Input { topic: 0, key: 0, kind: Kind::Row(row / 2), padding: 0 }));
    let mut outlet = FakeParcels::ending(parcels(&inputs, 30));
    let sizes: Vec<usize> = with_runtime(|| {
        let batching = Batching { bytes: 4_000, linger: Duration::ZERO };
        let mut packer = Packer::new(&mut outlet, Some(batching), Order::Key, usize::MAX);
        drain(&mut packer).iter().flat_map(found).map(|found| found.members.len()).collect()
    });
    assert_eq!(sizes, [10, 10, 2, 2]);
}

#[test]
fn a_round_is_acknowledged_as_a_whole_and_only_then() {
    let mut outlet = FakeParcels::ending(parcels(&changes(3_000), 500));
    with_runtime(|| {
        let batching = Batching { bytes: 50_000, linger: Duration::ZERO };
        let mut packer = Packer::new(&mut outlet, Some(batching), Order::Key, usize::MAX);
        let packed = drain(&mut packer);
        assert!(packed.len() > 3, "{} parcels", packed.len());
        let (last, early) = packed.split_last().unwrap();
        for packed in early {
            packer.emitted(packed.delivery.ticket);
            packer.acked(packed.delivery.ticket);
        }
        // The first round has more than one parcel; the last parcel is the last round's.
        let before = packer.packing.as_ref().unwrap().rounds.len();
        packer.emitted(last.delivery.ticket);
        packer.acked(last.delivery.ticket);
        assert_eq!((before, packer.packing.as_ref().unwrap().rounds.len()), (1, 0));
        packed.into_iter().for_each(|packed| packer.recycle(packed.delivery.parcel));
    });
    assert_eq!(outlet.acked.last(), Some(&5));
    assert!(outlet.recycled <= outlet.total());
}

#[test]
fn an_event_waits_for_others_no_longer_than_its_linger() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut outlet = FakeParcels::ending(parcels(&changes(2), 1));
    outlet.then_when_acked(1, parcels(&changes(1), 1).remove(0));
    runtime.block_on(async {
        let batching = Batching { bytes: 50_000, linger: Duration::from_millis(30) };
        let mut packer = Packer::new(&mut outlet, Some(batching), Order::Key, usize::MAX);
        let began = Instant::now();
        let next = std::future::poll_fn(|context| packer.poll_next(context)).await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(30));
        assert_eq!(found(&next)[0].members, [0, 1], "both parcels in one batch");
        packer.emitted(0);
        packer.acked(0);
        let next = std::future::poll_fn(|context| packer.poll_next(context)).await.unwrap();
        assert_eq!(found(&next)[0].members, [0]);
        packer.emitted(1);
        packer.acked(1);
    });
    assert_eq!(outlet.acked, [1, 2]);
}

#[test]
fn a_lower_limit_counts_from_the_next_event_on() {
    let mut outlet = FakeParcels::ending(parcels(&changes(20), 10));
    let sizes: Vec<usize> = with_runtime(|| {
        let batching = Batching { bytes: 100_000, linger: Duration::ZERO };
        let mut packer = Packer::new(&mut outlet, Some(batching), Order::Key, usize::MAX);
        packer.limit(1_500);
        packer.limit(50_000);
        drain(&mut packer).iter().flat_map(found).map(|found| found.json_size).collect()
    });
    assert!(sizes.len() > 1 && sizes.iter().all(|size| *size <= 1_500), "{sizes:?}");
}

#[test]
fn a_round_without_events_is_acknowledged_too() {
    let mut outlet = FakeParcels::ending(vec![Parcel::default()]);
    outlet.then_when_acked(0, Parcel::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let batching = Batching { bytes: 50_000, linger: Duration::ZERO };
        let mut packer = Packer::new(&mut outlet, Some(batching), Order::Key, usize::MAX);
        for ticket in 0..2 {
            let packed = std::future::poll_fn(|context| packer.poll_next(context)).await.unwrap();
            assert_eq!((packed.delivery.ticket, found(&packed).len()), (ticket, 0));
            packer.emitted(ticket);
            packer.acked(ticket);
        }
    });
    assert_eq!(outlet.acked, [0, 1]);
}

#[test]
fn without_batching_parcels_pass_as_they_are() {
    let mut outlet = FakeParcels::ending(parcels(&changes(4), 2));
    let mut packer = Packer::new(&mut outlet, None, Order::Key, usize::MAX);
    let packed = drain(&mut packer);
    assert_eq!(packed.iter().flat_map(found).map(|found| found.members.len()).sum::<usize>(), 4);
    packer.emitted(1);
    packer.acked(1);
    packed.into_iter().for_each(|packed| packer.recycle(packed.delivery.parcel));
    assert_eq!((outlet.acked, outlet.recycled), (vec![1], 2));
}
