//! The target `stdout`: one structured CloudEvent a line. What the reader's pipe took counts as acknowledged.

use std::fs::File;
use std::io::Write;

use flowd_engine::failure::Failure;
use flowd_engine::standard_output;
use flowd_engine::worker::{Outlet, Target};

use crate::Outgoing;
use crate::jsonl::runs;

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
        self.output = Some(standard_output::open().map_err(|failure| failure.context("pipeline.target"))?);
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
            standard_output::write_all(output, run)?;
        }
        parcels.emitted(delivery.ticket);
        parcels.acked(delivery.ticket);
        parcels.recycle(delivery.parcel);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io;

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
