//! The embedded mesh of a measurement.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::Failure;
use crate::port::free_port;

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

impl Drop for Mesh {
    fn drop(&mut self) {
        // An error means that it ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
