//! Global transaction ids and sets of them. MySQL's and MariaDB's are two types that never mix.
//!
//! MySQL: `uuid:1-5:7,uuid:tag:1-3` ([`GtidSet`]); the binary form of COM_BINLOG_DUMP_GTID and PREVIOUS_GTIDS, with
//! and without tags, follows `Gtid_set::encode` (sql/rpl_gtid_set.cc). MariaDB: `domain-server-seq`, one per domain
//! ([`GtidList`]).

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};
use std::str::FromStr;

use crate::read::{Reader, Truncated};

/// A server UUID in its sixteen bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid(pub [u8; 16]);

impl Display for Uuid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                formatter.write_char('-')?;
            }
            write!(formatter, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for Uuid {
    type Err = BadGtid;

    fn from_str(text: &str) -> Result<Self, BadGtid> {
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
        let bad = || BadGtid(format!("`{text}` is not a server UUID (32 hex digits)"));
        if digits.len() != 32 {
            return Err(bad());
        }
        let mut bytes = [0; 16];
        for (index, byte) in bytes.iter_mut().enumerate() {
            let pair = std::str::from_utf8(&digits[2 * index..2 * index + 2]).map_err(|_| bad())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| bad())?;
        }
        Ok(Self(bytes))
    }
}

/// A text or encoding that is not a GTID (set); the message names the part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadGtid(pub String);

impl From<Truncated> for BadGtid {
    fn from(_: Truncated) -> Self {
        Self("the encoded GTID set ends too early".into())
    }
}

/// Where transaction numbers are counted: a server and, since MySQL 8.3, a tag (empty: none).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sid {
    /// The originating server.
    pub uuid: Uuid,
    /// The tag in lower case, or empty.
    pub tag: Box<str>,
}

/// A set of MySQL GTIDs: for each [`Sid`] sorted, disjoint, non-adjacent intervals `start..end` (end exclusive).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GtidSet {
    intervals: BTreeMap<Sid, Vec<(u64, u64)>>,
}

impl GtidSet {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// Adds one transaction.
    pub fn add(&mut self, uuid: Uuid, tag: &str, number: u64) {
        // The steady case, the number after the last one, must not allocate.
        if tag.is_empty() {
            let sid = Sid { uuid, tag: Box::default() };
            if let Some(last) = self.intervals.get_mut(&sid).and_then(|list| list.last_mut())
                && last.1 == number
            {
                last.1 = number + 1;
                return;
            }
        }
        self.add_interval(Sid { uuid, tag: tag.into() }, number, number + 1);
    }

    fn add_interval(&mut self, sid: Sid, start: u64, end: u64) {
        let list = self.intervals.entry(sid).or_default();
        let first = list.partition_point(|interval| interval.1 < start);
        let last = list.partition_point(|interval| interval.0 <= end);
        let merged =
            list[first..last].iter().fold((start, end), |sum, next| (sum.0.min(next.0), sum.1.max(next.1)));
        list.splice(first..last, [merged]);
    }

    /// Whether the transaction is in the set.
    pub fn contains(&self, uuid: Uuid, tag: &str, number: u64) -> bool {
        self.contains_interval(&Sid { uuid, tag: tag.into() }, number, number + 1)
    }

    fn contains_interval(&self, sid: &Sid, start: u64, end: u64) -> bool {
        self.intervals
            .get(sid)
            .is_some_and(|list| list.iter().any(|interval| interval.0 <= start && end <= interval.1))
    }

    /// Whether every transaction of `other` is in this set.
    pub fn contains_all(&self, other: &Self) -> bool {
        other
            .intervals
            .iter()
            .all(|(sid, list)| list.iter().all(|(start, end)| self.contains_interval(sid, *start, *end)))
    }

    /// What of this set is not in `other`.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut result = Self::default();
        for (sid, list) in &self.intervals {
            let taken = other.intervals.get(sid).map_or(&[][..], Vec::as_slice);
            for (start, end) in list {
                let mut from = *start;
                for hole in taken.iter().filter(|hole| hole.1 > *start && hole.0 < *end) {
                    if from < hole.0 {
                        result.add_interval(sid.clone(), from, hole.0);
                    }
                    from = from.max(hole.1);
                }
                if from < *end {
                    result.add_interval(sid.clone(), from, *end);
                }
            }
        }
        result
    }

    /// Adds every transaction of `other`.
    pub fn union(&mut self, other: &Self) {
        for (sid, list) in &other.intervals {
            for (start, end) in list {
                self.add_interval(sid.clone(), *start, *end);
            }
        }
    }

    /// Appends the binary form; the tagged one only where a tag needs it, as older servers know only the other.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let tagged = self.intervals.keys().any(|sid| !sid.tag.is_empty());
        let count = self.intervals.len() as u64;
        let head = if tagged { (1 << 56) | (count << 8) | 1 } else { count };
        out.extend_from_slice(&head.to_le_bytes());
        for (sid, list) in &self.intervals {
            out.extend_from_slice(&sid.uuid.0);
            if tagged {
                // A tag has at most 32 bytes, so its length is a one-byte varint.
                out.push(u8::try_from(sid.tag.len()).expect("a tag has at most 32 bytes") << 1);
                out.extend_from_slice(sid.tag.as_bytes());
            }
            out.extend_from_slice(&(list.len() as u64).to_le_bytes());
            for (start, end) in list {
                out.extend_from_slice(&start.to_le_bytes());
                out.extend_from_slice(&end.to_le_bytes());
            }
        }
    }

    /// Reads the binary form (the body of a PREVIOUS_GTIDS event).
    pub fn decode(bytes: &[u8]) -> Result<Self, BadGtid> {
        let mut reader = Reader::new(bytes);
        let head = reader.u64()?;
        let (tagged, count) = match head >> 56 {
            0 => (false, head),
            1 => (true, (head >> 8) & 0xffff_ffff_ffff),
            other => return Err(BadGtid(format!("GTID set format {other} is not known"))),
        };
        let mut set = Self::default();
        for _ in 0..count {
            let uuid = Uuid(reader.uuid()?);
            let length = if tagged { reader.varint()? } else { 0 };
            let tag = std::str::from_utf8(reader.bytes(usize::try_from(length).unwrap_or(usize::MAX))?)
                .map_err(|_| BadGtid("a GTID tag is not text".into()))?;
            if tag.len() > 32 {
                return Err(BadGtid(format!("a GTID tag of {} bytes (32 at most)", tag.len())));
            }
            for _ in 0..reader.u64()? {
                let (start, end) = (reader.u64()?, reader.u64()?);
                if start == 0 || start >= end {
                    return Err(BadGtid(format!("the GTID interval {start}..{end} is empty")));
                }
                set.add_interval(Sid { uuid, tag: tag.into() }, start, end);
            }
        }
        Ok(set)
    }
}

impl Display for GtidSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before: Option<Uuid> = None;
        for (sid, list) in &self.intervals {
            match before {
                Some(uuid) if uuid == sid.uuid => {}
                Some(_) => write!(formatter, ",{}", sid.uuid)?,
                None => write!(formatter, "{}", sid.uuid)?,
            }
            before = Some(sid.uuid);
            if !sid.tag.is_empty() {
                write!(formatter, ":{}", sid.tag)?;
            }
            for (start, end) in list {
                match end - start {
                    1 => write!(formatter, ":{start}")?,
                    _ => write!(formatter, ":{start}-{}", end - 1)?,
                }
            }
        }
        Ok(())
    }
}

impl FromStr for GtidSet {
    type Err = BadGtid;

    fn from_str(text: &str) -> Result<Self, BadGtid> {
        let mut set = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let mut fields = part.split(':').map(str::trim);
            let uuid: Uuid = fields.next().unwrap_or_default().parse()?;
            let mut tag: Box<str> = Box::default();
            let mut intervals = 0;
            for field in fields {
                if field.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
                    if field.len() > 32
                        || !field.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                    {
                        return Err(BadGtid(format!("`{field}` is not a GTID tag")));
                    }
                    tag = field.to_ascii_lowercase().into();
                    continue;
                }
                let (start, end) = interval(field)?;
                set.add_interval(Sid { uuid, tag: tag.clone() }, start, end);
                intervals += 1;
            }
            if intervals == 0 {
                return Err(BadGtid(format!("`{part}` names no transaction (uuid:1-5)")));
            }
        }
        Ok(set)
    }
}

/// `5` or `3-9` as start and exclusive end.
fn interval(text: &str) -> Result<(u64, u64), BadGtid> {
    let bad = || BadGtid(format!("`{text}` is not a transaction number or range (7 or 1-5)"));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let first: u64 = first.trim().parse().map_err(|_| bad())?;
    let last: u64 = last.trim().parse().map_err(|_| bad())?;
    // Numbers are signed 64-bit on the server; the bound keeps `last + 1` from overflowing too.
    if first == 0 || last < first || last >= i64::MAX as u64 {
        return Err(bad());
    }
    Ok((first, last + 1))
}

/// One MariaDB GTID, `domain-server-seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MariaGtid {
    /// The replication domain.
    pub domain: u32,
    /// The originating server's id.
    pub server: u32,
    /// Counts within the domain.
    pub seq: u64,
}

impl Display for MariaGtid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}-{}", self.domain, self.server, self.seq)
    }
}

impl FromStr for MariaGtid {
    type Err = BadGtid;

    fn from_str(text: &str) -> Result<Self, BadGtid> {
        let bad = || BadGtid(format!("`{text}` is not a MariaDB GTID (domain-server-seq, as 0-1-100)"));
        let mut numbers = text.trim().splitn(3, '-');
        let mut next = || numbers.next().ok_or_else(bad);
        let (domain, server, seq) = (next()?, next()?, next()?);
        Ok(Self {
            domain: domain.parse().map_err(|_| bad())?,
            server: server.parse().map_err(|_| bad())?,
            seq: seq.parse().map_err(|_| bad())?,
        })
    }
}

/// A MariaDB position: the last GTID of each domain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GtidList {
    last: BTreeMap<u32, MariaGtid>,
}

impl GtidList {
    /// Whether it names no domain.
    pub fn is_empty(&self) -> bool {
        self.last.is_empty()
    }

    /// Moves the GTID's domain to it.
    pub fn set(&mut self, gtid: MariaGtid) {
        self.last.insert(gtid.domain, gtid);
    }

    /// Whether each of `other`'s domains is at least as far here.
    pub fn contains_all(&self, other: &Self) -> bool {
        other.last.values().all(|gtid| self.last.get(&gtid.domain).is_some_and(|ours| ours.seq >= gtid.seq))
    }

    /// The domains' last GTIDs.
    pub fn iter(&self) -> impl Iterator<Item = &MariaGtid> {
        self.last.values()
    }
}

impl Display for GtidList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, gtid) in self.last.values().enumerate() {
            if index > 0 {
                formatter.write_char(',')?;
            }
            gtid.fmt(formatter)?;
        }
        Ok(())
    }
}

impl FromStr for GtidList {
    type Err = BadGtid;

    fn from_str(text: &str) -> Result<Self, BadGtid> {
        let mut list = Self::default();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let gtid: MariaGtid = part.parse()?;
            if list.last.insert(gtid.domain, gtid).is_some() {
                return Err(BadGtid(format!("domain {} is named twice in `{text}`", gtid.domain)));
            }
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "7c8a0b8e-e766-11f1-8ec1-02fc00000001";
    const B: &str = "8c8a0b8e-e766-11f1-8ec1-02fc00000002";

    fn set(text: &str) -> GtidSet {
        text.parse().expect("a GTID set")
    }

    #[test]
    fn a_set_is_printed_in_canonical_form() {
        let check = |text: &str, expected: &str| assert_eq!(set(text).to_string(), expected);
        check("", "");
        check(&format!("{A}:5:1-3:4"), &format!("{A}:1-5"));
        check(&format!("{B}:1,{A}:9:2-3"), &format!("{A}:2-3:9,{B}:1"));
        check(&format!("{A}:1-142:MyTag:1-2,{A}:143"), &format!("{A}:1-143:mytag:1-2"));
    }

    #[test]
    fn a_bad_set_is_refused_with_its_part() {
        for text in ["x:1", A, &format!("{A}:0"), &format!("{A}:5-4"), &format!("{A}:1-x")] {
            assert!(text.parse::<GtidSet>().is_err(), "{text}");
        }
        for text in ["1", "0-1", "0-1-x", "0-1-5,0-2-6"] {
            assert!(text.parse::<GtidList>().is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_added_in_any_order_merge() {
        let mut sum = GtidSet::default();
        for number in [1, 2, 3, 7, 5, 6, 4, 9] {
            sum.add(A.parse().expect("uuid"), "", number);
        }
        assert_eq!(sum.to_string(), format!("{A}:1-7:9"));
    }

    #[test]
    fn containment_and_difference_agree() {
        let (all, part) = (set(&format!("{A}:1-10,{B}:5")), set(&format!("{A}:3-4:9")));
        assert!(all.contains_all(&part) && !part.contains_all(&all));
        assert_eq!(all.minus(&part).to_string(), format!("{A}:1-2:5-8:10,{B}:5"));
        assert!(part.minus(&all).is_empty());
        let mut back = all.minus(&part);
        back.union(&part);
        assert_eq!(back, all);
    }

    #[test]
    fn the_binary_form_round_trips_with_and_without_tags() {
        for text in [format!("{A}:1-10:12,{B}:5"), format!("{A}:1-10:tag:4,{B}:other:5"), String::new()] {
            let mut bytes = Vec::new();
            set(&text).encode(&mut bytes);
            assert_eq!(GtidSet::decode(&bytes), Ok(set(&text)));
            for cut in 0..bytes.len() {
                assert!(GtidSet::decode(&bytes[..cut]).is_err(), "{text} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_maria_list_keeps_the_last_of_each_domain() {
        let mut list: GtidList = "0-1-100,1-2-3".parse().expect("list");
        list.set("0-2-101".parse().expect("gtid"));
        assert_eq!(list.to_string(), "0-2-101,1-2-3");
        assert!(list.contains_all(&"0-1-101".parse().expect("list")));
        assert!(!list.contains_all(&"0-1-102".parse().expect("list")));
        assert!(!list.contains_all(&"5-1-1".parse().expect("list")));
    }
}
