//! Which tables' events are spread over the lanes of their topic, by the hash of the key; all others go in lane 0, in
//! commit order.
//!
//! A table is spread where its only unique index is a primary key over whole columns: then no row takes the place of
//! another but by its key. The catalog is asked once, before an epoch's first event, and the answer is a part of the
//! position; from then on only statements in the binlog change it. Invariant: the answer at a place of the binlog
//! depends on the position where the epoch began and on the binlog alone, so an event that is replayed has the lane that
//! it had.

use std::sync::Arc;

use flowd_binlog::event::{self, NamedTable, Uniqueness};
use flowd_engine::sequence::Lane;
use twox_hash::XxHash3_64;

use crate::filter::TableFilter;

/// Tables that can be spread, at most: each takes eight bytes of every position.
const SPREAD_MAX: usize = 4096;

/// How table names are told apart (`lower_case_table_names`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameCase {
    /// As they are written.
    Exact,
    /// In lower case: a statement may write them in another.
    Lower,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lanes {
    /// Lanes of a topic.
    number: u16,
    names: NameCase,
    /// When the last process that read a snapshot began, µs since 1970; 0 where there was none.
    run: u64,
    /// Hashes of the tables' names, ascending.
    spread: Vec<u64>,
    encoded: EncodedLanes,
}

/// The bytes of [`Lanes`], made when they change and copied into each batch's position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedLanes(Arc<[u8]>);

impl EncodedLanes {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Lanes {
    /// Spreads these tables over so many lanes.
    pub fn new(number: u16, names: NameCase, tables: impl IntoIterator<Item = (String, String)>) -> Self {
        let tables = tables.into_iter().filter(|_| number > 1);
        let mut spread: Vec<u64> = tables.map(|(schema, table)| hash(&schema, &table)).collect();
        if spread.len() > SPREAD_MAX {
            tracing::warn!(
                tables = spread.len(),
                "more tables than {SPREAD_MAX} could be spread over the lanes of their topics: the events of the \
                 others go in one lane; connectorConfig.tableIncludeList chooses tables"
            );
            spread.truncate(SPREAD_MAX);
        }
        spread.sort_unstable();
        spread.dedup();
        let mut lanes = Self { number, names, run: 0, spread, encoded: EncodedLanes(Arc::default()) };
        lanes.encode();
        lanes
    }

    /// The same, where earlier processes have read a snapshot.
    #[must_use]
    pub fn after(mut self, earlier: &Self) -> Self {
        self.run = earlier.run;
        self.encode();
        self
    }

    /// Lanes of a topic.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Over how many lanes the events of a table are spread, 1 or all.
    pub fn of(&self, schema: &str, table: &str) -> u16 {
        if self.spread.binary_search(&hash(schema, table)).is_ok() { self.number } else { 1 }
    }

    /// A snapshot is read by a process that began at `now_us`: the number of its run, greater than any before.
    pub fn begin_run(&mut self, now_us: i64) -> u64 {
        self.run = u64::try_from(now_us).unwrap_or(0).max(self.run + 1);
        self.encode();
        self.run
    }

    /// Takes a statement that may change definitions. True where it may concern a table that is spread before it or
    /// behind it: then no event behind it may pass one before it, since lanes and keys may be others.
    pub fn define(&mut self, text: &[u8], schema: &str, filter: &TableFilter) -> bool {
        if self.number == 1 {
            return false;
        }
        let mut concerned = event::defines_any(text, schema, |schema, table| self.is_spread(schema, table));
        match event::uniqueness(text) {
            Uniqueness::Made(table) => concerned.extend(self.made(&table, schema, filter)),
            Uniqueness::Kept => {}
            Uniqueness::Lost => {
                for table in &concerned {
                    self.join(table);
                }
                self.encode();
            }
        }
        !concerned.is_empty()
    }

    /// A table was made that can be spread: it is, unless it is already.
    fn made(&mut self, table: &NamedTable, schema: &str, filter: &TableFilter) -> Option<NamedTable> {
        let schema = self.written(table.schema.as_deref().unwrap_or(schema));
        let name = self.written(&table.table);
        let at = self.spread.binary_search(&hash(&schema, &name)).err()?;
        if !filter.captures(&schema, &name) || self.spread.len() == SPREAD_MAX {
            return None;
        }
        self.spread.insert(at, hash(&schema, &name));
        self.encode();
        Some(NamedTable { schema: Some(schema), table: name })
    }

    /// The table's events go in one lane from now on.
    fn join(&mut self, table: &NamedTable) {
        let schema = self.written(table.schema.as_deref().unwrap_or_default());
        let hash = hash(&schema, &self.written(&table.table));
        if let Ok(at) = self.spread.binary_search(&hash) {
            self.spread.remove(at);
        }
    }

    fn is_spread(&self, schema: &str, table: &str) -> bool {
        self.of(&self.written(schema), &self.written(table)) > 1
    }

    /// A name in a statement as the server stores it.
    pub fn written(&self, name: &str) -> String {
        match self.names {
            NameCase::Exact => name.to_owned(),
            NameCase::Lower => name.to_lowercase(),
        }
    }

    /// For the position of a batch.
    pub fn encoded(&self) -> &EncodedLanes {
        &self.encoded
    }

    fn encode(&mut self) {
        let case = match self.names {
            NameCase::Exact => 0,
            NameCase::Lower => 1,
        };
        let mut bytes = Vec::with_capacity(HEAD_BYTES + 8 * self.spread.len());
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.push(case);
        bytes.extend_from_slice(&self.run.to_be_bytes());
        bytes.extend(self.spread.iter().flat_map(|hash| hash.to_be_bytes()));
        self.encoded = EncodedLanes(bytes.into());
    }

    /// Reads the bytes that a position holds; `None` where they are no lanes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (number, rest) = bytes.split_first_chunk()?;
        let (case, rest) = rest.split_first()?;
        let (run, rest) = rest.split_first_chunk()?;
        let (hashes, []) = rest.as_chunks() else { return None };
        let spread: Vec<u64> = hashes.iter().map(|hash| u64::from_be_bytes(*hash)).collect();
        let names = match case {
            0 => NameCase::Exact,
            1 => NameCase::Lower,
            _ => return None,
        };
        spread.is_sorted().then(|| Self {
            number: u16::from_be_bytes(*number),
            names,
            run: u64::from_be_bytes(*run),
            spread,
            encoded: EncodedLanes(bytes.into()),
        })
    }
}

/// Bytes before the hashes.
const HEAD_BYTES: usize = 2 + 1 + 8;

/// The lane of a key among so many, from its JSON: the same on every machine.
#[inline]
pub(crate) fn lane_of(key_hash: u64, lanes: u16) -> Lane {
    Lane(if lanes > 1 { (key_hash % u64::from(lanes)) as u16 } else { 0 })
}

/// The hash that [`lane_of`] takes.
#[inline]
pub(crate) fn lane_hash(key_json: &[u8]) -> u64 {
    XxHash3_64::oneshot(key_json)
}

/// Names hold no NUL.
fn hash(schema: &str, table: &str) -> u64 {
    XxHash3_64::oneshot(format!("{schema}\0{table}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> TableFilter {
        TableFilter::new(&["shop.*".into()], &["shop.x*".into()], &[]).expect("a filter")
    }

    fn of_orders(names: NameCase) -> Lanes {
        Lanes::new(4, names, [("shop".into(), "orders".into())])
    }

    #[test]
    fn a_table_that_nobody_vouches_for_goes_in_one_lane() {
        let lanes = of_orders(NameCase::Exact);
        assert_eq!((lanes.of("shop", "orders"), lanes.of("shop", "lines")), (4, 1));
        assert_eq!(
            Lanes::new(1, NameCase::Exact, [("shop".into(), "orders".into())]).of("shop", "orders"),
            1
        );
    }

    #[test]
    fn a_table_that_may_get_a_second_unique_index_goes_in_one_lane_for_the_rest_of_the_epoch() {
        let mut lanes = of_orders(NameCase::Exact);
        assert!(
            lanes.define(b"ALTER TABLE orders ADD c INT", "shop", &all()),
            "keys may be others behind it"
        );
        assert_eq!(lanes.of("shop", "orders"), 4);
        assert!(!lanes.define(b"ALTER TABLE orders ADD UNIQUE (c)", "other", &all()));
        assert!(lanes.define(b"ALTER TABLE shop.orders ADD UNIQUE (c)", "other", &all()));
        assert_eq!(lanes.of("shop", "orders"), 1);
        assert!(!lanes.define(b"ALTER TABLE shop.orders DROP KEY c", "other", &all()));
        assert_eq!(lanes.of("shop", "orders"), 1);
    }

    #[test]
    fn a_table_made_with_a_primary_key_alone_is_spread_where_it_is_captured() {
        let mut lanes = of_orders(NameCase::Exact);
        assert!(lanes.define(b"CREATE TABLE lines (id INT PRIMARY KEY)", "shop", &all()));
        assert!(!lanes.define(b"CREATE TABLE x1 (id INT PRIMARY KEY)", "shop", &all()));
        assert!(!lanes.define(b"CREATE TABLE notes (id INT)", "shop", &all()));
        assert_eq!(["orders", "lines", "x1", "notes"].map(|table| lanes.of("shop", table)), [4, 4, 1, 1]);
    }

    #[test]
    fn a_server_that_stores_names_in_lower_case_is_understood_in_any() {
        let mut lanes = of_orders(NameCase::Lower);
        assert!(lanes.define(b"CREATE UNIQUE INDEX i ON Shop.Orders (c)", "other", &all()));
        assert!(lanes.define(b"CREATE TABLE SHOP.Lines (id INT PRIMARY KEY)", "other", &all()));
        assert_eq!(["orders", "lines"].map(|table| lanes.of("shop", table)), [1, 4]);
    }

    #[test]
    fn lanes_read_back_equal_or_not_at_all() {
        let mut lanes = of_orders(NameCase::Lower);
        lanes.begin_run(1_764_028_800_000_000);
        lanes.define(b"CREATE TABLE lines (id INT PRIMARY KEY)", "shop", &all());
        let bytes = lanes.encoded().bytes().to_vec();
        assert_eq!(Lanes::decode(&bytes), Some(lanes));
        for cut in
            (0..bytes.len()).filter(|cut| cut.checked_sub(HEAD_BYTES).is_none_or(|hashes| hashes % 8 > 0))
        {
            assert_eq!(Lanes::decode(&bytes[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn a_run_is_always_later_than_the_one_before() {
        let mut lanes = of_orders(NameCase::Exact);
        assert_eq!([5, 9, 7].map(|now| lanes.begin_run(now)), [5, 9, 10]);
        let mut others = Lanes::new(8, NameCase::Exact, []).after(&lanes);
        assert_eq!(others.begin_run(3), 11, "with other lanes too");
    }

    #[test]
    fn a_keys_lane_is_the_same_for_ever() {
        let lane = |key: &str| lane_of(lane_hash(key.as_bytes()), 4).0;
        assert_eq!([r#"{"id":1}"#, r#"{"id":2}"#, r#"{"id":3}"#, r#"{"id":4}"#].map(lane), [0, 1, 0, 3]);
        assert_eq!(lane_of(7, 1), Lane(0));
    }
}
