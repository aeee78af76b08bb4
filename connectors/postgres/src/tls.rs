//! TLS to the server: rustls with `ring`, and a verifier that does what `sslMode` says.
//!
//! verify-ca looks at the chain and not at the name; verify-identity needs a subject alternative name. Revocation is not
//! checked. Invariant: a mode that promises to verify never ends in an unverified connection.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use flowd_engine::failure::Failure;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client;

use crate::config::{ClientCertificate, PostgresConfig, TlsMode};

/// Makes connections safe.
#[derive(Clone)]
pub(crate) struct Connector {
    config: Arc<ClientConfig>,
}

impl Connector {
    pub(crate) fn new(config: &PostgresConfig) -> Result<Self, Failure> {
        let provider = Arc::new(ring::default_provider());
        let verifier = Verifier { trust: trust(config, &provider)?, provider: Arc::clone(&provider) };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::Unusable(format!("TLS: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = match &config.client_certificate {
            None => builder.with_no_client_auth(),
            Some(ClientCertificate { certificate, key }) => {
                let chain = certificates("sslCert", certificate)?;
                let secret =
                    PrivateKeyDer::from_pem_file(key).map_err(|error| of_file("sslKey", key, error))?;
                builder.with_client_auth_cert(chain, secret).map_err(|error| {
                    Failure::Unusable(format!(
                        "sslCert {} with sslKey {}: {error}",
                        certificate.display(),
                        key.display()
                    ))
                })?
            }
        };
        Ok(Self { config: Arc::new(config) })
    }
}

fn trust(config: &PostgresConfig, provider: &Arc<CryptoProvider>) -> Result<Trust, Failure> {
    let (path, by) = match &config.tls {
        TlsMode::Disabled | TlsMode::Preferred | TlsMode::Required => return Ok(Trust::Anybody),
        TlsMode::VerifyCa(path) => (path, By::Chain),
        TlsMode::VerifyIdentity(path) => (path, By::ChainAndName),
    };
    let known = certificates("sslCa", path)?;
    let mut roots = RootCertStore::empty();
    for certificate in &known {
        roots.add(certificate.clone()).map_err(|error| of_file("sslCa", path, error))?;
    }
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| of_file("sslCa", path, error))?;
    Ok(Trust::Authorities { known, chain, by })
}

fn certificates(setting: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, pem::Error>>);
    let certificates = read.map_err(|error| of_file(setting, path, error))?;
    if certificates.is_empty() {
        return Err(of_file(setting, path, "no certificate in this file"));
    }
    Ok(certificates)
}

fn of_file(setting: &str, path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::Unusable(format!("{setting} {}: {error}", path.display()))
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Chain,
    ChainAndName,
}

#[derive(Debug)]
enum Trust {
    Anybody,
    Authorities {
        /// A server's self-made certificate may be in the file itself; it is then trusted as it is.
        known: Vec<CertificateDer<'static>>,
        chain: Arc<WebPkiServerVerifier>,
        by: By,
    },
}

#[derive(Debug)]
struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Trust::Authorities { known, chain, by } = &self.trust else {
            return Ok(ServerCertVerified::assertion());
        };
        if known.contains(leaf) {
            return match by {
                By::Chain => Ok(()),
                By::ChainAndName => verify_server_name(&ParsedCertificate::try_from(leaf)?, name),
            }
            .map(|()| ServerCertVerified::assertion());
        }
        // The chain is looked at first, the name last.
        match chain.verify_server_cert(leaf, intermediates, name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if *by == By::Chain => Ok(ServerCertVerified::assertion()),
            result => result,
        }
    }

    /// Where the certificate itself is not looked at, its signature proves nothing either.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match self.trust {
            Trust::Anybody => Ok(HandshakeSignatureValid::assertion()),
            Trust::Authorities { .. } => {
                let algorithms = &self.provider.signature_verification_algorithms;
                verify_tls12_signature(message, leaf, signature, algorithms)
            }
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
            Trust::Authorities { .. } => {
                let algorithms = &self.provider.signature_verification_algorithms;
                verify_tls13_signature(message, leaf, signature, algorithms)
            }
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Connector {
    type Stream = Stream<S>;
    type TlsConnect = To;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> Result<To, io::Error> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Ok(To { connector: TlsConnector::from(Arc::clone(&self.config)), name })
    }
}

/// One connection to be made safe.
pub(crate) struct To {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for To {
    type Stream = Stream<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let handshake = self.connector.connect(self.name, stream);
        Box::pin(async move { handshake.await.map(Stream) })
    }
}

/// A safe connection. Its login is bound to no channel.
pub(crate) struct Stream<S>(client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Stream<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
