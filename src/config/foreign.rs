//! Keys of EventMesh's own connector files that flowd knows without having them: those without meaning here, those of
//! its sinks' files that are read as they stand, and those of its canal and jdbc connectors, each with the key of ours
//! that does its work.

use super::setting::Section;
use crate::connectors::{Direction, Named, Way};

/// Keys of the whole file that mean nothing here and are accepted with a warning.
const IDLE_SECTIONS: &[&str] = &["pollConfig", "sourceEnable", "sinkEnable"];
/// The same, of the files of its sinks.
const IDLE_SINK_SECTIONS: &[&str] = &["supportUpsert", "supportDelete", "flushSize", "hourlyFlushEnabled"];
/// Keys of offsetStorageConfig that mean nothing here and are accepted with a warning.
const IDLE_STORAGE: &[&str] = &["extensions", "dataSourceType", "dataSinkType"];
/// Keys of a sink's own section that mean nothing here and are accepted with a warning.
const IDLE_SINK: &[&str] = &["topic", "initialStatements", "desc"];

/// Why a key means nothing here, if it is one that EventMesh's files have.
pub(crate) fn idle(connector: Named, section: Option<Section>, key: &str) -> Option<&'static str> {
    const WHY: &str = "has no meaning in flowd and is ignored";
    let is_sink = connector.direction() == Direction::Sink;
    let is_idle = match section {
        None => IDLE_SECTIONS.contains(&key) || (is_sink && IDLE_SINK_SECTIONS.contains(&key)),
        Some(Section::OffsetStorage) => IDLE_STORAGE.contains(&key),
        Some(Section::Connector) => is_sink && IDLE_SINK.contains(&key),
        Some(Section::PubSub | Section::Pipeline) => false,
    };
    match (is_idle, section, key) {
        (false, ..) => None,
        (true, Some(Section::Connector), "topic") => {
            Some("is ignored: what is read are the topics of pubSubConfig.subject")
        }
        (true, None, "supportUpsert" | "supportDelete") => {
            Some("is ignored: upserts and deletes are always applied")
        }
        (true, ..) => Some(WHY),
    }
}

/// The section that EventMesh's sinks call otherwise.
pub(crate) fn section(connector: Named, key: &str) -> Option<Section> {
    let own = matches!(key, "sinkConnectorConfig" | "sinkConfig");
    (own && connector.direction() == Direction::Sink).then_some(Section::Connector)
}

/// Whether it does what EventMesh's jdbc sink does.
fn is_jdbc(connector: Named) -> bool {
    connector.name() == flowd_mysql::sink::CONNECTOR.name
}

/// Whether the keys of this mapping inside a sink's own section count as if they stood in the section itself.
pub(crate) fn opens(connector: Named, key: &str) -> bool {
    is_jdbc(connector) && matches!(key, "jdbcConfig" | "sinkConnectorConfig")
}

/// The setting that a key of EventMesh's jdbc sink is by another name.
pub(crate) fn renamed(connector: Named, key: &str) -> Option<&'static str> {
    (is_jdbc(connector) && key == "databaseName").then_some("database")
}

/// Host, port and database of `jdbc:mysql://host:port/database?…`, each as the setting that it is.
pub(crate) fn jdbc_url(url: &str) -> Option<Vec<(&'static str, String)>> {
    let rest =
        ["jdbc:mysql://", "jdbc:mariadb://"].into_iter().find_map(|scheme| url.strip_prefix(scheme))?;
    let rest = rest.split('?').next().unwrap_or_default();
    let (server, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, port),
        _ => (server, ""),
    };
    let is_host = !host.is_empty() && !host.contains([',', '(', ')', '@']);
    let parts = [("hostname", host), ("port", port), ("database", database)];
    let parts = parts.into_iter().filter(|(_, value)| !value.is_empty());
    is_host.then(|| parts.map(|(key, value)| (key, value.to_owned())).collect())
}

/// What to write instead of a section of EventMesh's canal and jdbc files.
pub(crate) fn section_instead(connector: Named, key: &str) -> Option<&'static str> {
    match (key, connector.direction()) {
        ("sourceConnectorConfig", Direction::Source) => {
            Some("write the connector's keys under `connectorConfig`")
        }
        ("sourceConfig", Direction::Source) => Some("write its keys under `connectorConfig`"),
        ("sinkConnectorConfig" | "sinkConfig", Direction::Source) => {
            Some("a sink runs in a process of its own: `flowd --connector mysql-sink` with a file of its own")
        }
        ("sourceConnectorConfig" | "sourceConfig", Direction::Sink) => Some(
            "a source runs in a process of its own: `flowd --connector mysql-cdc` with a file of its own",
        ),
        _ => None,
    }
}

/// What to write instead of a connectorConfig key of EventMesh's canal or jdbc connector.
pub(crate) fn instead(connector: Named, key: &str) -> Option<&'static str> {
    let of = |table: Table| table.iter().find(|(names, _)| names.contains(&key)).map(|(_, remedy)| *remedy);
    let own = match connector.way() {
        Way::MySqlCdc => of(SOURCE),
        _ if is_jdbc(connector) => of(SINK),
        _ => return None,
    };
    own.or_else(|| of(DATABASE))
}

type Table = &'static [(&'static [&'static str], &'static str)];

/// Keys of both directions.
const DATABASE: Table = &[
    (&["url"], "write `hostname` and `port`"),
    (&["dbAddress"], "write `hostname`"),
    (&["dbPort"], "write `port`"),
    (&["userName", "username"], "write `user`"),
    (&["passWord", "passwd"], "write `password`"),
    (&["name", "destination"], "write `connectorName`"),
    (&["connectTimeout"], "write `pipeline.startMs`"),
    (
        &["isMariaDB", "isGTIDMode", "serverUUID", "databaseType"],
        "flowd asks the server at `hostname`; remove it",
    ),
    (&["skipViews", "skipComments", "keepAlive", "keepAliveInterval"], "it is not needed; remove it"),
];

const SOURCE: Table = &[
    (&["slaveId", "clientId", "canalInstanceId"], "write `serverId`"),
    (
        &["databases", "schemaName", "tables", "tableName", "tableFilter", "databaseName"],
        "write `tableIncludeList` (globs over db.table)",
    ),
    (&["databaseIncludeList"], "write `tableIncludeList` (`db.*` for a whole database)"),
    (&["databaseExcludeList"], "write `tableExcludeList` (`db.*` for a whole database)"),
    (&["fieldFilter"], "write `columnExcludeList` (globs over db.table.column)"),
    (
        &["skipSnapshot", "snapshotSchema", "snapshotData", "executePeriod"],
        "write `snapshotMode` (initial, initialOnly, never, whenNeeded)",
    ),
    (&["snapshotLockingMode", "useGlobalLock"], "a snapshot takes no global lock; remove it"),
    (&["snapshotMaxThreads", "parallel"], "write `parallelism`"),
    (&["snapshotFetchSize", "flushSize"], "write `chunkBytes`"),
    (&["recordPerSecond", "pagePerSecond"], "write `snapshotRowsPerSecond`"),
    (&["startPosition", "recordPositions"], "write `pipeline.startAt`"),
    (
        &["batchSize", "batchTimeout", "batchMaxRows"],
        "batches size themselves; bound them by `pipeline.memory`",
    ),
    (&["maxTask", "poolSize"], "write `pipeline.connections`"),
    (
        &["ddlSync", "syncMode", "syncConsistency", "enableRemedy", "filterTableError"],
        "there is no such choice; remove it (`tableIncludeList` says what is captured)",
    ),
    (
        &["needSyncMarkTableColumnName", "needSyncMarkTableColumnValue"],
        "marker columns are not supported; leave tables out by `tableExcludeList`",
    ),
    (&["initialStatements", "desc", "zeroDate"], "it is not needed beside `hostname` and `user`; remove it"),
    (
        &["jdbcConfig", "mysqlConfig", "sourceConfig", "sourceConnectorConfig"],
        "write its keys directly under `connectorConfig` (`hostname`, `port`, `user`, `password`, `serverId`)",
    ),
];

const SINK: Table = &[
    (&["schemaName"], "write `database`"),
    (&["databases", "tables", "tableName"], "write `tableMapping`"),
    (
        &["batchSize", "batchTimeout", "useBatch", "flushSize"],
        "batches size themselves; bound them by `pipeline.memory`",
    ),
    (&["poolSize", "parallel", "maxTask"], "a lane is applied in its order, over one connection; remove it"),
    (&["skipException"], "write `pipeline.onReject` (stop, deadLetter)"),
    (&["zeroDate"], "zero dates are written as they are; remove it"),
    (
        &["ddlSync", "syncMode", "syncConsistency", "executePeriod"],
        "there is no such choice; remove it (`tableMapping` says what goes where)",
    ),
    (
        &["mysqlConfig"],
        "write its keys directly under `connectorConfig` (`hostname`, `port`, `user`, `password`)",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::setting;

    #[test]
    fn no_key_of_ours_is_called_foreign() {
        for connector in Named::all() {
            for setting in setting::of(connector).filter(|setting| setting.section == Section::Connector) {
                assert_eq!(instead(connector, setting.name), None, "{}", setting.name);
            }
        }
    }

    #[test]
    fn every_remedy_in_backquotes_is_a_key_that_exists() {
        for (name, own) in [("mysql-cdc", SOURCE), ("mysql-sink", SINK)] {
            let connector = Named::parse(name).expect("known");
            for (_, remedy) in own.iter().chain(DATABASE) {
                for word in remedy.split('`').skip(1).step_by(2).filter(|word| !word.contains('*')) {
                    let (section, name) = word.split_once('.').unwrap_or(("connectorConfig", word));
                    let section = Section::from_name(section).expect("a section");
                    let known =
                        setting::find(connector, section, name).is_some() || name == "connectorConfig";
                    assert!(known, "{word} of {}", connector.name());
                }
            }
        }
    }

    #[test]
    fn a_jdbc_address_is_host_port_and_database() {
        let part = |key: &'static str, value: &str| (key, value.to_owned());
        for (url, expected) in [
            ("jdbc:mysql://db1:3307/shop?useSSL=true", Some("db1 3307 shop")),
            ("jdbc:mariadb://db1/shop", Some("db1 - shop")),
            ("jdbc:mysql://[::1]:3306", Some("[::1] 3306 -")),
            ("jdbc:mysql://[::1]", Some("[::1] - -")),
            ("jdbc:mysql://a:1,b:2/shop", None),
            ("jdbc:mysql:///shop", None),
            ("jdbc:postgresql://db1/shop", None),
        ] {
            let expected = expected.map(|words| {
                let keys = ["hostname", "port", "database"].into_iter().zip(words.split(' '));
                keys.filter(|(_, value)| *value != "-").map(|(key, value)| part(key, value)).collect()
            });
            assert_eq!(jdbc_url(url), expected, "{url}");
        }
    }
}
