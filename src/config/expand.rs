//! `${VAR}` in any value, and `file:PATH` in secrets.

use std::fs;
use std::path::Path;

/// A secret file longer than this is no password, bytes.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Puts variables in: `${NAME}` becomes its value, `$${` stays as `${`. A value put in is not looked at again.
/// The error names the variable, never the text around it, which may be a secret.
pub(crate) fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at - 1]);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let inside = &rest[at + 2..];
        let end = inside.find('}').ok_or("`${` without `}`; write `$${` for a literal `${`")?;
        let name = &inside[..end];
        if !is_variable_name(name) {
            return Err("between `${` and `}` stands one variable's name: letters, digits and `_`".to_owned());
        }
        let value = lookup(name);
        out.push_str(&value.ok_or_else(|| format!("the variable `{name}` of `${{{name}}}` is not set"))?);
        rest = &inside[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn is_variable_name(name: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(word) && !name.as_bytes()[0].is_ascii_digit()
}

/// What a secret file holds, without the newline at its end.
pub(crate) fn secret_file(path: &Path) -> Result<String, String> {
    let name = path.display();
    let size = fs::metadata(path).map_err(|error| format!("cannot read the file {name}: {error}"))?.len();
    if size > SECRET_BYTES_MAX {
        return Err(format!("the file {name} has {size} bytes; a secret has at most {SECRET_BYTES_MAX}"));
    }
    let text = fs::read_to_string(path).map_err(|error| format!("cannot read the file {name}: {error}"))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("db1".to_owned()),
            "ODD" => Some("${HOST}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_put_in_once_and_a_doubled_dollar_is_literal() {
        for (text, expected) in [
            ("${HOST}", "db1"),
            ("a-${HOST}.${HOST}", "a-db1.db1"),
            ("${ODD}", "${HOST}"),
            ("$${HOST}", "${HOST}"),
            ("a$b", "a$b"),
        ] {
            assert_eq!(expand(text, &lookup).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn an_unset_variable_is_named_and_nothing_else_of_the_value() {
        let problem = expand("s3cret${NOPE}", &lookup).expect_err("unset");
        assert!(problem.contains("NOPE") && !problem.contains("s3cret"), "{problem}");
        assert!(expand("${HOST", &lookup).is_err());
        assert!(expand("${1X}", &lookup).is_err());
    }

    #[test]
    fn a_secret_file_loses_only_its_last_newline() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secret");
        fs::write(&path, " p w\n\n").expect("written");
        assert_eq!(secret_file(&path).as_deref(), Ok(" p w\n"));
        assert!(secret_file(&directory.path().join("none")).is_err());
    }
}
