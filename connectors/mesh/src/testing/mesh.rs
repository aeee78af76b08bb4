//! A scripted EventMesh server on a private port: it speaks frames, a test says how it answers each publish.

use std::collections::{HashMap, HashSet};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use flowd_codec::frame::{Command, Decoder, Frame, Header, encode_parts};
use serde_json::Value;

/// How long a quiet connection waits before the script hears of it.
const QUIET: Duration = Duration::from_millis(5);

/// What a script is told.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    Publish(Publish),
    /// A connection subscribed and listens.
    Listening(usize),
    /// A push was acknowledged, on that connection with that seq.
    PushAcked(usize, String),
    /// Nothing came on some connection for a moment.
    Quiet,
}

#[derive(Debug, Clone)]
pub(crate) struct Publish {
    pub(crate) connection: usize,
    pub(crate) seq: String,
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) body: Vec<u8>,
}

pub(crate) type Script = Box<dyn FnMut(&mut World, Happening) + Send>;

/// What the server knows and can do.
#[derive(Default)]
pub(crate) struct World {
    peers: Vec<Option<TcpStream>>,
    /// Answers to a HELLO other than success.
    pub(crate) refuse_hello: Option<(i32, String)>,
    pub(crate) answers_heartbeats: bool,
    pub(crate) heartbeats: usize,
    /// So many heartbeats are refused, for want of a session.
    pub(crate) heartbeat_refusals: usize,
    pub(crate) hellos: Vec<Value>,
    pub(crate) goodbyes: usize,
    pub(crate) subscriptions: Vec<Value>,
    /// Connections that ever listened.
    pub(crate) listeners: Vec<usize>,
    /// Pushed before the answer to LISTEN.
    pub(crate) early: Option<Vec<u8>>,
    /// Connections and seqs of acknowledged pushes, in order.
    pub(crate) push_acks: Vec<(usize, String)>,
    /// Every publish, in the order of arrival.
    pub(crate) arrivals: Vec<Publish>,
    /// Ids that were acknowledged, or at least written to be.
    pub(crate) stored: HashSet<String>,
    /// Ids that came and are not acknowledged, by key.
    unacked: HashMap<String, HashSet<String>>,
    /// Broken promises.
    pub(crate) violations: Vec<String>,
}

impl World {
    fn arrive(&mut self, publish: &Publish) {
        if !self.stored.contains(&publish.id) {
            let others = self.unacked.entry(publish.key.clone()).or_default();
            others.insert(publish.id.clone());
            if others.len() > 1 {
                self.violations.push(format!("unacknowledged with key {}: {others:?}", publish.key));
            }
        }
        self.arrivals.push(publish.clone());
    }

    /// Acknowledges `publish` with the bean of its event, on `connection`, with `seq`.
    pub(crate) fn ack_as(&mut self, publish: &Publish, connection: usize, seq: &str) {
        self.store(publish);
        let bean =
            format!("{{\"data\":{{\"node\":{{\"id\":\"x\"}}}},\"id\":\"{}\",\"source\":\"/\"}}", publish.id);
        self.send(connection, Command::AsyncMessageToServerAck, 0, "success", Some(seq), bean.as_bytes());
    }

    pub(crate) fn ack(&mut self, publish: &Publish) {
        self.ack_as(publish, publish.connection, &publish.seq.clone());
    }

    pub(crate) fn ack_without_body(&mut self, publish: &Publish) {
        self.store(publish);
        let command = Command::AsyncMessageToServerAck;
        self.send(publish.connection, command, 0, "success", Some(&publish.seq), b"");
    }

    pub(crate) fn store(&mut self, publish: &Publish) {
        self.stored.insert(publish.id.clone());
        self.unacked.entry(publish.key.clone()).or_default().remove(&publish.id);
    }

    pub(crate) fn refuse(&mut self, publish: &Publish, text: &str) {
        self.send(publish.connection, Command::AsyncMessageToServerAck, 1, text, Some(&publish.seq), b"");
    }

    /// What a server does with a command that it does not know.
    pub(crate) fn bounce(&mut self, publish: &Publish) {
        let text = "java.lang.NullPointerException";
        self.send(publish.connection, Command::AsyncMessageToServer, 1, text, Some(&publish.seq), b"");
    }

    /// Pushes an event.
    pub(crate) fn push(&mut self, connection: usize, seq: &str, body: &[u8]) {
        self.send(connection, Command::AsyncMessageToClient, 0, "", Some(seq), body);
    }

    /// Pushes what the server could not write.
    pub(crate) fn push_unreadable(&mut self, connection: usize, seq: &str) {
        self.send(connection, Command::AsyncMessageToClient, 1, "no such format", Some(seq), b"");
    }

    pub(crate) fn close(&mut self, connection: usize) {
        if let Some(stream) = self.peers[connection].take() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn goodbye(&mut self, connection: usize) {
        let text = "graceful normal quit from eventmesh";
        self.send(connection, Command::ServerGoodbyeRequest, 0, text, None, b"");
    }

    pub(crate) fn redirect(&mut self, connection: usize, address: &str) {
        let (ip, port) = address.split_once(':').unwrap();
        let body = format!("{{\"ip\":\"{ip}\",\"port\":{port}}}");
        self.send(connection, Command::RedirectToClient, 0, "", None, body.as_bytes());
    }

    /// Half an acknowledgement, then a reset.
    pub(crate) fn reset_inside_a_frame(&mut self, publish: &Publish) {
        let mut bytes = Vec::new();
        let header = Header::request(Command::AsyncMessageToServerAck, publish.seq.clone());
        encode_parts(&header, b"{}", &mut bytes);
        self.write(publish.connection, &bytes[..bytes.len() / 2]);
        if let Some(stream) = self.peers[publish.connection].take() {
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            let _ = stream.shutdown(Shutdown::Read);
        }
    }

    /// Connections that were greeted so far.
    pub(crate) fn connections(&self) -> usize {
        self.peers.len()
    }

    /// Connections that are open now.
    pub(crate) fn open(&self) -> usize {
        self.peers.iter().flatten().count()
    }

    pub(crate) fn is_open(&self, connection: usize) -> bool {
        self.peers[connection].is_some()
    }

    fn send(
        &mut self,
        connection: usize,
        command: Command,
        code: i32,
        desc: &str,
        seq: Option<&str>,
        body: &[u8],
    ) {
        let header = Header { code, desc: Some(desc.into()), ..Header::request(command, "") };
        let mut bytes = Vec::new();
        encode_parts(&Header { seq: seq.map(Into::into), ..header }, body, &mut bytes);
        self.write(connection, &bytes);
    }

    fn write(&mut self, connection: usize, bytes: &[u8]) {
        if let Some(stream) = &mut self.peers[connection]
            && stream.write_all(bytes).is_err()
        {
            self.peers[connection] = None;
        }
    }

    /// Per key, the order of first arrivals is the order of the events' numbers.
    pub(crate) fn check_order(&self) {
        let mut seen = HashSet::new();
        let mut last: HashMap<&str, u64> = HashMap::new();
        for publish in self.arrivals.iter().filter(|publish| seen.insert(publish.id.as_str())) {
            let number: u64 = publish.id.rsplit('-').next().unwrap().parse().unwrap();
            if let Some(before) = last.insert(&publish.key, number) {
                assert!(before < number, "key {}: {number} came first after {before}", publish.key);
            }
        }
        assert!(self.violations.is_empty(), "{:?}", &self.violations[..self.violations.len().min(3)]);
    }
}

/// A running server; it stops accepting when dropped.
pub(crate) struct MeshServer {
    pub(crate) address: String,
    pub(crate) world: Arc<Mutex<World>>,
    listener: Option<TcpListener>,
}

impl MeshServer {
    pub(crate) fn start(script: Script) -> Self {
        Self::start_at(
            "127.0.0.1:0",
            Arc::new(Mutex::new(World { answers_heartbeats: true, ..World::default() })),
            script,
        )
    }

    pub(crate) fn start_at(address: &str, world: Arc<Mutex<World>>, script: Script) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let accepting = listener.try_clone().unwrap();
        let (shared, script) = (Arc::clone(&world), Arc::new(Mutex::new(script)));
        thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                let (world, script) = (Arc::clone(&shared), Arc::clone(&script));
                thread::spawn(move || serve(stream, &world, &script));
            }
        });
        Self { address, world, listener: Some(listener) }
    }

    /// Closes the port and every connection.
    pub(crate) fn stop(&mut self) {
        if let Some(listener) = self.listener.take() {
            let _ = socket2::SockRef::from(&listener).shutdown(Shutdown::Both);
        }
        for stream in self.world.lock().unwrap().peers.iter_mut().filter_map(Option::take) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for MeshServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(mut stream: TcpStream, world: &Mutex<World>, script: &Mutex<Script>) {
    stream.set_read_timeout(Some(QUIET)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut decoder = Decoder::new();
    let mut connection = None;
    let mut chunk = [0; 16 * 1024];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => decoder.feed(&chunk[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if connection.is_some() {
                    let mut script = script.lock().unwrap();
                    script(&mut world.lock().unwrap(), Happening::Quiet);
                }
            }
            Err(_) => break,
        }
        while let Some(frame) = decoder.next_frame().expect("the writer speaks the protocol") {
            let mut script = script.lock().unwrap();
            let mut world = world.lock().unwrap();
            take(&stream, &mut world, &mut script, &mut connection, &frame);
        }
        if connection.is_some_and(|connection| !world.lock().unwrap().is_open(connection)) {
            return;
        }
    }
    if let Some(connection) = connection {
        world.lock().unwrap().peers[connection] = None;
    }
}

fn take(
    stream: &TcpStream,
    world: &mut World,
    script: &mut Script,
    connection: &mut Option<usize>,
    frame: &Frame,
) {
    let seq = frame.header.seq.as_deref();
    match (frame.header.command, *connection) {
        (Command::HelloRequest, None) => {
            world.hellos.push(serde_json::from_slice(&frame.body).unwrap());
            world.peers.push(Some(stream.try_clone().unwrap()));
            let number = world.peers.len() - 1;
            let (code, text) = world.refuse_hello.clone().unwrap_or((0, "success".to_owned()));
            world.send(number, Command::HelloResponse, code, &text, seq, b"");
            *connection = Some(number);
        }
        (Command::HeartbeatRequest, Some(number)) => {
            world.heartbeats += 1;
            if world.heartbeat_refusals > 0 {
                world.heartbeat_refusals -= 1;
                let text = "java.lang.Exception: no session is found";
                world.send(number, Command::HeartbeatResponse, 1, text, seq, b"");
            } else if world.answers_heartbeats {
                world.send(number, Command::HeartbeatResponse, 0, "success", seq, b"");
            }
        }
        (Command::ClientGoodbyeRequest, Some(number)) => {
            world.goodbyes += 1;
            world.send(number, Command::ClientGoodbyeResponse, 0, "success", seq, b"");
        }
        (Command::AsyncMessageToServer, Some(number)) if world.is_open(number) => {
            let event: Value = serde_json::from_slice(&frame.body).unwrap();
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let publish = Publish {
                connection: number,
                seq: seq.unwrap().to_owned(),
                id: text(&event["id"]),
                key: event["data"]["key"].as_str().unwrap_or_default().to_owned(),
                body: frame.body.to_vec(),
            };
            world.arrive(&publish);
            script(world, Happening::Publish(publish));
        }
        (command, Some(number)) => listen(world, script, number, command, frame),
        _ => {}
    }
}

/// What a subscriber sends.
fn listen(world: &mut World, script: &mut Script, number: usize, command: Command, frame: &Frame) {
    let seq = frame.header.seq.as_deref();
    match command {
        Command::SubscribeRequest => {
            world.subscriptions.push(serde_json::from_slice(&frame.body).unwrap());
            world.send(number, Command::SubscribeResponse, 0, "success", seq, b"");
        }
        Command::ListenRequest => {
            if let Some(body) = world.early.take() {
                world.push(number, "0", &body);
            }
            world.send(number, Command::ListenResponse, 0, "success", seq, b"");
            world.listeners.push(number);
            script(world, Happening::Listening(number));
        }
        command if command.is_push_ack() => {
            let seq = seq.unwrap().to_owned();
            world.push_acks.push((number, seq.clone()));
            script(world, Happening::PushAcked(number, seq));
        }
        _ => {}
    }
}
