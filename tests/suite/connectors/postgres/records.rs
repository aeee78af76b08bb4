//! What the store records beside the data, and what is left of it when a connection or a process goes.

use std::sync::Arc;

use flowd_engine::failure::Failure;
use flowd_postgres::store::PostgresStore;
use flowd_sink::store::{Applied, ChunkApplied, ChunksOver, Store};

use super::{config, on_every_version, open, open_with, rows, with};
use crate::harness::Postgres;
use crate::suite::sink_writes::{created, lane, lanes, pair, truncated};

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, v varchar(9))";

#[test]
fn what_is_applied_is_written_with_the_data_and_loaded_again() {
    on_every_version(|server| {
        let mut sql = with(server, TABLE);
        let mut target = open(server);
        assert_eq!(target.loaded, Applied::default());
        let chunk = |number, rows: &[u8]| ChunkApplied {
            source: Arc::from("/flowd/mysql/x"),
            snapshot: Arc::from("s'1"),
            run: 7,
            number,
            rows: rows.to_vec(),
        };
        let first = Applied {
            lanes: vec![lane(0, u64::MAX, 3), lane(1, 5, u64::MAX)],
            chunks: (0..40).map(|number| chunk(number, &[0, 255])).collect(),
            over: Vec::new(),
        };
        assert_eq!(target.try_put(&[created(&pair(1, "a"))], &first), Ok(vec![]));
        let second = Applied { lanes: vec![lane(0, 6, 1)], chunks: vec![chunk(0, &[])], over: Vec::new() };
        assert_eq!(target.try_put(&[], &second), Ok(vec![]));
        let refused = target.try_put(&[created(&pair(1, "too long a text"))], &lanes(vec![lane(0, 6, 2)]));
        assert_eq!(refused.map(|refused| refused.len()), Ok(1));

        let mut loaded = target.store.open().expect("open again");
        loaded.lanes.sort_by_key(|lane| lane.lane);
        loaded.chunks.sort_by_key(|chunk| chunk.number);
        assert_eq!(loaded.lanes, [lane(0, 6, 1), lane(1, 5, u64::MAX)]);
        assert_eq!((loaded.chunks.len(), &loaded.chunks[0]), (40, &chunk(0, &[])));
        assert_eq!(loaded.chunks[39], chunk(39, &[0, 255]));
        let over = ChunksOver { source: Arc::from("/flowd/mysql/x"), snapshot: Arc::from("s'1"), run: 8 };
        target.try_put(&[], &Applied { over: vec![over], ..Applied::default() }).expect("forgotten");
        assert_eq!(target.store.open().expect("open again").chunks, []);
        let recorded =
            sql.run("SELECT source, epoch, topic, lane, sequence FROM flowd_applied WHERE lane = 0");
        assert_eq!(recorded, [["/flowd/mysql/x", "6", "shop.t", "0", "1"]]);
        // Another sink in the same schema has its own.
        let mut other = PostgresStore::new(config(server, "other", &[]));
        assert_eq!(other.open().expect("another name"), Applied::default());
    });
}

#[test]
fn a_truncate_empties_the_table_and_is_recorded_with_it() {
    let server = Postgres::start();
    for child in ["", "; CREATE TABLE child (id int REFERENCES t)"] {
        let mut sql = with(&server, &format!("{TABLE}{child}"));
        let mut target = open(&server);
        target.put(&[created(&pair(1, "a")), created(&pair(2, "b"))]);
        assert_eq!(target.try_put(&[truncated()], &lanes(vec![lane(0, 5, 9)])), Ok(vec![]));
        assert_eq!(rows(&mut sql), Vec::<String>::new());
        assert_eq!(target.store.open().expect("open again").lanes, [lane(0, 5, 9)]);
        let refused = target.one_refused(&[truncated().of("absent")]);
        assert!(refused.reason.contains("no table public.absent"), "{refused:?}");
        target.store.close();
    }
}

#[test]
fn a_role_that_may_not_truncate_deletes_and_one_that_may_not_write_ends_the_sink() {
    let server = Postgres::start();
    let mut sql = with(&server, TABLE);
    open(&server).store.close();
    sql.run(
        "RESET ROLE; DROP ROLE IF EXISTS lesser; CREATE ROLE lesser LOGIN PASSWORD 'lesser'; SET ROLE app",
    );
    sql.run("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO lesser; GRANT USAGE ON SCHEMA public TO lesser");
    let lesser = [("user", "lesser"), ("password", "lesser")];
    let mut target = open_with(&server, &lesser);
    target.put(&[created(&pair(1, "a"))]);
    assert_eq!(target.try_put(&[truncated()], &lanes(vec![lane(0, 5, 9)])), Ok(vec![]));
    assert_eq!(rows(&mut sql), Vec::<String>::new());
    sql.run("REVOKE INSERT ON t FROM lesser");
    let failure = target.try_put(&[created(&pair(1, "a"))], &Applied::default());
    assert!(
        matches!(&failure, Err(Failure::Unusable(text)) if text.contains("lacks a right")),
        "{failure:?}"
    );
}

#[test]
fn a_second_sink_of_the_name_is_refused_and_a_lost_connection_is_replaced() {
    on_every_version(|server| {
        let mut sql = with(server, TABLE);
        let mut target = open(server);
        let mut second = PostgresStore::new(config(server, "copy", &[]));
        let refused = second.open();
        assert!(
            matches!(&refused, Err(Failure::Unusable(text)) if text.contains("another sink with the connectorName copy")),
            "{refused:?}"
        );

        let holder = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted";
        sql.run(&format!("RESET ROLE; {holder}; SET ROLE app"));
        let lost = target.try_put(&[created(&pair(1, "a"))], &Applied::default());
        assert!(matches!(lost, Err(Failure::Retry(_))), "{lost:?}");
        target.store.open().expect("the lock is free again");
        target.put(&[created(&pair(1, "a"))]);
        assert!(second.open().is_err(), "taken again");
        target.store.close();
        second.open().expect("the first one is gone");
        assert_eq!(rows(&mut sql), ["1|a"]);
    });
}

#[test]
fn what_keeps_a_sink_from_starting_is_told_with_its_remedy() {
    let server = Postgres::start();
    with(&server, TABLE);
    for (setting, part) in [
        (("password", "wrong"), "password authentication failed"),
        (("database", "absent"), "database \"absent\" does not exist"),
        (("sslMode", "required"), "TLS"),
        (("schema", "absent"), "the schema absent (it must be there"),
    ] {
        let refused = PostgresStore::new(config(&server, "copy", &[setting])).open();
        assert!(matches!(&refused, Err(Failure::Unusable(text)) if text.contains(part)), "{refused:?}");
    }
    let port = crate::harness::free_port().to_string();
    let refused = PostgresStore::new(config(&server, "copy", &[("port", &port)])).open();
    assert!(matches!(refused, Err(Failure::Retry(_))), "{refused:?}");
}
