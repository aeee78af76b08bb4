//! The journal of a mesh with a directory: one write-ahead log for all topics, cut into segment files.
//!
//! A place in the journal is a log sequence number (LSN): bytes since the journal began. A segment is named after the
//! LSN it starts at and begins with a magic and a full account of all topics and groups, so that any older segment
//! without live events may go. This file appends to memory, reads events and recovers; `commit.rs` writes and syncs.
//! Invariant: what lies below `durable` is on disk and synced; only the newest segment can have a torn tail.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::piece::Piece;
use super::record::{EVENT_HEAD, Record};

/// The first bytes of every segment: name and format version.
pub(crate) const MAGIC: &[u8; 8] = b"flowdM01";

/// One segment file.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Open for reading once it exists.
    pub(crate) file: Option<Arc<File>>,
    /// Bytes of events in it that somebody may still need.
    pub(crate) live: u64,
    /// Bytes in it altogether.
    pub(crate) size: u64,
}

/// Bytes not yet written, all of one segment.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// The segment they belong to.
    pub(crate) segment: u64,
    /// The bytes.
    pub(crate) bytes: Vec<u8>,
}

/// The journal as the broker sees it.
#[derive(Debug)]
pub(crate) struct Journal {
    directory: PathBuf,
    segments: BTreeMap<u64, Segment>,
    pending: Vec<Chunk>,
    active: u64,
    end: u64,
    durable: u64,
    segment_bytes: u64,
    /// What was read last.
    piece: Piece,
    _lock: File,
}

impl Journal {
    /// Opens or creates the journal in `directory` and hands every sound record, in order, to `replay` with its LSN.
    ///
    /// # Errors
    /// The directory cannot be used, another mesh holds it, or a segment other than the newest is damaged.
    pub(crate) fn open(
        directory: &Path,
        segment_bytes: u64,
        mut replay: impl FnMut(u64, Record<'_>),
    ) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let lock = lock(directory)?;
        let starts = list(directory)?;
        let mut segments = BTreeMap::new();
        let mut end = 0;
        for (index, &start) in starts.iter().enumerate() {
            let newest = index + 1 == starts.len();
            let size = recover(directory, start, newest, &mut replay)?;
            if size == 0 {
                fs::remove_file(path(directory, start))?;
                continue;
            }
            let file = Some(Arc::new(File::open(path(directory, start))?));
            segments.insert(start, Segment { file, live: 0, size });
            end = start + size;
        }
        Ok(Self {
            directory: directory.to_path_buf(),
            segments,
            pending: Vec::new(),
            active: end,
            end,
            durable: end,
            segment_bytes,
            piece: Piece::default(),
            _lock: lock,
        })
    }

    /// Whether the next append must be preceded by [`Journal::begin_segment`].
    pub(crate) fn wants_segment(&self) -> bool {
        self.segments.get(&self.active).is_none_or(|segment| segment.size >= self.segment_bytes)
    }

    /// Starts a new segment; `account` writes the full account of topics and groups.
    pub(crate) fn begin_segment(&mut self, account: impl FnOnce(&mut Vec<u8>)) {
        self.active = self.end;
        self.segments.insert(self.active, Segment { file: None, live: 0, size: 0 });
        self.pending.push(Chunk { segment: self.active, bytes: Vec::new() });
        self.append(|out| {
            out.extend_from_slice(MAGIC);
            account(out);
        });
    }

    /// Appends what `write` writes and returns the LSN it starts at. A segment must have been begun.
    pub(crate) fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> u64 {
        let segment = self.segments.get_mut(&self.active).expect("a segment was begun");
        if self.pending.last().is_none_or(|chunk| chunk.segment != self.active) {
            self.pending.push(Chunk { segment: self.active, bytes: Vec::new() });
        }
        let chunk = self.pending.last_mut().expect("pushed above");
        let before = chunk.bytes.len();
        write(&mut chunk.bytes);
        let length = (chunk.bytes.len() - before) as u64;
        let lsn = self.end;
        segment.size += length;
        self.end += length;
        lsn
    }

    /// Bytes appended and not yet durable.
    pub(crate) fn undurable(&self) -> u64 {
        self.end - self.durable
    }

    /// The LSN that the next append gets.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Everything below this LSN survives a crash.
    pub(crate) fn durable(&self) -> u64 {
        self.durable
    }

    /// The directory the segments lie in.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Takes what is to be written.
    pub(crate) fn take_pending(&mut self) -> Vec<Chunk> {
        std::mem::take(&mut self.pending)
    }

    /// Everything below `lsn` is on disk now; `files` are the segments that came into being.
    pub(crate) fn committed(&mut self, lsn: u64, files: Vec<(u64, Arc<File>)>) {
        assert!(lsn >= self.durable && lsn <= self.end);
        self.durable = lsn;
        for (start, file) in files {
            self.segments.entry(start).and_modify(|segment| segment.file = Some(file));
        }
    }

    /// Counts an event's bytes in (`grow`) or out of its segment.
    pub(crate) fn count_live(&mut self, lsn: u64, bytes: u64, grow: bool) {
        if let Some((_, segment)) = self.segments.range_mut(..=lsn).next_back() {
            segment.live = if grow { segment.live + bytes } else { segment.live.saturating_sub(bytes) };
        }
    }

    /// The body of the event record at `lsn`, which is durable.
    ///
    /// # Errors
    /// The file cannot be read, or the segment is gone (which would be our mistake).
    pub(crate) fn read(&mut self, lsn: u64, length: u32) -> io::Result<&[u8]> {
        let (at, length) = (lsn + EVENT_HEAD as u64, length as usize);
        if self.piece.get(at, length).is_none() {
            let segment = self.segments.range(..=lsn).next_back();
            let found = segment.and_then(|(start, segment)| Some((start, segment, segment.file.as_ref()?)));
            let Some((start, segment, file)) = found else {
                return Err(io::Error::other(format!("the journal has no segment for LSN {lsn}")));
            };
            let end = (start + segment.size).min(self.durable);
            self.piece.fill(at, length, end, |bytes| file.read_exact_at(bytes, at - start))?;
        }
        Ok(self.piece.get(at, length).expect("it was just read"))
    }

    /// Sealed segments without live events, taken out of the account; their files may go after the next commit.
    pub(crate) fn take_dead(&mut self) -> Vec<PathBuf> {
        let active = self.active;
        let dead: Vec<u64> = self
            .segments
            .iter()
            .filter(|(start, segment)| **start != active && segment.live == 0 && segment.file.is_some())
            .map(|(start, _)| *start)
            .collect();
        for start in &dead {
            self.segments.remove(start);
        }
        dead.into_iter().map(|start| path(&self.directory, start)).collect()
    }

    /// The sealed segment worth rewriting: the files hold more than twice what is live, and this one the least of it.
    pub(crate) fn sparsest(&self) -> Option<std::ops::Range<u64>> {
        let sealed =
            || self.segments.iter().filter(|(start, segment)| **start != self.active && segment.live > 0);
        let (size, live) =
            sealed().fold((0, 0), |sum, (_, segment)| (sum.0 + segment.size, sum.1 + segment.live));
        if size <= 2 * live + 2 * self.segment_bytes {
            return None;
        }
        let (start, segment) =
            sealed().filter(|(_, segment)| segment.file.is_some()).min_by_key(|(_, s)| s.live)?;
        Some(*start..*start + segment.size)
    }
}

/// Where a segment lies.
pub(crate) fn path(directory: &Path, start: u64) -> PathBuf {
    directory.join(format!("{start:016x}.journal"))
}

fn lock(directory: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(directory.join("lock"))?;
    file.try_lock().map_err(|_| {
        io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!("{} is in use by another mesh: stop it or name another directory", directory.display()),
        )
    })?;
    Ok(file)
}

fn list(directory: &Path) -> io::Result<Vec<u64>> {
    let mut starts = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let start = name.to_str().and_then(|name| name.strip_suffix(".journal"));
        starts.extend(start.and_then(|start| u64::from_str_radix(start, 16).ok()));
    }
    starts.sort_unstable();
    Ok(starts)
}

/// Replays one segment and returns its sound length; a torn tail of the newest one is cut off and the cut synced.
fn recover(
    directory: &Path,
    start: u64,
    newest: bool,
    replay: &mut impl FnMut(u64, Record<'_>),
) -> io::Result<u64> {
    let path = path(directory, start);
    let bytes = fs::read(&path)?;
    let mut at = 0;
    if bytes.starts_with(MAGIC) {
        at = MAGIC.len();
        while let Some((record, length)) = Record::decode(&bytes[at..]) {
            replay(start + at as u64, record);
            at += length;
        }
    }
    if at < bytes.len() && !newest {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "{} is damaged at byte {at} of {}: restore it or start with an empty directory",
                path.display(),
                bytes.len()
            ),
        ));
    }
    if at < bytes.len() {
        tracing::warn!(file = %path.display(), kept = at, cut = bytes.len() - at, "torn tail of the journal cut off");
        let file = OpenOptions::new().write(true).open(&path)?;
        file.set_len(at as u64)?;
        file.sync_all()?;
    }
    Ok(at as u64)
}
