//! CloudEvents of others: a plain JSON object becomes a row of the table that is configured for it.

use super::{BOTH, stop};
use crate::harness::{Job, Mesh, publish, until};
use crate::suite::on;

fn event(id: &str, data: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/shop","type":"order.placed","subject":"orders","datacontenttype":"application/cloudevents+json","data":{data}}}"#
    )
}

#[test]
fn plain_events_are_upserted_by_the_configured_key_into_the_configured_table() {
    on(&BOTH, &[], |server| {
        let mut sql = server.sql();
        sql.run(
            "CREATE DATABASE test; CREATE TABLE test.orders (number INT AUTO_INCREMENT PRIMARY KEY, code VARCHAR(20) UNIQUE,
             total DECIMAL(10,2), placed DATETIME(3), paid BOOLEAN NOT NULL DEFAULT FALSE, note TEXT)",
        );
        let mesh = Mesh::start();
        let job = Job::into_database(&mesh.address(), "orders", server, "test")
            .set("connectorConfig.plainTable", "orders")
            .set("connectorConfig.plainKey", "[code]");
        let mut copying = job.start(&[]);
        publish(
            &mesh,
            &[
                event(
                    "1",
                    r#"{"code":"A-1","total":"12.50","placed":"2026-01-31T12:00:00.250","note":"é 😀 \"quoted\""}"#,
                ),
                event("2", r#"{"code":"A-2","total":3,"paid":true}"#),
                // At least once: the same again, and what is newer.
                event("2", r#"{"code":"A-2","total":3,"paid":true}"#),
                event("3", r#"{"code":"A-1","total":"99.99"}"#),
            ],
        );
        let expected = [
            ["A-1", "99.99", "2026-01-31 12:00:00.250", "0", "é \u{1F600} \"quoted\""],
            ["A-2", "3.00", "NULL", "1", "NULL"],
        ];
        until("the rows", || {
            assert!(copying.is_running(), "the sink ended by itself: {}", copying.log());
            let rows = sql.run("SELECT code, total, placed, paid, note FROM test.orders ORDER BY code");
            (rows == expected).then_some(())
        });
        stop(copying);
    });
}

#[test]
fn a_plain_event_that_is_no_object_of_the_tables_columns_is_written_down() {
    on(&BOTH[..1], &[], |server| {
        let mut sql = server.sql();
        sql.run("CREATE DATABASE test; CREATE TABLE test.orders (code VARCHAR(20) PRIMARY KEY, total DECIMAL(10,2))");
        let mesh = Mesh::start();
        let job = Job::into_database(&mesh.address(), "orders", server, "test")
            .set("connectorConfig.plainTable", "orders")
            .with_dead_letters();
        let mut copying = job.start(&[]);
        let bad = [r"[1,2]", r#""text""#, r#"{"code":"B","unknown":1}"#, r#"{"code":"C","total":"much"}"#];
        let mut events: Vec<String> =
            bad.iter().enumerate().map(|(number, data)| event(&number.to_string(), data)).collect();
        events.push(event("good", r#"{"code":"A","total":1}"#));
        publish(&mesh, &events);
        until("the good one", || {
            assert!(copying.is_running(), "the sink ended by itself: {}", copying.log());
            (sql.run("SELECT code FROM test.orders") == [["A"]]).then_some(())
        });
        let letters = job.dead_letters();
        let id = |letter: &'_ serde_json::Value| {
            assert_eq!((&letter["topic"], &letter["id"]), (&"orders".into(), &letter["event"]["id"]));
            letter["id"].as_str().expect("it names the event").to_owned()
        };
        let mut ids: Vec<String> = letters.iter().map(id).collect();
        ids.sort_unstable();
        assert_eq!(ids, ["0", "1", "2", "3"], "{letters:?}");
        stop(copying);
    });
}
