//! The known connectors and targets, and `flowd connectors`, which prints them with every setting.

use std::fmt::Write;

use crate::config::setting::{self, Preset, Section, Setting};

/// Which way a connector works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From a system into EventMesh.
    Source,
    /// From EventMesh into a system.
    Sink,
}

/// A connector that flowd knows, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Named {
    /// The binlog source.
    MySqlCdc,
    /// The database sink.
    MySqlSink,
    /// Files of JSON lines.
    FileSink,
    /// Lines on standard output.
    StdoutSink,
}

impl Named {
    /// In the order in which they are told.
    pub const ALL: [Self; 4] = [Self::MySqlCdc, Self::MySqlSink, Self::FileSink, Self::StdoutSink];

    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::MySqlCdc => "mysql-cdc",
            Self::MySqlSink => "mysql-sink",
            Self::FileSink => "file-sink",
            Self::StdoutSink => "stdout-sink",
        }
    }

    /// Which way it works.
    pub fn direction(self) -> Direction {
        match self {
            Self::MySqlCdc => Direction::Source,
            Self::MySqlSink | Self::FileSink | Self::StdoutSink => Direction::Sink,
        }
    }

    fn help(self) -> &'static str {
        match self {
            Self::MySqlCdc => {
                "rows and changes of MySQL 8.0 to 9.x and MariaDB 10.11 and later: a snapshot, then the binlog"
            }
            Self::MySqlSink => {
                "tables of MySQL and MariaDB: each change applied once, in the order of its lane"
            }
            Self::FileSink => "files of one event a line, fsynced before they count as acknowledged",
            Self::StdoutSink => "standard output, one event a line",
        }
    }

    /// The connector that `--connector` names.
    ///
    /// # Errors
    /// What is wrong, with the known names.
    pub fn parse(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|connector| connector.name() == name);
        found.ok_or_else(|| format!("\"{name}\" is not known; known: {}", known()))
    }
}

/// The names of all connectors.
pub fn known() -> String {
    Named::ALL.map(Named::name).join(", ")
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
    let mut out = String::with_capacity(16 << 10);
    let of = |direction| Named::ALL.into_iter().filter(move |connector| connector.direction() == direction);
    let rows = |direction| of(direction).map(|connector| (connector.name(), connector.help())).collect();
    group(&mut out, "Sources (--connector)", rows(Direction::Source));
    group(&mut out, "Sinks (--connector)", rows(Direction::Sink));
    group(&mut out, "Targets of a source (--target)", TARGETS.to_vec());
    for section in Section::ALL {
        if section == Section::Connector {
            Named::ALL.into_iter().for_each(|connector| own_settings(&mut out, connector));
        } else {
            settings(&mut out, section.name(), setting::all().filter(|setting| setting.section == section));
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
        writeln!(out, "  {name:<12} {help}").expect("a string takes everything");
    }
    out.push('\n');
}

fn own_settings(out: &mut String, connector: Named) {
    let title = format!("{} of {}", Section::Connector.name(), connector.name());
    settings(out, &title, setting::of(connector).filter(|setting| setting.section == Section::Connector));
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
    let owner = match setting.owner {
        owner @ (setting::Owner::Sources | setting::Owner::Sinks) => format!("{owner} only; "),
        setting::Owner::Any | setting::Owner::One(_) => String::new(),
    };
    let flag = setting.flag.map_or_else(String::new, |flag| format!("; short: --{flag}"));
    let (name, help, kind) = (setting.name, setting.help(), setting.kind);
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
            assert!(
                table.contains(&format!("  {:<22} {}", setting.name, setting.help())),
                "{}",
                setting.path()
            );
        }
        assert!(table.contains("default: 256MiB; allowed: bytes"), "{table}");
    }

    #[test]
    fn every_connector_is_shown_with_its_own_settings() {
        let table = table();
        for connector in Named::ALL {
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
        for connector in Named::ALL {
            assert_eq!(Named::parse(connector.name()), Ok(connector));
        }
        let told = Named::parse("mysql").expect_err("unknown");
        assert!(told.ends_with("known: mysql-cdc, mysql-sink, file-sink, stdout-sink"), "{told}");
    }
}
