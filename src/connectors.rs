//! The table of connectors, and `flowd connectors`, which prints it with every setting. To add a connector is to add a line
//! to `TABLE`.

use std::fmt::{self, Write};

use flowd_sink::deliver;

use crate::config::setting::{self, Owner, Preset, Section, Setting};

/// Every connector of this build, in the order in which they are told.
static TABLE: &[Entry] = &[
    Entry::own(
        "mysql-cdc",
        Direction::Source,
        "rows and changes of MySQL 8.0 to 9.x and MariaDB 10.11 and later: a snapshot, then the binlog",
        Way::MySqlCdc,
    ),
    #[cfg(feature = "file")]
    Entry::source(&flowd_file::source::CONNECTOR),
    #[cfg(feature = "http")]
    Entry::source(&flowd_http::source::CONNECTOR),
    #[cfg(feature = "kafka")]
    Entry::source(&flowd_kafka::source::CONNECTOR),
    Entry::source(&flowd_mesh::bridge::CONNECTOR),
    #[cfg(feature = "rabbitmq")]
    Entry::source(&flowd_rabbitmq::source::CONNECTOR),
    Entry::sink(&flowd_mysql::sink::CONNECTOR),
    Entry::own(
        "file-sink",
        Direction::Sink,
        "files of one event a line, fsynced before they count as acknowledged",
        Way::FileSink,
    ),
    Entry::own("stdout-sink", Direction::Sink, "standard output, one event a line", Way::StdoutSink),
    #[cfg(feature = "http")]
    Entry::sink(&flowd_http::sink::CONNECTOR),
    #[cfg(feature = "kafka")]
    Entry::sink(&flowd_kafka::sink::CONNECTOR),
    #[cfg(feature = "postgres")]
    Entry::sink(&flowd_postgres::sink::CONNECTOR),
    #[cfg(feature = "rabbitmq")]
    Entry::sink(&flowd_rabbitmq::sink::CONNECTOR),
];

/// The cargo feature that a connector comes with, for those that a small build lacks.
const FEATURES: &[(&str, &[&str])] = &[
    ("http", &["http-source", "http-sink"]),
    ("rabbitmq", &["rabbitmq-source", "rabbitmq-sink"]),
    ("kafka", &["kafka-source", "kafka-sink"]),
    ("postgres", &["postgres-sink"]),
    ("file", &["file-source"]),
];

/// Which way a connector works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From a system into EventMesh.
    Source,
    /// From EventMesh into a system.
    Sink,
}

/// A line of the table.
#[derive(Debug)]
struct Entry {
    name: &'static str,
    direction: Direction,
    help: &'static str,
    way: Way,
}

/// How a connector is resolved, run, checked and described.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    /// The binlog source has an engine source of its own.
    MySqlCdc,
    /// Files of JSON lines are written parcel by parcel.
    FileSink,
    /// Lines on standard output, likewise.
    StdoutSink,
    /// Any source of messages.
    Source(&'static flowd_source::Connector),
    /// Any sink of messages or rows.
    Sink(&'static deliver::Connector),
}

impl Entry {
    const fn own(name: &'static str, direction: Direction, help: &'static str, way: Way) -> Self {
        Self { name, direction, help, way }
    }

    const fn source(connector: &'static flowd_source::Connector) -> Self {
        let (name, help) = (connector.name, connector.help);
        Self { name, direction: Direction::Source, help, way: Way::Source(connector) }
    }

    const fn sink(connector: &'static deliver::Connector) -> Self {
        let (name, help) = (connector.name, connector.help);
        Self { name, direction: Direction::Sink, help, way: Way::Sink(connector) }
    }
}

/// A connector of the table.
#[derive(Clone, Copy)]
pub struct Named(&'static Entry);

impl Named {
    /// All of them, in the order of the table.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(Self)
    }

    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// Which way it works.
    pub fn direction(self) -> Direction {
        self.0.direction
    }

    /// How it is dealt with.
    pub(crate) fn way(self) -> Way {
        self.0.way
    }

    /// The connector that `--connector` names.
    ///
    /// # Errors
    /// What is wrong, with the known names.
    pub fn parse(name: &str) -> Result<Self, String> {
        if let Some(found) = Self::all().find(|connector| connector.name() == name) {
            return Ok(found);
        }
        Err(match FEATURES.iter().find(|(_, names)| names.contains(&name)) {
            Some((feature, _)) => {
                format!("\"{name}\" is not in this build; build flowd with the cargo feature `{feature}`")
            }
            None => format!("\"{name}\" is not known; known: {}", known()),
        })
    }
}

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Named {}

impl fmt::Debug for Named {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The names of all connectors.
pub fn known() -> String {
    Named::all().map(Named::name).collect::<Vec<_>>().join(", ")
}

/// The targets of a source.
const TARGETS: &[(&str, &str)] = &[
    ("mesh", "EventMesh over TCP, or the embedded server"),
    ("jsonl:PATH", "a file of one event a line, fsynced before it counts as acknowledged"),
    ("stdout", "standard output, one event a line"),
    ("drop", "nowhere; for measuring"),
];

/// The whole table as text.
pub fn table() -> String {
    let mut out = String::with_capacity(32 << 10);
    let of = |direction| Named::all().filter(move |connector| connector.direction() == direction);
    let rows = |direction| of(direction).map(|connector| (connector.name(), connector.0.help)).collect();
    group(&mut out, "Sources (--connector)", rows(Direction::Source));
    group(&mut out, "Sinks (--connector)", rows(Direction::Sink));
    group(&mut out, "Targets of a source (--target)", TARGETS.to_vec());
    for section in Section::ALL {
        if section == Section::Connector {
            Named::all().for_each(|connector| own_settings(&mut out, connector));
        } else {
            let shared = setting::all().filter(|setting| setting.section == section && !is_field(setting));
            settings(&mut out, section.name(), shared);
        }
    }
    out.push_str(
        "Flags (--section.key=VALUE) win over variables (FLOWD_SECTION_KEY), those over the file.\n",
    );
    out
}

fn group(out: &mut String, title: &str, rows: Vec<(&str, &str)>) {
    writeln!(out, "{title}").expect("a string takes everything");
    for (name, help) in rows {
        writeln!(out, "  {name:<16} {help}").expect("a string takes everything");
    }
    out.push('\n');
}

/// A connector's own settings, and the fields of its topics.
fn own_settings(out: &mut String, connector: Named) {
    let title = format!("{} of {}", Section::Connector.name(), connector.name());
    let own = |setting: &&Setting| setting.section == Section::Connector || is_field(setting);
    settings(out, &title, setting::of(connector).filter(own));
}

/// Whether it is the topic of a source of messages, which each has with fields of its own.
fn is_field(setting: &Setting) -> bool {
    let is_message_source = |name| matches!(Named::parse(name).map(Named::way), Ok(Way::Source(_)));
    setting.section == Section::PubSub && matches!(setting.owner, Owner::One(name) if is_message_source(name))
}

fn settings(out: &mut String, title: &str, settings: impl Iterator<Item = &'static Setting>) {
    writeln!(out, "{title}").expect("a string takes everything");
    settings.for_each(|setting| row(out, setting));
    out.push('\n');
}

fn row(out: &mut String, setting: &Setting) {
    let preset = match setting.preset {
        Preset::Required => "required".to_owned(),
        Preset::Value("") => "default: empty".to_owned(),
        Preset::Value(text) => format!("default: {text}"),
        Preset::Without(words) => format!("default: {words}"),
    };
    let owner = match (setting.owner, setting.section) {
        (Owner::Any, _) | (_, Section::Connector) => String::new(),
        _ if is_field(setting) => String::new(),
        (owner, _) => format!("{owner} only; "),
    };
    let flag = setting.flag.map_or_else(String::new, |flag| format!("; short: --{flag}"));
    let (help, kind) = (setting.help, setting.kind);
    let name = if is_field(setting) { setting.path() } else { setting.name.to_owned() };
    writeln!(out, "  {name:<22} {help}\n  {:<22} {owner}{preset}; allowed: {kind}{flag}", "")
        .expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_every_setting_with_default_and_help() {
        let table = table();
        for setting in setting::all() {
            let name = if is_field(setting) { setting.path() } else { setting.name.to_owned() };
            assert!(table.contains(&format!("  {name:<22} {}", setting.help)), "{}", setting.path());
        }
        assert!(table.contains("default: 256MiB; allowed: bytes"), "{table}");
    }

    #[test]
    fn every_connector_is_shown_with_its_own_settings() {
        let table = table();
        for connector in Named::all() {
            let from = table.find(&format!("\nconnectorConfig of {}\n", connector.name())).expect("a title");
            let part = table[from..].split("\n\n").next().expect("an end");
            for setting in setting::all().filter(|setting| setting.section == Section::Connector) {
                let shown = part.contains(&format!("\n  {:<22} ", setting.name));
                let known = setting::find(connector, Section::Connector, setting.name).is_some();
                assert_eq!(shown, known, "{} of {}", setting.name, connector.name());
            }
        }
    }

    #[test]
    fn an_unknown_connector_is_answered_with_the_known_ones() {
        for connector in Named::all() {
            assert_eq!(Named::parse(connector.name()), Ok(connector));
        }
        let told = Named::parse("mysql").expect_err("unknown");
        assert!(told.contains("known: mysql-cdc, ") && told.contains(", stdout-sink"), "{told}");
    }

    #[test]
    fn a_connector_that_this_build_lacks_is_answered_with_its_feature() {
        let parts = [
            ("http", cfg!(feature = "http")),
            ("rabbitmq", cfg!(feature = "rabbitmq")),
            ("kafka", cfg!(feature = "kafka")),
            ("postgres", cfg!(feature = "postgres")),
            ("file", cfg!(feature = "file")),
        ];
        assert!(parts.iter().map(|(feature, _)| feature).eq(FEATURES.iter().map(|(feature, _)| feature)));
        for ((feature, is_there), (_, names)) in parts.iter().zip(FEATURES) {
            for name in *names {
                match Named::parse(name) {
                    Ok(_) => assert!(is_there, "{name}"),
                    Err(text) => {
                        assert!(!is_there, "{name}: {text}");
                        assert!(text.ends_with(&format!("the cargo feature `{feature}`")), "{text}");
                    }
                }
            }
        }
    }
}
