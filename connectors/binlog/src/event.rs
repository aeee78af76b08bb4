//! Binlog events: the header, the checksum, and the bodies of all but TABLE_MAP and ROWS.
//!
//! Not here: table maps and rows (`table`, `row`), which are the bulk; what a statement's text says (`statement`).
//! Layouts: MySQL's "Replication Protocol" pages and libs/mysql/binlog/event; MariaDB's "Replication protocol" pages.
//! Everything is read with checks; a body that does not fit its type is [`BadEvent`].

use crate::gtid::{MariaGtid, Uuid};
use crate::read::{Reader, Truncated};

pub use crate::statement::{
    NamedTable, Statement, Uniqueness, defines, defines_any, mentions, qualifiers, savepoint, truncated,
    uniqueness, words,
};

/// Event type codes, in decimal as the servers' sources list them.
pub mod kind {
    #![allow(missing_docs)]
    pub const QUERY: u8 = 2;
    pub const STOP: u8 = 3;
    pub const ROTATE: u8 = 4;
    pub const INTVAR: u8 = 5;
    pub const APPEND_BLOCK: u8 = 9;
    pub const DELETE_FILE: u8 = 11;
    pub const RAND: u8 = 13;
    pub const USER_VAR: u8 = 14;
    pub const FORMAT_DESCRIPTION: u8 = 15;
    pub const XID: u8 = 16;
    pub const BEGIN_LOAD_QUERY: u8 = 17;
    pub const EXECUTE_LOAD_QUERY: u8 = 18;
    pub const TABLE_MAP: u8 = 19;
    pub const WRITE_ROWS_V1: u8 = 23;
    pub const UPDATE_ROWS_V1: u8 = 24;
    pub const DELETE_ROWS_V1: u8 = 25;
    pub const INCIDENT: u8 = 26;
    pub const HEARTBEAT: u8 = 27;
    pub const ROWS_QUERY: u8 = 29;
    pub const WRITE_ROWS_V2: u8 = 30;
    pub const UPDATE_ROWS_V2: u8 = 31;
    pub const DELETE_ROWS_V2: u8 = 32;
    pub const GTID: u8 = 33;
    pub const ANONYMOUS_GTID: u8 = 34;
    pub const PREVIOUS_GTIDS: u8 = 35;
    pub const XA_PREPARE: u8 = 38;
    pub const PARTIAL_UPDATE_ROWS: u8 = 39;
    pub const TRANSACTION_PAYLOAD: u8 = 40;
    pub const HEARTBEAT_V2: u8 = 41;
    pub const GTID_TAGGED: u8 = 42;
    pub const MARIA_ANNOTATE_ROWS: u8 = 160;
    pub const MARIA_BINLOG_CHECKPOINT: u8 = 161;
    pub const MARIA_GTID: u8 = 162;
    pub const MARIA_GTID_LIST: u8 = 163;
    pub const MARIA_START_ENCRYPTION: u8 = 164;
    pub const MARIA_QUERY_COMPRESSED: u8 = 165;
    pub const MARIA_COMPRESSED_ROWS_FIRST: u8 = 166;
    pub const MARIA_COMPRESSED_ROWS_LAST: u8 = 171;
}

/// Header flag: made by the server for this connection, not in the file.
pub const FLAG_ARTIFICIAL: u16 = 0x20;
/// Header flag: a reader that does not know the event may skip it.
pub const FLAG_IGNORABLE: u16 = 0x80;
/// Bytes of the header before the body.
pub const HEADER_BYTES: usize = 19;
/// Bytes of the CRC32 behind the body.
pub const CHECKSUM_BYTES: usize = 4;

/// An event that does not fit its type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadEvent {
    /// It ends before its last field.
    #[error("an event of type {0} ends too early")]
    Truncated(u8),
    /// Its CRC32 is not that of its bytes.
    #[error(
        "an event of type {kind} has checksum {stored:08x}, its bytes have {computed:08x}: the stream or the binlog file is damaged"
    )]
    Checksum {
        /// Event type.
        kind: u8,
        /// The four bytes behind the event.
        stored: u32,
        /// Over all bytes before them.
        computed: u32,
    },
    /// A field holds what it cannot.
    #[error("an event of type {0} holds {1}")]
    Malformed(u8, String),
}

/// The nineteen bytes before every event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Seconds since 1970, 0 in events that the server makes for this connection.
    pub timestamp: u32,
    /// See [`kind`].
    pub kind: u8,
    /// Id of the server where the event originated.
    pub server_id: u32,
    /// Bytes of the whole event, header and checksum included.
    pub length: u32,
    /// Where the next event starts, modulo 4 GiB; 0 inside transactions on MariaDB 11.8.
    pub log_pos: u32,
    /// See [`FLAG_ARTIFICIAL`] and [`FLAG_IGNORABLE`].
    pub flags: u16,
}

impl Header {
    /// Reads the header of a whole event.
    pub fn parse(event: &[u8]) -> Result<Self, BadEvent> {
        let mut reader = Reader::new(event);
        let mut read = || -> Result<Self, Truncated> {
            Ok(Self {
                timestamp: reader.u32()?,
                kind: reader.u8()?,
                server_id: reader.u32()?,
                length: reader.u32()?,
                log_pos: reader.u32()?,
                flags: reader.u16()?,
            })
        };
        let header = read().map_err(|Truncated| BadEvent::Truncated(0))?;
        if header.length as usize != event.len() {
            let text = format!("the length {}, but {} bytes came", header.length, event.len());
            return Err(BadEvent::Malformed(header.kind, text));
        }
        Ok(header)
    }

    /// The offset behind the event, in 64 bits, for one that comes behind `before`: the header holds the lower 32 alone,
    /// or nothing.
    pub fn end_offset(&self, before: u64) -> u64 {
        if self.log_pos == 0 {
            return before + u64::from(self.length);
        }
        let candidate = (before & !0xffff_ffff) | u64::from(self.log_pos);
        if candidate < before && before - candidate > 0x8000_0000 { candidate + (1 << 32) } else { candidate }
    }

    /// Whether the event was made for this connection and is in no file.
    pub fn is_artificial(&self) -> bool {
        self.flags & FLAG_ARTIFICIAL != 0
    }
}

/// The body of an event: without its header and, where there is one, its checksum, which is verified.
pub fn body<'a>(header: &Header, event: &'a [u8], checksum: Checksum) -> Result<&'a [u8], BadEvent> {
    let end = match checksum {
        Checksum::None => event.len(),
        Checksum::Crc32 => event.len().checked_sub(CHECKSUM_BYTES).ok_or(BadEvent::Truncated(header.kind))?,
    };
    if end < HEADER_BYTES {
        return Err(BadEvent::Truncated(header.kind));
    }
    if let (Checksum::Crc32, Some(stored)) = (checksum, event.last_chunk::<CHECKSUM_BYTES>()) {
        let (stored, computed) = (u32::from_le_bytes(*stored), crc32fast::hash(&event[..end]));
        if stored != computed {
            return Err(BadEvent::Checksum { kind: header.kind, stored, computed });
        }
    }
    Ok(&event[HEADER_BYTES..end])
}

/// What stands behind every event of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing.
    None,
    /// Four bytes of CRC32.
    Crc32,
}

/// Whether an event ends in its own CRC32: for the artificial ROTATE that comes before anything has told.
pub fn detect_checksum(event: &[u8]) -> Checksum {
    match event.split_last_chunk::<CHECKSUM_BYTES>() {
        Some((covered, stored)) if crc32fast::hash(covered) == u32::from_le_bytes(*stored) => Checksum::Crc32,
        _ => Checksum::None,
    }
}

/// Reads which checksum a file's events have, from its FORMAT_DESCRIPTION event (whole, with header). Its own
/// checksum is verified too.
pub fn format_description(event: &[u8]) -> Result<Checksum, BadEvent> {
    let kind = kind::FORMAT_DESCRIPTION;
    let header = Header::parse(event)?;
    let body = body(&header, event, Checksum::None)?;
    // version u16, server version 50 bytes, created u32, header length u8, post-header lengths …, algorithm u8, crc u32
    if body.len() < 2 + 50 + 4 + 1 + 1 + CHECKSUM_BYTES {
        return Err(BadEvent::Truncated(kind));
    }
    let version = u16::from_le_bytes([body[0], body[1]]);
    if version != 4 {
        return Err(BadEvent::Malformed(kind, format!("binlog version {version}; only 4 is known")));
    }
    if usize::from(body[56]) != HEADER_BYTES {
        return Err(BadEvent::Malformed(kind, format!("a header length of {}", body[56])));
    }
    match body[body.len() - CHECKSUM_BYTES - 1] {
        0 => Ok(Checksum::None),
        1 => self::body(&header, event, Checksum::Crc32).map(|_| Checksum::Crc32),
        other => Err(BadEvent::Malformed(kind, format!("checksum algorithm {other}"))),
    }
}

/// A ROTATE: which file goes on, and where in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotate<'a> {
    /// Offset of the next event.
    pub position: u64,
    /// Name of the file.
    pub file: &'a str,
}

impl<'a> Rotate<'a> {
    /// Reads the body.
    pub fn parse(body: &'a [u8]) -> Result<Self, BadEvent> {
        let mut reader = Reader::new(body);
        let position = reader.u64().map_err(|Truncated| BadEvent::Truncated(kind::ROTATE))?;
        let file = std::str::from_utf8(reader.rest())
            .map_err(|_| BadEvent::Malformed(kind::ROTATE, "a file name that is not text".into()))?;
        Ok(Self { position, file })
    }
}

/// A QUERY: transaction brackets, DDL, and changes logged as statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'a> {
    /// The session's thread id.
    pub thread: u32,
    /// The session's default schema.
    pub schema: &'a [u8],
    /// The text, in the session's character set.
    pub text: &'a [u8],
    /// The session's settings, as pairs of a code and a value; [`Self::changed_schemas`] reads them.
    pub variables: &'a [u8],
}

impl<'a> Query<'a> {
    /// The schemas that the statement changed, triggers and functions included, as far as the event says so: MySQL names
    /// up to sixteen, MariaDB none. (MySQL's libs/mysql/binlog/event/statement_events.h, `Query_event_status_vars`.)
    pub fn changed_schemas(&self) -> Vec<String> {
        const UPDATED_DB_NAMES: u8 = 12;
        const MORE_THAN_SIXTEEN: u8 = 254;
        let mut reader = Reader::new(self.variables);
        let mut read = || -> Result<Vec<String>, Truncated> {
            loop {
                let size = match reader.u8()? {
                    16 | 19 | 20 => 1,
                    7 | 8 | 18 => 2,
                    13 => 3,
                    0 | 3 | 10 => 4,
                    4 => 6,
                    1 | 9 | 17 => 8,
                    5 | 6 => usize::from(reader.u8()?),
                    11 => {
                        let user = usize::from(reader.u8()?);
                        reader.bytes(user)?;
                        usize::from(reader.u8()?)
                    }
                    UPDATED_DB_NAMES => break,
                    _ => return Ok(Vec::new()),
                };
                reader.bytes(size)?;
            }
            let count = Some(reader.u8()?).filter(|count| *count < MORE_THAN_SIXTEEN).unwrap_or_default();
            let names = reader.rest().split(|byte| *byte == 0).take(usize::from(count));
            Ok(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
        };
        read().unwrap_or_default()
    }

    /// Reads the body.
    pub fn parse(body: &'a [u8]) -> Result<Self, BadEvent> {
        Self::parse_with(body, 0)
    }

    /// Reads the body of EXECUTE_LOAD_QUERY: a QUERY with the file's id, two offsets into the text and a mode.
    pub fn parse_load(body: &'a [u8]) -> Result<Self, BadEvent> {
        Self::parse_with(body, 4 + 4 + 4 + 1)
    }

    /// `more` bytes stand behind the fixed fields.
    fn parse_with(body: &'a [u8], more: usize) -> Result<Self, BadEvent> {
        let mut reader = Reader::new(body);
        let mut read = || -> Result<Self, Truncated> {
            let thread = reader.u32()?;
            reader.u32()?; // execution time
            let schema_length = reader.u8()?;
            reader.u16()?; // error code
            let variables_length = reader.u16()?;
            reader.bytes(more)?;
            let variables = reader.bytes(usize::from(variables_length))?;
            let schema = reader.bytes(usize::from(schema_length))?;
            reader.u8()?; // the NUL behind the schema
            Ok(Self { thread, schema, text: reader.rest(), variables })
        };
        read().map_err(|Truncated| BadEvent::Truncated(kind::QUERY))
    }
}

/// What begins a MySQL transaction: GTID, ANONYMOUS_GTID or GTID_TAGGED.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gtid<'a> {
    /// The originating server; zero in an anonymous transaction.
    pub uuid: Uuid,
    /// Empty without a tag.
    pub tag: &'a str,
    /// The transaction's number; zero in an anonymous one.
    pub number: u64,
    /// When it was committed on the originating server, µs since 1970; `None` before MySQL 8.0.1.
    pub original_commit_us: Option<u64>,
}

impl<'a> Gtid<'a> {
    /// Reads the body of GTID or ANONYMOUS_GTID.
    pub fn parse(body: &'a [u8]) -> Result<Self, BadEvent> {
        let mut reader = Reader::new(body);
        let mut read = || -> Result<Self, Truncated> {
            reader.u8()?; // flags
            let uuid = Uuid(reader.uuid()?);
            let number = reader.u64()?;
            let mut gtid = Self { uuid, tag: "", number, original_commit_us: None };
            // Typecode 2 says that the logical clock follows, and behind it, since 8.0.1, the commit timestamps.
            if reader.rest().first() != Some(&2) || reader.rest().len() < 17 + 7 {
                return Ok(gtid);
            }
            reader.bytes(17)?;
            let immediate = reader.u56()?;
            let original = if immediate >> 55 == 1 { reader.u56()? } else { immediate };
            gtid.original_commit_us = Some(original & ((1 << 55) - 1)).filter(|time| *time > 0);
            Ok(gtid)
        };
        read().map_err(|Truncated| BadEvent::Truncated(kind::GTID))
    }

    /// Reads the body of GTID_TAGGED: a message of MySQL's serialization library (version, size, last field that must
    /// be known, then pairs of field id and value).
    pub fn parse_tagged(body: &'a [u8]) -> Result<Self, BadEvent> {
        let bad = |text: &str| BadEvent::Malformed(kind::GTID_TAGGED, text.into());
        let early = |Truncated| BadEvent::Truncated(kind::GTID_TAGGED);
        let mut reader = Reader::new(body);
        reader.varint().map_err(early)?; // serialization version
        let size = usize::try_from(reader.varint().map_err(early)?).map_err(|_| bad("a huge size"))?;
        let head = body.len() - reader.rest().len();
        let fields = size.checked_sub(head).ok_or_else(|| bad("a size smaller than its head"))?;
        let mut reader =
            Reader::new(reader.rest().get(..fields).ok_or(BadEvent::Truncated(kind::GTID_TAGGED))?);
        reader.varint().map_err(early)?; // last non-ignorable field
        let mut gtid = Self { uuid: Uuid([0; 16]), tag: "", number: 0, original_commit_us: None };
        let mut immediate = 0;
        while !reader.rest().is_empty() {
            match reader.varint().map_err(early)? {
                1 => {
                    for byte in &mut gtid.uuid.0 {
                        let value = reader.varint().map_err(early)?;
                        *byte = u8::try_from(value).map_err(|_| bad("a UUID byte above 255"))?;
                    }
                }
                2 => {
                    let number = reader.varint_signed().map_err(early)?;
                    gtid.number = u64::try_from(number).map_err(|_| bad("a negative number"))?;
                }
                3 => {
                    let length = reader.varint().map_err(early)?;
                    let bytes = reader.bytes(usize::try_from(length).unwrap_or(usize::MAX)).map_err(early)?;
                    gtid.tag = std::str::from_utf8(bytes).map_err(|_| bad("a tag that is not text"))?;
                }
                6 => immediate = reader.varint().map_err(early)?,
                7 => gtid.original_commit_us = Some(reader.varint().map_err(early)?),
                0 | 4 | 5 | 8..=11 => {
                    reader.varint().map_err(early)?;
                }
                // Later fields may be skipped, but their length is not told: what matters comes before them.
                _ => break,
            }
        }
        gtid.original_commit_us = gtid.original_commit_us.or(Some(immediate)).filter(|time| *time > 0);
        Ok(gtid)
    }
}

/// What begins a MariaDB event group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MariaGtidEvent {
    /// The group's id; its server comes from the event header.
    pub gtid: MariaGtid,
    flags: u8,
}

impl MariaGtidEvent {
    /// Reads the body.
    pub fn parse(header: &Header, body: &[u8]) -> Result<Self, BadEvent> {
        let mut reader = Reader::new(body);
        let mut read = || -> Result<Self, Truncated> {
            let (seq, domain, flags) = (reader.u64()?, reader.u32()?, reader.u8()?);
            Ok(Self { gtid: MariaGtid { domain, server: header.server_id, seq }, flags })
        };
        read().map_err(|Truncated| BadEvent::Truncated(kind::MARIA_GTID))
    }

    /// Whether the group is one event (DDL): nothing closes it.
    pub fn is_standalone(&self) -> bool {
        self.flags & 1 != 0
    }

    /// Whether the group is the first half of an XA transaction, whose outcome comes later.
    pub fn is_prepared_xa(&self) -> bool {
        self.flags & 64 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_go_on_beyond_four_gibibytes() {
        let header = |log_pos| Header { timestamp: 0, kind: 2, server_id: 1, length: 100, log_pos, flags: 0 };
        assert_eq!(header(500).end_offset(400), 500);
        assert_eq!(header(0).end_offset(400), 500);
        assert_eq!(header(20).end_offset(0xffff_fff0), 0x1_0000_0014);
        assert_eq!(header(120).end_offset(0x1_0000_0014), 0x1_0000_0078);
    }

    #[test]
    fn an_event_whose_length_or_checksum_lies_is_refused() {
        let mut event = vec![0; HEADER_BYTES + 8];
        event[4] = kind::XID;
        event[9] = 27;
        let crc = crc32fast::hash(&event[..23]);
        event[23..].copy_from_slice(&crc.to_le_bytes());
        let header = Header::parse(&event).expect("header");
        assert_eq!(body(&header, &event, Checksum::Crc32).map(<[u8]>::len), Ok(4));
        event[20] ^= 1;
        assert!(matches!(body(&header, &event, Checksum::Crc32), Err(BadEvent::Checksum { .. })));
        assert!(Header::parse(&event[..26]).is_err());
        assert!(Header::parse(&event[..18]).is_err());
    }

    #[test]
    fn the_schemas_that_a_statement_changed_are_read_behind_other_settings() {
        let variables = [
            0, 1, 2, 3, 4, 6, 3, b's', b't', b'd', 11, 1, b'u', 0, 12, 2, b'a', 0, b'b', b'c', 0, 13, 1, 2, 3,
        ];
        let query = |variables| Query { thread: 1, schema: b"", text: b"", variables };
        assert_eq!(query(&variables).changed_schemas(), ["a", "bc"]);
        for cut in 0..15 {
            assert_eq!(query(&variables[..cut]).changed_schemas(), Vec::<String>::new(), "cut at {cut}");
        }
        assert_eq!(query(&[200, 12, 1, b'a', 0]).changed_schemas(), Vec::<String>::new());
        assert_eq!(query(&[12, 254, b'a', 0]).changed_schemas(), Vec::<String>::new());
    }

    #[test]
    fn a_tagged_gtid_is_read() {
        // version 1 (as varint), size, last field, then uuid, number 5, tag "ab", immediate timestamp
        let mut fields = vec![0u8 << 1];
        fields.push(1 << 1);
        for _ in 0..16 {
            fields.push(0x11 << 1);
        }
        fields.extend([2 << 1, (5 << 1) << 1, 3 << 1, 2 << 1, b'a', b'b', 6 << 1, 100 << 1]);
        let mut event = vec![1 << 1, u8::try_from((fields.len() + 2) << 1).expect("small")];
        event.extend(&fields);
        let gtid = Gtid::parse_tagged(&event).expect("a tagged GTID");
        assert_eq!((gtid.uuid.0, gtid.tag, gtid.number), ([0x11; 16], "ab", 5));
        assert_eq!(gtid.original_commit_us, Some(100));
        for cut in 0..event.len() {
            assert!(Gtid::parse_tagged(&event[..cut]).is_err(), "cut at {cut}");
        }
    }
}
