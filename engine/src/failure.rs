//! Failures, named by what the caller does about them.

use std::fmt;

/// Why something could not be done. The variant is the caller's reaction; the text names the thing, the number and,
/// where there is one, the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// May heal by itself: try again with back-off. At start only for the bound that the user sets.
    Retry(String),
    /// What the user configured does not fit what is there (exit code 2). Only at start.
    Configuration(String),
    /// The source or the target cannot be used, or a position cannot be had, and waiting will not help (exit code 3).
    Unusable(String),
    /// Something met while running that must not be guessed or skipped: stop, keep the checkpoint (exit code 4).
    Fatal(String),
}

impl Failure {
    /// The text, without the reaction.
    pub fn message(&self) -> &str {
        match self {
            Self::Retry(text) | Self::Configuration(text) | Self::Unusable(text) | Self::Fatal(text) => text,
        }
    }

    /// The same failure with `context: ` before its text.
    #[must_use]
    pub fn context(self, context: &str) -> Self {
        match self {
            Self::Retry(text) => Self::Retry(format!("{context}: {text}")),
            Self::Configuration(text) => Self::Configuration(format!("{context}: {text}")),
            Self::Unusable(text) => Self::Unusable(format!("{context}: {text}")),
            Self::Fatal(text) => Self::Fatal(format!("{context}: {text}")),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.message())
    }
}

impl std::error::Error for Failure {}
