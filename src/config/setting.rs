//! What a setting is, and which there are: [`of`] gives those of a connector, in the order in which a file is best
//! written. The rows are in `table`: those that connectors share, and those of connectors with settings of their own kind; the
//! others bring theirs. `flowd connectors` prints them,
//! `values` reads by them, and a test holds them against what is read.

use std::fmt;
use std::sync::LazyLock;

pub use flowd_engine::setting::{Kind, Preset};

use crate::connectors::{Direction, Named};

mod table;

/// A section of the configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

/// Who has a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Every connector.
    Any,
    /// Every source.
    Sources,
    /// Every sink.
    Sinks,
    /// The connector of this name.
    One(&'static str),
}

impl Owner {
    /// Whether this connector is among them.
    pub fn has(self, connector: Named) -> bool {
        match self {
            Self::Any => true,
            Self::Sources => connector.direction() == Direction::Source,
            Self::Sinks => connector.direction() == Direction::Sink,
            Self::One(one) => one == connector.name(),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => formatter.write_str("every connector"),
            Self::Sources => formatter.write_str("sources"),
            Self::Sinks => formatter.write_str("sinks"),
            Self::One(one) => formatter.write_str(one),
        }
    }
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Who has it.
    pub owner: Owner,
    /// Its section.
    pub section: Section,
    /// Its key in the section; `outer.inner` where the section holds a mapping.
    pub name: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// What holds without it.
    pub preset: Preset,
    /// The short flag that is its alias, without `--`.
    pub flag: Option<&'static str>,
    /// One line for the reader.
    pub help: &'static str,
}

impl Setting {
    /// `section.key`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section.name(), self.name)
    }

    /// The environment variable.
    pub fn variable(&self) -> String {
        format!("FLOWD_{}_{}", self.section.name(), self.name).replace('.', "_").to_uppercase()
    }

    const fn flag(mut self, flag: &'static str) -> Self {
        self.flag = Some(flag);
        self
    }
}

/// Every setting of a connector.
pub fn of(connector: Named) -> impl Iterator<Item = &'static Setting> {
    all().filter(move |setting| setting.owner.has(connector))
}

/// Every setting there is; several have the same key, of different owners.
pub fn all() -> impl Iterator<Item = &'static Setting> {
    static ALL: LazyLock<Vec<Setting>> = LazyLock::new(table::all);
    ALL.iter()
}

/// The connector's setting of this section and name.
pub fn find(connector: Named, section: Section, name: &str) -> Option<&'static Setting> {
    of(connector).find(|setting| setting.section == section && setting.name == name)
}

/// Whether the section holds a mapping of this name.
pub fn has_inner(section: Section, outer: &str) -> bool {
    let is_inner = |name: &str| name.split_once('.').is_some_and(|(before, _)| before == outer);
    all().any(|setting| setting.section == section && is_inner(setting.name))
}

/// Whose setting it is, where it is other connectors'.
pub fn owners(section: Section, name: &str) -> Vec<Owner> {
    let same = all().filter(|setting| setting.section == section && setting.name == name);
    same.map(|setting| setting.owner).collect()
}

/// The settings with a short flag, each flag once.
pub fn with_flag() -> impl Iterator<Item = (&'static str, &'static Setting)> {
    all().filter_map(|setting| setting.flag.map(|flag| (flag, setting)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_variables_and_flags_of_a_connector_are_unique() {
        for connector in Named::all() {
            let settings: Vec<&Setting> = of(connector).collect();
            for (index, setting) in settings.iter().enumerate() {
                for other in &settings[index + 1..] {
                    assert_ne!(setting.path(), other.path());
                    assert_ne!(setting.variable(), other.variable());
                }
            }
        }
        let flags: Vec<&str> = with_flag().map(|(flag, _)| flag).collect();
        for (index, flag) in flags.iter().enumerate() {
            assert!(!flags[index + 1..].contains(flag), "{flag}");
        }
    }

    #[test]
    fn every_setting_has_a_help() {
        for setting in all() {
            assert!(!setting.help.is_empty(), "{} of {}", setting.path(), setting.owner);
        }
    }
}
