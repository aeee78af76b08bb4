//! Which table a statement is about, and what it does to the table's unique indexes.
//!
//! Like all of [`statement`](super): by words, and where they leave a doubt, the answer is the careful one.

use super::{Token, any, defines, is, tokens, words};

/// A table as a statement names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTable {
    /// `None`: in the session's own schema.
    pub schema: Option<String>,
    /// Its name, as it is written.
    pub table: String,
}

/// What a statement that defines a table means for the rule that its only unique index is a primary key over whole
/// columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uniqueness {
    /// It makes this table, and the rule holds for it.
    Made(NamedTable),
    /// The rule holds behind it where it held before.
    Kept,
    /// It may end it.
    Lost,
}

/// The table that a TRUNCATE empties; `None` where the words do not tell.
pub fn truncated(text: &[u8]) -> Option<NamedTable> {
    let mut rest = tokens(text).skip_while(|token| !is_word(token, "TRUNCATE")).skip(1).peekable();
    rest.next_if(|token| is_word(token, "TABLE"));
    named(&mut rest)
}

/// What a statement does to the unique indexes of the tables that it defines.
pub fn uniqueness(text: &[u8]) -> Uniqueness {
    let lost = match words(text).find(|word| any(word, &["CREATE", "ALTER", "DROP", "RENAME"])) {
        Some(first) if is(first, "CREATE") && creates_table(text) => {
            !has_one_whole_primary_key(text) || words(text).any(|word| any(word, &["LIKE", "SELECT"]))
        }
        _ => words(text).any(|word| is(word, "PRIMARY")) || renames(text) || adds_key_to_column(text),
    };
    if lost || words(text).any(|word| any(word, &["UNIQUE", "SERIAL"])) {
        return Uniqueness::Lost;
    }
    created(text).map_or(Uniqueness::Kept, Uniqueness::Made)
}

/// Whether a statement defines one of the tables that `knows` says yes to: it is asked with each name in the text, in each
/// schema that the text names and in the session's own.
pub fn defines_any(text: &[u8], schema: &str, mut knows: impl FnMut(&str, &str) -> bool) -> Vec<NamedTable> {
    let mut schemas = super::qualifiers(text);
    schemas.push(schema.to_owned());
    schemas.sort();
    schemas.dedup();
    let mut names: Vec<String> =
        tokens(text).filter_map(|token| token.name().map(|name| name.into_owned())).collect();
    names.sort();
    names.dedup();
    let mut found = Vec::new();
    for schema in &schemas {
        let of_schema = names.iter().filter(|name| knows(schema, name) && defines(text, name));
        found.extend(of_schema.map(|name| NamedTable { schema: Some(schema.clone()), table: name.clone() }));
    }
    found
}

fn is_word(token: &Token<'_>, name: &str) -> bool {
    matches!(token, Token::Word(word) if is(word, name))
}

/// A name, or two with a dot between them.
fn named<'a>(rest: &mut std::iter::Peekable<impl Iterator<Item = Token<'a>>>) -> Option<NamedTable> {
    let first = rest.next()?.name()?.into_owned();
    if rest.next_if(|token| *token == Token::Symbol(b'.')).is_none() {
        return Some(NamedTable { schema: None, table: first });
    }
    Some(NamedTable { schema: Some(first), table: rest.next()?.name()?.into_owned() })
}

fn creates_table(text: &[u8]) -> bool {
    let mut behind = words(text).skip_while(|word| !is(word, "CREATE")).skip(1);
    behind.find(|word| !any(word, &["OR", "REPLACE", "TEMPORARY"])).is_some_and(|word| is(word, "TABLE"))
}

/// The table of a CREATE TABLE that surely makes one: not one that may have been there.
fn created(text: &[u8]) -> Option<NamedTable> {
    if !creates_table(text) {
        return None;
    }
    let mut rest = tokens(text).skip_while(|token| !is_word(token, "TABLE")).skip(1).peekable();
    if rest.next_if(|token| is_word(token, "IF")).is_some() {
        return None;
    }
    named(&mut rest)
}

/// Whether PRIMARY KEY stands there once, and its columns, where they follow, without lengths.
fn has_one_whole_primary_key(text: &[u8]) -> bool {
    let mut behind = tokens(text).skip_while(|token| !is_word(token, "PRIMARY")).skip(1);
    if !behind.next().is_some_and(|token| is_word(&token, "KEY")) {
        return false;
    }
    // PRIMARY KEY USING BTREE (a, b)
    let mut behind =
        behind.skip_while(|token| matches!(token, Token::Word(w) if any(w, &["USING", "BTREE"])));
    let is_whole = match behind.next() {
        Some(Token::Symbol(b'(')) => {
            let inside = behind.by_ref().take_while(|token| *token != Token::Symbol(b')'));
            !inside.into_iter().any(|token| token == Token::Symbol(b'('))
        }
        // A name of the index, which a column's own PRIMARY KEY does not have.
        Some(Token::Quoted(_)) => false,
        Some(Token::Word(_)) => behind.next() != Some(Token::Symbol(b'(')),
        _ => true,
    };
    is_whole && words(text).filter(|word| is(word, "PRIMARY")).count() == 1
}

/// Whether a table may get another name; a column or an index may.
fn renames(text: &[u8]) -> bool {
    let mut words = words(text).peekable();
    while let Some(word) = words.next() {
        let inside = words.peek().is_some_and(|next| any(next, &["COLUMN", "INDEX", "KEY"]));
        if is(word, "RENAME") && !inside {
            return true;
        }
    }
    false
}

/// `ADD id INT KEY` makes a primary key; KEY behind one of these words does not.
fn adds_key_to_column(text: &[u8]) -> bool {
    let mut before: &[u8] = b"";
    for word in words(text) {
        let harmless = ["ADD", "DROP", "FOREIGN", "FULLTEXT", "SPATIAL", "RENAME", "BY", "LINEAR"];
        if is(word, "KEY") && !any(before, &harmless) {
            return true;
        }
        before = word;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(schema: &str, table: &str) -> NamedTable {
        NamedTable { schema: (!schema.is_empty()).then(|| schema.into()), table: table.into() }
    }

    #[test]
    fn a_truncate_names_its_table() {
        let check = |text: &str, expected| assert_eq!(truncated(text.as_bytes()), expected, "{text}");
        check("TRUNCATE TABLE t", Some(table("", "t")));
        check("truncate `s` . `we``ird`", Some(table("s", "we`ird")));
        check("/* a */ TRUNCATE shop.Orders /* by hand */", Some(table("shop", "Orders")));
        check("SET STATEMENT max_statement_time=1 FOR TRUNCATE TABLE t NOWAIT", Some(table("", "t")));
        check("TRUNCATE `TABLE`", Some(table("", "TABLE")));
        check("TRUNCATE TABLE", None);
    }

    #[test]
    fn a_created_table_has_a_primary_key_alone_only_where_its_text_surely_says_so() {
        let made = |text: &str, expected: NamedTable| {
            assert_eq!(uniqueness(text.as_bytes()), Uniqueness::Made(expected), "{text}");
        };
        made("CREATE TABLE t (id INT PRIMARY KEY, v INT, KEY k (v))", table("", "t"));
        made("create or replace table s.t (a INT, b INT, PRIMARY KEY (a, b)) ENGINE=InnoDB", table("s", "t"));
        made("CREATE TABLE t (a INT PRIMARY KEY AUTO_INCREMENT, b INT)", table("", "t"));
        made("CREATE TABLE t (a INT, PRIMARY KEY USING BTREE (a), v INT COMMENT 'UNIQUE')", table("", "t"));
        let lost = |text: &str| assert_eq!(uniqueness(text.as_bytes()), Uniqueness::Lost, "{text}");
        lost("CREATE TABLE t (a INT)");
        lost("CREATE TABLE t (a INT PRIMARY KEY, b INT UNIQUE)");
        lost("CREATE TABLE t (a INT PRIMARY KEY, UNIQUE KEY u (b))");
        lost("CREATE TABLE t (id SERIAL, PRIMARY KEY (id))");
        lost("CREATE TABLE t (a VARCHAR(9), PRIMARY KEY (a(3)))");
        lost("CREATE TABLE t (a VARBINARY(9), PRIMARY KEY `p` (a(3)))");
        lost("CREATE TABLE t (a VARBINARY(9), PRIMARY KEY p (a(3)))");
        lost("CREATE TABLE t LIKE o");
        lost("CREATE TABLE t (a INT PRIMARY KEY) SELECT 1");
        let kept = "CREATE TABLE IF NOT EXISTS t (a INT PRIMARY KEY)";
        assert_eq!(uniqueness(kept.as_bytes()), Uniqueness::Kept, "it may have been there");
    }

    #[test]
    fn a_change_keeps_the_rule_unless_it_may_bring_an_index_or_another_table() {
        let check = |text: &str, expected| assert_eq!(uniqueness(text.as_bytes()), expected, "{text}");
        for text in [
            "ALTER TABLE t ADD COLUMN c INT DEFAULT 1 COMMENT 'unique'",
            "ALTER TABLE t ADD KEY k (c), DROP KEY o, RENAME COLUMN a TO b, ADD FULLTEXT KEY f (d)",
            "ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES o (id)",
            "ALTER TABLE t PARTITION BY LINEAR KEY (id)",
            "CREATE INDEX i ON t (a)",
            "DROP TABLE t",
        ] {
            check(text, Uniqueness::Kept);
        }
        for text in [
            "ALTER TABLE t ADD UNIQUE (c)",
            "CREATE UNIQUE INDEX i ON t (a)",
            "ALTER TABLE t DROP PRIMARY KEY",
            "ALTER TABLE t ADD id INT KEY",
            "ALTER TABLE o RENAME TO t",
            "RENAME TABLE o TO t",
        ] {
            check(text, Uniqueness::Lost);
        }
    }

    #[test]
    fn the_tables_that_a_statement_defines_are_found_by_their_schema() {
        let known = |schema: &str, name: &str| (schema, name) == ("s", "t") || (schema, name) == ("d", "t");
        let find = |text: &str| defines_any(text.as_bytes(), "d", known);
        assert_eq!(find("ALTER TABLE s.t ADD c INT"), [table("d", "t"), table("s", "t")]);
        assert_eq!(find("DROP TABLE x, t"), [table("d", "t")]);
        assert_eq!(find("CREATE TABLE x (t INT)"), []);
        assert_eq!(find("CREATE VIEW v AS SELECT * FROM t"), []);
    }
}
