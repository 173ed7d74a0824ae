//! Tests with the settings of an example program: where their values come from, and that every problem is reported.

use clap::{Args, Parser, Subcommand};
use secrecy::{ExposeSecret, SecretString};

use super::*;
use crate::config::declaration::with_file_arguments;

#[derive(Debug, Parser)]
#[command(name = "program")]
struct Settings {
    #[arg(long, env = "T_SECRET", hide_env_values = true)]
    secret: SecretString,
    #[arg(long, env = "T_OTHER_SECRET", hide_env_values = true)]
    other_secret: Option<SecretString>,
    #[arg(long, env = "T_URLS", value_delimiter = ',', required = true)]
    urls: Vec<String>,
    #[arg(long, env = "T_COUNT", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=9))]
    count: u64,
    #[arg(long, env = "T_BOOL", default_value_t = true, action = ArgAction::Set)]
    bool: bool,
}

#[derive(Debug, Subcommand)]
enum Task {
    Job(Job),
}

#[derive(Debug, Args)]
struct Job {
    file: String,
    #[arg(long)]
    quick: bool,
    #[arg(long, env = "T_SECRET", hide_env_values = true)]
    secret: SecretString,
    #[arg(long, env = "T_COUNT", default_value_t = 7)]
    count: u64,
}

fn command() -> Command {
    let command = Task::augment_subcommands(<Settings as clap::CommandFactory>::command());
    with_file_arguments(command.subcommand_negates_reqs(true).args_conflicts_with_subcommands(true))
}

fn look_up(flags: &[&str], variables: &[(&str, &str)]) -> ResolvedSettings {
    let arguments: Vec<OsString> = ["program"].iter().chain(flags).map(OsString::from).collect();
    let environment = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
    resolve_settings(&command(), &arguments, &environment).unwrap()
}

fn settings_of(flags: &[&str], variables: &[(&str, &str)]) -> Settings {
    let resolved = look_up(flags, variables);
    assert_eq!(resolved.problems, []);
    let matches = resolved.set_defaults_of(command()).try_get_matches_from(["program"]).unwrap();
    <Settings as clap::FromArgMatches>::from_arg_matches(&matches).unwrap()
}

fn problems(flags: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    look_up(flags, variables).problems.iter().map(ToString::to_string).collect()
}

fn file(text: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn flag_overrides_variable_and_empty_variable_is_unset() {
    let variables = [("T_SECRET", "from there"), ("T_URLS", "a,b"), ("T_COUNT", ""), ("T_BOOL", "false")];
    let settings = settings_of(&["--urls", "x", "--urls=y,z"], &variables);
    assert_eq!(settings.urls, ["x", "y", "z"]);
    assert_eq!((settings.count, settings.bool), (5, false));
    assert_eq!(settings.secret.expose_secret(), "from there");
    let settings = settings_of(&["--count=3", "--secret="], &variables);
    assert_eq!((settings.urls.len(), settings.count, settings.secret.expose_secret()), (2, 3, ""));
}

#[test]
fn secret_file_is_read_without_its_trailing_line_end() {
    let (unix, windows) = (file(b"hunter2\n"), file(b" hunter3 \r\n"));
    let path = |file: &tempfile::NamedTempFile| file.path().to_str().unwrap().to_owned();
    let flag = format!("--other-secret-file={}", path(&windows));
    let settings = settings_of(&["--urls=a", &flag], &[("T_SECRET_FILE", &path(&unix))]);
    assert_eq!(settings.secret.expose_secret(), "hunter2");
    assert_eq!(settings.other_secret.unwrap().expose_secret(), " hunter3 ");
}

#[test]
fn all_problems_are_reported_with_setting_value_and_reason() {
    let reported = problems(&["--count=12"], &[("T_BOOL", "perhaps"), ("T_SECRET_FILE", "/no/such/file")]);
    assert_eq!(reported.len(), 4, "{reported:?}");
    assert_eq!(
        reported[0],
        "--secret-file (T_SECRET_FILE): the file /no/such/file cannot be read: No such file or directory (os error 2)"
    );
    assert_eq!(reported[1], "--urls (T_URLS): must be given");
    assert_eq!(reported[2], "--count (T_COUNT): \"12\": 12 is not in 1..=9");
    assert_eq!(reported[3], "--bool (T_BOOL): \"perhaps\": it must be one of true, false");
    let reported = problems(&["--urls=a"], &[]);
    assert_eq!(reported, ["--secret (T_SECRET): must be given, directly or as a file (T_SECRET_FILE)"]);
}

#[test]
fn invalid_secret_is_reported_without_its_value() {
    let good = file(b"hunter2");
    let path = good.path().to_str().unwrap();
    let reported = problems(&["--urls=a"], &[("T_SECRET_FILE", path), ("T_SECRET", "hunter2")]);
    assert_eq!(
        reported,
        ["--secret (T_SECRET): --secret-file (T_SECRET_FILE) is given too: give only one of them"]
    );
    for (text, why) in [
        (b"\n".to_vec(), "is empty"),
        (b"hunter2\xff".to_vec(), "is not UTF-8"),
        (b"hunter2 ".repeat(10_000), "is over 65536 bytes"),
    ] {
        let bad = file(&text);
        let reported = problems(&["--urls=a"], &[("T_SECRET_FILE", bad.path().to_str().unwrap())]);
        assert!(reported[0].ends_with(why) && !reported[0].contains("hunter2"), "{reported:?}");
    }
}

#[test]
fn subcommand_has_its_own_settings_and_arguments() {
    let variables = [("T_SECRET", "s"), ("T_COUNT", "8"), ("T_BOOL", "perhaps")];
    let arguments = ["program", "job", "--quick", "--", "-file"].map(OsString::from);
    let environment = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
    let resolved = resolve_settings(&command(), &arguments, &environment).unwrap();
    assert_eq!((resolved.subcommands.clone(), resolved.problems.len()), (vec!["job".to_owned()], 0));
    let matches = resolved.set_defaults_of(command()).try_get_matches_from(&arguments).unwrap();
    let Task::Job(job) = <Task as clap::FromArgMatches>::from_arg_matches(&matches).unwrap();
    assert_eq!((job.file.as_str(), job.quick, job.count), ("-file", true, 8));
    assert_eq!(job.secret.expose_secret(), "s");
    let reported = problems(&["job", "x"], &[("T_COUNT", "many")]);
    assert_eq!(reported.len(), 2, "{reported:?}");
}

#[test]
fn help_shows_defaults_and_no_secret() {
    let arguments = ["program", "--help"].map(OsString::from);
    let environment = Environment::from([("T_SECRET".into(), "hunter2".into())]);
    let help = resolve_settings(&command(), &arguments, &environment).err().unwrap().to_string();
    assert!(help.contains("[default: 5]") && help.contains("--secret-file <PATH>"), "{help}");
    assert!(!help.contains("hunter2"), "{help}");
    let wrong = ["program", "--coutn=5"].map(OsString::from);
    let reported = resolve_settings(&command(), &wrong, &environment).err().unwrap().to_string();
    assert!(reported.contains("--coutn"), "{reported}");
}
