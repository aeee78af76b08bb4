//! What a look at a source or at a sink's target finds, each with what mends it.

use std::fmt;

/// How bad a finding is; the worst is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Note,
    /// It works, with a loss.
    Warning,
    /// It does not work.
    Problem,
}

/// One thing that is missing, or not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What is so, with names and numbers.
    pub what: String,
    /// The statement or the configuration line that mends it.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Problem => "problem",
        };
        write!(formatter, "{severity}: {}\n    mend: {}", self.what, self.remedy)
    }
}
