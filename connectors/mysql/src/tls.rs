//! TLS to the server: rustls with `ring`, and verifiers that do what `sslMode` says.
//!
//! verify-ca looks at the chain and not at the name, because the certificates that MySQL makes for itself have no
//! name; verify-identity needs a subject alternative name. Revocation is not checked. Invariant: a mode that
//! promises to verify never ends in an unverified connection.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    StreamOwned,
};
use socket2::SockRef;

use crate::config::{ClientCertificate, MySqlConfig, TlsMode};
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
    let client = client_config(config)?;
    let name = server_name(config, &socket)?;
    let connection =
        ClientConnection::new(Arc::new(client), name).map_err(|error| refused(config, &error))?;
    let mut stream = StreamOwned::new(connection, socket);
    while stream.conn.is_handshaking() {
        if let Err(error) = stream.conn.complete_io(&mut stream.sock) {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            return Err(match inner {
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
        Err(_) if !matches!(config.tls, TlsMode::VerifyIdentity(_)) => {
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
    let reason = match error {
        rustls::Error::General(text) => return WireError::Refused(text.clone()),
        rustls::Error::InvalidCertificate(reason) => reason,
        other => return WireError::Refused(format!("TLS with {}: {other}", config.address())),
    };
    let authority = match &config.tls {
        TlsMode::VerifyCa(path) | TlsMode::VerifyIdentity(path) => path.display().to_string(),
        TlsMode::Disabled | TlsMode::Preferred | TlsMode::Required => String::new(),
    };
    let text = match reason {
        CertificateError::UnknownIssuer => format!("it does not come from an authority in sslCa {authority}"),
        // MySQL calls every authority that it makes for itself the same, so this is a usual mistake.
        CertificateError::BadSignature
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => format!(
            "it comes from another authority that has the name, but not the key, of the one in sslCa {authority}"
        ),
        // webpki verifies no older format; the reason has no variant of its own.
        other if format!("{other:?}").contains("UnsupportedCertVersion") => {
            "it is an X.509 certificate of version 1, which cannot be verified; make one of version 3 (with extensions)"
                .to_owned()
        }
        other => other.to_string(),
    };
    WireError::Refused(format!("the certificate of {} is not accepted: {text}", config.address()))
}

fn client_config(config: &MySqlConfig) -> Result<ClientConfig, WireError> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier { trust: trust(config)?, provider: Arc::clone(&provider) };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(config, &error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let Some(ClientCertificate { certificate, key }) = &config.client_certificate else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates("sslCert", certificate)?;
    let secret = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| WireError::Refused(format!("sslKey {}: {}", key.display(), pem_text(&error))))?;
    builder.with_client_auth_cert(chain, secret).map_err(|error| {
        WireError::Refused(format!(
            "sslCert {} with sslKey {}: {error}",
            certificate.display(),
            key.display()
        ))
    })
}

fn trust(config: &MySqlConfig) -> Result<Trust, WireError> {
    Ok(match &config.tls {
        TlsMode::Disabled | TlsMode::Preferred | TlsMode::Required => Trust::Anybody,
        TlsMode::VerifyCa(path) => Trust::Chain(Authorities::read(path)?),
        TlsMode::VerifyIdentity(path) => Trust::ChainAndName(Authorities::read(path)?),
    })
}

fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, WireError> {
    let wrong = |error: String| WireError::Refused(format!("{key} {}: {error}", path.display()));
    let certificates = CertificateDer::pem_file_iter(path)
        .map_err(|error| wrong(pem_text(&error)))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(pem_text(&error)))?;
    if certificates.is_empty() {
        return Err(wrong("no certificate in this file".into()));
    }
    Ok(certificates)
}

fn pem_text(error: &rustls::pki_types::pem::Error) -> String {
    match error {
        rustls::pki_types::pem::Error::Io(error) => error.to_string(),
        other => format!("not a PEM file as expected ({other:?})"),
    }
}

/// What the file behind `sslCa` holds.
#[derive(Debug)]
struct Authorities {
    roots: RootCertStore,
    /// A server's self-made certificate may be in the file itself; it is then trusted as it is, whatever its dates.
    leaves: Vec<CertificateDer<'static>>,
}

impl Authorities {
    fn read(path: &Path) -> Result<Self, WireError> {
        let leaves = certificates("sslCa", path)?;
        let mut roots = RootCertStore::empty();
        for certificate in &leaves {
            roots.add(certificate.clone()).map_err(|error| {
                WireError::Refused(format!(
                    "sslCa {}: a certificate that cannot be used: {error}",
                    path.display()
                ))
            })?;
        }
        Ok(Self { roots, leaves })
    }
}

#[derive(Debug)]
enum Trust {
    Anybody,
    Chain(Authorities),
    ChainAndName(Authorities),
}

#[derive(Debug)]
struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn verify_chain(
        &self,
        authorities: &Authorities,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        if authorities.leaves.iter().any(|known| known == leaf) {
            return Ok(());
        }
        let algorithms = self.provider.signature_verification_algorithms.all;
        let parsed = ParsedCertificate::try_from(leaf)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &authorities.roots, intermediates, now, algorithms)
    }
}

fn verify_name(leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), rustls::Error> {
    let parsed = ParsedCertificate::try_from(leaf)?;
    verify_server_name(&parsed, name).map_err(|error| match error {
        rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. })
            if presented.is_empty() =>
        {
            rustls::Error::General(format!(
                "verify-identity: the server's certificate has no subject alternative name (SAN), so it cannot \
                 prove that it is {}; give the server a certificate with a SAN, or use sslMode verify-ca, which \
                 checks the authority alone",
                name.to_str()
            ))
        }
        rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }) => {
            rustls::Error::General(format!(
                "verify-identity: the server's certificate is for {}, not for {}",
                presented.iter().map(|name| bare(name)).collect::<Vec<_>>().join(", "),
                name.to_str()
            ))
        }
        other => other,
    })
}

/// `DnsName("db1")` without the ornament.
fn bare(presented: &str) -> &str {
    presented.split('"').nth(1).unwrap_or(presented)
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.trust {
            Trust::Anybody => {}
            Trust::Chain(authorities) => self.verify_chain(authorities, leaf, intermediates, now)?,
            Trust::ChainAndName(authorities) => {
                self.verify_chain(authorities, leaf, intermediates, now)?;
                verify_name(leaf, server_name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    /// Where the certificate itself is not looked at, its signature proves nothing either; and webpki could not read
    /// an X.509 v1 certificate, which such servers may have.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match self.trust {
            Trust::Anybody => Ok(HandshakeSignatureValid::assertion()),
            _ => verify_tls12_signature(
                message,
                leaf,
                signature,
                &self.provider.signature_verification_algorithms,
            ),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match self.trust {
            Trust::Anybody => Ok(HandshakeSignatureValid::assertion()),
            _ => verify_tls13_signature(
                message,
                leaf,
                signature,
                &self.provider.signature_verification_algorithms,
            ),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
