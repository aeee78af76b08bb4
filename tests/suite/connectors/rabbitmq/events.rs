//! Messages and events against each other, through a real broker.

use lapin::types::FieldTable;

use super::{AMQPValue, BasicProperties, Broker, Mesh, Value, json, publish, reading, writing};
use crate::harness::Events;

/// What an event is without its topic and what a mesh adds.
fn of(events: &Events, original: &Value) -> Value {
    let came = &events.0[0].json;
    let names = original.as_object().expect("an event is an object").keys();
    names.filter(|name| *name != "subject").map(|name| (name.clone(), came[name].clone())).collect()
}

#[test]
fn an_event_that_goes_through_the_broker_is_the_same_in_both_modes() {
    let (broker, mesh) = (Broker::begin(), Mesh::start());
    for (number, mode) in ["binary", "structured"].into_iter().enumerate() {
        let (out, back) = (format!("out.{mode}"), format!("back.{mode}"));
        let event = json!({
            "specversion": "1.0", "id": format!("e-{number} \"ü\""), "source": "/shop", "type": "order.placed",
            "datacontenttype": "application/cloudevents+json", "subject": out,
            "time": "2026-01-31T12:00:00.125000Z", "partitionkey": "42", "dataschema": "http://shop/order",
            "traceparent": "00-ab", "contenttype": "text/plain; charset=utf-8", "data": "café",
        });
        publish(&mesh, &[event.to_string()]);
        let writing = writing(&broker, &mesh, &out).set("connectorConfig.mode", mode);
        let reading = reading(&broker, &mesh, &back);
        let (sink, source) = (writing.start(&[]), reading.start(&[]));
        let came = mesh.read(&back, |events| events.len() == 1);
        let mut expected = event;
        expected.as_object_mut().unwrap().remove("subject");
        assert_eq!(of(&came, &expected), expected, "{mode}: {}{}", sink.log(), source.log());
    }
}

#[test]
fn a_message_that_is_no_event_becomes_one_of_what_it_says() {
    let (broker, mesh) = (Broker::begin(), Mesh::start());
    broker.client.bind("shop", "orders", "#");
    let mut headers = FieldTable::default();
    headers.insert("customer".into(), AMQPValue::LongLongInt(7));
    let properties = BasicProperties::default()
        .with_message_id("m-1".into())
        .with_type("order.placed".into())
        .with_content_type("application/octet-stream".into())
        .with_headers(headers);
    broker.client.publish("shop", "eu/new", &[(properties, b"\x00\xff")]);
    let job = reading(&broker, &mesh, "from.{queue}.{exchange}.{routingKey}");
    let job = job.set("connectorConfig.key", "header:customer");
    let _source = job.start(&[]);
    let came = mesh.read("from.orders.shop.eu_new", |events| events.len() == 1);
    let expected = json!({
        "id": "m-1", "source": "/flowd/rabbitmq-source/messages", "type": "order.placed", "partitionkey": "7",
        "exchange": "shop", "routingkey": "eu/new", "customer": "7",
        "contenttype": "application/octet-stream", "contentencoding": "base64", "data": "AP8=",
    });
    assert_eq!(of(&came, &expected), expected);
}

#[test]
fn a_message_without_an_id_gets_one_that_no_other_has() {
    let (broker, mesh) = (Broker::begin(), Mesh::start());
    broker.client.publish(
        "",
        "orders",
        &[(BasicProperties::default(), b"same"), (BasicProperties::default(), b"same")],
    );
    let job = reading(&broker, &mesh, "orders");
    let _source = job.start(&[]);
    let came = mesh.read("orders", |events| events.len() == 2);
    assert_ne!(came.0[0].id(), came.0[1].id());
    assert_eq!(came.0[0].json["data"], "same");
}
