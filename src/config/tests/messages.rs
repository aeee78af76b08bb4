//! What the configuration of any source of messages, and of any sink beside MySQL's, promises to its user.

use super::*;

const BRIDGE: &str =
    "connectorConfig: {connectorName: bridge, sourceMeshAddress: 'far:10000', topics: [a, b], group: g}\n";

fn bridge(text: &str) -> Result<Messages, String> {
    match load_for(named("eventmesh-source"), &format!("{BRIDGE}{text}"), &[], &[]) {
        Ok(Config { connector: Connector::Messages(messages), .. }) => Ok(*messages),
        Ok(other) => panic!("no source of messages: {other:?}"),
        Err(problems) => Err(problems.to_string()),
    }
}

#[test]
fn the_settings_of_a_source_are_read_by_its_list_and_presets_hold() {
    let messages = bridge("pubSubConfig: {subject: 'far.{topic}'}\n").expect("valid");
    assert_eq!(messages.settings.connector_name(), "bridge");
    assert_eq!(messages.settings.list("topics"), ["a", "b"]);
    assert_eq!(messages.settings.text("env"), "PRD");
    assert_eq!(messages.subject.topic(&[("topic", "a b")]), "far.a_b");
    assert_eq!(messages.source(), "/flowd/eventmesh-source/bridge");
    assert_eq!(bridge("").expect("valid").subject.topic(&[("topic", "a")]), "a", "the preset");
}

#[test]
fn a_wrong_template_is_answered_with_the_fields_of_this_source() {
    let shown = bridge("pubSubConfig: {subject: '{db}.{table}'}\n").expect_err("a database's fields");
    assert!(shown.starts_with("pubSubConfig.subject: \"{db}.{table}\" is not allowed"), "{shown}");
    assert!(shown.contains("and the field {topic} (flowd.yaml line 2)"), "{shown}");
}

#[test]
fn what_only_the_connector_can_judge_is_told_with_key_and_line() {
    let text = BRIDGE.replace("far:10000", "far");
    let shown = load_for(named("eventmesh-source"), &text, &[], &[]).expect_err("no port").to_string();
    assert!(shown.starts_with("connectorConfig.sourceMeshAddress: \"far\" is not allowed"), "{shown}");
    assert!(shown.contains("(flowd.yaml line 1)"), "{shown}");
}

#[test]
fn what_counts_events_is_for_the_stream_of_a_database_alone() {
    for key in
        ["delivery: applied", "lanes: 2", "startAt: latest", "batch: {bytes: 64KiB}", "clockFields: true"]
    {
        let shown = bridge(&format!("pipeline: {{{key}}}\n")).expect_err("not for messages");
        assert!(shown.contains("is a setting of mysql-cdc, and eventmesh-source has none"), "{shown}");
    }
}

#[cfg(feature = "http")]
#[test]
fn a_sink_of_messages_reads_topics_and_has_no_record_of_what_is_applied() {
    let base = "pubSubConfig: {subject: 'a, b'}\nconnectorConfig: {connectorName: hook, url: 'http://h/'}\n";
    let load = |text: &str| load_for(named("http-sink"), &format!("{base}{text}"), &[], &[]);
    let config = load("").expect("valid");
    let Connector::Delivery(reading, delivery) = &config.connector else { panic!("no sink: {config:?}") };
    assert_eq!((reading.topics.len(), delivery.settings.text("url")), (2, "http://h/"));
    let shown = load("pipeline: {appliedTopic: t}\n").expect_err("no record").to_string();
    assert!(
        shown.starts_with("pipeline.appliedTopic: is for sinks of rows, and http-sink is none"),
        "{shown}"
    );
}
