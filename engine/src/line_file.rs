//! Files of lines that are only appended to: dead letters, events.
//!
//! Whoever appends counts a line as dealt with once it is durable. What a crash leaves of a line that was being written
//! is cut off when the file is opened again: it was not acknowledged, so its event comes again. Not here: who writes,
//! when it syncs, and what keeps a second writer away.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

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
        tracing::warn!(file = %path.display(), bytes = length - whole, "torn last line cut off; its event will come again");
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
}
