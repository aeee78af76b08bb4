//! The far side, and one connection to it: a request goes out, its answer comes back, then the next.
//!
//! A connection that was idle may have been closed meanwhile without anybody telling; the first failure of such a one is
//! tried again at once on a fresh one. That may repeat a request, which at least once allows.

use std::time::Duration;

use bytes::Bytes;
use flowd_engine::failure::Failure;
use flowd_tls::client::ClientTls;
use flowd_tls::refusal;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::address::Address;
use super::patience::Patience;
use super::verdict::Answer;

/// Of an answer's body, so much is told.
const TEXT_BYTES_MAX: usize = 512;
/// A longer body is not read to its end; its connection is given up.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// For a connection, the handshake of TLS included, if an exchange may take as long.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// Where events go, and as whom.
pub(super) struct Far {
    pub(super) address: Address,
    pub(super) tls: Option<Tls>,
    /// Of every request.
    pub(super) headers: HeaderMap,
    /// For one exchange, connecting included.
    pub(super) time_max: Duration,
}

/// Whom the far side must be.
pub(super) struct Tls {
    connector: TlsConnector,
    trust: ClientTls,
}

impl Tls {
    /// Reads the files.
    pub(super) fn new(trust: ClientTls) -> Result<Self, Failure> {
        Ok(Self { connector: TlsConnector::from(trust.config()?), trust })
    }
}

/// Why there is no answer.
enum Broken {
    /// The connection failed.
    Connection(String),
    /// The time is up.
    Late,
}

/// One connection, as long as it holds.
#[derive(Default)]
pub(super) struct Connection {
    sender: Option<SendRequest<Full<Bytes>>>,
    patience: Patience,
}

impl Connection {
    /// Connects if it is not connected.
    ///
    /// # Errors
    /// `Retry`, or `Unusable` where TLS refuses the far side's certificate.
    pub(super) async fn open(&mut self, far: &Far) -> Result<(), Failure> {
        open(&mut self.sender, far).await
    }

    /// Sends a request, and `again` gives it once more where the first try fails; the answer, or why there is none.
    pub(super) async fn ask(
        &mut self,
        far: &Far,
        request: Request<Full<Bytes>>,
        again: impl FnOnce() -> Request<Full<Bytes>>,
    ) -> Result<Answer, String> {
        let was_open = self.sender.is_some();
        let answer = match self.exchange(far, request).await {
            Err(Broken::Connection(_)) if was_open => self.exchange(far, again()).await,
            first => first,
        };
        answer.map_err(|broken| match broken {
            Broken::Connection(text) => text,
            Broken::Late => format!("no answer of {} within {:?}", far.address.authority, far.time_max),
        })
    }

    /// One try. Whatever goes wrong, the connection is not used again.
    async fn exchange(&mut self, far: &Far, request: Request<Full<Bytes>>) -> Result<Answer, Broken> {
        let Self { sender, patience } = self;
        let result = patience.wait(far.time_max, async {
            open(sender, far).await.map_err(|failure| Broken::Connection(failure.to_string()))?;
            let sender = sender.as_mut().expect("it was opened");
            let broken = |error: hyper::Error| {
                Broken::Connection(format!("the exchange with {} failed: {error}", far.address.authority))
            };
            sender.ready().await.map_err(broken)?;
            let response = sender.send_request(request).await.map_err(broken)?;
            read(response).await.map_err(broken)
        });
        match result.await {
            Some(Ok((answer, true))) => Ok(answer),
            Some(Ok((answer, false))) => {
                self.sender = None;
                Ok(answer)
            }
            Some(Err(broken)) => {
                self.sender = None;
                Err(broken)
            }
            None => {
                self.sender = None;
                Err(Broken::Late)
            }
        }
    }
}

async fn open(sender: &mut Option<SendRequest<Full<Bytes>>>, far: &Far) -> Result<(), Failure> {
    if sender.as_ref().is_none_or(SendRequest::is_closed) {
        let time_max = far.time_max.min(CONNECT_TIME_MAX);
        let opened = tokio::time::timeout(time_max, far.connect()).await;
        *sender = Some(opened.unwrap_or_else(|_| {
            Err(Failure::Retry(format!("no connection to {} within {time_max:?}", far.address.authority)))
        })?);
    }
    Ok(())
}

/// Reads an answer; whether it was read to its end.
async fn read(response: Response<Incoming>) -> Result<(Answer, bool), hyper::Error> {
    let (head, mut body) = response.into_parts();
    let (mut text, mut size) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        size += data.len();
        let room = TEXT_BYTES_MAX - text.len();
        text.extend_from_slice(&data[..data.len().min(room)]);
        if size > ANSWER_BYTES_MAX {
            break;
        }
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok((Answer { status: head.status, headers: head.headers, text }, size <= ANSWER_BYTES_MAX))
}

impl Far {
    /// The headers that every request has: who asks, of whom, with which credentials, and what the user adds.
    pub(super) fn headers(
        address: &Address,
        authorization: Option<HeaderValue>,
        added: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
    ) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("flowd/", env!("CARGO_PKG_VERSION"))));
        let host = HeaderValue::from_str(&address.authority).expect("an authority that was parsed is ASCII");
        headers.insert(HOST, host);
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization);
        }
        headers.extend(added);
        headers
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let Address { host, port, authority, .. } = &self.address;
        let failed =
            |error: &dyn std::fmt::Display| Failure::Retry(format!("no connection to {authority}: {error}"));
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(|error| failed(&error))?;
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        let Some(tls) = &self.tls else { return speak(stream).await.map_err(|error| failed(&error)) };
        let name = ServerName::try_from(host.clone())
            .map_err(|error| Failure::Unusable(format!("connectorConfig.url: {host}: {error}")))?;
        let stream = tls.connector.connect(name, stream).await.map_err(|error| match refusal(&error) {
            Some(refused @ rustls::Error::InvalidCertificate(_)) => Failure::Unusable(format!(
                "{}; connectorConfig.sslCa names authorities to trust",
                tls.trust.refused(authority, refused)
            )),
            _ => failed(&error),
        })?;
        speak(stream).await.map_err(|error| failed(&error))
    }
}

/// Speaks HTTP/1.1 over a stream. The connection's task ends with the sender.
async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> hyper::Result<SendRequest<Full<Bytes>>> {
    // Head and body go out in one piece: a write of two takes the kernel longer than it takes to copy a message.
    let (sender, connection) = http1::Builder::new().writev(false).handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection of the sink ended");
        }
    });
    Ok(sender)
}
