//! Runs of a connector: flowd from or into its system, and the bare loop beside it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Failure;
use crate::measure::{self, Cost};
use crate::mesh::Mesh;
use crate::port::free_port;
use crate::systems::{self, Connector, System, Way, Work};

const TOPIC: &str = "perf.messages";
/// Nothing is acknowledged for so long: the flow stands still.
const QUIET: Duration = Duration::from_secs(60);

/// One run, whose messages were counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pass {
    pub(crate) cost: Cost,
}

/// A connector with its system.
pub(crate) struct Bench<'a> {
    connector: &'static Connector,
    work: Work,
    flowd_arguments: &'a [String],
    flowd: PathBuf,
    system: Box<dyn System>,
    directory: TempDir,
}

impl<'a> Bench<'a> {
    pub(crate) fn begin(
        connector: &'static Connector,
        work: Work,
        flowd_arguments: &'a [String],
    ) -> Result<Self, Failure> {
        let directory = tempfile::Builder::new().prefix("flowd-connectors-").tempdir()?;
        let program = std::env::current_exe()?;
        let flowd = program.parent().and_then(Path::parent).ok_or("no build directory")?.join("flowd");
        let system = (connector.begin)(directory.path())?;
        Ok(Self { connector, work, flowd_arguments, flowd, system, directory })
    }

    /// Which way its messages go.
    pub(crate) fn way(&self) -> Way {
        self.connector.way
    }

    /// The bare loop.
    pub(crate) fn bare(&mut self) -> Result<Pass, Failure> {
        self.system.reset(self.work)?;
        let cost = self
            .counted(measure::run(&mut self.bare_command(self.connector.name, &self.system.arguments())?)?)?;
        self.arrived()?;
        Ok(Pass { cost })
    }

    /// A sink's bare loop while a bare subscriber takes as many messages from a mesh: both are over when the slower one is.
    pub(crate) fn bare_beside_subscriber(&mut self) -> Result<Pass, Failure> {
        self.system.reset(self.work)?;
        let run = tempfile::Builder::new().prefix("run-").tempdir_in(self.directory.path())?;
        let mesh = self.filled_mesh(run.path())?;
        let mut subscriber = self.bare_command("eventmesh-source", &[mesh.address(), TOPIC.to_owned()])?;
        let mut own = self.bare_command(self.connector.name, &self.system.arguments())?;
        let (one, other) = std::thread::scope(|scope| {
            let subscriber =
                scope.spawn(|| measure::run(&mut subscriber).map_err(|failure| failure.to_string()));
            (measure::run(&mut own), subscriber.join().expect("the watch of a process does not panic"))
        });
        let (own, subscriber) = (self.counted(one?)?, self.counted(other?)?);
        self.arrived()?;
        Ok(Pass {
            cost: Cost {
                wall_s: own.wall_s.max(subscriber.wall_s),
                cpu_s: own.cpu_s + subscriber.cpu_s,
                rss_peak_bytes: own.rss_peak_bytes + subscriber.rss_peak_bytes,
            },
        })
    }

    fn bare_command(&self, connector: &str, arguments: &[String]) -> Result<Command, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        let Work { messages, bytes } = self.work;
        command.args(["bare", connector, &messages.to_string(), &bytes.to_string()]).args(arguments);
        Ok(command)
    }

    /// The cost of a bare loop that says that it moved all.
    fn counted(&self, (cost, said): (Cost, String)) -> Result<Cost, Failure> {
        let counted = said.trim().parse().map_err(|_| format!("no count: {said}"))?;
        self.all("the bare loop moved", counted)?;
        Ok(cost)
    }

    /// flowd with the connector.
    pub(crate) fn flowd(&mut self) -> Result<Pass, Failure> {
        self.system.reset(self.work)?;
        let run = tempfile::Builder::new().prefix("run-").tempdir_in(self.directory.path())?;
        let mesh = match self.connector.way {
            Way::Source => None,
            Way::Sink => Some(self.filled_mesh(run.path())?),
        };
        let address = mesh.as_ref().map_or_else(|| "embedded".to_owned(), Mesh::address);
        let settings = self.system.settings();
        let cost = self.until_acked(run.path(), self.connector, &settings, "drop", &address)?;
        self.arrived()?;
        Ok(Pass { cost })
    }

    /// A mesh that holds all messages, published from a file.
    fn filled_mesh(&self, run: &Path) -> Result<Mesh, Failure> {
        let mesh = Mesh::start(&self.flowd, run, &[])?;
        let path = run.join("publish.jsonl");
        systems::write_messages(&path, self.work)?;
        let settings = format!("paths: [\"{}\"], format: json", path.display());
        let publisher = run.join("publish");
        fs::create_dir(&publisher)?;
        self.until_acked(&publisher, systems::named("file-source")?, &settings, "mesh", &mesh.address())?;
        Ok(mesh)
    }

    /// Runs flowd until all messages are acknowledged, then stops it.
    fn until_acked(
        &self,
        run: &Path,
        connector: &Connector,
        settings: &str,
        target: &str,
        mesh: &str,
    ) -> Result<Cost, Failure> {
        let metrics = format!("127.0.0.1:{}", free_port()?);
        let outward = match connector.way {
            Way::Source => format!(
                "pipeline: {{target: {target}, metrics: \"{metrics}\"}}\noffsetStorageConfig: {{offsetStorageAddr: ./state}}\n"
            ),
            Way::Sink => format!("pipeline: {{metrics: \"{metrics}\"}}\n"),
        };
        let text = format!(
            "pubSubConfig: {{meshAddress: \"{mesh}\", subject: {TOPIC}}}\nconnectorConfig: {{connectorName: perf, {settings}}}\n{outward}"
        );
        let config = run.join("flowd.yml");
        fs::write(&config, text)?;
        let log = fs::File::create(run.join("log"))?;
        let begin = Instant::now();
        let mut flowd = Command::new(&self.flowd)
            .args(["--log-format", "json", "--connector", connector.name, "--config"])
            .arg(&config)
            .args(self.flowd_arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let ended = self.watch(&mut flowd, &metrics);
        let wall_s = begin.elapsed().as_secs_f64();
        stop(&flowd)?;
        let cost = measure::watch(&flowd, begin);
        let status = flowd.wait()?;
        let log = || fs::read_to_string(run.join("log")).unwrap_or_default();
        ended.map_err(|failure| format!("{failure}:\n{}", log()))?;
        if !status.success() {
            return Err(format!("{} ended with {status}:\n{}", connector.name, log()).into());
        }
        Ok(Cost { wall_s, ..cost })
    }

    /// Returns when all messages are acknowledged.
    fn watch(&self, flowd: &mut Child, metrics: &str) -> Result<(), Failure> {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            let acked = acked(metrics).unwrap_or(last);
            if acked >= self.work.messages {
                return self.all("acknowledged are", acked);
            }
            if acked > last {
                (last, since) = (acked, Instant::now());
            }
            if flowd.try_wait()?.is_some() {
                return Err(format!("flowd ended after {last} messages").into());
            }
            if since.elapsed() > QUIET {
                return Err(format!("nothing more is acknowledged after {last} messages").into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn arrived(&mut self) -> Result<(), Failure> {
        match self.connector.way {
            Way::Source => Ok(()),
            Way::Sink => {
                let count = self.system.count()?;
                self.all("at the far side are", count)
            }
        }
    }

    fn all(&self, who: &str, counted: u64) -> Result<(), Failure> {
        match counted == self.work.messages {
            true => Ok(()),
            false => {
                Err(format!("{}: {who} {counted} messages of {}", self.connector.name, self.work.messages)
                    .into())
            }
        }
    }
}

fn stop(flowd: &Child) -> Result<(), Failure> {
    Command::new("kill").args(["-s", "TERM", &flowd.id().to_string()]).status()?;
    Ok(())
}

/// The acknowledged events of flowd's metrics, once it serves them.
fn acked(metrics: &str) -> Option<u64> {
    let mut stream = TcpStream::connect(metrics).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).ok()?;
    let sample = "flowd_rows_total{stage=\"acked\"} ";
    page.lines().find_map(|line| line.strip_prefix(sample)?.parse().ok())
}
