//! The state machine, fed with hand-made events of a table `shop.t (id INT PRIMARY KEY)`.

use flowd_binlog::charset::InvalidText;
use flowd_binlog::event::kind;
use flowd_binlog::table::Flavour;
use flowd_codec::event::Framing;
use flowd_engine::failure::Failure;
use flowd_engine::sequence::Topics;

use super::Stream;
use crate::captured::EventSettings;
use crate::filter::TableFilter;
use crate::lanes::{Lanes, NameCase};
use crate::position::{BinlogPosition, Gtids, OpenTransaction};
use crate::scan::Definition;
use crate::tables::{Catalog, Numbers, Reading, TableSettings, Tables};

mod definitions;

const UUID: &str = "11111111-1111-1111-1111-111111111111";

/// A catalog that nobody should ask: the table describes itself.
struct NoCatalog;

impl Catalog for NoCatalog {
    fn read(&mut self, schema: &str, table: &str) -> Result<Reading, Failure> {
        panic!("the catalog was asked for {schema}.{table}");
    }

    fn definitions(&mut self, from: (&str, u64), _: (&str, u64)) -> Result<Vec<Definition>, Failure> {
        panic!("definitions were looked for behind {from:?}");
    }
}

/// What every event has in common.
pub(crate) fn events() -> EventSettings {
    EventSettings {
        source: "/flowd/mysql/test".into(),
        connector: "mysql",
        name: "test".into(),
        subject: "{db}.{table}".into(),
        framing: Framing::Line,
        clock_fields: false,
        applied: false,
        topics: Topics::new(),
    }
}

/// Makes events one behind the other, as in a file.
pub(crate) struct Script {
    pub(crate) stream: Stream,
    offset: u32,
    /// The last event.
    pub(crate) last: Vec<u8>,
}

impl Script {
    fn at(position: &BinlogPosition) -> Self {
        let filter = TableFilter::new(&["shop.*".into()], &["shop.x*".into()], &[]).expect("a filter");
        let settings = TableSettings {
            flavour: Flavour::MySql,
            invalid_text: InvalidText::Stop,
            events: events(),
            numbers: Numbers::default(),
        };
        let lanes = Lanes::new(4, NameCase::Exact, [("shop".into(), "t".into())]);
        let stream = Stream::new(position, filter, Tables::new(settings, Box::new(NoCatalog), lanes));
        Self { stream, offset: u32::try_from(position.offset).expect("small"), last: Vec::new() }
    }

    pub(crate) fn new() -> Self {
        Self::at(&position("", None))
    }

    pub(crate) fn event(&mut self, kind: u8, body: &[u8]) -> Result<(), Failure> {
        let length = u32::try_from(19 + body.len()).expect("small");
        self.offset += length;
        let mut event = 1_700_000_000_u32.to_le_bytes().to_vec();
        event.push(kind);
        event.extend(1_u32.to_le_bytes());
        event.extend(length.to_le_bytes());
        event.extend(self.offset.to_le_bytes());
        event.extend([0, 0]);
        event.extend(body);
        let result = self.stream.event(&event, 0);
        self.last = event;
        result
    }

    pub(crate) fn gtid(&mut self, number: u8) -> Result<(), Failure> {
        let mut body = vec![0; 25];
        body[1..17].fill(0x11);
        body[17] = number;
        self.event(kind::GTID, &body)
    }

    pub(crate) fn query(&mut self, text: &str) -> Result<(), Failure> {
        self.query_in("shop", text)
    }

    fn query_in(&mut self, schema: &str, text: &str) -> Result<(), Failure> {
        let mut body = vec![0; 13];
        body[8] = u8::try_from(schema.len()).expect("short");
        body.extend(schema.as_bytes());
        body.push(0);
        body.extend(text.as_bytes());
        self.event(kind::QUERY, &body)
    }

    pub(crate) fn begin(&mut self, number: u8) {
        self.gtid(number).expect("a GTID");
        self.query("BEGIN").expect("BEGIN");
    }

    pub(crate) fn table_map(&mut self, table: &str) {
        let mut body = vec![7, 0, 0, 0, 0, 0, 0, 0];
        for name in ["shop", table] {
            body.push(u8::try_from(name.len()).expect("short"));
            body.extend(name.as_bytes());
            body.push(0);
        }
        // one INT, no type metadata, not null; signed, named `id`, primary key
        body.extend([1, 3, 0, 0, 1, 1, 0, 4, 3, 2, b'i', b'd', 8, 1, 0]);
        self.event(kind::TABLE_MAP, &body).expect("a table map");
    }

    pub(crate) fn insert(&mut self, ids: &[u8]) -> Result<(), Failure> {
        let mut body = vec![7, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0xff];
        for id in ids {
            body.extend([0, *id, 0, 0, 0]);
        }
        self.event(kind::WRITE_ROWS_V2, &body)
    }

    pub(crate) fn commit(&mut self) {
        self.event(kind::XID, &[0; 8]).expect("an XID");
    }

    fn gtids(&self) -> String {
        self.stream.gtids().to_string()
    }
}

fn position(gtids: &str, open: Option<(&str, u64)>) -> BinlogPosition {
    BinlogPosition {
        server: UUID.into(),
        gtids: Gtids::MySql(gtids.parse().expect("a set")),
        file: "binlog.000001".into(),
        offset: 4,
        open: open.map(|(id, rows)| OpenTransaction { id: id.into(), rows }),
        filter: 0,
        by_place: false,
    }
}

#[test]
fn a_position_is_a_boundary_and_the_rows_of_the_open_transaction() {
    let mut script = Script::new();
    script.begin(1);
    script.table_map("t");
    script.insert(&[1, 2]).expect("rows");
    let inside = script.stream.position();
    assert_eq!(inside.gtids.to_string(), "");
    assert_eq!((inside.offset, inside.open), (4, Some(OpenTransaction { id: format!("{UUID}:1"), rows: 2 })));
    script.commit();
    let behind = script.stream.position();
    assert_eq!((behind.gtids.to_string(), behind.open), (format!("{UUID}:1"), None));
    assert_eq!(behind.offset, u64::from(script.offset));
    assert!(script.stream.take_moved());
}

#[test]
fn the_format_description_that_a_dump_from_mid_file_begins_with_is_no_step_forward() {
    let mut script = Script::at(&BinlogPosition { gtids: Gtids::None, offset: 1000, ..position("", None) });
    let mut body = vec![4, 0];
    body.extend([0; 50 + 4]);
    body.extend([19, 0, 0, 0, 0, 0, 0]); // header length, a post-header, no checksum
    let length = u32::try_from(19 + body.len()).expect("small");
    let mut event = vec![0; 4];
    event.push(kind::FORMAT_DESCRIPTION);
    event.extend(1_u32.to_le_bytes());
    event.extend(length.to_le_bytes());
    event.extend([0; 6]); // no log_pos, no flags
    event.extend(body);
    script.stream.event(&event, 0).expect("a description");
    assert_eq!(script.stream.position().offset, 1000);
    assert!(!script.stream.take_moved());
}

#[test]
fn rows_count_on_over_events_and_begin_anew_with_the_transaction() {
    let mut script = Script::new();
    script.begin(1);
    script.table_map("t");
    script.insert(&[1, 2]).expect("rows");
    script.insert(&[3]).expect("rows");
    script.commit();
    script.begin(2);
    script.table_map("t");
    script.insert(&[4]).expect("rows");
    let firsts: Vec<_> = script.stream.pending.iter().map(|record| record.rows().first_row).collect();
    assert_eq!(firsts, [0, 2, 0]);
}

#[test]
fn what_was_handed_on_is_passed_over_after_a_restart_and_after_a_reconnect() {
    let replay = |script: &mut Script| {
        script.begin(5);
        script.table_map("t");
        script.insert(&[1, 2]).expect("rows");
        script.insert(&[3, 4, 5]).expect("rows");
    };
    let id = format!("{UUID}:5");
    let mut restarted = Script::at(&position("", Some((&id, 3))));
    replay(&mut restarted);
    let record = restarted.stream.take_pending().pop().expect("the second event");
    assert_eq!((record.rows().first_row, record.rows().skip), (2, 1));

    let mut reconnected = Script::new();
    replay(&mut reconnected);
    assert_eq!(reconnected.stream.take_pending().len(), 2);
    reconnected.stream.reconnect();
    reconnected.offset = 4;
    replay(&mut reconnected);
    assert!(reconnected.stream.pending.is_empty());
    assert_eq!(reconnected.stream.position().open, Some(OpenTransaction { id, rows: 5 }));
}

#[test]
fn another_transaction_is_not_shortened_by_the_rows_of_the_one_that_was_open() {
    let mut script = Script::at(&position("", Some(("somebody:9", 3))));
    script.begin(5);
    script.table_map("t");
    script.insert(&[1, 2]).expect("rows");
    assert_eq!(script.stream.pending.len(), 1);
}

#[test]
fn a_rolled_back_transaction_gives_nothing_and_stops_where_it_was_emitted_in_part() {
    let mut script = Script::new();
    script.begin(1);
    script.table_map("t");
    script.insert(&[1]).expect("rows");
    script.commit();
    script.begin(2);
    script.table_map("t");
    script.insert(&[2]).expect("rows");
    script.query("ROLLBACK").expect("nothing was handed on");
    assert_eq!(script.stream.pending.len(), 1);
    assert_eq!(script.gtids(), format!("{UUID}:1-2"));

    script.begin(3);
    script.table_map("t");
    script.insert(&[3]).expect("rows");
    assert_eq!(script.stream.take_pending().len(), 2);
    let failure = script.query("ROLLBACK").expect_err("a row is gone already");
    assert!(
        matches!(failure, Failure::Fatal(_)) && failure.message().contains("ends in ROLLBACK"),
        "{failure}"
    );
}

#[test]
fn rows_behind_a_savepoint_that_is_gone_back_to_give_nothing_and_keep_their_numbers() {
    let id = format!("{UUID}:1");
    let replay = |script: &mut Script| {
        script.begin(1);
        script.table_map("t");
        script.insert(&[1, 2]).expect("rows");
        script.query("SAVEPOINT `a`").expect("a mark");
        script.insert(&[3]).expect("rows");
        script.query("SAVEPOINT `b`").expect("a mark");
        script.insert(&[4]).expect("rows");
        script.query("ROLLBACK TO `A`").expect("nothing was handed on");
    };
    let mut script = Script::new();
    replay(&mut script);
    let inside = script.stream.position();
    assert_eq!(
        inside.open,
        Some(OpenTransaction { id: id.clone(), rows: 2 }),
        "what was taken back was not handed on"
    );
    script.insert(&[5]).expect("rows");
    let firsts: Vec<_> = script.stream.pending.iter().map(|record| record.rows().first_row).collect();
    assert_eq!(firsts, [0, 4]);
    assert_eq!(script.stream.position().open, Some(OpenTransaction { id: id.clone(), rows: 5 }));

    // A process that goes on in the middle, on either side of the mark.
    for (skip, left) in [(1, vec![0, 4]), (2, vec![4]), (5, vec![])] {
        let mut resumed = Script::at(&position("", Some((&id, skip))));
        replay(&mut resumed);
        resumed.insert(&[5]).expect("rows");
        let firsts: Vec<_> = resumed.stream.pending.iter().map(|record| record.rows().first_row).collect();
        assert_eq!(firsts, left, "behind {skip} rows");
    }
}

#[test]
fn rows_that_were_handed_on_cannot_be_taken_back() {
    let id = format!("{UUID}:1");
    for position in [position("", None), position("", Some((&id, 2)))] {
        let mut script = Script::at(&position);
        script.begin(1);
        script.table_map("t");
        script.insert(&[1]).expect("rows");
        script.query("SAVEPOINT a").expect("a mark");
        script.insert(&[2]).expect("rows");
        script.stream.take_pending();
        let failure = script.query("ROLLBACK TO a").expect_err("a row is gone already");
        assert!(
            matches!(failure, Failure::Fatal(_)) && failure.message().contains("ROLLBACK TO a"),
            "{failure}"
        );
    }
    let mut script = Script::new();
    script.begin(1);
    script.table_map("t");
    script.insert(&[1]).expect("rows");
    assert!(script.query("ROLLBACK TO nowhere").is_err());
}

#[test]
fn excluded_tables_move_the_position_and_give_nothing() {
    let mut script = Script::new();
    script.begin(1);
    script.table_map("x1");
    script.insert(&[1]).expect("rows");
    script.commit();
    assert!(script.stream.pending.is_empty());
    assert!(script.stream.take_moved());
    assert_eq!(script.gtids(), format!("{UUID}:1"));
}

#[test]
fn xa_and_statements_stop_the_stream_only_where_a_captured_table_may_be_changed() {
    let mut script = Script::new();
    script.gtid(1).expect("a GTID");
    script.query("XA START X'78',X'',1").expect("nothing of ours yet");
    script.table_map("x1");
    script.insert(&[1]).expect("not captured");
    script.table_map("t");
    let failure = script.insert(&[1]).expect_err("an XA transaction of a captured table");
    assert!(failure.message().contains("XA"), "{failure}");

    let mut script = Script::new();
    script.begin(1);
    let failure = script.query("update t set id = 4").expect_err("a statement");
    assert!(failure.message().contains("binlog_format=ROW"), "{failure}");
    let failure = script.query("create table n select 1").expect_err("a statement");
    assert!(failure.message().contains("binlog_format=ROW"), "{failure}");
}

#[test]
fn a_statement_elsewhere_stops_the_stream_where_it_names_a_captured_schema() {
    let mut script = Script::new();
    script.begin(1);
    script.query_in("other", "INSERT INTO t SELECT 'shop.t' FROM more.t").expect("nothing of ours");
    let load = |schema: &str, text: &str| {
        let mut body = vec![0; 13 + 13];
        body[8] = u8::try_from(schema.len()).expect("short");
        body.extend([schema.as_bytes(), b"\0", text.as_bytes()].concat());
        body
    };
    script.event(kind::BEGIN_LOAD_QUERY, &[0; 9]).expect("the file");
    let text = "LOAD DATA INFILE 'f' INTO TABLE t";
    script.event(kind::EXECUTE_LOAD_QUERY, &load("other", text)).expect("nothing of ours");
    assert!(script.event(kind::EXECUTE_LOAD_QUERY, &load("shop", text)).is_err());
    let named = "SET STATEMENT max_statement_time=1 FOR INSERT INTO `shop`.`t` VALUES (1)";
    for text in ["INSERT INTO shop.t VALUES (1)", named, "SELECT shop.change_rows()"] {
        let failure =
            script.query_in("other", text).expect_err("a captured schema, though no table of it was met");
        assert!(failure.message().contains("binlog_format=ROW"), "{failure}");
    }
}

#[test]
fn a_transaction_without_an_end_is_not_taken_for_a_whole_one() {
    let mut script = Script::new();
    script.begin(1);
    script.table_map("t");
    script.insert(&[1]).expect("rows");
    assert!(script.gtid(2).is_err());
}

#[test]
fn an_unknown_event_stops_the_stream_unless_it_may_be_skipped() {
    assert!(Script::new().event(99, &[]).is_err());
    assert!(Script::new().event(kind::TRANSACTION_PAYLOAD, &[]).is_err());
    assert!(Script::new().event(kind::INCIDENT, &[0; 3]).is_err());
    assert!(Script::new().event(kind::ROWS_QUERY, b"x").is_ok());
}
