//! What the numbers of events depend on: which tables are spread over lanes, and all that begins a new epoch.

use flowd_engine::failure::Failure;
use flowd_engine::sequence::SequenceSettings;
use sha2::{Digest, Sha256};

use super::{MySqlSource, SourceSettings};
use crate::catalog::unique::{name_case, with_primary_key_alone};
use crate::config::MySqlConfig;
use crate::connection::Connection;
use crate::encode::{self, Outgoing};
use crate::lanes::{Lanes, NameCase};
use crate::position::{BinlogPosition, SourcePosition};

/// The stored lanes where counting goes on, else what the catalog says now. `begin` is where the run begins: only behind
/// the stored position itself do the counts go on.
pub(super) fn lanes(
    connection: &mut Connection,
    config: &MySqlConfig,
    number: u16,
    stored: Option<SourcePosition>,
    begin: &SourcePosition,
) -> Result<Lanes, Failure> {
    let goes_on = stored.as_ref() == Some(begin);
    let stored = stored.and_then(|stored| stored.lanes);
    let mut asked = || ask(connection, config, number);
    match stored {
        Some(lanes) if goes_on && lanes.number() == number => Ok(lanes),
        Some(lanes) => Ok(asked()?.after(&lanes)),
        None => asked(),
    }
}

fn ask(connection: &mut Connection, config: &MySqlConfig, number: u16) -> Result<Lanes, Failure> {
    if number == 1 {
        return Ok(Lanes::new(1, NameCase::Exact, []));
    }
    let Some(names) = name_case(connection)? else {
        tracing::info!("lower_case_table_names is 2: the events of every table go in one lane");
        return Ok(Lanes::new(number, NameCase::Lower, []));
    };
    let tables = with_primary_key_alone(connection, &config.filter)?;
    tracing::debug!(tables = tables.len(), "tables whose events may be spread over lanes");
    Ok(Lanes::new(number, names, tables))
}

/// A number that changes with whatever numbers depend on besides the position.
fn identity(settings: &SourceSettings, begin: &BinlogPosition) -> u64 {
    let mut digest = Sha256::new();
    let mut add = |part: &[u8]| {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    };
    add(b"1");
    add(&settings.lanes.to_be_bytes());
    add(&begin.filter.to_be_bytes());
    add(begin.server.as_bytes());
    add(settings.subject.as_bytes());
    // A larger event is one marker, whatever it would have been.
    add(&settings.event_bytes_max.to_be_bytes());
    if let Some(sinks) = &settings.applied {
        let mut sinks: Vec<&str> = sinks.iter().map(String::as_str).collect();
        sinks.sort_unstable();
        sinks.iter().for_each(|sink| add(sink.as_bytes()));
        add(b"applied");
    }
    let bytes: [u8; 32] = digest.finalize().into();
    u64::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]])
}

impl MySqlSource {
    /// How the events are to be counted.
    ///
    /// # Panics
    /// Before the source is started: only then is it known what the numbers depend on.
    pub fn sequence(&self) -> SequenceSettings<Outgoing> {
        let started = self.started.as_ref().expect("counting comes after start");
        SequenceSettings {
            topics: started.tables.events.topics.clone(),
            lanes: self.settings.lanes,
            identity: identity(&self.settings, &started.beginning.position.binlog),
            stamp: encode::stamp,
            place: |event| event.place,
        }
    }
}

#[cfg(test)]
mod tests {
    use flowd_codec::event::Framing;

    use super::*;
    use crate::position::{Gtids, StartAt};

    fn settings() -> SourceSettings {
        SourceSettings {
            subject: "{db}.{table}".into(),
            framing: Framing::Line,
            clock_fields: false,
            start_at: StartAt::Latest,
            stop_at: None,
            event_bytes_max: 1 << 20,
            snapshot_bytes: 1 << 20,
            registry: "r".into(),
            lanes: 4,
            applied: None,
        }
    }

    fn begin() -> BinlogPosition {
        BinlogPosition {
            server: "s".into(),
            gtids: Gtids::None,
            file: "binlog.000001".into(),
            offset: 4,
            open: None,
            filter: 7,
            by_place: false,
        }
    }

    #[test]
    fn whatever_numbers_depend_on_begins_a_new_epoch_and_nothing_else_does() {
        let first = identity(&settings(), &begin());
        let applied = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            identity(&SourceSettings { applied: Some(names), ..settings() }, &begin())
        };
        for other in [
            identity(&SourceSettings { lanes: 5, ..settings() }, &begin()),
            identity(&SourceSettings { subject: "all".into(), ..settings() }, &begin()),
            identity(&SourceSettings { event_bytes_max: 1 << 21, ..settings() }, &begin()),
            identity(&settings(), &BinlogPosition { filter: 8, ..begin() }),
            identity(&settings(), &BinlogPosition { server: "other".into(), ..begin() }),
            applied(&["a"]),
        ] {
            assert_ne!(other, first);
        }
        assert_eq!(applied(&["a", "b"]), applied(&["b", "a"]));
        assert_ne!(applied(&["a", "b"]), applied(&["ab"]));
        let moved = BinlogPosition { offset: 99, file: "binlog.000009".into(), ..begin() };
        let same = SourceSettings { framing: Framing::EventMesh, clock_fields: true, ..settings() };
        assert_eq!(identity(&same, &moved), first);
    }
}
