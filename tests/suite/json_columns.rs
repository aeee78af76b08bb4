//! JSON columns arrive as the server's own text of them.

use super::on;
use crate::harness::{Job, Kind};

/// Expressions of the type JSON; each is a shape of MySQL's binary form or of its text.
pub(super) const MYSQL: [&str; 42] = [
    "NULL",
    "'null'",
    "'true'",
    "'false'",
    "'0'",
    "'-1'",
    "'32767'",
    "'-32769'",
    "'2147483648'",
    "'-9223372036854775808'",
    "'18446744073709551615'",
    "'1.0'",
    "'1e10'",
    "'10000000.0'",
    "'-1e-5'",
    "'1e100'",
    "'1.5e-300'",
    "'123456789.5'",
    "'1e16'",
    "'0.1'",
    "'-0.0'",
    "'\"\"'",
    "'\"q\\\\\"b\\\\\\\\ n\\\\n t\\\\t c\\\\u0001 / é \\\\ud83d\\\\ude00\"'",
    "'[]'",
    "'{}'",
    "'[1, [2, [3, {\"a\": []}]]]'",
    "'{\"bb\": 1, \"a\": 2, \"\": 3, \"é\": 4}'",
    "JSON_ARRAY(CAST('12.340' AS DECIMAL(10,3)), CAST('-0.00001' AS DECIMAL(10,5)))",
    "JSON_ARRAY(CAST('2020-01-02' AS DATE), CAST('2020-01-02 03:04:05.0006' AS DATETIME(6)))",
    "JSON_ARRAY(CAST('10:11:12.5' AS TIME(6)), CAST('-10:11:12' AS TIME), CAST('-00:00:00.000001' AS TIME(6)))",
    "JSON_ARRAY(x'00ff', CAST('a' AS BINARY(3)), b'101')",
    "JSON_ARRAY(CAST(2020 AS YEAR))",
    "JSON_ARRAY(TIMESTAMP '2018-06-20 13:37:03.12')",
    "JSON_OBJECT('k', NULL, 'l', TRUE)",
    "JSON_QUOTE('\u{2028}\u{7f}')",
    "CONCAT('[', REPEAT('\"abcdefghij\",', 8000), '1]')",
    "CONCAT('{\"k\": \"', REPEAT('x', 70000), '\"}')",
    "CONCAT('[', REPEAT('1,', 40000), '70000]')",
    "JSON_ARRAY(ST_GeomFromText('POINT(1 2)'))",
    "CONCAT('[', REPEAT('[', 90), REPEAT(']', 90), ']')",
    "JSON_ARRAY(1e0, 1.0e0, 3.0, 2.5e0)",
    "JSON_ARRAY(127, 128, -129, 65536)",
];

/// What MariaDB keeps as it was written.
pub(super) const MARIADB: [&str; 5] =
    ["NULL", "'{\"b\": 1,   \"a\" :[1.0,1e2]}'", "'null'", "' [ ] '", "'\"\\\\u00e9\\\\n\"'"];

#[test]
fn a_json_column_of_mysql_is_what_the_server_prints() {
    on(&[Kind::MySql9], &[], |server| same_text(server, &MYSQL));
}

#[test]
fn a_json_column_of_mariadb_is_the_stored_text() {
    on(&[Kind::MariaDb10, Kind::MariaDb11], &[], |server| same_text(server, &MARIADB));
}

fn same_text(server: &crate::harness::Server, expressions: &[&str]) {
    let mut sql = server.sql();
    sql.run("SET NAMES utf8mb4; CREATE DATABASE test; USE test; CREATE TABLE t (id INT PRIMARY KEY, j JSON)");
    for (id, expression) in expressions.iter().enumerate() {
        sql.run(&format!("INSERT INTO t VALUES ({id}, {expression})"));
    }

    let job = Job::new(server);
    job.catch_up();

    let printed =
        sql.run("SELECT id, IFNULL(HEX(CAST(j AS CHAR CHARACTER SET utf8mb4)), '-') FROM t ORDER BY id");
    let events = job.events();
    assert_eq!(events.len(), printed.len());
    let mut faults = Vec::new();
    for ((event, row), expression) in events.iter().zip(&printed).zip(expressions) {
        let arrived = event.after()["j"].as_str();
        let arrived_hex = arrived.map_or("-".to_owned(), hex);
        if arrived_hex != row[1] {
            let short = |text: &str| text.chars().take(200).collect::<String>();
            faults.push(format!(
                "{}: {} instead of {}",
                short(expression),
                short(arrived.unwrap_or("null")),
                short(&row[1])
            ));
        }
    }
    assert!(faults.is_empty(), "{} documents differ:\n{}", faults.len(), faults.join("\n"));
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02X}")).collect()
}
