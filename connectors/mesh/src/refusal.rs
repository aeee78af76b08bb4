//! What a refusal's text means. The server's code is 1 whatever went wrong (protocol manual, sections 2 and 5.1).

/// What to do about a refused publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The server is over its limits: the event waits, and so does the connection, with a smaller window.
    Overload,
    /// The connection's session is gone: open it anew.
    Session,
    /// May heal (a topic nobody subscribed to yet, a storage that is away): the event waits. Unknown texts are taken
    /// for this, because an event that is sent again is better than one that is lost.
    Wait,
    /// The server's limit of an event's size.
    Size,
    /// This event will never be taken.
    Never,
}

const OVERLOAD: [&str; 4] = ["SEND_TOO_FAST", "Tps overload", "flow control", "RejectedExecutionException"];
const SESSION: [&str; 3] = ["no session", "session will be closed", "not created"];
const SIZE: [&str; 1] = ["event size exceeds the limit"];
const NEVER: [&str; 8] = [
    "event is null",
    "Invalid extension",
    "CloudEventRWException",
    "EventDeserializationException",
    "JsonParseException",
    "has no auth",
    "invalid token",
    "no acl permission",
];

impl Refusal {
    /// Told by the text and the code (2: not allowed, 3: overload; legal, though the Java server uses neither).
    pub(crate) fn of(code: i32, text: &str) -> Self {
        let says = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
        match () {
            () if says(&SIZE) => Self::Size,
            () if code == 3 || says(&OVERLOAD) => Self::Overload,
            () if says(&SESSION) => Self::Session,
            () if code == 2 || says(&NEVER) => Self::Never,
            () => Self::Wait,
        }
    }
}

/// The reason that a reject carries.
pub(crate) fn reason(refusal: Refusal, topic: &str, text: &str) -> String {
    match refusal {
        Refusal::Size => format!(
            "the mesh refused an event of topic {topic} for its size ({text}); raise eventMesh.server.maxEventSize on \
             the server"
        ),
        _ => format!("the mesh refused an event of topic {topic} for good: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_java_server_are_told_apart() {
        let storage =
            "org.apache.eventmesh.api.exception.StorageRuntimeException: Send message error, topic: X";
        for (text, refusal) in [
            ("java.lang.Exception: SEND_TOO_FAST", Refusal::Overload),
            ("Tps overload, global flow control", Refusal::Overload),
            ("java.util.concurrent.RejectedExecutionException: Task …", Refusal::Overload),
            ("java.lang.Exception: no session is found", Refusal::Session),
            ("this eventMesh tcp session will be closed, may be reboot or version change!", Refusal::Session),
            (storage, Refusal::Wait),
            ("java.lang.NullPointerException", Refusal::Wait),
            ("java.lang.Exception: event size exceeds the limit: 1000", Refusal::Size),
            ("java.lang.Exception: event is null", Refusal::Never),
        ] {
            assert_eq!(Refusal::of(1, text), refusal, "{text}");
        }
        assert_eq!(Refusal::of(3, ""), Refusal::Overload);
        assert_eq!(Refusal::of(2, ""), Refusal::Never);
    }
}
