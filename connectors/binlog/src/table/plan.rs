//! What a row's bytes mean, decided once per table: one [`Plan`] a column, made of the wire type, the optional metadata
//! and the catalog. Types that flowd does not transport are refused here, before any row.

use super::metadata::Metadata;
use super::wire::Wire;
use super::{Flavour, TableError};
use crate::catalog::CatalogColumn;
use crate::charset::{Charset, InvalidText, charset_of_collation};

/// How a column's bytes become JSON.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Plan {
    /// Walked over, not written.
    Excluded,
    I8,
    U8,
    I16,
    U16,
    I24,
    U24,
    I32,
    U32,
    I64,
    U64,
    Year,
    F32,
    F64,
    Decimal {
        precision: u8,
        scale: u8,
    },
    /// BIT(1).
    Bool,
    /// BIT(n) of more bits.
    Bits,
    Date,
    Time(u8),
    DateTime(u8),
    Timestamp(u8),
    Text(Charset),
    /// Bytes, padded with 0x00 to a width (0: none).
    Bytes(u16),
    /// Ready JSON strings; index 1 is the first. Only of a TABLE_MAP, as the next one.
    Enum(Box<[Box<[u8]>]>),
    /// Escaped texts without quotes.
    Set(Box<[Box<[u8]>]>),
    /// MySQL's binary JSON.
    Json,
    /// MariaDB's UUID, whose last bytes may be cut off where they are 0x00.
    Uuid,
}

/// All that is known about one column when its plan is made.
pub(crate) struct ColumnFacts<'a> {
    pub(crate) table: &'a str,
    pub(crate) column: &'a str,
    pub(crate) index: usize,
    pub(crate) wire: Wire,
    pub(crate) metadata: &'a Metadata<'a>,
    /// The catalog's column, known to fit.
    pub(crate) catalog: Option<&'a CatalogColumn>,
    pub(crate) flavour: Flavour,
    pub(crate) invalid_text: InvalidText,
}

impl ColumnFacts<'_> {
    /// The plan, or why there is none.
    pub(crate) fn plan(&self) -> Result<Plan, TableError> {
        let plan = match self.wire {
            Wire::Int(width) => self.integer(width)?,
            Wire::Year => Plan::Year,
            Wire::Float => Plan::F32,
            Wire::Double => Plan::F64,
            Wire::Decimal { precision, scale } => Plan::Decimal { precision, scale },
            Wire::Bit(1) => Plan::Bool,
            Wire::Bit(_) => Plan::Bits,
            Wire::Date => Plan::Date,
            Wire::Time(digits) => Plan::Time(digits),
            Wire::DateTime(digits) => Plan::DateTime(digits),
            Wire::Timestamp(digits) => Plan::Timestamp(digits),
            Wire::Char(width) => self.char(width)?,
            Wire::Varchar(_) | Wire::Blob(_) => self.text_or_bytes(0)?,
            Wire::Enum(_) => Plan::Enum(self.labels(Quotes::Inside)?),
            Wire::Set(_) => Plan::Set(self.labels(Quotes::Outside)?),
            Wire::Json(_) => Plan::Json,
            Wire::Geometry(_) | Wire::Vector(_) => return Err(self.unsupported(self.wire.describe(), "")),
            Wire::CompressedVarchar(_) | Wire::CompressedBlob(_) => {
                let hint = format!("ALTER TABLE … MODIFY `{}` without COMPRESSED, or ", self.column);
                return Err(self.unsupported(self.wire.describe(), &hint));
            }
            Wire::OldTimestamp | Wire::OldTime | Wire::OldDateTime => {
                let hint = format!(
                    "SET GLOBAL mysql56_temporal_format=ON and ALTER TABLE {} FORCE, or ",
                    self.table
                );
                return Err(self.unsupported(self.wire.describe(), &hint));
            }
        };
        Ok(plan)
    }

    /// The plan for a result set. There ENUM and SET come as text: the catalog's own texts (utf8mb3) lack what is beyond
    /// the Basic Multilingual Plane.
    pub(crate) fn result_plan(&self) -> Result<Plan, TableError> {
        match self.wire {
            Wire::Enum(_) | Wire::Set(_) => Ok(Plan::Text(self.charset()?)),
            _ => self.plan(),
        }
    }

    fn integer(&self, width: u8) -> Result<Plan, TableError> {
        let unsigned = match (&self.metadata.unsigned, self.catalog) {
            (Some(unsigned), _) => unsigned[self.index],
            (None, Some(column)) => column.is_unsigned(),
            (None, None) => return Err(self.unknown("the sign")),
        };
        Ok(match (width, unsigned) {
            (1, false) => Plan::I8,
            (1, true) => Plan::U8,
            (2, false) => Plan::I16,
            (2, true) => Plan::U16,
            (3, false) => Plan::I24,
            (3, true) => Plan::U24,
            (4, false) => Plan::I32,
            (4, true) => Plan::U32,
            (_, false) => Plan::I64,
            (_, true) => Plan::U64,
        })
    }

    /// CHAR and BINARY; MariaDB also keeps UUID and INET in this type.
    fn char(&self, width: u16) -> Result<Plan, TableError> {
        match self.catalog.map(CatalogColumn::base_type).as_deref() {
            Some("uuid") => return Ok(Plan::Uuid),
            Some(inet @ ("inet4" | "inet6")) => return Err(self.unsupported(inet.to_ascii_uppercase(), "")),
            _ => {}
        }
        let plan = self.text_or_bytes(width)?;
        let ambiguous = self.flavour == Flavour::MariaDb && matches!(width, 4 | 16);
        if plan == Plan::Bytes(width) && ambiguous && self.catalog.is_none() {
            return Err(TableError::Ambiguous {
                table: self.table.into(),
                column: self.column.into(),
                width,
            });
        }
        Ok(plan)
    }

    fn text_or_bytes(&self, width: u16) -> Result<Plan, TableError> {
        if self.catalog.is_some_and(|column| column.base_type() == "vector") {
            return Err(self.unsupported("VECTOR".into(), ""));
        }
        Ok(match self.charset()? {
            Charset::Binary => Plan::Bytes(width),
            charset => Plan::Text(charset),
        })
    }

    fn charset(&self) -> Result<Charset, TableError> {
        let name = match (self.metadata.collations[self.index], self.catalog) {
            (Some(id), _) => charset_of_collation(id)
                .ok_or_else(|| self.unsupported(format!("text of the unknown collation {id}"), ""))?,
            (None, Some(column)) => column.charset.as_deref().unwrap_or("binary"),
            (None, None) => return Err(self.unknown("the character set")),
        };
        Charset::from_name(name).ok_or_else(|| {
            let hint = format!("ALTER TABLE … MODIFY `{}` … CHARACTER SET utf8mb4, or ", self.column);
            self.unsupported(format!("text in the character set {name}"), &hint)
        })
    }

    /// The texts of an ENUM or SET as JSON.
    fn labels(&self, quotes: Quotes) -> Result<Box<[Box<[u8]>]>, TableError> {
        let texts = match (&self.metadata.labels[self.index], self.catalog) {
            (Some(labels), _) => self.decoded(labels)?,
            (None, Some(column)) => column.labels().ok_or_else(|| TableError::CatalogMismatch {
                table: self.table.into(),
                what: format!("column `{}`: cannot read the texts of {}", self.column, column.column_type),
            })?,
            (None, None) => return Err(self.unknown("the texts")),
        };
        Ok(texts.iter().map(|text| quotes.json(text)).collect())
    }

    fn decoded(&self, labels: &[&[u8]]) -> Result<Vec<String>, TableError> {
        let charset = match self.metadata.collations[self.index] {
            Some(_) => self.charset()?,
            None => Charset::Utf8,
        };
        let decode = |label: &&[u8]| {
            let mut text = String::new();
            charset.decode(label, &mut text, self.invalid_text).map(|()| text)
        };
        labels.iter().map(decode).collect::<Result<_, _>>().map_err(|_| {
            self.unsupported("an ENUM or SET whose texts are not valid in its character set".into(), "")
        })
    }

    fn unsupported(&self, what: String, hint: &str) -> TableError {
        TableError::Unsupported {
            table: self.table.into(),
            column: self.column.into(),
            what,
            remedy: format!("{hint}leave it out with columnExcludeList: {}.{}", self.table, self.column),
        }
    }

    fn unknown(&self, what: &str) -> TableError {
        TableError::SchemaUnknown {
            table: self.table.into(),
            what: format!("{what} of column `{}`", self.column),
        }
    }
}

#[derive(Clone, Copy)]
enum Quotes {
    Inside,
    Outside,
}

impl Quotes {
    fn json(self, text: &str) -> Box<[u8]> {
        let mut json = Vec::with_capacity(text.len() + 2);
        match self {
            Self::Inside => flowd_codec::json::write_string(&mut json, text),
            Self::Outside => flowd_codec::json::write_escaped(&mut json, text.as_bytes()),
        }
        json.into()
    }
}
