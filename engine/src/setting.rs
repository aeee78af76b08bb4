//! Settings as data: what a connector may be told, each with its kind, its preset and a line of help, and what it was
//! told.
//!
//! A connector lists its [`Setting`]s as a constant. The command line prints the list and checks by it what the user
//! wrote, so a connector gets [`Settings`] in which every value is of its kind and every preset is filled in. What only
//! the connector can judge, it answers with [`Wrong`]. Not here: files, variables, flags, and where a value was written.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text that is not empty.
    Text,
    /// Any text, or `file:PATH`; never printed.
    Secret,
    /// A whole number within these bounds.
    Integer(u64, u64),
    /// Bytes, at least the first bound and at most the second.
    Size(u64, u64),
    /// `true` or `false`.
    Switch,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Texts: a YAML list, or comma-separated.
    List,
    /// Names with a name each: a YAML mapping, or comma-separated `from=to`.
    Pairs,
    /// A file or directory.
    Path,
    /// Its own form, in words; the connector judges it.
    Form(&'static str),
}

impl Kind {
    /// Reads a value from one text; items of lists and pairs are separated by commas.
    ///
    /// # Errors
    /// What is allowed, in words.
    pub fn read(&self, text: &str) -> Result<Value, String> {
        let items = || text.split(',').map(str::trim);
        let read = match self {
            Self::Text | Self::Form(_) => (!text.is_empty()).then(|| Value::Text(text.to_owned())),
            Self::Secret => Some(Value::Secret(Secret::new(text))),
            Self::Integer(min, max) => {
                text.parse().ok().filter(|number| (min..=max).contains(&number)).map(Value::Number)
            }
            Self::Size(min, max) => {
                bytes(text).filter(|number| (min..=max).contains(&number)).map(Value::Number)
            }
            Self::Switch => text.parse().ok().map(Value::Switch),
            Self::Choice(words) => words.contains(&text).then(|| Value::Text(text.to_owned())),
            Self::List if text.trim().is_empty() => Some(Value::List(Vec::new())),
            Self::List => items()
                .all(|item| !item.is_empty())
                .then(|| Value::List(items().map(str::to_owned).collect())),
            Self::Pairs if text.trim().is_empty() => Some(Value::Pairs(Vec::new())),
            Self::Pairs => items().map(pair).collect::<Option<_>>().map(Value::Pairs),
            Self::Path => (!text.is_empty()).then(|| Value::Path(text.into())),
        };
        read.ok_or_else(|| self.to_string())
    }
}

/// `from=to`.
fn pair(text: &str) -> Option<(String, String)> {
    let (from, to) = text.split_once('=')?;
    let (from, to) = (from.trim(), to.trim());
    (!from.is_empty() && !to.is_empty()).then(|| (from.to_owned(), to.to_owned()))
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => formatter.write_str("text, not empty"),
            Self::Secret => formatter.write_str("text or file:PATH"),
            Self::Integer(min, max) => write!(formatter, "a whole number from {min} to {max}"),
            Self::Size(min, max) => {
                write!(formatter, "bytes, or a number with KiB, MiB, GiB, KB, MB or GB: ")?;
                write!(formatter, "from {} to {}", Bytes(*min), Bytes(*max))
            }
            Self::Switch => formatter.write_str("true or false"),
            Self::Choice(words) => formatter.write_str(&words.join(", ")),
            Self::List => formatter.write_str("a list, or comma-separated"),
            Self::Pairs => formatter.write_str("a mapping {from: to}, or comma-separated from=to"),
            Self::Path => formatter.write_str("a path"),
            Self::Form(words) => formatter.write_str(words),
        }
    }
}

/// Bytes in the largest unit that shows them exactly.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
        match units.into_iter().find(|(_, shift)| self.0 != 0 && self.0.trailing_zeros() >= *shift) {
            Some((unit, shift)) => write!(formatter, "{}{unit}", self.0 >> shift),
            None => write!(formatter, "{}", self.0),
        }
    }
}

/// What holds when a setting is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Nothing: it must be given.
    Required,
    /// This value, written as a user would.
    Value(&'static str),
    /// No value; the words say what happens then.
    Without(&'static str),
}

/// One setting of a connector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Its key, in camelCase.
    pub name: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// What holds without it.
    pub preset: Preset,
    /// One line for the reader.
    pub help: &'static str,
}

impl Setting {
    /// A setting.
    pub const fn new(name: &'static str, kind: Kind, preset: Preset, help: &'static str) -> Self {
        Self { name, kind, preset, help }
    }
}

/// Settings that several connectors share, and behind them one's own: for a constant, `&joined::<COUNT>(…)`.
///
/// # Panics
/// Where `COUNT` is not the number of both; in a constant the compiler says so.
pub const fn joined<const COUNT: usize>(shared: &[Setting], own: &[Setting]) -> [Setting; COUNT] {
    assert!(COUNT == shared.len() + own.len(), "COUNT is the number of all settings");
    let mut all = [Setting::new("", Kind::Text, Preset::Required, ""); COUNT];
    let mut index = 0;
    while index < COUNT {
        all[index] = if index < shared.len() { shared[index] } else { own[index - shared.len()] };
        index += 1;
    }
    all
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_empty() { "(empty)" } else { "***" })
    }
}

/// A value, of the kind of its setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Of [`Kind::Text`], [`Kind::Choice`] and [`Kind::Form`].
    Text(String),
    /// Of [`Kind::Secret`].
    Secret(Secret),
    /// Of [`Kind::Integer`] and [`Kind::Size`].
    Number(u64),
    /// Of [`Kind::Switch`].
    Switch(bool),
    /// Of [`Kind::List`].
    List(Vec<String>),
    /// Of [`Kind::Pairs`].
    Pairs(Vec<(String, String)>),
    /// Of [`Kind::Path`].
    Path(PathBuf),
}

/// What a connector was told: a value for each of its settings that was given or has a preset.
///
/// To ask for a name that is not in the connector's list, or by the accessor of another kind, is the connector's own
/// mistake and panics.
#[derive(Debug, Clone)]
pub struct Settings {
    connector_name: String,
    known: &'static [Setting],
    values: BTreeMap<&'static str, Value>,
}

impl Settings {
    /// All presets, and nothing else yet.
    ///
    /// # Panics
    /// On a preset that is not of its setting's kind.
    pub fn new(connector_name: &str, known: &'static [Setting]) -> Self {
        let preset = |setting: &'static Setting| match setting.preset {
            Preset::Value(text) => {
                let value = setting.kind.read(text).unwrap_or_else(|allowed| {
                    panic!("the preset of {} is \"{text}\"; allowed: {allowed}", setting.name)
                });
                Some((setting.name, value))
            }
            Preset::Required | Preset::Without(_) => None,
        };
        let values = known.iter().filter_map(preset).collect();
        Self { connector_name: connector_name.to_owned(), known, values }
    }

    /// Presets, and over them these values, as they would be written in a flag. For tests of connectors.
    ///
    /// # Errors
    /// The first value that is not of its kind, or that is missing.
    pub fn of(
        connector_name: &str,
        known: &'static [Setting],
        given: &[(&str, &str)],
    ) -> Result<Self, Wrong> {
        let mut settings = Self::new(connector_name, known);
        for (name, text) in given {
            let setting = settings.setting(name);
            let value =
                setting.kind.read(text).map_err(|allowed| Wrong::value(setting.name, text, &allowed))?;
            settings.set(name, value);
        }
        let missing = |setting: &&Setting| {
            setting.preset == Preset::Required && !settings.values.contains_key(setting.name)
        };
        match known.iter().find(missing) {
            Some(setting) => Err(Wrong::new(setting.name, "is required")),
            None => Ok(settings),
        }
    }

    /// Puts a value in the place of what was there.
    pub fn set(&mut self, name: &str, value: Value) {
        let name = self.setting(name).name;
        self.values.insert(name, value);
    }

    /// The connector's logical name, which the user gives as `connectorName`: part of what its events are called, of the
    /// registry's keys and of group names.
    pub fn connector_name(&self) -> &str {
        &self.connector_name
    }

    /// A text, a word of a choice, or what has its own form; it is there because it is required or has a preset.
    pub fn text(&self, name: &str) -> &str {
        self.text_if(name).unwrap_or_else(|| absent(name))
    }

    /// The same, of a setting that may be absent.
    pub fn text_if(&self, name: &str) -> Option<&str> {
        self.get(name).map(|value| match value {
            Value::Text(text) => text.as_str(),
            _ => mistaken(name),
        })
    }

    /// A secret, empty where there is none.
    pub fn secret(&self, name: &str) -> &str {
        self.get(name).map_or("", |value| match value {
            Value::Secret(secret) => secret.expose(),
            _ => mistaken(name),
        })
    }

    /// A number or a size; it is there because it is required or has a preset.
    pub fn number(&self, name: &str) -> u64 {
        self.number_if(name).unwrap_or_else(|| absent(name))
    }

    /// The same, of a setting that may be absent.
    pub fn number_if(&self, name: &str) -> Option<u64> {
        self.get(name).map(|value| match value {
            Value::Number(number) => *number,
            _ => mistaken(name),
        })
    }

    /// A switch, off where there is none.
    pub fn switch(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| match value {
            Value::Switch(is_on) => *is_on,
            _ => mistaken(name),
        })
    }

    /// A list, empty where there is none.
    pub fn list(&self, name: &str) -> &[String] {
        self.get(name).map_or(&[], |value| match value {
            Value::List(items) => items.as_slice(),
            _ => mistaken(name),
        })
    }

    /// Pairs, none where there are none.
    pub fn pairs(&self, name: &str) -> &[(String, String)] {
        self.get(name).map_or(&[], |value| match value {
            Value::Pairs(pairs) => pairs.as_slice(),
            _ => mistaken(name),
        })
    }

    /// A path; it is there because it is required or has a preset. Absolute, wherever the user wrote it from.
    pub fn path(&self, name: &str) -> &Path {
        self.path_if(name).unwrap_or_else(|| absent(name))
    }

    /// The same, of a setting that may be absent.
    pub fn path_if(&self, name: &str) -> Option<&Path> {
        self.get(name).map(|value| match value {
            Value::Path(path) => path.as_path(),
            _ => mistaken(name),
        })
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(self.setting(name).name)
    }

    fn setting(&self, name: &str) -> &'static Setting {
        let found = self.known.iter().find(|setting| setting.name == name);
        found.unwrap_or_else(|| panic!("{name} is not in the connector's list of settings"))
    }
}

fn absent(name: &str) -> ! {
    panic!("{name} may be absent: ask for it by the accessor that says so")
}

fn mistaken(name: &str) -> ! {
    panic!("{name} is of another kind in the connector's list of settings")
}

/// What is wrong with a value, or with several together. It becomes one message with key, line and this text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The setting.
    pub setting: &'static str,
    /// What is wrong and what to write instead, to be read behind the setting's name.
    pub text: String,
}

impl Wrong {
    /// In the connector's own words.
    pub fn new(setting: &'static str, text: impl Into<String>) -> Self {
        Self { setting, text: text.into() }
    }

    /// A value that is not allowed. Not for secrets.
    pub fn value(setting: &'static str, value: &str, allowed: &str) -> Self {
        Self { setting, text: format!("\"{value}\" is not allowed; allowed: {allowed}") }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.setting, self.text)
    }
}

impl std::error::Error for Wrong {}

/// Plain bytes, or a whole number with a unit.
pub fn bytes(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 8] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("B", 1),
    ];
    let unit = UNITS.into_iter().find_map(|(unit, size)| {
        let at = text.len().checked_sub(unit.len())?;
        let tail = text.get(at..)?;
        tail.eq_ignore_ascii_case(unit).then(|| (&text[..at], size))
    });
    let (number, size) = unit.unwrap_or((text, 1));
    number.trim_end().parse::<u64>().ok()?.checked_mul(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Setting] = &[
        Setting::new("url", Kind::Text, Preset::Required, "where"),
        Setting::new("mode", Kind::Choice(&["a", "b"]), Preset::Value("b"), "how"),
        Setting::new("size", Kind::Size(1, 1 << 20), Preset::Value("4KiB"), "how much"),
        Setting::new("wait", Kind::Integer(1, 9), Preset::Without("for ever"), "how long"),
        Setting::new("token", Kind::Secret, Preset::Without("none"), "who"),
        Setting::new("names", Kind::List, Preset::Without("all"), "which"),
        Setting::new("map", Kind::Pairs, Preset::Without("none"), "what"),
        Setting::new("on", Kind::Switch, Preset::Value("true"), "whether"),
    ];

    #[test]
    fn values_are_read_by_their_kind_and_presets_hold_without_them() {
        let given = [("url", "u"), ("token", "t0p"), ("names", "a, b"), ("map", "x=y")];
        let settings = Settings::of("orders", KNOWN, &given).unwrap();
        assert_eq!((settings.text("url"), settings.text("mode")), ("u", "b"));
        assert_eq!((settings.number("size"), settings.number_if("wait")), (4096, None));
        assert_eq!((settings.secret("token"), settings.list("names").len()), ("t0p", 2));
        assert_eq!(settings.pairs("map"), [("x".to_owned(), "y".to_owned())]);
        assert!(settings.switch("on"));
        assert!(!format!("{settings:?}").contains("t0p"));
    }

    #[test]
    fn shared_settings_stand_before_ones_own() {
        const ALL: &[Setting] = &joined::<8>(KNOWN.split_at(3).0, KNOWN.split_at(3).1);
        assert_eq!(ALL, KNOWN);
    }

    #[test]
    fn what_is_not_allowed_names_the_setting_and_what_is() {
        for (name, text, expected) in [
            ("mode", "c", "mode \"c\" is not allowed; allowed: a, b"),
            ("size", "2MiB", "from 1 to 1MiB"),
            ("wait", "0", "a whole number from 1 to 9"),
            ("map", "x", "comma-separated from=to"),
            ("names", "a,,b", "a list"),
        ] {
            let wrong = Settings::of("orders", KNOWN, &[("url", "u"), (name, text)]).unwrap_err();
            assert!(wrong.to_string().contains(expected), "{wrong}");
        }
        assert_eq!(Settings::of("orders", KNOWN, &[]).unwrap_err().to_string(), "url is required");
    }

    #[test]
    fn a_size_is_bytes_or_a_number_with_a_unit() {
        for (text, expected) in [
            ("0", Some(0)),
            ("67108864", Some(64 << 20)),
            ("256MiB", Some(256 << 20)),
            ("64MB", Some(64_000_000)),
            ("1 gib", Some(1 << 30)),
            ("-1", None),
            ("MiB", None),
            ("1.5GiB", None),
            ("99999999999GiB", None),
            ("12é", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}
