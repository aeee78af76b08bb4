//! A broker as a process of its own, by one of the project's scripts.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;

/// How long a broker may take to come up.
const START: Duration = Duration::from_secs(60);

/// It ends with the value.
pub(super) struct Process(Child);

impl Process {
    /// Starts `scripts/SCRIPT run DIRECTORY PORT…`, and waits until the log says `up`.
    pub(super) fn start(script: &str, directory: &Path, ports: &[u16], up: &str) -> Result<Self, Failure> {
        let log = directory.join("broker.log");
        let output = File::create(&log)?;
        let child = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(script))
            .arg("run")
            .arg(directory.join("broker"))
            .args(ports.iter().map(u16::to_string))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        let (process, begin) = (Self(child), Instant::now());
        while !fs::read_to_string(&log)?.contains(up) {
            if begin.elapsed() > START {
                return Err(format!("{script} did not come up: {}", fs::read_to_string(&log)?).into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(process)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
