//! A server that shows a certificate and asks its clients for none.

use std::sync::Arc;

use rustls::ServerConfig;

use crate::pem::KeyPair;
use crate::{TlsError, provider};

/// Its configuration.
///
/// # Errors
/// A file that cannot be used, with its setting.
pub fn config(own: &KeyPair) -> Result<Arc<ServerConfig>, TlsError> {
    let (chain, key) = own.read()?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
    config.map(Arc::new).map_err(|error| own.wrong(&error))
}
