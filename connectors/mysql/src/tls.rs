//! A connection's bytes, plain or under TLS, and the handshake of TLS in the middle of MySQL's.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use flowd_tls::client::TlsMode;
use flowd_tls::refusal;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConnection, StreamOwned};
use socket2::SockRef;

use crate::config::MySqlConfig;
use crate::error::WireError;

/// A connection's bytes, plain or under TLS.
#[derive(Debug)]
pub enum Stream {
    /// Plain TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref(),
        }
    }

    /// Whether the kernel holds bytes that were not read yet. Asks without waiting.
    pub fn has_more(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        SockRef::from(self.socket()).recv_with_flags(&mut byte, flags).is_ok_and(|count| count > 0)
    }

    /// How long a read may wait; `None` is for ever. A read that waited in vain fails with `WouldBlock` or
    /// `TimedOut` and may be repeated.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket().set_read_timeout(timeout)
    }

    /// What another thread uses to end the connection.
    pub fn shutdown_handle(&self) -> io::Result<ShutdownHandle> {
        Ok(ShutdownHandle(self.socket().try_clone()?))
    }

    /// The agreed TLS version and cipher suite, for logs; `None` over plain TCP.
    pub fn tls_description(&self) -> Option<String> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => {
                let suite = stream.conn.negotiated_cipher_suite()?;
                Some(format!("{:?} {:?}", stream.conn.protocol_version()?, suite.suite()))
            }
        }
    }
}

impl Read for Stream {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(target),
            // A server that goes down closes TCP without a TLS goodbye: for us an end like any other.
            Self::Tls(stream) => match stream.read(target) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                result => result,
            },
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// Ends a connection from another thread: a blocked read returns 0 or an error at once.
#[derive(Debug)]
pub struct ShutdownHandle(TcpStream);

impl ShutdownHandle {
    /// Ends both directions. An already dead connection is no error.
    pub fn shutdown(&self) {
        match self.0.shutdown(Shutdown::Both) {
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "the connection was down already"),
        }
    }
}

/// Runs the TLS handshake over `socket`, as the configuration's mode says.
pub fn handshake(socket: TcpStream, config: &MySqlConfig) -> Result<Stream, WireError> {
    let client = config.tls.config()?;
    let name = server_name(config, &socket)?;
    let connection = ClientConnection::new(client, name).map_err(|error| refused(config, &error))?;
    let mut stream = StreamOwned::new(connection, socket);
    while stream.conn.is_handshaking() {
        if let Err(error) = stream.conn.complete_io(&mut stream.sock) {
            return Err(match refusal(&error) {
                Some(tls) => refused(config, tls),
                None => WireError::Io(error),
            });
        }
    }
    Ok(Stream::Tls(Box::new(stream)))
}

/// Outside verify-identity the name decides nothing; an address stands in for a host name that TLS does not allow.
fn server_name(config: &MySqlConfig, socket: &TcpStream) -> Result<ServerName<'static>, WireError> {
    match ServerName::try_from(config.hostname.clone()) {
        Ok(name) => Ok(name),
        Err(_) if !matches!(config.tls.mode, TlsMode::VerifyIdentity(_)) => {
            Ok(ServerName::from(socket.peer_addr()?.ip()))
        }
        Err(_) => {
            let message =
                format!("verify-identity: {} is neither a host name nor an address", config.hostname);
            Err(WireError::Refused(message))
        }
    }
}

fn refused(config: &MySqlConfig, error: &rustls::Error) -> WireError {
    let mut text = config.tls.refused(&config.address(), error);
    if let rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. }) = error {
        text.push_str("; sslMode verify-identity looks at the name, verify-ca at the authority alone");
    }
    WireError::Refused(text)
}
