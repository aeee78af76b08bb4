//! `flowd mesh`: the embedded server on its own.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use flowd_engine::setting::bytes;

use super::{FaultPlan, JavaLimits, Server, ServerConfig};
use crate::config::parse_address;
use crate::exit::Ending;
use crate::signals::event_loop;

/// Arguments of `flowd mesh`.
#[derive(Debug, Args)]
pub struct MeshArguments {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:10000", value_parser = parse_address)]
    pub listen: String,
    /// Directory for events and cursors; without it they die with the mesh
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Events kept at most, in bytes or with KiB, MiB, GiB [default: 256MiB, with --data 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub retain: Option<u64>,
    /// Events pushed to a session and not acknowledged, at most
    #[arg(long, value_name = "COUNT", default_value_t = 4096, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub window: u16,
    /// Seconds until an unacknowledged event goes out again
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub ack_timeout: u64,
    /// Refuse and slow down as the Java server does: events over --max-event-size, publishes over --max-event-rate,
    /// more than 2000 frames a second on one connection
    #[arg(long)]
    pub java_limits: bool,
    /// With --java-limits: characters of an event's data; as shipped. The server's eventMesh.server.maxEventSize
    #[arg(long, value_name = "COUNT", requires = "java_limits", default_value_t = JavaLimits::default().event_size)]
    pub max_event_size: usize,
    /// With --java-limits: publishes a second on all connections. The server's eventMesh.server.tcp.msgReqnumPerSecond
    #[arg(long, value_name = "COUNT", requires = "java_limits", value_parser = clap::value_parser!(u32).range(1..),
        default_value_t = JavaLimits::default().publishes_per_second)]
    pub max_event_rate: u32,
    /// For tests of the clients.
    #[command(flatten)]
    pub faults: FaultPlan,
}

impl MeshArguments {
    fn config(&self) -> ServerConfig {
        let mut config = ServerConfig::new(&self.listen, self.data.clone());
        config.retain_bytes = self.retain.unwrap_or(config.retain_bytes);
        config.window = usize::from(self.window);
        config.ack_timeout = Duration::from_secs(self.ack_timeout);
        config.limits = self.java_limits.then(|| JavaLimits {
            event_size: self.max_event_size,
            publishes_per_second: self.max_event_rate,
            ..JavaLimits::default()
        });
        config.faults = self.faults;
        config
    }
}

/// Runs the server until a signal or a failure ends it; a second signal ends at once with 128 and its number.
///
/// # Errors
/// `Unusable` where it cannot start, `Fatal` where it failed while running.
pub fn command(arguments: &MeshArguments) -> Result<(), Ending> {
    // Signals are caught before the server says that it listens.
    let (runtime, mut signals) = event_loop()?;
    let server = Server::start(arguments.config()).map_err(|error| Ending::Unusable(error.to_string()))?;
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
    server.wait().map_err(|error| Ending::Fatal(error.to_string()))
}

fn parse_size(text: &str) -> Result<u64, String> {
    let size = bytes(text).ok_or("not bytes, nor a number with KiB, MiB or GiB")?;
    if size >= 1 << 16 { Ok(size) } else { Err("at least 64KiB".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_retained_has_a_lower_bound() {
        assert_eq!(parse_size("1 GiB"), Ok(1 << 30));
        assert_eq!(parse_size("65536"), Ok(65_536));
        assert!(parse_size("65535").is_err() && parse_size("-1KiB").is_err());
    }
}
