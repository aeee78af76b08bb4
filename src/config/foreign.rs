//! Keys of EventMesh's own connector files that flowd knows without having them: those without meaning here, and
//! those of its canal and jdbc connectors, each with the key of ours that does its work.

use super::setting::Section;

/// Keys of the whole file that mean nothing here and are accepted with a warning.
const IDLE_SECTIONS: &[&str] = &["pollConfig", "sourceEnable", "sinkEnable"];
/// Keys of offsetStorageConfig that mean nothing here and are accepted with a warning.
const IDLE_STORAGE: &[&str] = &["extensions", "dataSourceType", "dataSinkType"];

/// Why a key means nothing here, if it is one that EventMesh's files have.
pub(crate) fn idle(section: Option<Section>, key: &str) -> Option<&'static str> {
    let keys = match section {
        None => IDLE_SECTIONS,
        Some(Section::OffsetStorage) => IDLE_STORAGE,
        Some(_) => &[],
    };
    keys.contains(&key).then_some("has no meaning in flowd and is ignored")
}

/// What to write instead of a section of EventMesh's canal and jdbc files.
pub(crate) fn section_instead(key: &str) -> Option<&'static str> {
    match key {
        "sourceConnectorConfig" => Some("write the connector's keys under `connectorConfig`"),
        "sinkConnectorConfig" | "sinkConfig" => Some("flowd has no sink connectors yet; remove it"),
        "sourceConfig" => Some("write its keys under `connectorConfig`"),
        _ => None,
    }
}

/// What to write instead of a connectorConfig key of EventMesh's canal or jdbc connector.
pub(crate) fn instead(key: &str) -> Option<&'static str> {
    CANAL_AND_JDBC.iter().find(|(names, _)| names.contains(&key)).map(|(_, remedy)| *remedy)
}

const CANAL_AND_JDBC: &[(&[&str], &str)] = &[
    (&["url"], "write `hostname` and `port`"),
    (&["dbAddress"], "write `hostname`"),
    (&["dbPort"], "write `port`"),
    (&["userName", "username"], "write `user`"),
    (&["passWord", "passwd"], "write `password`"),
    (&["name", "destination"], "write `connectorName`"),
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
    (&["connectTimeout"], "write `pipeline.startMs`"),
    (
        &["isMariaDB", "isGTIDMode", "serverUUID", "databaseType"],
        "flowd asks the server at `hostname`; remove it",
    ),
    (
        &["ddlSync", "syncMode", "syncConsistency", "enableRemedy", "filterTableError"],
        "there is no such choice; remove it (`tableIncludeList` says what is captured)",
    ),
    (
        &["needSyncMarkTableColumnName", "needSyncMarkTableColumnValue"],
        "marker columns are not supported; leave tables out by `tableExcludeList`",
    ),
    (
        &[
            "skipViews",
            "skipComments",
            "initialStatements",
            "keepAlive",
            "keepAliveInterval",
            "desc",
            "zeroDate",
        ],
        "it is not needed beside `hostname` and `user`; remove it",
    ),
    (
        &["jdbcConfig", "mysqlConfig", "sourceConfig", "sourceConnectorConfig"],
        "write its keys directly under `connectorConfig` (`hostname`, `port`, `user`, `password`, `serverId`)",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::setting;

    #[test]
    fn no_key_of_ours_is_called_foreign() {
        for setting in setting::TABLE.iter().filter(|setting| setting.section == Section::Connector) {
            assert_eq!(instead(setting.name), None, "{}", setting.name);
        }
    }

    #[test]
    fn every_remedy_in_backquotes_is_a_key_that_exists() {
        for (_, remedy) in CANAL_AND_JDBC {
            for word in remedy.split('`').skip(1).step_by(2).filter(|word| !word.contains('*')) {
                let (section, name) = word.split_once('.').unwrap_or(("connectorConfig", word));
                let section = Section::from_name(section).expect("a section");
                let known = setting::find(section, name).is_some() || name == "connectorConfig";
                assert!(known, "{word}");
            }
        }
    }
}
