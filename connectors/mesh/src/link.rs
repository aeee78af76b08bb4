//! Opening a connection: TCP and HELLO (protocol manual, section 3.1).

use std::io;

use flowd_codec::frame::{Command, Decoder, Frame, Header, UserAgent, encode_parts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::config::MeshConfig;

/// A greeted connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) stream: TcpStream,
    pub(crate) decoder: Decoder,
}

/// Why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoLink {
    /// It cannot be reached, or did not answer as a mesh does.
    Unreachable(String),
    /// The HELLO was refused, with this text.
    Refused(String),
}

impl NoLink {
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Unreachable(text) | Self::Refused(text) => text,
        }
    }
}

/// Connects to `address` and says HELLO, within the configured time.
pub(crate) async fn open(address: &str, config: &MeshConfig) -> Result<Link, NoLink> {
    let bound = config.timing.greet;
    match tokio::time::timeout(bound, greet(address, config)).await {
        Ok(result) => result,
        Err(_) => {
            Err(NoLink::Unreachable(format!("{address} did not greet within {} ms", bound.as_millis())))
        }
    }
}

async fn greet(address: &str, config: &MeshConfig) -> Result<Link, NoLink> {
    let failed = |error: io::Error| NoLink::Unreachable(format!("{address}: {error}"));
    let mut stream = TcpStream::connect(address).await.map_err(failed)?;
    // Frames are written in large pieces; none should wait for a window of acknowledgements.
    stream.set_nodelay(true).map_err(failed)?;
    stream.write_all(&hello(config)).await.map_err(failed)?;
    let mut decoder = Decoder::new();
    loop {
        let frame = decoder.next_frame().map_err(|error| {
            NoLink::Unreachable(format!("{address} does not speak EventMesh's TCP protocol: {error}"))
        })?;
        match frame {
            Some(frame) if frame.header.command == Command::HelloResponse => {
                accepted(address, &frame)?;
                return Ok(Link { stream, decoder });
            }
            Some(frame) if frame.header.command == Command::ServerGoodbyeRequest => {
                return Err(NoLink::Unreachable(format!("{address} said goodbye: {}", text(&frame.header))));
            }
            Some(_) => {}
            None => {
                if stream.read_buf(decoder.buffer_mut()).await.map_err(failed)? == 0 {
                    return Err(NoLink::Unreachable(format!(
                        "{address} closed the connection instead of greeting"
                    )));
                }
            }
        }
    }
}

fn accepted(address: &str, frame: &Frame) -> Result<(), NoLink> {
    match frame.header.code {
        0 => Ok(()),
        code => {
            let text = text(&frame.header);
            Err(NoLink::Refused(format!("{address} refused the HELLO with code {code}: {text}")))
        }
    }
}

/// The text of a result; not every server sends one.
pub(crate) fn text(header: &Header) -> &str {
    header.desc.as_deref().unwrap_or("no text given")
}

/// The HELLO of a publisher, with every field that the Java server or a later one may ask for.
fn hello(config: &MeshConfig) -> Vec<u8> {
    let some = |text: &str| Some(text.to_owned());
    let agent = UserAgent {
        env: some(&config.env),
        subsystem: some(&config.app_id),
        path: some("/"),
        pid: i32::try_from(std::process::id()).unwrap_or(i32::MAX),
        // The server puts the peer's address in their place; these are what the Java connectors send.
        host: some("localhost"),
        port: 8362,
        version: some("2.0"),
        username: some(&config.user_name),
        password: some(&config.password),
        token: None,
        idc: some(&config.idc),
        group: some(&config.group),
        purpose: some("pub"),
        unack: 0,
    };
    let body = serde_json::to_vec(&agent).expect("texts and numbers always have a JSON form");
    let mut out = Vec::new();
    encode_parts(&Header::request(Command::HelloRequest, "hello"), &body, &mut out);
    out
}
