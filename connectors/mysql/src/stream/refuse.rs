//! What stops the stream: events that cannot be read yet and may concern a captured table. Each message names the
//! event, the place and the setting that avoids it.

use flowd_binlog::event::{self, FLAG_IGNORABLE, Header, Query, kind};
use flowd_engine::failure::Failure;

use super::Stream;
use crate::captured::CapturedTable;
use crate::rows::Operation;

impl Stream {
    /// Every event that is neither bracket nor table map nor rows.
    pub(super) fn other(&mut self, header: &Header, body: &[u8]) -> Result<(), Failure> {
        let refused = match header.kind {
            kind::STOP
            | kind::INTVAR
            | kind::RAND
            | kind::BEGIN_LOAD_QUERY
            | kind::APPEND_BLOCK
            | kind::DELETE_FILE
            | kind::USER_VAR
            | kind::ROWS_QUERY
            | kind::PREVIOUS_GTIDS
            | kind::HEARTBEAT_V2
            | kind::MARIA_ANNOTATE_ROWS
            | kind::MARIA_BINLOG_CHECKPOINT
            | kind::MARIA_GTID_LIST
            | kind::MARIA_START_ENCRYPTION => None,
            kind::PARTIAL_UPDATE_ROWS => self.captured_rows(header, body)?.map(|table| {
                format!(
                    "{table} has a partial JSON update (PARTIAL_UPDATE_ROWS), which is not supported yet; \
                     SET GLOBAL binlog_row_value_options='' makes the server log whole values"
                )
            }),
            kind::MARIA_COMPRESSED_ROWS_FIRST..=kind::MARIA_COMPRESSED_ROWS_LAST => {
                self.captured_rows(header, body)?.map(|table| {
                    format!(
                        "{table} has a compressed row event (type {}), which is not supported yet; \
                         SET GLOBAL log_bin_compress=OFF makes the server log plain ones",
                        header.kind
                    )
                })
            }
            kind::TRANSACTION_PAYLOAD => Some(
                "a compressed transaction (TRANSACTION_PAYLOAD), which is not supported yet; \
                 SET GLOBAL binlog_transaction_compression=OFF makes the server log plain ones"
                    .to_owned(),
            ),
            kind::INCIDENT => Some(
                "an INCIDENT: the server says that changes may be missing from its binlog; compare the tables, then \
                 start behind it with --start-at and a new registry"
                    .to_owned(),
            ),
            other if header.flags & FLAG_IGNORABLE == 0 => {
                Some(format!("an event of type {other}, which this flowd does not know and must not skip"))
            }
            _ => None,
        };
        match refused {
            Some(text) => Err(self.fatal(header, &text)),
            None => {
                self.advance(header);
                Ok(())
            }
        }
    }

    /// LOAD DATA that was logged as its statement, behind the events that carry its file.
    pub(super) fn load_query(&mut self, header: &Header, body: &[u8]) -> Result<(), Failure> {
        let query = Query::parse_load(body).map_err(|bad| self.bad(&bad))?;
        self.open_implicitly(header);
        self.refuse_statement(header, &query)?;
        self.advance(header);
        Ok(())
    }

    /// The captured table that a ROWS-like event changes.
    fn captured_rows(&mut self, header: &Header, body: &[u8]) -> Result<Option<String>, Failure> {
        let table = self.tables.of_rows(body).map_err(|text| self.fatal(header, &text))?;
        Ok(table.map(|table| table.events.id_part.to_string()))
    }

    /// A change of rows that was logged as its statement: what it did to which rows cannot be known.
    pub(super) fn refuse_statement(&self, header: &Header, query: &Query<'_>) -> Result<(), Failure> {
        let schema = String::from_utf8_lossy(query.schema);
        let text: String = String::from_utf8_lossy(query.text).chars().take(120).collect();
        let mut named = event::qualifiers(query.text);
        named.append(&mut query.changed_schemas());
        let schemas = named.iter().map(String::as_str).chain([&*schema]);
        if !schemas.into_iter().any(|schema| self.filter.may_capture_schema(schema)) {
            return Ok(());
        }
        let message = format!(
            "a change in schema `{schema}` was logged as its statement, not as rows ({text}); \
             SET GLOBAL binlog_format=ROW makes the server log rows"
        );
        Err(self.fatal(header, &message))
    }

    pub(super) fn refuse_oversize(&self, header: &Header) -> Failure {
        let text = format!(
            "an event of type {} has {} bytes, more than a quarter of pipeline.memory; a larger pipeline.memory lets it through",
            header.kind, header.length
        );
        self.fatal(header, &text)
    }

    /// What a ROWS event does.
    pub(super) fn operation(&self, header: &Header, table: &CapturedTable) -> Result<Operation, Failure> {
        match header.kind {
            kind::WRITE_ROWS_V1 | kind::WRITE_ROWS_V2 => Ok(Operation::Create),
            kind::UPDATE_ROWS_V1 | kind::UPDATE_ROWS_V2 => Ok(Operation::Update),
            kind::DELETE_ROWS_V1 | kind::DELETE_ROWS_V2 => Ok(Operation::Delete),
            other => {
                Err(self
                    .fatal(header, &format!("{}: rows in an event of type {other}", table.events.id_part)))
            }
        }
    }
}
