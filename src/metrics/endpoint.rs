//! The endpoint of `pipeline.metrics`: just enough HTTP/1.1 for a scraper. One request a connection; a request head of
//! 8 KiB, 5 seconds and 16 connections at once are the bounds (128 KiB at worst).

use std::sync::Arc;
use std::time::Duration;

use flowd_engine::failure::Failure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::text::CONTENT_TYPE;

const HEAD_BYTES_MAX: usize = 8 * 1024;
const REQUEST_TIME_MAX: Duration = Duration::from_secs(5);
const CONNECTIONS_MAX: usize = 16;

/// Takes the address. Needs no runtime yet.
///
/// # Errors
/// `Unusable`, naming the setting.
pub fn bind(address: &str) -> Result<std::net::TcpListener, Failure> {
    let failed = |error| Failure::Unusable(format!("pipeline.metrics: cannot listen on {address}: {error}"));
    let listener = std::net::TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// Answers scrapers for ever.
///
/// # Errors
/// Where the listener cannot be used at all.
pub async fn serve(
    listener: std::net::TcpListener,
    page: impl Fn() -> String + Send + Sync + 'static,
) -> std::io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let page = Arc::new(page);
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return Ok(()) };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a scraper could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let page = page.clone();
        tokio::spawn(async move {
            let answered = tokio::time::timeout(REQUEST_TIME_MAX, answer(stream, page.as_ref())).await;
            tracing::trace!(?answered, "scraped");
            drop(permit);
        });
    }
}

async fn answer(mut stream: TcpStream, page: &(impl Fn() -> String + Sync)) -> std::io::Result<()> {
    let mut head = Vec::with_capacity(1024);
    while !ends_head(&head) {
        if head.len() > HEAD_BYTES_MAX || stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let response = respond(&head, page);
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await
}

fn ends_head(head: &[u8]) -> bool {
    head.windows(4).any(|window| window == b"\r\n\r\n")
}

/// The answer to a request head.
fn respond(head: &[u8], page: &impl Fn() -> String) -> String {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.split(|byte| *byte == b'?').next().unwrap_or_default();
    let (status, body) = match (method, path) {
        (b"GET" | b"HEAD", b"/metrics" | b"/") => ("200 OK", page()),
        (b"GET" | b"HEAD", _) => ("404 Not Found", "the numbers are at /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", "only GET\n".to_owned()),
    };
    let size = body.len();
    let body = if method == b"HEAD" { "" } else { &body };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scraper_gets_the_page_and_others_are_told_where_it_is() {
        let page = || "flowd_x 1\n".to_owned();
        for (request, status, body) in [
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "200 OK", "flowd_x 1\n"),
            ("HEAD /metrics HTTP/1.1\r\n\r\n", "200 OK", ""),
            ("GET /metrics?x=1 HTTP/1.0\r\n\r\n", "200 OK", "flowd_x 1\n"),
            ("GET /nothing HTTP/1.1\r\n\r\n", "404 Not Found", "the numbers are at /metrics\n"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed", "only GET\n"),
            ("\r\n\r\n", "405 Method Not Allowed", "only GET\n"),
        ] {
            let response = respond(request.as_bytes(), &page);
            assert!(response.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{response}");
            assert!(response.ends_with(&format!("\r\n\r\n{body}")), "{response}");
        }
    }

    #[tokio::test]
    async fn the_endpoint_answers_over_a_socket() {
        let listener = bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(serve(listener, || "flowd_x 1\n".to_owned()));
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").await.expect("sent");
        let mut response = String::new();
        stream.read_to_string(&mut response).await.expect("answered");
        assert!(response.ends_with("\r\n\r\nflowd_x 1\n"), "{response}");
        server.abort();
    }

    #[test]
    fn an_address_that_is_taken_names_the_setting() {
        let taken = bind("127.0.0.1:0").expect("bound");
        let address = taken.local_addr().expect("an address").to_string();
        let failure = bind(&address).expect_err("taken");
        assert!(
            matches!(&failure, Failure::Unusable(text) if text.contains("pipeline.metrics")),
            "{failure:?}"
        );
    }
}
