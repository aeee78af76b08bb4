//! Tests of the settings' shape and meaning.

use serde::Deserializer;
use serde::de::value::Error as ShapeError;
use serde::de::{Error, Visitor};

use super::*;

/// A deserializer that gives no value and tells the fields that were asked for.
pub(crate) struct Fields<'a>(pub(crate) &'a mut Vec<&'static str>);

impl<'de> Deserializer<'de> for Fields<'_> {
    type Error = ShapeError;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, ShapeError> {
        Err(ShapeError::custom("not a struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, ShapeError> {
        self.0.extend_from_slice(fields);
        Err(ShapeError::custom("fields taken"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn config(text: &str) -> Result<MySqlConfig, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn with(more: &str) -> Result<MySqlConfig, String> {
    config(&format!(r#"{{"connectorName":"orders","hostname":"db1","user":"cdc"{more}}}"#))
}

#[test]
fn the_table_of_settings_names_exactly_the_fields() {
    let mut fields = Vec::new();
    MySqlSettings::deserialize(Fields(&mut fields)).expect_err("no values are given");
    assert_eq!(SETTINGS.iter().map(|setting| setting.name).collect::<Vec<_>>(), fields);
}

#[test]
fn every_required_setting_is_required_and_no_other() {
    let required: Vec<_> =
        SETTINGS.iter().filter(|setting| setting.required).map(|setting| setting.name).collect();
    assert_eq!(required, ["connectorName", "hostname", "user"]);
    for name in required {
        let text = r#"{"connectorName":"orders","hostname":"db1","user":"cdc"}"#.replace(name, "other");
        assert!(config(&text).expect_err("incomplete").contains(&format!("missing field `{name}`")));
    }
}

#[test]
fn defaults_are_those_of_the_table() {
    let config = with("").expect("the required settings are enough");
    assert_eq!((config.port, &config.tls.mode, config.password.reveal()), (3306, &TlsMode::Preferred, ""));
    assert_eq!((&config.snapshot, config.invalid_text), (&SnapshotSettings::default(), InvalidText::Stop));
    assert_eq!(config.snapshot.mode, SnapshotMode::Initial);
    assert_eq!((config.snapshot.parallelism, config.snapshot.chunk_bytes), (4, 2 << 20));
    assert!(config.filter.captures("shop", "orders"));
    assert_eq!(config.address(), "db1:3306");
}

#[test]
fn the_derived_server_id_is_stable_and_in_range() {
    assert_eq!(with("").expect("config").server_id, derived_server_id("orders"));
    assert_eq!(derived_server_id("orders"), 2_023_180_324);
    for number in 0..1000 {
        let id = derived_server_id(&format!("name-{number}"));
        assert!((5400..1 << 31).contains(&id), "{id}");
    }
}

#[test]
fn the_password_is_never_printed() {
    let config = with(r#","password":"hunter2""#).expect("config");
    assert_eq!(config.password.reveal(), "hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn impossible_values_name_key_value_and_what_is_allowed() {
    for (more, expected) in [
        (r#","serverId":0"#, "serverId 0 is not allowed; allowed: 1..4294967295"),
        (r#","port":0"#, "port 0 is not allowed"),
        (r#","sslMode":"verify-ca""#, "sslCa nothing is not allowed; allowed: with sslMode verify-ca"),
        (r#","sslMode":"verify-identity""#, "allowed: with sslMode verify-identity"),
        (r#","sslCert":"c.pem""#, "sslKey nothing"),
        (r#","sslKey":"k.pem""#, "sslCert nothing"),
        (
            r#","tableIncludeList":["orders"]"#,
            r#"tableIncludeList "orders" is not allowed; allowed: a glob of the form db.table"#,
        ),
        (r#","tableExcludeList":["a."]"#, r#"tableExcludeList "a.""#),
        (r#","columnExcludeList":["a.b"]"#, "a glob of the form db.table.column"),
        (r#","snapshotMode":"always""#, "unknown variant `always`, expected one of `initial`, `initialOnly`"),
        (r#","parallelism":0"#, "parallelism 0 is not allowed; allowed: 1..64"),
        (r#","parallelism":65"#, "parallelism 65 is not allowed"),
        (r#","chunkBytes":16383"#, "chunkBytes 16383 is not allowed; allowed: 16KiB..1GiB"),
        (r#","chunkBytes":1073741825"#, "chunkBytes 1073741825"),
        (r#","snapshotRowsPerSecond":0"#, "snapshotRowsPerSecond 0"),
        (r#","snapshotBytesPerSecond":0"#, "snapshotBytesPerSecond 0"),
        (r#","snapshotMaxRunning":0"#, "leave the key out for no bound"),
        (r#","sslMode":"on""#, "unknown variant `on`"),
    ] {
        let error = with(more).expect_err(more);
        assert!(error.contains(expected), "{more}: {error}");
    }
}

#[test]
fn a_connector_name_that_needs_escapes_is_refused() {
    for name in ["", "a b", "a/b", "ü", &"x".repeat(65)] {
        let text = format!(r#"{{"connectorName":"{name}","hostname":"h","user":"u"}}"#);
        assert!(config(&text).expect_err(name).contains("connectorName"));
    }
}

#[test]
fn every_snapshot_mode_is_understood_under_its_name() {
    for (name, mode) in SnapshotMode::ALL {
        let config = with(&format!(r#","snapshotMode":"{name}""#)).expect(name);
        assert_eq!((config.snapshot.mode, mode.name()), (mode, name));
    }
}

#[test]
fn a_snapshot_can_be_throttled_and_sized() {
    let more = r#","parallelism":64,"chunkBytes":16384,"snapshotRowsPerSecond":1000,
        "snapshotBytesPerSecond":2000000,"snapshotMaxRunning":30,"snapshotForShare":true"#;
    let expected = SnapshotSettings {
        mode: SnapshotMode::Initial,
        parallelism: 64,
        chunk_bytes: 16 << 10,
        rows_per_second: Some(1000),
        bytes_per_second: Some(2_000_000),
        max_running: Some(30),
        for_share: true,
    };
    assert_eq!(with(more).expect("possible").snapshot, expected);
}

#[test]
fn every_ssl_mode_is_understood() {
    let authorities = || Authorities::File(PemFile::new("sslCa", "ca.pem"));
    for (mode, expected) in [
        ("disabled", TlsMode::Disabled),
        ("preferred", TlsMode::Preferred),
        ("required", TlsMode::Required),
        ("verify-ca", TlsMode::VerifyCa(authorities())),
        ("verify-identity", TlsMode::VerifyIdentity(authorities())),
    ] {
        let config = with(&format!(r#","sslMode":"{mode}","sslCa":"ca.pem""#)).expect(mode);
        assert_eq!(config.tls.mode, expected);
    }
}
