//! The target `jsonl:PATH`: one structured CloudEvent a line, appended to a file.
//!
//! A parcel's bytes are the lines already (the `Line` framing), so a parcel is one write. Kept: nothing counts as
//! acknowledged before `fdatasync` returned, and a line torn by a crash is cut off at the next start; what was torn had
//! not been acknowledged and comes again. Syncs are grouped: one for all that arrives without a pause of
//! [`LINGER`], or at the latest [`SYNC_DELAY_MAX`] after the first unsynced write.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use flowd_engine::back_off::BackOff;
use flowd_engine::failure::Failure;
use flowd_engine::line_file;
use flowd_engine::parcel::Parcel;
use flowd_engine::worker::{Delivery, Outlet, Target};
use tracing::warn;

use crate::Outgoing;
use crate::arrival::{Arrival, next_until};

/// How long a pause ends a run of parcels that share a sync.
pub const LINGER: Duration = Duration::from_millis(10);
/// How long written lines wait for their sync at most.
pub const SYNC_DELAY_MAX: Duration = Duration::from_millis(100);
/// A full disk is tried again after this, doubling up to [`FULL_WAIT_MAX`].
const FULL_WAIT: Duration = Duration::from_millis(200);
const FULL_WAIT_MAX: Duration = Duration::from_secs(10);

/// Appends lines to a file.
#[derive(Debug)]
pub struct JsonlTarget {
    path: PathBuf,
    file: Option<File>,
}

impl JsonlTarget {
    /// For the file at `path`, which `start` creates if need be.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), file: None }
    }

    fn unusable(&self, error: &io::Error) -> Failure {
        let path = self.path.display();
        Failure::Unusable(match error.kind() {
            ErrorKind::NotFound => {
                format!("pipeline.target: the directory of {path} does not exist; create it first")
            }
            _ => format!("pipeline.target: cannot append to {path}: {error}"),
        })
    }
}

impl Target<Outgoing> for JsonlTarget {
    fn start(&mut self) -> Result<(), Failure> {
        let mut file = line_file::open(&self.path).map_err(|error| self.unusable(&error))?;
        let metadata = file.metadata().map_err(|error| self.unusable(&error))?;
        if !metadata.is_file() {
            let path = self.path.display();
            return Err(Failure::Unusable(format!(
                "pipeline.target: {path} is not a plain file, and only one can be synced and repaired; name a file, or \
                 use `stdout` or `drop`"
            )));
        }
        lock(&file, &self.path)?;
        line_file::repair(&mut file, &self.path).map_err(|error| self.unusable(&error))?;
        self.file = Some(file);
        Ok(())
    }

    fn run(self: Box<Self>, parcels: &mut dyn Outlet<Outgoing>) -> Result<(), Failure> {
        let Self { path, file } = *self;
        let file = file.expect("run follows a start that succeeded");
        let mut lines = Lines { file, path: &path, unsynced: None };
        loop {
            let arrival = match &lines.unsynced {
                None => parcels.next().map_or(Arrival::End, Arrival::Parcel),
                Some(unsynced) => next_until(parcels, unsynced.deadline()),
            };
            match arrival {
                Arrival::Parcel(delivery) => lines.append(delivery, parcels)?,
                Arrival::Nothing => lines.sync(parcels)?,
                Arrival::End => return lines.sync(parcels),
            }
        }
    }
}

/// Written, but perhaps not on the disk.
struct Unsynced {
    ticket: u64,
    since: Instant,
    last: Instant,
}

impl Unsynced {
    fn deadline(&self) -> Instant {
        (self.last + LINGER).min(self.since + SYNC_DELAY_MAX)
    }
}

struct Lines<'a> {
    file: File,
    path: &'a Path,
    unsynced: Option<Unsynced>,
}

impl Lines<'_> {
    fn append(
        &mut self,
        delivery: Delivery<Outgoing>,
        parcels: &mut dyn Outlet<Outgoing>,
    ) -> Result<(), Failure> {
        let Delivery { ticket, parcel } = delivery;
        for run in runs(&parcel) {
            write_patiently(&mut self.file, run, self.path)?;
        }
        parcels.emitted(ticket);
        // The file system has the bytes now; holding the parcel until the sync would only hold up the lanes.
        parcels.recycle(parcel);
        let now = Instant::now();
        let since = self.unsynced.as_ref().map_or(now, |unsynced| unsynced.since);
        self.unsynced = Some(Unsynced { ticket, since, last: now });
        if now >= since + SYNC_DELAY_MAX { self.sync(parcels) } else { Ok(()) }
    }

    fn sync(&mut self, parcels: &mut dyn Outlet<Outgoing>) -> Result<(), Failure> {
        let Some(Unsynced { ticket, .. }) = self.unsynced.take() else { return Ok(()) };
        // A failed sync may have dropped the pages: a second one that succeeds would prove nothing.
        self.file.sync_data().map_err(|error| {
            let path = self.path.display();
            Failure::Fatal(format!(
                "cannot sync {path}: {error}; the lines since the last sync are not acknowledged"
            ))
        })?;
        parcels.acked(ticket);
        Ok(())
    }
}

/// The parcel's bytes in as few slices as they allow: events lie back to back, so usually one.
pub(crate) fn runs(parcel: &Parcel<Outgoing>) -> impl Iterator<Item = &[u8]> {
    parcel
        .events
        .chunk_by(|before, after| before.event.end == after.event.start)
        .map(|run| &parcel.buffer[run[0].event.start as usize..run[run.len() - 1].event.end as usize])
}

/// Writes all of `bytes`. A full disk heals when somebody makes room, so it is waited for, for ever.
fn write_patiently(file: &mut impl Write, mut bytes: &[u8], path: &Path) -> Result<(), Failure> {
    let mut back_off = BackOff::new(FULL_WAIT, FULL_WAIT_MAX);
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(Failure::Fatal(format!("{} takes no more bytes", path.display()))),
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
            Err(error) => {
                return Err(Failure::Fatal(format!("cannot append to {}: {error}", path.display())));
            }
        }
    }
    Ok(())
}

/// Two writers would tear each other's lines.
fn lock(file: &File, path: &Path) -> Result<(), Failure> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(Failure::Unusable(format!(
            "pipeline.target: {} is being written by another process; stop it or name another file",
            path.display()
        ))),
        Err(TryLockError::Error(error)) => {
            warn!(path = %path.display(), "the file system gives no lock, a second writer will not be noticed: {error}");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing::{FakeParcels, line_parcel};

    fn run(path: &Path, parcels: &mut FakeParcels) -> Result<(), Failure> {
        let mut target = JsonlTarget::new(path);
        target.start()?;
        Box::new(target).run(parcels)
    }

    #[test]
    fn lines_are_appended_whole_and_acknowledged_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.jsonl");
        fs::write(&path, "{\"old\":1}\n").unwrap();
        let mut parcels = FakeParcels::ending(vec![
            line_parcel(&["{\"a\":1}", "{\"a\":2}"]),
            line_parcel(&[]),
            line_parcel(&["{\"a\":3}"]),
        ]);
        run(&path, &mut parcels).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"old\":1}\n{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n");
        assert_eq!(parcels.emitted, [0, 1, 2]);
        assert_eq!(parcels.acked.last(), Some(&2));
        assert_eq!(parcels.recycled, 3);
    }

    #[test]
    fn nothing_is_acknowledged_before_its_lines_are_in_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.jsonl");
        let mut parcels =
            FakeParcels::ending((0..40).map(|n| line_parcel(&[&format!("{{\"n\":{n}}}")])).collect());
        let watched = path.clone();
        parcels.on_acked = Some(Box::new(move |ticket| {
            let lines = fs::read_to_string(&watched).unwrap().lines().count() as u64;
            assert!(lines > ticket, "ticket {ticket} acknowledged with {lines} lines");
        }));
        run(&path, &mut parcels).unwrap();
        assert_eq!(parcels.acked.last(), Some(&39));
        assert!(parcels.acked.len() < 40, "{} syncs for a run of 40 parcels", parcels.acked.len());
    }

    #[test]
    fn an_idle_file_is_synced_without_waiting_for_more() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.jsonl");
        let mut parcels = FakeParcels::ending(vec![line_parcel(&["{}"])]);
        // The second parcel comes only once the first is acknowledged.
        parcels.then_when_acked(0, line_parcel(&["{}"]));
        run(&path, &mut parcels).unwrap();
        assert_eq!(parcels.acked, [0, 1]);
    }

    #[test]
    fn a_torn_last_line_is_cut_off_at_start() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.jsonl");
        let long = "x".repeat(200_000);
        for (before, after) in [
            ("{\"a\":1}\n{\"b\":".to_owned(), "{\"a\":1}\n"),
            ("{\"a\"".to_owned(), ""),
            (format!("{{\"a\":1}}\n{long}"), "{\"a\":1}\n"),
            ("{\"a\":1}\n".to_owned(), "{\"a\":1}\n"),
            (String::new(), ""),
        ] {
            fs::write(&path, before).unwrap();
            run(&path, &mut FakeParcels::ending(vec![])).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), after);
        }
    }

    #[test]
    fn what_cannot_be_appended_to_is_unusable_and_names_the_setting() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("no/such/out.jsonl");
        for path in [missing.as_path(), directory.path(), Path::new("/dev/null")] {
            let failure = JsonlTarget::new(path).start().unwrap_err();
            assert!(
                matches!(&failure, Failure::Unusable(text) if text.contains("pipeline.target")),
                "{failure:?}"
            );
        }
        let path = directory.path().join("out.jsonl");
        let mut first = JsonlTarget::new(&path);
        first.start().unwrap();
        let second = JsonlTarget::new(&path).start().unwrap_err();
        assert!(second.message().contains("another process"), "{second:?}");
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
