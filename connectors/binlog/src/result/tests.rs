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
