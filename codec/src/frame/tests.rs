//! Frames against the bytes of the Java encoder, and against everything that is no frame.

use sha2::{Digest, Sha256};

use super::*;

/// The golden vectors of the protocol manual, section 1.7: head in hex, header, body, sha256 of the whole.
const GOLDEN: [(&str, &str, &str, &str); 7] = [
    (
        "4576656e744d657368303030300000007200000065",
        r#"{"cmd":"HEARTBEAT_REQUEST","code":0,"seq":"0123456789","properties":{},"command":"HEARTBEAT_REQUEST"}"#,
        "",
        "e172f13966b5a4a3f06011a84daa3bf43ea33fd17edbefcb53c6e7ca9a96a0d3",
    ),
    (
        "4576656e744d657368303030300000011c0000005d",
        r#"{"cmd":"HELLO_REQUEST","code":0,"seq":"0123456789","properties":{},"command":"HELLO_REQUEST"}"#,
        r#"{"env":"PRD","subsystem":"5031","path":"/","pid":77,"host":"localhost","port":8362,"version":"2.0","username":"u","password":"p","idc":"FT","group":"g","purpose":"pub","unack":0}"#,
        "05b7082f9838c498fcf37336e53856ac4090d14ec5e64d806be527d5d7faa704",
    ),
    (
        "4576656e744d65736830303030000000b200000065",
        r#"{"cmd":"SUBSCRIBE_REQUEST","code":0,"seq":"0123456789","properties":{},"command":"SUBSCRIBE_REQUEST"}"#,
        r#"{"topicList":[{"topic":"T","mode":"CLUSTERING","type":"ASYNC"}]}"#,
        "55e7b579f12224d4a36e318c73884652682af141a87a8c87555cc24cb6f3ff08",
    ),
    (
        "4576656e744d657368303030300000014b000000ba",
        r#"{"cmd":"ASYNC_MESSAGE_TO_SERVER","code":0,"seq":"0123456789","properties":{"protocolversion":"1.0","protocoldesc":"tcp","protocoltype":"cloudevents"},"command":"ASYNC_MESSAGE_TO_SERVER"}"#,
        r#"{"specversion":"1.0","id":"1","source":"/","type":"t","datacontenttype":"application/cloudevents+json","subject":"T","data":{"a":1}}"#,
        "45741f0096f8791d74967f0f9b2967c9d7b6443577e347c3f5acf2417f74e2d0",
    ),
    (
        "4576656e744d657368303030300000008800000070",
        r#"{"cmd":"ASYNC_MESSAGE_TO_CLIENT_ACK","code":0,"seq":"1","properties":{},"command":"ASYNC_MESSAGE_TO_CLIENT_ACK"}"#,
        r#""{\"a\":1}""#,
        "bf778db1d5af872fb440ec5db53a5e1992fb877695aeb8ecf6c8b20b58f642c5",
    ),
    (
        "4576656e744d657368303030300000007d00000070",
        r#"{"cmd":"HELLO_RESPONSE","code":0,"desc":"success","seq":"0123456789","properties":{},"command":"HELLO_RESPONSE"}"#,
        "",
        "4babd832d552b40b3cad52df209be77396abead7c419e7cae1b76ab5c16afc9f",
    ),
    (
        "4576656e744d657368303030300000007f00000054",
        r#"{"cmd":"REDIRECT_TO_CLIENT","code":0,"properties":{},"command":"REDIRECT_TO_CLIENT"}"#,
        r#"{"ip":"10.0.0.1","port":10000}"#,
        "e0334b16000f512c63403373f35c530546a6ad16529ce5e1b0dad28efaa1ef9b",
    ),
];

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

fn golden_bytes() -> Vec<Vec<u8>> {
    let bytes = |(head, header, body, sha): (&str, &str, &str, &str)| {
        let frame = [hex(head), header.into(), body.into()].concat();
        assert_eq!(format!("{:x}", Sha256::digest(&frame)), sha, "{header}");
        frame
    };
    GOLDEN.into_iter().map(bytes).collect()
}

/// The same frames, built from our types.
fn golden_frames() -> Vec<Frame> {
    let seq = "0123456789";
    let json = |value: String| Bytes::from(value);
    let text = |value: &str| Some(value.to_owned());
    let agent = UserAgent {
        env: text("PRD"),
        subsystem: text("5031"),
        path: text("/"),
        pid: 77,
        host: text("localhost"),
        port: 8362,
        version: text("2.0"),
        username: text("u"),
        password: text("p"),
        token: None,
        idc: text("FT"),
        group: text("g"),
        purpose: text("pub"),
        unack: 0,
    };
    let mut publish = Header::request(Command::AsyncMessageToServer, seq);
    publish.properties.set("protocolversion", "1.0");
    publish.properties.set("protocoldesc", "tcp");
    publish.properties.set("protocoltype", "cloudevents");
    let success = Header { desc: Some("success".into()), ..Header::request(Command::HelloResponse, seq) };
    let redirect = Header { seq: None, ..Header::request(Command::RedirectToClient, "") };
    let subscription = Subscription::new(["T"], SubscriptionMode::Clustering);
    let redirect_to = Redirect { ip: "10.0.0.1".to_owned(), port: 10_000 };
    vec![
        Frame::bare(Header::request(Command::HeartbeatRequest, seq)),
        Frame {
            header: Header::request(Command::HelloRequest, seq),
            body: json(serde_json::to_string(&agent).expect("serialises")),
        },
        Frame {
            header: Header::request(Command::SubscribeRequest, seq),
            body: json(serde_json::to_string(&subscription).expect("serialises")),
        },
        Frame { header: publish, body: Bytes::from_static(GOLDEN[3].2.as_bytes()) },
        Frame {
            header: Header::request(Command::AsyncMessageToClientAck, "1"),
            body: Bytes::from_static(GOLDEN[4].2.as_bytes()),
        },
        Frame::bare(success),
        Frame { header: redirect, body: json(serde_json::to_string(&redirect_to).expect("serialises")) },
    ]
}

pub(super) fn encoded(frame: &Frame) -> Vec<u8> {
    let mut out = Vec::new();
    encode(frame, &mut out);
    out
}

pub(super) fn decode_all(bytes: &[u8]) -> Result<Vec<Frame>, DecodeError> {
    let mut decoder = Decoder::new();
    decoder.feed(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = decoder.next_frame()? {
        frames.push(frame);
    }
    Ok(frames)
}

/// A frame with any header text and body, with right lengths.
fn raw(header: &str, body: &str) -> Vec<u8> {
    let mut out = b"EventMesh0000".to_vec();
    out.extend_from_slice(&i32::try_from(13 + header.len() + body.len()).expect("small").to_be_bytes());
    out.extend_from_slice(&i32::try_from(header.len()).expect("small").to_be_bytes());
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(body.as_bytes());
    out
}

fn header_of(json: &str) -> Result<Header, DecodeError> {
    let mut frames = decode_all(&raw(json, ""))?;
    Ok(frames.remove(0).header)
}

#[test]
fn frames_are_byte_for_byte_those_of_the_java_encoder() {
    for (golden, frame) in golden_bytes().iter().zip(golden_frames()) {
        assert_eq!(&encoded(&frame), golden, "{}", frame.header.command);
    }
}

#[test]
fn the_java_encoder_is_understood() {
    for (golden, frame) in golden_bytes().iter().zip(golden_frames()) {
        assert_eq!(decode_all(golden), Ok(vec![frame]));
    }
    assert_eq!(decode_all(&golden_bytes().concat()), Ok(golden_frames()));
}

#[test]
fn frames_may_be_cut_at_every_byte() {
    let (stream, frames) = (golden_bytes().concat(), golden_frames());
    for cut in 0..=stream.len() {
        let mut decoder = Decoder::new();
        let mut found = Vec::new();
        for piece in [&stream[..cut], &stream[cut..]] {
            decoder.feed(piece);
            while let Some(frame) = decoder.next_frame().expect("valid") {
                found.push(frame);
            }
        }
        assert_eq!(found, frames, "cut at {cut}");
        assert!(!decoder.is_inside_frame());
    }
}

#[test]
fn frames_may_come_byte_by_byte() {
    let mut decoder = Decoder::new();
    let mut found = Vec::new();
    for byte in golden_bytes().concat() {
        decoder.feed(&[byte]);
        found.extend(decoder.next_frame().expect("valid"));
    }
    assert_eq!(found, golden_frames());
}

#[test]
fn a_body_is_not_copied_out_of_the_receive_buffer() {
    let mut decoder = Decoder::new();
    decoder.feed(&golden_bytes()[3]);
    let received = decoder.buffer_mut().as_ptr_range();
    let frame = decoder.next_frame().expect("valid").expect("whole");
    assert!(received.contains(&frame.body.as_ptr()));
}

#[test]
fn a_command_is_taken_as_name_number_and_numeric_text() {
    for cmd in [r#""SUBSCRIBE_REQUEST""#, "8", r#""8""#] {
        let header = header_of(&format!(r#"{{"cmd":{cmd},"seq":"1"}}"#)).expect("valid");
        assert_eq!(header, Header::request(Command::SubscribeRequest, "1"));
    }
}

#[test]
fn code_and_seq_are_taken_in_all_the_forms_that_java_takes() {
    for (code, expected) in [("1", 1), (r#""1""#, 1), ("null", 0), ("-2", -2)] {
        let header = header_of(&format!(r#"{{"cmd":0,"code":{code}}}"#)).expect("valid");
        assert_eq!((header.code, header.seq), (expected, None));
    }
    let long = "9".repeat(5000);
    let quoted = format!("\"{long}\"");
    for (seq, expected) in [
        ("7", Some("7")),
        ("\"\"", Some("")),
        (&quoted, Some(&*long)),
        ("\"😀\"", Some("😀")),
        ("null", None),
    ] {
        let header = header_of(&format!(r#"{{"cmd":0,"seq":{seq}}}"#)).expect("valid");
        assert_eq!(header.seq.as_deref(), expected);
    }
}

#[test]
fn unknown_fields_are_ignored_and_properties_become_texts() {
    let json = r#"{"x":[{"cmd":1}],"cmd":"HEARTBEAT_REQUEST","command":"HELLO_REQUEST","desc":null,
        "properties":{"a":"b","n":1,"o":{"k":[true]},"z":null},"code":0}"#;
    let header = header_of(json).expect("valid");
    assert_eq!(header.command, Command::HeartbeatRequest);
    let properties: Vec<_> = header.properties.iter().collect();
    assert_eq!(properties, [("a", "b"), ("n", "1"), ("o", r#"{"k":[true]}"#)]);
    assert!(header_of(r#"{"cmd":0,"properties":null}"#).expect("valid").properties.is_empty());
}

#[test]
fn malformed_frames_have_their_own_errors() {
    let mut wrong_magic = golden_bytes()[0].clone();
    wrong_magic[0] = b'e';
    let mut wrong_version = golden_bytes()[0].clone();
    wrong_version[12] = b'1';
    assert_eq!(decode_all(&wrong_magic), Err(DecodeError::Magic(b"eventMesh".to_vec())));
    assert_eq!(decode_all(b"GET"), Err(DecodeError::Magic(b"GET".to_vec())), "before the frame is whole");
    assert_eq!(decode_all(&wrong_version), Err(DecodeError::Version(b"0001".to_vec())));
    for length in [-1, i32::MIN, 0, 12] {
        let frame = [&b"EventMesh0000"[..], &length.to_be_bytes(), &[0; 4]].concat();
        assert_eq!(decode_all(&frame), Err(DecodeError::Length(length)));
    }
    let frame = [&b"EventMesh0000"[..], &20_i32.to_be_bytes(), &8_i32.to_be_bytes()].concat();
    assert_eq!(decode_all(&frame), Err(DecodeError::HeaderLength { header: 8, package: 20 }));

    let unknown = |name: &str| Err(DecodeError::UnknownCommand(name.to_owned()));
    assert_eq!(header_of(r#"{"cmd":"heartbeat_request"}"#), unknown("heartbeat_request"));
    assert_eq!(header_of(r#"{"cmd":37}"#), unknown("37"));
    assert_eq!(header_of(r#"{"cmd":-1}"#), unknown("-1"));
    for json in
        ["x", "[]", r#"{"cmd":0"#, r#"{"cmd":{}}"#, r#"{"cmd":0,"code":"x"}"#, r#"{"cmd":0,"seq":[]}"#]
    {
        assert!(matches!(header_of(json), Err(DecodeError::Header(_))), "{json}");
    }
    assert_eq!(decode_all(&raw("{}", "x")), Err(DecodeError::BodyWithoutCommand(1)));
}

#[test]
fn a_hard_error_is_repeated_whatever_follows() {
    let mut decoder = Decoder::new();
    decoder.feed(b"nonsense");
    let error = decoder.next_frame().expect_err("no frame");
    decoder.feed(&golden_bytes()[0]);
    assert_eq!(decoder.next_frame(), Err(error));
}

#[test]
fn a_frame_without_header_or_command_is_skipped_and_the_stream_goes_on() {
    for header_length in [0_i32, -5] {
        let mut stream = raw("", "body");
        stream[17..21].copy_from_slice(&header_length.to_be_bytes());
        check_soft(&stream, &DecodeError::MissingHeader);
    }
    for header in ["{}", r#"{"cmd":null,"seq":"1"}"#] {
        check_soft(&raw(header, ""), &DecodeError::MissingCommand);
    }
}

fn check_soft(frame: &[u8], expected: &DecodeError) {
    let mut decoder = Decoder::new();
    decoder.feed(frame);
    decoder.feed(&golden_bytes()[0]);
    assert_eq!(decoder.next_frame().as_ref(), Err(expected));
    assert!(expected.is_soft());
    assert_eq!(decoder.next_frame(), Ok(Some(golden_frames().remove(0))));
}

#[test]
fn the_limit_is_the_java_decoders_to_the_byte() {
    let header = r#"{"cmd":20}"#;
    let body_size = PACKAGE_LENGTH_MAX as usize - 13 - header.len();
    let largest = raw(header, &"x".repeat(body_size));
    assert_eq!(largest.len(), FRAME_SIZE_MAX);
    assert_eq!(decode_all(&largest).expect("valid")[0].body.len(), body_size);

    let head = [&b"EventMesh0000"[..], &4_194_297_i32.to_be_bytes(), &10_i32.to_be_bytes()].concat();
    let expected = DecodeError::TooLong { length: 4_194_297, limit: 4_194_296 };
    assert_eq!(decode_all(&head), Err(expected), "told from the head alone");
}

#[test]
fn a_claimed_length_costs_no_memory() {
    let head = [&b"EventMesh0000"[..], &4_000_000_i32.to_be_bytes(), &10_i32.to_be_bytes()].concat();
    let mut decoder = Decoder::new();
    decoder.feed(&head);
    assert_eq!(decoder.next_frame(), Ok(None));
    assert!(decoder.buffer_mut().capacity() <= 128 * 1024);
}

#[test]
fn the_seq_of_a_publish_is_set_in_place() {
    let mut frame = Vec::new();
    write_publish_head(&mut frame);
    for seq in [0, 42, u64::MAX] {
        set_publish_seq(&mut frame, seq);
        let decoded = decode_all(&frame).expect("valid").remove(0);
        assert_eq!(decoded.header.seq, Some(format!("{seq:020}").into()));
        assert_eq!(decoded.header.properties, Properties::publish());
    }
}

#[test]
fn the_short_way_for_our_own_publish_reads_what_the_json_parser_reads() {
    let mut ours = Vec::new();
    write_publish_head(&mut ours);
    set_publish_seq(&mut ours, 77);
    let text = String::from_utf8(ours[FRAME_HEAD_SIZE..].to_vec()).expect("UTF-8");
    let spaced = text.replace(":{", ": {");
    assert_eq!(header_of(&text), header_of(&spaced));
}

#[test]
fn the_short_way_for_a_plain_ack_reads_what_the_json_parser_reads() {
    let header = Header {
        desc: Some("success".into()),
        ..Header::request(Command::AsyncMessageToServerAck, "00000000000000000077")
    };
    let mut ack = Vec::new();
    encode(&Frame::bare(header.clone()), &mut ack);
    let text = String::from_utf8(ack[FRAME_HEAD_SIZE..].to_vec()).expect("UTF-8");
    assert!(decoder::plain_ack(text.as_bytes()).is_some());
    let spaced = text.replace(":{", ": {");
    assert_eq!((header_of(&text), header_of(&spaced)), (Ok(header.clone()), Ok(header)));
    for other in [text.replace("0077", "077"), text.replace("0077", "00-7"), text.replace("success", "no")] {
        assert_eq!(decoder::plain_ack(other.as_bytes()), None, "{other}");
    }
}

#[test]
fn hello_and_subscription_bodies_follow_the_java_classes() {
    let empty = serde_json::to_string(&UserAgent::default()).expect("serialises");
    assert_eq!(empty, r#"{"pid":0,"port":0,"unack":0}"#);
    let agent: UserAgent =
        serde_json::from_str(r#"{"version":"","unknown":[1],"group":null}"#).expect("lenient");
    assert_eq!(agent, UserAgent { version: Some(String::new()), ..UserAgent::default() });
    let subscription: Subscription =
        serde_json::from_str(r#"{"topicList":[{"topic":"T"}]}"#).expect("lenient");
    let item = SubscriptionItem { topic: "T".to_owned(), mode: None, kind: None };
    assert_eq!(subscription.topic_list, Some(vec![item]));
    assert!(
        serde_json::from_str::<Subscription>(r#"{"topicList":[{"topic":"T","mode":"clustering"}]}"#).is_err()
    );
}

#[test]
fn a_run_is_all_whole_frames_at_hand_and_shares_their_memory() {
    let whole: Vec<u8> = golden_bytes().concat();
    let mut decoder = Decoder::new();
    assert_eq!(decoder.next_run(), Ok(None));
    decoder.feed(&whole);
    decoder.feed(&whole[..30]);
    let run = decoder.next_run().expect("valid").expect("whole frames");
    assert_eq!(run, whole);
    let found: Vec<_> = frames(&run).map(|frame| frame.expect("valid")).collect();
    assert_eq!(found.len(), GOLDEN.len());
    for (found, expected) in found.into_iter().zip(golden_frames()) {
        let (header, body) = found.into_parts();
        assert_eq!(Frame { header, body: run.slice(body) }, expected);
    }
    assert_eq!(decoder.next_run(), Ok(None));
    decoder.feed(&whole[30..]);
    assert_eq!(decoder.next_run().expect("valid").expect("whole frames"), whole);
}

#[test]
fn what_comes_before_a_broken_frame_is_still_a_run() {
    let good = raw(r#"{"cmd":"LISTEN_REQUEST","seq":"1"}"#, "");
    let mut decoder = Decoder::new();
    decoder.feed(&[&good[..], b"EventMush0000"].concat());
    assert_eq!(decoder.next_run().expect("the good one"), Some(good.clone().into()));
    let error = decoder.next_run().expect_err("the broken one");
    assert!(matches!(error, DecodeError::Magic(_)));
    assert_eq!(decoder.next_run(), Err(error));

    let (no_command, unknown) = (raw(r#"{"seq":"1"}"#, ""), raw(r#"{"cmd":"WHAT"}"#, ""));
    let stream = [&no_command[..], &good, &unknown, &good].concat();
    let kinds: Vec<_> =
        frames(&stream).map(|frame| frame.map(|frame| frame.into_parts().0.command)).collect();
    let unknown = DecodeError::UnknownCommand("WHAT".into());
    assert_eq!(kinds, [Err(DecodeError::MissingCommand), Ok(Command::ListenRequest), Err(unknown)]);
}
