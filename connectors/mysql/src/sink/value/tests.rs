//! Tests of the literals, without a server; on servers: `tests/suite/sink_values.rs`.

use super::*;

fn literal(form: &Form, raw: &str) -> Result<String, String> {
    let mut out = Vec::new();
    write(form, raw, Origin::Change, &mut out).map(|_| String::from_utf8(out).expect("text"))
}

/// Each value and its literal, or a part of why there is none.
fn check(form: &Form, cases: &[(&str, Result<&str, &str>)]) {
    for (raw, expected) in cases {
        match (literal(form, raw), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(&found, expected, "{raw}"),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{raw}: {found}"),
            (found, _) => panic!("{raw}: {found:?} instead of {expected:?}"),
        }
    }
}

#[test]
fn null_is_null_whatever_the_column() {
    for form in [Form::Integer { min: 0, max: 1 }, Form::Year, Form::Json, Form::Text, Form::Geometry] {
        assert_eq!(literal(&form, "null"), Ok("NULL".into()));
    }
}

#[test]
fn whole_numbers_are_exact_and_within_the_column() {
    let unsigned = Form::Integer { min: 0, max: u64::MAX.into() };
    check(
        &unsigned,
        &[
            ("18446744073709551615", Ok("18446744073709551615")),
            ("18446744073709551616", Err("out of range")),
            ("-1", Err("-1 is out of range: 0 to 18446744073709551615")),
            ("true", Ok("1")),
            ("1.0", Ok("1")),
            ("1e3", Ok("1000")),
            ("1.5", Err("no whole number")),
            ("1e30", Err("no whole number")),
            (r#""99999""#, Ok("99999")),
            (r#""1 OR 1""#, Err("no whole number")),
            (r#""""#, Err("no whole number")),
            ("[1]", Err("no whole number")),
        ],
    );
}

#[test]
fn decimals_are_never_rounded() {
    check(
        &Form::Decimal { integer: 3, fraction: 2 },
        &[
            (r#""123.45""#, Ok("123.45")),
            (r#""-0.5""#, Ok("-0.5")),
            (r#""000123.4500""#, Ok("000123.45")),
            (r#""1.00000""#, Ok("1.00")),
            (r#""1.001""#, Err("does not fit into DECIMAL(5,2)")),
            (r#""1234""#, Err("does not fit into DECIMAL(5,2)")),
            ("12", Ok("12")),
            ("1e2", Err("no decimal number")),
            (r#""1;2""#, Err("no decimal number")),
            (r#"".5""#, Err("no decimal number")),
            (r#""-""#, Err("no decimal number")),
        ],
    );
}

#[test]
fn single_precision_is_written_as_the_double_that_it_is() {
    check(
        &Form::Float,
        &[("1.1", Ok("1.100000023841858e0")), ("-1e39", Err("no number that the column can hold"))],
    );
    check(
        &Form::Double,
        &[
            ("1.1", Ok("1.1e0")),
            ("-1.5E300", Ok("-1.5e300")),
            ("1e999", Err("can hold")),
            (r#""inf""#, Err("can hold")),
            (r#""x""#, Err("no number")),
        ],
    );
}

#[test]
fn bits_come_lowest_byte_first() {
    check(
        &Form::Bit { bits: 12 },
        &[
            (r#""Hgs=""#, Ok("2846")),
            ("true", Ok("1")),
            (r#""/x8=""#, Err("8191 does not fit into BIT(12)")),
            (r#""AAAAAAAAAAAA""#, Err("9 bytes")),
            (r#""?""#, Err("no bytes in base64")),
        ],
    );
    check(&Form::Bit { bits: 64 }, &[(r#""AQAAAAAAAIA=""#, Ok("9223372036854775809"))]);
}

#[test]
fn years_have_four_digits() {
    let cases =
        [("0", Ok("'0000'")), ("2155", Ok("'2155'")), ("69", Err("out of range")), ("-1", Err("no year"))];
    check(&Form::Year, &cases);
}

#[test]
fn dates_and_times_are_taken_as_they_are_or_not_at_all() {
    check(
        &Form::Date,
        &[
            (r#""2020-00-00""#, Ok("'2020-00-00'")),
            (r#""2020-01-02T00:00:00.000Z""#, Ok("'2020-01-02'")),
            (r#""2020-01-02T00:00:01""#, Err("no date alone")),
            (r#""20-01-02""#, Err("no date")),
            ("20200102", Err("no date")),
            (r#""2020-01-02x""#, Err("no date")),
            (r#""2020-01-0é""#, Err("no date")),
        ],
    );
    check(
        &Form::DateTime { fraction: 3 },
        &[
            (r#""2018-06-20T06:37:03.120""#, Ok("'2018-06-20 06:37:03.120'")),
            (r#""2018-06-20T06:37:03Z""#, Ok("'2018-06-20 06:37:03'")),
            (r#""2018-06-20""#, Ok("'2018-06-20 00:00:00'")),
            (r#""2018-06-20T06:37:03.123000Z""#, Ok("'2018-06-20 06:37:03.123'")),
            (r#""2018-06-20T06:37:03.1234Z""#, Err("3 digits behind the second")),
            (r#""2018-06-20T06:37:03+02:00""#, Err("no date and time")),
            (r#""2018-06-20T06:37""#, Err("no date and time")),
            (r#""2018-06-20T06:37:03.""#, Err("no date and time")),
        ],
    );
    check(
        &Form::Time { fraction: 1 },
        &[
            (r#""-838:59:59.0""#, Ok("'-838:59:59.0'")),
            (r#""00:00:01""#, Ok("'00:00:01'")),
            (r#""-00:00:00.1000""#, Ok("'-00:00:00.1'")),
            (r#""-00:00:00.11""#, Err("1 digits")),
            (r#""1:00:00""#, Err("no time")),
            (r#""12:00""#, Err("no time")),
            ("120000", Err("no time")),
        ],
    );
}

#[test]
fn a_text_that_is_no_label_is_never_taken_for_a_number_of_one() {
    let labels = || vec!["a".to_owned(), "c,d".to_owned()];
    check(
        &Form::Enum(labels()),
        &[
            (r#""c,d""#, Ok("'c,d'")),
            (r#""2""#, Err("no label")),
            ("2", Err("no label")),
            (r#""""#, Ok("''")),
        ],
    );
    let strictness = |labels, raw| write(&Form::Enum(labels), raw, Origin::Change, &mut Vec::new());
    assert_eq!(strictness(labels(), r#""""#), Ok(Written::Loose));
    assert_eq!(strictness(vec![String::new()], r#""""#), Ok(Written::Exact));
    let set = Form::Set(vec!["x".into(), "z".into()]);
    check(
        &set,
        &[
            (r#""x,z""#, Ok("'x,z'")),
            (r#""""#, Ok("''")),
            (r#""x,y""#, Err("no list")),
            ("3", Err("no list")),
        ],
    );
}

#[test]
fn bytes_are_filled_up_and_text_is_quoted() {
    check(&Form::Binary { width: Some(3) }, &[(r#""AQI=""#, Ok("x'010200'")), (r#""a""#, Err("no bytes"))]);
    check(&Form::Binary { width: None }, &[(r#""""#, Ok("x''"))]);
    check(&Form::Text, &[(r#""a'b""#, Ok("'a\\'b'")), ("1.50", Ok("'1.50'")), ("true", Err("no text"))]);
}

#[test]
fn a_json_text_is_a_document_in_a_change_and_a_string_in_a_plain_event() {
    check(&Form::Json, &[(r#""{\"a\": 1}""#, Ok("'{\"a\": 1}'"))]);
    let mut out = Vec::new();
    write(&Form::Json, r#""x""#, Origin::Plain, &mut out).expect("a document");
    assert_eq!(out, br#"'"x"'"#);
}

#[test]
fn geometries_and_vectors_are_the_servers_own_bytes() {
    let point = r#"{"x":1.0,"y":2.0,"wkb":"AQEAAAAAAAAAAADwPwAAAAAAAABA","srid":4326}"#;
    let literal = "x'E61000000101000000000000000000F03F0000000000000040'";
    check(
        &Form::Geometry,
        &[(point, Ok(literal)), ("{}", Err("no geometry")), (r#""""#, Err("no geometry"))],
    );
    check(&Form::Vector, &[("[1.5,-2.0]", Ok("x'0000C03F000000C0'")), (r#"["a"]"#, Err("no array"))]);
}
