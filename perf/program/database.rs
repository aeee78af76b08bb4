//! The database server of a measurement, through `scripts/servers.sh`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::port::free_port;

/// A server of its own, killed with the value or with this program.
pub(crate) struct Database {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) datadir: PathBuf,
    pub(crate) child: Child,
}

impl Database {
    /// On a datadir that is made if it does not exist, with further options of the server.
    pub(crate) fn start(name: &str, datadir: &Path, options: &[&str]) -> Result<Self, Failure> {
        let port = free_port()?;
        let child = script()
            .args(["run", name])
            .arg(datadir)
            .arg(port.to_string())
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let mut database = Self { name: name.to_owned(), port, datadir: datadir.to_owned(), child };
        let deadline = Instant::now() + Duration::from_secs(300);
        while database.sql("DO 1").is_err() {
            if database.child.try_wait()?.is_some() || Instant::now() > deadline {
                return Err(
                    format!("{name} does not start; see {}/error.log", database.datadir.display()).into()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(database)
    }

    /// Runs statements as root; gives all output, a row a line, columns by tabs.
    pub(crate) fn sql(&self, statements: &str) -> Result<String, Failure> {
        let mut client = script()
            .args(["sql", &self.name])
            .arg(&self.datadir)
            .args(["--batch", "--skip-column-names"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        // A client that ended early says why on stderr, so a broken pipe is no news.
        let _ = client.stdin.take().ok_or("the client has no stdin")?.write_all(statements.as_bytes());
        let output = client.wait_with_output()?;
        if output.status.success() {
            Ok(String::from_utf8(output.stdout)?)
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The datadir is thrown away; an error means that the server is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `scripts/servers.sh`.
pub(crate) fn script() -> Command {
    Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/servers.sh"))
}
