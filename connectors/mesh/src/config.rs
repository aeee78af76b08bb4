//! What is told by the user about a mesh and how to use it, resolved.

use std::time::Duration;

use flowd_codec::frame::PUBLISH_SIZE_MAX;
use flowd_engine::order::Order;

/// How to reach EventMesh and how hard to push. `Default` is what an empty configuration means.
#[derive(Clone)]
pub struct MeshConfig {
    /// The setting that names the addresses, for messages.
    pub setting: &'static str,
    /// `host:port`, at least one. The pool spreads its connections over all that answer.
    pub addresses: Vec<String>,
    /// TCP connections, at least 1. The Java server takes 2000 frames a second on each.
    pub connections: usize,
    /// Unacknowledged publishes a connection, at least 1.
    pub window: usize,
    /// What order subscribers may rely on.
    pub order: Order,
    /// `idc` of the HELLO.
    pub idc: String,
    /// `env` of the HELLO.
    pub env: String,
    /// `group` of the HELLO, not blank.
    pub group: String,
    /// `subsystem` of the HELLO.
    pub app_id: String,
    /// `username` of the HELLO.
    pub user_name: String,
    /// `password` of the HELLO. Never logged.
    pub password: String,
    /// A publish without answer for so long is sent again; the wait doubles up to eightfold for one event.
    pub ack_timeout: Duration,
    /// A frame larger than this is rejected unsent: the server would cut the connection (protocol manual, 1.1).
    pub max_event_bytes: usize,
    /// Whether and how events are packed into batch events.
    pub batching: Option<Batching>,
    /// Which sinks must have applied an event before it counts as acknowledged.
    pub applied: Option<AppliedBy>,
    /// The session's clocks. Only tests have a reason to change them.
    pub timing: Timing,
}

impl Default for MeshConfig {
    fn default() -> Self {
        Self {
            setting: "pubSubConfig.meshAddress",
            addresses: vec!["127.0.0.1:10000".to_owned()],
            connections: 4,
            window: 64,
            order: Order::Key,
            idc: "DC1".to_owned(),
            env: "PRD".to_owned(),
            group: "flowd".to_owned(),
            app_id: "flowd".to_owned(),
            user_name: String::new(),
            password: String::new(),
            ack_timeout: Duration::from_secs(5),
            max_event_bytes: PUBLISH_SIZE_MAX,
            batching: None,
            applied: None,
            timing: Timing::default(),
        }
    }
}

/// How events are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// Bytes that a batch event's JSON has at most; what the server refuses for its size lowers it.
    pub bytes: usize,
    /// How long an event waits for others to be packed with.
    pub linger: Duration,
}

/// Delivery `applied`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedBy {
    /// The sinks' connectorNames, 1 to 64.
    pub by: Vec<String>,
    /// The control topic, on which they tell.
    pub topic: String,
}

/// The clocks of a session.
#[derive(Debug, Clone)]
pub struct Timing {
    /// TCP connect and HELLO together.
    pub greet: Duration,
    /// Between heartbeats; the server forgets a session after 60 s without one.
    pub heartbeat: Duration,
    /// A heartbeat without answer for so long means a dead connection.
    pub heartbeat_answer: Duration,
    /// First wait before a lost address is tried again; doubles up to `reconnect_max`, half of it by chance.
    pub reconnect: Duration,
    /// Longest wait between two tries of one address.
    pub reconnect_max: Duration,
    /// First wait after a refusal that may heal; doubles up to `refused_max`, half of it by chance.
    pub refused: Duration,
    /// Longest wait after a refusal.
    pub refused_max: Duration,
    /// What is published and not applied after so long is published again, with delivery `applied`.
    pub applied: Duration,
    /// How long a connection that is to be left waits for its last answers (the server closes it after 30 s).
    pub drain: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            greet: Duration::from_secs(5),
            heartbeat: Duration::from_secs(25),
            heartbeat_answer: Duration::from_secs(20),
            reconnect: Duration::from_millis(200),
            reconnect_max: Duration::from_secs(15),
            refused: Duration::from_millis(50),
            refused_max: Duration::from_secs(5),
            applied: Duration::from_secs(5),
            drain: Duration::from_secs(10),
        }
    }
}
