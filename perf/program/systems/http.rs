//! HTTP: the bare loop of a source is a hyper server that takes each request and answers, that of a sink a hyper client that
//! posts over as many connections. Both ends that are not measured are plain sockets in this process.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;

use super::{Connector, System, Way, Work, attributes, message};
use crate::Failure;
use crate::port::free_port;

/// Connections of the client that a source serves.
const CLIENTS: u64 = 64;
/// Connections of a sink, as its preset.
const CONNECTIONS: u64 = 8;

pub(crate) const SOURCE: Connector = Connector {
    name: "http-source",
    way: Way::Source,
    times: 1,
    begin: |_| Clients::begin(),
    bare: |work, to| block_on(serve(work, to)),
};

pub(crate) const SINK: Connector = Connector {
    name: "http-sink",
    way: Way::Sink,
    times: 1,
    begin: |_| Server::begin(),
    bare: |work, to| block_on(post(work, to)),
};

/// The head of a request in binary mode, without its end.
fn head(number: u64, bytes: usize) -> String {
    format!(
        "POST / HTTP/1.1\r\nhost: perf\r\nce-specversion: 1.0\r\nce-id: perf-{number}\r\nce-source: /perf\r\nce-type: perf\r\n\
         ce-subject: perf.messages\r\ncontent-type: application/json\r\ncontent-length: {bytes}\r\n\r\n"
    )
}

/// Clients that keep the messages until they are taken.
struct Clients {
    port: u16,
    running: Vec<JoinHandle<()>>,
}

impl Clients {
    fn begin() -> Result<Box<dyn System>, Failure> {
        Ok(Box::new(Self { port: free_port()?, running: Vec::new() }))
    }
}

impl System for Clients {
    fn reset(&mut self, work: Work) -> Result<(), Failure> {
        for client in self.running.drain(..) {
            client.join().map_err(|_| "a client failed")?;
        }
        let port = self.port;
        let client =
            |first| std::thread::spawn(move || send(port, first, work).expect("the messages are taken"));
        self.running = (0..CLIENTS).map(client).collect();
        Ok(())
    }

    fn settings(&self) -> String {
        format!("listen: \"127.0.0.1:{}\"", self.port)
    }

    fn arguments(&self) -> Vec<String> {
        vec![self.port.to_string()]
    }

    fn count(&mut self) -> Result<u64, Failure> {
        Err("what a source reads, its flow counts".into())
    }
}

/// Sends every so-manieth message from the `first` on, each after the answer to the one before.
fn send(port: u16, first: u64, work: Work) -> std::io::Result<()> {
    let connected = loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                std::thread::sleep(Duration::from_millis(2));
            }
            connected => break connected?,
        }
    };
    connected.set_nodelay(true)?;
    let mut stream = BufReader::new(connected);
    let (mut body, mut line) = (Vec::new(), String::new());
    let mut number = first;
    while number < work.messages {
        body.clear();
        message(number, work.bytes, &mut body);
        let mut request = head(number, body.len()).into_bytes();
        request.extend_from_slice(&body);
        stream.get_mut().write_all(&request)?;
        line.clear();
        stream.read_line(&mut line)?;
        if line.split(' ').nth(1) != Some("204") {
            return Err(std::io::Error::other(format!("the answer is {line}")));
        }
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line)?;
        }
        number += CLIENTS;
    }
    Ok(())
}

/// Takes all requests, each whole, and answers.
async fn serve(work: Work, arguments: &[String]) -> Result<u64, Failure> {
    let port: u16 = arguments[0].parse()?;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let count = Arc::new(AtomicU64::new(0));
    let mut connections = JoinSet::new();
    for _ in 0..CLIENTS.min(work.messages) {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let count = count.clone();
        connections.spawn(async move {
            let answer = service_fn(move |request: Request<Incoming>| {
                let count = count.clone();
                async move {
                    request.into_body().collect().await?;
                    count.fetch_add(1, Ordering::Relaxed);
                    let mut answer = Response::new(Empty::<Bytes>::new());
                    *answer.status_mut() = StatusCode::NO_CONTENT;
                    Ok::<_, hyper::Error>(answer)
                }
            });
            server::Builder::new().serve_connection(TokioIo::new(stream), answer).await
        });
    }
    while let Some(ended) = connections.join_next().await {
        ended??;
    }
    Ok(count.load(Ordering::Relaxed))
}

/// A server that counts what is posted.
struct Server {
    port: u16,
    count: Arc<AtomicU64>,
}

impl Server {
    fn begin() -> Result<Box<dyn System>, Failure> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (port, count) = (listener.local_addr()?.port(), Arc::new(AtomicU64::new(0)));
        let counter = count.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counter = counter.clone();
                // It ends with its connection.
                std::thread::spawn(move || take(stream, &counter));
            }
        });
        Ok(Box::new(Self { port, count }))
    }
}

impl System for Server {
    fn reset(&mut self, _work: Work) -> Result<(), Failure> {
        self.count.store(0, Ordering::Relaxed);
        Ok(())
    }

    fn settings(&self) -> String {
        format!("url: \"http://127.0.0.1:{}/\"", self.port)
    }

    fn arguments(&self) -> Vec<String> {
        vec![self.port.to_string()]
    }

    fn count(&mut self) -> Result<u64, Failure> {
        Ok(self.count.load(Ordering::Relaxed))
    }
}

fn take(stream: TcpStream, count: &AtomicU64) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::with_capacity(64 << 10, stream);
    let (mut line, mut body) = (String::new(), Vec::new());
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let is_post = line.starts_with("POST");
        let mut size = 0;
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line)?;
            if let Some(value) = line.strip_prefix("content-length: ") {
                size = value.trim().parse().map_err(std::io::Error::other)?;
            }
        }
        body.resize(size, 0);
        stream.read_exact(&mut body)?;
        count.fetch_add(u64::from(is_post), Ordering::Relaxed);
        stream.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
    }
}

/// Posts all messages over the connections, each after the answer to the one before.
async fn post(work: Work, arguments: &[String]) -> Result<u64, Failure> {
    let port: u16 = arguments[0].parse()?;
    let mut connections = JoinSet::new();
    for first in 0..CONNECTIONS {
        let stream = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        connections.spawn(async move {
            let (mut number, mut count) = (first, 0);
            while number < work.messages {
                let mut body = Vec::with_capacity(work.bytes);
                message(number, work.bytes, &mut body);
                let mut request =
                    Request::post("/").header("host", "perf").header("content-type", "application/json");
                for (name, value) in attributes(number) {
                    request = request.header(format!("ce-{name}"), value);
                }
                let request = request.body(Full::new(Bytes::from(body))).expect("a request");
                sender.ready().await?;
                let answer = sender.send_request(request).await?;
                count += u64::from(answer.status().is_success());
                answer.into_body().collect().await?;
                number += CONNECTIONS;
            }
            Ok::<_, hyper::Error>(count)
        });
    }
    let mut count = 0;
    while let Some(ended) = connections.join_next().await {
        count += ended??;
    }
    Ok(count)
}

fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
