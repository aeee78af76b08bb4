//! spool-source: each file of a directory becomes an event, in the order of their names.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use flowd_source::{
    Connector, Context, Data, Event, EventSource, Events, Failure, Kind, Position, Preset, Progress, Setting,
    SourceEnd,
};

pub const CONNECTOR: Connector = Connector {
    name: "spool-source",
    help: "files of a directory, each an event, in the order of their names",
    settings: &[Setting::new("directory", Kind::Path, Preset::Required, "where files are moved to")],
    fields: &[],
    subject: Preset::Required,
    progress: Progress::Registry(|position| String::from_utf8_lossy(&position.0).into_owned()),
    open: |settings, context| {
        let directory = settings.path("directory").to_owned();
        Ok(Box::new(SpoolSource { directory, context, last: String::new() }))
    },
};

struct SpoolSource {
    directory: PathBuf,
    context: Context,
    /// The name of the last file that was read: the position.
    last: String,
}

impl EventSource for SpoolSource {
    fn start(&mut self, stored: Option<&Position>) -> Result<Position, Failure> {
        let stored = stored.cloned().unwrap_or_default();
        self.last = String::from_utf8_lossy(&stored.0).into_owned();
        self.names().map(|_| stored)
    }

    fn run(mut self: Box<Self>, out: &mut Events<'_>) -> Result<SourceEnd, Failure> {
        while out.flush().is_ok() && !self.context.stop.wait(Duration::from_millis(50)) {
            for name in self.names()? {
                let bytes = fs::read(self.directory.join(&name)).map_err(|error| self.unusable(&error))?;
                let topic = self.context.subject.topic(&[]);
                let event = Event::new(&name, "spool.file", &topic, Data::of(None, &bytes));
                if out.push(&event).is_err() {
                    return Ok(SourceEnd::Stopped);
                }
                out.mark(Position(name.clone().into()));
                self.last = name;
            }
        }
        Ok(SourceEnd::Stopped)
    }
}

impl SpoolSource {
    /// The files behind the last one.
    fn names(&self) -> Result<Vec<String>, Failure> {
        let entries = fs::read_dir(&self.directory).map_err(|error| self.unusable(&error))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| *name > self.last).collect();
        names.sort();
        Ok(names)
    }

    fn unusable(&self, error: &std::io::Error) -> Failure {
        Failure::Unusable(format!("{}: {error}", self.directory.display()))
    }
}
