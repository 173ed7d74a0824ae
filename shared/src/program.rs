//! The subcommands `settings` and `completions` of each program.

use clap::{Command, Subcommand};

use crate::config::{
    problem::{Check, Problem},
    table,
};

/// The subcommands that both services have.
#[derive(Debug, Clone, Subcommand)]
pub enum DescribeCommand {
    /// Print all settings with their variables, defaults, units and meanings, as a table of Markdown
    Settings {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a script by which a shell completes the command line of this program
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

impl DescribeCommand {
    /// Returns the text that the subcommand prints. `command` is the command line of the program.
    pub fn text(&self, mut command: Command) -> String {
        match self {
            Self::Settings { json: true } => {
                format!("{:#}\n", serde_json::json!(table::setting_rows(&command)))
            }
            Self::Settings { json: false } => table::markdown(&table::setting_rows(&command)),
            Self::Completions { shell } => {
                let name = command.get_name().to_owned();
                let mut script = Vec::new();
                clap_complete::generate(*shell, &mut command, name, &mut script);
                String::from_utf8_lossy(&script).into_owned()
            }
        }
    }
}

impl Check for DescribeCommand {
    fn check(&self) -> Vec<Problem> {
        Vec::new()
    }
}

/// Prints a text to standard output. It is not an error if the reader, such as `head`, closes the pipe early.
pub fn print(text: &str) -> std::io::Result<()> {
    use std::io::{ErrorKind, Write};
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
