//! Which tables and columns are captured: globs over `db.table` and `db.table.column`.
//!
//! Names are compared as the server stores them, case-sensitively. Invariant: the same lists give the same
//! fingerprint, in any order and for ever, because positions are saved with it.

use std::fmt;

use sha2::{Digest, Sha256};

/// The schemas that belong to the server itself, on MySQL and on MariaDB.
pub const SERVER_SCHEMAS: [&str; 4] = ["mysql", "information_schema", "performance_schema", "sys"];

/// A pattern of the wrong shape; the text says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{pattern}\" is not of the form {form}")]
pub struct PatternError {
    /// As it was written.
    pub pattern: String,
    /// What it must look like.
    pub form: &'static str,
}

/// One pattern: `*` is any run of characters inside its part, `?` one character; neither crosses the dot between
/// the parts. There is no escape.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Pattern {
    schema: String,
    table: String,
    /// Empty in a pattern over tables.
    column: String,
}

impl Pattern {
    /// A table's own name may hold dots: the schema ends at the first one.
    fn table(pattern: &str) -> Result<Self, PatternError> {
        match pattern.split_once('.') {
            Some((schema, table)) if !schema.is_empty() && !table.is_empty() => {
                Ok(Self { schema: schema.into(), table: table.into(), column: String::new() })
            }
            _ => Err(PatternError { pattern: pattern.into(), form: "db.table" }),
        }
    }

    fn column(pattern: &str) -> Result<Self, PatternError> {
        let parts =
            pattern.rsplit_once('.').and_then(|(table, column)| Some((Self::table(table).ok()?, column)));
        match parts {
            Some((table, column)) if !column.is_empty() => Ok(Self { column: column.into(), ..table }),
            _ => Err(PatternError { pattern: pattern.into(), form: "db.table.column" }),
        }
    }

    /// The server's own schemas are only meant where a pattern names them in full.
    fn is_of(&self, schema: &str, table: &str) -> bool {
        let named = self.schema == schema;
        (named || (!is_server_schema(schema) && glob(&self.schema, schema))) && glob(&self.table, table)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.schema, self.table)?;
        if self.column.is_empty() { Ok(()) } else { write!(formatter, ".{}", self.column) }
    }
}

/// The tables and columns that are captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFilter {
    /// Empty: every table outside the server's own schemas.
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
    columns: Vec<Pattern>,
}

impl TableFilter {
    /// A filter of the three lists, each possibly empty.
    pub fn new(include: &[String], exclude: &[String], columns: &[String]) -> Result<Self, PatternError> {
        Ok(Self {
            include: parsed(include, Pattern::table)?,
            exclude: parsed(exclude, Pattern::table)?,
            columns: parsed(columns, Pattern::column)?,
        })
    }

    /// Whether the table is captured: included and not excluded.
    pub fn captures(&self, schema: &str, table: &str) -> bool {
        let included = match self.include.as_slice() {
            [] => !is_server_schema(schema),
            patterns => patterns.iter().any(|pattern| pattern.is_of(schema, table)),
        };
        included && !self.exclude.iter().any(|pattern| pattern.is_of(schema, table))
    }

    /// Whether the column of a captured table is left out of its events.
    pub fn excludes_column(&self, schema: &str, table: &str, column: &str) -> bool {
        self.columns.iter().any(|pattern| pattern.is_of(schema, table) && glob(&pattern.column, column))
    }

    /// Whether any column may be left out.
    pub fn has_columns(&self) -> bool {
        !self.columns.is_empty()
    }

    /// Whether some table of the schema may be captured.
    pub fn may_capture_schema(&self, schema: &str) -> bool {
        let named = |pattern: &Pattern| pattern.schema == schema || glob(&pattern.schema, schema);
        let included = match self.include.as_slice() {
            [] => !is_server_schema(schema),
            patterns => patterns.iter().any(named),
        };
        included && !self.exclude.iter().any(|pattern| named(pattern) && pattern.table == "*")
    }

    /// The schema and the table of each pattern of the include list; nothing where everything is captured.
    pub fn included(&self) -> impl Iterator<Item = (&str, &str)> {
        self.include.iter().map(|pattern| (pattern.schema.as_str(), pattern.table.as_str()))
    }

    /// A number that changes where the captured tables or columns may have changed, and only with the lists.
    pub fn fingerprint(&self) -> u64 {
        let mut digest = Sha256::new();
        for (list, patterns) in
            [("include", &self.include), ("exclude", &self.exclude), ("columns", &self.columns)]
        {
            digest.update(list);
            for pattern in patterns {
                digest.update([0]);
                digest.update(pattern.to_string());
            }
            digest.update([0, 0]);
        }
        let bytes: [u8; 32] = digest.finalize().into();
        u64::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]])
    }
}

/// Whether the schema is one of the server's own.
pub fn is_server_schema(schema: &str) -> bool {
    SERVER_SCHEMAS.contains(&schema)
}

/// Parsed, in one order, without repeats: that makes the fingerprint stable.
fn parsed(
    patterns: &[String],
    parse: fn(&str) -> Result<Pattern, PatternError>,
) -> Result<Vec<Pattern>, PatternError> {
    let mut parsed = patterns.iter().map(|pattern| parse(pattern.trim())).collect::<Result<Vec<_>, _>>()?;
    parsed.sort();
    parsed.dedup();
    Ok(parsed)
}

/// A piece of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Any run of characters.
    Run,
    /// Any one character.
    One,
    /// This character.
    Exactly(char),
}

fn glob(pattern: &str, text: &str) -> bool {
    let pieces = pattern.chars().map(|character| match character {
        '*' => Piece::Run,
        '?' => Piece::One,
        other => Piece::Exactly(other),
    });
    matches(&pieces.collect::<Vec<_>>(), text)
}

/// Matches by going back to the last run only: at most pieces × characters steps.
pub(crate) fn matches(pieces: &[Piece], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut piece, mut character) = (0, 0);
    let mut last_run = None;
    loop {
        match (pieces.get(piece), text.get(character)) {
            (Some(Piece::Run), _) => {
                last_run = Some((piece, character));
                piece += 1;
            }
            (Some(Piece::One), Some(_)) => (piece, character) = (piece + 1, character + 1),
            (Some(Piece::Exactly(wanted)), Some(found)) if wanted == found => {
                (piece, character) = (piece + 1, character + 1);
            }
            (None, None) => return true,
            _ => match last_run {
                // The last run takes one character more.
                Some((run, taken)) if taken < text.len() => {
                    last_run = Some((run, taken + 1));
                    (piece, character) = (run + 1, taken + 1);
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(patterns: &[&str]) -> Vec<String> {
        patterns.iter().map(|pattern| (*pattern).to_owned()).collect()
    }

    fn filter(include: &[&str], exclude: &[&str], columns: &[&str]) -> TableFilter {
        TableFilter::new(&list(include), &list(exclude), &list(columns)).expect("patterns of the right form")
    }

    #[test]
    fn globs_match_runs_and_single_characters() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "orders", true),
            ("o*s", "orders", true),
            ("o*s", "order", false),
            ("o?ders", "orders", true),
            ("?", "", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXcYb", false),
            ("**x", "x", true),
            ("Orders", "orders", false),
            ("?", "ü", true),
            ("a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn without_an_include_list_all_but_the_servers_own_schemas_is_captured() {
        let filter = filter(&[], &[], &[]);
        assert!(filter.captures("shop", "orders"));
        for schema in SERVER_SCHEMAS {
            assert!(!filter.captures(schema, "x"), "{schema}");
        }
    }

    #[test]
    fn a_star_stays_between_the_dots() {
        let filter = filter(&["shop*.orders"], &[], &[]);
        assert!(filter.captures("shop2", "orders"));
        assert!(!filter.captures("shop", "x.orders"));
        assert!(!filter.captures("shop", "orders2"));
    }

    #[test]
    fn exclude_wins_over_include() {
        let filter = filter(&["shop.*"], &["shop.tmp_*", "*.audit"], &[]);
        assert!(filter.captures("shop", "orders"));
        assert!(!filter.captures("shop", "tmp_1"));
        assert!(!filter.captures("shop", "audit"));
        assert!(!filter.captures("other", "orders"));
    }

    #[test]
    fn the_servers_own_schemas_are_captured_only_where_named_in_full() {
        assert!(!filter(&["*.*"], &[], &[]).captures("mysql", "user"));
        assert!(filter(&["mysql.*"], &[], &[]).captures("mysql", "user"));
    }

    #[test]
    fn a_table_whose_name_holds_a_dot_can_be_named() {
        let filter = filter(&["shop.a.b"], &[], &["shop.a.b.secret"]);
        assert!(filter.captures("shop", "a.b"));
        assert!(filter.excludes_column("shop", "a.b", "secret"));
        assert!(!filter.excludes_column("shop", "a.b", "open"));
    }

    #[test]
    fn a_pattern_of_another_shape_is_refused_with_the_form() {
        for bad in ["shop", ".x", "x.", ""] {
            let error = TableFilter::new(&list(&[bad]), &[], &[]).expect_err(bad);
            assert_eq!(error.form, "db.table");
        }
        let error = TableFilter::new(&[], &[], &list(&["shop.orders"])).expect_err("no column");
        assert_eq!(error.to_string(), "\"shop.orders\" is not of the form db.table.column");
    }

    #[test]
    fn the_fingerprint_depends_on_the_lists_alone_and_never_changes() {
        let one = filter(&["a.x", "b.y"], &["c.z"], &[]);
        assert_eq!(one.fingerprint(), filter(&["b.y", "a.x", "a.x"], &["c.z"], &[]).fingerprint());
        for other in [
            filter(&["a.x"], &["c.z"], &[]),
            filter(&["a.x", "b.y", "c.z"], &[], &[]),
            filter(&["a.x", "b.y"], &["c.z"], &["a.x.q"]),
        ] {
            assert_ne!(one.fingerprint(), other.fingerprint());
        }
        // Positions in the field hold it; SHA-256 of the lists' names, worked out apart from this code.
        assert_eq!(filter(&[], &[], &[]).fingerprint(), 7_672_583_076_236_837_768);
    }
}
