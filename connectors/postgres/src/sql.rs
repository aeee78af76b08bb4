//! Names as SQL. Values never stand in SQL: they are parameters.

use flowd_sink::rows::mapping::TableName;
use flowd_sink::rows::table::quoted;

use crate::dialect::Postgres;

/// A name in double quotes.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A table's name with its schema's.
pub(crate) fn table(name: &TableName) -> String {
    quoted::<Postgres>(name)
}

/// A text in single quotes, for the few statements that take no parameters. The session's standard_conforming_strings
/// leaves the backslash without meaning.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_end_early() {
        let name = TableName { schema: "a\"b".into(), table: "c.d".into() };
        assert_eq!(table(&name), r#""a""b"."c.d""#);
        assert_eq!(literal("a'b\\"), r"'a''b\'");
    }
}
