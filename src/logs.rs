//! Logs: always on standard error, for people on a terminal, JSON otherwise or when asked. They step around the
//! progress line.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::sync::LazyLock;

use indicatif::{MultiProgress, ProgressDrawTarget};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::cli::{self, LogFormat};

/// What draws on the terminal; the progress line is added here, and logs are written between its drawings.
pub(crate) static SCREEN: LazyLock<MultiProgress> =
    LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(4)));

/// The variables that filter, the first that is set wins.
const FILTERS: [&str; 2] = ["FLOWD_LOG", "RUST_LOG"];

/// Without such a variable. The client of Kafka tells its every step, and how a program could call it otherwise;
/// what that of RabbitMQ would say comes back as errors, and it would print messages.
const FILTER: &str = "info,krafka=warn,krafka::consumer::group::classic=error,lapin=off";

/// Turns logging on. Once in a process.
///
/// # Errors
/// A filter that cannot be read names its variable.
pub fn start(format: Option<LogFormat>) -> Result<(), clap::Error> {
    let terminal = io::stderr().is_terminal();
    let format = format.unwrap_or(if terminal { LogFormat::Human } else { LogFormat::Json });
    let builder = tracing_subscriber::fmt().with_env_filter(filter()?).with_writer(Screen);
    match format {
        LogFormat::Human => builder.with_ansi(terminal && env::var_os("NO_COLOR").is_none()).init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).init(),
    }
    Ok(())
}

fn filter() -> Result<EnvFilter, clap::Error> {
    for name in FILTERS {
        let Ok(text) = env::var(name) else { continue };
        let filter = EnvFilter::builder().parse(&text);
        return filter.map_err(|error| {
            cli::usage(&format!("the variable {name} is no log filter (info, flowd_mysql=debug, …): {error}"))
        });
    }
    Ok(EnvFilter::new(FILTER))
}

/// Logs a panic and ends the process with code 4: nothing goes on half-dead. Progress is safe as of the last
/// checkpoint.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        tracing::error!(thread = thread.name().unwrap_or("?"), "flowd has a defect and stops: {panic}");
        crate::exit::at_once(4);
    }));
}

#[derive(Clone, Copy)]
struct Screen;

impl<'a> MakeWriter<'a> for Screen {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(Vec::with_capacity(256))
    }
}

/// One log line; it is written whole, when it is dropped.
struct Line(Vec<u8>);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // A log that cannot be written has nowhere to be told.
        SCREEN.suspend(|| drop(io::stderr().lock().write_all(&self.0)));
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::thread;

    use super::*;

    const CHILD: &str = "FLOWD_TEST_PANICS_IN_A_THREAD";

    /// Runs twice: as the test, and in a process of its own as the one that panics.
    #[test]
    fn a_panic_on_any_thread_is_logged_and_ends_the_process_with_code_4() {
        if env::var_os(CHILD).is_some() {
            start(None).expect("logs");
            log_panics();
            let body = || panic!("on purpose");
            drop(thread::Builder::new().name("flowd-lane".into()).spawn(body).expect("a thread").join());
            unreachable!("the process has ended");
        }
        let name = "logs::tests::a_panic_on_any_thread_is_logged_and_ends_the_process_with_code_4";
        let this = env::current_exe().expect("the test binary");
        let mut run = Command::new(this);
        run.args(["--exact", name, "--nocapture"]).env(CHILD, "1");
        let output = run.env_remove("FLOWD_LOG").env_remove("RUST_LOG").output().expect("a child");
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{log}");
        let line: serde_json::Value =
            log.lines().find_map(|line| serde_json::from_str(line).ok()).expect("a line of JSON");
        assert_eq!((&line["level"], &line["thread"]), (&"ERROR".into(), &"flowd-lane".into()));
        assert!(line["message"].as_str().is_some_and(|text| text.contains("on purpose")), "{line}");
    }
}
