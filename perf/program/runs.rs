//! The runs over one backlog: the bare reader, the reference that is read back, and the targets.

use std::fs::{self, File};
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::backlog::{Backlog, Counter, Workload};
use crate::database::Database;
use crate::dropped::Dropped;
use crate::measure::{self, Cost};
use crate::mesh::Mesh;
use crate::subscriber;
use crate::{Arguments, Failure};

/// The binlog is one file, and a transaction of wide rows fits.
const SERVER_OPTIONS: &[&str] =
    &["--innodb-buffer-pool-size=512M", "--max-binlog-size=1G", "--max-allowed-packet=256M"];

/// A written backlog and what is needed to run over it.
pub(crate) struct Bench<'a> {
    arguments: &'a Arguments,
    pub(crate) backlog: Backlog,
    database: Database,
    programs: PathBuf,
    directory: TempDir,
}

impl<'a> Bench<'a> {
    pub(crate) fn prepare(arguments: &'a Arguments, workload: Workload) -> Result<Self, Failure> {
        let directory = tempfile::Builder::new().prefix("flowd-drain-").tempdir()?;
        let programs =
            std::env::current_exe()?.parent().and_then(Path::parent).ok_or("no build directory")?.to_owned();
        let database = Database::start(&arguments.server, &directory.path().join("data"), SERVER_OPTIONS)?;
        eprintln!("drain: writing {workload:?} to {}", database.name);
        let backlog = workload.write(&database, arguments.rows)?;
        Ok(Self { arguments, backlog, database, programs, directory })
    }

    /// The ceiling: a reader that only frames events. It is called as `bare HOST PORT USER PASSWORD` and reads from the
    /// earliest binlog to the end of the current one.
    pub(crate) fn bare(&self) -> Result<Option<Cost>, Failure> {
        let program = self.programs.join("examples/bare");
        if !program.exists() {
            return Ok(None);
        }
        let run = || {
            let mut command = Command::new(&program);
            command.args(["127.0.0.1", &self.database.port.to_string(), "cdc", "cdc"]);
            measure::run(&mut command).map(|(cost, _)| cost)
        };
        self.median(run).map(Some)
    }

    /// Writes all events to a file once, not measured, and holds them against the backlog. Gives the checksum of the
    /// ids, which the `drop` target must report, too.
    pub(crate) fn reference(&self) -> Result<u64, Failure> {
        let file = self.directory.path().join("reference.jsonl");
        measure::run(&mut self.flowd(&format!("jsonl:{}", file.display()), None)?)?;
        let mut counter = Counter::default();
        counter.read(BufReader::new(File::open(&file)?), u64::MAX)?;
        fs::remove_file(&file)?;
        self.verify(&counter, "the reference file")?;
        Ok(counter.ids)
    }

    /// One target, measured; the figures are given only if everything arrived.
    pub(crate) fn target(&self, target: &str, reference: u64) -> Result<Cost, Failure> {
        match target {
            "drop" => self.median(|| self.dropped(reference)),
            "mesh" => self.median(|| self.published()),
            other => Err(format!("no target {other} here: drop or mesh").into()),
        }
    }

    fn median(&self, run: impl Fn() -> Result<Cost, Failure>) -> Result<Cost, Failure> {
        let mut costs = (0..self.arguments.runs).map(|_| run()).collect::<Result<Vec<_>, _>>()?;
        costs.sort_by(|one, other| one.cpu_s.total_cmp(&other.cpu_s));
        Ok(costs[costs.len() / 2])
    }

    fn dropped(&self, reference: u64) -> Result<Cost, Failure> {
        let (cost, log) = measure::run(&mut self.flowd("drop", None)?)?;
        let expected = Dropped { events: self.backlog.expected.events, checksum: reference };
        let found = Dropped::of(&log)?;
        if found == expected {
            Ok(cost)
        } else {
            Err(format!("{found:?}, and {expected:?} was written").into())
        }
    }

    fn published(&self) -> Result<Cost, Failure> {
        let program = self.programs.join("flowd");
        let mesh = Mesh::start(&program, self.directory.path(), &[])?;
        let (cost, _) = measure::run(&mut self.flowd("mesh", Some(mesh.port))?)?;
        let mut counter = Counter::default();
        let share = self.backlog.expected.events / self.backlog.topics.len() as u64;
        for (index, topic) in self.backlog.topics.iter().enumerate() {
            let upto = share * (index as u64 + 1);
            subscriber::subscribe(&program, &mesh.address(), topic, |lines| counter.read(lines, upto))?;
        }
        self.verify(&counter, "the mesh")?;
        Ok(cost)
    }

    fn verify(&self, counter: &Counter, place: &str) -> Result<(), Failure> {
        let expected = self.backlog.expected;
        if counter.arrived == expected {
            return Ok(());
        }
        Err(format!("{place} holds {:?}, and {expected:?} was written", counter.arrived).into())
    }

    /// A first run from the earliest position to the end, with a registry of its own.
    fn flowd(&self, target: &str, mesh_port: Option<u16>) -> Result<Command, Failure> {
        let run = tempfile::Builder::new().prefix("run-").tempdir_in(self.directory.path())?.keep();
        let config = run.join("flowd.yaml");
        let Arguments { memory, order, window, connections, checkpoint_ms, .. } = self.arguments;
        let port = self.database.port;
        let mesh = mesh_port
            .map_or(String::new(), |port| format!("pubSubConfig:\n  meshAddress: 127.0.0.1:{port}\n"));
        let text = format!(
            "{mesh}connectorConfig:\n  connectorName: drain\n  hostname: 127.0.0.1\n  port: {port}\n  user: cdc\n  password: cdc\n  \
             tableIncludeList: [\"test.*\"]\n  snapshotMode: never\noffsetStorageConfig:\n  offsetStorageAddr: ./state\npipeline:\n  startAt: earliest\n  \
             stopAt: end\n  memory: {memory}\n  order: {order}\n  window: {window}\n  connections: {connections}\n  checkpointMs: {checkpoint_ms}\n"
        );
        File::create(&config)?.write_all(text.as_bytes())?;
        let mut command = Command::new(self.programs.join("flowd"));
        command
            .args(["--connector", "mysql-cdc", "--log-format", "json", "--target", target, "--config"])
            .arg(config);
        command.args(&self.arguments.flowd_arg);
        Ok(command)
    }
}
