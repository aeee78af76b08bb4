//! The mysql-sink's store on real servers: every column type's values are stored exactly as the source has them, or are
//! refused with their column's name.

use serde_json::{Map, Value, json};

use super::columns::SESSION;
use super::columns::cases::{self, Case};
use super::json_columns;
use super::sink_writes::{Given, Target, created, deleted, updated, with_table};
use super::{on, on_every_server};
use crate::harness::{Kind, Server, Sql};

/// The literal is written by the server itself, the JSON by the sink; the rows are compared by the server, in value
/// and in bytes.
#[test]
fn every_column_type_is_stored_as_the_source_has_it() {
    on_every_server(|server| {
        let cases: Vec<Case> = cases::all().into_iter().filter(|case| case.exists_on(server.kind)).collect();
        let mut sql = server.sql();
        sql.run(SESSION);
        for (table, key) in [("source", "PRIMARY KEY (id)"), ("t", "PRIMARY KEY (id)"), ("bare", "KEY (id)")]
        {
            sql.run(&format!("CREATE TABLE {table} (id INT, {}, {key})", columns(&cases)));
        }
        let turns = cases.iter().map(|case| case.values.len()).max().unwrap_or(0);
        let mut target = Target::open(server);
        for turn in 0..turns {
            let literals: Vec<&str> = cases.iter().map(|case| case.at(turn).0).collect();
            sql.run(&format!("INSERT INTO source VALUES ({turn}, {})", literals.join(", ")));
        }
        let (all, next): (Vec<Value>, Vec<Value>) =
            (0..turns).map(|turn| (row(&cases, turn, turn), row(&cases, turn, turn + 1))).unzip();
        let inserts: Vec<Given> = all.iter().map(created).collect();
        let updates: Vec<Given> = all.iter().zip(&next).map(|(old, new)| updated(new, old)).collect();

        target.put(&next.iter().map(created).collect::<Vec<_>>());
        target.put(&updates);
        compare(&mut sql, &cases, "t", "after updates");
        target.put(&inserts);
        compare(&mut sql, &cases, "t", "after inserts of what is there");
        // Without a key every column is compared with what the event says of it.
        let bare = |events: &[Given]| events.iter().map(|event| event.clone().of("bare")).collect::<Vec<_>>();
        target.put(&bare(&next.iter().map(created).collect::<Vec<_>>()));
        target.put(&bare(&updates));
        compare(&mut sql, &cases, "bare", "after updates by the whole row");
        target.put(&bare(&all.iter().map(deleted).collect::<Vec<_>>()));
        assert_eq!(sql.run("SELECT COUNT(*) FROM bare"), [["0"]], "deletes by the whole row");
    });
}

fn columns(cases: &[Case]) -> String {
    let columns: Vec<String> =
        cases.iter().enumerate().map(|(index, case)| format!("c{index} {} NULL", case.column)).collect();
    columns.join(", ")
}

fn row(cases: &[Case], id: usize, turn: usize) -> Value {
    let mut row = Map::from_iter([("id".to_owned(), json!(id))]);
    for (index, case) in cases.iter().enumerate() {
        row.insert(format!("c{index}"), case.at(turn).1.clone());
    }
    Value::Object(row)
}

fn compare(sql: &mut Sql, cases: &[Case], table: &str, when: &str) {
    let mut faults = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let differing = sql.run(&format!(
            "SELECT s.id, HEX(s.c{index}), HEX(t.c{index}) FROM source s LEFT JOIN {table} t ON s.id = t.id \
             WHERE NOT (s.c{index} <=> t.c{index}) OR NOT (HEX(s.c{index}) <=> HEX(t.c{index}))"
        ));
        if let Some(row) = differing.first() {
            faults.push(format!("{}: {row:?}", case.column));
        }
    }
    assert!(faults.is_empty(), "{table} {when}, {} columns differ:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn keys_of_every_kind_find_their_row() {
    on_every_server(|server| {
        let kinds: [(&str, [Value; 2]); 10] = [
            ("BIGINT UNSIGNED", [json!(u64::MAX), json!(0)]),
            ("DECIMAL(20,5)", [json!("-99999.00001"), json!("0.00000")]),
            ("FLOAT", [json!(1.1), json!(-3.4e38)]),
            ("DOUBLE", [json!(0.1), json!(1e300)]),
            ("DATETIME(6)", [json!("2018-06-20T06:37:03.000001"), json!("0000-00-00T00:00:00.000000")]),
            ("TIME(3)", [json!("-838:59:58.999"), json!("00:00:00.001")]),
            ("YEAR", [json!(0), json!(2155)]),
            ("BINARY(4)", [json!("AQIAAA=="), json!("AAAAAA==")]),
            ("BIT(9)", [json!("/wE="), json!("AAE=")]),
            ("ENUM('b','a')", [json!("a"), json!("b")]),
        ];
        for (kind, keys) in kinds {
            let mut sql =
                with_table(server, &format!("id {kind} PRIMARY KEY, v INT, w INT NOT NULL DEFAULT 5"));
            let mut target = Target::open(server);
            let of = |key: &Value, v: i64| json!({"id": key, "v": v});
            target.put(&keys.each_ref().map(|key| created(&of(key, 1))));
            target.put(&keys.each_ref().map(|key| updated(&of(key, 1), &of(key, 2))));
            assert_eq!(sql.run("SELECT v, w FROM t"), [["2", "5"], ["2", "5"]], "{kind}");
            target.put(&keys.each_ref().map(|key| created(&of(key, 3))));
            assert_eq!(sql.run("SELECT v, w FROM t"), [["3", "5"], ["3", "5"]], "{kind}");
            target.put(&keys.each_ref().map(|key| deleted(&of(key, 3))));
            assert_eq!(sql.run("SELECT COUNT(*) FROM t"), [["0"]], "{kind}");
        }
    });
}

/// What the server prints of a document is what it is told; it must print the same again.
#[test]
fn documents_print_alike() {
    on(&[Kind::MySql9], &[], |server| documents(server, &json_columns::MYSQL));
    on(&[Kind::MariaDb10, Kind::MariaDb11], &[], |server| documents(server, &json_columns::MARIADB));
}

fn documents(server: &Server, expressions: &[&str]) {
    let mut sql = with_table(server, "id INT PRIMARY KEY, j JSON");
    sql.run("SET NAMES utf8mb4; CREATE TABLE source LIKE t; CREATE TABLE bare (id INT, j JSON)");
    for (id, expression) in expressions.iter().enumerate() {
        sql.run(&format!("INSERT INTO source VALUES ({id}, {expression})"));
    }
    // Types that JSON's text cannot tell (a DECIMAL's zeros at the end) are not kept by any copy of the text.
    let again = if server.kind.is_mysql() { "CAST(CAST(CAST(j AS CHAR) AS JSON) AS CHAR)" } else { "j" };
    sql.run(&format!("DELETE FROM source WHERE NOT ({again} <=> CAST(j AS CHAR))"));
    let printed = sql.run("SELECT id, HEX(CAST(j AS CHAR CHARACTER SET utf8mb4)) FROM source ORDER BY id");
    assert!(printed.len() + 4 > expressions.len(), "most are exact as text");
    let rows: Vec<Value> =
        printed.iter().map(|row| json!({"id": row[0].parse::<u64>().unwrap(), "j": text(&row[1])})).collect();
    let mut target = Target::open(server);
    target.put(&rows.iter().map(created).collect::<Vec<_>>());
    let arrived = sql.run("SELECT id, HEX(CAST(j AS CHAR CHARACTER SET utf8mb4)) FROM t ORDER BY id");
    assert_eq!(arrived, printed);
    target.put(&rows.iter().map(|row| created(row).of("bare")).collect::<Vec<_>>());
    target.put(&rows.iter().map(|row| deleted(row).of("bare")).collect::<Vec<_>>());
    assert_eq!(sql.run("SELECT COUNT(*) FROM bare"), [["0"]]);
}

/// The text of hexadecimal digits; `NULL` is none.
fn text(hex: &str) -> Option<String> {
    let byte = |index: usize| u8::from_str_radix(&hex[index..index + 2], 16);
    let bytes: Result<Vec<u8>, _> = (0..hex.len() / 2).map(|index| byte(2 * index)).collect();
    bytes.ok().map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn geometries_vectors_and_addresses_are_the_servers_own() {
    on(&[Kind::MariaDb11, Kind::MySql9], &[], |server| {
        let mut sql = with_table(server, "id INT PRIMARY KEY, g GEOMETRY, v VECTOR(2)");
        let mut target = Target::open(server);
        let row = json!({
            "id": 1,
            "g": {"x": 1.0, "y": 2.0, "wkb": "AQEAAAAAAAAAAADwPwAAAAAAAABA", "srid": null},
            "v": [1.5, -2.0],
        });
        target.put(&[created(&row)]);
        assert_eq!(sql.run("SELECT ST_AsText(g), HEX(v) FROM t"), [["POINT(1 2)", "0000C03F000000C0"]]);
        sql.run("CREATE TABLE bare (id INT, g GEOMETRY, v VECTOR(2)); INSERT INTO bare SELECT * FROM t");
        target.put(&[deleted(&row).of("bare")]);
        assert_eq!(sql.run("SELECT COUNT(*) FROM bare"), [["0"]]);
    });
    on(&[Kind::MariaDb11], &[], |server| {
        let mut sql = with_table(server, "id INET4 PRIMARY KEY, v INET6");
        let mut target = Target::open(server);
        let row = json!({"id": "10.0.0.1", "v": "::ffff:1.2.3.4"});
        target.put(&[created(&row), updated(&row, &row)]);
        assert_eq!(sql.run("SELECT * FROM t"), [["10.0.0.1", "::ffff:1.2.3.4"]]);
        target.put(&[deleted(&row)]);
        assert_eq!(sql.run("SELECT COUNT(*) FROM t"), [["0"]]);
    });
}

#[test]
fn a_value_that_the_column_cannot_hold_exactly_is_refused_with_its_name() {
    on_every_server(|server| {
        let cases = [
            ("TINYINT UNSIGNED", json!(-1)),
            ("TINYINT", json!(128)),
            ("BIGINT", json!(u64::MAX)),
            ("DECIMAL(5,2)", json!("1.001")),
            ("DECIMAL(5,2)", json!("1000.00")),
            ("DECIMAL(5,2) UNSIGNED", json!("-1.00")),
            ("FLOAT", json!(1e39)),
            ("DOUBLE", json!("x")),
            ("BIT(3)", json!("CA==")),
            ("YEAR", json!(1900)),
            ("DATE", json!("2020-13-01")),
            ("DATE", json!("2020-01-01T00:00:01")),
            ("TIME", json!("839:00:00")),
            ("TIME(1)", json!("00:00:00.12")),
            ("DATETIME", json!("2020-01-01T25:00:00")),
            ("DATETIME(3)", json!("2020-01-01T00:00:00.0001")),
            ("TIMESTAMP", json!("1969-12-31T23:59:59Z")),
            ("TIMESTAMP", json!("2020-01-01T00:00:00+01:00")),
            ("CHAR(2)", json!("abc")),
            ("VARCHAR(2)", json!("ab ")),
            ("TINYTEXT", json!("x".repeat(256))),
            ("VARCHAR(9) CHARACTER SET latin1", json!("漢")),
            ("BINARY(2)", json!("AQIDBA==")),
            ("VARBINARY(2)", json!("AQIDBA==")),
            ("BLOB", json!("no base64")),
            ("ENUM('a','b')", json!("c")),
            ("ENUM('a','b')", json!("2")),
            ("SET('a','b')", json!("a,c")),
            ("JSON", json!("{")),
            ("INT", json!([1])),
        ];
        let columns: Vec<String> =
            cases.iter().enumerate().map(|(index, (kind, _))| format!("col{index} {kind} NULL")).collect();
        let mut sql = with_table(server, &format!("id INT PRIMARY KEY, {}", columns.join(", ")));
        let mut target = Target::open(server);
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
        let refused = target.refused(&rows);
        let mut faults = Vec::new();
        for (index, (kind, value)) in cases.iter().enumerate() {
            let name = format!("col{index}");
            match refused.iter().find(|refused| refused.index == index) {
                None => faults.push(format!("{kind}: {value} is taken")),
                Some(refused) if !refused.reason.contains(&name) => {
                    faults.push(format!("{kind}: {value}: no name in {}", refused.reason));
                }
                Some(_) => {}
            }
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        assert_eq!(sql.run("SELECT COUNT(*) FROM t"), [["0"]]);
    });
}

#[test]
fn zeros_stay_zeros_and_rows_of_any_size_pass() {
    on_every_server(|server| {
        let mut sql = with_table(server, "id INT AUTO_INCREMENT PRIMARY KEY, v LONGTEXT, ts TIMESTAMP NULL");
        let mut target = Target::open(server);
        let long = "y'\\\u{1F600}".repeat(300_000);
        let zero = json!({"id": 0, "v": long, "ts": "0000-00-00T00:00:00Z"});
        target.put(&[created(&zero), created(&json!({"id": 1, "v": "\u{0}a\n", "ts": null}))]);
        let found = sql.run("SELECT id, CHAR_LENGTH(v), ts FROM t ORDER BY id");
        assert_eq!(found, [["0", "1200000", "0000-00-00 00:00:00"], ["1", "3", "NULL"]]);
        assert_eq!(sql.run("SELECT HEX(v) FROM t WHERE id = 1"), [["00610A"]]);
    });
    on(&[Kind::MariaDb11, Kind::MySql9], &["--max-allowed-packet=1M"], |server| {
        let mut sql = with_table(server, "id INT PRIMARY KEY, v LONGTEXT");
        let mut target = Target::open(server);
        let row = |id: i64, length: usize| created(&json!({"id": id, "v": "x".repeat(length)}));
        target.put(&(0..20).map(|id| row(id, 200_000)).collect::<Vec<_>>());
        assert_eq!(sql.run("SELECT COUNT(*) FROM t"), [["20"]]);
        let refused = target.one_refused(&[row(21, 10), row(22, 1_100_000)]);
        assert!(refused.index == 1 && refused.reason.contains("max_allowed_packet"), "{}", refused.reason);
    });
}
