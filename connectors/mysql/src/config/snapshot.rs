//! What is written of the snapshot: whether the rows that are there already are read, and how hard the source is
//! worked for it. Not here: how it is done.

use serde::Deserialize;

/// When the rows that are there already are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SnapshotMode {
    /// On a first start, and then the stream follows without a gap.
    #[default]
    Initial,
    /// On a first start; the run ends when every row is acknowledged.
    InitialOnly,
    /// Never: the stream alone, from `pipeline.startAt`.
    Never,
    /// On a first start, and again when the server no longer has the binlog that the stored position needs.
    WhenNeeded,
}

impl SnapshotMode {
    /// Every mode with its word, in the order in which they are told.
    pub const ALL: [(&'static str, Self); 4] = [
        ("initial", Self::Initial),
        ("initialOnly", Self::InitialOnly),
        ("never", Self::Never),
        ("whenNeeded", Self::WhenNeeded),
    ];

    /// As it is written.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, mode)| *mode == self).expect("every mode has a word").0
    }
}

/// How a snapshot is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotSettings {
    /// Whether there is one.
    pub mode: SnapshotMode,
    /// Connections that read at the same time.
    pub parallelism: usize,
    /// About as many bytes of rows are read at once by each of them; a larger row comes alone.
    pub chunk_bytes: usize,
    /// All of them together read at most so many rows a second; `None`: as many as there are.
    pub rows_per_second: Option<u64>,
    /// All of them together read at most so many bytes a second; `None`: as many as there are.
    pub bytes_per_second: Option<u64>,
    /// Reading rests while the server runs more threads than this (its status `Threads_running` without the stream's and
    /// the one that asks; other readers of ours count); `None`: never.
    pub max_running: Option<u64>,
    /// Whether rows may be locked against changes while they are read (`FOR SHARE`), on a MySQL without GTIDs.
    pub for_share: bool,
}

impl SnapshotSettings {
    /// Bounds of [`Self::parallelism`].
    pub const PARALLELISM: (u64, u64) = (1, 64);
    /// Bounds of [`Self::chunk_bytes`].
    pub const CHUNK_BYTES: (u64, u64) = (16 << 10, 1 << 30);
}

impl Default for SnapshotSettings {
    fn default() -> Self {
        Self {
            mode: SnapshotMode::default(),
            parallelism: 4,
            chunk_bytes: 2 << 20,
            rows_per_second: None,
            bytes_per_second: None,
            max_running: None,
            for_share: false,
        }
    }
}
