//! What is applied, kept in the target: one row a lane and one a chunk, written in the transaction of the data.
//!
//! `flowd_applied` holds lanes, `flowd_applied_chunks` chunks of snapshots, and `flowd_applied_truncates` a TRUNCATE that
//! was begun: it commits by itself, so it is announced before and done again by whoever finds the announcement. Every row
//! says whose it is, so that several sinks can share a database.

use std::sync::Arc;

use flowd_engine::failure::Failure;
use flowd_sink::rows::mapping::TableName;
use flowd_sink::store::{Applied, ChunkApplied, LaneApplied};

use crate::error::WireError;
use crate::query::{Row, identifier, literal, text};
use crate::sink::session::Session;
use crate::sink::sql;

const LANES: &str = "flowd_applied";
const CHUNKS: &str = "flowd_applied_chunks";
const TRUNCATES: &str = "flowd_applied_truncates";

/// Name and columns of each; InnoDB, because the record must live and die with the transaction.
const TABLES: [(&str, &str); 3] = [
    (
        LANES,
        "`sink` VARBINARY(64) NOT NULL, `source` VARBINARY(255) NOT NULL, `epoch` BIGINT UNSIGNED NOT NULL, \
         `topic` VARBINARY(255) NOT NULL, `lane` SMALLINT UNSIGNED NOT NULL, `sequence` BIGINT UNSIGNED NOT NULL, \
         `updated` TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3), \
         PRIMARY KEY (`sink`, `source`, `topic`, `lane`)",
    ),
    (
        CHUNKS,
        "`sink` VARBINARY(64) NOT NULL, `source` VARBINARY(255) NOT NULL, `snapshot` VARBINARY(255) NOT NULL, \
         `run` BIGINT UNSIGNED NOT NULL, `number` BIGINT UNSIGNED NOT NULL, `rows` BLOB NOT NULL, \
         PRIMARY KEY (`sink`, `source`, `snapshot`, `run`, `number`)",
    ),
    (
        TRUNCATES,
        "`sink` VARBINARY(64) NOT NULL, `source` VARBINARY(255) NOT NULL, `epoch` BIGINT UNSIGNED NOT NULL, \
         `topic` VARBINARY(255) NOT NULL, `lane` SMALLINT UNSIGNED NOT NULL, `sequence` BIGINT UNSIGNED NOT NULL, \
         `schema` VARBINARY(255) NOT NULL, `table` VARBINARY(255) NOT NULL, \
         PRIMARY KEY (`sink`, `source`, `topic`, `lane`)",
    ),
];

/// Where lanes are recorded.
pub(super) fn lanes_table(database: &str) -> TableName {
    TableName { schema: database.to_owned(), table: LANES.to_owned() }
}

/// Asks for the lanes of one sink, for [`lane`], and behind them when each was recorded.
pub(super) fn lanes_with_time(database: &str, connector_name: &str) -> String {
    format!(
        "SELECT `source`, `topic`, `lane`, `epoch`, `sequence`, `updated` FROM {}.{} WHERE `sink` = {} ORDER BY 1, 2, 3",
        identifier(database),
        identifier(LANES),
        bytes(connector_name)
    )
}

/// Writes and reads the record of one sink.
#[derive(Debug)]
pub(super) struct Record {
    database: String,
    /// The sink's name as a literal.
    sink: String,
}

/// A TRUNCATE that was begun and may not have been done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) table: TableName,
    pub(super) lane: LaneApplied,
}

impl Record {
    pub(super) fn new(database: &str, connector_name: &str) -> Self {
        Self { database: database.to_owned(), sink: bytes(connector_name) }
    }

    fn name(&self, table: &str) -> String {
        format!("{}.{}", identifier(&self.database), identifier(table))
    }

    /// Creates the tables that are not there.
    pub(super) fn create(&self, session: &mut Session) -> Result<(), Failure> {
        let failed = |error: WireError| {
            error.into_failure(&format!(
                "the tables flowd_applied* in {} (create the database; the account needs CREATE, SELECT, INSERT, UPDATE \
                 and DELETE there)",
                self.database
            ))
        };
        let sql = format!(
            "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME LIKE 'flowd%'",
            literal(&self.database)
        );
        let there: Vec<String> =
            session.connection().query(&sql).map_err(failed)?.texts("TABLE_NAME").collect();
        for (name, columns) in TABLES.iter().filter(|(name, _)| !there.iter().any(|one| one == name)) {
            let sql = format!("CREATE TABLE IF NOT EXISTS {} ({columns}) ENGINE=InnoDB", self.name(name));
            session.connection().execute(&sql).map_err(failed)?;
        }
        Ok(())
    }

    /// All that is recorded.
    pub(super) fn load(&self, session: &mut Session) -> Result<Applied, WireError> {
        let lanes = format!(
            "SELECT `source`, `topic`, `lane`, `epoch`, `sequence` FROM {} WHERE `sink` = {}",
            self.name(LANES),
            self.sink
        );
        let lanes = session.connection().query(&lanes)?.rows.iter().map(lane).collect::<Result<_, _>>()?;
        let chunks = format!(
            "SELECT `source`, `snapshot`, `run`, `number`, `rows` FROM {} WHERE `sink` = {}",
            self.name(CHUNKS),
            self.sink
        );
        let chunks = session.connection().query(&chunks)?.rows.iter().map(chunk).collect::<Result<_, _>>()?;
        Ok(Applied { lanes, chunks, over: Vec::new() })
    }

    /// Writes what changed, within the transaction that is open.
    pub(super) fn write(&self, session: &mut Session, applied: &Applied) -> Result<(), WireError> {
        if !applied.lanes.is_empty() {
            let rows: Vec<String> = applied.lanes.iter().map(|lane| self.lane_row(lane, "")).collect();
            let sql = format!(
                "INSERT INTO {} (`sink`, `source`, `epoch`, `topic`, `lane`, `sequence`) VALUES {}{}",
                self.name(LANES),
                rows.join(","),
                replacing(session, &["epoch", "sequence"])
            );
            session.run(sql.as_bytes())?;
        }
        if !applied.chunks.is_empty() {
            self.write_chunks(session, &applied.chunks)?;
        }
        for over in &applied.over {
            let sql = format!(
                "DELETE FROM {} WHERE `sink` = {} AND `source` = {} AND `snapshot` = {} AND `run` < {}",
                self.name(CHUNKS),
                self.sink,
                bytes(&over.source),
                bytes(&over.snapshot),
                over.run
            );
            session.run(sql.as_bytes())?;
        }
        Ok(())
    }

    /// A statement a few chunks: their rows can take much room.
    fn write_chunks(&self, session: &mut Session, chunks: &[ChunkApplied]) -> Result<(), WireError> {
        const CHUNKS_MAX: usize = 16;
        let replacing = replacing(session, &["rows"]);
        for some in chunks.chunks(CHUNKS_MAX) {
            let mut sql = format!(
                "INSERT INTO {} (`sink`, `source`, `snapshot`, `run`, `number`, `rows`) VALUES ",
                self.name(CHUNKS)
            )
            .into_bytes();
            for (index, chunk) in some.iter().enumerate() {
                let comma = if index > 0 { "," } else { "" };
                let (source, snapshot) = (bytes(&chunk.source), bytes(&chunk.snapshot));
                let row =
                    format!("{comma}({},{source},{snapshot},{},{},", self.sink, chunk.run, chunk.number);
                sql.extend_from_slice(row.as_bytes());
                sql::bytes(&chunk.rows, &mut sql);
                sql.push(b')');
            }
            sql.extend_from_slice(replacing.as_bytes());
            session.run(&sql)?;
        }
        Ok(())
    }

    /// Announces that a table is about to be truncated, and what is applied once it is; within an open transaction.
    pub(super) fn begin_truncate(
        &self,
        session: &mut Session,
        table: &TableName,
        lanes: &[LaneApplied],
    ) -> Result<(), WireError> {
        let place = format!(",{},{}", bytes(&table.schema), bytes(&table.table));
        let rows: Vec<String> = lanes.iter().map(|lane| self.lane_row(lane, &place)).collect();
        let sql = format!(
            "INSERT INTO {} (`sink`, `source`, `epoch`, `topic`, `lane`, `sequence`, `schema`, `table`) VALUES {}",
            self.name(TRUNCATES),
            rows.join(",")
        );
        session.run(sql.as_bytes()).map(drop)
    }

    /// What was announced and is not known to be done.
    pub(super) fn begun_truncates(&self, session: &mut Session) -> Result<Vec<Begun>, WireError> {
        let sql = format!(
            "SELECT `source`, `topic`, `lane`, `epoch`, `sequence`, `schema`, `table` FROM {} WHERE `sink` = {}",
            self.name(TRUNCATES),
            self.sink
        );
        let begun = |row: &Row| {
            let table = TableName { schema: text(row, 5), table: text(row, 6) };
            Ok(Begun { table, lane: lane(row)? })
        };
        session.connection().query(&sql)?.rows.iter().map(begun).collect()
    }

    /// Forgets the announcements; within the transaction that records what they said.
    pub(super) fn end_truncates(&self, session: &mut Session) -> Result<(), WireError> {
        let sql = format!("DELETE FROM {} WHERE `sink` = {}", self.name(TRUNCATES), self.sink);
        session.run(sql.as_bytes()).map(drop)
    }

    fn lane_row(&self, lane: &LaneApplied, more: &str) -> String {
        let (source, topic) = (bytes(&lane.source), bytes(&lane.topic));
        format!("({},{source},{},{topic},{},{}{more})", self.sink, lane.epoch, lane.lane, lane.sequence)
    }
}

/// The end of an INSERT that replaces what is there.
fn replacing(session: &Session, columns: &[&str]) -> String {
    let (alias, each): (_, fn(&str) -> String) = if session.names_new_row() {
        (" AS `new`", |name| format!("`{name}`=`new`.`{name}`"))
    } else {
        ("", |name| format!("`{name}`=VALUES(`{name}`)"))
    };
    let list: Vec<String> = columns.iter().map(|name| each(name)).collect();
    format!("{alias} ON DUPLICATE KEY UPDATE {}", list.join(","))
}

fn bytes(text: &str) -> String {
    let mut out = Vec::new();
    sql::bytes(text.as_bytes(), &mut out);
    String::from_utf8(out).expect("hexadecimal digits")
}

pub(super) fn lane(row: &Row) -> Result<LaneApplied, WireError> {
    let number = |index| number(row, index);
    let lane = u16::try_from(number(2)?).map_err(|_| damaged(row))?;
    let (source, topic) = (Arc::from(text(row, 0)), Arc::from(text(row, 1)));
    Ok(LaneApplied { source, topic, lane, epoch: number(3)?, sequence: number(4)? })
}

fn chunk(row: &Row) -> Result<ChunkApplied, WireError> {
    Ok(ChunkApplied {
        source: Arc::from(text(row, 0)),
        snapshot: Arc::from(text(row, 1)),
        run: number(row, 2)?,
        number: number(row, 3)?,
        rows: row.get(4).cloned().flatten().unwrap_or_default(),
    })
}

fn number(row: &Row, index: usize) -> Result<u64, WireError> {
    text(row, index).parse().map_err(|_| damaged(row))
}

fn damaged(row: &Row) -> WireError {
    let fields: Vec<String> = (0..row.len()).map(|index| text(row, index)).collect();
    WireError::Protocol(format!("a row of flowd_applied that is none: {}", fields.join(", ")))
}
