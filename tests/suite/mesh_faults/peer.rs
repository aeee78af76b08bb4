//! What stands on the other side: a `flowd mesh` that does wrong on purpose, and a scripted server with a size limit.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;

use flowd_codec::frame::{Command, Decoder, Frame, Header, encode};

use crate::harness::{Events, Flowd, free_port, until};

/// All captured tables share this topic, so that one subscriber sees the order over all of them.
pub const TOPIC: &str = "all";

/// `flowd mesh` with fault options; what it was given dies with it.
pub struct FaultyMesh {
    pub address: String,
    directory: tempfile::TempDir,
    _process: Flowd,
}

impl FaultyMesh {
    pub fn start(faults: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("flowd-faults-").tempdir().unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let mut arguments = vec!["mesh", "--listen", &address];
        arguments.extend(faults);
        let process = Flowd::launch(directory.path(), &arguments);
        until("the mesh to listen", || TcpStream::connect(&address).ok());
        Self { address, directory, _process: process }
    }

    /// A subscriber of all that it holds, from the oldest event on.
    pub fn tail(&self) -> Tail {
        Tail::start(self.directory.path(), &self.address)
    }
}

/// `flowd tail` of [`TOPIC`].
pub struct Tail(Flowd);

impl Tail {
    pub fn start(directory: &Path, address: &str) -> Self {
        Self(Flowd::launch(directory, &["tail", "--mesh", address, "--topic", TOPIC]))
    }

    /// What it printed so far.
    pub fn events(&self) -> Events {
        Events::parse(&self.0.output())
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.0.is_running()
    }

    /// What it printed, once `enough` says so of the text.
    pub fn read_until(&mut self, what: &str, enough: impl Fn(&str) -> bool) -> Events {
        until(what, || {
            assert!(self.0.is_running(), "flowd tail ended: {}", self.0.log());
            let output = self.0.output();
            enough(&output).then(|| Events::parse(&output))
        })
    }

    /// Kills it; all that it printed. What it acknowledged is among that, and comes to no later subscriber.
    pub fn kill(self) -> Events {
        self.0.signal("KILL");
        Events::parse(&self.0.wait().stdout)
    }
}

/// A server that refuses events longer than its limit with the Java server's text, and acknowledges all others. Its
/// threads end with the test's process.
pub struct Limited {
    pub address: String,
}

impl Limited {
    pub fn start(limit: usize) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            for stream in listener.incoming() {
                thread::spawn(move || serve(&stream.unwrap(), limit));
            }
        });
        Self { address }
    }
}

/// Answers until the client goes.
fn serve(mut stream: &TcpStream, limit: usize) {
    let mut decoder = Decoder::new();
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        decoder.feed(&buffer[..read]);
        let mut answers = Vec::new();
        while let Some(frame) = decoder.next_frame().expect("flowd sends frames") {
            if let Some(answer) = answer(&frame, limit) {
                encode(&Frame::bare(answer), &mut answers);
            }
        }
        // An error means that the client is gone, which the next read tells.
        let _ = stream.write_all(&answers);
    }
}

fn answer(frame: &Frame, limit: usize) -> Option<Header> {
    let is_refused = frame.header.command == Command::AsyncMessageToServer && frame.body.len() > limit;
    let (code, text) = match is_refused {
        true => (1, format!("event size exceeds the limit: {limit}")),
        false => (0, "success".to_owned()),
    };
    let header = Header::request(frame.header.command.answer()?, "");
    Some(Header { code, desc: Some(text.into()), seq: frame.header.seq.clone(), ..header })
}
