//! Rows of events put together by hand: a TABLE_MAP with optional metadata, and ROWS events of both versions.

use super::*;
use crate::catalog::{CatalogColumn, CatalogTable};
use crate::charset::InvalidText;
use crate::table::{Flavour, Options};

/// TABLE_MAP of `s.t (a INT, b VARCHAR(10) utf8mb4, c INT UNSIGNED NULL)` with primary key (b, a).
pub(crate) fn table_map() -> Vec<u8> {
    let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0, 1, b's', 0, 1, b't', 0];
    body.extend_from_slice(&[3, 3, 15, 3, 2, 40, 0, 0b100]);
    body.extend_from_slice(&[1, 1, 0b0100_0000, 2, 1, 45, 4, 6, 1, b'a', 1, b'b', 1, b'c', 8, 2, 1, 0]);
    body
}

fn options(exclude: &dyn Fn(&str, &str, &str) -> bool) -> Options<'_> {
    Options { flavour: Flavour::MySql, invalid_text: InvalidText::Stop, exclude }
}

fn table() -> Table {
    Table::from_table_map(&table_map(), None, &options(&|_, _, _| false)).expect("a valid TABLE_MAP")
}

/// Version 2 head for three columns with the given bitmaps.
pub(crate) fn rows_event(bitmaps: &[u8], rows: &[u8]) -> Vec<u8> {
    let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0, 2, 0, 3];
    body.extend_from_slice(bitmaps);
    body.extend_from_slice(rows);
    body
}

/// One row: what was appended, the key, and the key before.
type Shown = (Option<String>, Option<String>, String, String);

fn show(rows: &mut Rows<'_>, scratch: &mut Scratch) -> Option<Shown> {
    let mut out = b"kept".to_vec();
    let row = rows.encode(&mut out, scratch).expect("a valid row")?;
    let text = |range: Range<usize>| String::from_utf8(out[range].to_vec()).expect("UTF-8");
    let key = |key: &[u8]| String::from_utf8(key.to_vec()).expect("UTF-8");
    assert_eq!(row.key_changed, scratch.key() != scratch.key_before());
    Some((row.before.map(text), row.after.map(text), key(scratch.key()), key(scratch.key_before())))
}

fn check(event_type: u8, body: &[u8], expected: &[(Option<&str>, Option<&str>, &str, &str)]) {
    let table = table();
    let mut rows = Rows::open(&table, event_type, body).expect("a valid head");
    let mut scratch = Scratch::new();
    for (before, after, key, key_before) in expected {
        let shown = show(&mut rows, &mut scratch).expect("a row");
        assert_eq!(
            (shown.0.as_deref(), shown.1.as_deref(), &*shown.2, &*shown.3),
            (*before, *after, *key, *key_before)
        );
    }
    assert_eq!(show(&mut rows, &mut scratch), None);
}

const ROW_1: [u8; 11] = [0, 1, 0, 0, 0, 1, b'x', 0xFF, 0xFF, 0xFF, 0xFF];
const ROW_2_NULL: [u8; 7] = [0b100, 2, 0, 0, 0, 1, b'\n'];

#[test]
fn inserts_have_an_after_and_a_key_in_key_order() {
    let body = rows_event(&[0b111], &[&ROW_1[..], &ROW_2_NULL].concat());
    let expected = [
        (None, Some(r#"{"a":1,"b":"x","c":4294967295}"#), r#"{"b":"x","a":1}"#, r#"{"b":"x","a":1}"#),
        (None, Some(r#"{"a":2,"b":"\n","c":null}"#), r#"{"b":"\n","a":2}"#, r#"{"b":"\n","a":2}"#),
    ];
    check(30, &body, &expected);
    // Version 1 has no extra information.
    let version_1 = [&body[..8], &body[10..]].concat();
    check(23, &version_1, &expected);
}

#[test]
fn deletes_have_a_before_only() {
    let body = rows_event(&[0b111], &ROW_1);
    let key = r#"{"b":"x","a":1}"#;
    check(32, &body, &[(Some(r#"{"a":1,"b":"x","c":4294967295}"#), None, key, key)]);
}

#[test]
fn an_update_tells_whether_its_key_changed() {
    let body = rows_event(&[0b111, 0b111], &[&ROW_1[..], &ROW_2_NULL, &ROW_1, &ROW_1].concat());
    let (one, two) = (r#"{"a":1,"b":"x","c":4294967295}"#, r#"{"a":2,"b":"\n","c":null}"#);
    let (key_one, key_two) = (r#"{"b":"x","a":1}"#, r#"{"b":"\n","a":2}"#);
    check(31, &body, &[(Some(one), Some(two), key_two, key_one), (Some(one), Some(one), key_one, key_one)]);
}

#[test]
fn absent_columns_are_left_out_and_do_not_change_the_key() {
    // MINIMAL: before holds the key, after holds c, then a.
    let before = [0, 1, 0, 0, 0, 1, b'x'];
    let body = rows_event(&[0b011, 0b100], &[&before[..], &[1]].concat());
    let key = r#"{"b":"x","a":1}"#;
    check(31, &body, &[(Some(r#"{"a":1,"b":"x"}"#), Some(r#"{"c":null}"#), key, key)]);
    let body = rows_event(&[0b011, 0b001], &[&before[..], &[0, 9, 0, 0, 0]].concat());
    check(31, &body, &[(Some(r#"{"a":1,"b":"x"}"#), Some(r#"{"a":9}"#), r#"{"b":"x","a":9}"#, key)]);
    let body = rows_event(&[0b011, 0b000], &before);
    check(31, &body, &[(Some(r#"{"a":1,"b":"x"}"#), Some("{}"), key, key)]);
}

#[test]
fn a_cursor_goes_on_where_it_stopped() {
    let body = rows_event(&[0b111], &[&ROW_1[..], &ROW_2_NULL, &ROW_1].concat());
    let table = table();
    let mut rows = Rows::open(&table, 30, &body).expect("a valid head");
    let mut scratch = Scratch::new();
    assert_eq!(rows.skip(), Ok(true));
    let mark = rows.mark();
    let second = show(&mut rows, &mut scratch);
    assert_eq!(rows.skip(), Ok(true));
    assert!(rows.is_done());
    assert_eq!(rows.skip(), Ok(false));
    let mut again = Rows::open(&table, 30, &body).expect("a valid head");
    again.seek(mark);
    assert_eq!((mark.row, show(&mut again, &mut scratch)), (1, second));
}

#[test]
fn excluded_columns_are_walked_over_and_key_columns_cannot_be_excluded() {
    let exclude = |schema: &str, table: &str, column: &str| (schema, table, column) == ("s", "t", "c");
    let table = Table::from_table_map(&table_map(), None, &options(&exclude)).expect("valid");
    let body = rows_event(&[0b111], &[&ROW_1[..], &ROW_1].concat());
    let mut rows = Rows::open(&table, 30, &body).expect("a valid head");
    let mut scratch = Scratch::new();
    for _ in 0..2 {
        let shown = show(&mut rows, &mut scratch).expect("a row");
        assert_eq!(shown.1.as_deref(), Some(r#"{"a":1,"b":"x"}"#));
    }
    let error = Table::from_table_map(&table_map(), None, &options(&|_, _, column| column == "a"));
    assert!(matches!(error, Err(crate::table::TableError::KeyExcluded { column, .. }) if column == "a"));
}

#[test]
fn a_cut_or_overlong_event_names_row_and_offset() {
    let table = table();
    let whole = rows_event(&[0b111], &[&ROW_1[..], &ROW_1].concat());
    let first_end = whole.len() - ROW_1.len();
    for cut in 0..whole.len() {
        let result = Rows::open(&table, 30, &whole[..cut]).and_then(|mut rows| {
            let mut out = Vec::new();
            while rows.encode(&mut out, &mut Scratch::new())?.is_some() {}
            Ok(rows.mark().row)
        });
        match result {
            Ok(rows) => assert_eq!(12 + ROW_1.len() * rows as usize, cut),
            Err(RowError::Short { row, offset, .. }) => {
                assert_eq!(row, RowNumber::Event(u32::from(cut > first_end)));
                assert!(offset <= cut);
            }
            Err(RowError::Header { .. }) => assert!(cut < 12),
            Err(other) => panic!("{other} at {cut}"),
        }
    }
    let body = [&whole[..], &[0, 1]].concat();
    let mut rows = Rows::open(&table, 30, &body).expect("a valid head");
    assert_eq!((rows.skip(), rows.skip()), (Ok(true), Ok(true)));
    let error = rows.skip().expect_err("garbage behind the last row");
    assert_eq!(
        error.to_string(),
        format!(
            "table s.t: row 2 of the ROWS event is cut at byte {} of the body, in column `a`",
            whole.len() + 1
        )
    );
}

#[test]
fn invalid_text_stops_with_its_column_or_is_replaced() {
    let body = rows_event(&[0b111], &[0b100, 1, 0, 0, 0, 2, b'x', 0xFF]);
    let strict = table();
    let error = Rows::open(&strict, 30, &body).expect("head").encode(&mut Vec::new(), &mut Scratch::new());
    assert!(
        matches!(&error, Err(RowError::InvalidText { column, row: RowNumber::Event(0), .. }) if column == "b"),
        "{error:?}"
    );
    let replacing = Options { invalid_text: InvalidText::Replace, ..options(&|_, _, _| false) };
    let table = Table::from_table_map(&table_map(), None, &replacing).expect("valid");
    let mut rows = Rows::open(&table, 30, &body).expect("head");
    let shown = show(&mut rows, &mut Scratch::new()).expect("a row");
    assert_eq!(shown.1.as_deref(), Some("{\"a\":1,\"b\":\"x\u{FFFD}\",\"c\":null}"));
}

#[test]
fn an_image_without_a_key_column_is_refused_with_the_setting_that_mends_it() {
    let body = rows_event(&[0b010], &[0, 1, b'x']);
    let table = table();
    let error = Rows::open(&table, 30, &body).expect("head").encode(&mut Vec::new(), &mut Scratch::new());
    let text = error.expect_err("no `a`").to_string();
    assert!(text.contains("`a`") && text.contains("binlog_row_image"), "{text}");
}

#[test]
fn an_event_of_another_width_or_type_is_refused() {
    let table = table();
    let mut body = rows_event(&[0b111], &ROW_1);
    assert!(matches!(Rows::open(&table, 39, &body), Err(RowError::Header { .. })));
    body[10] = 4;
    assert!(matches!(Rows::open(&table, 30, &body), Err(RowError::Width { event: 4, map: 3, .. })));
}

#[test]
fn a_table_without_a_key_has_an_empty_key() {
    let mut map = table_map();
    map.truncate(map.len() - 4);
    let catalog = CatalogTable {
        schema: "s".into(),
        name: "t".into(),
        columns: ["a", "b", "c"]
            .map(|name| CatalogColumn {
                name: name.into(),
                column_type: if name == "b" { "varchar(10)".into() } else { "int(11)".into() },
                charset: Some("utf8mb4".into()),
                ..CatalogColumn::default()
            })
            .to_vec(),
        key: vec![2, 0],
    };
    let body = rows_event(&[0b111], &ROW_1);
    let key = |catalog: &CatalogTable| {
        let table = Table::from_table_map(&map, Some(catalog), &options(&|_, _, _| false)).expect("valid");
        let mut scratch = Scratch::new();
        let shown = show(&mut Rows::open(&table, 30, &body).expect("head"), &mut scratch).expect("a row");
        shown.2
    };
    // c can be NULL in the event, whatever the catalog says by now.
    assert_eq!(key(&catalog), "");
    assert_eq!(key(&CatalogTable { key: vec![1, 0], ..catalog }), r#"{"b":"x","a":1}"#);
}

#[test]
fn rows_without_any_column_are_refused_because_nobody_can_count_them() {
    let table = table();
    for rows in [&[][..], &[1, 2, 3]] {
        let error = Rows::open(&table, 30, &rows_event(&[0], rows)).expect_err("no column").to_string();
        assert!(error.contains("binlog_row_image=FULL"), "{error}");
    }
}

/// What [`Rows::keys`] calls, and whether rows lack a column.
fn touched(table: &Table, event_type: u8, body: &[u8]) -> (Vec<String>, bool) {
    let mut keys = Vec::new();
    let mut rows = Rows::open(table, event_type, body).expect("a valid head");
    let partial = rows
        .keys(&mut Scratch::new(), |key| keys.push(String::from_utf8(key.to_vec()).expect("UTF-8")))
        .expect("valid rows");
    assert!(rows.is_done() || !table.has_key());
    (keys, partial)
}

#[test]
fn keys_alone_are_those_of_the_whole_rows() {
    let table = table();
    let (one, two) = (r#"{"b":"x","a":1}"#.to_owned(), r#"{"b":"\n","a":2}"#.to_owned());
    let body = rows_event(&[0b111], &[&ROW_1[..], &ROW_2_NULL].concat());
    for event_type in [30, 32] {
        assert_eq!(touched(&table, event_type, &body), (vec![one.clone(), two.clone()], false));
    }
    // A key that stays is told once.
    let body = rows_event(&[0b111, 0b111], &[&ROW_1[..], &ROW_2_NULL, &ROW_1, &ROW_1].concat());
    assert_eq!(touched(&table, 31, &body), (vec![one.clone(), two, one], false));
}

#[test]
fn keys_alone_tell_whether_rows_lack_a_column_that_is_written() {
    let before = [0, 1, 0, 0, 0, 1, b'x'];
    let (key, moved) = (r#"{"b":"x","a":1}"#.to_owned(), r#"{"b":"x","a":9}"#.to_owned());
    let only_c = rows_event(&[0b011, 0b100], &[&before[..], &[1]].concat());
    assert_eq!(touched(&table(), 31, &only_c), (vec![key.clone()], true));
    let only_a = rows_event(&[0b011, 0b001], &[&before[..], &[0, 9, 0, 0, 0]].concat());
    assert_eq!(touched(&table(), 31, &only_a), (vec![key.clone(), moved], true));
    // Before a change the key is enough.
    assert_eq!(touched(&table(), 32, &rows_event(&[0b011], &before)), (vec![key.clone()], false));
    assert_eq!(touched(&table(), 30, &rows_event(&[0b011], &before)), (vec![key.clone()], true));
    let exclude = |_: &str, _: &str, column: &str| column == "c";
    let without = Table::from_table_map(&table_map(), None, &options(&exclude)).expect("valid");
    assert_eq!(touched(&without, 30, &rows_event(&[0b011], &before)), (vec![key], false));
}

#[test]
fn keys_alone_of_a_cut_row_or_without_a_key_column_are_an_error() {
    let table = table();
    let whole = rows_event(&[0b111], &ROW_1);
    for cut in 13..whole.len() {
        let mut rows = Rows::open(&table, 30, &whole[..cut]).expect("a valid head");
        let error = rows.keys(&mut Scratch::new(), |_| {});
        assert!(matches!(error, Err(RowError::Short { .. })), "{error:?} at {cut}");
    }
    let body = rows_event(&[0b010], &[0, 1, b'x']);
    let error = Rows::open(&table, 30, &body).expect("head").keys(&mut Scratch::new(), |_| {});
    assert!(matches!(error, Err(RowError::KeyAbsent { .. })), "{error:?}");
}
