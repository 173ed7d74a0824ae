//! A setting is a clap argument with an environment variable. The argument declares flag, variable, default, unit (the
//! value's name) and meaning (the help) of the setting. A setting that hides the value of its variable is a secret.
//! Each secret automatically gets a second argument, for a file that contains the value.

use clap::{Arg, Command};

/// A setting as its clap argument declares it.
#[derive(Debug, Clone)]
pub struct SettingDeclaration {
    pub arg: Arg,
    pub id: String,
    /// The name of the flag, without dashes.
    pub flag: String,
    pub variable: String,
    pub secret: bool,
}

impl SettingDeclaration {
    /// Reads the declaration of an argument. Returns `None` if the argument is not a setting, because it has no
    /// variable.
    pub fn of(arg: &Arg) -> Option<Self> {
        let variable = arg.get_env()?.to_str()?.to_owned();
        Some(Self {
            id: arg.get_id().to_string(),
            flag: arg.get_long()?.to_owned(),
            variable,
            secret: arg.is_hide_env_values_set(),
            arg: arg.clone(),
        })
    }

    /// The id of the argument for the file that contains this secret.
    pub fn file_id(&self) -> String {
        format!("{}_file", self.id)
    }

    /// The flag of the argument for the file, without dashes.
    pub fn file_flag(&self) -> String {
        format!("{}-file", self.flag)
    }

    /// The environment variable with the path of the file that contains this secret.
    pub fn file_variable(&self) -> String {
        format!("{}_FILE", self.variable)
    }

    /// The argument for the file that contains this secret.
    fn file_argument(&self) -> Arg {
        Arg::new(self.file_id())
            .long(self.file_flag())
            .env(self.file_variable())
            .value_name("PATH")
            .global(self.arg.is_global_set())
            .help(format!("File with the value of `--{}`; a line end after it is ignored", self.flag))
    }
}

/// The settings of a command, without the settings of its subcommands.
pub fn declared_settings(command: &Command) -> impl Iterator<Item = SettingDeclaration> {
    command.get_arguments().filter_map(SettingDeclaration::of)
}

/// Adds to a command and its subcommands, for each of their secrets, the argument for the file.
#[must_use]
pub fn with_file_arguments(mut command: Command) -> Command {
    let files: Vec<Arg> =
        declared_settings(&command).filter(|setting| setting.secret).map(|it| it.file_argument()).collect();
    command = command.args(files);
    let below: Vec<String> = command.get_subcommands().map(|it| it.get_name().to_owned()).collect();
    below.into_iter().fold(command, |command, name| command.mut_subcommand(name, with_file_arguments))
}
