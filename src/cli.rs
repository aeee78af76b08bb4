//! The command line: what may be typed, with its help. It decides nothing; it hands [`Flag`]s to the configuration.
//!
//! `--section.key=VALUE` flags are taken out before clap sees the rest, because their names are the configuration's
//! to judge: a wrong one is told with the nearest right one, together with all other problems.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::config::{Flag, setting};
use crate::mesh::MeshArguments;
use crate::tail::TailArguments;

const AFTER_HELP: &str = "\
Every key of the configuration can be given three ways; the first one wins:
  a flag           --connectorConfig.hostname=db1
  a variable       FLOWD_CONNECTORCONFIG_HOSTNAME=db1
  the file         connectorConfig: {hostname: db1}
`flowd connectors` shows every key, its default and what it may be. Secrets may be written ${VAR} or file:PATH.
FLOWD_LOG (or RUST_LOG) filters the logs: info, debug, flowd_mysql=debug, …

Exit codes: 0 finished or stopped cleanly; 2 configuration; 3 source or target not usable at start;
4 fatal error while running; 5 the drain bound passed; 128 + n after a second signal n.";

/// Copies a database's rows, streams its changes and takes messages of other systems to Apache EventMesh as CloudEvents,
/// and brings them from there into databases, brokers, files and HTTP services.
#[derive(Debug, Parser)]
#[command(name = "flowd", version, after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// How logs on standard error look [default: human on a terminal, else json]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    #[command(flatten)]
    run: RunArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

impl Cli {
    /// What is to be done; without a subcommand it is `run`.
    pub fn into_command(self) -> Command {
        self.command.unwrap_or(Command::Run(self.run))
    }
}

/// How logs look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
}

/// What flowd can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the connector: a source reads the rows that are there (snapshotMode), then streams changes; a sink applies what
    /// its topics bring; until stopped (the same as without a subcommand)
    #[command(after_help = AFTER_HELP)]
    Run(RunArgs),
    /// Print how far the flow has come: read, emitted and acknowledged, as of the last checkpoint
    Position(PositionArgs),
    /// Tell what the source or the sink's target lacks, each with the statement or the configuration line that mends it
    Check(RunArgs),
    /// Print the table of connectors and targets and of every setting
    Connectors,
    /// Run the embedded EventMesh-compatible server on its own (for first runs, tests and benchmarks)
    Mesh(MeshArguments),
    /// Subscribe to a topic and print its events, one a line
    Tail(TailArguments),
}

/// Arguments of `flowd run` and `flowd check`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The connector, as `flowd connectors` lists them
    #[arg(long, value_name = "NAME")]
    pub connector: Option<String>,
    /// What it is told.
    #[command(flatten)]
    pub settings: SettingArgs,
}

/// Where the configuration comes from.
#[derive(Debug, Args)]
pub struct SettingArgs {
    /// The configuration file, YAML or JSON
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Over it, the short flags.
    #[command(flatten)]
    pub short: ShortFlags,
}

/// Arguments of `flowd position`.
#[derive(Debug, Args)]
pub struct PositionArgs {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Whose position.
    #[command(flatten)]
    pub run: RunArgs,
}

/// The short flags, made from the table of settings: each is an alias of a key.
#[derive(Debug, Default)]
pub struct ShortFlags(pub Vec<Flag>);

impl Args for ShortFlags {
    fn augment_args(command: clap::Command) -> clap::Command {
        setting::with_flag().fold(command, |command, (flag, setting)| {
            let default = match setting.preset {
                setting::Preset::Value(text) => format!(" [default: {text}]"),
                setting::Preset::Required | setting::Preset::Without(_) => String::new(),
            };
            let arg = Arg::new(flag).long(flag).action(ArgAction::Set).value_name("VALUE");
            let help = format!("{}{default} ({})", setting.help, setting.kind);
            let arg = arg.help(help).help_heading("Pipeline");
            command.arg(match setting.kind {
                // A flag behind a bare switch is the next flag.
                setting::Kind::Switch => arg.num_args(0..=1).default_missing_value("true"),
                _ => arg.allow_hyphen_values(true),
            })
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ShortFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for (flag, setting) in setting::with_flag() {
            if let Some(value) = matches.get_one::<String>(flag) {
                self.0.push(Flag {
                    typed: format!("--{flag}"),
                    section: setting.section.name().to_owned(),
                    key: setting.name.to_owned(),
                    value: value.clone(),
                });
            }
        }
        Ok(())
    }
}

/// The command line, with the keys that were set on it.
#[derive(Debug)]
pub struct CommandLine {
    /// What clap made of the rest.
    pub cli: Cli,
    /// The `--section.key` flags.
    pub flags: Vec<Flag>,
}

/// Reads the command line.
///
/// # Errors
/// What clap says, help and version included; its exit code and its stream are right.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<CommandLine, clap::Error> {
    let (rest, flags) = take_key_flags(arguments)?;
    let cli = Cli::try_parse_from(rest)?;
    Ok(CommandLine { cli, flags })
}

/// Takes `--section.key=VALUE` and `--section.key VALUE` out.
fn take_key_flags(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<(Vec<OsString>, Vec<Flag>), clap::Error> {
    let mut rest = Vec::new();
    let mut flags = Vec::new();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            rest.push(argument);
            rest.extend(arguments.by_ref());
            break;
        }
        let Some((name, value)) = key_flag(&argument) else {
            rest.push(argument);
            continue;
        };
        let value = match value {
            Some(value) => value,
            None => match arguments.next().map(OsString::into_string) {
                Some(Ok(value)) if !value.starts_with("--") => value,
                _ => return Err(usage(&format!("--{name} needs a value: --{name}=VALUE"))),
            },
        };
        let (section, key) = name.split_once('.').expect("a key flag has a dot");
        let (section, key) = (section.to_owned(), key.to_owned());
        flags.push(Flag { typed: format!("--{name}"), section, key, value });
    }
    Ok((rest, flags))
}

/// The name, and the value if it stands in the same argument, of `--section.key[=VALUE]`.
fn key_flag(argument: &OsString) -> Option<(String, Option<String>)> {
    let text = argument.to_str()?.strip_prefix("--")?;
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    let starts = name.starts_with(|first: char| first.is_ascii_alphabetic());
    (starts && name.contains('.')).then(|| (name.to_owned(), value))
}

/// An error of use, as clap prints its own.
pub fn usage(text: &str) -> clap::Error {
    clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{text}\n"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parsed(line: &str) -> CommandLine {
        parse(line.split_whitespace().map(OsString::from)).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    fn run_args(line: &str) -> (RunArgs, Vec<Flag>) {
        let CommandLine { cli, flags } = parsed(line);
        match cli.into_command() {
            Command::Run(run) => (run, flags),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_command_is_well_formed_and_every_short_flag_is_in_its_help() {
        Cli::command().debug_assert();
        let help = Cli::command().render_long_help().to_string();
        for (flag, _) in setting::with_flag() {
            assert!(help.contains(&format!("--{flag} ")), "{flag} in {help}");
        }
    }

    #[test]
    fn without_a_subcommand_it_is_run() {
        for line in ["flowd --connector mysql-cdc --config f", "flowd run --connector mysql-cdc --config f"] {
            let (run, _) = run_args(line);
            assert_eq!(run.connector.as_deref(), Some("mysql-cdc"));
            assert_eq!(run.settings.config, Some(PathBuf::from("f")));
        }
    }

    #[test]
    fn key_flags_take_their_value_in_both_notations_anywhere() {
        let line = "flowd --pipeline.memory=1=2 run --config f --connectorConfig.hostname db --memory 64MiB";
        let (run, flags) = run_args(line);
        let shown: Vec<_> = flags.iter().map(|flag| (flag.key.as_str(), flag.value.as_str())).collect();
        assert_eq!(shown, [("memory", "1=2"), ("hostname", "db")]);
        assert_eq!(run.settings.config, Some(PathBuf::from("f")));
        let short = &run.settings.short.0[0];
        assert_eq!(
            (short.typed.as_str(), short.key.as_str(), short.value.as_str()),
            ("--memory", "memory", "64MiB")
        );
    }

    #[test]
    fn a_bare_switch_does_not_take_the_flag_behind_it() {
        let (run, _) = run_args("flowd --clock-fields --stop-at end");
        let shown: Vec<_> =
            run.settings.short.0.iter().map(|flag| (flag.typed.as_str(), flag.value.as_str())).collect();
        assert!(
            shown.contains(&("--clock-fields", "true")) && shown.contains(&("--stop-at", "end")),
            "{shown:?}"
        );
    }

    #[test]
    fn a_key_flag_without_value_is_an_error_of_use() {
        for line in ["flowd --pipeline.memory", "flowd --pipeline.memory --config f"] {
            let error = parse(line.split_whitespace().map(OsString::from)).expect_err("no value");
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains("--pipeline.memory=VALUE"), "{error}");
        }
    }

    #[test]
    fn an_address_without_a_port_is_an_error_of_use() {
        for line in ["flowd mesh --listen nonsense", "flowd tail --topic t --mesh host"] {
            let error = parse(line.split_whitespace().map(OsString::from)).expect_err("no port");
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains("host:port"), "{error}");
        }
    }

    #[test]
    fn the_log_format_may_stand_with_any_subcommand() {
        for line in ["flowd --log-format json", "flowd mesh --log-format json", "flowd run --log-format=json"]
        {
            assert_eq!(parsed(line).cli.log_format, Some(LogFormat::Json));
        }
    }
}
