//! The column types of a TABLE_MAP as they stand in the binlog: type byte and metadata, made into one enum that says
//! how a value is laid out. It does not say what a value means; that needs sign, charset and texts (`plan`).

use super::Flavour;
use crate::value::reader::Reader;

/// How the end of a value is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walk {
    /// So many bytes.
    Fixed(u8),
    /// A little-endian length of so many bytes (1–4), then the bytes.
    Prefixed(u8),
}

impl Walk {
    /// The next value's bytes, without its length; none where the row ends before.
    #[inline]
    pub(crate) fn value<'a>(self, reader: &mut Reader<'a>) -> Option<&'a [u8]> {
        let length = match self {
            Self::Fixed(width) => usize::from(width),
            Self::Prefixed(1) => usize::from(reader.u8()?),
            // At most 4 bytes: fits usize on every machine that we build for.
            Self::Prefixed(width) => reader.little(usize::from(width))? as usize,
        };
        reader.take(length)
    }
}

/// A column type of the binlog with its metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// TINYINT to BIGINT, by bytes.
    Int(u8),
    Year,
    Float,
    Double,
    Decimal {
        precision: u8,
        scale: u8,
    },
    /// BIT(n), by n.
    Bit(u16),
    Date,
    /// TIME(n), DATETIME(n), TIMESTAMP(n) since MySQL 5.6.
    Time(u8),
    DateTime(u8),
    Timestamp(u8),
    /// CHAR and BINARY, by the most bytes.
    Char(u16),
    /// VARCHAR and VARBINARY, by the most bytes.
    Varchar(u16),
    /// BLOB and TEXT, by the bytes of the length.
    Blob(u8),
    /// By bytes.
    Enum(u8),
    Set(u8),
    /// These by the bytes of the length.
    Json(u8),
    Geometry(u8),
    Vector(u8),
    /// MariaDB's compressed columns.
    CompressedVarchar(u16),
    CompressedBlob(u8),
    /// TIMESTAMP, TIME and DATETIME as before MySQL 5.6.
    OldTimestamp,
    OldTime,
    OldDateTime,
}

impl Wire {
    /// Reads the metadata of a column with type byte `code`; none where code or metadata mean nothing or are cut.
    pub(crate) fn parse(code: u8, metadata: &mut Reader<'_>) -> Option<Self> {
        let wire = match code {
            1 => Self::Int(1),
            2 => Self::Int(2),
            9 => Self::Int(3),
            3 => Self::Int(4),
            8 => Self::Int(8),
            13 => Self::Year,
            4 | 5 => return float(metadata.u8()?),
            10 | 14 => Self::Date,
            7 => Self::OldTimestamp,
            11 => Self::OldTime,
            12 => Self::OldDateTime,
            17 => Self::Timestamp(fraction_digits(metadata)?),
            18 => Self::DateTime(fraction_digits(metadata)?),
            19 => Self::Time(fraction_digits(metadata)?),
            15 | 253 => Self::Varchar(metadata.little(2)? as u16),
            141 => Self::CompressedVarchar(metadata.little(2)? as u16),
            16 => bit(metadata.u8()?, metadata.u8()?)?,
            246 => decimal(metadata.u8()?, metadata.u8()?)?,
            249..=252 => Self::Blob(length_bytes(metadata)?),
            140 => Self::CompressedBlob(length_bytes(metadata)?),
            242 => Self::Vector(length_bytes(metadata)?),
            245 => Self::Json(length_bytes(metadata)?),
            255 => Self::Geometry(length_bytes(metadata)?),
            247 | 248 | 254 => string(metadata.u8()?, metadata.u8()?)?,
            _ => return None,
        };
        Some(wire)
    }

    /// How to find the end of a value.
    pub(crate) fn walk(self) -> Walk {
        match self {
            Self::Int(width) | Self::Enum(width) | Self::Set(width) => Walk::Fixed(width),
            Self::Year => Walk::Fixed(1),
            Self::Float | Self::OldTimestamp => Walk::Fixed(4),
            Self::Double | Self::OldDateTime => Walk::Fixed(8),
            Self::Decimal { precision, scale } => {
                Walk::Fixed(crate::value::decimal::binary_size(precision, scale))
            }
            Self::Bit(bits) => Walk::Fixed(bits.div_ceil(8) as u8),
            Self::Date | Self::OldTime => Walk::Fixed(3),
            Self::Time(digits) => Walk::Fixed(3 + digits.div_ceil(2)),
            Self::DateTime(digits) => Walk::Fixed(5 + digits.div_ceil(2)),
            Self::Timestamp(digits) => Walk::Fixed(4 + digits.div_ceil(2)),
            Self::Char(bytes) | Self::Varchar(bytes) | Self::CompressedVarchar(bytes) => {
                Walk::Prefixed(if bytes > 255 { 2 } else { 1 })
            }
            Self::Blob(width)
            | Self::Json(width)
            | Self::Geometry(width)
            | Self::Vector(width)
            | Self::CompressedBlob(width) => Walk::Prefixed(width),
        }
    }

    /// Whether the SIGNEDNESS field has a bit for it.
    pub(crate) fn is_numeric(self) -> bool {
        matches!(self, Self::Int(_) | Self::Year | Self::Float | Self::Double | Self::Decimal { .. })
    }

    /// Whether the charset fields count it. MariaDB counts GEOMETRY, MySQL does not; MySQL counts VECTOR, which MariaDB
    /// keeps as VARBINARY. Neither counts ENUM and SET here. (Seen on MySQL 9.7 and MariaDB 11.8.)
    pub(crate) fn is_character(self, flavour: Flavour) -> bool {
        match self {
            Self::Char(_)
            | Self::Varchar(_)
            | Self::Blob(_)
            | Self::CompressedVarchar(_)
            | Self::CompressedBlob(_)
            | Self::Vector(_) => true,
            Self::Geometry(_) => flavour == Flavour::MariaDb,
            _ => false,
        }
    }

    /// The type in the words of SQL, for messages.
    pub(crate) fn describe(self) -> String {
        match self {
            Self::Int(1) => "TINYINT".into(),
            Self::Int(2) => "SMALLINT".into(),
            Self::Int(3) => "MEDIUMINT".into(),
            Self::Int(4) => "INT".into(),
            Self::Int(_) => "BIGINT".into(),
            Self::Year => "YEAR".into(),
            Self::Float => "FLOAT".into(),
            Self::Double => "DOUBLE".into(),
            Self::Decimal { precision, scale } => format!("DECIMAL({precision},{scale})"),
            Self::Bit(bits) => format!("BIT({bits})"),
            Self::Date => "DATE".into(),
            Self::Time(digits) => format!("TIME({digits})"),
            Self::DateTime(digits) => format!("DATETIME({digits})"),
            Self::Timestamp(digits) => format!("TIMESTAMP({digits})"),
            Self::Char(bytes) => format!("CHAR or BINARY of {bytes} bytes"),
            Self::Varchar(bytes) => format!("VARCHAR or VARBINARY of {bytes} bytes"),
            Self::Blob(width) => format!("BLOB or TEXT with a {width}-byte length"),
            Self::Enum(_) => "ENUM".into(),
            Self::Set(_) => "SET".into(),
            Self::Json(_) => "JSON".into(),
            Self::Geometry(_) => "GEOMETRY".into(),
            Self::Vector(_) => "VECTOR".into(),
            Self::CompressedVarchar(_) => "VARCHAR COMPRESSED".into(),
            Self::CompressedBlob(_) => "BLOB or TEXT COMPRESSED".into(),
            Self::OldTimestamp => "TIMESTAMP in the format before MySQL 5.6".into(),
            Self::OldTime => "TIME in the format before MySQL 5.6".into(),
            Self::OldDateTime => "DATETIME in the format before MySQL 5.6".into(),
        }
    }

    /// Whether a column that the catalog calls `base` (a bare type name in lower case) can be laid out like this.
    pub(crate) fn fits(self, base: &str) -> bool {
        match self {
            Self::Int(width) => {
                matches!(
                    (width, base),
                    (1, "tinyint")
                        | (2, "smallint")
                        | (3, "mediumint")
                        | (4, "int" | "integer")
                        | (8, "bigint")
                )
            }
            Self::Year => base == "year",
            Self::Float => base == "float",
            Self::Double => matches!(base, "double" | "real"),
            Self::Decimal { .. } => matches!(base, "decimal" | "numeric"),
            Self::Bit(_) => base == "bit",
            Self::Date => base == "date",
            Self::Time(_) | Self::OldTime => base == "time",
            Self::DateTime(_) | Self::OldDateTime => base == "datetime",
            Self::Timestamp(_) | Self::OldTimestamp => base == "timestamp",
            Self::Char(_) => matches!(base, "char" | "binary" | "uuid" | "inet4" | "inet6"),
            Self::Varchar(_) => matches!(base, "varchar" | "varbinary" | "vector"),
            Self::CompressedVarchar(_) => matches!(base, "varchar" | "varbinary"),
            Self::Blob(width) | Self::CompressedBlob(width) => {
                matches!(
                    (width, base),
                    (1, "tinyblob" | "tinytext")
                        | (2, "blob" | "text")
                        | (3, "mediumblob" | "mediumtext")
                        | (4, "longblob" | "longtext" | "json")
                )
            }
            Self::Enum(_) => base == "enum",
            Self::Set(_) => base == "set",
            Self::Json(_) => base == "json",
            Self::Vector(_) => base == "vector",
            Self::Geometry(_) => matches!(
                base,
                "geometry"
                    | "point"
                    | "linestring"
                    | "polygon"
                    | "multipoint"
                    | "multilinestring"
                    | "multipolygon"
                    | "geometrycollection"
                    | "geomcollection"
            ),
        }
    }
}

fn float(bytes: u8) -> Option<Wire> {
    match bytes {
        4 => Some(Wire::Float),
        8 => Some(Wire::Double),
        _ => None,
    }
}

fn fraction_digits(metadata: &mut Reader<'_>) -> Option<u8> {
    metadata.u8().filter(|&digits| digits <= 6)
}

fn length_bytes(metadata: &mut Reader<'_>) -> Option<u8> {
    metadata.u8().filter(|width| (1..=4).contains(width))
}

/// BIT: bits over the last whole byte, then whole bytes.
fn bit(rest: u8, whole: u8) -> Option<Wire> {
    let bits = u16::from(whole) * 8 + u16::from(rest);
    (rest < 8 && (1..=64).contains(&bits)).then_some(Wire::Bit(bits))
}

/// None where there is no such DECIMAL.
pub(crate) fn decimal(precision: u8, scale: u8) -> Option<Wire> {
    let valid = (1..=65).contains(&precision) && scale <= precision && scale <= 38;
    valid.then_some(Wire::Decimal { precision, scale })
}

/// Types 247, 248 and 254. The first byte is the real type; two bits of a long CHAR's length hide inverted in it.
fn string(real: u8, length: u8) -> Option<Wire> {
    if real & 0x30 != 0x30 {
        let high = u16::from(real & 0x30 ^ 0x30) << 4;
        return (real | 0x30 == 254).then_some(Wire::Char(high | u16::from(length)));
    }
    match real {
        254 => Some(Wire::Char(u16::from(length))),
        247 => matches!(length, 1 | 2).then_some(Wire::Enum(length)),
        248 => matches!(length, 1..=4 | 8).then_some(Wire::Set(length)),
        _ => None,
    }
}

/// The column types of a TABLE_MAP; the error is the index and type byte of the one that means nothing.
pub(crate) fn parse_all(codes: &[u8], metadata: &[u8]) -> Result<Vec<Wire>, (usize, u8)> {
    let mut metadata = Reader::new(metadata);
    codes
        .iter()
        .enumerate()
        .map(|(index, &code)| Wire::parse(code, &mut metadata).ok_or((index, code)))
        .collect()
}

/// Bit `index` of a bitmap that starts at the low bit of its first byte; false past its end.
#[inline]
pub(crate) fn bit_of(bitmap: &[u8], index: usize) -> bool {
    bitmap.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::reader::little;

    fn check(code: u8, metadata: &[u8], expected: Option<Wire>) {
        assert_eq!(Wire::parse(code, &mut Reader::new(metadata)), expected, "type {code} {metadata:?}");
    }

    #[test]
    fn char_lengths_over_255_come_out_of_the_type_byte() {
        check(254, &[254, 40], Some(Wire::Char(40)));
        // CHAR(255) of utf8mb4 is 1020 = 0x3FC bytes: both bits set are stored as both bits clear.
        check(254, &[0xCE, 0xFC], Some(Wire::Char(1020)));
        check(254, &[0xEE, 0x2C], Some(Wire::Char(256 + 0x2C)));
        check(254, &[247, 1], Some(Wire::Enum(1)));
        check(254, &[248, 8], Some(Wire::Set(8)));
        check(254, &[248, 7], None);
    }

    #[test]
    fn impossible_metadata_is_no_type() {
        check(246, &[66, 2], None);
        check(246, &[10, 11], None);
        check(17, &[7], None);
        check(252, &[5], None);
        check(16, &[1, 8], None);
        check(5, &[4], Some(Wire::Float));
        check(15, &[1], None);
        check(0, &[], None);
    }

    #[test]
    fn a_value_longer_than_the_row_is_not_there() {
        let mut reader = Reader::new(&[3, 1, 2]);
        assert_eq!(Walk::Prefixed(1).value(&mut reader), None);
        assert_eq!(little(&[1, 2]), 0x0201);
        assert_eq!(Walk::Prefixed(4).value(&mut Reader::new(&[0xFF; 4])), None);
        assert_eq!(Walk::Fixed(2).value(&mut Reader::new(&[7, 8, 9])), Some(&[7, 8][..]));
    }
}
