//! `connectorConfig` of the postgres-sink: its settings, and the resolved form that the rest uses.
//!
//! Invariant: where an event's row goes depends on its database and table and on these settings alone.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use flowd_engine::setting::{Kind, Preset, Secret, Setting, Settings, Wrong};

/// PostgreSQL's longest name, bytes; what is longer the server would cut.
const NAME_SIZE_MAX: usize = 63;

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
    Setting::new(
        "sslCert",
        Kind::Path,
        Preset::Without("none"),
        "PEM file of our own certificate, for roles that require one",
    ),
    Setting::new("sslKey", Kind::Path, Preset::Without("none"), "PEM file of the key of sslCert"),
];

/// A table of the target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
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

/// What becomes of dates that PostgreSQL does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZeroDates {
    /// The event is refused.
    Reject,
    /// NULL is stored.
    Null,
}

/// How the connection is protected, with what that needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsMode {
    /// Plain TCP.
    Disabled,
    /// TLS where offered, unverified.
    Preferred,
    /// TLS, unverified.
    Required,
    /// TLS, the chain verified against the authorities in this PEM file.
    VerifyCa(PathBuf),
    /// TLS, chain and name verified.
    VerifyIdentity(PathBuf),
}

/// Our own certificate and its key, PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate with its chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
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
    /// The schema of tables that are not mapped, and of `flowd_applied`.
    pub schema: String,
    /// Where plain events go; `None` refuses them.
    pub plain: Option<PlainTarget>,
    /// What becomes of zero dates.
    pub zero_dates: ZeroDates,
    /// Whether triggers and foreign keys are passed over.
    pub is_replica: bool,
    /// How the connection is protected.
    pub tls: TlsMode,
    /// What we show the server under TLS.
    pub client_certificate: Option<ClientCertificate>,
    mapping: BTreeMap<String, String>,
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
        let schema = settings.text("schema").to_owned();
        check_name("schema", &schema)?;
        let mapping: BTreeMap<String, String> = settings.pairs("tableMapping").iter().cloned().collect();
        check_mapping(&mapping)?;
        Ok(Self {
            connector_name: settings.connector_name().to_owned(),
            hostname: settings.text("hostname").to_owned(),
            port: u16::try_from(settings.number("port")).expect("the kind bounds it"),
            user: settings.text("user").to_owned(),
            password: Secret::new(settings.secret("password")),
            database: settings.text("database").to_owned(),
            plain: plain(settings, &schema)?,
            zero_dates: if settings.text("zeroDates") == "asNull" {
                ZeroDates::Null
            } else {
                ZeroDates::Reject
            },
            is_replica: settings.text("sessionReplicationRole") == "replica",
            tls: tls_mode(settings)?,
            client_certificate: client_certificate(settings)?,
            schema,
            mapping,
        })
    }

    /// `hostname:port`, for messages.
    pub fn address(&self) -> String {
        format!("{}:{}", self.hostname, self.port)
    }

    /// Where rows of a source's table go.
    pub fn target(&self, db: &str, table: &str) -> TableName {
        let mapped =
            self.mapping.get(&format!("{db}.{table}")).or_else(|| self.mapping.get(&format!("{db}.*")));
        match mapped {
            Some(target) => table_name(&target.replace('*', table), &self.schema),
            None => TableName { schema: self.schema.clone(), table: table.to_owned() },
        }
    }
}

/// `table` or `schema.table`; the first dot divides, because a schema's name rarely has one.
fn table_name(text: &str, schema: &str) -> TableName {
    let (schema, table) = text.split_once('.').unwrap_or((schema, text));
    TableName { schema: schema.to_owned(), table: table.to_owned() }
}

fn check_name(setting: &'static str, name: &str) -> Result<(), Wrong> {
    if name.is_empty() || name.len() > NAME_SIZE_MAX || name.contains('\0') {
        let allowed = format!("a name of 1 to {NAME_SIZE_MAX} bytes");
        return Err(Wrong::value(setting, &name.escape_debug().to_string(), &allowed));
    }
    Ok(())
}

fn check_target(setting: &'static str, text: &str) -> Result<(), Wrong> {
    let name = table_name(text, "schema");
    check_name(setting, &name.schema)?;
    check_name(setting, &name.table)
}

fn check_mapping(mapping: &BTreeMap<String, String>) -> Result<(), Wrong> {
    const SETTING: &str = "tableMapping";
    for (from, to) in mapping {
        let whole = from.ends_with(".*");
        let (db, table) = from.split_once('.').unwrap_or(("", ""));
        if db.is_empty() || table.is_empty() || db.contains('*') || (table.contains('*') && table != "*") {
            return Err(Wrong::value(SETTING, from, "the source's db.table, or db.* for all its tables"));
        }
        if to.matches('*').count() > usize::from(whole) {
            return Err(Wrong::value(SETTING, to, "one `*` at most, and only for a mapping of db.*"));
        }
        check_target(SETTING, to)?;
    }
    Ok(())
}

fn plain(settings: &Settings, schema: &str) -> Result<Option<PlainTarget>, Wrong> {
    let key = settings.list("plainKey");
    key.iter().try_for_each(|column| check_name("plainKey", column))?;
    let Some(table) = settings.text_if("plainTable") else {
        return match key.first() {
            Some(_) => Err(Wrong::new("plainKey", "needs plainTable")),
            None => Ok(None),
        };
    };
    check_target("plainTable", table)?;
    Ok(Some(PlainTarget { table: table_name(table, schema), key: key.to_vec() }))
}

fn tls_mode(settings: &Settings) -> Result<TlsMode, Wrong> {
    let mode = settings.text("sslMode");
    let authorities = settings.path_if("sslCa");
    let verified = |tls: fn(PathBuf) -> TlsMode| match authorities {
        Some(path) => Ok(tls(path.to_owned())),
        None => Err(Wrong::new("sslCa", format!("is needed with sslMode {mode}: the path of a PEM file"))),
    };
    match mode {
        "verify-ca" => verified(TlsMode::VerifyCa),
        "verify-identity" => verified(TlsMode::VerifyIdentity),
        _ if authorities.is_some() => Err(Wrong::new(
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

fn client_certificate(settings: &Settings) -> Result<Option<ClientCertificate>, Wrong> {
    match (settings.path_if("sslCert"), settings.path_if("sslKey")) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => {
            Ok(Some(ClientCertificate { certificate: certificate.to_owned(), key: key.to_owned() }))
        }
        (Some(_), None) => Err(Wrong::new("sslKey", "is needed with sslCert: the path of its key")),
        (None, Some(_)) => Err(Wrong::new("sslCert", "is needed with sslKey: the path of its certificate")),
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
    fn a_table_goes_where_it_is_called_so_in_the_schema_unless_it_is_mapped() {
        let target = |config: &PostgresConfig, db, table| config.target(db, table).to_string();
        let config = with(&[]).expect("the required settings are enough");
        assert_eq!(target(&config, "any", "orders"), "public.orders");
        let mapping = "a.orders=b_orders, a.x.y=c.z, a.*=all.old_*";
        let config = with(&[("schema", "shop"), ("tableMapping", mapping)]).expect("a mapping");
        assert_eq!(target(&config, "a", "orders"), "shop.b_orders");
        assert_eq!(target(&config, "a", "x.y"), "c.z");
        assert_eq!(target(&config, "a", "other"), "all.old_other");
        assert_eq!(target(&config, "b", "orders"), "shop.orders");
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_setting() {
        let long = "x".repeat(64);
        for (more, setting) in [
            (("tableMapping", "orders=x"), "tableMapping"),
            (("tableMapping", "a.o*=x"), "tableMapping"),
            (("tableMapping", "a.b=x*"), "tableMapping"),
            (("schema", long.as_str()), "schema"),
            (("plainKey", "id"), "plainKey"),
            (("sslCert", "cert.pem"), "sslKey"),
            (("sslMode", "verify-ca"), "sslCa"),
            (("sslCa", "ca.pem"), "sslCa"),
        ] {
            assert_eq!(with(&[more]).expect_err(setting).setting, setting, "{more:?}");
        }
    }

    #[test]
    fn plain_events_have_a_table_only_where_one_is_named() {
        assert_eq!(with(&[]).expect("a configuration").plain, None);
        let config = with(&[("plainTable", "log.events"), ("plainKey", "id")]).expect("a table");
        let plain = config.plain.expect("a table");
        assert_eq!((plain.table.to_string(), plain.key), ("log.events".to_owned(), vec!["id".to_owned()]));
    }
}
