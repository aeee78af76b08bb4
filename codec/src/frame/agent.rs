//! Typed bodies: the user agent of a HELLO, the subscription, the redirect. Field order and names are those of the
//! Java classes (protocol manual, sections 1.5 and 1.6); unknown fields are ignored.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Who says HELLO. A text that is `None` is left out; the numbers are always written.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserAgent {
    /// Environment, such as `PRD`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// The application's id. A subscriber without it gets no LISTEN answer from a Java server (section 3.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subsystem: Option<String>,
    /// The application's path; Java connectors write `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Process id.
    pub pid: i32,
    /// Own host name; a Java server overwrites it by the peer address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Own port; overwritten as well.
    pub port: i32,
    /// Version of the client; must be there, may be empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// User name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Password, in the clear. Never to be logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Data centre. A subscriber without it gets nothing pushed by a Java server (section 3.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idc: Option<String>,
    /// Consumer or producer group; must not be blank.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// `pub` or `sub`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// Unused by the server.
    pub unack: i32,
}

impl UserAgent {
    /// A client with the process id `pid`, and what the Java connectors say of path, host, port and version. A server
    /// puts the peer's address in the place of host and port.
    pub fn of_process(pid: u32) -> Self {
        let text = |text: &str| Some(text.to_owned());
        Self {
            path: text("/"),
            pid: i32::try_from(pid).unwrap_or(i32::MAX),
            host: text("localhost"),
            port: 8362,
            version: text("2.0"),
            ..Self::default()
        }
    }
}

/// Without password and token, which must not reach a log.
impl fmt::Debug for UserAgent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("UserAgent")
            .field("env", &self.env)
            .field("subsystem", &self.subsystem)
            .field("pid", &self.pid)
            .field("host", &self.host)
            .field("port", &self.port)
            .field("version", &self.version)
            .field("username", &self.username)
            .field("idc", &self.idc)
            .field("group", &self.group)
            .field("purpose", &self.purpose)
            .finish_non_exhaustive()
    }
}

/// What a SUBSCRIBE asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// The topics; absent is not the same as empty for a Java server, which answers absent with an error.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub topic_list: Option<Vec<SubscriptionItem>>,
}

impl Subscription {
    /// All `topics`, in the given mode, asynchronously.
    pub fn new<T: Into<String>>(topics: impl IntoIterator<Item = T>, mode: SubscriptionMode) -> Self {
        let item = |topic: T| SubscriptionItem {
            topic: topic.into(),
            mode: Some(mode),
            kind: Some(SubscriptionType::Async),
        };
        Self { topic_list: Some(topics.into_iter().map(item).collect()) }
    }
}

/// One topic of a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionItem {
    /// The topic.
    pub topic: String,
    /// Absent behaves as CLUSTERING.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mode: Option<SubscriptionMode>,
    /// Absent behaves as ASYNC.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none", default)]
    pub kind: Option<SubscriptionType>,
}

/// Who of a group gets a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SubscriptionMode {
    /// Everybody.
    Broadcasting,
    /// One of them.
    Clustering,
    /// The name for a mode that is none of the others.
    Unrecognized,
}

/// Whether the publisher waits for a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SubscriptionType {
    /// It does.
    Sync,
    /// It does not.
    Async,
    /// The name for a type that is none of the others.
    Unrecognized,
}

/// Where a REDIRECT_TO_CLIENT sends the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// Address.
    pub ip: String,
    /// Port.
    pub port: i32,
}

/// The address as text, an IPv6 one in brackets.
impl fmt::Display for Redirect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ip.contains(':') && !self.ip.starts_with('[') {
            return write!(formatter, "[{}]:{}", self.ip, self.port);
        }
        write!(formatter, "{}:{}", self.ip, self.port)
    }
}
