//! What is applied, kept in the target: one row a lane and one a chunk, written in the transaction of the data.
//!
//! `flowd_applied` holds lanes, `flowd_applied_chunks` chunks of snapshots. Every row says whose it is, so that several
//! sinks can share a schema.

use std::sync::Arc;

use flowd_engine::failure::Failure;
use flowd_sink::rows::mapping::TableName;
use flowd_sink::store::{Applied, ChunkApplied, LaneApplied, Standing};
use tokio_postgres::Row;

use crate::fault::Fault;
use crate::session::{Call, Session, text};
use crate::sql;
use crate::texts::Texts;
use crate::value::Written;

const LANES: &str = "flowd_applied";
const CHUNKS: &str = "flowd_applied_chunks";

/// Name and columns of each. Numbers are unsigned and have 64 bits, which `bigint` has not.
const TABLES: [(&str, &str); 2] = [
    (
        LANES,
        "sink text NOT NULL, source text NOT NULL, epoch numeric(20) NOT NULL, topic text NOT NULL, lane integer NOT NULL, \
         sequence numeric(20) NOT NULL, updated timestamptz(3) NOT NULL DEFAULT now(), \
         PRIMARY KEY (sink, source, topic, lane)",
    ),
    (
        CHUNKS,
        "sink text NOT NULL, source text NOT NULL, snapshot text NOT NULL, run numeric(20) NOT NULL, \
         number numeric(20) NOT NULL, rows bytea NOT NULL, PRIMARY KEY (sink, source, snapshot, run, number)",
    ),
];

/// Writes and reads the record of one sink.
#[derive(Debug)]
pub(crate) struct Record {
    schema: String,
    sink: String,
}

impl Record {
    pub(crate) fn new(schema: &str, connector_name: &str) -> Self {
        Self { schema: schema.to_owned(), sink: connector_name.to_owned() }
    }

    fn name(&self, table: &str) -> String {
        sql::table(&TableName { schema: self.schema.clone(), table: table.to_owned() })
    }

    /// Whether the table of lanes is there.
    fn is_there(&self, session: &mut Session, table: &str) -> Result<bool, Fault> {
        let sql = "SELECT (to_regclass($1) IS NOT NULL)::text";
        Ok(session.query(sql, &[&self.name(table)])?.first().is_some_and(|row| text(row, 0) == "true"))
    }

    /// Creates the tables that are not there.
    pub(crate) fn create(&self, session: &mut Session) -> Result<(), Failure> {
        for (name, columns) in TABLES {
            let created = self.is_there(session, name).and_then(|is_there| match is_there {
                true => Ok(()),
                // Rows are rewritten with every put: room in their page keeps the index out of it.
                false => session.run(&format!(
                    "CREATE TABLE IF NOT EXISTS {} ({columns}) WITH (fillfactor = 50)",
                    self.name(name)
                )),
            });
            created.map_err(|fault| {
                fault.into_failure().context(&format!(
                    "the tables flowd_applied* in the schema {} (it must be there, and the role needs USAGE and CREATE on it)",
                    self.schema
                ))
            })?;
        }
        Ok(())
    }

    /// All that is recorded.
    pub(crate) fn load(&self, session: &mut Session) -> Result<Applied, Fault> {
        let lanes = format!(
            "SELECT source, topic, lane::text, epoch::text, sequence::text FROM {} WHERE sink = $1",
            self.name(LANES)
        );
        let lanes = session.query(&lanes, &[&self.sink])?.iter().map(lane).collect::<Result<_, _>>()?;
        let chunks = format!(
            "SELECT source, snapshot, run::text, number::text, rows FROM {} WHERE sink = $1",
            self.name(CHUNKS)
        );
        let chunks = session.query(&chunks, &[&self.sink])?.iter().map(chunk).collect::<Result<_, _>>()?;
        Ok(Applied { lanes, chunks, over: Vec::new() })
    }

    /// How far each lane is, and since when; nothing where the sink never ran.
    pub(crate) fn standing(&self, session: &mut Session) -> Result<Vec<Standing>, Fault> {
        if !self.is_there(session, LANES)? {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT source, topic, lane::text, epoch::text, sequence::text, \
             to_char(updated AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS') FROM {} WHERE sink = $1 \
             ORDER BY source COLLATE \"C\", topic COLLATE \"C\", lane",
            self.name(LANES)
        );
        let standing = |row: &Row| Ok(Standing { lane: lane(row)?, updated: text(row, 5).to_owned() });
        session.query(&sql, &[&self.sink])?.iter().map(standing).collect()
    }

    /// The statements that write what changed, for within the transaction that is open.
    pub(crate) fn calls(&self, session: &mut Session, applied: &Applied) -> Result<Vec<Call>, Fault> {
        let mut calls = Vec::new();
        if !applied.lanes.is_empty() {
            calls.push(self.lanes(session, &applied.lanes)?);
        }
        if !applied.chunks.is_empty() {
            calls.push(self.chunks(session, &applied.chunks)?);
        }
        if !applied.over.is_empty() {
            let sql = format!(
                "DELETE FROM {} AS t USING unnest($2::text[],$3::text[],$4::text[]) AS n(source,snapshot,run) \
                 WHERE t.sink = ($1::text[])[1] AND t.source = n.source AND t.snapshot = n.snapshot AND t.run < n.run::numeric",
                self.name(CHUNKS)
            );
            let params = [
                Texts::of(&self.sink),
                applied.over.iter().map(|over| &over.source).collect(),
                applied.over.iter().map(|over| &over.snapshot).collect(),
                applied.over.iter().map(|over| over.run.to_string()).collect(),
            ];
            calls.push(Call { statement: session.prepare(&sql)?, params: params.into() });
        }
        Ok(calls)
    }

    fn lanes(&self, session: &mut Session, lanes: &[LaneApplied]) -> Result<Call, Fault> {
        let sql = format!(
            "INSERT INTO {} (sink, source, topic, lane, epoch, sequence) \
             SELECT ($1::text[])[1], n.source, n.topic, n.lane::integer, n.epoch::numeric, n.sequence::numeric \
             FROM unnest($2::text[],$3::text[],$4::text[],$5::text[],$6::text[]) AS n(source,topic,lane,epoch,sequence) \
             ON CONFLICT (sink, source, topic, lane) \
             DO UPDATE SET epoch = EXCLUDED.epoch, sequence = EXCLUDED.sequence, updated = now()",
            self.name(LANES)
        );
        let params = [
            Texts::of(&self.sink),
            lanes.iter().map(|lane| &lane.source).collect(),
            lanes.iter().map(|lane| &lane.topic).collect(),
            lanes.iter().map(|lane| lane.lane.to_string()).collect(),
            lanes.iter().map(|lane| lane.epoch.to_string()).collect(),
            lanes.iter().map(|lane| lane.sequence.to_string()).collect(),
        ];
        Ok(Call { statement: session.prepare(&sql)?, params: params.into() })
    }

    fn chunks(&self, session: &mut Session, chunks: &[ChunkApplied]) -> Result<Call, Fault> {
        let sql = format!(
            "INSERT INTO {} (sink, source, snapshot, run, number, rows) \
             SELECT ($1::text[])[1], n.source, n.snapshot, n.run::numeric, n.number::numeric, n.rows::bytea \
             FROM unnest($2::text[],$3::text[],$4::text[],$5::text[],$6::text[]) AS n(source,snapshot,run,number,rows) \
             ON CONFLICT (sink, source, snapshot, run, number) DO UPDATE SET rows = EXCLUDED.rows",
            self.name(CHUNKS)
        );
        let mut rows = Texts::default();
        for chunk in chunks {
            let write = |out: &mut Vec<u8>| {
                crate::value::write_bytes(&chunk.rows, out);
                Ok(Written::Text)
            };
            rows.push(write).expect("the rows of a chunk are bounded");
        }
        let params = [
            Texts::of(&self.sink),
            chunks.iter().map(|chunk| &chunk.source).collect(),
            chunks.iter().map(|chunk| &chunk.snapshot).collect(),
            chunks.iter().map(|chunk| chunk.run.to_string()).collect(),
            chunks.iter().map(|chunk| chunk.number.to_string()).collect(),
            rows,
        ];
        Ok(Call { statement: session.prepare(&sql)?, params: params.into() })
    }
}

fn lane(row: &Row) -> Result<LaneApplied, Fault> {
    let lane = text(row, 2).parse().map_err(|_| damaged(row))?;
    let (source, topic) = (Arc::from(text(row, 0)), Arc::from(text(row, 1)));
    Ok(LaneApplied { source, topic, lane, epoch: number(row, 3)?, sequence: number(row, 4)? })
}

fn chunk(row: &Row) -> Result<ChunkApplied, Fault> {
    Ok(ChunkApplied {
        source: Arc::from(text(row, 0)),
        snapshot: Arc::from(text(row, 1)),
        run: number(row, 2)?,
        number: number(row, 3)?,
        rows: row.try_get(4).map_err(|_| damaged(row))?,
    })
}

fn number(row: &Row, index: usize) -> Result<u64, Fault> {
    text(row, index).parse().map_err(|_| damaged(row))
}

fn damaged(row: &Row) -> Fault {
    let fields: Vec<&str> = (0..row.len()).map(|index| text(row, index)).collect();
    Fault::Refused(format!("a row of flowd_applied that is none: {}", fields.join(", ")))
}
