//! A session with a server through the server's own client program: independent of all code of ours.

use std::path::Path;
use std::process::{Command, Stdio};

use super::Kind;
use super::server::script;
use super::session::{Dialect, Session};

/// A session. It lasts as long as the value, so session variables and open transactions do, too.
pub struct Sql(Session);

impl Sql {
    /// Opens one as root over the socket; `arguments` go to the client program.
    pub fn open(kind: Kind, datadir: &Path, arguments: &[&str]) -> Self {
        let mut client = client(kind, datadir);
        client
            .args(["--batch", "--skip-column-names", "--unbuffered", "--default-character-set=utf8mb4"])
            .arg("--max-allowed-packet=1G")
            .args(arguments);
        let echo = |mark: &str| format!("SELECT '{mark}';");
        Self(Session::open(&mut client, Dialect { separator: '\t', echo }))
    }

    /// Whether the server of `datadir` answers.
    pub fn answers(kind: Kind, datadir: &Path) -> bool {
        let quiet =
            client(kind, datadir).args(["-e", "DO 1"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        quiet.is_ok_and(|status| status.success())
    }

    /// Runs statements separated by `;` and gives all rows of all results; panics on an SQL error. Values are as the
    /// client's batch mode prints them (`\n`, `\t`, `\\` escaped, NULL as the word).
    pub fn run(&mut self, sql: &str) -> Vec<Vec<String>> {
        self.0.run(sql)
    }

    /// Runs a statement that ends the session.
    pub fn run_last(self, sql: &str) {
        self.0.run_last(sql);
    }
}

fn client(kind: Kind, datadir: &Path) -> Command {
    let mut command = script();
    command.args(["sql", kind.name()]).arg(datadir);
    command
}
