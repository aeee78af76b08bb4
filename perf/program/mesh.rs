//! The embedded mesh of a measurement, and a subscriber of any.

use std::fs;
use std::io::BufReader;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::Failure;
use crate::database::free_port;

/// An embedded mesh in a process of its own, which keeps all that it is given.
pub(crate) struct Mesh {
    pub(crate) port: u16,
    child: Child,
    // Held so that the events' directory goes with the mesh.
    _data: TempDir,
}

impl Mesh {
    /// With further options of `flowd mesh`.
    pub(crate) fn start(program: &Path, directory: &Path, options: &[&str]) -> Result<Self, Failure> {
        let data = tempfile::Builder::new().prefix("mesh-").tempdir_in(directory)?;
        let port = free_port()?;
        let address = format!("127.0.0.1:{port}");
        let child = Command::new(program)
            .args(["mesh", "--listen", &address, "--retain", "64GiB", "--data"])
            .arg(data.path())
            .args(options)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut mesh = Self { port, child, _data: data };
        while TcpStream::connect(&address).is_err() {
            if let Some(status) = mesh.child.try_wait()? {
                return Err(format!("flowd mesh ended with {status}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(mesh)
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// Hands a topic's events, one a line, to `read` once the server has taken the subscription; `read` says when it has seen
/// enough.
pub(crate) fn subscribe(
    program: &Path,
    address: &str,
    topic: &str,
    read: impl FnOnce(BufReader<ChildStdout>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let log = tempfile::NamedTempFile::new()?;
    let mut tail = Command::new(program)
        .args(["tail", "--mesh", address, "--topic", topic])
        .env("FLOWD_LOG", "info")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.reopen()?)
        .spawn()?;
    let output = tail.stdout.take().ok_or("tail has no stdout")?;
    let result = listening(&mut tail, log.path()).and_then(|()| read(BufReader::new(output)));
    tail.kill()?;
    tail.wait()?;
    result
}

fn listening(tail: &mut Child, log: &Path) -> Result<(), Failure> {
    loop {
        let said = fs::read_to_string(log)?;
        if said.contains("listening") {
            return Ok(());
        }
        if let Some(status) = tail.try_wait()? {
            return Err(format!("flowd tail ended with {status}: {said}").into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        // An error means that it ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
