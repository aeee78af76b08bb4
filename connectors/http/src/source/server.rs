//! The listener and its connections: each has a bound on its head, its time and, together, their number.
//!
//! Memory: `connections` times [`HEAD_BYTES_MAX`] and the stack of TLS (about 50 KiB), besides the bodies, which have
//! their own bound.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::service::{Condition, Service};

/// The head has at most so many bytes, and 100 headers, which hyper reads without asking for memory.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// After a failed accept, which is mostly a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts until the condition is `Stopping`. A connection that ends gives its place in `places` back.
pub(super) async fn serve(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    idle: Duration,
    places: Arc<Semaphore>,
    service: Arc<Service>,
    mut condition: watch::Receiver<Condition>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = stopping(&mut condition) => return,
        };
        match accepted {
            Ok((stream, place)) => {
                let connection = Connection { idle, service: service.clone(), condition: condition.clone() };
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    connection.begin(stream, acceptor).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Returns when it goes down, or when nobody is left who could say so.
async fn stopping(condition: &mut watch::Receiver<Condition>) {
    let _ = condition.wait_for(|&is| is == Condition::Stopping).await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

struct Connection {
    /// For a handshake, a head, and between requests.
    idle: Duration,
    service: Arc<Service>,
    condition: watch::Receiver<Condition>,
}

impl Connection {
    async fn begin(self, stream: TcpStream, acceptor: Option<TlsAcceptor>) {
        let Some(acceptor) = acceptor else { return self.run(stream).await };
        match tokio::time::timeout(self.idle, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.run(stream).await,
            Ok(Err(error)) => tracing::debug!(%error, "a client gave the TLS handshake up"),
            Err(_) => tracing::debug!("a client did not end the TLS handshake in time"),
        }
    }

    async fn run(mut self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let service = self.service.clone();
        let answer = service_fn(move |request| {
            let service = service.clone();
            async move { Ok::<_, Infallible>(service.answer(request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.idle)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), answer);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stopping(&mut self.condition) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}
