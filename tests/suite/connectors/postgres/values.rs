//! Every column type of MySQL and MariaDB, through flowd into PostgreSQL: what the source says of a value is what is stored;
//! and what a column cannot hold exactly is refused.

use serde_json::{Map, Value, json};

use super::copies::Copy;
use super::{on_every_version, open, with};
use crate::harness::{Kind, Mesh, Postgres, Server, Sql};
use crate::suite::columns::SESSION;
use crate::suite::columns::cases::{self, Case};
use crate::suite::sink_writes::{Given, created, deleted, updated};

const TABLES: [&str; 2] = ["keyed", "bare"];

#[test]
fn every_column_type_of_mariadb_10_arrives_as_the_source_has_it() {
    every_column_type_arrives(Kind::MariaDb10);
}

#[test]
fn every_column_type_of_mariadb_11_arrives_as_the_source_has_it() {
    every_column_type_arrives(Kind::MariaDb11);
}

#[test]
fn every_column_type_of_mysql_9_arrives_as_the_source_has_it() {
    every_column_type_arrives(Kind::MySql9);
}

fn every_column_type_arrives(kind: Kind) {
    let (from, to) = (Server::start(kind), Postgres::start());
    let mut source = from.sql();
    source.run(SESSION);
    let cases: Vec<Case> = cases::all().into_iter().filter(|case| case.exists_on(kind)).collect();
    let names = |types: &dyn Fn(&Case) -> String| {
        let all: Vec<String> =
            cases.iter().enumerate().map(|(index, case)| format!("c{index} {}", types(case))).collect();
        all.join(", ")
    };
    let mut sql = with(&to, "SELECT 1");
    for (table, (ours, theirs)) in
        TABLES.into_iter().zip([("PRIMARY KEY (id)", ", PRIMARY KEY (id)"), ("KEY (id)", "")])
    {
        let columns = names(&|case| format!("{} NULL", case.column));
        source.run(&format!("CREATE TABLE test.{table} (id INT, {columns}, {ours})"));
        sql.run(&format!(
            "CREATE TABLE {table} (id int, {}{theirs})",
            names(&|case| kind_of(case).to_owned())
        ));
    }
    let turns = cases.iter().map(|case| case.values.len()).max().unwrap_or(0);
    fill(&mut source, &cases, turns, 0);

    let copy = Copy::of((&from, "test"), &to, Mesh::start(), &TABLES)
        .source(|job| job.unset("pipeline.startAt").set("connectorConfig.snapshotMode", "initial"))
        .sink(|job| job.set("connectorConfig.zeroDates", "asNull"));
    let mut sink = copy.sink.start(&[]);
    copy.catch_up(&mut sink);
    compare(&mut sql, &cases, turns, 0);
    // Every value once more, as what a row was and as what it became.
    for table in TABLES {
        for turn in 0..turns {
            let set: Vec<String> = cases
                .iter()
                .enumerate()
                .map(|(index, case)| format!("c{index}={}", case.at(turn + 1).0))
                .collect();
            source.run(&format!("UPDATE test.{table} SET {} WHERE id = {turn}", set.join(",")));
        }
    }
    copy.catch_up(&mut sink);
    compare(&mut sql, &cases, turns, 1);
    TABLES.iter().for_each(|table| {
        source.run(&format!("DELETE FROM test.{table}"));
    });
    copy.catch_up(&mut sink);
    for table in TABLES {
        assert_eq!(sql.one(&format!("SELECT count(*) FROM {table}")), "0", "{table}");
    }
    sink.signal("TERM");
    sink.wait().expect_code(0);
}

fn fill(source: &mut Sql, cases: &[Case], turns: usize, shift: usize) {
    for table in TABLES {
        for turn in 0..turns {
            let literals: Vec<&str> = cases.iter().map(|case| case.at(turn + shift).0).collect();
            source.run(&format!("INSERT INTO test.{table} VALUES ({turn}, {})", literals.join(", ")));
        }
    }
}

/// The server itself compares what is stored with what the event format says of the source's value.
fn compare(sql: &mut crate::harness::Psql, cases: &[Case], turns: usize, shift: usize) {
    let mut faults = Vec::new();
    for table in TABLES {
        assert_eq!(sql.one(&format!("SELECT count(*) FROM {table}")), turns.to_string(), "{table}");
        for turn in 0..turns {
            for (index, case) in cases.iter().enumerate() {
                let expected = expected(case, turn + shift);
                let found = sql.run(&format!(
                    "SELECT left(c{index}::text, 90) FROM {table} \
                     WHERE id = {turn} AND c{index}::text IS DISTINCT FROM ({expected})::text"
                ));
                let short: String = expected.chars().take(90).collect();
                faults.extend(found.into_iter().map(|row| format!("{}: {row:?} for {short}", case.column)));
            }
        }
    }
    assert!(faults.is_empty(), "{} values differ:\n{}", faults.len(), faults.join("\n"));
}

/// The type that takes every value of the case.
fn kind_of(case: &Case) -> String {
    let column = case.column.as_str();
    let (name, rest) = column.split_at(column.find([' ', '(']).unwrap_or(column.len()));
    let size = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).map(|(size, _)| size);
    let sized = |name: &str| size.map_or(name.to_owned(), |size| format!("{name}({size})"));
    match name {
        _ if column.contains("CHARACTER SET binary") => "bytea".into(),
        "BIGINT" if column.contains("UNSIGNED") => "numeric(20)".into(),
        "TINYINT" | "BOOLEAN" | "YEAR" => "smallint".into(),
        "SMALLINT" | "MEDIUMINT" => "integer".into(),
        "INT" | "BIGINT" => "bigint".into(),
        "FLOAT" if size == Some("53") => "double precision".into(),
        "FLOAT" => "real".into(),
        "DOUBLE" | "REAL" => "double precision".into(),
        "DECIMAL" | "NUMERIC" => sized("numeric"),
        "BIT" if size == Some("1") => "boolean".into(),
        "BIT" => sized("bit"),
        "DATE" => "date".into(),
        "TIME" => sized("interval"),
        "DATETIME" => size.map_or("timestamp(0)".into(), |_| sized("timestamp")),
        "TIMESTAMP" => size.map_or("timestamptz(0)".into(), |_| sized("timestamptz")),
        "CHAR" | "VARCHAR" | "NCHAR" | "NVARCHAR" => sized("varchar"),
        "BINARY" | "VARBINARY" | "TINYBLOB" | "BLOB" | "MEDIUMBLOB" | "LONGBLOB" => "bytea".into(),
        "UUID" => "uuid".into(),
        "JSON" => "jsonb".into(),
        _ => "text".into(),
    }
}

/// What PostgreSQL must have, as an expression of it.
fn expected(case: &Case, turn: usize) -> String {
    let (literal, value) = case.at(turn);
    let kind = kind_of(case);
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let is_date = ["date", "timestamp"].iter().any(|prefix| kind.starts_with(prefix));
    if is_date && (text.starts_with("0000") || text[..10].contains("-00")) {
        return "NULL".into();
    }
    match kind.as_str() {
        "bytea" => format!("decode('{text}', 'base64')"),
        // The source's own literal of bits means the same here; a zero has one digit.
        bits if bits.starts_with("bit(") => format!("lpad(({literal})::text, {}, '0')", width(bits)),
        kind => format!("'{}'::{kind}", text.replace('\'', "''")),
    }
}

fn width(kind: &str) -> &str {
    kind.trim_start_matches("bit(").trim_end_matches(')')
}

#[test]
fn keys_of_every_kind_find_their_row() {
    on_every_version(|server| {
        let kinds: [(&str, [Value; 2]); 14] = [
            ("numeric(20)", [json!(u64::MAX), json!(0)]),
            ("numeric", [json!("-99999.00001"), json!("0.00000")]),
            ("real", [json!(1.1), json!(-3.4e38)]),
            ("double precision", [json!(0.1), json!(1e300)]),
            ("timestamp(6)", [json!("2018-06-20T06:37:03.000001"), json!("1000-01-01T00:00:00.000000")]),
            ("timestamptz", [json!("2018-06-20T06:37:03.000001Z"), json!("2000-01-01T00:00:00Z")]),
            ("date", [json!("2018-06-20"), json!("0001-01-01")]),
            ("interval", [json!("-838:59:58.999"), json!("00:00:00.001")]),
            ("bytea", [json!("AQIAAA=="), json!("")]),
            ("bit(9)", [json!("/wE="), json!("AAE=")]),
            ("uuid", [json!("0f3a2b1c-1111-4222-8333-0123456789AB"), json!("AAAAAAAAAAAAAAAAAAAAAA==")]),
            ("varchar(9)", [json!("a"), json!("A")]),
            ("char(9)", [json!("a"), json!("b")]),
            ("inet", [json!("10.0.0.1"), json!("::1")]),
        ];
        for (kind, keys) in kinds {
            let mut sql = with(
                server,
                &format!("CREATE TABLE t (id {kind} PRIMARY KEY, v int, w int NOT NULL DEFAULT 5)"),
            );
            let mut target = open(server);
            let of = |key: &Value, v: i64| json!({"id": key, "v": v});
            target.put(&keys.each_ref().map(|key| created(&of(key, 1))));
            target.put(&keys.each_ref().map(|key| updated(&of(key, 1), &of(key, 2))));
            assert_eq!(sql.run("SELECT v, w FROM t"), [["2", "5"], ["2", "5"]], "{kind}");
            target.put(&keys.each_ref().map(|key| created(&of(key, 3))));
            assert_eq!(sql.run("SELECT v, w FROM t"), [["3", "5"], ["3", "5"]], "{kind}");
            target.put(&keys.each_ref().map(|key| deleted(&of(key, 3))));
            assert_eq!(sql.one("SELECT count(*) FROM t"), "0", "{kind}");
            target.store.close();
        }
    });
}

#[test]
fn a_value_that_the_column_cannot_hold_exactly_is_refused_with_its_name() {
    on_every_version(|server| {
        let cases = [
            ("smallint", json!(32768)),
            ("bigint", json!(u64::MAX)),
            ("boolean", json!(2)),
            ("numeric(5,2)", json!("1.001")),
            ("numeric(5,2)", json!("1000.00")),
            ("numeric(3,-2)", json!(150)),
            ("real", json!(1e39)),
            ("real", json!(0.123_456_789_012)),
            ("double precision", json!("x")),
            ("double precision", json!(9_007_199_254_740_993_i64)),
            ("bit(3)", json!("CA==")),
            ("date", json!("2020-13-01")),
            ("date", json!("2021-02-29")),
            ("date", json!("0000-00-00")),
            ("date", json!("2020-01-01T00:00:01")),
            ("time", json!("24:00:00")),
            ("time(1)", json!("00:00:00.12")),
            ("interval(0)", json!("00:00:00.1")),
            ("timestamp", json!("2020-01-01T25:00:00")),
            ("timestamp(3)", json!("2020-01-01T00:00:00.0001")),
            ("timestamptz", json!("2020-01-01T00:00:00+01:00")),
            ("char(2)", json!("abc")),
            ("varchar(2)", json!("ab ")),
            ("text", json!("a\u{0}")),
            ("bytea", json!("no base64")),
            ("uuid", json!("0f3a2b1c")),
            ("json", json!("{")),
            ("jsonb", json!("\"\\u0000\"")),
            ("inet", json!("10.0.0")),
            ("money", json!("1.005")),
            ("int[]", json!([1])),
            ("integer", json!([1])),
        ];
        let columns: Vec<String> =
            cases.iter().enumerate().map(|(index, (kind, _))| format!("col{index} {kind}")).collect();
        let mut sql = with(server, &format!("CREATE TABLE t (id int PRIMARY KEY, {})", columns.join(", ")));
        let mut target = open(server);
        let rows: Vec<Given> = cases
            .iter()
            .enumerate()
            .map(|(index, (_, value))| {
                created(&Value::Object(Map::from_iter([
                    ("id".to_owned(), json!(index)),
                    (format!("col{index}"), value.clone()),
                ])))
            })
            .collect();
        let mut faults = Vec::new();
        for (index, (row, (kind, value))) in rows.iter().zip(&cases).enumerate() {
            match target.refused(std::slice::from_ref(row)).as_slice() {
                [] => faults.push(format!("{kind}: {value} is taken")),
                [refused, ..] if !refused.reason.contains(&format!("\"col{index}\"")) => {
                    faults.push(format!("{kind}: {value}: no name in {}", refused.reason));
                }
                _ => {}
            }
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        assert_eq!(sql.one("SELECT count(*) FROM t"), "0");
    });
}

#[test]
fn rows_of_any_size_pass() {
    let server = Postgres::start();
    let mut sql = with(&server, "CREATE TABLE t (id int PRIMARY KEY, v text)");
    let mut target = open(&server);
    let long = "y'\\\u{1F600}".repeat(3_000_000);
    target.put(&[created(&json!({"id": 0, "v": long})), created(&json!({"id": 1, "v": "a\n"}))]);
    assert_eq!(sql.run("SELECT id, length(v) FROM t ORDER BY id"), [["0", "12000000"], ["1", "2"]]);
}
