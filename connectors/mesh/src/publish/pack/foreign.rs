//! Batch events that were packed elsewhere and came over a bridge: they hold the keys of their members, as ours do.

use flowd_codec::event::batch;
use flowd_codec::event::incoming;
use flowd_codec::event::view::Data;
use flowd_codec::json::find_top_level_string;
use flowd_engine::order::hash_of;
use flowd_engine::parcel::Parcel;
use flowd_engine::sequence::Numbering;

use super::MemberKeys;
use crate::Outgoing;

/// The type stands among the first attributes.
const LOOK_BYTES: usize = 1024;

/// The members' keys of a parcel's batch events.
pub(super) fn keys_of(parcel: &Parcel<Outgoing>) -> MemberKeys {
    let mut all = MemberKeys::default();
    for (index, keyed) in parcel.events.iter().enumerate() {
        let before = end_of(&all.keys);
        add_keys(keyed, &parcel.buffer, &mut all.keys);
        if end_of(&all.keys) > before {
            all.ends.resize(index, before);
            all.ends.push(end_of(&all.keys));
        }
    }
    all
}

/// The same of one event.
pub(super) fn add_keys(keyed: &Outgoing, buffer: &[u8], keys: &mut Vec<u64>) {
    let json = keyed.event.json(buffer);
    // What is counted was made here, and packed here; what has a key of its own is no batch.
    if keyed.place.numbering != Numbering::None || keyed.keys[0] != 0 || !is_batch(json) {
        return;
    }
    let Ok(event) = incoming::read(json) else { return };
    let (topic, Data::Json(data)) = (event.topic.unwrap_or_default(), event.data) else { return };
    let key = |member| find_top_level_string(member, "partitionkey");
    keys.extend(batch::members(data).filter_map(key).map(|key| hash_of(&topic, &key)));
}

fn end_of(keys: &[u64]) -> u32 {
    u32::try_from(keys.len()).expect("a parcel holds fewer keys")
}

fn is_batch(json: &[u8]) -> bool {
    let head = &json[..json.len().min(LOOK_BYTES)];
    let is_named = memchr::memmem::find(head, batch::EVENT_TYPE.as_bytes()).is_some();
    is_named && find_top_level_string(json, "type").is_some_and(|name| name == batch::EVENT_TYPE)
}

#[cfg(test)]
mod tests {
    use flowd_codec::event::{EventWriter, Framing, Template};
    use flowd_engine::order::Keyed;

    use super::*;

    fn event(parcel: &mut Parcel<Outgoing>, event_type: &str, keys: [u64; 2], data: &str) {
        let template = Template::new(Framing::EventMesh, "/far", event_type, "shop.orders");
        let mut writer = EventWriter::begin(&mut parcel.buffer, &template);
        writer.id(|out| out.extend_from_slice(b"i"));
        writer.time_us(0);
        writer.data().extend_from_slice(data.as_bytes());
        parcel.events.push(Keyed::uncounted(writer.finish(), keys));
    }

    #[test]
    fn a_batch_holds_what_its_members_would_hold_by_themselves() {
        let mut parcel = Parcel::default();
        let members =
            r#"[{"partitionkey":"a\"","data":{"partitionkey":"no"}},{"id":"keyless"},{"partitionkey":"b"}]"#;
        event(&mut parcel, "t", [7, 9], "1");
        event(&mut parcel, batch::EVENT_TYPE, [0, 9], members);
        event(&mut parcel, "t", [0, 9], "\"flowd.batch\"");
        event(&mut parcel, batch::EVENT_TYPE, [0, 9], "[]");
        event(&mut parcel, batch::EVENT_TYPE, [0, 9], members);
        let keys = keys_of(&parcel);
        let both = [hash_of("shop.orders", "a\""), hash_of("shop.orders", "b")];
        let found: Vec<&[u64]> = (0..5).map(|index| keys.of(index)).collect();
        assert_eq!(found, [&[][..], &both, &[], &[], &both]);
        assert!(keys_of(&Parcel::default()).of(0).is_empty());
    }
}
