//! What the user gave: the file, over it the environment, over it the flags. Names are checked here, for the connector
//! that is to run; values not yet.

use std::collections::HashMap;
use std::path::PathBuf;

use super::document::{Entry, Node};
use super::foreign;
use super::problem::{Origin, Problems};
use super::setting::{self, Section, Setting};
use super::unknown;
use crate::connectors::{Direction, Named};

/// A value as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Written {
    /// One text.
    Text(String),
    /// A list of texts; `None` is an item that is no text.
    List(Vec<Option<String>>),
    /// A mapping of texts; `None` is a value that is no text.
    Map(Vec<(String, Option<String>)>),
    /// Nothing, where a value was announced.
    Nothing,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) written: Written,
    pub(crate) origin: Origin,
}

/// A flag as it was typed: `--section.key=VALUE`, or a short one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// As typed, without the value: `--pipeline.memory`, `--memory`.
    pub typed: String,
    /// The section's name.
    pub section: String,
    /// The key's name.
    pub key: String,
    /// The value.
    pub value: String,
}

/// All that was given, by setting; later layers replace earlier ones.
#[derive(Debug)]
pub(crate) struct Layers {
    connector: Named,
    given: HashMap<(Section, &'static str), Given>,
    /// The section of the file that holds the connector's settings, and where.
    own: Option<(String, Origin)>,
    /// One sentence for each key that is accepted without meaning.
    pub(crate) warnings: Vec<String>,
    pub(crate) problems: Problems,
}

impl Layers {
    /// For the settings of this connector.
    pub(crate) fn new(connector: Named) -> Self {
        Self {
            connector,
            given: HashMap::new(),
            own: None,
            warnings: Vec::new(),
            problems: Problems::default(),
        }
    }

    /// Whose settings they are.
    pub(crate) fn connector(&self) -> Named {
        self.connector
    }

    /// What holds for a setting.
    pub(crate) fn get(&self, setting: &Setting) -> Option<&Given> {
        self.given.get(&(setting.section, setting.name))
    }

    /// Lays the file down.
    pub(crate) fn file(&mut self, path: &PathBuf, entries: Vec<Entry>) {
        for Entry { key, line, value } in entries {
            let origin = Origin::File(path.clone(), line);
            let section = Section::from_name(&key).or_else(|| foreign::section(self.connector, &key));
            if let Some(section) = section {
                self.section(section, &key, path, value, &origin);
            } else if let Some(why) = foreign::idle(self.connector, None, &key) {
                self.warnings.push(format!("{key}: {why} ({origin})"));
            } else {
                let text = unknown::section(self.connector, &key);
                self.inner_keys(&key, path, &key, &value);
                self.problems.push(key, text, origin);
            }
        }
    }

    fn section(&mut self, section: Section, name: &str, path: &PathBuf, node: Node, origin: &Origin) {
        if section == Section::Connector
            && let Some((other, place)) = self.own.replace((name.to_owned(), origin.clone()))
        {
            let text =
                format!("holds the connector's settings, as `{other}` does ({place}); write one of them");
            return self.problems.push(name, text, origin.clone());
        }
        let entries = match node {
            Node::Null => return,
            Node::Map(entries) => entries,
            Node::Scalar(_) | Node::List(_) => {
                return self.problems.push(name, "must hold keys (a mapping)", origin.clone());
            }
        };
        if section == Section::OffsetStorage && self.connector.direction() == Direction::Sink {
            let why = "a sink keeps no progress here: EventMesh knows what was acknowledged";
            return self.warnings.push(format!("{name}: has no meaning and is ignored; {why} ({origin})"));
        }
        for entry in entries {
            self.entry(section, name, path, entry);
        }
    }

    fn entry(&mut self, section: Section, outer: &str, path: &PathBuf, Entry { key, line, value }: Entry) {
        let origin = Origin::File(path.clone(), line);
        let value = match value {
            Node::Map(inner) if section == Section::Connector && foreign::opens(self.connector, &key) => {
                let outer = format!("{outer}.{key}");
                return inner.into_iter().for_each(|entry| self.entry(section, &outer, path, entry));
            }
            Node::Map(inner) if setting::has_inner(section, &key) => {
                return inner.into_iter().for_each(|mut entry| {
                    entry.key = format!("{key}.{}", entry.key);
                    self.entry(section, outer, path, entry);
                });
            }
            other => other,
        };
        let key = match foreign::renamed(self.connector, &key) {
            Some(ours) if section == Section::Connector => ours.to_owned(),
            _ => key,
        };
        if section == Section::Connector {
            let is_jdbc = key == "url" && setting::find(self.connector, section, &key).is_none();
            if let (true, Direction::Sink, Node::Scalar(url)) = (is_jdbc, self.connector.direction(), &value)
            {
                return self.jdbc_url(&format!("{outer}.{key}"), url, &origin);
            }
            self.inner_keys(&format!("{outer}.{key}"), path, &key, &value);
        }
        let written = match value {
            Node::Null if setting::find(self.connector, section, &key).is_some() => return,
            Node::Null => Written::Nothing,
            Node::Scalar(text) => Written::Text(text),
            Node::List(items) => Written::List(items.into_iter().map(text_of).collect()),
            Node::Map(entries) => {
                Written::Map(entries.into_iter().map(|entry| (entry.key, text_of(entry.value))).collect())
            }
        };
        self.put(section, &key, Given { written, origin });
    }

    /// What a JDBC address says counts where the file does not say it itself.
    fn jdbc_url(&mut self, name: &str, url: &str, origin: &Origin) {
        let Some(parts) = foreign::jdbc_url(url) else {
            let text =
                format!("\"{url}\" is no address that can be read; write `hostname` and `port` instead");
            return self.problems.push(name, text, origin.clone());
        };
        for (key, value) in parts {
            if let Some(setting) = setting::find(self.connector, Section::Connector, key) {
                let given = Given { written: Written::Text(value), origin: origin.clone() };
                self.given.entry((Section::Connector, setting.name)).or_insert(given);
            }
        }
    }

    /// Names our key for each key inside `jdbcConfig`, `sourceConnectorConfig` and their like, too. `outer` is where they
    /// stand.
    fn inner_keys(&mut self, outer: &str, path: &PathBuf, key: &str, value: &Node) {
        let (Some(_), Node::Map(inner)) = (foreign::instead(self.connector, key), value) else { return };
        for entry in inner {
            let origin = Origin::File(path.clone(), entry.line);
            let name = format!("{outer}.{}", entry.key);
            let ours = setting::find(self.connector, Section::Connector, &entry.key)
                .map(|setting| format!("write `{}` directly under `connectorConfig`", setting.name));
            let text = ours.or_else(|| foreign::instead(self.connector, &entry.key).map(str::to_owned));
            if let Some(text) = text {
                self.problems.push(
                    name.clone(),
                    format!("is a key of EventMesh's connectors; {text}"),
                    origin,
                );
            }
            self.inner_keys(&name, path, &entry.key, &entry.value);
        }
    }

    /// Lays the environment over it. Only variables that begin with a section's name are ours.
    pub(crate) fn environment(&mut self, variables: &[(String, String)]) {
        for (name, value) in variables {
            let Some(rest) = name.strip_prefix("FLOWD_") else { continue };
            let Some((section, key)) = variable_section(rest) else { continue };
            let given =
                Given { written: Written::Text(value.clone()), origin: Origin::Variable(name.clone()) };
            let ours = setting::of(self.connector).find(|setting| setting.variable() == *name);
            match ours.or_else(|| setting::all().find(|setting| setting.variable() == *name)) {
                Some(setting) => self.put(section, setting.name, given),
                None => self.put(section, key, given),
            }
        }
    }

    /// Lays the flags over it; of one given twice the last counts, but not of two spellings of one key.
    pub(crate) fn flags(&mut self, flags: &[Flag]) {
        for (index, flag) in flags.iter().enumerate() {
            let same = |other: &&Flag| (&other.section, &other.key) == (&flag.section, &flag.key);
            if let Some(other) = flags[..index].iter().filter(same).find(|other| other.typed != flag.typed) {
                let text = format!("is given twice, by {} too; give it once", other.typed);
                let key = format!("{}.{}", flag.section, flag.key);
                self.problems.push(key, text, Origin::Flag(flag.typed.clone()));
            }
            let origin = Origin::Flag(flag.typed.clone());
            match Section::from_name(&flag.section) {
                Some(section) => {
                    self.put(
                        section,
                        &flag.key,
                        Given { written: Written::Text(flag.value.clone()), origin },
                    );
                }
                None => self.problems.push(
                    flag.section.clone(),
                    unknown::section(self.connector, &flag.section),
                    origin,
                ),
            }
        }
    }

    fn put(&mut self, section: Section, key: &str, given: Given) {
        if let Some(setting) = setting::find(self.connector, section, key) {
            self.given.insert((section, setting.name), given);
        } else if let Some(why) = foreign::idle(self.connector, Some(section), key) {
            self.warnings.push(format!("{}.{key}: {why} ({})", section.name(), given.origin));
        } else {
            let text = unknown::key(self.connector, section, key);
            self.problems.push(format!("{}.{key}", section.name()), text, given.origin);
        }
    }
}

fn text_of(node: Node) -> Option<String> {
    match node {
        Node::Scalar(text) => Some(text),
        Node::Null | Node::List(_) | Node::Map(_) => None,
    }
}

/// Splits `PIPELINE_MEMORY` into the section and the key, as far as a section is recognised.
fn variable_section(rest: &str) -> Option<(Section, &str)> {
    let (name, key) = rest.split_once('_')?;
    let section = Section::ALL.into_iter().find(|section| section.name().to_uppercase() == name)?;
    Some((section, key))
}
