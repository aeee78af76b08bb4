//! The ceiling that perf/snapshot prints beside flowd: the same table over the same kind of connection and protocol, read
//! by the same reader, which only frames the rows and throws them away.
//!
//! `select HOST PORT USER PASSWORD SSL_MODE SCHEMA.TABLE` prints `ROWS BYTES`.

// The two numbers are this program's answer.
#![allow(clippy::print_stdout, missing_docs)]

use std::error::Error;

use flowd_mysql::config::{MySqlConfig, MySqlSettings, Secret, SslMode};
use flowd_mysql::connection::Connection;
use flowd_mysql::statement::RowBounds;

/// As much as flowd's chunks have.
const BUFFER_BYTES: usize = 4 * 1024 * 1024;
const ROW_BYTES_MAX: usize = 1024 * 1024 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("usage: select HOST PORT USER PASSWORD SSL_MODE SCHEMA.TABLE");
    let (hostname, port, user) = (next()?, next()?.parse()?, next()?);
    let (password, ssl_mode) = (Secret::new(next()?), ssl_mode(&next()?)?);
    let table = next()?;
    let settings =
        MySqlSettings { port, password, ssl_mode, ..MySqlSettings::new("select".into(), hostname, user) };
    let mut connection = Connection::open(&MySqlConfig::try_from(settings)?)?;
    let statement = connection.prepare(&format!("SELECT * FROM {table}"))?;
    let mut reader = connection.execute_statement(&statement, &[])?;
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    let (mut rows, mut bytes) = (0_u64, 0_u64);
    loop {
        buffer.clear();
        let filled = reader.read(&mut buffer, BUFFER_BYTES, RowBounds::upto(ROW_BYTES_MAX))?;
        rows += u64::from(filled.rows);
        // Each row stands behind its length, four bytes.
        bytes += buffer.len() as u64 - 4 * u64::from(filled.rows);
        if filled.ended {
            break;
        }
    }
    println!("{rows} {bytes}");
    Ok(())
}

fn ssl_mode(name: &str) -> Result<SslMode, Box<dyn Error>> {
    match name {
        "disabled" => Ok(SslMode::Disabled),
        "preferred" => Ok(SslMode::Preferred),
        "required" => Ok(SslMode::Required),
        other => Err(format!("no SSL_MODE {other} here: disabled, preferred or required").into()),
    }
}
