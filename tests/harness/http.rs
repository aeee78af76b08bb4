//! Both far sides of HTTP: a client that keeps what was not taken, and a server of another make (`http_server.py`).

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Deserialize;

use super::{free_port, until};

const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/harness/http_server.py");
/// Connections of a client.
const CONNECTIONS: usize = 16;
/// Between two tries of a client.
const PAUSE: Duration = Duration::from_millis(20);

/// A client that posts messages in the background, over several connections, each until it is answered by 2xx.
pub struct HttpClient {
    queue: Arc<Queue>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Queue {
    messages: Mutex<VecDeque<String>>,
    more: Condvar,
    is_over: AtomicBool,
}

impl HttpClient {
    /// Posts to a port of this machine. A message is a whole head and body, as [`structured`] and [`binary`] make them.
    pub fn to(port: u16) -> Self {
        let queue = Arc::new(Queue::default());
        let worker = |_| {
            let queue = queue.clone();
            std::thread::spawn(move || queue.work(port))
        };
        Self { workers: (0..CONNECTIONS).map(worker).collect(), queue }
    }

    pub fn put(&self, messages: impl IntoIterator<Item = String>) {
        self.queue.messages.lock().unwrap().extend(messages);
        self.queue.more.notify_all();
    }
}

impl Drop for HttpClient {
    fn drop(&mut self) {
        self.queue.is_over.store(true, Ordering::SeqCst);
        self.queue.more.notify_all();
        for worker in self.workers.drain(..) {
            let joined = worker.join();
            assert!(
                joined.is_ok() || std::thread::panicking(),
                "the client got an answer that it does not expect"
            );
        }
    }
}

impl Queue {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    fn work(&self, port: u16) {
        let mut connection = None;
        while let Some(message) = self.next() {
            while !self.is_over() && !post(&mut connection, port, &message) {
                std::thread::sleep(PAUSE);
            }
        }
    }

    fn next(&self) -> Option<String> {
        let waiting = self
            .more
            .wait_while(self.messages.lock().unwrap(), |messages| messages.is_empty() && !self.is_over());
        let message = waiting.unwrap().pop_front();
        message.filter(|_| !self.is_over())
    }
}

/// Whether the message was taken. Of other answers only those that ask to come again are expected.
fn post(connection: &mut Option<BufReader<TcpStream>>, port: u16, message: &str) -> bool {
    match exchange(connection, port, message) {
        Ok(status @ 200..=299) => status > 0,
        Ok(429 | 503) => false,
        Ok(status) => panic!("the answer is {status}"),
        Err(_) => {
            *connection = None;
            false
        }
    }
}

fn exchange(connection: &mut Option<BufReader<TcpStream>>, port: u16, message: &str) -> std::io::Result<u16> {
    if connection.is_none() {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        // So that a client can end while nobody answers.
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        *connection = Some(BufReader::new(stream));
    }
    let stream = connection.as_mut().expect("it was opened");
    stream.get_mut().write_all(message.as_bytes())?;
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let (mut size, mut is_last) = (0, false);
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let header = line.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            size = value.trim().parse().expect("a number");
        }
        is_last |= header == "connection: close";
    }
    stream.read_exact(&mut vec![0; size])?;
    if is_last {
        *connection = None;
    }
    Ok(status)
}

/// A request with an event in binary mode, whose data is JSON.
pub fn binary(id: &str, data: &str) -> String {
    let head = format!("ce-specversion: 1.0\r\nce-id: {id}\r\nce-source: /test\r\nce-type: test\r\n");
    request(&format!("{head}content-type: application/json\r\n"), data)
}

/// The same in structured mode.
pub fn structured(id: &str, data: &str) -> String {
    let event =
        format!(r#"{{"specversion":"1.0","id":"{id}","source":"/test","type":"test","data":{data}}}"#);
    request("content-type: application/cloudevents+json\r\n", &event)
}

fn request(headers: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: flowd\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

/// A server process that takes what is posted; see `http_server.py`. Dropping it kills it; `setpriv --pdeathsig` does when
/// the test itself is killed.
pub struct HttpServer {
    pub port: u16,
    options: Vec<String>,
    directory: tempfile::TempDir,
    child: Option<Child>,
    /// How far the file of requests is read.
    read: u64,
}

/// A request that it took or refused.
#[derive(Debug, Clone, Deserialize)]
pub struct Taken {
    pub path: String,
    pub headers: std::collections::BTreeMap<String, String>,
    pub body: String,
    pub refused: bool,
}

impl Taken {
    /// A header's value, empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }
}

impl HttpServer {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With further options, which hold for every restart.
    pub fn start_with(options: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("flowd-http-").tempdir().unwrap();
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let mut server = Self { port: free_port(), options, directory, child: None, read: 0 };
        server.restart();
        server
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("requests")
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the server runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts it on its port; what it took stays written.
    pub fn restart(&mut self) {
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "python3", SERVER, &self.port.to_string()])
            .arg(self.file())
            .args(&self.options)
            .stdin(Stdio::null())
            .spawn()
            .expect("python3 starts");
        self.child = Some(child);
        until("the server to listen", || TcpStream::connect(("127.0.0.1", self.port)).ok());
    }

    /// Stops it from reading and answering (`STOP`), or lets it go on (`CONT`).
    pub fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("the server runs").id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// The lines of requests that came since the last time.
    pub fn lines(&mut self) -> Vec<String> {
        let Ok(mut file) = File::open(self.file()) else { return Vec::new() };
        file.seek(SeekFrom::Start(self.read)).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        self.read += whole as u64;
        text[..whole].lines().map(str::to_owned).collect()
    }

    /// The requests that came since the last time.
    pub fn taken(&mut self) -> Vec<Taken> {
        self.lines().iter().map(|line| serde_json::from_str(line).expect("a line of the server")).collect()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}
