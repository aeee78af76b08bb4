//! The codec alone, on one thread: events a second for writing and reading one row of about 300 bytes.
//!
//! Every benchmark first checks the result that it is about to time. `CODEC_EVENTS` sets the events of one round.

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use flowd_codec::event::incoming::{self, Order};
use flowd_codec::event::view::{Data, decode_event};
use flowd_codec::event::{EventWriter, Framed, Framing, Template, batch, stamp};
use flowd_codec::frame::{Command, Decoder, Header, encode_parts, set_publish_seq};
use flowd_codec::json;
use flowd_codec::session::publish_ack;

/// A row of ten columns, ready as JSON, 300 bytes.
const ROW: &[u8] = r#"{"before":null,"after":{"id":1234567,"name":"Müller, Jürgen","mail":"juergen.mueller@example.org","city":"Köln","amount":"1234.50","state":"paid","note":"call back \"soon\"","count":42,"ratio":0.125,"born":"1971-03-04"},"source":{"db":"shop","table":"orders","pos":123456789,"row":17},"op":"c","ts":1764028800}"#.as_bytes();

/// A stored file of the binlog and GTID text that an id is made of.
const ID: &[u8] = b"3e11fa47-71ca-11e1-9e33-c80aa9429562:1234567:shop.orders:17";

fn events() -> u64 {
    std::env::var("CODEC_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000)
}

fn template(framing: Framing) -> Template {
    Template::new(framing, "/flowd/mysql/orders", "flowd.change.c", "shop.orders")
}

/// Eleven attributes: specversion, id, source, type, datacontenttype, subject, time, partitionkey, and the three of the
/// event's place.
#[inline]
fn write_head<'a>(out: &'a mut Vec<u8>, template: &'a Template, index: u64) -> EventWriter<'a> {
    let mut writer = EventWriter::begin(out, template);
    writer.id(|out| {
        out.extend_from_slice(ID);
        out.push(b':');
        json::write_u64(out, index);
    });
    writer.time_us(1_764_028_800_000_000 + index as i64);
    writer.partition_key(br#"{"id":1234567}"#);
    writer.sequence(3);
    writer
}

fn write_spliced(out: &mut Vec<u8>, template: &Template, index: u64) -> Framed {
    let mut writer = write_head(out, template, index);
    writer.data().extend_from_slice(ROW);
    writer.finish()
}

/// The same row from typed columns: what an encode lane does, without the decoding of the row image.
fn write_typed(out: &mut Vec<u8>, template: &Template, index: u64) -> Framed {
    let mut writer = write_head(out, template, index);
    let out = writer.data();
    out.extend_from_slice(br#"{"before":null,"after":{"id":"#);
    json::write_i64(out, 1_234_567);
    let texts: [(&[u8], &str); 4] = [
        (br#","name":"#, "Müller, Jürgen"),
        (br#","mail":"#, "juergen.mueller@example.org"),
        (br#","city":"#, "Köln"),
        (br#","amount":"#, "1234.50"),
    ];
    for (name, text) in texts {
        out.extend_from_slice(name);
        json::write_string(out, text);
    }
    out.extend_from_slice(br#","state":"#);
    json::write_string(out, "paid");
    out.extend_from_slice(br#","note":"#);
    json::write_string(out, "call back \"soon\"");
    out.extend_from_slice(br#","count":"#);
    json::write_i64(out, 42);
    out.extend_from_slice(br#","ratio":"#);
    json::write_f64(out, 0.125);
    out.extend_from_slice(br#","born":"#);
    json::write_string(out, "1971-03-04");
    out.extend_from_slice(br#"},"source":{"db":"shop","table":"orders","pos":"#);
    json::write_u64(out, 123_456_789);
    out.extend_from_slice(br#","row":"#);
    json::write_u64(out, 17);
    out.extend_from_slice(br#"},"op":"c","ts":"#);
    json::write_i64(out, 1_764_028_800);
    out.push(b'}');
    writer.finish()
}

/// Fills the buffer as a lane does: up to the size of a parcel, then again from its beginning.
fn write_many(
    out: &mut Vec<u8>,
    template: &Template,
    count: u64,
    write: impl Fn(&mut Vec<u8>, &Template, u64) -> Framed,
) {
    const PARCEL_BYTES: usize = 256 * 1024;
    for index in 0..count {
        if out.len() >= PARCEL_BYTES {
            black_box(out.as_slice());
            out.clear();
        }
        let written = write(out, template, index);
        stamp(out, &written, 1_764_028_800_000_000, index + 1);
        set_publish_seq(&mut out[written.start as usize..], index);
    }
    black_box(out.as_slice());
    out.clear();
}

/// Both ways of writing give the same event, and it is the one that was meant.
fn check_written(template: &Template) {
    let (mut spliced, mut typed) = (Vec::new(), Vec::new());
    let at = write_spliced(&mut spliced, template, 7);
    assert_eq!(write_typed(&mut typed, template, 7), at);
    assert_eq!(spliced, typed);
    let event = decode_event(&spliced[at.body as usize..at.body_end as usize]).expect("a CloudEvent");
    assert_eq!(event.extensions.len(), 4);
    assert!(event.id.ends_with(":17:7"));
}

fn write(criterion: &mut Criterion) {
    let template = template(Framing::EventMesh);
    check_written(&template);
    let mut out = Vec::with_capacity(512 * 1024);
    let mut group = criterion.benchmark_group("write");
    group.throughput(Throughput::Elements(events()));
    group.bench_function("payload_ready", |bench| {
        bench.iter(|| write_many(&mut out, &template, events(), write_spliced));
    });
    group.bench_function("payload_typed", |bench| {
        bench.iter(|| write_many(&mut out, &template, events(), write_typed));
    });
    group.finish();
}

/// A hundred events in one, unpacked.
fn read_batch(group: &mut BenchmarkGroup<'_, WallTime>, json: &[u8]) {
    let members = [batch::Member { id: ID, json }; 100];
    let mut out = Vec::new();
    let template = batch::template(Framing::Bare, "/flowd/mysql/orders", "shop.orders");
    let written = batch::write(&mut out, &template, 0, &members);
    group.throughput(Throughput::Elements(100));
    group.bench_function("incoming_in_a_batch", |bench| {
        bench.iter(|| {
            let event = incoming::read(black_box(written.json(&out))).expect("valid");
            let Data::Json(data) = event.data else { panic!("a batch has JSON") };
            let members = batch::members(data).map(|json| incoming::read(json).expect("valid").id.len());
            assert!(members.sum::<usize>() > 100);
        });
    });
    group.throughput(Throughput::Elements(1));
}

/// What it costs to set epoch and number.
fn number(criterion: &mut Criterion) {
    let (mut out, mut events) = (Vec::new(), Vec::new());
    let template = template(Framing::EventMesh);
    for index in 0..400 {
        events.push(write_spliced(&mut out, &template, index));
    }
    let mut group = criterion.benchmark_group("stamp");
    group.throughput(Throughput::Elements(400));
    group.bench_function("parcel", |bench| {
        bench.iter(|| {
            for (event, sequence) in events.iter().zip(1_234_567..) {
                stamp(&mut out, event, 1_764_028_800_000_000, sequence);
            }
            black_box(out.as_slice());
        });
    });
    group.finish();
}

fn read(criterion: &mut Criterion) {
    let template = template(Framing::EventMesh);
    let mut frame = Vec::new();
    let at = write_spliced(&mut frame, &template, 7);
    stamp(&mut frame, &at, 1_764_028_800_000_000, 17);
    let stream = frame.repeat(100);
    let json = &frame[at.body as usize..at.body_end as usize];
    let mut group = criterion.benchmark_group("read");
    group.throughput(Throughput::Elements(100));
    group.bench_function("frames", |bench| {
        bench.iter(|| {
            let mut decoder = Decoder::new();
            decoder.feed(&stream);
            let mut count = 0;
            while let Some(frame) = decoder.next_frame().expect("valid") {
                black_box(&frame);
                count += 1;
            }
            assert_eq!(count, 100);
        });
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("event", |bench| {
        bench.iter(|| black_box(decode_event(black_box(json)).expect("valid")).id.len());
    });
    let order = incoming::read(json).expect("valid").order;
    assert_eq!(order, Order::Counted { epoch: 1_764_028_800_000_000, lane: 3, sequence: 17 });
    group.bench_function("incoming", |bench| {
        bench.iter(|| black_box(incoming::read(black_box(json)).expect("valid")).id.len());
    });
    read_batch(&mut group, json);
    let bean = [br#"{"data":{"node":"#, ROW, br#"},"source":"/","id":"1","attributeNames":["id"]}"#].concat();
    group.bench_function("id_of_an_ack_body", |bench| {
        bench.iter(|| assert_eq!(json::find_top_level_string(black_box(&bean), "id").as_deref(), Some("1")));
    });
    let mut ack = Vec::new();
    let header = Header {
        desc: Some("success".into()),
        ..Header::request(Command::AsyncMessageToServerAck, "00000000000000000007")
    };
    encode_parts(&header, &bean, &mut ack);
    let acks = ack.repeat(100);
    group.throughput(Throughput::Elements(100));
    group.bench_function("acks", |bench| {
        bench.iter(|| {
            let mut decoder = Decoder::new();
            decoder.feed(&acks);
            while let Some(frame) = decoder.next_frame().expect("valid") {
                black_box(publish_ack(&frame));
            }
        });
    });
    group.finish();
}

fn escape(criterion: &mut Criterion) {
    let plain = "The quick brown fox jumps over the lazy dog. ".repeat(7);
    let dense = String::from_utf8(ROW.to_vec()).expect("UTF-8");
    let short = "juergen.mueller";
    let mut out = Vec::with_capacity(4096);
    let mut group = criterion.benchmark_group("escape");
    for (name, text) in [("plain_300", &plain[..]), ("json_in_json_300", &dense), ("short_15", short)] {
        out.clear();
        json::write_string(&mut out, text);
        assert_eq!(serde_json::from_slice::<String>(&out).expect("valid"), text);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bench| {
            bench.iter(|| {
                out.clear();
                json::write_string(&mut out, black_box(text));
                black_box(out.as_slice());
            });
        });
    }
    group.finish();
}

criterion_group!(benches, write, number, read, escape);
criterion_main!(benches);
