//! A mesh that cuts, forgets, dies, refuses or sends away: nothing is lost, nothing is out of order, and what cannot be sent is said.

mod peer;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use self::peer::{FaultyMesh, Limited, TOPIC, Tail};
use super::on;
use crate::harness::{Dml, Event, Events, Flowd, Job, Kind, Mesh, Server, Sql, free_port, until};

const SERVERS: [Kind; 2] = [Kind::MariaDb11, Kind::MySql9];

#[test]
fn cut_connections_lose_nothing_and_keep_the_order_of_a_key() {
    on(&SERVERS, &[], |server| {
        let seen = under_faults(server, &["--fault-reset-every", "40"]);
        assert!(seen.retries > 0 && seen.reconnects > 0, "{seen:?}");
    });
}

#[test]
fn acknowledgements_that_never_come_lose_nothing_and_keep_the_order_of_a_key() {
    on(&[Kind::MariaDb11], &[], |server| {
        let seen = under_faults(server, &["--fault-drop-acks", "200"]);
        assert!(seen.retries > 0 && seen.timeouts > 0, "{seen:?}");
    });
}

/// What flowd counted while it met faults.
#[derive(Debug)]
struct Seen {
    retries: u64,
    reconnects: u64,
    timeouts: u64,
    /// In flight at that moment; 0 before the first look.
    unanswered: u64,
}

impl Seen {
    fn now(metrics: &str) -> Self {
        let page = scrape(metrics);
        Self {
            retries: counter(&page, "flowd_retries_total"),
            reconnects: counter(&page, "flowd_reconnects_total{side=\"target\"}"),
            timeouts: counter(&page, "flowd_mesh_timeouts_total"),
            unanswered: counter(&page, "flowd_mesh_unanswered"),
        }
    }
}

/// Random changes while flowd runs against a mesh with `faults`; verifies what arrived.
fn under_faults(server: &Server, faults: &[&str]) -> Seen {
    let mut sql = server.sql();
    let mut dml = new_dml(&mut sql);
    let mesh = faulty(&mut dml, faults);
    // An event whose answer was dropped three times in a row takes 35 seconds.
    let job = publishing(server, &mesh.address).set("pipeline.drainMs", "50000");
    let metrics = format!("127.0.0.1:{}", free_port());
    let mut flowd = job.start(&["--metrics", &metrics]);
    until("flowd to follow the binlog", || (server.dump_threads() > 0).then_some(()));
    for _ in 0..60 {
        dml.transaction(&mut sql, 8);
    }
    let seen = until("flowd to meet the faults", || {
        assert!(flowd.is_running(), "flowd ended by itself: {}", flowd.log());
        let seen = Seen::now(&metrics);
        // More only while no answer is missing, or a time-out of seconds would be thousands of events long.
        if seen.unanswered == 0 {
            dml.transaction(&mut sql, 8);
        }
        Some(seen).filter(|seen| seen.retries > 0 && seen.reconnects + seen.timeouts > 0)
    });
    flowd.signal("TERM");
    flowd.wait().expect_code(0);
    job.catch_up();

    let events = read_to_mark(&mesh, &job, &mut sql);
    dml.verify(&events, &mut sql);
    assert_same_events(&events, &reference(server));
    seen
}

#[test]
fn the_acked_position_never_covers_what_the_mesh_has_not_stored() {
    on(&SERVERS, &[], |server| {
        let mut sql = server.sql();
        let mut dml = new_dml(&mut sql);
        let mut mesh = Mesh::start();
        let address = format!("127.0.0.1:{}", mesh.port);
        let job = publishing(server, &address).set("pipeline.checkpointMs", "10");
        let file = filed(server);
        let directory = tempfile::tempdir().unwrap();
        let mut events = Events::default();
        for _ in 0..8 {
            kill_both(&job, &mut mesh, &mut dml, &mut sql);
            let acked = acked(&job);
            mesh.restart();
            file.catch_up();
            let covered: Vec<String> =
                file.events().iter().filter(|event| sequence(event) <= acked).map(id).collect();
            // flowd is dead: what a subscriber gets now is what the mesh had stored.
            let mut tail = Tail::start(directory.path(), &address);
            let earlier = by_id(&events);
            tail.read_until(&format!("all up to the acked transaction {acked}"), |output| {
                let stored = by_id_of(output);
                covered.iter().all(|id| earlier.contains_key(id) || stored.contains_key(id))
            });
            events.0.extend(tail.kill().0);
        }
        job.catch_up();
        let mut tail = Tail::start(directory.path(), &address);
        mark(&job, &mut sql);
        events.0.extend(tail.read_until("the mark", has_mark).0);
        dml.verify(&without_mark(&events), &mut sql);
    });
}

/// Runs flowd until its acked position moves, writes on, and kills it and the mesh in an order by chance.
fn kill_both(job: &Job, mesh: &mut Mesh, dml: &mut Dml, sql: &mut Sql) {
    let before = acked(job);
    let mut flowd = job.start(&[]);
    // Asking for the position writes the configuration anew, which a start must not meet half written.
    until("flowd to stream", || {
        assert!(flowd.is_running(), "flowd ended by itself: {}", flowd.log());
        flowd.log().contains("\"streaming\"").then_some(())
    });
    let acked_more = |flowd: &mut Flowd, dml: &mut Dml, sql: &mut Sql, than: u64| {
        until("the acked position to move", || {
            dml.transaction(sql, 8);
            assert!(flowd.is_running(), "flowd ended by itself: {}", flowd.log());
            Some(acked(job)).filter(|&now| now > than)
        })
    };
    let now = acked_more(&mut flowd, dml, sql, before);
    let write = |dml: &mut Dml, sql: &mut Sql| (0..=dml.below(12)).for_each(|_| dml.transaction(sql, 8));
    match dml.below(3) {
        0 => {
            write(dml, sql);
            flowd.kill();
            mesh.kill();
        }
        1 => {
            write(dml, sql);
            mesh.kill();
            write(dml, sql);
            flowd.kill();
        }
        _ => {
            mesh.kill();
            write(dml, sql);
            mesh.restart();
            acked_more(&mut flowd, dml, sql, now);
            mesh.kill();
            flowd.kill();
        }
    }
}

#[test]
fn sent_away_by_goodbye_or_redirect_flowd_and_tail_lose_nothing() {
    on(&[Kind::MariaDb11], &[], |server| {
        let mut sql = server.sql();
        let mut dml = new_dml(&mut sql);
        let there = FaultyMesh::start(&[]);
        let goodbyes = FaultyMesh::start(&["--fault-leave-after", "1000"]);
        let redirects =
            FaultyMesh::start(&["--fault-leave-after", "1000", "--fault-redirect-to", &there.address]);
        for (here, names) in [(goodbyes, "goodbye: graceful normal quit"), (redirects, "redirected to")] {
            let job = publishing(server, &here.address);
            let (mut tail, mut tail_there) = (here.tail(), there.tail());
            let mut flowd = job.start(&[]);
            until("flowd to be sent away", || {
                dml.transaction(&mut sql, 8);
                assert!(flowd.is_running(), "flowd ended by itself: {}", flowd.log());
                flowd.log().contains(names).then_some(())
            });
            for _ in 0..20 {
                dml.transaction(&mut sql, 8);
            }
            flowd.signal("TERM");
            flowd.wait().expect_code(0);
            job.catch_up();
            let filed = by_id(&reference(server));
            // Where the first subscriber was sent away to elsewhere, what came behind it waits for the next one.
            let mut tail_after = here.tail();
            until("every event at one of the two", || {
                let tails = [&mut tail, &mut tail_there, &mut tail_after];
                let mut arrived = BTreeMap::new();
                for tail in tails {
                    assert!(tail.is_running(), "a tail ended by itself");
                    arrived.extend(by_id(&tail.events()));
                }
                filed.keys().all(|id| arrived.contains_key(id)).then_some(())
            });
        }
        dml.verify(&reference(server), &mut sql);
    });
}

#[test]
fn publishes_that_a_rate_refuses_are_sent_again_slower_and_keep_the_order_of_a_key() {
    on(&[Kind::MariaDb11], &[], |server| {
        let mut sql = server.sql();
        let mut dml = new_dml(&mut sql);
        for _ in 0..60 {
            dml.transaction(&mut sql, 8);
        }
        let limits = ["--java-limits", "--max-event-size", "4000000", "--max-event-rate", "100"];
        let mesh = faulty(&mut dml, &[&limits[..], &["--fault-too-fast", "20"]].concat());
        let job = publishing(server, &mesh.address);
        let outcome = job.start(&["--stop-at", "end"]).wait();
        outcome.expect_code(0).expect_log("the mesh refused a publish, which is sent again");
        let events = read_to_mark(&mesh, &job, &mut sql);
        dml.verify(&events, &mut sql);
        assert_same_events(&events, &reference(server));
    });
}

#[test]
fn reordered_pushes_lose_nothing() {
    on(&[Kind::MariaDb11], &[], |server| {
        let (arrived, filed) = in_order(server, "key", &["--fault-reorder-pushes", "10"]);
        assert_same_events(&arrived, &filed);
    });
}

#[test]
fn total_order_is_the_commit_order_over_all_keys() {
    on(&SERVERS, &[], |server| {
        let (arrived, filed) = in_order(server, "total", &["--fault-reset-every", "200"]);
        let ids = |events: &Events| events.iter().map(id).collect::<Vec<_>>();
        assert_eq!(ids(&arrived.first_occurrences()), ids(&filed));
    });
}

#[test]
fn without_a_promise_of_order_nothing_is_lost() {
    on(&[Kind::MariaDb11], &[], |server| {
        let (arrived, filed) =
            in_order(server, "none", &["--fault-reset-every", "100", "--fault-drop-acks", "300"]);
        assert_same_events(&arrived, &filed);
    });
}

/// Publishes a backlog with many events in flight under `order`; what arrived and what is in the binlog.
fn in_order(server: &Server, order: &str, faults: &[&str]) -> (Events, Events) {
    let mut sql = server.sql();
    let mut dml = new_dml(&mut sql);
    for _ in 0..150 {
        dml.transaction(&mut sql, 8);
    }
    let mesh = faulty(&mut dml, faults);
    let job = publishing(server, &mesh.address)
        .set("pipeline.order", order)
        .set("pipeline.connections", "4")
        .set("pipeline.window", "64");
    job.catch_up();
    let arrived = read_to_mark(&mesh, &job, &mut sql);
    let filed = reference(server);
    dml.verify(&filed, &mut sql);
    (arrived, filed)
}

#[test]
fn an_event_over_what_eventmesh_carries_follows_on_reject() {
    on(&SERVERS, &["--max-allowed-packet=64M"], |server| {
        server.run("CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY, s LONGTEXT)");
        server.run("INSERT INTO test.t VALUES (1, 'a'); INSERT INTO test.t VALUES (2, REPEAT('x', 4194304)); INSERT INTO test.t VALUES (3, 'b')");
        let mesh = Mesh::start();
        let job = Job::new(server).publishing_to(&mesh);
        let letter = rejected_then_written(server, job, &["takes at most 4186112"]);
        assert_eq!(letter["event"]["data"]["after"]["s"].as_str().map(str::len), Some(4_194_304));
        let events = mesh.read("test.t", |events| events.changes().len() >= 2);
        assert_eq!(row_ids(&events.changes().first_occurrences()), [1, 3]);
        assert_eq!(events.len() - events.changes().len(), 1, "a marker stands for row 2");
    });
}

#[test]
fn an_event_over_the_limit_of_the_server_follows_on_reject_and_its_setting_is_named() {
    on(&[Kind::MariaDb11], &[], |server| {
        server.run("CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY, s LONGTEXT)");
        server.run("INSERT INTO test.t VALUES (1, 'a'); INSERT INTO test.t VALUES (2, REPEAT('x', 1000)); INSERT INTO test.t VALUES (3, 'b')");
        let limited = Limited::start(1000);
        let job =
            Job::new(server).set("pipeline.target", "mesh").set("pubSubConfig.meshAddress", &limited.address);
        let named = ["event size exceeds the limit: 1000", "eventMesh.server.maxEventSize"];
        rejected_then_written(server, job, &named);
    });
}

/// Row 2 of `test.t` cannot be sent. Demands that `job` stops before it, and goes on behind it once it may write it
/// down; both say `named`. Gives the dead letter.
fn rejected_then_written(server: &Server, job: Job, named: &[&str]) -> Value {
    let file = Job::new(server);
    file.catch_up();
    let filed = file.events();
    let source =
        filed.iter().find(|event| event.after()["id"] == 2).expect("row 2 is in the file").data()["source"]
            .clone();

    let outcome = job.start(&["--stop-at", "end"]).wait();
    outcome.expect_code(4).expect_log("test.t at").expect_log(&format!(
        "{}:{}",
        source["file"].as_str().unwrap(),
        source["pos"]
    ));
    for name in named {
        outcome.expect_log(name);
    }

    let path = job.path("dead.jsonl");
    let job = job
        .set("pipeline.onReject", "deadLetter")
        .set("pipeline.deadLetterFile", &path.display().to_string());
    job.catch_up();
    let letters = std::fs::read_to_string(path).unwrap();
    assert_eq!(letters.lines().count(), 1, "{letters}");
    let letter: Value = serde_json::from_str(letters.trim_end()).unwrap();
    let reason = letter["reason"].as_str().expect("a dead letter has a reason");
    assert!(named.iter().all(|name| reason.contains(name)), "{reason}");
    assert_eq!((&letter["file"], &letter["pos"]), (&source["file"], &source["pos"]));
    assert_eq!((&letter["db"], &letter["table"]), (&Value::from("test"), &Value::from("t")));
    assert_eq!(job.position()["acked"]["gtid"], server.gtid());
    letter
}

#[test]
fn with_one_mesh_of_two_gone_for_good_everything_goes_over_the_other() {
    on(&SERVERS, &[], |server| {
        let mut sql = server.sql();
        let mut dml = new_dml(&mut sql);
        let (mut dying, lasting) = (Mesh::start(), Mesh::start());
        let address = |mesh: &Mesh| format!("127.0.0.1:{}", mesh.port);
        let job = publishing(server, &format!("{},{}", address(&dying), address(&lasting)));
        let directory = tempfile::tempdir().unwrap();
        let mut of_dying = Tail::start(directory.path(), &address(&dying));
        let mut of_lasting = Tail::start(directory.path(), &address(&lasting));
        let mut flowd = job.start(&[]);
        until("both to get events", || {
            dml.transaction(&mut sql, 8);
            (of_dying.events().len() > 0 && of_lasting.events().len() > 0).then_some(())
        });
        dying.kill();
        let at_death = last_number(&server.gtid());
        for _ in 0..50 {
            dml.transaction(&mut sql, 8);
        }
        let filed = reference(server);
        let late: Vec<String> = filed.iter().filter(|event| sequence(event) > at_death).map(id).collect();
        of_lasting.read_until("all later changes over the other", |output| {
            let arrived = by_id_of(output);
            late.iter().all(|id| arrived.contains_key(id))
        });
        assert!(flowd.is_running(), "flowd ended by itself: {}", flowd.log());
        flowd.signal("TERM");
        flowd.wait().expect_code(0);
        // A start needs no more than one of them.
        mark(&job, &mut sql);
        let mut events = without_mark(&of_lasting.read_until("the mark", has_mark));

        // What the dead one had acknowledged is on its disk.
        dying.restart();
        let there = by_id(&events);
        let rest = of_dying.read_until("the changes that the dead one had", |output| {
            let arrived = by_id_of(output);
            filed.iter().map(id).all(|id| there.contains_key(&id) || arrived.contains_key(&id))
        });
        events.0.extend(rest.0);
        assert_same_events(&events, &filed);
        dml.verify(&filed, &mut sql);
    });
}

fn new_dml(sql: &mut Sql) -> Dml {
    sql.run("CREATE DATABASE test_end; CREATE TABLE test_end.mark (id INT PRIMARY KEY AUTO_INCREMENT)");
    Dml::new(sql)
}

/// A mesh whose faults follow from the test's seed.
fn faulty(dml: &mut Dml, faults: &[&str]) -> FaultyMesh {
    let seed = dml.below(1 << 32).to_string();
    FaultyMesh::start(&[faults, &["--fault-seed", &seed]].concat())
}

fn publishing(server: &Server, addresses: &str) -> Job {
    filed(server).set("pipeline.target", "mesh").set("pubSubConfig.meshAddress", addresses)
}

/// The same events into a file: written one after the other, in commit order.
fn filed(server: &Server) -> Job {
    Job::new(server)
        .set("pubSubConfig.subject", TOPIC)
        .set("pipeline.checkpointMs", "50")
        .set("connectorConfig.tableIncludeList", "[\"test_dml.*\",\"test_end.*\"]")
}

/// All committed changes up to now, as a file has them.
fn reference(server: &Server) -> Events {
    let file = filed(server);
    file.catch_up();
    without_mark(&file.events())
}

/// Publishes one more event, which nothing follows, when all others are acknowledged.
fn mark(job: &Job, sql: &mut Sql) {
    job.catch_up();
    sql.run("INSERT INTO test_end.mark VALUES ()");
    job.catch_up();
}

/// All that the mesh holds before the mark, repeats included.
fn read_to_mark(mesh: &FaultyMesh, job: &Job, sql: &mut Sql) -> Events {
    mark(job, sql);
    without_mark(&mesh.tail().read_until("the mark", has_mark))
}

fn has_mark(output: &str) -> bool {
    output.rfind("\"table\":\"mark\"").is_some_and(|mark| output[mark..].contains('\n'))
}

fn without_mark(events: &Events) -> Events {
    Events(events.iter().filter(|event| event.table() != "mark").cloned().collect())
}

fn id(event: &Event) -> String {
    event.id().to_owned()
}

/// Every id with its lasting bytes; panics where a repeated id has other ones.
fn by_id(events: &Events) -> BTreeMap<String, String> {
    events.first_occurrences().iter().map(|event| (id(event), event.lasting())).collect()
}

fn by_id_of(output: &str) -> BTreeMap<String, String> {
    by_id(&Events::parse(output))
}

fn assert_same_events(arrived: &Events, filed: &Events) {
    let (arrived, filed) = (by_id(arrived), by_id(filed));
    let missing: Vec<_> = filed.keys().filter(|id| !arrived.contains_key(*id)).take(5).collect();
    let foreign: Vec<_> = arrived.iter().filter(|(id, text)| filed.get(*id) != Some(text)).take(5).collect();
    assert!(
        missing.is_empty() && foreign.is_empty(),
        "missing: {missing:?}, foreign or with other bytes: {foreign:?}"
    );
}

fn row_ids(events: &Events) -> Vec<i64> {
    let mut ids: Vec<i64> = events.iter().map(|event| event.after()["id"].as_i64().unwrap()).collect();
    ids.sort_unstable();
    ids
}

/// The newest transaction that the acked position covers; 0 while there is none.
fn acked(job: &Job) -> u64 {
    let position = job.position();
    position["acked"]["gtid"].as_str().filter(|gtid| !gtid.is_empty()).map_or(0, last_number)
}

/// The number of the event's transaction.
fn sequence(event: &Event) -> u64 {
    last_number(event.data()["source"]["gtid"].as_str().expect("these servers have GTIDs"))
}

/// `uuid:1-57` and `0-1-57` end in the newest transaction: these servers have one history and one domain.
fn last_number(gtid: &str) -> u64 {
    let number = gtid.rsplit([':', '-']).next().and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("no number in {gtid:?}"))
}

/// The page of the metrics; empty while nobody listens there yet.
fn scrape(address: &str) -> String {
    let mut page = String::new();
    if let Ok(mut stream) = TcpStream::connect(address) {
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        stream.read_to_string(&mut page).unwrap();
    }
    page
}

fn counter(page: &str, name: &str) -> u64 {
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.trim().parse().unwrap())
}
