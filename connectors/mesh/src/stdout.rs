//! The target `stdout`: one structured CloudEvent a line. What the reader's pipe took counts as acknowledged.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use flowd_engine::failure::Failure;
use flowd_engine::worker::{Outlet, Target};

use crate::Outgoing;
use crate::jsonl::runs;

/// A terminal or pipe may be in non-blocking mode by somebody else's doing; it is asked again after this.
const BUSY_WAIT: Duration = Duration::from_millis(5);

/// Writes lines to standard output.
#[derive(Debug, Default)]
pub struct StdoutTarget {
    output: Option<File>,
}

impl StdoutTarget {
    /// Takes standard output over at `start`; nothing else may write to it from then on.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Target<Outgoing> for StdoutTarget {
    fn start(&mut self) -> Result<(), Failure> {
        // A file of our own on the same descriptor: std's line buffer would only copy.
        let descriptor = io::stdout().as_fd().try_clone_to_owned().map_err(|error| {
            Failure::Unusable(format!("pipeline.target: standard output cannot be used: {error}"))
        })?;
        self.output = Some(File::from(descriptor));
        Ok(())
    }

    fn run(self: Box<Self>, parcels: &mut dyn Outlet<Outgoing>) -> Result<(), Failure> {
        let mut output = self.output.expect("run follows a start that succeeded");
        copy(&mut output, parcels)
    }
}

fn copy(output: &mut impl Write, parcels: &mut dyn Outlet<Outgoing>) -> Result<(), Failure> {
    while let Some(delivery) = parcels.next() {
        for run in runs(&delivery.parcel) {
            write_all(output, run).map_err(|error| match error.kind() {
                ErrorKind::BrokenPipe => {
                    Failure::Fatal("standard output was closed by its reader".to_owned())
                }
                _ => Failure::Fatal(format!("cannot write to standard output: {error}")),
            })?;
        }
        parcels.emitted(delivery.ticket);
        parcels.acked(delivery.ticket);
        parcels.recycle(delivery.parcel);
    }
    Ok(())
}

fn write_all(output: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(BUSY_WAIT),
            Err(error) => return Err(error),
        }
    }
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeParcels, line_parcel};

    #[test]
    fn lines_come_out_in_order_and_are_acknowledged() {
        let mut parcels = FakeParcels::ending(vec![line_parcel(&["1", "2"]), line_parcel(&["3"])]);
        let mut output = Vec::new();
        copy(&mut output, &mut parcels).unwrap();
        assert_eq!(output, b"1\n2\n3\n");
        assert_eq!((parcels.emitted, parcels.acked), (vec![0, 1], vec![0, 1]));
    }

    #[test]
    fn a_closed_pipe_ends_the_run_by_name_and_acknowledges_nothing() {
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        let mut parcels = FakeParcels::ending(vec![line_parcel(&["1"])]);
        let failure = copy(&mut writer, &mut parcels).unwrap_err();
        assert_eq!(failure, Failure::Fatal("standard output was closed by its reader".to_owned()));
        assert!(parcels.acked.is_empty());
    }
}
