//! Finds files: by patterns, and one that was renamed among its neighbours.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern, glob_with};

use crate::place::Identity;

/// `*` does not cross a slash, and a file whose name begins with a dot is named by a pattern that does.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// A file that was found.
pub(crate) struct Found {
    pub(crate) path: String,
    pub(crate) identity: Identity,
}

/// What a look at the directories gave.
#[derive(Default)]
pub(crate) struct Look {
    /// Each file once, whatever its names.
    pub(crate) files: Vec<Found>,
    /// What could not be looked at, and why.
    pub(crate) troubles: Vec<String>,
    seen: HashSet<Identity>,
}

/// All files that match a pattern and are not excluded.
pub(crate) fn look(patterns: &[Pattern], exclude: &[Pattern]) -> Look {
    let mut look = Look::default();
    for pattern in patterns {
        let paths = match glob_with(pattern.as_str(), OPTIONS) {
            Ok(paths) => paths,
            Err(error) => {
                look.troubles.push(format!("{pattern}: {error}"));
                continue;
            }
        };
        for path in paths {
            match path {
                Ok(path) => look.add(&path, exclude),
                Err(error) => look.troubles.push(error.to_string()),
            }
        }
    }
    look
}

impl Look {
    fn add(&mut self, path: &Path, exclude: &[Pattern]) {
        let Some(name) = path.to_str() else {
            self.troubles.push(format!("{}: the name is not UTF-8, so it is not read", path.display()));
            return;
        };
        if exclude.iter().any(|pattern| pattern.matches_with(name, OPTIONS)) {
            return;
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => self.add_file(name, &metadata),
            Ok(_) => {}
            // Gone since the directory was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.troubles.push(format!("{name}: {error}")),
        }
    }

    fn add_file(&mut self, name: &str, metadata: &Metadata) {
        let identity = Identity::of(metadata);
        if self.seen.insert(identity) {
            self.files.push(Found { path: name.to_owned(), identity });
        }
    }
}

/// Where a file is now that was at `path`, if it is still in the same directory.
pub(crate) fn renamed(path: &Path, identity: Identity) -> Option<PathBuf> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let entries = fs::read_dir(parent.unwrap_or(Path::new("."))).ok()?;
    let mut paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    paths.find(|path| is_at(path, identity))
}

/// Whether this file is at this path.
pub(crate) fn is_at(path: &Path, identity: Identity) -> bool {
    fs::metadata(path).is_ok_and(|metadata| Identity::of(&metadata) == identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path, patterns: &[&str], exclude: &[&str]) -> Vec<String> {
        let read = |patterns: &[&str]| -> Vec<Pattern> {
            let text = |pattern: &&str| Pattern::new(&format!("{}/{pattern}", directory.display())).unwrap();
            patterns.iter().map(text).collect()
        };
        let look = look(&read(patterns), &read(exclude));
        assert_eq!(look.troubles, [""; 0]);
        let start = directory.display().to_string().len() + 1;
        look.files.iter().map(|found| found.path[start..].to_owned()).collect()
    }

    #[test]
    fn files_match_once_and_what_is_excluded_is_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        fs::create_dir_all(path.join("deep/down")).unwrap();
        for file in ["a.log", "b.log", "b.log.gz", ".hidden.log", "deep/c.log", "deep/down/d.log"] {
            fs::write(path.join(file), "").unwrap();
        }
        fs::hard_link(path.join("a.log"), path.join("z.log")).unwrap();
        assert_eq!(names(path, &["*.log", "a.log"], &[]), ["a.log", "b.log"]);
        assert_eq!(names(path, &["*"], &["*.gz", "a.*", "z.*"]), ["b.log"]);
        assert_eq!(names(path, &["deep/**/*.log"], &[]), ["deep/c.log", "deep/down/d.log"]);
        assert_eq!(names(path, &["absent/*.log"], &[]), [""; 0]);
    }

    #[test]
    fn a_renamed_file_is_found_beside_where_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let (old, new) = (directory.path().join("a"), directory.path().join("a.1"));
        fs::write(&old, "x").unwrap();
        let identity = Identity::of(&fs::metadata(&old).unwrap());
        assert!(is_at(&old, identity));
        fs::rename(&old, &new).unwrap();
        assert_eq!(renamed(&old, identity), Some(new.clone()));
        fs::remove_file(&new).unwrap();
        assert_eq!(renamed(&old, identity), None);
    }
}
