//! What all programs have in common: the start of a service, and the subcommands `settings` and `completions`.

use std::fmt::Display;
use std::process::ExitCode;

use clap::{Command, Subcommand};

use crate::config::{
    problem::{Check, Problem},
    table,
};
use crate::telemetry;

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

/// Starts the log, writes the warnings about the settings, and runs a service until it ends. If the service fails, the
/// cause is in the log and the exit code is 1.
///
/// # Errors
/// When `log` is not a valid filter.
pub async fn serve<E: Display>(
    log: &str,
    warnings: &[String],
    service: impl Future<Output = Result<(), E>>,
) -> Result<ExitCode, String> {
    telemetry::start(log)?;
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    Ok(match service.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            telemetry::log_fatal(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    })
}

/// Prints a text to standard output. It is not an error if the reader, such as `head`, closes the pipe early.
pub fn print(text: &str) -> std::io::Result<()> {
    use std::io::{ErrorKind, Write};
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
