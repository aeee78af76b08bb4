//! From written values to the resolved configuration, and the checks that need several values at once.

use std::path::PathBuf;

use flowd_binlog::gtid::{GtidList, GtidSet};
use serde::Serialize;

use super::problem::Origin;
use super::setting::Section;
use super::values::{Secret, Values};

/// The whole configuration, checked.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// How to reach EventMesh.
    #[serde(rename = "pubSubConfig")]
    pub pub_sub: PubSub,
    /// The source.
    #[serde(rename = "connectorConfig")]
    pub connector: Connector,
    /// The registry.
    #[serde(rename = "offsetStorageConfig")]
    pub offset_storage: OffsetStorage,
    /// The way between them.
    pub pipeline: Pipeline,
    /// One sentence for each key that was accepted without having a meaning; to be logged.
    #[serde(skip)]
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

/// TLS to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    /// Never.
    Disabled,
    /// If the server offers it; the certificate is not checked.
    Preferred,
    /// Always; the certificate is not checked.
    Required,
    /// Always; the chain is checked, the name is not.
    VerifyCa,
    /// Always; chain and name are checked.
    VerifyIdentity,
}

/// Section `connectorConfig` of mysql-cdc.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Connector {
    /// Logical name.
    pub connector_name: String,
    /// Database server.
    pub hostname: String,
    /// Its port.
    pub port: u16,
    /// User.
    pub user: String,
    /// Password.
    pub password: Secret,
    /// Replica server id; `None`: derived from the name.
    pub server_id: Option<u32>,
    /// TLS.
    pub ssl_mode: SslMode,
    /// Trusted certificates, PEM.
    pub ssl_ca: Option<PathBuf>,
    /// Client certificate, PEM.
    pub ssl_cert: Option<PathBuf>,
    /// Client key, PEM.
    pub ssl_key: Option<PathBuf>,
    /// Globs over `db.table`; empty: all but the server's own schemas.
    pub table_include_list: Vec<String>,
    /// Globs over `db.table`; wins.
    pub table_exclude_list: Vec<String>,
    /// Globs over `db.table.column`.
    pub column_exclude_list: Vec<String>,
    /// `never`, the only value for now.
    pub snapshot_mode: &'static str,
    /// Whether text that is invalid in its character set is replaced (U+FFFD) instead of stopping the stream.
    pub invalid_text: InvalidText,
}

/// What to do with bytes that are not valid in their character set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum InvalidText {
    /// Stop the stream.
    Stop,
    /// Put U+FFFD in their place.
    Replace,
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

/// Where a first start begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum StartAt {
    /// The oldest that the server has.
    Earliest,
    /// What comes from now on.
    Latest,
    /// After this GTID set, in the server's own notation.
    Gtid(String),
    /// At a binlog file and position.
    FilePosition {
        /// The binlog file's name.
        file: String,
        /// First byte to read.
        position: u64,
    },
}

/// Where to finish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum StopAt {
    /// The end of the binlog at the start of the process.
    End,
    /// Once this GTID set is covered, in the server's own notation.
    Gtid(String),
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
    pub start_at: StartAt,
    /// Where to finish; `None`: never.
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

/// Reads every setting. The result means nothing once `values.problems` is not empty.
pub(crate) fn resolve(values: &mut Values<'_>) -> Config {
    let config = Config {
        pub_sub: pub_sub(values),
        connector: connector(values),
        offset_storage: offset_storage(values),
        pipeline: pipeline(values),
        warnings: Vec::new(),
    };
    check_tls(values, &config.connector);
    check_order(values, &config);
    config
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

fn connector(values: &mut Values<'_>) -> Connector {
    let section = Section::Connector;
    let modes = [
        ("disabled", SslMode::Disabled),
        ("preferred", SslMode::Preferred),
        ("required", SslMode::Required),
        ("verify-ca", SslMode::VerifyCa),
        ("verify-identity", SslMode::VerifyIdentity),
    ];
    let texts = [("stop", InvalidText::Stop), ("replace", InvalidText::Replace)];
    let mut globs = |name: &str, dots: usize| {
        let list = values.list(section, name);
        if let Some(bad) = list.iter().find(|glob| !is_glob(glob, dots)) {
            let form = if dots == 1 { "db.table" } else { "db.table.column" };
            values.problem(
                section,
                name,
                format!("\"{bad}\" is not allowed; allowed: globs of the form {form}, with `*` and `?`"),
            );
        }
        list
    };
    Connector {
        table_include_list: globs("tableIncludeList", 1),
        table_exclude_list: globs("tableExcludeList", 1),
        column_exclude_list: globs("columnExcludeList", 2),
        connector_name: values
            .parsed(section, "connectorName", |text, _| connector_name(text))
            .unwrap_or_default(),
        hostname: values.text(section, "hostname"),
        port: small(values.number(section, "port")),
        user: values.text(section, "user"),
        password: values.secret(section, "password"),
        server_id: values.number(section, "serverId").map(|id| small(Some(id))),
        ssl_mode: values.choice(section, "sslMode", &modes, SslMode::Preferred),
        ssl_ca: values.path(section, "sslCa"),
        ssl_cert: values.path(section, "sslCert"),
        ssl_key: values.path(section, "sslKey"),
        snapshot_mode: values.choice(section, "snapshotMode", &[("never", "never")], "never"),
        invalid_text: values.choice(section, "invalidText", &texts, InvalidText::Stop),
    }
}

fn offset_storage(values: &mut Values<'_>) -> OffsetStorage {
    let section = Section::OffsetStorage;
    let offset_storage_type = values.parsed(section, "offsetStorageType", |text, _| match text {
        "rocksdb" => Ok("rocksdb"),
        "nacos" | "admin" => {
            Err("write `offsetStorageType: rocksdb` and a directory as offsetStorageAddr".to_owned())
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
        stop_at: values.parsed(section, "stopAt", |text, _| stop_at(text)),
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

fn connector_name(text: &str) -> Result<String, String> {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let fits = (1..=64).contains(&text.len()) && text.chars().all(letter);
    if fits { Ok(text.to_owned()) } else { Err("1 to 64 of letters, digits, `.`, `_`, `-`".to_owned()) }
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

fn gtid_set(text: &str) -> Option<String> {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let fits = text.parse::<GtidSet>().is_ok() || text.parse::<GtidList>().is_ok();
    (fits && !text.is_empty()).then_some(text)
}

fn start_at(text: &str) -> Result<StartAt, String> {
    const ALLOWED: &str = "earliest, latest, gtid:SET (MySQL: uuid:1-5,…; MariaDB: 0-1-5,…), \
                           or BINLOG_FILE:POSITION (binlog.000003:4)";
    let found = match text {
        "earliest" => Some(StartAt::Earliest),
        "latest" => Some(StartAt::Latest),
        _ => match text.strip_prefix("gtid:") {
            Some(set) => gtid_set(set).map(StartAt::Gtid),
            None => file_position(text),
        },
    };
    found.ok_or_else(|| ALLOWED.to_owned())
}

/// A binlog begins with 4 bytes of magic, so no event stands before position 4.
fn file_position(text: &str) -> Option<StartAt> {
    let (file, position) = text.strip_prefix("file:").unwrap_or(text).rsplit_once(':')?;
    let position = position.parse().ok().filter(|position| *position >= 4)?;
    let (name, number) = file.rsplit_once('.')?;
    let fits = !name.is_empty() && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| StartAt::FilePosition { file: file.to_owned(), position })
}

fn stop_at(text: &str) -> Result<StopAt, String> {
    let found = match text {
        "end" => Some(StopAt::End),
        _ => text.strip_prefix("gtid:").and_then(gtid_set).map(StopAt::Gtid),
    };
    found.ok_or_else(|| "end, or gtid:SET (MySQL: uuid:1-5,…; MariaDB: 0-1-5,…)".to_owned())
}

/// A glob of `dots + 1` names, none of them empty.
fn is_glob(text: &str, dots: usize) -> bool {
    let names: Vec<&str> = text.split('.').collect();
    names.len() == dots + 1 && names.iter().all(|name| !name.is_empty())
}

fn check_tls(values: &mut Values<'_>, connector: &Connector) {
    let section = Section::Connector;
    let verifies = matches!(connector.ssl_mode, SslMode::VerifyCa | SslMode::VerifyIdentity);
    let ca_given = values.origin(section, "sslCa") != Origin::Default;
    if verifies && !ca_given {
        values.problem(section, "sslMode", "needs sslCa: a PEM file of the certificates to trust");
    }
    match (&connector.ssl_cert, &connector.ssl_key) {
        (Some(_), None) => values.problem(section, "sslCert", "needs sslKey too"),
        (None, Some(_)) => values.problem(section, "sslKey", "needs sslCert too"),
        _ => {}
    }
}

fn check_order(values: &mut Values<'_>, config: &Config) {
    let (include, exclude) = (&config.connector.table_include_list, &config.connector.table_exclude_list);
    let covered = |glob: &String| exclude.iter().any(|out| out == glob || out == "*.*");
    let all_out =
        if include.is_empty() { exclude.iter().any(|out| out == "*.*") } else { include.iter().all(covered) };
    if all_out {
        values.problem(
            Section::Connector,
            "tableExcludeList",
            "leaves no table to capture; it wins over tableIncludeList",
        );
    }
}
