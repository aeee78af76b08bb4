//! Snapshots: which rows of which chunks have gone to the store.
//!
//! Memory: a few bytes for each run of whole chunks, at most 32 KiB for a chunk that is not whole, of which a source has
//! as many as it reads chunks at once; [`PARTIAL_MAX`] bounds what a careless one could make of that.

use std::collections::BTreeMap;
use std::sync::Arc;

use ahash::AHashMap;
use flowd_codec::event::incoming::Chunk;

use super::rows::{ROWS_AHEAD_MAX, Ranges, RowSet};
use crate::store::{ChunkApplied, ChunksOver};

/// A snapshot of a source, by its place in [`Snapshots`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SnapshotId(u32);

/// A row of a chunk of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) snapshot: SnapshotId,
    pub(crate) chunk: Chunk,
    /// From 0, below `size`.
    pub(crate) number: u32,
    /// Rows of the chunk.
    pub(crate) size: u32,
}

/// Chunks of a run that are not whole, at most; the oldest is given up for another.
const PARTIAL_MAX: usize = 4096;
/// Runs of a snapshot that are remembered: with published delivery rows of an earlier run may still be on their way.
const RUNS_MAX: usize = 4;
/// Snapshots that are remembered in all; a source has one at a time.
const SNAPSHOTS_MAX: usize = 65_536;

/// What is known of all snapshots.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    numbers: AHashMap<Arc<str>, AHashMap<Arc<str>, SnapshotId>>,
    snapshots: Vec<Snapshot>,
}

#[derive(Debug)]
struct Snapshot {
    source: Arc<str>,
    name: Arc<str>,
    runs: BTreeMap<u64, Run>,
    /// How many runs are of use.
    runs_max: usize,
    /// The newest epoch that a row of it came after.
    epoch: u64,
}

#[derive(Debug, Default)]
struct Run {
    whole: Ranges,
    partial: BTreeMap<u64, RowSet>,
}

impl Snapshots {
    /// The number of a snapshot, a new one for a new name; `None` when there are too many.
    pub(crate) fn intern(&mut self, source: &str, name: &str) -> Option<SnapshotId> {
        if let Some(known) = self.numbers.get(source).and_then(|names| names.get(name)) {
            return Some(*known);
        }
        if self.snapshots.len() >= SNAPSHOTS_MAX {
            return None;
        }
        let id = SnapshotId(u32::try_from(self.snapshots.len()).expect("SNAPSHOTS_MAX fits"));
        let (source, name): (Arc<str>, Arc<str>) = (source.into(), name.into());
        self.numbers.entry(Arc::clone(&source)).or_default().insert(Arc::clone(&name), id);
        self.snapshots.push(Snapshot { source, name, runs: BTreeMap::new(), runs_max: RUNS_MAX, epoch: 0 });
        Some(id)
    }

    /// Takes over a record, as if its rows had come after `epoch`. One whose rows cannot be read counts as a chunk of which
    /// nothing is applied.
    pub(crate) fn load(&mut self, chunk: &ChunkApplied, epoch: u64) {
        let Some(id) = self.intern(&chunk.source, &chunk.snapshot) else { return };
        self.snapshots[id.0 as usize].epoch = epoch;
        let run = self.snapshots[id.0 as usize].runs.entry(chunk.run).or_default();
        if chunk.rows.is_empty() {
            run.whole.insert(chunk.number);
        } else if let Some(rows) = RowSet::decode(&chunk.rows) {
            run.partial.insert(chunk.number, rows);
        }
    }

    fn run(&self, row: &Row) -> Option<&Run> {
        self.snapshots[row.snapshot.0 as usize].runs.get(&row.chunk.run)
    }

    /// Whether the row has gone.
    pub(crate) fn has_gone(&self, row: &Row) -> bool {
        self.run(row).is_some_and(|run| {
            run.whole.contains(row.chunk.number)
                || run.partial.get(&row.chunk.number).is_some_and(|rows| rows.contains(row.number))
        })
    }

    /// Whether the row's run is of no more use: with applied delivery once there is a newer one, since all that was not
    /// applied is read again; otherwise once there are several.
    pub(crate) fn is_over(&self, row: &Row, is_applied: bool) -> bool {
        let runs = &self.snapshots[row.snapshot.0 as usize].runs;
        let first_of_use = runs.keys().rev().nth(runs_max(is_applied) - 1);
        first_of_use.is_some_and(|run| *run > row.chunk.run)
    }

    /// A row of this run was seen, which is not over. Earlier runs are kept until this one is on record: rows of theirs
    /// may be about to be recorded.
    pub(crate) fn saw_run(&mut self, row: &Row, is_applied: bool) {
        let snapshot = &mut self.snapshots[row.snapshot.0 as usize];
        snapshot.runs_max = runs_max(is_applied);
        snapshot.runs.entry(row.chunk.run).or_default();
    }

    /// Whether the row is too far ahead in its chunk to be noted.
    pub(crate) fn is_too_far(&self, row: &Row) -> bool {
        let rows = self.run(row).and_then(|run| run.partial.get(&row.chunk.number));
        rows.map_or(row.number >= ROWS_AHEAD_MAX, |rows| rows.is_too_far(row.number))
    }

    /// The row, which comes after something of `epoch`, goes; how many rows of its chunk and others had to be given up
    /// for that.
    pub(crate) fn went(&mut self, row: &Row, epoch: u64) -> u64 {
        let snapshot = &mut self.snapshots[row.snapshot.0 as usize];
        snapshot.epoch = snapshot.epoch.max(epoch);
        let run = snapshot.runs.entry(row.chunk.run).or_default();
        let rows = run.partial.entry(row.chunk.number).or_insert_with(|| RowSet::new(row.size));
        let mut missing = rows.give_up_before(row.number);
        rows.insert(row.number);
        if rows.is_whole() {
            run.partial.remove(&row.chunk.number);
            run.whole.insert(row.chunk.number);
        } else if run.partial.len() > PARTIAL_MAX
            && let Some((oldest, rows)) = run.partial.pop_first()
        {
            missing += rows.missing();
            run.whole.insert(oldest);
        }
        missing
    }

    /// The row comes back after all.
    pub(crate) fn came_back(&mut self, row: &Row) {
        let run = self.snapshots[row.snapshot.0 as usize].runs.entry(row.chunk.run).or_default();
        if run.whole.contains(row.chunk.number) {
            run.whole.remove(row.chunk.number);
            run.partial.insert(row.chunk.number, RowSet::whole(row.size));
        }
        if let Some(rows) = run.partial.get_mut(&row.chunk.number) {
            rows.remove(row.number);
        }
    }

    /// The record of the row's chunk as it is now; `None` where its run is forgotten.
    pub(crate) fn record(&self, row: &Row) -> Option<ChunkApplied> {
        let snapshot = &self.snapshots[row.snapshot.0 as usize];
        let rows = self.run(row)?.partial.get(&row.chunk.number);
        Some(ChunkApplied {
            source: Arc::clone(&snapshot.source),
            snapshot: Arc::clone(&snapshot.name),
            run: row.chunk.run,
            number: row.chunk.number,
            rows: rows.map(RowSet::encode).unwrap_or_default(),
        })
    }

    /// What may be forgotten with a put that records the chunks of these rows: the newer run must be on record before the
    /// older is not.
    pub(crate) fn over(&self, rows: &[Row]) -> Vec<ChunksOver> {
        let mut over: Vec<ChunksOver> = Vec::new();
        for row in rows {
            let Snapshot { source, name, runs, runs_max, .. } = &self.snapshots[row.snapshot.0 as usize];
            if runs.len() > *runs_max
                && let Some(run) = runs.keys().rev().nth(runs_max - 1)
                && row.chunk.run >= *run
                && over.iter().all(|known| known.snapshot != *name || known.source != *source)
            {
                over.push(ChunksOver { source: Arc::clone(source), snapshot: Arc::clone(name), run: *run });
            }
        }
        over
    }

    /// What may be forgotten with a put that records this epoch of a source: rows that came after an older one are of no
    /// more use.
    pub(crate) fn of_older_epochs<'a>(
        &'a self,
        source: &'a str,
        epoch: u64,
    ) -> impl Iterator<Item = ChunksOver> + 'a {
        let is_over = move |snapshot: &&Snapshot| {
            snapshot.epoch < epoch && !snapshot.runs.is_empty() && *snapshot.source == *source
        };
        self.snapshots.iter().filter(is_over).map(|snapshot| ChunksOver {
            source: Arc::clone(&snapshot.source),
            snapshot: Arc::clone(&snapshot.name),
            run: u64::MAX,
        })
    }

    /// Forgets.
    pub(crate) fn forget(&mut self, over: &ChunksOver) {
        let id = self.numbers.get(&over.source).and_then(|names| names.get(&over.snapshot));
        if let Some(id) = id {
            let runs = &mut self.snapshots[id.0 as usize].runs;
            *runs = runs.split_off(&over.run);
        }
    }
}

fn runs_max(is_applied: bool) -> usize {
    if is_applied { 1 } else { RUNS_MAX }
}
