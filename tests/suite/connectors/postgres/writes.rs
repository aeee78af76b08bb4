//! The store on a real server: what events make of a table, each once, and what becomes of those that it cannot take.
//! The events are made by hand; order and duplicates are the business of others.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use super::{on_every_version, open, open_with, rows, with};
use crate::harness::Postgres;
use crate::suite::sink_writes::{Given, created, deleted, pair, plain, row, updated};

#[test]
fn the_changes_of_a_key_keep_their_order_whatever_goes_into_one_statement() {
    let server = Postgres::start();
    for key in [
        "id int PRIMARY KEY, v text",
        "id int, v text, PRIMARY KEY (id, v)",
        "id numeric PRIMARY KEY, v text",
    ] {
        let mut sql = with(&server, &format!("CREATE TABLE t ({key})"));
        let mut target = open(&server);
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
        assert_eq!(rows(&mut sql), expected, "{key}");
        target.store.close();
    }
}

#[test]
fn every_change_fires_its_triggers_once() {
    let server = Postgres::start();
    for before_insert in [false, true] {
        let mut sql = with(&server, "CREATE TABLE t (id int PRIMARY KEY, v text)");
        sql.run(
            "CREATE TABLE fired (what text PRIMARY KEY, n int); \
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             INSERT INTO fired VALUES (TG_OP, 1) ON CONFLICT (what) DO UPDATE SET n = fired.n + 1; \
             RETURN coalesce(NEW, OLD); END $$",
        );
        for event in ["INSERT", "UPDATE", "DELETE"] {
            let when = if before_insert && event == "INSERT" { "BEFORE" } else { "AFTER" };
            sql.run(&format!(
                "CREATE TRIGGER on_{event} {when} {event} ON t FOR EACH ROW EXECUTE FUNCTION note()"
            ));
        }
        let mut target = open(&server);
        let events: Vec<Given> = (0..10)
            .flat_map(|id| {
                let (a, b) = (pair(id, "a"), pair(id, "b"));
                [created(&a), updated(&a, &b), updated(&b, &a), deleted(&a)]
            })
            .collect();
        target.put(&events);
        let fired = sql.run("SELECT what, n FROM fired ORDER BY what");
        assert_eq!(fired, [["DELETE", "10"], ["INSERT", "10"], ["UPDATE", "20"]], "{before_insert}");
        target.store.close();
    }
}

#[test]
fn a_duplicate_on_another_index_changes_no_row_and_may_be_taken_later() {
    on_every_version(|server| {
        let mut sql =
            with(server, "CREATE TABLE t (id int PRIMARY KEY, v text UNIQUE); INSERT INTO t VALUES (1, 'a')");
        let mut target = open(server);
        let (moved, taken) = (updated(&pair(1, "a"), &pair(1, "b")), created(&pair(2, "a")));

        let refused = target.one_refused(std::slice::from_ref(&taken));
        assert!(refused.later && refused.reason.contains("duplicate key"), "{refused:?}");
        assert_eq!(rows(&mut sql), ["1|a"]);
        let refused = target.one_refused(&[created(&pair(3, "c")), taken.clone(), moved.clone()]);
        assert!(refused.later && refused.index == 1, "{refused:?}");
        assert_eq!(rows(&mut sql), ["1|a"], "nothing is committed");

        target.put(&[moved, taken]);
        assert_eq!(rows(&mut sql), ["1|b", "2|a"]);
        target.put(&[created(&pair(4, "d")), created(&pair(2, "e")), updated(&pair(9, "x"), &pair(9, "y"))]);
        assert_eq!(rows(&mut sql), ["1|b", "2|e", "4|d", "9|y"]);
    });
}

#[test]
fn a_row_whose_foreign_key_misses_its_row_waits_for_it_and_order_among_tables_is_kept() {
    let server = Postgres::start();
    for deferred in ["", " DEFERRABLE INITIALLY DEFERRED"] {
        let mut sql = with(
            &server,
            &format!(
                "CREATE TABLE parent (id int PRIMARY KEY); \
                 CREATE TABLE t (id int PRIMARY KEY, parent int REFERENCES parent{deferred})"
            ),
        );
        let mut target = open(&server);
        let child = |id: i64| json!({"id": id, "parent": id});
        let parent = |id: i64| json!({"id": id});
        let refused = target.one_refused(&[created(&child(1))]);
        assert!(refused.later && refused.reason.contains("foreign key"), "{refused:?}");
        let refused =
            target.one_refused(&[created(&parent(2)).of("parent"), created(&child(3)), created(&child(2))]);
        assert!(refused.later && refused.index == 1, "{refused:?}");
        target.put(&[
            created(&parent(1)).of("parent"),
            created(&child(1)),
            deleted(&child(1)),
            deleted(&parent(1)).of("parent"),
            created(&parent(2)).of("parent"),
            created(&child(2)),
        ]);
        assert_eq!(rows(&mut sql), ["2|2"]);
        target.store.close();
    }
}

#[test]
fn as_a_replica_no_trigger_fires_and_no_foreign_key_is_checked_where_the_role_may() {
    let server = Postgres::start();
    let mut sql = with(
        &server,
        "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE t (id int PRIMARY KEY, v int REFERENCES parent)",
    );
    let replica = [("sessionReplicationRole", "replica")];
    let mut store = flowd_postgres::store::PostgresStore::new(super::config(&server, "copy", &replica));
    let refused = flowd_sink::store::Store::open(&mut store).expect_err("the role may not");
    assert!(
        refused.message().contains("GRANT SET ON PARAMETER session_replication_role TO \"app\""),
        "{refused}"
    );
    sql.run("RESET ROLE; GRANT SET ON PARAMETER session_replication_role TO app");
    let mut target = open_with(&server, &replica);
    target.put(&[created(&json!({"id": 1, "v": 7}))]);
    assert_eq!(rows(&mut sql), ["1|7"]);
}

#[test]
fn a_row_whose_key_at_the_target_changes_is_moved() {
    let server = Postgres::start();
    for more in ["", ", UNIQUE (w)"] {
        let mut sql = with(&server, &format!("CREATE TABLE t (id int PRIMARY KEY, v text, w int{more})"));
        sql.run("INSERT INTO t VALUES (1, 'a', 1), (5, 'e', 5)");
        let mut target = open(&server);
        let of = |id: i64| json!({"id": id, "v": "a", "w": id});
        target.put(&[updated(&of(1), &of(2)), updated(&of(7), &of(8))]);
        assert_eq!(rows(&mut sql), ["2|a|2", "5|e|5", "8|a|8"]);
        assert!(target.one_refused(&[updated(&of(2), &of(5))]).later);
        target.store.close();
    }
}

#[test]
fn a_key_changes_its_case_where_case_tells_no_rows_apart() {
    let server = Postgres::start();
    let kinds = ["citext", "text COLLATE folding"];
    for (kind, trigger) in kinds.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let mut sql = with(
            &server,
            "RESET ROLE; CREATE EXTENSION citext; SET ROLE app; \
             CREATE COLLATION folding (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        );
        sql.run(&format!(
            "CREATE TABLE t (id {kind} PRIMARY KEY, v int); CREATE TABLE bare (id {kind}, v int)"
        ));
        if trigger {
            sql.run(
                "CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$; \
                 CREATE TRIGGER passed BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION pass()",
            );
        }
        let mut target = open(&server);
        let of = |id: &str, v: i64| json!({"id": id, "v": v});
        target.put(&[created(&of("a", 1)), updated(&of("a", 1), &of("a", 2)), created(&of("A", 3))]);
        assert_eq!(rows(&mut sql), ["A|3"], "{kind}, {trigger}");
        target.put(&[created(&of("a", 4)), deleted(&of("A", 4)), created(&of("b", 5))]);
        assert_eq!(rows(&mut sql), ["b|5"], "{kind}, {trigger}");
        target.put(&[
            created(&of("x", 1)).of("bare"),
            created(&of("X", 1)).of("bare"),
            deleted(&of("X", 1)).of("bare"),
        ]);
        assert_eq!(sql.run("SELECT id FROM bare"), [["x"]], "{kind}");
        target.store.close();
    }
}

#[test]
fn an_update_without_all_columns_updates_only() {
    let server = Postgres::start();
    let mut sql = with(&server, "CREATE TABLE t (id int PRIMARY KEY, v text, w int NOT NULL DEFAULT 7)");
    let mut target = open(&server);
    target.put(&[created(&pair(1, "a"))]);
    assert_eq!(rows(&mut sql), ["1|a|7"]);
    target.put(&[updated(&pair(1, "a"), &pair(1, "b")), updated(&pair(1, "b"), &pair(1, "b"))]);
    assert_eq!(rows(&mut sql), ["1|b|7"]);
    // The image may have the changed columns alone; the other tells the row.
    target.put(&[updated(&row(r#"{"id":1}"#), &row(r#"{"w":8}"#))]);
    assert_eq!(rows(&mut sql), ["1|b|8"]);
    let refused =
        target.one_refused(&[updated(&pair(1, "b"), &pair(1, "c")), updated(&pair(2, "a"), &pair(2, "b"))]);
    assert!(refused.reason.contains("no row with \"id\"=2") && !refused.later, "{refused:?}");
    assert_eq!(rows(&mut sql), ["1|b|8"]);
}

#[test]
fn rows_without_a_key_are_matched_whole_and_one_at_a_time() {
    on_every_version(|server| {
        for kind in ["", " PARTITION BY LIST (id); CREATE TABLE part PARTITION OF t DEFAULT"] {
            let mut sql = with(server, &format!("CREATE TABLE t (id int, v text, d date){kind}"));
            let mut target = open_with(server, &[("zeroDates", "asNull")]);
            let of = |v: Option<&str>, d: &str| json!({"id": 1, "v": v, "d": d});
            let null = of(None, "0000-00-00");
            let (a, upper, b) =
                (of(Some("a"), "2020-01-01"), of(Some("A"), "2020-01-01"), of(Some("b"), "2020-01-01"));
            target.put(&[created(&null), created(&null), created(&upper), created(&a)]);
            target.put(&[deleted(&null), updated(&a, &b), updated(&upper, &upper)]);
            let mut found = rows(&mut sql);
            found.sort();
            assert_eq!(found, ["1|A|2020-01-01", "1|NULL|NULL", "1|b|2020-01-01"]);
            for event in [deleted(&a), updated(&of(Some("B"), "2020-01-01"), &b)] {
                let refused = target.one_refused(&[created(&a).of("t"), deleted(&a), event]);
                assert!(
                    refused.reason.contains("no row that is `before`") && refused.index == 2,
                    "{refused:?}"
                );
            }
            assert_eq!(rows(&mut sql).len(), 3);
            target.store.close();
        }
    });
}

#[test]
fn a_table_with_a_key_that_the_source_does_not_have_is_matched_whole() {
    let server = Postgres::start();
    let mut sql = with(
        &server,
        "CREATE TABLE t (id int, v text, n int GENERATED ALWAYS AS IDENTITY PRIMARY KEY); CREATE INDEX ON t (id)",
    );
    let mut target = open(&server);
    target.put(&[created(&pair(1, "a")), created(&pair(1, "a")), deleted(&pair(1, "a"))]);
    target.put(&[updated(&pair(1, "a"), &pair(1, "b"))]);
    assert_eq!(sql.run("SELECT id, v FROM t"), [["1", "b"]]);
}

#[test]
fn what_is_refused_is_named_with_its_column_and_nothing_is_committed() {
    on_every_version(|server| {
        let mut sql = with(
            server,
            "CREATE TYPE mood AS ENUM ('a', 'b'); CREATE DOMAIN good AS varchar(3) CHECK (VALUE <> 'bad'); \
             CREATE TABLE t (id int PRIMARY KEY, v good NOT NULL, m mood, j jsonb)",
        );
        let mut target = open(server);
        let good = created(&pair(1, "a"));
        for (event, part) in [
            (created(&pair(2, "long")), "column \"v\" of public.t: \"long\" has 4 characters"),
            (created(&pair(3, "a\u{0}")), "U+0000"),
            (created(&row(r#"{"id":3,"v":null}"#)), "null value in column \"v\""),
            (created(&pair(4, "bad")), "good_check"),
            (created(&pair(1 << 40, "a")), "column \"id\" of public.t: 1099511627776 is out of range"),
            (created(&row(r#"{"id":6,"v":"a","z":1}"#)), "public.t has no column \"z\""),
            (created(&row(r#"{"id":6,"v":"a","m":"c"}"#)), "column \"m\": invalid input value for enum"),
            (
                created(&row(r#"{"id":6,"v":"a","j":"{"}"#)),
                "column \"j\": invalid input syntax for type json",
            ),
            (created(&pair(7, "a")).of("absent"), "no table public.absent"),
            (created(&row(r#"{"id":8}"#)), "null value in column \"v\""),
            (plain("{}"), "plainTable"),
        ] {
            let refused = target.one_refused(&[good.clone(), event, created(&pair(11, "b"))]);
            assert!(
                refused.index == 1 && refused.reason.contains(part) && !refused.later,
                "{part}: {refused:?}"
            );
            assert_eq!(rows(&mut sql), Vec::<String>::new());
        }
        let several = [
            created(&pair(4, "bad")),
            good.clone(),
            created(&row(r#"{"id":8}"#)),
            created(&pair(11, "b")),
            updated(&pair(5, "a"), &pair(5, "bad")),
        ];
        let refused: Vec<usize> = target.refused(&several).iter().map(|refused| refused.index).collect();
        assert_eq!(refused, [0, 2, 4]);
        target.put(&[good, created(&pair(11, "b"))]);
        assert_eq!(sql.run("SELECT id, v FROM t ORDER BY id"), [["1", "a"], ["11", "b"]]);
    });
}

/// Parts of such a put are sent before its end is read.
#[test]
fn a_long_put_keeps_the_order_of_each_key_and_is_committed_whole_or_not_at_all() {
    let server = Postgres::start();
    let mut sql = with(
        &server,
        "CREATE DOMAIN good AS varchar(3) CHECK (VALUE <> 'bad'); CREATE TABLE t (id int PRIMARY KEY, v good, w int)",
    );
    let mut target = open(&server);
    let mut events: Vec<Given> = (0..400).map(|id| created(&pair(id, "a"))).collect();
    events.extend((0..400).map(|id| updated(&pair(id, "a"), &pair(id, "b"))));
    events.extend((0..300).map(|id| deleted(&pair(id, "b"))));
    events.extend((0..100).map(|id| created(&pair(id, "c"))));
    let missing = updated(&row(r#"{"id":999}"#), &row(r#"{"w":1}"#));
    for (event, part) in [
        (created(&pair(999, "bad")), "good_check"),
        (created(&pair(999, "long")), "\"long\" has 4 characters"),
        (missing, "no row with \"id\"=999"),
    ] {
        for index in [0, 10, 249, 250, 640, 1200] {
            let mut events = events.clone();
            events.insert(index, event.clone());
            let refused = target.one_refused(&events);
            assert!(refused.index == index && refused.reason.contains(part), "{index}: {refused:?}");
            assert_eq!(sql.one("SELECT count(*) FROM t"), "0", "{index}: {part}");
        }
    }
    target.put(&events);
    let found = sql.run("SELECT v, count(*), min(id), max(id) FROM t GROUP BY v ORDER BY v");
    assert_eq!(found, [["b", "100", "300", "399"], ["c", "100", "0", "99"]]);
}

#[test]
fn a_column_that_the_target_was_given_meanwhile_is_known() {
    let server = Postgres::start();
    let mut sql = with(&server, "CREATE TABLE t (id int PRIMARY KEY, v text)");
    let mut target = open(&server);
    target.put(&[created(&pair(1, "a"))]);
    sql.run("ALTER TABLE t ADD COLUMN w int");
    target.put(&[created(&row(r#"{"id":2,"v":"b","w":3}"#))]);
    sql.run("ALTER TABLE t ALTER COLUMN w TYPE bigint");
    target.put(&[created(&row(r#"{"id":4,"v":"b","w":1099511627776}"#))]);
    sql.run("ALTER TABLE t DROP COLUMN v");
    target.put(&[created(&row(r#"{"id":3,"w":4}"#))]);
    let refused = target.one_refused(&[created(&row(r#"{"id":4,"v":"b","w":3}"#))]);
    assert!(refused.reason.contains("no column \"v\""), "{refused:?}");
    sql.run("DROP TABLE t; CREATE TABLE t (id text PRIMARY KEY, w text)");
    target.put(&[created(&row(r#"{"id":"x","w":"y"}"#))]);
    assert_eq!(rows(&mut sql), ["x|y"]);
}

#[test]
fn generated_columns_are_left_out_and_identities_keep_the_sources_numbers() {
    on_every_version(|server| {
        let mut sql = with(
            server,
            "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text, g int GENERATED ALWAYS AS (length(v)) STORED)",
        );
        let mut target = open(server);
        target.put(&[
            created(&row(r#"{"id":7,"v":"a","g":99}"#)),
            updated(&row(r#"{"id":7,"v":"a","g":1}"#), &row(r#"{"id":7,"v":"bb","g":1}"#)),
        ]);
        assert_eq!(rows(&mut sql), ["7|bb|2"]);
        let refused = target.one_refused(&[updated(&pair(7, "bb"), &pair(8, "bb"))]);
        assert!(refused.reason.contains("GENERATED ALWAYS AS IDENTITY"), "{refused:?}");
    });
}

#[test]
fn plain_events_go_into_the_table_that_is_named_by_the_key_that_is_named() {
    let server = Postgres::start();
    let mut sql = with(&server, "CREATE TABLE t (id int PRIMARY KEY, v text, j jsonb)");
    let mut target = open_with(&server, &[("plainTable", "t")]);
    target.put(&[
        plain(r#"{"id":1,"v":"a","j":{"k":[1]}}"#),
        plain(r#"{"id":1,"v":"b"}"#),
        plain(r#"{"id":2,"v":"c","j":"text"}"#),
    ]);
    let found = sql.run("SELECT v, jsonb_typeof(j) FROM t ORDER BY id");
    assert_eq!(found, [["b", "object"], ["c", "string"]]);
    let refused = target.one_refused(&[plain("[1]")]);
    assert!(refused.reason.contains("no object of columns"), "{refused:?}");
    target.store.close();

    let mut target = open_with(&server, &[("plainTable", "public.t"), ("plainKey", "v")]);
    target.put(&[plain(r#"{"id":7,"v":"b"}"#), plain(r#"{"id":8,"v":"d"}"#)]);
    assert_eq!(sql.run("SELECT id, v FROM t ORDER BY id"), [["2", "c"], ["7", "b"], ["8", "d"]]);
    let refused = target.one_refused(&[plain(r#"{"id":9}"#)]);
    assert!(refused.reason.contains("plainKey: v"), "{refused:?}");
}

#[test]
fn tables_are_found_by_mapping_and_names_by_their_case() {
    let server = Postgres::start();
    let mut sql = with(
        &server,
        "RESET ROLE; CREATE SCHEMA \"o\"\"dd\" AUTHORIZATION app; SET ROLE app; CREATE TABLE t (id int PRIMARY KEY, v text); \
         CREATE TABLE \"o\"\"dd\".\"T.x\" (\"Id\" int PRIMARY KEY, \"v'\" text)",
    );
    let mut target = open_with(&server, &[("tableMapping", "shop.odd=o\"dd.T.x")]);
    target.put(&[
        created(&row(r#"{"ID":1,"V":"a"}"#)).of("T"),
        created(&row(r#"{"Id":1,"v'":"b"}"#)).of("odd"),
    ]);
    assert_eq!(rows(&mut sql), ["1|a"]);
    assert_eq!(sql.run("SELECT * FROM \"o\"\"dd\".\"T.x\""), [["1", "b"]]);
}

/// Tables on which a change goes other ways: by a key of numbers, by one of texts, with a trigger before INSERT, with a key
/// that is checked at the end.
const TABLES: [&str; 5] = [
    "id int PRIMARY KEY, v int",
    "id text PRIMARY KEY, v int",
    "id numeric PRIMARY KEY, v int UNIQUE",
    "id int PRIMARY KEY DEFERRABLE, v int",
    "id int, v int",
];

#[test]
fn random_changes_end_as_if_each_had_been_made_by_itself() {
    let given = std::env::var("FLOWD_TEST_SEED").ok();
    let seed: u64 =
        given.map_or_else(rand::random, |seed| seed.parse().expect("FLOWD_TEST_SEED is a number"));
    eprintln!("FLOWD_TEST_SEED={seed}");
    let server = Postgres::start();
    for columns in TABLES {
        let mut random = StdRng::seed_from_u64(seed);
        let mut sql = with(&server, &format!("CREATE TABLE t ({columns})"));
        sql.run(
            "CREATE TABLE fired (n int); INSERT INTO fired VALUES (0); \
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN UPDATE fired SET n = n + 1; RETURN NULL; END $$; \
             CREATE TRIGGER noted AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION note()",
        );
        let mut target = open(&server);
        let mut made = Made { is_text: columns.contains("text"), ..Made::default() };
        for _ in 0..60 {
            let count = random.random_range(1..40);
            let events: Vec<Given> = (0..count).map(|_| made.change(&mut random)).collect();
            target.put(&events);
        }
        let found = sql.run("SELECT id, v FROM t");
        let found: BTreeMap<_, _> = found.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
        let expected: BTreeMap<_, _> =
            made.rows.iter().map(|(id, v)| (id.to_string(), v.to_string())).collect();
        assert_eq!(found, expected, "{columns}, seed {seed}");
        assert_eq!(sql.one("SELECT n FROM fired"), made.count.to_string(), "{columns}, seed {seed}");
        target.store.close();
    }
}

/// The rows as they should be, and how many changes made them so.
#[derive(Default)]
struct Made {
    rows: BTreeMap<u8, u32>,
    count: u32,
    is_text: bool,
}

impl Made {
    /// The next possible change of some key; every value is new.
    fn change(&mut self, random: &mut StdRng) -> Given {
        self.count += 1;
        let (id, v) = (random.random_range(0..9), self.count);
        match self.rows.get(&id).copied() {
            None => {
                self.rows.insert(id, v);
                created(&self.row(id, v))
            }
            Some(old) if random.random_bool(0.5) => {
                self.rows.remove(&id);
                deleted(&self.row(id, old))
            }
            Some(old) => {
                self.rows.insert(id, v);
                updated(&self.row(id, old), &self.row(id, v))
            }
        }
    }

    fn row(&self, id: u8, v: u32) -> serde_json::Value {
        if self.is_text { json!({"id": id.to_string(), "v": v}) } else { json!({"id": id, "v": v}) }
    }
}
