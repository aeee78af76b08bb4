//! Tests of the texts, without a server; on servers: `tests/suite/connectors/postgres/values.rs`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;

const CHANGE: Reading = Reading { origin: Origin::Change, zero_dates: ZeroDates::Reject };

fn written(form: Form, raw: &str, reading: Reading) -> Result<Option<String>, String> {
    let mut out = Vec::new();
    let written = write(form, raw, reading, &mut out)?;
    let text = String::from_utf8(out).expect("text");
    Ok(if written == Written::Null { None } else { Some(text) })
}

/// Each value and its text, or a part of why there is none.
fn check(form: Form, cases: &[(&str, Result<&str, &str>)]) {
    for (raw, expected) in cases {
        match (written(form, raw, CHANGE), expected) {
            (Ok(Some(found)), Ok(expected)) => assert_eq!(&found, expected, "{raw}"),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{raw}: {found}"),
            (found, _) => panic!("{raw}: {found:?} instead of {expected:?}"),
        }
    }
}

const FORMS: [Form; 20] = [
    Form::Boolean,
    Form::Integer { min: i64::MIN, max: i64::MAX },
    Form::Numeric(None),
    Form::Numeric(Some(Precision { digits: 5, scale: 2 })),
    Form::Real,
    Form::Double,
    Form::Bits { width: Some(12), fixed: true },
    Form::Bits { width: None, fixed: false },
    Form::Date,
    Form::Time { fraction: 3 },
    Form::Timestamp { fraction: 0, zoned: false },
    Form::Timestamp { fraction: 6, zoned: true },
    Form::Interval { fraction: 6 },
    Form::Text { chars_max: None },
    Form::Text { chars_max: Some(3) },
    Form::Bytes,
    Form::Uuid,
    Form::Json,
    Form::Other,
    Form::Unwritten,
];

#[test]
fn null_is_null_whatever_the_column() {
    FORMS.into_iter().for_each(|form| assert_eq!(written(form, "null", CHANGE), Ok(None)));
}

#[test]
fn whole_numbers_are_exact_and_within_the_column() {
    check(
        Form::Integer { min: 0, max: i64::MAX },
        &[
            ("9223372036854775807", Ok("9223372036854775807")),
            ("18446744073709551615", Err("18446744073709551615 is out of range")),
            ("-1", Err("-1 is out of range: 0 to 9223372036854775807")),
            ("true", Ok("1")),
            ("1.0", Ok("1")),
            ("1e3", Ok("1000")),
            ("1.5", Err("no whole number")),
            (r#""99999""#, Ok("99999")),
            (r#""1 OR 1""#, Err("no whole number")),
            ("[1]", Err("no whole number")),
        ],
    );
    let cases =
        [("true", Ok("t")), ("0", Ok("f")), ("1", Ok("t")), ("2", Err("no boolean")), ("1.0", Err("no"))];
    check(Form::Boolean, &cases);
}

#[test]
fn decimals_are_never_rounded() {
    check(
        Form::Numeric(Some(Precision { digits: 5, scale: 2 })),
        &[
            (r#""123.45""#, Ok("123.45")),
            (r#""-000.5""#, Ok("-000.5")),
            (r#""1.00000""#, Ok("1.00000")),
            (r#""0.000""#, Ok("0.000")),
            (r#""1.001""#, Err("does not fit into numeric(5,2)")),
            (r#""1234""#, Err("does not fit")),
            ("1e2", Ok("1e2")),
            ("1e3", Err("does not fit")),
            ("12e-2", Ok("12e-2")),
            ("1e999999999", Err("no decimal number")),
            (r#""NaN""#, Err("no decimal number")),
            (r#"".5""#, Err("no decimal number")),
            (r#""-""#, Err("no decimal number")),
        ],
    );
    let hundreds = Form::Numeric(Some(Precision { digits: 3, scale: -2 }));
    check(
        hundreds,
        &[("12300", Ok("12300")), ("12350", Err("does not fit")), ("1234500", Err("does not fit"))],
    );
}

#[test]
fn floating_point_keeps_what_it_is_given_or_refuses_it() {
    check(
        Form::Real,
        &[
            ("1.1", Ok("1.1e0")),
            ("1.100000023841858", Ok("1.1e0")),
            ("1.67772E7", Ok("1.67772e7")),
            ("1.1000001", Ok("1.1000001e0")),
            ("1.10000001", Err("more digits than single precision")),
            ("1e39", Err("can hold")),
        ],
    );
    check(
        Form::Double,
        &[
            ("0.1", Ok("1e-1")),
            ("-1.5E300", Ok("-1.5e300")),
            ("9007199254740992", Ok("9.007199254740992e15")),
            ("9007199254740993", Err("more digits than double precision")),
            ("1e999", Err("can hold")),
            (r#""inf""#, Err("can hold")),
        ],
    );
}

#[test]
fn bits_come_lowest_byte_first_and_leave_highest_first() {
    check(
        Form::Bits { width: Some(12), fixed: true },
        &[
            (r#""Hgs=""#, Ok("101100011110")),
            ("true", Ok("000000000001")),
            ("5", Ok("000000000101")),
            (r#""/x8=""#, Err("13 bits does not fit into 12")),
            (r#""?""#, Err("no bytes in base64")),
        ],
    );
    let any = Form::Bits { width: None, fixed: false };
    check(any, &[("true", Ok("1")), (r#""AQ==""#, Ok("00000001")), (r#""""#, Ok("")), ("5", Ok("101"))]);
}

#[test]
fn dates_and_times_are_taken_as_they_are_or_not_at_all() {
    check(
        Form::Date,
        &[
            (r#""2020-02-29""#, Ok("2020-02-29")),
            (r#""1900-02-29""#, Err("no date of the calendar")),
            (r#""2020-13-01""#, Err("no date of the calendar")),
            (r#""2020-00-00""#, Err("zeroDates")),
            (r#""2020-01-02T00:00:00.000Z""#, Ok("2020-01-02")),
            (r#""2020-01-02T00:00:01""#, Err("no date alone")),
            ("20200102", Err("no date")),
        ],
    );
    check(
        Form::Timestamp { fraction: 3, zoned: true },
        &[
            (r#""2020-01-02T03:04:05.120Z""#, Ok("2020-01-02 03:04:05.12+00")),
            (r#""2020-01-02T03:04:05.1200""#, Ok("2020-01-02 03:04:05.12+00")),
            (r#""2020-01-02""#, Ok("2020-01-02 00:00:00+00")),
            (r#""2020-01-02T03:04:05.1234""#, Err("3 digits behind the second")),
            (r#""2020-01-02T24:00:00""#, Err("no date and time")),
            (r#""2020-01-02T23:59:60""#, Err("no date and time")),
            (r#""2020-01-02T23:59:00+01:00""#, Err("no date and time")),
        ],
    );
    check(
        Form::Time { fraction: 1 },
        &[
            (r#""23:59:59.50""#, Ok("23:59:59.5")),
            (r#""24:00:00""#, Err("interval")),
            (r#""-00:00:01""#, Err("interval")),
            (r#""1:00""#, Err("no time")),
        ],
    );
    check(Form::Interval { fraction: 6 }, &[(r#""-838:59:59.000000""#, Ok("-838:59:59"))]);
    let as_null = Reading { zero_dates: ZeroDates::Null, ..CHANGE };
    assert_eq!(written(Form::Date, r#""2020-05-00""#, as_null), Ok(None));
    assert!(written(Form::Date, r#""2020-05-32""#, as_null).is_err());
}

#[test]
fn texts_are_whole_and_uuids_have_one_writing() {
    check(
        Form::Text { chars_max: Some(2) },
        &[(r#""éé""#, Ok("éé")), (r#""abc""#, Err("3 characters; the column takes 2")), ("12", Ok("12"))],
    );
    check(
        Form::Text { chars_max: None },
        &[(r#""a\u0000""#, Err("U+0000 at byte 1")), ("true", Err("no text"))],
    );
    let digits = "0f3a2b1c1111422283330123456789ab";
    check(
        Form::Uuid,
        &[
            (r#""0F3A2B1C-1111-4222-8333-0123456789AB""#, Ok(digits)),
            (r#""0f3a2b1c1111422283330123456789ab""#, Ok(digits)),
            (r#""DzorHBERQiKDMwEjRWeJqw==""#, Ok(digits)),
            (r#""0f3a2b1c-1111-4222-8333-0123456789a""#, Err("no UUID")),
            (r#""0f3a2b1c1-111-4222-8333-0123456789ab""#, Err("no UUID")),
        ],
    );
    let plain = Reading { origin: Origin::Plain, ..CHANGE };
    assert_eq!(written(Form::Json, r#""{}""#, CHANGE), Ok(Some("{}".into())), "a document's text");
    assert_eq!(written(Form::Json, r#""{}""#, plain), Ok(Some(r#""{}""#.into())), "a string");
}

proptest! {
    #[test]
    fn whatever_comes_is_a_text_without_zero_bytes_or_is_refused(text in any::<String>(), number in any::<f64>()) {
        let texts = [serde_json::to_string(&text).unwrap(), number.to_string(), format!("{number:e}")];
        for raw in texts.iter().filter(|raw| !raw.contains("NaN") && !raw.contains("inf")) {
            for form in FORMS {
                let mut out = Vec::new();
                if write(form, raw, CHANGE, &mut out).is_ok() {
                    prop_assert!(!out.contains(&0) && String::from_utf8(out).is_ok());
                }
            }
        }
    }

    /// `numeric(digits, scale)` takes a number exactly where dividing it by its last kept digit leaves nothing.
    #[test]
    fn a_numeric_takes_what_it_can_hold_and_nothing_else(
        unscaled in -1_000_000_i128..1_000_000,
        written in 0_u32..6,
        digits in 1_i64..8,
        scale in 0_i64..6,
    ) {
        let (whole, rest) = (unscaled.abs() / 10_i128.pow(written), unscaled.abs() % 10_i128.pow(written));
        let sign = if unscaled < 0 { "-" } else { "" };
        let width = usize::try_from(written).unwrap();
        let raw = if written == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{rest:0width$}") };
        // In units of 10^-6, which no number here divides.
        let micro = unscaled.abs() * 10_i128.pow(6 - written);
        let unit = 10_i128.pow(u32::try_from(6 - scale).unwrap());
        let fits = micro % unit == 0 && micro / unit < 10_i128.pow(u32::try_from(digits).unwrap());
        let found = write(Form::Numeric(Some(Precision { digits, scale })), &raw, CHANGE, &mut Vec::new());
        prop_assert_eq!(found.is_ok(), fits, "{} in numeric({},{})", raw, digits, scale);
    }

    #[test]
    fn bytes_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        let raw = format!("\"{}\"", STANDARD.encode(&bytes));
        let text = written(Form::Bytes, &raw, CHANGE).unwrap().unwrap();
        let hex = text.strip_prefix("\\x").unwrap();
        let back: Vec<u8> =
            (0..bytes.len()).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect();
        prop_assert_eq!(back, bytes);
    }
}
