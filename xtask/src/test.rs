//! `./dev test`: the options, and what they select. `gate` runs the sizes, `named` the tests of a name, `long` the long
//! tests.

use std::process::ExitCode;
use std::time::Duration;

use crate::context::Context;
use crate::nextest::Retries;
use crate::packages;
use crate::tools::{self, needs};

mod behaviours;
mod folder;
mod gate;
mod long;
mod named;
mod postgres;

/// What `./dev test` runs.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Selection {
    /// A size of the gate.
    Gate(Size),
    /// The tests whose names contain this.
    Named(String),
    /// The long tests, or those whose names contain this.
    Long(Option<String>),
}

/// The sizes of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    /// Lint, unit tests and the behaviours of the contract.
    First,
    /// Everything that proves behaviour.
    All,
    /// What `All` has beyond `First`.
    Rest,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Options {
    selection: Selection,
    retries: Retries,
    /// The long tests that have not ended by then are not run.
    time_limit: Option<Duration>,
}

/// The command.
///
/// # Errors
/// For options that do not exist or exclude each other, and when a package is missing.
pub fn command(context: &mut Context, arguments: &[String]) -> Result<ExitCode, String> {
    let options = parse(arguments)?;
    packages::need_servers(context)?;
    tools::need_pip(context)?;
    tools::offer_mold(context);
    needs::set_paths(context)?;
    folder::keep_test_data_in_tmpfs(context);
    std::fs::create_dir_all(&context.state)
        .map_err(|error| format!("{}: {error}", context.state.display()))?;
    match options.selection {
        Selection::Gate(size) => Ok(gate::run(context, size, options.retries)),
        Selection::Named(name) => Ok(named::run(context, &name, options.retries)),
        Selection::Long(name) => Ok(long::run(context, name.as_deref(), options.retries, options.time_limit)),
    }
}

fn parse(arguments: &[String]) -> Result<Options, String> {
    let (mut size, mut long, mut name) = (None, false, None);
    let (mut retries, mut time_limit) = (Retries::None, None);
    let mut words = arguments.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "--all" => size = Some(Size::All),
            "--rest" => size = Some(Size::Rest),
            "--long" => long = true,
            "--retry" => retries = Retries::Once,
            "--seconds" => {
                let seconds = words.next().and_then(|seconds| seconds.parse().ok());
                time_limit = Some(Duration::from_secs(seconds.ok_or("--seconds needs a number")?));
            }
            option if option.starts_with("--") => return Err(format!("unknown option: {option}")),
            other if name.is_some() => {
                return Err(format!("too many names: use either {} or {other}", name.unwrap_or_default()));
            }
            other => name = Some(other.to_owned()),
        }
    }
    let selection = match (size, long, name) {
        (Some(size), false, None) => Selection::Gate(size),
        (None, true, name) => Selection::Long(name),
        (None, false, Some(name)) => Selection::Named(name),
        (None, false, None) => Selection::Gate(Size::First),
        _ => return Err("use only one of --all, --rest, --long and a name".to_owned()),
    };
    if time_limit.is_some() && !matches!(selection, Selection::Long(_)) {
        return Err("--seconds is for --long".to_owned());
    }
    Ok(Options { selection, retries, time_limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case::first("", Some(Selection::Gate(Size::First)))]
    #[case::all("--all --retry", Some(Selection::Gate(Size::All)))]
    #[case::named("a_name", Some(Selection::Named("a_name".to_owned())))]
    #[case::long("--long --seconds 5", Some(Selection::Long(None)))]
    #[case::named_long("--long a_name", Some(Selection::Long(Some("a_name".to_owned()))))]
    #[case::two_sizes("--all --long", None)]
    #[case::all_with_a_name("--all a_name", None)]
    #[case::two_names("a b", None)]
    #[case::unknown_option("--quick", None)]
    #[case::time_limit_of_the_gate("--all --seconds 5", None)]
    #[case::no_number("--long --seconds soon", None)]
    fn options_select_one_set_of_tests(#[case] line: &str, #[case] expected: Option<Selection>) {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        assert_eq!(parse(&arguments).ok().map(|options| options.selection), expected);
    }
}
