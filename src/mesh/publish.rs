//! Events on their way in and out: what a publish must satisfy, its acknowledgement, and the push made of it.
//!
//! The event's JSON is kept as it came, without its closing brace; a push adds the server's extensions behind it
//! (protocol manual, sections 4.1–4.7). Invariant: what [`check`] lets in can be pushed to any client.

use std::borrow::Cow;
use std::collections::BTreeMap;

use flowd_codec::event::added;
use flowd_codec::event::view::{
    Data, EventView, ExtensionValue, SpecVersion, decode_event, is_attribute_name,
};
use flowd_codec::frame::{Header, PUBLISH_SIZE_MAX, Properties, UserAgent};
use flowd_codec::json::{write_string, write_u64};
use flowd_codec::uri::is_reference;
use serde_json::value::RawValue;

use super::broker::Delivery;
use super::record::{Arrival, Version};

/// A publish that may be stored.
#[derive(Debug)]
pub(crate) struct Publish<'a> {
    pub(crate) subject: Cow<'a, str>,
    pub(crate) arrival: Arrival,
    /// The event's JSON object without its closing brace.
    pub(crate) body: Cow<'a, [u8]>,
    view: EventView<'a>,
}

/// What a push says about its receiver, as JSON ready to be appended.
#[derive(Debug)]
pub(crate) struct Envelope {
    tail: Vec<u8>,
}

impl Envelope {
    /// Of a client that said HELLO as `agent`.
    pub(crate) fn new(agent: &UserAgent, group: &str, address: &str) -> Self {
        let mut tail = Vec::new();
        let fields = [
            (r#","rsp0sys":"#, agent.subsystem.as_deref().unwrap_or_default()),
            (r#","rsp0group":"#, group),
            (r#","rsp0idc":"#, agent.idc.as_deref().unwrap_or_default()),
            (r#","rsp0ip":"#, address),
        ];
        for (name, value) in fields {
            tail.extend_from_slice(name.as_bytes());
            write_string(&mut tail, value);
        }
        tail.push(b'}');
        Self { tail }
    }
}

/// Looks whether a publish is an event that can be delivered, with no more than `event_size` UTF-16 units of data.
///
/// # Errors
/// The text for the publisher.
pub(crate) fn check<'a>(
    properties: &Properties,
    body: &'a [u8],
    time_ms: u64,
    event_size: usize,
) -> Result<Publish<'a>, String> {
    let version = check_properties(properties)?;
    if body.len() > PUBLISH_SIZE_MAX {
        return Err(too_large(PUBLISH_SIZE_MAX));
    }
    let view =
        decode_event(body).map_err(|error| format!("io.cloudevents.rw.CloudEventRWException: {error}"))?;
    check_view(&view)?;
    if let Data::Json(data) = view.data
        && data.len() > event_size
        && data.encode_utf16().count() > event_size
    {
        return Err(too_large(event_size));
    }
    let subject =
        view.subject.clone().ok_or("java.lang.NullPointerException: the event has no subject (topic)")?;
    let open = body.trim_ascii_end();
    let open = open
        .strip_suffix(b"}")
        .ok_or("io.cloudevents.rw.CloudEventRWException: the event is no JSON object")?;
    let mut publish =
        Publish { subject, arrival: Arrival { time_ms, version }, body: Cow::Borrowed(open), view };
    if publish.view.extensions.iter().any(|(name, _)| added::is_added(name)) {
        publish.body = Cow::Owned(without_added(body)?);
    }
    add_properties(&mut publish, properties)?;
    Ok(publish)
}

fn too_large(limit: usize) -> String {
    format!("java.lang.Exception: event size exceeds the limit: {limit}")
}

fn check_properties(properties: &Properties) -> Result<Version, String> {
    match properties.get("protocoltype") {
        Some("cloudevents") => {}
        other => {
            let named = other.unwrap_or("eventmeshmessage");
            return Err(format!(
                "java.lang.Exception: protocoltype {named} is not supported by this server: publish as cloudevents"
            ));
        }
    }
    if properties.get("protocoldesc") != Some("tcp") {
        return Err("java.lang.Exception: protocoldesc must be tcp".to_owned());
    }
    match properties.get("protocolversion") {
        Some("1.0") => Ok(Version::V1),
        Some("0.3") => Ok(Version::V03),
        other => Err(format!(
            "java.lang.Exception: protocolversion {} is not supported",
            other.unwrap_or("(none)")
        )),
    }
}

/// What a Java server would take and then fail to deliver is refused here.
fn check_view(view: &EventView<'_>) -> Result<(), String> {
    let kind = view.data_content_type.as_deref().unwrap_or("(none)");
    if kind.split(';').next() != Some("application/cloudevents+json") {
        return Err(format!(
            "java.lang.Exception: datacontenttype {kind} cannot be delivered: use application/cloudevents+json"
        ));
    }
    match view.data {
        Data::Json(_) => {}
        Data::Absent => return Err("java.lang.NullPointerException: the event has no data".to_owned()),
        Data::Base64(_) => {
            return Err(
                "java.lang.Exception: data_base64 cannot be delivered: use a JSON value in data".to_owned()
            );
        }
    }
    for (name, uri) in [("source", Some(&view.source)), ("dataschema", view.data_schema.as_ref())] {
        if uri.is_some_and(|uri| !is_reference(uri)) {
            return Err(format!("java.lang.IllegalArgumentException: {name} is no URI reference"));
        }
    }
    for (name, value) in &view.extensions {
        if let ExtensionValue::Integer(number) = value
            && i32::try_from(*number).is_err()
        {
            return Err(format!(
                "io.cloudevents.rw.CloudEventRWException: extension {name} is beyond 32 bits"
            ));
        }
    }
    Ok(())
}

/// Header properties besides the three of the protocol become extensions.
fn add_properties(publish: &mut Publish<'_>, properties: &Properties) -> Result<(), String> {
    for (name, value) in properties.iter().filter(|(name, _)| !added::is_added(name)) {
        if !is_attribute_name(name) {
            return Err(format!("io.cloudevents.rw.CloudEventRWException: Invalid extensions name: {name}"));
        }
        if is_context_attribute(name) || publish.view.extensions.iter().any(|(known, _)| known == name) {
            continue;
        }
        let body = publish.body.to_mut();
        body.push(b',');
        write_string(body, name);
        body.push(b':');
        write_string(body, value);
    }
    Ok(())
}

fn is_context_attribute(name: &str) -> bool {
    matches!(
        name,
        "specversion"
            | "id"
            | "source"
            | "type"
            | "subject"
            | "time"
            | "datacontenttype"
            | "dataschema"
            | "data"
    )
}

/// The event without extensions that the server adds itself; only for the rare event that has one.
fn without_added(body: &[u8]) -> Result<Vec<u8>, String> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_slice(body)
        .map_err(|error| format!("io.cloudevents.rw.CloudEventRWException: {error}"))?;
    let mut out = Vec::with_capacity(body.len());
    for (name, value) in members.iter().filter(|(name, _)| !added::is_added(name)) {
        out.push(if out.is_empty() { b'{' } else { b',' });
        write_string(&mut out, name);
        out.push(b':');
        out.extend_from_slice(value.get().as_bytes());
    }
    Ok(out)
}

/// Writes the body of a publish's acknowledgement: the members of the Java server's, without the data itself, which
/// nobody reads.
pub(crate) fn write_ack(out: &mut Vec<u8>, publish: &Publish<'_>) {
    let view = &publish.view;
    out.extend_from_slice(br#"{"data":{},"id":"#);
    write_string(out, &view.id);
    out.extend_from_slice(br#","source":"#);
    write_string(out, &view.source);
    out.extend_from_slice(br#","type":"#);
    write_string(out, &view.event_type);
    out.extend_from_slice(br#","subject":"#);
    write_string(out, &publish.subject);
    out.extend_from_slice(br#","dataContentType":"#);
    write_string(out, view.data_content_type.as_deref().unwrap_or_default());
    if let Some(time) = &view.time {
        out.extend_from_slice(br#","time":"#);
        write_string(out, time);
    }
    out.extend_from_slice(match view.spec_version {
        SpecVersion::V03 => br#","specVersion":"V03","extensionNames":["#,
        SpecVersion::V10 => br#","specVersion":"V1","extensionNames":["#,
    });
    for name in &added::NAMES[..added::AT_PUBLISH] {
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\",");
    }
    for (name, _) in view.extensions.iter().filter(|(name, _)| !added::is_added(name)) {
        write_string(out, name);
        out.push(b',');
    }
    out.pop();
    out.extend_from_slice(
        br#"],"attributeNames":["specversion","id","source","type","subject","datacontenttype""#,
    );
    out.extend_from_slice(if view.time.is_some() { br#","time"]}"# } else { b"]}" });
}

/// Writes the body of a push.
pub(crate) fn write_push(
    out: &mut Vec<u8>,
    event: &Delivery<'_>,
    envelope: &Envelope,
    server: &str,
    now_ms: u64,
) {
    let stamp = |out: &mut Vec<u8>, name: &str, time_ms: u64| {
        out.extend_from_slice(name.as_bytes());
        write_u64(out, time_ms);
    };
    out.extend_from_slice(event.body);
    out.extend_from_slice(match event.arrival.version {
        Version::V03 => br#","protocoltype":"cloudevents","protocolversion":"0.3","protocoldesc":"tcp""#,
        Version::V1 => br#","protocoltype":"cloudevents","protocolversion":"1.0","protocoldesc":"tcp""#,
    });
    stamp(out, r#","reqc2eventmeshtimestamp":""#, event.arrival.time_ms);
    stamp(out, r#"","reqeventmesh2mqtimestamp":""#, event.arrival.time_ms);
    stamp(out, r#"","reqmq2eventmeshtimestamp":""#, now_ms);
    stamp(out, r#"","reqeventmesh2ctimestamp":""#, now_ms);
    for name in [r#"","reqsendeventmeship":""#, r#"","reqreceiveeventmeship":""#] {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(server.as_bytes());
    }
    out.push(b'"');
    out.extend_from_slice(&envelope.tail);
}

/// Sets the `seq` of a header that is used again and again.
pub(crate) fn set_seq(header: &mut Header, seq: u64) {
    header.seq = Some(itoa::Buffer::new().format(seq).into());
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":"T","datacontenttype":"application/cloudevents+json","data":{"a":1.10}}"#;

    fn refused(event: &str, needle: &str) {
        let text = check(&Properties::publish(), event.as_bytes(), 7, usize::MAX).expect_err(event);
        assert!(text.contains(needle), "{event}: {text}");
    }

    fn pushed(event: &str, properties: &Properties) -> serde_json::Map<String, serde_json::Value> {
        let publish = check(properties, event.as_bytes(), 7, usize::MAX).expect("publishable");
        let delivery = Delivery { seq: 1, offset: 0, arrival: publish.arrival, body: &publish.body };
        let envelope = Envelope::new(&UserAgent::default(), "g", "10.0.0.9");
        let mut out = Vec::new();
        write_push(&mut out, &delivery, &envelope, "10.0.0.5", 9);
        decode_event(&out).expect("a push is a CloudEvent without repeated names");
        serde_json::from_slice(&out).expect("a push is JSON")
    }

    #[test]
    fn a_push_is_the_event_untouched_plus_the_servers_extensions() {
        let publish = check(&Properties::publish(), EVENT.as_bytes(), 7, usize::MAX).expect("publishable");
        assert_eq!(&*publish.body, &EVENT.as_bytes()[..EVENT.len() - 1]);
        let push = pushed(EVENT, &Properties::publish());
        assert!(added::NAMES.iter().all(|name| push[*name].is_string()));
        assert_eq!((&push["reqc2eventmeshtimestamp"], &push["rsp0group"]), (&"7".into(), &"g".into()));
    }

    #[test]
    fn what_cannot_be_delivered_is_refused() {
        refused("{", "JSON");
        refused(&EVENT.replace(r#""subject":"T","#, ""), "subject");
        refused(&EVENT.replace(r#","data":{"a":1.10}"#, ""), "data");
        refused(&EVENT.replace(r#""data":{"a":1.10}"#, r#""data_base64":"aGk=""#), "data_base64");
        refused(&EVENT.replace("application/cloudevents+json", "application/json"), "datacontenttype");
        refused(&EVENT.replace(r#""id":"1""#, r#""id":"1","Upper":"x""#), "Upper");
        refused(&EVENT.replace(r#""id":"1""#, r#""id":"1","big":4294967296"#), "32 bits");
        refused(&EVENT.replace("/s", "a b"), "source");
        refused(&EVENT.replace("1.10", &"1".repeat(PUBLISH_SIZE_MAX)), "event size exceeds the limit: ");
        let native = Properties::new();
        assert!(
            check(&native, EVENT.as_bytes(), 7, usize::MAX).expect_err("native").contains("eventmeshmessage")
        );
    }

    #[test]
    fn a_publishers_own_server_extensions_are_overwritten_and_properties_become_extensions() {
        let mut properties = Properties::publish();
        properties.set("tenant", "a\"b");
        let push =
            pushed(&EVENT.replace(r#""id":"1""#, r#""id":"1","rsp0ip":"mine","mine":"x""#), &properties);
        assert_eq!((&push["rsp0ip"], &push["mine"]), (&"10.0.0.9".into(), &"x".into()));
        assert_eq!(push["tenant"], "a\"b");
        properties.set("Bad-Name", "x");
        assert!(check(&properties, EVENT.as_bytes(), 7, usize::MAX).is_err());
    }

    #[test]
    fn an_acknowledgement_names_the_event() {
        let publish = check(&Properties::publish(), EVENT.as_bytes(), 7, usize::MAX).expect("publishable");
        let mut out = Vec::new();
        write_ack(&mut out, &publish);
        let ack: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(
            (&ack["id"], &ack["subject"], &ack["specVersion"]),
            (&"1".into(), &"T".into(), &"V1".into())
        );
        assert_eq!(ack["extensionNames"][0], "protocoltype");
    }
}
