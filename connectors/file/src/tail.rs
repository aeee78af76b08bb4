//! One file, read from its place on: whole lines, as they are appended.
//!
//! Kept: what was handed out ends with a line. A file stays open, so that renaming or deleting it takes nothing away;
//! whoever has too many open may close one that has nothing new, and it is opened again by its name.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Instant;

use tracing::{error, info, warn};

use crate::place::{Identity, Place};
use crate::scan::{is_at, renamed};

/// So much of a line that is too long goes into its dead letter.
const LONG_SHOWN: usize = 64 << 10;

/// What stands behind a place.
pub(crate) enum Chunk<'b> {
    /// No whole line yet.
    Nothing,
    /// Whole lines.
    Lines(&'b [u8]),
    /// A line of more bytes than are allowed: how many, and what it begins with.
    Long(u64, &'b [u8]),
}

/// A file and how far it is read.
pub(crate) struct Tail {
    pub(crate) place: Place,
    /// Where it is now.
    pub(crate) path: PathBuf,
    file: Option<File>,
    /// Behind the place there is no line feed up to here.
    scanned: u64,
    /// When there was something new.
    pub(crate) changed: Instant,
    /// No pattern leads to it any more.
    pub(crate) is_gone: bool,
    /// What went wrong with it last, so that it is told once.
    pub(crate) trouble: Option<String>,
}

impl Tail {
    pub(crate) fn new(place: Place) -> Self {
        let path = PathBuf::from(&place.path);
        let changed = Instant::now();
        Self { scanned: place.offset, place, path, file: None, changed, is_gone: false, trouble: None }
    }

    /// Of the lines that are there already only the last one counts, if it is not whole yet.
    pub(crate) fn skip_to_end(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let file = File::open(&self.path)?;
        let size = file.metadata()?.len();
        let from = size.saturating_sub(buffer.len() as u64);
        let read =
            read_up_to(&file, &mut buffer[..usize::try_from(size - from).unwrap_or(usize::MAX)], from)?;
        let line = memchr::memrchr(b'\n', &buffer[..read]).map_or(from, |end| from + end as u64 + 1);
        self.scanned = line;
        self.place.advance(&file, line)
    }

    /// Looks for a file that has gone and is not open, by what it is; whether there is anything left of it.
    pub(crate) fn find_again(&mut self) -> bool {
        if self.file.is_some() || !self.is_gone || is_at(&self.path, self.place.identity) {
            return true;
        }
        match renamed(&self.path, self.place.identity) {
            Some(path) => {
                info!(file = self.place.path, now = %path.display(), "renamed; it is read to its end");
                self.path = path;
                true
            }
            None => {
                let (file, bytes) = (&self.place.path, self.place.offset);
                warn!(file, bytes, "it has gone, and whatever it had behind these bytes with it");
                false
            }
        }
    }

    /// Tells what is wrong with the file, once as long as it stays the same.
    pub(crate) fn complain(&mut self, error: &io::Error) {
        let trouble = format!("{}: {error}", self.path.display());
        if self.trouble.as_ref() != Some(&trouble) {
            error!("{trouble}; it is tried again");
            self.trouble = Some(trouble);
        }
    }

    /// Closes it, where its name leads to it again.
    pub(crate) fn close(&mut self) {
        if is_at(&self.path, self.place.identity) {
            self.file = None;
        }
    }

    /// The next lines that are there, at most a buffer full of them. They count as read once [`advance`](Self::advance)
    /// says so. The buffer has room for more than `line_bytes`.
    pub(crate) fn next<'b>(&mut self, buffer: &'b mut [u8], line_bytes: usize) -> io::Result<Chunk<'b>> {
        let Some(size) = self.size_if_new()? else { return Ok(Chunk::Nothing) };
        self.open()?;
        let file = self.file.as_ref().expect("it was opened");
        if size < self.place.offset || !self.place.holds(file)? {
            info!(
                file = self.place.path,
                bytes = self.place.offset,
                "cut; it is read from its new beginning"
            );
            self.place.begin_anew();
            self.scanned = 0;
        }
        self.changed = Instant::now();
        let read = read_up_to(file, buffer, self.place.offset)?;
        match memchr::memrchr(b'\n', &buffer[..read]) {
            Some(end) => Ok(Chunk::Lines(&buffer[..=end])),
            None if read > line_bytes => self.long(buffer),
            None => {
                self.scanned = self.place.offset + read as u64;
                Ok(Chunk::Nothing)
            }
        }
    }

    /// What stands behind the last line feed, if nothing more will come.
    pub(crate) fn rest<'b>(&mut self, buffer: &'b mut [u8], line_bytes: usize) -> io::Result<Chunk<'b>> {
        let Some(length) = self.scanned.checked_sub(self.place.offset).filter(|length| *length > 0) else {
            return Ok(Chunk::Nothing);
        };
        self.open()?;
        let read = read_up_to(self.file.as_ref().expect("it was opened"), buffer, self.place.offset)?;
        let read = usize::try_from(length).map_or(read, |length| read.min(length));
        Ok(match read > line_bytes {
            true => Chunk::Long(length, &buffer[..LONG_SHOWN.min(read)]),
            false => Chunk::Lines(&buffer[..read]),
        })
    }

    /// So many bytes behind the place are read.
    pub(crate) fn advance(&mut self, bytes: u64) {
        let offset = self.place.offset + bytes;
        self.scanned = offset;
        let file = self.file.as_ref().expect("it was read");
        if let Err(error) = self.place.advance(file, offset) {
            self.complain(&error);
        }
    }

    /// A line that does not end in the buffer: its end is looked for where it was not yet, without keeping what is
    /// between.
    fn long<'b>(&mut self, buffer: &'b mut [u8]) -> io::Result<Chunk<'b>> {
        let file = self.file.as_ref().expect("it was opened");
        let (shown, scratch) = buffer.split_at_mut(LONG_SHOWN.min(buffer.len() / 2));
        let mut at = self.scanned.max(self.place.offset + shown.len() as u64);
        loop {
            let read = read_up_to(file, scratch, at)?;
            if let Some(end) = memchr::memchr(b'\n', &scratch[..read]) {
                return Ok(Chunk::Long(at + end as u64 + 1 - self.place.offset, shown));
            }
            at += read as u64;
            if read < scratch.len() {
                self.scanned = at;
                return Ok(Chunk::Nothing);
            }
        }
    }

    /// The size, where it is another one than was looked through.
    fn size_if_new(&self) -> io::Result<Option<u64>> {
        let size = match &self.file {
            Some(file) => file.metadata()?.len(),
            None => self.same(fs::metadata(&self.path)?)?.len(),
        };
        Ok(Some(size).filter(|size| *size != self.scanned))
    }

    fn open(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            let file = File::open(&self.path)?;
            self.same(file.metadata()?)?;
            self.file = Some(file);
        }
        Ok(())
    }

    /// Another file may have got the name.
    fn same(&self, metadata: Metadata) -> io::Result<Metadata> {
        match Identity::of(&metadata) == self.place.identity {
            true => Ok(metadata),
            false => Err(io::Error::new(io::ErrorKind::NotFound, "another file is there now")),
        }
    }
}

/// Fills the buffer as far as the file goes.
fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;

    use super::*;

    const LINE_BYTES: usize = 100;

    /// A file, its tail, and what was read.
    struct Case {
        directory: tempfile::TempDir,
        tail: Tail,
        buffer: Vec<u8>,
    }

    impl Case {
        fn new(text: &str) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("a");
            fs::write(&path, text).unwrap();
            let identity = Identity::of(&fs::metadata(&path).unwrap());
            let tail = Tail::new(Place::new(path.display().to_string(), identity));
            Self { directory, tail, buffer: vec![0; 2 * LINE_BYTES] }
        }

        fn append(&self, text: &str) {
            let path = self.directory.path().join("a");
            OpenOptions::new().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
        }

        /// The next chunk in words; it counts as read.
        fn next(&mut self) -> String {
            let chunk = self.tail.next(&mut self.buffer, LINE_BYTES).unwrap();
            let (bytes, words) = in_words(&chunk);
            if bytes > 0 {
                self.tail.advance(bytes);
            }
            words
        }
    }

    fn in_words(chunk: &Chunk<'_>) -> (u64, String) {
        match chunk {
            Chunk::Nothing => (0, String::new()),
            Chunk::Lines(lines) => (lines.len() as u64, String::from_utf8(lines.to_vec()).unwrap()),
            Chunk::Long(bytes, shown) => (*bytes, format!("{bytes} bytes, {} shown", shown.len())),
        }
    }

    #[test]
    fn lines_come_whole_and_once() {
        let mut case = Case::new("one\ntwo\nthr");
        assert_eq!(case.next(), "one\ntwo\n");
        assert_eq!(case.next(), "");
        case.append("ee");
        assert_eq!(case.next(), "");
        case.append("\nfour");
        assert_eq!(case.next(), "three\n");
        assert_eq!(case.next(), "");
        let rest = case.tail.rest(&mut case.buffer, LINE_BYTES).unwrap();
        assert_eq!(in_words(&rest), (4, "four".to_owned()));
    }

    #[test]
    fn a_file_that_was_cut_begins_anew_whatever_its_size_is_now() {
        for again in ["1\n", "a longer text than the one that was there\n"] {
            let mut case = Case::new("one\ntwo\n");
            assert_eq!(case.next(), "one\ntwo\n");
            let before = case.tail.place.origin();
            fs::write(case.directory.path().join("a"), again).unwrap();
            assert_eq!(case.next(), again);
            assert_ne!(case.tail.place.origin().id, before.id, "other lines need other ids");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_once_its_end_is_there() {
        let mut case = Case::new("one\n");
        assert_eq!(case.next(), "one\n");
        case.append(&"x".repeat(1000));
        assert_eq!((case.next(), case.next()), (String::new(), String::new()));
        case.append(&"x".repeat(500));
        assert_eq!(case.next(), "");
        case.append("\ntwo\n");
        assert_eq!(case.next(), "1501 bytes, 100 shown");
        assert_eq!(case.next(), "two\n");
    }

    #[test]
    fn a_renamed_file_is_read_on_whether_it_was_open_or_not() {
        for is_open in [true, false] {
            let mut case = Case::new("one\n");
            assert_eq!(case.next(), "one\n");
            if !is_open {
                case.tail.close();
            }
            let (old, new) = (case.directory.path().join("a"), case.directory.path().join("b"));
            case.append("two\n");
            fs::rename(&old, new).unwrap();
            fs::write(&old, "another\n").unwrap();
            case.tail.is_gone = true;
            assert!(case.tail.find_again());
            assert_eq!(case.next(), "two\n");
        }
    }

    #[test]
    fn a_closed_file_that_was_deleted_is_told_to_have_gone() {
        let mut case = Case::new("one\n");
        assert_eq!(case.next(), "one\n");
        case.tail.close();
        fs::remove_file(case.directory.path().join("a")).unwrap();
        case.tail.is_gone = true;
        assert!(!case.tail.find_again());
    }

    #[test]
    fn from_the_end_means_from_the_line_that_is_not_whole() {
        for (text, offset) in [("one\ntw", 4), ("one\n", 4), ("", 0)] {
            let mut case = Case::new(text);
            case.tail.skip_to_end(&mut case.buffer).unwrap();
            assert_eq!(case.tail.place.offset, offset);
        }
    }
}
