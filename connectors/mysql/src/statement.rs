//! Prepared statements (Protocol manual, "Prepared Statements"): exact parameters, rows in the binary protocol, in bulk.
//!
//! Not here: what a row's bytes mean (`flowd_binlog::result`). Invariant: rows are handed on as the server sent them,
//! whole, each once.

use std::io::Read;

use flowd_binlog::result::KeyValue;

use crate::connection::Connection;
use crate::error::WireError;
use crate::packet::{Channel, PAYLOAD_BYTES_MAX};
use crate::query::{is_end, read_column_count, server_error};

mod parameters;
mod reader;

pub use reader::{Filled, RowBounds, RowReader, rows};

const COM_STMT_PREPARE: u8 = 0x16;
const COM_STMT_CLOSE: u8 = 0x19;

/// A statement that the server holds for this connection, until it is closed or the connection ends.
#[derive(Debug)]
pub struct Statement {
    id: u32,
    /// Of the connection that prepared it: numbers of statements mean nothing elsewhere.
    connection: u32,
    parameters: u16,
    columns: u16,
}

impl Statement {
    /// How many `?` it has.
    pub fn parameters(&self) -> u16 {
        self.parameters
    }

    /// How many columns its rows have; 0 where it gives none, and for an EXPLAIN of MySQL, which tells when it runs.
    pub fn columns(&self) -> u16 {
        self.columns
    }
}

impl Connection {
    /// Has the server prepare one statement. What it holds is limited (`max_prepared_stmt_count`): close what is not
    /// needed any more.
    pub fn prepare(&mut self, sql: &str) -> Result<Statement, WireError> {
        let connection = self.server().connection_id;
        let command = [&[COM_STMT_PREPARE], sql.as_bytes()].concat();
        let statement = read_prepared(self.begin_answer(&command)?, connection);
        self.end_answer(statement)
    }

    /// Frees a statement. The server does not answer.
    #[expect(clippy::needless_pass_by_value, reason = "there is no statement any more")]
    pub fn close_statement(&mut self, statement: Statement) -> Result<(), WireError> {
        let [a, b, c, d] = statement.id.to_le_bytes();
        self.send_command(&[COM_STMT_CLOSE, a, b, c, d])
    }

    /// Runs a statement of this connection, a parameter for each of its `?`, and reads the answer up to its first row.
    /// The rows must be read to their end: a reader that is dropped before leaves a connection that takes no command.
    ///
    /// # Panics
    /// Where the statement is another connection's or the number of parameters is not its own.
    pub fn execute_statement(
        &mut self,
        statement: &Statement,
        parameters: &[KeyValue],
    ) -> Result<RowReader<'_>, WireError> {
        assert_eq!(statement.connection, self.server().connection_id, "a statement of this connection");
        assert_eq!(usize::from(statement.parameters), parameters.len(), "a parameter for each ?");
        let command = parameters::execute(statement.id, parameters)?;
        let answer = self.begin_answer(&command)?;
        let opened = read_columns(answer, statement.columns);
        match opened {
            Ok(Rows::Follow) => Ok(RowReader::open(self)),
            other => self.end_answer(other.map(drop)).map(|()| RowReader::ended(self)),
        }
    }

    /// Prepares, runs and closes a statement; gives the payloads of its rows, together at most
    /// [`PAYLOAD_BYTES_MAX`] bytes.
    pub fn query_rows(&mut self, sql: &str, parameters: &[KeyValue]) -> Result<Vec<Vec<u8>>, WireError> {
        let statement = self.prepare(sql)?;
        let bytes = self.execute_statement(&statement, parameters).and_then(read_all);
        // The error that came first says more than that of a connection which it made useless.
        let closed = self.close_statement(statement);
        let bytes = bytes?;
        closed?;
        Ok(rows(&bytes).map(<[u8]>::to_vec).collect())
    }
}

fn read_all(mut reader: RowReader<'_>) -> Result<Vec<u8>, WireError> {
    let mut bytes = Vec::new();
    while bytes.len() <= PAYLOAD_BYTES_MAX {
        let filled = reader.read(&mut bytes, PAYLOAD_BYTES_MAX, RowBounds::upto(PAYLOAD_BYTES_MAX))?;
        if filled.oversize.is_some() {
            break;
        }
        if filled.ended {
            return Ok(bytes);
        }
    }
    Err(WireError::Protocol(format!("an answer of more than {PAYLOAD_BYTES_MAX} bytes")))
}

/// What follows the definitions of the columns.
#[derive(Debug, PartialEq, Eq)]
enum Rows {
    Follow,
    /// The statement gives none.
    None,
}

/// COM_STMT_PREPARE_OK, then a definition for each parameter and column, which tell nothing that we do not know.
fn read_prepared<S: Read>(channel: &mut Channel<S>, connection: u32) -> Result<Statement, WireError> {
    let packet = channel.read()?;
    let (id, columns, parameters) = match packet.as_slice() {
        [0xff, ..] => return Err(server_error(&packet)),
        [0, i0, i1, i2, i3, c0, c1, p0, p1, 0, ..] => (
            u32::from_le_bytes([*i0, *i1, *i2, *i3]),
            u16::from_le_bytes([*c0, *c1]),
            u16::from_le_bytes([*p0, *p1]),
        ),
        _ => return Err(WireError::Protocol("a statement prepared, cut short".into())),
    };
    for count in [parameters, columns] {
        if count > 0 {
            pass_definitions(channel, count.into())?;
        }
    }
    Ok(Statement { id, connection, parameters, columns })
}

/// The answer to COM_STMT_EXECUTE up to its first row. MySQL prepares an EXPLAIN without saying that it has columns.
fn read_columns<S: Read>(channel: &mut Channel<S>, columns: u16) -> Result<Rows, WireError> {
    let Some(count) = read_column_count(channel)? else { return Ok(Rows::None) };
    if count != u64::from(columns) && columns != 0 {
        let message = format!("rows of {count} columns where {columns} were prepared");
        return Err(WireError::Protocol(message));
    }
    pass_definitions(channel, count)?;
    Ok(Rows::Follow)
}

fn pass_definitions<S: Read>(channel: &mut Channel<S>, count: u64) -> Result<(), WireError> {
    for _ in 0..count {
        let length = channel.read_header()?;
        channel.pass(length)?;
    }
    let packet = channel.read()?;
    match packet.first() {
        _ if is_end(&packet) => Ok(()),
        Some(0xff) => Err(server_error(&packet)),
        _ => Err(WireError::Protocol("no end after the column definitions".into())),
    }
}

#[cfg(test)]
mod tests;
