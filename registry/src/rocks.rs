//! RocksDB as a registry: one key a connector, one synced write batch a checkpoint.
//!
//! A directory can hold several connectors' keys, one after another; RocksDB's own lock lets one process write at a
//! time. Readers open the directory read-only, which takes no lock and writes nothing.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use flowd_engine::checkpoint::{Checkpoint, Registry};
use flowd_engine::failure::Failure;
use rocksdb::{DB, DBCompressionType, LogLevel, Options, WriteBatch, WriteOptions};

use crate::record::{self, Stored};

/// A connector's progress in a directory that this process alone writes.
pub struct RocksRegistry {
    database: DB,
    directory: PathBuf,
    connector_name: String,
    key: Vec<u8>,
    durable: WriteOptions,
}

impl RocksRegistry {
    /// Opens the directory, creating it with mode 0700 if it is missing.
    ///
    /// # Errors
    /// `Unusable`: another flowd has the directory, it cannot be created or opened, or what is stored for this
    /// connector cannot be read.
    pub fn open(directory: &Path, connector_name: &str) -> Result<Self, Failure> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|error| {
            Failure::Unusable(format!(
                "the registry directory {} cannot be created: {error}",
                directory.display()
            ))
        })?;
        let database = DB::open(&options(), directory).map_err(|error| not_opened(directory, &error))?;
        let mut durable = WriteOptions::default();
        durable.set_sync(true);
        let key = key(connector_name);
        let registry = Self {
            database,
            directory: directory.to_owned(),
            connector_name: connector_name.to_owned(),
            key,
            durable,
        };
        // What cannot be read must stop a start, not the first checkpoint.
        registry.load()?;
        Ok(registry)
    }
}

impl Registry for RocksRegistry {
    fn load(&self) -> Result<Option<Checkpoint>, Failure> {
        let stored = look_up(&self.database, &self.directory, &self.connector_name)?;
        Ok(stored.map(|stored| stored.checkpoint))
    }

    fn store(&mut self, checkpoint: &Checkpoint) -> Result<(), Failure> {
        let failed = |text: String| {
            Failure::Retry(format!("the registry {} cannot be written: {text}", self.directory.display()))
        };
        let record =
            record::encode(&self.connector_name, checkpoint).map_err(|error| failed(error.to_string()))?;
        let mut batch = WriteBatch::default();
        batch.put(&self.key, record);
        self.database.write_opt(batch, &self.durable).map_err(|error| failed(error.to_string()))
    }
}

/// The checkpoint that a connector stored last; `None` if there never was one. Takes no lock, changes nothing, and works
/// while a flowd writes to the directory.
///
/// # Errors
/// `Unusable`, naming the directory.
pub fn read_checkpoint(directory: &Path, connector_name: &str) -> Result<Option<Stored>, Failure> {
    /// The writer may put a file away between our listing and our opening it; the next listing is without it.
    const TRIES: usize = 5;
    const WAIT: Duration = Duration::from_millis(50);
    if !directory.join("CURRENT").exists() {
        return Ok(None);
    }
    for _ in 1..TRIES {
        if let Ok(database) = DB::open_for_read_only(&options(), directory, false) {
            return look_up(&database, directory, connector_name);
        }
        thread::sleep(WAIT);
    }
    let database = DB::open_for_read_only(&options(), directory, false)
        .map_err(|error| not_opened(directory, &error))?;
    look_up(&database, directory, connector_name)
}

fn look_up(database: &DB, directory: &Path, connector_name: &str) -> Result<Option<Stored>, Failure> {
    let found = database.get_pinned(key(connector_name)).map_err(|error| {
        Failure::Unusable(format!("the registry {} cannot be read: {error}", directory.display()))
    })?;
    let stored = found.map(|bytes| record::decode(&bytes)).transpose().map_err(|text| {
        Failure::Unusable(format!(
            "the checkpoint of connector {connector_name} in the registry {} cannot be used: {text}; restore the \
             directory from a copy, or point `offsetStorageConfig.offsetStorageAddr` to a new one and begin with \
             `--start-at`",
            directory.display()
        ))
    })?;
    match stored {
        Some(stored) if stored.connector_name != connector_name => Err(Failure::Unusable(format!(
            "the registry {} holds a checkpoint of connector {} where that of {connector_name} should be",
            directory.display(),
            stored.connector_name
        ))),
        stored => Ok(stored),
    }
}

/// The name's length goes first, so that no name is another's prefix.
fn key(connector_name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(connector_name.len() + 14);
    key.extend_from_slice(&(connector_name.len() as u32).to_be_bytes());
    key.extend_from_slice(connector_name.as_bytes());
    key.extend_from_slice(b"checkpoint");
    key
}

fn not_opened(directory: &Path, error: &rocksdb::Error) -> Failure {
    let text = error.as_ref();
    let place = directory.display();
    if text.contains("While lock file") || text.contains("lock hold by") {
        return Failure::Unusable(format!(
            "the registry {place} is in use by another flowd: stop that one first, or give this one a directory of its \
             own with `offsetStorageConfig.offsetStorageAddr` (`flowd position` reads it without stopping anything)"
        ));
    }
    Failure::Unusable(format!("the registry {place} cannot be opened: {text}"))
}

/// Small: the registry holds a few records of at most some kilobytes. Memory: two write buffers of 1 MiB.
fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_write_buffer_size(1024 * 1024);
    options.set_max_write_buffer_number(2);
    options.set_max_total_wal_size(4 * 1024 * 1024);
    options.set_max_open_files(32);
    // Whatever the shared library was built with, no file depends on it.
    options.set_compression_type(DBCompressionType::None);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(256 * 1024);
    // No threads that wake up to write statistics.
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options
}

#[cfg(test)]
mod tests;
