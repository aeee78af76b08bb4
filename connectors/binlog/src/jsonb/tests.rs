//! Documents put together by hand from the format's description in MySQL's `json_binary.h`.

use super::*;

fn check(document: &[u8], expected: &str) {
    let mut out = Vec::new();
    write_text(document, &mut out).expect("a valid document");
    assert_eq!(String::from_utf8(out).expect("UTF-8"), expected);
}

fn check_refused(document: &[u8]) {
    assert_eq!(write_text(document, &mut Vec::new()), None, "{document:02X?}");
}

fn opaque(field_type: u8, value: &[u8]) -> Vec<u8> {
    let mut document = vec![0x0F, field_type];
    let mut length = value.len();
    while length > 0x7F {
        document.push(length as u8 | 0x80);
        length >>= 7;
    }
    document.push(length as u8);
    document.extend_from_slice(value);
    document
}

#[test]
fn an_object_keeps_the_stored_order_and_the_servers_separators() {
    // {"a": 1, "bb": "x"}: count 2, size 26, key entries at 4, value entries at 12, keys at 18, values at 21.
    let document =
        [0x00, 2, 0, 23, 0, 18, 0, 1, 0, 19, 0, 2, 0, 0x05, 1, 0, 0x0C, 21, 0, b'a', b'b', b'b', 1, b'x'];
    check(&document, r#"{"a": 1, "bb": "x"}"#);
    let mut out = Vec::new();
    write(&document, &mut out, &mut Vec::new()).expect("valid");
    assert_eq!(out, br#""{\"a\": 1, \"bb\": \"x\"}""#);
}

#[test]
fn small_values_stand_in_their_entries() {
    // [null, true, false, -5, 65535]
    let entries = [0x04, 0, 0, 0x04, 1, 0, 0x04, 2, 0, 0x05, 0xFB, 0xFF, 0x06, 0xFF, 0xFF];
    let mut document = vec![0x02, 5, 0, 19, 0];
    document.extend_from_slice(&entries);
    check(&document, "[null, true, false, -5, 65535]");
    // The large form holds 32 bits in its entries.
    check(&[0x03, 1, 0, 0, 0, 13, 0, 0, 0, 0x07, 0xFE, 0xFF, 0xFF, 0xFF], "[-2]");
}

#[test]
fn numbers_at_the_top_have_their_own_width() {
    check(&[0x07, 0, 0, 0, 0x80], "-2147483648");
    check(&[0x08, 0xFF, 0xFF, 0xFF, 0xFF], "4294967295");
    check(&[0x09, 0, 0, 0, 0, 0, 0, 0, 0x80], "-9223372036854775808");
    check(&[0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], "18446744073709551615");
    let mut double = vec![0x0B];
    double.extend_from_slice(&2.5f64.to_le_bytes());
    check(&double, "2.5");
}

#[test]
fn strings_are_escaped_as_the_server_does() {
    check(b"\x0C\x08a\"\\\x1F\x08\n/\x7F", "\"a\\\"\\\\\\u001f\\b\\n/\x7F\"");
    let mut long = vec![0x0C, 0x80, 0x01];
    long.resize(3 + 128, b'x');
    check(&long, &format!("\"{}\"", "x".repeat(128)));
}

#[test]
fn opaque_values_read_as_their_sql_types() {
    check(&opaque(246, &[5, 3, 0x80 | 12, 0x01, 0x54]), "12.340");
    let ymd = ((2020i64 * 13 + 1) << 5 | 2) << 17;
    check(&opaque(10, &(ymd << 24).to_le_bytes()), "\"2020-01-02\"");
    let clock = 3 << 12 | 4 << 6 | 5;
    check(&opaque(12, &((ymd | clock) << 24 | 600).to_le_bytes()), "\"2020-01-02 03:04:05.000600\"");
    check(
        &opaque(11, &(-((10 << 12 | 11 << 6 | 12) << 24 | 500_000i64)).to_le_bytes()),
        "\"-10:11:12.500000\"",
    );
    check(&opaque(15, &[0x00, 0xFF]), "\"base64:type15:AP8=\"");
    check(&opaque(252, &[]), "\"base64:type252:\"");
}

#[test]
fn base64_breaks_its_lines_as_the_server_does() {
    let line = "YWFh".repeat(19);
    check(&opaque(15, &[b'a'; 57]), &format!("\"base64:type15:{line}\""));
    check(&opaque(15, &[b'a'; 58]), &format!("\"base64:type15:{line}\\nYQ==\""));
}

#[test]
fn an_empty_value_is_the_literal_null() {
    check(&[], "null");
}

#[test]
fn documents_that_contradict_themselves_are_refused() {
    check_refused(&[0x04, 3]);
    check_refused(&[0x05, 1]);
    check_refused(&[0x0D]);
    check_refused(&[0x0C, 5, b'a']);
    check_refused(&[0x0C, 1, 0xFF]);
    check_refused(&[0x0C, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1]);
    check_refused(&[0x02, 1, 0, 99, 0, 0x05, 1, 0]);
    check_refused(&[0x02, 1, 0, 7, 0, 0x0C, 99, 0]);
    check_refused(&[0x03, 0xFF, 0xFF, 0xFF, 0xFF, 8, 0, 0, 0]);
    check_refused(&opaque(10, &[0; 7]));
    check_refused(&opaque(246, &[66, 0, 0x80]));
    let mut infinity = vec![0x0B];
    infinity.extend_from_slice(&f64::INFINITY.to_le_bytes());
    check_refused(&infinity);
}

#[test]
fn a_document_that_points_at_itself_ends() {
    // [self]: the only entry points at the array's own start.
    check_refused(&[0x02, 1, 0, 7, 0, 0x02, 0, 0]);
    // Two entries that both show the same long string.
    let mut document = vec![0x02, 2, 0, 10 + 101, 0, 0x0C, 10, 0, 0x0C, 10, 0, 100];
    document.resize(document.len() + 100, b'x');
    check_refused(&document);
}
