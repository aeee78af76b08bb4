//! The connectorConfig of the binlog source: read by the table, judged by the connector.

use std::fs::File;
use std::path::PathBuf;

use flowd_engine::setting::Wrong;
use flowd_mysql::config::{InvalidText, MySqlConfig, MySqlSettings, SnapshotMode, SnapshotSettings, SslMode};

use super::{harmless, small};
use crate::config::setting::Section;
use crate::config::values::Values;

pub(super) fn source(values: &mut Values<'_>) -> MySqlConfig {
    let settings = connector_settings(values);
    check_something_is_captured(values, &settings);
    judged(values, settings)
}

/// The connector names one problem at a time: put what is harmless in its place and ask again for the next.
fn judged(values: &mut Values<'_>, mut settings: MySqlSettings) -> MySqlConfig {
    loop {
        match MySqlConfig::try_from(settings.clone()) {
            Ok(config) => return config,
            Err(Wrong { setting, text }) => {
                values.problem(Section::Connector, setting, text);
                make_harmless(&mut settings, setting);
            }
        }
    }
}

fn connector_settings(values: &mut Values<'_>) -> MySqlSettings {
    let section = Section::Connector;
    let tls = tls(values);
    let texts = [("stop", InvalidText::Stop), ("replace", InvalidText::Replace)];
    let mut text = |name| values.parsed(section, name, |text, _| Ok(text.to_owned()));
    MySqlSettings {
        connector_name: text("connectorName").unwrap_or_else(harmless),
        hostname: text("hostname").unwrap_or_else(harmless),
        user: text("user").unwrap_or_else(harmless),
        port: values.number(section, "port").map_or(1, |port| small(Some(port))),
        password: flowd_mysql::config::Secret::new(values.secret(section, "password").expose()),
        server_id: values.number(section, "serverId").map(|id| small(Some(id))),
        ssl_mode: tls.mode,
        ssl_ca: tls.ca,
        ssl_cert: tls.cert,
        ssl_key: tls.key,
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

struct Tls {
    mode: SslMode,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

/// Certificates belong to the configuration: one that cannot be read is told with its line.
fn tls(values: &mut Values<'_>) -> Tls {
    let section = Section::Connector;
    let mut file = |key| {
        let path = values.path(section, key);
        if let Some(path) = &path
            && let Err(error) = File::open(path)
        {
            let text = format!("cannot read the file {}: {error}; allowed: a PEM file", path.display());
            values.problem(section, key, text);
        }
        path
    };
    let (ca, cert, key) = (file("sslCa"), file("sslCert"), file("sslKey"));
    Tls { mode: values.choice(section, "sslMode", &SslMode::ALL, SslMode::Preferred), ca, cert, key }
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
