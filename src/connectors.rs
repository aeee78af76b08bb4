//! The known connectors and targets, and `flowd connectors`, which prints them with every setting.

use std::fmt::Write;

use crate::config::setting::{Preset, Section, Setting, TABLE};

/// A connector or target that flowd knows.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// As it is written on the command line.
    pub name: &'static str,
    /// What it is.
    pub help: &'static str,
}

/// The source connectors.
pub const SOURCES: &[Known] = &[Known {
    name: MYSQL_CDC,
    help: "rows and changes of MySQL 8.0 to 9.x and MariaDB 10.11 and later: a snapshot, then the binlog",
}];

/// The targets.
pub const TARGETS: &[Known] = &[
    Known { name: "mesh", help: "EventMesh over TCP, or the embedded server" },
    Known {
        name: "jsonl:PATH",
        help: "a file of one event a line, fsynced before it counts as acknowledged",
    },
    Known { name: "stdout", help: "standard output, one event a line" },
    Known { name: "drop", help: "nowhere; for measuring" },
];

/// The binlog connector.
pub const MYSQL_CDC: &str = "mysql-cdc";

/// Checks the name of `--connector`.
///
/// # Errors
/// What is wrong, with the known names.
pub fn check(name: Option<&str>) -> Result<(), String> {
    let known: Vec<&str> = SOURCES.iter().map(|source| source.name).collect();
    match name {
        Some(name) if known.contains(&name) => Ok(()),
        Some(name) => Err(format!("\"{name}\" is not known; known: {}", known.join(", "))),
        None => Err(format!("is required; known: {}", known.join(", "))),
    }
}

/// The whole table as text.
pub fn table() -> String {
    let mut out = String::with_capacity(8192);
    for (title, rows) in [("Sources (--connector)", SOURCES), ("Targets (--target)", TARGETS)] {
        writeln!(out, "{title}").expect("a string takes everything");
        for Known { name, help } in rows {
            writeln!(out, "  {name:<12} {help}").expect("a string takes everything");
        }
        out.push('\n');
    }
    for section in Section::ALL {
        writeln!(out, "{}", section.name()).expect("a string takes everything");
        for setting in TABLE.iter().filter(|setting| setting.section == section) {
            row(&mut out, setting);
        }
        out.push('\n');
    }
    out.push_str(
        "Flags (--section.key=VALUE) win over variables (FLOWD_SECTION_KEY), those over the file.\n",
    );
    out
}

fn row(out: &mut String, setting: &Setting) {
    let preset = match setting.preset {
        Preset::Required => "required".to_owned(),
        Preset::Value("") => "default: empty".to_owned(),
        Preset::Value(text) => format!("default: {text}"),
        Preset::Without(words) => format!("default: {words}"),
    };
    let flag = setting.flag.map_or_else(String::new, |flag| format!("; short: --{flag}"));
    let (name, help, kind) = (setting.name, setting.help(), setting.kind);
    writeln!(out, "  {name:<22} {help}\n  {:<22} {preset}; allowed: {kind}{flag}", "")
        .expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_every_setting_with_default_and_help() {
        let table = table();
        for setting in TABLE {
            assert!(
                table.contains(&format!("  {:<22} {}", setting.name, setting.help())),
                "{}",
                setting.path()
            );
        }
        assert!(table.contains("default: 256MiB; allowed: bytes"), "{table}");
    }

    #[test]
    fn an_unknown_connector_is_answered_with_the_known_ones() {
        assert_eq!(check(Some("mysql-cdc")), Ok(()));
        for name in [Some("mysql"), None] {
            assert!(check(name).expect_err("unknown").contains("known: mysql-cdc"));
        }
    }
}
