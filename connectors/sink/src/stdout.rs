//! The stdout-sink: each event's JSON a line on standard output. What the reader's pipe took counts as acknowledged.
//!
//! It knows neither order nor duplicates: what comes twice is written twice.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use flowd_engine::failure::Failure;
use flowd_engine::standard_output;
use flowd_engine::worker::{Outlet, Target};

use crate::event::SinkEvent;
use crate::lines;
use crate::stats::SinkStats;

/// Writes to standard output.
#[derive(Debug)]
pub struct StdoutSink {
    stats: Arc<SinkStats>,
    output: Option<File>,
}

impl StdoutSink {
    /// Takes standard output over at `start`; nothing else may write to it from then on.
    pub fn new(stats: Arc<SinkStats>) -> Self {
        Self { stats, output: None }
    }
}

impl Target<SinkEvent> for StdoutSink {
    fn start(&mut self) -> Result<(), Failure> {
        self.output = Some(standard_output::open()?);
        Ok(())
    }

    fn run(self: Box<Self>, parcels: &mut dyn Outlet<SinkEvent>) -> Result<(), Failure> {
        let mut output = self.output.expect("run follows a start that succeeded");
        copy(&mut output, parcels, &self.stats)
    }
}

fn copy(
    output: &mut impl Write,
    parcels: &mut dyn Outlet<SinkEvent>,
    stats: &SinkStats,
) -> Result<(), Failure> {
    let mut text = Vec::new();
    while let Some(delivery) = parcels.next() {
        stats.received.add(delivery.parcel.events.len() as u64);
        text.clear();
        lines::append(&mut text, &delivery.parcel, parcels)?;
        standard_output::write_all(output, &text)?;
        stats.applied.add(delivery.parcel.events.len() as u64);
        parcels.emitted(delivery.ticket);
        parcels.acked(delivery.ticket);
        parcels.recycle(delivery.parcel);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;
    use crate::testing::{FakeOutlet, counted, parcel};

    #[test]
    fn events_come_out_as_lines_as_they_came_and_what_is_none_is_a_dead_letter() {
        let first = counted(0, 2, "a", "published");
        let second =
            b"{\"specversion\":\"1.0\",\n\"id\":\"i\",\"source\":\"/s\",\"type\":\"t\",\"data\":[1]}"
                .to_vec();
        let mut outlet = FakeOutlet::new([parcel(&[first.clone(), b"what?".to_vec()]), parcel(&[second])]);
        let mut output = Vec::new();
        copy(&mut output, &mut outlet, &SinkStats::default()).unwrap();
        let lines: Vec<&[u8]> = output.split(|byte| *byte == b'\n').collect();
        assert_eq!((lines.len(), lines[0], lines[2]), (3, &first[..], &b""[..]));
        assert!(
            lines[1].ends_with(br#""data":[1]}"#)
                && serde_json::from_slice::<serde_json::Value>(lines[1]).is_ok()
        );
        assert_eq!((outlet.acked, outlet.rejects.len(), outlet.recycled), (vec![0, 1], 1, 2));
    }

    #[test]
    fn a_reader_that_is_gone_is_no_success() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _bytes: &[u8]) -> std::io::Result<usize> {
                Err(ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut outlet = FakeOutlet::new([parcel(&[counted(0, 1, "a", "published")])]);
        let failure = copy(&mut Gone, &mut outlet, &SinkStats::default()).unwrap_err();
        assert!(failure.message().contains("closed by its reader"), "{failure}");
        assert!(outlet.acked.is_empty());
    }
}
