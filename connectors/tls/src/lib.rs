//! TLS of the connectors: rustls with `ring`, by the files and modes that their settings name.
//!
//! From the bottom up: files and the settings that name them ([`pem`]); what a client promises ([`client`]), kept by `verify`;
//! a server that has a certificate ([`server`]); the settings that several connectors have in common ([`settings`]). When TLS
//! begins and how bytes go through it is each protocol's own. Revocation is not checked. Invariant: a mode that promises to
//! verify never ends in an unverified connection.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

use std::error::Error;
use std::io;
use std::sync::Arc;

use flowd_engine::failure::Failure;
use rustls::crypto::{CryptoProvider, ring};

pub mod pem;

pub mod client;
mod verify;

pub mod server;

pub mod settings;

/// Files that cannot be used as their settings say, which no waiting heals.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(String);

impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Self {
        Self::Unusable(error.0)
    }
}

/// What TLS itself refused, on this side or the other, where that is behind an error. No waiting heals it.
pub fn refusal<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut cause = Some(error);
    while let Some(one) = cause {
        // An I/O error does not name as its source what it is made of.
        let inner = one.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let found = one.downcast_ref().or_else(|| inner.and_then(|inner| inner.downcast_ref()));
        if found.is_some() {
            return found;
        }
        cause = one.source();
    }
    None
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("connecting")]
    struct Connecting(#[source] io::Error);

    #[test]
    fn a_refusal_is_told_from_a_connection_that_broke() {
        let refused = || io::Error::new(io::ErrorKind::InvalidData, rustls::Error::DecryptError);
        assert_eq!(refusal(&refused()), Some(&rustls::Error::DecryptError));
        assert_eq!(refusal(&Connecting(refused())), Some(&rustls::Error::DecryptError));
        assert_eq!(refusal(&rustls::Error::DecryptError), Some(&rustls::Error::DecryptError));
        assert_eq!(refusal(&Connecting(io::ErrorKind::ConnectionReset.into())), None);
    }
}
