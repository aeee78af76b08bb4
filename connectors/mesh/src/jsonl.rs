//! The target `jsonl:PATH`: one structured CloudEvent a line, appended to a file.
//!
//! A parcel's bytes are the lines already (the `Line` framing), so a parcel is one write. Kept: nothing counts as
//! acknowledged before `fdatasync` returned, and a line torn by a crash is cut off at the next start; what was torn had
//! not been acknowledged and comes again.

use std::path::PathBuf;

use flowd_engine::arrival::Arrival;
use flowd_engine::failure::Failure;
use flowd_engine::line_file::LineFile;
use flowd_engine::parcel::Parcel;
use flowd_engine::worker::{Delivery, Outlet, Target};

use crate::Outgoing;

/// Appends lines to a file.
#[derive(Debug)]
pub struct JsonlTarget {
    path: PathBuf,
    file: Option<LineFile<u64>>,
}

impl JsonlTarget {
    /// For the file at `path`, which `start` creates if need be.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), file: None }
    }
}

impl Target<Outgoing> for JsonlTarget {
    fn start(&mut self) -> Result<(), Failure> {
        self.file = Some(LineFile::open(&self.path, "pipeline.target")?);
        Ok(())
    }

    fn run(self: Box<Self>, parcels: &mut dyn Outlet<Outgoing>) -> Result<(), Failure> {
        let mut file = self.file.expect("run follows a start that succeeded");
        loop {
            match file.next(parcels, None) {
                Arrival::Parcel(Delivery { ticket, parcel }) => {
                    file.append(runs(&parcel), ticket)?;
                    parcels.emitted(ticket);
                    // The file system has the bytes now; holding the parcel until the sync would only hold up the lanes.
                    parcels.recycle(parcel);
                }
                Arrival::Nothing => {}
                Arrival::End => break,
            }
            file.settle()?.into_iter().for_each(|ticket| parcels.acked(ticket));
        }
        file.sync()?.into_iter().for_each(|ticket| parcels.acked(ticket));
        Ok(())
    }
}

/// The parcel's bytes in as few slices as they allow: events lie back to back, so usually one.
pub(crate) fn runs(parcel: &Parcel<Outgoing>) -> impl Iterator<Item = &[u8]> {
    parcel
        .events
        .chunk_by(|before, after| before.event.end == after.event.start)
        .map(|run| &parcel.buffer[run[0].event.start as usize..run[run.len() - 1].event.end as usize])
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::testing::{FakeParcels, line_parcel};

    fn run(path: &Path, parcels: &mut FakeParcels) -> Result<(), Failure> {
        let mut target = JsonlTarget::new(path);
        target.start()?;
        Box::new(target).run(parcels)
    }

    #[test]
    fn lines_are_appended_whole_and_acknowledged_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.jsonl");
        fs::write(&path, "{\"old\":1}\n").unwrap();
        let mut parcels = FakeParcels::ending(vec![
            line_parcel(&["{\"a\":1}", "{\"a\":2}"]),
            line_parcel(&[]),
            line_parcel(&["{\"a\":3}"]),
        ]);
        run(&path, &mut parcels).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"old\":1}\n{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n");
        assert_eq!(parcels.emitted, [0, 1, 2]);
        assert_eq!(parcels.acked.last(), Some(&2));
        assert_eq!(parcels.recycled, 3);
    }

    #[test]
    fn nothing_is_acknowledged_before_its_lines_are_in_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.jsonl");
        let mut parcels =
            FakeParcels::ending((0..40).map(|n| line_parcel(&[&format!("{{\"n\":{n}}}")])).collect());
        let watched = path.clone();
        parcels.on_acked = Some(Box::new(move |ticket| {
            let lines = fs::read_to_string(&watched).unwrap().lines().count() as u64;
            assert!(lines > ticket, "ticket {ticket} acknowledged with {lines} lines");
        }));
        run(&path, &mut parcels).unwrap();
        assert_eq!(parcels.acked.last(), Some(&39));
        assert!(parcels.acked.len() < 40, "{} syncs for a run of 40 parcels", parcels.acked.len());
    }

    #[test]
    fn an_idle_file_is_synced_without_waiting_for_more() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.jsonl");
        let mut parcels = FakeParcels::ending(vec![line_parcel(&["{}"])]);
        // The second parcel comes only once the first is acknowledged.
        parcels.then_when_acked(0, line_parcel(&["{}"]));
        run(&path, &mut parcels).unwrap();
        assert_eq!(parcels.acked, [0, 1]);
    }

    #[test]
    fn a_torn_last_line_is_cut_off_at_start() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.jsonl");
        fs::write(&path, "{\"a\":1}\n{\"b\":").unwrap();
        run(&path, &mut FakeParcels::ending(vec![])).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"a\":1}\n");
    }

    #[test]
    fn what_cannot_be_appended_to_is_unusable_and_names_the_setting() {
        let failure = JsonlTarget::new("/no/such/directory/out.jsonl").start().unwrap_err();
        assert!(
            matches!(&failure, Failure::Unusable(text) if text.contains("pipeline.target")),
            "{failure:?}"
        );
    }
}
