//! What the configuration of a sink promises to its user.

use flowd_mysql::sink::config::MySqlSinkConfig;

use super::*;

const PLAIN: &str = "pubSubConfig: {subject: shop.orders}\nconnectorConfig: {connectorName: copy}\n";
fn reading(config: &Config) -> &Reading {
    match &config.connector {
        Connector::FileSink(reading, _)
        | Connector::StdoutSink(reading)
        | Connector::Delivery(reading, _) => reading,
        Connector::MySqlCdc(_) | Connector::Messages(_) => panic!("a source"),
    }
}

fn sink_problems(connector: Named, text: &str) -> String {
    load_for(connector, text, &[], &[]).expect_err("problems").to_string()
}

#[test]
fn a_sink_reads_several_topics_in_a_group_of_its_own() {
    let text = "pubSubConfig: {subject: 'shop.orders, shop.items,shop.orders'}\nconnectorConfig: {connectorName: copy}\n";
    let config = load_for(named("stdout-sink"), text, &[], &[]).expect("valid");
    assert_eq!(reading(&config).topics, ["shop.orders", "shop.items"]);
    assert_eq!(config.pub_sub.group, "copy");
    let text = "pubSubConfig: {subject: [a, b], group: g}\nconnectorConfig: {connectorName: copy}\n";
    let config = load_for(named("stdout-sink"), text, &[], &[]).expect("valid");
    assert_eq!(reading(&config).topics, ["a", "b"]);
    assert_eq!(config.pub_sub.group, "g");
}

#[test]
fn wrong_topics_of_a_sink_are_told_with_what_is_allowed() {
    for (subject, expected) in [
        ("'{db}.{table}'", "the fields {db} and {table} are a source's"),
        ("'a,,b'", "topics, comma-separated"),
        ("'a b'", "topics, comma-separated"),
        ("''", "topics, a list or comma-separated"),
    ] {
        let text =
            format!("pubSubConfig: {{subject: {subject}}}\nconnectorConfig: {{connectorName: copy}}\n");
        let shown = sink_problems(named("file-sink"), &text);
        assert!(shown.starts_with("pubSubConfig.subject: ") && shown.contains(expected), "{shown}");
    }
    let shown = sink_problems(named("file-sink"), "connectorConfig: {connectorName: copy}\n");
    assert!(shown.starts_with("pubSubConfig.subject: is required"), "{shown}");
    let shown = sink_problems(
        named("file-sink"),
        "pubSubConfig: {subject: t, meshAddress: embedded}\nconnectorConfig: {connectorName: c}\n",
    );
    assert!(shown.starts_with("pubSubConfig.meshAddress: \"embedded\" is not allowed"), "{shown}");
}

#[test]
fn a_setting_of_another_connector_is_told_whose_it_is() {
    let text = format!("{PLAIN}pipeline: {{target: mesh, window: 3, memory: 64MiB}}\n");
    let shown = sink_problems(named("stdout-sink"), &text);
    for expected in [
        "pipeline.target: is a setting of sources, and stdout-sink has none of that name; remove it",
        "pipeline.window: is a setting of sources",
    ] {
        assert!(shown.contains(expected), "{shown}");
    }
    assert_eq!(shown.lines().count(), 2, "{shown}");
    let shown = problems("  rotateBytes: 1MiB\n");
    assert!(
        shown.starts_with("connectorConfig.rotateBytes: is a setting of file-sink, and mysql-cdc has none"),
        "{shown}"
    );
    // Several have one of this name.
    let shown = problems("  path: x.jsonl\n");
    let owners = shown.strip_prefix("connectorConfig.path: is a setting of ").expect("told whose it is");
    assert!(owners.contains("file-sink") && owners.contains(", and mysql-cdc has none"), "{shown}");
    let variables = [("FLOWD_CONNECTORCONFIG_SNAPSHOTMODE", "never")];
    let shown = load_for(named("file-sink"), PLAIN, &variables, &[]).expect_err("a source's").to_string();
    assert!(shown.starts_with("connectorConfig.snapshotMode: is a setting of mysql-cdc"), "{shown}");
}

#[test]
fn a_sink_needs_no_place_for_progress_and_says_so() {
    let text = format!("{PLAIN}offsetStorageConfig: {{offsetStorageType: nacos, offsetStorageAddr: x}}\n");
    let warnings = load_for(named("stdout-sink"), &text, &[], &[]).expect("valid").warnings;
    let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
    assert!(warning.starts_with("offsetStorageConfig: has no meaning and is ignored"), "{warning}");
}

#[test]
fn the_file_of_eventmeshs_file_sink_is_read_as_it_stands() {
    let text = "pubSubConfig:\n    meshAddress: 127.0.0.1:10000\n    subject: TopicTest\n    idc: FT\n    env: PRD\n    \
                group: fileSink\n    appId: 5031\n    userName: fileSinkUser\n    passWord: filePassWord\n\
                connectorConfig:\n    connectorName: fileSink\n    topic: TopicTest\n";
    let config = load_for(named("file-sink"), text, &[], &[]).expect("valid");
    let Connector::FileSink(reading, file) = &config.connector else { panic!("no file sink") };
    assert_eq!(
        (reading.topics.as_slice(), config.pub_sub.group.as_str()),
        (&["TopicTest".to_owned()][..], "fileSink")
    );
    assert!(file.path.is_absolute() && file.path.ends_with("fileSink.jsonl"), "{file:?}");
    let [warning] = config.warnings.as_slice() else { panic!("{:?}", config.warnings) };
    assert!(warning.starts_with("connectorConfig.topic: is ignored"), "{warning}");
}

/// What the configuration of a database sink comes to.
fn database(config: &Config) -> MySqlSinkConfig {
    let Connector::Delivery(_, delivery) = &config.connector else { panic!("no database sink") };
    MySqlSinkConfig::read(&delivery.settings).expect("judged before")
}

const JDBC: &str = "pubSubConfig:\n  meshAddress: 127.0.0.1:10001\n  subject: TopicTest\n  idc: FT\n  env: PRD\n  \
                    group: rocketmqSource\n  appId: 5032\n  userName: jdbcSourceUser\n  passWord: jdbcPassWord\n\
                    sinkConnectorConfig:\n  connectorName: \"EventMesh-sink\"\n  jdbcConfig:\n    hostname: localhost\n    \
                    port: 3406\n    user: root\n    password: xxxx\n";

#[test]
fn the_file_of_eventmeshs_jdbc_sink_is_read_as_it_stands() {
    for database_line in [
        "    url: \"jdbc:mysql://localhost:3406/shop?useSSL=false\"\n",
        "    databaseName: shop\n    url: \"jdbc:mysql://other:1\"\n",
    ] {
        let text = format!("{JDBC}{database_line}");
        let config =
            load_for(named("mysql-sink"), &text, &[], &[]).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(
            (config.connector.name(), reading(&config).topics.as_slice()),
            ("EventMesh-sink", &["TopicTest".to_owned()][..])
        );
        let sink = database(&config);
        assert_eq!(
            (sink.server.hostname.as_str(), sink.server.port, sink.server.user.as_str()),
            ("localhost", 3406, "root")
        );
        assert_eq!((sink.server.password.reveal(), sink.database()), ("xxxx", "shop"));
        assert_eq!(config.warnings, Vec::<String>::new());
    }
    let text = format!("{JDBC}    url: \"jdbc:mysql://localhost:3406\"\n");
    let shown = sink_problems(named("mysql-sink"), &text);
    assert!(shown.starts_with("connectorConfig.database: is required; write it in the file"), "{shown}");
    assert_eq!(shown.lines().count(), 1, "{shown}");
    let flag = ["connectorConfig.database=shop"];
    assert_eq!(
        database(&load_for(named("mysql-sink"), &text, &[], &flag).expect("valid")).database(),
        "shop"
    );
}

#[test]
fn keys_of_the_canal_and_jdbc_sinks_are_answered_with_ours() {
    let text = "pubSubConfig: {subject: t}\nsupportDelete: true\nsinkConnectorConfig:\n  connectorName: c\n  dbAddress: x\n  \
                dbPort: 1\n  passWord: y\n  databases: [{schemaName: d, tables: []}]\n  skipException: true\n  useBatch: true\n  \
                poolSize: 5\n  url: odd\n";
    let shown = sink_problems(named("mysql-sink"), text);
    for (key, ours) in [
        ("connectorConfig.dbAddress", "`hostname`"),
        ("connectorConfig.dbPort", "`port`"),
        ("connectorConfig.passWord", "`password`"),
        ("connectorConfig.databases", "`tableMapping`"),
        ("connectorConfig.skipException", "`pipeline.onReject`"),
        ("connectorConfig.useBatch", "`pipeline.memory`"),
        ("connectorConfig.poolSize", "remove it"),
        ("sinkConnectorConfig.url", "`hostname` and `port`"),
    ] {
        let found = shown.lines().find(|shown| shown.starts_with(&format!("{key}:")));
        assert!(found.is_some_and(|found| found.contains(ours)), "{key}: {found:?} in\n{shown}");
    }
    let shown = problems("sinkConnectorConfig: {connectorName: c}\n");
    assert!(shown.contains("`flowd --connector mysql-sink`"), "{shown}");
    let both = "pubSubConfig: {subject: t}\nconnectorConfig: {connectorName: c}\nsinkConnectorConfig: {connectorName: d}\n";
    let shown = sink_problems(named("stdout-sink"), both);
    assert!(
        shown.starts_with("sinkConnectorConfig: holds the connector's settings, as `connectorConfig` does"),
        "{shown}"
    );
}

#[test]
fn only_a_sink_of_rows_tells_what_it_applied_and_waits_for_what_is_missing() {
    let mut flags = required(named("mysql-sink"));
    flags.push("pipeline.appliedTopic=told".to_owned());
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let config = load_without_file(named("mysql-sink"), &flags).expect("valid");
    assert_eq!(reading(&config).applied_topic.as_deref(), Some("told"));
    for name in ["stdout-sink", "file-sink"] {
        for (key, value) in [("appliedTopic", "told"), ("gapWaitMs", "500")] {
            let told = load_for(named(name), PLAIN, &[], &[&format!("pipeline.{key}={value}")]);
            let shown = told.expect_err("no record").to_string();
            assert!(shown.starts_with(&format!("pipeline.{key}: is for sinks of rows")), "{shown}");
        }
    }
}

#[test]
fn tables_are_mapped_by_a_mapping_a_list_or_one_text() {
    let base = "pubSubConfig: {subject: t}\nconnectorConfig:\n  connectorName: c\n  hostname: h\n  user: u\n  database: d\n";
    for mapping in [
        "{shop.orders: copies, 'crm.*': crm.old_*}",
        "[shop.orders=copies, 'crm.* = crm.old_*']",
        "'shop.orders=copies,crm.*=crm.old_*'",
    ] {
        let text = format!("{base}  tableMapping: {mapping}\n");
        let config =
            load_for(named("mysql-sink"), &text, &[], &[]).unwrap_or_else(|problems| panic!("{problems}"));
        let target = |db, table| database(&config).mapping.target(db, table).to_string();
        assert_eq!(
            [target("shop", "orders"), target("crm", "a"), target("x", "y")],
            ["d.copies", "crm.old_a", "d.y"]
        );
    }
    for (mapping, expected) in [
        ("{shop.orders: [a]}", "must be names with a name each"),
        ("'shop.orders'", "must be names with a name each"),
        ("{orders: x}", "\"orders\" is not allowed"),
    ] {
        let shown = sink_problems(named("mysql-sink"), &format!("{base}  tableMapping: {mapping}\n"));
        assert!(shown.starts_with("connectorConfig.tableMapping: ") && shown.contains(expected), "{shown}");
        assert_eq!(shown.lines().count(), 1, "{shown}");
    }
}
