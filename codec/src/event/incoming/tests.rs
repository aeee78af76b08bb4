//! Reading events back, by both ways.

use proptest::prelude::*;

use super::*;
use crate::event::view::decode_original;
use crate::event::{EventWriter, Framed, Framing, Template, stamp};

fn written(order: impl Fn(&mut EventWriter<'_>)) -> (Vec<u8>, Framed) {
    let template = Template::new(Framing::Bare, "/flowd/mysql/orders", "flowd.change.c", "shop.orders");
    let mut out = Vec::new();
    let mut writer = EventWriter::begin(&mut out, &template);
    writer.id(|out| out.extend_from_slice(b"g:1-2-3/shop.orders/0"));
    writer.time_us(1_764_028_800_000_001);
    writer.partition_key(br#"{"id":"a\"b"}"#);
    order(&mut writer);
    writer.extension("delivery", "applied");
    writer.data().extend_from_slice(r#"{"op":"c","after":{"name":"Jürgen \"J\"","n":[1.50,{}]}}"#.as_bytes());
    let event = writer.finish();
    (out, event)
}

fn check_read(order: impl Fn(&mut EventWriter<'_>), expected: &Order<'_>) {
    let (mut out, event) = written(order);
    stamp(&mut out, &event, 1_764_028_800_000_000, 42);
    let plain = read_plain(event.json(&out)).expect("what we write is in the plain form");
    assert_eq!((&*plain.id, &*plain.source), ("g:1-2-3/shop.orders/0", "/flowd/mysql/orders"));
    assert_eq!((&*plain.event_type, plain.topic.as_deref()), ("flowd.change.c", Some("shop.orders")));
    assert_eq!(plain.time.as_deref(), Some("2025-11-25T00:00:00.000001Z"));
    assert_eq!(plain.partition_key.as_ref().map(|key| key.text()).as_deref(), Some(r#"{"id":"a\"b"}"#));
    assert!(plain.applied);
    assert_eq!(&plain.order, expected);
    assert!(matches!(plain.data, Data::Json(data) if data.ends_with(r#""n":[1.50,{}]}}"#)));
    check_ways_agree(event.json(&out));
    // With white space it goes the other way, and is the same.
    let text = String::from_utf8(event.json(&out).to_vec()).expect("UTF-8");
    let spaced = text.replacen(",\"source\":", ", \"source\": ", 1);
    assert!(read_plain(spaced.as_bytes()).is_none());
    assert_eq!(read(spaced.as_bytes()), Ok(plain));
}

#[test]
fn what_we_write_is_read_back_by_both_ways() {
    let counted = Order::Counted { epoch: 1_764_028_800_000_000, lane: 3, sequence: 42 };
    check_read(|writer| writer.sequence(3), &counted);
    let row = Order::Row {
        snapshot: "s1".into(),
        chunk: Chunk { run: 1_764_028_800_000_007, number: 12 },
        number: 9,
        size: 10,
        lane: 63,
        after: (1_764_028_800_000_000, 42),
    };
    check_read(|writer| writer.snapshot_row("s1", "1764028800000007-12", 9, 10, 63), &row);
    check_read(|_| {}, &Order::None);
}

#[test]
fn an_event_with_what_a_java_server_adds_is_read_in_one_pass() {
    let text = concat!(
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"application/cloudevents+json","#,
        r#""subject":"orders","reqmq2eventmeshtimestamp":"1","protocoldesc":"tcp","rsp0idc":"d","sequence":"00000000000000000007","#,
        r#""rsp0ip":"1","epoch":"1764028800000000","rsp0sys":"0","lane":"00","data":{"id":1}}"#
    );
    let event = read_plain(text.as_bytes()).expect("the plain form");
    assert_eq!(event.order, Order::Counted { epoch: 1_764_028_800_000_000, lane: 0, sequence: 7 });
    check_ways_agree(text.as_bytes());
}

#[test]
fn what_a_server_added_behind_any_data_is_read_in_one_pass_again() {
    for data in ["1", "-1.5e3", "true", "null", r#""a\"b""#, "[]", r#"{"a":{}}"#] {
        let event = format!(
            r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{data},"rsp0sys":"a","rsp0ip":"1"}}"#
        );
        for _ in 0..3 {
            let event = read_plain(event.as_bytes()).expect("the plain form");
            assert_eq!(event.data, Data::Json(data));
        }
    }
}

#[test]
fn attributes_may_stand_on_both_sides_of_the_data() {
    let text = concat!(
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"id":"ü"},"#,
        r#""subject":"orders","reqmq2eventmeshtimestamp":"1"}"#
    );
    let event = read_plain(text.as_bytes()).expect("the plain form");
    assert_eq!(event.topic.as_deref(), Some("orders"));
    assert!(matches!(event.data, Data::Json(data) if data == r#"{"id":"ü"}"#));
    check_ways_agree(text.as_bytes());
}

#[test]
fn what_an_event_is_does_not_depend_on_the_one_before_it() {
    const HEAD: &str = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t""#;
    let texts = [
        r#","data":1}"#,
        r#","lane":"00","epoch":"1764028800000000","sequence":"00000000000000000007","data":1}"#,
        r#","epoch":"1764028800000000","lane":"00","sequence":"00000000000000000007","data":1}"#,
        r#","data":1,"rsp0ip":"1"}"#,
        r#","data":1,"rsp0ip":"1","rsp0sys":"s"}"#,
        r#","data":2,"rsp0ip":"1","rsp0sys":"s"}"#,
        r#","data":2,"rsp0ip":"1","rsp0sys":"t"}"#,
        r#","data":2,"rsp0ip":"1","rsp0sys":5}"#,
        r#","data":2,"rsp0ip":"1","rsp0sys":{}}"#,
        r#","data":2,"n":"5","rsp0ip":"1","rsp0sys":"s"}"#,
        r#","data":2,"rsp0idc":"5","rsp0ip":"1","rsp0sys":"s"}"#,
        r#","data":2,"rsp0sys":"5","rsp0ip":"1","rsp0sys":"s"}"#,
        r#","rsp0sys":"5","data":2,"rsp0ip":"1","rsp0sys":"s"}"#,
        r#","data":2},"rsp0ip":"1","rsp0sys":"s"}"#,
        r#","data":"2,"rsp0ip":"1","rsp0sys":"s"}"#,
        r#","data":{"a":1,"rsp0ip":"1","rsp0sys":"s"}}"#,
        r#","data":{"a":1,"rsp0ip":"1","rsp0sys":"s"}"#,
        r#","rsp0ip":"1","rsp0sys":"s"}"#,
        r#","data":2,"#,
        r#","data":2"#,
        r#","rsp0ip":"1","data":{"id":[2]}}"#,
        r#","rsp0ip":"1","rsp0ip":"1","data":1}"#,
        r#","id":"2","data":1}"#,
        r#","data":1,"data":1}"#,
        r#","data":1,"data_base64":"AA=="}"#,
        r#","data_base64":"AA=="}"#,
        r#","anextensionwhosenameistoolongforthat":"1","data":1}"#,
        r#","No":"1","data":1}"#,
        r#","n":null,"n":"1","data":1}"#,
        r#","n":5,"data":1}"#,
        r#","n":"5","data":1}"#,
        r#","n":"50","data":1}"#,
        r#","n":"","data":1}"#,
        r#","n":"5\u0030","data":1}"#,
        r#","n":"a text for which there is no room in what is remembered of it, since it is long","data":1}"#,
        r#","n":"a text for which there is no room in what is remembered of it, since it is lone","data":1}"#,
        r#","n":"5","data":1"#,
        "}",
        "",
    ];
    let events: Vec<_> = texts.iter().map(|rest| format!("{HEAD}{rest}")).chain(["{}".to_owned()]).collect();
    let read_alone = |json: &str| {
        let _ = read(b"{\"no\":\"event\"}");
        format!("{:?}", read(json.as_bytes()))
    };
    for json in &events {
        let alone = read_alone(json);
        for before in &events {
            let _ = read(before.as_bytes());
            assert_eq!(format!("{:?}", read(json.as_bytes())), alone, "{before} and then {json}");
            let _ = read(before.as_bytes());
            check_ways_agree(json.as_bytes());
            let _ = read(before.as_bytes());
            let original = format!("{:?}", decode_original(json.as_bytes()));
            let _ = read(b"{\"no\":\"event\"}");
            assert_eq!(original, format!("{:?}", decode_original(json.as_bytes())), "{before}, then {json}");
        }
    }
}

#[test]
fn half_an_order_is_none() {
    let event = |extensions: &str| {
        format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t"{extensions},"data":1}}"#)
    };
    let cases = [
        // Somebody else's `sequence`, as the CloudEvents extension of that name has it.
        r#","sequence":"5""#,
        r#","epoch":"1764028800000000","lane":"00","sequence":"5""#,
        r#","epoch":"1764028800000000","lane":"00","sequence":"00000000000000000000""#,
        r#","epoch":"1764028800000000","lane":"00","sequence":"99999999999999999999""#,
        r#","epoch":"+764028800000000","lane":"00","sequence":"00000000000000000001""#,
        r#","epoch":"1764028800000000","sequence":"00000000000000000001""#,
        r#","epoch":"1764028800000000","lane":0,"sequence":"00000000000000000001""#,
        r#","snapshot":"s","chunk":"1764028800000000-1","number":"3","chunksize":"3","lane":"00","after":"1764028800000000-00000000000000000001""#,
        r#","snapshot":"s","chunk":"1764028800000000","number":"0","chunksize":"3","lane":"00","after":"1764028800000000-00000000000000000001""#,
    ];
    for extensions in cases {
        let text = event(extensions);
        assert_eq!(read(text.as_bytes()).map(|event| event.order), Ok(Order::None), "{extensions}");
        check_ways_agree(text.as_bytes());
    }
}

#[test]
fn what_is_no_event_is_refused_though_it_begins_like_one() {
    let cases = [
        r#"{"specversion":"1.0","id":"1","source":"/s","data":1}"#,
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"","data":1}"#,
        r#"{"specversion":"1.0","id":"1","id":"2","source":"/s","type":"t","data":1}"#,
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","x":"1","x":"2","data":1}"#,
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","time":"now","data":1}"#,
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a":01}}"#,
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":1}}"#,
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":1"#,
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":1,"data":1}"#,
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":1,}"#,
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","partitionkey":"a\x","data":1}"#,
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","Big":"1","data":1}"#,
    ];
    for text in cases {
        assert!(read(text.as_bytes()).is_err(), "{text}");
    }
    let control = "{\"specversion\":\"1.0\",\"id\":\"1\n\",\"source\":\"/s\",\"type\":\"t\",\"data\":1}";
    assert!(read(control.as_bytes()).is_err());
    let raw = b"{\"specversion\":\"1.0\",\"id\":\"\xff\",\"source\":\"/s\",\"type\":\"t\",\"data\":1}";
    assert!(read(raw).is_err());
}

fn name() -> impl Strategy<Value = String> {
    let known = [
        "id",
        "source",
        "type",
        "subject",
        "time",
        "partitionkey",
        "epoch",
        "lane",
        "sequence",
        "delivery",
        "chunk",
        "dataschema",
        "schemaurl",
        "datacontentencoding",
        "data_base64",
        "specversion",
        "Bad",
        "x",
        "y",
    ];
    prop::sample::select(known.to_vec()).prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = String> {
    let known = [
        r#""""#,
        r#""1""#,
        r#""1764028800000000""#,
        r#""00000000000000000001""#,
        r#""2025-11-25T00:00:00Z""#,
        r#""a\"b\\""#,
        r#""\u0041""#,
        r#""\ud800""#,
        r#""ü""#,
        "7",
        "true",
        "null",
        "{}",
    ];
    prop::sample::select(known.to_vec()).prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn both_ways_agree_on_every_text(
        members in prop::collection::vec((name(), value()), 0..6),
        data in prop::sample::select(vec!["1", "{\"a\":[1,\"\\u0000\"]}", "\"x\"", "null", "{", "[1}", "1,\"z\":\"1\"", " 1", "1 "]),
        data_at in 0_usize..8,
        whole in any::<bool>(),
    ) {
        let head = if whole { r#","id":"1","source":"/s","type":"t""# } else { "" };
        let mut text = format!(r#"{{"specversion":"1.0"{head}"#);
        let (before, after) = members.split_at(data_at.min(members.len()));
        let member = |(name, value): &(String, String)| format!(r#","{name}":{value}"#);
        text.extend(before.iter().map(member));
        text.push_str(&format!(r#","data":{data}"#));
        text.extend(after.iter().map(member));
        text.push('}');
        check_ways_agree(text.as_bytes());
        prop_assert_eq!(read(text.as_bytes()).is_ok(), decode_event(text.as_bytes()).is_ok());
    }
}
