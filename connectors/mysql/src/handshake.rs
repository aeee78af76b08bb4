//! The first packets of a connection: greeting, switch to TLS, authentication (Protocol manual, "Connection Phase").
//!
//! Invariant: after [`log_in`] the server has said OK; every other end is an error.

use std::collections::HashMap;
use std::io::{Read, Write};

use flowd_tls::client::TlsMode;
use mysql_common::constants::CapabilityFlags;
use mysql_common::io::ParseBuf;
use mysql_common::packets::{AuthPlugin, AuthSwitchRequest, HandshakePacket, HandshakeResponse, SslRequest};
use mysql_common::proto::{MyDeserialize, MySerialize};

use crate::auth::{Method, encrypted_password};
use crate::config::MySqlConfig;
use crate::error::WireError;
use crate::packet::{Channel, PACKET_BYTES_MAX};
use crate::query::server_error;
use crate::server::{Flavor, Server};

/// utf8mb4_general_ci: known to every server that we speak with.
const COLLATION: u8 = 45;
/// Our packets may be this long, bytes.
const CLIENT_PACKET_BYTES_MAX: u32 = 1 << 30;

/// What the greeting says.
#[derive(Debug)]
pub(crate) struct Greeting {
    pub(crate) server: Server,
    capabilities: CapabilityFlags,
    nonce: Vec<u8>,
    method: Option<Method>,
}

impl Greeting {
    /// Reads the server's first packet.
    pub(crate) fn read<S: Read>(channel: &mut Channel<S>) -> Result<Self, WireError> {
        let packet = channel.read()?;
        if packet.first() == Some(&0xff) {
            return Err(server_error(&packet));
        }
        let malformed = |what: &str| WireError::Protocol(format!("a greeting that is not MySQL's: {what}"));
        check_nonce_length(&packet).ok_or_else(|| malformed("cut short"))?;
        let greeting = HandshakePacket::deserialize((), &mut ParseBuf(&packet))
            .map_err(|error| malformed(&error.to_string()))?;
        if greeting.protocol_version() != 10 {
            return Err(malformed(&format!("protocol version {}", greeting.protocol_version())));
        }
        let capabilities = greeting.capabilities();
        let needed = CapabilityFlags::CLIENT_PROTOCOL_41 | CapabilityFlags::CLIENT_SECURE_CONNECTION;
        if !capabilities.contains(needed) {
            return Err(malformed("a server older than MySQL 5.5"));
        }
        Ok(Self {
            // MariaDB says that it is not MySQL by leaving this flag out; MySQL always sets it.
            server: Server::new(
                &greeting.server_version_str(),
                if capabilities.contains(CapabilityFlags::CLIENT_LONG_PASSWORD) {
                    None
                } else {
                    Some(Flavor::MariaDb)
                },
                greeting.connection_id(),
            )?,
            capabilities,
            nonce: greeting.nonce(),
            method: greeting.auth_plugin_name_ref().and_then(Method::from_name),
        })
    }

    /// Whether the connection goes on under TLS. An error where the configuration demands TLS and there is none.
    pub(crate) fn wants_tls(&self, mode: &TlsMode) -> Result<bool, WireError> {
        let offered = self.capabilities.contains(CapabilityFlags::CLIENT_SSL);
        match mode {
            TlsMode::Disabled => Ok(false),
            TlsMode::Preferred => Ok(offered),
            _ if offered => Ok(true),
            _ => Err(WireError::Refused(
                "the server offers no TLS, but sslMode demands it; configure TLS on the server (ssl_cert, ssl_key), \
                 or write sslMode preferred or disabled"
                    .into(),
            )),
        }
    }

    fn common_capabilities(&self) -> CapabilityFlags {
        let wanted = CapabilityFlags::CLIENT_LONG_PASSWORD
            | CapabilityFlags::CLIENT_LONG_FLAG
            | CapabilityFlags::CLIENT_PROTOCOL_41
            | CapabilityFlags::CLIENT_TRANSACTIONS
            | CapabilityFlags::CLIENT_SECURE_CONNECTION
            | CapabilityFlags::CLIENT_PLUGIN_AUTH
            | CapabilityFlags::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA
            | CapabilityFlags::CLIENT_CONNECT_ATTRS;
        wanted & (self.capabilities | CapabilityFlags::CLIENT_LONG_PASSWORD)
    }
}

/// The crate computes with this byte as a signed number; a server that sends more than 127 means mischief.
fn check_nonce_length(packet: &[u8]) -> Option<()> {
    let version_end = packet.get(1..)?.iter().position(|byte| *byte == 0)? + 2;
    (*packet.get(version_end + 20)? < 128).then_some(())
}

/// Asks for TLS; the next bytes on the stream are its handshake.
pub(crate) fn request_tls<S: Write>(channel: &mut Channel<S>, greeting: &Greeting) -> Result<(), WireError> {
    let capabilities = greeting.common_capabilities() | CapabilityFlags::CLIENT_SSL;
    let mut packet = Vec::new();
    SslRequest::new(capabilities, CLIENT_PACKET_BYTES_MAX, COLLATION).serialize(&mut packet);
    channel.write(&packet)
}

/// Whether the bytes of a connection can be read on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Plain,
    Tls,
}

/// Answers the greeting and proves who we are.
pub(crate) fn log_in<S: Read + Write>(
    channel: &mut Channel<S>,
    greeting: &Greeting,
    config: &MySqlConfig,
    transport: Transport,
) -> Result<(), WireError> {
    let method = greeting.method.unwrap_or(match greeting.server.flavor {
        Flavor::MySql => Method::CachingSha2,
        Flavor::MariaDb => Method::Native,
    });
    // ed25519 signs a nonce longer than the greeting's: the server will switch to it and send one.
    let method = if method == Method::Ed25519 { Method::Native } else { method };
    channel.write(&response(greeting, config, transport, method)?)?;
    authenticate(channel, config, transport, method, greeting.nonce.clone())
}

fn response(
    greeting: &Greeting,
    config: &MySqlConfig,
    transport: Transport,
    method: Method,
) -> Result<Vec<u8>, WireError> {
    let mut capabilities = greeting.common_capabilities();
    if transport == Transport::Tls {
        capabilities |= CapabilityFlags::CLIENT_SSL;
    }
    let attributes = capabilities.contains(CapabilityFlags::CLIENT_CONNECT_ATTRS).then(attributes);
    let plugin = capabilities
        .contains(CapabilityFlags::CLIENT_PLUGIN_AUTH)
        .then(|| AuthPlugin::from_bytes(method.name().as_bytes()));
    let answer = method.answer(&greeting.nonce, config.password.reveal())?;
    let response = HandshakeResponse::new(
        Some(answer),
        (8, 0, 0), // decides the collation alone: utf8mb4
        Some(config.user.as_bytes()),
        None::<&[u8]>,
        plugin,
        capabilities,
        attributes,
        CLIENT_PACKET_BYTES_MAX,
    );
    let mut packet = Vec::new();
    response.serialize(&mut packet);
    assert!(packet.len() < PACKET_BYTES_MAX, "a login of one packet");
    Ok(packet)
}

/// What an administrator sees in performance_schema.session_connect_attrs.
fn attributes() -> HashMap<String, String> {
    [
        ("program_name", "flowd".to_owned()),
        ("_client_name", "flowd".to_owned()),
        ("_client_version", env!("CARGO_PKG_VERSION").to_owned()),
        ("_pid", std::process::id().to_string()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

/// The server may switch the method once; more turns than these are no login.
const TURNS_MAX: u32 = 8;

fn authenticate<S: Read + Write>(
    channel: &mut Channel<S>,
    config: &MySqlConfig,
    transport: Transport,
    mut method: Method,
    mut nonce: Vec<u8>,
) -> Result<(), WireError> {
    for _ in 0..TURNS_MAX {
        let packet = channel.read()?;
        match packet.first() {
            Some(0x00) => return Ok(()),
            Some(0xff) => return Err(server_error(&packet)),
            Some(0xfe) => {
                (method, nonce) = switched(&packet)?;
                channel.write(&method.answer(&nonce, config.password.reveal())?)?;
            }
            Some(0x01) if method == Method::CachingSha2 => {
                continue_sha2(channel, config, transport, &nonce, &packet[1..])?;
            }
            other => return Err(WireError::Protocol(format!("during authentication: {other:?}"))),
        }
    }
    Err(WireError::Protocol(format!("more than {TURNS_MAX} turns of authentication")))
}

fn switched(packet: &[u8]) -> Result<(Method, Vec<u8>), WireError> {
    if packet.len() == 1 {
        return Err(unsupported("mysql_old_password"));
    }
    let request = AuthSwitchRequest::deserialize((), &mut ParseBuf(packet))
        .map_err(|error| WireError::Protocol(format!("authentication switch: {error}")))?;
    let plugin = request.auth_plugin();
    let method = Method::from_name(plugin.as_bytes())
        .ok_or_else(|| unsupported(&String::from_utf8_lossy(plugin.as_bytes())))?;
    Ok((method, request.plugin_data().to_vec()))
}

fn unsupported(plugin: &str) -> WireError {
    WireError::Refused(format!(
        "the account authenticates by {plugin}, which flowd does not speak; give it caching_sha2_password (MySQL), \
         mysql_native_password or ed25519 (MariaDB)"
    ))
}

/// caching_sha2_password: 3 = the server remembered the password, 4 = it needs the password itself.
fn continue_sha2<S: Read + Write>(
    channel: &mut Channel<S>,
    config: &MySqlConfig,
    transport: Transport,
    nonce: &[u8],
    message: &[u8],
) -> Result<(), WireError> {
    const REQUEST_KEY: u8 = 2;
    match (message, transport) {
        ([3], _) => Ok(()),
        ([4], Transport::Tls) => {
            let clear = [config.password.reveal().as_bytes(), &[0]].concat();
            channel.write(&clear)
        }
        ([4], Transport::Plain) => {
            channel.write(&[REQUEST_KEY])?;
            let packet = channel.read()?;
            match packet.first() {
                Some(0x01) => {
                    channel.write(&encrypted_password(nonce, config.password.reveal(), &packet[1..])?)
                }
                Some(0xff) => Err(server_error(&packet)),
                other => Err(WireError::Protocol(format!("instead of the server's public key: {other:?}"))),
            }
        }
        _ => Err(WireError::Protocol("caching_sha2_password: an unknown request".into())),
    }
}
