//! A setting is a clap argument with an environment variable. The argument declares everything once: flag, variable,
//! default, unit (the value's name) and meaning (the help). A secret is a setting that hides the value of its variable.
//! It automatically gets a second argument, for a file that contains the value.

use clap::{Arg, Command};

/// A setting as it is declared.
#[derive(Debug, Clone)]
pub struct Declared {
    pub arg: Arg,
    pub id: String,
    /// Without dashes.
    pub flag: String,
    pub variable: String,
    pub secret: bool,
}

impl Declared {
    /// `None`: the argument has no variable, so it is not a setting.
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

    /// The id of the argument that names the file of this secret.
    pub fn file_id(&self) -> String {
        format!("{}_file", self.id)
    }

    /// The flag of the file, without dashes.
    pub fn file_flag(&self) -> String {
        format!("{}-file", self.flag)
    }

    pub fn file_variable(&self) -> String {
        format!("{}_FILE", self.variable)
    }

    fn file(&self) -> Arg {
        Arg::new(self.file_id())
            .long(self.file_flag())
            .env(self.file_variable())
            .value_name("PATH")
            .global(self.arg.is_global_set())
            .help(format!("File with the value of `--{}`; a line end after it is ignored", self.flag))
    }
}

/// The settings of a command, without those of its subcommands.
pub fn settings(command: &Command) -> impl Iterator<Item = Declared> {
    command.get_arguments().filter_map(Declared::of)
}

/// Adds the argument for the file to each secret of a command and of its subcommands.
#[must_use]
pub fn with_files(mut command: Command) -> Command {
    let files: Vec<Arg> = settings(&command).filter(|setting| setting.secret).map(|it| it.file()).collect();
    command = command.args(files);
    let below: Vec<String> = command.get_subcommands().map(|it| it.get_name().to_owned()).collect();
    below.into_iter().fold(command, |command, name| command.mut_subcommand(name, with_files))
}
