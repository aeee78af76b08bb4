//! `flowd position`: how far the flow had come at its last checkpoint, and of a sink what it has applied. Takes no lock, so
//! it answers while flowd runs.

use std::fmt::Write;

use flowd_engine::checkpoint::Checkpoint;
use flowd_engine::failure::Failure;
use flowd_engine::record::Position;
use flowd_mysql::position::{Description, describe};
use flowd_mysql::snapshot::state::{OpenTable, SnapshotState};
use flowd_sink::deliver::Opened;
use serde_json::{Value, json};

use crate::cli::PositionArgs;
use crate::config::{Connector, Flag, Source};
use crate::exit::Ending;
use crate::load::{Naming, load};

mod messages;
mod sink;

pub(crate) fn command(args: &PositionArgs, flags: Vec<Flag>) -> Result<(), Ending> {
    let config = load(&args.run, flags, Naming::Optional)?;
    match &config.connector {
        Connector::MySqlCdc(source) => of_source(source, args.json),
        Connector::FileSink(reading, _) | Connector::StdoutSink(reading) => {
            sink::of_lines(&reading.connector_name, args.json)
        }
        Connector::Messages(messages) => messages::of_source(messages, args.json),
        Connector::Delivery(reading, delivery) => {
            match delivery.open().map_err(|wrong| Ending::Misfit(wrong.to_string()))? {
                Opened::Events(_) => sink::of_lines(&reading.connector_name, args.json),
                Opened::Rows { look, .. } => {
                    sink::tell(&reading.connector_name, &look.standing()?, args.json)
                }
            }
        }
    }
}

fn of_source(source: &Source, json: bool) -> Result<(), Ending> {
    let name = &source.mysql.connector_name;
    let stored = flowd_registry::read_checkpoint(&source.outward.offset_storage.offset_storage_addr, name)?;
    let report = Report::of(name, stored.as_ref().map(|stored| &stored.checkpoint))?;
    crate::answer(&if json { report.json() } else { report.text() })
}

/// The three positions, in words.
struct Report<'a> {
    connector: &'a str,
    /// RFC 3339; `None` where nothing was stored yet.
    time: Option<String>,
    read: Option<Description>,
    emitted: Option<Description>,
    acked: Option<Description>,
}

impl<'a> Report<'a> {
    fn of(connector: &'a str, checkpoint: Option<&Checkpoint>) -> Result<Self, Failure> {
        let described = |position: fn(&Checkpoint) -> &Position| match checkpoint {
            Some(checkpoint) => describe(position(checkpoint)),
            None => Ok(None),
        };
        Ok(Self {
            connector,
            time: checkpoint.map(|checkpoint| rfc3339(checkpoint.time_us)),
            read: described(|checkpoint| &checkpoint.read)?,
            emitted: described(|checkpoint| &checkpoint.emitted)?,
            acked: described(|checkpoint| &checkpoint.acked)?,
        })
    }

    fn rows(&self) -> [(&'static str, &Option<Description>); 3] {
        [("read", &self.read), ("emitted", &self.emitted), ("acked", &self.acked)]
    }

    /// How far the snapshot had come, if there is one: what survives whatever dies is what is acknowledged.
    fn snapshot(&self) -> Option<&SnapshotState> {
        self.acked.as_ref()?.snapshot.as_ref()
    }

    fn text(&self) -> String {
        let Some(time) = &self.time else { return format!("{}: nothing stored yet\n", self.connector) };
        let mut out = format!("{} as of {time}\n", self.connector);
        for (name, position) in self.rows() {
            let position = position.as_ref().map_or_else(|| "nothing yet".to_owned(), Description::to_string);
            writeln!(out, "{name:<8} {position}").expect("a string takes everything");
        }
        if let Some(snapshot) = self.snapshot() {
            writeln!(out, "{:<8} {}", "snapshot", snapshot_text(snapshot))
                .expect("a string takes everything");
        }
        out
    }

    fn json(&self) -> String {
        let mut report = json!({"connector": self.connector, "time": self.time});
        for (name, position) in self.rows() {
            report[name] = position.as_ref().map_or(Value::Null, position_json);
        }
        report["snapshot"] = self.snapshot().map_or(Value::Null, snapshot_json);
        format!("{report}\n")
    }
}

fn position_json(position: &Description) -> Value {
    let open =
        position.open.as_ref().map(|(transaction, rows)| json!({"transaction": transaction, "rows": rows}));
    // After a start by GTID no place is known until the first event.
    let place = (!position.file.is_empty()).then_some((&position.file, position.pos));
    json!({
        "gtid": position.gtid,
        "file": place.map(|(file, _)| file),
        "pos": place.map(|(_, pos)| pos),
        "server": position.server,
        "open": open,
    })
}

fn snapshot_state(snapshot: &SnapshotState) -> &'static str {
    if snapshot.finished { "finished" } else { "running" }
}

fn snapshot_json(snapshot: &SnapshotState) -> Value {
    let open = |table: &OpenTable| {
        json!({
            "table": format!("{}.{}", table.schema, table.name),
            "rows": table.rows,
            "whole": table.whole,
        })
    };
    json!({
        "state": snapshot_state(snapshot),
        "id": snapshot.id,
        "startedAt": rfc3339(snapshot.time_us),
        "file": snapshot.file,
        "pos": snapshot.offset,
        "tables": snapshot.tables,
        "tablesDone": snapshot.tables_done,
        "chunks": snapshot.chunks,
        "rows": snapshot.rows,
        "bytes": snapshot.bytes,
        "rowsEstimated": snapshot.rows_estimated,
        "open": snapshot.open.iter().map(open).collect::<Vec<_>>(),
    })
}

fn snapshot_text(snapshot: &SnapshotState) -> String {
    let SnapshotState { tables, tables_done, chunks, rows, bytes, rows_estimated, .. } = snapshot;
    let estimate = match snapshot.finished {
        true => String::new(),
        false => format!(" of about {rows_estimated}"),
    };
    format!(
        "{}, begun {} at {}:{}: {tables_done} of {tables} tables, {chunks} chunks, {rows}{estimate} rows, {bytes} bytes",
        snapshot_state(snapshot),
        rfc3339(snapshot.time_us),
        snapshot.file,
        snapshot.offset,
    )
}

fn rfc3339(time_us: i64) -> String {
    let mut out = Vec::with_capacity(27);
    flowd_codec::time::write_rfc3339_us(&mut out, time_us);
    String::from_utf8(out).expect("digits and punctuation")
}

#[cfg(test)]
mod tests {
    use flowd_mysql::position::{BinlogPosition, Gtids};

    use super::*;

    fn at(offset: u64) -> Position {
        BinlogPosition {
            server: "1".into(),
            gtids: Gtids::MariaDb("0-1-7".parse().expect("a GTID")),
            file: "binlog.000002".into(),
            offset,
            open: None,
            filter: 0,
            by_place: false,
        }
        .to_position()
    }

    #[test]
    fn the_three_positions_are_told_apart_with_gtid_file_and_time() {
        let checkpoint = Checkpoint {
            read: at(300),
            emitted: at(200),
            acked: at(100),
            time_us: 1_000_000,
            ..Checkpoint::default()
        };
        let report = Report::of("orders", Some(&checkpoint)).expect("readable");
        let json: Value = serde_json::from_str(&report.json()).expect("JSON");
        for (name, pos) in [("read", 300), ("emitted", 200), ("acked", 100)] {
            assert_eq!(json[name]["pos"], pos);
            assert_eq!(json[name]["gtid"], "0-1-7");
            assert_eq!(json[name]["file"], "binlog.000002");
            assert!(report.text().contains(&format!("{name:<8} binlog.000002:{pos}")), "{}", report.text());
        }
        assert_eq!(json["time"], "1970-01-01T00:00:01.000000Z");
    }

    #[test]
    fn a_start_by_gtid_has_no_place_until_the_first_event() {
        let mut position = BinlogPosition::from_position(&at(0)).expect("readable");
        position.file = String::new();
        let position = position.to_position();
        let checkpoint = Checkpoint {
            read: position.clone(),
            emitted: position.clone(),
            acked: position,
            ..Checkpoint::default()
        };
        let report = Report::of("orders", Some(&checkpoint)).expect("readable");
        let json: Value = serde_json::from_str(&report.json()).expect("JSON");
        assert_eq!(json["acked"]["gtid"], "0-1-7");
        assert!(json["acked"]["file"].is_null() && json["acked"]["pos"].is_null(), "{json}");
        assert!(report.text().contains("acked    gtid 0-1-7\n"), "{}", report.text());
    }

    fn snapshot() -> SnapshotState {
        let mut snapshot = SnapshotState::new("s1".into(), 1_000_000, "binlog.000001".into(), 157);
        (snapshot.tables, snapshot.tables_done) = (7, 3);
        (snapshot.chunks, snapshot.rows, snapshot.bytes, snapshot.rows_estimated) =
            (12, 120_000, 5_000, 500_000);
        let name = ("shop".to_owned(), "orders".to_owned());
        snapshot.open = vec![OpenTable {
            schema: name.0,
            name: name.1,
            rows: 20_000,
            whole: true,
            ..OpenTable::default()
        }];
        snapshot
    }

    fn with_snapshot(snapshot: Option<SnapshotState>) -> Report<'static> {
        let acked =
            describe(&at(100)).expect("readable").map(|position| Description { snapshot, ..position });
        Report { connector: "orders", time: Some("now".into()), read: None, emitted: None, acked }
    }

    #[test]
    fn a_running_snapshot_is_told_whole_with_the_tables_that_are_read_in_part() {
        let report = with_snapshot(Some(snapshot()));
        let json: Value = serde_json::from_str(&report.json()).expect("JSON");
        let expected = json!({
            "state": "running",
            "id": "s1",
            "startedAt": "1970-01-01T00:00:01.000000Z",
            "file": "binlog.000001",
            "pos": 157,
            "tables": 7,
            "tablesDone": 3,
            "chunks": 12,
            "rows": 120_000,
            "bytes": 5_000,
            "rowsEstimated": 500_000,
            "open": [{"table": "shop.orders", "rows": 20_000, "whole": true}],
        });
        assert_eq!(json["snapshot"], expected);
        let line = "snapshot running, begun 1970-01-01T00:00:01.000000Z at binlog.000001:157: 3 of 7 tables, 12 chunks, \
                    120000 of about 500000 rows, 5000 bytes\n";
        assert!(report.text().ends_with(line), "{}", report.text());
    }

    #[test]
    fn a_finished_snapshot_stays_to_be_seen_and_none_is_null() {
        let finished = SnapshotState { finished: true, open: Vec::new(), ..snapshot() };
        let report = with_snapshot(Some(finished));
        let json: Value = serde_json::from_str(&report.json()).expect("JSON");
        assert_eq!((&json["snapshot"]["state"], &json["snapshot"]["open"]), (&json!("finished"), &json!([])));
        assert!(report.text().contains("snapshot finished, begun"), "{}", report.text());
        let report = with_snapshot(None);
        let json: Value = serde_json::from_str(&report.json()).expect("JSON");
        assert!(json.get("snapshot").is_some_and(Value::is_null), "{json}");
        assert!(!report.text().contains("snapshot"), "{}", report.text());
    }

    #[test]
    fn before_the_first_checkpoint_everything_is_null() {
        let report = Report::of("orders", None).expect("readable");
        let json: Value = serde_json::from_str(&report.json()).expect("JSON");
        assert!(json["acked"].is_null() && json["time"].is_null() && json["snapshot"].is_null());
        assert!(report.text().contains("nothing stored yet"));
    }
}
