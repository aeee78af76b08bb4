//! The feed against a scripted server.

use std::time::Duration;

use flowd_codec::frame::SubscriptionMode;

use super::*;
use crate::config::Timing;
use crate::testing::mesh::{Happening, MeshServer, Script, World};

/// Clocks that make a test's faults heal within it.
fn config(server: &MeshServer) -> MeshConfig {
    let ms = Duration::from_millis;
    MeshConfig {
        addresses: vec![server.address.clone()],
        timing: Timing { reconnect: ms(10), reconnect_max: ms(50), drain: ms(5000), ..Timing::default() },
        ..MeshConfig::default()
    }
}

/// Plays with a feed of topic `T`, drops it, and gives what the reading ended with.
fn play(config: MeshConfig, stats: &Arc<Stats>, play: impl AsyncFnOnce(&mut Feed)) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut feed, reading) =
        feed(config, Subscription::new(["T"], SubscriptionMode::Clustering), Arc::clone(stats));
    let bound = Duration::from_secs(20);
    runtime.block_on(async {
        let reading = tokio::spawn(reading.run());
        tokio::time::timeout(bound, play(&mut feed)).await.expect("nothing hangs");
        drop(feed);
        tokio::time::timeout(bound, reading).await.expect("the reading ends").unwrap()
    })
}

async fn until(server: &MeshServer, holds: impl Fn(&World) -> bool) {
    while !holds(&server.world.lock().unwrap()) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Takes so many pushes: numbers and bodies.
async fn take(feed: &mut Feed, count: usize) -> Vec<(u64, String)> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let run = feed.next().await.expect("the reading goes on");
        let text = |event: &[u8]| String::from_utf8(event.to_vec()).unwrap();
        let numbers = run.pushes.iter().map(Push::number);
        taken.extend(numbers.zip(run.events().map(text)));
    }
    taken
}

fn on_listening(mut script: impl FnMut(&mut World, usize) + Send + 'static) -> Script {
    Box::new(move |world, happening| {
        if let Happening::Listening(connection) = happening {
            script(world, connection);
        }
    })
}

fn acks(server: &MeshServer) -> Vec<(usize, String)> {
    server.world.lock().unwrap().push_acks.clone()
}

fn ack(connection: usize, seq: &str) -> (usize, String) {
    (connection, seq.to_owned())
}

#[test]
fn a_push_is_acknowledged_once_it_is_confirmed_and_not_before() {
    let server = MeshServer::start(on_listening(|world, connection| {
        (1..=5).for_each(|n| world.push(connection, &n.to_string(), format!("{{\"n\":{n}}}").as_bytes()));
    }));
    let stats = Arc::default();
    let ended = play(config(&server), &stats, async |feed| {
        let taken = take(feed, 5).await;
        assert_eq!(taken[0], (1, "{\"n\":1}".to_owned()));
        assert_eq!(taken[4], (5, "{\"n\":5}".to_owned()));
        assert_eq!(acks(&server), []);
        feed.confirm(3);
        until(&server, |world| world.push_acks.len() >= 3).await;
    });
    assert_eq!(ended, Ok(()));
    assert_eq!(acks(&server), [ack(0, "1"), ack(0, "2"), ack(0, "3")]);
    let world = server.world.lock().unwrap();
    assert_eq!(world.goodbyes, 1, "it leaves in good order");
    assert_eq!(world.hellos[0]["purpose"], "sub");
    assert_eq!(world.subscriptions[0]["topicList"][0]["topic"], "T");
    assert_eq!((stats.pushes.value(), stats.acked.value(), stats.unacked.value()), (5, 3, 2));
    assert_eq!((stats.in_hand.value(), stats.connected.value()), (0, 0));
}

#[test]
fn what_is_confirmed_after_the_end_is_still_acknowledged() {
    let server = MeshServer::start(on_listening(|world, connection| world.push(connection, "7", b"{}")));
    let confirmer = Mutex::new(None);
    let ended = play(config(&server), &Arc::default(), async |feed| {
        take(feed, 1).await;
        let later = feed.confirmer();
        *confirmer.lock().unwrap() = Some(std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            later.confirm(1);
        }));
    });
    assert_eq!((ended, acks(&server)), (Ok(()), vec![ack(0, "7")]));
}

#[test]
fn what_is_pushed_before_the_answer_to_listen_is_not_lost() {
    let server =
        MeshServer::start(on_listening(|world, connection| world.push(connection, "1", b"{\"n\":1}")));
    server.world.lock().unwrap().early = Some(b"{\"n\":0}".to_vec());
    let ended = play(config(&server), &Arc::default(), async |feed| {
        let taken = take(feed, 2).await;
        assert_eq!(taken, [(1, "{\"n\":0}".to_owned()), (2, "{\"n\":1}".to_owned())]);
        feed.confirm(2);
        until(&server, |world| world.push_acks.len() == 2).await;
    });
    assert_eq!((ended, acks(&server)), (Ok(()), vec![ack(0, "0"), ack(0, "1")]));
}

#[test]
fn a_push_that_the_server_could_not_write_is_counted_and_acknowledged_in_its_turn() {
    let server = MeshServer::start(on_listening(|world, connection| {
        world.push(connection, "1", b"{}");
        world.push_unreadable(connection, "2");
        world.push(connection, "3", b"{}");
    }));
    let stats = Arc::default();
    let ended = play(config(&server), &stats, async |feed| {
        let taken = take(feed, 2).await;
        assert_eq!((taken[0].0, taken[1].0), (1, 3));
        feed.confirm(3);
        until(&server, |world| world.push_acks.len() == 3).await;
    });
    assert_eq!((ended, stats.unreadable.value()), (Ok(()), 1));
}

#[test]
fn a_connection_that_was_told_goodbye_acknowledges_what_it_brought_beside_its_successor() {
    let server = MeshServer::start(on_listening(|world, connection| {
        world.push(connection, &format!("s{connection}"), b"{}");
        if connection == 0 {
            world.goodbye(connection);
        }
    }));
    let stats = Arc::default();
    let ended = play(config(&server), &stats, async |feed| {
        take(feed, 1).await;
        until(&server, |world| world.listeners == [0, 1]).await;
        take(feed, 1).await;
        feed.confirm(1);
        until(&server, |world| world.push_acks.len() == 1 && world.goodbyes == 1).await;
        feed.confirm(2);
        until(&server, |world| world.push_acks.len() == 2).await;
    });
    assert_eq!(ended, Ok(()));
    assert_eq!(acks(&server), [ack(0, "s0"), ack(1, "s1")]);
    assert_eq!((stats.reconnects.value(), stats.unacked.value()), (1, 0));
}

#[test]
fn a_redirect_is_followed() {
    let there = MeshServer::start(on_listening(|world, connection| world.push(connection, "t", b"{}")));
    let address = there.address.clone();
    let here = MeshServer::start(on_listening(move |world, connection| {
        world.push(connection, "h", b"{}");
        world.redirect(connection, &address);
    }));
    let ended = play(config(&here), &Arc::default(), async |feed| {
        take(feed, 2).await;
        feed.confirm(2);
        until(&here, |world| world.push_acks.len() == 1).await;
        until(&there, |world| world.push_acks.len() == 1).await;
    });
    assert_eq!((ended, here.world.lock().unwrap().listeners.len()), (Ok(()), 1));
}

#[test]
fn what_a_lost_connection_brought_is_not_acknowledged_on_its_successor() {
    let server = MeshServer::start(on_listening(|world, connection| {
        world.push(connection, &format!("s{connection}"), b"{}");
        if connection == 0 {
            world.close(connection);
        }
    }));
    let stats = Arc::default();
    let ended = play(config(&server), &stats, async |feed| {
        let taken = take(feed, 2).await;
        feed.confirm(taken[1].0);
        until(&server, |world| world.push_acks.len() == 1).await;
    });
    assert_eq!((ended, acks(&server)), (Ok(()), vec![ack(1, "s1")]));
    assert_eq!((stats.reconnects.value(), stats.unacked.value()), (1, 1));
}

#[test]
fn heartbeats_go_on_while_nobody_takes_what_is_pushed() {
    const PUSHES: u64 = 150;
    let body = format!("\"{}\"", "x".repeat(20_000));
    let server = MeshServer::start(on_listening(move |world, connection| {
        (0..PUSHES).for_each(|n| world.push(connection, &n.to_string(), body.as_bytes()));
    }));
    let ms = Duration::from_millis;
    let mut config = config(&server);
    config.timing = Timing { heartbeat: ms(20), heartbeat_answer: ms(50), ..config.timing };
    let stats = Arc::default();
    let ended = play(config, &stats, async |feed| {
        // Their answers lie behind what is not read.
        until(&server, |world| world.heartbeats >= 20).await;
        assert!(stats.pushes.value() < PUSHES, "the feed is bounded");
        let taken = take(feed, PUSHES as usize).await;
        feed.confirm(taken.last().unwrap().0);
        until(&server, |world| world.push_acks.len() as u64 == PUSHES).await;
    });
    assert_eq!((ended, server.world.lock().unwrap().listeners.len()), (Ok(()), 1));
}

#[test]
fn a_silent_server_is_left_for_a_new_connection() {
    let server = MeshServer::start(on_listening(|_, _| {}));
    server.world.lock().unwrap().answers_heartbeats = false;
    let ms = Duration::from_millis;
    let mut config = config(&server);
    config.timing = Timing { heartbeat: ms(20), heartbeat_answer: ms(50), ..config.timing };
    let ended =
        play(config, &Arc::default(), async |_| until(&server, |world| world.listeners.len() >= 2).await);
    assert_eq!(ended, Ok(()));
}

#[test]
fn a_refusal_is_the_end_at_first_and_waited_out_later() {
    let refusal = Some((1, "no such user".to_owned()));
    let server = MeshServer::start(on_listening(|_, _| {}));
    server.world.lock().unwrap().refuse_hello = refusal.clone();
    let ended = play(config(&server), &Arc::default(), async |feed| assert!(feed.next().await.is_none()));
    assert!(matches!(&ended, Err(Failure::Unusable(text)) if text.contains("no such user")), "{ended:?}");

    server.world.lock().unwrap().refuse_hello = None;
    let ended = play(config(&server), &Arc::default(), async |_| {
        until(&server, |world| world.listeners.len() == 1).await;
        let hellos = {
            let mut world = server.world.lock().unwrap();
            world.refuse_hello = refusal;
            let connection = world.listeners[0];
            world.close(connection);
            world.hellos.len()
        };
        until(&server, |world| world.hellos.len() > hellos + 1).await;
        server.world.lock().unwrap().refuse_hello = None;
        until(&server, |world| world.listeners.len() == 2).await;
    });
    assert_eq!(ended, Ok(()));
}
