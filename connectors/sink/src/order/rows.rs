//! Sets of numbers that fill up from below: the rows of a chunk, the chunks of a run.
//!
//! Kept: both stay small while what comes is nearly in order, and both have a bound whatever comes.

use std::collections::{BTreeMap, VecDeque};

/// Rows that may be ahead of the first missing one: 2^18 bits are 32 KiB.
pub(crate) const ROWS_AHEAD_MAX: u32 = 1 << 18;

const WORD: u32 = u64::BITS;

/// Which rows of a chunk are there: all below the floor, and those whose bit is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RowSet {
    size: u32,
    /// A multiple of 64. Bits begin here.
    floor: u32,
    bits: VecDeque<u64>,
}

impl RowSet {
    /// None of `size` rows.
    pub(crate) fn new(size: u32) -> Self {
        Self { size, floor: 0, bits: VecDeque::new() }
    }

    /// All of `size` rows.
    pub(crate) fn whole(size: u32) -> Self {
        let floor = size - size % WORD;
        let rest = (1_u64 << (size % WORD)) - 1;
        Self { size, floor, bits: if rest == 0 { VecDeque::new() } else { VecDeque::from([rest]) } }
    }

    pub(crate) fn contains(&self, row: u32) -> bool {
        let Some(beyond) = row.checked_sub(self.floor) else { return true };
        self.bits.get((beyond / WORD) as usize).is_some_and(|word| word & (1 << (beyond % WORD)) != 0)
    }

    /// Whether the row is so far ahead of the first missing one that it cannot be noted.
    pub(crate) fn is_too_far(&self, row: u32) -> bool {
        row.saturating_sub(self.floor) >= ROWS_AHEAD_MAX
    }

    /// Notes a row that is not too far ahead.
    pub(crate) fn insert(&mut self, row: u32) {
        debug_assert!(!self.is_too_far(row), "row {row} is too far ahead of {}", self.floor);
        let Some(beyond) = row.checked_sub(self.floor) else { return };
        let word = (beyond / WORD) as usize;
        if word >= self.bits.len() {
            self.bits.resize(word + 1, 0);
        }
        self.bits[word] |= 1 << (beyond % WORD);
        while self.bits.front() == Some(&u64::MAX) {
            self.bits.pop_front();
            self.floor += WORD;
        }
    }

    /// Takes a row out again.
    pub(crate) fn remove(&mut self, row: u32) {
        while row < self.floor {
            self.floor -= WORD;
            self.bits.push_front(u64::MAX);
        }
        let beyond = row - self.floor;
        if let Some(word) = self.bits.get_mut((beyond / WORD) as usize) {
            *word &= !(1 << (beyond % WORD));
        }
    }

    /// Gives the lowest rows up until `row` can be noted; how many were given up that were not there.
    pub(crate) fn give_up_before(&mut self, row: u32) -> u64 {
        let mut missing = 0;
        while self.is_too_far(row) {
            let word = self.bits.pop_front().unwrap_or(0);
            missing += u64::from(word.count_zeros());
            self.floor += WORD;
        }
        missing
    }

    /// How many are there.
    fn count(&self) -> u64 {
        u64::from(self.floor) + self.bits.iter().map(|word| u64::from(word.count_ones())).sum::<u64>()
    }

    /// How many are not.
    pub(crate) fn missing(&self) -> u64 {
        u64::from(self.size).saturating_sub(self.count())
    }

    /// Whether all are there.
    pub(crate) fn is_whole(&self) -> bool {
        // The last word of a chunk is seldom full: only then is counting needed.
        self.size.saturating_sub(self.floor) <= WORD && self.missing() == 0
    }

    /// As it is recorded: size, floor, and the words, all little-endian.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + self.bits.len() * 8);
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(&self.floor.to_le_bytes());
        self.bits.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        out
    }

    /// What `encode` wrote; `None` for anything else.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (size, rest) = bytes.split_first_chunk::<4>()?;
        let (floor, rest) = rest.split_first_chunk::<4>()?;
        let (words, torn) = rest.as_chunks::<8>();
        let (size, floor) = (u32::from_le_bytes(*size), u32::from_le_bytes(*floor));
        let words_max = (size.checked_sub(floor)?.div_ceil(WORD)).min(ROWS_AHEAD_MAX / WORD);
        if !torn.is_empty() || floor % WORD != 0 || words.len() > words_max as usize {
            return None;
        }
        let bits = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        Some(Self { size, floor, bits })
    }
}

/// Numbers as runs of neighbours: start and last of each.
#[derive(Debug, Default)]
pub(crate) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    pub(crate) fn contains(&self, number: u64) -> bool {
        self.0.range(..=number).next_back().is_some_and(|(_, last)| number <= *last)
    }

    pub(crate) fn insert(&mut self, number: u64) {
        if self.contains(number) {
            return;
        }
        let mut start = number;
        if let Some((before, last)) = self.0.range(..number).next_back()
            && last + 1 == number
        {
            start = *before;
        }
        let behind = number.checked_add(1).and_then(|next| self.0.remove(&next));
        self.0.insert(start, behind.unwrap_or(number));
    }

    /// What comes behind all numbers that are there.
    pub(crate) fn end(&self) -> Option<u64> {
        self.0.last_key_value().map(|(_, last)| last + 1)
    }

    /// Adds a run that is beyond all that is there; the lowest runs go where there are too many.
    pub(crate) fn append(&mut self, start: u64, last: u64, runs_max: usize) {
        debug_assert!(self.end().is_none_or(|end| end <= start));
        self.0.insert(start, last);
        while self.0.len() > runs_max {
            self.0.pop_first();
        }
    }

    /// As it is recorded: start and last of each run, little-endian.
    pub(crate) fn encode(&self) -> Vec<u8> {
        self.0.iter().flat_map(|(start, last)| [start.to_le_bytes(), last.to_le_bytes()]).flatten().collect()
    }

    /// What `encode` wrote; what is damaged holds nothing.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let (runs, _) = bytes.as_chunks::<16>();
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
        Self(runs.iter().map(|run| (number(&run[..8]), number(&run[8..]))).collect())
    }

    pub(crate) fn remove(&mut self, number: u64) {
        let Some((&start, &last)) = self.0.range(..=number).next_back().filter(|(_, last)| number <= **last)
        else {
            return;
        };
        self.0.remove(&start);
        if start < number {
            self.0.insert(start, number - 1);
        }
        if number < last {
            self.0.insert(number + 1, last);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_row_set_holds_what_was_noted_and_survives_its_record(
            steps in prop::collection::vec((0_u32..300, any::<bool>()), 0..400),
        ) {
            let (mut set, mut model) = (RowSet::new(300), BTreeSet::new());
            for (row, is_added) in steps {
                if is_added {
                    set.insert(row);
                    model.insert(row);
                } else {
                    set.remove(row);
                    model.remove(&row);
                }
                prop_assert_eq!(set.is_whole(), model.len() == 300);
            }
            for row in 0..300 {
                prop_assert_eq!(set.contains(row), model.contains(&row), "row {}", row);
            }
            prop_assert_eq!(set.missing(), 300 - model.len() as u64);
            prop_assert_eq!(RowSet::decode(&set.encode()), Some(set));
        }

        #[test]
        fn ranges_hold_what_was_noted(steps in prop::collection::vec((0_u64..40, any::<bool>()), 0..200)) {
            let (mut ranges, mut model) = (Ranges::default(), BTreeSet::new());
            for (number, is_added) in steps {
                if is_added {
                    ranges.insert(number);
                    model.insert(number);
                } else {
                    ranges.remove(number);
                    model.remove(&number);
                }
            }
            let recorded = Ranges::decode(&ranges.encode());
            for number in 0..41 {
                prop_assert_eq!(ranges.contains(number), model.contains(&number), "{}", number);
                prop_assert_eq!(recorded.contains(number), model.contains(&number), "{} on record", number);
            }
        }
    }

    #[test]
    fn a_chunk_that_came_in_order_is_one_floor_and_whole_at_its_last_row() {
        for size in [1, 63, 64, 65, 1000] {
            let mut set = RowSet::new(size);
            for row in 0..size {
                assert!(!set.is_whole() && !set.contains(row), "row {row} of {size}");
                set.insert(row);
            }
            assert!(set.is_whole() && set.bits.len() <= 1, "{size}: {set:?}");
            assert_eq!(set, RowSet::whole(size));
        }
    }

    #[test]
    fn rows_far_ahead_are_bounded_and_what_is_given_up_is_counted() {
        let mut set = RowSet::new(u32::MAX);
        set.insert(1);
        set.insert(ROWS_AHEAD_MAX - 1);
        assert!(set.encode().len() <= crate::store::CHUNK_ROWS_SIZE_MAX);
        assert!(set.is_too_far(ROWS_AHEAD_MAX));
        assert_eq!(set.give_up_before(ROWS_AHEAD_MAX), 63);
        set.insert(ROWS_AHEAD_MAX);
        assert!(set.contains(0) && set.contains(ROWS_AHEAD_MAX) && !set.contains(64));
    }

    #[test]
    fn a_damaged_record_of_rows_is_no_set() {
        for bytes in [&b""[..], &[0; 7], &[0; 9], &[0, 0, 0, 0, 1, 0, 0, 0]] {
            assert_eq!(RowSet::decode(bytes), None);
        }
    }
}
