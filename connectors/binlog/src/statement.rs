//! What a statement in the binlog is and which names it holds, by its words. No parser: where the words leave a doubt,
//! the answer is the one that lets nothing pass unseen.

use std::borrow::Cow;

mod named;

pub use named::{NamedTable, Uniqueness, defines_any, truncated, uniqueness};

/// What a QUERY does to the transaction that it stands in, by its first words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statement {
    /// Opens a transaction.
    Begin,
    /// Closes it.
    Commit,
    /// Closes it, and nothing of it counts.
    Rollback,
    /// SAVEPOINT: a mark inside a transaction, [`savepoint`] is its name.
    Savepoint,
    /// ROLLBACK TO: nothing behind the mark counts.
    RollbackTo,
    /// XA START, XA END: the first half of a two-phase transaction.
    XaOpen,
    /// XA COMMIT, XA ROLLBACK: the second half, alone in its group.
    XaClose,
    /// A change of rows that was logged as its statement.
    RowChange,
    /// TRUNCATE TABLE.
    Truncate,
    /// Anything that may change a table's definition.
    Definition,
    /// What changes neither rows nor definitions (GRANT, FLUSH, ANALYZE …).
    Other,
}

impl Statement {
    /// Reads the first words of a statement's text, behind comments and MariaDB's `SET STATEMENT … FOR`.
    pub fn of(text: &[u8]) -> Self {
        let mut words = words(text);
        let mut next = || words.next().unwrap_or_default();
        let (mut first, mut second) = (next(), next());
        if is(first, "SET") && is(second, "STATEMENT") {
            while !second.is_empty() && !is(second, "FOR") {
                second = next();
            }
            (first, second) = (next(), next());
        }
        match first {
            _ if is(first, "BEGIN") => Self::Begin,
            _ if is(first, "COMMIT") => Self::Commit,
            _ if is(first, "ROLLBACK") && is(second, "TO") => Self::RollbackTo,
            _ if is(first, "ROLLBACK") => Self::Rollback,
            _ if is(first, "SAVEPOINT") => Self::Savepoint,
            _ if is(first, "XA") && any(second, &["START", "BEGIN", "END"]) => Self::XaOpen,
            _ if is(first, "XA") => Self::XaClose,
            _ if is(first, "TRUNCATE") => Self::Truncate,
            _ if is(first, "CREATE") && fills_its_table(text) => Self::RowChange,
            _ if any(first, &["CREATE", "ALTER", "DROP", "RENAME"]) => match second {
                _ if any(second, &["USER", "ROLE", "SERVER", "RESOURCE"]) => Self::Other,
                _ => Self::Definition,
            },
            // SELECT and DO are logged where a function that they call changes rows.
            _ if any(
                first,
                &["INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "WITH", "CALL", "SELECT", "DO"],
            ) =>
            {
                Self::RowChange
            }
            _ => Self::Other,
        }
    }
}

fn is(word: &[u8], name: &str) -> bool {
    word.eq_ignore_ascii_case(name.as_bytes())
}

fn any(word: &[u8], names: &[&str]) -> bool {
    names.iter().any(|name| is(word, name))
}

/// Whether it is a CREATE TABLE … SELECT. Logged as rows it is a plain CREATE TABLE, and the rows come behind.
fn fills_its_table(text: &[u8]) -> bool {
    let mut words = words(text).skip_while(|word| !is(word, "CREATE")).skip(1);
    let object = words.find(|word| !any(word, &["OR", "REPLACE"]));
    object.is_some_and(|word| is(word, "TABLE")) && words.any(|word| is(word, "SELECT"))
}

/// One piece of a statement; comments and white space are between them.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token<'a> {
    /// Letters, digits, `_`, `$` and what is not ASCII.
    Word(&'a [u8]),
    /// What stands in back-quotes, or in double quotes, which may quote a name too.
    Quoted(Cow<'a, [u8]>),
    /// Any other byte. A text in single quotes is one of these.
    Symbol(u8),
}

impl Token<'_> {
    /// The name that it may be.
    fn name(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Word(word) if !word.iter().all(u8::is_ascii_digit) => Some(String::from_utf8_lossy(word)),
            Self::Quoted(name) => Some(String::from_utf8_lossy(name)),
            Self::Word(_) | Self::Symbol(_) => None,
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

/// Cuts a statement; the inside of `/*!…*/` and `/*M!…*/` counts.
fn tokens(text: &[u8]) -> impl Iterator<Item = Token<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let text = rest;
            rest = skip_comment(rest)?;
            if rest.len() < text.len() {
                continue;
            }
            let (&first, tail) = rest.split_first()?;
            if is_word(first) {
                let length = rest.iter().take_while(|byte| is_word(**byte)).count();
                let (word, tail) = rest.split_at(length);
                rest = tail;
                return Some(Token::Word(word));
            }
            rest = tail;
            match first {
                b'`' | b'"' | b'\'' => {
                    let (inside, behind) = quoted(tail, first);
                    rest = behind;
                    return Some(if first == b'\'' { Token::Symbol(first) } else { Token::Quoted(inside) });
                }
                _ if first.is_ascii_whitespace() => {}
                _ => return Some(Token::Symbol(first)),
            }
        }
    })
}

/// The inside of quotes, up to the one that closes them, and the text behind it. A doubled quote is one; a backslash
/// escapes in texts, not in names.
fn quoted(text: &[u8], quote: u8) -> (Cow<'_, [u8]>, &[u8]) {
    let mut inside = Cow::Borrowed(&text[..0]);
    let mut from = 0;
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'\\' if quote != b'`' => at += 2,
            byte if byte == quote && text.get(at + 1) == Some(&quote) => {
                inside.to_mut().extend_from_slice(&text[from..=at]);
                at += 2;
                from = at;
            }
            byte if byte == quote => {
                let part = &text[from..at];
                let inside = if inside.is_empty() { part.into() } else { [&inside, part].concat().into() };
                return (inside, &text[at + 1..]);
            }
            _ => at += 1,
        }
    }
    (Cow::Borrowed(text), &[])
}

/// The words of a statement that stand in no quotes.
pub fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    tokens(text).filter_map(|token| if let Token::Word(word) = token { Some(word) } else { None })
}

/// The text behind one comment, if it begins with one; `None` at the end of the text.
fn skip_comment(text: &[u8]) -> Option<&[u8]> {
    let find = |text: &[u8], end: &[u8]| text.windows(end.len()).position(|window| window == end);
    match text {
        [] => None,
        [b'/', b'*', b'M', b'!', rest @ ..] | [b'/', b'*', b'!', rest @ ..] => {
            Some(&rest[rest.iter().take_while(|byte| byte.is_ascii_digit()).count()..])
        }
        [b'/', b'*', rest @ ..] => find(rest, b"*/").map(|at| &rest[at + 2..]),
        [b'#', rest @ ..] | [b'-', b'-', b' ', rest @ ..] => find(rest, b"\n").map(|at| &rest[at + 1..]),
        _ => Some(text),
    }
}

/// The savepoint that SAVEPOINT or ROLLBACK TO names, in lower case.
pub fn savepoint(text: &[u8]) -> String {
    let last = tokens(text).filter_map(|token| token.name().map(|name| name.to_ascii_lowercase())).last();
    last.unwrap_or_default()
}

/// The names before a dot: every schema that the statement itself names is one of them.
pub fn qualifiers(text: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut tokens = tokens(text).peekable();
    while let Some(token) = tokens.next() {
        if let (Some(name), Some(Token::Symbol(b'.'))) = (token.name(), tokens.peek()) {
            found.push(name.into_owned());
        }
    }
    found
}

/// Whether a statement's text holds `name` as a word of its own, whatever the case.
pub fn mentions(text: &[u8], name: &str) -> bool {
    let name = name.as_bytes();
    !name.is_empty()
        && text.len() >= name.len()
        && (0..=text.len() - name.len()).any(|at| {
            text[at..at + name.len()].eq_ignore_ascii_case(name)
                && (at == 0 || !is_word(text[at - 1]))
                && text.get(at + name.len()).is_none_or(|next| !is_word(*next))
        })
}

/// Whether a definition statement may change what a table of this name looks like: where the statement defines one
/// table, that one's name counts, not the names of columns and the like.
pub fn defines(text: &[u8], table: &str) -> bool {
    if !mentions(text, table) {
        return false;
    }
    let objects = [
        "TABLE",
        "TABLES",
        "INDEX",
        "VIEW",
        "TRIGGER",
        "PROCEDURE",
        "FUNCTION",
        "EVENT",
        "DATABASE",
        "SCHEMA",
        "SEQUENCE",
        "PACKAGE",
    ];
    let first =
        words(text).find(|word| any(word, &["CREATE", "ALTER", "DROP", "RENAME"])).unwrap_or_default();
    let mut tokens =
        tokens(text).skip_while(|token| !matches!(token, Token::Word(word) if any(word, &objects)));
    let Some(Token::Word(object)) = tokens.next() else { return true };
    if any(object, &objects[3..]) {
        return false;
    }
    let moves = || words(text).any(|word| any(word, &["RENAME", "CONVERT", "EXCHANGE"]));
    if !is(object, "TABLE") || !any(first, &["CREATE", "ALTER"]) || is(first, "ALTER") && moves() {
        return true;
    }
    let mut tokens =
        tokens.skip_while(|token| matches!(token, Token::Word(word) if any(word, &["IF", "NOT", "EXISTS"])));
    let mut name = tokens.next();
    while let (Some(Token::Symbol(b'.')), Some(part)) = (tokens.next(), tokens.next()) {
        name = Some(part);
    }
    name.as_ref().and_then(Token::name).is_none_or(|name| name.eq_ignore_ascii_case(table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_told_by_their_first_words() {
        let check = |text: &str, expected| assert_eq!(Statement::of(text.as_bytes()), expected, "{text}");
        check("BEGIN", Statement::Begin);
        check("COMMIT /* implicit, from Xid_log_event */", Statement::Commit);
        check("ROLLBACK", Statement::Rollback);
        check("ROLLBACK TO `sp`", Statement::RollbackTo);
        check("SAVEPOINT `sp`", Statement::Savepoint);
        check("XA START X'78',X'',1", Statement::XaOpen);
        check("XA COMMIT X'78',X'',1", Statement::XaClose);
        check("/* app */ truncate table t", Statement::Truncate);
        check("/*!40000 ALTER TABLE t DISABLE KEYS */", Statement::Definition);
        check("-- note\nCREATE OR REPLACE TABLE t(a int)", Statement::Definition);
        check("CREATE USER a", Statement::Other);
        check("insert into t values (1)", Statement::RowChange);
        check("GRANT ALL ON *.* TO a", Statement::Other);
        check("", Statement::Other);
        check("/* unclosed", Statement::Other);
    }

    #[test]
    fn a_statement_behind_settings_of_its_own_is_told_too() {
        let of = |text: &str| Statement::of(text.as_bytes());
        assert_eq!(
            of("SET STATEMENT lock_wait_timeout=5 FOR ALTER TABLE t ADD a INT"),
            Statement::Definition
        );
        assert_eq!(of("set statement a=1, b='for' for insert into t values (1)"), Statement::RowChange);
        assert_eq!(of("SET PASSWORD FOR a = 'x'"), Statement::Other);
        assert_eq!(of("SET STATEMENT a=1"), Statement::Other);
    }

    #[test]
    fn rows_that_a_definition_or_a_function_makes_are_a_change_of_rows() {
        let of = |text: &str| Statement::of(text.as_bytes());
        assert_eq!(of("CREATE TABLE a.t (id INT) AS SELECT * FROM s"), Statement::RowChange);
        assert_eq!(of("create or replace table t select 1"), Statement::RowChange);
        assert_eq!(of("SELECT `d`.`f`(1)"), Statement::RowChange);
        assert_eq!(of("CREATE TABLE t (`select` INT COMMENT 'select')"), Statement::Definition);
        assert_eq!(of("CREATE TEMPORARY TABLE t SELECT 1"), Statement::Definition);
        assert_eq!(of("CREATE VIEW v AS SELECT * FROM t"), Statement::Definition);
    }

    #[test]
    fn a_name_is_found_as_a_word_only() {
        assert!(mentions(b"ALTER TABLE `orders` ADD c int", "orders"));
        assert!(mentions(b"alter table shop.ORDERS", "orders"));
        assert!(!mentions(b"ALTER TABLE orders2", "orders"));
        assert!(!mentions(b"ord", "orders"));
    }

    #[test]
    fn the_names_before_dots_are_found_in_quotes_too_but_not_in_texts() {
        let names = |text: &str| qualifiers(text.as_bytes());
        assert_eq!(
            names("INSERT INTO shop.t SELECT 1.5, 'x.y', a.b FROM `we``ird` . `t` a"),
            ["shop", "a", "we`ird"]
        );
        assert_eq!(names("UPDATE \"s\".t SET v = 'it''s \\' q.z'"), ["s"]);
        assert_eq!(names("UPDATE `unclosed"), Vec::<String>::new());
    }

    #[test]
    fn a_savepoint_is_named_by_the_last_word() {
        assert_eq!(savepoint(b"SAVEPOINT `Sp 1`"), "sp 1");
        assert_eq!(savepoint(b"ROLLBACK TO SAVEPOINT sp"), "sp");
        assert_eq!(savepoint(b"ROLLBACK TO `a``b`"), "a`b");
    }

    #[test]
    fn a_statement_defines_the_table_that_it_is_about() {
        let check = |text: &str, expected| assert_eq!(defines(text.as_bytes(), "t"), expected, "{text}");
        check("CREATE TABLE IF NOT EXISTS `s`.`T` (a INT)", true);
        check("CREATE TABLE o (t INT)", false);
        check("CREATE TABLE t.o (a INT)", false);
        check("ALTER TABLE o ADD COLUMN t INT", false);
        check("ALTER TABLE o RENAME TO t", true);
        check("ALTER ONLINE TABLE IF EXISTS t FORCE", true);
        check("DROP TABLE IF EXISTS a, t", true);
        check("RENAME TABLE x TO s.t", true);
        check("CREATE UNIQUE INDEX i ON t (a)", true);
        check("CREATE DEFINER=a@b TRIGGER x AFTER INSERT ON t FOR EACH ROW SET @a = 1", false);
        check("SET STATEMENT a=1 FOR ALTER TABLE t ADD b INT", true);
        check("DROP DATABASE t", false);
    }
}
