//! `flowd check`: what the source lacks, or a sink's target, each with what mends it. A source's run begins with the same
//! check.

use std::fmt::Write;
use std::fs::{File, OpenOptions};
use std::path::Path;

use flowd_engine::finding::{Finding, Severity};
use flowd_engine::stop::Stop;
use flowd_mysql::check::{Ourselves, check};
use flowd_mysql::config::SnapshotMode;
use flowd_mysql::connection::Connection;
use flowd_mysql::dump::Replica;
use flowd_sink::deliver::Opened;
use flowd_sink::file::FileSettings;
use flowd_source::Progress;

use crate::cli::RunArgs;
use crate::config::{Connector, Delivery, Flag, Messages, Reading, Source};
use crate::exit::Ending;
use crate::load::{Naming, load};
use crate::run::registry_name;

pub(crate) fn command(args: &RunArgs, flags: Vec<Flag>) -> Result<(), Ending> {
    let config = load(args, flags, Naming::Optional)?;
    match &config.connector {
        Connector::MySqlCdc(source) => of_source(source),
        Connector::FileSink(_, file) => of_file(file),
        Connector::StdoutSink(_) => tell("standard output", "target", &[]),
        Connector::Messages(messages) => of_messages(messages),
        Connector::Delivery(reading, delivery) => of_delivery(reading, delivery),
    }
}

/// A start is the check: it connects, and reads nothing.
fn of_messages(messages: &Messages) -> Result<(), Ending> {
    let stored = match messages.connector.progress {
        Progress::Outside => None,
        Progress::Registry(_) => {
            let directory = &messages.outward.offset_storage.offset_storage_addr;
            flowd_registry::read_checkpoint(directory, &messages.registry_key())?
        }
    };
    let mut source = messages.open(Stop::new()).map_err(|wrong| Ending::Misfit(wrong.to_string()))?;
    source.start(stored.as_ref().map(|stored| &stored.checkpoint.acked))?;
    tell(messages.connector.name, "source", &[])
}

/// The same, but a target of rows is looked at without its lock.
fn of_delivery(reading: &Reading, delivery: &Delivery) -> Result<(), Ending> {
    match delivery.open().map_err(|wrong| Ending::Misfit(wrong.to_string()))? {
        Opened::Rows { look, .. } => tell(&look.address(), "target", &look.check(&reading.topics)?),
        Opened::Events(mut sink) => {
            sink.start()?;
            sink.close();
            tell(delivery.connector.name, "target", &[])
        }
    }
}

fn of_source(source: &Source) -> Result<(), Ending> {
    let mysql = &source.mysql;
    let replica = Replica::new(mysql, &registry_name(&source.outward.offset_storage.offset_storage_addr));
    let ourselves = Ourselves { uuid: replica.uuid, host: replica.host };
    let address = mysql.address();
    let mut connection = Connection::connect(mysql)?;
    let snapshot = mysql.snapshot.mode != SnapshotMode::Never;
    let findings = check(&mut connection, mysql, &ourselves, snapshot)
        .map_err(|error| Ending::Unusable(format!("{address}: {error}")))?;
    connection.close();
    tell(&address, "source", &findings)
}

/// Whether the file can be opened for writing; one that is not there is not made for it.
fn of_file(file: &FileSettings) -> Result<(), Ending> {
    let directory = file.path.parent().unwrap_or(Path::new("/"));
    let writable = match file.path.exists() {
        true => OpenOptions::new().append(true).open(&file.path).map(drop),
        false => tempfile_in(directory),
    };
    let problem = writable.err().map(|error| Finding {
        severity: Severity::Problem,
        what: format!("{} cannot be written: {error}", file.path.display()),
        remedy: format!("make the directory {} and let this user write there", directory.display()),
    });
    tell(&file.path.display().to_string(), "target", problem.as_slice())
}

/// Makes a file and takes it away again.
fn tempfile_in(directory: &Path) -> std::io::Result<()> {
    let path = directory.join(format!(".flowd-check-{}", std::process::id()));
    File::create_new(&path)?;
    std::fs::remove_file(path)
}

fn tell(address: &str, side: &str, findings: &[Finding]) -> Result<(), Ending> {
    crate::answer(&describe(address, findings))?;
    match problems(findings) {
        0 => Ok(()),
        count => Err(Ending::Unusable(format!("the {side} cannot be used: {count} problem(s), as listed"))),
    }
}

fn problems(findings: &[Finding]) -> usize {
    findings.iter().filter(|finding| finding.severity == Severity::Problem).count()
}

fn describe(address: &str, findings: &[Finding]) -> String {
    let mut out = String::new();
    for finding in findings {
        writeln!(out, "{finding}").expect("a string takes everything");
    }
    let verdict = match (problems(findings), findings.is_empty()) {
        (0, true) => "nothing is missing",
        (0, false) => "it works, with the remarks above",
        (_, _) => "it cannot work like this",
    };
    writeln!(out, "{address}: {verdict}").expect("a string takes everything");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_is_printed_with_its_remedy_and_a_verdict() {
        let finding =
            |severity| Finding { severity, what: "log_bin is OFF".into(), remedy: "log_bin=ON".into() };
        let printed = describe("db:3306", &[finding(Severity::Problem)]);
        assert!(printed.contains("log_bin is OFF") && printed.contains("log_bin=ON"), "{printed}");
        assert!(printed.ends_with("db:3306: it cannot work like this\n"), "{printed}");
        assert!(describe("db:3306", &[finding(Severity::Warning)]).contains("it works, with"));
        assert!(describe("db:3306", &[]).contains("nothing is missing"));
    }

    #[test]
    fn a_file_that_cannot_be_written_is_a_problem_and_none_is_left_behind() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = |path: &str| FileSettings {
            path: directory.path().join(path),
            rotate_bytes: None,
            rotate_every: None,
        };
        assert!(of_file(&file("events.jsonl")).is_ok());
        assert_eq!(std::fs::read_dir(directory.path()).expect("readable").count(), 0);
        assert_eq!(of_file(&file("none/events.jsonl")).expect_err("no such directory").code(), 3);
    }
}
