//! The runs over one workload: the bare SELECT, the dump programs, the reference that is read, and the targets.

use std::fs::{self, File};
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::cargo::{Cargo, Ids};
use crate::dropped::Dropped;
use crate::measure::{self, Cost};
use crate::mesh::Mesh;
use crate::subscriber;
use crate::tables::{Content, Size, Tables, Workload};
use crate::{Arguments, Failure};

/// One run's cost, and what the server spent on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pass {
    pub(crate) cost: Cost,
    pub(crate) server_cpu_s: f64,
}

/// A workload's tables and what is needed to read them.
pub(crate) struct Passes<'a> {
    arguments: &'a Arguments,
    tables: &'a Tables,
    workload: Workload,
    programs: PathBuf,
    directory: TempDir,
}

impl<'a> Passes<'a> {
    pub(crate) fn prepare(
        arguments: &'a Arguments,
        tables: &'a Tables,
        workload: Workload,
    ) -> Result<Self, Failure> {
        let directory = tempfile::Builder::new().prefix("flowd-snapshot-").tempdir()?;
        let programs =
            std::env::current_exe()?.parent().and_then(Path::parent).ok_or("no build directory")?.to_owned();
        Ok(Self { arguments, tables, workload, programs, directory })
    }

    pub(crate) fn expected(&self, size: Size) -> Content {
        self.tables.content(self.workload, size)
    }

    /// The ceiling: one connection that selects the table and throws its rows away. Gives the bytes of the rows, too.
    pub(crate) fn bare(&self, runs: u32) -> Result<(Pass, u64), Failure> {
        let answer = tempfile::NamedTempFile::new()?;
        let run = || {
            let mut command = self.program("examples/select")?;
            command.args(["127.0.0.1", &self.tables.database.port.to_string(), "cdc", "cdc"]);
            command.args([self.arguments.ssl_mode.as_str(), self.workload.table(Size::Full)]);
            let stdout = File::create(answer.path())?.into();
            self.costs(|| Ok(measure::run_into(stdout, &mut command)?.0))
        };
        // Once more than measured: the first one brings the table into memory.
        run()?;
        let pass = median(runs, run)?;
        let answer = fs::read_to_string(answer.path())?;
        let (rows, bytes) = answer.trim().split_once(' ').ok_or("select gives no two numbers")?;
        let expected = self.expected(Size::Full).rows;
        if rows.parse::<u64>()? != expected {
            return Err(format!("the bare SELECT read {rows} rows of {expected}").into());
        }
        Ok((pass, bytes.parse()?))
    }

    pub(crate) fn mariadb_dump(&self) -> Result<Pass, Failure> {
        let (schema, table) = self.names();
        let mut command = self.dumper("mariadb-dump", &["--no-defaults"]);
        command.args(["--quick", "--single-transaction", "--skip-lock-tables", "--no-tablespaces"]);
        command.args(["--protocol=tcp", schema, table]);
        self.costs(|| Ok(measure::run(&mut command)?.0))
    }

    /// Without its global read lock: flowd takes none, and the account may not.
    pub(crate) fn mydumper(&self, threads: u32) -> Result<Pass, Failure> {
        let (schema, table) = self.names();
        let directory = tempfile::Builder::new().prefix("dump-").tempdir_in(self.directory.path())?;
        let mut command = self.dumper("mydumper", &[]);
        command.args(["--no-locks", "--rows", "250000", "--threads", &threads.to_string()]);
        command.args(["--database", schema, "--tables-list", table, "--outputdir"]).arg(directory.path());
        let pass = self.costs(|| Ok(measure::run(&mut command)?.0))?;
        let mut bytes = 0;
        for file in fs::read_dir(directory.path())? {
            bytes += file?.metadata()?.len();
        }
        // It warns of a table that it cannot read, and ends well.
        match bytes < self.expected(Size::Full).rows {
            true => Err(format!("mydumper wrote {bytes} bytes").into()),
            false => Ok(pass),
        }
    }

    /// One of our own programs.
    fn program(&self, name: &str) -> Result<Command, Failure> {
        let path = self.programs.join(name);
        if path.exists() {
            return Ok(Command::new(path));
        }
        Err(format!("{} was not built: run perf/snapshot", path.display()).into())
    }

    fn dumper(&self, name: &str, first: &[&str]) -> Command {
        let mut command = dumpers();
        command.arg(name).args(first);
        let port = self.tables.database.port.to_string();
        command.args(["--host", "127.0.0.1", "--port", &port, "--user", "cdc", "--password=cdc"]);
        command
    }

    fn names(&self) -> (&'static str, &'static str) {
        self.workload.table(Size::Full).split_once('.').unwrap_or_default()
    }

    /// Reads all events of a run once, not measured, and holds them against the table. Gives their ids.
    pub(crate) fn reference(&self, size: Size) -> Result<Ids, Failure> {
        let (mut command, _) = self.flowd("stdout", size, 2, None)?;
        let log = tempfile::NamedTempFile::new()?;
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.reopen()?).spawn()?;
        let output = child.stdout.take().ok_or("flowd has no stdout")?;
        let mut cargo = Cargo::new(self.expected(size).rows);
        let read = cargo.read(BufReader::with_capacity(1 << 20, output), false);
        let status = child.wait()?;
        if !status.success() {
            let log = fs::read_to_string(log.path())?;
            return Err(format!("{command:?} ended with {status}:\n{log}").into());
        }
        read?;
        self.verify(&cargo, size, "the reference on stdout")?;
        Ok(cargo.ids)
    }

    /// The target `drop`, measured; the figures are given only if the same ids were dropped, each once.
    pub(crate) fn dropped(&self, size: Size, parallelism: u32, ids: &Ids) -> Result<Pass, Failure> {
        median(self.arguments.runs, || {
            let (mut command, config) = self.flowd("drop", size, parallelism, None)?;
            let mut log = String::new();
            let pass = self.costs(|| {
                let (cost, stderr) = measure::run(&mut command)?;
                log = stderr;
                Ok(cost)
            })?;
            let snapshot = self.snapshot_id(&config)?;
            let expected = Dropped { events: self.expected(size).rows, checksum: ids.checksum(&snapshot) };
            let found = Dropped::of(&log)?;
            if found == expected {
                Ok(pass)
            } else {
                Err(format!("{found:?}, and the table holds {expected:?}").into())
            }
        })
    }

    /// The embedded mesh, measured; the figures are given only if it holds every row.
    pub(crate) fn published(&self, parallelism: u32) -> Result<Pass, Failure> {
        let size = Size::Part;
        let program = self.programs.join("flowd");
        let mesh = Mesh::start(&program, self.directory.path(), &[])?;
        let (mut command, _) = self.flowd("mesh", size, parallelism, Some(mesh.port))?;
        let pass = self.costs(|| Ok(measure::run(&mut command)?.0))?;
        let mut cargo = Cargo::new(self.expected(size).rows);
        let topic = self.workload.table(size);
        subscriber::subscribe(&program, &mesh.address(), topic, |lines| cargo.read(lines, true))?;
        self.verify(&cargo, size, "the mesh")?;
        Ok(pass)
    }

    fn verify(&self, cargo: &Cargo, size: Size, place: &str) -> Result<(), Failure> {
        let expected = self.expected(size);
        if cargo.content == expected && cargo.again == 0 {
            return Ok(());
        }
        let (found, again) = (cargo.content, cargo.again);
        Err(format!("{place}: {found:?} and {again} rows again; the table holds {expected:?}").into())
    }

    /// Of the run that this configuration was for.
    fn snapshot_id(&self, config: &Path) -> Result<String, Failure> {
        let mut command = self.program("flowd")?;
        command.args(["position", "--json", "--connector", "mysql-cdc", "--config"]).arg(config);
        let output = command.output()?;
        let position: Value = serde_json::from_slice(&output.stdout)?;
        let id = position["snapshot"]["id"].as_str();
        Ok(id.ok_or_else(|| format!("no snapshot in the position: {position}"))?.to_owned())
    }

    /// A first run over one table, with a registry of its own; and its configuration.
    fn flowd(
        &self,
        target: &str,
        size: Size,
        parallelism: u32,
        mesh_port: Option<u16>,
    ) -> Result<(Command, PathBuf), Failure> {
        let run = tempfile::Builder::new().prefix("run-").tempdir_in(self.directory.path())?.keep();
        let config = run.join("flowd.yaml");
        let Arguments { memory, ssl_mode, .. } = self.arguments;
        let (port, table) = (self.tables.database.port, self.workload.table(size));
        let mesh = mesh_port
            .map_or(String::new(), |port| format!("pubSubConfig:\n  meshAddress: 127.0.0.1:{port}\n"));
        let text = format!(
            "{mesh}connectorConfig:\n  connectorName: snapshot\n  hostname: 127.0.0.1\n  port: {port}\n  user: cdc\n  password: cdc\n  \
             sslMode: {ssl_mode}\n  tableIncludeList: [\"{table}\"]\n  snapshotMode: initialOnly\n  parallelism: {parallelism}\n\
             offsetStorageConfig:\n  offsetStorageAddr: ./state\npipeline:\n  memory: {memory}\n"
        );
        File::create(&config)?.write_all(text.as_bytes())?;
        let mut command = self.program("flowd")?;
        command
            .args(["--connector", "mysql-cdc", "--log-format", "json", "--target", target, "--config"])
            .arg(&config)
            .args(&self.arguments.flowd_arg);
        Ok((command, config))
    }

    /// A run, with the server's part in it.
    fn costs(&self, run: impl FnOnce() -> Result<Cost, Failure>) -> Result<Pass, Failure> {
        let server = self.tables.database.child.id();
        let before = measure::cpu_s(&measure::stat(server));
        let cost = run()?;
        Ok(Pass { cost, server_cpu_s: measure::cpu_s(&measure::stat(server)) - before })
    }
}

fn median(runs: u32, run: impl FnMut() -> Result<Pass, Failure>) -> Result<Pass, Failure> {
    let mut passes = std::iter::repeat_with(run).take(runs as usize).collect::<Result<Vec<_>, _>>()?;
    passes.sort_by(|one, other| one.cost.wall_s.total_cmp(&other.cost.wall_s));
    Ok(passes[passes.len() / 2])
}

/// Unpacks the dump programs, if that has not been done.
pub(crate) fn fetch_dumpers() -> Result<(), Failure> {
    let output = dumpers().arg("fetch").output()?;
    if output.status.success() {
        return Ok(());
    }
    let reason =
        String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("no reason given").to_owned();
    Err(reason.into())
}

fn dumpers() -> Command {
    Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/perf/dumpers.sh"))
}
