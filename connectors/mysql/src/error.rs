//! What goes wrong between us and the server, and what the caller does about it.
//!
//! Not a decision about positions or rows: those are the stream's. Invariant: no text here holds a password.

use std::io;

use flowd_engine::failure::Failure;
use flowd_tls::TlsError;

/// Why a login, a command or a query failed.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The server's answer is an error packet (Protocol manual, ERR_Packet).
    #[error("the server says {code} ({state}): {message}")]
    Server {
        /// The error number, as 1045.
        code: u16,
        /// The SQLSTATE, five characters; `-----` where the server sent none.
        state: String,
        /// The server's own text.
        message: String,
    },
    /// The connection failed, timed out or ended.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The server sent what the protocol does not allow here.
    #[error("unexpected answer of the server: {0}")]
    Protocol(String),
    /// The server can be reached but not used as configured: TLS, authentication method, certificate.
    #[error("{0}")]
    Refused(String),
}

impl WireError {
    /// The server's error number, where the server answered with one.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Server { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the same attempt may succeed later without anybody changing anything.
    pub fn heals(&self) -> bool {
        match self {
            Self::Server { code, state, .. } => server_error_heals(*code, state),
            Self::Io(_) => true,
            Self::Protocol(_) | Self::Refused(_) => false,
        }
    }

    /// The failure with `context: ` before its text: `Retry` where it may heal, else `Unusable`.
    #[must_use]
    pub fn into_failure(self, context: &str) -> Failure {
        let text = format!("{context}: {self}");
        if self.heals() { Failure::Retry(text) } else { Failure::Unusable(text) }
    }
}

impl From<TlsError> for WireError {
    fn from(error: TlsError) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        let text = error.to_string();
        if error.heals() { Self::Retry(text) } else { Self::Unusable(text) }
    }
}

/// Errors of load, of shutdown and of lost connections heal; refusals, missing rights and statements that the server
/// does not understand do not.
fn server_error_heals(code: u16, state: &str) -> bool {
    const HEALING: [u16; 21] = [
        1021, // disk full, the server waits
        1037, 1038, 1041, // out of memory
        1040, // too many connections
        1043, // bad handshake, as a server says that is going down
        1053, // server shutdown in progress
        1129, // host blocked until somebody flushes hosts
        1135, // cannot create a thread
        1152, 1158, 1159, 1160, 1161, 1184, // aborted connection, network errors
        1203, 1226, // the user's own connection limits
        1205, // lock wait time-out
        1317, // query interrupted
        1927, 3169, // the connection or the session was killed
    ];
    HEALING.contains(&code) || ["08", "40"].iter().any(|class| state.starts_with(class)) || state == "70100"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure_of(code: u16, state: &str) -> Failure {
        WireError::Server { code, state: state.into(), message: "text".into() }.into()
    }

    #[test]
    fn refused_credentials_and_missing_rights_are_unusable_at_once() {
        for (code, state) in
            [(1045, "28000"), (1698, "28000"), (1044, "42000"), (1227, "42000"), (1142, "42000")]
        {
            assert!(matches!(failure_of(code, state), Failure::Unusable(_)), "{code}");
        }
    }

    #[test]
    fn load_shutdown_and_lost_connections_are_retried() {
        for (code, state) in [(1040, "08004"), (1053, "08S01"), (1927, "70100"), (1226, "42000")] {
            assert!(matches!(failure_of(code, state), Failure::Retry(_)), "{code}");
        }
        let reset = WireError::Io(io::Error::from(io::ErrorKind::ConnectionReset));
        assert!(matches!(Failure::from(reset), Failure::Retry(_)));
    }

    #[test]
    fn a_failure_names_the_server_error_number_and_text() {
        let failure =
            WireError::Server { code: 1045, state: "28000".into(), message: "Access denied".into() }
                .into_failure("login to db1:3306 as cdc");
        assert_eq!(
            failure.message(),
            "login to db1:3306 as cdc: the server says 1045 (28000): Access denied"
        );
    }
}
