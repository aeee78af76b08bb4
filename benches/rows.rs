//! Rows of a result set on one thread: a snapshot's chunk to JSON, and to finished events.
//!
//! Every benchmark first checks the result that it is about to time. `CHUNK_ROWS` sets the rows of one round.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use flowd_binlog::catalog::{CatalogColumn, CatalogTable};
use flowd_binlog::charset::InvalidText;
use flowd_binlog::result;
use flowd_binlog::row::Scratch;
use flowd_binlog::table::{Flavour, Options, Table};
use flowd_codec::event::Framing;
use flowd_engine::parcel::Parcel;
use flowd_engine::record::{Batch, Position, Span};
use flowd_engine::sequence::Topics;
use flowd_engine::worker::{Encode, Encoded};
use flowd_mysql::captured::{CapturedTable, EventSettings, Phase};
use flowd_mysql::encode::{MySqlEncoder, Outgoing};
use flowd_mysql::rows::{ChunkRows, MySqlRecord, Origin};

fn chunk_rows() -> u32 {
    std::env::var("CHUNK_ROWS").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000)
}

/// A table, how one of its rows is written, and what the first becomes.
struct Shape {
    name: &'static str,
    columns: &'static [(&'static str, &'static str)],
    row: fn(u32, &mut Vec<u8>),
    first: String,
}

fn shapes() -> [Shape; 2] {
    [
        Shape {
            name: "narrow",
            columns: &[
                ("id", "bigint(20)"),
                ("amount", "int(11)"),
                ("name", "varchar(20)"),
                ("at", "datetime"),
            ],
            row: |number, out| {
                out.extend_from_slice(&u64::from(number).to_le_bytes());
                out.extend_from_slice(&(number.wrapping_mul(7919) % 1_000_003).to_le_bytes());
                text(format!("customer {number}").as_bytes(), out);
                // 2026-01-02 03:04:05
                out.extend_from_slice(&[7, 0xEA, 0x07, 1, 2, 3, 4, 5]);
            },
            first: r#"{"id":1,"amount":7919,"name":"customer 1","at":"2026-01-02T03:04:05"}"#.into(),
        },
        Shape {
            name: "cart",
            columns: &[
                ("id", "int(11)"),
                ("user_id", "int(11)"),
                ("product_id", "int(11)"),
                ("quantity", "int(11)"),
                ("price", "decimal(10,2)"),
                ("info", "text"),
            ],
            row: |number, out| {
                for value in [number, number % 10_000, number % 1000, number % 10] {
                    out.extend_from_slice(&value.to_le_bytes());
                }
                text(format!("{}.99", number % 1000).as_bytes(), out);
                text(format!("cart {number} ").repeat(45).as_bytes(), out);
            },
            first: format!(
                r#"{{"id":1,"user_id":1,"product_id":1,"quantity":1,"price":"1.99","info":"{}"}}"#,
                "cart 1 ".repeat(45)
            ),
        },
    ]
}

fn text(bytes: &[u8], out: &mut Vec<u8>) {
    match u8::try_from(bytes.len()) {
        Ok(short) if short < 251 => out.push(short),
        _ => {
            out.push(0xFC);
            out.extend_from_slice(&u16::try_from(bytes.len()).expect("a short text").to_le_bytes());
        }
    }
    out.extend_from_slice(bytes);
}

fn table(shape: &Shape) -> Table {
    let columns = shape.columns.iter().map(|&(name, column_type)| {
        let charset = (column_type == "text" || column_type.starts_with("varchar")).then(|| "utf8mb4".into());
        let nullable = name != "id";
        CatalogColumn {
            name: name.into(),
            column_type: column_type.into(),
            charset,
            nullable,
            ..CatalogColumn::default()
        }
    });
    let catalog = CatalogTable {
        schema: "shop".into(),
        name: shape.name.into(),
        columns: columns.collect(),
        key: vec![0],
    };
    let exclude = |_: &str, _: &str, _: &str| false;
    let options = Options { flavour: Flavour::MariaDb, invalid_text: InvalidText::Stop, exclude: &exclude };
    Table::from_catalog(&catalog, &options).expect("a table that can be carried")
}

/// Rows as a worker hands them on: each behind its length.
fn chunk(shape: &Shape) -> Vec<u8> {
    let mut out = Vec::new();
    for number in 1..=chunk_rows() {
        let start = out.len();
        // The length, the header byte, and no NULL among eight columns and two unused bits.
        out.extend_from_slice(&[0; 6]);
        (shape.row)(number, &mut out);
        let length = u32::try_from(out.len() - start - 4).expect("a short row");
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }
    out
}

fn rows(mut chunk: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (head, rest) = chunk.split_first_chunk::<4>()?;
        let (row, rest) = rest.split_at(u32::from_le_bytes(*head) as usize);
        chunk = rest;
        Some(row)
    })
}

fn to_json(criterion: &mut Criterion) {
    let mut group = group(criterion, "chunk_to_json");
    for shape in shapes() {
        let (table, chunk) = (table(&shape), chunk(&shape));
        let (mut out, mut scratch) = (Vec::new(), Scratch::new());
        let first = rows(&chunk).next().expect("a row");
        result::encode(&table, first, 0, &mut out, &mut scratch).expect("a valid row");
        assert_eq!((out.as_slice(), scratch.key()), (shape.first.as_bytes(), &b"{\"id\":1}"[..]));
        group.bench_function(shape.name, |bench| {
            bench.iter(|| {
                for (number, row) in (0..).zip(rows(&chunk)) {
                    out.clear();
                    result::encode(&table, row, number, &mut out, &mut scratch).expect("a valid row");
                    black_box(out.as_slice());
                }
            });
        });
    }
    group.finish();
}

fn batch(shape: &Shape, settings: &EventSettings) -> Batch<MySqlRecord> {
    let bytes = chunk(shape);
    let rows = ChunkRows {
        payload: Span { start: 0, end: u32::try_from(bytes.len()).expect("a small chunk") },
        table: Arc::new(CapturedTable::new(table(shape), 1, 1, Phase::Snapshot, settings)),
        origin: Arc::new(Origin {
            snapshot: "0123456789abcdef0123456789abcdef".into(),
            id: "0123456789abcdef0123456789abcdef".into(),
            time_us: 1_764_028_800_000_000,
            file: "binlog.000007".into(),
            offset: 12_345,
        }),
        rows: chunk_rows(),
        chunk: "1764028800000000-1".into(),
        lanes: 4,
        outdated: Box::default(),
        first_row: None,
        oversize: Box::default(),
    };
    let records = vec![MySqlRecord::Chunk(rows)];
    Batch { bytes: Bytes::from(bytes), records, position: Position::default(), time_us: 0 }
}

/// All parcels of the batch, one after the other in the same memory; gives the number of events.
fn encode(encoder: &mut MySqlEncoder, batch: &Batch<MySqlRecord>, parcel: &mut Parcel<Outgoing>) -> usize {
    let mut events = 0;
    loop {
        parcel.clear();
        let encoded = encoder.encode(batch, parcel).expect("valid rows");
        events += parcel.events.len();
        black_box(&parcel);
        if encoded == Encoded::All {
            return events;
        }
    }
}

fn to_events(criterion: &mut Criterion) {
    let settings = EventSettings {
        source: "/flowd/mysql/bench".into(),
        connector: "mariadb",
        name: "bench".into(),
        subject: "{db}.{table}".into(),
        framing: Framing::EventMesh,
        clock_fields: true,
        applied: false,
        topics: Topics::new(),
    };
    let mut group = group(criterion, "chunk_to_events");
    for shape in shapes() {
        let batch = batch(&shape, &settings);
        let (mut encoder, mut parcel) = (MySqlEncoder::new(&settings), Parcel::default());
        encoder.encode(&batch, &mut parcel).expect("valid rows");
        let json = std::str::from_utf8(parcel.events[0].event.json(&parcel.buffer)).expect("UTF-8");
        assert!(json.contains(&format!("\"after\":{},", shape.first)), "{json}");
        let mut encoder = MySqlEncoder::new(&settings);
        group.bench_function(shape.name, |bench| {
            bench.iter(|| assert_eq!(encode(&mut encoder, &batch, &mut parcel), chunk_rows() as usize));
        });
    }
    group.finish();
}

fn group<'a>(
    criterion: &'a mut Criterion,
    name: &str,
) -> BenchmarkGroup<'a, criterion::measurement::WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(chunk_rows().into()));
    group
}

criterion_group!(benches, to_json, to_events);
criterion_main!(benches);
