//! What an error of the server means for a put: the event's own fault, or the end of the attempt.

use flowd_engine::failure::Failure;
use tokio_postgres::error::{DbError, Error, SqlState};

use crate::config::PostgresConfig;

/// A statement that did not do what it should.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It may do it once others have done theirs: a value that a unique index has already, a row that a foreign key misses.
    Unmet(String),
    /// The server refuses the row.
    Refused(String),
    /// Nothing to do with the row.
    Failed(Failure),
}

impl Fault {
    /// Where no event can be to blame.
    pub(crate) fn into_failure(self) -> Failure {
        match self {
            Self::Failed(failure) => failure,
            Self::Unmet(reason) | Self::Refused(reason) => Failure::Unusable(reason),
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error.as_db_error() {
            Some(told) => of_server(told),
            None => Self::Failed(Failure::Retry(format!("the connection failed: {}", causes(&error)))),
        }
    }
}

/// An error while connecting: what the server, TLS or the settings refuse does not heal.
pub(crate) fn connecting(error: &Error, config: &PostgresConfig) -> Failure {
    if let Some(told) = error.as_db_error() {
        return of_server(told).into_failure();
    }
    if let Some(refused) = flowd_tls::refusal(error) {
        return Failure::Unusable(config.tls.refused(&config.address(), refused));
    }
    let text = causes(error);
    if is_of_connection(error) { Failure::Retry(text) } else { Failure::Unusable(text) }
}

/// Whether the operating system tells of a broken connection, and not a setting.
fn is_of_connection(error: &Error) -> bool {
    let first: &(dyn std::error::Error + 'static) = error;
    let mut causes = std::iter::successors(Some(first), |cause| cause.source());
    error.is_closed() || causes.any(|cause| cause.is::<std::io::Error>())
}

/// An error and what is behind it.
fn causes(error: &Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(one) = cause {
        let text = one.to_string();
        if !texts.iter().any(|known| known.contains(&text)) {
            texts.push(text);
        }
        cause = one.source();
    }
    texts.join(": ")
}

fn of_server(told: &DbError) -> Fault {
    const UNMET: [SqlState; 3] =
        [SqlState::UNIQUE_VIOLATION, SqlState::EXCLUSION_VIOLATION, SqlState::FOREIGN_KEY_VIOLATION];
    /// Insufficient resources, an operator's intervention, errors of the system around the server.
    const HEALING_CLASSES: [&str; 4] = ["08", "53", "57", "58"];
    const HEALING: [SqlState; 8] = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        SqlState::OBJECT_IN_USE,
        // A pooler has given us another session.
        SqlState::INVALID_SQL_STATEMENT_NAME,
        SqlState::IN_FAILED_SQL_TRANSACTION,
    ];
    let (code, text) = (told.code(), text(told));
    let class = code.code().get(..2).unwrap_or_default();
    if UNMET.contains(code) {
        Fault::Unmet(text)
    } else if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        Fault::Failed(Failure::Unusable(format!(
            "the role lacks a right on the target: {text} (it needs SELECT, INSERT, UPDATE and DELETE)"
        )))
    } else if HEALING.contains(code) || HEALING_CLASSES.contains(&class) {
        Fault::Failed(Failure::Retry(text))
    } else {
        Fault::Refused(text)
    }
}

/// `message (SQLSTATE); detail`; a detail may be a whole row, and is cut.
fn text(told: &DbError) -> String {
    const DETAIL_CHARS_MAX: usize = 200;
    let mut text = format!("{} ({})", told.message(), told.code().code());
    if let Some(detail) = told.detail() {
        text.push_str("; ");
        text.extend(detail.chars().take(DETAIL_CHARS_MAX));
    }
    text
}
