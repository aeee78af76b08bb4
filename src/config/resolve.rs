//! From written values to the resolved configuration, and the checks that need several values at once.

use std::fs::File;
use std::path::PathBuf;

use flowd_mysql::config::{
    InvalidText, MySqlConfig, MySqlSettings, SettingError, SnapshotMode, SnapshotSettings, SslMode,
};
use flowd_mysql::position::{StartAt, StopAt};
use serde::{Serialize, Serializer};

use super::problem::Origin;
use super::setting::Section;
use super::values::{Secret, Values};

/// The whole configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// How to reach EventMesh.
    pub pub_sub: PubSub,
    /// The source.
    pub connector: MySqlConfig,
    /// The registry.
    pub offset_storage: OffsetStorage,
    /// The way between them.
    pub pipeline: Pipeline,
    /// One sentence for each key that was accepted and does not count; to be logged.
    pub warnings: Vec<String>,
}

/// Where EventMesh is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum MeshAddress {
    /// Servers, each `host:port`; at least one.
    Servers(Vec<String>),
    /// A server in this process.
    Embedded,
}

/// Section `pubSubConfig`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PubSub {
    /// Servers of the pool.
    pub mesh_address: MeshAddress,
    /// Topic: a name or a template of `{db}` and `{table}`.
    pub subject: String,
    /// Data centre.
    pub idc: String,
    /// Environment.
    pub env: String,
    /// Producer group.
    pub group: String,
    /// Subsystem.
    pub app_id: String,
    /// User.
    pub user_name: String,
    /// Password.
    pub pass_word: Secret,
}

/// Section `offsetStorageConfig`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OffsetStorage {
    /// `rocksdb`, the only value for now.
    pub offset_storage_type: &'static str,
    /// Directory of the registry, absolute.
    pub offset_storage_addr: PathBuf,
}

/// Where events go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// EventMesh.
    Mesh,
    /// A file of one event a line, absolute.
    JsonLines(PathBuf),
    /// Standard output.
    Stdout,
    /// Nowhere.
    Drop,
}

/// What order is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Order {
    /// Of the events of one key.
    Key,
    /// Of all events.
    Total,
    /// None.
    None,
}

/// What to do with an event that the target can never take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum OnReject {
    /// Stop with exit code 4.
    Stop,
    /// Write it to the dead-letter file and go on.
    DeadLetter,
}

/// Section `pipeline`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pipeline {
    /// Where events go.
    pub target: Target,
    /// Where a first start begins.
    #[serde(serialize_with = "as_shown")]
    pub start_at: StartAt,
    /// Where to finish; `None`: never.
    #[serde(serialize_with = "as_shown")]
    pub stop_at: Option<StopAt>,
    /// The sum of all buffers stays under it, bytes.
    pub memory: u64,
    /// Connections to EventMesh.
    pub connections: u32,
    /// Unacknowledged publishes a connection.
    pub window: u32,
    /// What order is promised.
    pub order: Order,
    /// What follows a reject.
    pub on_reject: OnReject,
    /// Where dead letters go, absolute.
    pub dead_letter_file: PathBuf,
    /// How often progress is saved, ms.
    pub checkpoint_ms: u64,
    /// How long a stop waits for acknowledgements, ms.
    pub drain_ms: u64,
    /// How long a start retries, ms; 0: one try.
    pub start_ms: u64,
    /// `host:port` of the metrics endpoint.
    pub metrics: Option<String>,
    /// Whether the envelope's own `ts_*` are written.
    pub clock_fields: bool,
}

fn as_shown<S: Serializer>(value: &impl std::fmt::Debug, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value:?}"))
}

/// Reads every setting. The result means nothing once `values.problems` is not empty.
pub(crate) fn resolve(values: &mut Values<'_>) -> Config {
    let connector = connector(values);
    let warnings = start_at_without_meaning(values, connector.snapshot.mode).into_iter().collect();
    Config {
        pub_sub: pub_sub(values),
        connector,
        offset_storage: offset_storage(values),
        pipeline: pipeline(values),
        warnings,
    }
}

/// Where the stream begins is the snapshot's to say.
fn start_at_without_meaning(values: &Values<'_>, mode: SnapshotMode) -> Option<String> {
    let origin = values.origin(Section::Pipeline, "startAt");
    if mode == SnapshotMode::Never || origin == Origin::Default {
        return None;
    }
    let mode = mode.name();
    Some(format!(
        "pipeline.startAt does not count with connectorConfig.snapshotMode: {mode}, whose snapshot says where the \
         stream begins; it counts with snapshotMode: never ({origin})"
    ))
}

fn pub_sub(values: &mut Values<'_>) -> PubSub {
    let section = Section::PubSub;
    PubSub {
        mesh_address: values
            .parsed(section, "meshAddress", |text, _| mesh_address(text))
            .unwrap_or(MeshAddress::Embedded),
        subject: values.parsed(section, "subject", |text, _| subject(text)).unwrap_or_default(),
        idc: values.text(section, "idc"),
        env: values.text(section, "env"),
        group: values.text(section, "group"),
        app_id: values.text(section, "appId"),
        user_name: values.text(section, "userName"),
        pass_word: values.secret(section, "passWord"),
    }
}

fn connector(values: &mut Values<'_>) -> MySqlConfig {
    let mut settings = connector_settings(values);
    check_something_is_captured(values, &settings);
    check_files(values, &settings);
    // The connector names one problem at a time: put what is harmless in its place and ask again for the next.
    loop {
        match MySqlConfig::try_from(settings.clone()) {
            Ok(config) => return config,
            Err(SettingError { key, value, allowed }) => {
                values.problem(
                    Section::Connector,
                    key,
                    format!("{value} is not allowed; allowed: {allowed}"),
                );
                make_harmless(&mut settings, key);
            }
        }
    }
}

fn connector_settings(values: &mut Values<'_>) -> MySqlSettings {
    let section = Section::Connector;
    let modes = [
        ("disabled", SslMode::Disabled),
        ("preferred", SslMode::Preferred),
        ("required", SslMode::Required),
        ("verify-ca", SslMode::VerifyCa),
        ("verify-identity", SslMode::VerifyIdentity),
    ];
    let texts = [("stop", InvalidText::Stop), ("replace", InvalidText::Replace)];
    let mut text = |name| values.parsed(section, name, |text, _| Ok(text.to_owned()));
    MySqlSettings {
        connector_name: text("connectorName").unwrap_or_else(harmless),
        hostname: text("hostname").unwrap_or_else(harmless),
        user: text("user").unwrap_or_else(harmless),
        port: values.number(section, "port").map_or(1, |port| small(Some(port))),
        password: flowd_mysql::config::Secret::new(values.secret(section, "password").expose()),
        server_id: values.number(section, "serverId").map(|id| small(Some(id))),
        ssl_mode: values.choice(section, "sslMode", &modes, SslMode::Preferred),
        ssl_ca: values.path(section, "sslCa"),
        ssl_cert: values.path(section, "sslCert"),
        ssl_key: values.path(section, "sslKey"),
        table_include_list: values.list(section, "tableIncludeList"),
        table_exclude_list: values.list(section, "tableExcludeList"),
        column_exclude_list: values.list(section, "columnExcludeList"),
        snapshot_mode: values.choice(section, "snapshotMode", &SnapshotMode::ALL, SnapshotMode::Never),
        parallelism: values.number(section, "parallelism").unwrap_or(1),
        chunk_bytes: values.number(section, "chunkBytes").unwrap_or(SnapshotSettings::CHUNK_BYTES.0),
        snapshot_rows_per_second: values.number(section, "snapshotRowsPerSecond"),
        snapshot_bytes_per_second: values.number(section, "snapshotBytesPerSecond"),
        snapshot_max_running: values.number(section, "snapshotMaxRunning"),
        snapshot_for_share: values.switch(section, "snapshotForShare"),
        invalid_text: values.choice(section, "invalidText", &texts, InvalidText::Stop),
    }
}

/// Stands in for a text that is wrong, so that the checks of the others can go on.
fn harmless() -> String {
    "x".to_owned()
}

/// Takes a value that was found wrong out of the way.
fn make_harmless(settings: &mut MySqlSettings, key: &str) {
    match key {
        "connectorName" => settings.connector_name = harmless(),
        "hostname" => settings.hostname = harmless(),
        "user" => settings.user = harmless(),
        "tableIncludeList" => settings.table_include_list.clear(),
        "tableExcludeList" => settings.table_exclude_list.clear(),
        "columnExcludeList" => settings.column_exclude_list.clear(),
        "sslCa" => settings.ssl_mode = SslMode::Preferred,
        "sslCert" | "sslKey" => (settings.ssl_cert, settings.ssl_key) = (None, None),
        _ => *settings = harmless_settings(),
    }
}

fn harmless_settings() -> MySqlSettings {
    MySqlSettings::new(harmless(), harmless(), harmless())
}

fn offset_storage(values: &mut Values<'_>) -> OffsetStorage {
    let section = Section::OffsetStorage;
    let offset_storage_type = values.parsed(section, "offsetStorageType", |text, _| match text {
        "rocksdb" => Ok("rocksdb"),
        "nacos" | "admin" => {
            Err("rocksdb (write `offsetStorageType: rocksdb`, and a directory as offsetStorageAddr)"
                .to_owned())
        }
        _ => Err("rocksdb".to_owned()),
    });
    OffsetStorage {
        offset_storage_type: offset_storage_type.unwrap_or_default(),
        offset_storage_addr: values.path(section, "offsetStorageAddr").unwrap_or_default(),
    }
}

fn pipeline(values: &mut Values<'_>) -> Pipeline {
    let section = Section::Pipeline;
    let target = values.parsed(section, "target", |text, origin| Ok((text.to_owned(), origin.clone())));
    let orders = [("key", Order::Key), ("total", Order::Total), ("none", Order::None)];
    let rejects = [("stop", OnReject::Stop), ("deadLetter", OnReject::DeadLetter)];
    Pipeline {
        target: target.map_or(Target::Drop, |(text, origin)| self::target(values, &text, &origin)),
        start_at: values.parsed(section, "startAt", |text, _| start_at(text)).unwrap_or(StartAt::Latest),
        stop_at: values.parsed(section, "stopAt", |text, _| text.parse()),
        memory: values.number(section, "memory").unwrap_or_default(),
        connections: small(values.number(section, "connections")),
        window: small(values.number(section, "window")),
        order: values.choice(section, "order", &orders, Order::Key),
        on_reject: values.choice(section, "onReject", &rejects, OnReject::Stop),
        dead_letter_file: values.path(section, "deadLetterFile").unwrap_or_default(),
        checkpoint_ms: values.number(section, "checkpointMs").unwrap_or_default(),
        drain_ms: values.number(section, "drainMs").unwrap_or_default(),
        start_ms: values.number(section, "startMs").unwrap_or_default(),
        metrics: values.parsed(section, "metrics", |text, _| address(text, "host:port")),
        clock_fields: values.switch(section, "clockFields"),
    }
}

/// The table's bounds hold it within `T`; after a problem it is 0.
fn small<T: TryFrom<u64> + Default>(number: Option<u64>) -> T {
    number.and_then(|number| T::try_from(number).ok()).unwrap_or_default()
}

fn mesh_address(text: &str) -> Result<MeshAddress, String> {
    const ALLOWED: &str = "host:port, several comma-separated, or `embedded`";
    if text == "embedded" {
        return Ok(MeshAddress::Embedded);
    }
    let servers: Result<Vec<String>, String> =
        text.split(',').map(|one| address(one.trim(), ALLOWED)).collect();
    Ok(MeshAddress::Servers(servers?))
}

/// `host:port` of a flag outside of the configuration.
///
/// # Errors
/// What is allowed, in words.
pub(crate) fn parse_address(text: &str) -> Result<String, String> {
    address(text, "allowed: host:port")
}

/// `host:port`; an IPv6 host in brackets.
fn address(text: &str, allowed: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').ok_or(allowed)?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let named = !host.is_empty() && !host.contains(|c: char| c == ':' || c == '/' || c.is_whitespace());
    match port.parse::<u16>() {
        Ok(_) if bracketed || named => Ok(text.to_owned()),
        _ => Err(allowed.to_owned()),
    }
}

fn subject(text: &str) -> Result<String, String> {
    const ALLOWED: &str = "letters, digits, `.`, `_`, `-`, and the fields {db} and {table}";
    let fixed = text.replace("{db}", "").replace("{table}", "");
    let topic = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if fixed.chars().all(topic) { Ok(text.to_owned()) } else { Err(ALLOWED.to_owned()) }
}

fn target(values: &mut Values<'_>, text: &str, origin: &Origin) -> Target {
    match (text, text.strip_prefix("jsonl:")) {
        ("mesh", _) => Target::Mesh,
        ("stdout", _) => Target::Stdout,
        ("drop", _) => Target::Drop,
        (_, Some(path)) if !path.is_empty() => Target::JsonLines(values.absolute(path, origin)),
        _ => {
            let text = format!("\"{text}\" is not allowed; allowed: mesh, jsonl:PATH, stdout, drop");
            values.problem(Section::Pipeline, "target", text);
            Target::Drop
        }
    }
}

fn start_at(text: &str) -> Result<StartAt, String> {
    // `file:` may stand before a binlog's name, as it stands in the manual.
    text.strip_prefix("file:").unwrap_or(text).parse()
}

/// Certificates belong to the configuration: one that cannot be read is told with its line.
fn check_files(values: &mut Values<'_>, settings: &MySqlSettings) {
    let files = [("sslCa", &settings.ssl_ca), ("sslCert", &settings.ssl_cert), ("sslKey", &settings.ssl_key)];
    for (key, path) in files {
        if let Some(path) = path
            && let Err(error) = File::open(path)
        {
            let text = format!("cannot read the file {}: {error}; allowed: a PEM file", path.display());
            values.problem(Section::Connector, key, text);
        }
    }
}

/// A filter that takes nothing is a slip of the pen.
fn check_something_is_captured(values: &mut Values<'_>, settings: &MySqlSettings) {
    let (include, exclude) = (&settings.table_include_list, &settings.table_exclude_list);
    let covered = |glob: &String| exclude.iter().any(|out| out == glob || out == "*.*");
    let nothing = if include.is_empty() { covered(&"*.*".to_owned()) } else { include.iter().all(covered) };
    if nothing {
        let text = "leaves no table to capture; it wins over tableIncludeList";
        values.problem(Section::Connector, "tableExcludeList", text);
    }
}
