//! The extensions that an EventMesh server adds to what it pushes (protocol manual, sections 4.1 and 4.4). They are of one
//! way through one server: it overwrites a publisher's own, so whoever hands an event on leaves them behind.

/// Their names: first those of the publish, then those of the push.
pub const NAMES: [&str; 13] = [
    "protocoltype",
    "protocolversion",
    "protocoldesc",
    "reqc2eventmeshtimestamp",
    "reqeventmesh2mqtimestamp",
    "reqsendeventmeship",
    "reqmq2eventmeshtimestamp",
    "reqreceiveeventmeship",
    "reqeventmesh2ctimestamp",
    "rsp0sys",
    "rsp0group",
    "rsp0idc",
    "rsp0ip",
];

/// How many of them are there once the event is stored.
pub const AT_PUBLISH: usize = 6;

/// Whether an extension is one of them.
pub fn is_added(name: &str) -> bool {
    NAMES.contains(&name)
}
