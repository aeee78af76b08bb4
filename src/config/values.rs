//! Reads values by the table: puts variables in, checks the kind, collects every problem instead of stopping at one.
//!
//! Invariant: the text of a secret never reaches a problem.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use flowd_engine::setting::{Secret, Settings, Value, bytes};

use super::expand::{expand, secret_file};
use super::given::{Layers, Written};
use super::problem::{Origin, Problems};
use super::setting::{self, Kind, Owner, Preset, Section, Setting};
use crate::connectors::Named;

/// Reads settings one by one; `problems` holds what was wrong with them.
pub(crate) struct Values<'a> {
    layers: &'a Layers,
    file_directory: PathBuf,
    working_directory: PathBuf,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    /// Which settings were asked for; a test holds them against the table.
    pub(crate) read: BTreeSet<(Section, &'static str)>,
    pub(crate) problems: Problems,
}

impl<'a> Values<'a> {
    /// Relative paths of the file and of defaults count from `file_directory`, those of flags and variables from
    /// `working_directory`.
    pub(crate) fn new(
        layers: &'a Layers,
        file_directory: PathBuf,
        working_directory: PathBuf,
        lookup: &'a dyn Fn(&str) -> Option<String>,
    ) -> Self {
        let (read, problems) = (BTreeSet::new(), Problems::default());
        Self { layers, file_directory, working_directory, lookup, read, problems }
    }

    /// Whose settings they are.
    pub(crate) fn connector(&self) -> Named {
        self.layers.connector()
    }

    /// A text; empty after a problem.
    pub(crate) fn text(&mut self, section: Section, name: &str) -> String {
        self.parsed(section, name, |text, _| Ok(text.to_owned())).unwrap_or_default()
    }

    /// A secret: its text, or what the file holds that `file:PATH` names.
    pub(crate) fn secret(&mut self, section: Section, name: &str) -> Secret {
        let setting = self.known(section, name);
        let Some((written, origin)) = self.one(setting) else { return Secret::default() };
        let read = match written.strip_prefix("file:") {
            Some(path) => self.expanded(path).and_then(|path| secret_file(&self.absolute(&path, &origin))),
            None => self.expanded(&written),
        };
        match read {
            Ok(text) => Secret::new(text),
            Err(text) => {
                self.problems.push(setting.path(), text, origin);
                Secret::default()
            }
        }
    }

    /// A whole number within the table's bounds; `None` where it is not given and has no default.
    pub(crate) fn number(&mut self, section: Section, name: &str) -> Option<u64> {
        let setting = self.known(section, name);
        let (min, max, read): (_, _, fn(&str) -> Option<u64>) = match setting.kind {
            Kind::Integer(min, max) => (min, max, |text| text.parse().ok()),
            Kind::Size(min, max) => (min, max, bytes),
            other => unreachable!("{name} is no number in the table: {other:?}"),
        };
        self.parsed(section, name, |text, _| {
            read(text).filter(|number| (min..=max).contains(number)).ok_or_else(|| setting.kind.to_string())
        })
    }

    /// `true` or `false`.
    pub(crate) fn switch(&mut self, section: Section, name: &str) -> bool {
        let read = |text: &str, _: &Origin| text.parse::<bool>().map_err(|_| Kind::Switch.to_string());
        self.parsed(section, name, read).unwrap_or_default()
    }

    /// A path, made absolute.
    pub(crate) fn path(&mut self, section: Section, name: &str) -> Option<PathBuf> {
        let (file, working) = (self.file_directory.clone(), self.working_directory.clone());
        self.parsed(section, name, |text, origin| Ok(absolute(text, origin, &file, &working)))
    }

    /// One of the table's words.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        section: Section,
        name: &str,
        words: &[(&str, T)],
        fallback: T,
    ) -> T {
        let kind = self.known(section, name).kind;
        debug_assert!(
            matches!(kind, Kind::Choice(allowed) if allowed.iter().eq(words.iter().map(|(word, _)| word)))
        );
        let found = |text: &str, _: &Origin| {
            let found = words.iter().find(|(word, _)| *word == text);
            found.map(|(_, value)| *value).ok_or_else(|| kind.to_string())
        };
        self.parsed(section, name, found).unwrap_or(fallback)
    }

    /// All of a connector's own settings. They mean nothing once there are problems.
    pub(crate) fn settings(
        &mut self,
        connector_name: &str,
        own: &'static [flowd_engine::setting::Setting],
    ) -> Settings {
        let mut settings = Settings::new(connector_name, own);
        for setting in own {
            if let Some(value) = self.value(setting.name, setting.kind) {
                settings.set(setting.name, value);
            }
        }
        settings
    }

    /// The value of a connector's setting; `None` where it is not given and has no default, or after a problem.
    fn value(&mut self, name: &str, kind: Kind) -> Option<Value> {
        let section = Section::Connector;
        let is_given = self.layers.get(self.known(section, name)).is_some();
        match kind {
            Kind::Secret => Some(Value::Secret(self.secret(section, name))),
            Kind::List => is_given.then(|| Value::List(self.list(section, name))),
            Kind::Pairs => is_given.then(|| Value::Pairs(self.pairs(section, name))),
            Kind::Path => self.path(section, name).map(Value::Path),
            Kind::Text
            | Kind::Integer(..)
            | Kind::Size(..)
            | Kind::Switch
            | Kind::Choice(_)
            | Kind::Form(_) => self.parsed(section, name, |text, _| kind.read(text)),
        }
    }

    /// A list of texts, each not empty; from a flag, a variable or one YAML text, separated by commas.
    pub(crate) fn list(&mut self, section: Section, name: &str) -> Vec<String> {
        let setting = self.known(section, name);
        let Some(given) = self.layers.get(setting) else { return Vec::new() };
        let origin = given.origin.clone();
        let items: Option<Vec<String>> = match &given.written {
            Written::Text(text) if text.trim().is_empty() => Some(Vec::new()),
            Written::Text(text) => Some(text.split(',').map(|item| item.trim().to_owned()).collect()),
            Written::List(items) => items.iter().cloned().collect(),
            Written::Map(_) | Written::Nothing => None,
        };
        let items = items.filter(|items| items.iter().all(|item| !item.is_empty()));
        let Some(items) = items else {
            let text = format!("must be a list of texts that are not empty; allowed: {}", setting.kind);
            self.problems.push(setting.path(), text, origin);
            return Vec::new();
        };
        let expanded: Result<_, String> = items.iter().map(|item| self.expanded(item)).collect();
        expanded.unwrap_or_else(|text| {
            self.problems.push(setting.path(), text, origin);
            Vec::new()
        })
    }

    /// Names with a name each: a mapping, or `from=to` separated by commas.
    pub(crate) fn pairs(&mut self, section: Section, name: &str) -> Vec<(String, String)> {
        let setting = self.known(section, name);
        let Some(given) = self.layers.get(setting) else { return Vec::new() };
        let origin = given.origin.clone();
        let split = |text: &str| {
            text.split_once('=').map(|(from, to)| (from.trim().to_owned(), to.trim().to_owned()))
        };
        let pairs: Option<Vec<(String, String)>> = match &given.written {
            Written::Text(text) if text.trim().is_empty() => Some(Vec::new()),
            Written::Text(text) => text.split(',').map(split).collect(),
            Written::List(items) => items.iter().map(|item| split(item.as_deref()?)).collect(),
            Written::Map(entries) => {
                entries.iter().map(|(from, to)| Some((from.clone(), to.clone()?))).collect()
            }
            Written::Nothing => None,
        };
        let pairs = pairs.filter(|pairs| pairs.iter().all(|(from, to)| !from.is_empty() && !to.is_empty()));
        let expanded = match pairs {
            Some(pairs) => {
                let expand = |(from, to): (String, String)| Ok((self.expanded(&from)?, self.expanded(&to)?));
                pairs.into_iter().map(expand).collect()
            }
            None => Err(format!("must be names with a name each, not empty; allowed: {}", setting.kind)),
        };
        expanded.unwrap_or_else(|text: String| {
            self.problems.push(setting.path(), text, origin);
            Vec::new()
        })
    }

    /// A value with its own form. `read` gives back what is allowed, in words, where the text is not it.
    pub(crate) fn parsed<T>(
        &mut self,
        section: Section,
        name: &str,
        read: impl FnOnce(&str, &Origin) -> Result<T, String>,
    ) -> Option<T> {
        let setting = self.known(section, name);
        let (written, origin) = self.one(setting)?;
        let result = match self.expanded(&written) {
            Ok(text) if text.is_empty() => Err(format!("is empty; allowed: {}", setting.kind)),
            Ok(text) => read(&text, &origin)
                .map_err(|allowed| format!("\"{text}\" is not allowed; allowed: {allowed}")),
            Err(text) => Err(text),
        };
        result.map_err(|text| self.problems.push(setting.path(), text, origin)).ok()
    }

    /// Where a value stands, for problems found later.
    pub(crate) fn origin(&mut self, section: Section, name: &str) -> Origin {
        let setting = self.known(section, name);
        self.layers.get(setting).map_or(Origin::Default, |given| given.origin.clone())
    }

    /// Notes a problem that several values make together.
    pub(crate) fn problem(&mut self, section: Section, name: &str, text: impl Into<String>) {
        let origin = self.origin(section, name);
        let path = self.known(section, name).path();
        self.problems.push(path, text, origin);
    }

    /// Makes a path absolute from where it was written.
    pub(crate) fn absolute(&self, path: &str, origin: &Origin) -> PathBuf {
        absolute(path, origin, &self.file_directory, &self.working_directory)
    }

    /// The one text of a setting: given, or the default. `None` after noting a problem, or where there is nothing.
    fn one(&mut self, setting: &Setting) -> Option<(String, Origin)> {
        let problem = match (self.layers.get(setting), setting.preset) {
            (None, Preset::Value(text)) => return Some((text.to_owned(), Origin::Default)),
            (None, Preset::Without(_)) => return None,
            (None, Preset::Required) => {
                let (path, variable) = (setting.path(), setting.variable());
                (
                    format!("is required; write it in the file, or give --{path}=… or {variable}"),
                    Origin::Default,
                )
            }
            (Some(given), _) => match &given.written {
                Written::Text(text) => return Some((text.clone(), given.origin.clone())),
                Written::List(items) if Self::joins(setting) && items.iter().all(Option::is_some) => {
                    let items: Vec<&str> = items.iter().flatten().map(String::as_str).collect();
                    return Some((items.join(","), given.origin.clone()));
                }
                Written::List(items) => {
                    let value = match setting.kind {
                        Kind::Secret => String::new(),
                        _ => format!("[{}] ", items.iter().flatten().cloned().collect::<Vec<_>>().join(", ")),
                    };
                    (format!("{value}is a list; allowed: {}", setting.kind), given.origin.clone())
                }
                Written::Map(_) | Written::Nothing => {
                    (format!("is a mapping or nothing; allowed: {}", setting.kind), given.origin.clone())
                }
            },
        };
        self.problems.push(setting.path(), problem.0, problem.1);
        None
    }

    /// One text in EventMesh's files, and several addresses or topics with us: a list is as clear.
    fn joins(setting: &Setting) -> bool {
        setting.name == "meshAddress" || (setting.name == "subject" && setting.owner == Owner::Sinks)
    }

    fn known(&mut self, section: Section, name: &str) -> &'static Setting {
        let setting = setting::find(self.connector(), section, name);
        let setting = setting.expect("only settings of the table are read");
        self.read.insert((section, setting.name));
        setting
    }

    fn expanded(&self, text: &str) -> Result<String, String> {
        expand(text, self.lookup)
    }
}

fn absolute(path: &str, origin: &Origin, file: &Path, working: &Path) -> PathBuf {
    let from = match origin {
        Origin::File(..) | Origin::Default => file,
        Origin::Variable(_) | Origin::Flag(_) => working,
    };
    let path = path.strip_prefix("./").unwrap_or(path);
    from.join(path)
}
