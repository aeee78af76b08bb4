//! The registry against real directories, with a writer in another process where that matters.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::*;
use crate::record::tests::checkpoint;

#[test]
fn a_checkpoint_survives_a_reopen_and_each_connector_has_its_own() {
    let root = tempfile::tempdir().unwrap();
    let mut first = RocksRegistry::open(root.path(), "orders").unwrap();
    assert_eq!(first.load().unwrap(), None);
    first.store(&checkpoint(1)).unwrap();
    first.store(&checkpoint(2)).unwrap();
    drop(first);
    let mut second = RocksRegistry::open(root.path(), "orders2").unwrap();
    assert_eq!(second.load().unwrap(), None);
    second.store(&checkpoint(3)).unwrap();
    drop(second);
    let again = RocksRegistry::open(root.path(), "orders").unwrap();
    assert_eq!(again.load().unwrap(), Some(checkpoint(2)));
}

#[test]
fn a_missing_directory_is_made_for_its_owner_alone() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("a/state");
    drop(RocksRegistry::open(&directory, "orders").unwrap());
    assert_eq!(directory.metadata().unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let failure = RocksRegistry::open(Path::new("/proc/nothing/state"), "orders").err().unwrap();
    assert!(matches!(&failure, Failure::Unusable(text) if text.contains("/proc/nothing/state")));
}

#[test]
fn a_record_that_cannot_be_trusted_stops_the_start() {
    let root = tempfile::tempdir().unwrap();
    let mut registry = RocksRegistry::open(root.path(), "orders").unwrap();
    registry.store(&checkpoint(1)).unwrap();
    let good = registry.database.get(key("orders")).unwrap().unwrap();
    let mut newer = good.clone();
    newer[0] = 200;
    let mut flipped = good;
    *flipped.last_mut().unwrap() ^= 1;
    let mut database = registry.database;
    for (bytes, said) in [(newer, "format version 200"), (flipped, "checksum"), (vec![], "empty")] {
        database.put(key("orders"), bytes).unwrap();
        drop(database);
        let failure = RocksRegistry::open(root.path(), "orders").err().unwrap();
        assert!(matches!(&failure, Failure::Unusable(text) if text.contains(said)), "{failure}");
        assert_eq!(read_checkpoint(root.path(), "orders").unwrap_err(), failure);
        database = DB::open(&options(), root.path()).unwrap();
    }
}

#[test]
fn there_is_nothing_to_read_where_no_flowd_ever_was() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(read_checkpoint(root.path(), "orders"), Ok(None));
    assert_eq!(read_checkpoint(&root.path().join("missing"), "orders"), Ok(None));
    assert_eq!(root.path().read_dir().unwrap().count(), 0);
}

const WRITER_DIRECTORY: &str = "FLOWD_TEST_REGISTRY_WRITER";

/// The body of the other process: stores a checkpoint for each line that it is sent, and says when it is stored.
#[test]
fn writer_process() {
    let Some(directory) = std::env::var_os(WRITER_DIRECTORY) else {
        return;
    };
    let mut registry = RocksRegistry::open(Path::new(&directory), "orders").unwrap();
    let mut answers = std::io::stdout();
    writeln!(answers, "\nopen").unwrap();
    for line in std::io::stdin().lines() {
        let number: usize = line.unwrap().parse().unwrap();
        let mut next = checkpoint(u8::try_from(number % 256).unwrap());
        // Large enough that the writer flushes and puts logs away under the reader.
        next.extra = vec![7; 20_000].into();
        registry.store(&next).unwrap();
        writeln!(answers, "stored {number}").unwrap();
    }
}

struct Writer {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Writer {
    fn spawn(directory: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "rocks::tests::writer_process", "--nocapture"])
            .env(WRITER_DIRECTORY, directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut writer = Self { child, answers };
        writer.await_answer("open");
        writer
    }

    fn await_answer(&mut self, expected: &str) {
        let mut line = String::new();
        while line.trim_end() != expected {
            line.clear();
            assert_ne!(self.answers.read_line(&mut line).unwrap(), 0, "the writer ended before `{expected}`");
        }
    }

    fn store(&mut self, number: usize) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{number}").unwrap();
        self.await_answer(&format!("stored {number}"));
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn a_second_flowd_on_the_same_directory_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let writer = Writer::spawn(root.path());
    let failure = RocksRegistry::open(root.path(), "orders").err().unwrap();
    let place = root.path().display().to_string();
    assert!(
        matches!(&failure, Failure::Unusable(text) if text.contains("in use by another flowd") && text.contains(&place)),
        "{failure}"
    );
    writer.kill();
    RocksRegistry::open(root.path(), "orders").unwrap();
}

#[test]
fn a_reader_sees_the_last_checkpoint_while_another_process_writes_and_after_it_is_killed() {
    let root = tempfile::tempdir().unwrap();
    let mut writer = Writer::spawn(root.path());
    assert_eq!(read_checkpoint(root.path(), "orders"), Ok(None));
    for number in 1..=200 {
        writer.store(number);
        if number % 10 == 0 {
            let seen = read_checkpoint(root.path(), "orders").unwrap().unwrap().checkpoint;
            assert_eq!(seen.acked, checkpoint(u8::try_from(number).unwrap()).acked);
        }
    }
    writer.kill();
    let seen = read_checkpoint(root.path(), "orders").unwrap().unwrap().checkpoint;
    assert_eq!(seen.acked, checkpoint(200).acked);
    let registry = RocksRegistry::open(root.path(), "orders").unwrap();
    assert_eq!(registry.load().unwrap().unwrap().acked, checkpoint(200).acked);
}
