//! Which lane a table's events are counted in while definitions change: it is the same again whenever they come again,
//! whatever the catalog says by then.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::on_every_server;
use crate::harness::{Event, Events, Job, Server};

/// Epoch, lane and number.
fn place(event: &Event) -> (String, String, u64) {
    let text = |name: &str| event.json[name].as_str().unwrap_or_else(|| panic!("no {name}: {}", event.text));
    (text("epoch").to_owned(), text("lane").to_owned(), text("sequence").parse().expect("digits"))
}

fn insert(server: &Server, table: &str, ids: std::ops::Range<u32>) {
    let values: Vec<String> = ids.map(|id| format!("({id}, {id})")).collect();
    server.run(&format!("INSERT INTO test.{table} VALUES {}", values.join(",")));
}

/// The lanes of a table's rows with these ids.
fn lanes(events: &Events, table: &str, ids: std::ops::Range<u32>) -> BTreeSet<String> {
    let of_ids = |event: &&Event| event.after()["id"].as_u64().is_some_and(|id| ids.contains(&(id as u32)));
    events.of(table).iter().filter(of_ids).map(|event| place(event).1).collect()
}

/// Demands that what came again has the number that it had, and that no lane has a gap.
fn check_numbers(events: &Events) {
    let mut first: HashMap<&str, (String, String, u64)> = HashMap::new();
    let mut counts: BTreeMap<(String, String, String), u64> = BTreeMap::new();
    for event in events.iter() {
        let place = place(event);
        if let Some(known) = first.get(event.id()) {
            assert_eq!(*known, place, "{} when it came again", event.id());
            continue;
        }
        let topic = event.json["subject"].as_str().expect("a topic").to_owned();
        let count = counts.entry((topic, place.0.clone(), place.1.clone())).or_default();
        *count += 1;
        assert_eq!(place.2, *count, "{}", event.text);
        first.insert(event.id(), place);
    }
}

#[test]
fn what_comes_again_has_its_lane_again_although_the_catalog_is_another() {
    on_every_server(|server| {
        server.run("CREATE DATABASE test; CREATE TABLE test.t (id INT PRIMARY KEY, v INT)");
        // Nothing is stored before the kill but where it began.
        let job = Job::new(server).set("pipeline.checkpointMs", "60000");
        let flowd = job.start(&[]);
        insert(server, "t", 0..40);
        server.run("CREATE TABLE test.made (id INT PRIMARY KEY, v INT)");
        insert(server, "made", 0..40);
        server.run("ALTER TABLE test.t ADD UNIQUE u (v)");
        insert(server, "t", 40..80);
        server.run("TRUNCATE TABLE test.made");
        insert(server, "made", 40..80);
        job.wait_for_events(161);
        flowd.kill();

        server.run("ALTER TABLE test.t DROP KEY u; ALTER TABLE test.made ADD UNIQUE u (v)");
        insert(server, "t", 80..120);
        insert(server, "made", 80..120);
        job.catch_up();

        let events = job.events();
        check_numbers(&events);
        assert_eq!(events.first_occurrences().len(), 241);
        assert_eq!(events.len(), 161 + 241, "all came again");
        let all = || (0..4).map(|lane| format!("{lane:02}")).collect::<BTreeSet<_>>();
        let zero = BTreeSet::from(["00".to_owned()]);
        assert_eq!(lanes(&events, "t", 0..40), all());
        assert_eq!(lanes(&events, "t", 40..80), zero);
        assert_eq!(lanes(&events, "t", 80..120), zero, "it stays there for the rest of the epoch");
        assert_eq!(lanes(&events, "made", 0..80), all());
        assert_eq!(lanes(&events, "made", 80..120), zero);
    });
}
