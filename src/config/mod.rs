//! Configuration: raw text becomes the resolved [`Config`] once; after that nothing is checked again or optional
//! without meaning.
//!
//! The file (YAML or JSON), over it the environment (`FLOWD_SECTION_KEY`), over it the flags (`--section.key=VALUE`
//! and the short ones). Problems are collected and reported together, each with its key, its value (never a
//! secret's), what is allowed and where it stands. Nothing is opened here except the files that the configuration
//! itself is made of.

mod document;
mod expand;
mod foreign;
mod given;
mod nearest;
mod problem;
mod resolve;
pub mod setting;
mod unknown;
mod values;

use std::path::{Path, PathBuf};

pub use self::given::Flag;
pub use self::problem::{Origin, Problem, Problems};
pub(crate) use self::resolve::parse_address;
pub use self::resolve::{
    Applied, Batching, Config, Connector, Delivery, MeshAddress, Messages, OffsetStorage, OnReject, Order,
    Outward, Pipeline, PubSub, Publishing, Reading, Source, Stream, Target,
};

use self::given::Layers;
use self::values::Values;
use crate::connectors::Named;

/// A configuration file larger than this is none, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The key of problems with the file as a whole.
const FILE: &str = "--config";

/// Where a configuration comes from. Everything ambient is passed in.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file of `--config`.
    pub file: Option<PathBuf>,
    /// The process's environment.
    pub environment: Vec<(String, String)>,
    /// The flags that set keys, as typed.
    pub flags: Vec<Flag>,
    /// From where relative paths of flags and variables count.
    pub working_directory: PathBuf,
}

/// Reads and checks all of it, for this connector.
///
/// # Errors
/// Every problem that there is, in the order: file, environment, flags, then by the table.
pub fn load(connector: Named, sources: &Sources) -> Result<Config, Problems> {
    let mut layers = Layers::new(connector);
    let mut file_directory = sources.working_directory.clone();
    if let Some(path) = &sources.file {
        let full = sources.working_directory.join(path);
        file_directory = full.parent().unwrap_or(Path::new("/")).to_owned();
        read_file(&full, path, &mut layers);
        // Of a file that cannot be read, what it does not say is no news.
        if layers.problems.0.iter().any(|problem| problem.key == FILE) {
            return Err(layers.problems);
        }
    }
    layers.environment(&sources.environment);
    layers.flags(&sources.flags);
    let lookup = |name: &str| {
        sources.environment.iter().find(|(variable, _)| variable == name).map(|(_, value)| value.clone())
    };
    let mut values = Values::new(&layers, file_directory, sources.working_directory.clone(), &lookup);
    let mut config = resolve::resolve(&mut values);
    let resolving = values.problems;
    let Layers { warnings, mut problems, .. } = layers;
    problems.0.extend(resolving.0);
    config.warnings.splice(..0, warnings);
    if problems.0.is_empty() { Ok(config) } else { Err(problems) }
}

fn read_file(full: &Path, shown: &PathBuf, layers: &mut Layers) {
    let whole = || Origin::File(shown.clone(), 0);
    let size = std::fs::metadata(full).map(|metadata| metadata.len());
    if let Ok(size) = size
        && size > FILE_BYTES_MAX
    {
        let text = format!("the file has {size} bytes; allowed: at most {FILE_BYTES_MAX}");
        return layers.problems.push(FILE, text, whole());
    }
    let text = match std::fs::read_to_string(full) {
        Ok(text) => text,
        Err(error) => return layers.problems.push(FILE, format!("cannot read it: {error}"), whole()),
    };
    match document::parse(&text) {
        Ok(entries) => layers.file(shown, entries),
        Err(document::Malformed { text, line }) => {
            layers.problems.push(FILE, text, Origin::File(shown.clone(), line));
        }
    }
}

#[cfg(test)]
mod tests;
