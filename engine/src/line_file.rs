//! Files of lines that are only appended to: dead letters, events.
//!
//! Whoever appends counts a line as dealt with once it is durable. What a crash leaves of a line that was being written
//! is cut off when the file is opened again: it was not acknowledged, so its event comes again. A [`LineFile`] has one
//! writer, and groups its syncs: one for all that is written without a pause of [`LINGER`], or at the latest
//! [`SYNC_DELAY_MAX`] after the first line that waits for it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use tracing::warn;

use crate::back_off::BackOff;
use crate::failure::Failure;

/// How long a pause ends a run of lines that share a sync.
pub const LINGER: Duration = Duration::from_millis(2);
/// How long written lines wait for their sync at most.
pub const SYNC_DELAY_MAX: Duration = Duration::from_millis(100);
/// A full disk is tried again after this, doubling up to [`FULL_WAIT_MAX`].
const FULL_WAIT: Duration = Duration::from_millis(200);
const FULL_WAIT_MAX: Duration = Duration::from_secs(10);

/// A plain file that this process alone appends to.
#[derive(Debug)]
pub struct LineFile {
    file: File,
    path: PathBuf,
    unsynced: Option<Unsynced>,
}

/// When what is not synced was written.
#[derive(Debug, Clone, Copy)]
struct Unsynced {
    first: Instant,
    last: Instant,
}

impl LineFile {
    /// Opens the file at `path`, creating it if need be, locks it and cuts a torn line off.
    ///
    /// # Errors
    /// `Unusable`, naming the `setting` that the path is of.
    pub fn open(path: &Path, setting: &str) -> Result<Self, Failure> {
        let shown = path.display();
        let unusable = |error: io::Error| {
            Failure::Unusable(match error.kind() {
                ErrorKind::NotFound => {
                    format!("{setting}: the directory of {shown} does not exist; create it first")
                }
                _ => format!("{setting}: cannot append to {shown}: {error}"),
            })
        };
        let mut file = open(path).map_err(unusable)?;
        if !file.metadata().map_err(unusable)?.is_file() {
            return Err(Failure::Unusable(format!(
                "{setting}: {shown} is no plain file, and only one can be synced and repaired; name a file, or write to \
                 standard output"
            )));
        }
        match file.try_lock() {
            Ok(()) => {}
            // Two writers would tear each other's lines.
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::Unusable(format!(
                    "{setting}: {shown} is being written by another process; stop it or name another file"
                )));
            }
            Err(TryLockError::Error(error)) => {
                warn!(path = %shown, "the file system gives no lock, a second writer will not be noticed: {error}");
            }
        }
        repair(&mut file, path).map_err(unusable)?;
        Ok(Self { file, path: path.to_owned(), unsynced: None })
    }

    /// Its bytes.
    ///
    /// # Errors
    /// `Fatal`: what the file system says.
    pub fn size(&self) -> Result<u64, Failure> {
        self.file.metadata().map(|metadata| metadata.len()).map_err(|error| failed(&self.path, &error))
    }

    /// Appends whole lines, in one or more pieces; they wait for their sync. A full disk is waited for.
    ///
    /// # Errors
    /// `Fatal`: what the file system says.
    pub fn append<'a>(&mut self, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<(), Failure> {
        for piece in pieces {
            write_patiently(&mut self.file, piece, &self.path)?;
        }
        let now = Instant::now();
        let first = self.unsynced.map_or(now, |unsynced| unsynced.first);
        self.unsynced = Some(Unsynced { first, last: now });
        Ok(())
    }

    /// When the sync is due although nothing is appended.
    pub fn deadline(&self) -> Option<Instant> {
        self.unsynced.map(|Unsynced { first, last }| (last + LINGER).min(first + SYNC_DELAY_MAX))
    }

    /// Whether the sync is due although lines go on coming.
    pub fn is_overdue(&self) -> bool {
        self.unsynced.is_some_and(|unsynced| unsynced.first.elapsed() >= SYNC_DELAY_MAX)
    }

    /// Makes all that was appended durable.
    ///
    /// # Errors
    /// `Fatal`, also for the next call: a failed sync may have dropped the pages, and a second one that succeeds would
    /// prove nothing.
    pub fn sync(&mut self) -> Result<(), Failure> {
        if self.unsynced.is_none() {
            return Ok(());
        }
        self.file.sync_data().map_err(|error| {
            let path = self.path.display();
            Failure::Fatal(format!(
                "cannot sync {path}: {error}; the lines since the last sync are not acknowledged"
            ))
        })?;
        self.unsynced = None;
        Ok(())
    }
}

/// Writes all of `bytes`. A full disk heals when somebody makes room, so it is waited for, for ever.
fn write_patiently(file: &mut impl Write, mut bytes: &[u8], path: &Path) -> Result<(), Failure> {
    let mut back_off = BackOff::new(FULL_WAIT, FULL_WAIT_MAX);
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(failed(path, &ErrorKind::WriteZero.into())),
            Ok(written) => {
                bytes = &bytes[written..];
                back_off.reset();
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                let wait = back_off.wait();
                warn!(path = %path.display(), retry_ms = wait.as_millis(), "cannot append, will try again: {error}");
                thread::sleep(wait);
            }
            Err(error) => return Err(failed(path, &error)),
        }
    }
    Ok(())
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::Fatal(format!("cannot append to {}: {error}", path.display()))
}

/// Opens a file for appending, creating it if need be. It is not to be written to before [`repair`].
///
/// # Errors
/// What the file system says.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).open(path)
}

/// Cuts off what follows the last newline, and makes the file's name durable. The caller is the only writer.
///
/// # Errors
/// What the file system says.
pub fn repair(file: &mut File, path: &Path) -> io::Result<()> {
    let length = file.metadata()?.len();
    let whole = end_of_last_line(file, length)?;
    if whole < length {
        warn!(file = %path.display(), bytes = length - whole, "torn last line cut off; its event will come again");
        file.set_len(whole)?;
        file.sync_all()?;
    }
    // A new file's name is durable only with its directory.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// One past the last newline, searched from the end, 64 KiB at a time; 0 if there is none.
fn end_of_last_line(file: &mut File, length: u64) -> io::Result<u64> {
    const STEP: u64 = 64 * 1024;
    let mut chunk = Vec::new();
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(STEP);
        file.seek(SeekFrom::Start(start))?;
        chunk.clear();
        file.take(end - start).read_to_end(&mut chunk)?;
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

    #[test]
    fn a_torn_last_line_is_cut_off_and_whole_ones_stay() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lines");
        let long = format!("one\n{}", "x".repeat(200_000));
        let cases = [
            ("", ""),
            ("one\ntwo\nto", "one\ntwo\n"),
            ("torn", ""),
            ("whole\n", "whole\n"),
            (&long, "one\n"),
        ];
        for (before, after) in cases {
            fs::write(&path, before).unwrap();
            repair(&mut open(&path).unwrap(), &path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), after);
        }
    }

    #[test]
    fn lines_wait_for_one_sync_and_what_is_synced_waits_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lines");
        let mut lines = LineFile::open(&path, "s").unwrap();
        assert_eq!(lines.deadline(), None);
        lines.append([&b"one\n"[..], b"two\n"]).unwrap();
        let first = lines.deadline().unwrap();
        lines.append([]).unwrap();
        assert!(first <= lines.deadline().unwrap() && lines.size().unwrap() == 8);
        lines.sync().unwrap();
        assert!(lines.deadline().is_none() && !lines.is_overdue());
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn what_cannot_be_appended_to_is_unusable_and_names_the_setting() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("no/such/lines");
        for path in [missing.as_path(), directory.path(), Path::new("/dev/null")] {
            let failure = LineFile::open(path, "a.setting").unwrap_err();
            assert!(matches!(&failure, Failure::Unusable(text) if text.contains("a.setting")), "{failure:?}");
        }
        let path = directory.path().join("lines");
        let _first = LineFile::open(&path, "a.setting").unwrap();
        assert!(LineFile::open(&path, "a.setting").unwrap_err().message().contains("another process"));
    }

    #[test]
    fn a_full_disk_is_waited_for_and_loses_no_byte() {
        struct Full(Vec<u8>, usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.1 += 1;
                if self.1 == 2 {
                    return Err(ErrorKind::StorageFull.into());
                }
                let size = bytes.len().min(3);
                self.0.extend_from_slice(&bytes[..size]);
                Ok(size)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut disk = Full(Vec::new(), 0);
        write_patiently(&mut disk, b"{\"a\":1}\n", Path::new("f")).unwrap();
        assert_eq!(disk.0, b"{\"a\":1}\n");
    }
}
