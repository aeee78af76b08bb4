//! From the command line to a checked configuration: gathers what is ambient and hands it to [`crate::config`].

use std::env;

use crate::cli::RunArgs;
use crate::config::{self, Config, Flag, Origin, Problem, Problems, Sources};
use crate::connectors;
use crate::exit::Ending;

/// Whether `--connector` must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// It says what to run.
    Required,
    /// There is only one that it could be.
    Optional,
}

/// Loads the configuration and logs its warnings.
///
/// # Errors
/// Every problem of it, an unknown connector too.
pub(crate) fn load(args: &RunArgs, flags: Vec<Flag>, naming: Naming) -> Result<Config, Ending> {
    let named = match (naming, &args.connector) {
        (Naming::Optional, None) => Ok(()),
        (_, name) => connectors::check(name.as_deref()),
    };
    let mut problems = Problems::default();
    if let Err(text) = named {
        let origin = match &args.connector {
            Some(_) => Origin::Flag("--connector".to_owned()),
            None => Origin::Default,
        };
        problems.0.push(Problem { key: "--connector".to_owned(), text, origin });
    }
    let config = config::load(&sources(args, flags)?);
    match config {
        Ok(config) if problems.0.is_empty() => {
            config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            Ok(config)
        }
        Ok(_) => Err(problems.into()),
        Err(found) => {
            problems.0.extend(found.0);
            Err(problems.into())
        }
    }
}

fn sources(args: &RunArgs, mut flags: Vec<Flag>) -> Result<Sources, Ending> {
    flags.extend(args.settings.short.0.iter().cloned());
    let here = env::current_dir();
    let working_directory =
        here.map_err(|error| Ending::Unusable(format!("the working directory cannot be had: {error}")))?;
    // Variables that are no UTF-8 cannot hold a setting; they may be anybody's.
    let readable = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    let environment = env::vars_os().filter_map(readable).collect();
    Ok(Sources { file: args.settings.config.clone(), environment, flags, working_directory })
}
