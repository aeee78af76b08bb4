//! Goes round among the files, and keeps their places as the position.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flowd_engine::stop::Stop;
use flowd_engine::worker::Halt;
use flowd_source::{
    BLOCK_BYTES, Closed, Connector, Context, EventSource, Events, Failure, Position, Preset, Progress,
    Settings, SourceEnd, Wrong,
};
use tracing::{error, info};

use crate::line::{Lines, Reading, too_long};
use crate::place::{self, Identity, Place};
use crate::scan::{self, Look};
use crate::settings::{FileSettings, Format, SETTINGS};
use crate::tail::{Chunk, Tail};

/// file-source.
pub const CONNECTOR: Connector = Connector {
    name: "file-source",
    help: "lines of files as they are appended, across rotation",
    settings: SETTINGS,
    fields: &["file", "subject"],
    subject: Preset::Value("{file}"),
    progress: Progress::Registry(place::describe),
    open,
};

fn open(settings: &Settings, context: Context) -> Result<Box<dyn EventSource>, Wrong> {
    let settings = FileSettings::read(settings)?;
    if context.subject.has("subject") && settings.format != Format::CloudEvents {
        return Err(Wrong::new("format", "must be cloudevents where pubSubConfig.subject has {subject}"));
    }
    Ok(Box::new(FileSource {
        reading: Arc::new(Reading { settings, subject: context.subject }),
        stop: context.stop,
        tails: Vec::new(),
        looked: Instant::now(),
        troubles: Vec::new(),
    }))
}

/// How often directories are looked through.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A file that no pattern leads to any more is done with when nothing was appended for so long: its writer has the new
/// one by then.
const GONE_AFTER: Duration = Duration::from_secs(5);
/// With more files than this one is open only while it is read.
const OPEN_MAX: usize = 512;
/// Files that are read in all; each has a place in the position.
const FILES_MAX: usize = 10_000;
/// Read at once.
const READ_BYTES: usize = 256 << 10;

struct FileSource {
    reading: Arc<Reading>,
    stop: Stop,
    tails: Vec<Tail>,
    /// When the directories were looked through last.
    looked: Instant,
    /// What the last look complained of, so that it is told once.
    troubles: Vec<String>,
}

impl EventSource for FileSource {
    fn start(&mut self, stored: Option<&Position>) -> Result<Position, Failure> {
        self.tails = match stored {
            Some(position) => place::decode(position)?.into_iter().map(Tail::new).collect(),
            None => Vec::new(),
        };
        let look = self.look();
        if let Some(trouble) = look.troubles.first() {
            return Err(Failure::Unusable(format!("a file cannot be read: {trouble}")));
        }
        self.take(look)?;
        if stored.is_none() && self.reading.settings.from_end {
            self.skip_to_end()?;
        }
        self.begins()?;
        Ok(self.position())
    }

    fn run(mut self: Box<Self>, out: &mut Events<'_>) -> Result<SourceEnd, Failure> {
        match self.follow(out) {
            Ok(end) => Ok(end),
            Err(Halt::Closed) => Ok(SourceEnd::Stopped),
            Err(Halt::Failed(failure)) => Err(failure),
        }
    }
}

impl FileSource {
    fn follow(&mut self, out: &mut Events<'_>) -> Result<SourceEnd, Halt> {
        let mut buffer = vec![0; READ_BYTES.max(self.reading.settings.line_bytes + 2)];
        loop {
            if self.reading.settings.follow && self.looked.elapsed() >= LOOK_EVERY {
                self.take(self.look())?;
            }
            if self.round(&mut buffer, out)? {
                continue;
            }
            self.finish(&mut buffer, out)?;
            out.flush()?;
            if !self.reading.settings.follow {
                return self.reached().map_err(Halt::Failed);
            }
            if self.stop.wait(self.reading.settings.poll) || out.is_closed() {
                return Ok(SourceEnd::Stopped);
            }
        }
    }

    /// The next lines of each file; whether there were any.
    fn round(&mut self, buffer: &mut [u8], out: &mut Events<'_>) -> Result<bool, Closed> {
        let mut any = false;
        let many = self.tails.len() > OPEN_MAX;
        for index in 0..self.tails.len() {
            let chunk = self.tails[index].next(buffer, self.reading.settings.line_bytes);
            any |= self.push(index, chunk, out)?;
            if many {
                self.tails[index].close();
            }
        }
        if any {
            out.mark(self.position());
        }
        Ok(any)
    }

    /// Files to which nothing more is appended: what has no line feed at their end is a line too.
    fn finish(&mut self, buffer: &mut [u8], out: &mut Events<'_>) -> Result<(), Closed> {
        let mut any = false;
        for index in (0..self.tails.len()).rev() {
            let tail = &mut self.tails[index];
            let has_ended = tail.is_gone && tail.changed.elapsed() >= GONE_AFTER;
            if has_ended || !self.reading.settings.follow {
                let rest = tail.rest(buffer, self.reading.settings.line_bytes);
                any |= self.push(index, rest, out)?;
            }
            if has_ended && self.tails[index].trouble.is_none() {
                let Place { path, offset, .. } = self.tails.remove(index).place;
                info!(file = path, bytes = offset, "read to its end; it has gone");
                any = true;
            }
        }
        if any {
            out.mark(self.position());
        }
        Ok(())
    }

    /// Pushes what was read of a file; whether there was something.
    fn push(
        &mut self,
        index: usize,
        chunk: io::Result<Chunk<'_>>,
        out: &mut Events<'_>,
    ) -> Result<bool, Closed> {
        let tail = &mut self.tails[index];
        match chunk {
            Ok(Chunk::Nothing) => tail.trouble = None,
            Ok(Chunk::Lines(mut lines)) => {
                while !lines.is_empty() {
                    let (block, rest) = lines.split_at(block_end(lines));
                    let (reading, tail) = (self.reading.clone(), &mut self.tails[index]);
                    let (origin, bytes) = (tail.place.origin(), block.to_vec());
                    out.push_block(Lines { reading, origin, bytes })?;
                    tail.advance(block.len() as u64);
                    self.mark_if_due(out);
                    lines = rest;
                }
                return Ok(true);
            }
            Ok(Chunk::Long(bytes, shown)) => {
                let Place { path, offset, .. } = &tail.place;
                out.reject(&too_long(path, *offset, bytes, self.reading.settings.line_bytes), shown)?;
                tail.advance(bytes);
                self.mark_if_due(out);
                return Ok(true);
            }
            Err(error) => tail.complain(&error),
        }
        Ok(false)
    }

    /// With many files a position is long, so there is one for each batch and not for each file.
    fn mark_if_due(&self, out: &mut Events<'_>) {
        if out.is_due() {
            out.mark(self.position());
        }
    }

    /// The end of a run that does not follow: what could not be read must not count as read.
    fn reached(&self) -> Result<SourceEnd, Failure> {
        match self.tails.iter().find_map(|tail| tail.trouble.as_deref()) {
            Some(trouble) => Err(Failure::Fatal(format!("not every file was read: {trouble}"))),
            None => Ok(SourceEnd::Reached),
        }
    }

    fn look(&self) -> Look {
        scan::look(&self.reading.settings.patterns, &self.reading.settings.exclude)
    }

    /// Takes in what a look found: new files, new names of known ones, and which have gone.
    fn take(&mut self, look: Look) -> Result<(), Failure> {
        self.looked = Instant::now();
        // What could not be looked at may be where a file is.
        let is_whole = look.troubles.is_empty();
        self.complain(look.troubles);
        self.tails.iter_mut().for_each(|tail| tail.is_gone |= is_whole);
        let known: HashMap<Identity, usize> =
            self.tails.iter().enumerate().map(|(index, tail)| (tail.place.identity, index)).collect();
        for found in look.files {
            match known.get(&found.identity) {
                Some(index) => {
                    self.tails[*index].path = found.path.into();
                    self.tails[*index].is_gone = false;
                }
                None => self.tails.push(Tail::new(Place::new(found.path, found.identity))),
            }
        }
        if self.tails.len() > FILES_MAX {
            let count = self.tails.len();
            return Err(Failure::Fatal(format!(
                "connectorConfig.paths leads to {count} files, more than {FILES_MAX}: name fewer, or exclude those that \
                 are done with"
            )));
        }
        self.tails.retain_mut(Tail::find_again);
        Ok(())
    }

    fn complain(&mut self, troubles: Vec<String>) {
        troubles.iter().filter(|trouble| !self.troubles.contains(trouble)).for_each(|trouble| {
            error!("{trouble}");
        });
        self.troubles = troubles;
    }

    /// Only what is appended from now on is wanted.
    fn skip_to_end(&mut self) -> Result<(), Failure> {
        let mut buffer = vec![0; self.reading.settings.line_bytes];
        for tail in &mut self.tails {
            tail.skip_to_end(&mut buffer).map_err(|error| unreadable(tail, &error))?;
        }
        Ok(())
    }

    /// Whether there is something to read, and may be read.
    fn begins(&self) -> Result<(), Failure> {
        for tail in &self.tails {
            File::open(&tail.path).map_err(|error| unreadable(tail, &error))?;
        }
        match (self.tails.len(), self.reading.settings.follow) {
            (0, false) => Err(Failure::Unusable("connectorConfig.paths leads to no file".to_owned())),
            (0, true) => {
                info!("reading: no file matches yet");
                Ok(())
            }
            (files, _) => {
                info!(files, "reading");
                Ok(())
            }
        }
    }

    fn position(&self) -> Position {
        place::encode(self.tails.iter().map(|tail| &tail.place))
    }
}

/// Where the lines end that are handed on as one block, of those in the buffer.
fn block_end(lines: &[u8]) -> usize {
    let behind = lines.get(BLOCK_BYTES..).and_then(|rest| memchr::memchr(b'\n', rest));
    behind.map_or(lines.len(), |end| BLOCK_BYTES + end + 1)
}

fn unreadable(tail: &Tail, error: &io::Error) -> Failure {
    Failure::Unusable(format!("{} cannot be read: {error}", tail.path.display()))
}
