//! `connectorConfig` of the mysql-cdc connector: the settings as written, and the resolved form that the rest uses.
//!
//! [`MySqlSettings`] is the shape of the section (serde, camelCase, defaults); [`MySqlConfig`] is what it means, made
//! once. Invariant: the password is in [`Secret`] and nothing prints it.

use std::fmt;
use std::path::PathBuf;

use flowd_engine::setting::Wrong;
use flowd_tls::client::{Authorities, ClientTls, TlsMode};
use flowd_tls::pem::{KeyPair, PemFile};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::filter::{PatternError, TableFilter};

mod snapshot;

pub use snapshot::{SnapshotMode, SnapshotSettings};

/// A text that is never printed.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the login alone.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    /// Plain TCP.
    Disabled,
    /// TLS where the server offers it, without looking at its certificate; else plain TCP.
    #[default]
    Preferred,
    /// TLS or nothing; the certificate is not looked at.
    Required,
    /// TLS, and the certificate must come from `sslCa`; its name does not matter.
    VerifyCa,
    /// TLS, and the certificate must come from `sslCa` and name the host.
    VerifyIdentity,
}

impl SslMode {
    /// Every mode with its word, in the order in which they are told.
    pub const ALL: [(&'static str, Self); 5] = [
        ("disabled", Self::Disabled),
        ("preferred", Self::Preferred),
        ("required", Self::Required),
        ("verify-ca", Self::VerifyCa),
        ("verify-identity", Self::VerifyIdentity),
    ];

    /// The mode of that word; the usual one for any other.
    pub(crate) fn of(word: &str) -> Self {
        Self::ALL.into_iter().find(|(own, _)| *own == word).map_or_else(Self::default, |(_, mode)| mode)
    }
}

/// What happens to bytes that are not valid in their column's character set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum InvalidText {
    /// The stream stops and names them.
    #[default]
    Stop,
    /// They become U+FFFD.
    Replace,
}

/// `connectorConfig` as it is written. References (`${VAR}`, `file:`) are resolved before, by whoever reads the file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "SETTINGS describes each, for the user as well")]
pub struct MySqlSettings {
    pub connector_name: String,
    pub hostname: String,
    #[serde(default = "default_port")]
    pub port: u16,
    pub user: String,
    #[serde(default)]
    pub password: Secret,
    #[serde(default)]
    pub server_id: Option<u32>,
    #[serde(default)]
    pub ssl_mode: SslMode,
    #[serde(default)]
    pub ssl_ca: Option<PathBuf>,
    #[serde(default)]
    pub ssl_cert: Option<PathBuf>,
    #[serde(default)]
    pub ssl_key: Option<PathBuf>,
    #[serde(default)]
    pub table_include_list: Vec<String>,
    #[serde(default)]
    pub table_exclude_list: Vec<String>,
    #[serde(default)]
    pub column_exclude_list: Vec<String>,
    #[serde(default)]
    pub snapshot_mode: SnapshotMode,
    #[serde(default = "default_parallelism")]
    pub parallelism: u64,
    #[serde(default = "default_chunk_bytes")]
    pub chunk_bytes: u64,
    #[serde(default)]
    pub snapshot_rows_per_second: Option<u64>,
    #[serde(default)]
    pub snapshot_bytes_per_second: Option<u64>,
    #[serde(default)]
    pub snapshot_max_running: Option<u64>,
    #[serde(default)]
    pub snapshot_for_share: bool,
    #[serde(default)]
    pub invalid_text: InvalidText,
}

impl MySqlSettings {
    /// What must be given; everything else as where nothing is written.
    pub fn new(connector_name: String, hostname: String, user: String) -> Self {
        Self {
            connector_name,
            hostname,
            port: default_port(),
            user,
            password: Secret::default(),
            server_id: None,
            ssl_mode: SslMode::default(),
            ssl_ca: None,
            ssl_cert: None,
            ssl_key: None,
            table_include_list: Vec::new(),
            table_exclude_list: Vec::new(),
            column_exclude_list: Vec::new(),
            snapshot_mode: SnapshotMode::default(),
            parallelism: default_parallelism(),
            chunk_bytes: default_chunk_bytes(),
            snapshot_rows_per_second: None,
            snapshot_bytes_per_second: None,
            snapshot_max_running: None,
            snapshot_for_share: false,
            invalid_text: InvalidText::default(),
        }
    }
}

fn default_port() -> u16 {
    3306
}

fn default_parallelism() -> u64 {
    SnapshotSettings::default().parallelism as u64
}

fn default_chunk_bytes() -> u64 {
    SnapshotSettings::default().chunk_bytes as u64
}

/// One setting, for `flowd connectors` and for messages about wrong ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The key, as written.
    pub name: &'static str,
    /// What may stand there.
    pub kind: &'static str,
    /// What holds where nothing is written; `None` where there is nothing to fall back on.
    pub default: Option<&'static str>,
    /// Whether the key must be there.
    pub required: bool,
    /// One line for the user.
    pub help: &'static str,
}

pub(crate) const fn required(name: &'static str, kind: &'static str, help: &'static str) -> Setting {
    Setting { name, kind, default: None, required: true, help }
}

pub(crate) const fn optional(
    name: &'static str,
    kind: &'static str,
    default: Option<&'static str>,
    help: &'static str,
) -> Setting {
    Setting { name, kind, default, required: false, help }
}

/// Every key of `connectorConfig`, in the order of [`MySqlSettings`]; a test holds the two together.
pub const SETTINGS: &[Setting] = &[
    required("connectorName", "name", "the logical name: part of `source` and of the registry's keys"),
    required("hostname", "text", "the server's host name or address"),
    optional("port", "1..65535", Some("3306"), "the server's TCP port"),
    required("user", "text", "the account; it needs REPLICATION SLAVE, REPLICATION CLIENT and SELECT"),
    optional("password", "text", Some("empty"), "its password; ${VAR} and file:PATH keep it out of the file"),
    optional(
        "serverId",
        "1..4294967295",
        Some("derived from connectorName"),
        "our replica id, unique among all replicas",
    ),
    optional(
        "sslMode",
        "disabled, preferred, required, verify-ca, verify-identity",
        Some("preferred"),
        "how the connection is protected; only the last two look at the server's certificate",
    ),
    optional("sslCa", "path", None, "PEM file of the authorities that verify-ca and verify-identity trust"),
    optional("sslCert", "path", None, "PEM file of our own certificate, for accounts that require one"),
    optional("sslKey", "path", None, "PEM file of the key of sslCert"),
    optional(
        "tableIncludeList",
        "list of globs over db.table",
        Some("all but the server's own schemas"),
        "what is captured; `*` does not cross the dot",
    ),
    optional("tableExcludeList", "list of globs over db.table", Some("empty"), "what is not captured; wins"),
    optional(
        "columnExcludeList",
        "list of globs over db.table.column",
        Some("empty"),
        "columns left out of events",
    ),
    optional(
        "snapshotMode",
        "initial, initialOnly, never, whenNeeded",
        Some("initial"),
        "the rows already there: read on a first start, then streamed on; or read only (exit 0); never; or again if the binlog is gone",
    ),
    optional("parallelism", "1..64", Some("4"), "connections that read a snapshot at the same time"),
    optional(
        "chunkBytes",
        "bytes, 16KiB..1GiB",
        Some("2MiB"),
        "what each of them reads at once; a larger row comes alone",
    ),
    optional(
        "snapshotRowsPerSecond",
        "number of rows, from 1",
        None,
        "a snapshot reads at most so many rows a second, all connections together",
    ),
    optional(
        "snapshotBytesPerSecond",
        "bytes, from 1KiB",
        None,
        "a snapshot reads at most so many bytes a second, all connections together",
    ),
    optional(
        "snapshotMaxRunning",
        "number of threads, from 1",
        None,
        "a snapshot rests while the server runs more threads than this (Threads_running; ours, parallelism + 1, count too)",
    ),
    optional(
        "snapshotForShare",
        "true, false",
        Some("false"),
        "on a MySQL without GTIDs, whose snapshot needs it: lock rows against changes while they are read",
    ),
    optional("invalidText", "stop, replace", Some("stop"), "bytes that are not valid in their character set"),
];

/// A value that cannot be, as it was written, and what is allowed, in words.
fn wrong(setting: &'static str, value: impl fmt::Display, allowed: impl fmt::Display) -> Wrong {
    Wrong::new(setting, format!("{value} is not allowed; allowed: {allowed}"))
}

/// `connectorConfig`, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "MySqlSettings")]
pub struct MySqlConfig {
    /// The logical name.
    pub connector_name: String,
    /// The server's host name or address.
    pub hostname: String,
    /// Its TCP port.
    pub port: u16,
    /// The account.
    pub user: String,
    /// Its password; may be empty.
    pub password: Secret,
    /// Our replica id.
    pub server_id: u32,
    /// How the connection is protected.
    pub tls: ClientTls,
    /// What is captured.
    pub filter: TableFilter,
    /// What happens to the rows already there.
    pub snapshot: SnapshotSettings,
    /// What happens to bytes that are not valid text.
    pub invalid_text: InvalidText,
}

impl MySqlConfig {
    /// `hostname:port`, for messages.
    pub fn address(&self) -> String {
        format!("{}:{}", self.hostname, self.port)
    }
}

impl TryFrom<MySqlSettings> for MySqlConfig {
    type Error = Wrong;

    fn try_from(settings: MySqlSettings) -> Result<Self, Wrong> {
        check_texts(&settings)?;
        let server_id = match settings.server_id {
            Some(0) => return Err(wrong("serverId", "0", "1..4294967295")),
            Some(id) => id,
            None => derived_server_id(&settings.connector_name),
        };
        Ok(Self {
            tls: ClientTls { mode: tls_mode(&settings)?, certificate: client_certificate(&settings)? },
            snapshot: snapshot(&settings)?,
            filter: filter(&settings)?,
            connector_name: settings.connector_name,
            hostname: settings.hostname,
            port: settings.port,
            user: settings.user,
            password: settings.password,
            server_id,
            invalid_text: settings.invalid_text,
        })
    }
}

/// The name becomes part of a URI and of file-like keys: it is kept to what needs no escape there.
fn check_texts(settings: &MySqlSettings) -> Result<(), Wrong> {
    let name = &settings.connector_name;
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if name.is_empty() || name.len() > 64 || !plain {
        let allowed = "1 to 64 characters of A-Z, a-z, 0-9, `.`, `_`, `-`";
        return Err(wrong("connectorName", format!("\"{name}\""), allowed));
    }
    for (key, value) in [("hostname", &settings.hostname), ("user", &settings.user)] {
        if value.is_empty() || value.contains('\0') {
            return Err(wrong(key, format!("\"{}\"", value.escape_debug()), "a text that is not empty"));
        }
    }
    if settings.password.reveal().contains('\0') {
        return Err(wrong("password", "***", "a text without the character U+0000"));
    }
    if settings.port == 0 {
        return Err(wrong("port", "0", "1..65535"));
    }
    Ok(())
}

fn tls_mode(settings: &MySqlSettings) -> Result<TlsMode, Wrong> {
    let authority = |mode: &str| match &settings.ssl_ca {
        Some(path) => Ok(Authorities::File(PemFile::new("sslCa", path))),
        None => Err(wrong(
            "sslCa",
            "nothing",
            format!(
                "with sslMode {mode}, the path of a PEM file (of a MySQL server's own certificates: ca.pem in its data directory)"
            ),
        )),
    };
    if settings.ssl_ca.is_some() && !matches!(settings.ssl_mode, SslMode::VerifyCa | SslMode::VerifyIdentity)
    {
        tracing::warn!(
            "connectorConfig.sslCa has no effect: only sslMode verify-ca and verify-identity verify"
        );
    }
    Ok(match settings.ssl_mode {
        SslMode::Disabled => TlsMode::Disabled,
        SslMode::Preferred => TlsMode::Preferred,
        SslMode::Required => TlsMode::Required,
        SslMode::VerifyCa => TlsMode::VerifyCa(authority("verify-ca")?),
        SslMode::VerifyIdentity => TlsMode::VerifyIdentity(authority("verify-identity")?),
    })
}

fn client_certificate(settings: &MySqlSettings) -> Result<Option<KeyPair>, Wrong> {
    match (&settings.ssl_cert, &settings.ssl_key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some(KeyPair {
            certificate: PemFile::new("sslCert", certificate),
            key: PemFile::new("sslKey", key),
        })),
        (Some(_), None) => Err(wrong("sslKey", "nothing", "with sslCert, the path of its key")),
        (None, Some(_)) => Err(wrong("sslCert", "nothing", "with sslKey, the path of its certificate")),
    }
}

fn snapshot(settings: &MySqlSettings) -> Result<SnapshotSettings, Wrong> {
    let within = |key, value: u64, (min, max): (u64, u64), allowed: &str| match usize::try_from(value) {
        Ok(size) if (min..=max).contains(&value) => Ok(size),
        _ => Err(wrong(key, value.to_string(), allowed)),
    };
    let throttles = [
        ("snapshotRowsPerSecond", settings.snapshot_rows_per_second),
        ("snapshotBytesPerSecond", settings.snapshot_bytes_per_second),
        ("snapshotMaxRunning", settings.snapshot_max_running),
    ];
    if let Some((key, _)) = throttles.into_iter().find(|(_, value)| *value == Some(0)) {
        return Err(wrong(key, "0", "a number from 1; leave the key out for no bound"));
    }
    let (parallelism, chunk_bytes) = (settings.parallelism, settings.chunk_bytes);
    Ok(SnapshotSettings {
        mode: settings.snapshot_mode,
        parallelism: within("parallelism", parallelism, SnapshotSettings::PARALLELISM, "1..64")?,
        chunk_bytes: within("chunkBytes", chunk_bytes, SnapshotSettings::CHUNK_BYTES, "16KiB..1GiB")?,
        rows_per_second: settings.snapshot_rows_per_second,
        bytes_per_second: settings.snapshot_bytes_per_second,
        max_running: settings.snapshot_max_running,
        for_share: settings.snapshot_for_share,
    })
}

fn filter(settings: &MySqlSettings) -> Result<TableFilter, Wrong> {
    let lists = (&settings.table_include_list, &settings.table_exclude_list, &settings.column_exclude_list);
    let wrong = |key| {
        move |PatternError { pattern, form }| {
            wrong(key, format!("\"{pattern}\""), format!("a glob of the form {form}"))
        }
    };
    TableFilter::new(lists.0, &[], &[]).map_err(wrong("tableIncludeList"))?;
    TableFilter::new(&[], lists.1, &[]).map_err(wrong("tableExcludeList"))?;
    TableFilter::new(lists.0, lists.1, lists.2).map_err(wrong("columnExcludeList"))
}

/// The same name gives the same id for ever: a number in 5400..2^31, above what people hand out by counting.
pub fn derived_server_id(connector_name: &str) -> u32 {
    const FIRST: u64 = 5400;
    let digest: [u8; 32] = Sha256::digest(connector_name.as_bytes()).into();
    let number = digest[..8].iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    u32::try_from(FIRST + number % ((1 << 31) - FIRST)).expect("below 2^31")
}

#[cfg(test)]
pub(crate) mod tests;
