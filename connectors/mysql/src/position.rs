//! Where the source stands, in a server's binlog and in a snapshot, and how that is kept.
//!
//! A position in the binlog is a boundary between transactions, and, where a transaction was handed on in part, how
//! many of its rows were. It names the server and the filter that it was made under: the row count means nothing under
//! others. Kept is a format byte and rkyv records of texts and numbers: the binlog's position alone (format 1), or the
//! length of the snapshot's state in four bytes, the state, and the binlog's position (format 2). Where events are
//! counted, the lanes stand before either of them (format 3), with their length in four bytes. Invariant: a position
//! that was stored reads back equal, or not at all, and is written again as the same bytes.

use flowd_binlog::gtid::{GtidList, GtidSet};
use flowd_engine::failure::Failure;
use flowd_engine::record::Position;

use crate::lanes::{EncodedLanes, Lanes};
use crate::snapshot::state::{EncodedState, SnapshotState};

/// The binlog's position alone.
const FORMAT_BINLOG: u8 = 1;
/// A snapshot's state before it.
const FORMAT_SNAPSHOT: u8 = 2;
/// The lanes before one of the others.
const FORMAT_LANES: u8 = 3;

/// Which transactions are behind us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gtids {
    /// The server counts no GTIDs: file and offset alone tell.
    None,
    /// MySQL's set.
    MySql(GtidSet),
    /// MariaDB's last one per domain.
    MariaDb(GtidList),
}

impl std::fmt::Display for Gtids {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::MySql(set) => set.fmt(formatter),
            Self::MariaDb(list) => list.fmt(formatter),
        }
    }
}

/// A transaction that was handed on in part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTransaction {
    /// Its id, as [`crate::transaction::TransactionId`] prints it.
    pub id: String,
    /// How many captured rows of it are behind us.
    pub rows: u64,
}

/// A place in a server's binlog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinlogPosition {
    /// What tells this server's binlog files from another's: its UUID on MySQL, its id on MariaDB.
    pub server: String,
    /// The transactions that ended before here.
    pub gtids: Gtids,
    /// The binlog file …
    pub file: String,
    /// … and the offset in it where the next transaction, or the open one, begins.
    pub offset: u64,
    /// The transaction that is half behind us.
    pub open: Option<OpenTransaction>,
    /// Fingerprint of the table filter.
    pub filter: u64,
    /// Whether to go on by file and offset although the server counts GTIDs: what comes next may have none.
    pub by_place: bool,
}

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct Stored {
    flavor: u8,
    server: String,
    gtids: String,
    file: String,
    offset: u64,
    open: Option<(String, u64)>,
    filter: u64,
    by_place: bool,
}

/// Where the source stands: in the binlog, in the snapshot if there is or was one, and how its events are laid out in
/// lanes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePosition {
    /// In the binlog.
    pub binlog: BinlogPosition,
    /// In the snapshot.
    pub snapshot: Option<SnapshotState>,
    /// The lanes; `None` where no event was counted yet.
    pub lanes: Option<Lanes>,
}

impl SourcePosition {
    /// The bytes that the registry keeps.
    pub fn to_position(&self) -> Position {
        let snapshot = self.snapshot.as_ref().map(EncodedState::of);
        self.binlog.to_position_with(snapshot.as_ref(), self.lanes.as_ref().map(Lanes::encoded))
    }

    /// Reads what [`Self::to_position`] or [`BinlogPosition::to_position_with`] wrote.
    pub fn from_position(position: &Position) -> Result<Self, Failure> {
        let (lanes, rest) = lanes(&position.0)?;
        let (snapshot, record) = records(rest)?;
        let snapshot = snapshot.map(EncodedState::read).transpose().map_err(|error| bad(&error))?;
        let decoded = lanes.map(|bytes| Lanes::decode(bytes).ok_or_else(|| bad("its lanes are cut off")));
        Ok(Self { binlog: BinlogPosition::read(record)?, snapshot, lanes: decoded.transpose()? })
    }
}

impl BinlogPosition {
    /// The bytes that the registry keeps where there was no snapshot and nothing is counted.
    pub fn to_position(&self) -> Position {
        self.to_position_with(None, None)
    }

    /// The bytes that the registry keeps, with a snapshot's state and lanes that are bytes already: each batch has a
    /// position, and few of them change either.
    pub fn to_position_with(
        &self,
        snapshot: Option<&EncodedState>,
        lanes: Option<&EncodedLanes>,
    ) -> Position {
        let record = self.write();
        let (snapshot, lanes) = (snapshot.map(EncodedState::bytes), lanes.map(EncodedLanes::bytes));
        let sizes = [lanes, snapshot].into_iter().flatten().map(<[u8]>::len).sum::<usize>();
        let mut bytes = Vec::with_capacity(2 * HEAD_BYTES + sizes + record.len());
        if let Some(lanes) = lanes {
            put(&mut bytes, FORMAT_LANES, lanes);
        }
        match snapshot {
            Some(snapshot) => put(&mut bytes, FORMAT_SNAPSHOT, snapshot),
            None => bytes.push(FORMAT_BINLOG),
        }
        bytes.extend_from_slice(&record);
        Position(bytes.into())
    }

    /// Reads the binlog's part of a position.
    pub fn from_position(position: &Position) -> Result<Self, Failure> {
        Self::read(records(lanes(&position.0)?.1)?.1)
    }

    fn write(&self) -> rkyv::util::AlignedVec {
        let stored = Stored {
            flavor: match self.gtids {
                Gtids::None => 0,
                Gtids::MySql(_) => 1,
                Gtids::MariaDb(_) => 2,
            },
            server: self.server.clone(),
            gtids: self.gtids.to_string(),
            file: self.file.clone(),
            offset: self.offset,
            open: self.open.as_ref().map(|open| (open.id.clone(), open.rows)),
            filter: self.filter,
            by_place: self.by_place,
        };
        rkyv::to_bytes::<rkyv::rancor::Error>(&stored).expect("texts and numbers always serialise")
    }

    fn read(record: &[u8]) -> Result<Self, Failure> {
        let stored = rkyv::from_bytes::<Stored, rkyv::rancor::Error>(record)
            .map_err(|error| bad(&error.to_string()))?;
        let gtids = match stored.flavor {
            0 => Gtids::None,
            1 => Gtids::MySql(stored.gtids.parse().map_err(|_| bad(&stored.gtids))?),
            2 => Gtids::MariaDb(stored.gtids.parse().map_err(|_| bad(&stored.gtids))?),
            other => return Err(bad(&format!("flavor {other}"))),
        };
        Ok(Self {
            server: stored.server,
            gtids,
            file: stored.file,
            offset: stored.offset,
            open: stored.open.map(|(id, rows)| OpenTransaction { id, rows }),
            filter: stored.filter,
            by_place: stored.by_place,
        })
    }

    /// `file:offset`; empty where only the GTIDs are known.
    pub fn place(&self) -> String {
        if self.file.is_empty() { String::new() } else { format!("{}:{}", self.file, self.offset) }
    }
}

/// Bytes before a record that something follows: the format, and the record's length.
const HEAD_BYTES: usize = 1 + 4;

fn put(bytes: &mut Vec<u8>, format: u8, record: &[u8]) {
    bytes.push(format);
    let size = u32::try_from(record.len()).expect("a state has few ranges, and lanes few tables");
    bytes.extend_from_slice(&size.to_le_bytes());
    bytes.extend_from_slice(record);
}

/// A record with its length before it, and what follows.
fn sized(bytes: &[u8]) -> Result<(Option<&[u8]>, &[u8]), Failure> {
    let cut = || bad("it is cut off");
    let (size, rest) = bytes.split_first_chunk().ok_or_else(cut)?;
    let size = usize::try_from(u32::from_le_bytes(*size)).map_err(|_| cut())?;
    rest.split_at_checked(size).map(|(record, rest)| (Some(record), rest)).ok_or_else(cut)
}

/// The lanes' record, where there is one, and what follows.
fn lanes(bytes: &[u8]) -> Result<(Option<&[u8]>, &[u8]), Failure> {
    match bytes.split_first() {
        Some((&FORMAT_LANES, rest)) => sized(rest),
        _ => Ok((None, bytes)),
    }
}

/// The snapshot's record, where there is one, and the binlog's.
fn records(bytes: &[u8]) -> Result<(Option<&[u8]>, &[u8]), Failure> {
    match bytes.split_first() {
        None => Err(bad("it is empty")),
        Some((&FORMAT_BINLOG, record)) => Ok((None, record)),
        Some((&FORMAT_SNAPSHOT, rest)) => sized(rest),
        Some((format, _)) => {
            let known = format!("{FORMAT_BINLOG}, {FORMAT_SNAPSHOT} and {FORMAT_LANES}");
            Err(bad(&format!("its format is {format}, this flowd knows {known}")))
        }
    }
}

fn bad(text: &str) -> Failure {
    Failure::Unusable(format!("the stored position cannot be read: {text}"))
}

/// A position in words, for people and for `flowd position --json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The GTID set; empty where the server counts none.
    pub gtid: String,
    /// Binlog file.
    pub file: String,
    /// Offset in it.
    pub pos: u64,
    /// The open transaction's id and how many of its rows are behind.
    pub open: Option<(String, u64)>,
    /// The server's identity.
    pub server: String,
    /// How far the snapshot has come, if there is or was one.
    pub snapshot: Option<SnapshotState>,
}

/// Reads a stored position; `None` where nothing was stored yet.
pub fn describe(position: &Position) -> Result<Option<Description>, Failure> {
    if position.0.is_empty() {
        return Ok(None);
    }
    let SourcePosition { binlog: position, snapshot, .. } = SourcePosition::from_position(position)?;
    Ok(Some(Description {
        snapshot,
        gtid: position.gtids.to_string(),
        file: position.file,
        pos: position.offset,
        open: position.open.map(|open| (open.id, open.rows)),
        server: position.server,
    }))
}

impl std::fmt::Display for Description {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // After a start by GTID no place is known until the first event.
        let gap = if self.file.is_empty() { "" } else { " " };
        if !self.file.is_empty() {
            write!(formatter, "{}:{}", self.file, self.pos)?;
        }
        if !self.gtid.is_empty() {
            write!(formatter, "{gap}gtid {}", self.gtid)?;
        }
        if let Some((id, rows)) = &self.open {
            write!(formatter, " and {rows} rows of {id}")?;
        }
        if let Some(snapshot) = self.snapshot.as_ref().filter(|snapshot| !snapshot.finished) {
            let SnapshotState { tables_done, tables, rows, .. } = snapshot;
            write!(formatter, ", snapshot {tables_done} of {tables} tables, {rows} rows")?;
        }
        Ok(())
    }
}

/// Whether the first binlog place comes before the second one of the same server: file names end in a counting number.
pub fn is_behind(place: (&str, u64), other: (&str, u64)) -> bool {
    if place.0 == other.0 {
        return place.1 < other.1;
    }
    (file_number(place.0), place.1) < (file_number(other.0), other.1)
}

fn file_number(file: &str) -> u64 {
    file.rsplit_once('.').and_then(|(_, number)| number.parse().ok()).unwrap_or(0)
}

/// Where a first start begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartAt {
    /// The oldest binlog that the server has.
    Earliest,
    /// The end of the binlog at the time of the start.
    Latest,
    /// Behind these transactions (`gtid:SET`).
    Gtid(String),
    /// At a place in a file (`file:pos`).
    Place(String, u64),
}

impl std::str::FromStr for StartAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "earliest" => return Ok(Self::Earliest),
            "latest" => return Ok(Self::Latest),
            _ => {}
        }
        if let Some(set) = text.strip_prefix("gtid:") {
            check_gtids(set)?;
            return Ok(Self::Gtid(set.into()));
        }
        match text.rsplit_once(':').map(|(file, offset)| (file, offset.parse())) {
            Some((file, Ok(offset))) if !file.is_empty() && offset >= 4 => {
                Ok(Self::Place(file.into(), offset))
            }
            _ => Err(
                "earliest, latest, gtid:SET or FILE:POS (binlog.000003:4; the first position of a file is 4)"
                    .into(),
            ),
        }
    }
}

/// Where a run ends by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopAt {
    /// The end of the binlog when the process started.
    End,
    /// When all these transactions are behind us.
    Gtid(String),
}

impl std::str::FromStr for StopAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("gtid:") {
            Some(set) => check_gtids(set).map(|()| Self::Gtid(set.into())),
            None if text == "end" => Ok(Self::End),
            None => Err("end or gtid:SET".into()),
        }
    }
}

/// Whether a text is a GTID set of either kind; which one the server wants is known only when it is asked.
fn check_gtids(text: &str) -> Result<(), String> {
    match (text.parse::<GtidSet>(), text.parse::<GtidList>()) {
        (Ok(set), _) if !set.is_empty() => Ok(()),
        (_, Ok(list)) if !list.is_empty() => Ok(()),
        (Err(mysql), Err(maria)) => Err(format!("{mysql}; {maria}")),
        _ => Err("gtid: and a set that is not empty (gtid:0-1-100, gtid:uuid:1-5)".into()),
    }
}

#[cfg(test)]
mod tests {
    use flowd_binlog::result::{KeyKind, KeyValue};

    use super::*;
    use crate::lanes::NameCase;
    use crate::snapshot::Range;
    use crate::snapshot::state::OpenTable;

    fn position() -> BinlogPosition {
        BinlogPosition {
            server: "7c8a0b8e-e766-11f1-8ec1-02fc00000001".into(),
            gtids: Gtids::MySql("7c8a0b8e-e766-11f1-8ec1-02fc00000001:1-5:t:1".parse().expect("set")),
            file: "binlog.000003".into(),
            offset: 5_000_000_000,
            open: Some(OpenTransaction { id: "x:6".into(), rows: 17 }),
            filter: 99,
            by_place: true,
        }
    }

    fn snapshot() -> SnapshotState {
        let key = |text: &str| Some(vec![KeyValue { kind: KeyKind::Text, bytes: text.as_bytes().into() }]);
        let open = OpenTable {
            schema: "shop".into(),
            name: "orders".into(),
            key: vec!["id".into()],
            whole: false,
            remaining: vec![Range { after: None, upto: key("b") }, Range { after: key("d"), upto: key("z") }],
            rows: 1_000,
            rows_estimated: 3_000,
        };
        SnapshotState {
            through: Some(("shop".into(), "orders".into())),
            open: vec![open],
            extra: vec![("shop".into(), "lines".into())],
            tables: 7,
            tables_done: 3,
            rows: 120_000,
            ..SnapshotState::new("s1".into(), 1_700_000_000_000_000, "binlog.000002".into(), 157)
        }
    }

    #[test]
    fn a_stored_position_reads_back_equal_or_not_at_all() {
        let lanes = Lanes::new(4, NameCase::Exact, [("shop".into(), "orders".into())]);
        let some = [
            (None, None),
            (Some(snapshot()), None),
            (None, Some(lanes.clone())),
            (Some(snapshot()), Some(lanes)),
        ];
        for (snapshot, lanes) in some {
            let position = SourcePosition { binlog: position(), snapshot, lanes };
            let stored = position.to_position();
            let read = SourcePosition::from_position(&stored).expect("readable");
            assert_eq!(read.to_position(), stored, "counts go on only behind the same bytes");
            assert_eq!(read, position);
            assert_eq!(BinlogPosition::from_position(&stored), Ok(position.binlog));
            for cut in 0..stored.0.len() {
                let cut_off = Position(stored.0.slice(..cut));
                assert!(SourcePosition::from_position(&cut_off).is_err(), "cut at {cut}");
            }
        }
        assert_eq!(describe(&Position::default()), Ok(None));
    }

    #[test]
    fn a_position_of_the_first_format_still_reads() {
        let stored = concat!(
            "0137633861306238652d653736362d313166312d386563312d303266633030303030303031376338",
            "61306238652d653736362d313166312d386563312d3032666330303030303030313a312d353a743a",
            "3162696e6c6f672e30303030303301a4000000a2ffffffac000000beffffff8d000000e2ffffff00",
            "f2052a0100000001783a36ffffffffff1100000000000000630000000000000001",
        );
        let bytes: Vec<u8> = (0..stored.len() / 2)
            .map(|index| u8::from_str_radix(&stored[index * 2..index * 2 + 2], 16).expect("hex"))
            .collect();
        let position = SourcePosition { binlog: position(), snapshot: None, lanes: None };
        assert_eq!(SourcePosition::from_position(&Position(bytes.into())), Ok(position));
    }

    #[test]
    fn a_damaged_position_is_an_error_and_no_panic() {
        let lanes = Some(Lanes::new(4, NameCase::Exact, [("shop".into(), "orders".into())]));
        let stored = SourcePosition { binlog: position(), snapshot: Some(snapshot()), lanes }.to_position();
        for index in 0..stored.0.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut bytes = stored.0.to_vec();
                bytes[index] = byte;
                let _ = SourcePosition::from_position(&Position(bytes.into()));
            }
        }
        let unknown = SourcePosition::from_position(&Position(vec![9, 0].into())).expect_err("unknown");
        assert!(unknown.to_string().contains("its format is 9, this flowd knows 1, 2 and 3"), "{unknown}");
    }

    #[test]
    fn a_running_snapshot_is_told_and_a_finished_one_is_not() {
        let described = |snapshot| {
            let stored = SourcePosition { binlog: position(), snapshot, lanes: None }.to_position();
            describe(&stored).expect("readable").expect("stored").to_string()
        };
        let without = described(None);
        assert_eq!(described(Some(snapshot())), format!("{without}, snapshot 3 of 7 tables, 120000 rows"));
        assert_eq!(described(Some(SnapshotState { finished: true, ..snapshot() })), without);
    }

    #[test]
    fn start_and_stop_are_parsed_or_explained() {
        assert_eq!("binlog.000003:4".parse(), Ok(StartAt::Place("binlog.000003".into(), 4)));
        assert_eq!("gtid:0-1-100".parse(), Ok(StartAt::Gtid("0-1-100".into())));
        for text in ["", "gtid:", "gtid:x", "binlog.000003", "binlog.000003:1", ":4"] {
            assert!(text.parse::<StartAt>().is_err(), "{text}");
        }
        assert_eq!("end".parse(), Ok(StopAt::End));
        assert!("latest".parse::<StopAt>().is_err());
    }

    #[test]
    fn places_compare_by_file_number_then_offset() {
        let end = ("binlog.1000000", 4);
        assert!(is_behind(("binlog.999999", 900), end));
        assert!(!is_behind(("binlog.1000000", 4), end));
        assert!(!is_behind(("binlog.1000001", 4), end));
    }
}
