//! Tests of the judgement: a healthy server, spoilt in one thing at a time.

use super::*;
use crate::config::{MySqlConfig, MySqlSettings};
use crate::grants::Grants;
use crate::server::Server;

fn config(more: &str) -> MySqlConfig {
    let text = format!(r#"{{"connectorName":"orders","hostname":"db1","user":"cdc","serverId":77{more}}}"#);
    let settings: MySqlSettings = serde_json::from_str(&text).expect("settings");
    settings.try_into().expect("a possible configuration")
}

fn ourselves() -> Ourselves {
    Ourselves { uuid: "11111111-0000-0000-0000-000000000000".into(), host: "flowd-orders".into() }
}

const ALL: &str = "GRANT ALL PRIVILEGES ON *.* TO `cdc`@`%`";

fn healthy(version: &str, variables: &[(&str, &str)], grants: &[&str]) -> Observed {
    let common = [
        ("log_bin", "ON"),
        ("binlog_format", "ROW"),
        ("binlog_row_image", "FULL"),
        ("binlog_row_metadata", "FULL"),
        ("server_id", "1"),
    ];
    let variables = common.iter().chain(variables);
    Observed {
        server: Server::new(version, None, 1).expect("a version"),
        account: "cdc@%".into(),
        grants: Grants::parse(grants.iter().copied()),
        variables: variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        replicas: Some(Vec::new()),
        dump_threads: Vec::new(),
        binlog_filters: (String::new(), String::new()),
    }
}

fn mysql() -> Observed {
    healthy("9.7.4", &[("gtid_mode", "ON"), ("binlog_expire_logs_seconds", "2592000")], &[ALL])
}

fn mariadb() -> Observed {
    let variables =
        [("log_bin_compress", "OFF"), ("expire_logs_days", "0.000000"), ("max_binlog_total_size", "0")];
    healthy("11.8.9-MariaDB", &variables, &[ALL])
}

/// Of the stream alone: the one finding, with its severity; its texts hold the two.
fn check_one(observed: &Observed, config: &MySqlConfig, severity: Severity, what: &str, remedy: &str) {
    check_only(&judge(observed, config, &ourselves(), false), severity, what, remedy);
}

fn check_only(findings: &[Finding], severity: Severity, what: &str, remedy: &str) {
    let [finding] = findings else { panic!("one finding about {what:?}, not {findings:#?}") };
    assert_eq!(finding.severity, severity, "{finding}");
    assert!(finding.what.contains(what), "{finding}");
    assert!(finding.remedy.contains(remedy), "{finding}");
}

#[test]
fn a_healthy_server_has_no_findings() {
    for snapshot in [false, true] {
        assert_eq!(judge(&mysql(), &config(""), &ourselves(), snapshot), []);
        assert_eq!(judge(&mariadb(), &config(""), &ourselves(), snapshot), []);
    }
}

#[test]
fn each_setting_that_cannot_work_is_a_problem_with_its_statement() {
    for (name, value, what, remedy) in [
        ("log_bin", "OFF", "log_bin is OFF", "[mysqld] log_bin = binlog"),
        ("binlog_format", "MIXED", "binlog_format is MIXED", "SET GLOBAL binlog_format = 'ROW'"),
        ("server_id", "0", "server_id is 0", "SET GLOBAL server_id = 1"),
        ("server_id", "77", "serverId 77 is the server's own", "connectorConfig.serverId"),
    ] {
        let mut observed = mariadb();
        observed.variables.insert(name.into(), value.into());
        check_one(&observed, &config(""), Severity::Problem, what, remedy);
    }
}

#[test]
fn each_setting_that_costs_something_is_a_warning_with_its_statement() {
    for (name, value, what, remedy) in [
        ("binlog_transaction_compression", "ON", "binlog_transaction_compression is ON", "= OFF"),
        ("log_bin_compress", "ON", "log_bin_compress is ON", "SET GLOBAL log_bin_compress = OFF"),
        (
            "binlog_row_image",
            "MINIMAL",
            "binlog_row_image is MINIMAL",
            "SET GLOBAL binlog_row_image = 'FULL'",
        ),
        ("binlog_row_image", "NOBLOB", "binlog_row_image is NOBLOB", "binlog_row_image = FULL"),
        (
            "binlog_row_metadata",
            "NO_LOG",
            "binlog_row_metadata is NO_LOG",
            "SET GLOBAL binlog_row_metadata = 'FULL'",
        ),
        (
            "binlog_expire_logs_seconds",
            "3600",
            "kept for 3600 seconds",
            "binlog_expire_logs_seconds = 604800",
        ),
        ("expire_logs_days", "0.500000", "kept for 43200 seconds", "binlog_expire_logs_seconds = 604800"),
        ("max_binlog_total_size", "1073741824", "beyond 1073741824 bytes", "max_binlog_total_size"),
        (
            "binlog_row_value_options",
            "PARTIAL_JSON",
            "partial updates",
            "SET GLOBAL binlog_row_value_options = ''",
        ),
    ] {
        let mut observed = mariadb();
        observed.variables.insert(name.into(), value.into());
        check_one(&observed, &config(""), Severity::Warning, what, remedy);
    }
}

#[test]
fn mysql_without_gtids_is_a_note() {
    let mut observed = mysql();
    observed.variables.insert("gtid_mode".into(), "OFF".into());
    check_one(&observed, &config(""), Severity::Note, "gtid_mode is OFF", "gtid_mode = ON");
}

#[test]
fn a_snapshot_of_mysql_without_gtids_needs_locks_or_is_a_problem() {
    let locking = config(r#","snapshotForShare":true"#);
    for (mode, config, severity, remedy) in [
        ("OFF", config(""), Severity::Problem, "connectorConfig.snapshotForShare: true"),
        ("OFF_PERMISSIVE", config(""), Severity::Problem, "connectorConfig.snapshotMode: never"),
        ("ON_PERMISSIVE", config(""), Severity::Note, "gtid_mode = ON"),
        ("OFF", locking, Severity::Note, "gtid_mode = ON"),
    ] {
        let mut observed = mysql();
        observed.variables.insert("gtid_mode".into(), mode.into());
        let findings = judge(&observed, &config, &ourselves(), true);
        check_only(&findings, severity, &format!("gtid_mode is {mode}"), remedy);
    }
}

#[test]
fn a_snapshot_needs_full_row_images() {
    for image in ["MINIMAL", "NOBLOB"] {
        let mut observed = mariadb();
        observed.variables.insert("binlog_row_image".into(), image.into());
        let findings = judge(&observed, &config(""), &ourselves(), true);
        let what = format!("binlog_row_image is {image}");
        check_only(&findings, Severity::Problem, &what, "SET GLOBAL binlog_row_image = 'FULL'");
    }
}

#[test]
fn short_retention_without_automatic_purge_is_fine() {
    let mut observed = mysql();
    observed.variables.insert("binlog_expire_logs_seconds".into(), "60".into());
    observed.variables.insert("binlog_expire_logs_auto_purge".into(), "OFF".into());
    assert_eq!(judge(&observed, &config(""), &ourselves(), false), []);
}

#[test]
fn schemas_left_out_of_the_binlog_are_a_warning() {
    let mut observed = mysql();
    observed.binlog_filters.1 = "shop".into();
    check_one(&observed, &config(""), Severity::Warning, "binlog_ignore_db: shop", "binlog_do_db");
}

#[test]
fn each_missing_right_is_a_problem_with_its_grant() {
    let shop = config(r#","tableIncludeList":["shop.*"]"#);
    let slave = "GRANT REPLICATION SLAVE ON *.* TO `cdc`@`%`";
    let (client, monitor) =
        ("GRANT REPLICATION CLIENT ON *.* TO `cdc`@`%`", "GRANT BINLOG MONITOR ON *.* TO `cdc`@`%`");
    let select = "GRANT SELECT ON `shop`.* TO `cdc`@`%`";
    let variables = [("gtid_mode", "ON")];
    for (version, grants, what, remedy) in [
        (
            "9.7.4",
            [client, select],
            "lacks REPLICATION SLAVE",
            "GRANT REPLICATION SLAVE ON *.* TO 'cdc'@'%';",
        ),
        (
            "9.7.4",
            [slave, select],
            "lacks REPLICATION CLIENT",
            "GRANT REPLICATION CLIENT ON *.* TO 'cdc'@'%';",
        ),
        (
            "11.8.9-MariaDB",
            [slave, select],
            "lacks BINLOG MONITOR",
            "GRANT BINLOG MONITOR ON *.* TO 'cdc'@'%';",
        ),
        ("9.7.4", [slave, client], "lacks SELECT on `shop`.*", "GRANT SELECT ON `shop`.* TO 'cdc'@'%';"),
        (
            "11.8.9-MariaDB",
            [slave, monitor],
            "lacks SELECT on `shop`.*",
            "GRANT SELECT ON `shop`.* TO 'cdc'@'%';",
        ),
    ] {
        check_one(&healthy(version, &variables, &grants), &shop, Severity::Problem, what, remedy);
        let whole = healthy(version, &variables, &[slave, client, monitor, select]);
        assert_eq!(judge(&whole, &shop, &ourselves(), false), []);
    }
}

#[test]
fn a_role_that_is_not_active_is_named() {
    let observed = healthy("9.7.4", &[("gtid_mode", "ON")], &[ALL, "GRANT `r`@`%` TO `cdc`@`%`"]);
    assert_eq!(judge(&observed, &config(""), &ourselves(), false), []);
    let inactive = [
        "GRANT SELECT ON *.* TO `cdc`@`%`",
        "GRANT REPLICATION CLIENT ON *.* TO `cdc`@`%`",
        "GRANT `r`@`%` TO `cdc`@`%`",
    ];
    let observed = healthy("9.7.4", &[("gtid_mode", "ON")], &inactive);
    check_one(
        &observed,
        &config(""),
        Severity::Problem,
        "lacks REPLICATION SLAVE",
        "`r`@`%`; SET DEFAULT ROLE",
    );
}

#[test]
fn an_open_schema_needs_select_somewhere_and_better_everywhere() {
    let replica = "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `cdc`@`%`";
    let variables = [("gtid_mode", "ON")];
    for open in [config(""), config(r#","tableIncludeList":["s*.orders"]"#)] {
        let some = healthy("9.7.4", &variables, &[replica, "GRANT SELECT ON `shop`.* TO `cdc`@`%`"]);
        check_one(&some, &open, Severity::Warning, "SELECT on some tables only", "GRANT SELECT ON *.*");
        let findings = judge(&some, &open, &ourselves(), true);
        check_only(&findings, Severity::Warning, "left out of the snapshot", "GRANT SELECT ON *.*");
        let none = healthy("9.7.4", &variables, &[replica]);
        check_one(&none, &open, Severity::Problem, "lacks SELECT", "GRANT SELECT ON *.*");
    }
}

fn replica(server_id: u32, host: &str, uuid: &str) -> Replica {
    Replica { server_id, host: host.into(), port: "3306".into(), uuid: uuid.into() }
}

#[test]
fn another_holder_of_our_id_is_a_problem_and_named() {
    let mut observed = mysql();
    observed.replicas = Some(vec![replica(5, "", ""), replica(77, "db2", "2222")]);
    observed.dump_threads = vec!["repl@10.0.0.9:41234".into()];
    let what = "serverId 77 is held by another replica (db2, port 3306, UUID 2222; connections that read the binlog now: \
                repl@10.0.0.9:41234)";
    check_one(&observed, &config(""), Severity::Problem, what, "connectorConfig.serverId");
}

#[test]
fn what_an_earlier_process_of_ours_left_is_no_clash() {
    let mut observed = mysql();
    observed.replicas = Some(vec![replica(77, "", "11111111-0000-0000-0000-000000000000")]);
    assert_eq!(judge(&observed, &config(""), &ourselves(), false), []);
    let mut observed = mariadb();
    observed.replicas = Some(vec![replica(77, "flowd-orders", "")]);
    assert_eq!(judge(&observed, &config(""), &ourselves(), false), []);
}

#[test]
fn replicas_that_cannot_be_seen_are_a_note() {
    let mut observed = mariadb();
    observed.replicas = None;
    check_one(
        &observed,
        &config(""),
        Severity::Note,
        "whether serverId 77 is free",
        "REPLICATION MASTER ADMIN",
    );
}
