//! `flowd` as a child process: a job with its configuration file and state, and a run of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::wait::PATIENCE;
use super::{Events, Mesh, Server, until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_flowd");

/// Two jobs of a test are two replicas: the server may still know the first when the second comes.
static SERVER_ID: AtomicU32 = AtomicU32::new(6000);

/// A configuration with its own directory: `flowd.yaml`, `state/`, and `events.jsonl`, the target unless set otherwise.
pub struct Job {
    connector: &'static str,
    directory: tempfile::TempDir,
    settings: BTreeMap<String, BTreeMap<String, String>>,
}

impl Job {
    /// Captures all of `server` from the earliest binlog on, without a snapshot.
    pub fn new(server: &Server) -> Self {
        Self::at(server.port)
    }

    /// A first start as it is without a word about it: a snapshot, then the stream. Chunks as small as they can be.
    pub fn snapshotting(server: &Server) -> Self {
        Self::new(server)
            .unset("connectorConfig.snapshotMode")
            .unset("pipeline.startAt")
            .set("connectorConfig.chunkBytes", "16KiB")
            .set("pipeline.checkpointMs", "50")
    }

    /// The same for a port of this machine, whoever listens there.
    pub fn at(port: u16) -> Self {
        let job = Self::empty("mysql-cdc");
        let target = format!("jsonl:{}", job.path("events.jsonl").display());
        job.set("connectorConfig.connectorName", "orders")
            .set("connectorConfig.hostname", "127.0.0.1")
            .set("connectorConfig.port", &port.to_string())
            .set("connectorConfig.user", "cdc")
            .set("connectorConfig.password", "cdc")
            .set("connectorConfig.serverId", &SERVER_ID.fetch_add(1, Ordering::Relaxed).to_string())
            .set("connectorConfig.snapshotMode", "never")
            .set("offsetStorageConfig.offsetStorageAddr", "./state")
            .set("pipeline.startAt", "earliest")
            .set("pipeline.target", &target)
    }

    /// Of a connector, without a setting.
    pub fn empty(connector: &'static str) -> Self {
        let directory = tempfile::Builder::new().prefix("flowd-job-").tempdir().unwrap();
        Self { connector, directory, settings: BTreeMap::new() }
    }

    /// Sets `section.key` to a YAML value.
    pub fn set(mut self, key: &str, value: &str) -> Self {
        let (section, key) = key.split_once('.').expect("section.key");
        self.settings.entry(section.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
        self
    }

    /// Takes a setting out.
    pub fn unset(mut self, key: &str) -> Self {
        let (section, key) = key.split_once('.').expect("section.key");
        self.settings.get_mut(section).and_then(|keys| keys.remove(key));
        self
    }

    /// Publishes to `mesh` instead of a file.
    pub fn publishing_to(self, mesh: &Mesh) -> Self {
        self.set("pipeline.target", "mesh")
            .set("pubSubConfig.meshAddress", &format!("127.0.0.1:{}", mesh.port))
    }

    /// The configuration file, as it stands.
    pub fn yaml(&self) -> String {
        let mut text = String::new();
        for (section, keys) in &self.settings {
            text += &format!("{section}:\n");
            let mut inside = "";
            for (key, value) in keys {
                match key.split_once('.') {
                    Some((mapping, key)) => {
                        if mapping != inside {
                            text += &format!("  {mapping}:\n");
                        }
                        inside = mapping;
                        text += &format!("    {key}: {}\n", quoted(value));
                    }
                    None => text += &format!("  {key}: {}\n", quoted(value)),
                }
            }
        }
        text
    }

    /// Where `name` lies in the job's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `flowd --connector …` with further arguments.
    pub fn start(&self, arguments: &[&str]) -> Flowd {
        let mut all = vec!["--connector", self.connector];
        all.extend(arguments);
        self.launch(&all, &[])
    }

    /// The same with an allocator that gives back at once, so that what is resident is what is held.
    pub fn start_frugal(&self, arguments: &[&str]) -> Flowd {
        let mut all = vec!["--connector", self.connector];
        all.extend(arguments);
        let frugal = [("MIMALLOC_ARENA_EAGER_COMMIT", "0"), ("MIMALLOC_PURGE_DELAY", "0")];
        self.launch(&all, &frugal)
    }

    /// Runs until `--stop-at end` and demands exit code 0.
    pub fn catch_up(&self) {
        self.start(&["--stop-at", "end"]).wait().expect_code(0);
    }

    /// Runs `flowd SUBCOMMAND … --config FILE` to its end.
    pub fn command(&self, arguments: &[&str]) -> Outcome {
        self.launch(arguments, &[]).wait()
    }

    /// `flowd position --json`.
    pub fn position(&self) -> Value {
        let outcome = self.command(&["position", "--json"]);
        outcome.expect_code(0);
        serde_json::from_str(&outcome.stdout).expect("position --json prints JSON")
    }

    /// What arrived in `events.jsonl` so far.
    pub fn events(&self) -> Events {
        Events::read(&self.path("events.jsonl"))
    }

    /// How many events arrived, without reading them.
    pub fn lines(&self) -> usize {
        let file = fs::read(self.path("events.jsonl")).unwrap_or_default();
        file.iter().filter(|&&byte| byte == b'\n').count()
    }

    /// Waits until `count` events arrived.
    pub fn wait_for_events(&self, count: usize) -> Events {
        until(&format!("{count} events (there are {})", self.events().len()), || {
            Some(self.events()).filter(|events| events.len() >= count)
        })
    }

    fn launch(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Flowd {
        let config = self.path("flowd.yaml");
        // Another flowd of this job may be reading it: it is written when it changes only.
        let yaml = self.yaml();
        if fs::read_to_string(&config).ok().as_ref() != Some(&yaml) {
            fs::write(&config, yaml).unwrap();
        }
        let config = config.display().to_string();
        let mut all = arguments.to_vec();
        all.extend(["--config", &config]);
        Flowd::launch_with(self.directory.path(), &all, environment)
    }
}

/// A scalar that YAML would read as something else, or not at all, is quoted; lists, mappings and numbers stay.
fn quoted(value: &str) -> String {
    let is_nested = value.starts_with('[') || (value.starts_with('{') && value.contains(':'));
    let plain = is_nested || value.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if plain { value.to_owned() } else { format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")) }
}

/// A running `flowd`. Dropping it kills it; `setpriv --pdeathsig` does when the test itself is killed.
pub struct Flowd {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Flowd {
    /// Runs the program; its output goes to files in `directory`.
    pub fn launch(directory: &Path, arguments: &[&str]) -> Self {
        Self::launch_with(directory, arguments, &[])
    }

    /// The same with further variables.
    pub fn launch_with(directory: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let output = tempfile::Builder::new().prefix("run-").tempdir_in(directory).unwrap().keep();
        let (stdout, stderr) = (output.join("stdout"), output.join("stderr"));
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", PROGRAM])
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .expect("flowd starts");
        Self { child, stdout, stderr }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, and gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().unwrap();
        assert!(status.success(), "kill -s {name} {}", self.pid());
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What it wrote to stderr so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// What it wrote to stdout so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stdout).unwrap_or_default()).into_owned()
    }

    /// The whole lines of stdout from the byte `from` on, which moves behind them.
    pub fn lines_from(&self, from: &mut usize) -> Vec<String> {
        let mut file = File::open(&self.stdout).unwrap();
        file.seek(SeekFrom::Start(*from as u64)).unwrap();
        let mut text = Vec::new();
        file.read_to_end(&mut text).unwrap();
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        *from += whole;
        String::from_utf8_lossy(&text[..whole]).lines().map(str::to_owned).collect()
    }

    /// Peak resident memory so far, in bytes; none once it has ended.
    pub fn peak_rss(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024)
    }

    /// Processor time used so far, in the kernel's ticks of 10 ms.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// Waits for the end, whatever it is.
    pub fn wait(self) -> Outcome {
        self.wait_for(PATIENCE)
    }

    /// Waits for the end, at most `patience`.
    pub fn wait_for(mut self, patience: Duration) -> Outcome {
        let deadline = Instant::now() + patience;
        while self.is_running() {
            assert!(
                Instant::now() < deadline,
                "flowd does not end within {patience:?}; its log: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        let status = self.child.wait().unwrap();
        Outcome { status, stdout: self.output(), log: self.log() }
    }
}

impl Drop for Flowd {
    fn drop(&mut self) {
        // An error means that it ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    status: ExitStatus,
    pub stdout: String,
    pub log: String,
}

impl Outcome {
    /// Demands an exit code; shows the log if it is another one.
    pub fn expect_code(&self, code: i32) -> &Self {
        assert_eq!(self.status.code(), Some(code), "exit code ({:?}); log:\n{}", self.status, self.log);
        self
    }

    /// The exit code; none where a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Whether it was exit code 0.
    pub fn succeeded(&self) -> bool {
        self.status.success()
    }

    /// Demands that the log names something.
    pub fn expect_log(&self, text: &str) -> &Self {
        assert!(self.log.contains(text), "the log does not say {text:?}:\n{}", self.log);
        self
    }
}
