//! Pieces of SQL text: names and literals. What stands in them means the same under every sql_mode that we set.

use flowd_sink::rows::mapping::TableName;
use flowd_sink::rows::table::quoted;

use crate::sink::dialect::MySql;

/// Writes text as a string literal. The session's sql_mode leaves the backslash its meaning.
pub(super) fn text(value: &str, out: &mut Vec<u8>) {
    out.push(b'\'');
    let mut plain = value.as_bytes();
    while let Some(at) = plain.iter().position(|byte| matches!(byte, b'\'' | b'\\' | 0)) {
        out.extend_from_slice(&plain[..at]);
        out.extend_from_slice(match plain[at] {
            b'\'' => b"\\'",
            b'\\' => b"\\\\",
            _ => b"\\0",
        });
        plain = &plain[at + 1..];
    }
    out.extend_from_slice(plain);
    out.push(b'\'');
}

/// Writes bytes as a binary string: `x'00FF'`.
pub(super) fn bytes(value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"x'");
    hexadecimal(value, out);
    out.push(b'\'');
}

/// Writes bytes as hexadecimal digits, as the server's HEX() prints them.
pub(super) fn hexadecimal(value: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend(
        value.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
    );
}

/// A table's name as SQL.
pub(super) fn table(name: &TableName) -> String {
    quoted::<MySql>(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(write: impl Fn(&mut Vec<u8>), expected: &str) {
        let mut out = Vec::new();
        write(&mut out);
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }

    #[test]
    fn a_literal_cannot_end_early() {
        check(|out| text("", out), "''");
        check(|out| text("a'b\\c\0d\n", out), "'a\\'b\\\\c\\0d\n'");
        check(|out| text("\\", out), "'\\\\'");
        check(|out| text("é'", out), "'é\\''");
        check(|out| bytes(&[0, 255], out), "x'00FF'");
        let name = TableName { schema: "a`b".into(), table: "c.d".into() };
        assert_eq!(table(&name), "`a``b`.`c.d`");
    }
}
