//! A session with a server through the server's own client program: independent of all code of ours.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::Kind;
use super::server::script;

/// A session. It lasts as long as the value, so session variables and open transactions do, too.
pub struct Sql {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    statements: u64,
}

impl Sql {
    /// Opens one as root over the socket; `arguments` go to the client program.
    pub fn open(kind: Kind, datadir: &Path, arguments: &[&str]) -> Self {
        let mut child = client(kind, datadir)
            .args(["--batch", "--skip-column-names", "--unbuffered", "--default-character-set=utf8mb4"])
            .arg("--max-allowed-packet=1G")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the client program starts");
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output, statements: 0 }
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
        self.statements += 1;
        let mark = format!("-- done {}", self.statements);
        // A failed write means that the client gave up; reading then tells why.
        let _ = writeln!(self.input, "{sql};\nSELECT '{mark}';").and_then(|()| self.input.flush());
        let mut rows = Vec::new();
        let mut line = String::new();
        loop {
            line.clear();
            if self.output.read_line(&mut line).unwrap() == 0 {
                let mut why = String::new();
                self.child.stderr.take().unwrap().read_to_string(&mut why).unwrap();
                let shown: String = sql.chars().take(2000).collect();
                panic!("SQL failed: {why}\n{shown}");
            }
            let text = line.trim_end_matches('\n');
            if text == mark {
                return rows;
            }
            rows.push(text.split('\t').map(str::to_owned).collect());
        }
    }

    /// Runs a statement that ends the session.
    pub fn run_last(mut self, sql: &str) {
        writeln!(self.input, "{sql};").unwrap();
        drop(self.input);
        self.child.wait().unwrap();
    }
}

fn client(kind: Kind, datadir: &Path) -> Command {
    let mut command = script();
    command.args(["sql", kind.name()]).arg(datadir);
    command
}
