//! The thread that makes publishes and cursors durable: one write and one sync for all that came meanwhile.
//!
//! The only place that writes the journal's files. Invariant: a segment is synced before the next one is created, and
//! a file is removed only after the commit that made it dispensable is synced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::broker::{Commit, Shared};
use super::journal;

/// How long cursors may wait for company when no publisher waits.
const LINGER: Duration = Duration::from_millis(3);

/// Commits until `stop` is set and nothing is left.
///
/// # Errors
/// The journal cannot be written; the broker knows, and no publisher is told otherwise.
pub(crate) fn run(shared: &Shared, stop: &AtomicBool) -> io::Result<()> {
    let mut open = None;
    loop {
        // Acquire pairs with the Release of the stopping thread: what was published before it is seen here.
        let stopping = stop.load(Ordering::Acquire);
        let Some(commit) = next(shared, stopping)? else { return Ok(()) };
        match write(&commit, &mut open) {
            Ok(files) => shared.lock().finish_commit(commit.end, files),
            Err(error) => {
                shared.lock().break_down();
                return Err(io::Error::new(error.kind(), format!("{}: {error}", commit.directory.display())));
            }
        }
        for path in &commit.dead {
            fs::remove_file(path)?;
        }
    }
}

/// Waits for work; `None` when stopping and all is done.
fn next(shared: &Shared, stopping: bool) -> io::Result<Option<Commit>> {
    let mut broker = shared.lock();
    if !stopping && !broker.work().0 {
        // Woken without work when the server stops.
        broker = shared.work.wait_timeout(broker, Duration::from_secs(1)).expect("the broker is sound").0;
    }
    if !stopping && broker.work() == (true, false) {
        let lingered = shared.work.wait_timeout_while(broker, LINGER, |broker| !broker.work().1);
        broker = lingered.expect("the broker is sound").0;
    }
    if stopping && !broker.work().0 {
        return Ok(None);
    }
    broker.prepare_commit()
}

/// Writes a commit's chunks and syncs; returns the segments created.
fn write(commit: &Commit, open: &mut Option<(u64, File)>) -> io::Result<Vec<(u64, Arc<File>)>> {
    let mut created = Vec::new();
    for chunk in &commit.chunks {
        if open.as_ref().is_none_or(|(segment, _)| *segment != chunk.segment) {
            if let Some((_, file)) = open.take() {
                file.sync_data()?;
            }
            let file = create(&commit.directory, chunk.segment)?;
            created.push((chunk.segment, Arc::new(file.try_clone()?)));
            *open = Some((chunk.segment, file));
        }
        let (_, file) = open.as_mut().expect("opened above");
        file.write_all(&chunk.bytes)?;
    }
    if let (Some((_, file)), false) = (&*open, commit.chunks.is_empty()) {
        file.sync_data()?;
    }
    Ok(created)
}

fn create(directory: &Path, segment: u64) -> io::Result<File> {
    let path = journal::path(directory, segment);
    let file = OpenOptions::new().create_new(true).read(true).write(true).open(path)?;
    File::open(directory)?.sync_all()?;
    Ok(file)
}
