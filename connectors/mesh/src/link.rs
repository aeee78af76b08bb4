//! Opening a connection: TCP and HELLO (protocol manual, section 3.1).

use std::io;
use std::time::Instant;

use flowd_codec::frame::{Decoder, Frame, UserAgent};
use flowd_codec::session::{ClientSession, Received, Role, SessionError, Timing};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::config::MeshConfig;

/// A greeted connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) stream: TcpStream,
    pub(crate) decoder: Decoder,
    pub(crate) session: ClientSession,
    /// Pushes that came before the session was ready.
    pub(crate) early: Vec<Frame>,
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

/// Connects to `address` and opens a session of this role, within the configured time.
pub(crate) async fn open(address: &str, config: &MeshConfig, role: Role) -> Result<Link, NoLink> {
    let bound = config.timing.greet;
    match tokio::time::timeout(bound, greet(address, config, role)).await {
        Ok(result) => result,
        Err(_) => {
            Err(NoLink::Unreachable(format!("{address} did not greet within {} ms", bound.as_millis())))
        }
    }
}

async fn greet(address: &str, config: &MeshConfig, role: Role) -> Result<Link, NoLink> {
    let failed = |error: io::Error| NoLink::Unreachable(format!("{address}: {error}"));
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    // Frames are written in large pieces; none should wait for a window of acknowledgements.
    stream.set_nodelay(true).map_err(failed)?;
    let timing = Timing { heartbeat: config.timing.heartbeat, answer: config.timing.heartbeat_answer };
    let session = ClientSession::new(agent(config), role, timing);
    let mut link = Link { stream, decoder: Decoder::new(), session, early: Vec::new() };
    let mut out = Vec::new();
    link.session.start(Instant::now(), &mut out);
    while !link.session.is_ready() {
        link.stream.write_all(&out).await.map_err(failed)?;
        out.clear();
        if link.stream.read_buf(link.decoder.buffer_mut()).await.map_err(failed)? == 0 {
            return Err(NoLink::Unreachable(format!("{address} closed the connection instead of greeting")));
        }
        link.take_greeting(address, &mut out)?;
    }
    Ok(link)
}

impl Link {
    /// Takes the frames at hand up to the one that makes the session ready; what follows it stays in the decoder.
    fn take_greeting(&mut self, address: &str, out: &mut Vec<u8>) -> Result<(), NoLink> {
        while !self.session.is_ready() {
            let frame = self.decoder.next_frame().map_err(|error| {
                NoLink::Unreachable(format!("{address} does not speak EventMesh's TCP protocol: {error}"))
            })?;
            let Some(frame) = frame else { return Ok(()) };
            match self.session.receive(&frame, Instant::now(), out) {
                Ok(Received::ServerGoodbye { reason, .. }) => {
                    return Err(NoLink::Unreachable(format!("{address} said goodbye: {reason}")));
                }
                Ok(Received::Redirected(_)) => {
                    return Err(NoLink::Unreachable(format!("{address} redirected instead of greeting")));
                }
                Ok(Received::Push(_)) => {}
                Ok(_) => continue,
                Err(error @ SessionError::Refused { .. }) => {
                    return Err(NoLink::Refused(format!("{address}: {error}")));
                }
                Err(error) => return Err(NoLink::Unreachable(format!("{address}: {error}"))),
            }
            self.early.push(frame);
        }
        Ok(())
    }
}

/// Who we say we are, with every field that the Java server or a later one may ask for.
fn agent(config: &MeshConfig) -> UserAgent {
    let some = |text: &str| Some(text.to_owned());
    UserAgent {
        env: some(&config.env),
        subsystem: some(&config.app_id),
        username: some(&config.user_name),
        password: some(&config.password),
        idc: some(&config.idc),
        group: some(&config.group),
        ..UserAgent::of_process(std::process::id())
    }
}
