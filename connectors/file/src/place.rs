//! How far each file is read, and how a file is told from another: what the registry keeps between two runs.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::UNIX_EPOCH;

use flowd_source::{Failure, Position};
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

/// So much of a file's beginning tells whether it is still the same content.
const HEAD_BYTES: u64 = 256;

/// What a file is, whatever it is called. Two files that exist one after the other in the same inode differ by birth,
/// where the file system tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
    born_us: u64,
}

impl Identity {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        let born_us = born.map_or(0, |born| u64::try_from(born.as_micros()).unwrap_or(u64::MAX));
        Self { device: metadata.dev(), inode: metadata.ino(), born_us }
    }
}

/// The first bytes of what was read, as a hash: how many, at most [`HEAD_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Head {
    bytes: u64,
    hash: u64,
}

/// How far a file is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// What it was called when it was first seen.
    pub(crate) path: String,
    pub(crate) identity: Identity,
    /// How often its content was cut and began anew.
    cuts: u64,
    /// What stands before it is read; the beginning of a line.
    pub(crate) offset: u64,
    head: Head,
}

impl Place {
    /// The beginning of a file.
    pub(crate) fn new(path: String, identity: Identity) -> Self {
        Self { path, identity, cuts: 0, offset: 0, head: Head::default() }
    }

    /// What the lines that begin here are told by.
    pub(crate) fn origin(&self) -> Origin {
        let Identity { device, inode, born_us } = self.identity;
        Origin {
            id: format!("{device:x}-{inode:x}-{born_us:x}-{}-", self.cuts),
            offset: self.offset,
            path: self.path.clone(),
        }
    }

    /// Whether the file still begins with what was read. Not so where it was cut and written anew.
    pub(crate) fn holds(&self, file: &File) -> io::Result<bool> {
        Ok(hash(file, self.head.bytes)? == Some(self.head.hash) || self.head.bytes == 0)
    }

    /// Goes on to another offset.
    pub(crate) fn advance(&mut self, file: &File, offset: u64) -> io::Result<()> {
        self.offset = offset;
        let bytes = offset.min(HEAD_BYTES);
        if self.head.bytes < bytes
            && let Some(hash) = hash(file, bytes)?
        {
            self.head = Head { bytes, hash };
        }
        Ok(())
    }

    /// The content was cut: what stands in the file now is another one.
    pub(crate) fn begin_anew(&mut self) {
        self.cuts += 1;
        self.offset = 0;
        self.head = Head::default();
    }
}

/// Where lines are from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// What the ids of this content's lines begin with.
    pub(crate) id: String,
    /// The byte of the file with which they begin.
    pub(crate) offset: u64,
    /// What the file was called when it was first seen.
    pub(crate) path: String,
}

impl Origin {
    /// The last part of the path.
    pub(crate) fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

/// The hash of the first `bytes`; none where there are fewer.
fn hash(file: &File, bytes: u64) -> io::Result<Option<u64>> {
    let mut head = [0; HEAD_BYTES as usize];
    let head = &mut head[..usize::try_from(bytes.min(HEAD_BYTES)).expect("a few bytes")];
    match file.read_exact_at(head, 0) {
        Ok(()) => Ok(Some(XxHash3_64::oneshot(head))),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// The places of all files as a position.
pub(crate) fn encode<'a>(places: impl Iterator<Item = &'a Place>) -> Position {
    let places: Vec<&Place> = places.collect();
    Position(serde_json::to_vec(&places).expect("places are plain values").into())
}

/// Reads a position.
pub(crate) fn decode(position: &Position) -> Result<Vec<Place>, Failure> {
    serde_json::from_slice(&position.0)
        .map_err(|error| Failure::Unusable(format!("the stored position is none of file-source: {error}")))
}

/// A position in words: a line for each file.
pub(crate) fn describe(position: &Position) -> String {
    match decode(position) {
        Ok(places) if places.is_empty() => "no file yet".to_owned(),
        Ok(places) => {
            let lines: Vec<String> =
                places.iter().map(|place| format!("{}: {} bytes", place.path, place.offset)).collect();
            lines.join("\n")
        }
        Err(failure) => failure.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn opened(text: &str) -> (tempfile::TempDir, File, Place) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        fs::write(&path, text).unwrap();
        let file = File::open(&path).unwrap();
        let place = Place::new("a".to_owned(), Identity::of(&file.metadata().unwrap()));
        (directory, file, place)
    }

    #[test]
    fn content_that_was_replaced_is_told_by_its_first_bytes() {
        let (directory, file, mut place) = opened("one\ntwo\n");
        assert!(place.holds(&file).unwrap());
        place.advance(&file, 4).unwrap();
        fs::write(directory.path().join("a"), "one\nand more\n").unwrap();
        assert!(place.holds(&file).unwrap());
        fs::write(directory.path().join("a"), "another\n").unwrap();
        assert!(!place.holds(&file).unwrap());
        fs::write(directory.path().join("a"), "").unwrap();
        assert!(!place.holds(&file).unwrap());
        let before = place.origin();
        place.begin_anew();
        assert!(place.holds(&file).unwrap());
        assert_ne!(place.origin().id, before.id);
    }

    #[test]
    fn a_position_comes_back_and_what_is_none_is_refused() {
        let (_directory, file, mut place) = opened("one\ntwo\n");
        place.advance(&file, 8).unwrap();
        let position = encode([&place].into_iter());
        assert_eq!(decode(&position).unwrap(), [place]);
        assert_eq!(describe(&position), "a: 8 bytes");
        assert!(matches!(decode(&Position::default()), Err(Failure::Unusable(_))));
    }
}
