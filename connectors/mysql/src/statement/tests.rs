//! What is prepared and run, by hand-made packets.

use std::io::Cursor;

use flowd_binlog::result::KeyKind;

use super::*;

const END: &[u8] = &[0xfe, 0, 0, 2, 0];
const PREPARED: &[u8] = &[0, 7, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0];

fn channel(payloads: &[&[u8]]) -> Channel<Cursor<Vec<u8>>> {
    let mut channel = Channel::new(Vec::new());
    for payload in payloads {
        channel.write(payload).expect("a vector takes all");
    }
    Channel::new(Cursor::new(channel.into_parts().0))
}

fn prepared(payloads: &[&[u8]]) -> Result<Statement, WireError> {
    read_prepared(&mut channel(payloads), 5)
}

#[test]
fn a_prepared_statement_is_read_to_the_end_of_its_definitions() {
    let mut channel = channel(&[PREPARED, b"p1", b"p2", END, b"column", END, b"next"]);
    let statement = read_prepared(&mut channel, 5).expect("prepared");
    assert_eq!((statement.id, statement.connection), (7, 5));
    assert_eq!((statement.parameters(), statement.columns()), (2, 1));
    assert_eq!(channel.read().expect("what follows"), b"next");
}

#[test]
fn malformed_answers_are_refused_without_panic() {
    let cases: [&[&[u8]]; 5] = [
        &[&[]],
        &[&PREPARED[..9]],
        &[&[0, 7, 0, 0, 0, 1, 0, 2, 0, 9]],
        &[PREPARED, b"p1", b"p2", b"p3"],
        &[PREPARED, b"p1", b"p2", &[]],
    ];
    for payloads in cases {
        let error = prepared(payloads).expect_err("malformed");
        assert!(matches!(error, WireError::Protocol(_)), "{payloads:?}: {error}");
    }
    let error = prepared(&[b"\xff\x28\x04#42000You have an error"]).expect_err("an error packet");
    assert_eq!(error.code(), Some(1064));
}

#[test]
fn rows_follow_only_as_many_columns_as_were_prepared() {
    let opened = read_columns(&mut channel(&[&[2], b"a", b"b", END]), 2).expect("rows");
    assert_eq!(opened, Rows::Follow);
    let opened = read_columns(&mut channel(&[&[0, 1, 0, 2, 0, 0, 0]]), 0).expect("no rows");
    assert_eq!(opened, Rows::None);
    let opened = read_columns(&mut channel(&[&[2], b"a", b"b", END]), 0).expect("an EXPLAIN of MySQL");
    assert_eq!(opened, Rows::Follow);
    let error = read_columns(&mut channel(&[&[3], b"a", b"b", b"c", END]), 2).expect_err("changed");
    assert!(error.to_string().contains("rows of 3 columns where 2 were prepared"), "{error}");
}

fn value(kind: KeyKind, bytes: &[u8]) -> KeyValue {
    KeyValue { kind, bytes: bytes.into() }
}

#[test]
fn every_kind_of_parameter_has_its_type_and_its_length() {
    let eight = [1, 2, 3, 4, 5, 6, 7, 8];
    type Case<'a> = (KeyKind, &'a [u8], [u8; 2], &'a [u8]);
    let cases: [Case<'_>; 11] = [
        (KeyKind::Signed, &eight, [8, 0], &[]),
        (KeyKind::Unsigned, &eight, [8, 0x80], &[]),
        (KeyKind::Float, &eight[..4], [4, 0], &[]),
        (KeyKind::Double, &eight, [5, 0], &[]),
        (KeyKind::Decimal, b"-1.50", [0xf6, 0], &[5]),
        (KeyKind::Date, &eight[..4], [10, 0], &[4]),
        (KeyKind::Time, &eight, [11, 0], &[8]),
        (KeyKind::DateTime, &eight[..7], [12, 0], &[7]),
        (KeyKind::Text, b"\xe9", [0xfc, 0], &[1]),
        (KeyKind::Bytes, b"\0\xff", [0xfc, 0], &[2]),
        (KeyKind::Ascii, b"abc", [0xfd, 0], &[3]),
    ];
    for (kind, bytes, wire_type, length) in cases {
        let command = parameters::execute(0x0102_0304, &[value(kind, bytes)]).expect("well-formed");
        let head = [0x17, 4, 3, 2, 1, 0, 1, 0, 0, 0, 0, 1];
        assert_eq!(command, [&head, &wire_type[..], length, bytes].concat(), "{kind:?}");
    }
}

#[test]
fn many_and_long_parameters_keep_their_places() {
    assert_eq!(parameters::execute(1, &[]).expect("none"), [0x17, 1, 0, 0, 0, 0, 1, 0, 0, 0]);
    for (length, prefix) in [
        (250, &[250][..]),
        (251, &[0xfc, 251, 0]),
        (0x1_0000, &[0xfd, 0, 0, 1]),
        (0x100_0000, &[0xfe, 0, 0, 0, 1, 0, 0, 0, 0]),
    ] {
        let mut values = vec![value(KeyKind::Date, b""); 8];
        values.push(value(KeyKind::Bytes, &vec![7; length]));
        let command = parameters::execute(1, &values).expect("well-formed");
        let types = [&[10, 0].repeat(8)[..], &[0xfc, 0]].concat();
        let expected = [&[0, 0, 1][..], &types, &[0; 8], prefix, &vec![7; length]].concat();
        assert!(command[10..] == expected, "{length} bytes");
    }
}

#[test]
fn a_parameter_of_a_wrong_length_is_refused_and_named() {
    for (kind, length) in [
        (KeyKind::Signed, 7),
        (KeyKind::Unsigned, 9),
        (KeyKind::Float, 8),
        (KeyKind::Double, 4),
        (KeyKind::Date, 7),
        (KeyKind::Time, 11),
        (KeyKind::DateTime, 12),
    ] {
        let values = [value(KeyKind::Bytes, b""), value(kind, &vec![0; length])];
        let error = parameters::execute(1, &values).expect_err("a wrong length");
        let expected = format!("parameter 2: a value of {length} bytes is no {kind:?}");
        assert_eq!(error.to_string(), expected);
    }
}
