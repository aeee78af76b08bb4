//! What happens to an event that cannot be sent: stop, or write it down and go on.
//!
//! The dead-letter file is only appended to, one JSON line each. A line counts as dealt with once it is durable, so an
//! event is never acknowledged on the strength of a line that a crash could take away. What a crash leaves of a line
//! that was being written is cut off when the file is opened again: its event was not acknowledged and comes again.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::failure::Failure;
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
                let file = open_repaired(&path).map_err(|error| {
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

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::Fatal(format!("the dead-letter file {} cannot be written: {error}", path.display()))
}

/// Opens for appending, with everything after the last newline cut off.
fn open_repaired(path: &Path) -> io::Result<File> {
    let created = !path.exists();
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let length = file.metadata()?.len();
    let whole = whole_lines(&mut file, length)?;
    if whole < length {
        tracing::warn!(file = %path.display(), bytes = length - whole, "torn last line cut off");
        file.set_len(whole)?;
        file.sync_data()?;
    }
    if created {
        sync_directory(path)?;
    }
    Ok(file)
}

/// A new file's name is durable only with its directory.
fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// The length up to and including the last newline; looks from the end, 64 KiB at a time.
fn whole_lines(file: &mut File, length: u64) -> io::Result<u64> {
    const STEP: u64 = 64 * 1024;
    let mut chunk = Vec::new();
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(STEP);
        file.seek(SeekFrom::Start(start))?;
        chunk.clear();
        (&mut *file).take(end - start).read_to_end(&mut chunk)?;
        if let Some(index) = chunk.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + index as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn open(path: &Path) -> Rejects {
        Rejects::open(OnReject::DeadLetter(path.to_owned()), Arc::default()).unwrap()
    }

    #[test]
    fn a_dead_letter_is_one_line_appended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dead.jsonl");
        for line in [&b"{\"a\":1}"[..], b"{\"a\":2}\n"] {
            let mut rejects = open(&path);
            rejects.write("too large", line).unwrap();
            rejects.sync().unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"a\":1}\n{\"a\":2}\n");
    }

    #[test]
    fn a_torn_last_line_is_cut_off_at_open() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dead.jsonl");
        for (before, after) in [("one\ntwo\nto", "one\ntwo\n"), ("torn", ""), ("whole\n", "whole\n")] {
            fs::write(&path, before).unwrap();
            drop(open(&path));
            assert_eq!(fs::read_to_string(&path).unwrap(), after);
        }
        let long = format!("one\n{}", "x".repeat(200_000));
        fs::write(&path, long).unwrap();
        drop(open(&path));
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\n");
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
