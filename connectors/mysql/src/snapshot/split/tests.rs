//! Splits of tables in memory, which count what they are asked.

use std::cmp::Ordering;

use flowd_binlog::result::KeyKind;

use super::*;

/// A table in memory that counts what it is asked. Keys are of unsigned numbers.
struct InMemory {
    keys: Vec<Vec<u64>>,
    statements: u32,
    /// Whether it gives estimates.
    estimates: bool,
}

fn numbers(key: &[KeyValue]) -> Vec<u64> {
    let number = |value: &KeyValue| u64::from_le_bytes((&*value.bytes).try_into().expect("eight bytes"));
    key.iter().map(number).collect()
}

fn key(numbers: &[u64]) -> Key {
    let value = |number: &u64| KeyValue { kind: KeyKind::Unsigned, bytes: number.to_le_bytes().into() };
    numbers.iter().map(value).collect()
}

fn is_within(row: &[u64], bounds: &[(Side, &[KeyValue])]) -> bool {
    bounds.iter().all(|(side, bound)| {
        let bound = numbers(bound);
        let order = row[..bound.len()].cmp(&bound);
        match side {
            Side::After => order == Ordering::Greater,
            Side::From => order != Ordering::Less,
            Side::Upto => order != Ordering::Greater,
            Side::Before => order == Ordering::Less,
        }
    })
}

impl Keys for InMemory {
    fn end(&mut self, bounds: &[(Side, &[KeyValue])], order: Order) -> Result<Option<Key>, WireError> {
        self.statements += 1;
        let mut within = self.keys.iter().filter(|row| is_within(row, bounds));
        let found = match order {
            Order::Ascending => within.next(),
            Order::Descending => within.next_back(),
        };
        Ok(found.map(|row| key(row)))
    }

    fn estimate(&mut self, range: &Range) -> Result<Option<u64>, WireError> {
        self.statements += 1;
        let bounds = bounds(range);
        let count = self.keys.iter().filter(|row| is_within(row, &bounds)).count() as u64;
        Ok(self.estimates.then_some(count))
    }
}

fn in_memory(keys: impl IntoIterator<Item = Vec<u64>>) -> InMemory {
    let mut keys: Vec<_> = keys.into_iter().collect();
    keys.sort();
    InMemory { keys, statements: 0, estimates: true }
}

/// Divides a range and gives the rows on both sides.
fn parts(table: &mut InMemory, range: &Range) -> Option<(usize, usize)> {
    let texts = vec![None; table.keys[0].len()];
    let middle = divide(table, &texts, range).expect("nothing fails here")?;
    assert!(table.keys.contains(&numbers(&middle)), "a key that exists");
    let within = |range: Range| table.keys.iter().filter(|row| is_within(row, &bounds(&range))).count();
    let before = within(Range { after: range.after.clone(), upto: Some(middle.clone()) });
    let behind = within(Range { after: Some(middle), upto: range.upto.clone() });
    assert_eq!(before + behind, within(range.clone()));
    assert!(before > 0 && behind > 0);
    Some((before, behind))
}

/// Both parts have at least a quarter, for few statements.
fn check(keys: impl IntoIterator<Item = Vec<u64>>, statements_max: u32) {
    let mut table = in_memory(keys);
    let all = table.keys.len();
    let (before, behind) = parts(&mut table, &Range::default()).expect("a middle");
    assert!(before.min(behind) * 4 >= all - 1, "{before} and {behind} of {all}");
    assert!(table.statements <= statements_max, "{} statements", table.statements);
}

#[test]
fn evenly_spread_numbers_are_halved_at_once() {
    check((0..1000).map(|number| vec![number * 7]), 5);
    check((0..3).map(|number| vec![number]), 5);
    check((0..2).map(|number| vec![number]), 5);
}

#[test]
fn a_gap_is_jumped_over() {
    check((0..1000).chain([u64::MAX]).map(|number| vec![number]), 8);
    check([0].into_iter().chain(u64::MAX - 1000..u64::MAX).map(|number| vec![number]), 9);
    check((0..10).chain(1 << 40..(1 << 40) + 1000).map(|number| vec![number]), 9);
}

#[test]
fn a_first_column_of_few_values_leads_to_the_second() {
    check((0..1000).map(|number| vec![7, number]), 5);
    check((0..1000).map(|number| vec![number / 500, number]), 5);
    // Nearly all rows have one value.
    check((0..1000).map(|number| vec![number / 998, number]), 8);
    check((0..1000).map(|number| vec![(number + 998) / 1000, number]), 9);
    check((0..1000).map(|number| vec![1, 2, number / 990, number]), 8);
}

#[test]
fn only_the_range_counts() {
    let mut table = in_memory((0..1000).map(|number| vec![number]));
    let range = Range { after: Some(key(&[99])), upto: Some(key(&[199])) };
    assert_eq!(parts(&mut table, &range), Some((50, 50)));
    // Its ends need not exist.
    let beyond = Range { after: Some(key(&[899])), upto: Some(key(&[1 << 60])) };
    assert_eq!(parts(&mut table, &beyond), Some((50, 50)));
}

#[test]
fn a_range_of_fewer_than_two_rows_is_not_divided() {
    let mut table = in_memory((0..10).map(|number| vec![number]));
    let one = Range { after: Some(key(&[3])), upto: Some(key(&[4])) };
    assert_eq!(parts(&mut table, &one), None);
    let none = Range { after: Some(key(&[4])), upto: Some(key(&[4])) };
    assert_eq!(parts(&mut table, &none), None);
}

#[test]
fn without_an_estimate_the_first_middle_is_taken() {
    let mut table = in_memory((0..1000).map(|number| vec![number]));
    table.estimates = false;
    assert_eq!(parts(&mut table, &Range::default()), Some((500, 500)));
}

#[test]
fn any_spread_costs_fourteen_statements_at_the_most_and_no_part_is_empty() {
    for shift in 0..60 {
        let mut table =
            in_memory((0..200).map(|number| vec![((number * number) << (number % 7)) >> shift, number]));
        parts(&mut table, &Range::default());
        assert!(table.statements <= 14, "{} statements", table.statements);
        // Doubling distances are the worst case.
        let mut table = in_memory((0..63).map(|bit| vec![1 << bit]));
        parts(&mut table, &Range::default());
        assert!(table.statements <= 14, "{} statements", table.statements);
    }
}
