//! `flowd position`: how far the flow had come at its last checkpoint. Takes no lock, so it answers while flowd runs.

use std::fmt::Write;

use flowd_engine::checkpoint::Checkpoint;
use flowd_engine::failure::Failure;
use flowd_engine::record::Position;
use flowd_mysql::position::{Description, describe};
use serde_json::{Value, json};

use crate::cli::PositionArgs;
use crate::config::Flag;
use crate::exit::Ending;
use crate::load::{Naming, load};

pub(crate) fn command(args: &PositionArgs, flags: Vec<Flag>) -> Result<(), Ending> {
    let config = load(&args.run, flags, Naming::Optional)?;
    let name = &config.connector.connector_name;
    let stored = flowd_registry::read_checkpoint(&config.offset_storage.offset_storage_addr, name)?;
    let report = Report::of(name, stored.as_ref().map(|stored| &stored.checkpoint))?;
    crate::answer(&if args.json { report.json() } else { report.text() })
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

    fn text(&self) -> String {
        let Some(time) = &self.time else { return format!("{}: nothing stored yet\n", self.connector) };
        let mut out = format!("{} as of {time}\n", self.connector);
        for (name, position) in self.rows() {
            let position = position.as_ref().map_or_else(|| "nothing yet".to_owned(), Description::to_string);
            writeln!(out, "{name:<8} {position}").expect("a string takes everything");
        }
        out
    }

    fn json(&self) -> String {
        let mut report = json!({"connector": self.connector, "time": self.time});
        for (name, position) in self.rows() {
            report[name] = position.as_ref().map_or(Value::Null, position_json);
        }
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

    #[test]
    fn before_the_first_checkpoint_everything_is_null() {
        let report = Report::of("orders", None).expect("readable");
        let json: Value = serde_json::from_str(&report.json()).expect("JSON");
        assert!(json["acked"].is_null() && json["time"].is_null());
        assert!(report.text().contains("nothing stored yet"));
    }
}
