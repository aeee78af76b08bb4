//! How a program of measurements ends: with exit code 0, or with what went wrong under its name.

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

/// Why a measurement ended early.
pub(crate) type Failure = Box<dyn Error>;

/// Runs a program by its arguments.
pub(crate) fn of<Arguments: Parser>(run: impl FnOnce(&Arguments) -> Result<(), Failure>) -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}: {failure}", Arguments::command().get_name());
            ExitCode::FAILURE
        }
    }
}
