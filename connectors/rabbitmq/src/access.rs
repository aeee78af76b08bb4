//! How a broker is reached: the settings that source and sink share, a connection by them, and what its failures mean.

use std::time::Duration;

use flowd_engine::failure::Failure;
use flowd_engine::setting::{Kind, Preset, Setting, Settings, Wrong};
use flowd_tls::client::{ClientTls, TlsMode};
use flowd_tls::settings::{SSL_CA, SSL_CERT, SSL_KEY, SSL_MODE};
use lapin::runtime::default_runtime;
use lapin::tcp::{AsyncTcpStream, RustlsConnector};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{Connection, ConnectionProperties, ErrorKind};
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tracing::debug;

/// The most bytes of a name in AMQP.
pub(crate) const NAME_BYTES_MAX: usize = 255;

/// How long the way to an open connection may take, and to a consumer on it.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long a server may take to answer a goodbye.
const CLOSE_WAIT_MAX: Duration = Duration::from_secs(2);
/// How often each side shows that it is there; one that is silent for twice as long is gone.
const HEARTBEAT_SECONDS: u16 = 20;

const PLAIN_PORT: u16 = 5672;
const TLS_PORT: u16 = 5671;

/// The broker's host name or address.
const HOSTNAME: Setting =
    Setting::new("hostname", Kind::Text, Preset::Required, "the broker's host name or address");
/// Its port.
const PORT: Setting =
    Setting::new("port", Kind::Integer(1, 65_535), Preset::Without("5672, or 5671 with TLS"), "its TCP port");
/// The virtual host.
const VHOST: Setting = Setting::new("vhost", Kind::Text, Preset::Value("/"), "the virtual host");
/// The account.
const USER: Setting = Setting::new("user", Kind::Text, Preset::Required, "the account");
/// Its password.
const PASSWORD: Setting = Setting::new(
    "password",
    Kind::Secret,
    Preset::Without("empty"),
    "its password; ${VAR} and file:PATH keep it out of the file",
);

/// What source and sink both are told.
pub(crate) const SETTINGS: [Setting; 9] =
    [HOSTNAME, PORT, VHOST, USER, PASSWORD, SSL_MODE, SSL_CA, SSL_CERT, SSL_KEY];

/// What a connection needs.
#[derive(Clone)]
pub(crate) struct Access {
    uri: AMQPUri,
    tls: Option<ClientTls>,
    /// What the broker shows beside the connection.
    name: String,
}

impl Access {
    /// By the settings above.
    pub(crate) fn of(settings: &Settings) -> Result<Self, Wrong> {
        let tls = ClientTls::read(settings)?;
        let is_tls = tls.mode != TlsMode::Disabled;
        let port = settings.number_if("port").map(|port| u16::try_from(port).expect("at most 65535"));
        let userinfo = AMQPUserInfo {
            username: name(settings, "user")?.to_owned(),
            password: settings.secret("password").to_owned(),
        };
        let authority = AMQPAuthority {
            userinfo,
            host: settings.text("hostname").to_owned(),
            port: port.unwrap_or(if is_tls { TLS_PORT } else { PLAIN_PORT }),
        };
        let query = AMQPQueryString { heartbeat: Some(HEARTBEAT_SECONDS), ..AMQPQueryString::default() };
        Ok(Self {
            uri: AMQPUri {
                scheme: if is_tls { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
                authority,
                vhost: name(settings, "vhost")?.to_owned(),
                query,
            },
            tls: is_tls.then_some(tls),
            name: format!("flowd {}", settings.connector_name()),
        })
    }

    /// The virtual host.
    pub(crate) fn vhost(&self) -> &str {
        &self.uri.vhost
    }

    /// `host:port`.
    fn address(&self) -> String {
        format!("{}:{}", self.uri.authority.host, self.uri.authority.port)
    }

    /// A new connection, which the tasks of this runtime keep alive.
    pub(crate) async fn connect(&self) -> Result<Connection, Failure> {
        let tls = self.tls.as_ref().map(ClientTls::config).transpose()?;
        let properties = ConnectionProperties::default().with_connection_name(self.name.as_str().into());
        let user = &self.uri.authority.userinfo.username;
        let what = format!("connecting to RabbitMQ at {} as {user}", self.address());
        let runtime = default_runtime().map_err(|error| failure(&error, &what))?;
        let connecting = Connection::connector(
            self.uri.clone(),
            runtime,
            async move |uri, runtime| {
                let AMQPAuthority { host, port, .. } = uri.authority;
                let address = runtime.to_socket_addrs((host.clone(), port));
                let stream = AsyncTcpStream::connect(&runtime, address).await?;
                match &tls {
                    None => Ok(stream),
                    Some(config) => {
                        let connector = RustlsConnector::from(config.clone());
                        Ok(stream.into_rustls(&connector, &host).await?)
                    }
                }
            },
            properties,
        );
        in_time(&what, async { connecting.await.map_err(|error| failure(&error, &what)) }).await
    }
}

/// Waits for answers of the server, but not for ever: heartbeats go on also where a queue does not answer, as a quorum
/// queue without leader does not.
pub(crate) async fn in_time<T>(
    what: &str,
    answers: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let no_answer = || Failure::Retry(format!("{what}: no answer for {} s", CONNECT_WAIT_MAX.as_secs()));
    timeout(CONNECT_WAIT_MAX, answers).await.unwrap_or_else(|_| Err(no_answer()))
}

/// A text that AMQP has as a name.
pub(crate) fn name<'a>(settings: &'a Settings, setting: &'static str) -> Result<&'a str, Wrong> {
    let text = settings.text(setting);
    if text.len() > NAME_BYTES_MAX {
        return Err(Wrong::new(
            setting,
            format!("has {} bytes, and AMQP allows {NAME_BYTES_MAX}", text.len()),
        ));
    }
    Ok(text)
}

/// Says goodbye. A server that does not answer is left alone: its side ends with the connection.
pub(crate) async fn close(connection: &Connection) {
    match timeout(CLOSE_WAIT_MAX, connection.close(200, "".into())).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!("the connection was down already: {error}"),
        Err(_) => debug!("no answer to the end of the connection"),
    }
}

/// What an answer of the server, or none, means for who connects, looks or publishes.
pub(crate) fn failure(error: &lapin::Error, what: &str) -> Failure {
    let text = format!("{what}: {}", text(error));
    let heals = match error.kind() {
        ErrorKind::ProtocolError(error) => {
            let is_for_good =
                matches!(error.get_id(), ACCESS_REFUSED | NOT_FOUND | RESOURCE_LOCKED | NOT_ALLOWED);
            // The queue is on a node of the cluster that is down.
            !is_for_good || error.get_message().as_str().contains("down or inaccessible")
        }
        ErrorKind::IOError(error) => flowd_tls::refusal(error.as_ref()).is_none(),
        ErrorKind::InvalidProtocolVersion(_) | ErrorKind::AuthProviderError(_) => false,
        _ => true,
    };
    if heals { Failure::Retry(text) } else { Failure::Unusable(text) }
}

/// Reply codes of AMQP.
pub(crate) const ACCESS_REFUSED: u16 = 403;
pub(crate) const NOT_FOUND: u16 = 404;
pub(crate) const RESOURCE_LOCKED: u16 = 405;
pub(crate) const NOT_ALLOWED: u16 = 530;

/// The server's own words, where it said something.
pub(crate) fn text(error: &lapin::Error) -> String {
    match error.kind() {
        ErrorKind::ProtocolError(error) => error.get_message().to_string(),
        ErrorKind::IOError(error) => error.to_string(),
        _ => error.to_string(),
    }
}

/// A runtime with a thread of its own, so that a connection is kept alive whatever its user does.
pub(crate) fn runtime() -> Result<Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("flowd-rabbitmq")
        .enable_all()
        .build();
    runtime.map_err(|error| Failure::Fatal(format!("no thread for RabbitMQ's client: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(given: &[(&str, &str)]) -> Result<Access, Wrong> {
        let mut all = vec![("hostname", "mq"), ("user", "guest")];
        all.extend(given);
        Access::of(&Settings::of("orders", &SETTINGS, &all).unwrap())
    }

    #[test]
    fn the_port_follows_from_tls_unless_it_is_given() {
        for (given, address) in [
            (&[][..], "mq:5672"),
            (&[("sslMode", "verify-identity")], "mq:5671"),
            (&[("sslMode", "verify-identity"), ("port", "99")], "mq:99"),
        ] {
            assert_eq!(access(given).map(|access| access.address()).ok().as_deref(), Some(address));
        }
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (given, setting) in
            [(&[("sslCa", "ca.pem")][..], "sslCa"), (&[("vhost", &"x".repeat(256))], "vhost")]
        {
            assert_eq!(access(given).err().map(|wrong| wrong.setting), Some(setting), "{given:?}");
        }
    }
}
