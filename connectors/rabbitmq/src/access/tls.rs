//! rustls' configuration of a client, with `ring`: the server's certificate must be trusted and name the host.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flowd_engine::failure::Failure;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// The files that the settings name.
#[derive(Debug, Clone)]
pub(super) struct Files {
    /// Without them, the authorities that this machine trusts.
    pub(super) authorities: Option<PathBuf>,
    /// Our own certificate and its key.
    pub(super) certificate: Option<(PathBuf, PathBuf)>,
}

impl Files {
    /// Reads them anew, since certificates are renewed.
    pub(super) fn client(&self) -> Result<Arc<ClientConfig>, Failure> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::Unusable(format!("TLS: {error}")))?
            .with_root_certificates(self.roots()?);
        let Some((certificate, key)) = &self.certificate else {
            return Ok(Arc::new(builder.with_no_client_auth()));
        };
        let chain = certificates("sslCert", certificate)?;
        let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| of_file("sslKey", key, &error))?;
        let config = builder.with_client_auth_cert(chain, secret);
        config.map(Arc::new).map_err(|error| of_file("sslCert", certificate, &error))
    }

    fn roots(&self) -> Result<RootCertStore, Failure> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = &self.authorities {
            for certificate in certificates("sslCa", path)? {
                roots.add(certificate).map_err(|error| of_file("sslCa", path, &error))?;
            }
            return Ok(roots);
        }
        let found = rustls_native_certs::load_native_certs();
        if roots.add_parsable_certificates(found.certs).0 == 0 {
            return Err(Failure::Unusable(
                "this machine has no certificates of authorities; install ca-certificates, or name a file by sslCa".into(),
            ));
        }
        Ok(roots)
    }
}

fn certificates(setting: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| of_file(setting, path, &error))?;
    if certificates.is_empty() {
        return Err(of_file(setting, path, &pem::Error::NoItemsFound));
    }
    Ok(certificates)
}

fn of_file(setting: &str, path: &Path, error: &dyn fmt::Display) -> Failure {
    Failure::Unusable(format!("connectorConfig.{setting}: {}: {error}", path.display()))
}

/// Whether TLS was refused by one of the two sides, which no waiting heals.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}
