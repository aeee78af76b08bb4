//! What must hold for every input that comes from outside; the fuzz targets and a bounded test call it.
//!
//! These functions return nothing and panic where a promise is broken.

use serde_json::value::RawValue;

use crate::event::view::{Data, EventView, decode_base64, decode_event};
use crate::event::{batch, incoming, shape};
use crate::frame::{self, Decoder, Frame, PACKAGE_LENGTH_MAX, encode};
use crate::{json, sdk, session};

/// Any bytes as a stream of frames: it never panics, it does not matter where the stream is cut, what decodes
/// encodes to a frame that decodes to the same, and a hard error stays.
pub fn frame_decoder(stream: &[u8]) {
    let whole = frames(&[stream]);
    // Where the cut falls depends on the input, so that a fuzzer can move it.
    let cut = stream.last().map_or(0, |last| usize::from(*last) * stream.len() / 256);
    let pieces = frames(&[&stream[..cut], &stream[cut..]]);
    assert_eq!(whole, pieces, "cut at {cut}");
    assert_eq!(whole, frames_of_runs(&[&stream[..cut], &stream[cut..]]), "in runs, cut at {cut}");
    for frame in whole {
        // Properties that were no texts become texts, which may be longer: such a frame can leave the limit.
        let mut again = Vec::new();
        encode(&frame, &mut again);
        if again.len() <= PACKAGE_LENGTH_MAX as usize {
            assert_eq!(frames(&[&again]), std::slice::from_ref(&frame));
        }
        session::publish_ack(&frame);
        cloudevent_decoder(&frame.body);
    }
}

/// All frames of a stream; soft errors are passed over.
fn frames(pieces: &[&[u8]]) -> Vec<Frame> {
    let mut decoder = Decoder::new();
    let mut found = Vec::new();
    for piece in pieces {
        decoder.feed(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(error) if error.is_soft() => {}
                Err(error) => {
                    assert_eq!(decoder.next_frame(), Err(error), "a hard error stays");
                    break;
                }
            }
        }
    }
    found
}

/// The same, taken in runs.
fn frames_of_runs(pieces: &[&[u8]]) -> Vec<Frame> {
    let mut decoder = Decoder::new();
    let mut found = Vec::new();
    for piece in pieces {
        decoder.feed(piece);
        while let Ok(Some(run)) = decoder.next_run() {
            for frame in frame::frames(&run) {
                match frame {
                    Ok(frame) => {
                        let (header, body) = frame.into_parts();
                        found.push(Frame { header, body: run.slice(body) });
                    }
                    Err(error) if error.is_soft() => {}
                    Err(_) => return found,
                }
            }
        }
    }
    found
}

/// Any bytes as a CloudEvent: it never panics; what decodes is a CloudEvent, and it writes to a text that decodes to
/// the same event and that the SDK, where it takes it, reads alike.
pub fn cloudevent_decoder(text: &[u8]) {
    json_is_checked(text);
    json::find_top_level_string(text, "id");
    incoming::check_ways_agree(text);
    events_of_a_shape(text);
    let Ok(event) = decode_event(text) else { return };
    assert!(!event.id.is_empty() && !event.source.is_empty() && !event.event_type.is_empty());
    assert_eq!(event.time.is_some(), event.time_us().is_some());
    match event.data {
        Data::Base64(value) => assert!(decode_base64(value).is_ok()),
        Data::Json(value) => members_are_whole(value),
        Data::Absent => {}
    }
    let mut again = Vec::new();
    event.write_json(&mut again);
    assert_eq!(decode_event(&again).as_ref(), Ok(&event));
    sdk_agrees(&event);
}

/// Each line as an event like the first.
fn events_of_a_shape(text: &[u8]) {
    let lines = text.split(|byte| *byte == b'\n');
    let first = lines.clone().next().unwrap_or_default();
    for line in lines {
        shape::check_agrees(first, line);
    }
}

/// What is checked to be JSON is what a parser takes, but for what is nested deep.
fn json_is_checked(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let parsed = serde_json::from_str::<&RawValue>(text).ok().map(RawValue::get);
    let is_deep = text.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count() > 64;
    match json::value(text) {
        None if is_deep => {}
        checked => assert_eq!(checked, parsed),
    }
}

/// What is told to be a batch's members is what a parser sees in the array.
fn members_are_whole(data: &str) {
    let members: Vec<_> = batch::members(data).collect();
    let parsed: Vec<&RawValue> = serde_json::from_str(data).unwrap_or_default();
    assert_eq!(members, parsed.iter().map(|member| member.get().as_bytes()).collect::<Vec<_>>());
}

fn sdk_agrees(event: &EventView<'_>) {
    use cloudevents::AttributesReader;
    let Ok(theirs) = sdk::to_event(event) else { return };
    assert_eq!(theirs.id(), event.id);
    assert_eq!(theirs.subject(), event.subject.as_deref());
    assert_eq!(theirs.data().is_some(), event.data != Data::Absent);
    let mut text = Vec::new();
    if sdk::write(&theirs, &mut text).is_ok() {
        assert!(decode_event(&text).is_ok());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::{EventWriter, Framing, Template};
    use crate::frame::{Command, Header, Properties};

    /// A stream of a publish of ours, an ack, a frame of every kind of header, and one without a command.
    fn seed_stream() -> Vec<u8> {
        let mut out = Vec::new();
        let template =
            Template::new(Framing::EventMesh, "/flowd/mysql/orders", "flowd.change.c", "shop.orders");
        let mut writer = EventWriter::begin(&mut out, &template);
        writer.id(|out| out.extend_from_slice(b"g:1"));
        writer.time_us(1_764_028_800_000_000);
        writer.partition_key(br#"{"id":1}"#);
        writer.sequence(3);
        writer.data().extend_from_slice(br#"{"after":{"a":"x\n","b":[1.5,null]}}"#);
        writer.finish();
        let ack = Header {
            desc: Some("success".into()),
            properties: Properties::push(),
            ..Header::request(Command::AsyncMessageToServerAck, "1")
        };
        encode(&Frame { header: ack, body: br#"{"data":{"node":1},"id":"g:1"}"#.to_vec().into() }, &mut out);
        out.extend_from_slice(b"EventMesh0000\0\0\0\x0f\0\0\0\x02{}");
        let event =
            br#"{"specversion":"1.0","id":"1","source":"/","type":"t","x":true,"n":-1,"data_base64":"AAE="}"#;
        let push = Header::request(Command::AsyncMessageToClient, "2");
        encode(&Frame { header: push, body: event.to_vec().into() }, &mut out);
        out
    }

    #[derive(Debug, Clone)]
    enum Change {
        Set(usize, u8),
        Insert(usize, Vec<u8>),
        Remove(usize, usize),
        Repeat(usize, usize),
    }

    fn change() -> impl Strategy<Value = Change> {
        let token = prop::sample::select(vec![
            "\"",
            "\\",
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "null",
            "1e99",
            "\\u0000",
            "\"id\":\"2\"",
            "-",
            "EventMesh0000",
        ]);
        prop_oneof![
            (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
            (any::<usize>(), token).prop_map(|(at, token)| Change::Insert(at, token.as_bytes().to_vec())),
            (any::<usize>(), 0..40_usize).prop_map(|(at, size)| Change::Remove(at, size)),
            (any::<usize>(), 0..40_usize).prop_map(|(at, size)| Change::Repeat(at, size)),
        ]
    }

    fn apply(bytes: &mut Vec<u8>, change: &Change) {
        let place = |at: usize, bytes: &[u8]| at % (bytes.len() + 1);
        match change {
            Change::Set(at, byte) => {
                if let Some(found) = {
                    let at = place(*at, bytes);
                    bytes.get_mut(at)
                } {
                    *found = *byte;
                }
            }
            Change::Insert(at, token) => {
                let at = place(*at, bytes);
                bytes.splice(at..at, token.iter().copied());
            }
            Change::Remove(at, size) => {
                let at = place(*at, bytes);
                bytes.drain(at..(at + size).min(bytes.len()));
            }
            Change::Repeat(at, size) => {
                let at = place(*at, bytes);
                let copy = bytes[at..(at + size).min(bytes.len())].to_vec();
                bytes.splice(at..at, copy);
            }
        }
    }

    #[test]
    fn the_seed_itself_decodes() {
        assert_eq!(frames(&[&seed_stream()]).len(), 3);
        frame_decoder(&seed_stream());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn damaged_frames_break_no_promise(changes in prop::collection::vec(change(), 1..4)) {
            let mut stream = seed_stream();
            changes.iter().for_each(|change| apply(&mut stream, change));
            frame_decoder(&stream);
        }

        #[test]
        fn damaged_events_break_no_promise(which in 0..3_usize, changes in prop::collection::vec(change(), 1..4)) {
            let seed = &frames(&[&seed_stream()])[which].body;
            let mut text = seed.to_vec();
            changes.iter().for_each(|change| apply(&mut text, change));
            cloudevent_decoder(&text);
            shape::check_agrees(seed, &text);
        }

        #[test]
        fn any_bytes_break_no_promise(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            frame_decoder(&bytes);
            frame_decoder(&[b"EventMesh0000\0\0\0\x20\0\0\0\x08", &bytes[..]].concat());
            cloudevent_decoder(&bytes);
        }
    }
}
