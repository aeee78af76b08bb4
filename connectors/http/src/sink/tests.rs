//! Settings, and what is dealt to which lane. What goes over the wire is tried against real servers.

use super::*;

fn opened(given: &[(&str, &str)]) -> Result<Opened, Wrong> {
    let context = Context { connector_name: "out".into(), buffer_bytes: 1 << 20 };
    open(&Settings::of("out", SETTINGS, given)?, &context)
}

#[test]
fn settings_that_do_not_go_together_are_told() {
    let url = ("url", "https://example.com/in");
    assert!(opened(&[url, ("headers", "x-tenant=a, accept=*/*")]).is_ok());
    for (given, setting) in [
        (&[][..], "url"),
        (&[("url", "example.com")], "url"),
        (&[url, ("headers", "a b=c")], "headers"),
        (&[url, ("headers", "ce-id=c")], "headers"),
        (&[url, ("headers", "Content-Type=c")], "headers"),
        (&[url, ("token", "a\n")], "token"),
        (&[url, ("token", "a"), ("userName", "b")], "token"),
        (&[url, ("passWord", "a")], "userName"),
        (&[url, ("origin", "a\n")], "origin"),
    ] {
        assert_eq!(opened(given).err().unwrap().setting, setting, "{given:?}");
    }
}

fn event<'a>(id: &'a str, key: Option<&'a str>) -> DeliverEvent<'a> {
    DeliverEvent { json: b"{}", id, source: "/s", topic: "t", key }
}

#[test]
fn events_of_one_key_go_over_one_lane_in_their_order() {
    let events = [
        event("1", Some("a")),
        event("2", None),
        event("3", Some("a")),
        event("4", None),
        event("5", Some("a")),
    ];
    let fates = vec![Fate::Open; events.len()];
    let work = deal(&events, &fates, 2, &RandomState::new());
    assert!(work.iter().any(|indices| {
        let keyed: Vec<usize> =
            indices.iter().copied().filter(|index| events[*index].key.is_some()).collect();
        keyed == [0, 2, 4]
    }));
    assert_eq!(work.iter().map(Vec::len).sum::<usize>(), 5);
}

#[test]
fn what_has_its_fate_is_not_dealt_again() {
    let events = [event("1", None), event("2", None)];
    let work = deal(&events, &[Fate::Delivered, Fate::Open], 1, &RandomState::new());
    assert_eq!(work, [[1]]);
}
