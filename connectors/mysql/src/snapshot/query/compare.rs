//! Conditions on a key, so that the optimizer makes one range of its index of them.

use std::fmt;

use flowd_binlog::catalog::CatalogColumn;
use flowd_binlog::result::KeyValue;

use super::unsigned;
use crate::query::identifier;

/// The optimizer makes ranges of an ENUM or SET of equalities alone, so that its numbers are listed; of more values
/// than these a list is no good.
const LISTED_MAX: u64 = 1024;

/// One column of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyColumn {
    name: String,
    form: Form,
}

/// How a column is compared with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// With the parameter as it is.
    Plain,
    /// With bytes of the column's own character set, by its own collation.
    Text { charset: String, collation: String },
    /// With the numbers of its values, 0 to this one.
    Listed(u64),
}

/// On which side of a key, or of its first columns, a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::snapshot) enum Side {
    /// `>`
    After,
    /// `>=`
    From,
    /// `<=`
    Upto,
    /// `<`
    Before,
}

impl KeyColumn {
    /// `None` where ranges of such a column cannot be read by an index.
    pub(super) fn new(column: &CatalogColumn, collation: Option<&str>) -> Option<Self> {
        let labels = || column.labels().map(|labels| labels.len() as u64);
        let form = match (column.base_type().as_str(), &column.charset, collation) {
            ("enum", ..) => Form::Listed(labels()?),
            ("set", ..) => Form::Listed(1_u64.checked_shl(u32::try_from(labels()?).ok()?)? - 1),
            // MariaDB keeps these in its indexes as if blanks followed, and compares them as if none did: of the two orders
            // neither finds every row.
            ("char", _, Some(collation)) if collation.contains("nopad") => return None,
            (_, Some(charset), Some(collation)) => {
                Form::Text { charset: charset.clone(), collation: collation.into() }
            }
            _ => Form::Plain,
        };
        let lists = !matches!(form, Form::Listed(greatest) if greatest >= LISTED_MAX);
        lists.then(|| Self { name: column.name.clone(), form })
    }

    /// Its name as SQL has it.
    pub(super) fn identifier(&self) -> String {
        identifier(&self.name)
    }

    /// Character set and collation; `None` where it is no text.
    pub(in crate::snapshot) fn text(&self) -> Option<(&str, &str)> {
        match &self.form {
            Form::Text { charset, collation } => Some((charset, collation)),
            Form::Plain | Form::Listed(_) => None,
        }
    }

    /// What stands for a value in the statement.
    fn placeholder(&self) -> String {
        match &self.form {
            Form::Plain | Form::Listed(_) => "?".into(),
            Form::Text { charset, collation } => {
                // The parameter is binary: its bytes become text as they are.
                format!("CONVERT(? USING {}) COLLATE {}", identifier(charset), identifier(collation))
            }
        }
    }
}

/// Its name.
impl fmt::Display for KeyColumn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

/// ` WHERE …` for the rows within all bounds, each a side of a key or of its first columns; empty without bounds.
pub(super) fn condition(columns: &[KeyColumn], bounds: &[(Side, &[KeyValue])]) -> (String, Vec<KeyValue>) {
    let mut parameters = Vec::new();
    let conditions: Vec<String> =
        bounds.iter().map(|(side, key)| bound(columns, key, *side, &mut parameters)).collect();
    if conditions.is_empty() {
        return (String::new(), parameters);
    }
    (format!(" WHERE {}", conditions.join(" AND ")), parameters)
}

/// `((a > ?) OR (a = ? AND b > ?))`
fn bound(columns: &[KeyColumn], key: &[KeyValue], side: Side, parameters: &mut Vec<KeyValue>) -> String {
    debug_assert!(!key.is_empty() && key.len() <= columns.len());
    let strict = match side {
        Side::After | Side::From => Side::After,
        Side::Upto | Side::Before => Side::Before,
    };
    let mut terms = Vec::new();
    for (last, column) in columns.iter().enumerate().take(key.len()) {
        let side = if last + 1 == key.len() { side } else { strict };
        let mut parts = Vec::new();
        for (column, value) in columns[..last].iter().zip(key) {
            parts.push(format!("{} = {}", column.identifier(), column.placeholder()));
            parameters.push(value.clone());
        }
        parts.push(compare(column, &key[last], side, parameters));
        terms.push(format!("({})", parts.join(" AND ")));
    }
    format!("({})", terms.join(" OR "))
}

fn compare(column: &KeyColumn, value: &KeyValue, side: Side, parameters: &mut Vec<KeyValue>) -> String {
    if let Form::Listed(greatest) = column.form {
        return listed(column, number(value), side, greatest);
    }
    let operator = match side {
        Side::After => ">",
        Side::From => ">=",
        Side::Upto => "<=",
        Side::Before => "<",
    };
    parameters.push(value.clone());
    format!("{} {operator} {}", column.identifier(), column.placeholder())
}

fn listed(column: &KeyColumn, number: u64, side: Side, greatest: u64) -> String {
    let number = number.min(greatest);
    let numbers = match side {
        Side::After => number + 1..greatest + 1,
        Side::From => number..greatest + 1,
        Side::Upto => 0..number + 1,
        Side::Before => 0..number,
    };
    // A number that no value has, instead of nothing: where a single equality is left over, MariaDB 10.11 and MySQL
    // take the column for a constant, and sort.
    let numbers = if numbers.is_empty() { greatest + 1..greatest + 2 } else { numbers };
    let numbers: Vec<String> = numbers.map(|number| number.to_string()).collect();
    format!("{} IN ({})", column.identifier(), numbers.join(","))
}

/// The number of an ENUM or SET.
fn number(value: &KeyValue) -> u64 {
    let bytes = <[u8; 8]>::try_from(&*value.bytes);
    let number = bytes.map_or(0, u64::from_le_bytes);
    debug_assert_eq!(*value, unsigned(number));
    number
}
