//! Markers: what takes the number of an event that was rejected, so that its lane has no gap.
//!
//! A marker stands where the event stood, says why it is gone, and holds none of its data: the dead letter has that.

use super::incoming::{Incoming, Order};
use super::{EventWriter, Framed, Framing, Template, stamp};
use crate::{json, time};

/// The `type` of a marker.
pub const EVENT_TYPE: &str = "flowd.rejected";
/// What follows the id of the event whose place a marker takes.
pub const ID_SUFFIX: &str = "/rejected";
/// Bytes of the reason that a marker carries at most.
const REASON_BYTES_MAX: usize = 200;

/// Appends the `data` of a marker: the reason, cut where it is long.
pub fn write_data(out: &mut Vec<u8>, reason: &str) {
    out.extend_from_slice(b"{\"reason\":");
    json::write_string(out, &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)]);
    out.push(b'}');
}

/// Appends the marker that takes the place of a finished event of ours: same source, topic, time, and place.
pub fn replace(out: &mut Vec<u8>, framing: Framing, event: &Incoming<'_>, reason: &str) -> Framed {
    let topic = event.topic.as_deref().unwrap_or_default();
    let template = Template::new(framing, &event.source, EVENT_TYPE, topic);
    let mut writer = EventWriter::begin(out, &template);
    writer.id(|out| {
        out.extend_from_slice(event.id.as_bytes());
        out.extend_from_slice(ID_SUFFIX.as_bytes());
    });
    writer.time_us(event.time.as_deref().and_then(time::parse_rfc3339_us).unwrap_or(0));
    let stamped = match &event.order {
        Order::None => None,
        Order::Counted { epoch, lane, sequence } => {
            writer.sequence(*lane);
            Some((*epoch, *sequence))
        }
        Order::Row { snapshot, chunk, number, size, lane, after } => {
            writer.snapshot_row(snapshot, &chunk.to_string(), *number, *size, *lane);
            Some(*after)
        }
    };
    if event.applied {
        writer.applied();
    }
    write_data(writer.data(), reason);
    let marker = writer.finish();
    if let Some((epoch, sequence)) = stamped {
        stamp(out, &marker, epoch, sequence);
    }
    marker
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::incoming::read;

    fn check_replaced(order: impl Fn(&mut EventWriter<'_>)) {
        let template = Template::new(Framing::EventMesh, "/s", "flowd.change.u", "shop.orders");
        let mut out = Vec::new();
        let mut writer = EventWriter::begin(&mut out, &template);
        writer.id(|out| out.extend_from_slice(b"g:1/a/0"));
        writer.time_us(1_764_028_800_000_001);
        order(&mut writer);
        writer.data().extend_from_slice(b"{\"after\":{}}");
        let event = writer.finish();
        stamp(&mut out, &event, 1_764_028_800_000_000, 42);
        let event = read(event.json(&out)).expect("a CloudEvent");

        let mut other = Vec::new();
        let marker = replace(&mut other, Framing::EventMesh, &event, &"ü\"".repeat(500));
        let found = read(marker.json(&other)).expect("a CloudEvent");
        assert_eq!((&*found.event_type, &*found.id), (EVENT_TYPE, "g:1/a/0/rejected"));
        assert_eq!((&found.order, &found.topic, &found.time), (&event.order, &event.topic, &event.time));
        assert_eq!((&found.source, found.applied), (&event.source, event.applied));
        assert!(marker.json(&other).len() < 700, "{}", marker.json(&other).len());
    }

    #[test]
    fn a_marker_stands_where_the_event_stood() {
        check_replaced(|_| {});
        check_replaced(|writer| writer.sequence(5));
        check_replaced(|writer| {
            writer.snapshot_row("s1", "1764028800000007-12", 9, 10, 5);
            writer.applied();
        });
    }
}
