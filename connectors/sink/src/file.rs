//! The file-sink: each event's JSON a line of a file, which is put aside under another name when it is large or old
//! enough.
//!
//! Kept: nothing counts as acknowledged before `fdatasync` returned; a line torn by a crash is cut off at the next start,
//! and its event comes again. It knows neither order nor duplicates: what comes twice is written twice.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flowd_codec::time;
use flowd_engine::arrival::Arrival;
use flowd_engine::failure::Failure;
use flowd_engine::line_file::LineFile;
use flowd_engine::worker::{Delivery, Outlet, Target};
use tracing::info;

use crate::deliver::target::EVENTS_MAX;
use crate::event::SinkEvent;
use crate::lines;
use crate::stats::SinkStats;

/// Events do not wait for more once so many are not durable: a quarter of what EventMesh has on its way at most, so that the others are
/// written and come while the disk works.
const SYNC_EVENTS: u64 = EVENTS_MAX as u64 / 2;

/// What names the file.
const SETTING: &str = "file-sink, path";

/// Where a file-sink writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSettings {
    /// The file that is written to. One that is put aside gets the time into its name: `events.jsonl` becomes
    /// `events.20251125T000000000001Z.jsonl`.
    pub path: PathBuf,
    /// It is put aside once it has so many bytes; larger only by what one parcel brings.
    pub rotate_bytes: Option<u64>,
    /// It is put aside when its first line of this run of the program is so old.
    pub rotate_every: Option<Duration>,
}

/// Writes lines to files.
#[derive(Debug)]
pub struct FileSink {
    settings: FileSettings,
    stats: Arc<SinkStats>,
    file: Option<LineFile<Written>>,
}

impl FileSink {
    /// Counts into `stats`, which the caller may keep a handle of.
    pub fn new(settings: FileSettings, stats: Arc<SinkStats>) -> Self {
        Self { settings, stats, file: None }
    }
}

impl Target<SinkEvent> for FileSink {
    fn start(&mut self) -> Result<(), Failure> {
        self.file = Some(LineFile::open(&self.settings.path, SETTING)?);
        Ok(())
    }

    fn run(self: Box<Self>, parcels: &mut dyn Outlet<SinkEvent>) -> Result<(), Failure> {
        let Self { settings, stats, file } = *self;
        let file = file.expect("run follows a start that succeeded");
        let size = file.size()?;
        let mut lines = Lines::new(settings, stats, file, size);
        loop {
            match lines.next(parcels) {
                Arrival::Parcel(delivery) => lines.append(delivery, parcels)?,
                Arrival::Nothing => {}
                Arrival::End => return lines.sync(parcels),
            }
            lines.settle(parcels)?;
        }
    }
}

/// How far it is written.
#[derive(Debug, Clone, Copy)]
struct Written {
    ticket: u64,
    /// Events up to there, in this run of the program.
    events: u64,
}

struct Lines {
    settings: FileSettings,
    stats: Arc<SinkStats>,
    file: LineFile<Written>,
    size: u64,
    /// When the file got its first line.
    since: Option<Instant>,
    /// Events that were written, and those of them that are durable.
    written: u64,
    synced: u64,
    text: Vec<u8>,
}

impl Lines {
    fn new(settings: FileSettings, stats: Arc<SinkStats>, file: LineFile<Written>, size: u64) -> Self {
        Self { settings, stats, file, size, since: None, written: 0, synced: 0, text: Vec::new() }
    }

    fn next(&mut self, parcels: &mut dyn Outlet<SinkEvent>) -> Arrival<SinkEvent> {
        self.file.next(parcels, self.rotation())
    }

    /// When the file is old enough to be put aside.
    fn rotation(&self) -> Option<Instant> {
        self.since.zip(self.settings.rotate_every).and_then(|(since, every)| since.checked_add(every))
    }

    fn append(
        &mut self,
        delivery: Delivery<SinkEvent>,
        parcels: &mut dyn Outlet<SinkEvent>,
    ) -> Result<(), Failure> {
        let Delivery { ticket, parcel } = delivery;
        self.text.clear();
        lines::append(&mut self.text, &parcel, parcels)?;
        let events = parcel.events.len() as u64;
        self.written += events;
        self.file.append([&self.text[..]], Written { ticket, events: self.written })?;
        self.size += self.text.len() as u64;
        self.stats.received.add(events);
        parcels.emitted(ticket);
        // The file system has the bytes now; holding the parcel until the sync would only hold up the lanes.
        parcels.recycle(parcel);
        if !self.text.is_empty() {
            self.since.get_or_insert_with(Instant::now);
        }
        if self.written - self.synced >= SYNC_EVENTS {
            self.file.hasten();
        }
        Ok(())
    }

    /// Does what is due.
    fn settle(&mut self, parcels: &mut dyn Outlet<SinkEvent>) -> Result<(), Failure> {
        let is_large = self.settings.rotate_bytes.is_some_and(|bytes| self.size >= bytes && self.size > 0);
        if is_large || self.rotation().is_some_and(|due| due <= Instant::now()) {
            return self.rotate(parcels);
        }
        let synced = self.file.settle()?;
        self.acknowledge(synced, parcels);
        Ok(())
    }

    /// Makes all durable.
    fn sync(&mut self, parcels: &mut dyn Outlet<SinkEvent>) -> Result<(), Failure> {
        let synced = self.file.sync()?;
        self.acknowledge(synced, parcels);
        Ok(())
    }

    fn acknowledge(&mut self, synced: Option<Written>, parcels: &mut dyn Outlet<SinkEvent>) {
        let Some(Written { ticket, events }) = synced else { return };
        self.stats.applied.add(events - std::mem::replace(&mut self.synced, events));
        self.stats.puts.add(1);
        parcels.acked(ticket);
    }

    /// Puts the file aside and begins another.
    fn rotate(&mut self, parcels: &mut dyn Outlet<SinkEvent>) -> Result<(), Failure> {
        self.sync(parcels)?;
        let path = &self.settings.path;
        let aside = name_aside(path, SystemTime::now());
        fs::rename(path, &aside).map_err(|error| {
            Failure::Fatal(format!("cannot rename {} to {}: {error}", path.display(), aside.display()))
        })?;
        info!(bytes = self.size, file = %aside.display(), "put aside");
        // Opening makes the directory durable, and with it both names.
        self.file = LineFile::open(path, SETTING)?;
        (self.size, self.since) = (0, None);
        Ok(())
    }
}

/// The file's name with the time before its extension, and a number where that is taken.
fn name_aside(path: &Path, now: SystemTime) -> PathBuf {
    let now_us = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    let mut text = Vec::new();
    time::write_rfc3339_us(&mut text, i64::try_from(now_us).unwrap_or(i64::MAX));
    let text: String =
        text.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(|byte| char::from(*byte)).collect();
    let named = |number: u32| {
        let mut name = path.file_stem().unwrap_or_default().to_owned();
        name.push(format!(".{text}"));
        if number > 0 {
            name.push(format!("-{number}"));
        }
        if let Some(extension) = path.extension() {
            let mut dotted = OsString::from(".");
            dotted.push(extension);
            name.push(dotted);
        }
        path.with_file_name(name)
    };
    (0..=u32::MAX).map(named).find(|name| !name.exists()).expect("fewer files than 32 bits count")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeOutlet, counted, parcel};

    fn settings(path: &Path) -> FileSettings {
        FileSettings { path: path.to_owned(), rotate_bytes: None, rotate_every: None }
    }

    fn run(settings: FileSettings, outlet: &mut FakeOutlet) -> Result<(), Failure> {
        let mut sink = FileSink::new(settings, Arc::default());
        sink.start()?;
        Box::new(sink).run(outlet)
    }

    fn event(sequence: u64) -> Vec<u8> {
        counted(0, sequence, "a", "published")
    }

    fn line(sequence: u64) -> String {
        String::from_utf8(event(sequence)).unwrap()
    }

    fn lines(path: &Path) -> Vec<String> {
        fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn lines_are_appended_whole_and_acknowledged_once_they_are_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        fs::write(&path, "{\"old\":1}\n{\"torn").unwrap();
        let mut outlet = FakeOutlet::new((1..=20).map(|n| parcel(&[event(n), event(n)])));
        let watched = path.clone();
        outlet.on_acked = Some(Box::new(move |ticket| {
            assert!(lines(&watched).len() as u64 > 2 * (ticket + 1), "ticket {ticket} before its lines");
        }));
        run(settings(&path), &mut outlet).unwrap();
        let found = lines(&path);
        assert_eq!((found.len(), found[0].as_str(), &found[40]), (41, "{\"old\":1}", &line(20)));
        assert_eq!((outlet.acked.last(), outlet.recycled), (Some(&19), 20));
        assert!(outlet.acked.len() < 20, "{} syncs for a run of 20 parcels", outlet.acked.len());
    }

    /// All files but the current one, oldest first.
    fn aside(path: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
        let mut aside: Vec<PathBuf> = entries.filter(|entry| entry != path).collect();
        aside.sort();
        aside
    }

    #[test]
    fn a_file_that_is_large_is_put_aside_and_no_line_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        let rotate_bytes = Some(2 * line(1).len() as u64);
        let mut outlet = FakeOutlet::new((1..=5).map(|n| parcel(&[event(n)])));
        run(FileSettings { rotate_bytes, ..settings(&path) }, &mut outlet).unwrap();
        let mut found: Vec<Vec<String>> = aside(&path).iter().map(|path| lines(path)).collect();
        found.push(lines(&path));
        assert_eq!(found, [vec![line(1), line(2)], vec![line(3), line(4)], vec![line(5)]]);
        assert_eq!(outlet.acked.last(), Some(&4));
        let name = aside(&path)[0].file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name.starts_with("events.2") && name.ends_with("Z.jsonl"), "{name}");
    }

    #[test]
    fn a_file_that_is_old_is_put_aside_also_when_nothing_comes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events");
        let rotate_every = Some(Duration::from_millis(20));
        let file = LineFile::open(&path, SETTING).unwrap();
        let mut outlet = FakeOutlet::new([]);
        let mut written =
            Lines::new(FileSettings { rotate_every, ..settings(&path) }, Arc::default(), file, 0);
        assert_eq!(written.rotation(), None, "an empty file does not grow old");
        written.append(Delivery { ticket: 0, parcel: parcel(&[event(1)]) }, &mut outlet).unwrap();
        outlet.ends_after = Some(1);
        while written.rotation().is_some() {
            assert!(matches!(written.next(&mut outlet), Arrival::Nothing));
            written.settle(&mut outlet).unwrap();
        }
        assert_eq!((lines(&aside(&path)[0]), lines(&path).len(), outlet.acked), (vec![line(1)], 0, vec![0]));
    }

    #[test]
    fn a_name_that_is_taken_is_not_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        let names = [0, 1].map(|_| {
            let name = name_aside(&path, UNIX_EPOCH);
            fs::write(&name, "").unwrap();
            name.file_name().unwrap().to_str().unwrap().to_owned()
        });
        assert_eq!(names, ["events.19700101T000000000000Z.jsonl", "events.19700101T000000000000Z-1.jsonl"]);
    }

    #[test]
    fn what_cannot_be_appended_to_is_unusable_and_names_the_setting() {
        let failure =
            run(settings(Path::new("/no/such/events.jsonl")), &mut FakeOutlet::new([])).unwrap_err();
        assert!(
            matches!(&failure, Failure::Unusable(text) if text.contains("file-sink, path")),
            "{failure:?}"
        );
    }
}
