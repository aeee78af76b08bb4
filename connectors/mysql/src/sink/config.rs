//! `connectorConfig` of the mysql-sink: the settings as written, and the resolved form that the rest uses.

use std::collections::BTreeMap;
use std::path::PathBuf;

use flowd_engine::setting::Wrong;
use flowd_sink::rows::mapping::{MappingSettings, NameRule, TableMapping};
use serde::Deserialize;

use crate::config::{MySqlConfig, MySqlSettings, Secret, Setting, SslMode, optional, required};

/// Of schemas, tables and columns.
const NAMES: NameRule = NameRule {
    is_possible: |name| {
        (1..=64).contains(&name.chars().count()) && !name.contains('\0') && !name.ends_with(' ')
    },
    allowed: "a name of 1 to 64 characters",
};

/// `connectorConfig` as it is written. References (`${VAR}`, `file:`) are resolved before, by whoever reads the file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "SINK_SETTINGS describes each, for the user as well")]
pub struct MySqlSinkSettings {
    pub connector_name: String,
    pub hostname: String,
    #[serde(default = "default_port")]
    pub port: u16,
    pub user: String,
    #[serde(default)]
    pub password: Secret,
    pub database: String,
    #[serde(default)]
    pub table_mapping: BTreeMap<String, String>,
    #[serde(default)]
    pub plain_table: Option<String>,
    #[serde(default)]
    pub plain_key: Vec<String>,
    #[serde(default)]
    pub ssl_mode: SslMode,
    #[serde(default)]
    pub ssl_ca: Option<PathBuf>,
    #[serde(default)]
    pub ssl_cert: Option<PathBuf>,
    #[serde(default)]
    pub ssl_key: Option<PathBuf>,
}

impl MySqlSinkSettings {
    /// What must be given; everything else as where nothing is written.
    pub fn new(connector_name: String, hostname: String, user: String, database: String) -> Self {
        Self {
            connector_name,
            hostname,
            port: default_port(),
            user,
            password: Secret::default(),
            database,
            table_mapping: BTreeMap::new(),
            plain_table: None,
            plain_key: Vec::new(),
            ssl_mode: SslMode::default(),
            ssl_ca: None,
            ssl_cert: None,
            ssl_key: None,
        }
    }
}

fn default_port() -> u16 {
    3306
}

/// Every key of the sink's `connectorConfig`, in the order of [`MySqlSinkSettings`]; a test holds the two together.
pub const SINK_SETTINGS: &[Setting] = &[
    required(
        "connectorName",
        "name",
        "the logical name: the lock in the target and the record of what is applied",
    ),
    required("hostname", "text", "the target server's host name or address"),
    optional("port", "1..65535", Some("3306"), "the server's TCP port"),
    required(
        "user",
        "text",
        "the account; it needs SELECT, INSERT, UPDATE and DELETE on the tables, CREATE and DROP for flowd_applied and TRUNCATE",
    ),
    optional("password", "text", Some("empty"), "its password; ${VAR} and file:PATH keep it out of the file"),
    required(
        "database",
        "name",
        "the database of tables that tableMapping does not name, and of flowd_applied",
    ),
    optional(
        "tableMapping",
        "mapping of db.table to table or db.table",
        Some("the event's table name in database"),
        "where rows go; `db.*` stands for all tables of a source's database, a `*` in the target for the table's name",
    ),
    optional(
        "plainTable",
        "table or db.table",
        None,
        "where the data of events goes that are no change events, a JSON object of columns; without it they are refused",
    ),
    optional(
        "plainKey",
        "list of columns",
        Some("the table's own key"),
        "which row of plainTable such an event replaces",
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
];

/// `connectorConfig` of a sink, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "MySqlSinkSettings")]
pub struct MySqlSinkConfig {
    /// The target server and how to reach it; what only a source needs in it is not used.
    pub server: MySqlConfig,
    /// Where rows go.
    pub mapping: TableMapping,
}

impl MySqlSinkConfig {
    /// The sink's logical name.
    pub fn connector_name(&self) -> &str {
        &self.server.connector_name
    }

    /// The database of tables that are not mapped, and of `flowd_applied`.
    pub fn database(&self) -> &str {
        self.mapping.schema()
    }
}

impl TryFrom<MySqlSinkSettings> for MySqlSinkConfig {
    type Error = Wrong;

    fn try_from(settings: MySqlSinkSettings) -> Result<Self, Wrong> {
        let mapping = MappingSettings {
            schema: settings.database,
            table_mapping: settings.table_mapping,
            plain_table: settings.plain_table,
            plain_key: settings.plain_key,
        };
        let mapping = TableMapping::new(mapping, "database", NAMES)?;
        let mut server = MySqlSettings::new(settings.connector_name, settings.hostname, settings.user);
        server.port = settings.port;
        server.password = settings.password;
        server.ssl_mode = settings.ssl_mode;
        server.ssl_ca = settings.ssl_ca;
        server.ssl_cert = settings.ssl_cert;
        server.ssl_key = settings.ssl_key;
        Ok(Self { server: server.try_into()?, mapping })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::tests::Fields;

    #[test]
    fn the_table_of_settings_names_exactly_the_fields() {
        let mut fields = Vec::new();
        MySqlSinkSettings::deserialize(Fields(&mut fields)).expect_err("no values are given");
        assert_eq!(SINK_SETTINGS.iter().map(|setting| setting.name).collect::<Vec<_>>(), fields);
    }

    pub(in crate::sink) fn with(more: &str) -> Result<MySqlSinkConfig, String> {
        let text =
            format!(r#"{{"connectorName":"copy","hostname":"db2","user":"sink","database":"shop"{more}}}"#);
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }

    #[test]
    fn the_table_of_settings_says_what_is_required() {
        let required: Vec<_> =
            SINK_SETTINGS.iter().filter(|setting| setting.required).map(|setting| setting.name).collect();
        assert_eq!(required, ["connectorName", "hostname", "user", "database"]);
        let complete = r#"{"connectorName":"copy","hostname":"db2","user":"sink","database":"shop"}"#;
        for name in required {
            let text = complete.replace(&format!("\"{name}\""), "\"other\"");
            let error = serde_json::from_str::<MySqlSinkConfig>(&text).expect_err("incomplete");
            assert!(error.to_string().contains(&format!("missing field `{name}`")), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_setting() {
        let long = "x".repeat(65);
        for (more, text) in [
            (r#","tableMapping":{"orders":"x"}"#.to_owned(), "tableMapping \"orders\""),
            (format!(r#","tableMapping":{{"a.b":"{long}"}}"#), "tableMapping \"xxx"),
            (r#","tableMapping":{"a.b":"c "}"#.to_owned(), "tableMapping \"c \""),
            (r#","plainKey":["id"]"#.to_owned(), "plainKey \"id\""),
            (r#","sslCert":"cert.pem""#.to_owned(), "sslKey nothing"),
        ] {
            let error = with(&more).expect_err(text);
            assert!(error.contains(text), "{error}");
        }
        with(&format!(r#","tableMapping":{{"a.b":"{}"}}"#, "é".repeat(64)))
            .expect("characters count, not bytes");
    }
}
