//! Reads the command line and the settings when a program starts. If settings are wrong, prints all problems and ends
//! the program with exit code 2.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command, FromArgMatches, Parser, Subcommand};

use super::{
    declaration::{SettingDeclaration, declared_settings, with_file_arguments},
    problem::{Check, Problem},
    resolve::{Environment, ResolvedSettings, resolve_settings},
    unknown_variables::unknown_variable_warnings,
};

const CHECK_CONFIG: &str = "check-config";
const EXIT_WRONG_SETTINGS: i32 = 2;

/// The action that the command line requests.
#[derive(Debug)]
pub enum Invocation<S, T> {
    /// The program runs the service. It must write the warnings into the log after it has started the log.
    Serve { settings: Box<S>, warnings: Vec<String> },
    /// The program runs a subcommand.
    Task(Box<T>),
}

/// Builds the clap command of a service, with its settings `S` and its subcommands `T`.
pub fn command<S: Parser, T: Subcommand>() -> Command {
    let check = Arg::new(CHECK_CONFIG)
        .long(CHECK_CONFIG)
        .action(ArgAction::SetTrue)
        .help("Check all settings, print `ok` or what is wrong with them, and start nothing");
    let service = S::command().arg(check);
    let about = service.get_about().cloned().unwrap_or_default();
    // `augment_subcommands` replaces the description of the command, so the description is set again.
    let command = T::augment_subcommands(service).about(about);
    with_file_arguments(command.subcommand_negates_reqs(true).args_conflicts_with_subcommands(true))
}

/// Reads the command line and the settings of a service. Ends the program if a setting is wrong, and after
/// `--check-config`.
#[must_use]
pub fn parse_invocation<S: Parser + Check, T: Subcommand + Check>() -> Invocation<S, T> {
    let (command, environment) = (command::<S, T>(), std::env::vars_os().collect());
    let name = command.get_name().to_owned();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let mut resolved =
        resolve_settings(&command, &arguments, &environment).unwrap_or_else(|error| error.exit());
    if !resolved.subcommands.is_empty() {
        return Invocation::Task(Box::new(parse_subcommand(&command, &arguments, &resolved)));
    }
    let checked = resolved.set_defaults_of(command.clone()).try_get_matches_from([&name]);
    let mut settings =
        checked.and_then(|matches| S::from_arg_matches(&matches)).unwrap_or_else(|error| error.exit());
    settings.set_secret_files(std::mem::take(&mut resolved.secret_files));
    resolved.problems.extend(add_variables(&command, settings.check(), &resolved.problems));
    exit_on_problems(&name, &resolved.problems);
    let warnings =
        unknown_variable_warnings(&environment, all_settings(&command).iter().map(|it| it.variable.as_str()));
    if resolved.matches.get_flag(CHECK_CONFIG) {
        for warning in warnings {
            eprintln!("{name}: warning: {warning}");
        }
        println!("ok");
        std::process::exit(0);
    }
    Invocation::Serve { settings: Box::new(settings), warnings }
}

/// Reads the command line and the settings of a program that only has subcommands.
#[must_use]
pub fn parse_task<T: Parser + Check>() -> T {
    let (command, environment): (_, Environment) =
        (with_file_arguments(T::command()), std::env::vars_os().collect());
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let resolved = resolve_settings(&command, &arguments, &environment).unwrap_or_else(|error| error.exit());
    parse_subcommand(&command, &arguments, &resolved)
}

/// Parses the subcommand on the command line, and ends the program if a setting of it is wrong.
fn parse_subcommand<T: FromArgMatches + Check>(
    command: &Command,
    arguments: &[OsString],
    resolved: &ResolvedSettings,
) -> T {
    let name = command.get_name();
    let matches = resolved.set_defaults_of(command.clone()).try_get_matches_from(arguments);
    let task = matches.and_then(|matches| T::from_arg_matches(&matches));
    let unused = task.as_ref().map_or(&[][..], T::unused_settings);
    let is_used = |problem: &&Problem| !unused.contains(&problem.setting.as_str());
    exit_on_problems(name, &resolved.problems.iter().filter(is_used).cloned().collect::<Vec<_>>());
    let task = task.unwrap_or_else(|error| error.exit());
    exit_on_problems(name, &add_variables(command, task.check(), &[]));
    task
}

/// Adds to each problem the variable of its setting. Leaves out settings that already have a problem in `reported`.
fn add_variables(command: &Command, problems: Vec<Problem>, reported: &[Problem]) -> Vec<Problem> {
    // If the file of a secret cannot be read, only the file is reported, because the secret has no value to check.
    let is_file_of = |flag: &str, setting: &str| flag.strip_suffix("-file") == Some(setting);
    let is_reported = |problem: &Problem| {
        reported.iter().any(|it| it.setting == problem.setting || is_file_of(&it.setting, &problem.setting))
    };
    let declared = all_settings(command);
    let variable = |problem: &Problem| {
        declared.iter().find(|it| it.flag == problem.setting).map(|it| it.variable.clone())
    };
    let problems = problems.into_iter().filter(|problem| !is_reported(problem));
    problems.map(|problem| Problem { variable: variable(&problem), ..problem }).collect()
}

/// The settings of a command and of all its subcommands.
fn all_settings(command: &Command) -> Vec<SettingDeclaration> {
    declared_settings(command).chain(command.get_subcommands().flat_map(all_settings)).collect()
}

/// Prints the problems and ends the program, if there are any.
fn exit_on_problems(name: &str, problems: &[Problem]) {
    if problems.is_empty() {
        return;
    }
    for problem in problems {
        eprintln!("{name}: {problem}");
    }
    std::process::exit(EXIT_WRONG_SETTINGS);
}
