//! Batch events: several events of one lane and topic in the `data` of one, which is an array of them.
//!
//! The members stay whole events, with their own ids and extensions, in their order. The batch's id is made of the first
//! member's and the last one's.

use super::{EventWriter, Framed, Framing, Template};
use crate::json::{self, Elements};

/// The `type` of a batch event.
pub const EVENT_TYPE: &str = "flowd.batch";

/// What every batch of a source and topic begins with.
pub fn template(framing: Framing, source: &str, topic: &str) -> Template {
    Template::new(framing, source, EVENT_TYPE, topic)
}

/// One event of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// Its id, which needs no escaping.
    pub id: &'a [u8],
    /// The whole event as JSON.
    pub json: &'a [u8],
}

/// Bytes of the JSON of a batch of `count` members that have `members_size` bytes of JSON together. `fixed_size` is its
/// [`Template::fixed_size`], `ids_size` that of the first and the last member's id.
pub fn size(fixed_size: usize, ids_size: usize, members_size: usize, count: usize) -> usize {
    const TIME_AND_ENDS: usize = r#"2025-11-25T00:00:00.000001Z","data":[]}"#.len();
    const BETWEEN_IDS: usize = 2;
    fixed_size + ids_size + BETWEEN_IDS + TIME_AND_ENDS + members_size + count - 1
}

/// Appends the batch of these members, which are not none; `time_us` is the batch's own time.
pub fn write(out: &mut Vec<u8>, template: &Template, time_us: i64, members: &[Member<'_>]) -> Framed {
    let (Some(first), Some(last)) = (members.first(), members.last()) else {
        panic!("a batch has members");
    };
    let mut writer = EventWriter::begin(out, template);
    writer.id(|out| {
        out.extend_from_slice(first.id);
        out.extend_from_slice(b"..");
        out.extend_from_slice(last.id);
    });
    writer.time_us(time_us);
    let data = writer.data();
    for (index, member) in members.iter().enumerate() {
        data.push(if index == 0 { b'[' } else { b',' });
        data.extend_from_slice(member.json);
    }
    data.push(b']');
    writer.finish()
}

/// The members in a batch's `data`, each as its JSON. `data` was read as JSON before; one that is no array has none.
pub fn members(data: &str) -> Elements<'_> {
    json::elements(data.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::incoming::{self, Order};
    use crate::event::stamp;
    use crate::event::view::Data;

    /// Members as an encoder writes them, stamped from 1.
    fn parcel(texts: &[String]) -> (Vec<u8>, Vec<Framed>) {
        let template = Template::new(Framing::EventMesh, "/s", "flowd.change.c", "shop.orders");
        let mut out = Vec::new();
        let mut events = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let mut writer = EventWriter::begin(&mut out, &template);
            writer.id(|out| json::write_u64(out, index as u64));
            writer.time_us(0);
            writer.sequence(2);
            json::write_string(writer.data(), text);
            events.push(writer.finish());
        }
        for (event, sequence) in events.iter().zip(1..) {
            stamp(&mut out, event, 7, sequence);
        }
        (out, events)
    }

    fn check_unpacked(texts: &[String]) {
        let (buffer, events) = parcel(texts);
        let members: Vec<_> =
            events.iter().map(|event| Member { id: event.id(&buffer), json: event.json(&buffer) }).collect();
        let template = template(Framing::EventMesh, "/s", "shop.orders");
        let mut out = b"before".to_vec();
        let batch = write(&mut out, &template, 9, &members);
        let members_size = members.iter().map(|member| member.json.len()).sum();
        let ids_size = members[0].id.len() + members[members.len() - 1].id.len();
        assert_eq!(
            batch.json(&out).len(),
            size(template.fixed_size(), ids_size, members_size, members.len())
        );

        let read = incoming::read(batch.json(&out)).expect("a CloudEvent");
        assert_eq!((&*read.event_type, read.topic.as_deref()), (EVENT_TYPE, Some("shop.orders")));
        assert_eq!(read.id, format!("0..{}", texts.len() - 1));
        let Data::Json(data) = read.data else { panic!("{:?}", read.data) };
        let unpacked: Vec<_> = super::members(data).collect();
        assert_eq!(unpacked, members.iter().map(|member| member.json).collect::<Vec<_>>());
        for (member, sequence) in unpacked.into_iter().zip(1..) {
            let order = incoming::read(member).expect("a CloudEvent").order;
            assert_eq!(order, Order::Counted { epoch: 7, lane: 2, sequence });
        }
    }

    #[test]
    fn a_batch_of_one_has_its_id_twice() {
        check_unpacked(&["x".to_owned()]);
    }

    proptest! {
        #[test]
        fn members_come_back_as_they_were_written(texts in prop::collection::vec("[\\[\\]{},\"\\\\a-c]{0,12}", 1..12)) {
            check_unpacked(&texts);
        }
    }
}
