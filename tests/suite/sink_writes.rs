//! The mysql-sink's store on real servers: what events make of a table, each once, and what becomes of those that it
//! cannot take. The events are made by hand; order and duplicates are the business of others.

use std::sync::Arc;

use flowd_engine::failure::Failure;
use flowd_engine::setting::Settings;
use flowd_mysql::sink::config::{MySqlSinkConfig, SETTINGS};
use flowd_mysql::sink::store::MySqlStore;
use flowd_sink::store::{Applied, LaneApplied, Op, Refused, Store, StoreEvent};
use serde_json::Value;

use super::{on, on_every_server};
use crate::harness::{Kind, Server, Sql};

mod random;
mod records;

/// The servers on which statements differ.
const FAMILIES: [Kind; 2] = [Kind::MariaDb11, Kind::MySql9];

/// An event of the table `t` of the source's database `shop`.
#[derive(Debug, Clone)]
pub(in crate::suite) struct Given {
    op: Op,
    table: &'static str,
    before: Option<String>,
    after: Option<String>,
    plain: Option<String>,
}

impl Given {
    fn new(op: Op, before: Option<&Value>, after: Option<&Value>) -> Self {
        let text = |value: &Value| value.to_string();
        Self { op, table: "t", before: before.map(text), after: after.map(text), plain: None }
    }

    pub(in crate::suite) fn of(mut self, table: &'static str) -> Self {
        self.table = table;
        self
    }
}

pub(in crate::suite) fn created(after: &Value) -> Given {
    Given::new(Op::Create, None, Some(after))
}

pub(in crate::suite) fn updated(before: &Value, after: &Value) -> Given {
    Given::new(Op::Update, Some(before), Some(after))
}

pub(in crate::suite) fn deleted(before: &Value) -> Given {
    Given::new(Op::Delete, Some(before), None)
}

pub(in crate::suite) fn truncated() -> Given {
    Given::new(Op::Truncate, None, None)
}

pub(in crate::suite) fn plain(data: &str) -> Given {
    Given { plain: Some(data.to_owned()), ..Given::new(Op::Create, None, None) }
}

/// A store that is open.
pub(in crate::suite) struct Target {
    pub(in crate::suite) store: Box<dyn Store>,
    pub(in crate::suite) loaded: Applied,
}

impl Target {
    /// Opens it.
    pub(in crate::suite) fn of(mut store: Box<dyn Store>) -> Self {
        let loaded = store.open().expect("the target can be used");
        Self { store, loaded }
    }

    /// With these settings besides.
    pub(in crate::suite) fn open_with(server: &Server, more: &[(&str, &str)]) -> Self {
        Self::of(Box::new(MySqlStore::new(config(server, "copy", more))))
    }

    pub(in crate::suite) fn open(server: &Server) -> Self {
        Self::open_with(server, &[])
    }

    pub(in crate::suite) fn try_put(
        &mut self,
        events: &[Given],
        applied: &Applied,
    ) -> Result<Vec<Refused>, Failure> {
        let events: Vec<StoreEvent<'_>> = events
            .iter()
            .map(|given| StoreEvent {
                op: given.op,
                db: if given.plain.is_some() { "" } else { "shop" },
                table: if given.plain.is_some() { "" } else { given.table },
                before: given.before.as_deref().map(str::as_bytes),
                after: given.after.as_deref().map(str::as_bytes),
                plain: given.plain.as_deref().map(str::as_bytes),
                id: b"id",
            })
            .collect();
        self.store.put(&events, applied)
    }

    /// All of them are taken.
    pub(in crate::suite) fn put(&mut self, events: &[Given]) {
        assert_eq!(self.refused(events), []);
    }

    pub(in crate::suite) fn refused(&mut self, events: &[Given]) -> Vec<Refused> {
        self.try_put(events, &Applied::default()).expect("the target can be used")
    }

    /// The one event that is refused, and why.
    pub(in crate::suite) fn one_refused(&mut self, events: &[Given]) -> Refused {
        let refused = self.refused(events);
        assert_eq!(refused.len(), 1, "{refused:?}");
        refused.into_iter().next().unwrap()
    }
}

/// Of two values of one setting, the one in `more` counts.
fn config(server: &Server, name: &str, more: &[(&str, &str)]) -> MySqlSinkConfig {
    let port = server.port.to_string();
    let usual = [
        ("hostname", "127.0.0.1"),
        ("port", &*port),
        ("user", "app"),
        ("password", "app"),
        ("database", "test"),
    ];
    let settings = Settings::of(name, SETTINGS, &[&usual, more].concat()).expect("possible values");
    MySqlSinkConfig::read(&settings).expect("possible settings")
}

/// A session in the target's database, made anew, with the table that `columns` say.
pub(in crate::suite) fn with_table(server: &Server, columns: &str) -> Sql {
    let mut sql = server.sql();
    sql.run("SET time_zone = '+00:00'; DROP DATABASE IF EXISTS test; CREATE DATABASE test; USE test");
    sql.run(&format!("CREATE TABLE t ({columns})"));
    sql
}

pub(in crate::suite) fn row(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

/// A row of the columns `id` and `v`.
pub(in crate::suite) fn pair(id: i64, v: &str) -> Value {
    serde_json::json!({"id": id, "v": v})
}

fn rows(sql: &mut Sql) -> Vec<String> {
    sql.run("SELECT * FROM t ORDER BY 1, 2").into_iter().map(|row| row.join("|")).collect()
}

pub(in crate::suite) fn lane(lane: u16, epoch: u64, sequence: u64) -> LaneApplied {
    LaneApplied { source: Arc::from("/flowd/mysql/x"), topic: Arc::from("shop.t"), lane, epoch, sequence }
}

pub(in crate::suite) fn lanes(lanes: Vec<LaneApplied>) -> Applied {
    Applied { lanes, ..Applied::default() }
}

#[test]
fn the_changes_of_a_key_keep_their_order_whatever_goes_into_one_statement() {
    on_every_server(|server| {
        for key in ["id INT PRIMARY KEY, v VARCHAR(9)", "id INT, v VARCHAR(9), PRIMARY KEY (id, v)"] {
            let mut sql = with_table(server, key);
            let mut target = Target::open(server);
            let mut events = Vec::new();
            for id in 0..40 {
                let (a, b) = (pair(id, "a"), pair(id, "b"));
                events.push(created(&a));
                match id % 4 {
                    0 => events.extend([deleted(&a), created(&b)]),
                    1 => events.extend([deleted(&a), created(&a), deleted(&a)]),
                    2 => events.extend([deleted(&a), created(&a), deleted(&a), created(&b), updated(&b, &b)]),
                    _ => {}
                }
            }
            target.put(&events);
            let expected: Vec<String> = (0..40)
                .filter(|id| id % 4 != 1)
                .map(|id| format!("{id}|{}", if id % 4 == 3 { "a" } else { "b" }))
                .collect();
            let mut found = rows(&mut sql);
            found.sort_by_key(|row| row.split('|').next().unwrap().parse::<i64>().unwrap());
            assert_eq!(found, expected, "{key}");
        }
    });
}

#[test]
fn every_change_fires_its_triggers_once() {
    on(&FAMILIES, &[], |server| {
        for before_insert in [false, true] {
            let mut sql = with_table(server, "id INT PRIMARY KEY, v VARCHAR(9)");
            sql.run("CREATE TABLE fired (what VARCHAR(9) PRIMARY KEY, n INT)");
            for event in ["INSERT", "UPDATE", "DELETE"] {
                let when = if before_insert && event == "INSERT" { "BEFORE" } else { "AFTER" };
                sql.run(&format!(
                    "CREATE TRIGGER on_{event} {when} {event} ON t FOR EACH ROW \
                     INSERT INTO fired VALUES ('{event}', 1) ON DUPLICATE KEY UPDATE n = n + 1"
                ));
            }
            let mut target = Target::open(server);
            let events: Vec<Given> = (0..10)
                .flat_map(|id| {
                    let (a, b) = (pair(id, "a"), pair(id, "b"));
                    [created(&a), updated(&a, &b), updated(&b, &a), deleted(&a)]
                })
                .collect();
            target.put(&events);
            let fired = sql.run("SELECT what, n FROM fired ORDER BY what");
            assert_eq!(fired, [["DELETE", "10"], ["INSERT", "10"], ["UPDATE", "20"]], "{before_insert}");
        }
    });
}

#[test]
fn a_duplicate_on_another_index_changes_no_row_and_may_be_taken_later() {
    on_every_server(|server| {
        let mut sql = with_table(server, "id INT PRIMARY KEY, v VARCHAR(9), UNIQUE (v)");
        sql.run("INSERT INTO t VALUES (1, 'a')");
        let mut target = Target::open(server);
        let (moved, taken) = (updated(&pair(1, "a"), &pair(1, "b")), created(&pair(2, "a")));

        let refused = target.one_refused(std::slice::from_ref(&taken));
        assert!(refused.later && refused.reason.contains("Duplicate"), "{refused:?}");
        assert_eq!(rows(&mut sql), ["1|a"]);
        let refused = target.one_refused(&[created(&pair(3, "c")), taken.clone(), moved.clone()]);
        assert!(refused.later && refused.index == 1, "{refused:?}");
        assert_eq!(rows(&mut sql), ["1|a"], "nothing is committed");
        let refused = target.one_refused(&[created(&pair(3, "c")), updated(&pair(3, "c"), &pair(3, "a"))]);
        assert!(refused.later && refused.index == 1, "{refused:?}");

        target.put(&[moved, taken]);
        assert_eq!(rows(&mut sql), ["1|b", "2|a"]);
        // What was there already is replaced by its key, also in a statement of several rows.
        target.put(&[created(&pair(4, "d")), created(&pair(2, "e")), updated(&pair(9, "x"), &pair(9, "y"))]);
        assert_eq!(rows(&mut sql), ["1|b", "2|e", "4|d", "9|y"]);
    });
}

#[test]
fn statements_that_are_sent_ahead_do_what_they_do_one_by_one() {
    on(&FAMILIES, &[], |server| {
        for warns in [false, true] {
            let mut sql = with_table(server, "id INT PRIMARY KEY, v VARCHAR(9), UNIQUE (v)");
            if warns {
                let body = "SIGNAL SQLSTATE '01000' SET MESSAGE_TEXT = 'heard'";
                sql.run(&format!("CREATE TRIGGER heard AFTER UPDATE ON t FOR EACH ROW {body}"));
            }
            let mut target = Target::open(server);
            let of = |id: i64, turn: i64| pair(id, &format!("{turn}-{id}"));
            target.put(&(0..200).map(|id| created(&of(id, 0))).collect::<Vec<_>>());
            // Row 50 stays as it is; 300 is not there, comes, and changes; the last but one changes nothing any more.
            let mut updates: Vec<Given> = (0..200).map(|id| updated(&of(id, 0), &of(id, 1))).collect();
            updates[50] = updated(&of(50, 0), &of(50, 0));
            updates.insert(60, updated(&of(300, 0), &of(300, 1)));
            updates.insert(70, updated(&of(300, 1), &of(300, 2)));
            updates.push(updated(&of(199, 0), &of(199, 1)));
            updates.push(updated(&of(199, 1), &of(199, 3)));
            target.put(&updates);
            let found = sql.run("SELECT LEFT(v, 1), COUNT(*) FROM t GROUP BY 1 ORDER BY 1");
            assert_eq!(found, [["0", "1"], ["1", "198"], ["2", "1"], ["3", "1"]]);

            updates.truncate(40);
            updates[20] = updated(&of(20, 1), &pair(20, "1-21"));
            updates[30] = updated(&of(30, 1), &pair(30, "far too long"));
            let refused = target.refused(&updates);
            let told: Vec<_> = refused.iter().map(|refused| (refused.index, refused.later)).collect();
            assert_eq!(told, [(20, true), (30, false)], "{refused:?}");
            assert_eq!(sql.run("SELECT v FROM t WHERE id IN (19, 20)"), [["1-19"], ["1-20"]]);
        }
    });
}

#[test]
fn a_key_changes_its_case_and_its_accents() {
    on_every_server(|server| {
        let collation = if server.kind.is_mysql() { "utf8mb4_0900_ai_ci" } else { "utf8mb4_general_ci" };
        let columns = format!("id VARCHAR(9) CHARACTER SET utf8mb4 COLLATE {collation} PRIMARY KEY, v INT");
        let mut sql = with_table(server, &columns);
        let mut target = Target::open(server);
        let of = |id: &str, v: i64| serde_json::json!({"id": id, "v": v});
        let step = |target: &mut Target, sql: &mut Sql, events: &[Given], expected: &str| {
            target.put(events);
            assert_eq!(rows(sql), [expected]);
        };
        step(&mut target, &mut sql, &[created(&of("resume", 1))], "resume|1");
        // By DELETE and INSERT, which is also how a change of the key arrives.
        step(&mut target, &mut sql, &[deleted(&of("resume", 1)), created(&of("Résumé", 2))], "Résumé|2");
        step(&mut target, &mut sql, &[deleted(&of("Résumé", 2)), created(&of("RESUME", 3))], "RESUME|3");
        // By one UPDATE.
        step(&mut target, &mut sql, &[updated(&of("RESUME", 3), &of("résumé", 4))], "résumé|4");
        // What is there already in another writing is written as the event has it.
        step(&mut target, &mut sql, &[created(&of("Resume", 5)), created(&of("RESUMÉ", 6))], "RESUMÉ|6");
    });
}

#[test]
fn a_row_whose_key_at_the_target_changes_is_moved() {
    on(&FAMILIES, &[], |server| {
        for more in ["", ", UNIQUE (w)"] {
            let mut sql = with_table(server, &format!("id INT PRIMARY KEY, v VARCHAR(9), w INT{more}"));
            sql.run("INSERT INTO t VALUES (1, 'a', 1), (5, 'e', 5)");
            let mut target = Target::open(server);
            let of = |id: i64| serde_json::json!({"id": id, "v": "a", "w": id});
            target.put(&[updated(&of(1), &of(2)), updated(&of(7), &of(8))]);
            assert_eq!(rows(&mut sql), ["2|a|2", "5|e|5", "8|a|8"]);
            assert!(target.one_refused(&[updated(&of(2), &of(5))]).later);
        }
    });
}

#[test]
fn an_update_without_all_columns_updates_only() {
    on(&FAMILIES, &[], |server| {
        let mut sql = with_table(server, "id INT PRIMARY KEY, v VARCHAR(9), w INT NOT NULL DEFAULT 7");
        let mut target = Target::open(server);
        target.put(&[created(&pair(1, "a"))]);
        assert_eq!(rows(&mut sql), ["1|a|7"]);
        target.put(&[updated(&pair(1, "a"), &pair(1, "b")), updated(&pair(1, "b"), &pair(1, "b"))]);
        assert_eq!(rows(&mut sql), ["1|b|7"]);
        // The image may have the changed columns alone; the other tells the row.
        target.put(&[updated(&row(r#"{"id":1}"#), &row(r#"{"w":8}"#))]);
        assert_eq!(rows(&mut sql), ["1|b|8"]);
        let refused = target.one_refused(&[updated(&pair(2, "a"), &pair(2, "b"))]);
        assert!(refused.reason.contains("no row with `id`=2") && !refused.later, "{refused:?}");
        assert_eq!(rows(&mut sql), ["1|b|8"]);
    });
}

#[test]
fn rows_without_a_key_are_matched_whole_and_one_at_a_time() {
    on_every_server(|server| {
        let mut sql = with_table(server, "id INT, v VARCHAR(9)");
        let mut target = Target::open(server);
        let null = row(r#"{"id":1,"v":null}"#);
        target.put(&[created(&null), created(&null), created(&pair(1, "A")), created(&pair(1, "a"))]);
        target.put(&[
            deleted(&null),
            updated(&pair(1, "a"), &pair(1, "b")),
            updated(&pair(1, "A"), &pair(1, "A")),
        ]);
        assert_eq!(rows(&mut sql), ["1|NULL", "1|A", "1|b"]);
        for event in [deleted(&pair(1, "a")), updated(&pair(1, "B"), &pair(1, "c"))] {
            let refused = target.one_refused(&[created(&pair(2, "x")), event]);
            assert!(refused.reason.contains("no row that is `before`") && refused.index == 1, "{refused:?}");
        }
        assert_eq!(rows(&mut sql), ["1|NULL", "1|A", "1|b"]);
    });
}

#[test]
fn a_table_with_a_key_that_the_source_does_not_have_is_matched_whole() {
    on(&FAMILIES, &[], |server| {
        let mut sql = with_table(server, "id INT, v VARCHAR(9), n INT AUTO_INCREMENT PRIMARY KEY");
        let mut target = Target::open(server);
        target.put(&[created(&pair(1, "a")), created(&pair(1, "a")), deleted(&pair(1, "a"))]);
        target.put(&[updated(&pair(1, "a"), &pair(1, "b"))]);
        assert_eq!(sql.run("SELECT id, v FROM t"), [["1", "b"]]);
    });
}

#[test]
fn what_is_refused_is_named_all_of_it_and_nothing_is_committed() {
    on_every_server(|server| {
        let mut sql = with_table(server, "id INT PRIMARY KEY, v VARCHAR(3) NOT NULL, CHECK (v <> 'bad')");
        let mut target = Target::open(server);
        let events = [
            created(&pair(1, "a")),
            created(&pair(2, "long")),
            created(&row(r#"{"id":3,"v":null}"#)),
            created(&pair(4, "bad")),
            created(&pair(1 << 40, "a")),
            created(&row(r#"{"id":6,"v":"a","z":1}"#)),
            created(&pair(7, "a")).of("absent"),
            created(&row(r#"{"id":8}"#)),
            Given::new(Op::Create, None, None),
            Given { after: Some("{\"id\":9,".into()), ..created(&pair(9, "a")) },
            plain("{}"),
            created(&pair(11, "b")),
        ];
        let parts = [
            "'v'",
            "'v'",
            "CONSTRAINT|onstraint",
            "column `id` of test.t: 1099511627776 is out of range",
            "test.t has no column `z`",
            "no table test.absent",
            "'v'",
            "no `after`",
            "`after` is no row",
            "plainTable",
        ];
        let refused = target.refused(&events);
        assert_eq!(
            refused.iter().map(|refused| refused.index).collect::<Vec<_>>(),
            (1..=10).collect::<Vec<_>>()
        );
        for (refused, part) in refused.iter().zip(parts) {
            let found = part.split('|').any(|part| refused.reason.contains(part));
            assert!(found && !refused.later, "{part}: {refused:?}");
        }
        assert_eq!(rows(&mut sql), Vec::<String>::new());
        target.put(&[events[0].clone(), events[11].clone()]);
        assert_eq!(rows(&mut sql), ["1|a", "11|b"]);
    });
}

#[test]
fn a_column_that_the_target_was_given_meanwhile_is_known() {
    on(&FAMILIES, &[], |server| {
        let mut sql = with_table(server, "id INT PRIMARY KEY, v VARCHAR(9)");
        let mut target = Target::open(server);
        target.put(&[created(&pair(1, "a"))]);
        sql.run("ALTER TABLE t ADD COLUMN w INT");
        target.put(&[created(&row(r#"{"id":2,"v":"b","w":3}"#))]);
        sql.run("ALTER TABLE t DROP COLUMN v");
        target.put(&[created(&row(r#"{"id":3,"w":4}"#))]);
        let refused = target.one_refused(&[created(&row(r#"{"id":4,"v":"b","w":3}"#))]);
        assert!(refused.reason.contains("no column `v`"), "{refused:?}");
        assert_eq!(rows(&mut sql), ["1|NULL", "2|3", "3|4"]);
    });
}

#[test]
fn generated_columns_are_left_out() {
    on_every_server(|server| {
        let columns = "id INT PRIMARY KEY, v VARCHAR(9), g INT AS (id + 1) STORED, h INT AS (id + 2) VIRTUAL";
        let mut sql = with_table(server, columns);
        let mut target = Target::open(server);
        target.put(&[
            created(&row(r#"{"id":1,"v":"a","g":99,"h":99}"#)),
            updated(&row(r#"{"id":1,"v":"a","g":2,"h":3}"#), &row(r#"{"id":1,"v":"b","g":2,"h":3}"#)),
        ]);
        assert_eq!(rows(&mut sql), ["1|b|2|3"]);
    });
}

#[test]
fn plain_events_go_into_the_table_that_is_named_by_the_key_that_is_named() {
    on(&FAMILIES, &[], |server| {
        let mut sql = with_table(server, "id INT PRIMARY KEY, v VARCHAR(9), j JSON");
        let mut target = Target::open_with(server, &[("plainTable", "t")]);
        // A JSON column of MariaDB is one of text, where a string is a document's text.
        let text = if server.kind.is_mysql() { "text" } else { "\"text\"" };
        target.put(&[
            plain(r#"{"id":1,"v":"a","j":{"k":[1]}}"#),
            plain(r#"{"id":1,"v":"b"}"#),
            plain(&serde_json::json!({"id": 2, "v": "c", "j": text}).to_string()),
        ]);
        assert_eq!(sql.run("SELECT v, JSON_TYPE(j) FROM t ORDER BY id"), [["b", "OBJECT"], ["c", "STRING"]]);
        let refused = target.one_refused(&[plain("[1]")]);
        assert!(refused.reason.contains("no object of columns"), "{refused:?}");
        target.store.close();

        let mut target = Target::open_with(server, &[("plainTable", "t"), ("plainKey", "v")]);
        target.put(&[plain(r#"{"id":7,"v":"b"}"#), plain(r#"{"id":8,"v":"d"}"#)]);
        assert_eq!(sql.run("SELECT id, v FROM t ORDER BY id"), [["2", "c"], ["7", "b"], ["8", "d"]]);
        let refused = target.one_refused(&[plain(r#"{"id":9}"#)]);
        assert!(refused.reason.contains("plainKey: v"), "{refused:?}");
    });
}

#[test]
fn a_mapped_table_is_written_where_the_mapping_says() {
    on(&[Kind::MariaDb11], &[], |server| {
        let mut sql = with_table(server, "id INT PRIMARY KEY, v VARCHAR(9)");
        sql.run("CREATE TABLE `odd``name` LIKE t; CREATE DATABASE IF NOT EXISTS test2; CREATE OR REPLACE TABLE test2.old_u LIKE t");
        let mut target =
            Target::open_with(server, &[("tableMapping", "shop.t=odd`name, shop.*=test2.old_*")]);
        target.put(&[created(&pair(1, "a")), created(&pair(2, "b")).of("u")]);
        assert_eq!(sql.run("SELECT id FROM `odd``name`"), [["1"]]);
        assert_eq!(sql.run("SELECT id FROM test2.old_u"), [["2"]]);
    });
}
