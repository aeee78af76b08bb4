//! The servers on which the promises about EventMesh are tried: an embedded mesh with a Java server's limits always,
//! the one that `EVENTMESH_ADDR` names, and a runtime that `scripts/eventmesh.sh` starts where `EVENTMESH_HOME` names an
//! unpacked distribution.

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::harness::{Flowd, free_port, until};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/eventmesh.sh");

/// Topics and groups are new with each test: a named server remembers those of earlier runs.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A server under test.
pub struct Runtime {
    pub address: String,
    keeper: Keeper,
}

enum Keeper {
    /// Somebody else runs it.
    Nobody,
    Embedded {
        directory: tempfile::TempDir,
        process: Option<Flowd>,
    },
    Script {
        directory: tempfile::TempDir,
    },
}

impl Runtime {
    /// All servers that `variable` asks for; the embedded one stands for a named one where none is named.
    pub fn all(variable: impl Fn(&str) -> Option<String>) -> Vec<Self> {
        let mut all = vec![Self::embedded()];
        all.extend(variable("EVENTMESH_ADDR").map(|address| Self { address, keeper: Keeper::Nobody }));
        all.extend(variable("EVENTMESH_HOME").map(|_| Self::script()));
        all
    }

    /// `flowd mesh` with the limits of a server as shipped, and a directory.
    pub fn embedded() -> Self {
        let directory = tempfile::Builder::new().prefix("flowd-java-mesh-").tempdir().unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let mut runtime = Self { address, keeper: Keeper::Embedded { directory, process: None } };
        runtime.start();
        runtime
    }

    fn script() -> Self {
        let directory = tempfile::Builder::new().prefix("flowd-eventmesh-").tempdir().unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let mut runtime = Self { address, keeper: Keeper::Script { directory } };
        runtime.start();
        runtime
    }

    fn start(&mut self) {
        match &mut self.keeper {
            Keeper::Nobody => panic!("{} is not ours to start", self.address),
            Keeper::Embedded { directory, process } => {
                let data = directory.path().join("data").display().to_string();
                let arguments = ["mesh", "--java-limits", "--listen", &self.address, "--data", &data];
                *process = Some(Flowd::launch(directory.path(), &arguments));
                until("the mesh to listen", || TcpStream::connect(&self.address).ok());
            }
            Keeper::Script { directory } => {
                let (_, port) = self.address.rsplit_once(':').expect("host:port");
                script(&["start", &directory.path().display().to_string(), port]);
            }
        }
    }

    /// Ends it in an orderly way and starts it again; says whether it is ours to do so.
    pub fn restart(&mut self) -> bool {
        match &mut self.keeper {
            Keeper::Nobody => return false,
            Keeper::Embedded { process, .. } => {
                let process = process.take().expect("it runs");
                process.signal("TERM");
                process.wait().expect_code(0);
            }
            Keeper::Script { directory } => script(&["stop", &directory.path().display().to_string()]),
        }
        self.start();
        true
    }

    /// A name for a topic or a group that no other test and no earlier run used.
    pub fn new_name(&self, what: &str) -> String {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        format!("flowd.test.{what}.{}.{count}", std::process::id())
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Keeper::Script { directory } = &self.keeper {
            // Its end must not depend on how the test ended.
            let _ = Command::new(SCRIPT).args(["kill", &directory.path().display().to_string()]).status();
        }
    }
}

fn script(arguments: &[&str]) {
    let status = Command::new(SCRIPT).args(arguments).stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "scripts/eventmesh.sh {arguments:?}");
}
