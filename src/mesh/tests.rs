//! The whole server over real sockets.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use flowd_codec::frame::{Command, Header, Properties, SubscriptionMode, encode_parts};

use super::{FaultPlan, Server, ServerConfig};
use client::{Client, agent, event};

mod client;
mod java;
mod subscriber;

fn config(data: Option<&Path>) -> ServerConfig {
    let mut config = ServerConfig::new("127.0.0.1:0", data.map(Into::into));
    config.ack_timeout = Duration::from_millis(200);
    config
}

fn start(config: ServerConfig) -> Server {
    Server::start(config).expect("a free port on the loopback")
}

const GROUPED: SubscriptionMode = SubscriptionMode::Clustering;

#[test]
fn hello_is_checked_as_the_java_server_checks_it() {
    let server = start(config(None));
    for (purpose, group, version) in [
        (None, Some("g"), Some("2.0")),
        (Some("all"), Some("g"), Some("2.0")),
        (Some("pub"), None, Some("2.0")),
        (Some("pub"), Some(" "), Some("2.0")),
        (Some("sub"), Some("g"), None),
    ] {
        let mut client = Client::connect(&server);
        let answer = client.ask(Command::HelloRequest, &agent(purpose, group, version));
        assert_eq!(answer.code, 1, "{purpose:?} {group:?} {version:?}");
        assert!(client.next().is_none(), "a refused client is disconnected");
    }
    let mut client = Client::publisher(&server);
    assert_eq!(client.ask(Command::HelloRequest, b"nonsense").code, 0, "a second HELLO is ignored");
    server.shutdown().expect("a clean end");
}

#[test]
fn requests_are_answered_as_the_manual_says() {
    let server = start(config(None));
    let mut stranger = Client::connect(&server);
    for command in [Command::HeartbeatRequest, Command::SubscribeRequest, Command::RecommendRequest] {
        let answer = stranger.ask(command, b"");
        assert_eq!(
            (answer.code, answer.desc.as_deref()),
            (1, Some("java.lang.Exception: no session is found"))
        );
    }
    let mut publisher = Client::publisher(&server);
    assert_eq!(publisher.ask(Command::HeartbeatRequest, b"").desc.as_deref(), Some("success"));
    assert_eq!(publisher.ask(Command::ListenRequest, b"").code, 1);
    assert_eq!(publisher.ask(Command::RecommendRequest, b"").code, 1);
    publisher.send(Command::TraceLogToLogserver, "x", Properties::new(), b"");
    let answer = publisher.receive().header;
    assert_eq!((answer.command, answer.code), (Command::TraceLogToLogserver, 1));
    let mut subscriber = Client::subscriber(&server, "g", "T", GROUPED);
    assert_eq!(subscriber.ask(Command::ListenRequest, b"").code, 0, "every LISTEN is answered");
    assert_eq!(subscriber.ask(Command::SubscribeRequest, b"").code, 1, "no body");
    assert_eq!(subscriber.ask(Command::UnsubscribeRequest, b"").code, 0);
    assert_eq!(subscriber.ask(Command::ClientGoodbyeRequest, b"").code, 0);
    server.shutdown().expect("a clean end");
}

#[test]
fn replies_come_in_the_order_of_the_requests_even_one_byte_at_a_time() {
    let server = start(config(None));
    let mut client = Client::publisher(&server);
    let mut bytes = Vec::new();
    for id in 1..=3 {
        let header = Header {
            properties: Properties::publish(),
            ..Header::request(Command::AsyncMessageToServer, id.to_string())
        };
        encode_parts(&header, event("T", id).as_bytes(), &mut bytes);
        encode_parts(&Header::request(Command::HeartbeatRequest, format!("h{id}")), b"", &mut bytes);
    }
    for byte in bytes {
        client.stream.write_all(&[byte]).expect("the server reads");
    }
    let seqs: Vec<_> = (0..6).filter_map(|_| client.receive().header.seq).collect();
    assert_eq!(seqs, ["1", "h1", "2", "h2", "3", "h3"]);
    server.shutdown().expect("a clean end");
}

#[test]
fn a_malformed_frame_ends_the_connection_and_no_other() {
    let server = start(config(None));
    let mut good = Client::publisher(&server);
    for bytes in [
        &b"EventMush0000"[..],
        b"EventMesh0001",
        b"EventMesh0000\xff\xff\xff\xff\0\0\0\x02{}",
        b"EventMesh0000\0\x40\0\x01\0\0\0\x02{}",
        b"EventMesh0000\0\0\0\x0f\0\0\0\x02{]",
        b"EventMesh0000\0\0\0\x1a\0\0\0\x0d{\"cmd\":\"nix\"}",
    ] {
        let mut client = Client::connect(&server);
        client.stream.write_all(bytes).expect("the server reads");
        assert!(client.next().is_none(), "{}", bytes.escape_ascii());
    }
    let mut client = Client::connect(&server);
    client.stream.write_all(b"EventMesh0000\0\0\0\x0f\0\0\0\x02{}").expect("the server reads");
    let goodbye = client.receive().header;
    assert_eq!((goodbye.command, goodbye.code), (Command::ServerGoodbyeRequest, 1));
    assert!(goodbye.seq.is_some() && client.next().is_none());
    assert_eq!(good.publish("T", 1).code, 0);
    server.shutdown().expect("a clean end");
}

#[test]
fn a_publish_without_subscriber_is_stored_and_a_new_group_starts_at_the_oldest() {
    let server = start(config(None));
    let mut publisher = Client::publisher(&server);
    for id in 0..100 {
        assert_eq!(publisher.publish("T", id).code, 0);
    }
    let mut first = Client::subscriber(&server, "first", "T", GROUPED);
    assert_eq!(first.drain(100), (0..100).collect::<Vec<_>>());
    first.settle();
    assert_eq!(publisher.publish("T", 100).code, 0);
    // What the only group acknowledged is gone: the next group finds what is left.
    assert_eq!(Client::subscriber(&server, "second", "T", GROUPED).drain(1), [100]);
    assert_eq!(first.drain(1), [100], "each group has its own cursor");
    server.shutdown().expect("a clean end");
}

#[test]
fn an_unacknowledged_event_goes_out_again_after_the_time_out_and_when_its_session_ends() {
    let server = start(config(None));
    Client::publisher(&server).publish("T", 7);
    let mut first = Client::subscriber(&server, "g", "T", GROUPED);
    let (seq, id) = first.push();
    let (again, same) = first.push();
    assert_eq!((id, same), (7, 7));
    assert_ne!(seq, again, "a redelivery has its own seq");
    drop(first);
    let mut second = Client::subscriber(&server, "g", "T", GROUPED);
    let (seq, id) = second.push();
    assert_eq!(id, 7);
    second.ack(&seq);
    second.settle();
    drop(second);
    let mut third = Client::subscriber(&server, "g", "T", GROUPED);
    Client::publisher(&server).publish("T", 8);
    assert_eq!(third.drain(1), [8], "acknowledged is acknowledged");
    server.shutdown().expect("a clean end");
}

#[test]
fn a_late_acknowledgement_counts() {
    let server = start(config(None));
    Client::publisher(&server).publish("T", 7);
    let mut slow = Client::subscriber(&server, "g", "T", GROUPED);
    let (seq, _) = slow.push();
    assert_eq!(slow.push().1, 7, "the time-out has passed");
    slow.ack(&seq);
    slow.settle();
    drop(slow);
    let mut next = Client::subscriber(&server, "g", "T", GROUPED);
    Client::publisher(&server).publish("T", 8);
    assert_eq!(next.drain(1), [8]);
    server.shutdown().expect("a clean end");
}

#[test]
fn planned_faults_lose_acknowledgements_and_connections_but_no_event() {
    let mut config = config(None);
    config.faults = FaultPlan { drop_acks: 3, reset_every: 20, seed: 5, ..FaultPlan::default() };
    let server = start(config);
    let (mut publisher, mut taken, mut resets) = (Client::publisher(&server), Vec::new(), 0);
    for id in 0..100 {
        // In one write: the server may cut the connection at the first of the two.
        let header = Header {
            properties: Properties::publish(),
            ..Header::request(Command::AsyncMessageToServer, id.to_string())
        };
        let mut out = Vec::new();
        encode_parts(&header, event("T", id).as_bytes(), &mut out);
        encode_parts(&Header::request(Command::HeartbeatRequest, "h"), b"", &mut out);
        publisher.stream.write_all(&out).expect("the server reads");
        match publisher.next() {
            Some(frame) if frame.header.command == Command::AsyncMessageToServerAck => {
                taken.push(id);
                assert_eq!(publisher.receive().header.command, Command::HeartbeatResponse);
            }
            Some(_) => {}
            None => {
                resets += 1;
                publisher = Client::publisher(&server);
            }
        }
    }
    assert!(resets > 0 && taken.len() > 30 && taken.len() + resets < 90, "{resets} {}", taken.len());
    let stored = Client::subscriber(&server, "g", "T", GROUPED).drain(100 - resets);
    assert!(taken.iter().all(|id| stored.contains(id)), "what was acknowledged is there");
    server.shutdown().expect("a clean end");
}

#[test]
fn sessions_of_a_group_share_its_events_and_broadcast_readers_each_get_all() {
    const EVENTS: u64 = 100;
    let server = start(config(None));
    let mut sharers = [(); 2].map(|()| Client::subscriber(&server, "g", "T", GROUPED));
    let mut hearers = [(); 2].map(|()| Client::subscriber(&server, "g", "T", SubscriptionMode::Broadcasting));
    let mut publisher = Client::publisher(&server);
    for id in 0..EVENTS {
        publisher.publish("T", id);
    }
    for hearer in &mut hearers {
        assert_eq!(hearer.drain(100), (0..EVENTS).collect::<Vec<_>>());
    }
    // Nothing is acknowledged, so neither session alone can be given more than its window: the other has the rest.
    let window = ServerConfig::new("", None).window;
    let [mut one, mut two] = [Vec::new(), Vec::new()];
    while one.len() + two.len() < 100 {
        one.extend(sharers[0].pushed_so_far());
        two.extend(sharers[1].pushed_so_far());
    }
    assert!(one.len() <= window && two.len() <= window, "{} and {}", one.len(), two.len());
    one.append(&mut two);
    one.sort_unstable();
    assert_eq!(one, (0..EVENTS).collect::<Vec<_>>());
    server.shutdown().expect("a clean end");
}

#[test]
fn at_the_bound_publishers_are_refused_and_an_acknowledgement_makes_room() {
    let mut config = config(None);
    config.retain_bytes = 64 << 10;
    let server = start(config);
    let mut reader = Client::subscriber(&server, "g", "T", GROUPED);
    let mut publisher = Client::publisher(&server);
    let refused = (0..).find(|id| publisher.publish("T", *id).code != 0).expect("there is a bound");
    let text = publisher.publish("T", refused).desc.expect("a refusal says why");
    assert_eq!(text, "Tps overload, global flow control");
    let mut read = reader.drain(1);
    reader.settle();
    assert_eq!(publisher.publish("T", refused).code, 0);
    read.extend(reader.drain(0));
    server.shutdown().expect("a clean end");
}

#[test]
fn a_topic_that_never_had_a_group_loses_its_oldest_and_others_lose_nothing() {
    let mut config = config(None);
    config.retain_bytes = 64 << 10;
    let server = start(config);
    let mut reader = Client::subscriber(&server, "g", "kept", GROUPED);
    let mut publisher = Client::publisher(&server);
    publisher.publish("kept", 0);
    for id in 0..1_000 {
        assert_eq!(publisher.publish("unread", id).code, 0);
    }
    assert_eq!(reader.drain(1), [0]);
    let mut late = Client::subscriber(&server, "g", "unread", GROUPED);
    let first = late.drain(1)[0];
    assert!(first > 500, "the oldest went: {first}");
    assert_eq!(late.drain(9), (first + 1..first + 10).collect::<Vec<_>>());
    server.shutdown().expect("a clean end");
}

/// The state of a directory as `kill -9` would leave it, while the server still runs.
fn photograph(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        std::fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("a copy");
    }
}

#[test]
fn what_was_acknowledged_survives_a_crash_with_a_torn_tail() {
    let (data, crashed) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let server = start(config(Some(data.path())));
    let mut publisher = Client::publisher(&server);
    for id in 0..50 {
        assert_eq!(publisher.publish("T", id).code, 0);
    }
    let mut reader = Client::subscriber(&server, "g", "T", GROUPED);
    // Out of order: 0..10 and 20 are acknowledged.
    let pushes: Vec<_> = (0..30).map(|_| reader.push()).collect();
    for (seq, _) in pushes[..10].iter().chain(&pushes[20..21]) {
        reader.ack(seq);
    }
    reader.settle();
    // A publish is acknowledged only when all before it, cursors included, is on disk.
    assert_eq!(publisher.publish("T", 50).code, 0);
    photograph(data.path(), crashed.path());
    server.shutdown().expect("a clean end");

    let newest =
        std::fs::read_dir(crashed.path()).expect("a directory").filter_map(|entry| Some(entry.ok()?.path()));
    let newest = newest.filter(|path| path.extension().is_some()).max().expect("a segment");
    let mut file = std::fs::OpenOptions::new().append(true).open(newest).expect("a segment");
    file.write_all(b"\x40\0\0\0torn in the middle of").expect("a write");

    let server = start(config(Some(crashed.path())));
    let mut reader = Client::subscriber(&server, "g", "T", GROUPED);
    let expected: Vec<u64> = (10..20).chain(21..51).collect();
    assert_eq!(reader.drain(expected.len()), expected);
    assert_eq!(Client::publisher(&server).publish("T", 51).code, 0);
    assert_eq!(reader.drain(1), [51]);
    server.shutdown().expect("a clean end");
}

#[test]
fn a_directory_does_not_grow_with_what_passes_through() {
    let data = tempfile::tempdir().expect("a directory");
    let mut config = config(Some(data.path()));
    config.retain_bytes = 64 << 10; // segments of 64 KiB
    let server = start(config.clone());
    let mut reader = Client::subscriber(&server, "g", "T", GROUPED);
    // One unacknowledged event of another topic lies in the oldest segment and must be moved along.
    let mut slow = Client::subscriber(&server, "g", "slow", GROUPED);
    let mut publisher = Client::publisher(&server);
    publisher.publish("slow", 4_711);
    slow.push();
    for id in 0..60 {
        let padded = event("T", id).replace("\"n\"", &format!("\"pad\":\"{}\",\"n\"", "x".repeat(16 << 10)));
        publisher.send(Command::AsyncMessageToServer, "x", Properties::publish(), padded.as_bytes());
        assert_eq!(publisher.receive().header.code, 0);
        assert_eq!(reader.drain(1), [id]);
        reader.settle();
    }
    drop(slow);
    server.shutdown().expect("a clean end");
    let sizes = std::fs::read_dir(data.path())
        .expect("a directory")
        .map(|entry| entry.and_then(|entry| entry.metadata()));
    let total: u64 = sizes.map(|meta| meta.expect("a file").len()).sum();
    assert!(total < 512 << 10, "{total} bytes are kept of one event");
    let server = start(config);
    assert_eq!(Client::subscriber(&server, "g", "slow", GROUPED).drain(1), [4_711]);
    server.shutdown().expect("a clean end");
}

#[test]
fn a_directory_in_use_is_refused() {
    let data = tempfile::tempdir().expect("a directory");
    let server = start(config(Some(data.path())));
    let error = Server::start(config(Some(data.path()))).expect_err("in use").to_string();
    assert!(error.contains("in use by another mesh"), "{error}");
    server.shutdown().expect("a clean end");
    start(config(Some(data.path()))).shutdown().expect("free again");
}

#[test]
fn a_port_in_use_is_refused() {
    let server = start(config(None));
    let error = Server::start(ServerConfig::new(server.address().to_string(), None)).expect_err("in use");
    assert!(error.to_string().contains("cannot listen on"), "{error}");
    server.shutdown().expect("a clean end");
}

#[test]
fn a_stopping_server_says_goodbye() {
    let server = start(config(None));
    let mut client = Client::publisher(&server);
    server.stop();
    let goodbye = client.receive().header;
    assert_eq!((goodbye.command, goodbye.code), (Command::ServerGoodbyeRequest, 0));
    assert_eq!(goodbye.desc.as_deref(), Some("graceful normal quit from eventmesh"));
    assert!(goodbye.seq.is_some() && client.next().is_none());
    server.wait().expect("a clean end");
}

#[test]
fn silent_and_ungreeted_connections_are_closed_and_any_frame_is_life() {
    let mut config = config(None);
    (config.hello_timeout, config.silence_max) = (Duration::from_millis(100), Duration::from_millis(400));
    let server = start(config);
    let begun = Instant::now();
    assert!(Client::connect(&server).next().is_none());
    assert!(begun.elapsed() >= Duration::from_millis(100));
    let (mut silent, mut busy) = (Client::publisher(&server), Client::publisher(&server));
    for id in 0..8 {
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(busy.publish("T", id).code, 0);
    }
    assert!(silent.next().is_none());
    server.shutdown().expect("a clean end");
}

#[test]
fn many_events_in_flight_all_arrive_in_order() {
    let server = start(config(None));
    let mut reader = Client::subscriber(&server, "g", "T", GROUPED);
    let mut publisher = Client::publisher(&server);
    let mut sending = publisher.stream.try_clone().expect("a second handle");
    let writer = std::thread::spawn(move || {
        for id in 0..20_000u64 {
            let header = Header {
                properties: Properties::publish(),
                ..Header::request(Command::AsyncMessageToServer, id.to_string())
            };
            let mut out = Vec::new();
            encode_parts(&header, event("T", id).as_bytes(), &mut out);
            sending.write_all(&out).expect("the server reads");
        }
    });
    let acks = std::thread::spawn(move || {
        for id in 0..20_000u64 {
            assert_eq!(publisher.receive().header.seq.as_deref(), Some(id.to_string().as_str()));
        }
    });
    assert_eq!(reader.drain(20_000), (0..20_000).collect::<Vec<_>>());
    writer.join().expect("written");
    acks.join().expect("acknowledged");
    server.shutdown().expect("a clean end");
}
