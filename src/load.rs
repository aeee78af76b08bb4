//! From the command line to a checked configuration: gathers what is ambient and hands it to [`crate::config`].

use std::env;

use crate::cli::RunArgs;
use crate::config::{self, Config, Flag, Origin, Problem, Problems, Sources};
use crate::connectors::{self, Named};
use crate::exit::Ending;

/// Whether `--connector` must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// It says what to run.
    Required,
    /// Without it, it is mysql-cdc.
    Optional,
}

/// Loads the configuration and logs its warnings.
///
/// # Errors
/// Every problem of it. Of a connector that is not known no settings are known either: then that alone.
pub(crate) fn load(args: &RunArgs, flags: Vec<Flag>, naming: Naming) -> Result<Config, Ending> {
    let named = match (naming, &args.connector) {
        (_, Some(name)) => Named::parse(name).map_err(|text| (text, Origin::Flag("--connector".to_owned()))),
        (Naming::Optional, None) => Ok(Named::parse("mysql-cdc").expect("in every build")),
        (Naming::Required, None) => {
            Err((format!("is required; known: {}", connectors::known()), Origin::Default))
        }
    };
    let problem = |(text, origin)| Problems(vec![Problem { key: "--connector".to_owned(), text, origin }]);
    let config = config::load(named.map_err(problem)?, &sources(args, flags)?)?;
    config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    Ok(config)
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
