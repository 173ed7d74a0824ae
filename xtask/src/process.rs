//! Runs programs, and says what happens. A failure is a sentence for the developer.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What failed, in one sentence.
pub type Outcome = Result<(), String>;

/// Prints a line about the progress to stderr, bold in a terminal.
pub fn say(text: &str) {
    if io::stderr().is_terminal() { eprintln!("\x1b[1m{text}\x1b[0m") } else { eprintln!("{text}") }
}

/// Runs a program with the streams of this one.
///
/// # Errors
/// When it cannot be started or does not exit with 0.
pub fn run(command: &mut Command) -> Outcome {
    let status = command.status().map_err(|error| format!("{}: {error}", name(command)))?;
    if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", name(command))) }
}

/// Like [`run`], without output.
///
/// # Errors
/// As for [`run`].
pub fn run_quietly(command: &mut Command) -> Outcome {
    run(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
}

/// The output of a program without the last line break; `None` when it fails.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// Runs a program, and writes its output and its errors, in their order, to stdout and to a file.
///
/// # Errors
/// As for [`run`].
pub fn run_logged(command: &mut Command, log: &Path) -> Outcome {
    let name = name(command);
    let failed = |error: io::Error| format!("{name}: {error}");
    let mut file = create(log)?;
    let (mut reader, writer) = io::pipe().map_err(failed)?;
    let errors = writer.try_clone().map_err(failed)?;
    let mut child = command.stdout(writer).stderr(errors).spawn().map_err(failed)?;
    // Drops the write ends of the pipe that the command holds: the reader sees end of file only when all are closed.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut buffer = [0; 64 * 1024];
    loop {
        let read = reader.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            break;
        }
        // A reader of our output that went away does not end the tests.
        let _ = io::stdout().write_all(&buffer[..read]).and_then(|()| io::stdout().flush());
        file.write_all(&buffer[..read]).map_err(failed)?;
    }
    let status = child.wait().map_err(failed)?;
    if status.success() { Ok(()) } else { Err(format!("{name} ended with {status}")) }
}

/// The same command, which is ended after this time.
pub fn within(command: Command, limit: Option<Duration>) -> Command {
    let Some(limit) = limit else { return command };
    let mut limited = Command::new("timeout");
    limited.args(["--signal=INT", "--kill-after=30", &format!("{:.3}", limit.as_secs_f64())]);
    limited.arg(command.get_program()).args(command.get_args());
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = command.get_current_dir() {
        limited.current_dir(folder);
    }
    limited
}

/// Replaces this process by a program. Returns only when that fails.
pub fn exec(command: &mut Command) -> String {
    format!("{}: {}", name(command), command.exec())
}

/// Creates a file and its folder.
///
/// # Errors
/// When one of them cannot be created.
pub fn create(path: &Path) -> Result<File, String> {
    let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    folder.and_then(|()| File::create(path)).map_err(|error| format!("{}: {error}", path.display()))
}

fn name(command: &Command) -> String {
    Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned()
}
