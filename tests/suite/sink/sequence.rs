//! The numbers of events: without gaps in each lane of a topic, the same when events come again, new where the lanes are
//! others.

use std::collections::{BTreeMap, HashMap};

use crate::harness::{Dml, Event, Events, Job, Kind, Mesh, Server, Sql, until};
use crate::suite::on;

/// What identifies a count, and the number: topic, epoch, lane, sequence.
type Number = (String, u64, u16, u64);

fn number(event: &Event) -> Number {
    let digits = |name: &str, width: usize| {
        let text = event.json[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", event.text));
        assert_eq!(text.len(), width, "{name} of {}", event.text);
        text.parse::<u64>().expect("digits")
    };
    let topic = event.json["subject"].as_str().expect("a topic").to_owned();
    let lane = u16::try_from(digits("lane", 2)).expect("two digits");
    (topic, digits("epoch", 16), lane, digits("sequence", 20))
}

/// Demands that each event has one number whatever came again, no two share one, and the numbers of each count are
/// 1, 2, 3 …, in the order of their first arrival. Gives the epochs with how many events each has.
fn gapless(events: &Events) -> BTreeMap<u64, usize> {
    let mut numbers: HashMap<&str, Number> = HashMap::new();
    let mut next: HashMap<(String, u64, u16), u64> = HashMap::new();
    let mut epochs = BTreeMap::new();
    for event in events.iter() {
        let number = number(event);
        if let Some(first) = numbers.get(event.id()) {
            assert_eq!(*first, number, "the number of {} when it came again", event.id());
            continue;
        }
        let (topic, epoch, lane, sequence) = number.clone();
        let next = next.entry((topic, epoch, lane)).or_insert(1);
        assert_eq!(sequence, *next, "of {:?}: {}", number, event.id());
        *next += 1;
        *epochs.entry(epoch).or_default() += 1;
        numbers.insert(event.id(), number);
    }
    epochs
}

fn changed(server: &Server, job: Job) -> (Sql, Dml, Job) {
    let mut sql = server.sql();
    let dml = Dml::new(&mut sql);
    (
        sql,
        dml,
        job.set("connectorConfig.tableIncludeList", "[\"test_dml.*\"]").set("pipeline.checkpointMs", "10"),
    )
}

#[test]
fn numbers_have_no_gaps_and_are_the_same_again_after_kills() {
    on(&super::BOTH, &[], |server| {
        let (mut sql, mut dml, job) = changed(server, Job::new(server));
        for _ in 0..6 {
            let before = job.lines();
            let flowd = job.start(&[]);
            until("events to be written", || {
                dml.transaction(&mut sql, 8);
                (job.lines() > before + 30).then_some(())
            });
            flowd.kill();
        }
        job.catch_up();
        let events = job.events();
        dml.verify(&events, &mut sql);
        let epochs = gapless(&events);
        assert_eq!(epochs.len(), 1, "a kill begins no epoch: {epochs:?}");
        let lanes: std::collections::BTreeSet<_> = events.iter().map(|event| number(event).2).collect();
        assert_eq!(lanes, (0..4).collect(), "the keys are spread over the lanes");
    });
}

#[test]
fn numbers_have_no_gaps_at_a_subscriber_although_connections_were_cut() {
    on(&[Kind::MariaDb11], &[], |server| {
        let mesh = Mesh::start_with(&["--fault-reset-every", "60"]);
        let (mut sql, mut dml, job) = changed(server, Job::new(server).publishing_to(&mesh));
        for _ in 0..80 {
            dml.transaction(&mut sql, 8);
        }
        let flowd = job.start(&[]);
        until("flowd to stream", || (server.dump_threads() > 0).then_some(()));
        dml.transaction(&mut sql, 8);
        flowd.kill();
        job.catch_up();
        let table = mesh.read("test_dml.plain", |events| dml.has_all_of("plain", events));
        let mut events = table.first_occurrences();
        // A lane's order at the subscriber is not promised; its numbers are.
        events.0.sort_by_key(number);
        gapless(&events);
        // What came again had the number that it had.
        let known: HashMap<_, _> =
            events.iter().map(|event| (event.id().to_owned(), number(event))).collect();
        assert!(table.iter().all(|event| known[event.id()] == number(event)));
    });
}

#[test]
fn another_number_of_lanes_begins_a_new_epoch_at_1() {
    on(&[Kind::MariaDb11], &[], |server| {
        let (mut sql, mut dml, job) = changed(server, Job::new(server));
        for lanes in [4, 4, 2, 8] {
            for _ in 0..15 {
                dml.transaction(&mut sql, 8);
            }
            job.start(&["--stop-at", "end", &format!("--pipeline.lanes={lanes}")]).wait().expect_code(0);
        }
        let events = job.events();
        dml.verify(&events, &mut sql);
        let epochs = gapless(&events);
        assert_eq!(epochs.len(), 3, "{epochs:?}");
        // In the order of arrival an epoch is greater than those before it.
        let order: Vec<u64> = events.iter().map(|event| number(event).1).collect();
        assert!(order.is_sorted(), "{epochs:?}");
    });
}

#[test]
fn rows_that_must_stay_in_commit_order_share_lane_0_of_their_topic() {
    on(&super::BOTH, &[], |server| {
        server.run(
            "CREATE DATABASE test; USE test; CREATE TABLE spread (id INT PRIMARY KEY, v INT);
             CREATE TABLE other (id INT PRIMARY KEY, v INT UNIQUE); CREATE TABLE bare (id INT, v INT);
             CREATE TABLE folded (id VARCHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci PRIMARY KEY, v INT);
             CREATE TABLE exact (id VARBINARY(9) PRIMARY KEY, v INT)",
        );
        for table in ["spread", "other", "bare", "folded", "exact"] {
            let values: Vec<String> = (0..60).map(|id| format!("('{id}', {id})")).collect();
            server.run(&format!("INSERT INTO test.{table} VALUES {}", values.join(",")));
        }
        let job = Job::new(server);
        job.catch_up();
        let events = job.events();
        gapless(&events);
        let lanes = |table: &str| {
            events
                .of(table)
                .iter()
                .map(|event| number(event).2)
                .collect::<std::collections::BTreeSet<_>>()
                .len()
        };
        assert_eq!(["spread", "exact", "other", "bare", "folded"].map(lanes), [4, 4, 1, 1, 1]);
        let zero = |table: &str| events.of(table).iter().all(|event| number(event).2 == 0);
        assert!(["other", "bare", "folded"].into_iter().all(zero));
    });
}

#[test]
fn rows_of_a_snapshot_name_their_chunk_and_take_no_number() {
    on(&[Kind::MariaDb11], &[], |server| {
        server.run("CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY, s VARCHAR(300))");
        let values: Vec<String> = (1..=600).map(|id| format!("({id}, REPEAT('x', 200))")).collect();
        server.run(&format!("INSERT INTO test.t VALUES {}", values.join(",")));
        let job = Job::snapshotting(server);
        job.catch_up();
        server.run("INSERT INTO test.t VALUES (1000, ''), (1001, '')");
        job.catch_up();
        let events = job.events();
        let (rows, stream): (Vec<Event>, Vec<Event>) =
            events.0.into_iter().partition(|event| event.op() == "r");
        gapless(&Events(stream));
        let mut chunks: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
        for row in &rows {
            let text = |name: &str| {
                row.json[name].as_str().unwrap_or_else(|| panic!("no {name}: {}", row.text)).to_owned()
            };
            let count = |name: &str| text(name).parse::<u64>().unwrap();
            assert!(row.json.get("sequence").is_none(), "{}", row.text);
            assert!(text("after").contains('-') && !text("snapshot").is_empty());
            chunks.entry(text("chunk")).or_default().push(count("number"));
            assert_eq!(*sizes.entry(text("chunk")).or_insert(count("chunksize")), count("chunksize"));
        }
        assert!(chunks.len() > 3, "{} chunks", chunks.len());
        for (chunk, mut numbers) in chunks {
            numbers.sort_unstable();
            assert!(numbers.into_iter().eq(0..sizes[&chunk]), "the rows of chunk {chunk} are not all of it");
        }
        assert_eq!(rows.len(), 600);
    });
}
