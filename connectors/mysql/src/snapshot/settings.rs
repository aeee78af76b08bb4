//! What a snapshot works with, and the sizes that follow from the memory it is given.

use std::sync::Arc;

use flowd_engine::metrics::Metrics;

use crate::config::MySqlConfig;
use crate::packet::PACKET_BYTES_MAX;
use crate::tables::TableSettings;

/// What a snapshot works with.
pub struct Settings {
    /// The server, and how hard it may be worked.
    pub config: MySqlConfig,
    /// How tables are made ready.
    pub tables: TableSettings,
    /// Whether the server counts GTIDs.
    pub has_gtids: bool,
    /// What all of the snapshot may hold in memory, bytes.
    pub memory_bytes: usize,
    /// A larger row is not kept but rejected, bytes.
    pub row_bytes_max: usize,
    /// Names this process among those that read the snapshot.
    pub run: u64,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl Settings {
    /// A chunk's size: what the user asks for, as far as the memory goes. Half of it is the workers' own buffers.
    pub(super) fn chunk_bytes(&self) -> usize {
        let asked = self.config.snapshot.chunk_bytes;
        let given = self.memory_bytes / 2 / self.config.snapshot.parallelism;
        if given < asked {
            tracing::info!(
                asked,
                given,
                "connectorConfig.chunkBytes is more than pipeline.memory leaves for {} readers: smaller chunks",
                self.config.snapshot.parallelism
            );
        }
        asked.min(given).max(CHUNK_BYTES_MIN)
    }

    /// How large a row each worker may read without asking the others. A row of several packets is larger, however
    /// much memory there is: how long it is shows at its end only.
    pub(super) fn row_bytes_own(&self) -> usize {
        (self.memory_bytes / 2 / self.config.snapshot.parallelism)
            .clamp(CHUNK_BYTES_MIN, PACKET_BYTES_MAX - 1)
    }
}

/// Smaller chunks cost more than they hold.
const CHUNK_BYTES_MIN: usize = 16 << 10;
