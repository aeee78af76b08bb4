//! Reads a stretch of the binlog on the side, over a connection of its own, for what the stream needs to know before it
//! gets there: the GTIDs behind a place, the statements that change definitions.

use flowd_binlog::event::{self, BadEvent, Checksum, Gtid, Header, Rotate, Statement, kind};
use flowd_binlog::gtid::GtidSet;
use flowd_engine::failure::Failure;

use crate::config::MySqlConfig;
use crate::dump::{self, Replica};
use crate::feed::{FeedError, Next};
use crate::inflate;
use crate::position::{BinlogPosition, Gtids, is_behind};

/// A second reader under our own id would throw the first one off: this one has an id of its own.
const SERVER_ID_DIFFERENCE: u32 = 0x4000_0000;

/// A statement that may change definitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Binlog file …
    pub file: String,
    /// … and offset behind the statement.
    pub offset: u64,
    /// Its text.
    pub text: Vec<u8>,
}

impl Definition {
    /// File and offset behind the statement.
    pub fn place(&self) -> (&str, u64) {
        (&self.file, self.offset)
    }
}

/// The statements between two places that may change definitions.
pub fn definitions(
    config: &MySqlConfig,
    from: (&str, u64),
    to: (&str, u64),
) -> Result<Vec<Definition>, Failure> {
    let mut found = Vec::new();
    scan(config, from, &mut |header, body, place| {
        if matches!(header.kind, kind::QUERY | kind::MARIA_QUERY_COMPRESSED) {
            let mut text = Vec::new();
            let query = inflate::query(header, body, &mut text)?;
            if Statement::of(query.text) == Statement::Definition {
                found.push(Definition { file: place.0.into(), offset: place.1, text: query.text.into() });
            }
        }
        Ok(!is_behind(place, to))
    })?;
    Ok(found)
}

/// The GTIDs behind a place of a MySQL binlog file: those that the file's head names as earlier, and those in the file
/// before the place.
pub fn gtids_at(config: &MySqlConfig, file: &str, offset: u64) -> Result<GtidSet, Failure> {
    let mut set = GtidSet::default();
    let mut before = 4;
    scan(config, (file, 4), &mut |header, body, place| {
        match header.kind {
            kind::ROTATE => return Ok(true),
            kind::PREVIOUS_GTIDS => {
                set = GtidSet::decode(body)
                    .map_err(|bad| BadEvent::Malformed(kind::PREVIOUS_GTIDS, bad.to_string()))?;
            }
            kind::GTID | kind::GTID_TAGGED if before < offset => {
                let tagged = header.kind == kind::GTID_TAGGED;
                let gtid = if tagged { Gtid::parse_tagged(body)? } else { Gtid::parse(body)? };
                set.add(gtid.uuid, gtid.tag, gtid.number);
            }
            _ => {}
        }
        before = place.1;
        Ok(place.1 >= offset)
    })?;
    Ok(set)
}

/// Gets an event's header and body, and the place behind it; true ends the reading.
type Visit<'a> = dyn FnMut(&Header, &[u8], (&str, u64)) -> Result<bool, BadEvent> + 'a;

/// Reads from a place on until the visitor has enough. Artificial events are not shown.
fn scan(config: &MySqlConfig, (file, offset): (&str, u64), visit: &mut Visit<'_>) -> Result<(), Failure> {
    let replica = Replica::new(config, "scan");
    let replica = Replica { server_id: replica.server_id ^ SERVER_ID_DIFFERENCE, ..replica };
    let position = BinlogPosition {
        server: String::new(),
        gtids: Gtids::None,
        file: file.into(),
        offset,
        open: None,
        filter: 0,
        by_place: true,
    };
    let mut feed = dump::open(config, &replica, &position, usize::MAX)?.feed;
    let mut walk = Walk { checksum: Checksum::None, file: file.into(), offset };
    loop {
        match feed.next_event().map_err(|error| failure(&error))? {
            Next::Event(range) => {
                let done = walk.event(&feed.bytes()[range], visit);
                if done.map_err(|bad| {
                    Failure::Unusable(format!("reading the binlog from {file}:{offset}: {bad}"))
                })? {
                    return Ok(());
                }
            }
            Next::Oversize(..) => {}
            Next::Nothing => {
                feed.discard();
                feed.fill().map_err(|error| failure(&error))?;
            }
        }
    }
}

fn failure(error: &FeedError) -> Failure {
    let text = format!("reading the binlog on the side: {error}");
    match error {
        FeedError::Io(_) => Failure::Retry(text),
        FeedError::Server(..) | FeedError::Malformed(_) => Failure::Unusable(text),
    }
}

/// Where a scan stands.
struct Walk {
    checksum: Checksum,
    file: String,
    offset: u64,
}

impl Walk {
    fn event(&mut self, event: &[u8], visit: &mut Visit<'_>) -> Result<bool, BadEvent> {
        let header = Header::parse(event)?;
        if header.kind == kind::FORMAT_DESCRIPTION {
            self.checksum = event::format_description(event)?;
            return Ok(false);
        }
        if header.is_artificial() {
            if header.kind == kind::ROTATE {
                let rotate = Rotate::parse(event::body(&header, event, event::detect_checksum(event))?)?;
                (self.file, self.offset) = (rotate.file.into(), rotate.position);
            }
            return Ok(false);
        }
        let body = event::body(&header, event, self.checksum)?;
        if header.kind == kind::HEARTBEAT {
            return Ok(false);
        }
        self.offset = header.end_offset(self.offset);
        visit(&header, body, (&self.file, self.offset))
    }
}
