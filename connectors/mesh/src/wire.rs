//! A link with what is to be written on it, for connections that write little: the session's frames, acknowledgements,
//! reports.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use tracing::debug;

use crate::link::Link;

/// Room made for a read.
const READ_BYTES: usize = 128 * 1024;
/// How long the last goodbye is waited for.
const GOODBYE: Duration = Duration::from_secs(1);

pub(crate) struct Wire {
    pub(crate) link: Link,
    /// Appended to by whoever has something to say; [`Wire::write`] sends it.
    pub(crate) out: Vec<u8>,
    written: usize,
}

impl Wire {
    pub(crate) fn new(link: Link) -> Self {
        Self { link, out: Vec::new(), written: 0 }
    }

    /// Whether bytes came.
    pub(crate) fn read(&mut self) -> Result<bool, String> {
        let buffer = self.link.decoder.buffer_mut();
        buffer.reserve(READ_BYTES);
        match self.link.stream.try_read_buf(buffer) {
            Ok(0) => Err("the server closed the connection".to_owned()),
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Sends as much as goes.
    pub(crate) fn write(&mut self) -> Result<(), String> {
        while self.written < self.out.len() {
            match self.link.stream.try_write(&self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Tells the server that we go and waits a moment for its answer; then the socket may be closed, answer or not.
    pub(crate) async fn say_goodbye(&mut self) {
        self.link.session.leave(Instant::now(), &mut self.out);
        match tokio::time::timeout(GOODBYE, self.part()).await {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => debug!("the goodbye was cut short: {reason}"),
            Err(_) => debug!("the server did not answer the goodbye"),
        }
    }

    async fn part(&mut self) -> Result<(), String> {
        while !self.link.session.is_over() {
            self.write()?;
            let stream = &self.link.stream;
            tokio::select! {
                result = stream.readable() => result.map_err(|error| error.to_string())?,
                result = stream.writable(), if !self.out.is_empty() => result.map_err(|error| error.to_string())?,
            }
            self.read()?;
            // Pushes that come now stay unacknowledged: the server has them again when the connection closes.
            while let Some(frame) = self.link.decoder.next_frame().map_err(|error| error.to_string())? {
                let received = self.link.session.receive(&frame, Instant::now(), &mut self.out);
                drop(received.map_err(|error| error.to_string())?);
            }
        }
        Ok(())
    }
}
