//! `./dev`: builds and runs the system, its tools and its tests. The script `dev` installs packages, builds this
//! program, and runs it. Each command is in a module; this file only chooses.

use std::env;
use std::process::ExitCode;

use context::Context;

mod build;
mod clients;
mod companions;
mod context;
mod guard;
mod lint;
mod nextest;
mod packages;
mod process;
mod report;
mod system;
mod test;
mod tools;

const UNKNOWN_COMMAND: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let Some((command, arguments)) = arguments.split_first() else {
        eprintln!("no command is given; run ./dev help");
        return ExitCode::from(UNKNOWN_COMMAND);
    };
    match run(command, arguments) {
        Ok(code) => code,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &str, arguments: &[String]) -> Result<ExitCode, String> {
    let context = &mut Context::from_environment()?;
    match command {
        "up" => system::up(context, arguments),
        "build-demo" => Ok(system::build_demo(context)),
        "down" | "reset" | "status" | "token" => system::present(context, command, arguments),
        "redis" => system::of_dev(context, command, arguments),
        "play" | "idle" | "faults" => system::try_out(context, command, arguments),
        "bench" => system::bench(context, arguments),
        "e2e" => system::e2e(context, arguments),
        "guard" => guard::command(context, arguments),
        "lint" => lint::lint(context),
        "test" => test::command(context, arguments),
        _ => {
            eprintln!("unknown command: {command}; ./dev lists all");
            Ok(ExitCode::from(UNKNOWN_COMMAND))
        }
    }
}
