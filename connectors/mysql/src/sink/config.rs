//! `connectorConfig` of the mysql-sink: its settings, and the resolved form that the rest uses.

use std::fs::File;
use std::path::PathBuf;

use flowd_engine::setting::{Kind, Preset, Setting, Settings, Wrong};
use flowd_sink::rows::mapping::{MappingSettings, NameRule, TableMapping};

use crate::config::{MySqlConfig, MySqlSettings, Secret, SslMode};

/// Of schemas, tables and columns.
const NAMES: NameRule = NameRule {
    is_possible: |name| {
        (1..=64).contains(&name.chars().count()) && !name.contains('\0') && !name.ends_with(' ')
    },
    allowed: "a name of 1 to 64 characters",
};

const SSL_MODES: &[&str] = &["disabled", "preferred", "required", "verify-ca", "verify-identity"];

/// Every setting of the sink but `connectorName`, which all connectors have.
pub const SETTINGS: &[Setting] = &[
    Setting::new("hostname", Kind::Text, Preset::Required, "the target server's host name or address"),
    Setting::new("port", Kind::Integer(1, 65_535), Preset::Value("3306"), "the server's TCP port"),
    Setting::new(
        "user",
        Kind::Text,
        Preset::Required,
        "the account; it needs SELECT, INSERT, UPDATE and DELETE on the tables, CREATE and DROP for flowd_applied and TRUNCATE",
    ),
    Setting::new(
        "password",
        Kind::Secret,
        Preset::Value(""),
        "its password; ${VAR} and file:PATH keep it out of the file",
    ),
    Setting::new(
        "database",
        Kind::Text,
        Preset::Required,
        "the database of tables that tableMapping does not name, and of flowd_applied",
    ),
    Setting::new(
        "tableMapping",
        Kind::Pairs,
        Preset::Without("the event's table name in database"),
        "where rows go; `db.*` stands for all tables of a source's database, a `*` in the target for the table's name",
    ),
    Setting::new(
        "plainTable",
        Kind::Form("table or db.table"),
        Preset::Without("such events are refused"),
        "where the data of events goes that are no change events, a JSON object of columns; without it they are refused",
    ),
    Setting::new(
        "plainKey",
        Kind::List,
        Preset::Without("the table's own key"),
        "which row of plainTable such an event replaces",
    ),
    Setting::new(
        "sslMode",
        Kind::Choice(SSL_MODES),
        Preset::Value("preferred"),
        "how the connection is protected; only the last two look at the server's certificate",
    ),
    Setting::new(
        "sslCa",
        Kind::Path,
        Preset::Without("only for verify-ca and verify-identity, which need it"),
        "PEM file of the authorities that verify-ca and verify-identity trust",
    ),
    Setting::new(
        "sslCert",
        Kind::Path,
        Preset::Without("no client certificate"),
        "PEM file of our own certificate, for accounts that require one",
    ),
    Setting::new(
        "sslKey",
        Kind::Path,
        Preset::Without("no client certificate"),
        "PEM file of the key of sslCert",
    ),
];

/// `connectorConfig` of a sink, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MySqlSinkConfig {
    /// The target server and how to reach it; what only a source needs in it is not used.
    pub server: MySqlConfig,
    /// Where rows go.
    pub mapping: TableMapping,
}

impl MySqlSinkConfig {
    /// From what the user wrote.
    ///
    /// # Errors
    /// The first setting that cannot be as it is.
    pub fn read(settings: &Settings) -> Result<Self, Wrong> {
        let mapping = MappingSettings {
            schema: settings.text("database").to_owned(),
            table_mapping: settings.pairs("tableMapping").iter().cloned().collect(),
            plain_table: settings.text_if("plainTable").map(str::to_owned),
            plain_key: settings.list("plainKey").to_vec(),
        };
        let mapping = TableMapping::new(mapping, "database", NAMES)?;
        let text = |name| settings.text(name).to_owned();
        let name = settings.connector_name().to_owned();
        let mut server = MySqlSettings::new(name, text("hostname"), text("user"));
        server.port = u16::try_from(settings.number("port")).expect("the kind bounds it");
        server.password = Secret::new(settings.secret("password"));
        server.ssl_mode = SslMode::of(settings.text("sslMode"));
        server.ssl_ca = pem_file(settings, "sslCa")?;
        server.ssl_cert = pem_file(settings, "sslCert")?;
        server.ssl_key = pem_file(settings, "sslKey")?;
        Ok(Self { server: server.try_into()?, mapping })
    }

    /// The sink's logical name.
    pub fn connector_name(&self) -> &str {
        &self.server.connector_name
    }

    /// The database of tables that are not mapped, and of `flowd_applied`.
    pub fn database(&self) -> &str {
        self.mapping.schema()
    }
}

/// Certificates belong to the configuration: one that cannot be read is told with its setting.
fn pem_file(settings: &Settings, name: &'static str) -> Result<Option<PathBuf>, Wrong> {
    let Some(path) = settings.path_if(name) else { return Ok(None) };
    match File::open(path) {
        Ok(_) => Ok(Some(path.to_owned())),
        Err(error) => Err(Wrong::new(
            name,
            format!("cannot read the file {}: {error}; allowed: a PEM file", path.display()),
        )),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::sink) fn with(more: &[(&str, &str)]) -> Result<MySqlSinkConfig, Wrong> {
        let required = [("hostname", "db2"), ("user", "sink"), ("database", "shop")];
        let settings = Settings::of("copy", SETTINGS, &[&required, more].concat())?;
        MySqlSinkConfig::read(&settings)
    }

    #[test]
    fn every_mode_of_tls_has_its_word() {
        assert!(SslMode::ALL.iter().map(|(word, _)| word).eq(SSL_MODES));
        for (word, mode) in SslMode::ALL {
            assert_eq!(SslMode::of(word), mode);
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_setting() {
        let long = "x".repeat(65);
        for (more, setting) in [
            (("tableMapping", "orders=x"), "tableMapping"),
            (("tableMapping", format!("a.b={long}").as_str()), "tableMapping"),
            (("database", "shop "), "database"),
            (("plainKey", "id"), "plainKey"),
            (("sslMode", "verify-ca"), "sslCa"),
            (("sslCa", "there_is_no_such.pem"), "sslCa"),
            (("sslCert", "Cargo.toml"), "sslKey"),
        ] {
            assert_eq!(with(&[more]).expect_err(setting).setting, setting, "{more:?}");
        }
        let accented = format!("a.b={}", "é".repeat(64));
        with(&[("tableMapping", &accented)]).expect("characters count, not bytes");
    }
}
