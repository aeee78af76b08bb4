//! A session against a scripted server, in virtual time.

use std::borrow::Cow;

use super::*;
use crate::frame::{Decoder, SubscriptionMode};

const SECOND: Duration = Duration::from_secs(1);

/// A session and what it has sent.
struct Play {
    session: ClientSession,
    start: Instant,
    out: Vec<u8>,
}

impl Play {
    fn new(role: Role) -> Self {
        let agent = UserAgent { group: Some("g".to_owned()), ..UserAgent::default() };
        let session = ClientSession::new(agent, role, Timing::default());
        let mut play = Self { session, start: Instant::now(), out: Vec::new() };
        play.session.start(play.start, &mut play.out);
        play
    }

    fn publisher() -> Self {
        let mut play = Self::new(Role::Publisher);
        play.sent();
        assert_eq!(play.receive_at(0, Command::HelloResponse, 0, Some("c1")), Ok(Received::Ready));
        play
    }

    fn at(&self, seconds: u32) -> Instant {
        self.start + SECOND * seconds
    }

    /// The frames that were sent since the last look.
    fn sent(&mut self) -> Vec<Frame> {
        let mut decoder = Decoder::new();
        decoder.feed(&std::mem::take(&mut self.out));
        std::iter::from_fn(|| decoder.next_frame().expect("valid")).collect()
    }

    fn sent_commands(&mut self) -> Vec<Command> {
        self.sent().into_iter().map(|frame| frame.header.command).collect()
    }

    fn receive_at(
        &mut self,
        seconds: u32,
        command: Command,
        code: i32,
        seq: Option<&str>,
    ) -> Result<Received<'static>, SessionError> {
        let frame = Box::leak(Box::new(frame(command, code, seq, b"")));
        self.session.receive(frame, self.start + SECOND * seconds, &mut self.out)
    }

    fn tick_at(&mut self, seconds: u32) -> Result<(), SessionError> {
        self.session.tick(self.start + SECOND * seconds, &mut self.out)
    }
}

fn frame(command: Command, code: i32, seq: Option<&str>, body: &'static [u8]) -> Frame {
    let desc = (code != 0).then(|| "a reason".into());
    let header = Header { code, desc, seq: seq.map(Into::into), ..Header::request(command, "") };
    Frame { header, body: Bytes::from_static(body) }
}

fn silent(request: Command) -> Result<(), SessionError> {
    Err(SessionError::Silent { request, within: SECOND * 20 })
}

#[test]
fn a_publisher_is_ready_after_hello() {
    let mut play = Play::new(Role::Publisher);
    let hello = play.sent().remove(0);
    let agent: UserAgent = serde_json::from_slice(&hello.body).expect("JSON");
    assert_eq!((hello.header.command, agent.purpose.as_deref()), (Command::HelloRequest, Some("pub")));
    assert!(!play.session.is_ready());
    assert_eq!(play.receive_at(1, Command::HelloResponse, 0, Some("c1")), Ok(Received::Ready));
    assert!(play.session.is_ready());
    assert!(play.out.is_empty());
}

#[test]
fn a_subscriber_says_hello_subscribes_and_listens_in_this_order() {
    let mut play = Play::new(Role::Subscriber(Subscription::new(["T"], SubscriptionMode::Clustering)));
    assert_eq!(play.sent_commands(), [Command::HelloRequest]);
    assert_eq!(play.receive_at(1, Command::HelloResponse, 0, Some("c1")), Ok(Received::Nothing));
    let subscribe = play.sent().remove(0);
    assert_eq!(subscribe.header.command, Command::SubscribeRequest);
    assert_eq!(&subscribe.body[..], br#"{"topicList":[{"topic":"T","mode":"CLUSTERING","type":"ASYNC"}]}"#);
    assert_eq!(play.receive_at(2, Command::SubscribeResponse, 0, Some("c2")), Ok(Received::Nothing));
    assert_eq!(play.sent_commands(), [Command::ListenRequest]);
    assert_eq!(play.receive_at(3, Command::ListenResponse, 0, None), Ok(Received::Ready));
}

#[test]
fn a_refused_step_ends_the_session_with_the_servers_text() {
    let mut play = Play::new(Role::Publisher);
    let refused = SessionError::Refused { request: Command::HelloRequest, reason: "a reason".to_owned() };
    assert_eq!(play.receive_at(1, Command::HelloResponse, 1, Some("c1")), Err(refused));
    assert_eq!(play.session.wake_at(), None);
}

#[test]
fn each_unanswered_step_of_opening_has_an_end() {
    let subscription = Subscription::new(["T"], SubscriptionMode::Clustering);
    let steps = [
        (Command::HelloRequest, Command::HelloResponse),
        (Command::SubscribeRequest, Command::SubscribeResponse),
        (Command::ListenRequest, Command::ListenResponse),
    ];
    for answered in 0..steps.len() {
        let mut play = Play::new(Role::Subscriber(subscription.clone()));
        for (_, answer) in &steps[..answered] {
            play.receive_at(0, *answer, 0, None).expect("accepted");
        }
        assert_eq!(play.session.wake_at(), Some(play.at(20)));
        assert_eq!(play.tick_at(19), Ok(()));
        assert_eq!(play.tick_at(20), silent(steps[answered].0));
    }
}

#[test]
fn a_heartbeat_goes_out_every_25_seconds_whatever_else_is_sent() {
    let mut play = Play::publisher();
    for round in 1..4 {
        let due = 25 * round;
        assert_eq!(play.session.wake_at(), Some(play.at(due)));
        assert_eq!(play.tick_at(due - 1), Ok(()));
        assert!(play.out.is_empty());
        assert_eq!(play.tick_at(due), Ok(()));
        assert_eq!(play.sent_commands(), [Command::HeartbeatRequest]);
        assert_eq!(play.receive_at(due + 1, Command::HeartbeatResponse, 0, None), Ok(Received::Nothing));
    }
}

#[test]
fn a_heartbeat_unanswered_for_20_seconds_is_the_end() {
    let mut play = Play::publisher();
    assert_eq!(play.tick_at(25), Ok(()));
    assert_eq!(play.session.wake_at(), Some(play.at(45)));
    assert_eq!(play.tick_at(44), Ok(()));
    assert_eq!(play.tick_at(45), silent(Command::HeartbeatRequest));
    assert_eq!((play.session.wake_at(), play.session.is_ready()), (None, false));
}

#[test]
fn a_session_that_hears_something_waits_longer_for_the_answer_and_goes_on_calling() {
    let mut play = Play::publisher();
    assert_eq!(play.tick_at(25), Ok(()));
    for seconds in (35..200).step_by(10) {
        play.session.heard(play.at(seconds));
        assert_eq!(play.tick_at(seconds), Ok(()));
    }
    assert_eq!(play.sent_commands(), [Command::HeartbeatRequest; 6], "as often as before");
    assert!(matches!(play.tick_at(215), Err(SessionError::Silent { .. })));
}

#[test]
fn a_heartbeat_refused_for_want_of_a_session_is_the_end() {
    let mut play = Play::publisher();
    assert_eq!(play.tick_at(25), Ok(()));
    let refused = SessionError::Refused { request: Command::HeartbeatRequest, reason: "a reason".to_owned() };
    assert_eq!(play.receive_at(26, Command::HeartbeatResponse, 1, None), Err(refused));
}

#[test]
fn a_servers_heartbeat_is_answered_with_its_seq() {
    let mut play = Play::publisher();
    assert_eq!(play.receive_at(1, Command::HeartbeatRequest, 0, Some("77")), Ok(Received::Nothing));
    let answer = play.sent().remove(0).header;
    assert_eq!((answer.command, answer.seq.as_deref()), (Command::HeartbeatResponse, Some("77")));
}

#[test]
fn our_goodbye_ends_with_its_answer_or_with_time() {
    let mut play = Play::publisher();
    let now = play.at(1);
    play.session.leave(now, &mut play.out);
    play.session.leave(now, &mut play.out);
    assert_eq!(play.sent_commands(), [Command::ClientGoodbyeRequest]);
    assert!(!play.session.is_ready());
    assert_eq!(play.receive_at(2, Command::ClientGoodbyeResponse, 0, Some("c2")), Ok(Received::Left));
    assert_eq!(play.session.wake_at(), None);

    let mut play = Play::publisher();
    play.session.leave(play.start, &mut play.out);
    assert_eq!(play.tick_at(20), silent(Command::ClientGoodbyeRequest));
}

#[test]
fn a_servers_goodbye_without_seq_stops_publishing_but_not_the_acks() {
    let mut play = Play::publisher();
    let goodbye = play.receive_at(1, Command::ServerGoodbyeRequest, 1, None);
    assert_eq!(goodbye, Ok(Received::ServerGoodbye { code: 1, reason: "a reason".to_owned() }));
    assert!(play.out.is_empty(), "without a seq there is nothing to answer");
    assert!(!play.session.is_ready());
    let ack = play.receive_at(2, Command::AsyncMessageToServerAck, 0, Some("1"));
    assert!(matches!(ack, Ok(Received::Ack(_))));
    play.session.leave(play.start, &mut play.out);
    assert_eq!(play.sent_commands(), [Command::ClientGoodbyeRequest], "and leaving is still possible");
}

#[test]
fn a_servers_goodbye_with_seq_is_answered() {
    let mut play = Play::publisher();
    play.receive_at(1, Command::ServerGoodbyeRequest, 0, Some("9")).expect("a goodbye");
    assert_eq!(play.sent_commands(), [Command::ServerGoodbyeResponse]);
}

#[test]
fn a_redirect_names_the_new_address() {
    for (body, expected) in [
        (
            &br#"{"ip":"10.0.0.1","port":10000}"#[..],
            Some(Redirect { ip: "10.0.0.1".to_owned(), port: 10_000 }),
        ),
        (b"?", None),
    ] {
        let mut play = Play::publisher();
        let redirect = frame(Command::RedirectToClient, 0, None, body);
        let received = play.session.receive(&redirect, play.start, &mut play.out);
        assert_eq!(received, Ok(Received::Redirected(expected)));
        assert!(!play.session.is_ready());
    }
}

#[test]
fn a_push_is_acked_with_the_matching_command_and_the_same_seq() {
    for (push, ack) in [
        (Command::AsyncMessageToClient, Command::AsyncMessageToClientAck),
        (Command::BroadcastMessageToClient, Command::BroadcastMessageToClientAck),
        (Command::RequestToClient, Command::RequestToClientAck),
    ] {
        let mut play = Play::publisher();
        let Ok(Received::Push(received)) = play.receive_at(1, push, 0, Some("5")) else {
            panic!("{push} is a push");
        };
        received.write_ack(&mut play.out);
        let header = play.sent().remove(0).header;
        assert_eq!((header.command, header.seq.as_deref(), header.code), (ack, Some("5"), 0));
    }
}

#[test]
fn a_push_that_the_server_could_not_encode_is_told_and_can_be_acked() {
    let mut play = Play::publisher();
    let Ok(Received::Push(push)) = play.receive_at(1, Command::AsyncMessageToClient, 1, Some("5")) else {
        panic!("a push");
    };
    assert_eq!((push.code, push.reason.as_deref(), push.body.len()), (1, Some("a reason"), 0));
    push.write_ack(&mut play.out);
    assert_eq!(play.sent_commands(), [Command::AsyncMessageToClientAck]);
}

#[test]
fn answers_that_nobody_waits_for_change_nothing() {
    let mut play = Play::publisher();
    for command in [
        Command::HelloResponse,
        Command::ListenResponse,
        Command::ClientGoodbyeResponse,
        Command::RecommendResponse,
    ] {
        assert_eq!(play.receive_at(1, command, 1, None), Ok(Received::Unexpected(command)));
    }
    assert!(play.session.is_ready());
}

fn ack_frame(code: i32, desc: &str, seq: Option<&str>, body: &'static [u8]) -> Frame {
    let mut frame = frame(Command::AsyncMessageToServerAck, code, seq, body);
    frame.header.desc = Some(desc.into());
    frame
}

#[test]
fn an_ack_with_a_body_is_about_its_id_and_one_without_about_its_seq() {
    let check = |seq: Option<&str>, body: &'static [u8], expected: About<'_>| {
        let frame = ack_frame(0, "success", seq, body);
        assert_eq!(
            publish_ack(&frame),
            Some(Ack { about: expected, outcome: Outcome::Accepted }),
            "{frame:?}"
        );
    };
    let seq = Some("00000000000000000042");
    let bean = br#"{"data":{"node":{"id":"inner"}},"id":"outer","source":"/","specVersion":"V1","attributeNames":["id"]}"#;
    check(seq, bean, About::Id("outer".into()));
    check(None, br#""{\"id\":\"quoted\"}""#, About::Id("quoted".into()));
    check(seq, b"", About::Seq(42));
    for nothing in [&b"{}"[..], b"\"", b"\"x\"", b"{\"id\":7}", b"[1]", b"\xff"] {
        check(seq, nothing, About::Unknown);
    }
    for foreign in ["7", "+0000000000000000042", "99999999999999999999", "c1", ""] {
        check(Some(foreign), b"", About::Unknown);
    }
    check(None, b"", About::Unknown);
}

#[test]
fn reading_an_ack_asks_for_no_memory() {
    let header = Header {
        desc: Some("success".into()),
        ..Header::request(Command::AsyncMessageToServerAck, "00000000000000000042")
    };
    let mut bytes = Vec::new();
    encode_parts(&header, br#"{"data":{"node":1},"id":"g:1"}"#, &mut bytes);
    let mut decoder = Decoder::new();
    decoder.feed(&bytes);
    let received = decoder.buffer_mut().as_ptr_range();
    let frame = decoder.next_frame().expect("valid").expect("whole");
    for text in [&frame.header.seq, &frame.header.desc] {
        assert!(!text.as_ref().expect("both are there").is_heap_allocated());
    }
    assert!(received.contains(&frame.body.as_ptr()));
    let ack = publish_ack(&frame).expect("an ack");
    assert!(matches!(ack.about, About::Id(Cow::Borrowed("g:1"))));
}

#[test]
fn a_publish_that_comes_back_as_itself_is_refused() {
    let mut frame = ack_frame(1, "java.lang.NullPointerException", Some("00000000000000000042"), b"");
    frame.header.command = Command::AsyncMessageToServer;
    let ack = publish_ack(&frame).expect("an answer");
    assert!(matches!(ack, Ack { about: About::Seq(42), outcome: Outcome::Retryable(Retry::Later, _) }));
    frame.header.code = 0;
    assert_eq!(publish_ack(&frame), None);
}

#[test]
fn refusals_that_can_heal_are_retried_and_the_others_are_not() {
    let standalone = "org.apache.eventmesh.api.exception.StorageRuntimeException: x: Send message error, topic: invalid token";
    let retried = [
        (1, "java.lang.Exception: SEND_TOO_FAST", Retry::Overload),
        (1, "Tps overload, global flow control", Retry::Overload),
        (1, "java.util.concurrent.RejectedExecutionException: Task x", Retry::Overload),
        (3, "tpsOverload", Retry::Overload),
        (1, "java.lang.Exception: no session is found", Retry::Session),
        (1, "this eventMesh tcp session will be closed, may be reboot or version change!", Retry::Session),
        (1, standalone, Retry::Later),
        (1, "The topic:T is not created", Retry::Later),
        (1, "java.lang.NullPointerException", Retry::Later),
        (7, "something new", Retry::Later),
        (1, "", Retry::Later),
    ];
    for (code, text, retry) in retried {
        check_outcome(code, text, &Outcome::Retryable(retry, Reason { code, text, remedy: None }));
    }
    let permanent = [
        (1, "java.lang.Exception: event is null"),
        (1, "io.cloudevents.rw.CloudEventRWException: Invalid extensions name: A_B"),
        (1, "java.lang.Exception: group:g has no auth to pub the topic:T"),
        (2, "aclFail"),
        (2, ""),
    ];
    for (code, text) in permanent {
        check_outcome(code, text, &Outcome::Permanent(Reason { code, text, remedy: None }));
    }
}

fn check_outcome(code: i32, text: &str, expected: &Outcome<'_>) {
    let frame = ack_frame(code, text, None, b"");
    assert_eq!(publish_ack(&frame).expect("an ack").outcome, *expected, "{code} {text}");
}

#[test]
fn a_refusal_by_size_names_the_servers_setting() {
    let frame = ack_frame(1, "java.lang.Exception: event size exceeds the limit: 1000", None, b"");
    let Outcome::Permanent(reason) = publish_ack(&frame).expect("an ack").outcome else {
        panic!("permanent")
    };
    let shown = reason.to_string();
    assert!(shown.contains("limit: 1000") && shown.contains("eventMesh.server.maxEventSize"), "{shown}");
}

#[test]
fn a_refusal_without_a_text_shows_its_code() {
    assert_eq!(Reason { code: 7, text: "", remedy: None }.to_string(), "code 7 without a text");
}
