//! What the server's catalog says about a table, as plain data: `flowd-mysql` fills it from `information_schema`, the
//! table plan asks it for what a TABLE_MAP cannot say. It reads nothing itself.

/// A table as `information_schema` describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CatalogTable {
    /// `TABLE_SCHEMA`.
    pub schema: String,
    /// `TABLE_NAME`.
    pub name: String,
    /// In `ORDINAL_POSITION` order.
    pub columns: Vec<CatalogColumn>,
    /// Indexes into `columns`, in key order: the primary key, else the first UNIQUE index whose columns are all NOT
    /// NULL; empty where there is neither.
    pub key: Vec<usize>,
}

/// A column as `information_schema.COLUMNS` describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CatalogColumn {
    /// `COLUMN_NAME`.
    pub name: String,
    /// `COLUMN_TYPE`, such as `int(10) unsigned` or `enum('a','b')`.
    pub column_type: String,
    /// `DATA_TYPE`, such as `int` or `enum`.
    pub data_type: String,
    /// `CHARACTER_SET_NAME`; none for what is not text.
    pub charset: Option<String>,
    /// `IS_NULLABLE` is `YES`.
    pub nullable: bool,
}

impl CatalogTable {
    /// The column of that name and its index. Column names do not differ by case alone.
    pub(crate) fn column(&self, name: &str) -> Option<(usize, &CatalogColumn)> {
        self.columns.iter().enumerate().find(|(_, column)| column.name.eq_ignore_ascii_case(name))
    }
}

impl CatalogColumn {
    /// The type's bare name in lower case, from `data_type` or the head of `column_type`.
    pub fn base_type(&self) -> String {
        let text = if self.data_type.is_empty() { &self.column_type } else { &self.data_type };
        let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
        text[..end].to_ascii_lowercase()
    }

    /// Whether the number has no sign; ZEROFILL implies it.
    pub(crate) fn is_unsigned(&self) -> bool {
        let text = self.column_type.to_ascii_lowercase();
        text.split_ascii_whitespace().any(|word| word == "unsigned" || word == "zerofill")
    }

    /// The texts of an ENUM or SET, in definition order. In the catalog a quote inside is doubled, and a backslash,
    /// a line end and NUL stand behind a backslash.
    pub fn labels(&self) -> Option<Vec<String>> {
        let open = self.column_type.find('(')?;
        let mut rest = self.column_type[open + 1..].chars();
        let mut labels = Vec::new();
        loop {
            if rest.next()? != '\'' {
                return None;
            }
            let mut label = String::new();
            let after = loop {
                match rest.next()? {
                    '\'' => match rest.next()? {
                        '\'' => label.push('\''),
                        other => break other,
                    },
                    '\\' => label.push(match rest.next()? {
                        'n' => '\n',
                        'r' => '\r',
                        '0' => '\0',
                        other => other,
                    }),
                    other => label.push(other),
                }
            };
            labels.push(label);
            match after {
                ',' => {}
                ')' => return Some(labels),
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(column_type: &str) -> CatalogColumn {
        CatalogColumn { column_type: column_type.into(), ..CatalogColumn::default() }
    }

    #[test]
    fn enum_labels_keep_commas_and_quotes() {
        let labels = column("enum('a','b,c','it''s','','x\\\\y\\n')").labels();
        let expected = ["a", "b,c", "it's", "", "x\\y\n"].map(String::from).to_vec();
        assert_eq!(labels, Some(expected));
        assert_eq!(column("enum('a'").labels(), None);
        assert_eq!(column("int(10)").labels(), None);
    }

    #[test]
    fn the_sign_is_a_word_of_the_type_and_not_part_of_a_label() {
        assert!(column("int(10) unsigned").is_unsigned());
        assert!(column("bigint(8) ZEROFILL").is_unsigned());
        assert!(!column("int(11)").is_unsigned());
        assert_eq!(column("decimal(10,2) unsigned").base_type(), "decimal");
    }
}
