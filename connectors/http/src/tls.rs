//! rustls' configurations, with `ring`: of a server that has a certificate, and of a client that demands one.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use flowd_engine::failure::Failure;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// A server's, from the files of its certificate (with the chain behind it) and its key.
///
/// # Errors
/// `Unusable`, naming setting and file.
pub(crate) fn server(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, Failure> {
    let chain = certificates("tlsCert", certificate)?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| of_file("tlsKey", key, &error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret));
    config.map(Arc::new).map_err(|error| {
        Failure::Unusable(format!("tlsCert {} with tlsKey {}: {error}", certificate.display(), key.display()))
    })
}

/// A client's that trusts the authorities in a file, or without one those of the machine.
///
/// # Errors
/// `Unusable`, naming what is wrong.
pub(crate) fn client(authorities: Option<&Path>) -> Result<Arc<ClientConfig>, Failure> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(path) => {
            for certificate in certificates("sslCa", path)? {
                roots.add(certificate).map_err(|error| of_file("sslCa", path, &error))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            let (added, _) = roots.add_parsable_certificates(found.certs);
            if added == 0 {
                let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
                return Err(Failure::Unusable(format!(
                    "this machine has no certificates of authorities ({}); install ca-certificates, or name a file by sslCa",
                    reasons.join("; ")
                )));
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::Unusable(format!("TLS: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
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
