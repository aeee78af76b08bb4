//! The records of the journal: what they look like on disk, and how they are read back.
//!
//! A record is `length u32 | crc32 u32 | kind u8 | fields`, little-endian; length and checksum cover kind and fields.
//! Strings and lists carry a u32 length. Invariant: [`Record::decode`] of what the writers wrote gives the same record;
//! anything else, cut or altered, gives `None`.

/// Length and checksum before every record.
pub(crate) const HEAD: usize = 8;
/// Kind, topic, offset, time and version before an event's body, counted from the start of the record.
pub(crate) const EVENT_HEAD: usize = HEAD + 1 + 4 + 8 + 8 + 1;
/// A record longer than this is damage, not data: the largest event and its head fit well.
const RECORD_MAX: usize = 8 << 20;

const KIND_TOPIC: u8 = 1;
const KIND_EVENT: u8 = 2;
const KIND_CURSOR: u8 = 3;

/// What a publish brought besides its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// When the frame was taken from the socket, in milliseconds since 1970.
    pub(crate) time_ms: u64,
    /// The header's `protocolversion`.
    pub(crate) version: Version,
}

/// `protocolversion` of a publish: the two that EventMesh knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// `0.3`
    V03 = 0,
    /// `1.0`
    V1 = 1,
}

/// One record of the journal, borrowing from the file's bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// A topic exists; `base` is its oldest kept offset, `next` the offset of its next event.
    Topic { topic: u32, base: u64, next: u64, name: &'a str },
    /// An event, `body_at` bytes after the start of the record.
    Event { topic: u32, offset: u64, arrival: Arrival, body: &'a [u8] },
    /// A group's place in a topic.
    Cursor { topic: u32, cursor: u64, runs: Vec<(u64, u64)>, group: &'a str },
}

/// Appends a topic record.
pub(crate) fn write_topic(out: &mut Vec<u8>, topic: u32, base: u64, next: u64, name: &str) {
    write(out, KIND_TOPIC, |out| {
        out.extend_from_slice(&topic.to_le_bytes());
        out.extend_from_slice(&base.to_le_bytes());
        out.extend_from_slice(&next.to_le_bytes());
        write_text(out, name);
    });
}

/// Appends an event record.
pub(crate) fn write_event(out: &mut Vec<u8>, topic: u32, offset: u64, arrival: Arrival, body: &[u8]) {
    write(out, KIND_EVENT, |out| {
        out.extend_from_slice(&topic.to_le_bytes());
        out.extend_from_slice(&offset.to_le_bytes());
        out.extend_from_slice(&arrival.time_ms.to_le_bytes());
        out.push(arrival.version as u8);
        out.extend_from_slice(body);
    });
}

/// Appends a cursor record.
pub(crate) fn write_cursor(out: &mut Vec<u8>, topic: u32, cursor: u64, runs: &[(u64, u64)], group: &str) {
    write(out, KIND_CURSOR, |out| {
        out.extend_from_slice(&topic.to_le_bytes());
        out.extend_from_slice(&cursor.to_le_bytes());
        out.extend_from_slice(&(runs.len() as u32).to_le_bytes());
        for (first, count) in runs {
            out.extend_from_slice(&first.to_le_bytes());
            out.extend_from_slice(&count.to_le_bytes());
        }
        write_text(out, group);
    });
}

fn write(out: &mut Vec<u8>, kind: u8, fields: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    out.push(kind);
    fields(out);
    let length = (out.len() - start - HEAD) as u32;
    let sum = crc32fast::hash(&out[start + HEAD..]);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + HEAD].copy_from_slice(&sum.to_le_bytes());
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

impl<'a> Record<'a> {
    /// Reads the record at the start of `bytes` and says how long it is; `None` where there is no whole, sound record.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let mut head = Fields(bytes);
        let length = head.u32()? as usize;
        let sum = head.u32()?;
        let payload = head.0.get(..length).filter(|_| length <= RECORD_MAX)?;
        if crc32fast::hash(payload) != sum {
            return None;
        }
        let mut fields = Fields(payload);
        let record = match fields.u8()? {
            KIND_TOPIC => Self::Topic {
                topic: fields.u32()?,
                base: fields.u64()?,
                next: fields.u64()?,
                name: fields.text()?,
            },
            KIND_EVENT => {
                let (topic, offset, time_ms) = (fields.u32()?, fields.u64()?, fields.u64()?);
                let version = if fields.u8()? == 0 { Version::V03 } else { Version::V1 };
                Self::Event { topic, offset, arrival: Arrival { time_ms, version }, body: fields.0 }
            }
            KIND_CURSOR => {
                let (topic, cursor, count) = (fields.u32()?, fields.u64()?, fields.u32()?);
                let mut runs = Vec::new();
                for _ in 0..count {
                    runs.push((fields.u64()?, fields.u64()?));
                }
                Self::Cursor { topic, cursor, runs, group: fields.text()? }
            }
            _ => return None,
        };
        Some((record, HEAD + length))
    }
}

/// The rest of a record's bytes, taken from the front with every length checked.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(front)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.u32()? as usize;
        std::str::from_utf8(self.take(length)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back_and_any_cut_or_flip_is_refused() {
        let mut bytes = Vec::new();
        write_topic(&mut bytes, 3, 7, 9, "shop.orders");
        let topic = bytes.len();
        let arrival = Arrival { time_ms: 1_763_900_000_000, version: Version::V1 };
        write_event(&mut bytes, 3, 9, arrival, b"{\"id\":\"1\"");
        let event = bytes.len();
        write_cursor(&mut bytes, 3, 8, &[(9, 2)], "g");

        let (record, length) = Record::decode(&bytes).expect("topic");
        assert_eq!(
            (record, length),
            (Record::Topic { topic: 3, base: 7, next: 9, name: "shop.orders" }, topic)
        );
        let (record, length) = Record::decode(&bytes[topic..]).expect("event");
        assert_eq!(record, Record::Event { topic: 3, offset: 9, arrival, body: b"{\"id\":\"1\"" });
        assert_eq!(length, event - topic);
        assert_eq!(&bytes[topic + EVENT_HEAD..event], b"{\"id\":\"1\"");
        let (record, _) = Record::decode(&bytes[event..]).expect("cursor");
        assert_eq!(record, Record::Cursor { topic: 3, cursor: 8, runs: vec![(9, 2)], group: "g" });

        for cut in topic..event {
            assert!(Record::decode(&bytes[topic..cut]).is_none(), "cut at {cut}");
        }
        for at in topic..event {
            let mut flipped = bytes[topic..event].to_vec();
            flipped[at - topic] ^= 1;
            assert!(Record::decode(&flipped).is_none(), "flipped at {at}");
        }
    }
}
