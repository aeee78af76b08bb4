//! The table of every setting: name, kind, default, short flag, help. `flowd connectors` prints it, `values` reads
//! by it, and a test holds it against the resolved structs.

use std::fmt;

use flowd_engine::budget::Shares;
use flowd_mysql::config::{SETTINGS, SnapshotSettings};

/// A section of the configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Section {
    /// How to reach EventMesh, named as in its own connector files.
    PubSub,
    /// The connector's own settings.
    Connector,
    /// Where progress is kept, named as in EventMesh's own connector files.
    OffsetStorage,
    /// What flowd does on the way.
    Pipeline,
}

impl Section {
    /// In the order of the file.
    pub const ALL: [Self; 4] = [Self::PubSub, Self::Connector, Self::OffsetStorage, Self::Pipeline];

    /// The key in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::PubSub => "pubSubConfig",
            Self::Connector => "connectorConfig",
            Self::OffsetStorage => "offsetStorageConfig",
            Self::Pipeline => "pipeline",
        }
    }

    /// The section of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|section| section.name() == name)
    }
}

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text that is not empty.
    Text,
    /// Any text, or `file:PATH`; never printed.
    Secret,
    /// A whole number within these bounds.
    Integer(u64, u64),
    /// Bytes, at least the first bound and at most the second.
    Size(u64, u64),
    /// `true` or `false`.
    Switch,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Texts: a YAML list, or comma-separated.
    List,
    /// A file or directory.
    Path,
    /// Its own form, in words.
    Form(&'static str),
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => formatter.write_str("text, not empty"),
            Self::Secret => formatter.write_str("text or file:PATH"),
            Self::Integer(min, max) => write!(formatter, "a whole number from {min} to {max}"),
            Self::Size(min, max) => {
                write!(formatter, "bytes, or a number with KiB, MiB, GiB, KB, MB or GB: ")?;
                write!(formatter, "from {} to {}", Bytes(*min), Bytes(*max))
            }
            Self::Switch => formatter.write_str("true or false"),
            Self::Choice(words) => formatter.write_str(&words.join(", ")),
            Self::List => formatter.write_str("a list, or comma-separated"),
            Self::Path => formatter.write_str("a path"),
            Self::Form(words) => formatter.write_str(words),
        }
    }
}

/// Bytes in the largest unit that shows them exactly.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
        match units.into_iter().find(|(_, shift)| self.0 != 0 && self.0.trailing_zeros() >= *shift) {
            Some((unit, shift)) => write!(formatter, "{}{unit}", self.0 >> shift),
            None => write!(formatter, "{}", self.0),
        }
    }
}

/// What holds when a setting is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Nothing: it must be given.
    Required,
    /// This value, written as a user would.
    Value(&'static str),
    /// No value; the words say what happens then.
    Without(&'static str),
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its section.
    pub section: Section,
    /// Its key in the section.
    pub name: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// What holds without it.
    pub preset: Preset,
    /// The short flag that is its alias, without `--`.
    pub flag: Option<&'static str>,
    /// One line for the reader; of the connector's settings see [`Self::help`].
    help: &'static str,
}

impl Setting {
    /// `section.key`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section.name(), self.name)
    }

    /// The environment variable.
    pub fn variable(&self) -> String {
        format!("FLOWD_{}_{}", self.section.name(), self.name).to_uppercase()
    }

    /// One line for the reader.
    pub fn help(&self) -> &'static str {
        let own = SETTINGS.iter().find(|own| self.section == Section::Connector && own.name == self.name);
        own.map_or(self.help, |own| own.help)
    }

    const fn flag(mut self, flag: &'static str) -> Self {
        self.flag = Some(flag);
        self
    }
}

/// The setting of this section and name.
pub fn find(section: Section, name: &str) -> Option<&'static Setting> {
    TABLE.iter().find(|setting| setting.section == section && setting.name == name)
}

/// The setting behind a short flag (`target`, without `--`).
pub fn by_flag(flag: &str) -> Option<&'static Setting> {
    TABLE.iter().find(|setting| setting.flag == Some(flag))
}

const fn new(
    section: Section,
    name: &'static str,
    kind: Kind,
    preset: Preset,
    help: &'static str,
) -> Setting {
    Setting { section, name, kind, preset, flag: None, help }
}

/// A setting of the connector: its help is the connector's own.
const fn connector(name: &'static str, kind: Kind, preset: Preset) -> Setting {
    new(Section::Connector, name, kind, preset, "")
}

use Kind::{Choice, Form, Integer, List, Path, Secret, Size, Switch, Text};
use Preset::{Required, Value, Without};
use Section::{OffsetStorage, Pipeline, PubSub};

const DAY_MS: u64 = 86_400_000;

/// Every setting, in the order in which a file is best written.
pub const TABLE: &[Setting] = &[
    new(
        PubSub,
        "meshAddress",
        Form("host:port, several comma-separated, or `embedded`"),
        Value("127.0.0.1:10000"),
        "EventMesh servers of the pool; `embedded` starts one in this process, on 127.0.0.1:10000",
    ),
    new(
        PubSub,
        "subject",
        Form("a topic: letters, digits, `.`, `_`, `-`, and the fields {db} and {table}"),
        Value("{db}.{table}"),
        "topic: a fixed name or a template",
    ),
    new(PubSub, "idc", Text, Value("DC1"), "data centre, told to EventMesh at hello"),
    new(PubSub, "env", Text, Value("PRD"), "environment, told to EventMesh at hello"),
    new(PubSub, "group", Text, Value("flowd"), "producer group, told to EventMesh at hello"),
    new(PubSub, "appId", Text, Value("flowd"), "subsystem, told to EventMesh at hello"),
    new(PubSub, "userName", Text, Value("flowd"), "user at EventMesh"),
    new(PubSub, "passWord", Secret, Value(""), "password at EventMesh"),
    connector("connectorName", Form("1 to 64 of letters, digits, `.`, `_`, `-`"), Required),
    connector("hostname", Text, Required),
    connector("port", Integer(1, 65_535), Value("3306")),
    connector("user", Text, Required),
    connector("password", Secret, Value("")),
    connector("serverId", Integer(1, 4_294_967_295), Without("derived from connectorName")),
    connector(
        "sslMode",
        Choice(&["disabled", "preferred", "required", "verify-ca", "verify-identity"]),
        Value("preferred"),
    ),
    connector("sslCa", Path, Without("only for verify-ca and verify-identity, which need it")),
    connector("sslCert", Path, Without("no client certificate")),
    connector("sslKey", Path, Without("no client certificate")),
    connector("tableIncludeList", List, Without("all tables but those of the server's own schemas")),
    connector("tableExcludeList", List, Without("nothing")),
    connector("columnExcludeList", List, Without("nothing")),
    connector("snapshotMode", Choice(&["initial", "initialOnly", "never", "whenNeeded"]), Value("initial")),
    connector(
        "parallelism",
        Integer(SnapshotSettings::PARALLELISM.0, SnapshotSettings::PARALLELISM.1),
        Value("4"),
    ),
    connector(
        "chunkBytes",
        Size(SnapshotSettings::CHUNK_BYTES.0, SnapshotSettings::CHUNK_BYTES.1),
        Value("4MiB"),
    ),
    connector("snapshotRowsPerSecond", Integer(1, 1 << 40), Without("no bound")),
    connector("snapshotBytesPerSecond", Size(1 << 10, 1 << 40), Without("no bound")),
    connector("snapshotMaxRunning", Integer(1, 1_000_000), Without("no bound")),
    connector("snapshotForShare", Switch, Value("false")),
    connector("invalidText", Choice(&["stop", "replace"]), Value("stop")),
    new(OffsetStorage, "offsetStorageType", Choice(&["rocksdb"]), Value("rocksdb"), "where progress is kept"),
    new(OffsetStorage, "offsetStorageAddr", Path, Value("./state"), "directory of the registry"),
    new(Pipeline, "target", Form("mesh, jsonl:PATH, stdout, drop"), Value("mesh"), "where events go")
        .flag("target"),
    new(
        Pipeline,
        "startAt",
        Form("earliest, latest, gtid:SET or BINLOG_FILE:POSITION"),
        Value("latest"),
        "where a first start without a snapshot (snapshotMode: never) begins; a stored position always wins",
    )
    .flag("start-at"),
    new(
        Pipeline,
        "stopAt",
        Form("end or gtid:SET"),
        Without("run for ever"),
        "where to finish; `end` is the end of the binlog at the start of the process; inclusive; a snapshot ends first",
    )
    .flag("stop-at"),
    new(
        Pipeline,
        "memory",
        Size(Shares::MEMORY_MIN as u64, 1 << 40),
        Value("256MiB"),
        "the sum of all buffers stays under it",
    )
    .flag("memory"),
    new(Pipeline, "connections", Integer(1, 256), Value("4"), "connections to EventMesh").flag("connections"),
    new(Pipeline, "window", Integer(1, 65_536), Value("64"), "unacknowledged publishes a connection")
        .flag("window"),
    new(Pipeline, "order", Choice(&["key", "total", "none"]), Value("key"), "what order is promised")
        .flag("order"),
    new(
        Pipeline,
        "onReject",
        Choice(&["stop", "deadLetter"]),
        Value("stop"),
        "what to do with an event that EventMesh can never take",
    )
    .flag("on-reject"),
    new(Pipeline, "deadLetterFile", Path, Value("./dead-letters.jsonl"), "where onReject: deadLetter writes")
        .flag("dead-letter-file"),
    new(Pipeline, "checkpointMs", Integer(10, DAY_MS), Value("1000"), "how often progress is saved, ms")
        .flag("checkpoint-ms"),
    new(
        Pipeline,
        "drainMs",
        Integer(0, DAY_MS),
        Value("30000"),
        "how long a stop waits for acknowledgements, ms",
    )
    .flag("drain-ms"),
    new(
        Pipeline,
        "startMs",
        Integer(0, DAY_MS),
        Value("30000"),
        "how long a start retries what cannot be reached, ms; 0: one try",
    )
    .flag("start-ms"),
    new(Pipeline, "metrics", Form("host:port"), Without("no metrics endpoint"), "serve Prometheus text here")
        .flag("metrics"),
    new(
        Pipeline,
        "clockFields",
        Switch,
        Value("true"),
        "write the envelope's own ts_*, which differ from replay to replay",
    )
    .flag("clock-fields"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_flags_are_unique() {
        for (index, setting) in TABLE.iter().enumerate() {
            for other in &TABLE[index + 1..] {
                assert_ne!(setting.path(), other.path());
                assert_ne!(setting.variable(), other.variable());
                assert!(setting.flag.is_none() || setting.flag != other.flag);
            }
        }
    }
}
