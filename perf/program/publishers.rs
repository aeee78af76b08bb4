//! The rows, and the runs over them: a subscriber first, then one of the publishers.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;

use tempfile::TempDir;

use crate::arrivals::{Arrivals, Seen};
use crate::database::Database;
use crate::measure::{self, Cost};
use crate::mesh::Mesh;
use crate::subscriber;
use crate::{Arguments, Failure, Publisher};

const SERVER_OPTIONS: &[&str] =
    &["--innodb-buffer-pool-size=512M", "--max-binlog-size=1G", "--max-allowed-packet=256M"];
const BUILD_SDK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/java/build.sh");
/// Makes the data of an event some 600 bytes.
const NOTE_CHARS: u32 = 180;

/// A topic is used once: a named server remembers what went over it.
static TOPICS: AtomicU32 = AtomicU32::new(0);

/// What is published.
pub(crate) struct Rows {
    pub(crate) count: u64,
    /// Mean size of an event, whole.
    pub(crate) event_bytes: f64,
}

/// One run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pass {
    pub(crate) rows: u64,
    pub(crate) lost: u64,
    pub(crate) rows_per_s: f64,
    pub(crate) cost: Cost,
}

/// Rows in a binlog, and the same as events in a file.
pub(crate) struct Bench<'a> {
    arguments: &'a Arguments,
    pub(crate) rows: Rows,
    database: Database,
    programs: PathBuf,
    events: PathBuf,
    directory: TempDir,
}

impl<'a> Bench<'a> {
    pub(crate) fn prepare(arguments: &'a Arguments) -> Result<Self, Failure> {
        let directory = tempfile::Builder::new().prefix("flowd-eventmesh-").tempdir()?;
        let programs =
            std::env::current_exe()?.parent().and_then(Path::parent).ok_or("no build directory")?.to_owned();
        let database = Database::start(&arguments.server, &directory.path().join("data"), SERVER_OPTIONS)?;
        eprintln!("eventmesh: writing {} rows to {}", arguments.rows, database.name);
        write_rows(&database, arguments.rows)?;
        let events = directory.path().join("sdk.jsonl");
        let rows = Rows { count: arguments.rows, event_bytes: 0.0 };
        let mut bench = Self { arguments, rows, database, programs, events, directory };
        bench.rows.event_bytes = bench.write_events()?;
        Ok(bench)
    }

    /// All rows as events into a file, counted; the SDK's share of them stays. Gives the mean size.
    fn write_events(&self) -> Result<f64, Failure> {
        let all = self.directory.path().join("all.jsonl");
        measure::run(&mut self.flowd(&["--target", &format!("jsonl:{}", all.display())], "file", "")?)?;
        let mut share = BufWriter::new(File::create(&self.events)?);
        let mut count = 0;
        for line in BufReader::new(File::open(&all)?).lines() {
            count += 1;
            if count <= self.arguments.sdk_rows {
                writeln!(share, "{}", line?)?;
            }
        }
        share.flush()?;
        if count != self.rows.count {
            return Err(
                format!("{count} events in the file, and {} rows were written", self.rows.count).into()
            );
        }
        let bytes = fs::metadata(&all)?.len();
        fs::remove_file(&all)?;
        Ok(bytes as f64 / count as f64)
    }

    /// The run in the middle by rows a second, with the most rows that any run lost.
    pub(crate) fn median(&self, publisher: Publisher, named: Option<&str>) -> Result<Pass, Failure> {
        let mut passes =
            (0..self.arguments.runs).map(|_| self.pass(publisher, named)).collect::<Result<Vec<_>, _>>()?;
        passes.sort_by(|one, other| one.rows_per_s.total_cmp(&other.rows_per_s));
        let lost = passes.iter().map(|pass| pass.lost).max().unwrap_or(0);
        Ok(Pass { lost, ..passes[passes.len() / 2] })
    }

    fn pass(&self, publisher: Publisher, named: Option<&str>) -> Result<Pass, Failure> {
        let rows = match publisher {
            Publisher::Sdk => self.arguments.sdk_rows.min(self.rows.count),
            Publisher::Flowd | Publisher::Batches => self.rows.count,
        };
        let program = self.programs.join("flowd");
        let embedded = match named {
            Some(_) => None,
            None => Some(Mesh::start(&program, self.directory.path(), self.mesh_options())?),
        };
        let address = match (&embedded, named) {
            (Some(mesh), _) => mesh.address(),
            (None, Some(address)) => address.to_owned(),
            (None, None) => return Err("no mesh".into()),
        };
        let number = TOPICS.fetch_add(1, Ordering::Relaxed);
        let topic = format!("flowd.perf.{}.{number}", std::process::id());
        let mut command = self.publisher(publisher, &address, &topic)?;
        let is_limited = named.is_some() || self.arguments.java_limits;
        let count = if is_limited { self.arguments.subscribers } else { 1 };
        let subscribers = Subscribers { program: &program, address: &address, topic: &topic, count };
        let (seen, cost) = published(&subscribers, rows, &mut command)?;
        Ok(Pass {
            rows,
            lost: rows - seen.arrived,
            rows_per_s: seen.arrived as f64 / seen.span.as_secs_f64().max(0.001),
            cost,
        })
    }

    fn mesh_options(&self) -> &'static [&'static str] {
        if self.arguments.java_limits { &["--java-limits", "--max-event-size", "4000000"] } else { &[] }
    }

    fn publisher(&self, publisher: Publisher, address: &str, topic: &str) -> Result<Command, Failure> {
        match publisher {
            Publisher::Sdk => self.sdk(address, topic),
            Publisher::Flowd => self.flowd(&["--target", "mesh"], topic, address),
            Publisher::Batches => {
                let bytes = format!("--pipeline.batch.bytes={}", self.arguments.batch_bytes);
                self.flowd(&["--target", "mesh", &bytes], topic, address)
            }
        }
    }

    fn sdk(&self, address: &str, topic: &str) -> Result<Command, Failure> {
        let output = Command::new(BUILD_SDK).stderr(Stdio::inherit()).output()?;
        if !output.status.success() {
            return Err("tests/java/build.sh failed".into());
        }
        let class_path = String::from_utf8(output.stdout)?;
        let (host, port) = address.rsplit_once(':').ok_or("an address is host:port")?;
        let mut command = Command::new("java");
        command.args(["-Xmx512m", "-cp", class_path.trim(), "MeshPeer", "replay", host, port, topic]);
        command.arg(&self.events);
        Ok(command)
    }

    /// A first run from the earliest position to the end, with a registry of its own.
    fn flowd(&self, arguments: &[&str], topic: &str, address: &str) -> Result<Command, Failure> {
        let run = tempfile::Builder::new().prefix("run-").tempdir_in(self.directory.path())?.keep();
        let config = run.join("flowd.yaml");
        let Arguments { connections, window, .. } = self.arguments;
        let port = self.database.port;
        let mesh = if address.is_empty() { String::new() } else { format!("  meshAddress: {address}\n") };
        let text = format!(
            "pubSubConfig:\n  subject: {topic}\n{mesh}connectorConfig:\n  connectorName: perf\n  hostname: 127.0.0.1\n  port: {port}\n  \
             user: cdc\n  password: cdc\n  tableIncludeList: [\"test.events\"]\n  snapshotMode: never\noffsetStorageConfig:\n  \
             offsetStorageAddr: ./state\npipeline:\n  startAt: earliest\n  stopAt: end\n  connections: {connections}\n  window: {window}\n"
        );
        fs::write(&config, text)?;
        let mut command = Command::new(self.programs.join("flowd"));
        command.args(["--connector", "mysql-cdc", "--log-format", "json", "--config"]).arg(config);
        command.args(arguments).args(&self.arguments.flowd_arg);
        Ok(command)
    }
}

/// What subscribers share, and how many there are.
struct Subscribers<'a> {
    program: &'a Path,
    address: &'a str,
    topic: &'a str,
    count: u32,
}

/// Subscribes, then runs the publisher to its end, and waits for the rows.
fn published(
    subscribers: &Subscribers<'_>,
    rows: u64,
    command: &mut Command,
) -> Result<(Seen, Cost), Failure> {
    let (tell, told) = channel();
    let arrivals = Arrivals::new(rows);
    std::thread::scope(|scope| {
        let Subscribers { program, address, topic, count } = *subscribers;
        let subscribe = |_| {
            let (tell, arrivals) = (tell.clone(), Arc::clone(&arrivals));
            // A failure goes to the other thread as a text: a boxed one belongs to its thread.
            scope.spawn(move || {
                let mut seen = None;
                let result = subscriber::subscribe(program, address, topic, |lines| {
                    // An error means that the publisher's side is gone already.
                    let _ = tell.send(());
                    seen = Some(Arrivals::read(lines, &arrivals)?);
                    Ok(())
                });
                result.map_err(|failure| failure.to_string()).map(|()| seen)
            })
        };
        let threads: Vec<_> = (0..count).map(subscribe).collect();
        drop(tell);
        // An error means that a subscriber ended; why is told when it is joined.
        let all_listen = threads.iter().all(|_| told.recv().is_ok());
        let cost = all_listen.then(|| measure::run(command)).transpose()?;
        let mut last = None;
        for thread in threads {
            last = thread.join().map_err(|_| "a subscriber's thread panicked")??;
        }
        let (cost, _) = cost.ok_or("the publisher did not run")?;
        Ok((last.ok_or("nothing was read")?, cost))
    })
}

/// Keys from 1 on, in transactions of 10,000 rows.
fn write_rows(database: &Database, rows: u64) -> Result<(), Failure> {
    database.sql(
        "SET sql_log_bin = 0; CREATE DATABASE test; CREATE TABLE test.events (id INT PRIMARY KEY, kind VARCHAR(20) NOT NULL,
         amount DECIMAL(12,2), at DATETIME(3), note VARCHAR(400))",
    )?;
    for first in (1..=rows).step_by(10_000) {
        let values: Vec<String> = (first..(first + 10_000).min(rows + 1))
            .map(|id| {
                format!(
                    "({id},'kind {}',{id}.25,'2026-01-01' + INTERVAL {id} SECOND,REPEAT('n',{NOTE_CHARS}))",
                    id % 7
                )
            })
            .collect();
        database.sql(&format!("INSERT INTO test.events VALUES {}", values.join(",")))?;
    }
    Ok(())
}
