//! Reading a table by ranges of its key: every statement reads the index entries that it needs and no others, whatever
//! the key is made of, and ranges that are halved again and again hold every row once.

use std::collections::HashMap;

use flowd_binlog::catalog::CatalogTable;
use flowd_binlog::charset::InvalidText;
use flowd_binlog::result::{self, KeyKind, KeyValue};
use flowd_binlog::table::{Flavour, Options, Table};
use flowd_mysql::config::{MySqlConfig, MySqlSettings, Secret};
use flowd_mysql::connection::Connection;
use flowd_mysql::snapshot::query::{self, SnapshotTable};
use flowd_mysql::snapshot::{Key, Range, split, throttle};

use super::on_every_server;
use crate::harness::{Kind, Server};

/// Rows of each table.
const ROWS: usize = 2000;
/// Rows of one chunk.
const CHUNK: u64 = 150;
/// Reads of a statement beyond its rows: one to get to each interval of a range, one to see the end.
const READS_SPARE: u64 = 8;
/// Index entries that a split may read: one and the end for each of its statements.
const SPLIT_READS_MAX: u64 = 2 * 14;

/// A table of one key: columns with the key, and the key's values for the number `i`.
struct Case {
    name: &'static str,
    columns: &'static str,
    values: &'static str,
    /// How many times the smaller half's rows the larger one may have after the first split.
    uneven: usize,
    mariadb_alone: bool,
}

const fn case(name: &'static str, columns: &'static str, values: &'static str) -> Case {
    Case { name, columns, values, uneven: 4, mariadb_alone: false }
}

const CASES: &[Case] = &[
    case("small", "a INT, PRIMARY KEY (a)", "i * 3 - 1000"),
    case("top", "a BIGINT UNSIGNED, PRIMARY KEY (a)", "18446744073709551615 - i * 3"),
    case("clusters", "a BIGINT, PRIMARY KEY (a)", "IF(i < 1000, i, 4611686018427387904 + i)"),
    case("outlier", "a BIGINT, PRIMARY KEY (a)", "IF(i = 0, 4611686018427387904, i)"),
    case("pair", "a INT, b INT, PRIMARY KEY (a, b)", "i DIV 700, i"),
    case("one_group", "a INT, b INT, PRIMARY KEY (a, b)", "IF(i < 3, 9, 5), i"),
    case(
        "four",
        "a INT, b VARCHAR(20) CHARACTER SET utf8mb4, c DATE, d BIGINT, PRIMARY KEY (a, b, c, d)",
        "i DIV 600, CONCAT('x', i DIV 100), '2020-01-01' + INTERVAL (i DIV 10) DAY, i",
    ),
    case(
        "any_case",
        "a VARCHAR(40) CHARACTER SET utf8mb4, PRIMARY KEY (a)",
        "CONCAT(ELT(1 + i % 4, 'E', 'e', 'z', 'ß'), LPAD(i, 8, '0'))",
    ),
    case(
        "general",
        "a VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, b INT, PRIMARY KEY (a, b)",
        "CONCAT(ELT(1 + i % 4, 'apple', 'Apple', 'pear', 'Pear'), i % 10), i",
    ),
    case(
        "western",
        "a VARCHAR(40) CHARACTER SET latin1, PRIMARY KEY (a)",
        "CONCAT(ELT(1 + i % 3, 'É', 'o', 'ü'), LPAD(i, 8, '0'))",
    ),
    case("exact", "a VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, PRIMARY KEY (a)", "SHA2(i, 256)"),
    case("padded", "a CHAR(20) CHARACTER SET utf8mb3, PRIMARY KEY (a)", "LEFT(SHA2(i, 256), 20)"),
    case("wide", "a VARCHAR(40) CHARACTER SET utf16, PRIMARY KEY (a)", "CONCAT('ä', i % 100, '日', i)"),
    case("bytes", "a VARBINARY(40), PRIMARY KEY (a)", "UNHEX(SHA2(i, 256))"),
    case("fixed", "a BINARY(16), PRIMARY KEY (a)", "UNHEX(LEFT(SHA2(i, 256), 32))"),
    case("exact_number", "a DECIMAL(38, 4), PRIMARY KEY (a)", "(i - 900) * 1234567890123.4567"),
    case("single", "a FLOAT, PRIMARY KEY (a)", "i * 0.1"),
    case("double_", "a DOUBLE, PRIMARY KEY (a)", "(i - 900) * 0.1"),
    case("moment", "a DATETIME(6), PRIMARY KEY (a)", "'2020-01-01' + INTERVAL i * 1234567 MICROSECOND"),
    case("seconds", "a DATETIME, PRIMARY KEY (a)", "'2020-01-01' + INTERVAL i HOUR"),
    case("stamp", "a TIMESTAMP(3) NOT NULL, PRIMARY KEY (a)", "'2020-01-01' + INTERVAL i * 12345 SECOND"),
    case("day", "a DATE, PRIMARY KEY (a)", "'1999-01-01' + INTERVAL i DAY"),
    case("span", "a TIME(2), PRIMARY KEY (a)", "SEC_TO_TIME(i * 7.25 - 7000)"),
    case("choice", "a ENUM ('z', 'y', 'x'), b INT, PRIMARY KEY (a, b)", "1 + i % 3, i"),
    case("choices", "a SET ('z', 'y', 'x'), b INT, PRIMARY KEY (a, b)", "1 + i % 7, i"),
    case("bits", "a BIT(40), PRIMARY KEY (a)", "i * 977"),
    case("years", "a YEAR, b INT, PRIMARY KEY (a, b)", "2000 + i % 20, i"),
    case(
        "no_primary",
        "a INT NOT NULL, b VARCHAR(20) CHARACTER SET utf8mb4 NOT NULL, UNIQUE KEY `by``b` (b, a), KEY other (a)",
        "i, CONCAT('k', i % 10)",
    ),
    Case {
        mariadb_alone: true,
        ..case(
            "identity",
            "a UUID, PRIMARY KEY (a)",
            // Version 4 and its variant: there are hashes that are no UUIDs.
            "INSERT(INSERT(LEFT(SHA2(i, 256), 32), 13, 1, '4'), 17, 1, '8')",
        )
    },
    Case {
        mariadb_alone: true,
        ..case(
            "timed_identity",
            "a UUID, PRIMARY KEY (a)",
            "INSERT(INSERT(CONCAT(LPAD(HEX(i * 7777), 12, '0'), LEFT(SHA2(i, 256), 20)), 13, 1, '7'), 17, 1, '8')",
        )
    },
];

/// Values at which something could begin or end, a table each: its column, and the values.
const EXTREMES: &[(&str, &[&str])] = &[
    (
        "DATETIME",
        &["'0000-00-00'", "'2020-00-00'", "'2020-01-00'", "'2020-01-01 00:00:01'", "'9999-12-31 23:59:59'"],
    ),
    (
        "DATE",
        &["'0000-00-00'", "'0001-01-01'", "'2020-00-00'", "'2020-01-00'", "'2020-01-01'", "'9999-12-31'"],
    ),
    ("TIMESTAMP", &["0", "'1970-01-01 00:00:01'", "'2020-01-01'", "'2038-01-19 03:14:07'"]),
    ("TIME(6)", &["'-838:59:59'", "'-00:00:00.000001'", "'00:00:00'", "'00:00:00.5'", "'838:59:59'"]),
    ("YEAR", &["0", "1901", "1999", "2155"]),
    ("ENUM ('x', 'y', 'z')", &["''", "'x'", "'y'", "'z'"]),
    ("SET ('x', 'y')", &["''", "'x'", "'y'", "'x,y'"]),
    ("BIT(64)", &["0", "1", "9223372036854775808", "18446744073709551615"]),
    ("TINYINT", &["-128", "0", "127"]),
    ("MEDIUMINT UNSIGNED", &["0", "1", "16777215"]),
    ("BIGINT", &["-9223372036854775808", "0", "9223372036854775807"]),
    ("FLOAT", &["-1e38", "0", "1e-38", "0.1", "16777216", "3.4028234e38"]),
    ("DOUBLE", &["-1e308", "0", "1e-308", "0.1", "0.30000000000000004", "1e308"]),
    (
        "DECIMAL(65, 30)",
        &[
            "-99999999999999999999999999999999999.9",
            "-1e-30",
            "0",
            "1e-30",
            "99999999999999999999999999999999999.9",
        ],
    ),
    ("BINARY(4)", &["''", "'a'", "'b'", "x'00000001'", "x'ffffffff'"]),
    ("VARBINARY(4)", &["''", "'a'", "'a '", "x'00'", "x'0000'", "x'6100'", "x'ffffffff'"]),
    ("VARCHAR(9) COLLATE utf8mb4_bin", TEXTS),
    ("VARCHAR(9) COLLATE utf8mb4_general_ci", TEXTS),
    ("CHAR(9) COLLATE utf8mb4_general_ci", TEXTS),
    ("VARCHAR(9)", TEXTS),
    ("CHAR(9)", TEXTS),
];
const TEXTS: &[&str] = &["''", "'a'", "'a '", "' a'", "'a\t'", "x'6101'", "'é'", "'b'", "'𐐀'", "'\u{ffff}'"];

#[test]
fn chunks_of_every_kind_of_key_read_their_own_rows_alone() {
    on_every_server(|server| {
        fill(server);
        for case in cases(server.kind) {
            let mut reader = Reader::open(server, case.name);
            assert_eq!(reader.keys.len(), ROWS, "{}", case.name);
            reader.read_in_chunks(server);
        }
    });
}

#[test]
fn every_kind_of_key_is_halved_again_and_again_and_no_row_is_lost_or_doubled() {
    on_every_server(|server| {
        fill(server);
        for case in cases(server.kind) {
            Reader::open(server, case.name).halve(case);
        }
    });
}

#[test]
fn extreme_values_bound_chunks_like_all_others() {
    on_every_server(|server| {
        server.run("CREATE DATABASE test CHARACTER SET utf8mb4");
        for (number, (column, values)) in EXTREMES.iter().enumerate() {
            let name = format!("extreme{number}");
            // Texts that are the same for their collation are one.
            server.run(&format!(
                "SET sql_mode=''; USE test; CREATE TABLE {name} (a {column} NOT NULL PRIMARY KEY);
                 INSERT IGNORE INTO {name} VALUES ({})",
                values.join("), (")
            ));
            let mut reader = Reader::open(server, &name);
            assert!(reader.keys.len() >= values.len() - 2, "{column}: {} keys", reader.keys.len());
            let mut range = Range { after: None, upto: reader.keys.last().cloned() };
            let mut read = Vec::new();
            while let [key] = &reader.chunk(&range, 1)[..] {
                range.after = Some(key.clone());
                read.push(key.clone());
                assert!(read.len() <= reader.keys.len(), "{column}: {key:?} again");
            }
            assert_eq!(read, reader.keys, "{column}");
        }
    });
}

#[test]
fn keys_without_ranges_are_told() {
    on_every_server(|server| {
        server.run(
            "CREATE DATABASE test; USE test; CREATE TABLE none (a INT);
             CREATE TABLE prefix (a VARCHAR(20) NOT NULL, UNIQUE KEY (a(3)));
             CREATE TABLE falling (a INT NOT NULL, UNIQUE KEY (a DESC));
             CREATE TABLE hash (a INT PRIMARY KEY) ENGINE=MEMORY;
             CREATE TABLE many (a SET ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '10') PRIMARY KEY);
             CREATE TABLE plain (a INT PRIMARY KEY);
             INSERT INTO plain VALUES (1), (2), (3)",
        );
        let mut connection = connect(server);
        for name in ["none", "prefix", "falling", "many", "hash"] {
            let table = query::look(&mut connection, "test", name).unwrap().expect(name);
            assert_eq!(table.index, None, "{name}");
            assert_eq!(query::whole(&table, "`a`"), format!("SELECT `a` FROM `test`.`{name}`"));
            assert_eq!(table.transactional, name != "hash", "{name}");
        }
        let plain = query::look(&mut connection, "test", "plain").unwrap().expect("a table");
        assert_eq!(plain.index.as_deref(), Some("PRIMARY"));
        assert_eq!(query::look(&mut connection, "test", "absent").unwrap().map(|table| table.catalog), None);
        assert!(throttle::threads_running(&mut connection).unwrap() >= 1);
    });
}

fn cases(kind: Kind) -> impl Iterator<Item = &'static Case> {
    CASES.iter().filter(move |case| !(case.mariadb_alone && kind.is_mysql()))
}

fn fill(server: &Server) {
    let numbers: Vec<String> = (0..ROWS).map(|number| format!("({number})")).collect();
    let mut sql = server.sql();
    sql.run(&format!(
        "SET sql_mode=''; CREATE DATABASE test; USE test; CREATE TABLE numbers (i INT PRIMARY KEY);
         INSERT INTO numbers VALUES {}",
        numbers.join(",")
    ));
    for Case { name, columns, values, .. } in cases(server.kind) {
        sql.run(&format!(
            "CREATE TABLE {name} (v VARCHAR(100), {columns});
             INSERT INTO {name} SELECT REPEAT('v', 60), {values} FROM numbers; ANALYZE TABLE {name}"
        ));
    }
}

/// A session as the snapshot has it.
fn connect(server: &Server) -> Connection {
    let settings = MySqlSettings {
        port: server.port,
        password: Secret::new("cdc"),
        ..MySqlSettings::new("test".into(), "127.0.0.1".into(), "cdc".into())
    };
    let config = MySqlConfig::try_from(settings).unwrap();
    let mut connection = Connection::connect(&config).unwrap();
    for statement in [
        "SET NAMES utf8mb4",
        "SET character_set_results = NULL",
        "SET SESSION time_zone = '+00:00', sql_mode = ''",
    ] {
        connection.execute(statement).unwrap();
    }
    connection
}

/// Reads one table.
struct Reader {
    connection: Connection,
    look: SnapshotTable,
    table: Table,
    /// All keys in the server's order, and where each stands.
    keys: Vec<Key>,
    places: HashMap<Key, usize>,
}

impl Reader {
    fn open(server: &Server, name: &str) -> Self {
        let mut connection = connect(server);
        let look = query::look(&mut connection, "test", name).unwrap().expect("the table");
        let table = table(&look.catalog, server.kind);
        let mut reader = Self { connection, look, table, keys: Vec::new(), places: HashMap::new() };
        let (list, order) = (result::select_list(&reader.table), order(&reader.look));
        let sql = format!("SELECT {list} FROM test.{name} ORDER BY {order}");
        let rows = reader.connection.query_rows(&sql, &[]).unwrap();
        reader.keys = rows.iter().map(|row| result::key(&reader.table, row).unwrap()).collect();
        reader.places = reader.keys.iter().cloned().enumerate().map(|(place, key)| (key, place)).collect();
        assert_eq!(reader.keys.len(), reader.places.len(), "{name}");
        reader
    }

    fn name(&self) -> &str {
        &self.look.catalog.name
    }

    /// Runs something and says how many entries of indexes and tables were read for it, and how many rows were sorted.
    fn counted<T>(&mut self, run: impl FnOnce(&mut Self) -> T) -> (T, u64) {
        let (first, second) = (self.counters(), self.counters());
        let value = run(self);
        // The question itself reads, too.
        (value, self.counters() - second - (second - first))
    }

    fn counters(&mut self) -> u64 {
        let sql =
            "SHOW SESSION STATUS WHERE Variable_name LIKE 'Handler_read%' OR Variable_name = 'Sort_rows'";
        self.connection.query(sql).unwrap().texts("Value").map(|value| value.parse::<u64>().unwrap()).sum()
    }

    /// The keys of the first rows of a range.
    fn chunk(&mut self, range: &Range, limit: u64) -> Vec<Key> {
        let (sql, mut parameters) = query::chunk(&self.look, &result::select_list(&self.table), range, false);
        parameters.push(KeyValue { kind: KeyKind::Unsigned, bytes: limit.to_le_bytes().into() });
        let rows = self.connection.query_rows(&sql, &parameters).unwrap();
        rows.iter().map(|row| result::key(&self.table, row).unwrap()).collect()
    }

    fn read_in_chunks(&mut self, server: &Server) {
        let last = query::last_key(&mut self.connection, &self.look, false).unwrap();
        assert_eq!(last.as_ref(), self.keys.last(), "{}", self.name());
        let mut range = Range { after: None, upto: last };
        let mut read = Vec::new();
        loop {
            let (chunk, reads) = self.counted(|reader| reader.chunk(&range, CHUNK));
            let rows = chunk.len() as u64;
            assert!(reads <= rows + READS_SPARE, "{}: {reads} reads for {rows} rows", self.name());
            read.extend(chunk);
            if rows < CHUNK {
                break;
            }
            range.after = read.last().cloned();
        }
        assert!(read == self.keys, "{}: {} rows in chunks, or in another order", self.name(), read.len());
        self.read_between_gone_bounds(server);
    }

    /// Bounds whose rows are gone bound as before.
    fn read_between_gone_bounds(&mut self, server: &Server) {
        let (after, upto) = (300, 340);
        let range = Range { after: Some(self.keys[after].clone()), upto: Some(self.keys[upto].clone()) };
        for place in [after, upto] {
            let mut gone =
                Range { after: Some(self.keys[place - 1].clone()), upto: Some(self.keys[place].clone()) };
            let first = query::first_key(&mut self.connection, &self.look, &gone).unwrap();
            assert_eq!(first.as_ref(), gone.upto.as_ref(), "{}", self.name());
            self.delete(server, place);
            gone.upto.clone_from(&range.upto);
            let first = query::first_key(&mut self.connection, &self.look, &gone).unwrap();
            assert_eq!(
                first.as_ref(),
                self.keys.get(place + 1).filter(|_| place == after),
                "{}",
                self.name()
            );
        }
        let (chunk, reads) = self.counted(|reader| reader.chunk(&range, CHUNK));
        assert!(chunk == self.keys[after + 1..upto], "{}: {} rows", self.name(), chunk.len());
        assert!(reads <= chunk.len() as u64 + READS_SPARE, "{}: {reads} reads", self.name());
    }

    /// Deletes the row at a place of the order.
    fn delete(&self, server: &Server, place: usize) {
        let (name, order) = (self.name(), order(&self.look));
        // By its rank, so that no value needs to be written down; rows deleted before stand in front.
        let left: usize = server.run(&format!("SELECT COUNT(*) FROM test.{name}"))[0][0].parse().unwrap();
        let rank = place - (self.keys.len() - left);
        server.run(&format!(
            "USE test; CREATE TEMPORARY TABLE gone AS SELECT * FROM {name} ORDER BY {order} LIMIT 1 OFFSET {rank};
             DELETE t FROM {name} AS t JOIN gone AS g ON {}",
            self.look.key.iter().map(|column| format!("t.{column} = g.{column}")).collect::<Vec<_>>().join(" AND ")
        ));
    }

    /// Halves the table's range, and the halves, and reads what comes of it.
    fn halve(&mut self, case: &Case) {
        let upto = query::last_key(&mut self.connection, &self.look, false).unwrap();
        let whole = Range { after: None, upto };
        let mut ranges = vec![whole];
        for round in 0..4 {
            let mut halves = Vec::new();
            for range in ranges {
                halves.extend(self.halved(range, if round == 0 { case.uneven } else { usize::MAX }));
            }
            ranges = halves;
        }
        assert!(ranges.len() >= 12, "{}: {} ranges", self.name(), ranges.len());
        let mut read = Vec::new();
        for range in &ranges {
            let (chunk, reads) = self.counted(|reader| reader.chunk(range, ROWS as u64));
            assert!(reads <= chunk.len() as u64 + READS_SPARE, "{}: {reads} reads", self.name());
            read.extend(chunk);
        }
        assert!(read == self.keys, "{}: {} rows in ranges, or in another order", self.name(), read.len());
    }

    fn halved(&mut self, range: Range, uneven: usize) -> Vec<Range> {
        let (middle, reads) =
            self.counted(|reader| split::split(&mut reader.connection, &reader.look, &range).unwrap());
        assert!(reads <= SPLIT_READS_MAX, "{}: a split of {reads} reads", self.name());
        let Some(middle) = middle else {
            assert_eq!(uneven, usize::MAX, "{}: not divided", self.name());
            return vec![range];
        };
        // Rows up to a key; before the first one there are none.
        let count = |key: &Option<Key>| key.as_ref().map_or(0, |key| self.places[key] + 1);
        let (from, at, to) = (count(&range.after), self.places[&middle] + 1, count(&range.upto));
        assert!(from < at && at < to, "{}: {from} {at} {to}", self.name());
        let (less, more) = ((at - from).min(to - at), (at - from).max(to - at));
        assert!(more <= less.saturating_mul(uneven), "{}: halves of {less} and {more} rows", self.name());
        let before = Range { after: range.after, upto: Some(middle.clone()) };
        vec![before, Range { after: Some(middle), upto: range.upto }]
    }
}

fn order(look: &SnapshotTable) -> String {
    look.key.iter().map(|column| format!("`{column}`")).collect::<Vec<_>>().join(", ")
}

fn table(catalog: &CatalogTable, kind: Kind) -> Table {
    let flavour = if kind.is_mysql() { Flavour::MySql } else { Flavour::MariaDb };
    let options = Options { flavour, invalid_text: InvalidText::Stop, exclude: &|_, _, _| false };
    Table::from_catalog(catalog, &options).unwrap()
}
