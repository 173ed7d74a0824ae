//! Reads the values of settings from flags, environment and files of secrets, and checks each value separately, so that
//! all problems are reported at once. A flag takes precedence over its variable. An empty variable counts as not set.

use std::{
    collections::BTreeMap,
    error::Error,
    ffi::{OsStr, OsString},
    io::Read,
};

use clap::{
    Arg, ArgAction, ArgMatches, Command,
    builder::Resettable,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::{
    declaration::{SettingDeclaration, declared_settings},
    problem::{Problem, SecretFiles},
};

const MAX_SECRET_BYTES: u64 = 64 * 1024;
const MAX_SHOWN_CHARS: usize = 80;

/// The environment variables of the process.
pub type Environment = BTreeMap<OsString, OsString>;

/// A parsed command line with the values of its settings.
pub struct ResolvedSettings {
    /// Names of the subcommands on the command line, from the outermost. Empty if there is no subcommand.
    pub subcommands: Vec<String>,
    /// All parsed arguments. Callers must not read settings from here, only other arguments.
    pub matches: ArgMatches,
    pub problems: Vec<Problem>,
    /// The files that contain secrets.
    pub secret_files: SecretFiles,
    /// For each setting: the depth of the subcommand that declares it, its id, and its value. The value is `None` if
    /// the setting is not given; then the default applies if there is one.
    values: Vec<(usize, String, Option<OsString>)>,
}

/// Parses a command line, and reads the values of all its settings. `command` must have the arguments for files of
/// secrets (`with_file_arguments`). A request for help is returned as an error.
pub fn resolve_settings(
    command: &Command,
    arguments: &[OsString],
    environment: &Environment,
) -> Result<ResolvedSettings, clap::Error> {
    let matches = accept_any_value(command.clone()).try_get_matches_from(arguments).map_err(|error| {
        let of_help =
            !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
        let strict = of_help.then(|| command.clone().try_get_matches_from(arguments).err()).flatten();
        strict.unwrap_or(error)
    })?;
    let (mut nodes, mut subcommands, mut leaf) = (vec![command], Vec::new(), &matches);
    while let Some((name, below)) = leaf.subcommand() {
        let node = nodes.last().and_then(|node| node.find_subcommand(name));
        nodes.push(node.ok_or_else(|| clap::Error::new(ErrorKind::InvalidSubcommand))?);
        subcommands.push(name.to_owned());
        leaf = below;
    }
    let (mut problems, mut values, mut secret_files) = (Vec::new(), Vec::new(), SecretFiles::new());
    for (depth, node) in nodes.iter().enumerate() {
        for setting in
            declared_settings(node).filter(|it| depth == subcommands.len() || it.arg.is_global_set())
        {
            if let Some(path) = given_file(&setting, leaf, environment) {
                secret_files.insert(setting.flag.clone(), path.into());
            }
            let given = read_value(&setting, leaf, environment).and_then(|value| match value {
                Some(value) => check_value(&setting, &value).map(|()| Some(value)),
                None => check_not_required(&setting),
            });
            let value = given.unwrap_or_else(|problem| {
                problems.push(problem);
                // A wrong or missing required value is replaced by an empty one, so that other settings can be checked.
                // The program ends before it uses the empty value.
                setting.arg.is_required_set().then(OsString::new)
            });
            values.push((depth, setting.id, value));
        }
    }
    Ok(ResolvedSettings { subcommands, matches, problems, secret_files, values })
}

impl ResolvedSettings {
    /// Returns `command` with these values as defaults of its arguments, and without environment variables.
    #[must_use]
    pub fn set_defaults_of(&self, command: Command) -> Command {
        self.values.iter().fold(command, |command, (depth, id, value)| {
            set_default(command, &self.subcommands[..*depth], id, value.clone())
        })
    }
}

/// Sets the default of an argument of the subcommand at `path`, or none if `value` is `None`.
fn set_default(command: Command, path: &[String], id: &str, value: Option<OsString>) -> Command {
    match path {
        [] => command.mut_arg(id, |arg| match value {
            Some(value) => make_optional(arg).default_value(value),
            None => make_optional(arg),
        }),
        [first, below @ ..] => command.mut_subcommand(first, |it| set_default(it, below, id, value)),
    }
}

/// Makes an argument optional, and removes its environment variable.
fn make_optional(arg: Arg) -> Arg {
    arg.env(Resettable::Reset).required(false)
}

/// Changes all settings of a command so that they accept any value. `check_value` checks the values later.
fn accept_any_value(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        if SettingDeclaration::of(&arg).is_none() {
            return arg;
        }
        let is_list = matches!(arg.get_action(), ArgAction::Append);
        let action = if is_list { ArgAction::Append } else { ArgAction::Set };
        let arg = make_optional(arg).default_value(Resettable::Reset).value_delimiter(Resettable::Reset);
        arg.value_parser(clap::value_parser!(OsString)).action(action).num_args(1)
    });
    let below: Vec<String> = command.get_subcommands().map(|it| it.get_name().to_owned()).collect();
    below.into_iter().fold(command, |command, name| command.mut_subcommand(name, accept_any_value))
}

/// Reads the value of a setting from its flag, its variable or its secret file; `None` if none of them is given. Fails
/// if both a value and a file are given.
fn read_value(
    setting: &SettingDeclaration,
    matches: &ArgMatches,
    environment: &Environment,
) -> Result<Option<OsString>, Problem> {
    let value = flag_or_variable(&setting.id, &setting.variable, matches, environment);
    match (value, given_file(setting, matches, environment)) {
        (Some(_), Some(_)) => {
            let (flag, variable) = (setting.file_flag(), setting.file_variable());
            Err(problem_of(setting, format!("--{flag} ({variable}) is given too: give only one of them")))
        }
        (value, None) => Ok(value),
        (None, Some(path)) => read_secret_file(&path).map(Some).map_err(|why| Problem {
            setting: setting.file_flag(),
            variable: Some(setting.file_variable()),
            why: format!("the file {} {why}", path.display()),
        }),
    }
}

/// The file of a secret; `None` if none is given, or if the setting is no secret.
fn given_file(
    setting: &SettingDeclaration,
    matches: &ArgMatches,
    environment: &Environment,
) -> Option<OsString> {
    let file = || flag_or_variable(&setting.file_id(), &setting.file_variable(), matches, environment);
    setting.secret.then(file).flatten()
}

/// The value of a flag, or of its variable; `None` if neither is given.
fn flag_or_variable(
    id: &str,
    variable: &str,
    matches: &ArgMatches,
    environment: &Environment,
) -> Option<OsString> {
    let flags = matches.try_get_many::<OsString>(id).ok().flatten();
    let flags = flags.map(|values| values.map(OsString::as_os_str).collect::<Vec<_>>().join(OsStr::new(",")));
    flags.or_else(|| environment.get(OsStr::new(variable)).filter(|value| !value.is_empty()).cloned())
}

/// Reads a secret from a file, without the line ends after it. The error is a phrase that follows the path of the file.
pub fn read_secret_file(path: &OsStr) -> Result<OsString, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    // The number of bytes is limited during the read, because the length of a pipe is not known in advance.
    file.take(MAX_SECRET_BYTES + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_SECRET_BYTES {
        return Err(format!("is over {MAX_SECRET_BYTES} bytes"));
    }
    let text = String::from_utf8(text).map_err(|_| "is not UTF-8".to_owned())?;
    match text.trim_end_matches(['\n', '\r']) {
        "" => Err("is empty".to_owned()),
        text => Ok(text.into()),
    }
}

/// Returns `None` for a setting without a value, or fails if the setting is required.
fn check_not_required(setting: &SettingDeclaration) -> Result<Option<OsString>, Problem> {
    if !setting.arg.is_required_set() {
        return Ok(None);
    }
    let file = setting.secret.then(|| format!(", directly or as a file ({})", setting.file_variable()));
    Err(problem_of(setting, format!("must be given{}", file.unwrap_or_default())))
}

/// Checks one value as clap would. The error shows the value, unless the setting is a secret.
fn check_value(setting: &SettingDeclaration, value: &OsStr) -> Result<(), Problem> {
    let mut flag = OsString::from(format!("--{}=", setting.flag));
    flag.push(value);
    let arg = make_optional(setting.arg.clone()).default_value(Resettable::Reset).global(false);
    let command = Command::new("one").no_binary_name(true).arg(arg);
    command.try_get_matches_from([flag]).map(drop).map_err(|error| {
        let shown: String = value.to_string_lossy().chars().take(MAX_SHOWN_CHARS).collect();
        let shown = if setting.secret { String::new() } else { format!("{shown:?}: ") };
        problem_of(setting, format!("{shown}{}", reason_of(&error)))
    })
}

/// Returns why clap has refused a value, without the value.
fn reason_of(error: &clap::Error) -> String {
    if let Some(source) = error.source() {
        return source.to_string();
    }
    match (error.kind(), error.get(ContextKind::ValidValue)) {
        (_, Some(ContextValue::Strings(valid))) if !valid.is_empty() => {
            format!("it must be one of {}", valid.join(", "))
        }
        (ErrorKind::InvalidUtf8, _) => "it is not UTF-8".to_owned(),
        _ => "it cannot be read".to_owned(),
    }
}

fn problem_of(setting: &SettingDeclaration, why: String) -> Problem {
    Problem { setting: setting.flag.clone(), variable: Some(setting.variable.clone()), why }
}

#[cfg(test)]
mod tests;
