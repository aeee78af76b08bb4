//! Rows of a result set in the binary protocol (Protocol manual, "Binary Protocol Resultset Row"), to the same JSON as
//! the rows of the binlog, in one pass.

/// How the bytes of a [`KeyValue`] are to be understood, and how they go back to the server as a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum KeyKind {
    /// 8 bytes, little-endian, two's complement: every signed integer type.
    Signed = 1,
    /// 8 bytes, little-endian: unsigned integers, YEAR, BIT, and the number of an ENUM or SET.
    Unsigned = 2,
    /// 4 bytes, IEEE 754, little-endian.
    Float = 3,
    /// 8 bytes, IEEE 754, little-endian.
    Double = 4,
    /// The decimal's digits as text.
    Decimal = 5,
    /// The packed date of the binary protocol without its length byte (0 or 4 bytes).
    Date = 6,
    /// The packed time of the binary protocol without its length byte (0, 8 or 12 bytes).
    Time = 7,
    /// DATETIME and TIMESTAMP (UTC): the packed form without its length byte (0, 4, 7 or 11 bytes).
    DateTime = 8,
    /// Text in the column's own character set.
    Text = 9,
    /// BINARY, VARBINARY, BLOB.
    Bytes = 10,
    /// ASCII text that the server reads as a value of the column's type: UUID.
    Ascii = 11,
}

/// One value of a key, as the server sent it: exact, and ready to be a parameter. A key has no NULL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyValue {
    /// What the bytes are.
    pub kind: KeyKind,
    /// The value.
    pub bytes: Box<[u8]>,
}
