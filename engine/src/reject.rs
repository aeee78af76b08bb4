//! What happens to an event that cannot be sent: stop, or write it down and go on.
//!
//! The dead-letter file is only appended to, one JSON line each. A line counts as dealt with once it is durable, so an
//! event is never acknowledged on the strength of a line that a crash could take away.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::failure::Failure;
use crate::line_file;
use crate::metrics::Metrics;

/// What the user wants done with an event that cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OnReject {
    /// Stop the pipeline with a fatal failure. The position stays before the event.
    #[default]
    Stop,
    /// Append it to this file and go on.
    DeadLetter(PathBuf),
}

/// Follows `onReject`.
pub struct Rejects {
    policy: Policy,
    metrics: Arc<Metrics>,
}

enum Policy {
    Stop,
    DeadLetter { path: PathBuf, file: File, line: Vec<u8> },
}

impl Rejects {
    /// Opens the dead-letter file, creating it if need be and cutting off a torn last line.
    ///
    /// # Errors
    /// `Unusable`, naming the file.
    pub fn open(on_reject: OnReject, metrics: Arc<Metrics>) -> Result<Self, Failure> {
        let policy = match on_reject {
            OnReject::Stop => Policy::Stop,
            OnReject::DeadLetter(path) => {
                let file = open(&path).map_err(|error| {
                    Failure::Unusable(format!(
                        "the dead-letter file {} cannot be opened: {error}",
                        path.display()
                    ))
                })?;
                Policy::DeadLetter { path, file, line: Vec::new() }
            }
        };
        Ok(Self { policy, metrics })
    }

    /// Writes one dead letter without making it durable yet; [`sync`](Self::sync) does.
    ///
    /// # Errors
    /// `Fatal`: the reason itself where the policy is to stop, else what the file system says.
    pub fn write(&mut self, reason: &str, text: &[u8]) -> Result<(), Failure> {
        self.metrics.rejects.add(1);
        match &mut self.policy {
            Policy::Stop => Err(Failure::Fatal(format!(
                "an event cannot be sent: {reason}; `pipeline.onReject: deadLetter` writes such events to a file and goes on"
            ))),
            Policy::DeadLetter { path, file, line } => {
                tracing::warn!(reason, file = %path.display(), "event written to the dead-letter file");
                line.clear();
                line.extend_from_slice(text.strip_suffix(b"\n").unwrap_or(text));
                line.push(b'\n');
                // One write, so that only the last line can be torn.
                file.write_all(line).map_err(|error| failed(path, &error))
            }
        }
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// `Fatal`, naming the file.
    pub fn sync(&mut self) -> Result<(), Failure> {
        match &mut self.policy {
            Policy::Stop => Ok(()),
            Policy::DeadLetter { path, file, .. } => file.sync_data().map_err(|error| failed(path, &error)),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut file = line_file::open(path)?;
    line_file::repair(&mut file, path)?;
    Ok(file)
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::Fatal(format!("the dead-letter file {} cannot be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn rejects(path: &Path) -> Rejects {
        Rejects::open(OnReject::DeadLetter(path.to_owned()), Arc::default()).unwrap()
    }

    #[test]
    fn a_dead_letter_is_one_line_appended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dead.jsonl");
        for line in [&b"{\"a\":1}"[..], b"{\"a\":2}\n"] {
            let mut rejects = rejects(&path);
            rejects.write("too large", line).unwrap();
            rejects.sync().unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"a\":1}\n{\"a\":2}\n");
    }

    #[test]
    fn the_stop_policy_fails_with_the_reason() {
        let metrics = Arc::new(Metrics::default());
        let mut rejects = Rejects::open(OnReject::Stop, metrics.clone()).unwrap();
        let failure = rejects.write("event of 5000000 bytes", b"{}").unwrap_err();
        assert!(matches!(&failure, Failure::Fatal(text) if text.contains("event of 5000000 bytes")));
        assert_eq!(metrics.rejects.value(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let missing = OnReject::DeadLetter(PathBuf::from("/nonexistent/dead.jsonl"));
        let failure = Rejects::open(missing, Arc::default()).err().unwrap();
        assert!(matches!(&failure, Failure::Unusable(text) if text.contains("/nonexistent/dead.jsonl")));
    }
}
