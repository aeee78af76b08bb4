//! The envelope and the row images: attributes, positions, keys, partial images, what is filtered and what is not.

use serde_json::{Value, json};

use super::{on, on_every_server};
use crate::harness::{ALL, Event, Job, Kind, Server};

#[test]
fn an_event_carries_the_documented_attributes_and_envelope() {
    on_every_server(|server| {
        server.run("CREATE DATABASE test; CREATE TABLE test.`or ders` (b VARCHAR(9), a INT, c INT, PRIMARY KEY (b, a))");
        server.run("INSERT INTO test.`or ders` VALUES ('x', 2, 5)");
        let (gtid, at) = (last_gtid(server), rows_event_position(server));

        let job = Job::new(server);
        job.catch_up();

        let events = job.events();
        assert_eq!(events.len(), 1);
        let event = &events.0[0];
        attributes(event, server.kind.connector());
        let source = &event.data()["source"];
        let number =
            |member: &str| source[member].as_u64().unwrap_or_else(|| panic!("no {member}: {}", event.text));
        assert_eq!(number("ts_ms"), number("ts_us") / 1000);
        assert_eq!(number("ts_ns"), number("ts_us") * 1000);
        let thread = if server.kind.is_mysql() { number("thread").to_string() } else { "null".to_owned() };
        let expected = format!(
            r#""data":{{"before":null,"after":{{"b":"x","a":2,"c":5}},"source":{{"version":"{version}","connector":"{connector}","name":"orders","ts_ms":{ms},"snapshot":"false","db":"test","sequence":null,"ts_us":{us},"ts_ns":{us}000,"table":"or ders","server_id":1,"gtid":"{gtid}","file":"{file}","pos":{pos},"row":0,"thread":{thread},"query":null}},"transaction":null,"op":"c","ts_ms":"#,
            version = env!("CARGO_PKG_VERSION"),
            connector = server.kind.connector(),
            ms = number("ts_ms"),
            us = number("ts_us"),
            file = at.0,
            pos = at.1,
        );
        assert!(event.text.contains(&expected), "{}\ndoes not hold\n{expected}", event.text);
        assert_eq!(event.json["time"], json!(rfc3339(server, number("ts_us"))));
    });
}

fn attributes(event: &Event, connector: &str) {
    let attribute =
        |name: &str| event.json[name].as_str().unwrap_or_else(|| panic!("no {name}: {}", event.text));
    assert_eq!(attribute("specversion"), "1.0");
    assert_eq!(attribute("source"), format!("/flowd/{connector}/orders"));
    assert_eq!(attribute("type"), "flowd.change.c");
    assert_eq!(attribute("subject"), "test.or_ders");
    assert_eq!(attribute("datacontenttype"), "application/cloudevents+json");
    assert_eq!(attribute("partitionkey"), r#"{"b":"x","a":2}"#);
    assert!(event.id().is_ascii() && event.id().len() <= 200, "id {}", event.id());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let built = u128::from(event.data()["ts_ms"].as_u64().unwrap());
    assert!(built <= now && built + 60_000 > now, "built at {built}, now {now}");
}

/// The server's own rendering of an instant.
fn rfc3339(server: &Server, time_us: u64) -> String {
    let (seconds, micros) = (time_us / 1_000_000, time_us % 1_000_000);
    server.run(&format!("SET time_zone='+00:00'; SELECT CONCAT(DATE_FORMAT(FROM_UNIXTIME({seconds}), '%Y-%m-%dT%H:%i:%s'), '.{micros:06}Z')"))[0][0].clone()
}

/// The GTID of the newest transaction.
fn last_gtid(server: &Server) -> String {
    let set = server.gtid();
    match set.rsplit_once(':') {
        Some((uuid, range)) if server.kind.is_mysql() => {
            format!("{uuid}:{}", range.rsplit('-').next().unwrap())
        }
        _ => set,
    }
}

/// Where `source.pos` of the newest transaction must point: the ROWS event, or the GTID event where the server's
/// events carry no position of their own.
fn rows_event_position(server: &Server) -> (String, String) {
    let wanted = if server.kind == Kind::MariaDb11 { "Gtid" } else { "Write_rows" };
    let (file, _) = server.position();
    let events = server.run(&format!("SHOW BINLOG EVENTS IN '{file}'"));
    let newest =
        events.iter().rev().find(|event| event[2].starts_with(wanted) && event[2] != "Gtid_list").unwrap();
    (newest[0].clone(), newest[1].clone())
}

#[test]
fn every_change_has_its_own_id_however_many_rows_an_event_holds() {
    on_every_server(|server| {
        let mut sql = server.sql();
        sql.run("CREATE DATABASE test; USE test; CREATE TABLE a (id INT PRIMARY KEY, t VARCHAR(500)); CREATE TABLE b LIKE a");
        let values: Vec<String> = (0..300).map(|id| format!("({id}, REPEAT('x', 400))")).collect();
        // Several events of one transaction, two tables in turn, and key changes that have two halves.
        for table in ["a", "b"] {
            sql.run(&format!("BEGIN; INSERT INTO {table} VALUES {}", values.join(",")));
            sql.run(&format!(
                "UPDATE {table} SET t = 'y'; UPDATE {table} SET id = id + 1000; DELETE FROM {table}; COMMIT"
            ));
        }

        let job = Job::new(server);
        job.catch_up();

        let events = job.events();
        assert_eq!(events.len(), 2 * 5 * 300);
        assert_eq!(events.first_occurrences().len(), events.len(), "two changes share an id");
        let one_table = Job::new(server).set("connectorConfig.tableIncludeList", "[\"test.b\"]");
        one_table.catch_up();
        let (all, some) = (events.of("b"), one_table.events());
        assert!(all.iter().map(Event::id).eq(some.iter().map(Event::id)), "ids depend on the filter");
    });
}

#[test]
fn a_partial_row_image_leaves_absent_columns_out() {
    on_every_server(|server| {
        let mut sql = server.sql();
        sql.run("CREATE DATABASE test; USE test; CREATE TABLE t (id INT PRIMARY KEY, a INT, n INT, x TEXT)");
        sql.run("SET SESSION binlog_row_image = MINIMAL; INSERT INTO t VALUES (1, 1, NULL, 'x'); UPDATE t SET a = NULL WHERE id = 1");
        sql.run("UPDATE t SET id = 2 WHERE id = 1; DELETE FROM t WHERE id = 2");
        sql.run("SET SESSION binlog_row_image = NOBLOB; INSERT INTO t VALUES (3, 1, NULL, 'x'); UPDATE t SET a = 2 WHERE id = 3");
        sql.run("UPDATE t SET x = 'y' WHERE id = 3; DELETE FROM t WHERE id = 3");

        let job = Job::new(server);
        job.catch_up();

        let inserted = |id: i64| json!({"id": id, "a": 1, "n": null, "x": "x"});
        let expected = [
            ("c", Value::Null, inserted(1)),
            ("u", json!({"id": 1}), json!({"a": null})),
            ("d", json!({"id": 1}), Value::Null),
            ("c", Value::Null, json!({"id": 2})),
            ("d", json!({"id": 2}), Value::Null),
            ("c", Value::Null, inserted(3)),
            ("u", json!({"id": 3, "a": 1, "n": null}), json!({"id": 3, "a": 2, "n": null})),
            ("u", json!({"id": 3, "a": 2, "n": null}), json!({"id": 3, "a": 2, "n": null, "x": "y"})),
            ("d", json!({"id": 3, "a": 2, "n": null}), Value::Null),
        ];
        let events = job.events();
        let arrived: Vec<_> =
            events.iter().map(|event| (event.op(), event.before().clone(), event.after().clone())).collect();
        assert_eq!(arrived, expected);
        let keys: Vec<&str> = events.iter().map(|event| event.key().unwrap()).collect();
        let ids = [1, 1, 1, 2, 2, 3, 3, 3, 3].map(|id| format!(r#"{{"id":{id}}}"#));
        assert_eq!(keys, ids);
    });
}

#[test]
fn the_key_is_the_primary_key_or_the_first_unique_one_without_null() {
    on_every_server(|server| {
        let mut sql = server.sql();
        sql.run("CREATE DATABASE test; USE test");
        sql.run("CREATE TABLE u (a INT, b INT NOT NULL, c INT NOT NULL, UNIQUE (a), UNIQUE second (c, b), UNIQUE third (b))");
        sql.run("CREATE TABLE n (a INT, UNIQUE (a)); CREATE TABLE p (t TEXT, i INT, PRIMARY KEY (t(3), i))");
        sql.run(
            "INSERT INTO u VALUES (1, 2, 3); INSERT INTO n VALUES (1); INSERT INTO p VALUES ('abcdef', 1)",
        );

        let job = Job::new(server);
        job.catch_up();

        let keys: Vec<Option<String>> =
            job.events().iter().map(|event| event.key().map(str::to_owned)).collect();
        let some = |key: &str| Some(key.to_owned());
        assert_eq!(keys, [some(r#"{"c":3,"b":2}"#), None, some(r#"{"t":"abcdef","i":1}"#)]);
    });
}

#[test]
fn generated_and_invisible_columns_are_part_of_the_row() {
    on_every_server(|server| {
        let mut sql = server.sql();
        sql.run("CREATE DATABASE test; USE test");
        sql.run("CREATE TABLE t (id INT PRIMARY KEY, v INT AS (id + 1) VIRTUAL, s INT AS (id + 2) STORED, h INT INVISIBLE DEFAULT 7)");
        sql.run("INSERT INTO t (id) VALUES (1)");

        let job = Job::new(server);
        job.catch_up();

        assert_eq!(job.events().0[0].after(), &json!({"id": 1, "v": 2, "s": 3, "h": 7}));
    });
}

#[test]
fn what_was_rolled_back_never_arrives() {
    on_every_server(|server| {
        let mut sql = server.sql();
        sql.run("CREATE DATABASE test; USE test; CREATE TABLE t (id INT PRIMARY KEY); CREATE TABLE m (id INT PRIMARY KEY) ENGINE=MyISAM");
        sql.run("BEGIN; INSERT INTO t VALUES (1); ROLLBACK; BEGIN; INSERT INTO t VALUES (2); SAVEPOINT s; INSERT INTO t VALUES (3)");
        sql.run("ROLLBACK TO s; INSERT INTO t VALUES (4); COMMIT; INSERT INTO m VALUES (5)");

        let job = Job::new(server);
        job.catch_up();

        let ids: Vec<i64> = job.events().iter().map(|event| event.after()["id"].as_i64().unwrap()).collect();
        assert_eq!(ids, [2, 4, 5]);
    });
}

#[test]
fn filters_choose_tables_and_columns() {
    on_every_server(|server| {
        let mut sql = server.sql();
        for schema in ["test", "testing"] {
            sql.run(&format!("CREATE DATABASE {schema}; USE {schema}"));
            sql.run("CREATE TABLE a (id INT PRIMARY KEY, secret INT, n INT); CREATE TABLE b LIKE a; CREATE TABLE c LIKE a");
            sql.run("INSERT INTO a VALUES (1, 2, 3); INSERT INTO b VALUES (1, 2, 3); INSERT INTO c VALUES (1, 2, 3)");
            sql.run("UPDATE a SET secret = 9");
        }

        let job = Job::new(server)
            .set("connectorConfig.tableIncludeList", r#"["test.*", "testing.a"]"#)
            .set("connectorConfig.tableExcludeList", r#"["*.b"]"#)
            .set("connectorConfig.columnExcludeList", r#"["test.a.secret"]"#);
        job.catch_up();

        let arrived: Vec<(String, &str, bool)> = job
            .events()
            .0
            .iter()
            .map(|event| {
                let name = format!("{}.{}", event.data()["source"]["db"].as_str().unwrap(), event.table());
                let op = if event.op() == "u" { "u" } else { "c" };
                (name, op, event.after().get("secret").is_some())
            })
            .collect();
        let names = |name: &str, op: &'static str, secret| (name.to_owned(), op, secret);
        let expected = [
            names("test.a", "c", false),
            names("test.c", "c", true),
            names("test.a", "u", false),
            names("testing.a", "c", true),
            names("testing.a", "u", true),
        ];
        assert_eq!(arrived, expected);
    });
}

#[test]
fn a_table_without_key_keeps_its_order_and_has_no_partition_key() {
    on_every_server(|server| {
        let mut sql = server.sql();
        sql.run("CREATE DATABASE test; USE test; CREATE TABLE t (a INT, b INT)");
        sql.run("INSERT INTO t VALUES (1, 1), (1, 1), (2, 2); UPDATE t SET a = 7 WHERE a = 1; DELETE FROM t WHERE a = 7 LIMIT 1");

        let job = Job::new(server);
        job.catch_up();

        let events = job.events();
        assert_eq!(events.ops(), "cccuud");
        assert!(events.iter().all(|event| event.key().is_none()));
        assert_eq!(events.first_occurrences().len(), 6, "equal rows have different ids");
    });
}

#[test]
fn a_type_that_is_not_transported_stops_and_names_its_column() {
    let refused = |kinds: &[Kind], column: &str, said: &str| {
        on(kinds, &[], |server| {
            server.run("CREATE DATABASE test; CREATE TABLE test.fine (id INT PRIMARY KEY); INSERT INTO test.fine VALUES (1)");
            server.run(&format!("CREATE TABLE test.t (id INT PRIMARY KEY, strange {column}); INSERT INTO test.t (id) VALUES (1)"));
            let job = Job::new(server);
            let outcome = job.start(&["--stop-at", "end"]).wait();
            outcome
                .expect_code(4)
                .expect_log("test.t")
                .expect_log("strange")
                .expect_log(said)
                .expect_log("columnExcludeList");
            assert_eq!(job.events().len(), 1);

            let job = Job::new(server).set("connectorConfig.columnExcludeList", "[\"test.t.strange\"]");
            job.catch_up();
            assert_eq!(job.events().len(), 2);
        });
    };
    refused(&ALL, "VARCHAR(9) CHARACTER SET big5", "big5");
    refused(&ALL, "GEOMETRY", "GEOMETRY");
    refused(&[Kind::MySql9], "VECTOR(3)", "VECTOR");
    refused(&ALL[..2], "INET6", "INET6");
}
