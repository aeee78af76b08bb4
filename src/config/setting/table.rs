//! The rows: a list that connectors share, and one for each connector. They are data and decide nothing.

use flowd_codec::frame::PUBLISH_SIZE_MAX;
use flowd_engine::budget::Shares;
use flowd_mysql::config::{SETTINGS, SnapshotSettings};
use flowd_source::Subject;

use super::Kind::{Choice, Form, Integer, List, Path, Secret, Size, Switch, Text};
use super::Owner::{Any, One, Sinks, Sources};
use super::Preset::{Required, Value, Without};
use super::Section::{Connector, OffsetStorage, Pipeline, PubSub};
use super::{Kind, Owner, Preset, Section, Setting};
use crate::connectors::{Named, Way};

/// Every row, in the order of a file's sections.
pub(super) fn all() -> Vec<Setting> {
    let connectors = Named::all().flat_map(of_connector);
    PUB_SUB.iter().copied().chain(connectors).chain([OFFSET_STORAGE, PIPELINE].concat()).collect()
}

fn of_connector(connector: Named) -> Vec<Setting> {
    let name = connector.name();
    match connector.way() {
        Way::MySqlCdc => MYSQL_CDC.iter().map(with_help).collect(),
        Way::FileSink => FILE_SINK.to_vec(),
        Way::StdoutSink => STDOUT_SINK.to_vec(),
        Way::Source(source) => {
            // Lives as long as the table, which is made once.
            let allowed: &str = Subject::allowed(source.fields).leak();
            let subject = row(One(name), PubSub, "subject", Form(allowed), source.subject, TOPIC_HELP);
            let own_name = row(One(name), Connector, "connectorName", NAME, Required, SOURCE_NAME_HELP);
            [subject, own_name].into_iter().chain(own(name, source.settings)).collect()
        }
        Way::Sink(sink) => {
            let own_name = row(One(name), Connector, "connectorName", NAME, Required, NAME_HELP);
            std::iter::once(own_name).chain(own(name, sink.settings)).collect()
        }
    }
}

/// What a connector brings.
fn own(
    connector: &'static str,
    settings: &[flowd_engine::setting::Setting],
) -> impl Iterator<Item = Setting> {
    let of = move |own: &flowd_engine::setting::Setting| {
        row(One(connector), Connector, own.name, own.kind, own.preset, own.help)
    };
    settings.iter().map(of)
}

/// A row whose help the connector has.
fn with_help(row: &Setting) -> Setting {
    let help = SETTINGS.iter().find(|own| own.name == row.name).map_or("", |own| own.help);
    Setting { help, ..*row }
}

const fn row(
    owner: Owner,
    section: Section,
    name: &'static str,
    kind: Kind,
    preset: Preset,
    help: &'static str,
) -> Setting {
    Setting { owner, section, name, kind, preset, flag: None, help }
}

const fn mesh(name: &'static str, kind: Kind, preset: Preset, help: &'static str) -> Setting {
    row(Any, PubSub, name, kind, preset, help)
}

/// A setting of the binlog source: its help is the connector's own.
const fn cdc(name: &'static str, kind: Kind, preset: Preset) -> Setting {
    row(One("mysql-cdc"), Connector, name, kind, preset, "")
}

const fn file(name: &'static str, kind: Kind, preset: Preset, help: &'static str) -> Setting {
    row(One("file-sink"), Connector, name, kind, preset, help)
}

const fn pipeline(name: &'static str, kind: Kind, preset: Preset, help: &'static str) -> Setting {
    row(Any, Pipeline, name, kind, preset, help)
}

/// A setting of the way from a source to its target.
const fn outward(name: &'static str, kind: Kind, preset: Preset, help: &'static str) -> Setting {
    row(Sources, Pipeline, name, kind, preset, help)
}

/// A setting of the binlog source, whose events are counted.
const fn stream(name: &'static str, kind: Kind, preset: Preset, help: &'static str) -> Setting {
    row(One("mysql-cdc"), Pipeline, name, kind, preset, help)
}

const fn applied_topic(owner: Owner, help: &'static str) -> Setting {
    row(
        owner,
        Pipeline,
        "appliedTopic",
        Form("a topic: letters, digits, `.`, `_`, `-`"),
        Without("flowd.applied.<connectorName of the source>"),
        help,
    )
}

const DAY_MS: u64 = 86_400_000;
const NAME: Kind = Form("1 to 64 of letters, digits, `.`, `_`, `-`");
const SSL_MODES: Kind = Choice(&["disabled", "preferred", "required", "verify-ca", "verify-identity"]);

const PUB_SUB: &[Setting] = &[
    mesh(
        "meshAddress",
        Form("host:port, several comma-separated, or `embedded`"),
        Value("127.0.0.1:10000"),
        "EventMesh servers of the pool; `embedded` starts one in this process, on 127.0.0.1:10000",
    ),
    row(
        One("mysql-cdc"),
        PubSub,
        "subject",
        Form("a topic: letters, digits, `.`, `_`, `-`, and the fields {db} and {table}"),
        Value("{db}.{table}"),
        TOPIC_HELP,
    ),
    row(
        Sinks,
        PubSub,
        "subject",
        Form("topics, a list or comma-separated, each of letters, digits, `.`, `_`, `-`"),
        Required,
        "topics to read",
    ),
    mesh("idc", Text, Value("DC1"), "data centre, told to EventMesh at hello"),
    mesh("env", Text, Value("PRD"), "environment, told to EventMesh at hello"),
    row(Sources, PubSub, "group", Text, Value("flowd"), "producer group, told to EventMesh at hello"),
    row(
        Sinks,
        PubSub,
        "group",
        Text,
        Without("the connectorName"),
        "consumer group, told to EventMesh at hello; every group gets every event once, so two sinks need two",
    ),
    mesh("appId", Text, Value("flowd"), "subsystem, told to EventMesh at hello"),
    mesh("userName", Text, Value("flowd"), "user at EventMesh"),
    mesh("passWord", Secret, Value(""), "password at EventMesh"),
];

const MYSQL_CDC: &[Setting] = &[
    cdc("connectorName", NAME, Required),
    cdc("hostname", Text, Required),
    cdc("port", Integer(1, 65_535), Value("3306")),
    cdc("user", Text, Required),
    cdc("password", Secret, Value("")),
    cdc("serverId", Integer(1, 4_294_967_295), Without("derived from connectorName")),
    cdc("sslMode", SSL_MODES, Value("preferred")),
    cdc("sslCa", Path, Without("only for verify-ca and verify-identity, which need it")),
    cdc("sslCert", Path, Without("no client certificate")),
    cdc("sslKey", Path, Without("no client certificate")),
    cdc("tableIncludeList", List, Without("all tables but those of the server's own schemas")),
    cdc("tableExcludeList", List, Without("nothing")),
    cdc("columnExcludeList", List, Without("nothing")),
    cdc("snapshotMode", Choice(&["initial", "initialOnly", "never", "whenNeeded"]), Value("initial")),
    cdc("parallelism", Integer(SnapshotSettings::PARALLELISM.0, SnapshotSettings::PARALLELISM.1), Value("4")),
    cdc("chunkBytes", Size(SnapshotSettings::CHUNK_BYTES.0, SnapshotSettings::CHUNK_BYTES.1), Value("2MiB")),
    cdc("snapshotRowsPerSecond", Integer(1, 1 << 40), Without("no bound")),
    cdc("snapshotBytesPerSecond", Size(1 << 10, 1 << 40), Without("no bound")),
    cdc("snapshotMaxRunning", Integer(1, 1_000_000), Without("no bound")),
    cdc("snapshotForShare", Switch, Value("false")),
    cdc("invalidText", Choice(&["stop", "replace"]), Value("stop")),
];

const NAME_HELP: &str = "the logical name, and its group at EventMesh";
const SOURCE_NAME_HELP: &str = "the logical name: part of `source` and of the registry's keys";
const TOPIC_HELP: &str = "topic: a fixed name or a template";

const FILE_SINK: &[Setting] = &[
    file("connectorName", NAME, Required, NAME_HELP),
    file(
        "path",
        Path,
        Without("CONNECTORNAME.jsonl"),
        "the file that is written, one event a line; full ones stay beside it",
    ),
    file(
        "rotateBytes",
        Size(4 << 10, 1 << 40),
        Value("1GiB"),
        "a file of so many bytes is full; it is put aside with the time in its name",
    ),
    file(
        "rotateSeconds",
        Integer(1, 366 * 86_400),
        Without("as long as it takes"),
        "a file this old is full, seconds",
    ),
];

const STDOUT_SINK: &[Setting] =
    &[row(One("stdout-sink"), Connector, "connectorName", NAME, Required, NAME_HELP)];

const OFFSET_STORAGE: &[Setting] = &[
    row(
        Sources,
        OffsetStorage,
        "offsetStorageType",
        Choice(&["rocksdb"]),
        Value("rocksdb"),
        "where progress is kept",
    ),
    row(Sources, OffsetStorage, "offsetStorageAddr", Path, Value("./state"), "directory of the registry"),
];

const PIPELINE: &[Setting] = &[
    outward("target", Form("mesh, jsonl:PATH, stdout, drop"), Value("mesh"), "where events go").flag("target"),
    stream(
        "startAt",
        Form("earliest, latest, gtid:SET or BINLOG_FILE:POSITION"),
        Value("latest"),
        "where a first start without a snapshot (snapshotMode: never) begins; a stored position always wins",
    )
    .flag("start-at"),
    stream(
        "stopAt",
        Form("end or gtid:SET"),
        Without("run for ever"),
        "where to finish; `end` is the end of the binlog at the start of the process; inclusive; a snapshot ends first",
    )
    .flag("stop-at"),
    pipeline(
        "memory",
        Size(Shares::MEMORY_MIN as u64, 1 << 40),
        Value("256MiB"),
        "the sum of all buffers stays under it",
    )
    .flag("memory"),
    outward("connections", Integer(1, 256), Value("4"), "connections to EventMesh").flag("connections"),
    outward("window", Integer(1, 65_536), Value("64"), "unacknowledged publishes a connection").flag("window"),
    outward("order", Choice(&["key", "total", "none"]), Value("key"), "what order is promised").flag("order"),
    stream(
        "lanes",
        Integer(1, 64),
        Value("4"),
        "lanes of sequence: events are numbered by topic and lane; another number begins a new epoch",
    ),
    stream(
        "delivery",
        Choice(&["published", "applied"]),
        Value("published"),
        "when an event counts as delivered: once the mesh has it, or once every sink of appliedBy has applied it",
    )
    .flag("delivery"),
    stream("appliedBy", List, Without("needed by delivery: applied"), "connectorName of each sink that must apply"),
    applied_topic(One("mysql-cdc"), "where sinks tell what they applied; the same at the source and at its sinks"),
    applied_topic(Sinks, "where a sink of rows tells what it applied; the same at its sources"),
    row(
        Sinks,
        Pipeline,
        "gapWaitMs",
        Integer(100, DAY_MS),
        Without("10000"),
        "with delivery: published, how long a sink of rows waits for a missing event while its source goes on, ms; thirty \
         times that while the source is silent",
    ),
    stream(
        "batch.bytes",
        Size(1 << 10, PUBLISH_SIZE_MAX as u64),
        Without("one event a message"),
        "pack events of one topic and lane into one message of at most so many bytes",
    ),
    stream(
        "batch.lingerMs",
        Integer(0, 60_000),
        Value("5"),
        "how long a batch that is not full waits for more, ms; only with batch.bytes",
    ),
    pipeline(
        "onReject",
        Choice(&["stop", "deadLetter"]),
        Value("stop"),
        "what to do with an event that can never be taken, by EventMesh or by a sink's target",
    )
    .flag("on-reject"),
    pipeline("deadLetterFile", Path, Value("./dead-letters.jsonl"), "where onReject: deadLetter writes")
        .flag("dead-letter-file"),
    outward("checkpointMs", Integer(10, DAY_MS), Value("1000"), "how often progress is saved, ms")
        .flag("checkpoint-ms"),
    pipeline("drainMs", Integer(0, DAY_MS), Value("30000"), "how long a stop waits for acknowledgements, ms")
        .flag("drain-ms"),
    pipeline(
        "startMs",
        Integer(0, DAY_MS),
        Value("30000"),
        "how long a start retries what cannot be reached, ms; 0: one try",
    )
    .flag("start-ms"),
    pipeline("metrics", Form("host:port"), Without("no metrics endpoint"), "serve Prometheus text here")
        .flag("metrics"),
    stream(
        "clockFields",
        Switch,
        Value("true"),
        "write the envelope's own ts_*, which differ from replay to replay",
    )
    .flag("clock-fields"),
];
