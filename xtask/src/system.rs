//! The commands around a system on this machine: `up`, `down`, `play`, `faults` and the like. Each builds the programs
//! that it starts, and then becomes one of them.

use std::process::ExitCode;

use crate::context::{Context, is_executable};
use crate::packages;
use crate::process::{exec, say};
use crate::tools::{browser, node, s3_server};
use crate::{build, clients, companions};

/// The arguments without `--no-build`, and whether to build.
fn split_no_build(arguments: &[String]) -> (Vec<String>, bool) {
    let rest: Vec<String> = arguments.iter().filter(|argument| *argument != "--no-build").cloned().collect();
    let build = rest.len() == arguments.len();
    (rest, build)
}

/// Becomes a program of the quick build, or of `TIDINGS_BIN_DIR`. Builds it first if it is missing.
fn become_program(context: &Context, name: &str, arguments: &[String]) -> Result<ExitCode, String> {
    become_built(context, "quick", name, arguments, |context| build::quick(context, &[name]))
}

fn become_built(
    context: &Context,
    profile: &str,
    name: &str,
    arguments: &[String],
    build: impl FnOnce(&Context) -> Result<(), String>,
) -> Result<ExitCode, String> {
    let folder = context.programs.clone().unwrap_or_else(|| context.target.join(profile));
    let program = folder.join(name);
    if !is_executable(&program) {
        if context.programs.is_some() {
            return Err(format!("{} has no {name}", folder.display()));
        }
        build(context)?;
    }
    Err(exec(context.command(program).args(arguments)))
}

/// Starts the system, and the demo after it if the demo is not built yet, so that the first message need not wait for
/// the demo.
///
/// # Errors
/// When something cannot be built or started.
pub fn up(context: &mut Context, arguments: &[String]) -> Result<ExitCode, String> {
    packages::need_servers(context)?;
    let (mut arguments, build) = split_no_build(arguments);
    if build && context.programs.is_none() {
        let companions = companions::wanted(&arguments, &context.state);
        let programs = build::programs_of("up").into_iter().chain(companions.iter().map(String::as_str));
        build::quick(context, &programs.collect::<Vec<_>>())?;
    }
    arguments.insert(0, "up".to_owned());
    if build && !clients::are_built(context) {
        let script = context.root.join("dev");
        arguments.extend(["--build-demo".to_owned(), script.display().to_string()]);
    } else if let Some(demo) = clients::demo(context, build) {
        arguments.extend(["--demo".to_owned(), demo.display().to_string()]);
    }
    become_program(context, "tidings-dev", &arguments)
}

/// Builds the demo and prints the path of its server, or nothing when it is not available: for `tidings-dev`.
pub fn build_demo(context: &mut Context) -> ExitCode {
    if let Some(program) = clients::demo(context, true) {
        println!("{}", program.display());
    }
    ExitCode::SUCCESS
}

/// `down`, `reset`, `status` and `token`.
///
/// # Errors
/// When there is nothing to show, or `tidings-dev` cannot be built.
pub fn present(context: &Context, command: &str, arguments: &[String]) -> Result<ExitCode, String> {
    if command != "token" && !context.state.join("state.json").exists() {
        return match command {
            "status" => Err("nothing was started yet; start it with ./dev up".to_owned()),
            _ => Ok(ExitCode::SUCCESS),
        };
    }
    of_dev(context, command, arguments)
}

/// A command of `tidings-dev`.
///
/// # Errors
/// When it cannot be built.
pub fn of_dev(context: &Context, command: &str, arguments: &[String]) -> Result<ExitCode, String> {
    let arguments: Vec<String> = [command.to_owned()].into_iter().chain(arguments.iter().cloned()).collect();
    become_program(context, "tidings-dev", &arguments)
}

/// `play`, `idle` and `faults`.
///
/// # Errors
/// When something cannot be built or started.
pub fn try_out(context: &mut Context, command: &str, arguments: &[String]) -> Result<ExitCode, String> {
    let (mut arguments, build) = split_no_build(arguments);
    if command == "faults" {
        packages::need_servers(context)?;
        if arguments.iter().any(|argument| argument == "--bucket")
            && context.variable("TIDINGS_S3_SERVER").is_none()
        {
            s3_server::install(context)
                .map_err(|error| format!("the S3 server cannot be built, and --bucket needs it: {error}"))?;
            context.set("TIDINGS_S3_SERVER", s3_server::program(context));
        }
    }
    if build && context.programs.is_none() {
        build::quick(context, &build::programs_of(command))?;
    }
    let by_kit = arguments.join(" ").replace('=', " ").contains("--client ts");
    if command == "play" && by_kit {
        if build {
            clients::build_kit(context)?;
        } else if let Err(why) = node::need_npm(context) {
            say(&why);
        }
        let player = context.root.join("clients/ts/play/player.mjs");
        arguments.extend(["--player".to_owned(), player.display().to_string()]);
    }
    become_program(context, &format!("tidings-{command}"), &arguments)
}

/// Measures Tidings and its alternatives. pip installs Node.js on machines without it. Nothing installs Go: without it the
/// bench skips the peer that Go builds.
///
/// # Errors
/// When something cannot be built or started.
pub fn bench(context: &mut Context, arguments: &[String]) -> Result<ExitCode, String> {
    packages::need_servers(context)?;
    let (arguments, build) = split_no_build(arguments);
    if build && context.programs.is_none() {
        build::bench(context)?;
    }
    node::need_npm(context)?;
    become_built(context, "release", "tidings-bench", &arguments, build::bench)
}

/// Tests the demo in a browser, with separate systems.
///
/// # Errors
/// When something is missing, or a test fails.
pub fn e2e(context: &mut Context, arguments: &[String]) -> Result<ExitCode, String> {
    packages::need_servers(context)?;
    let (arguments, build) = split_no_build(arguments);
    let (mut filter, mut firefox) = (Vec::new(), false);
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--browser" => match words.next().map(String::as_str) {
                Some("chromium") => firefox = false,
                Some("firefox") => firefox = true,
                _ => return Err("--browser needs chromium or firefox".to_owned()),
            },
            option if option.starts_with("--") => return Err(format!("unknown option: {option}")),
            name => filter = vec!["-t".to_owned(), name.to_owned()],
        }
    }
    if build {
        if context.programs.is_none() {
            build::quick(context, &build::programs_of("e2e"))?;
        }
        clients::build_kit(context)?;
    } else {
        node::need_npm(context)?;
    }
    if firefox {
        browser::need_firefox(context)?
    } else {
        browser::need_chromium(context)?
    }
    context.set("TIDINGS_BROWSER", if firefox { "firefox" } else { "chromium" });
    let programs = context.programs.clone().unwrap_or_else(|| context.target.join("quick"));
    let tests = clients::Vitest {
        script: "e2e",
        programs: &programs,
        results: "e2e",
        arguments: filter,
        limit: None,
    };
    tests.run(context)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::split_no_build;

    #[test]
    fn no_build_is_taken_out_of_the_arguments() {
        let given = ["--seconds", "5", "--no-build"].map(str::to_owned);
        assert_eq!(split_no_build(&given), (given[..2].to_vec(), false));
        assert_eq!(split_no_build(&given[..2]), (given[..2].to_vec(), true));
    }
}
