//! The backlogs: what is written into the binlog, and what must therefore arrive.
//!
//! Every change carries a number that only it has, counted up from 1, so that count and sum say whether all arrived.
//! Of W4, where the rows are still in the table, the server also gives a checksum of their texts.

use std::collections::HashSet;
use std::io::BufRead;

use clap::ValueEnum;
use serde::Deserialize;

use crate::Failure;
use crate::database::Database;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// One transaction of rows of 22 columns.
    #[value(name = "W4")]
    W4,
    /// Updates of one indexed integer, each its own transaction.
    #[value(name = "W2")]
    W2,
    /// Inserts, updates and deletes, 20/60/20, over ten tables, each its own transaction.
    #[value(name = "W6")]
    W6,
}

/// What was written.
pub(crate) struct Backlog {
    pub(crate) topics: Vec<String>,
    pub(crate) binlog_bytes: u64,
    pub(crate) expected: Arrived,
}

/// What arrived, or must arrive: distinct events, the sum of their numbers, and of the checksums of W4's rows.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) events: u64,
    pub(crate) numbers: u128,
    pub(crate) rows_crc: u128,
}

impl Workload {
    /// Writes the backlog of `rows` (of W4; the others a tenth).
    pub(crate) fn write(self, database: &Database, rows: u64) -> Result<Backlog, Failure> {
        let (topics, expected) = match self {
            Self::W4 => wide(database, rows)?,
            Self::W2 => updates(database, rows / 10)?,
            Self::W6 => mixed(database, rows / 10)?,
        };
        Ok(Backlog { topics, binlog_bytes: binlog_bytes(database)?, expected })
    }
}

/// Bytes of all binlog files.
fn binlog_bytes(database: &Database) -> Result<u64, Failure> {
    let mut bytes = 0;
    for line in database.sql("SHOW BINARY LOGS")?.lines() {
        bytes += line.split('\t').nth(1).ok_or("SHOW BINARY LOGS has no size")?.parse::<u64>()?;
    }
    Ok(bytes)
}

fn upto(count: u64) -> u128 {
    u128::from(count) * (u128::from(count) + 1) / 2
}

const WIDE: &str = "CREATE TABLE test.users (id INT PRIMARY KEY, username VARCHAR(50) NOT NULL, email VARCHAR(100) NOT NULL UNIQUE,
    first_name VARCHAR(50), last_name VARCHAR(50), phone VARCHAR(20), street VARCHAR(100), city VARCHAR(50), state VARCHAR(50),
    zip_code VARCHAR(10), country VARCHAR(50), status ENUM('active','inactive','pending'),
    subscription ENUM('free','basic','premium','enterprise'), last_login DATETIME, created_at DATETIME NOT NULL, age INT,
    notifications BOOLEAN, newsletter BOOLEAN, theme ENUM('light','dark','auto'), last_updated DATETIME,
    device ENUM('mobile','desktop','tablet'), browser ENUM('Chrome','Firefox','Safari','Edge'))";

/// The columns that the checksum covers, with what stands between them.
const CHECKED: &str = "CONCAT_WS('|', id, email, street, zip_code, subscription, DATE_FORMAT(last_login, '%Y-%m-%dT%H:%i:%s'), age)";

fn wide(database: &Database, rows: u64) -> Result<(Vec<String>, Arrived), Failure> {
    let digit = "(SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5 \
        UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)";
    let places = rows.max(10).to_string().len();
    let from: Vec<String> = (0..places).map(|place| format!("{digit} p{place}")).collect();
    let number: Vec<String> = (0..places)
        .map(|place| format!("p{place}.d * {}", 10_u64.pow(u32::try_from(place).unwrap_or(0))))
        .collect();
    let numbers = format!("SELECT 1 + {} AS n FROM {}", number.join(" + "), from.join(", "));
    database.sql(&format!(
        "SET sql_log_bin = 0; CREATE DATABASE test; {WIDE}; CREATE TABLE test.numbers (n INT PRIMARY KEY);
         INSERT INTO test.numbers SELECT n FROM ({numbers}) s WHERE n <= {rows}; SET sql_log_bin = 1;
         INSERT INTO test.users SELECT n, CONCAT('user', n), CONCAT('user', n, '@example.com'), 'Johanna', 'Doe', CONCAT('+1555', n % 99999),
             CONCAT(n % 999, ' Main Street'), 'New York', 'NY', LPAD(n % 99999, 5, '0'), 'USA', 1 + n % 3, 1 + n % 4,
             '2026-01-01' + INTERVAL n SECOND, '2025-01-01' + INTERVAL n % 31536000 SECOND, 20 + n % 50, n % 2, 1 - n % 2, 1 + n % 3,
             '2026-02-01 12:00:00', 1 + n % 3, 1 + n % 4 FROM test.numbers"
    ))?;
    let sums = database.sql(&format!("SELECT COUNT(*), SUM(id), SUM(CRC32({CHECKED})) FROM test.users"))?;
    let [events, numbers, rows_crc] = sums.trim().split('\t').collect::<Vec<_>>()[..] else {
        return Err(format!("three sums expected: {sums}").into());
    };
    let expected =
        Arrived { events: events.parse()?, numbers: numbers.parse()?, rows_crc: rows_crc.parse()? };
    Ok((vec!["test.users".to_owned()], expected))
}

fn updates(database: &Database, count: u64) -> Result<(Vec<String>, Arrived), Failure> {
    database.sql(&format!(
        "SET sql_log_bin = 0; CREATE DATABASE test; CREATE TABLE test.sb (id INT PRIMARY KEY, k INT NOT NULL, c CHAR(120) NOT NULL, pad CHAR(60) NOT NULL, KEY (k));
         BEGIN; {}; COMMIT; SET sql_log_bin = 1",
        fill(1000)
    ))?;
    repeat(database, &["UPDATE test.sb SET k = n WHERE id = 1 + n % 1000".to_owned()], count)?;
    Ok((vec!["test.sb".to_owned()], Arrived { events: count, numbers: upto(count), rows_crc: 0 }))
}

fn fill(rows: u64) -> String {
    let values: Vec<String> =
        (1..=rows).map(|id| format!("({id}, 0, REPEAT('c', 119), REPEAT('p', 59))")).collect();
    format!("INSERT INTO test.sb VALUES {}", values.join(","))
}

/// `n` runs over rounds of 50 changes: 10 inserts, 30 updates, 10 deletes.
fn mixed(database: &Database, count: u64) -> Result<(Vec<String>, Arrived), Failure> {
    let tables: Vec<String> = (0..10).map(|table| format!("test.t{table}")).collect();
    let create: Vec<String> = tables.iter().map(|table| format!("CREATE TABLE {table} (id INT PRIMARY KEY, k INT, c CHAR(120), pad CHAR(60), ts TIMESTAMP(3) NULL)")).collect();
    database.sql(&format!("SET sql_log_bin = 0; CREATE DATABASE test; {}", create.join("; ")))?;
    let mut statements = Vec::new();
    let mut number = 0;
    for table in &tables {
        number += 1;
        statements.push(format!("INSERT INTO {table} VALUES (n, (n - 1) * 40 + {number}, REPEAT('c', 100), REPEAT('p', 50), NOW(3))"));
        for _ in 0..3 {
            number += 1;
            statements.push(format!(
                "UPDATE {table} SET k = (n - 1) * 40 + {number}, c = CONCAT('u', k) WHERE id = n"
            ));
        }
        statements.push(format!("DELETE FROM {table} WHERE id = n"));
    }
    let rounds = (count / 50).max(1);
    repeat(database, &statements, rounds)?;
    // A delete carries the number of the last update before it once more: every fourth number, in each table.
    let deleted: u128 =
        (0..rounds).flat_map(|round| (1..=10).map(move |table| u128::from(round * 40 + table * 4))).sum();
    Ok((tables, Arrived { events: rounds * 50, numbers: upto(rounds * 40) + deleted, rows_crc: 0 }))
}

/// Runs the statements `count` times, each its own transaction, `n` counting from 1. The procedure is not logged, its
/// changes are.
fn repeat(database: &Database, statements: &[String], count: u64) -> Result<(), Failure> {
    database.sql(&format!(
        "DELIMITER //\nSET sql_log_bin = 0//\nCREATE PROCEDURE test.fill() BEGIN DECLARE n INT DEFAULT 1; WHILE n <= {count} DO {}; SET n = n + 1; END WHILE; END//\nSET sql_log_bin = 1//\nCALL test.fill()//",
        statements.join("; ")
    ))?;
    Ok(())
}

#[derive(Deserialize)]
struct Event {
    id: String,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    before: Option<Row>,
    after: Option<Row>,
}

/// The columns that carry a change's number, and those of the checksum.
#[derive(Deserialize)]
struct Row {
    id: u64,
    k: Option<u64>,
    email: Option<String>,
    street: Option<String>,
    zip_code: Option<String>,
    subscription: Option<String>,
    last_login: Option<String>,
    age: Option<u32>,
}

impl Row {
    fn checked(&self) -> Option<String> {
        let Self { id, email, street, zip_code, subscription, last_login, age, .. } = self;
        let age = age.as_ref()?;
        let texts =
            [email, street, zip_code, subscription, last_login].map(|text| text.as_deref().unwrap_or("-"));
        Some(format!("{id}|{}|{age}", texts.join("|")))
    }
}

/// Counts events as they are read, each id once.
#[derive(Default)]
pub(crate) struct Counter {
    seen: HashSet<u64>,
    pub(crate) arrived: Arrived,
    /// The `drop` target's checksum of the ids.
    pub(crate) ids: u64,
}

impl Counter {
    /// Reads lines until the end, or until `events` different events were seen.
    pub(crate) fn read(&mut self, mut lines: impl BufRead, events: u64) -> Result<(), Failure> {
        let mut line = String::new();
        while self.arrived.events < events && lines.read_line(&mut line)? > 0 {
            self.add(&line)?;
            line.clear();
        }
        Ok(())
    }

    fn add(&mut self, line: &str) -> Result<(), Failure> {
        let event: Event = serde_json::from_str(line)?;
        let hash = flowd_mesh::drop::id_checksum(event.id.as_bytes());
        if !self.seen.insert(hash) {
            return Ok(());
        }
        let row = event.data.after.or(event.data.before).ok_or("an event without row")?;
        self.ids = self.ids.wrapping_add(hash);
        self.arrived.events += 1;
        self.arrived.numbers += u128::from(row.k.unwrap_or(row.id));
        self.arrived.rows_crc += row.checked().map_or(0, |text| u128::from(crc32fast::hash(text.as_bytes())));
        Ok(())
    }
}
