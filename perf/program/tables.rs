//! The tables of `perf/snapshot`, made once and kept in the cache directory outside the checkout.
//!
//! Each workload has a full table and a smaller one of the same shape. What they hold is asked of the server when they
//! are made and kept beside them. Invariant: a datadir without that file was not finished and is made again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::database::{Database, script};
use crate::{Arguments, Failure};

/// Counted up whenever the tables' content changes: they are then made anew.
const RECIPE: u32 = 1;
/// Rows of one INSERT.
const STEP: u64 = 250_000;
/// The tables stay in memory: flowd is measured here, not the disk.
const SERVER_OPTIONS: &[&str] = &["--innodb-buffer-pool-size=4G", "--max-allowed-packet=64M"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// A shop's cart with 600 bytes a row.
    #[value(name = "W3")]
    W3,
    /// Four small columns.
    #[value(name = "narrow")]
    Narrow,
}

/// Which of a workload's two tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    Full,
    Part,
}

/// What is in a table: rows, the sum of their keys, the sum of the CRC-32 of their texts. Keys count up from 1.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Content {
    pub(crate) rows: u64,
    pub(crate) keys: u64,
    pub(crate) rows_crc: u64,
}

impl Workload {
    /// `schema.table`
    pub(crate) fn table(self, size: Size) -> &'static str {
        match (self, size) {
            (Self::W3, Size::Full) => "full.cart",
            (Self::W3, Size::Part) => "part.cart",
            (Self::Narrow, Size::Full) => "full.narrow",
            (Self::Narrow, Size::Part) => "part.narrow",
        }
    }

    fn columns(self) -> &'static str {
        match self {
            Self::W3 => {
                "id INT PRIMARY KEY, user_id INT NOT NULL, product_id INT NOT NULL, quantity INT NOT NULL DEFAULT 1,
                 price DECIMAL(10,2) NOT NULL DEFAULT 0, info TEXT NOT NULL"
            }
            Self::Narrow => "id BIGINT PRIMARY KEY, amount INT, name VARCHAR(20), at DATETIME",
        }
    }

    /// The values of row `n`.
    fn values(self) -> &'static str {
        match self {
            Self::W3 => {
                "n, n % 10000 + 1, n % 1000 + 1, n % 10 + 1, n % 1000 + 0.99, REPEAT(CONCAT('cart ', n, ' '), 45)"
            }
            Self::Narrow => {
                "n, n * 7919 % 1000003 - 500000, CONCAT('customer ', n), '2026-01-01' + INTERVAL n SECOND"
            }
        }
    }

    /// A row as one text; [`crate::cargo`] writes the same from an event.
    fn text(self) -> &'static str {
        match self {
            Self::W3 => "CONCAT_WS('|', id, user_id, product_id, quantity, price, info)",
            Self::Narrow => "CONCAT_WS('|', id, amount, name, DATE_FORMAT(at, '%Y-%m-%dT%H:%i:%s'))",
        }
    }

    fn rows(self, size: Size, arguments: &Arguments) -> u64 {
        let full = match self {
            Self::W3 => arguments.wide_rows,
            Self::Narrow => arguments.narrow_rows,
        };
        match size {
            Size::Full => full,
            Size::Part => arguments.part_rows.min(full),
        }
    }
}

const ALL: [(Workload, Size); 4] = [
    (Workload::W3, Size::Full),
    (Workload::W3, Size::Part),
    (Workload::Narrow, Size::Full),
    (Workload::Narrow, Size::Part),
];

/// The running server with its tables.
pub(crate) struct Tables {
    pub(crate) database: Database,
    /// In the order of [`ALL`].
    contents: Vec<Content>,
    // Held so that two measurements do not share a datadir.
    _lock: File,
}

impl Tables {
    /// Makes the tables if they are not there, and starts the server.
    pub(crate) fn open(arguments: &Arguments) -> Result<Self, Failure> {
        let Arguments { server, wide_rows, narrow_rows, part_rows, .. } = arguments;
        let directory =
            cache()?.join(format!("perf/{server}-{wide_rows}-{narrow_rows}-{part_rows}-{RECIPE}"));
        fs::create_dir_all(&directory)?;
        let lock = File::create(directory.join("lock"))?;
        lock.lock()?;
        let (datadir, made) = (directory.join("data"), directory.join("contents.json"));
        if !made.exists() {
            eprintln!("snapshot: making the tables in {}, once", directory.display());
            make(arguments, &datadir, &made)?;
        }
        let contents = serde_json::from_slice(&fs::read(&made)?)?;
        let database = Database::start(server, &datadir, SERVER_OPTIONS)?;
        Ok(Self { database, contents, _lock: lock })
    }

    pub(crate) fn content(&self, workload: Workload, size: Size) -> Content {
        let index = ALL.iter().position(|table| *table == (workload, size)).unwrap_or_default();
        self.contents[index]
    }

    /// Ends the server in good order, so that the next start has nothing to recover.
    pub(crate) fn close(self) -> Result<(), Failure> {
        stop(self.database)
    }
}

fn cache() -> Result<PathBuf, Failure> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("FLOWD_CACHE")
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("flowd")))
        .or_else(|| Some(variable("HOME")?.join(".cache/flowd")))
        .ok_or_else(|| "neither FLOWD_CACHE nor HOME is set: no place to keep the tables in".into())
}

fn stop(database: Database) -> Result<(), Failure> {
    let status = script().arg("stop").arg(&database.datadir).status()?;
    drop(database);
    if status.success() { Ok(()) } else { Err(format!("the server's end: {status}").into()) }
}

fn make(arguments: &Arguments, datadir: &Path, made: &Path) -> Result<(), Failure> {
    if datadir.exists() {
        fs::remove_dir_all(datadir)?;
    }
    let database = Database::start(&arguments.server, datadir, SERVER_OPTIONS)?;
    let digit = "(SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5 \
        UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)";
    database.sql(&format!(
        "SET sql_log_bin = 0; CREATE DATABASE full; CREATE DATABASE part; CREATE TABLE full.numbers (n INT PRIMARY KEY);
         INSERT INTO full.numbers SELECT * FROM (SELECT 1 + a.d + b.d * 10 + c.d * 100 + d.d * 1000 + e.d * 10000 + f.d * 100000 AS n
         FROM {digit} a, {digit} b, {digit} c, {digit} d, {digit} e, {digit} f) s WHERE n <= {STEP}"
    ))?;
    let mut contents = Vec::new();
    for (workload, size) in ALL {
        contents.push(fill(&database, workload, size, workload.rows(size, arguments))?);
    }
    stop(database)?;
    fs::write(made, serde_json::to_vec(&contents)?)?;
    Ok(())
}

fn fill(database: &Database, workload: Workload, size: Size, rows: u64) -> Result<Content, Failure> {
    let (table, values) = (workload.table(size), workload.values());
    database.sql(&format!("SET sql_log_bin = 0; CREATE TABLE {table} ({})", workload.columns()))?;
    for before in (0..rows).step_by(usize::try_from(STEP)?) {
        let count = STEP.min(rows - before);
        database.sql(&format!(
            "SET sql_log_bin = 0; INSERT INTO {table} SELECT {values}
             FROM (SELECT {before} + n AS n FROM full.numbers WHERE n <= {count} ORDER BY n) s"
        ))?;
    }
    let sums = database.sql(&format!(
        "SET sql_log_bin = 0; ANALYZE TABLE {table}; SELECT 'sums', COUNT(*), SUM(id), SUM(CRC32({})) FROM {table}",
        workload.text()
    ))?;
    let sums: Vec<&str> = sums.lines().last().unwrap_or_default().split('\t').collect();
    let ["sums", count, keys, rows_crc] = sums[..] else {
        return Err(format!("three sums expected of {table}: {sums:?}").into());
    };
    Ok(Content { rows: count.parse()?, keys: keys.parse()?, rows_crc: rows_crc.parse()? })
}
