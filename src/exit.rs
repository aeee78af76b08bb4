//! How the process ends: the exit codes, and what maps to them.

use std::io::Write;
use std::process::ExitCode;

use flowd_engine::failure::Failure;
use flowd_engine::pipeline::Outcome;

use crate::config::Problems;

/// Why the program ends without having done what it was asked to.
#[derive(Debug)]
pub enum Ending {
    /// The command line, as clap words it (help and version too, with their own code).
    Usage(clap::Error),
    /// The configuration: exit code 2.
    Configuration(Problems),
    /// The configuration does not fit what is there: exit code 2.
    Misfit(String),
    /// Source or target not usable at start, or a position that cannot be had: exit code 3.
    Unusable(String),
    /// A fatal error while running: exit code 4.
    Fatal(String),
    /// The drain bound passed: exit code 5.
    DrainTimedOut,
}

impl Ending {
    /// The process's exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Usage(error) => u8::try_from(error.exit_code()).unwrap_or(2),
            Self::Configuration(_) | Self::Misfit(_) => 2,
            Self::Unusable(_) => 3,
            Self::Fatal(_) => 4,
            Self::DrainTimedOut => 5,
        }
    }

    /// Tells the user and gives the exit code. Help goes to standard output, everything else to standard error.
    #[allow(
        clippy::print_stderr,
        reason = "wrong usage and configuration are answers, in plain text as clap's own"
    )]
    pub fn report(&self) -> ExitCode {
        match self {
            // Nothing can be done about a closed stream, and the code says enough.
            Self::Usage(error) => drop(error.print()),
            Self::Configuration(problems) => {
                eprintln!("flowd: the configuration cannot be used:\n{problems}");
            }
            Self::Misfit(text) | Self::Unusable(text) | Self::Fatal(text) => tracing::error!("{text}"),
            Self::DrainTimedOut => {
                tracing::error!("not everything was acknowledged within pipeline.drainMs; what was is saved");
            }
        }
        ExitCode::from(self.code())
    }
}

impl From<clap::Error> for Ending {
    fn from(error: clap::Error) -> Self {
        Self::Usage(error)
    }
}

impl From<Problems> for Ending {
    fn from(problems: Problems) -> Self {
        Self::Configuration(problems)
    }
}

/// What may heal has had its time when it comes here: at a start it makes the source or target unusable.
impl From<Failure> for Ending {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Retry(text) | Failure::Unusable(text) => Self::Unusable(text),
            Failure::Configuration(text) => Self::Misfit(text),
            Failure::Fatal(text) => Self::Fatal(text),
        }
    }
}

/// How a run's end maps: a clean end is no [`Ending`].
pub fn of_run(result: Result<Outcome, Failure>) -> Result<(), Ending> {
    match result {
        Ok(Outcome::Reached | Outcome::Stopped) => Ok(()),
        Ok(Outcome::DrainTimedOut) => Err(Ending::DrainTimedOut),
        Err(Failure::Retry(text)) => Err(Ending::Fatal(text)),
        Err(failure) => Err(failure.into()),
    }
}

/// Ends the process at once, without waiting for threads or for what libraries do at exit.
pub fn at_once(code: u8) -> ! {
    // Whatever cannot be flushed is lost with the process either way.
    drop(std::io::stderr().flush());
    // SAFETY: `_exit` takes any number, touches no memory of ours and does not return.
    unsafe { libc::_exit(i32::from(code)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_has_the_exit_code_of_the_manual() {
        let code = |result| of_run(result).map_or_else(|ending| ending.code(), |()| 0);
        assert_eq!(code(Ok(Outcome::Reached)), 0);
        assert_eq!(code(Ok(Outcome::Stopped)), 0);
        assert_eq!(code(Ok(Outcome::DrainTimedOut)), 5);
        assert_eq!(code(Err(Failure::Unusable("x".into()))), 3);
        assert_eq!(code(Err(Failure::Fatal("x".into()))), 4);
        assert_eq!(Ending::from(Failure::Retry("x".into())).code(), 3);
        assert_eq!(Ending::from(Failure::Configuration("x".into())).code(), 2);
        assert_eq!(Ending::from(Problems::default()).code(), 2);
        assert_eq!(Ending::from(crate::cli::usage("x")).code(), 2);
    }
}
