//! A session with a database through a client program of its own: statements go in, rows of text come out.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// How a client program is spoken to.
pub struct Dialect {
    /// What stands between two fields.
    pub separator: char,
    /// What makes it print a mark on a line of its own.
    pub echo: fn(&str) -> String,
}

/// A running client program.
pub struct Session {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    dialect: Dialect,
    statements: u64,
}

impl Session {
    pub fn open(client: &mut Command, dialect: Dialect) -> Self {
        let client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = client.spawn().expect("the client program starts");
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output, dialect, statements: 0 }
    }

    /// Runs statements separated by `;` and gives all rows of all results; panics on an SQL error.
    pub fn run(&mut self, sql: &str) -> Vec<Vec<String>> {
        self.statements += 1;
        let mark = format!("-- done {}", self.statements);
        let echo = (self.dialect.echo)(&mark);
        // A failed write means that the client gave up; reading then tells why.
        let _ = writeln!(self.input, "{sql};\n{echo}").and_then(|()| self.input.flush());
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
            rows.push(text.split(self.dialect.separator).map(str::to_owned).collect());
        }
    }

    /// Runs a statement that ends the session.
    pub fn run_last(mut self, sql: &str) {
        writeln!(self.input, "{sql};").unwrap();
        drop(self.input);
        self.child.wait().unwrap();
    }

    /// Ends the program at once.
    #[cfg(feature = "postgres")]
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
