//! `connectorConfig` of the mysql-sink: the settings as written, and the resolved form that the rest uses.
//!
//! Invariant: where an event's row goes depends on its database and table and on these settings alone.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::config::{MySqlConfig, MySqlSettings, Secret, Setting, SettingError, SslMode, optional, required};

/// MySQL's longest name of a schema, table or column, characters.
const NAME_CHARS_MAX: usize = 64;

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

/// A table of the target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// Its database.
    pub schema: String,
    /// Its name.
    pub table: String,
}

impl std::fmt::Display for TableName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{}", self.schema, self.table)
    }
}

/// Where the data of events goes that are no change events of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainTarget {
    /// The table.
    pub table: TableName,
    /// The columns that tell which row it is; empty for the table's own key.
    pub key: Vec<String>,
}

/// `connectorConfig` of a sink, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "MySqlSinkSettings")]
pub struct MySqlSinkConfig {
    /// The target server and how to reach it; what only a source needs in it is not used.
    pub server: MySqlConfig,
    /// The database of tables that are not mapped, and of `flowd_applied`.
    pub database: String,
    /// Where plain events go; `None` refuses them.
    pub plain: Option<PlainTarget>,
    mapping: BTreeMap<String, String>,
}

impl MySqlSinkConfig {
    /// The sink's logical name.
    pub fn connector_name(&self) -> &str {
        &self.server.connector_name
    }

    /// Where rows of a source's table go.
    pub fn target(&self, db: &str, table: &str) -> TableName {
        let mapped =
            self.mapping.get(&format!("{db}.{table}")).or_else(|| self.mapping.get(&format!("{db}.*")));
        match mapped {
            Some(target) => table_name(&target.replace('*', table), &self.database),
            None => TableName { schema: self.database.clone(), table: table.to_owned() },
        }
    }
}

impl TryFrom<MySqlSinkSettings> for MySqlSinkConfig {
    type Error = SettingError;

    fn try_from(settings: MySqlSinkSettings) -> Result<Self, SettingError> {
        check_name("database", &settings.database)?;
        check_mapping(&settings.table_mapping)?;
        let plain = plain(&settings)?;
        let mut server = MySqlSettings::new(settings.connector_name, settings.hostname, settings.user);
        server.port = settings.port;
        server.password = settings.password;
        server.ssl_mode = settings.ssl_mode;
        server.ssl_ca = settings.ssl_ca;
        server.ssl_cert = settings.ssl_cert;
        server.ssl_key = settings.ssl_key;
        Ok(Self {
            server: server.try_into()?,
            database: settings.database,
            plain,
            mapping: settings.table_mapping,
        })
    }
}

/// `table` or `db.table`; the first dot divides, because a database's name rarely has one.
fn table_name(text: &str, database: &str) -> TableName {
    let (schema, table) = text.split_once('.').unwrap_or((database, text));
    TableName { schema: schema.to_owned(), table: table.to_owned() }
}

fn check_name(key: &'static str, name: &str) -> Result<(), SettingError> {
    let length = name.chars().count();
    if length == 0 || length > NAME_CHARS_MAX || name.contains('\0') || name.ends_with(' ') {
        let allowed = format!("a name of 1 to {NAME_CHARS_MAX} characters");
        return Err(SettingError::new(key, format!("\"{}\"", name.escape_debug()), allowed));
    }
    Ok(())
}

fn check_target(key: &'static str, text: &str) -> Result<(), SettingError> {
    let name = table_name(text, "database");
    check_name(key, &name.schema)?;
    check_name(key, &name.table)
}

fn check_mapping(mapping: &BTreeMap<String, String>) -> Result<(), SettingError> {
    const KEY: &str = "tableMapping";
    for (from, to) in mapping {
        let whole = from.ends_with(".*");
        let (db, table) = from.split_once('.').unwrap_or(("", ""));
        if db.is_empty() || table.is_empty() || db.contains('*') || (table.contains('*') && table != "*") {
            let allowed = "the source's db.table, or db.* for all its tables";
            return Err(SettingError::new(KEY, format!("\"{from}\""), allowed));
        }
        if to.matches('*').count() > usize::from(whole) {
            let allowed = "one `*` at most, and only for a mapping of db.*";
            return Err(SettingError::new(KEY, format!("\"{to}\""), allowed));
        }
        check_target(KEY, to)?;
    }
    Ok(())
}

fn plain(settings: &MySqlSinkSettings) -> Result<Option<PlainTarget>, SettingError> {
    for column in &settings.plain_key {
        check_name("plainKey", column)?;
    }
    let Some(table) = &settings.plain_table else {
        return match settings.plain_key.first() {
            Some(column) => {
                Err(SettingError::new("plainKey", format!("\"{column}\""), "nothing, without plainTable"))
            }
            None => Ok(None),
        };
    };
    check_target("plainTable", table)?;
    let table = table_name(table, &settings.database);
    Ok(Some(PlainTarget { table, key: settings.plain_key.clone() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::Fields;

    #[test]
    fn the_table_of_settings_names_exactly_the_fields() {
        let mut fields = Vec::new();
        MySqlSinkSettings::deserialize(Fields(&mut fields)).expect_err("no values are given");
        assert_eq!(SINK_SETTINGS.iter().map(|setting| setting.name).collect::<Vec<_>>(), fields);
    }

    fn with(more: &str) -> Result<MySqlSinkConfig, String> {
        let text =
            format!(r#"{{"connectorName":"copy","hostname":"db2","user":"sink","database":"shop"{more}}}"#);
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }

    fn target(config: &MySqlSinkConfig, db: &str, table: &str) -> String {
        config.target(db, table).to_string()
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
    fn a_table_goes_where_it_is_called_so_in_the_database_unless_it_is_mapped() {
        let config = with("").expect("the required settings are enough");
        assert_eq!(target(&config, "any", "orders"), "shop.orders");
        let mapping = r#","tableMapping":{"a.orders":"b_orders","a.x.y":"c.z","a.*":"all.old_*"}"#;
        let config = with(mapping).expect("a mapping");
        assert_eq!(target(&config, "a", "orders"), "shop.b_orders");
        assert_eq!(target(&config, "a", "x.y"), "c.z");
        assert_eq!(target(&config, "a", "other"), "all.old_other");
        assert_eq!(target(&config, "b", "orders"), "shop.orders");
    }

    #[test]
    fn what_cannot_be_a_mapping_is_refused_with_its_setting() {
        for (more, text) in [
            (r#","tableMapping":{"orders":"x"}"#, "tableMapping: \"orders\""),
            (r#","tableMapping":{"a.o*":"x"}"#, "tableMapping: \"a.o*\""),
            (r#","tableMapping":{"a.b":"x*"}"#, "tableMapping: \"x*\""),
            (r#","tableMapping":{"a.b":""}"#, "tableMapping: \"\""),
            (r#","plainKey":["id"]"#, "plainKey: \"id\""),
            (r#","sslCert":"cert.pem""#, "sslKey: nothing"),
        ] {
            let error = with(more).expect_err(text);
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn plain_events_have_a_table_only_where_one_is_named() {
        assert_eq!(with("").expect("a configuration").plain, None);
        let config = with(r#","plainTable":"log.events","plainKey":["id"]"#).expect("a table");
        let plain = config.plain.expect("a table");
        assert_eq!((plain.table.to_string(), plain.key), ("log.events".to_owned(), vec!["id".to_owned()]));
    }
}
