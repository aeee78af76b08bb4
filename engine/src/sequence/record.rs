//! The counts as they are stored with a position, and how a run goes on from them.

use bytes::Bytes;

use super::{Epoch, LANES_MAX, SequenceSettings, TopicId, Topics};
use crate::failure::Failure;

/// What is stored with a position: epoch, identity, and each lane's last number.
///
/// ```text
/// byte 0   format version
/// 8 bytes  epoch          (all numbers big-endian)
/// 8 bytes  identity
/// 2 bytes  lanes of a topic
/// then for each topic that has counted anything:
///   2 bytes  length of the name, and the name
///   2 bytes  number of lanes that follow
///   10 bytes each: lane, last number
/// ```
#[derive(Debug, Clone)]
pub(crate) struct SequenceRecord {
    pub(crate) epoch: Epoch,
    identity: u64,
    lanes: u16,
    topics: Topics,
    /// By slot.
    pub(crate) counts: Vec<u64>,
}

const FORMAT: u8 = 1;

impl SequenceRecord {
    /// Goes on with what was stored, where it was stored for `same_position` and the same identity; else a new epoch,
    /// greater than the stored one. `now_us` is the wall clock.
    ///
    /// # Errors
    /// `Unusable` where what is stored cannot be read: what has been counted is not known then.
    pub(crate) fn resume<E>(
        settings: &SequenceSettings<E>,
        stored: &[u8],
        same_position: bool,
        now_us: i64,
    ) -> Result<Self, Failure> {
        assert!((1..=LANES_MAX).contains(&settings.lanes), "{} lanes of 1 to {LANES_MAX}", settings.lanes);
        let mut record = Self {
            epoch: Epoch(u64::try_from(now_us).unwrap_or(0).max(1)),
            identity: settings.identity,
            lanes: settings.lanes,
            topics: settings.topics.clone(),
            counts: Vec::new(),
        };
        if stored.is_empty() {
            return Ok(record);
        }
        let mut reader = Reader(stored);
        let head = reader.head().map_err(|text| unreadable(&text))?;
        if same_position && head.identity == settings.identity && head.lanes == settings.lanes {
            record.epoch = head.epoch;
            reader.counts(&mut record).map_err(|text| unreadable(&text))?;
        } else {
            record.epoch = record.epoch.max(Epoch(head.epoch.0 + 1));
            tracing::info!(
                epoch = record.epoch.0,
                "events are counted anew: position or identity have changed"
            );
        }
        Ok(record)
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut out = vec![FORMAT];
        out.extend_from_slice(&self.epoch.0.to_be_bytes());
        out.extend_from_slice(&self.identity.to_be_bytes());
        out.extend_from_slice(&self.lanes.to_be_bytes());
        for (topic, counts) in self.counts.chunks(usize::from(self.lanes)).enumerate() {
            let used = || counts.iter().enumerate().filter(|(_, number)| **number > 0);
            if used().next().is_none() {
                continue;
            }
            let topic = TopicId(u32::try_from(topic).expect("fewer topics than 32 bits count"));
            let name = self.topics.name(topic).expect("only interned topics are counted");
            let length = u16::try_from(name.len()).expect("a topic's name is shorter than 64 KiB");
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(&(used().count() as u16).to_be_bytes());
            for (lane, number) in used() {
                out.extend_from_slice(&(lane as u16).to_be_bytes());
                out.extend_from_slice(&number.to_be_bytes());
            }
        }
        out.into()
    }
}

fn unreadable(text: &str) -> Failure {
    Failure::Unusable(format!(
        "the counts of the events that are stored with the position cannot be used: {text}; restore the registry from \
         a copy, or begin anew with another `offsetStorageConfig.offsetStorageAddr`"
    ))
}

struct Head {
    epoch: Epoch,
    identity: u64,
    lanes: u16,
}

/// Reads a stored record.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or("they are cut off")?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u16(&mut self) -> Result<u16, String> {
        self.take().map(u16::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.take().map(u64::from_be_bytes)
    }

    fn head(&mut self) -> Result<Head, String> {
        match self.take::<1>()? {
            [FORMAT] => {}
            [other] => return Err(format!("format version {other}, this flowd reads only version {FORMAT}")),
        }
        Ok(Head { epoch: Epoch(self.u64()?), identity: self.u64()?, lanes: self.u16()? })
    }

    fn counts(&mut self, record: &mut SequenceRecord) -> Result<(), String> {
        while !self.0.is_empty() {
            let length = usize::from(self.u16()?);
            let (name, rest) = self.0.split_at_checked(length).ok_or("a topic's name is cut off")?;
            self.0 = rest;
            let name = std::str::from_utf8(name).map_err(|_| "a topic's name is not UTF-8")?;
            let first = record.topics.intern(name).0 as usize * usize::from(record.lanes);
            for _ in 0..self.u16()? {
                let (lane, number) = (self.u16()?, self.u64()?);
                if lane >= record.lanes {
                    return Err(format!("lane {lane} of {} lanes", record.lanes));
                }
                let slot = first + usize::from(lane);
                if slot >= record.counts.len() {
                    record.counts.resize(slot + 1, 0);
                }
                record.counts[slot] = number;
            }
        }
        Ok(())
    }
}
