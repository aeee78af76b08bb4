//! What a configuration promises to its user.

use std::collections::BTreeSet;
use std::fs;

use flowd_mysql::config::{SETTINGS, SnapshotMode, SnapshotSettings};
use flowd_mysql::position::{StartAt, StopAt};

use super::setting::{Kind, Preset, Section};
use super::*;

mod messages;
mod publishing;
mod sink;

const REQUIRED: &str = "connectorConfig:\n  connectorName: orders\n  hostname: db\n  user: cdc\n";

/// Loads a file of the source with this text, with these variables and these flags (`section.key=value`).
fn load_text(text: &str, variables: &[(&str, &str)], flags: &[&str]) -> Result<Loaded, Problems> {
    load_for(named("mysql-cdc"), text, variables, flags).map(Loaded::of)
}

fn named(name: &str) -> Named {
    Named::parse(name).expect("in the table")
}

/// The configuration of the source, with its parts at hand.
#[derive(Debug)]
struct Loaded {
    config: Config,
    source: Source,
}

impl Loaded {
    fn of(config: Config) -> Self {
        let Connector::MySqlCdc(source) = &config.connector else { panic!("no source: {config:?}") };
        Self { source: (**source).clone(), config }
    }
}

/// The same for any connector.
fn load_for(
    connector: Named,
    text: &str,
    variables: &[(&str, &str)],
    flags: &[&str],
) -> Result<Config, Problems> {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("flowd.yaml"), text).expect("written");
    fs::write(directory.path().join("secret"), "s3cret\n").expect("written");
    let sources = Sources {
        file: Some(PathBuf::from("flowd.yaml")),
        environment: variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        flags: flags.iter().map(|flag| as_flag(flag)).collect(),
        working_directory: directory.path().to_owned(),
    };
    load(connector, &sources)
}

/// Only flags, in a directory that is always the same.
fn load_without_file(connector: Named, flags: &[&str]) -> Result<Config, Problems> {
    let flags = flags.iter().map(|flag| as_flag(flag)).collect();
    load(connector, &Sources { flags, working_directory: PathBuf::from("/w"), ..Sources::default() })
}

fn as_flag(flag: &str) -> Flag {
    let (path, value) = flag.split_once('=').expect("a value");
    let (section, key) = path.split_once('.').expect("a section");
    Flag { typed: format!("--{path}"), section: section.into(), key: key.into(), value: value.into() }
}

fn config(text: &str) -> Loaded {
    load_text(&format!("{REQUIRED}{text}"), &[], &[]).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The problems of the required keys and this text, one a line.
fn problems(text: &str) -> String {
    load_text(&format!("{REQUIRED}{text}"), &[], &[]).expect_err("problems").to_string()
}

#[test]
fn the_file_of_the_manual_is_read_as_it_stands() {
    let text = r#"
pubSubConfig:
  meshAddress: 127.0.0.1:10000, mesh2:10000
  subject: "{db}.{table}"
  idc: DC1
  env: PRD
  group: orders
  appId: 5032
  userName: flowd
  passWord: ${MESH_PASSWORD}
connectorConfig:
  connectorName: orders
  hostname: 127.0.0.1
  port: 3306
  user: cdc
  password: file:secret
  serverId: 5400
  sslMode: preferred
  tableIncludeList: ["shop.*"]
  snapshotMode: never
  invalidText: stop
offsetStorageConfig:
  offsetStorageType: rocksdb
  offsetStorageAddr: ./state
pipeline:
  target: mesh
  startAt: latest
  memory: 256MiB
  connections: 4
  window: 64
  order: key
  onReject: stop
  checkpointMs: 1000
"#;
    let Loaded { config, source } = load_text(text, &[("MESH_PASSWORD", "pw")], &[]).expect("valid");
    let servers = ["127.0.0.1:10000", "mesh2:10000"].map(str::to_owned).to_vec();
    assert_eq!(source.outward.mesh_address, MeshAddress::Servers(servers));
    assert_eq!((config.pub_sub.app_id.as_str(), config.pub_sub.pass_word.expose()), ("5032", "pw"));
    assert_eq!((source.mysql.server_id, source.mysql.password.reveal()), (5400, "s3cret"));
    assert!(source.mysql.filter.captures("shop", "orders") && !source.mysql.filter.captures("crm", "orders"));
    assert!(source.outward.offset_storage.offset_storage_addr.is_absolute());
    assert!(source.outward.offset_storage.offset_storage_addr.ends_with("state"));
    assert_eq!((config.pipeline.memory, config.pipeline.drain_ms), (256 << 20, 30_000));
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let text = format!("{REQUIRED}  port: 1\npipeline: {{window: 1, connections: 1}}\n");
    let variables =
        [("FLOWD_CONNECTORCONFIG_PORT", "2"), ("FLOWD_PIPELINE_WINDOW", "2"), ("FLOWD_LOG", "info")];
    let config = load_text(&text, &variables, &["connectorConfig.port=3"]).expect("valid");
    let publishing = &config.source.outward.publishing;
    assert_eq!((config.source.mysql.port, publishing.window, publishing.connections), (3, 2, 1));
}

#[test]
fn lists_are_comma_separated_in_flags_and_variables() {
    let variables = [("FLOWD_CONNECTORCONFIG_TABLEEXCLUDELIST", "a.x, a.y")];
    let config =
        load_text(REQUIRED, &variables, &["connectorConfig.tableIncludeList=a.*,b.t"]).expect("valid");
    let captured =
        [("a", "z", true), ("a", "x", false), ("a", "y", false), ("b", "t", true), ("b", "u", false)];
    for (schema, table, expected) in captured {
        assert_eq!(config.source.mysql.filter.captures(schema, table), expected, "{schema}.{table}");
    }
}

#[test]
fn a_configuration_needs_no_file_and_json_is_one() {
    let variable = |name: &str, value: &str| (format!("FLOWD_CONNECTORCONFIG_{name}"), value.to_owned());
    let environment = vec![variable("CONNECTORNAME", "o"), variable("HOSTNAME", "h"), variable("USER", "u")];
    let sources = Sources { environment, working_directory: PathBuf::from("/w"), ..Sources::default() };
    let without_file = load(named("mysql-cdc"), &sources).map(Loaded::of).expect("valid");
    assert_eq!(without_file.source.outward.offset_storage.offset_storage_addr, PathBuf::from("/w/state"));
    let json = r#"{"connectorConfig": {"connectorName": "o", "hostname": "h", "user": "u", "port": 3307}}"#;
    assert_eq!(load_text(json, &[], &[]).expect("valid").source.mysql.port, 3307);
}

#[test]
fn relative_paths_count_from_where_they_are_written() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::create_dir(directory.path().join("etc")).expect("made");
    fs::write(
        directory.path().join("etc/f.yaml"),
        format!("{REQUIRED}pipeline: {{target: 'jsonl:out.jsonl'}}\n"),
    )
    .expect("written");
    let flag = Flag {
        typed: "--dead-letter-file".into(),
        section: "pipeline".into(),
        key: "deadLetterFile".into(),
        value: "dead.jsonl".into(),
    };
    let sources = Sources {
        file: Some(PathBuf::from("etc/f.yaml")),
        flags: vec![flag],
        working_directory: directory.path().to_owned(),
        ..Sources::default()
    };
    let config = load(named("mysql-cdc"), &sources).map(Loaded::of).expect("valid");
    assert_eq!(
        config.source.outward.publishing.target,
        Target::JsonLines(directory.path().join("etc/out.jsonl"))
    );
    assert_eq!(config.config.pipeline.dead_letter_file, directory.path().join("dead.jsonl"));
    assert_eq!(config.source.outward.offset_storage.offset_storage_addr, directory.path().join("etc/state"));
}

#[test]
fn every_problem_is_named_with_key_value_allowed_and_line() {
    let text = "  port: 70000\n  sslMode: maybe\n  tableIncludeList: [shop]\npipeline:\n  memroy: 1\n  memory: lots\n  \
                window: 0\n  target: file\n  startAt: gtid:x\n  clockFields: 7\n  order: [key]\n";
    let shown = problems(text);
    for (key, words, line) in [
        ("connectorConfig.port", "\"70000\" is not allowed; allowed: a whole number from 1 to 65535", 5),
        ("connectorConfig.sslMode", "\"maybe\" is not allowed; allowed: disabled, preferred", 6),
        ("connectorConfig.tableIncludeList", "\"shop\" is not allowed; allowed: a glob of the form", 7),
        ("pipeline.memroy", "unknown key; did you mean `memory`?", 9),
        ("pipeline.memory", "\"lots\" is not allowed; allowed: bytes, or a number with KiB", 10),
        ("pipeline.window", "\"0\" is not allowed; allowed: a whole number from 1", 11),
        ("pipeline.target", "\"file\" is not allowed; allowed: mesh, jsonl:PATH, stdout, drop", 12),
        ("pipeline.startAt", "\"gtid:x\" is not allowed; allowed: ", 13),
        ("pipeline.clockFields", "\"7\" is not allowed; allowed: true or false", 14),
        ("pipeline.order", "is a list; allowed: key, total, none", 15),
    ] {
        let found = shown.lines().find(|shown| shown.starts_with(&format!("{key}:")));
        let found = found.unwrap_or_else(|| panic!("nothing about {key} in\n{shown}"));
        assert!(found.contains(words), "{found}");
        assert!(found.ends_with(&format!("(flowd.yaml line {line})")), "{found}");
    }
    assert_eq!(shown.lines().count(), 10, "{shown}");
}

#[test]
fn what_is_required_is_asked_for_all_at_once() {
    let shown = load_text("pipeline:\n", &[], &[]).expect_err("problems").to_string();
    for key in ["connectorName", "hostname", "user"] {
        assert!(shown.contains(&format!("connectorConfig.{key}: is required")), "{shown}");
    }
    assert_eq!(shown.lines().count(), 3, "{shown}");
}

#[test]
fn a_secret_is_never_shown() {
    let text = "  password: hunter2${NOPE}\npubSubConfig: {passWord: [hunter2]}\n";
    let shown = problems(text);
    assert!(shown.contains("connectorConfig.password: the variable `NOPE`"), "{shown}");
    assert!(shown.contains("pubSubConfig.passWord: is a list"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
    let config = config("  password: hunter2\n");
    let printed = format!("{config:?}");
    assert!(!printed.contains("hunter2"), "{printed}");
}

#[test]
fn keys_of_eventmesh_without_meaning_are_warned_of_once_each() {
    let text = "pollConfig: {capacity: 1024, maxBatchSize: 10}\noffsetStorageConfig:\n  offsetStorageType: rocksdb\n  \
                extensions: {dataId: T, group: g}\n  dataSourceType: MYSQL\n  dataSinkType: MYSQL\n";
    let warnings = config(text).config.warnings;
    assert_eq!(warnings.len(), 4, "{warnings:?}");
    for key in ["pollConfig:", "offsetStorageConfig.extensions:", "offsetStorageConfig.dataSourceType:"] {
        assert!(warnings.iter().any(|warning| warning.starts_with(key)), "{warnings:?}");
    }
}

#[test]
fn keys_of_the_canal_and_jdbc_connectors_are_answered_with_ours() {
    let text = "  dbAddress: x\n  passWord: y\n  databases: [{schemaName: d, tables: []}]\n  slaveId: 7\n  \
                databaseIncludeList: [a]\n  jdbcConfig: {hostname: h, url: u}\noffsetStorageConfig: {offsetStorageType: nacos}\n\
                sourceConnectorConfig: {url: x, mysqlConfig: {serverId: 1}}\n";
    let shown = problems(text);
    for (key, ours) in [
        ("connectorConfig.dbAddress", "`hostname`"),
        ("connectorConfig.passWord", "`password`"),
        ("connectorConfig.databases", "`tableIncludeList`"),
        ("connectorConfig.slaveId", "`serverId`"),
        ("connectorConfig.databaseIncludeList", "`tableIncludeList`"),
        ("connectorConfig.jdbcConfig", "`connectorConfig`"),
        ("connectorConfig.jdbcConfig.hostname", "`hostname`"),
        ("connectorConfig.jdbcConfig.url", "`hostname` and `port`"),
        ("sourceConnectorConfig.url", "`hostname` and `port`"),
        ("sourceConnectorConfig.mysqlConfig.serverId", "`serverId` directly under `connectorConfig`"),
        ("offsetStorageConfig.offsetStorageType", "`offsetStorageType: rocksdb`"),
        ("sourceConnectorConfig", "`connectorConfig`"),
    ] {
        let found = shown.lines().find(|shown| shown.starts_with(&format!("{key}:")));
        assert!(found.is_some_and(|found| found.contains(ours)), "{key}: {found:?} in\n{shown}");
    }
}

#[test]
fn unknown_names_in_variables_and_flags_are_problems_too() {
    let variables = [("FLOWD_PIPELINE_MEMROY", "1"), ("FLOWD_CACHE", "/x"), ("FLOWD_LOG", "debug")];
    let shown =
        load_text(REQUIRED, &variables, &["pipelin.memory=1", "pipeline.windw=3"]).expect_err("problems");
    let shown = shown.to_string();
    assert!(shown.contains("pipeline.MEMROY: unknown key; did you mean `memory`?"), "{shown}");
    assert!(shown.contains("(environment variable FLOWD_PIPELINE_MEMROY)"), "{shown}");
    assert!(
        shown.contains("pipelin: unknown section; did you mean `pipeline`? (flag --pipelin.memory)"),
        "{shown}"
    );
    assert!(shown.contains("pipeline.windw: unknown key; did you mean `window`?"), "{shown}");
    assert_eq!(shown.lines().count(), 3, "{shown}");
}

#[test]
fn values_that_do_not_go_together_are_problems() {
    for (text, key) in [
        ("  sslMode: verify-ca\n", "connectorConfig.sslCa: nothing is not allowed"),
        ("  sslCert: a.pem\n", "connectorConfig.sslKey: nothing is not allowed"),
        ("  sslMode: verify-ca\n  sslCa: no.pem\n", "connectorConfig.sslCa: cannot read the file"),
        ("  tableExcludeList: ['*.*']\n", "connectorConfig.tableExcludeList: leaves no table"),
        (
            "  tableIncludeList: [a.b]\n  tableExcludeList: [a.b]\n",
            "connectorConfig.tableExcludeList: leaves no",
        ),
    ] {
        let shown = problems(text);
        assert!(shown.contains(key), "{shown}");
    }
}

#[test]
fn a_snapshot_is_configured_like_everything_else() {
    let snapshot = config("").source.mysql.snapshot;
    assert_eq!(snapshot, SnapshotSettings::default());
    let text = "  snapshotMode: initialOnly\n  parallelism: 8\n  chunkBytes: 512 KiB\n  snapshotRowsPerSecond: 20000\n  \
                snapshotBytesPerSecond: 10MB\n  snapshotMaxRunning: 40\n  snapshotForShare: true\n";
    let expected = SnapshotSettings {
        mode: SnapshotMode::InitialOnly,
        parallelism: 8,
        chunk_bytes: 512 << 10,
        rows_per_second: Some(20_000),
        bytes_per_second: Some(10_000_000),
        max_running: Some(40),
        for_share: true,
    };
    assert_eq!(config(text).source.mysql.snapshot, expected);
    let variables = [("FLOWD_CONNECTORCONFIG_CHUNKBYTES", "1GiB")];
    let flagged =
        load_text(REQUIRED, &variables, &["connectorConfig.snapshotMode=whenNeeded"]).expect("valid");
    assert_eq!(flagged.source.mysql.snapshot.mode, SnapshotMode::WhenNeeded);
    assert_eq!(flagged.source.mysql.snapshot.chunk_bytes, 1 << 30);
}

#[test]
fn wrong_values_of_a_snapshot_name_key_value_and_what_is_allowed() {
    let text = "  snapshotMode: sometimes\n  parallelism: 65\n  chunkBytes: 8KiB\n  snapshotRowsPerSecond: 0\n  \
                snapshotBytesPerSecond: fast\n  snapshotMaxRunning: -1\n  snapshotForShare: maybe\n  chunkByte: 1MiB\n";
    let shown = problems(text);
    for expected in [
        "connectorConfig.snapshotMode: \"sometimes\" is not allowed; allowed: initial, initialOnly, never, whenNeeded",
        "connectorConfig.parallelism: \"65\" is not allowed; allowed: a whole number from 1 to 64",
        "connectorConfig.chunkBytes: \"8KiB\" is not allowed; allowed: bytes, or a number with KiB, MiB, GiB, KB, MB or \
         GB: from 16KiB to 1GiB",
        "connectorConfig.snapshotRowsPerSecond: \"0\" is not allowed; allowed: a whole number from 1",
        "connectorConfig.snapshotBytesPerSecond: \"fast\" is not allowed; allowed: bytes, or a number with",
        "connectorConfig.snapshotMaxRunning: \"-1\" is not allowed; allowed: a whole number from 1",
        "connectorConfig.snapshotForShare: \"maybe\" is not allowed; allowed: true or false",
        "connectorConfig.chunkByte: unknown key; did you mean `chunkBytes`?",
    ] {
        assert!(shown.lines().any(|line| line.starts_with(expected)), "{expected}\nin\n{shown}");
    }
    assert_eq!(shown.lines().count(), 8, "{shown}");
}

#[test]
fn a_start_that_a_snapshot_overrules_is_warned_of_once() {
    let start = "pipeline: {startAt: earliest}\n";
    for mode in ["initial", "initialOnly", "whenNeeded"] {
        let warnings = config(&format!("  snapshotMode: {mode}\n{start}")).config.warnings;
        let [warning] = warnings.as_slice() else { panic!("{mode}: {warnings:?}") };
        for part in ["pipeline.startAt", &format!("connectorConfig.snapshotMode: {mode}"), "does not count"] {
            assert!(warning.contains(part), "{warning}");
        }
        assert!(warning.ends_with("(flowd.yaml line 6)"), "{warning}");
    }
    assert_eq!(config(start).config.warnings.len(), 1, "the default is a snapshot");
    for quiet in ["  snapshotMode: never\npipeline: {startAt: earliest}\n", "  snapshotMode: initial\n"] {
        assert_eq!(config(quiet).config.warnings, Vec::<String>::new(), "{quiet}");
    }
}

#[test]
fn positions_are_read_in_both_notations() {
    let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    let mysql = config(&format!("pipeline: {{startAt: 'gtid:{uuid}:1-5', stopAt: end}}\n")).source.stream;
    assert_eq!(mysql.start_at, StartAt::Gtid(format!("{uuid}:1-5")));
    assert_eq!(mysql.stop_at, Some(StopAt::End));
    let mariadb =
        config("pipeline: {startAt: 'binlog.000003:157', stopAt: 'gtid:0-1-5,1-2-9'}\n").source.stream;
    assert_eq!(mariadb.start_at, StartAt::Place("binlog.000003".into(), 157));
    assert_eq!(mariadb.stop_at, Some(StopAt::Gtid("0-1-5,1-2-9".into())));
}

/// The flags that the connector requires.
fn required(connector: Named) -> Vec<String> {
    const SOURCE: &[&str] =
        &["connectorConfig.connectorName=o", "connectorConfig.hostname=h", "connectorConfig.user=u"];
    const PLAIN: &[&str] = &["pubSubConfig.subject=t", "connectorConfig.connectorName=o"];
    let own = match connector.name() {
        "mysql-cdc" => SOURCE,
        "file-sink" | "stdout-sink" => PLAIN,
        _ => return setting::of(connector).filter_map(given).collect(),
    };
    own.iter().map(|flag| (*flag).to_owned()).collect()
}

fn is_address(setting: &setting::Setting) -> bool {
    let is_told = matches!(setting.kind, Kind::Form(words) if words.to_lowercase().starts_with("host:port"));
    is_told || ["Address", "Servers"].iter().any(|end| setting.name.ends_with(end))
}

/// A value for a setting that must be given.
fn given(setting: &setting::Setting) -> Option<String> {
    let value = match (setting.preset, setting.kind) {
        (Preset::Value(_) | Preset::Without(_), _) => return None,
        (Preset::Required, Kind::Integer(least, _) | Kind::Size(least, _)) => least.to_string(),
        (Preset::Required, Kind::Choice(words)) => words[0].to_owned(),
        (Preset::Required, Kind::Switch) => "true".to_owned(),
        (Preset::Required, _) if setting.name.to_lowercase().ends_with("url") => "http://h/".to_owned(),
        (Preset::Required, _) if is_address(setting) => "127.0.0.1:1".to_owned(),
        (Preset::Required, _) => "h".to_owned(),
    };
    Some(format!("{}={value}", setting.path()))
}

#[test]
fn every_setting_of_the_table_is_read_and_no_other() {
    for connector in Named::all() {
        let layers = Layers::new(connector);
        let mut values = Values::new(&layers, PathBuf::from("/"), PathBuf::from("/"), &|_| None);
        resolve::resolve(&mut values);
        let table: BTreeSet<_> =
            setting::of(connector).map(|setting| (setting.section, setting.name)).collect();
        assert_eq!(values.read, table, "{}", connector.name());
    }
}

#[test]
fn the_table_and_the_connector_agree_on_what_is_required_and_on_defaults() {
    for own in SETTINGS {
        let row = setting::find(named("mysql-cdc"), Section::Connector, own.name).expect("in the table");
        assert_eq!(row.preset == Preset::Required, own.required, "{}", own.name);
        assert!(!row.help.is_empty());
        let Preset::Value(text) = row.preset else { continue };
        assert!(
            own.default == Some(text) || (text.is_empty() && own.default == Some("empty")),
            "{}",
            own.name
        );
    }
}

#[test]
fn every_default_of_the_table_is_a_value_that_may_be_written() {
    for connector in Named::all() {
        let required = required(connector);
        let load = |flags: &[&str]| {
            let flags: Vec<&str> = required.iter().map(String::as_str).chain(flags.iter().copied()).collect();
            load_without_file(connector, &flags)
        };
        let shown =
            |config: Config| format!("{:?}{:?}{:?}", config.pub_sub, config.connector, config.pipeline);
        let with_default = shown(load(&[]).unwrap_or_else(|problems| panic!("{problems}")));
        for setting in setting::of(connector).filter(|setting| setting.kind != Kind::Path) {
            let Preset::Value(text) = setting.preset else { continue };
            if text.is_empty() {
                assert_eq!(setting.kind, Kind::Secret);
                continue;
            }
            // It counts only beside another setting, which has no default.
            let beside =
                if setting.name == "batch.lingerMs" { &["pipeline.batch.bytes=64KiB"][..] } else { &[] };
            let flag = format!("{}={text}", setting.path());
            let written = load(&[beside, &[&flag]].concat()).unwrap_or_else(|problems| panic!("{problems}"));
            let expected =
                if beside.is_empty() { with_default.clone() } else { shown(load(beside).expect("valid")) };
            assert_eq!(shown(written), expected, "{}", setting.path());
        }
    }
}
