//! The embedded mesh of a measurement.

use std::io::BufReader;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::Failure;
use crate::database::free_port;

/// An embedded mesh in a process of its own, which keeps all that it is given.
pub(crate) struct Mesh {
    program: PathBuf,
    pub(crate) port: u16,
    child: Child,
    // Held so that the events' directory goes with the mesh.
    _data: TempDir,
}

impl Mesh {
    pub(crate) fn start(program: &Path, directory: &Path) -> Result<Self, Failure> {
        let data = tempfile::Builder::new().prefix("mesh-").tempdir_in(directory)?;
        let port = free_port()?;
        let address = format!("127.0.0.1:{port}");
        let child = Command::new(program)
            .args(["mesh", "--listen", &address, "--retain", "64GiB", "--data"])
            .arg(data.path())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut mesh = Self { program: program.to_owned(), port, child, _data: data };
        while TcpStream::connect(&address).is_err() {
            if let Some(status) = mesh.child.try_wait()? {
                return Err(format!("flowd mesh ended with {status}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(mesh)
    }

    /// Hands a topic's events, one a line, to `read`, which says when it has seen enough.
    pub(crate) fn read(
        &self,
        topic: &str,
        read: impl FnOnce(BufReader<ChildStdout>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut tail = Command::new(&self.program)
            .args(["tail", "--mesh", &format!("127.0.0.1:{}", self.port), "--topic", topic])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let output = tail.stdout.take().ok_or("tail has no stdout")?;
        let result = read(BufReader::new(output));
        tail.kill()?;
        tail.wait()?;
        result
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        // An error means that it ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
