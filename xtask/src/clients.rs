//! The TypeScript packages: install, build, check, and test. Writes to `clients/` (node_modules, dist, artefacts) and to
//! the folder of `./dev`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::context::Context;
use crate::process::{Outcome, output, run, run_logged, say, within};
use crate::report::Figures;
use crate::tools::node;

/// The packages with a build.
const BUILT: [&str; 8] = ["ts", "react", "react-ui", "react-native", "vue", "svelte", "solid", "web"];

fn folder(context: &Context) -> PathBuf {
    context.root.join("clients")
}

/// `npm` in `clients/`.
pub fn npm(context: &Context, arguments: &[&str]) -> Command {
    let mut npm = context.command("npm");
    npm.arg("--prefix").arg(folder(context)).args(arguments);
    npm
}

/// Installs the packages of the lock file, unless they are installed already. A lock prevents two installs at once.
///
/// # Errors
/// When npm fails.
pub fn install(context: &Context) -> Outcome {
    npm_ci(context, None)
}

fn npm_ci(context: &Context, log: Option<&Path>) -> Outcome {
    let failed = |error: std::io::Error| format!("clients: {error}");
    let wanted = fs::read(folder(context).join("package-lock.json")).map_err(failed)?;
    let stamp = folder(context).join("node_modules/.tidings-lock");
    let installed = || fs::read(&stamp).is_ok_and(|installed| installed == wanted);
    if installed() {
        return Ok(());
    }
    let lock = crate::process::create(&context.tools.join("clients.lock"))?;
    lock.lock().map_err(failed)?;
    if installed() {
        return Ok(());
    }
    run_to(&mut npm(context, &["ci", "--no-audit", "--no-fund"]), log)?;
    fs::write(&stamp, &wanted).map_err(failed)
}

fn run_to(command: &mut Command, log: Option<&Path>) -> Outcome {
    match log {
        Some(log) => run_to_log(command, log),
        None => run(command),
    }
}

/// Whether the builds of kit, bindings and demo are newer than all their sources. Folders count as sources, because a
/// folder changes when a file in it is deleted.
pub fn are_built(context: &Context) -> bool {
    let clients = folder(context);
    let modified = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
    let Some(stamp) = modified(&clients.join("node_modules/.tidings-built")) else { return false };
    let output = |package: &&str| {
        clients
            .join(package)
            .join(if *package == "web" { "dist/index.html" } else { "dist/index.js" })
            .exists()
    };
    BUILT.iter().all(output) && sources(&clients).iter().all(|path| !is_newer(path, stamp))
}

/// The files and folders that the builds read.
fn sources(clients: &Path) -> Vec<PathBuf> {
    let mut sources: Vec<PathBuf> = BUILT.iter().map(|package| clients.join(package).join("src")).collect();
    sources.extend(["web/public", "web/pwa", "react-ui/scripts"].map(|path| clients.join(path)));
    let configured = BUILT.iter().map(|package| clients.join(package)).chain([clients.to_owned()]);
    for folder in configured {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        sources.extend(entries.filter(|path| {
            let extension = path.extension().unwrap_or_default();
            let of_demo = path.parent().is_some_and(|folder| folder.ends_with("web"));
            extension == "json" || of_demo && (extension == "html" || extension == "ts")
        }));
    }
    sources.retain(|path| path.exists());
    sources
}

/// Whether a file, or anything in a folder, was changed after this time.
fn is_newer(path: &Path, time: SystemTime) -> bool {
    let changed = path.metadata().and_then(|file| file.modified()).is_ok_and(|modified| modified > time);
    let entries = || fs::read_dir(path).into_iter().flatten().flatten();
    changed || path.is_dir() && entries().any(|entry| is_newer(&entry.path(), time))
}

/// Builds kit, bindings and demo, in this order, because each package needs the package before it.
///
/// # Errors
/// When npm fails.
pub fn build(context: &Context) -> Outcome {
    npm_build(context, None)
}

fn npm_build(context: &Context, log: Option<&Path>) -> Outcome {
    if are_built(context) {
        return Ok(());
    }
    for package in BUILT {
        // Removes outputs of source files that were deleted.
        let _ = fs::remove_dir_all(folder(context).join(package).join("dist"));
    }
    run_to(&mut npm(context, &["run", "build"]), log)?;
    fs::write(folder(context).join("node_modules/.tidings-built"), "").map_err(|error| error.to_string())
}

/// Installs and builds the packages for `play` and `e2e`.
///
/// # Errors
/// When Node is missing, or npm fails.
pub fn build_kit(context: &mut Context) -> Outcome {
    node::need_npm(context)
        .map_err(|_| "Node.js 20.19 or later with npm is missing and cannot be installed".to_owned())?;
    install(context)?;
    build(context)
}

/// The program of the demo's server, which is built first when `build` says so. `None` when the demo is not available;
/// says why.
pub fn demo(context: &mut Context, build: bool) -> Option<PathBuf> {
    match find_demo(context, build) {
        Ok(program) => Some(program),
        Err(why) => {
            say(&format!("demo: NOT STARTED ({why})"));
            None
        }
    }
}

fn find_demo(context: &mut Context, build: bool) -> Result<PathBuf, String> {
    let log = context.state.join("logs/clients.log");
    let program = folder(context).join("web/serve.mjs");
    if !build {
        return match (node::has_node(context), folder(context).join("web/dist/index.html").exists()) {
            (false, _) => Err("Node 20.19 or later is not installed".to_owned()),
            (_, false) => Err("the demo is not built, and --no-build is set".to_owned()),
            _ => Ok(program),
        };
    }
    let see = |what: &str| format!("{what}: see {}", log.display());
    node::need_npm(context).map_err(|_| "Node 20.19 or later with npm is not available".to_owned())?;
    if !are_built(context) {
        say("building the demo");
        let built = npm_ci(context, Some(&log)).and_then(|()| npm_build(context, Some(&log)));
        built.map_err(|_| see("the build failed"))?;
    }
    Ok(program)
}

/// Runs a command with its output in a file.
fn run_to_log(command: &mut Command, log: &Path) -> Outcome {
    let file = crate::process::create(log)?;
    let errors = file.try_clone().map_err(|error| error.to_string())?;
    run(command.stdout(file).stderr(errors))
}

/// A run of vitest.
pub struct Vitest<'a> {
    /// The script of `clients/package.json`.
    pub script: &'static str,
    /// The folder of the programs that tests start.
    pub programs: &'a Path,
    /// The file of the results, without `.json`.
    pub results: &'static str,
    pub arguments: Vec<String>,
    /// The run is ended after this time.
    pub limit: Option<Duration>,
}

impl Vitest<'_> {
    /// Where the results are written.
    pub fn file(&self, context: &Context) -> PathBuf {
        context.state.join(self.results).with_extension("json")
    }

    /// Runs the tests, and keeps their output in a log beside the results.
    ///
    /// # Errors
    /// When a test fails.
    pub fn run(&self, context: &Context) -> Outcome {
        let file = self.file(context);
        let _ = fs::remove_file(&file);
        let mut npm = npm(context, &["run", self.script, "--", "--reporter=default", "--reporter=json"]);
        npm.arg(format!("--outputFile.json={}", file.display())).args(&self.arguments);
        npm.env("TIDINGS_BIN_DIR", self.programs).env("NO_COLOR", "1");
        run_logged(&mut within(npm, self.limit), &file.with_extension("log"))
    }

    /// The numbers of the results, or zeros when there is no file.
    pub fn figures(&self, context: &Context) -> Figures {
        let mut figures = Figures::default();
        for line in summarised(context, &self.file(context)).lines() {
            match line.split_once('\t') {
                Some(("passed", number)) => figures.passed = number.parse().unwrap_or(0),
                Some(("failed", number)) => figures.failed = number.parse().unwrap_or(0),
                Some(("flaky", test)) => figures.flaky.push(test.to_owned()),
                _ => {}
            }
        }
        figures
    }
}

/// What `clients/tools/results.mjs` prints of a file of results.
pub fn summarised(context: &Context, file: &Path) -> String {
    let script = folder(context).join("tools/results.mjs");
    output(context.command("node").arg(script).arg(file)).unwrap_or_default()
}
