//! The sizes of the gate. Tools are installed beside the build.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use super::postgres::SharedPostgres;
use super::{Size, behaviours};
use crate::build::{self, Background, Warnings};
use crate::clients::{self, Vitest};
use crate::context::Context;
use crate::nextest::{Nextest, Retries};
use crate::process::{Outcome, run_logged};
use crate::report::{Figures, Report};
use crate::tools::{self, browser, cargo_tools, needs};
use crate::{guard, lint, packages, process};

/// The profile of the tests that run once more on a Redis Cluster.
const CLUSTER: &str = "cluster";

/// Runs a size of the gate, and closes its report.
pub fn run(context: &mut Context, size: Size, retries: Retries) -> ExitCode {
    let mut gate = Gate { report: Report::new(context), size, retries, slowest: Vec::new() };
    gate.run(context);
    gate.report.print_steps();
    gate.print_slowest();
    gate.report.close()
}

struct Gate {
    report: Report,
    size: Size,
    retries: Retries,
    /// The seconds and names of the tests.
    slowest: Vec<(f64, String)>,
}

impl Gate {
    fn run(&mut self, context: &mut Context) {
        let (first, rest) = (self.size != Size::Rest, self.size != Size::First);
        if rest {
            self.report.step("packages", || packages::need(context, &needs::all_packages()));
            lint::check_files(context, &mut self.report);
        }
        // Tests of Rust need Node too.
        let node = self.report.step("node", || tools::node::need_npm(context));
        if first {
            lint::check_formatting(context, &mut self.report);
        }
        let clients_usable = node
            && match first {
                true => lint::check_clients(context, &mut self.report),
                false => self.report.step("clients: npm ci", || clients::install(context)),
            };
        let tools: &[needs::Tool] = if rest { &needs::TOOLS_OF_GATE } else { &[] };
        self.build_beside_tools(context, tools);
        let counting = rest && tools::has_valgrind(context);
        let ahead = if counting { build::guard_ahead(context) } else { None };
        let postgres = SharedPostgres::start(context, &mut self.report);
        self.run_rust_tests(context);
        if rest {
            self.run_cluster_tests(context);
            self.check_deployment(context);
        }
        if clients_usable {
            self.run_client_tests(context);
        }
        // The guard starts its own PostgreSQL, as in `./dev guard`.
        postgres.stop(context);
        if rest {
            self.instruction_counts(context, counting, ahead);
        }
    }

    /// Builds the tests, and installs the tools meanwhile.
    fn build_beside_tools(&mut self, context: &Context, tools: &[needs::Tool]) {
        type Installed = (&'static str, Duration, Outcome);
        let install = |name, install: &dyn Fn() -> Outcome| -> Installed {
            let begun = Instant::now();
            let outcome = install();
            (name, begun.elapsed(), outcome)
        };
        let report = &mut self.report;
        thread::scope(|scope| {
            let installing = scope.spawn(|| {
                let nextest = install("nextest", &|| cargo_tools::nextest(context).map(|_| ()));
                let rest = tools.iter().map(|tool| install(tool.name(), &|| tool.install(context)));
                [nextest].into_iter().chain(rest).collect::<Vec<_>>()
            });
            report.step("cargo build with clippy", || build::tests(context, Warnings::Denied));
            match installing.join() {
                Ok(installed) => installed.into_iter().for_each(|(name, took, outcome)| {
                    report.record(name, took, outcome);
                }),
                Err(_) => _ = report.step("tools", || Err("their installation panicked".to_owned())),
            }
        });
    }

    fn run_rust_tests(&mut self, context: &Context) {
        let filter = behaviours::filter(self.size);
        let arguments = filter.iter().flat_map(|filter| ["-E", filter.as_str()]).collect();
        let tests = Nextest { context, profile: "default", retries: self.retries, arguments, limit: None };
        let run = || tests.run(&[]);
        self.report.counted_step("tests of Rust", run, &tests.log(), || tests.figures());
        self.slowest.extend(tests.seconds());
    }

    fn run_cluster_tests(&mut self, context: &Context) {
        let tests =
            Nextest { context, profile: CLUSTER, retries: self.retries, arguments: Vec::new(), limit: None };
        let run = || tests.run(&[("TIDINGS_TEST_REDIS", CLUSTER.as_ref())]);
        self.report.counted_step("tests on a Redis Cluster", run, &tests.log(), || tests.figures());
    }

    /// Checks images, Compose and manifests against the programs whose settings they use.
    fn check_deployment(&mut self, context: &Context) {
        let log = context.state.join("deploy.log");
        let mut check = context.command(context.root.join("deploy/tools/deploy.sh"));
        check.arg("check").env("TIDINGS_TOOLS", &context.tools);
        check
            .env("TIDINGS_BIN_DIR", context.programs.clone().unwrap_or_else(|| context.target.join("debug")));
        let figures = || closing_figures(&std::fs::read_to_string(&log).unwrap_or_default());
        self.report.counted_step("deployment", || run_logged(&mut check, &log), &log, figures);
    }

    fn run_client_tests(&mut self, context: &mut Context) {
        if self.size == Size::First {
            let (name, value) = behaviours::WITHOUT_SYSTEMS;
            context.set(name, value);
        }
        if self.size == Size::Rest {
            self.report.step("clients: build", || clients::build(context));
        }
        self.run_vitest(context, "clients: vitest", "test", "vitest");
        if self.size != Size::First {
            self.report.step("clients: packages", || {
                process::run(&mut clients::npm(context, &["run", "check-packages"]))
            });
        }
        match browser::need_chromium(context) {
            Ok(()) => self.run_vitest(context, "clients: e2e", "e2e", "e2e"),
            Err(why) => self.report.not_checked("e2e", &why),
        }
    }

    fn run_vitest(&mut self, context: &Context, name: &str, script: &'static str, results: &'static str) {
        let mut arguments = behaviours::of_clients(script, self.size);
        if self.retries == Retries::Once {
            arguments.push("--retry=1".to_owned());
        }
        let programs = context.target.join("debug");
        let tests = Vitest { script, programs: &programs, results, arguments, limit: None };
        let log = tests.file(context).with_extension("log");
        self.report.counted_step(name, || tests.run(context), &log, || tests.figures(context));
        let times = clients::summarised(context, &tests.file(context));
        self.slowest.extend(times.lines().filter_map(|line| {
            let (seconds, name) = line.strip_prefix("time\t")?.split_once('\t')?;
            Some((seconds.parse().ok()?, name.to_owned()))
        }));
    }

    fn instruction_counts(&mut self, context: &Context, counting: bool, ahead: Option<Background>) {
        if !counting {
            self.report.not_checked("instruction counts", "valgrind is not available");
            return;
        }
        // Waits for the background build, and prints its errors.
        self.report.step("build for the guard", || build::guard(context));
        drop(ahead);
        self.report.step("instruction counts", || guard::check(context));
    }

    /// Prints the seconds of each test program, and the slowest tests of all languages.
    fn print_slowest(&mut self) {
        let mut sums = std::collections::BTreeMap::<&str, f64>::new();
        for (seconds, name) in &self.slowest {
            *sums.entry(name.split(' ').next().unwrap_or_default()).or_default() += seconds;
        }
        let mut sums: Vec<(&str, f64)> = sums.into_iter().filter(|(_, seconds)| *seconds >= 1.0).collect();
        sums.sort_by(|a, b| b.1.total_cmp(&a.1));
        println!("\nseconds  tests of a program, which run in parallel");
        sums.iter().take(20).for_each(|(name, seconds)| println!("{seconds:7.0}  {name}"));
        self.slowest.sort_by(|a, b| b.0.total_cmp(&a.0));
        println!("\nseconds  slowest tests");
        self.slowest.iter().take(20).for_each(|(seconds, name)| println!("{seconds:7.1}  {name}"));
        println!();
    }
}

/// The last line `N passed, N failed` of an output.
fn closing_figures(log: &str) -> Figures {
    let figures = |line: &str| {
        let (passed, failed) = line.strip_suffix(" failed")?.split_once(" passed, ")?;
        Some(Figures { passed: passed.parse().ok()?, failed: failed.parse().ok()?, flaky: Vec::new() })
    };
    log.lines().rev().find_map(figures).unwrap_or_default()
}
