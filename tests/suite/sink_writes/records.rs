//! What the store records beside the data, and what is left of it when a connection or a process goes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use flowd_engine::failure::Failure;
use flowd_mysql::sink::store::MySqlStore;
use flowd_sink::store::{Applied, ChunkApplied, ChunksOver, Store};

use super::{FAMILIES, Target, config, created, lane, lanes, pair, rows, truncated, updated, with_table};
use crate::harness::until;
use crate::suite::{on, on_every_server};

#[test]
fn what_is_applied_is_written_with_the_data_and_loaded_again() {
    on_every_server(|server| {
        let mut sql = with_table(server, "id INT PRIMARY KEY, v VARCHAR(9)");
        let mut target = Target::open(server);
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
        // Another sink in the same database has its own.
        let mut other = MySqlStore::new(config(server, "other", &[]));
        assert_eq!(other.open().expect("another name"), Applied::default());
    });
}

#[test]
fn a_truncate_empties_the_table_and_is_recorded() {
    on_every_server(|server| {
        let mut sql = with_table(server, "id INT PRIMARY KEY, v VARCHAR(9)");
        sql.run("CREATE TABLE child (id INT PRIMARY KEY, FOREIGN KEY (id) REFERENCES t (id))");
        let mut target = Target::open(server);
        target.put(&[created(&pair(1, "a")), created(&pair(2, "b"))]);
        assert_eq!(target.try_put(&[truncated()], &lanes(vec![lane(0, 5, 9)])), Ok(vec![]));
        assert_eq!(rows(&mut sql), Vec::<String>::new());
        assert_eq!(sql.run("SELECT COUNT(*) FROM flowd_applied_truncates"), [["0"]]);
        assert_eq!(target.store.open().expect("open again").lanes, [lane(0, 5, 9)]);
        let refused = target.one_refused(&[truncated().of("absent")]);
        assert!(refused.reason.contains("no table test.absent"), "{refused:?}");
    });
}

#[test]
fn a_truncate_that_a_crash_cut_short_is_finished_before_anything_else() {
    on(&FAMILIES, &[], |server| {
        let mut sql = with_table(server, "id INT PRIMARY KEY, v VARCHAR(9)");
        let mut target = Target::open(server);
        target.put(&[created(&pair(1, "a"))]);
        sql.run(
            "INSERT INTO flowd_applied_truncates VALUES \
             ('copy', '/flowd/mysql/x', 5, 'shop.t', 0, 9, 'test', 't'), \
             ('other', '/flowd/mysql/x', 5, 'shop.t', 0, 99, 'test', 't')",
        );
        assert_eq!(target.store.open().expect("open again").lanes, [lane(0, 5, 9)]);
        assert_eq!(rows(&mut sql), Vec::<String>::new());
        assert_eq!(sql.run("SELECT sink FROM flowd_applied_truncates"), [["other"]]);
    });
}

#[test]
fn an_account_that_may_not_truncate_deletes() {
    on(&FAMILIES, &[], |server| {
        let mut sql = with_table(server, "id INT PRIMARY KEY, v VARCHAR(9)");
        Target::open(server).store.close();
        sql.run("CREATE USER lesser@'%' IDENTIFIED BY 'lesser'");
        sql.run("GRANT SELECT, INSERT, UPDATE, DELETE ON test.* TO lesser@'%'");
        let lesser = [("user", "lesser"), ("password", "lesser")];
        let mut target = Target::open_with(server, &lesser);
        target.put(&[created(&pair(1, "a"))]);
        assert_eq!(target.try_put(&[truncated()], &lanes(vec![lane(0, 5, 9)])), Ok(vec![]));
        assert_eq!(rows(&mut sql), Vec::<String>::new());
        target.store.close();
        sql.run("REVOKE INSERT ON test.* FROM lesser@'%'; GRANT INSERT ON test.flowd_applied TO lesser@'%'");
        let mut target = Target::open_with(server, &lesser);
        let failure = target.try_put(&[created(&pair(1, "a"))], &Applied::default());
        assert!(
            matches!(&failure, Err(Failure::Unusable(text)) if text.contains("lacks a right")),
            "{failure:?}"
        );
    });
}

#[test]
fn a_second_sink_of_the_name_is_refused_and_a_lost_connection_is_replaced() {
    on_every_server(|server| {
        let mut sql = with_table(server, "id INT PRIMARY KEY, v VARCHAR(9)");
        let mut target = Target::open(server);
        let mut second = MySqlStore::new(config(server, "copy", &[]));
        let refused = second.open();
        assert!(
            matches!(&refused, Err(Failure::Unusable(text)) if text.contains("another sink with the connectorName copy")),
            "{refused:?}"
        );

        let holder = sql.run("SELECT IS_USED_LOCK('flowd.copy')")[0][0].clone();
        sql.run(&format!("KILL {holder}"));
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
fn the_victim_of_a_deadlock_leaves_nothing_also_of_what_it_had_sent_ahead() {
    on(&FAMILIES, &[], |server| {
        for more in ["", ", UNIQUE (v)"] {
            let mut sql = with_table(server, &format!("id INT PRIMARY KEY, v VARCHAR(9){more}"));
            let of = |id: i64, v: &str| pair(id, &format!("{v}{id}"));
            let events: Vec<_> = (1..9).map(|id| updated(&of(id, "a"), &of(id, "b"))).collect();
            let mut target = Target::open(server);
            target.put(&(1..9).map(|id| created(&of(id, "a"))).collect::<Vec<_>>());
            let mut other = server.sql();
            // The one that has changed less is the victim: the sink.
            other.run("USE test; CREATE TABLE other (n INT); START TRANSACTION");
            other.run(&format!("INSERT INTO other VALUES (0){}", ",(0)".repeat(1000)));
            other.run("UPDATE t SET v = 'x' WHERE id = 2");
            let put = thread::scope(|scope| {
                let (target, events) = (&mut target, &events);
                let put = scope.spawn(move || target.try_put(events, &lanes(vec![lane(0, 1, 1)])));
                // A second in one statement: INNODB_TRX would tell too, but not while it is asked often.
                let waiting = "SELECT COUNT(*) FROM information_schema.PROCESSLIST \
                               WHERE USER = 'app' AND COMMAND = 'Query' AND TIME >= 1";
                until("the sink to wait", || (sql.run(waiting)[0][0] != "0").then_some(()));
                other.run("UPDATE t SET v = 'y' WHERE id = 1; ROLLBACK");
                put.join().unwrap()
            });
            assert!(matches!(put, Err(Failure::Retry(_))), "{put:?}");
            assert_eq!(target.store.open().expect("open again").lanes, [], "nothing was committed");
            assert_eq!(sql.run("SELECT COUNT(*) FROM t WHERE v LIKE 'a%'"), [["8"]], "{more}");
            target.put(&events);
            assert_eq!(sql.run("SELECT COUNT(*) FROM t WHERE v LIKE 'b%'"), [["8"]], "{more}");
        }
    });
}

/// A way to a server that can be cut on our side alone, as when a packet filter forgets the connection: the server goes on
/// believing in it.
struct Way {
    port: u16,
    ours: Arc<Mutex<Vec<TcpStream>>>,
    /// Kept open.
    theirs: Arc<Mutex<Vec<TcpStream>>>,
}

impl Way {
    fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let way = Self {
            port: listener.local_addr().unwrap().port(),
            ours: Arc::default(),
            theirs: Arc::default(),
        };
        let (ours, theirs) = (Arc::clone(&way.ours), Arc::clone(&way.theirs));
        // Both threads end with the test's process.
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { return };
                ours.lock().unwrap().push(client.try_clone().unwrap());
                theirs.lock().unwrap().push(server.try_clone().unwrap());
                let (client_in, server_in) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || copy(client_in, server));
                thread::spawn(move || copy(server_in, client));
            }
        });
        way
    }

    fn cut(&self) {
        for stream in self.ours.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Until the one side ends; the other is not told.
fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..length]).is_err() {
            return;
        }
    }
}

#[test]
fn a_connection_that_only_the_server_believes_in_is_ended_and_its_lock_taken() {
    on(&FAMILIES, &[], |server| {
        let mut sql = with_table(server, "id INT PRIMARY KEY, v VARCHAR(9)");
        let way = Way::to(server.port);
        let mut target = Target::open_with(server, &[("port", &way.port.to_string())]);
        target.put(&[created(&pair(1, "a"))]);
        let lock = "SELECT IS_USED_LOCK('flowd.copy')";
        let first = sql.run(lock)[0][0].clone();
        way.cut();
        let lost = target.try_put(&[created(&pair(2, "b"))], &lanes(vec![lane(0, 1, 2)]));
        assert!(matches!(lost, Err(Failure::Retry(_))), "{lost:?}");
        assert_eq!(sql.run(lock)[0][0], first, "the server has noticed nothing");
        // A stranger must not take it.
        let mut second = MySqlStore::new(config(server, "copy", &[]));
        assert!(matches!(second.open(), Err(Failure::Unusable(_))));
        assert_eq!(target.store.open().expect("by ending the old one").lanes, []);
        assert_ne!(sql.run(lock)[0][0], first);
        assert_eq!(way.theirs.lock().unwrap().len(), 2, "one connection each time");
        target.put(&[created(&pair(2, "b"))]);
        assert_eq!(rows(&mut sql), ["1|a", "2|b"]);
    });
}
