//! `connectorConfig` of the postgres-sink: its settings, and the resolved form that the rest uses.

use flowd_engine::setting::{Kind, Preset, Secret, Setting, Settings, Wrong};
use flowd_sink::rows::mapping::{MappingSettings, NameRule, TableMapping};
use flowd_tls::client::{Authorities, ClientTls, TlsMode};
use flowd_tls::pem::{KeyPair, PemFile};
use flowd_tls::settings::{SSL_CERT, SSL_KEY};

/// Of schemas, tables and columns; what is longer the server would cut.
const NAMES: NameRule = NameRule {
    is_possible: |name| (1..=63).contains(&name.len()) && !name.contains('\0'),
    allowed: "a name of 1 to 63 bytes",
};

const SSL_MODES: &[&str] = &["disabled", "preferred", "required", "verify-ca", "verify-identity"];

/// Every setting of the sink but `connectorName`, which all connectors have.
pub const SETTINGS: &[Setting] = &[
    Setting::new("hostname", Kind::Text, Preset::Required, "the target server's host name or address"),
    Setting::new("port", Kind::Integer(1, 65535), Preset::Value("5432"), "the server's TCP port"),
    Setting::new(
        "user",
        Kind::Text,
        Preset::Required,
        "the role; it needs SELECT, INSERT, UPDATE and DELETE on the tables, TRUNCATE for TRUNCATE, and CREATE in schema for flowd_applied",
    ),
    Setting::new(
        "password",
        Kind::Secret,
        Preset::Without("none"),
        "its password; ${VAR} and file:PATH keep it out of the file",
    ),
    Setting::new("database", Kind::Text, Preset::Required, "the database"),
    Setting::new(
        "schema",
        Kind::Text,
        Preset::Value("public"),
        "the schema of tables that tableMapping does not name, and of flowd_applied",
    ),
    Setting::new(
        "tableMapping",
        Kind::Pairs,
        Preset::Without("the event's table name in schema"),
        "where rows of db.table go: table or schema.table; `db.*` stands for all tables of a source's database, a `*` in the target for the table's name",
    ),
    Setting::new(
        "plainTable",
        Kind::Text,
        Preset::Without("such events are rejected"),
        "where the data of events goes that are no change events, a JSON object of columns: table or schema.table",
    ),
    Setting::new(
        "plainKey",
        Kind::List,
        Preset::Without("the table's own key"),
        "which row of plainTable such an event replaces",
    ),
    Setting::new(
        "zeroDates",
        Kind::Choice(&["reject", "asNull"]),
        Preset::Value("reject"),
        "what becomes of MySQL's zero and partial dates, which PostgreSQL does not have",
    ),
    Setting::new(
        "sessionReplicationRole",
        Kind::Choice(&["origin", "replica"]),
        Preset::Value("origin"),
        "replica: no trigger fires and no foreign key is checked; the role must be allowed to set it",
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
        Preset::Without("none"),
        "PEM file of the authorities that verify-ca and verify-identity trust",
    ),
    SSL_CERT,
    SSL_KEY,
];

/// What becomes of dates that PostgreSQL does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZeroDates {
    /// The event is refused.
    Reject,
    /// NULL is stored.
    Null,
}

/// `connectorConfig`, resolved.
#[derive(Debug, Clone)]
pub struct PostgresConfig {
    /// The sink's logical name.
    pub connector_name: String,
    /// The server's host name or address.
    pub hostname: String,
    /// Its TCP port.
    pub port: u16,
    /// The role.
    pub user: String,
    /// Its password; may be empty.
    pub password: Secret,
    /// The database.
    pub database: String,
    /// Where rows go.
    pub mapping: TableMapping,
    /// What becomes of zero dates.
    pub zero_dates: ZeroDates,
    /// Whether triggers and foreign keys are passed over.
    pub is_replica: bool,
    /// How the connection is protected.
    pub tls: ClientTls,
}

impl PostgresConfig {
    /// From what the user wrote.
    ///
    /// # Errors
    /// The first setting that cannot be as it is.
    pub fn read(settings: &Settings) -> Result<Self, Wrong> {
        for name in ["hostname", "user", "database"] {
            if settings.text(name).contains('\0') {
                return Err(Wrong::new(name, "has the character U+0000"));
            }
        }
        let mapping = MappingSettings {
            schema: settings.text("schema").to_owned(),
            table_mapping: settings.pairs("tableMapping").iter().cloned().collect(),
            plain_table: settings.text_if("plainTable").map(str::to_owned),
            plain_key: settings.list("plainKey").to_vec(),
        };
        let mapping = TableMapping::new(mapping, "schema", NAMES)?;
        Ok(Self {
            connector_name: settings.connector_name().to_owned(),
            hostname: settings.text("hostname").to_owned(),
            port: u16::try_from(settings.number("port")).expect("the kind bounds it"),
            user: settings.text("user").to_owned(),
            password: Secret::new(settings.secret("password")),
            database: settings.text("database").to_owned(),
            zero_dates: if settings.text("zeroDates") == "asNull" {
                ZeroDates::Null
            } else {
                ZeroDates::Reject
            },
            is_replica: settings.text("sessionReplicationRole") == "replica",
            tls: ClientTls {
                mode: tls_mode(settings)?,
                certificate: KeyPair::of(settings, SSL_CERT.name, SSL_KEY.name)?,
            },
            mapping,
        })
    }

    /// `hostname:port`, for messages.
    pub fn address(&self) -> String {
        format!("{}:{}", self.hostname, self.port)
    }

    /// The schema of tables that are not mapped, and of `flowd_applied`.
    pub fn schema(&self) -> &str {
        self.mapping.schema()
    }
}

fn tls_mode(settings: &Settings) -> Result<TlsMode, Wrong> {
    let mode = settings.text("sslMode");
    let authorities = PemFile::of(settings, "sslCa");
    let is_given = authorities.is_some();
    let verified = |tls: fn(Authorities) -> TlsMode| match authorities {
        Some(file) => Ok(tls(Authorities::File(file))),
        None => Err(Wrong::new("sslCa", format!("is needed with sslMode {mode}: the path of a PEM file"))),
    };
    match mode {
        "verify-ca" => verified(TlsMode::VerifyCa),
        "verify-identity" => verified(TlsMode::VerifyIdentity),
        _ if is_given => Err(Wrong::new(
            "sslCa",
            format!(
                "has no effect with sslMode {mode}; verify-ca and verify-identity look at the certificate"
            ),
        )),
        "disabled" => Ok(TlsMode::Disabled),
        "required" => Ok(TlsMode::Required),
        _ => Ok(TlsMode::Preferred),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn with(more: &[(&str, &str)]) -> Result<PostgresConfig, Wrong> {
        let required = [("hostname", "db2"), ("user", "sink"), ("database", "shop")];
        let settings = Settings::of("copy", SETTINGS, &[&required, more].concat())?;
        PostgresConfig::read(&settings)
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_setting() {
        let long = "x".repeat(64);
        for (more, setting) in [
            (("tableMapping", "orders=x"), "tableMapping"),
            (("schema", long.as_str()), "schema"),
            (("plainKey", "id"), "plainKey"),
            (("sslCert", "cert.pem"), "sslKey"),
            (("sslMode", "verify-ca"), "sslCa"),
            (("sslCa", "ca.pem"), "sslCa"),
        ] {
            assert_eq!(with(&[more]).expect_err(setting).setting, setting, "{more:?}");
        }
    }
}
