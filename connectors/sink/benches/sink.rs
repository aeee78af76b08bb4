//! What a sink does to each event before its store sees it: reading, and reading with order and batches.
//!
//! Every benchmark first checks the result that it is about to time. `SINK_EVENTS` sets the events of one round.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flowd_codec::event::{EventWriter, Framing, Template, stamp};
use flowd_engine::failure::Failure;
use flowd_engine::parcel::Parcel;
use flowd_engine::worker::{Delivery, Outlet, Target};
use flowd_sink::announce::Silent;
use flowd_sink::decode;
use flowd_sink::event::{Content, SinkEvent};
use flowd_sink::stats::SinkStats;
use flowd_sink::store::{Applied, Refused, Store, StoreEvent};
use flowd_sink::target::{SinkSettings, SinkTarget};

/// A row of about 300 bytes in its envelope.
const DATA: &str = r#"{"before":null,"after":{"id":1234567,"name":"Müller, Jürgen","mail":"juergen.mueller@example.org","city":"Köln","amount":"1234.50","state":"paid","note":"call back \"soon\"","count":42,"ratio":0.125,"born":"1971-03-04"},"source":{"version":"1","connector":"mysql","name":"a","ts_ms":1764028800000,"snapshot":"false","db":"shop","sequence":null,"table":"orders","server_id":1,"gtid":"3e11fa47-71ca-11e1-9e33-c80aa9429562:17","file":"binlog.000001","pos":123456789,"row":17,"thread":7,"query":null},"transaction":null,"op":"c","ts_ms":1764028800000}"#;
const EPOCH: u64 = 1_764_028_800_000_000;
const LANES: u64 = 4;

fn events() -> u64 {
    std::env::var("SINK_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000)
}

fn bodies() -> Vec<Vec<u8>> {
    let template = Template::new(Framing::Bare, "/flowd/mysql/a", "flowd.change.c", "shop.orders");
    let body = |index: u64| {
        let mut out = Vec::new();
        let mut writer = EventWriter::begin(&mut out, &template);
        writer.id(|out| out.extend_from_slice(format!("3e11fa47:17/shop.orders/{index}").as_bytes()));
        writer.time_us(1_764_028_800_000_000);
        writer.partition_key(br#"{"id":1234567}"#);
        writer.sequence((index % LANES) as u16);
        writer.data().extend_from_slice(DATA.as_bytes());
        let framed = writer.finish();
        stamp(&mut out, &framed, EPOCH, index / LANES + 1);
        out
    };
    (0..events()).map(body).collect()
}

/// Reads all, parcel after parcel, and lets `each` have them.
fn read_all(
    bodies: &[Vec<u8>],
    parcel: &mut Parcel<SinkEvent>,
    mut each: impl FnMut(&mut Parcel<SinkEvent>),
) {
    for body in bodies {
        decode::read(body, parcel);
        if parcel.is_full() {
            each(parcel);
            parcel.clear();
        }
    }
    each(parcel);
    parcel.clear();
}

fn read(criterion: &mut Criterion) {
    let bodies = bodies();
    let mut parcel = Parcel::default();
    let mut found = 0;
    read_all(&bodies, &mut parcel, |parcel| {
        found += parcel.events.iter().filter(|event| matches!(event.content, Content::Change { .. })).count();
    });
    assert_eq!(found as u64, events());
    let mut group = criterion.benchmark_group("sink");
    group.throughput(Throughput::Elements(events()));
    group.bench_function("read", |bencher| {
        bencher.iter(|| read_all(&bodies, &mut parcel, |parcel| _ = black_box(&parcel.events)));
    });
    group.finish();
}

/// Takes everything and keeps the sum of what it was given.
struct Nothing(Arc<AtomicU64>);

impl Store for Nothing {
    fn open(&mut self) -> Result<Applied, Failure> {
        Ok(Applied::default())
    }

    fn put(&mut self, events: &[StoreEvent<'_>], _applied: &Applied) -> Result<Vec<Refused>, Failure> {
        let bytes: usize = events.iter().filter_map(|event| event.after).map(<[u8]>::len).sum();
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(Vec::new())
    }

    fn close(&mut self) {}
}

/// Hands out parcels and takes them back.
struct Ready {
    parcels: Vec<Parcel<SinkEvent>>,
    ticket: u64,
    given_back: Vec<Parcel<SinkEvent>>,
}

impl Outlet<SinkEvent> for Ready {
    fn next(&mut self) -> Option<Delivery<SinkEvent>> {
        let parcel = self.parcels.pop()?;
        self.ticket += 1;
        Some(Delivery { ticket: self.ticket - 1, parcel })
    }

    fn poll_next(&mut self, _context: &mut Context<'_>) -> Poll<Option<Delivery<SinkEvent>>> {
        Poll::Ready(self.next())
    }

    fn emitted(&mut self, _ticket: u64) {}

    fn acked(&mut self, _ticket: u64) {}

    fn recycle(&mut self, parcel: Parcel<SinkEvent>) {
        self.given_back.push(parcel);
    }

    fn reject(&mut self, reason: &str, _line: &[u8]) -> Result<(), Failure> {
        Err(Failure::Fatal(reason.to_owned()))
    }
}

/// Order, batches and records, with a store that costs nothing.
fn put(criterion: &mut Criterion) {
    let bodies = bodies();
    let mut parcels = Vec::new();
    read_all(&bodies, &mut Parcel::default(), |parcel| parcels.push(std::mem::take(parcel)));
    parcels.reverse();
    let image = DATA.find(",\"source\"").expect("it is there") - DATA.find("{\"id\"").expect("it is there");
    let expected = events() * image as u64;
    let mut group = criterion.benchmark_group("sink");
    group.throughput(Throughput::Elements(events()));
    group.bench_function("order", |bencher| {
        bencher.iter(|| {
            let sum = Arc::new(AtomicU64::new(0));
            let store = Nothing(Arc::clone(&sum));
            let stats = Arc::new(SinkStats::default());
            let mut target =
                SinkTarget::new(store, Box::new(Silent), SinkSettings::default(), Arc::clone(&stats));
            target.start().expect("it always starts");
            let mut outlet =
                Ready { parcels: std::mem::take(&mut parcels), ticket: 0, given_back: Vec::new() };
            Box::new(target).run(&mut outlet).expect("nothing is refused");
            assert_eq!((sum.load(Ordering::Relaxed), stats.applied.value()), (expected, events()));
            parcels = outlet.given_back;
            parcels.reverse();
        });
    });
    group.finish();
}

criterion_group!(benches, read, put);
criterion_main!(benches);
