//! A subscriber of any mesh: `flowd tail`.

use std::fs;
use std::io::BufReader;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::Failure;

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
