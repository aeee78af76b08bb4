//! http-source: a server that takes CloudEvents and answers once the mesh has them.
//!
//! In the direction of the data: `server` accepts connections, `service` looks at a request and at who sends it
//! (`access`), `relay` hands its events to the pipeline and brings the acknowledgement back. `handshake` answers senders
//! that ask first, as the webhook specification has it.
//!
//! Nothing is stored: what was not answered by 2xx is the client's.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use flowd_codec::frame::PUBLISH_SIZE_MAX;
use flowd_source::position::counted;
use flowd_source::{
    Connector, Context, EventSource, Events, Failure, Feeder, Kind, Position, Preset, Progress, Setting,
    Settings, SourceEnd, Wrong, run_async,
};
use flowd_tls::pem::KeyPair;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;

mod server;

mod access;
mod handshake;
mod reply;
mod service;
mod taken;

mod relay;

use access::Access;
use handshake::Welcome;
use service::{Condition, Rules, Service};

use crate::binding::read::Plain;

/// `http-source`.
pub const CONNECTOR: Connector = Connector {
    name: "http-source",
    help: "a server that takes CloudEvents over HTTP, binary, structured or batched, and webhooks",
    settings: SETTINGS,
    fields: &["subject", "type"],
    subject: Preset::Value("{subject}"),
    progress: Progress::Outside,
    open,
};

/// How long answers may take to reach their clients when everything else is done.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

const SETTINGS: &[Setting] = &[
    Setting::new("listen", Kind::Form("HOST:PORT"), Preset::Required, "where the server listens"),
    Setting::new(
        "path",
        Kind::Form("a path that begins with /"),
        Preset::Value("/"),
        "where it takes events",
    ),
    Setting::new(
        "tlsCert",
        Kind::Path,
        Preset::Without("no TLS"),
        "PEM file of the server's certificate and those behind it",
    ),
    Setting::new("tlsKey", Kind::Path, Preset::Without("no TLS"), "PEM file of its key"),
    Setting::new(
        "token",
        Kind::Secret,
        Preset::Without("anybody may send"),
        "the bearer token that clients must send",
    ),
    Setting::new(
        "userName",
        Kind::Text,
        Preset::Without("anybody may send"),
        "name for basic authentication",
    ),
    Setting::new("passWord", Kind::Secret, Preset::Without("none"), "password for basic authentication"),
    Setting::new(
        "bodyBytes",
        Kind::Size(1 << 10, 1 << 30),
        Preset::Value("1MiB"),
        "the largest body of a request",
    ),
    Setting::new(
        "bufferBytes",
        Kind::Size(1 << 10, 1 << 40),
        Preset::Value("32MiB"),
        "all bodies together; more requests are answered by 429",
    ),
    Setting::new(
        "connections",
        Kind::Integer(1, 100_000),
        Preset::Value("256"),
        "connections at once; more wait",
    ),
    Setting::new(
        "readMs",
        Kind::Integer(1, 3_600_000),
        Preset::Value("30000"),
        "time for a request's head, for its body, and between requests",
    ),
    Setting::new(
        "answerMs",
        Kind::Integer(1, 3_600_000),
        Preset::Value("60000"),
        "time for the mesh's acknowledgement; after it the answer is 503",
    ),
    Setting::new(
        "allowedOrigins",
        Kind::List,
        Preset::Value("*"),
        "origins that the webhook handshake welcomes; * is all",
    ),
    Setting::new(
        "allowedRate",
        Kind::Integer(1, u64::MAX),
        Preset::Without("any"),
        "requests a minute that the webhook handshake grants",
    ),
    Setting::new("plain", Kind::Switch, Preset::Value("false"), "take requests that are no CloudEvents, too"),
    Setting::new(
        "idHeader",
        Kind::Text,
        Preset::Value("Idempotency-Key"),
        "the header that holds the id of such a one",
    ),
    Setting::new("plainType", Kind::Text, Preset::Value("flowd.http"), "the type of its event"),
];

/// The server, before it runs.
struct HttpSource {
    listen: String,
    certificate: Option<KeyPair>,
    rules: Rules,
    buffer_bytes: usize,
    connections: usize,
    opened: Option<Opened>,
}

/// What `start` leaves for `run`.
struct Opened {
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
}

fn open(settings: &Settings, context: Context) -> Result<Box<dyn EventSource>, Wrong> {
    let size = |name| usize::try_from(settings.number(name)).unwrap_or(usize::MAX);
    let time = |name| Duration::from_millis(settings.number(name));
    if size("bufferBytes") < size("bodyBytes") {
        return Err(Wrong::new(
            "bufferBytes",
            "is less than bodyBytes: no body of that size would ever be taken",
        ));
    }
    let id_header = settings.text("idHeader");
    if hyper::header::HeaderName::try_from(id_header).is_err() {
        return Err(Wrong::value("idHeader", id_header, "the name of a header"));
    }
    let plain = settings.switch("plain").then(|| {
        Arc::new(Plain {
            id_header: id_header.to_owned(),
            source: context.source.clone(),
            event_type: settings.text("plainType").to_owned(),
        })
    });
    let rules = Rules {
        path: path(settings)?,
        access: access(settings)?,
        welcome: Welcome {
            origins: settings.list("allowedOrigins").to_vec(),
            rate: settings.number_if("allowedRate"),
        },
        plain,
        subject: context.subject,
        body_bytes_max: size("bodyBytes"),
        event_bytes_max: context.event_bytes_max.min(PUBLISH_SIZE_MAX),
        read_time_max: time("readMs"),
        answer_time_max: time("answerMs"),
    };
    Ok(Box::new(HttpSource {
        listen: listen(settings)?,
        certificate: KeyPair::of(settings, "tlsCert", "tlsKey")?,
        rules,
        buffer_bytes: size("bufferBytes").min(Semaphore::MAX_PERMITS),
        connections: size("connections"),
        opened: None,
    }))
}

fn listen(settings: &Settings) -> Result<String, Wrong> {
    let listen = settings.text("listen");
    let port = listen.rsplit_once(':').map(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if port == Some(true) {
        return Ok(listen.to_owned());
    }
    Err(Wrong::value("listen", listen, "HOST:PORT, for example 0.0.0.0:8080"))
}

fn path(settings: &Settings) -> Result<String, Wrong> {
    let path = settings.text("path");
    let is_path = path.starts_with('/')
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'?' && byte != b'#');
    if is_path {
        Ok(path.to_owned())
    } else {
        Err(Wrong::value("path", path, "a path that begins with /, without ? and #"))
    }
}

fn access(settings: &Settings) -> Result<Access, Wrong> {
    let (token, password) = (settings.secret("token"), settings.secret("passWord"));
    match (settings.text_if("userName"), token.is_empty(), password.is_empty()) {
        (None, true, true) => Ok(Access::open()),
        (None, false, true) => Ok(Access::token(token)),
        (Some(name), true, false) => Ok(Access::password(name, password)),
        (Some(_), true, true) => Err(Wrong::new("passWord", "is needed with userName")),
        (None, _, false) => Err(Wrong::new("userName", "is needed with passWord")),
        (Some(_), false, _) => Err(Wrong::new("token", "and userName exclude each other; give one of them")),
    }
}

impl EventSource for HttpSource {
    fn start(&mut self, _stored: Option<&Position>) -> Result<Position, Failure> {
        let acceptor = match &self.certificate {
            Some(own) => Some(TlsAcceptor::from(flowd_tls::server::config(own)?)),
            None => None,
        };
        let listener = TcpListener::bind(&self.listen).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        let listener = listener.map_err(|error| {
            let text = format!("connectorConfig.listen: cannot listen on {}: {error}", self.listen);
            // Whoever has the address now may be on its way out.
            if error.kind() == io::ErrorKind::AddrInUse {
                Failure::Retry(text)
            } else {
                Failure::Unusable(text)
            }
        })?;
        self.opened = Some(Opened { listener, acceptor });
        Ok(counted(0))
    }

    fn run(mut self: Box<Self>, out: &mut Events<'_>) -> Result<SourceEnd, Failure> {
        let opened = self.opened.take().expect("a source runs once it has started");
        run_async(out, async move |feeder| self.serve(opened, feeder).await)
    }
}

impl HttpSource {
    async fn serve(self: Box<Self>, opened: Opened, feeder: &mut Feeder<'_>) -> Result<SourceEnd, Failure> {
        let listener = tokio::net::TcpListener::from_std(opened.listener)
            .map_err(|error| Failure::Fatal(format!("the listener on {}: {error}", self.listen)))?;
        tracing::info!(
            listen = self.listen,
            path = self.rules.path,
            tls = opened.acceptor.is_some(),
            "taking events"
        );
        let (condition, conditions) = watch::channel(Condition::Open);
        // A connection has one request at a time: this queue is full only with those of clients that have gone.
        let (queue, deliveries) = mpsc::channel(self.connections);
        let places = Arc::new(Semaphore::new(self.connections));
        let idle = self.rules.read_time_max;
        let service = Arc::new(Service::new(self.rules, conditions.clone(), self.buffer_bytes, queue));
        let serving = server::serve(listener, opened.acceptor, idle, places.clone(), service, conditions);
        let server = tokio::spawn(serving);
        relay::run(feeder, deliveries, &condition).await;
        let all = u32::try_from(self.connections).expect("the setting is bounded");
        let ended = tokio::time::timeout(LAST_ANSWERS, places.acquire_many(all)).await;
        if ended.is_err() {
            tracing::warn!("connections that did not end in time are cut");
        }
        server.abort();
        Ok(SourceEnd::Stopped)
    }
}

#[cfg(test)]
mod tests {
    use flowd_engine::stop::Stop;
    use flowd_source::Subject;

    use super::*;

    fn opened(given: &[(&str, &str)]) -> Result<Box<dyn EventSource>, Wrong> {
        let context = Context {
            connector_name: "in".into(),
            source: "/flowd/http/in".into(),
            subject: Subject::parse("{subject}", CONNECTOR.fields).unwrap(),
            event_bytes_max: 1 << 20,
            stop: Stop::new(),
        };
        open(&Settings::of("in", SETTINGS, given)?, context)
    }

    #[test]
    fn settings_that_do_not_go_together_are_told() {
        let listen = ("listen", "127.0.0.1:0");
        assert!(opened(&[listen]).is_ok());
        for (given, setting) in [
            (&[][..], "listen"),
            (&[("listen", "8080")], "listen"),
            (&[listen, ("path", "events")], "path"),
            (&[listen, ("tlsCert", "a.pem")], "tlsKey"),
            (&[listen, ("tlsKey", "a.pem")], "tlsCert"),
            (&[listen, ("userName", "a")], "passWord"),
            (&[listen, ("passWord", "a")], "userName"),
            (&[listen, ("userName", "a"), ("passWord", "b"), ("token", "c")], "token"),
            (&[listen, ("bufferBytes", "2KiB")], "bufferBytes"),
            (&[listen, ("idHeader", "a b")], "idHeader"),
        ] {
            assert_eq!(opened(given).err().unwrap().setting, setting, "{given:?}");
        }
    }

    #[test]
    fn an_address_that_is_taken_may_become_free_and_one_that_is_not_here_will_not() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let failure = opened(&[("listen", &address)]).unwrap().start(None).unwrap_err();
        assert!(matches!(&failure, Failure::Retry(text) if text.contains("listen")), "{failure:?}");
        let failure = opened(&[("listen", "192.0.2.1:80")]).unwrap().start(None).unwrap_err();
        assert!(matches!(failure, Failure::Unusable(_)));
    }
}
