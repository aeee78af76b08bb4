//! Rows of result sets put together by hand, against tables of the catalog.

use super::*;
use crate::catalog::{CatalogColumn, CatalogTable};
use crate::charset::InvalidText;
use crate::table::{Flavour, Options};

/// Columns by name, type and character set; a `?` behind the type lets it be NULL.
fn catalog(columns: &[(&str, &str, Option<&str>)], key: &[usize]) -> CatalogTable {
    let columns = columns.iter().map(|&(name, column_type, charset)| CatalogColumn {
        name: name.into(),
        column_type: column_type.trim_end_matches('?').into(),
        data_type: String::new(),
        charset: charset.map(String::from),
        nullable: column_type.ends_with('?'),
    });
    CatalogTable { schema: "s".into(), name: "t".into(), columns: columns.collect(), key: key.to_vec() }
}

fn options(exclude: &dyn Fn(&str, &str, &str) -> bool) -> Options<'_> {
    Options { flavour: Flavour::MariaDb, invalid_text: InvalidText::Stop, exclude }
}

fn table(columns: &[(&str, &str, Option<&str>)], key: &[usize]) -> Table {
    Table::from_catalog(&catalog(columns, key), &options(&|_, _, _| false)).expect("a transportable table")
}

fn encoded(table: &Table, row: &[u8]) -> Result<(String, String), RowError> {
    let (mut out, mut scratch) = (b"kept".to_vec(), Scratch::new());
    encode(table, row, 7, &mut out, &mut scratch)?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    Ok((text(&out[4..]), text(scratch.key())))
}

/// One column `a` of that type, which is the key: the JSON of `value`, and what goes back as a parameter.
fn check(column_type: &str, charset: Option<&str>, value: &[u8], json: &str, key_value: (KeyKind, &[u8])) {
    let table = table(&[("a", column_type, charset)], &[0]);
    let row = [&[0, 0], value].concat();
    let object = format!("{{\"a\":{json}}}");
    let (text, key_text) = encoded(&table, &row).expect("a valid row");
    assert_eq!((text, key_text), (object.clone(), object), "{column_type} {value:02X?}");
    let (kind, bytes) = key_value;
    let expected = KeyValue { kind, bytes: bytes.into() };
    assert_eq!(key(&table, &row), Ok(vec![expected]), "{column_type} {value:02X?}");
}

#[test]
fn integers_have_their_own_widths_and_mediumint_has_four_bytes() {
    let signed = |number: i64| (KeyKind::Signed, number.to_le_bytes());
    let unsigned = |number: u64| (KeyKind::Unsigned, number.to_le_bytes());
    let check = |column_type: &str, value: &[u8], json: &str, key: (KeyKind, [u8; 8])| {
        check(column_type, None, value, json, (key.0, &key.1));
    };
    check("tinyint(4)", &[0x80], "-128", signed(-128));
    check("tinyint(1)", &[2], "2", signed(2));
    check("tinyint unsigned", &[0xFF], "255", unsigned(255));
    check("smallint", &[0, 0x80], "-32768", signed(-32768));
    check("smallint(5) unsigned zerofill", &[7, 0], "7", unsigned(7));
    check("mediumint", &[0, 0, 0x80, 0xFF], "-8388608", signed(-8_388_608));
    check("mediumint unsigned", &[0xFF, 0xFF, 0xFF, 0], "16777215", unsigned(16_777_215));
    check("int(10) unsigned", &[0xFF; 4], "4294967295", unsigned(u32::MAX.into()));
    check("int", &[0xFE, 0xFF, 0xFF, 0xFF], "-2", signed(-2));
    check("bigint unsigned", &[0xFF; 8], "18446744073709551615", unsigned(u64::MAX));
    check("bigint", &[0xFF; 8], "-1", signed(-1));
    check("year(4)", &[0, 0], "0", unsigned(0));
    check("year", &[0x6B, 0x08], "2155", unsigned(2155));
}

/// A value behind a length of one byte.
fn lengthed(bytes: &[u8]) -> Vec<u8> {
    [&[bytes.len() as u8], bytes].concat()
}

#[test]
fn a_decimal_loses_the_zeros_of_zerofill_and_the_sign_of_zero() {
    let check = |column_type: &str, text: &str, json: &str| {
        let value = lengthed(text.as_bytes());
        check(column_type, None, &value, json, (KeyKind::Decimal, text.as_bytes()));
    };
    check("decimal(10,2)", "-99999999.99", "\"-99999999.99\"");
    check("decimal(10,2) unsigned zerofill", "00000001.50", "\"1.50\"");
    check("decimal(10,2) unsigned zerofill", "00000000.00", "\"0.00\"");
    check("decimal(5,0) unsigned zerofill", "00000", "\"0\"");
    check("decimal(5,0)", "-0", "\"0\"");
    check("decimal(30,30)", "-0.000000000000000000000000000001", "\"-0.000000000000000000000000000001\"");
    check("decimal(10,2)", "-0.00", "\"0.00\"");
}

#[test]
fn floats_are_their_own_bytes() {
    let (float, double) = ((-1.1f32).to_le_bytes(), 1234.567f64.to_le_bytes());
    check("float(7,4)", None, &float, "-1.1", (KeyKind::Float, &float));
    check("double unsigned zerofill", None, &double, "1234.567", (KeyKind::Double, &double));
}

#[test]
fn dates_and_times_have_the_columns_digits_whatever_was_left_out() {
    let check = |column_type: &str, kind: KeyKind, packed: &[u8], json: &str| {
        check(column_type, None, &lengthed(packed), &format!("\"{json}\""), (kind, packed));
    };
    check("date", KeyKind::Date, &[], "0000-00-00");
    check("date", KeyKind::Date, &[0xE4, 7, 5, 0], "2020-05-00");
    check("time", KeyKind::Time, &[], "00:00:00");
    check("time(6)", KeyKind::Time, &[], "00:00:00.000000");
    check("time(1)", KeyKind::Time, &[1, 1, 0, 0, 0, 1, 2, 3], "-25:02:03.0");
    check("time(3)", KeyKind::Time, &[0, 34, 0, 0, 0, 22, 59, 59, 8, 10, 12, 0], "838:59:59.789");
    check("time(6)", KeyKind::Time, &[1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], "-00:00:00.000001");
    check("datetime", KeyKind::DateTime, &[], "0000-00-00T00:00:00");
    check("datetime(4)", KeyKind::DateTime, &[0xE4, 7, 1, 2], "2020-01-02T00:00:00.0000");
    check("datetime(5)", KeyKind::DateTime, &[0xE4, 7, 0, 0, 3, 4, 5], "2020-00-00T03:04:05.00000");
    let full = [0x0F, 0x27, 12, 31, 23, 59, 59, 0x3F, 0x42, 0x0F, 0];
    check("datetime(6)", KeyKind::DateTime, &full, "9999-12-31T23:59:59.999999");
    check("timestamp", KeyKind::DateTime, &[], "0000-00-00T00:00:00Z");
    check("timestamp(2)", KeyKind::DateTime, &full, "9999-12-31T23:59:59.99Z");
    check("timestamp(3)", KeyKind::DateTime, &[0xE2, 7, 6, 20, 13, 37, 3], "2018-06-20T13:37:03.000Z");
}

#[test]
fn bits_come_with_the_high_byte_first() {
    let unsigned = |number: u64| (KeyKind::Unsigned, number.to_le_bytes());
    let check = |column_type: &str, bytes: &[u8], json: &str, key: (KeyKind, [u8; 8])| {
        check(column_type, None, &lengthed(bytes), json, (key.0, &key.1));
    };
    check("bit(1)", &[1], "true", unsigned(1));
    check("bit(12)", &[0b1011, 0b0001_1110], "\"Hgs=\"", unsigned(0xB1E));
    check("bit(64)", &[0x80, 0, 0, 0, 0, 0, 0, 1], "\"AQAAAAAAAIA=\"", unsigned(1 << 63 | 1));
}

#[test]
fn text_comes_in_its_own_character_set_and_bytes_as_they_are() {
    let check = |column_type: &str, charset: Option<&str>, kind: KeyKind, bytes: &[u8], json: &str| {
        check(column_type, charset, &lengthed(bytes), json, (kind, bytes));
    };
    check("varchar(9)", Some("latin1"), KeyKind::Text, &[0x80, b'"'], "\"€\\\"\"");
    check("char(9)", Some("utf16"), KeyKind::Text, &[0xD8, 0x3D, 0xDE, 0], "\"😀\"");
    check("longtext", Some("utf8mb4"), KeyKind::Text, "{\"a\" :1}é".as_bytes(), r#""{\"a\" :1}é""#);
    check("binary(5)", None, KeyKind::Bytes, &[1, 2, 0, 0, 0], "\"AQIAAAA=\"");
    check("varbinary(300)", None, KeyKind::Bytes, &[0xFF], "\"/w==\"");
    check("blob", None, KeyKind::Bytes, &[], "\"\"");
    check("json", Some("utf8mb4"), KeyKind::Text, b"[1.0, \"x\"]", r#""[1.0, \"x\"]""#);
    let uuid = "0f3a2b1c-1111-4222-8333-0123456789ab";
    check("uuid", None, KeyKind::Ascii, uuid.as_bytes(), &format!("\"{uuid}\""));
}

#[test]
fn a_length_of_more_than_one_byte_is_read() {
    let text = "x".repeat(70_000);
    let value = [&[0xFD, 0x70, 0x11, 0x01], text.as_bytes()].concat();
    check("mediumtext", Some("utf8mb4"), &value, &format!("\"{text}\""), (KeyKind::Text, text.as_bytes()));
}

#[test]
fn an_enum_comes_as_text_and_of_a_key_also_by_number_behind_the_columns() {
    let table = table(
        &[
            ("e", "enum('q','?')", Some("utf8mb4")),
            ("n", "int", None),
            ("s", "set('x','y')", Some("utf16")),
            ("f", "enum('a')?", None),
        ],
        &[2, 0],
    );
    assert_eq!(
        select_list(&table),
        "`e`, `n`, `s`, `f`, CAST(`s` AS UNSIGNED) | 0, CAST(`e` AS UNSIGNED) | 0"
    );
    let row = [
        &[0, 0b0010_0000][..],
        &lengthed("😀".as_bytes()),
        &[9, 0, 0, 0],
        &lengthed(&[0, b'x', 0, b',', 0, b'y']),
        &3u64.to_le_bytes(),
        &2u64.to_le_bytes(),
    ]
    .concat();
    let expected = (r#"{"e":"😀","n":9,"s":"x,y","f":null}"#, r#"{"s":"x,y","e":"😀"}"#);
    assert_eq!(encoded(&table, &row), Ok((expected.0.into(), expected.1.into())));
    let number = |number: u64| KeyValue { kind: KeyKind::Unsigned, bytes: number.to_le_bytes().into() };
    assert_eq!(key(&table, &row), Ok(vec![number(3), number(2)]));
}

#[test]
fn the_select_list_quotes_names_and_leaves_out_what_is_excluded() {
    let catalog = catalog(&[("a`b", "int", None), ("g", "geometry", None), ("y", "year(2)", None)], &[0]);
    let table = Table::from_catalog(&catalog, &options(&|_, _, column| column == "g")).expect("valid");
    assert_eq!(select_list(&table), "`a``b`, CAST(YEAR(`y`) AS UNSIGNED) | 0");
    let row = [&[0, 0][..], &1u32.to_le_bytes(), &2018u64.to_le_bytes()].concat();
    assert_eq!(encoded(&table, &row), Ok((r#"{"a`b":1,"y":2018}"#.into(), r#"{"a`b":1}"#.into())));
}

#[test]
fn nulls_are_counted_from_the_third_bit_on() {
    let columns: Vec<String> = (0..9).map(|number| format!("c{number}")).collect();
    let columns: Vec<_> = columns.iter().map(|name| (name.as_str(), "tinyint?", None)).collect();
    let table = table(&columns, &[]);
    // All but c5 (bit 7) and c6 (bit 0 of the second byte).
    let row = [0, 0b0111_1100, 0b0000_0110, 5, 6];
    let json = r#"{"c0":null,"c1":null,"c2":null,"c3":null,"c4":null,"c5":5,"c6":6,"c7":null,"c8":null}"#;
    assert_eq!(encoded(&table, &row), Ok((json.into(), String::new())));
    assert_eq!(key(&table, &row), Ok(vec![]));
}

#[test]
fn the_same_row_has_the_same_bytes_in_the_binlog_and_in_a_result_set() {
    let map = crate::row::tests::table_map();
    let event = crate::row::tests::rows_event(&[0b111], &[0, 1, 0, 0, 0, 1, b'x', 0xFF, 0xFF, 0xFF, 0xFF]);
    let streamed = Table::from_table_map(&map, None, &options(&|_, _, _| false)).expect("valid");
    let (mut out, mut scratch) = (Vec::new(), Scratch::new());
    let mut rows = crate::row::Rows::open(&streamed, 30, &event).expect("a valid head");
    rows.encode(&mut out, &mut scratch).expect("a valid row");
    let read = table(
        &[("a", "int(11)", None), ("b", "varchar(10)", Some("utf8mb4")), ("c", "int(10) unsigned?", None)],
        &[1, 0],
    );
    let (row, key) = encoded(&read, &[0, 0, 1, 0, 0, 0, 1, b'x', 0xFF, 0xFF, 0xFF, 0xFF]).expect("valid");
    assert_eq!((row.as_bytes(), key.as_bytes()), (&*out, scratch.key()));
}

#[test]
fn a_row_that_is_cut_or_too_long_is_refused_at_every_byte() {
    let table = table(&[("a", "int", None), ("b", "varchar(9)", Some("utf8mb4")), ("c", "time", None)], &[0]);
    let row = [0, 0, 1, 0, 0, 0, 2, b'x', b'y', 8, 0, 0, 0, 0, 0, 1, 2, 3];
    for cut in 0..row.len() {
        let error = encoded(&table, &row[..cut]).expect_err("cut");
        assert!(matches!(error, RowError::Short { row: RowNumber::Chunk(7), .. }), "{error}");
        assert!(matches!(key(&table, &row[..cut]), Err(RowError::Short { .. })));
    }
    let text = encoded(&table, &[&row[..], &[0]].concat()).expect_err("too long").to_string();
    assert!(text.contains("s.t: row 7 of the snapshot's chunk has 19 bytes"), "{text}");
    assert!(matches!(key(&table, &[&row[..], &[0]].concat()), Err(RowError::Overlong { size: 19, .. })));
}

#[test]
fn what_no_column_can_hold_is_refused_with_the_columns_name() {
    let check = |column_type: &str, charset: Option<&str>, value: &[u8], what: &str| {
        let table = table(&[("a", column_type, charset)], &[]);
        let row = [&[0, 0], value].concat();
        let text = encoded(&table, &row).expect_err(column_type).to_string();
        assert!(text.contains("column `a`") && text.contains(what), "{text}");
    };
    for text in ["", "-", ".5", "1.", "1.x", "1,5", "1e5", "--1", "1.2.3"] {
        check("decimal(10,2)", None, &lengthed(text.as_bytes()), "DECIMAL");
    }
    check("date", None, &[3, 1, 2, 3], "impossible length");
    check("date", None, &[4, 0xE4, 7, 13, 1], "impossible parts");
    check("date", None, &[4, 0xE4, 7, 1, 32], "impossible parts");
    check("datetime", None, &[7, 0xE4, 7, 1, 1, 24, 0, 0], "impossible parts");
    check("datetime", None, &[8, 0xE4, 7, 1, 1, 23, 0, 0, 0], "impossible length");
    check("datetime(6)", None, &[11, 0xE4, 7, 1, 1, 23, 0, 0, 0x40, 0x42, 0x0F, 0], "impossible parts");
    check("time", None, &[8, 0, 35, 0, 0, 0, 0, 0, 0], "impossible parts");
    check("time", None, &[8, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0], "impossible parts");
    check("time", None, &[7, 0, 0, 0, 0, 0, 0, 0], "impossible length");
    check("bit(1)", None, &[1, 2], "BIT(1)");
    check("varchar(9)", Some("utf8mb4"), &[1, 0xFF], "invalidText");
}

#[test]
fn a_key_that_is_null_is_refused() {
    let table = table(&[("a", "int", None)], &[0]);
    let row = [0, 0b100];
    let text = encoded(&table, &row).expect_err("NULL").to_string();
    assert!(text.contains("column `a`") && text.contains("part of the key"), "{text}");
    assert!(matches!(key(&table, &row), Err(RowError::Corrupt { .. })));
}

#[test]
fn a_row_of_which_every_column_is_excluded_is_an_empty_object() {
    let catalog = catalog(&[("a", "int", None), ("g", "geometry", None)], &[]);
    let table = Table::from_catalog(&catalog, &options(&|_, _, _| true)).expect("valid");
    assert_eq!(select_list(&table), "NULL");
    assert_eq!(encoded(&table, &[0, 0b100]), Ok(("{}".into(), String::new())));
}

#[test]
fn a_key_is_exact_where_equal_values_are_written_alike() {
    let exact = |column_type: &str, charset| table(&[("a", column_type, charset)], &[0]).has_exact_key();
    for column_type in ["int unsigned", "decimal(9,2)", "varbinary(9)", "binary(16)", "datetime(3)", "bit(9)"]
    {
        assert!(exact(column_type, None), "{column_type}");
    }
    assert!(exact("enum('a','b')", Some("utf8mb4")));
    assert!(!exact("varchar(9)", Some("utf8mb4")));
    assert!(!exact("double", None));
    assert!(!table(&[("a", "int", None)], &[]).has_exact_key());
}
