//! The rows of `perf/sink`, and the runs over them: bare INSERTs, and the sink over what waits for it in a mesh.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::database::{Database, script};
use crate::measure::{self, Cost, cpu_s, stat};
use crate::mesh::Mesh;
use crate::{Arguments, Failure, Workload};

const SERVER_OPTIONS: &[&str] =
    &["--innodb-buffer-pool-size=1G", "--max-binlog-size=1G", "--max-allowed-packet=256M"];
const TABLE: &str = "(id INT PRIMARY KEY, k INT NOT NULL, c CHAR(120) NOT NULL, pad CHAR(60) NOT NULL)";
/// Longer than any run takes.
const PATIENCE: Duration = Duration::from_secs(600);

/// How often the target is asked how far the sink is.
const LOOK: Duration = Duration::from_millis(50);

/// One run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pass {
    /// Rows inserted, updated and deleted.
    pub(crate) changes: u64,
    pub(crate) cost: Cost,
    pub(crate) server_cpu_s: f64,
}

/// The changes in a binlog, and the inserted rows as a file of statements.
pub(crate) struct Bench<'a> {
    arguments: &'a Arguments,
    workload: Workload,
    changes: u64,
    database: Database,
    program: PathBuf,
    statements: PathBuf,
    directory: TempDir,
}

impl<'a> Bench<'a> {
    pub(crate) fn prepare(arguments: &'a Arguments, workload: Workload) -> Result<Self, Failure> {
        let directory = tempfile::Builder::new().prefix("flowd-sink-").tempdir()?;
        let programs = std::env::current_exe()?;
        let program = programs.parent().and_then(Path::parent).ok_or("no build directory")?.join("flowd");
        let database = Database::start(&arguments.server, &directory.path().join("data"), SERVER_OPTIONS)?;
        let statements = directory.path().join("rows.sql");
        write_statements(&statements, arguments)?;
        let rows = arguments.rows;
        let mut bench = Self { arguments, workload, changes: rows, database, program, statements, directory };
        eprintln!("sink: writing {rows} rows to {}", bench.database.name);
        bench.database.sql(&format!("CREATE DATABASE shop; CREATE TABLE shop.sb {TABLE}"))?;
        bench.insert("shop")?;
        if workload == Workload::Mixed {
            bench
                .database
                .sql("UPDATE shop.sb SET k = k + 1 WHERE id % 2 = 0; DELETE FROM shop.sb WHERE id % 4 = 0")?;
            bench.changes += rows / 2 + rows / 4;
        }
        Ok(bench)
    }

    /// The run in the middle.
    pub(crate) fn median(&self, run: impl Fn(&Self) -> Result<Pass, Failure>) -> Result<Pass, Failure> {
        let mut passes = (0..self.arguments.runs).map(|_| run(self)).collect::<Result<Vec<_>, _>>()?;
        passes.sort_by(|one, other| one.cost.wall_s.total_cmp(&other.cost.wall_s));
        Ok(passes[passes.len() / 2])
    }

    /// The ceiling: the server's own client sends the same rows in INSERTs that are ready.
    pub(crate) fn bare(&self) -> Result<Pass, Failure> {
        self.empty_copy()?;
        let before = self.server_cpu_s();
        let cost = self.insert("test_copy")?;
        let server_cpu_s = self.server_cpu_s() - before;
        let rows = self.database.sql("SELECT COUNT(*) FROM test_copy.sb")?;
        if rows.trim() != self.arguments.rows.to_string() {
            return Err(format!("{} rows were inserted of {}", rows.trim(), self.arguments.rows).into());
        }
        Ok(Pass { changes: self.arguments.rows, cost, server_cpu_s })
    }

    fn insert(&self, schema: &str) -> Result<Cost, Failure> {
        let mut client = script();
        client.args(["sql", &self.database.name]).arg(&self.database.datadir).arg(schema);
        client.arg("--execute").arg(format!("source {}", self.statements.display()));
        Ok(measure::run(&mut client)?.0)
    }

    /// The sink over a mesh that has all changes.
    pub(crate) fn applied(&self) -> Result<Pass, Failure> {
        self.empty_copy()?;
        let mesh = Mesh::start(&self.program, self.directory.path(), &[])?;
        // The mesh keeps what comes for a group that it knows.
        let log = self.directory.path().join("sink.log");
        let mut first = self.sink(&mesh, &log)?.spawn()?;
        wait(&mut first, "the sink to listen", || {
            fs::read_to_string(&log).is_ok_and(|log| log.contains("listening"))
        })?;
        end(&mut first)?;
        measure::run(&mut self.source(&mesh)?)?;

        let (before, begin) = (self.server_cpu_s(), Instant::now());
        let mut sink = self.sink(&mesh, &log)?.spawn()?;
        let changes = self.changes.to_string();
        wait(&mut sink, "all to be applied", || {
            // Before its first event the sink has no record to be asked for.
            let applied = self.database.sql("SELECT SUM(sequence) FROM test_copy.flowd_applied");
            applied.is_ok_and(|applied| applied.trim() == changes)
        })?;
        let wall_s = begin.elapsed().as_secs_f64();
        let (cpu_s, rss_peak_bytes) = (cpu_s(&stat(sink.id())), measure::peak(sink.id()).unwrap_or(0));
        let server_cpu_s = self.server_cpu_s() - before;
        end(&mut sink)?;
        self.verify()?;
        Ok(Pass { changes: self.changes, cost: Cost { wall_s, cpu_s, rss_peak_bytes }, server_cpu_s })
    }

    fn empty_copy(&self) -> Result<(), Failure> {
        self.database
            .sql(&format!(
                "SET sql_log_bin = 0; DROP DATABASE IF EXISTS test_copy; CREATE DATABASE test_copy; CREATE TABLE test_copy.sb {TABLE}"
            ))
            .map(drop)
    }

    fn server_cpu_s(&self) -> f64 {
        cpu_s(&stat(self.database.child.id()))
    }

    fn verify(&self) -> Result<(), Failure> {
        let content = |schema: &str| {
            self.database.sql(&format!(
                "SELECT COUNT(*), SUM(id), SUM(CRC32(CONCAT_WS('|', id, k, c, pad))) FROM {schema}.sb"
            ))
        };
        let (source, copy) = (content("shop")?, content("test_copy")?);
        if source == copy {
            return Ok(());
        }
        Err(format!("{:?}: the copy holds {}, the source {}", self.workload, copy.trim(), source.trim())
            .into())
    }

    fn source(&self, mesh: &Mesh) -> Result<Command, Failure> {
        let text = format!(
            "pubSubConfig:\n  meshAddress: {}\nconnectorConfig:\n  connectorName: perf\n  hostname: 127.0.0.1\n  port: {}\n  user: cdc\n  \
             password: cdc\n  tableIncludeList: [\"shop.*\"]\n  snapshotMode: never\noffsetStorageConfig:\n  \
             offsetStorageAddr: ./state\npipeline:\n  startAt: earliest\n  stopAt: end\n",
            mesh.address(),
            self.database.port
        );
        self.flowd("mysql-cdc", &text)
    }

    fn sink(&self, mesh: &Mesh, log: &Path) -> Result<Command, Failure> {
        let text = format!(
            "pubSubConfig:\n  meshAddress: {}\n  subject: shop.sb\nconnectorConfig:\n  connectorName: copy\n  hostname: 127.0.0.1\n  \
             port: {}\n  user: app\n  password: app\n  database: test_copy\n",
            mesh.address(),
            self.database.port
        );
        let mut command = self.flowd("mysql-sink", &text)?;
        command.args(&self.arguments.flowd_arg).env("FLOWD_LOG", "info");
        command.stdin(Stdio::null()).stderr(File::create(log)?);
        Ok(command)
    }

    fn flowd(&self, connector: &str, text: &str) -> Result<Command, Failure> {
        let run = tempfile::Builder::new().prefix("run-").tempdir_in(self.directory.path())?.keep();
        let config = run.join("flowd.yaml");
        fs::write(&config, text)?;
        let mut command = Command::new(&self.program);
        command.args(["--connector", connector, "--config"]).arg(config);
        Ok(command)
    }
}

/// Waits for something that the sink does.
fn wait(sink: &mut Child, what: &str, done: impl Fn() -> bool) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        if let Some(status) = sink.try_wait()? {
            return Err(format!("the sink ended with {status}").into());
        }
        if Instant::now() > deadline {
            return Err(format!("waited {PATIENCE:?} in vain for {what}").into());
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Ends a sink in good order.
fn end(sink: &mut Child) -> Result<(), Failure> {
    Command::new("kill").args(["-s", "TERM", &sink.id().to_string()]).status()?;
    let status = sink.wait()?;
    if status.success() { Ok(()) } else { Err(format!("the sink ended with {status}").into()) }
}

/// The rows as INSERTs into a table `sb` of the schema at hand.
fn write_statements(path: &Path, arguments: &Arguments) -> Result<(), Failure> {
    let mut file = BufWriter::new(File::create(path)?);
    let mut statement = String::new();
    for first in (1..=arguments.rows).step_by(usize::try_from(arguments.insert_rows)?) {
        statement.clear();
        statement.push_str("INSERT INTO sb VALUES ");
        for id in first..(first + arguments.insert_rows).min(arguments.rows + 1) {
            let separator = if id == first { "" } else { "," };
            write!(
                statement,
                "{separator}({id},{},'{:0>119}','{:0>59}')",
                id * 7919 % 1_000_003,
                id * 31,
                id
            )?;
        }
        writeln!(file, "{statement};")?;
    }
    Ok(file.flush()?)
}
