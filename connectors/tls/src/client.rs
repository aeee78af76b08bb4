//! What a client promises of its connection, and rustls' configuration that keeps it.

use std::sync::Arc;

use rustls::ClientConfig;

use crate::pem::{KeyPair, PemFile};
use crate::verify::{Trust, Verifier, explain};
use crate::{TlsError, provider};

/// Who may have signed a server's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorities {
    /// Those that this machine trusts.
    Machine,
    /// Those in a file. A server's self-made certificate may be in it; it is then trusted as it is, whatever its dates.
    File(PemFile),
}

impl Authorities {
    /// Those in the file, where there is one.
    pub fn of(file: Option<PemFile>) -> Self {
        file.map_or(Self::Machine, Self::File)
    }
}

/// How a connection is protected, with what that needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsMode {
    /// Plain TCP.
    Disabled,
    /// TLS where offered, unverified.
    Preferred,
    /// TLS, unverified.
    Required,
    /// TLS, and the certificate comes from these authorities; its name does not matter.
    VerifyCa(Authorities),
    /// TLS, and the certificate comes from these authorities and names the host, as a subject alternative name.
    VerifyIdentity(Authorities),
}

impl TlsMode {
    /// Whose word counts, where one does.
    pub(crate) fn authorities(&self) -> Option<&Authorities> {
        match self {
            Self::Disabled | Self::Preferred | Self::Required => None,
            Self::VerifyCa(authorities) | Self::VerifyIdentity(authorities) => Some(authorities),
        }
    }
}

/// A client's side of TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// What is promised.
    pub mode: TlsMode,
    /// What is shown to a server that asks.
    pub certificate: Option<KeyPair>,
}

impl ClientTls {
    /// A configuration for connections with TLS. It reads the files.
    ///
    /// # Errors
    /// A file that cannot be used, with its setting, or that this machine trusts nobody.
    pub fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = provider();
        let verifier = Verifier::new(Trust::of(&self.mode)?, provider.clone());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError(format!("TLS: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let Some(own) = &self.certificate else {
            return Ok(Arc::new(builder.with_no_client_auth()));
        };
        let (chain, key) = own.read()?;
        builder.with_client_auth_cert(chain, key).map(Arc::new).map_err(|error| own.wrong(&error))
    }

    /// Why there is no TLS with a peer, in words.
    pub fn refused(&self, peer: &str, error: &rustls::Error) -> String {
        match error {
            rustls::Error::InvalidCertificate(reason) => {
                let reason = explain(reason, self.mode.authorities());
                format!("the certificate of {peer} is not accepted: {reason}")
            }
            other => format!("TLS with {peer}: {other}"),
        }
    }
}
