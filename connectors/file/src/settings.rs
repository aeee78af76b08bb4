//! What file-source is told.

use std::time::Duration;

use flowd_source::{Kind, Preset, Setting, Settings, Wrong};
use glob::Pattern;

/// The settings, in the order in which they are best written.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting::new(
        "paths",
        Kind::List,
        Preset::Required,
        "files, or patterns of them: `*` and `?` within a name, `**` for directories of any depth, `[abc]`",
    ),
    Setting::new("exclude", Kind::List, Preset::Without("nothing"), "patterns of files that are left out"),
    Setting::new(
        "format",
        Kind::Choice(&["lines", "json", "cloudevents"]),
        Preset::Value("lines"),
        "what a line is: a text, a JSON value that becomes the data, or a whole CloudEvent",
    ),
    Setting::new(
        "type",
        Kind::Text,
        Preset::Value("flowd.file.line"),
        "the events' type; not of cloudevents",
    ),
    Setting::new(
        "key",
        Kind::Form("the name of a member"),
        Preset::Without("no key"),
        "with format: json, the member whose value is the events' order key, partitionkey",
    ),
    Setting::new(
        "startAt",
        Kind::Choice(&["beginning", "end"]),
        Preset::Value("beginning"),
        "where a first start begins in the files that are there; one that comes later is read whole",
    ),
    Setting::new(
        "follow",
        Kind::Switch,
        Preset::Value("true"),
        "wait for more; false: finish once every file is acknowledged up to its end",
    ),
    Setting::new(
        "lineBytes",
        Kind::Size(1 << 10, 64 << 20),
        Preset::Value("1MiB"),
        "a longer line is rejected, by pipeline.onReject",
    ),
    Setting::new(
        "pollMs",
        Kind::Integer(10, 60_000),
        Preset::Value("200"),
        "how often files are looked at while nothing comes, ms",
    ),
];

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Lines,
    Json,
    CloudEvents,
}

/// The same, read.
#[derive(Debug, Clone)]
pub(crate) struct FileSettings {
    pub(crate) patterns: Vec<Pattern>,
    pub(crate) exclude: Vec<Pattern>,
    pub(crate) format: Format,
    pub(crate) kind: String,
    pub(crate) key: Option<String>,
    pub(crate) from_end: bool,
    pub(crate) follow: bool,
    pub(crate) line_bytes: usize,
    pub(crate) poll: Duration,
}

impl FileSettings {
    /// Judges what was written.
    pub(crate) fn read(settings: &Settings) -> Result<Self, Wrong> {
        let format = match settings.text("format") {
            "json" => Format::Json,
            "cloudevents" => Format::CloudEvents,
            _ => Format::Lines,
        };
        let key = settings.text_if("key").map(str::to_owned);
        if key.is_some() && format != Format::Json {
            return Err(Wrong::new("key", "names a member of JSON lines: it needs format: json"));
        }
        let patterns = read_patterns(settings, "paths")?;
        if patterns.is_empty() {
            return Err(Wrong::new("paths", "is empty: it needs at least one file or pattern"));
        }
        Ok(Self {
            patterns,
            exclude: read_patterns(settings, "exclude")?,
            format,
            kind: settings.text("type").to_owned(),
            key,
            from_end: settings.text("startAt") == "end",
            follow: settings.switch("follow"),
            line_bytes: usize::try_from(settings.number("lineBytes")).unwrap_or(usize::MAX),
            poll: Duration::from_millis(settings.number("pollMs")),
        })
    }
}

fn read_patterns(settings: &Settings, name: &'static str) -> Result<Vec<Pattern>, Wrong> {
    let read = |text: &String| {
        Pattern::new(text).map_err(|error| Wrong::new(name, format!("\"{text}\" is no pattern: {error}")))
    };
    settings.list(name).iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &[(&str, &str)]) -> Result<FileSettings, Wrong> {
        FileSettings::read(&Settings::of("logs", SETTINGS, given)?)
    }

    #[test]
    fn presets_are_enough_beside_the_paths() {
        let settings = read(&[("paths", "/var/log/*.log, b")]).unwrap();
        assert_eq!((settings.patterns.len(), settings.format, settings.follow), (2, Format::Lines, true));
        assert!(!settings.from_end && settings.line_bytes == 1 << 20);
    }

    #[test]
    fn what_does_not_go_together_is_told() {
        for (given, setting) in [
            (&[("paths", "/tmp/[")][..], "paths"),
            (&[("paths", "")], "paths"),
            (&[("paths", "a"), ("exclude", "***")], "exclude"),
            (&[("paths", "a"), ("key", "id")], "key"),
        ] {
            assert_eq!(read(given).unwrap_err().setting, setting);
        }
    }
}
