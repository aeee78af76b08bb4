//! A PostgreSQL server of one test: its own datadir and port, ended with the test, however the test ends; and a session
//! with it through its own client program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::session::{Dialect, Session};
use super::{Job, free_port};

/// The versions that the promises are tested on, as `scripts/postgres.sh` knows them.
pub const VERSIONS: [&str; 2] = ["postgres-15", "postgres-17"];

/// A running server. Dropping it kills the process and removes the datadir; `setpriv --pdeathsig` in the script ends
/// it even when the test itself is killed.
pub struct Postgres {
    pub port: u16,
    version: &'static str,
    directory: tempfile::TempDir,
    arguments: Vec<String>,
    child: Child,
}

impl Postgres {
    /// The newest version.
    pub fn start() -> Self {
        Self::start_with(VERSIONS[1], &[])
    }

    /// A version, with further server options.
    pub fn start_with(version: &'static str, arguments: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("flowd-pg-").tempdir().unwrap();
        // The server is not root, and its datadir is in here.
        fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        // Another process may take the port between our look and the server's bind.
        for attempt in 1.. {
            let port = free_port();
            let mut child = launch(version, directory.path(), port, &arguments);
            if wait_for(version, directory.path(), &mut child) {
                return Self { port, version, directory, arguments, child };
            }
            assert!(attempt < 3, "{version} does not start: {}", log(directory.path()));
        }
        unreachable!("the loop returns or panics");
    }

    /// A new session as the superuser, over the socket, in the database `shop`.
    pub fn sql(&self) -> Psql {
        Psql::open(self.version, &datadir(self.directory.path()))
    }

    /// One statement batch in a session of its own.
    pub fn run(&self, sql: &str) -> Vec<Vec<String>> {
        self.sql().run(sql)
    }

    /// `kill -9`, of the one process that all others notice to be gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it where it was.
    pub fn restart(&mut self) {
        // The server's other processes end a moment after it and hold the port as long.
        for _ in 0..50 {
            self.child = launch(self.version, self.directory.path(), self.port, &self.arguments);
            if wait_for(self.version, self.directory.path(), &mut self.child) {
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        panic!("{} does not start again: {}", self.version, log(self.directory.path()));
    }

    /// `kill -STOP` or `-CONT`, of all of its processes.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let mut command = Command::new("kill");
        command.args(["-s", name, &pid.to_string()]).args(children.split_whitespace());
        // A process that ended meanwhile needs no signal.
        let _ = command.stderr(Stdio::null()).status();
    }

    /// Tells a postgres-sink where to write: as the role `app`, into the database `shop`.
    pub fn configure(&self, job: Job) -> Job {
        job.set("connectorConfig.hostname", "127.0.0.1")
            .set("connectorConfig.port", &self.port.to_string())
            .set("connectorConfig.user", "app")
            .set("connectorConfig.password", "app")
            .set("connectorConfig.database", "shop")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if std::thread::panicking() && !matches!(self.child.try_wait(), Ok(None)) {
            eprintln!("{} ended by itself: {}", self.version, log(self.directory.path()));
        }
        // At once, and with its shared memory; the datadir goes with it. An error means that it is gone already.
        self.signal("CONT");
        let _ = Command::new("kill")
            .args(["-s", "QUIT", &self.child.id().to_string()])
            .stderr(Stdio::null())
            .status();
        let _ = self.child.wait();
    }
}

fn datadir(directory: &Path) -> PathBuf {
    directory.join("data")
}

fn script() -> Command {
    Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/postgres.sh"))
}

fn launch(version: &str, directory: &Path, port: u16, arguments: &[String]) -> Child {
    let log = fs::File::create(directory.join("log")).unwrap();
    let mut command = script();
    command.args(["run", version]).arg(datadir(directory)).arg(port.to_string()).args(arguments);
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().expect("scripts/postgres.sh starts")
}

/// True once the server answers; false when it ended instead.
fn wait_for(version: &str, directory: &Path, child: &mut Child) -> bool {
    // The first start of all may have to fetch the server, which is why this wait is not `until`.
    for _ in 0..6000 {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if log(directory).contains("ready to accept connections") && answers(version, directory) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

fn answers(version: &str, directory: &Path) -> bool {
    let mut command = client(version, &datadir(directory));
    let quiet = command.args(["-c", "SELECT 1"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

fn client(version: &str, datadir: &Path) -> Command {
    let mut command = script();
    command.args(["sql", version]).arg(datadir);
    command
}

fn log(directory: &Path) -> String {
    let text = fs::read_to_string(directory.join("log")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// A session: settings and open transactions last as long as the value.
pub struct Psql(Session);

impl Psql {
    fn open(version: &str, datadir: &Path) -> Self {
        let mut client = client(version, datadir);
        client.args(["--no-align", "--tuples-only", "--field-separator=\u{1f}", "--pset=null=NULL"]);
        let echo = |mark: &str| format!("\\echo {mark}");
        Self(Session::open(&mut client, Dialect { separator: '\u{1f}', echo }))
    }

    /// Runs statements separated by `;` and gives all rows of all results, NULL as the word; panics on an SQL error.
    pub fn run(&mut self, sql: &str) -> Vec<Vec<String>> {
        self.0.run(sql)
    }

    /// The first field of the first row.
    pub fn one(&mut self, sql: &str) -> String {
        self.run(sql).first().and_then(|row| row.first()).cloned().expect("a row")
    }
}

impl Drop for Psql {
    fn drop(&mut self) {
        self.0.kill();
    }
}
