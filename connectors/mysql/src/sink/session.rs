//! A session with the target: as it must be for values to arrive exactly, and the lock of the one sink of a name.
//!
//! Invariant: while a session lives it holds the lock; where it is lost, the lock is, and both are taken anew.

use std::time::Duration;

use flowd_engine::failure::Failure;
use sha2::{Digest, Sha256};

use crate::connection::Connection;
use crate::error::WireError;
use crate::query::{literal, server_error, text};
use crate::sink::config::MySqlSinkConfig;

/// Ranges and lengths are errors, not clipped; dates are taken as the source has them, zero or impossible ones too; 0 is 0
/// in an AUTO_INCREMENT column.
const STRICT: &str =
    "STRICT_TRANS_TABLES,STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION";
/// The same for what a strict session refuses although a source can hold it: the empty value of an ENUM.
const LOOSE: &str = "NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION";
/// The server's longest lock name, characters.
const LOCK_CHARS_MAX: usize = 64;
/// A process that was just killed may still run its last statement: so long its successor waits for the lock, seconds.
const LOCK_WAIT: u32 = 3;
/// How long a connection of ours that was given up may take to end once it was killed, seconds.
const OWN_LOCK_WAIT: u32 = 10;
/// How long the server may take for a statement: triggers and many rows can be slow. That a peer vanished is noticed
/// earlier, by keep-alive; a wait for somebody's lock ends earlier, by the session's settings.
const STATEMENT_WAIT: Duration = Duration::from_secs(300);
/// Kept free of a packet for what stands around the rows, bytes.
const PACKET_REST: usize = 4096;

const COM_QUERY: u8 = 3;

/// How a statement without rows went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Done {
    /// Rows that were changed; those of an UPDATE that changes nothing are not counted.
    pub(super) affected: u64,
    /// How many warnings it left.
    pub(super) warnings: u16,
}

/// What SHOW WARNINGS says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Warning {
    pub(super) code: u16,
    pub(super) message: String,
}

/// How the server takes values that do not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strictness {
    Strict,
    Loose,
}

/// A logged-in session that holds the lock.
#[derive(Debug)]
pub(super) struct Session {
    connection: Connection,
    lock: String,
    command: Vec<u8>,
    /// The longest statement that the server takes, bytes.
    pub(super) statement_bytes_max: usize,
}

impl Session {
    /// Connects, and takes the lock. `lost` is the number of a connection that was ours before: if it still has the lock,
    /// it is ended.
    pub(super) fn open(config: &MySqlSinkConfig, lost: Option<u32>) -> Result<Self, Failure> {
        let connection = Connection::connect(&config.server)?;
        let lock = lock_name(config.connector_name());
        let mut session = Self { connection, lock, command: Vec::new(), statement_bytes_max: 0 };
        session.settle().map_err(|error| error.into_failure(&config.server.address()))?;
        session.take_lock(config, lost)?;
        Ok(session)
    }

    fn settle(&mut self) -> Result<(), WireError> {
        self.connection.answer().stream().set_read_timeout(Some(STATEMENT_WAIT))?;
        self.connection.execute("SET NAMES utf8mb4")?;
        self.connection.execute(
            "SET SESSION time_zone = '+00:00', foreign_key_checks = 0, unique_checks = 1, sql_safe_updates = 0, \
             sql_notes = 1, wait_timeout = 31536000, autocommit = 0",
        )?;
        self.set_strictness(Strictness::Strict)?;
        let bytes = self.connection.query_text("SELECT @@max_allowed_packet")?;
        let bytes: usize = bytes.and_then(|bytes| bytes.parse().ok()).unwrap_or(1 << 20);
        self.statement_bytes_max = bytes.saturating_sub(PACKET_REST);
        Ok(())
    }

    fn take_lock(&mut self, config: &MySqlSinkConfig, lost: Option<u32>) -> Result<(), Failure> {
        let failed =
            |error: WireError| error.into_failure(&format!("GET_LOCK at {}", config.server.address()));
        if self.locks(0).map_err(failed)? {
            return Ok(());
        }
        let holder = self.lock_holder().map_err(failed)?;
        if holder.is_some() && holder == lost.map(u64::from) {
            self.kill(holder.unwrap_or_default()).map_err(failed)?;
            if self.locks(OWN_LOCK_WAIT).map_err(failed)? {
                return Ok(());
            }
            return Err(Failure::Retry(format!(
                "{}: a lost connection of ours still holds the lock {}",
                config.server.address(),
                self.lock
            )));
        }
        if self.locks(LOCK_WAIT).map_err(failed)? {
            return Ok(());
        }
        let holder = holder.map_or_else(|| "another connection".into(), |id| format!("connection {id}"));
        Err(Failure::Unusable(format!(
            "{}: {holder} holds the lock {}: another sink with the connectorName {} is running; stop it, or give this one \
             another name (and another group)",
            config.server.address(),
            self.lock,
            config.connector_name()
        )))
    }

    fn locks(&mut self, wait: u32) -> Result<bool, WireError> {
        let sql = format!("SELECT GET_LOCK({}, {wait})", literal(&self.lock));
        Ok(self.connection.query_text(&sql)?.as_deref() == Some("1"))
    }

    fn lock_holder(&mut self) -> Result<Option<u64>, WireError> {
        let sql = format!("SELECT IS_USED_LOCK({})", literal(&self.lock));
        Ok(self.connection.query_text(&sql)?.and_then(|id| id.parse().ok()))
    }

    fn kill(&mut self, id: u64) -> Result<(), WireError> {
        const ER_NO_SUCH_THREAD: u16 = 1094;
        match self.connection.execute(&format!("KILL {id}")) {
            Err(error) if error.code() == Some(ER_NO_SUCH_THREAD) => Ok(()),
            result => result,
        }
    }

    /// For control queries.
    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// The server's number for this session.
    pub(super) fn id(&self) -> u32 {
        self.connection.server().connection_id
    }

    /// Whether the new row of an INSERT has a name (`AS new`); VALUES() warns there.
    pub(super) fn names_new_row(&self) -> bool {
        let server = self.connection.server();
        server.is_mysql() && server.version >= (8, 0, 19)
    }

    /// Runs a statement that gives no rows.
    pub(super) fn run(&mut self, sql: &[u8]) -> Result<Done, WireError> {
        self.command.clear();
        self.command.push(COM_QUERY);
        self.command.extend_from_slice(sql);
        let result = self.connection.begin_answer(&self.command).and_then(|answer| outcome(&answer.read()?));
        self.connection.end_answer(result)
    }

    /// Sends statements that stand one behind the other, each up to its end, before any answer is read; gives the answers.
    /// The caller sees to it that they are few enough for the answers to find room on their way. A statement that fails
    /// does not keep those behind it from running; without autocommit nothing of them stays unless it is committed.
    pub(super) fn run_all(
        &mut self,
        statements: &[u8],
        ends: &[usize],
    ) -> Result<Vec<Result<Done, WireError>>, WireError> {
        let starts = std::iter::once(0).chain(ends.iter().copied());
        for (start, &end) in starts.zip(ends) {
            self.command.clear();
            self.command.push(COM_QUERY);
            self.command.extend_from_slice(&statements[start..end]);
            self.connection.send_ahead(&self.command)?;
        }
        let mut answers = Vec::with_capacity(ends.len());
        for _ in ends {
            match self.connection.next_answer().and_then(|packet| outcome(&packet)) {
                answer @ (Ok(_) | Err(WireError::Server { .. })) => answers.push(answer),
                Err(error) => return Err(error),
            }
        }
        self.connection.end_answer(Ok(answers))
    }

    /// Runs a statement that may take as long as `wait`.
    pub(super) fn run_long(&mut self, sql: &[u8], wait: Duration) -> Result<Done, WireError> {
        self.connection.answer().stream().set_read_timeout(Some(wait))?;
        let result = self.run(sql);
        self.connection.answer().stream().set_read_timeout(Some(STATEMENT_WAIT))?;
        result
    }

    /// What the last statement left.
    pub(super) fn warnings(&mut self) -> Result<Vec<Warning>, WireError> {
        let result = self.connection.query("SHOW WARNINGS")?;
        let warning = |row| Warning { code: text(row, 1).parse().unwrap_or(0), message: text(row, 2) };
        Ok(result.rows.iter().map(warning).collect())
    }

    pub(super) fn set_strictness(&mut self, strictness: Strictness) -> Result<(), WireError> {
        let mode = match strictness {
            Strictness::Strict => STRICT,
            Strictness::Loose => LOOSE,
        };
        self.connection.execute(&format!("SET SESSION sql_mode = '{mode}'"))
    }

    /// Lets go of the lock and says goodbye.
    pub(super) fn close(mut self) {
        let sql = format!("DO RELEASE_LOCK({})", literal(&self.lock));
        if let Err(error) = self.connection.execute(&sql) {
            tracing::debug!(%error, "the lock goes with the connection");
        }
        self.connection.close();
    }
}

fn outcome(packet: &[u8]) -> Result<Done, WireError> {
    match packet.first() {
        Some(0x00) => done(packet).ok_or_else(|| WireError::Protocol("an OK packet cut short".into())),
        Some(0xff) => Err(server_error(packet)),
        _ => Err(WireError::Protocol("rows where a statement gives none".into())),
    }
}

/// Affected rows, the last number given out, status, warnings (Protocol manual, "OK_Packet").
fn done(packet: &[u8]) -> Option<Done> {
    let (affected, rest) = length_encoded(packet.get(1..)?)?;
    let (_, rest) = length_encoded(rest)?;
    let warnings = rest.get(2..4)?;
    Some(Done { affected, warnings: u16::from_le_bytes([warnings[0], warnings[1]]) })
}

fn length_encoded(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let width = match first {
        0..=250 => return Some((u64::from(*first), rest)),
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        _ => return None,
    };
    let (number, rest) = rest.split_at_checked(width)?;
    Some((number.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)), rest))
}

/// The name itself where it fits, so that an administrator sees it; else its head and a digest.
pub(super) fn lock_name(connector_name: &str) -> String {
    let name = format!("flowd.{connector_name}");
    if name.len() <= LOCK_CHARS_MAX {
        return name;
    }
    let digest: [u8; 32] = Sha256::digest(connector_name.as_bytes()).into();
    let digest: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}.{digest}", &name[..LOCK_CHARS_MAX - 1 - digest.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ok_packet_tells_rows_and_warnings_at_every_width() {
        type Told = Option<(u64, u16)>;
        let cases: [(&[u8], Told); 6] = [
            (&[0, 3, 0, 2, 0, 1, 0], Some((3, 1))),
            (&[0, 0xfc, 0, 1, 5, 2, 0, 0, 1, b'i'], Some((256, 256))),
            (&[0, 0xfd, 1, 0, 1, 0xfc, 9, 9, 2, 0, 0, 0], Some((65_537, 0))),
            (&[0, 0xfe, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0], Some((1, 0))),
            (&[0, 3, 0, 2, 0, 1], None),
            (&[0, 0xff, 0, 2, 0, 1, 0], None),
        ];
        for (packet, expected) in cases {
            let found = done(packet).map(|done| (done.affected, done.warnings));
            assert_eq!(found, expected, "{packet:?}");
        }
    }

    #[test]
    fn lock_names_fit_and_differ() {
        assert_eq!(lock_name("orders"), "flowd.orders");
        let (long, other) = ("x".repeat(63) + "a", "x".repeat(63) + "b");
        assert_eq!(lock_name(&long).len(), LOCK_CHARS_MAX);
        assert_ne!(lock_name(&long), lock_name(&other));
    }
}
