//! A database server of one test: its own datadir and port, ended with the test, however the test ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{Sql, free_port, until};

/// The servers that the promises are tested on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    MariaDb10,
    MariaDb11,
    MySql9,
}

/// All of them.
pub const ALL: [Kind; 3] = [Kind::MariaDb10, Kind::MariaDb11, Kind::MySql9];

impl Kind {
    /// The name that `scripts/servers.sh` knows it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::MariaDb10 => "mariadb-10.11",
            Self::MariaDb11 => "mariadb-11.8",
            Self::MySql9 => "mysql-9",
        }
    }

    /// What events call it, in `source` and in the envelope's `connector`.
    pub fn connector(self) -> &'static str {
        if self.is_mysql() { "mysql" } else { "mariadb" }
    }

    pub fn is_mysql(self) -> bool {
        self == Self::MySql9
    }
}

/// A running server. Dropping it kills the process and removes the datadir; `setpriv --pdeathsig` in the script ends
/// it even when the test itself is killed.
pub struct Server {
    pub kind: Kind,
    pub port: u16,
    directory: tempfile::TempDir,
    arguments: Vec<String>,
    child: Child,
}

impl Server {
    pub fn start(kind: Kind) -> Self {
        Self::start_with(kind, &[])
    }

    /// With further server options.
    pub fn start_with(kind: Kind, arguments: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("flowd-db-").tempdir().unwrap();
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        // Another process may take the port between our look and the server's bind.
        for attempt in 1.. {
            let port = free_port();
            let mut child = launch(kind, &datadir(directory.path()), port, &arguments);
            if wait_for(kind, directory.path(), &mut child) {
                return Self { kind, port, directory, arguments, child };
            }
            assert!(attempt < 3, "{} does not start: {}", kind.name(), error_log(directory.path()));
        }
        unreachable!("the loop returns or panics");
    }

    /// A new session as root, all rights, over the socket.
    pub fn sql(&self) -> Sql {
        Sql::open(self.kind, &datadir(self.directory.path()), &[])
    }

    /// One statement batch in a session of its own.
    pub fn run(&self, sql: &str) -> Vec<Vec<String>> {
        self.sql().run(sql)
    }

    /// Ends the server cleanly and starts it again on the same datadir and port.
    pub fn restart(&mut self) {
        self.run_last("SHUTDOWN");
        self.child.wait().unwrap();
        self.child = launch(self.kind, &datadir(self.directory.path()), self.port, &self.arguments);
        let up = wait_for(self.kind, self.directory.path(), &mut self.child);
        assert!(up, "{} does not start again: {}", self.kind.name(), error_log(self.directory.path()));
    }

    /// The GTID set of all that was ever committed here.
    pub fn gtid(&self) -> String {
        let variable =
            if self.kind.is_mysql() { "@@GLOBAL.gtid_executed" } else { "@@GLOBAL.gtid_binlog_pos" };
        self.run(&format!("SELECT {variable}"))[0][0].replace("\\n", "")
    }

    /// The current end of the binlog: file and position.
    pub fn position(&self) -> (String, u64) {
        let statement = if self.kind.is_mysql() { "SHOW BINARY LOG STATUS" } else { "SHOW MASTER STATUS" };
        let row = &self.run(statement)[0];
        (row[0].clone(), row[1].parse().unwrap())
    }

    /// Drops all binlog files but the current one.
    pub fn purge(&self) {
        self.run("FLUSH BINARY LOGS");
        let (file, _) = self.position();
        // The server keeps a file while a dump thread reads it.
        until("the purge to take effect", || {
            self.run(&format!("PURGE BINARY LOGS TO '{file}'"));
            (self.run("SHOW BINARY LOGS").len() == 1).then_some(())
        });
    }

    /// How many dump threads (replication clients) the server has.
    pub fn dump_threads(&self) -> usize {
        let rows =
            self.run("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'");
        rows[0][0].parse().unwrap()
    }

    fn run_last(&self, sql: &str) {
        self.sql().run_last(sql);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() && !matches!(self.child.try_wait(), Ok(None)) {
            eprintln!("{} ended by itself: {}", self.kind.name(), error_log(self.directory.path()));
        }
        // Killed, not asked: the datadir goes with it. An error means that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn datadir(directory: &Path) -> PathBuf {
    directory.join("data")
}

pub(super) fn script() -> Command {
    Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/servers.sh"))
}

fn launch(kind: Kind, datadir: &Path, port: u16, arguments: &[String]) -> Child {
    let log = fs::File::create(datadir.with_extension("output")).unwrap();
    script()
        .args(["run", kind.name()])
        .arg(datadir)
        .arg(port.to_string())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .expect("scripts/servers.sh starts")
}

/// True once the server answers; false when it ended instead.
fn wait_for(kind: Kind, directory: &Path, child: &mut Child) -> bool {
    let datadir = datadir(directory);
    // The first start of all may have to fetch the server, which is why this wait is not `until`.
    for _ in 0..6000 {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if datadir.join("pid").exists() && Sql::answers(kind, &datadir) {
            return true;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    false
}

fn error_log(directory: &Path) -> String {
    let tail = |path: PathBuf| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    };
    tail(directory.join("data.output")) + &tail(datadir(directory).join("error.log"))
}
