//! Files of lines that are only appended to: dead letters, events.
//!
//! Whoever appends counts a line as dealt with once it is durable. What a crash leaves of a line that was being written
//! is cut off when the file is opened again: it was not acknowledged, so its event comes again. A [`LineFile`] has one
//! writer, and groups its syncs: one for all that is written without a pause of [`LINGER`], or at the latest
//! [`SYNC_DELAY_MAX`] after the first line that waits for it. The writer does not wait for them.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use tracing::warn;

use crate::arrival::{Arrival, next_or};
use crate::back_off::BackOff;
use crate::failure::Failure;
use crate::wake::with_thread_waker;
use crate::worker::Outlet;
use syncer::Syncer;

mod syncer;

/// How long a pause ends a run of lines that share a sync.
pub const LINGER: Duration = Duration::from_millis(2);
/// How long written lines wait for their sync at most.
pub const SYNC_DELAY_MAX: Duration = Duration::from_millis(100);
/// A full disk is tried again after this, doubling up to [`FULL_WAIT_MAX`].
const FULL_WAIT: Duration = Duration::from_millis(200);
const FULL_WAIT_MAX: Duration = Duration::from_secs(10);

/// A plain file that this process alone appends to. Each append has a mark, which its writer gets back once all up to it is
/// durable.
pub struct LineFile<M> {
    file: File,
    path: PathBuf,
    syncer: Syncer,
    unsynced: Option<Unsynced<M>>,
    syncing: Option<Syncing<M>>,
}

/// What is written, and in no sync yet.
#[derive(Debug, Clone, Copy)]
struct Unsynced<M> {
    mark: M,
    /// When the first of it was written.
    first: Instant,
    /// When its sync is to begin.
    due: Instant,
}

/// A sync that has begun.
#[derive(Debug)]
struct Syncing<M> {
    mark: M,
    ended: Option<io::Result<()>>,
}

impl<M: Copy> LineFile<M> {
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
        let written = file.try_clone().map_err(unusable)?;
        let syncer = Syncer::start(move || written.sync_data()).map_err(unusable)?;
        Ok(Self { file, path: path.to_owned(), syncer, unsynced: None, syncing: None })
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
    pub fn append<'a>(&mut self, pieces: impl IntoIterator<Item = &'a [u8]>, mark: M) -> Result<(), Failure> {
        for piece in pieces {
            write_patiently(&mut self.file, piece, &self.path)?;
        }
        let now = Instant::now();
        let first = self.unsynced.as_ref().map_or(now, |unsynced| unsynced.first);
        let due = (now + LINGER).min(first + SYNC_DELAY_MAX);
        self.unsynced = Some(Unsynced { mark, first, due });
        Ok(())
    }

    /// What is written is not to wait for more.
    pub fn hasten(&mut self) {
        self.unsynced.iter_mut().for_each(|unsynced| unsynced.due = unsynced.first);
    }

    /// The next parcel. `Nothing` at `until`, and when there is something to [`settle`](Self::settle).
    pub fn next<E>(&mut self, parcels: &mut dyn Outlet<E>, until: Option<Instant>) -> Arrival<E> {
        // One sync at a time: the next one begins when this one ends.
        let due = self.unsynced.as_ref().filter(|_| self.syncing.is_none()).map(|unsynced| unsynced.due);
        next_or(parcels, due.into_iter().chain(until).min(), |context| self.has_ended(context))
    }

    /// Begins the sync that is due, if any is, and gives the mark up to which all is durable, if that is news.
    ///
    /// # Errors
    /// `Fatal`, as [`sync`](Self::sync).
    pub fn settle(&mut self) -> Result<Option<M>, Failure> {
        let has_ended = with_thread_waker(|waker| self.has_ended(&mut Context::from_waker(waker)));
        let synced = if has_ended { self.end()? } else { None };
        if self.syncing.is_none()
            && let Some(Unsynced { mark, .. }) =
                self.unsynced.take_if(|unsynced| unsynced.due <= Instant::now())
        {
            self.begin(mark);
        }
        Ok(synced)
    }

    /// Makes all that was appended durable, and waits for it; the mark, if that is news.
    ///
    /// # Errors
    /// `Fatal`: a failed sync may have dropped the pages, and a second one that succeeds would prove nothing.
    pub fn sync(&mut self) -> Result<Option<M>, Failure> {
        let before = self.end()?;
        if let Some(Unsynced { mark, .. }) = self.unsynced.take() {
            self.begin(mark);
        }
        Ok(self.end()?.or(before))
    }

    fn begin(&mut self, mark: M) {
        self.syncing = Some(Syncing { mark, ended: None });
        self.syncer.begin();
    }

    /// Whether a sync has ended that was under way.
    fn has_ended(&mut self, context: &mut Context<'_>) -> bool {
        let Some(Syncing { ended, .. }) = &mut self.syncing else { return false };
        if ended.is_none()
            && let Poll::Ready(result) = self.syncer.poll(context)
        {
            *ended = Some(result);
        }
        ended.is_some()
    }

    /// Waits for the sync that is under way, if one is.
    fn end(&mut self) -> Result<Option<M>, Failure> {
        let Some(Syncing { mark, ended }) = self.syncing.take() else { return Ok(None) };
        let result = ended.unwrap_or_else(|| self.syncer.wait());
        result.map(|()| Some(mark)).map_err(|error| {
            let path = self.path.display();
            Failure::Fatal(format!(
                "cannot sync {path}: {error}; the lines since the last sync are not acknowledged"
            ))
        })
    }
}

impl<M> fmt::Debug for LineFile<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LineFile").field("path", &self.path).finish_non_exhaustive()
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
    use std::sync::mpsc;

    use super::*;
    use crate::parcel::Parcel;
    use crate::worker::Delivery;

    /// An outlet to which nothing comes.
    struct Nobody;

    impl Outlet<()> for Nobody {
        fn next(&mut self) -> Option<Delivery<()>> {
            unreachable!("a file waits with a bound")
        }
        fn poll_next(&mut self, _context: &mut Context<'_>) -> Poll<Option<Delivery<()>>> {
            Poll::Pending
        }
        fn emitted(&mut self, _ticket: u64) {}
        fn acked(&mut self, _ticket: u64) {}
        fn recycle(&mut self, _parcel: Parcel<()>) {}
        fn reject(&mut self, _reason: &str, _line: &[u8]) -> Result<(), Failure> {
            Ok(())
        }
    }

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

    /// Files whose syncs end when and as they are told.
    fn told(path: &Path) -> (LineFile<u64>, mpsc::Sender<io::Result<()>>) {
        let (tell, told) = mpsc::channel();
        let syncer = Syncer::start(move || told.recv().expect("a test tells how each sync ends")).unwrap();
        let file = open(path).unwrap();
        (LineFile { file, path: path.to_owned(), syncer, unsynced: None, syncing: None }, tell)
    }

    /// What is durable once a sync has ended.
    fn settled(lines: &mut LineFile<u64>) -> Result<Option<u64>, Failure> {
        let mut parcels = Nobody;
        assert!(matches!(lines.next(&mut parcels, None), Arrival::Nothing));
        lines.settle()
    }

    #[test]
    fn lines_wait_for_one_sync_and_their_marks_are_told_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lines");
        let mut lines = LineFile::open(&path, "s").unwrap();
        assert_eq!((lines.settle().unwrap(), lines.sync().unwrap()), (None, None));
        lines.append([&b"one\n"[..], b"two\n"], 1).unwrap();
        lines.append([&b"three\n"[..]], 2).unwrap();
        assert_eq!(lines.size().unwrap(), 14);
        // It is not due at once, then it begins, then it ends.
        assert_eq!((settled(&mut lines).unwrap(), settled(&mut lines).unwrap()), (None, Some(2)));
        assert_eq!((lines.settle().unwrap(), lines.sync().unwrap()), (None, None));
        lines.append([&b"four\n"[..]], 3).unwrap();
        assert_eq!(lines.sync().unwrap(), Some(3));
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\nthree\nfour\n");
    }

    #[test]
    fn a_sync_holds_up_no_line_and_covers_none_that_came_after_its_beginning() {
        let directory = tempfile::tempdir().unwrap();
        let (mut lines, tell) = told(&directory.path().join("lines"));
        lines.append([&b"one\n"[..]], 1).unwrap();
        lines.hasten();
        assert_eq!(lines.settle().unwrap(), None, "begun");
        lines.append([&b"two\n"[..]], 2).unwrap();
        lines.hasten();
        assert_eq!((lines.settle().unwrap(), lines.size().unwrap()), (None, 8), "one at a time");
        tell.send(Ok(())).unwrap();
        assert_eq!(settled(&mut lines).unwrap(), Some(1));
        tell.send(Ok(())).unwrap();
        assert_eq!(settled(&mut lines).unwrap(), Some(2));
        lines.append([&b"three\n"[..]], 3).unwrap();
        lines.hasten();
        assert_eq!(lines.settle().unwrap(), None);
        lines.append([&b"four\n"[..]], 4).unwrap();
        for _ in 0..2 {
            tell.send(Ok(())).unwrap();
        }
        assert_eq!(lines.sync().unwrap(), Some(4), "the one under way, and one for the rest");
    }

    #[test]
    fn what_a_failed_sync_was_to_cover_is_never_told_to_be_durable() {
        let directory = tempfile::tempdir().unwrap();
        for is_waited_for in [false, true] {
            let (mut lines, tell) = told(&directory.path().join("lines"));
            lines.append([&b"one\n"[..]], 1).unwrap();
            tell.send(Err(io::Error::other("broken"))).unwrap();
            let failure = if is_waited_for {
                lines.sync().unwrap_err()
            } else {
                lines.hasten();
                assert_eq!(lines.settle().unwrap(), None);
                settled(&mut lines).unwrap_err()
            };
            assert!(matches!(&failure, Failure::Fatal(text) if text.contains("broken")), "{failure:?}");
        }
    }

    #[test]
    fn what_cannot_be_appended_to_is_unusable_and_names_the_setting() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("no/such/lines");
        for path in [missing.as_path(), directory.path(), Path::new("/dev/null")] {
            let failure = LineFile::<()>::open(path, "a.setting").unwrap_err();
            assert!(matches!(&failure, Failure::Unusable(text) if text.contains("a.setting")), "{failure:?}");
        }
        let path = directory.path().join("lines");
        let _first = LineFile::<()>::open(&path, "a.setting").unwrap();
        assert!(LineFile::<()>::open(&path, "a.setting").unwrap_err().message().contains("another process"));
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
