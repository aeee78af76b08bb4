//! Reports of what a sink has applied: events of a control topic by which a source learns how far it may move on.
//!
//! A report is cumulative for each lane it names, so a lost one is made good by the next. It is cut into events that are
//! small enough for any server. Not here: when reports are sent, and what becomes of them.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::event::incoming::Chunk;
use crate::event::{EventWriter, Framed, Framing, Template};
use crate::json;

/// The `type` of a report.
pub const EVENT_TYPE: &str = "flowd.applied";
/// What an event of a report takes at most, in bytes of JSON; a Java server as shipped takes 1000.
const EVENT_BYTES_MAX: usize = 900;

/// The control topic of a source, unless it is given another one.
pub fn control_topic(connector_name: &str) -> String {
    format!("flowd.applied.{connector_name}")
}

/// The same, from the `source` of that source's events, `/flowd/<kind>/<connectorName>`.
pub fn control_topic_of(source: &str) -> Option<String> {
    let mut parts = source.strip_prefix("/flowd/")?.splitn(2, '/');
    let (_kind, name) = (parts.next()?, parts.next()?);
    (!name.is_empty()).then(|| control_topic(name))
}

/// How far a lane is applied: all of the epoch up to this number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneMark<'a> {
    /// The epoch.
    pub epoch: u64,
    /// The topic.
    #[serde(borrow)]
    pub topic: Cow<'a, str>,
    /// The lane of the topic.
    pub lane: u16,
    /// The last number applied.
    pub sequence: u64,
}

/// A chunk of a snapshot that is applied, all its rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkMark<'a> {
    /// The snapshot.
    #[serde(borrow)]
    pub snapshot: Cow<'a, str>,
    /// The chunk.
    #[serde(serialize_with = "write_chunk", deserialize_with = "read_chunk")]
    pub chunk: Chunk,
}

/// What one sink says of one source.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Report<'a> {
    /// The source, as its events name it.
    #[serde(borrow)]
    pub source: Cow<'a, str>,
    /// The sink's connectorName.
    #[serde(borrow)]
    pub instance: Cow<'a, str>,
    /// Lanes.
    #[serde(borrow, default)]
    pub lanes: Vec<LaneMark<'a>>,
    /// Chunks.
    #[serde(borrow, default)]
    pub chunks: Vec<ChunkMark<'a>>,
}

/// Reads the `data` of a report's event.
///
/// # Errors
/// Where it is none.
pub fn read(data: &str) -> Result<Report<'_>, serde_json::Error> {
    serde_json::from_str(data)
}

fn write_chunk<S: Serializer>(chunk: &Chunk, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(chunk)
}

fn read_chunk<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Chunk, D::Error> {
    let text = Cow::<str>::deserialize(deserializer)?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
    let chunk = text
        .split_once('-')
        .and_then(|(run, number)| Some(Chunk { run: digits(run)?, number: digits(number)? }));
    chunk.ok_or_else(|| de::Error::custom("a chunk is two numbers with a hyphen between them"))
}

/// Writes the reports of one sink on one source.
#[derive(Debug)]
pub struct ReportWriter {
    template: Template,
    /// `{"source":…,"instance":…`
    head: Vec<u8>,
    id: String,
    count: u64,
}

impl ReportWriter {
    /// For the control topic. `run` tells this process's events from an earlier one's: µs since 1970 at its start.
    pub fn new(framing: Framing, topic: &str, source: &str, instance: &str, run: u64) -> Self {
        let template = Template::new(framing, "/flowd/sink", EVENT_TYPE, topic);
        let mut head = br#"{"source":"#.to_vec();
        json::write_string(&mut head, source);
        head.extend_from_slice(br#","instance":"#);
        json::write_string(&mut head, instance);
        Self { template, head, id: format!("applied/{run:016}/{}/", fingerprint(source, instance)), count: 0 }
    }

    /// Appends the events of a report to `out`.
    pub fn write<'a>(
        &mut self,
        out: &mut Vec<u8>,
        time_us: i64,
        lanes: impl IntoIterator<Item = LaneMark<'a>>,
        chunks: impl IntoIterator<Item = ChunkMark<'a>>,
    ) -> Vec<Framed> {
        let lanes = lanes.into_iter().map(|lane| (Kind::Lane, to_json(&lane)));
        let chunks = chunks.into_iter().map(|chunk| (Kind::Chunk, to_json(&chunk)));
        let mut events = Vec::new();
        let mut body = Body::new(&self.head);
        for (kind, entry) in lanes.chain(chunks) {
            let room = EVENT_BYTES_MAX.saturating_sub(self.around());
            if !body.is_empty && body.json.len() + entry.len() + Body::TAIL_BYTES_MAX > room {
                let full = std::mem::replace(&mut body, Body::new(&self.head));
                events.push(self.event(out, time_us, full));
            }
            body.add(kind, &entry);
        }
        if !body.is_empty {
            events.push(self.event(out, time_us, body));
        }
        events
    }

    /// Bytes of an event's JSON without its data, about.
    fn around(&self) -> usize {
        let mut empty = Vec::new();
        let mut writer = EventWriter::begin(&mut empty, &self.template);
        writer.id(|out| out.extend_from_slice(self.id.as_bytes()));
        writer.time_us(0);
        writer.data().extend_from_slice(b"{}");
        // The count's digits come on top.
        let event = writer.finish();
        event.json(&empty).len() + 20
    }

    fn event(&mut self, out: &mut Vec<u8>, time_us: i64, body: Body) -> Framed {
        self.count += 1;
        let mut writer = EventWriter::begin(out, &self.template);
        writer.id(|out| {
            out.extend_from_slice(self.id.as_bytes());
            json::write_u64(out, self.count);
        });
        writer.time_us(time_us);
        writer.data().extend_from_slice(&body.finish());
        writer.finish()
    }
}

/// An id is ASCII; names may be anything.
fn fingerprint(source: &str, instance: &str) -> String {
    let bytes = source.bytes().chain([0]).chain(instance.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

fn to_json(entry: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(entry).expect("numbers and texts are always serialised")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Lane,
    Chunk,
}

/// The data of one event, being filled: lanes first, then chunks.
struct Body {
    json: Vec<u8>,
    open: Option<Kind>,
    is_empty: bool,
}

impl Body {
    /// `],"chunks":[` and `]}`
    const TAIL_BYTES_MAX: usize = 16;

    fn new(head: &[u8]) -> Self {
        Self { json: head.to_vec(), open: None, is_empty: true }
    }

    fn add(&mut self, kind: Kind, entry: &[u8]) {
        if self.open == Some(kind) {
            self.json.push(b',');
        } else {
            if self.open.is_some() {
                self.json.push(b']');
            }
            let name = match kind {
                Kind::Lane => &br#","lanes":["#[..],
                Kind::Chunk => br#","chunks":["#,
            };
            self.json.extend_from_slice(name);
            self.open = Some(kind);
        }
        self.json.extend_from_slice(entry);
        self.is_empty = false;
    }

    fn finish(mut self) -> Vec<u8> {
        self.json.extend_from_slice(if self.open.is_some() { b"]}" } else { b"}" });
        self.json
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::view::Data;
    use crate::event::{incoming, view};

    const SOURCE: &str = "/flowd/mysql/orders";

    fn lane(topic: &str, lane: u16, sequence: u64) -> LaneMark<'_> {
        LaneMark { epoch: 1_764_028_800_000_000, topic: topic.into(), lane, sequence }
    }

    fn written<'a>(
        lanes: Vec<LaneMark<'a>>,
        chunks: Vec<ChunkMark<'a>>,
    ) -> (Vec<String>, Vec<LaneMark<'static>>, Vec<ChunkMark<'static>>) {
        let mut writer = ReportWriter::new(Framing::Bare, "flowd.applied.orders", SOURCE, "to \"b\"", 7);
        let mut out = Vec::new();
        let (mut ids, mut all_lanes, mut all_chunks) = (vec![], vec![], vec![]);
        for event in writer.write(&mut out, 1_764_028_800_000_001, lanes, chunks) {
            let json = event.json(&out);
            assert!(json.len() <= EVENT_BYTES_MAX, "{} bytes", json.len());
            view::decode_event(json).expect("a CloudEvent");
            let event = incoming::read(json).expect("a CloudEvent");
            assert_eq!(
                (&*event.event_type, event.topic.as_deref()),
                (EVENT_TYPE, Some("flowd.applied.orders"))
            );
            let Data::Json(data) = &event.data else { panic!("{:?}", event.data) };
            let report = read(data).expect("a report");
            assert_eq!((&*report.source, &*report.instance), (SOURCE, "to \"b\""));
            ids.push(event.id.into_owned());
            all_lanes.extend(
                report
                    .lanes
                    .into_iter()
                    .map(|lane| LaneMark { topic: lane.topic.into_owned().into(), ..lane }),
            );
            all_chunks.extend(
                report.chunks.into_iter().map(|chunk| ChunkMark {
                    snapshot: chunk.snapshot.into_owned().into(),
                    chunk: chunk.chunk,
                }),
            );
        }
        (ids, all_lanes, all_chunks)
    }

    #[test]
    fn a_report_is_cut_into_small_events_and_says_the_same() {
        let names: Vec<String> = (0..40).map(|n| format!("shop.\"table\" {n}")).collect();
        let lanes: Vec<_> = names.iter().map(|name| lane(name, 3, u64::MAX)).collect();
        let chunk = |number| ChunkMark {
            snapshot: "s-1".into(),
            chunk: Chunk { run: 1_764_028_800_000_000, number },
        };
        let chunks: Vec<_> = (0..40).map(chunk).collect();
        let (ids, all_lanes, all_chunks) = written(lanes.clone(), chunks.clone());
        assert!(ids.len() > 5, "{ids:?}");
        assert!((1..ids.len()).all(|n| ids[..n].iter().all(|id| *id != ids[n])), "ids are unique: {ids:?}");
        assert_eq!((all_lanes, all_chunks), (lanes, chunks));
    }

    #[test]
    fn a_small_report_is_one_event_and_an_empty_one_none() {
        assert_eq!(written(vec![lane("a", 0, 1)], vec![]).0.len(), 1);
        assert_eq!(written(vec![], vec![]).0.len(), 0);
    }

    #[test]
    fn what_is_no_report_is_refused() {
        for data in
            ["null", "{}", r#"{"source":"s"}"#, r#"{"source":"s","instance":"i","lanes":[{"lane":-1}]}"#]
        {
            assert!(read(data).is_err(), "{data}");
        }
        for chunk in ["1", "-", "1-", "+1-2", "1-99999999999999999999"] {
            let data =
                format!(r#"{{"source":"s","instance":"i","chunks":[{{"snapshot":"x","chunk":"{chunk}"}}]}}"#);
            assert!(read(&data).is_err(), "{data}");
        }
    }

    #[test]
    fn the_control_topic_follows_from_the_source() {
        assert_eq!(control_topic_of(SOURCE).as_deref(), Some("flowd.applied.orders"));
        assert_eq!(control_topic_of("/flowd/mysql/a/b").as_deref(), Some("flowd.applied.a/b"));
        for other in ["", "/flowd/mysql/", "/flowd/mysql", "urn:x"] {
            assert_eq!(control_topic_of(other), None, "{other}");
        }
    }
}
