//! `flowd check`: what the source lacks, each with what mends it. A run begins with the same check.

use std::fmt::Write;

use flowd_mysql::check::{Finding, Ourselves, Severity, check};
use flowd_mysql::config::SnapshotMode;
use flowd_mysql::connection::Connection;
use flowd_mysql::dump::Replica;

use crate::cli::RunArgs;
use crate::config::{Connector, Flag, Source};
use crate::exit::Ending;
use crate::load::{Naming, load};
use crate::run::registry_name;

pub(crate) fn command(args: &RunArgs, flags: Vec<Flag>) -> Result<(), Ending> {
    let config = load(args, flags, Naming::Optional)?;
    match &config.connector {
        Connector::MySqlCdc(source) => of_source(source),
        Connector::MySqlSink(..) | Connector::FileSink(..) | Connector::StdoutSink(_) => {
            Err(Ending::Unusable("sinks cannot be run yet".to_owned()))
        }
    }
}

fn of_source(source: &Source) -> Result<(), Ending> {
    let mysql = &source.mysql;
    let replica = Replica::new(mysql, &registry_name(&source.offset_storage.offset_storage_addr));
    let ourselves = Ourselves { uuid: replica.uuid, host: replica.host };
    let address = mysql.address();
    let mut connection = Connection::connect(mysql)?;
    let snapshot = mysql.snapshot.mode != SnapshotMode::Never;
    let findings = check(&mut connection, mysql, &ourselves, snapshot)
        .map_err(|error| Ending::Unusable(format!("{address}: {error}")))?;
    connection.close();
    crate::answer(&describe(&address, &findings))?;
    match problems(&findings) {
        0 => Ok(()),
        count => Err(Ending::Unusable(format!("the source cannot be used: {count} problem(s), as listed"))),
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
}
