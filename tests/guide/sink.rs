//! spool-sink: each event becomes a file of a directory, called as its topic and id.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use flowd_engine::failure::Failure;
use flowd_engine::setting::{Kind, Preset, Setting};
use flowd_sink::deliver::{Connector, DeliverEvent, EventSink, Opened, Refused};

pub const CONNECTOR: Connector = Connector {
    name: "spool-sink",
    help: "a directory in which each event is a file",
    settings: &[Setting::new("directory", Kind::Path, Preset::Required, "where files are written")],
    open: |settings, _context| {
        let directory = settings.path("directory").to_owned();
        Ok(Opened::Events(Box::new(SpoolSink { directory })))
    },
};

struct SpoolSink {
    directory: PathBuf,
}

impl EventSink for SpoolSink {
    fn start(&mut self) -> Result<(), Failure> {
        let read = fs::read_dir(&self.directory).map(drop);
        read.map_err(|error| Failure::Unusable(format!("{}: {error}", self.directory.display())))
    }

    fn put(&mut self, events: &[DeliverEvent<'_>]) -> Result<Vec<Refused>, Failure> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let mut refused = Vec::new();
        for (index, event) in events.iter().enumerate() {
            if event.id.len() > 64 || !event.id.chars().all(is_plain) {
                refused.push(Refused { index, reason: "its id can be no file name".to_owned() });
            } else {
                self.write(event).map_err(|error| self.retry(&error))?;
            }
        }
        // The names are durable once the directory is.
        File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| self.retry(&error))?;
        Ok(refused)
    }
}

impl SpoolSink {
    /// Writes one event, durably. One that comes again writes the same file.
    fn write(&self, event: &DeliverEvent<'_>) -> io::Result<()> {
        let mut file = File::create(self.directory.join(format!("{}.{}", event.topic, event.id)))?;
        file.write_all(event.json)?;
        file.sync_all()
    }

    /// A full disk may be emptied.
    fn retry(&self, error: &io::Error) -> Failure {
        Failure::Retry(format!("{}: {error}", self.directory.display()))
    }
}
