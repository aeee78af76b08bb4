//! The way to a cluster: its settings, the connection, and what its failures mean for a run.

use std::fmt;
use std::time::Duration;

use flowd_engine::failure::Failure;
use flowd_engine::setting::{Kind, Preset, Setting, Settings, Wrong};
use flowd_tls::client::{Authorities, ClientTls, TlsMode};
use flowd_tls::pem::{KeyPair, PemFile};
use flowd_tls::settings::{SSL_CERT, SSL_KEY, SSL_MODE};
use krafka::auth::{AuthConfig, TlsConfig};
use krafka::error::{ErrorCode, KrafkaError};
use krafka::{Kafka, KafkaBuilder};

const BOOTSTRAP_SERVERS: Setting = Setting::new(
    "bootstrapServers",
    Kind::List,
    Preset::Required,
    "brokers to begin with, each host:port; the others are learned from them",
);
const SSL_CA: Setting = Setting::new(
    "sslCa",
    Kind::Path,
    Preset::Without("the roots of the web"),
    "certificates (PEM) that a broker's must be signed by",
);
const SASL_MECHANISM: Setting = Setting::new(
    "saslMechanism",
    Kind::Choice(&["none", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]),
    Preset::Value("none"),
    "how user and password are proved; PLAIN sends them as they are, so use it with sslMode",
);
const USER: Setting =
    Setting::new("user", Kind::Text, Preset::Without("only for a saslMechanism, which needs it"), "account");
const PASSWORD: Setting = Setting::new("password", Kind::Secret, Preset::Value(""), "its password");

/// What source and sink both are told.
pub(crate) const SETTINGS: [Setting; 8] =
    [BOOTSTRAP_SERVERS, SSL_MODE, SSL_CA, SSL_CERT, SSL_KEY, SASL_MECHANISM, USER, PASSWORD];

/// How long a connection may take, and one request.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a cluster is, and who one is there.
#[derive(Clone)]
pub(crate) struct Access {
    servers: String,
    client_id: String,
    security: Option<AuthConfig>,
}

impl fmt::Debug for Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Access").field("servers", &self.servers).finish_non_exhaustive()
    }
}

impl Access {
    pub(crate) fn of(settings: &Settings) -> Result<Self, Wrong> {
        let servers = settings.list(BOOTSTRAP_SERVERS.name);
        if servers.is_empty() {
            return Err(Wrong::new(BOOTSTRAP_SERVERS.name, "is empty; write host:port"));
        }
        if let Some(wrong) = servers.iter().find(|server| !is_address(server)) {
            return Err(Wrong::value(BOOTSTRAP_SERVERS.name, wrong, "host:port"));
        }
        let tls = tls(settings)?;
        let account = account(settings)?;
        let security = match (account, tls) {
            (Some(account), Some(tls)) => Some(account.with_tls(tls)),
            (Some(account), None) => Some(account),
            (None, tls) => tls.map(AuthConfig::ssl),
        };
        let client_id = format!("flowd-{}", settings.connector_name());
        Ok(Self { servers: servers.join(","), client_id, security })
    }

    /// Connects to the first broker that answers.
    pub(crate) async fn connect(
        &self,
        adjust: impl FnOnce(KafkaBuilder) -> KafkaBuilder,
    ) -> Result<Kafka, Failure> {
        let mut builder = Kafka::builder(&self.servers)
            .client_id(&self.client_id)
            .connect_timeout(CONNECT_TIMEOUT)
            .request_timeout(REQUEST_TIMEOUT);
        if let Some(security) = &self.security {
            builder = builder.security(security.clone());
        }
        adjust(builder)
            .connect()
            .await
            .map_err(|error| failure(&error, &format!("Kafka at {}", self.servers)))
    }
}

fn is_address(text: &str) -> bool {
    text.rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn tls(settings: &Settings) -> Result<Option<TlsConfig>, Wrong> {
    let text = |file: &PemFile| file.path().display().to_string();
    let ClientTls { mode, certificate } = ClientTls::read(settings)?;
    let (TlsMode::VerifyCa(authorities) | TlsMode::VerifyIdentity(authorities)) = mode else {
        return Ok(None);
    };
    let tls = match authorities {
        Authorities::File(file) => TlsConfig::new().with_ca_cert(text(&file)),
        // The client brings the roots of the web.
        Authorities::Machine => TlsConfig::new(),
    };
    Ok(Some(match certificate {
        Some(KeyPair { certificate, key }) => tls.with_client_cert(text(&certificate), text(&key)),
        None => tls,
    }))
}

fn account(settings: &Settings) -> Result<Option<AuthConfig>, Wrong> {
    let mechanism = settings.text(SASL_MECHANISM.name);
    let user = match (mechanism, settings.text_if(USER.name)) {
        ("none", None) => return Ok(None),
        ("none", Some(_)) => {
            return Err(Wrong::new(
                SASL_MECHANISM.name,
                "is none, but a user is given; name the account's mechanism",
            ));
        }
        (_, None) => return Err(Wrong::new(USER.name, "is missing: a saslMechanism needs it")),
        (_, Some(user)) => user,
    };
    let password = settings.secret(PASSWORD.name);
    Ok(Some(match mechanism {
        "PLAIN" => AuthConfig::sasl_plain(user, password),
        "SCRAM-SHA-256" => AuthConfig::sasl_scram_sha256(user, password),
        _ => AuthConfig::sasl_scram_sha512(user, password),
    }))
}

/// What an error means for a start, or for a run that has no remedy of its own.
pub(crate) fn failure(error: &KrafkaError, what: &str) -> Failure {
    let text = format!("{what}: {error}");
    match error {
        KrafkaError::DeliveryTimeout { .. } => Failure::Retry(text),
        KrafkaError::Broker { code: ErrorCode::UnknownTopicOrPartition, .. } => Failure::Unusable(text),
        error if error.is_retriable() && !is_against_certificate(&text) => Failure::Retry(text),
        _ => Failure::Unusable(text),
    }
}

/// Whether a broker turned down our certificate, or the lack of one. The client calls this a failure of the network, and
/// only the alert (RFC 8446, section 6.2) in its text tells it from one.
fn is_against_certificate(text: &str) -> bool {
    let alert = text.split_once("received fatal alert: ").map_or("", |(_, alert)| alert);
    ["BadCertificate", "Certificate", "UnsupportedCertificate", "UnknownCA"]
        .iter()
        .any(|name| alert.starts_with(name))
}

/// Runs a future to its end, for a start.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::Retry(format!("no runtime for Kafka's client: {error}")))?;
    runtime.block_on(future)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(given: &[(&str, &str)]) -> Result<Access, Wrong> {
        let mut all = vec![("bootstrapServers", "a:9092, b:9093")];
        all.extend(given);
        Access::of(&Settings::of("orders", &SETTINGS, &all).unwrap())
    }

    #[test]
    fn what_does_not_fit_together_is_named() {
        for (given, named) in [
            (&[("bootstrapServers", "a")][..], "bootstrapServers"),
            (&[("bootstrapServers", "a:0")], "bootstrapServers"),
            (&[("bootstrapServers", "")], "bootstrapServers"),
            (&[("sslCa", "/ca")], "sslCa"),
            (&[("sslMode", "verify-identity"), ("sslCert", "/c")], "sslKey"),
            (&[("sslMode", "verify-identity"), ("sslKey", "/k")], "sslCert"),
            (&[("saslMechanism", "PLAIN")], "user"),
            (&[("user", "ada")], "saslMechanism"),
        ] {
            assert_eq!(access(given).unwrap_err().setting, named, "{given:?}");
        }
    }

    #[test]
    fn a_certificate_that_is_turned_down_is_no_failure_of_the_network() {
        for (text, expected) in [
            ("network error: received fatal alert: CertificateRequired", true),
            ("network error: received fatal alert: UnknownCA (x)", true),
            ("network error: received fatal alert: InternalError", false),
            ("network error: connection refused", false),
        ] {
            assert_eq!(is_against_certificate(text), expected, "{text}");
        }
    }

    #[test]
    fn accounts_and_encryption_go_together() {
        let of = |given: &[(&str, &str)]| {
            access(given).unwrap().security.map(|found| found.security_protocol().clone())
        };
        use krafka::auth::SecurityProtocol::{SaslPlaintext, SaslSsl, Ssl};
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("sslMode", "verify-identity")]), Some(Ssl));
        let account = [("saslMechanism", "SCRAM-SHA-512"), ("user", "ada"), ("password", "secret")];
        assert_eq!(of(&account), Some(SaslPlaintext));
        assert_eq!(of(&[&account[..], &[("sslMode", "verify-identity")]].concat()), Some(SaslSsl));
        assert!(!format!("{:?}", access(&account).unwrap()).contains("secret"));
    }
}
