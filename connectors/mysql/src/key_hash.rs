//! Hashes of keys: what the order gate holds, and what a snapshot compares with the stream.

use std::hash::{BuildHasher, Hasher};

use ahash::RandomState;

/// Any number will do, as long as it stays for the life of the process.
const SEED: u64 = 0x66_6c6f_7764;

/// Hashes a key among all keys of all tables; the same for the life of the process, whoever asks.
#[derive(Debug, Clone)]
pub struct KeyHasher(RandomState);

impl KeyHasher {
    /// The process's hasher.
    pub fn new() -> Self {
        Self(RandomState::with_seeds(SEED, SEED, SEED, SEED))
    }

    /// Of a key's JSON in the table of that number; never 0. A table without key is one key.
    #[inline]
    pub fn hash(&self, table: u32, key: &[u8]) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write_u32(table);
        hasher.write(key);
        hasher.finish().max(1)
    }
}

impl Default for KeyHasher {
    fn default() -> Self {
        Self::new()
    }
}
