//! The table of column types: SQL literals and the JSON that the event format gives them.

use serde_json::{Value, json};

use crate::harness::Kind;

/// One column type with literals and what must arrive for them.
pub(in crate::suite) struct Case {
    pub(in crate::suite) column: String,
    pub(in crate::suite) values: Vec<(String, Value)>,
    only: Only,
}

#[derive(Clone, Copy)]
enum Only {
    Everywhere,
    MySql,
    MariaDb,
    MariaDb11,
}

impl Case {
    pub(in crate::suite) fn exists_on(&self, kind: Kind) -> bool {
        match self.only {
            Only::Everywhere => true,
            Only::MySql => kind.is_mysql(),
            Only::MariaDb => !kind.is_mysql(),
            Only::MariaDb11 => kind == Kind::MariaDb11,
        }
    }

    /// The literal and its JSON of a turn; the turns go round.
    pub(in crate::suite) fn at(&self, turn: usize) -> (&str, &Value) {
        let (literal, value) = &self.values[turn % self.values.len()];
        (literal, value)
    }

    fn only(mut self, only: Only) -> Self {
        self.only = only;
        self
    }
}

fn case<L: Into<String>, V: Into<Value>>(column: &str, values: impl IntoIterator<Item = (L, V)>) -> Case {
    let values = values.into_iter().map(|(literal, value)| (literal.into(), value.into())).collect();
    Case { column: column.to_owned(), values, only: Only::Everywhere }
}

/// Literals that are string constants, and mean what they say.
fn texts(column: &str, values: &[&str]) -> Case {
    case(column, values.iter().map(|value| (format!("'{value}'"), *value)))
}

/// String constants that arrive in another form.
fn forms(column: &str, values: &[(&str, &str)]) -> Case {
    case(column, values.iter().map(|(literal, value)| (format!("'{literal}'"), *value)))
}

/// Bytes given in hexadecimal that arrive as the text beside them.
fn bytes(column: &str, values: &[(&str, &str)]) -> Case {
    case(column, values.iter().map(|(literal, value)| (format!("x'{literal}'"), *value)))
}

/// All of them.
pub(in crate::suite) fn all() -> Vec<Case> {
    [
        numbers(),
        decimals_and_bits(),
        times(),
        timestamps(),
        strings(),
        character_sets(),
        binaries(),
        sets(),
        particular(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn numbers() -> Vec<Case> {
    vec![
        case("TINYINT", [("-128", -128), ("127", 127), ("0", 0)]),
        case("SMALLINT", [("-32768", -32768), ("32767", 32767)]),
        case("MEDIUMINT", [("-8388608", -8_388_608), ("8388607", 8_388_607), ("-1", -1)]),
        case("INT", [("-2147483648", i32::MIN), ("2147483647", i32::MAX)]),
        case("BIGINT", [("-9223372036854775808", i64::MIN), ("9223372036854775807", i64::MAX)]),
        case("TINYINT UNSIGNED", [("255", 255), ("128", 128)]),
        case("SMALLINT UNSIGNED", [("65535", 65535)]),
        case("MEDIUMINT UNSIGNED", [("16777215", 16_777_215)]),
        case("INT UNSIGNED", [("4294967295", u32::MAX)]),
        case(
            "BIGINT UNSIGNED",
            [("18446744073709551615", u64::MAX), ("9223372036854775808", 1 << 63), ("7", 7)],
        ),
        case("INT(8) UNSIGNED ZEROFILL", [("42", 42)]),
        case("BOOLEAN", [("TRUE", 1), ("FALSE", 0), ("2", 2)]),
        case(
            "FLOAT",
            [("1.1", 1.1), ("16777217", 16_777_216.0), ("-3.4028235e38", -3.402_823_5e38), ("1e-7", 1e-7)],
        ),
        case("FLOAT(7,4)", [("123.4567", 123.4567)]),
        case("DOUBLE", [("1e10", 1e10), ("1234.567", 1234.567), ("-1.5e300", -1.5e300), ("0.1", 0.1)]),
        case("REAL", [("1e-300", 1e-300)]),
        case("FLOAT(53)", [("0.30000000000000004", 0.300_000_000_000_000_04)]),
        case("YEAR", [("2018", 2018), ("'0000'", 0), ("1901", 1901), ("2155", 2155)]),
    ]
}

fn decimals_and_bits() -> Vec<Case> {
    let long = "12345678901234567890.123456789012345678901234567890";
    let longest = "-99999999999999999999999999999999999.999999999999999999999999999999";
    vec![
        forms(
            "DECIMAL(10,2)",
            &[
                ("123.45", "123.45"),
                ("123.40", "123.40"),
                ("-0.00", "0.00"),
                ("-99999999.99", "-99999999.99"),
            ],
        ),
        forms("NUMERIC(9,4)", &[("-0.5", "-0.5000"), ("0.0001", "0.0001"), ("-12345.6789", "-12345.6789")]),
        forms("DECIMAL(5)", &[("99999", "99999"), ("-1", "-1"), ("0", "0")]),
        forms(
            "DECIMAL(65,30)",
            &[(long, long), (longest, longest), ("1", "1.000000000000000000000000000000")],
        ),
        forms(
            "DECIMAL(30,30)",
            &[
                ("0.5", "0.500000000000000000000000000000"),
                ("-0.000000001", "-0.000000001000000000000000000000"),
            ],
        ),
        forms("DECIMAL(18,9)", &[("100000000.000000001", "100000000.000000001")]),
        case("BIT(1)", [("b'1'", true), ("b'0'", false)]),
        case("BIT(8)", [("b'10110001'", "sQ=="), ("b'0'", "AA==")]),
        case("BIT(12)", [("b'101100011110'", "Hgs=")]),
        case("BIT(64)", [("x'8000000000000001'", "AQAAAAAAAIA=")]),
    ]
}

fn times() -> Vec<Case> {
    vec![
        texts("DATE", &["2016-09-16", "0001-01-01", "9999-12-31", "0000-00-00", "2020-00-00", "2020-05-00"]),
        texts("TIME", &["-838:59:59", "838:59:59", "12:34:56", "00:00:00", "-00:00:01"]),
        forms("TIME(1)", &[("-12:34:56.7", "-12:34:56.7"), ("-01:00:00", "-01:00:00.0")]),
        texts("TIME(2)", &["12:34:56.78", "-00:00:00.01"]),
        texts("TIME(3)", &["12:34:56.789", "-12:34:56.001"]),
        texts("TIME(4)", &["-00:59:59.9999", "00:00:00.0001"]),
        forms(
            "TIME(6)",
            &[
                ("-838:59:59", "-838:59:59.000000"),
                ("-00:00:00.000001", "-00:00:00.000001"),
                ("12:34:56.789", "12:34:56.789000"),
            ],
        ),
        forms(
            "DATETIME",
            &[
                ("2018-06-20 06:37:03", "2018-06-20T06:37:03"),
                ("1000-01-01", "1000-01-01T00:00:00"),
                ("9999-12-31 23:59:59", "9999-12-31T23:59:59"),
                ("0000-00-00", "0000-00-00T00:00:00"),
                ("2020-05-00 01:02:03", "2020-05-00T01:02:03"),
            ],
        ),
        forms("DATETIME(1)", &[("2018-06-20 06:37:03.5", "2018-06-20T06:37:03.5")]),
        forms("DATETIME(2)", &[("2018-06-20 06:37:03", "2018-06-20T06:37:03.00")]),
        forms(
            "DATETIME(3)",
            &[
                ("2018-06-20 06:37:03.12", "2018-06-20T06:37:03.120"),
                ("0000-00-00", "0000-00-00T00:00:00.000"),
            ],
        ),
        forms("DATETIME(4)", &[("2018-06-20 06:37:03.1234", "2018-06-20T06:37:03.1234")]),
        forms("DATETIME(5)", &[("0001-01-01 00:00:00.00001", "0001-01-01T00:00:00.00001")]),
        forms("DATETIME(6)", &[("1969-12-31 23:59:59.999999", "1969-12-31T23:59:59.999999")]),
    ]
}

/// The session that writes them is two hours east of UTC.
fn timestamps() -> Vec<Case> {
    vec![
        forms(
            "TIMESTAMP",
            &[
                ("2018-06-20 15:37:03", "2018-06-20T13:37:03Z"),
                ("2038-01-19 05:14:07", "2038-01-19T03:14:07Z"),
                ("0000-00-00", "0000-00-00T00:00:00Z"),
            ],
        ),
        forms("TIMESTAMP(1)", &[("1970-01-01 02:00:01", "1970-01-01T00:00:01.0Z")]),
        forms(
            "TIMESTAMP(3)",
            &[
                ("2018-06-20 15:37:03.12", "2018-06-20T13:37:03.120Z"),
                ("2000-01-01 01:00", "1999-12-31T23:00:00.000Z"),
            ],
        ),
        forms("TIMESTAMP(4)", &[("2018-06-20 15:37:03.0001", "2018-06-20T13:37:03.0001Z")]),
        forms(
            "TIMESTAMP(6)",
            &[
                ("2018-06-20 15:37:03.1234", "2018-06-20T13:37:03.123400Z"),
                ("2020-02-29 23:59:59.999999", "2020-02-29T21:59:59.999999Z"),
            ],
        ),
        forms("TIMESTAMP", &[("2106-02-07 08:28:15", "2106-02-07T06:28:15Z")]).only(Only::MariaDb11),
    ]
}

fn strings() -> Vec<Case> {
    let (long, longer) = ("x".repeat(300), "y".repeat(70_000));
    vec![
        forms("CHAR(10)", &[("ab  ", "ab"), ("", "")]),
        texts("CHAR(255) CHARACTER SET utf8mb4", &["\u{1F600}ü", "a"]),
        texts("VARCHAR(20)", &["ab  ", "", "ünï"]),
        texts("VARCHAR(300) CHARACTER SET latin1", &["é", &long]),
        case("VARCHAR(50)", [(r#"'q" b\\ n\n t\t c\Z /<>&'"#, "q\" b\\ n\n t\t c\u{1a} /<>&")]),
        texts("TINYTEXT", &["tiny"]),
        texts("TEXT", &["text", ""]),
        case("MEDIUMTEXT", [("REPEAT('y', 70000)", longer)]),
        texts("LONGTEXT", &["\u{2028}\u{7f}"]),
        texts("NCHAR(3)", &["né"]),
        texts("NVARCHAR(3)", &["né"]),
    ]
}

fn character_sets() -> Vec<Case> {
    let sets: &[(&str, &str)] = &[
        ("utf8mb3", "é漢"),
        ("utf8mb4", "\u{1F600}"),
        ("ascii", "plain"),
        ("ucs2", "é漢"),
        ("utf16", "a\u{1F600}"),
        ("utf16le", "a\u{1F600}"),
        ("utf32", "a\u{1F600}"),
        ("cp1250", "žluť"),
        ("cp1251", "Привет"),
        ("cp1256", "سلام"),
        ("cp1257", "ž"),
        ("cp866", "Жук"),
        ("koi8r", "Привет"),
        ("koi8u", "Їжак"),
        ("latin2", "ž"),
        ("latin5", "ğ"),
        ("latin7", "ž"),
        ("greek", "Ωμέγα"),
        ("hebrew", "שלום"),
        ("tis620", "กขค"),
        ("gbk", "汉字"),
        ("cp932", "テスト"),
        ("euckr", "한글"),
    ];
    let mut cases: Vec<Case> =
        sets.iter().map(|(set, text)| texts(&format!("VARCHAR(9) CHARACTER SET {set}"), &[text])).collect();
    cases.push(texts("CHAR(9) CHARACTER SET utf16", &["é"]));
    cases.push(texts("TEXT CHARACTER SET ucs2", &["漢字"]));
    // The server's latin1 is windows-1252, and its five undefined bytes are the control characters of that number.
    let high = [("_latin1 x'80'", "€"), ("_latin1 x'FF'", "ÿ"), ("_latin1 x'81'", "\u{81}")];
    cases.push(case("VARCHAR(9) CHARACTER SET latin1", high));
    cases
}

fn binaries() -> Vec<Case> {
    vec![
        bytes("BINARY(5)", &[("0102", "AQIAAAA="), ("", "AAAAAAA="), ("0100000000", "AQAAAAA=")]),
        bytes("CHAR(4) CHARACTER SET binary", &[("61", "YQAAAA==")]),
        bytes("VARBINARY(9)", &[("000102", "AAEC"), ("", ""), ("00", "AA==")]),
        bytes("VARBINARY(300)", &[("fffefd", "//79")]),
        bytes("TINYBLOB", &[("00", "AA==")]),
        bytes("BLOB", &[("c328", "wyg="), ("", "")]),
        case("MEDIUMBLOB", [("REPEAT(x'00', 3)", "AAAA")]),
        bytes("LONGBLOB", &[("ff", "/w==")]),
        bytes("TEXT CHARACTER SET binary", &[("ff", "/w==")]),
    ]
}

fn sets() -> Vec<Case> {
    let list = |count: usize| (1..=count).map(|number| format!("'m{number}'")).collect::<Vec<_>>().join(",");
    vec![
        texts("ENUM('a','b','c,d')", &["a", "c,d", ""]),
        texts("ENUM('it''s','é') CHARACTER SET latin1", &["é"]),
        texts(&format!("ENUM({})", list(300)), &["m1", "m256", "m300"]),
        forms("SET('x','y','z')", &[("z,x", "x,z"), ("", ""), ("y", "y")]),
        forms(&format!("SET({})", list(64)), &[("m64,m1,m33", "m1,m33,m64")]),
    ]
}

fn particular() -> Vec<Case> {
    let uuid = ["0f3a2b1c-1111-4222-8333-0123456789ab", "123e4567-e89b-12d3-a456-426655440000"];
    let stored = ["{\"b\": 1,   \"a\" :[1.0,1e2]}", "null", "[]"];
    vec![
        texts("UUID", &uuid).only(Only::MariaDb),
        texts("JSON", &stored).only(Only::MariaDb),
        case(
            "JSON",
            [
                ("'{\"b\": 1,   \"a\" :[1.0,1e2]}'", json!("{\"a\": [1.0, 100.0], \"b\": 1}")),
                ("'null'", json!("null")),
            ],
        )
        .only(Only::MySql),
    ]
}
