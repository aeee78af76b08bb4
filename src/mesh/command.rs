//! `flowd mesh`: the embedded server on its own.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{FaultPlan, Server, ServerConfig};
use crate::signals::Signals;

/// Arguments of `flowd mesh`.
#[derive(Debug, Args)]
pub struct MeshArguments {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:10000")]
    pub listen: String,
    /// Directory for events and cursors; without it they die with the mesh
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Events kept at most, in bytes or with KiB, MiB, GiB [default: 256MiB, with --data 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub retain: Option<u64>,
    /// Events pushed to a session and not acknowledged, at most
    #[arg(long, value_name = "COUNT", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub window: u16,
    /// Seconds until an unacknowledged event goes out again
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub ack_timeout: u64,
    /// For tests only: one publish in N is stored and never answered
    #[arg(long, value_name = "N", default_value_t = 0, hide = true)]
    pub fault_drop_acks: u64,
    /// For tests only: one publish in N meets a cut connection
    #[arg(long, value_name = "N", default_value_t = 0, hide = true)]
    pub fault_reset_every: u64,
    /// For tests only: which publishes the faults hit
    #[arg(long, value_name = "SEED", default_value_t = 1, hide = true)]
    pub fault_seed: u64,
}

impl MeshArguments {
    fn config(&self) -> ServerConfig {
        let mut config = ServerConfig::new(&self.listen, self.data.clone());
        config.retain_bytes = self.retain.unwrap_or(config.retain_bytes);
        config.window = usize::from(self.window);
        config.ack_timeout = Duration::from_secs(self.ack_timeout);
        config.faults = FaultPlan {
            drop_acks: self.fault_drop_acks,
            reset_every: self.fault_reset_every,
            seed: self.fault_seed,
        };
        config
    }
}

/// Runs the server until a signal or a failure ends it. Exit codes: 0 stopped by a signal, 3 it cannot start, 4 it
/// failed while running; a second signal ends at once with 128 and its number.
pub fn command(arguments: &MeshArguments) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start");
            return ExitCode::from(3);
        }
    };
    // Signals are caught before the server says that it listens.
    let signals = runtime.block_on(async { Signals::catch() });
    let (mut signals, server) = match (signals, Server::start(arguments.config())) {
        (Ok(signals), Ok(server)) => (signals, server),
        (Err(error), _) => return refuse(&error),
        (_, Err(error)) => return refuse(&error),
    };
    runtime.block_on(async {
        let mut look = tokio::time::interval(Duration::from_millis(100));
        let mut stopping = false;
        loop {
            tokio::select! {
                signal = signals.next() => {
                    let signal = signal.as_raw_value();
                    if std::mem::replace(&mut stopping, true) {
                        crate::exit::at_once(u8::try_from(128 + signal).unwrap_or(255));
                    }
                    tracing::info!(signal, "stopping; a second signal ends at once");
                    server.stop();
                }
                _ = look.tick() => if server.is_finished() { break },
            }
        }
    });
    match server.wait() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(4)
        }
    }
}

fn refuse(error: &dyn std::error::Error) -> ExitCode {
    tracing::error!("{error}");
    ExitCode::from(3)
}

/// `64MiB`, `1 GiB`, `65536`.
fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic() || character == ' ');
    let unit: u64 = match text[digits.len()..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        other => return Err(format!("unit {other:?} is not known: use KiB, MiB or GiB")),
    };
    let count: u64 = digits.parse().map_err(|_| format!("{digits:?} is no whole number"))?;
    count.checked_mul(unit).filter(|bytes| *bytes >= 1 << 16).ok_or_else(|| "at least 64KiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(parse_size("64MiB"), Ok(64 << 20));
        assert_eq!(parse_size("1 GiB"), Ok(1 << 30));
        assert_eq!(parse_size("65536"), Ok(65_536));
        assert!(parse_size("1MB").is_err() && parse_size("5").is_err() && parse_size("-1KiB").is_err());
    }
}
