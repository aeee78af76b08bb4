//! What the account may do, read from SHOW GRANTS, which lists the account's own grants and those of its active roles.
//!
//! Pure. Invariant: what is not understood grants nothing.

use crate::filter::{Piece, matches};
use crate::server::Flavor;

/// The rights of the session's account.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grants {
    given: Vec<Grant>,
    /// MySQL's partial revokes: they take from global rights.
    taken: Vec<Grant>,
    /// Roles that the account has, active or not.
    roles: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Grant {
    /// In capitals, without column lists; a right on single columns is left out.
    privileges: Vec<String>,
    /// `*`, or a LIKE pattern.
    schema: String,
    /// `*`, or a name.
    table: String,
}

impl Grant {
    fn gives(&self, privilege: &str) -> bool {
        self.privileges.iter().any(|given| given == privilege || given == "ALL PRIVILEGES" || given == "ALL")
    }

    fn is_global(&self) -> bool {
        self.schema == "*"
    }
}

impl Grants {
    /// Reads the lines of SHOW GRANTS.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let mut grants = Self::default();
        for line in lines {
            if let Some(rest) = line.strip_prefix("GRANT ") {
                match (split_top(rest, " ON "), split_top(rest, " TO ")) {
                    (Some((privileges, object)), _) => grants.given.extend(grant(privileges, object)),
                    (None, Some((roles, _))) => grants.roles.push(roles.to_owned()),
                    (None, None) => {}
                }
            } else if let Some((privileges, object)) =
                line.strip_prefix("REVOKE ").and_then(|rest| split_top(rest, " ON "))
            {
                grants.taken.extend(grant(privileges, object));
            }
        }
        grants
    }

    /// Whether one of these global rights is there.
    pub fn has_global(&self, privileges: &[&str]) -> bool {
        self.given
            .iter()
            .filter(|grant| grant.is_global())
            .any(|grant| privileges.iter().any(|privilege| grant.gives(privilege)))
    }

    /// Whether every table of the schema, or the one named, can be selected from.
    pub fn selects(&self, schema: &str, table: Option<&str>) -> bool {
        self.gives("SELECT", schema, table)
    }

    /// Whether there is this right on every table of the schema, or on the one named.
    pub fn gives(&self, privilege: &str, schema: &str, table: Option<&str>) -> bool {
        let taken = self.taken.iter().any(|grant| grant.gives(privilege) && like(&grant.schema, schema));
        self.given.iter().filter(|grant| grant.gives(privilege)).any(|grant| match grant.table.as_str() {
            "*" if grant.is_global() => !taken,
            "*" => like(&grant.schema, schema),
            granted => grant.schema == schema && Some(granted) == table,
        })
    }

    /// Whether there is a table at all that can be selected from.
    pub fn selects_something(&self) -> bool {
        self.given.iter().any(|grant| grant.gives("SELECT"))
    }

    /// The roles that the account has, active or not, as the server writes them.
    pub fn roles(&self) -> &[String] {
        &self.roles
    }

    /// Whether the account may read the binlog as a replica.
    pub fn may_replicate(&self) -> bool {
        self.has_global(&["REPLICATION SLAVE", "REPLICATION REPLICA"])
    }

    /// Whether the account may ask where the binlog is.
    pub fn may_see_binlog(&self, flavor: Flavor) -> bool {
        match flavor {
            Flavor::MySql => self.has_global(&["REPLICATION CLIENT", "SUPER"]),
            Flavor::MariaDb => self.has_global(&["BINLOG MONITOR", "REPLICATION CLIENT", "SUPER"]),
        }
    }
}

/// `None` for rights on routines and for what cannot be read.
fn grant(privileges: &str, object: &str) -> Option<Grant> {
    let object = split_top(object, " TO ")
        .or_else(|| split_top(object, " FROM "))
        .map_or(object, |(object, _)| object);
    let (schema, table) = split_top(object, ".")?;
    let privileges =
        split_all(privileges, ',').into_iter().map(str::trim).filter(|privilege| !privilege.contains('('));
    Some(Grant {
        privileges: privileges.map(str::to_ascii_uppercase).collect(),
        schema: unquoted(schema)?,
        table: unquoted(table)?,
    })
}

/// Splits at the first `separator` that is neither quoted nor in parentheses.
fn split_top<'a>(text: &'a str, separator: &str) -> Option<(&'a str, &'a str)> {
    let at = top_level(text).find(|(at, _)| text[*at..].starts_with(separator))?.0;
    Some((&text[..at], &text[at + separator.len()..]))
}

fn split_all(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    for (at, character) in top_level(text) {
        if character == separator {
            parts.push(&text[start..at]);
            start = at + character.len_utf8();
        }
    }
    parts.push(&text[start..]);
    parts
}

/// The characters outside quotes and parentheses, with their places.
fn top_level(text: &str) -> impl Iterator<Item = (usize, char)> + '_ {
    let mut quote = None;
    let mut depth = 0u32;
    text.char_indices().filter(move |(_, character)| {
        match (quote, character) {
            (Some(open), character) if open == *character => quote = None,
            (Some(_), _) => {}
            (None, '`' | '"' | '\'') => quote = Some(*character),
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            (None, _) => return depth == 0,
        }
        false
    })
}

/// A name as SHOW GRANTS writes it, or `*`.
fn unquoted(name: &str) -> Option<String> {
    if name == "*" {
        return Some("*".to_owned());
    }
    for quote in ['`', '"'] {
        if let Some(inner) = name.strip_prefix(quote) {
            let inner = inner.strip_suffix(quote)?;
            return Some(inner.replace(&format!("{quote}{quote}"), &quote.to_string()));
        }
    }
    // Bare where sql_quote_show_create is off; two words are a routine.
    (!name.contains(' ')).then(|| name.to_owned())
}

/// A grant's schema is a LIKE pattern: `%`, `_`, and a backslash that takes their meaning away.
fn like(pattern: &str, text: &str) -> bool {
    let mut pieces = Vec::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        pieces.push(match character {
            '%' => Piece::Run,
            '_' => Piece::One,
            '\\' => Piece::Exactly(characters.next().unwrap_or('\\')),
            other => Piece::Exactly(other),
        });
    }
    matches(&pieces, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(lines: &[&str]) -> Grants {
        Grants::parse(lines.iter().copied())
    }

    #[test]
    fn rights_are_read_from_what_mysql_prints() {
        let grants = grants(&[
            "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `lim`@`127.0.0.1`",
            "GRANT SELECT ON `shop`.* TO `lim`@`127.0.0.1`",
            "GRANT `cdcrole`@`%` TO `lim`@`127.0.0.1`",
        ]);
        assert!(grants.may_replicate() && grants.may_see_binlog(Flavor::MySql));
        assert!(grants.selects("shop", None) && grants.selects("shop", Some("t")));
        assert!(!grants.selects("other", None));
        assert_eq!(grants.roles(), ["`cdcrole`@`%`"]);
    }

    #[test]
    fn rights_are_read_from_what_mariadb_prints() {
        let grants = grants(&[
            "GRANT `cdcrole` TO `lim`@`127.0.0.1`",
            "GRANT USAGE ON *.* TO `lim`@`127.0.0.1` IDENTIFIED BY PASSWORD '*1A9AA9F888DDB73CE60109B2A301F7C5A18C45E3'",
            "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO `cdcrole`",
            "GRANT SELECT (`a`, `b`) ON `shop`.`t` TO `cdcrole`",
            "SET DEFAULT ROLE `cdcrole` FOR `lim`@`127.0.0.1`",
        ]);
        assert!(grants.may_replicate() && grants.may_see_binlog(Flavor::MariaDb));
        assert!(!grants.may_see_binlog(Flavor::MySql));
        assert!(!grants.selects("shop", Some("t")), "two columns are not the table");
    }

    #[test]
    fn all_privileges_are_every_right_in_their_scope() {
        let all = grants(&["GRANT ALL PRIVILEGES ON *.* TO `root`@`%` WITH GRANT OPTION"]);
        assert!(all.may_replicate() && all.may_see_binlog(Flavor::MariaDb) && all.selects("x", None));
        let schema = grants(&["GRANT ALL PRIVILEGES ON `shop`.* TO `app`@`%`"]);
        assert!(!schema.may_replicate() && schema.selects("shop", Some("t")));
    }

    #[test]
    fn a_table_grant_covers_its_table_alone() {
        let grants = grants(&[
            "GRANT SELECT (`a`), INSERT ON `shop`.`t` TO `x`@`%`",
            "GRANT SELECT ON `shop`.`u` TO `x`@`%`",
        ]);
        assert!(grants.selects("shop", Some("u")));
        assert!(!grants.selects("shop", Some("t")) && !grants.selects("shop", None));
    }

    #[test]
    fn schema_grants_are_patterns() {
        let grants = grants(&[r"GRANT SELECT ON `sh\_p%`.* TO `x`@`%`"]);
        assert!(grants.selects("sh_p", None) && grants.selects("sh_pping", None));
        assert!(!grants.selects("shop", None) && !grants.selects("shXp", None));
    }

    #[test]
    fn a_partial_revoke_takes_from_the_global_right() {
        let grants = grants(&["GRANT SELECT ON *.* TO `x`@`%`", "REVOKE SELECT ON `secret`.* FROM `x`@`%`"]);
        assert!(grants.selects("shop", None) && !grants.selects("secret", None));
    }

    #[test]
    fn names_may_hold_the_words_of_the_language() {
        let grants = grants(&[
            "GRANT SELECT ON `a ON b`.`c TO d` TO `x`@`%`",
            "GRANT SELECT ON \"an\"\"si\".* TO \"x\"@\"%\"",
            "GRANT EXECUTE ON PROCEDURE `shop`.`p` TO `x`@`%`",
            "GRANT PROXY ON ``@`%` TO 'root'@'localhost' WITH GRANT OPTION",
            "GRANT SELECT ON `cut",
            "nonsense",
        ]);
        assert!(grants.selects("a ON b", Some("c TO d")) && grants.selects("an\"si", None));
        assert!(!grants.selects("shop", Some("p")) && !grants.may_replicate());
    }
}
