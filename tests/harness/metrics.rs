//! The metrics page of a running `flowd`.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::{free_port, until};

/// An address for `--metrics`, and what is served there.
pub struct Metrics {
    pub address: String,
}

impl Metrics {
    /// Of a run that is yet to start.
    pub fn new() -> Self {
        Self { address: format!("127.0.0.1:{}", free_port()) }
    }

    /// The page, once there is one.
    pub fn page(&self) -> Option<String> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut page = String::new();
        stream.read_to_string(&mut page).ok()?;
        Some(page)
    }

    /// A sample by its name and labels.
    pub fn value(&self, name: &str) -> Option<f64> {
        let page = self.page()?;
        let sample = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        Some(sample.parse().expect("a sample is a number"))
    }

    /// Waits until a sample is at least `least`; gives it.
    pub fn wait_for(&self, name: &str, least: f64) -> f64 {
        until(&format!("{name} to reach {least}; it is {:?}", self.value(name)), || {
            self.value(name).filter(|value| *value >= least)
        })
    }
}
