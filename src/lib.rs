//! The parts of the `flowd` program, as a library for its tests and benchmarks.
//!
//! In the order of a run: [`cli`] reads the command line, [`config`] makes it, the environment and the file one
//! checked configuration, `run` joins source, engine and target, [`exit`] says how it all ends. [`mesh`] and [`tail`]
//! are the two subcommands that need no configuration.

use std::ffi::OsString;
use std::process::ExitCode;

pub mod cli;
pub mod config;
pub mod connectors;
pub mod exit;
pub mod logs;
pub mod mesh;
pub mod metrics;
pub mod progress;
pub mod signals;
pub mod tail;

mod check;
mod load;
mod position;
mod run;
mod service;
mod time;

use cli::{Command, CommandLine};
use exit::Ending;

/// The whole program: from the command line to the exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let started = cli::parse(arguments).and_then(|line| {
        logs::start(line.cli.log_format)?;
        logs::log_panics();
        Ok(line)
    });
    let result = started.map_err(Ending::from).and_then(dispatch);
    result.map_or_else(|ending| ending.report(), |()| ExitCode::SUCCESS)
}

fn dispatch(CommandLine { cli, flags }: CommandLine) -> Result<(), Ending> {
    let command = cli.into_command();
    let takes_keys = matches!(command, Command::Run(_) | Command::Position(_) | Command::Check(_));
    if let Some(flag) = flags.first()
        && !takes_keys
    {
        return Err(cli::usage(&format!("{} has no meaning with this subcommand", flag.typed)).into());
    }
    match command {
        Command::Run(args) => run::command(&args, flags)?,
        Command::Position(args) => position::command(&args, flags)?,
        Command::Check(args) => check::command(&args, flags)?,
        Command::Connectors => answer(&connectors::table())?,
        Command::Mesh(arguments) => mesh::command(&arguments)?,
        Command::Tail(arguments) => tail::command(&arguments)?,
    }
    Ok(())
}

/// Writes an answer to standard output. A reader that has gone away wants no more of it.
fn answer(text: &str) -> Result<(), Ending> {
    use std::io::{ErrorKind, Write, stdout};
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Ending::Fatal(format!("standard output cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}
