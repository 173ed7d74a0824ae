//! The start of a program: what it was asked for, with settings that are all checked, or all problems told. Ends the
//! program by itself when it cannot do what was asked; a wrong setting is exit code 2.

use std::{collections::BTreeSet, ffi::OsString};

use clap::{Arg, ArgAction, Command, Parser, Subcommand};

use super::{
    declared::{settings, with_files},
    problem::{Check, Problem},
    resolve::{Environment, Resolved, resolve},
    unknown::unknown,
};

const CHECK_CONFIG: &str = "check-config";
/// Of a program that was told to do what it cannot.
const WRONG: i32 = 2;

/// What a program was asked for.
#[derive(Debug)]
pub enum Asked<S, T> {
    /// To serve. The warnings are for the log, which is not there yet.
    Serve { settings: Box<S>, warnings: Vec<String> },
    /// One of its subcommands.
    Task(Box<T>),
}

/// The whole command of a service: its settings, and its subcommands.
#[must_use]
pub fn command<S: Parser, T: Subcommand>() -> Command {
    let check = Arg::new(CHECK_CONFIG)
        .long(CHECK_CONFIG)
        .action(ArgAction::SetTrue)
        .help("Check all settings, print `ok` or what is wrong with them, and start nothing");
    let service = S::command().arg(check);
    let about = service.get_about().cloned().unwrap_or_default();
    // What stands over the subcommands would be in its place.
    let command = T::augment_subcommands(service).about(about);
    with_files(command.subcommand_negates_reqs(true).args_conflicts_with_subcommands(true))
}

/// Reads what a service was asked for.
#[must_use]
pub fn ask<S: Parser + Check, T: Subcommand + Check>() -> Asked<S, T> {
    let (command, environment) = (command::<S, T>(), std::env::vars_os().collect());
    let name = command.get_name().to_owned();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let mut resolved = resolve(&command, &arguments, &environment).unwrap_or_else(|error| error.exit());
    if !resolved.path.is_empty() {
        return Asked::Task(Box::new(task(command, &arguments, &resolved)));
    }
    let checked = resolved.given_to(command.clone()).try_get_matches_from([&name]);
    let settings =
        checked.and_then(|matches| S::from_arg_matches(&matches)).unwrap_or_else(|error| error.exit());
    resolved.problems.extend(named(&command, settings.check(), &resolved.problems));
    end_with(&name, &resolved.problems);
    let warnings = unknown(&environment, &variables(&command));
    if resolved.matches.get_flag(CHECK_CONFIG) {
        for warning in warnings {
            eprintln!("{name}: warning: {warning}");
        }
        println!("ok");
        std::process::exit(0);
    }
    Asked::Serve { settings: Box::new(settings), warnings }
}

/// Reads what a program was asked for that does nothing but tasks.
#[must_use]
pub fn ask_task<T: Parser + Check>() -> T {
    let (command, environment): (_, Environment) = (with_files(T::command()), std::env::vars_os().collect());
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let resolved = resolve(&command, &arguments, &environment).unwrap_or_else(|error| error.exit());
    let (name, checked) = (command.get_name().to_owned(), resolved.given_to(command.clone()));
    end_with(&name, &resolved.problems);
    let matches = checked.try_get_matches_from(&arguments);
    let task = matches.and_then(|matches| T::from_arg_matches(&matches)).unwrap_or_else(|error| error.exit());
    end_with(&name, &named(&command, task.check(), &[]));
    task
}

fn task<T: Subcommand + Check>(command: Command, arguments: &[OsString], resolved: &Resolved) -> T {
    let name = command.get_name().to_owned();
    end_with(&name, &resolved.problems);
    let matches = resolved.given_to(command.clone()).try_get_matches_from(arguments);
    let task = matches.and_then(|matches| T::from_arg_matches(&matches)).unwrap_or_else(|error| error.exit());
    end_with(&name, &named(&command, task.check(), &[]));
    task
}

/// The problems with their variables, without those of settings that have one `already`.
fn named(command: &Command, problems: Vec<Problem>, already: &[Problem]) -> Vec<Problem> {
    // A secret whose file cannot be read has no value that could be wrong too.
    let of_file = |told: &str, setting: &str| told.strip_suffix("-file") == Some(setting);
    let told = |problem: &Problem| {
        already.iter().any(|it| it.setting == problem.setting || of_file(&it.setting, &problem.setting))
    };
    let variable = |problem: &Problem| {
        every(command, &|command| settings(command).find(|it| it.flag == problem.setting))
            .map(|it| it.variable)
    };
    let problems = problems.into_iter().filter(|problem| !told(problem));
    problems.map(|problem| Problem { variable: variable(&problem), ..problem }).collect()
}

/// Looks through a command and all below it.
fn every<F>(command: &Command, find: &dyn Fn(&Command) -> Option<F>) -> Option<F> {
    find(command).or_else(|| command.get_subcommands().find_map(|below| every(below, find)))
}

/// All variables that a command and those below it take.
fn variables(command: &Command) -> BTreeSet<String> {
    let below = command.get_subcommands().flat_map(variables);
    settings(command).map(|setting| setting.variable).chain(below).collect()
}

fn end_with(name: &str, problems: &[Problem]) {
    if problems.is_empty() {
        return;
    }
    for problem in problems {
        eprintln!("{name}: {problem}");
    }
    std::process::exit(WRONG);
}
