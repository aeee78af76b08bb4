//! http-sink: posts CloudEvents to a URL, each until it is taken or refused.
//!
//! A put's events are dealt to `lane`s by their keys; a lane has one `connection`, over which its events go one after
//! another. `verdict` says what an answer means, `address` where an event goes, `recent` what was sent already. Invariant: two events of one key are in
//! one lane, and behind one that is not delivered nothing of its lane goes out.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant, SystemTime};

use ahash::AHashSet;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flowd_engine::failure::Failure;
use flowd_engine::setting::{Kind, Preset, Setting, Settings, Wrong};
use flowd_sink::deliver::{Connector, Context, DeliverEvent, EventSink, Opened, Refused};
use flowd_tls::client::{Authorities, ClientTls, TlsMode};
use flowd_tls::pem::PemFile;
use flowd_tls::settings::SSL_CA;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, StatusCode};
use tokio::runtime::Runtime;

mod address;
mod connection;
mod lane;
mod patience;
mod recent;
mod verdict;

use address::Address;
use connection::{Far, Tls};
use lane::{Done, Fate, Halt, Lane, request};
use recent::{Name, Recent};
use verdict::{Answer, Verdict};

/// `http-sink`.
pub const CONNECTOR: Connector = Connector {
    name: "http-sink",
    help: "a URL to which each event is posted until it is taken or refused",
    settings: SETTINGS,
    open,
};

/// A put sleeps at most so long while the far side asks for patience; the wait goes on in the next one.
const PATIENCE_MAX: Duration = Duration::from_secs(1);

const SETTINGS: &[Setting] = &[
    Setting::new(
        "url",
        Kind::Form("http(s)://HOST[:PORT]/PATH"),
        Preset::Required,
        "where events go; {topic} in its path is the topic",
    ),
    Setting::new(
        "mode",
        Kind::Choice(&["binary", "structured", "batch"]),
        Preset::Value("binary"),
        "how an event stands in a request",
    ),
    Setting::new(
        "batchEvents",
        Kind::Integer(1, 8192),
        Preset::Value("100"),
        "mode batch: the most events of a request",
    ),
    Setting::new(
        "batchBytes",
        Kind::Size(1, 1 << 30),
        Preset::Value("256KiB"),
        "mode batch: about the most bytes of a request",
    ),
    Setting::new(
        "connections",
        Kind::Integer(1, 256),
        Preset::Value("8"),
        "requests on their way at once; events of one key keep their order",
    ),
    Setting::new(
        "timeoutMs",
        Kind::Integer(1, 3_600_000),
        Preset::Value("30000"),
        "time for a request and its answer",
    ),
    Setting::new("token", Kind::Secret, Preset::Without("none"), "the bearer token that is sent"),
    Setting::new("userName", Kind::Text, Preset::Without("none"), "name for basic authentication"),
    Setting::new("passWord", Kind::Secret, Preset::Without("none"), "password for basic authentication"),
    Setting::new("headers", Kind::Pairs, Preset::Without("none"), "further headers of each request"),
    SSL_CA,
    Setting::new(
        "origin",
        Kind::Text,
        Preset::Without("no handshake"),
        "asks at the start whether this origin may deliver, by the webhook handshake",
    ),
];

/// How events stand in requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Binary,
    Structured,
    Batch { events_max: usize, bytes_max: usize },
}

struct HttpSink {
    address: Address,
    mode: Mode,
    headers: HeaderMap,
    time_max: Duration,
    tls: Option<ClientTls>,
    origin: Option<HeaderValue>,
    connections: usize,
    hasher: RandomState,
    opened: Option<Running>,
}

/// What `start` leaves for `put`.
struct Running {
    runtime: Runtime,
    far: Far,
    lanes: Vec<Lane>,
    recent: Recent,
    /// A put that is to come again.
    unfinished: Option<Unfinished>,
}

/// What became of the events of a put that failed, so that those delivered are not sent again.
struct Unfinished {
    names: Vec<Name>,
    fates: Vec<Fate>,
    /// The far side wants nothing before.
    not_before: Option<Instant>,
}

fn open(settings: &Settings, _context: &Context) -> Result<Opened, Wrong> {
    let size = |name| usize::try_from(settings.number(name)).unwrap_or(usize::MAX);
    let url = settings.text("url");
    let address = Address::parse(url).map_err(|allowed| Wrong::value("url", url, &allowed))?;
    let added = settings.pairs("headers").iter().map(header).collect::<Result<Vec<_>, _>>()?;
    let mode = match settings.text("mode") {
        "binary" => Mode::Binary,
        "structured" => Mode::Structured,
        _ => Mode::Batch { events_max: size("batchEvents"), bytes_max: size("batchBytes") },
    };
    let origin = settings.text_if("origin").map(|origin| {
        HeaderValue::from_str(origin)
            .map_err(|_| Wrong::value("origin", origin, "a name, for example events.example.com"))
    });
    Ok(Opened::Events(Box::new(HttpSink {
        headers: Far::headers(&address, authorization(settings)?, added),
        tls: address.is_tls.then(|| trusting(settings)),
        address,
        mode,
        time_max: Duration::from_millis(settings.number("timeoutMs")),
        origin: origin.transpose()?,
        connections: size("connections"),
        hasher: RandomState::new(),
        opened: None,
    })))
}

fn header((name, value): &(String, String)) -> Result<(HeaderName, HeaderValue), Wrong> {
    let wrong =
        || Wrong::new("headers", format!("has \"{name}\", which is no header with a value of visible ASCII"));
    let name = HeaderName::try_from(name).map_err(|_| wrong())?;
    let is_ours = name.as_str().starts_with("ce-")
        || ["content-type", "content-length", "host", "transfer-encoding"].contains(&name.as_str());
    if is_ours {
        return Err(Wrong::new("headers", format!("has {name}, which the sink itself sets")));
    }
    let mut value = HeaderValue::from_str(value).map_err(|_| wrong())?;
    value.set_sensitive(true);
    Ok((name, value))
}

fn authorization(settings: &Settings) -> Result<Option<HeaderValue>, Wrong> {
    let (token, password) = (settings.secret("token"), settings.secret("passWord"));
    let (setting, text) = match (settings.text_if("userName"), token.is_empty()) {
        (None, true) if !password.is_empty() => {
            return Err(Wrong::new("userName", "is needed with passWord"));
        }
        (None, true) => return Ok(None),
        (None, false) => ("token", format!("Bearer {token}")),
        (Some(name), true) => {
            ("passWord", format!("Basic {}", STANDARD.encode(format!("{name}:{password}"))))
        }
        (Some(_), false) => {
            return Err(Wrong::new("token", "and userName exclude each other; give one of them"));
        }
    };
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| Wrong::new(setting, "has characters that no header may have"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn trusting(settings: &Settings) -> ClientTls {
    let authorities = Authorities::of(PemFile::of(settings, SSL_CA.name));
    ClientTls { mode: TlsMode::VerifyIdentity(authorities), certificate: None }
}

impl EventSink for HttpSink {
    fn start(&mut self) -> Result<(), Failure> {
        let far = Far {
            address: self.address.clone(),
            tls: self.tls.clone().map(Tls::new).transpose()?,
            headers: self.headers.clone(),
            time_max: self.time_max,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime =
            runtime.map_err(|error| Failure::Unusable(format!("the HTTP client has no runtime: {error}")))?;
        let mut lanes: Vec<Lane> = (0..self.connections).map(|_| Lane::default()).collect();
        runtime.block_on(async {
            lanes[0].connection.open(&far).await?;
            introduce(&far, &mut lanes[0], self.origin.as_ref()).await
        })?;
        self.opened = Some(Running { runtime, far, lanes, recent: Recent::default(), unfinished: None });
        Ok(())
    }

    fn put(&mut self, events: &[DeliverEvent<'_>]) -> Result<Vec<Refused>, Failure> {
        let running = self.opened.as_mut().expect("a sink that has started");
        let names: Vec<Name> = events.iter().map(|event| running.recent.name(event)).collect();
        let unfinished = running.unfinished.take().filter(|earlier| earlier.names == names);
        let mut unfinished = unfinished.unwrap_or_else(|| Unfinished::new(names, &running.recent));
        let halt = unfinished.wait().or_else(|| {
            let work = deal(events, &unfinished.fates, running.lanes.len(), &self.hasher);
            running.deliver(self.mode, events, &work, &mut unfinished)
        });
        match halt {
            None => {
                unfinished.names.iter().for_each(|name| running.recent.add(*name));
                Ok(unfinished.refused())
            }
            Some(Halt::Unusable(text)) => Err(Failure::Unusable(text)),
            Some(Halt::Later(text, _)) => {
                running.unfinished = Some(unfinished);
                Err(Failure::Retry(text))
            }
        }
    }
}

impl Running {
    /// Runs all lanes side by side to their ends; why the first stopped that did.
    fn deliver(
        &mut self,
        mode: Mode,
        events: &[DeliverEvent<'_>],
        work: &[Vec<usize>],
        unfinished: &mut Unfinished,
    ) -> Option<Halt> {
        let far = &self.far;
        let lanes = self.lanes.iter_mut().zip(work).filter(|(_, indices)| !indices.is_empty());
        let lanes = lanes.map(|(lane, indices)| lane.deliver(far, mode, events, indices));
        let mut first = None;
        // Each is looked at when something came for it, and not whenever something came for any.
        let lanes: FuturesUnordered<_> = lanes.collect();
        for Done { fates, halt } in self.runtime.block_on(lanes.collect::<Vec<_>>()) {
            for (index, fate) in fates {
                unfinished.fates[index] = fate;
            }
            if let Some(Halt::Later(_, Some(wait))) = &halt {
                let until = Instant::now().checked_add(*wait);
                unfinished.not_before = unfinished.not_before.max(until);
            }
            // What somebody must see to counts before what heals.
            if matches!(halt, Some(Halt::Unusable(_))) {
                first = halt;
            } else {
                first = first.or(halt);
            }
        }
        first
    }
}

impl Unfinished {
    /// Events that were dealt with lately, or are here twice, are not sent again.
    fn new(names: Vec<Name>, recent: &Recent) -> Self {
        let mut seen = AHashSet::with_capacity(names.len());
        let fate =
            |name: &Name| if recent.has(*name) || !seen.insert(*name) { Fate::Delivered } else { Fate::Open };
        Self { fates: names.iter().map(fate).collect(), names, not_before: None }
    }

    /// Waits for the moment that the far side named, or a part of it.
    fn wait(&mut self) -> Option<Halt> {
        let left = self.not_before?.saturating_duration_since(Instant::now());
        std::thread::sleep(left.min(PATIENCE_MAX));
        if left > PATIENCE_MAX {
            let left = (left - PATIENCE_MAX).as_secs();
            return Some(Halt::Later(format!("the far side asks to wait {left} s more (retry-after)"), None));
        }
        self.not_before = None;
        None
    }

    fn refused(self) -> Vec<Refused> {
        let refused = |(index, fate)| match fate {
            Fate::Refused(reason) => Some(Refused { index, reason }),
            Fate::Open | Fate::Delivered => None,
        };
        self.fates.into_iter().enumerate().filter_map(refused).collect()
    }
}

/// The open events for each lane: those of one key of a topic in the same, the others in turn.
fn deal(events: &[DeliverEvent<'_>], fates: &[Fate], lanes: usize, hasher: &RandomState) -> Vec<Vec<usize>> {
    let mut work = vec![Vec::with_capacity(events.len() / lanes + 1); lanes];
    for (index, event) in events.iter().enumerate().filter(|(index, _)| fates[*index] == Fate::Open) {
        let lane = match event.key {
            Some(key) => usize::try_from(hasher.hash_one((event.topic, key)) % lanes as u64).unwrap_or(0),
            None => index % lanes,
        };
        work[lane].push(index);
    }
    work
}

/// Asks by OPTIONS, which changes nothing at the far side, whether it knows the credentials and, where the user gives an
/// `origin`, by the webhook handshake whether that may deliver. Any other answer says nothing about a POST.
async fn introduce(far: &Far, lane: &mut Lane, origin: Option<&HeaderValue>) -> Result<(), Failure> {
    let ask = origin.map(|origin| (HeaderName::from_static("webhook-request-origin"), origin.clone()));
    let mut headers = far.headers.clone();
    headers.extend(ask);
    let target = far.address.target("").map_err(Failure::Unusable)?;
    let made = || request(Method::OPTIONS, target.clone(), headers.clone(), Bytes::new());
    let answer = lane.connection.ask(far, made(), made).await;
    let answer = answer.map_err(Failure::Retry)?;
    match (answer.verdict(SystemTime::now()), origin) {
        (Verdict::Unusable(text), _) if answer.status == StatusCode::UNAUTHORIZED => {
            Err(Failure::Unusable(text))
        }
        (_, None) => Ok(()),
        (Verdict::Later(text, _), Some(_)) => Err(Failure::Retry(text)),
        (_, Some(origin)) => is_allowed(&answer, origin, &far.address.authority),
    }
}

fn is_allowed(answer: &Answer, origin: &HeaderValue, authority: &str) -> Result<(), Failure> {
    let allowed = answer.headers.get("webhook-allowed-origin");
    if !allowed.is_some_and(|allowed| allowed == "*" || allowed == origin) {
        let words = answer.words();
        return Err(Failure::Unusable(format!(
            "{authority} does not allow deliveries of {origin:?} (connectorConfig.origin), it answers {words}"
        )));
    }
    if let Some(rate) = answer.headers.get("webhook-allowed-rate").filter(|rate| *rate != "*") {
        tracing::warn!(
            ?rate,
            "the far side grants so many requests a minute; only its answers 429 slow the sink down"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
