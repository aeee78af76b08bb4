//! What the user gave: the file, over it the environment, over it the flags. Names are checked here, values not yet.

use std::collections::HashMap;
use std::path::PathBuf;

use super::document::{Entry, Node};
use super::foreign;
use super::nearest::nearest;
use super::problem::{Origin, Problems};
use super::setting::{self, Section, Setting};

/// A value as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Written {
    /// One text.
    Text(String),
    /// A list of texts; `None` is an item that is no text.
    List(Vec<Option<String>>),
    /// A mapping, where no setting has one.
    Map,
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
#[derive(Debug, Default)]
pub(crate) struct Layers {
    given: HashMap<(Section, &'static str), Given>,
    /// One sentence for each key that is accepted without meaning.
    pub(crate) warnings: Vec<String>,
    pub(crate) problems: Problems,
}

impl Layers {
    /// What holds for a setting.
    pub(crate) fn get(&self, setting: &Setting) -> Option<&Given> {
        self.given.get(&(setting.section, setting.name))
    }

    /// Lays the file down.
    pub(crate) fn file(&mut self, path: &PathBuf, entries: Vec<Entry>) {
        for Entry { key, line, value } in entries {
            let origin = Origin::File(path.clone(), line);
            if let Some(section) = Section::from_name(&key) {
                self.section(section, path, value, &origin);
            } else if let Some(why) = foreign::idle(None, &key) {
                self.warnings.push(format!("{key}: {why} ({origin})"));
            } else {
                let text = unknown_section(&key);
                self.inner_keys(&key, path, &key, &value);
                self.problems.push(key, text, origin);
            }
        }
    }

    fn section(&mut self, section: Section, path: &PathBuf, node: Node, origin: &Origin) {
        let entries = match node {
            Node::Null => return,
            Node::Map(entries) => entries,
            Node::Scalar(_) | Node::List(_) => {
                return self.problems.push(section.name(), "must hold keys (a mapping)", origin.clone());
            }
        };
        for Entry { key, line, value } in entries {
            let origin = Origin::File(path.clone(), line);
            if section == Section::Connector {
                self.inner_keys(&format!("{}.{key}", section.name()), path, &key, &value);
            }
            let written = match value {
                Node::Null if setting::find(section, &key).is_some() => continue,
                Node::Scalar(text) => Written::Text(text),
                Node::List(items) => Written::List(items.into_iter().map(text_of).collect()),
                Node::Map(_) | Node::Null => Written::Map,
            };
            self.put(section, &key, Given { written, origin });
        }
    }

    /// Names our key for each key inside `jdbcConfig`, `sourceConnectorConfig` and their like, too. `outer` is where they
    /// stand.
    fn inner_keys(&mut self, outer: &str, path: &PathBuf, key: &str, value: &Node) {
        let (Some(_), Node::Map(inner)) = (foreign::instead(key), value) else { return };
        for entry in inner {
            let origin = Origin::File(path.clone(), entry.line);
            let name = format!("{outer}.{}", entry.key);
            let ours = setting::find(Section::Connector, &entry.key)
                .map(|setting| format!("write `{}` directly under `connectorConfig`", setting.name));
            let text = ours.or_else(|| foreign::instead(&entry.key).map(str::to_owned));
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
            let known = setting::TABLE.iter().find(|setting| setting.variable() == *name);
            match known {
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
                None => self.problems.push(flag.section.clone(), unknown_section(&flag.section), origin),
            }
        }
    }

    fn put(&mut self, section: Section, key: &str, given: Given) {
        if let Some(setting) = setting::find(section, key) {
            self.given.insert((section, setting.name), given);
        } else if let Some(why) = foreign::idle(Some(section), key) {
            self.warnings.push(format!("{}.{key}: {why} ({})", section.name(), given.origin));
        } else {
            let text = unknown_key(section, key);
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

fn unknown_section(name: &str) -> String {
    let known = Section::ALL.map(Section::name);
    if let Some(remedy) = foreign::section_instead(name) {
        return format!("is a section of EventMesh's connectors; {remedy}");
    }
    let at_home = setting::TABLE.iter().find(|setting| setting.name == name);
    match (nearest(name, known.into_iter()), at_home) {
        (Some(near), _) => format!("unknown section; did you mean `{near}`?"),
        (None, Some(setting)) => {
            format!("unknown section; the key `{name}` belongs in `{}`", setting.section.name())
        }
        (None, None) => format!("unknown section; allowed: {}", known.join(", ")),
    }
}

fn unknown_key(section: Section, key: &str) -> String {
    if section == Section::Connector
        && let Some(remedy) = foreign::instead(key)
    {
        return format!("is a key of EventMesh's connectors; {remedy}");
    }
    let here = || setting::TABLE.iter().filter(|setting| setting.section == section);
    if let Some(near) = nearest(key, here().map(|setting| setting.name)) {
        return format!("unknown key; did you mean `{near}`?");
    }
    if let Some(other) = setting::TABLE.iter().find(|setting| setting.name.eq_ignore_ascii_case(key)) {
        return format!("unknown key; did you mean `{}`?", other.path());
    }
    let names: Vec<&str> = here().map(|setting| setting.name).collect();
    format!("unknown key; allowed: {}", names.join(", "))
}
