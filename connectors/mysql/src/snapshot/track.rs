//! The keys that the stream changed while chunks were on their way: what a chunk's mark does not see of them must not
//! be handed on from the chunk, for the stream has handed on something newer.
//!
//! Keys are hashes. Per table there is a log in the order of the transactions: a chunk looks at the end of it only, and
//! what no chunk needs any more falls off its head. Memory is bounded by the number of entries: at most 24 bytes each,
//! and a quarter more for growth. A key may be in a log more than once; only when the bound is reached are older
//! entries of a key thrown out, which changes nothing: a key's transactions commit one after the other, so a mark that
//! sees the last one sees them all.

use std::collections::VecDeque;
use std::sync::Arc;

use ahash::AHashMap;
use flowd_binlog::gtid::Uuid;

use super::plan::TableId;
use crate::transaction::TransactionId;

/// A place in the binlog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Arc<str>,
    /// Offset of the event.
    pub offset: u64,
}

/// What changed a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    /// The transaction.
    pub transaction: TransactionId,
    /// The place of the first event of it that was noted.
    pub place: Place,
}

/// No room for one more key: the caller gives up the chunks in flight of a table, forgets its keys and tries again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// The keys that were changed, by table.
#[derive(Debug)]
pub struct Tracker {
    /// How many entries there may be: keys and transactions.
    entries_max: usize,
    tables: AHashMap<TableId, VecDeque<Entry>>,
    /// Entries in all tables.
    keys: usize,
    /// The transactions that changed something, without gaps from `first` on.
    transactions: VecDeque<Noted>,
    /// Index of the head of `transactions`.
    first: u64,
    /// The last transaction, and whether it is in `transactions` yet: it comes there with its first key.
    current: Option<(Touch, bool)>,
    /// The last few origins, newest first.
    origins: VecDeque<Arc<Origin>>,
}

/// A key and the transaction that changed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    key: u64,
    transaction: u64,
}

/// A transaction in 24 bytes: what it shares with its neighbours is elsewhere.
#[derive(Debug)]
struct Noted {
    origin: Arc<Origin>,
    number: u64,
    offset: u64,
}

/// What neighbouring transactions have in common.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    /// The transaction's id, its number taken out.
    id: TransactionId,
    file: Arc<str>,
}

/// How many origins are looked through: several servers may write in turn.
const ORIGINS_MAX: usize = 16;

impl Tracker {
    /// Keeps at most `keys_max` entries in all: a changed key is one, a transaction that changed any is one too.
    pub fn new(keys_max: usize) -> Self {
        Self {
            entries_max: keys_max,
            tables: AHashMap::new(),
            keys: 0,
            transactions: VecDeque::new(),
            first: 0,
            current: None,
            origins: VecDeque::new(),
        }
    }

    /// Says which transaction the next keys belong to; returns its index, the same as before if it is the same one.
    pub fn transaction(&mut self, id: &TransactionId, place: Place) -> u64 {
        if self.current.as_ref().is_none_or(|(touch, _)| touch.transaction != *id) {
            self.current = Some((Touch { transaction: id.clone(), place }, false));
        }
        self.now()
    }

    /// Notes that the last transaction changed a key; a table is tracked from its first key on.
    pub fn touch(&mut self, table: TableId, key: u64) -> Result<(), Full> {
        let entry = Entry { key, transaction: self.now() };
        if self.tables.get(&table).and_then(VecDeque::back) == Some(&entry) {
            return Ok(());
        }
        if self.len() + 2 > self.entries_max {
            self.compact();
            // Room for an eighth: a compaction walks through everything and must be worth it.
            if self.len() + 2 > self.entries_max - self.entries_max / 8 {
                return Err(Full);
            }
        }
        self.note_transaction();
        let log = self.tables.entry(table).or_default();
        push(log, entry);
        self.keys += 1;
        Ok(())
    }

    /// Index of the last transaction: whatever is still to come has this one or a later one.
    pub fn now(&self) -> u64 {
        let next = self.first + u64::try_from(self.transactions.len()).expect("a length");
        match self.current {
            Some((_, true)) => next - 1,
            _ => next,
        }
    }

    /// The keys of a table, sorted, that were changed by a transaction from `since` on that `sees` does not see.
    pub fn touched(&self, table: TableId, since: u64, sees: impl Fn(&Touch) -> bool) -> Vec<u64> {
        let Some(log) = self.tables.get(&table) else { return Vec::new() };
        let start = log.partition_point(|entry| entry.transaction < since);
        let mut keys = Vec::new();
        let mut judged = None;
        for entry in log.range(start..) {
            let seen = match judged {
                Some((transaction, seen)) if transaction == entry.transaction => seen,
                _ => sees(&self.touch_of(entry.transaction)),
            };
            judged = Some((entry.transaction, seen));
            if !seen {
                keys.push(entry.key);
            }
        }
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Drops what a table's chunks need no more: what is older than `since`, or all of it.
    pub fn keep(&mut self, table: TableId, since: Option<u64>) {
        let Some(since) = since else { return self.clear(table) };
        let Some(log) = self.tables.get_mut(&table) else { return };
        let gone = log.partition_point(|entry| entry.transaction < since);
        log.drain(..gone);
        self.keys -= gone;
        if log.is_empty() {
            self.tables.remove(&table);
        }
        self.forget_transactions();
    }

    /// Forgets a table.
    pub fn clear(&mut self, table: TableId) {
        if let Some(log) = self.tables.remove(&table) {
            self.keys -= log.len();
            self.forget_transactions();
        }
    }

    /// How many entries there are, of the `keys_max` that there may be.
    pub fn len(&self) -> usize {
        self.keys + self.transactions.len()
    }

    /// Whether nothing is tracked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn note_transaction(&mut self) {
        let Some((touch, noted @ false)) = &mut self.current else {
            assert!(self.current.is_some(), "a key is changed by a transaction");
            return;
        };
        *noted = true;
        let (id, number) = split(&touch.transaction);
        let origin = Origin { id, file: touch.place.file.clone() };
        let found = self.origins.iter().find(|known| ***known == origin).cloned();
        let origin = found.unwrap_or_else(|| {
            let origin = Arc::new(origin);
            self.origins.truncate(ORIGINS_MAX - 1);
            self.origins.push_front(origin.clone());
            origin
        });
        push(&mut self.transactions, Noted { origin, number, offset: touch.place.offset });
    }

    fn touch_of(&self, transaction: u64) -> Touch {
        let index = usize::try_from(transaction - self.first).expect("as many as there are in memory");
        let Noted { origin, number, offset } = &self.transactions[index];
        Touch {
            transaction: join(&origin.id, *number),
            place: Place { file: origin.file.clone(), offset: *offset },
        }
    }

    /// Throws out all but the last entry of each key.
    fn compact(&mut self) {
        self.keys = 0;
        for log in self.tables.values_mut() {
            let entries = log.make_contiguous();
            entries.sort_unstable_by_key(|entry| (entry.key, entry.transaction));
            let mut kept = 0;
            for index in 0..entries.len() {
                let is_last = entries.get(index + 1).is_none_or(|next| next.key != entries[index].key);
                entries[kept] = entries[index];
                kept += usize::from(is_last);
            }
            entries[..kept].sort_unstable_by_key(|entry| entry.transaction);
            log.truncate(kept);
            self.keys += kept;
        }
        self.forget_transactions();
    }

    /// Drops the transactions that no entry names.
    fn forget_transactions(&mut self) {
        let end = self.first + u64::try_from(self.transactions.len()).expect("a length");
        // The last one stays as long as it may change more keys.
        let open = if matches!(self.current, Some((_, true))) { end - 1 } else { end };
        let heads = self.tables.values().filter_map(|log| log.front()).map(|entry| entry.transaction);
        let first = heads.fold(open, u64::min);
        self.transactions.drain(..usize::try_from(first - self.first).expect("as many as there are"));
        self.first = first;
    }
}

/// Grows by a quarter instead of doubling.
fn push<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.len() == queue.capacity() {
        queue.reserve_exact(queue.len() / 4 + 16);
    }
    queue.push_back(item);
}

/// Takes the number out of an id, which its neighbours do not share.
fn split(id: &TransactionId) -> (TransactionId, u64) {
    let mut id = id.clone();
    let number = std::mem::take(number_of(&mut id));
    (id, number)
}

fn join(id: &TransactionId, number: u64) -> TransactionId {
    let mut id = id.clone();
    *number_of(&mut id) = number;
    id
}

fn number_of(id: &mut TransactionId) -> &mut u64 {
    match id {
        TransactionId::MySql(Uuid(_), number) | TransactionId::Tagged(Uuid(_), _, number) => number,
        TransactionId::MariaDb(gtid) => &mut gtid.seq,
        TransactionId::Place { offset, .. } => offset,
    }
}

#[cfg(test)]
mod tests;
