//! The texts of the statements, and which keys have ranges.

use flowd_binlog::result::KeyKind;

use super::*;
use crate::catalog::KeyIndex;

/// A column's type, and its charset and collation if it is text.
type Declared<'a> = (&'a str, Option<(&'a str, &'a str)>);

/// A table `s`.`t` whose first `key` columns are its key.
fn table(columns: &[Declared<'_>], key: usize) -> SnapshotTable {
    let column = |(index, (kind, text)): (usize, &Declared<'_>)| CatalogColumn {
        name: char::from(b'a' + index as u8).to_string(),
        column_type: (*kind).into(),
        charset: text.map(|(charset, _)| charset.into()),
        ..CatalogColumn::default()
    };
    let found = IndexedTable {
        table: CatalogTable {
            schema: "s".into(),
            name: "t".into(),
            columns: columns.iter().enumerate().map(column).collect(),
            key: (0..key).collect(),
        },
        index: (key > 0).then(|| KeyIndex { name: "PRIMARY".into(), has_ranges: true }),
        collations: columns.iter().map(|(_, text)| text.map(|(_, collation)| collation.into())).collect(),
        versioned: false,
    };
    let statistics = [Some("7"), Some("90"), Some("YES")].map(|value| value.map(Into::into)).to_vec();
    SnapshotTable::new(found, &statistics, Flavour::MySql)
}

fn key(numbers: &[u64]) -> Key {
    numbers.iter().map(|&number| unsigned(number)).collect()
}

/// The condition of a chunk, and the numbers of its parameters.
fn check(table: &SnapshotTable, range: &Range, expected: &str, numbers: &[u64]) {
    let (sql, parameters) = chunk(table, "*", range, false);
    let condition = sql
        .strip_prefix("SELECT * FROM `s`.`t` FORCE INDEX (`PRIMARY`)")
        .and_then(|rest| rest.split_once(" ORDER BY "))
        .map(|(condition, _)| condition);
    assert_eq!(condition, Some(expected), "{sql}");
    assert_eq!(parameters, key(numbers), "{sql}");
}

const INT: Declared<'_> = ("int", None);

#[test]
fn a_chunk_is_a_range_of_the_full_key_in_its_order() {
    let (sql, parameters) = chunk(&table(&[INT, INT, INT], 2), "`a`, `c`", &Range::default(), false);
    assert_eq!(sql, "SELECT `a`, `c` FROM `s`.`t` FORCE INDEX (`PRIMARY`) ORDER BY `a`, `b` LIMIT ?");
    assert_eq!(parameters, []);
    let (sql, _) = chunk(&table(&[INT], 1), "`a`", &Range::default(), true);
    assert!(sql.ends_with(" LIMIT ? LOCK IN SHARE MODE"), "{sql}");
}

#[test]
fn both_bounds_are_in_or_form_over_all_columns() {
    let two = table(&[INT, INT], 2);
    let after = Some(key(&[1, 2]));
    let upto = Some(key(&[3, 4]));
    check(
        &two,
        &Range { after: after.clone(), upto: None },
        " WHERE ((`a` > ?) OR (`a` = ? AND `b` > ?))",
        &[1, 1, 2],
    );
    check(
        &two,
        &Range { after, upto },
        " WHERE ((`a` > ?) OR (`a` = ? AND `b` > ?)) AND ((`a` < ?) OR (`a` = ? AND `b` <= ?))",
        &[1, 1, 2, 3, 3, 4],
    );
    let one = Range { after: None, upto: Some(key(&[9])) };
    check(&table(&[INT], 1), &one, " WHERE ((`a` <= ?))", &[9]);
}

#[test]
fn text_is_compared_as_bytes_of_its_own_charset_by_its_own_collation() {
    let text = table(&[("varchar(9)", Some(("latin1", "latin1_swedish_ci")))], 1);
    let range = Range { after: Some(key(&[1])), upto: None };
    check(&text, &range, " WHERE ((`a` > CONVERT(? USING `latin1`) COLLATE `latin1_swedish_ci`))", &[1]);
}

#[test]
fn ranges_of_an_enum_are_lists_of_its_numbers() {
    let two = table(&[("enum('x','y','z')", None), INT], 2);
    check(
        &two,
        &Range { after: Some(key(&[1, 5])), upto: Some(key(&[2, 6])) },
        " WHERE ((`a` IN (2,3)) OR (`a` = ? AND `b` > ?)) AND ((`a` IN (0,1)) OR (`a` = ? AND `b` <= ?))",
        &[1, 5, 2, 6],
    );
    // Nothing is above the last one, and nothing below zero: a number that no value has.
    check(
        &two,
        &Range { after: Some(key(&[3, 5])), upto: Some(key(&[0, 6])) },
        " WHERE ((`a` IN (4)) OR (`a` = ? AND `b` > ?)) AND ((`a` IN (4)) OR (`a` = ? AND `b` <= ?))",
        &[3, 5, 0, 6],
    );
    let one = table(&[("set('x','y')", None)], 1);
    let range = Range { after: Some(key(&[3])), upto: Some(key(&[2])) };
    check(&one, &range, " WHERE ((`a` IN (4))) AND ((`a` IN (0,1,2)))", &[]);
}

#[test]
fn a_key_of_too_many_listed_values_is_not_usable() {
    let labels: Vec<String> = (0..11).map(|label| format!("'{label}'")).collect();
    let wide = format!("set({})", labels.join(","));
    let of = |kind: &str| table(&[(kind, None)], 1).index;
    assert_eq!(of(&wide), None);
    assert_eq!(of("set('a','b')"), Some("PRIMARY".into()));
}

#[test]
fn a_key_whose_order_is_another_in_the_index_is_not_usable() {
    let of = |kind: &str, collation: &str| table(&[(kind, Some(("utf8mb4", collation)))], 1).index;
    assert_eq!(of("char(9)", "utf8mb4_nopad_bin"), None);
    assert_eq!(of("char(9)", "utf8mb4_0900_ai_ci"), Some("PRIMARY".into()));
    assert_eq!(of("varchar(9)", "utf8mb4_nopad_bin"), Some("PRIMARY".into()));
}

#[test]
fn a_table_without_an_index_for_ranges_is_read_whole() {
    let without = table(&[INT], 0);
    assert_eq!((without.index.as_deref(), without.key.len()), (None, 0));
    assert_eq!(whole(&without, "`a`"), "SELECT `a` FROM `s`.`t`");
}

#[test]
fn estimates_come_from_the_catalog_and_are_none_where_it_is_silent() {
    let known = table(&[INT], 1);
    assert_eq!((known.rows_estimated, known.row_bytes_estimated, known.transactional), (7, 90, true));
    let found = IndexedTable { table: known.catalog, index: None, collations: vec![None], versioned: false };
    let unknown = SnapshotTable::new(found, &vec![None, None, None], Flavour::MySql);
    assert_eq!((unknown.rows_estimated, unknown.row_bytes_estimated, unknown.transactional), (0, 0, false));
}

#[test]
fn a_name_with_a_backquote_stays_a_name() {
    let mut odd = table(&[INT], 1);
    odd.catalog.name = "t`; DROP".into();
    assert_eq!(whole(&odd, "1"), "SELECT 1 FROM `s`.`t``; DROP`");
}

#[test]
fn a_number_is_eight_bytes_without_a_sign() {
    let value = unsigned(u64::MAX);
    assert_eq!((value.kind, &*value.bytes), (KeyKind::Unsigned, &[0xff; 8][..]));
}

#[test]
fn of_a_table_with_system_versioning_the_older_rows_are_read_too() {
    let found = IndexedTable {
        table: CatalogTable {
            schema: "s".into(),
            name: "t".into(),
            columns: vec![CatalogColumn {
                name: "a".into(),
                column_type: "int".into(),
                ..CatalogColumn::default()
            }],
            key: vec![0],
        },
        index: Some(KeyIndex { name: "PRIMARY".into(), has_ranges: true }),
        collations: vec![None],
        versioned: true,
    };
    let table = SnapshotTable::new(found, &Row::default(), Flavour::MariaDb);
    let (sql, _) = chunk(&table, "*", &Range::default(), false);
    let source = "SELECT * FROM `s`.`t` FOR SYSTEM_TIME ALL FORCE INDEX (`PRIMARY`)";
    assert!(sql.starts_with(source), "{sql}");
    assert_eq!(whole(&table, "*"), "SELECT * FROM `s`.`t` FOR SYSTEM_TIME ALL");
}
